/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mask: every instruction set of this machine gives the numbers of a
 * plain Philox4x32-10, which gives the known answers of its authors.
 */
#include "tests/unit/unit.h"

#include <math.h>

#include "kernels/mask.h"

#define MOST   ((size_t)70000)
#define MARGIN ((size_t)64)

static _Alignas(64) float x[MOST + MARGIN];

/* --- the reference ------------------------------------------------------- */

struct philox {
    uint32_t counter[4], key[2];
};

static void ref_philox(struct philox p, uint32_t out[4])
{
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)p.counter[0] * 0xD2511F53;
        uint64_t b = (uint64_t)p.counter[2] * 0xCD9E8D57;

        p.counter[0] = (uint32_t)(b >> 32) ^ p.counter[1] ^ p.key[0];
        p.counter[1] = (uint32_t)b;
        p.counter[2] = (uint32_t)(a >> 32) ^ p.counter[3] ^ p.key[1];
        p.counter[3] = (uint32_t)a;
        p.key[0] += 0x9E3779B9;
        p.key[1] += 0xBB67AE85;
    }
    memcpy(out, p.counter, sizeof(p.counter));
}

static float ref_uniform(struct tm_mask mask, uint64_t e)
{
    uint32_t out[4];
    struct philox p = {{(uint32_t)(e / 4), (uint32_t)(e / 4 >> 32), 0, 0},
                       {mask.key[0], mask.key[1]}};

    ref_philox(p, out);
    return ldexpf((float)(out[e % 4] >> 8), -24);
}

/* Of Random123, kat_vectors. */
static const struct {
    struct philox in;
    uint32_t out[4];
} known[] = {
    {{{0, 0, 0, 0}, {0, 0}}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
      {UINT32_MAX, UINT32_MAX}},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
      {0xa4093822, 0x299f31d0}},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void the_reference_gives_known_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        uint32_t out[4];

        ref_philox(known[i].in, out);
        assert_memory_equal(out, known[i].out, sizeof(out));
    }
}

/* --- against the reference ----------------------------------------------- */

/* A NaN, to be seen where nothing was written. */
static void spoil(size_t n)
{
    memset(x, 0xff, n * sizeof(x[0]));
}

static void check_uniform(enum tm_isa isa, struct tm_mask mask, uint64_t first,
                          size_t n)
{
    spoil(n);
    tm_mask_uniform(isa, mask, first, n, x);
    for (size_t i = 0; i < n; i++) {
        float want = ref_uniform(mask, first + i);

        if (!(x[i] == want))
            fail_msg("%s: %zu from %llu: element %zu is %a, not %a",
                     tm_isa_name(isa), n, (unsigned long long)first, i,
                     (double)x[i], (double)want);
    }
}

static float value(size_t i)
{
    return i % 5 == 0 ? -(float)(i + 1) : (float)i + 0.5f;
}

static void check_drop(enum tm_isa isa, struct tm_mask mask, uint64_t first,
                       size_t n, float density)
{
    for (size_t i = 0; i < n; i++)
        x[i] = value(i);
    tm_mask_drop(isa, mask, first, n, density, x);
    for (size_t i = 0; i < n; i++) {
        float want = ref_uniform(mask, first + i) < density ? value(i) : 0;

        if (memcmp(&x[i], &want, sizeof(want)) != 0)
            fail_msg("%s: %zu from %llu, density %a: element %zu is %a, not %a",
                     tm_isa_name(isa), n, (unsigned long long)first,
                     (double)density, i, (double)x[i], (double)want);
    }
}

static void check(struct tm_mask mask, uint64_t first, size_t n)
{
    /* Of the first element: it is not below its own number. */
    float own = ref_uniform(mask, first);

    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        enum tm_isa set = (enum tm_isa)isa;

        if (!tm_isa_available(set))
            continue;
        check_uniform(set, mask, first, n);
        check_drop(set, mask, first, n, 0.3f);
        check_drop(set, mask, first, n, own);
        check_drop(set, mask, first, n, nextafterf(own, 1));
    }
}

static void any_part_is_right(void **state)
{
    static const uint64_t firsts[] = {0, 4096, 0xffffffff0, 0x3fffffff0,
                                      UINT64_C(0xfffffffffffffe00)};
    struct tm_mask mask = tm_mask_of(UINT64_C(0x299f31d0a4093822));

    (void)state;
    assert_int_equal(mask.key[0], 0xa4093822);
    assert_int_equal(mask.key[1], 0x299f31d0);
    for (size_t f = 0; f < sizeof(firsts) / sizeof(firsts[0]); f++)
        for (uint64_t shift = 0; shift < 9; shift++)
            for (size_t n = 0; n < 200; n += n < 16 ? 1 : 13)
                check(mask, firsts[f] + shift, n);
    check(tm_mask_of(0), 3, 4096);
    check(tm_mask_of(UINT64_MAX), 0, 4096 + 5);
}

static void the_first_numbers_are_the_known_ones(void **state)
{
    (void)state;
    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        if (!tm_isa_available((enum tm_isa)isa))
            continue;
        tm_mask_uniform((enum tm_isa)isa, tm_mask_of(0), 0, 4, x);
        for (int i = 0; i < 4; i++)
            assert_true(x[i] == ldexpf((float)(known[0].out[i] >> 8), -24));
    }
}

static void extreme_densities_drop_all_or_nothing(void **state)
{
    static const float none[] = {0, -0.0f, -1, -INFINITY},
                       all[] = {1, 1.5f, 1e30f, INFINITY};

    (void)state;
    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        if (!tm_isa_available((enum tm_isa)isa))
            continue;
        for (int i = 0; i < 4; i++) {
            check_drop((enum tm_isa)isa, tm_mask_of(9), 1, 1000, none[i]);
            check_drop((enum tm_isa)isa, tm_mask_of(9), 1, 1000, all[i]);
        }
        check_drop((enum tm_isa)isa, tm_mask_of(9), 1, 1000, 0x1p-149f);
        check_drop((enum tm_isa)isa, tm_mask_of(9), 1, 1000, 0x1.fffffep-1f);
    }
}

/* --- statistics ---------------------------------------------------------- */

/* Of n, within five standard deviations. */
static void expect(double got, size_t n, double p)
{
    double mean = (double)n * p, deviation = sqrt(mean * (1 - p));

    if (fabs(got - mean) > 5 * deviation)
        fail_msg("%g of %zu where %g should be", got, n, mean);
}

static void numbers_are_uniform(void **state)
{
    size_t bins[64] = {0}, rising = 0;
    double sum = 0;
    enum tm_isa isa;

    (void)state;
    assert_true(tm_isa_choose(NULL, &isa));
    tm_mask_uniform(isa, tm_mask_of(2024), 0, MOST, x);
    for (size_t i = 0; i < MOST; i++) {
        assert_true(x[i] >= 0 && x[i] < 1);
        bins[(size_t)(x[i] * 64)]++;
        sum += (double)x[i];
        rising += i % 2 == 1 && x[i] > x[i - 1];
    }
    for (int b = 0; b < 64; b++)
        expect((double)bins[b], MOST, 1.0 / 64);
    expect((double)rising, MOST / 2, 0.5);
    /* The variance of a uniform number is 1/12. */
    assert_true(fabs(sum / (double)MOST - 0.5) <
                5 * sqrt(1.0 / 12 / (double)MOST));
}

static size_t kept(uint64_t hash, float density)
{
    size_t count = 0;
    enum tm_isa isa;

    assert_true(tm_isa_choose(NULL, &isa));
    for (size_t i = 0; i < MOST; i++)
        x[i] = 1;
    tm_mask_drop(isa, tm_mask_of(hash), 0, MOST, density, x);
    for (size_t i = 0; i < MOST; i++)
        count += x[i] != 0;
    return count;
}

static void as_many_are_kept_as_should_be(void **state)
{
    (void)state;
    for (uint64_t hash = 0; hash < 20; hash++) {
        expect((double)kept(hash, 0.1f), MOST, 0.1);
        expect((double)kept(hash << 32, 0.5f), MOST, 0.5);
        expect((double)kept(hash * 7919, 0.9f), MOST, 0.9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_gives_known_answers),
        cmocka_unit_test(any_part_is_right),
        cmocka_unit_test(the_first_numbers_are_the_known_ones),
        cmocka_unit_test(extreme_densities_drop_all_or_nothing),
        cmocka_unit_test(numbers_are_uniform),
        cmocka_unit_test(as_many_are_kept_as_should_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
