/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_drift: every instruction set of this machine gives the bits and the
 * counts of a reference, whatever the types, lengths, addresses and values.
 *
 * The reference goes through the elements lane by lane, and finds a bin by
 * searching the numbers of BF16, which are where the bins begin.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <unistd.h>

#include "kernels/drift.h"
#include "tests/unit/sum_reference.h"

#define PAGE ((size_t)65536) /* a multiple of every page size */

/* --- the reference ------------------------------------------------------ */

struct pair {
    enum tm_dtype base_dtype, dtype;
    const void *base, *tuned;
    size_t n;
};

static size_t ref_bin(double magnitude)
{
    size_t low = 0, high = ref_count[TM_BF16];

    while (high - low > 1) {
        size_t half = (low + high) / 2;

        if (ref_values[TM_BF16][half] <= magnitude)
            low = half;
        else
            high = half;
    }
    return low;
}

/* t of an element; 0 if it is not finite. */
static double ref_t(const struct pair *p, size_t i)
{
    double b = ref_decode(p->base_dtype, ref_get(p->base_dtype, p->base, i));
    double x = ref_decode(p->dtype, ref_get(p->dtype, p->tuned, i));
    volatile float t32 = (float)x - (float)b;
    volatile double t64 = x - b;
    double t = p->base_dtype == TM_F64 || p->dtype == TM_F64 ? t64 : t32;

    return isfinite(t) ? t : 0;
}

/* What a lane adds up, of t, |t| and t^2. */
struct ref_lane {
    double sum, absolute, squares;
};

static void ref_add(struct ref_lane *lane, double t)
{
    volatile double square = t * t;

    lane->sum += t;
    lane->absolute += fabs(t);
    lane->squares += square;
}

static double ref_fold(double a, double b, double c, double d, double e,
                       double f, double g, double h)
{
    double even = (a + e) + (c + g), odd = (b + f) + (d + h);

    return isnan(even + odd) ? (double)NAN : even + odd;
}

#define FOLD(l, m)                                                             \
    ref_fold(l[0].m, l[1].m, l[2].m, l[3].m, l[4].m, l[5].m, l[6].m, l[7].m)

static void ref_block(const struct pair *p, size_t block,
                      struct tm_drift *drift, uint32_t *counts)
{
    struct ref_lane lanes[8] = {{0, 0, 0}};
    size_t start = block * TM_DRIFT_BLOCK;
    size_t end = start + TM_DRIFT_BLOCK < p->n ? start + TM_DRIFT_BLOCK : p->n;

    for (size_t k = 0; k < 8; k++) {
        for (size_t i = start + k; i < end; i += 8) {
            double t = ref_t(p, i);

            ref_add(&lanes[k], t);
            drift->largest = fmax(drift->largest, fabs(t));
            if (t != 0) {
                drift->changed++;
                counts[ref_bin(fabs(t))]++;
            }
        }
    }
    drift->sum[block] = FOLD(lanes, sum);
    drift->absolute[block] = FOLD(lanes, absolute);
    drift->squares[block] = FOLD(lanes, squares);
}

static void ref_drift(const struct pair *p, struct tm_drift *drift,
                      uint32_t *counts)
{
    memset(drift, 0, sizeof(*drift));
    for (size_t block = 0; block * TM_DRIFT_BLOCK < p->n; block++)
        ref_block(p, block, drift, counts);
}

/* --- comparing ----------------------------------------------------------- */

static void same_bits(const char *what, const struct pair *p, enum tm_isa isa,
                      const double *got, const double *want, size_t n)
{
    if (memcmp(got, want, n * sizeof(*got)) == 0)
        return;
    fail_msg("%s: %s to %s, %zu elements: %s[] is %a %a ..., not %a %a ...",
             tm_isa_name(isa), tm_dtype_name(p->base_dtype),
             tm_dtype_name(p->dtype), p->n, what, got[0], n > 1 ? got[1] : 0,
             want[0], n > 1 ? want[1] : 0);
}

/* Counters start anywhere: they are added to. */
static uint32_t first_count(size_t bin)
{
    return (uint32_t)bin * 2654435761u;
}

static void check_isa(const struct pair *p, enum tm_isa isa,
                      const struct tm_drift *want, const uint32_t *counts)
{
    static uint32_t got_counts[TM_DRIFT_BINS];
    struct tm_drift got;

    memset(&got, 0xa5, sizeof(got));
    for (size_t i = 0; i < TM_DRIFT_BINS; i++)
        got_counts[i] = first_count(i);
    tm_drift_measure(isa, p->base_dtype, p->base, p->dtype, p->tuned, p->n,
                     &got, got_counts);
    for (size_t i = 0; i < TM_DRIFT_BINS; i++)
        assert_int_equal(got_counts[i] - first_count(i), counts[i]);
    assert_int_equal(got.changed, want->changed);
    same_bits("largest", p, isa, &got.largest, &want->largest, 1);
    same_bits("sum", p, isa, got.sum, want->sum, 4);
    same_bits("absolute", p, isa, got.absolute, want->absolute, 4);
    same_bits("squares", p, isa, got.squares, want->squares, 4);
}

/* With every instruction set. Returns what the reference found. */
static struct tm_drift check(const struct pair *p)
{
    static uint32_t counts[TM_DRIFT_BINS];
    struct tm_drift want;

    memset(counts, 0, sizeof(counts));
    ref_drift(p, &want, counts);
    for (int isa = 0; isa < TM_NUM_ISAS; isa++)
        if (tm_isa_available((enum tm_isa)isa))
            check_isa(p, (enum tm_isa)isa, &want, counts);
    return want;
}

/* --- memory that ends where it should ---------------------------------- */

/* `size` bytes with a page before and after that nobody may touch. */
struct guarded {
    char *map, *data;
    size_t size;
};

static struct guarded guard(size_t size)
{
    struct guarded g;

    g.size = (size + PAGE - 1) / PAGE * PAGE;
    g.map = mmap(NULL, g.size + 2 * PAGE, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    g.data = g.map + PAGE;
    assert_int_equal(mprotect(g.data, g.size, PROT_READ | PROT_WRITE), 0);
    return g;
}

static void unguard(struct guarded *g)
{
    munmap(g->map, g->size + 2 * PAGE);
}

/* Room for a pair, and the pair. */
struct bench {
    struct guarded base, tuned;
    struct pair pair;
};

static struct bench set_up(enum tm_dtype b, enum tm_dtype x, size_t n)
{
    struct bench t;

    t.base = guard(n * ref_formats[b].bytes + 64);
    t.tuned = guard(n * ref_formats[x].bytes + 64);
    t.pair = (struct pair){b, x, t.base.data, t.tuned.data, n};
    return t;
}

static void tear_down(struct bench *t)
{
    unguard(&t->base);
    unguard(&t->tuned);
}

/* --- elements ------------------------------------------------------------ */

static uint64_t seed = 1;

static uint64_t next_random(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

enum flavour {
    ORDINARY, /* about 1, of either sign */
    SMALL,    /* where this type has subnormals */
    ANY,      /* any bits */
    MIXED,    /* ordinary, and one in 256 any bits */
    NUM_FLAVOURS
};

static uint64_t random_code(enum tm_dtype type, enum flavour flavour)
{
    double r = (double)(int64_t)next_random() / ldexp(1, 63);
    uint64_t sign = ref_sign(type);
    int m = ref_formats[type].mantissa_bits;

    if (flavour == ANY || (flavour == MIXED && next_random() % 256 == 0))
        return next_random() & (2 * sign - 1);
    if (flavour == SMALL)
        return (next_random() & ((UINT64_C(4) << m) - 1)) |
               (next_random() & sign);
    return ref_encode(type, r);
}

static void fill(enum tm_dtype type, void *data, size_t n, enum flavour flavour)
{
    for (size_t i = 0; i < n; i++)
        ref_put(type, data, i, random_code(type, flavour));
}

/*
 * Tuned like a model: of `types` equal, `changed` of 1024 elements are some
 * units in the last place away from the base, the others equal.
 */
static void fine_tune(struct bench *t, unsigned changed)
{
    enum tm_dtype type = t->pair.dtype;

    for (size_t i = 0; i < t->pair.n; i++) {
        uint64_t code = random_code(type, ORDINARY);

        ref_put(type, t->base.data, i, code);
        if (next_random() % 1024 < changed)
            code += next_random() % 9;
        ref_put(type, t->tuned.data, i, code & (2 * ref_sign(type) - 1));
    }
}

static void fill_both(struct bench *t, enum flavour flavour)
{
    fill(t->pair.base_dtype, t->base.data, t->pair.n, flavour);
    fill(t->pair.dtype, t->tuned.data, t->pair.n, flavour);
}

/* --- tests --------------------------------------------------------------- */

static void every_pair_of_types_is_right(void **state)
{
    const size_t n = 2048 + 64 + 7;

    (void)state;
    for (int i = 0; i < TM_NUM_FLOATS * TM_NUM_FLOATS; i++) {
        struct bench t = set_up((enum tm_dtype)(i / TM_NUM_FLOATS),
                                (enum tm_dtype)(i % TM_NUM_FLOATS), n);

        for (int f = 0; f < NUM_FLAVOURS; f++) {
            fill_both(&t, (enum flavour)f);
            check(&t.pair);
        }
        tear_down(&t);
    }
}

/* All codes of a small type against a random one, and against their own. */
static void every_code_is_right(void **state)
{
    (void)state;
    for (int type = 0; type < TM_F32; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        size_t n = (size_t)ref_sign(d) * 2;
        struct bench t = set_up(d, d, n);

        for (size_t i = 0; i < n; i++)
            ref_put(d, t.base.data, i, i);
        fill(d, t.tuned.data, n, ORDINARY);
        check(&t.pair);
        fill(d, t.tuned.data, n, ANY);
        check(&t.pair);
        memcpy(t.tuned.data, t.base.data, n * ref_formats[d].bytes);
        assert_int_equal(check(&t.pair).changed, 0);
        tear_down(&t);
    }
}

static void fine_tunes_are_right(void **state)
{
    static const unsigned changed[] = {0, 1, 10, 100, 500, 1024};

    (void)state;
    for (int type = 0; type < TM_NUM_FLOATS; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        struct bench t = set_up(d, d, TM_DRIFT_BLOCK + 2000 + 5);

        for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++) {
            t.pair.n = TM_DRIFT_BLOCK + 2000 + 5;
            fine_tune(&t, changed[i]);
            check(&t.pair);
            t.pair.n = 3000;
            check(&t.pair);
        }
        tear_down(&t);
    }
}

/* Arrays at the very start of their pages, and at the very end. */
static void check_ends(struct bench *t, size_t n)
{
    struct pair p = t->pair;

    p.n = n;
    check(&p);
    p.base = t->base.data + t->base.size - n * ref_formats[p.base_dtype].bytes;
    p.tuned = t->tuned.data + t->tuned.size - n * ref_formats[p.dtype].bytes;
    check(&p);
}

static void nothing_outside_the_arrays_is_touched(void **state)
{
    (void)state;
    for (int type = 0; type < TM_NUM_FLOATS; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        enum tm_dtype other = (enum tm_dtype)((type + 1) % TM_NUM_FLOATS);
        struct bench t = set_up(d, d, PAGE / 8 - 8);
        struct bench u = set_up(d, other, PAGE / 8 - 8);

        fill(d, t.base.data, t.base.size / ref_formats[d].bytes, ORDINARY);
        fill(d, t.tuned.data, t.base.size / ref_formats[d].bytes, ORDINARY);
        memcpy(u.base.data, t.base.data, u.base.size);
        fill(other, u.tuned.data, u.tuned.size / ref_formats[other].bytes,
             ORDINARY);
        for (size_t n = 0; n <= 300; n++) {
            check_ends(&t, n);
            check_ends(&u, n);
        }
        tear_down(&t);
        tear_down(&u);
    }
}

static void any_address_is_right(void **state)
{
    (void)state;
    for (int type = 0; type < TM_NUM_FLOATS; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        struct bench t = set_up(d, d, 300);

        for (size_t shift = 0; shift < 64; shift++) {
            char *base = t.base.data + shift * 7 % 64;
            char *tuned = t.tuned.data + shift;

            fill(d, base, 300, ORDINARY);
            fill(d, tuned, 300, ORDINARY);
            t.pair.base = base;
            t.pair.tuned = tuned;
            check(&t.pair);
        }
        tear_down(&t);
    }
}

/* Lengths at and around the ends of blocks. */
static void check_blocks(enum tm_dtype b, enum tm_dtype x, enum flavour flavour)
{
    static const int around[] = {-65, -1, 0, 1, 9, 64};
    struct bench t = set_up(b, x, TM_DRIFT_MOST);

    fill_both(&t, flavour);
    for (size_t block = 1; block <= 4; block++) {
        for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++) {
            t.pair.n = block * TM_DRIFT_BLOCK + (size_t)around[i];
            if (t.pair.n <= TM_DRIFT_MOST)
                check(&t.pair);
        }
    }
    tear_down(&t);
}

static void blocks_are_summed_apart(void **state)
{
    (void)state;
    for (int f = ORDINARY; f < NUM_FLAVOURS; f++)
        check_blocks(TM_BF16, TM_BF16, (enum flavour)f);
    check_blocks(TM_F32, TM_F16, MIXED);
    check_blocks(TM_F64, TM_F64, MIXED);
}

/* As many as there can be in one counter, and in two that alternate. */
static void counters_hold_the_most_elements(void **state)
{
    struct bench t = set_up(TM_BF16, TM_BF16, TM_DRIFT_MOST);
    struct tm_drift d;

    (void)state;
    memset(t.base.data, 0, t.base.size);
    for (size_t i = 0; i < TM_DRIFT_MOST; i++)
        ref_put(TM_BF16, t.tuned.data, i, 0x3f80);
    d = check(&t.pair);
    assert_int_equal(d.changed, TM_DRIFT_MOST);
    for (size_t b = 0; b < 4; b++)
        assert_true(d.sum[b] == (double)TM_DRIFT_BLOCK);
    for (size_t i = 0; i < TM_DRIFT_MOST; i += 2)
        ref_put(TM_BF16, t.tuned.data, i, 0xbf81);
    d = check(&t.pair);
    assert_true(d.largest == 0x1.02p0);
    assert_true(d.sum[3] == -0x0.02p0 / 2 * (double)TM_DRIFT_BLOCK);
    tear_down(&t);
}

/*
 * The first and the last number of every bin: of the floats, and of the
 * doubles, where the last one is much closer to the next bin.
 */
static void check_every_bin(enum tm_dtype type)
{
    size_t bins = ref_count[TM_BF16], n = 2 * bins;
    struct bench t = set_up(type, type, 2 * n);

    memset(t.base.data, 0, t.base.size);
    memset(t.tuned.data, 0, t.tuned.size);
    for (size_t k = 0; k < bins; k++) {
        uint64_t at = ref_encode(type, ref_values[TM_BF16][k]);
        uint64_t next = k + 1 < bins
                            ? ref_encode(type, ref_values[TM_BF16][k + 1])
                            : ref_encode(type, (double)INFINITY);

        if (k % 3 == 0)
            at |= ref_sign(type);
        ref_put(type, t.tuned.data, k, at);
        ref_put(type, t.tuned.data, n - 1 - k, next - 1);
    }
    /* All but zero; alone, and with so many behind that counting differs. */
    assert_int_equal(check(&t.pair).changed, n - 1);
    t.pair.n = n;
    assert_int_equal(check(&t.pair).changed, n - 1);
    tear_down(&t);
}

static void bins_begin_and_end_where_they_should(void **state)
{
    (void)state;
    check_every_bin(TM_F32);
    check_every_bin(TM_F64);
}

/* --- one pair of values, by hand ----------------------------------------- */

/* Everything zero but element 21 of 100. */
static struct tm_drift one(enum tm_dtype type, uint64_t b, uint64_t x,
                           size_t *bin)
{
    static uint32_t counts[TM_DRIFT_BINS];
    struct bench t = set_up(type, type, 100);
    struct tm_drift drift;
    enum tm_isa isa;

    memset(t.base.data, 0, t.base.size);
    memset(t.tuned.data, 0, t.tuned.size);
    memset(counts, 0, sizeof(counts));
    ref_put(type, t.base.data, 21, b);
    ref_put(type, t.tuned.data, 21, x);
    check(&t.pair);
    assert_true(tm_isa_choose(NULL, &isa));
    tm_drift_measure(isa, type, t.base.data, type, t.tuned.data, 100, &drift,
                     counts);
    for (*bin = 0; *bin < TM_DRIFT_BINS && counts[*bin] == 0;)
        ++*bin;
    tear_down(&t);
    return drift;
}

static uint64_t code64(double value)
{
    return ref_encode(TM_F64, value);
}

static void values_are_what_they_should_be(void **state)
{
    size_t bin;
    struct tm_drift d = one(TM_BF16, 0x3f80, 0xc000, &bin); /* 1 to -2 */

    (void)state;
    assert_int_equal(d.changed, 1);
    assert_true(d.sum[0] == -3 && d.absolute[0] == 3 && d.squares[0] == 9);
    assert_true(d.largest == 3);
    assert_int_equal(bin, 0x4040);
    assert_true(d.sum[1] == 0 && d.absolute[1] == 0 && d.squares[3] == 0);

    /* Least subnormals, whose t is one, too. */
    d = one(TM_F32, 2, 1, &bin);
    assert_true(d.sum[0] == -0x1p-149 && d.squares[0] == 0x1p-298);
    assert_int_equal(bin, 0);
    d = one(TM_F64, 1, 0, &bin);
    assert_true(d.largest == 0x1p-1074 && d.squares[0] == 0);
    assert_int_equal(d.changed, 1);
    assert_int_equal(bin, 0);

    /* The double just below 1 belongs to the bin below. */
    d = one(TM_F64, 0, code64(1) - 1, &bin);
    assert_int_equal(bin, 0x3f7f);
}

static void zeros_of_either_sign_are_no_change(void **state)
{
    static const uint64_t plus = 0;

    (void)state;
    for (int type = 0; type < TM_NUM_FLOATS; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        size_t bin;
        struct tm_drift a = one(d, plus, ref_sign(d), &bin);
        struct tm_drift b = one(d, ref_sign(d), plus, &bin);

        assert_int_equal(a.changed + b.changed, 0);
        assert_int_equal(bin, TM_DRIFT_BINS);
        assert_true(!signbit(a.sum[0]) && !signbit(b.sum[0]));
    }
}

static void nonfinite_differences_count_nowhere(void **state)
{
    static const uint64_t pairs[][2] =
        {
            {0x3f80, 0x7fc0}, {0x7f80, 0x3f80}, {0x7f80, 0x7f80},
            {0x7fc0, 0x7fc0}, {0xff80, 0x7f80}, {0xffff, 0},
            {0xff7f, 0x7f7f}, /* finite, but t is not */
        };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        size_t bin;
        struct tm_drift d = one(TM_BF16, pairs[i][0], pairs[i][1], &bin);

        assert_int_equal(d.changed, 0);
        assert_int_equal(bin, TM_DRIFT_BINS);
        assert_true(d.largest == 0 && d.sum[0] == 0 && d.absolute[0] == 0);
    }
}

static void huge_doubles_have_the_last_bin(void **state)
{
    static const double values[] = {0x1p128, -0x1.fffffffffffffp127, 1e300,
                                    -0x1.fffffffffffffp1023};

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        size_t bin;
        struct tm_drift d = one(TM_F64, 0, code64(values[i]), &bin);

        assert_int_equal(bin, 0x7f7f);
        assert_true(d.sum[0] == values[i]);
        assert_true(d.squares[0] == values[i] * values[i]);
    }
}

/* Lanes 0 and 4 overflow: to infinity, or to both and so to a NaN. */
static void overflow_of_sums_is_the_same_everywhere(void **state)
{
    struct bench t = set_up(TM_F64, TM_F64, 128);
    const double huge = 0x1.fffffffffffffp1023, nan = (double)NAN;
    struct tm_drift d;

    (void)state;
    memset(t.base.data, 0, t.base.size);
    memset(t.tuned.data, 0, t.tuned.size);
    for (size_t i = 0; i < 128; i += 8)
        ref_put(TM_F64, t.tuned.data, i, code64(huge));
    d = check(&t.pair);
    assert_true(isinf(d.sum[0]) && isinf(d.squares[0]) && d.largest == huge);
    for (size_t i = 4; i < 128; i += 8)
        ref_put(TM_F64, t.tuned.data, i, code64(-huge));
    d = check(&t.pair);
    assert_memory_equal(&d.sum[0], &nan, sizeof(nan));
    assert_true(isinf(d.absolute[0]));
    tear_down(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_types_is_right),
        cmocka_unit_test(every_code_is_right),
        cmocka_unit_test(fine_tunes_are_right),
        cmocka_unit_test(nothing_outside_the_arrays_is_touched),
        cmocka_unit_test(any_address_is_right),
        cmocka_unit_test(blocks_are_summed_apart),
        cmocka_unit_test(counters_hold_the_most_elements),
        cmocka_unit_test(bins_begin_and_end_where_they_should),
        cmocka_unit_test(values_are_what_they_should_be),
        cmocka_unit_test(zeros_of_either_sign_are_no_change),
        cmocka_unit_test(nonfinite_differences_count_nowhere),
        cmocka_unit_test(huge_doubles_have_the_last_bin),
        cmocka_unit_test(overflow_of_sums_is_the_same_everywhere),
    };

    (void)ref_sum; /* the rest of sum_reference.h is of use here */
    ref_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
