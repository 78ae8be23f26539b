/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_select: every instruction set of this machine counts and selects what
 * a sorted list says, ties by their place.
 */
#include "tests/unit/unit.h"

#include <math.h>

#include "kernels/select.h"

#define MOST   ((size_t)8192)
#define MARGIN ((size_t)64)

static _Alignas(64) float x[MOST + MARGIN], y[MOST + MARGIN];
static uint32_t counts[TM_LOW_BINS], want[TM_LOW_BINS];
static uint64_t sums[TM_LOW_BINS];

/* --- elements ------------------------------------------------------------ */

static uint64_t seed = 1;

static uint64_t next_random(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t magnitude(float value)
{
    return bits_of(value) & 0x7fffffff;
}

enum flavour {
    ZEROS,      /* of either sign */
    EQUAL,      /* but for the sign */
    FEW,        /* a handful of values */
    FINE_TUNE,  /* small multiples of a few powers of two, and zeros */
    SUBNORMAL,  /* and zero, and the smallest normal numbers */
    ANY,        /* finite */
    ONE_BIN,    /* of one upper half */
    TWO_PLACES, /* very small and very large, in turns of 1500 */
    SPARSE,     /* all but a few zero */
    NUM_FLAVOURS
};

static float random_finite(void)
{
    uint32_t bits;

    do
        bits = (uint32_t)next_random();
    while ((bits & 0x7fffffff) > TM_FINITE_BITS);
    return float_of(bits);
}

static float random_plain(enum flavour flavour, size_t i)
{
    static const float few[] = {1, 2, 3, 0.5f, 0, 1e-30f, 3e38f, 1e-45f};
    uint64_t r = next_random();

    switch (flavour) {
    case ZEROS:
        return 0;
    case EQUAL:
        return 0.375f;
    case FEW:
        return few[r % 8];
    case FINE_TUNE:
        return ldexpf((float)(r % 4), -12 - (int)(r >> 8 & 7));
    case SUBNORMAL:
        return float_of((uint32_t)r & 0x01ffffff);
    case ONE_BIN:
        return float_of(0x3f800000 | (uint32_t)(r & 0xffff));
    case TWO_PLACES:
        return ldexpf(1.0f + (float)(r % 7), i / 1500 % 2 ? -100 : 100);
    case SPARSE:
        return r % 100 == 0 ? random_finite() : 0;
    default:
        return random_finite();
    }
}

/* What is behind the n-th is anything, NaNs too. */
static void fill(size_t n, enum flavour flavour)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = random_plain(flavour, i);
        if (next_random() % 2 == 0)
            x[i] = -x[i];
    }
    for (size_t i = n; i < n + MARGIN; i++)
        x[i] = i % 3 == 0 ? float_of(UINT32_MAX) : x[i % (n + 1)];
}

/* --- the reference ------------------------------------------------------- */

struct place {
    uint32_t bits;
    uint32_t i;
};

static struct place sorted[MOST];
static bool selected[MOST];

/* Larger ones first, then those that come first. */
static int compare(const void *a, const void *b)
{
    const struct place *p = a, *q = b;

    if (p->bits != q->bits)
        return p->bits > q->bits ? -1 : 1;
    return p->i < q->i ? -1 : p->i > q->i;
}

static void sort(size_t n)
{
    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct place){magnitude(x[i]), (uint32_t)i};
    qsort(sorted, n, sizeof(sorted[0]), compare);
}

/* After sort(). */
static void select_first(size_t n, size_t wanted)
{
    for (size_t i = 0; i < n; i++)
        selected[sorted[i].i] = i < wanted;
}

/* --- what is found ------------------------------------------------------- */

/* Counters start anywhere: they are added to. */
static uint32_t first_count(size_t bin)
{
    return (uint32_t)bin * 2654435761u;
}

static void begin_counts(void)
{
    for (size_t i = 0; i < TM_LOW_BINS; i++)
        counts[i] = first_count(i);
    memset(want, 0, sizeof(want));
}

static void end_counts(enum tm_isa isa, const char *what, size_t bins)
{
    for (size_t i = 0; i < TM_LOW_BINS; i++) {
        uint32_t got = counts[i] - first_count(i);

        if (got != (i < bins ? want[i] : 0))
            fail_msg("%s: %s: bin %zu has %u, not %u", tm_isa_name(isa), what,
                     i, (unsigned)got, (unsigned)want[i]);
        sums[i] = got;
    }
}

/* In two calls, the first of a whole number of steps. */
static size_t split(size_t n)
{
    return next_random() % (n / 64 + 1) * 64;
}

static void count_high(enum tm_isa isa, size_t n)
{
    size_t half = split(n);

    begin_counts();
    for (size_t i = 0; i < n; i++)
        want[magnitude(x[i]) >> 16]++;
    tm_select_high(isa, x, half, counts);
    tm_select_high(isa, x + half, n - half, counts);
    end_counts(isa, "high", TM_HIGH_BINS);
}

static void count_low(enum tm_isa isa, size_t n, uint32_t high)
{
    size_t half = split(n);

    begin_counts();
    for (size_t i = 0; i < n; i++)
        if (magnitude(x[i]) >> 16 == high)
            want[magnitude(x[i]) & 0xffff]++;
    tm_select_low(isa, x, half, high, counts);
    tm_select_low(isa, x + half, n - half, high, counts);
    end_counts(isa, "low", TM_LOW_BINS);
}

/* After sort(). */
static void check_found(const struct tm_select *s, size_t n)
{
    uint64_t equal = 0, above = 0;
    uint32_t bits = s->wanted == 0   ? UINT32_MAX
                    : s->wanted == n ? 0
                                     : sorted[s->wanted - 1].bits;

    for (size_t i = 0; i < n; i++) {
        equal += sorted[i].bits == bits;
        above += sorted[i].bits > bits;
    }
    assert_int_equal(s->bits, bits);
    assert_int_equal(s->equal, equal);
    assert_int_equal(s->quota, s->wanted - above);
    assert_true(s->quota <= s->equal);
    if (s->wanted == 0)
        assert_true(isinf(tm_select_value(s)) && tm_select_value(s) > 0);
    else
        assert_int_equal(bits_of(tm_select_value(s)), bits);
}

static struct tm_select find(enum tm_isa isa, size_t n, size_t wanted)
{
    struct tm_select s;

    memset(&s, 0xa5, sizeof(s));
    s.wanted = wanted;
    count_high(isa, n);
    tm_select_find_high(sums, &s);
    count_low(isa, n, s.high);
    tm_select_find_low(sums, &s);
    check_found(&s, n);
    assert_int_equal(tm_select_equal(isa, x, n, &s), s.equal);
    return s;
}

/* --- what is applied ----------------------------------------------------- */

static void check_applied(enum tm_isa isa, const float *from, const float *got,
                          size_t n, bool keep)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = selected[i] == keep ? bits_of(from[i]) : 0;

        if (bits_of(got[i]) != bits)
            fail_msg("%s: %zu elements, keep %d: element %zu is %08x, not %08x",
                     tm_isa_name(isa), n, keep, i, (unsigned)bits_of(got[i]),
                     (unsigned)bits);
    }
}

/* Over calls of random lengths, `ties` running. */
static void apply(enum tm_isa isa, size_t n, const struct tm_select *s,
                  bool keep)
{
    uint64_t ties = 0;

    memcpy(y, x, n * sizeof(y[0]));
    for (size_t i = 0, part; i < n; i += part) {
        part = (1 + next_random() % 20) * 64;
        if (part > n - i)
            part = n - i;
        tm_select_apply(isa, y + i, part, s, keep, &ties);
    }
    assert_int_equal(ties, s->equal);
    check_applied(isa, x, y, n, keep);
}

/* The elements are numbered, the first -0. */
static void apply_by(enum tm_isa isa, size_t n, const struct tm_select *s,
                     bool keep)
{
    static float numbers[MOST + MARGIN];
    size_t half = split(n);
    uint64_t ties = 0;

    for (size_t i = 0; i < n; i++)
        numbers[i] = i == 0 ? -0.0f : (float)i;
    memcpy(y, numbers, n * sizeof(y[0]));
    tm_select_apply_by(isa, x, y, half, s, keep, &ties);
    tm_select_apply_by(isa, x + half, y + half, n - half, s, keep, &ties);
    assert_int_equal(ties, s->equal);
    check_applied(isa, numbers, y, n, keep);
}

static void check_wanted(size_t n, size_t wanted)
{
    select_first(n, wanted);
    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        enum tm_isa set = (enum tm_isa)isa;
        struct tm_select s;

        if (!tm_isa_available(set))
            continue;
        s = find(set, n, wanted);
        apply(set, n, &s, true);
        apply(set, n, &s, false);
        apply_by(set, n, &s, wanted % 2 == 0);
    }
}

static void check(size_t n, enum flavour flavour)
{
    fill(n, flavour);
    sort(n);
    check_wanted(n, 0);
    check_wanted(n, n);
    if (n == 0)
        return;
    check_wanted(n, 1);
    check_wanted(n, n - 1);
    check_wanted(n, next_random() % n);
    check_wanted(n, next_random() % (n + 1));
}

/* --- tests --------------------------------------------------------------- */

static void any_number_of_elements_is_right(void **state)
{
    (void)state;
    for (int f = 0; f < NUM_FLAVOURS; f++) {
        check(0, (enum flavour)f);
        check(1, (enum flavour)f);
        check(64, (enum flavour)f);
        check(MOST, (enum flavour)f);
        for (int k = 0; k < 10; k++)
            check(next_random() % 200, (enum flavour)f);
        for (int k = 0; k < 8; k++)
            check(next_random() % 5001, (enum flavour)f);
    }
}

/* The first and the last number of every bin, and some twice. */
static void bins_begin_and_end_where_they_should(void **state)
{
    (void)state;
    for (uint32_t bin = 0; bin < 0x7f80; bin += MOST / 2) {
        for (uint32_t k = 0; k < MOST / 2; k++) {
            uint32_t bits = (bin + k) << 16;

            if (bits > TM_FINITE_BITS)
                bits = 0;
            x[2 * k] = float_of(bits);
            x[2 * k + 1] = float_of(bits | 0x8000ffff);
        }
        for (int isa = 0; isa < TM_NUM_ISAS; isa++)
            if (tm_isa_available((enum tm_isa)isa))
                count_high((enum tm_isa)isa, MOST);
    }
}

/* More than spare counters hold, in one call and in one bin. */
static void counters_hold_many_elements(void **state)
{
    enum { MANY = 6 << 16 };
    float *many = aligned_alloc(64, MANY * sizeof(*many));

    (void)state;
    assert_true(many != NULL);
    for (size_t i = 0; i < MANY; i++)
        many[i] = i % 6 == 0 ? 0.0f : -1.0f;
    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        if (!tm_isa_available((enum tm_isa)isa))
            continue;
        begin_counts();
        want[0] = 1 << 16;
        want[0x3f80] = 5 << 16;
        tm_select_high((enum tm_isa)isa, many, MANY, counts);
        end_counts((enum tm_isa)isa, "high", TM_HIGH_BINS);
        begin_counts();
        want[0] = 5 << 16;
        tm_select_low((enum tm_isa)isa, many, MANY, 0x3f80, counts);
        end_counts((enum tm_isa)isa, "low", TM_LOW_BINS);
    }
    free(many);
}

/* Numbers of elements that no test could have. */
static void thresholds_of_huge_numbers_are_right(void **state)
{
    struct tm_select s = {.wanted = UINT64_C(1) << 40};

    (void)state;
    memset(sums, 0, sizeof(sums));
    sums[0x3f80] = UINT64_C(1) << 41;
    sums[0x4000] = 5;
    tm_select_find_high(sums, &s);
    assert_int_equal(s.high, 0x3f80);
    assert_int_equal(s.above, 5);
    sums[0x4000] = 0;
    sums[0x3f80] = 0;
    sums[7] = (UINT64_C(1) << 40) - 6;
    sums[3] = (UINT64_C(1) << 40) + 6;
    tm_select_find_low(sums, &s);
    assert_int_equal(s.bits, 0x3f800003);
    assert_int_equal(s.quota, 1);
    assert_int_equal(s.equal, (UINT64_C(1) << 40) + 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_elements_is_right),
        cmocka_unit_test(bins_begin_and_end_where_they_should),
        cmocka_unit_test(counters_hold_many_elements),
        cmocka_unit_test(thresholds_of_huge_numbers_are_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
