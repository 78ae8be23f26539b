/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_row: ranks are those of a stable sort, chances those of ranks, and
 * divergences those of the C library in long double, with the same bits from
 * every instruction set.
 */
#include "tests/unit/unit.h"

#include <math.h>

#include "kernels/chance.h"
#include "kernels/row.h"

#define MOST   ((size_t)20000)
#define MARGIN ((size_t)64)

static _Alignas(64) float x[MOST + MARGIN], base[MOST + MARGIN];
static _Alignas(64) uint32_t rank[MOST + MARGIN];
static _Alignas(64) uint32_t scratch[TM_ROW_SCRATCH(MOST) + MARGIN];

static uint64_t seed = 1;

static uint64_t next_random(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static float float_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t magnitude(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits & 0x7fffffff;
}

/* --- ranks --------------------------------------------------------------- */

struct place {
    uint32_t bits;
    uint32_t i;
};

static int compare(const void *a, const void *b)
{
    const struct place *p = a, *q = b;

    if (p->bits != q->bits)
        return p->bits < q->bits ? -1 : 1;
    return p->i < q->i ? -1 : p->i > q->i;
}

static void check_rank(enum tm_isa isa, size_t n, const uint32_t *want)
{
    memset(rank, 0xa5, sizeof(rank));
    memset(scratch, 0x5a, sizeof(scratch));
    tm_row_rank(isa, x, n, rank, scratch);
    for (size_t i = 0; i < n; i++)
        if (rank[i] != want[i])
            fail_msg("%s: %zu elements: rank %zu is %u, not %u",
                     tm_isa_name(isa), n, i, (unsigned)rank[i],
                     (unsigned)want[i]);
    for (size_t i = TM_ROW_SCRATCH(n); i < TM_ROW_SCRATCH(n) + MARGIN; i++)
        assert_int_equal(scratch[i], 0x5a5a5a5a);
}

static void check_ranks(size_t n)
{
    static struct place places[MOST];
    static uint32_t want[MOST];

    for (size_t i = 0; i < n; i++)
        places[i] = (struct place){magnitude(x[i]), (uint32_t)i};
    qsort(places, n, sizeof(places[0]), compare);
    for (size_t i = 0; i < n; i++)
        want[places[i].i] = (uint32_t)i;
    for (int isa = 0; isa < TM_NUM_ISAS; isa++)
        if (tm_isa_available((enum tm_isa)isa))
            check_rank((enum tm_isa)isa, n, want);
}

/* Bits of `mask`, the others as in `same`. */
static void fill_bits(size_t n, uint32_t mask, uint32_t same)
{
    for (size_t i = 0; i < n + MARGIN; i++)
        x[i] = float_of(((uint32_t)next_random() & mask) | same);
}

static size_t random_size(void)
{
    return next_random() % (next_random() % 2 == 0 ? 100 : 5001);
}

static void ranks_are_those_of_a_stable_sort(void **state)
{
    static const uint32_t masks[] = {
        0,          0x80000000, 0x807fffff, 0xffff0000, 0x8fff0000, 0xbfffffff,
        0x80000001, 0x80ff0001, 0x80000ffe, 0xbf000000, 0x9c000003, 0x000007ff};

    (void)state;
    for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
        for (int k = 0; k < 15; k++) {
            size_t n = random_size();

            fill_bits(n, masks[m], 0);
            check_ranks(n);
            fill_bits(n, masks[m], 0x3f012345 & ~masks[m]);
            check_ranks(n);
        }
        fill_bits(MOST, masks[m], 0);
        check_ranks(MOST);
        check_ranks(1);
        check_ranks(0);
    }
}

/* Every width of the bits that differ, and every place of them. */
static void ranks_of_any_bits_are_right(void **state)
{
    (void)state;
    for (unsigned low = 0; low < 31; low++) {
        for (unsigned high = low; high < 31; high++) {
            uint32_t mask = (uint32_t)((UINT64_C(2) << high) - 1) &
                            ~((UINT32_C(1) << low) - 1);

            if (high == 30)
                mask &= 0x7f7fffff;
            fill_bits(900, mask | 0x80000000, 0);
            check_ranks(900);
            check_ranks(200);
        }
    }
}

static void ranks_of_rows_in_order_are_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6000; i++)
        x[i] = (float)i;
    check_ranks(6000);
    for (size_t i = 0; i < 6000; i++)
        x[i] = -(float)(6000 - i);
    check_ranks(6000);
}

/* --- chances ------------------------------------------------------------- */

static _Alignas(64) float number[MOST + MARGIN], kept[MOST + MARGIN];
static _Alignas(64) float want_kept[MOST + MARGIN];

static void check_chance(enum tm_isa isa, size_t n, struct tm_chance chance,
                         const float *numbers)
{
    memcpy(number, numbers, sizeof(number));
    memcpy(kept, x, sizeof(kept));
    memset(rank, 0xa5, sizeof(rank));
    memset(scratch, 0x5a, sizeof(scratch));
    tm_chance_drop(isa, chance, kept, n, number, rank, scratch);
    for (size_t i = 0; i < n; i++)
        if (memcmp(&kept[i], &want_kept[i], sizeof(*kept)) != 0)
            fail_msg("%s: %zu elements: element %zu is %a, not %a",
                     tm_isa_name(isa), n, i, (double)kept[i],
                     (double)want_kept[i]);
    for (size_t i = TM_ROW_SCRATCH(n); i < TM_ROW_SCRATCH(n) + MARGIN; i++)
        assert_int_equal(scratch[i], 0x5a5a5a5a);
}

/* Some numbers are chances themselves, or beside them. */
static void check_chances(size_t n, double least, double width)
{
    static float numbers[MOST + MARGIN];
    const double step = n > 1 ? width / (double)(n - 1) : 0;
    const struct tm_chance chance = {least, step};

    tm_row_rank(TM_ISA_PORTABLE, x, n, rank, scratch);
    for (size_t i = 0; i < n; i++) {
        float own = (float)(least + step * rank[i]);
        uint64_t r = next_random();

        numbers[i] = (float)(r >> 40) * 0x1p-24f;
        if (r % 8 < 3)
            numbers[i] = nextafterf(own, (float)(r % 8));
        want_kept[i] = numbers[i] < own ? x[i] : 0;
    }
    for (int isa = 0; isa < TM_NUM_ISAS; isa++)
        if (tm_isa_available((enum tm_isa)isa))
            check_chance((enum tm_isa)isa, n, chance, numbers);
}

static void check_all_chances(size_t n)
{
    check_chances(n, 0.4, 0.2);
    check_chances(n, 0.5, 0);
    check_chances(n, 0.5, 1e-9);
    check_chances(n, 1e-6, 1 - 1e-6);
    check_chances(n, 0.3, 0.001);
}

/* What a fine-tune moves by a unit or two, of many sizes, or not at all. */
static void fill_steps(size_t n)
{
    for (size_t i = 0; i < n + MARGIN; i++) {
        uint64_t r = next_random();

        x[i] = (float)((int)(r % 7) - 3) * ldexpf(1, -(int)(r >> 8 & 3) - 12);
        if ((r >> 16) % 50 == 0)
            x[i] = ldexpf(x[i], -20);
    }
}

static void chances_are_those_of_ranks(void **state)
{
    static const uint32_t masks[] = {0,          0x80000000, 0xbfffffff,
                                     0x81ff0000, 0x80ffffff, 0x80000003};

    (void)state;
    for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
        for (int k = 0; k < 10; k++) {
            size_t n = random_size();

            fill_bits(n, masks[m], 0x3f012345 & ~masks[m]);
            check_all_chances(n);
        }
        fill_bits(MOST, masks[m], 0);
        check_all_chances(MOST);
    }
    for (int k = 0; k < 30; k++) {
        size_t n = random_size();

        fill_steps(n);
        check_all_chances(n);
    }
    for (size_t n = 0; n < 300; n += n < 4 ? 1 : 37) {
        fill_steps(n);
        check_all_chances(n);
    }
    fill_steps(MOST);
    check_all_chances(MOST);
}

/* --- divergences --------------------------------------------------------- */

static long double ref_sum(const float *v, size_t n, long double most)
{
    long double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += expl((long double)v[i] - most);
    return sum;
}

static long double ref_most(const float *v, size_t n)
{
    long double most = (long double)v[0];

    for (size_t i = 1; i < n; i++)
        most = fmaxl(most, (long double)v[i]);
    return most;
}

/* *scale: what its terms add up to without their signs. */
static long double ref_divergence(size_t n, long double *scale)
{
    long double mx = ref_most(x, n), mb = ref_most(base, n);
    long double sx = ref_sum(x, n, mx), sb = ref_sum(base, n, mb), sum = 0;

    *scale = 0;
    for (size_t i = 0; i < n; i++) {
        long double p = expl((long double)x[i] - mx) / sx + 1e-8L;
        long double q = expl((long double)base[i] - mb) / sb + 1e-8L;
        long double term = p * logl(p / q);

        sum += term;
        *scale += fabsl(term);
    }
    return sum;
}

static double divergence(enum tm_isa isa, size_t n)
{
    return tm_row_divergence(isa, x, base, n, (double *)(void *)scratch);
}

/*
 * With every instruction set. p and q carry a few roundings each, which their
 * logarithms show as they are: so beside what the terms are, what p's are.
 */
static void check_divergence(size_t n)
{
    long double scale, want = ref_divergence(n, &scale);
    double first = 0;

    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        double got;

        if (!tm_isa_available((enum tm_isa)isa))
            continue;
        got = divergence((enum tm_isa)isa, n);
        if (isa == TM_ISA_PORTABLE)
            first = got;
        if (memcmp(&got, &first, sizeof(got)) != 0)
            fail_msg("%s: %zu elements: %a, not %a", tm_isa_name(isa), n, got,
                     first);
    }
    if (fabsl((long double)first - want) > 1e-12L * scale + 1e-14L)
        fail_msg("%zu elements: %a, not %a", n, first, (double)want);
}

static float random_normal(void)
{
    double sum = -6;

    for (int k = 0; k < 12; k++)
        sum += ldexp((double)(next_random() >> 12), -52);
    return (float)sum;
}

/* x is beside the base by `step` times it or so. */
static void fill_rows(size_t n, float size, float step)
{
    for (size_t i = 0; i < n; i++) {
        base[i] = size * random_normal();
        x[i] = base[i] + step * size * random_normal();
    }
    for (size_t i = n; i < n + MARGIN; i++)
        x[i] = base[i] = i % 2 == 0 ? (float)NAN : 1e30f;
}

static void divergences_are_those_of_the_c_library(void **state)
{
    static const float sizes[] = {0, 1e-30f, 0.01f, 1, 10, 300, 1e5f, 1e36f};

    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (size_t n = 1; n < 40; n++) {
            fill_rows(n, sizes[s], 0.5f);
            check_divergence(n);
        }
        for (int k = 0; k < 5; k++) {
            size_t n = 1 + next_random() % 5000;

            fill_rows(n, sizes[s], 1);
            check_divergence(n);
            fill_rows(n, sizes[s], 0.001f);
            check_divergence(n);
        }
        fill_rows(MOST, sizes[s], 0.1f);
        check_divergence(MOST);
    }
}

static void equal_rows_do_not_diverge(void **state)
{
    (void)state;
    for (size_t n = 0; n < 100; n++) {
        fill_rows(n, 1, 0);
        for (int isa = 0; isa < TM_NUM_ISAS; isa++)
            if (tm_isa_available((enum tm_isa)isa))
                assert_true(divergence((enum tm_isa)isa, n) == 0);
    }
}

static void rows_are_weighed(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n++) {
        fill_rows(n, 1, 0.1f);
        for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
            if (!tm_isa_available((enum tm_isa)isa))
                continue;
            tm_row_weigh((enum tm_isa)isa, x, base, n, 0.7, kept);
            for (size_t i = 0; i < n; i++) {
                const float away = fabsf(x[i] - base[i]);

                assert_true(kept[i] == (float)(0.7 * (double)away));
            }
        }
    }
}

/* Where exp is taken for zero, and just before. */
static void extreme_rows_are_right(void **state)
{
    (void)state;
    for (int k = 0; k < 3000; k++) {
        x[k] = -(float)k / 4;
        base[k] = (float)(k % 7);
    }
    check_divergence(3000);
    for (int k = 0; k < 3000; k++) {
        base[k] = x[k] / 3;
        x[k] = k == 1234 ? 3.4e38f : -3.4e38f;
    }
    check_divergence(3000);
}

/* One bit of two elements that are not alike. */
static void the_value_is_what_it_should_be(void **state)
{
    double p = 0.75 + 1e-8, q = 0.25 + 1e-8, got;
    enum tm_isa isa;

    (void)state;
    x[0] = base[1] = logf(3);
    x[1] = base[0] = 0;
    assert_true(tm_isa_choose(NULL, &isa));
    got = divergence(isa, 2);
    assert_true(fabs(got - (p - q) * log(p / q)) < 1e-7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_are_those_of_a_stable_sort),
        cmocka_unit_test(ranks_of_any_bits_are_right),
        cmocka_unit_test(ranks_of_rows_in_order_are_right),
        cmocka_unit_test(chances_are_those_of_ranks),
        cmocka_unit_test(divergences_are_those_of_the_c_library),
        cmocka_unit_test(equal_rows_do_not_diverge),
        cmocka_unit_test(rows_are_weighed),
        cmocka_unit_test(extreme_rows_are_right),
        cmocka_unit_test(the_value_is_what_it_should_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
