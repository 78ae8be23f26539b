/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_strip: every instruction set of this machine gives the bits of a
 * reference that goes through the elements one by one, whatever the types,
 * lengths, addresses and values; and angles are those of the C library.
 *
 * Arrays end where memory does. What is behind their n-th element is filled
 * with NaNs before each call, so that it shows if it counts.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <unistd.h>

#include "kernels/angle.h"
#include "kernels/strip.h"
#include "tests/unit/sum_reference.h"

#define PAGE   ((size_t)65536) /* a multiple of every page size */
#define MOST   ((size_t)4160)  /* floats in an array */
#define MOST_K 11
#define PI     3.14159265358979323846

/* --- lengths and instruction sets --------------------------------------- */

static const size_t long_lengths[] = {255, 1000, 1024, 4095, 4096};

/* The length after n: 0 to 200, then a few long ones, then SIZE_MAX. */
static size_t next_length(size_t n)
{
    if (n < 200)
        return n + 1;
    for (size_t i = 0; i < sizeof(long_lengths) / sizeof(long_lengths[0]); i++)
        if (long_lengths[i] > n)
            return long_lengths[i];
    return SIZE_MAX;
}

/* The first available instruction set from number `isa` on. */
static enum tm_isa isa_from(int isa)
{
    while (isa < TM_NUM_ISAS && !tm_isa_available((enum tm_isa)isa))
        isa++;
    return (enum tm_isa)isa;
}

static enum tm_isa next_isa(enum tm_isa isa)
{
    return isa_from((int)isa + 1);
}

/* --- memory that ends where it should ----------------------------------- */

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

static size_t padded(size_t n)
{
    return (n + 63) / 64 * 64;
}

/* n elements that end where g does, or begin at some address. */
static char *elements(const struct guarded *g, enum tm_dtype type, size_t n)
{
    if (n % 2 == 0)
        return g->data + g->size - n * ref_formats[type].bytes;
    return g->data + 8 + n % 15;
}

/* An array of n floats at the end of g, with NaNs behind the n-th. */
static float *array(const struct guarded *g, size_t n)
{
    float *x = (float *)(void *)(g->data + g->size) - padded(n);

    for (size_t i = n; i < padded(n); i++)
        x[i] = i % 3 == 0 ? -INFINITY : (float)NAN;
    return x;
}

/* --- elements ----------------------------------------------------------- */

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
    MIXED,    /* ordinary, and one in 64 special */
    NUM_FLAVOURS
};

/* Infinities, zeros, and NaNs of which some are the same in many types. */
static uint64_t special(enum tm_dtype type)
{
    uint64_t sign = next_random() % 2 * ref_sign(type);
    uint64_t codes[] = {0, ref_encode(type, (double)INFINITY),
                        ref_formats[type].nan, ref_formats[type].nan | 1,
                        ref_sign(type) - 1};

    return sign | codes[next_random() % 5];
}

static uint64_t random_code(enum tm_dtype type, enum flavour flavour)
{
    double r = (double)(int64_t)next_random() / ldexp(1, 63);
    uint64_t sign = ref_sign(type);
    int m = ref_formats[type].mantissa_bits;

    if (flavour == MIXED && next_random() % 64 == 0)
        return special(type);
    if (flavour == ANY)
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

/* Finite floats: small whole numbers (so that sums meet), and all others. */
static float random_float(void)
{
    uint64_t r = next_random();
    float small = (float)((int)(r >> 8 & 7) - 3);
    float any = (float)ref_decode(TM_F32, r >> 32);

    switch (r % 8) {
    case 0:
        return isfinite(any) ? any : 1;
    case 1:
        return (float)ref_decode(TM_F32, r >> 40 & 0x80ffffff); /* tiny */
    case 2:
        return -0.0f;
    case 3:
    case 4:
        return small;
    default:
        return (float)((double)(int64_t)r / ldexp(1, 63));
    }
}

static void fill_floats(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float();
}

/* --- comparing ---------------------------------------------------------- */

static void same_floats(const char *what, enum tm_isa isa, const float *got,
                        const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof(*got)) != 0)
            fail_msg("%s, %s: element %zu of %zu is %a, not %a", what,
                     tm_isa_name(isa), i, n, (double)got[i], (double)want[i]);
}

static void same_doubles(const char *what, enum tm_isa isa, size_t n,
                         const double *got, const double *want, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&got[i], &want[i], sizeof(*got)) != 0)
            fail_msg("%s, %s, %zu elements: sum %zu is %a, not %a", what,
                     tm_isa_name(isa), n, i, got[i], want[i]);
}

/* --- from elements of a tensor ------------------------------------------ */

/* A code as a float: rounded only if it is F64. */
static float ref_widen(enum tm_dtype type, uint64_t code)
{
    double value = ref_decode(type, code);
    unsigned m = (unsigned)ref_formats[type].mantissa_bits;
    uint64_t bits, payload = code & ((UINT64_C(1) << m) - 1);
    float r;

    bits = ref_encode(TM_F32, value);
    if (isnan(value) && type == TM_F8_E4M3)
        bits = 0x7fc00000;
    else if (isnan(value) && type != TM_F64)
        bits = 0x7f800000 | payload << (23 - m);
    if (isnan(value) && type != TM_F64 && (code & ref_sign(type)) != 0)
        bits |= 0x80000000;
    memcpy(&r, &bits, sizeof(r));
    return r;
}

static float ref_differ(enum tm_dtype bt, uint64_t b, enum tm_dtype xt,
                        uint64_t x)
{
    volatile double wide = ref_decode(xt, x) - ref_decode(bt, b);
    volatile float narrow = (float)ref_decode(xt, x);

    if (ref_same(xt, x, bt, b) && !(wide == 0 && (x == 0) != (b == 0)))
        return 0;
    narrow -= (float)ref_decode(bt, b);
    if (bt == TM_F64 || xt == TM_F64)
        return ref_widen(TM_F64, ref_encode(TM_F64, wide));
    return isnan(narrow) ? ref_widen(TM_F32, 0x7fc00000) : narrow;
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* Base, tuned and room for their difference. */
struct pair {
    enum tm_dtype bt, xt;
    const void *b, *x;
    struct guarded out;
};

static void check_widen(const struct pair *p, size_t n)
{
    static float want[MOST];

    for (size_t i = 0; i < n; i++)
        want[i] = ref_widen(p->xt, ref_get(p->xt, p->x, i));
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        float *out = array(&p->out, n);
        bool finite = tm_strip_widen(isa, p->xt, p->x, n, out);

        same_floats(tm_dtype_name(p->xt), isa, out, want, n);
        assert_int_equal(finite, all_finite(want, n));
    }
}

static void check_differ(const struct pair *p, size_t n)
{
    static float want[MOST];

    for (size_t i = 0; i < n; i++)
        want[i] = ref_differ(p->bt, ref_get(p->bt, p->b, i), p->xt,
                             ref_get(p->xt, p->x, i));
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        float *out = array(&p->out, n);
        bool finite = tm_strip_differ(isa, p->bt, p->b, p->xt, p->x, n, out);

        same_floats(tm_dtype_name(p->bt), isa, out, want, n);
        assert_int_equal(finite, all_finite(want, n));
    }
}

static void check_loads(enum tm_dtype bt, enum tm_dtype xt)
{
    struct guarded b = guard(MOST * 8), x = guard(MOST * 8);
    struct pair p = {bt, xt, b.data, x.data, guard(MOST * 4)};

    for (int f = 0; f < NUM_FLAVOURS; f++) {
        for (size_t n = 0; n != SIZE_MAX; n = next_length(n)) {
            char *bd = elements(&b, bt, n), *xd = elements(&x, xt, n);

            if (n % 7 != 0 && f != ORDINARY)
                continue;
            p.b = bd;
            p.x = xd;
            fill(bt, bd, n, (enum flavour)f);
            fill(xt, xd, n, (enum flavour)f);
            check_differ(&p, n);
            if (bt == xt) {
                check_widen(&p, n);
                p.b = p.x;
                check_differ(&p, n);
            }
        }
    }
    unguard(&b);
    unguard(&x);
    unguard(&p.out);
}

static void elements_are_widened_and_subtracted(void **state)
{
    (void)state;
    for (int i = 0; i < TM_NUM_FLOATS * TM_NUM_FLOATS; i++)
        check_loads((enum tm_dtype)(i / TM_NUM_FLOATS),
                    (enum tm_dtype)(i % TM_NUM_FLOATS));
}

/* All codes of a small type, 4096 at a time. */
static void every_code_is_widened(void **state)
{
    static uint64_t data[MOST];
    struct pair p = {TM_F64, TM_F64, data, data, guard(MOST * 4)};

    (void)state;
    for (int type = 0; type < TM_F32; type++) {
        size_t codes = (size_t)ref_sign((enum tm_dtype)type) * 2;
        size_t n = codes < 4096 ? codes : 4096;

        p.xt = (enum tm_dtype)type;
        for (size_t c = 0; c < codes; c += n) {
            for (size_t i = 0; i < n; i++)
                ref_put(p.xt, data, i, c + i);
            check_widen(&p, n);
        }
    }
    unguard(&p.out);
}

/* One pair of elements by hand, among 99 that do not differ. */
static uint32_t differ_one(enum tm_dtype bt, uint64_t b, enum tm_dtype xt,
                           uint64_t x, bool *finite)
{
    uint64_t base[100] = {0}, tuned[100] = {0};
    struct guarded g = guard(MOST * 4);
    float *out = array(&g, 100);
    uint32_t bits;
    enum tm_isa isa;

    ref_put(bt, base, 70, b);
    ref_put(xt, tuned, 70, x);
    assert_true(tm_isa_choose(NULL, &isa));
    *finite = tm_strip_differ(isa, bt, base, xt, tuned, 100, out);
    memcpy(&bits, &out[70], sizeof(bits));
    for (size_t i = 0; i < 100; i++)
        assert_true(i == 70 || out[i] == 0);
    unguard(&g);
    return bits;
}

static void differences_are_what_they_should_be(void **state)
{
    static const struct {
        enum tm_dtype bt;
        uint64_t b;
        enum tm_dtype xt;
        uint64_t x;
        uint32_t difference;
        bool finite;
    } cases[] = {
        {TM_BF16, 0x3f80, TM_BF16, 0xc000, 0xc0400000, true}, /* -2 - 1 */
        {TM_BF16, 0x7f80, TM_BF16, 0x7f80, 0, true},
        {TM_BF16, 0xff80, TM_F32, 0xff800000, 0, true},
        {TM_BF16, 0x7fc1, TM_F16, 0x7e08, 0, true}, /* one payload */
        {TM_BF16, 0x7fc1, TM_F16, 0x7e09, 0x7fc00000, false},
        {TM_BF16, 0x7fc0, TM_BF16, 0xffc0, 0x7fc00000, false},
        {TM_BF16, 0xffc0, TM_F8_E4M3, 0xff, 0, true},
        {TM_F8_E4M3, 0x7f, TM_F8_E5M2, 0x7e, 0, true},
        {TM_F8_E4M3, 0x7f, TM_F8_E5M2, 0x7f, 0x7fc00000, false},
        {TM_BF16, 0x3f80, TM_BF16, 0x7f80, 0x7f800000, false},
        {TM_BF16, 0x7f80, TM_BF16, 0xff80, 0xff800000, false},
        {TM_BF16, 0x7f80, TM_BF16, 0xffc0, 0x7fc00000, false},
        {TM_BF16, 0xff7f, TM_BF16, 0x7f7f, 0x7f800000, false}, /* overflow */
        {TM_F32, 0x00000000, TM_F32, 0x80000000, 0x80000000, true},
        {TM_F32, 0x80000000, TM_F32, 0x80000000, 0, true},
        {TM_F32, 0x00000001, TM_F32, 0x80000000, 0x80000001, true},
        {TM_F64, UINT64_C(0x3ff0000000000001), TM_F32, 0x3f800000, 0xa5800000,
         true}, /* -2^-52 */
        {TM_F64, UINT64_C(0x7ff0000000000001), TM_F64,
         UINT64_C(0x7ff0000000000001), 0, true},
        {TM_F64, 0, TM_F64, UINT64_C(0x47f0000000000000), 0x7f800000, false},
        {TM_F64, UINT64_C(0x7ff0000000000000), TM_BF16, 0x7f80, 0, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool finite;
        uint32_t bits = differ_one(cases[i].bt, cases[i].b, cases[i].xt,
                                   cases[i].x, &finite);

        assert_int_equal(bits, cases[i].difference);
        assert_int_equal(finite, cases[i].finite);
    }
}

/* --- to elements of a tensor -------------------------------------------- */

/* base + s to `out`; `base` NULL: s. */
struct ending {
    enum tm_dtype bt, ot;
    const void *base;
    const float *s;
    char *out;
    size_t n;
};

static void ref_finish(const struct ending *e, void *out,
                       struct tm_sum_stats *stats)
{
    for (size_t i = 0; i < e->n; i++) {
        uint64_t b = e->base == NULL ? 0 : ref_get(e->bt, e->base, i), code;
        double vb = e->base == NULL ? 0 : ref_decode(e->bt, b);
        volatile double wide = vb + (double)e->s[i];
        volatile float narrow = (float)vb + e->s[i];

        if (e->base == NULL)
            code = ref_encode(e->ot, (double)e->s[i]);
        else if (e->s[i] == 0)
            code = e->bt == e->ot ? b : ref_encode(e->ot, vb);
        else
            code = ref_encode(e->ot, e->bt == TM_F64 ? wide : (double)narrow);
        ref_put(e->ot, out, i, code);
        stats->nonfinite_inputs += !isfinite(vb);
        if (!isfinite(ref_decode(e->ot, code))) {
            stats->nonfinite_outputs++;
            stats->overflows += isfinite(vb) != 0;
        }
    }
}

static void check_finish(const struct ending *e)
{
    static uint64_t want[MOST];
    size_t size = e->n * ref_formats[e->ot].bytes;
    struct tm_sum_stats expected = {1, 2, 3};

    ref_finish(e, want, &expected);
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        struct tm_sum_stats stats = {1, 2, 3};

        memset(e->out - 8, 0xa5, 8);
        memset(e->out, 0x5a, size);
        tm_strip_finish(isa, e->bt, e->base, e->s, e->n, e->ot, e->out, &stats);
        for (size_t i = 0; i < e->n; i++)
            if (ref_get(e->ot, e->out, i) != ref_get(e->ot, want, i))
                fail_msg("%s to %s, %s: element %zu of %zu is %#llx",
                         tm_dtype_name(e->bt), tm_dtype_name(e->ot),
                         tm_isa_name(isa), i, e->n,
                         (unsigned long long)ref_get(e->ot, e->out, i));
        assert_int_equal((unsigned char)e->out[-1], 0xa5);
        assert_int_equal(stats.nonfinite_inputs, expected.nonfinite_inputs);
        assert_int_equal(stats.nonfinite_outputs, expected.nonfinite_outputs);
        assert_int_equal(stats.overflows, expected.overflows);
    }
}

static void check_ends(enum tm_dtype bt, enum tm_dtype ot)
{
    struct guarded b = guard(MOST * 8), s = guard(MOST * 4);
    struct guarded out = guard(MOST * 8 + 64);
    struct ending e = {.bt = bt, .ot = ot};

    for (int f = 0; f < NUM_FLAVOURS; f++) {
        for (size_t n = 0; n != SIZE_MAX; n = next_length(n)) {
            char *base = elements(&b, bt, n);
            float *sums = array(&s, n);

            if (n % 7 != 0 && f != MIXED)
                continue;
            fill(bt, base, n, (enum flavour)f);
            fill_floats(sums, n);
            for (size_t i = 0; i < n && f == ORDINARY; i++)
                sums[i] = (float)((double)(int64_t)next_random() * 0x1p-66);
            e.s = sums;
            e.n = n;
            e.out = elements(&out, ot, n);
            e.base = base;
            check_finish(&e);
            e.base = NULL;
            check_finish(&e);
        }
    }
    unguard(&b);
    unguard(&s);
    unguard(&out);
}

static void sums_are_added_and_rounded(void **state)
{
    (void)state;
    for (int i = 0; i < TM_NUM_FLOATS * TM_NUM_FLOATS; i++)
        check_ends((enum tm_dtype)(i / TM_NUM_FLOATS),
                   (enum tm_dtype)(i % TM_NUM_FLOATS));
}

/* --- arrays ------------------------------------------------------------- */

/* k arrays, one that is written, and weights. */
struct arrays {
    struct guarded in[MOST_K], out;
    const float *x[MOST_K];
    float w[MOST_K];
    float *result;
};

static void set_up(struct arrays *a)
{
    for (size_t k = 0; k < MOST_K; k++)
        a->in[k] = guard(MOST * 4);
    a->out = guard(MOST * 4);
}

static void tear_down(struct arrays *a)
{
    for (size_t k = 0; k < MOST_K; k++)
        unguard(&a->in[k]);
    unguard(&a->out);
}

/* New values, n of each; some arrays agree in some elements. */
static void renew(struct arrays *a, size_t n)
{
    for (size_t k = 0; k < MOST_K; k++) {
        float *x = array(&a->in[k], n);

        fill_floats(x, n);
        for (size_t i = 0; i < n && k > 0; i += 1 + next_random() % 4)
            x[i] = a->x[next_random() % k][i];
        a->x[k] = x;
        a->w[k] = k % 4 == 3 ? -a->w[k - 1] : random_float();
    }
    a->result = array(&a->out, n);
}

/* Where what is written is not read, nothing may depend on what was there. */
static float *result_of(struct arrays *a, size_t n)
{
    a->result = array(&a->out, n);
    memset(a->result, 0xff, n * sizeof(float));
    return a->result;
}

/* --- reductions --------------------------------------------------------- */

#define PAIRS (MOST_K * (MOST_K + 1) / 2)

static void first_sums(double (*sums)[8])
{
    for (size_t s = 0; s < PAIRS; s++)
        for (size_t lane = 0; lane < 8; lane++)
            sums[s][lane] = (double)(s * 8 + lane) / 7;
}

static void check_dots(struct arrays *a, size_t k, size_t n)
{
    static double got[PAIRS][8], want[PAIRS][8];
    size_t s = 0;

    first_sums(want);
    for (size_t i = 0; i < k; i++) {
        for (size_t j = i; j < k; j++, s++) {
            assert_int_equal(tm_pair(k, i, j), s);
            for (size_t e = 0; e < n; e++) {
                double product = (double)a->x[i][e] * (double)a->x[j][e];

                want[s][e % 8] += product;
            }
        }
    }
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        first_sums(got);
        tm_strip_dots(isa, a->x, k, n, got);
        same_doubles("dots", isa, n, got[0], want[0], PAIRS * 8);
    }
}

static void dots_are_summed_in_lanes(void **state)
{
    struct arrays a;

    (void)state;
    set_up(&a);
    for (size_t n = 0; n != SIZE_MAX; n = next_length(n)) {
        renew(&a, n);
        for (size_t k = 1; k <= MOST_K; k++)
            if (n < 70 || (n + k) % 8 == 0)
                check_dots(&a, k, n);
    }
    tear_down(&a);
}

enum sum { MAGNITUDES, SQUARES, ABOVE, NUM_SUMS };

static double ref_term(enum sum sum, float x, uint32_t high)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    if (sum == SQUARES)
        return (double)x * (double)x;
    if (sum == ABOVE && bits % 0x80000000 / 0x10000 <= high)
        return 0;
    return x < 0 ? -(double)x : (double)x;
}

static void run_sum(enum tm_isa isa, enum sum sum, const float *x, size_t n,
                    uint32_t high, double *to)
{
    if (sum == MAGNITUDES)
        tm_strip_sum_magnitudes(isa, x, n, to);
    else if (sum == SQUARES)
        tm_strip_sum_squares(isa, x, n, to);
    else
        tm_strip_sum_above(isa, x, n, high, to);
}

static void check_sum(enum sum sum, const float *x, size_t n, uint32_t high)
{
    static const char *const names[] = {"magnitudes", "squares", "above"};
    double want[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    for (size_t i = 0; i < n; i++)
        want[i % 8] += ref_term(sum, x[i], high);
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        double got[8] = {1, 2, 3, 4, 5, 6, 7, 8};

        run_sum(isa, sum, x, n, high, got);
        same_doubles(names[sum], isa, n, got, want, 8);
    }
}

static void sums_are_made_in_lanes(void **state)
{
    static const uint32_t highs[] = {0,      1,          0x3f80,    0x4000,
                                     0x4040, 0x7f7e,     0x7f7f,    0x7fff,
                                     0x8000, 0x80000000, UINT32_MAX};
    struct arrays a;

    (void)state;
    set_up(&a);
    for (size_t n = 0; n != SIZE_MAX; n = next_length(n)) {
        renew(&a, n);
        check_sum(MAGNITUDES, a.x[0], n, 0);
        check_sum(SQUARES, a.x[0], n, 0);
        for (size_t h = 0; h < sizeof(highs) / sizeof(highs[0]); h++)
            check_sum(ABOVE, a.x[0], n, highs[h]);
    }
    tear_down(&a);
}

static void what_is_not_zero_is_counted(void **state)
{
    struct arrays a;

    (void)state;
    set_up(&a);
    for (size_t n = 0; n != SIZE_MAX; n = next_length(n)) {
        uint64_t want = n;

        renew(&a, n);
        for (size_t i = 0; i < n; i++)
            want -= a.x[0][i] == 0;
        for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
             isa = next_isa(isa))
            assert_int_equal(tm_strip_count_nonzero(isa, a.x[0], n), want);
    }
    tear_down(&a);
}

/* More than a kernel counts at once. */
static void many_are_counted(void **state)
{
    const size_t n = ((size_t)1 << 21) + 37;
    struct guarded g = guard(padded(n) * 4);
    float *x = array(&g, n);

    (void)state;
    for (size_t i = 0; i < n; i++)
        x[i] = i % 2 == 0 ? 1 : 0x1p-149f;
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS; isa = next_isa(isa))
        assert_int_equal(tm_strip_count_nonzero(isa, x, n), n);
    unguard(&g);
}

/* --- element by element ------------------------------------------------- */

static void check_scale(struct arrays *a, size_t n, float c)
{
    static float want[MOST];

    for (size_t i = 0; i < n; i++)
        want[i] = a->x[0][i] * c;
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        memcpy(result_of(a, n), a->x[0], n * 4);
        tm_strip_scale(isa, a->result, n, c);
        same_floats("scale", isa, a->result, want, n);
    }
}

static void check_add(struct arrays *a, size_t n, float c)
{
    static float first[MOST], want[MOST];

    for (size_t i = 0; i < n; i++) {
        volatile float product = c * a->x[1][i];

        first[i] = product;
        want[i] = a->x[0][i] + product;
    }
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        tm_strip_add(isa, result_of(a, n), a->x[1], n, c, true);
        same_floats("first", isa, a->result, first, n);
        memcpy(result_of(a, n), a->x[0], n * 4);
        tm_strip_add(isa, a->result, a->x[1], n, c, false);
        same_floats("add", isa, a->result, want, n);
    }
}

static float clamp(float x, float low, float high)
{
    return x > high ? high : x > low ? x : low;
}

static void check_near(struct arrays *a, size_t n, float t)
{
    static float want[MOST];

    for (size_t i = 0; i < n; i++) {
        float x = a->x[0][i], size = fabsf(x) < 1e-6f ? 1e-6f : fabsf(x);
        volatile float share = t / size;

        want[i] = x * clamp(share, 0, 1);
    }
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        memcpy(result_of(a, n), a->x[0], n * 4);
        tm_strip_near(isa, a->result, n, t);
        same_floats("near", isa, a->result, want, n);
    }
}

static void arrays_are_changed_element_by_element(void **state)
{
    static const float numbers[] = {0,     1,    -1,     0.3f,     -2.7f,
                                    1e-8f, 1e9f, 1e-40f, 0x1p127f, -0.0f};
    struct arrays a;

    (void)state;
    set_up(&a);
    for (size_t n = 0; n != SIZE_MAX; n = next_length(n)) {
        renew(&a, n);
        for (size_t c = 0; c < sizeof(numbers) / sizeof(numbers[0]); c++) {
            check_scale(&a, n, numbers[c]);
            check_add(&a, n, numbers[c]);
            check_near(&a, n, numbers[c]);
        }
    }
    tear_down(&a);
}

static int sign_of(float x)
{
    return (x > 0) - (x < 0);
}

static float ref_elect(const struct arrays *a, size_t k, size_t i,
                       bool normalize)
{
    float total = 0, sum = 0, weight = 0;
    int major;

    for (size_t j = 0; j < k; j++)
        total += a->x[j][i];
    major = total >= 0 ? 1 : -1;
    for (size_t j = 0; j < k; j++) {
        if (sign_of(a->x[j][i]) == major) {
            sum += a->x[j][i];
            weight += a->w[j];
        }
    }
    if (weight == 0)
        weight = 1;
    return normalize ? sum / weight : sum;
}

/* Also in place: written where the first array is. */
static void check_elect(struct arrays *a, size_t k, size_t n, bool normalize)
{
    static float want[MOST];
    const float *own[MOST_K];

    for (size_t i = 0; i < n; i++)
        want[i] = ref_elect(a, k, i, normalize);
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        tm_strip_elect(isa, a->x, a->w, k, n, normalize, result_of(a, n));
        same_floats("elect", isa, a->result, want, n);
        memcpy(a->result, a->x[0], n * 4);
        memcpy(own, a->x, sizeof(own));
        own[0] = a->result;
        tm_strip_elect(isa, own, a->w, k, n, normalize, a->result);
        same_floats("elect in place", isa, a->result, want, n);
    }
}

static float ref_variance(const struct arrays *a, size_t k, size_t i)
{
    const double first = (double)a->x[0][i];
    volatile double sum = 0, squares = 0, factor = 1 / ((double)k * (double)k);
    volatile double result;
    bool equal = true;

    for (size_t j = 0; j < k; j++) {
        volatile double away = (double)a->x[j][i] - first;
        volatile double square = away * away;

        sum += away;
        squares += square;
        equal = equal && a->x[j][i] == a->x[0][i];
    }
    squares *= (double)k;
    result = sum * sum;
    result = (squares - result) * factor;
    assert_true(result >= 0 && equal == (result == 0));
    return (float)result;
}

/* By way of the mean, as the variance is defined. */
static void near_variance(const struct arrays *a, size_t k, size_t i, float got)
{
    long double mean = 0, squares = 0;

    for (size_t j = 0; j < k; j++)
        mean += (long double)a->x[j][i];
    mean /= (long double)k;
    for (size_t j = 0; j < k; j++) {
        long double away = (long double)a->x[j][i] - mean;

        squares += away * away;
    }
    squares /= (long double)k;
    if (got < INFINITY && squares > 0x1p-126L)
        assert_true(fabsl((long double)got / squares - 1) < 0x1.01p-24L);
}

static void check_variance(struct arrays *a, size_t k, size_t n)
{
    static float want[MOST];

    for (size_t i = 0; i < n; i++)
        near_variance(a, k, i, want[i] = ref_variance(a, k, i));
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        tm_strip_variance(isa, a->x, k, n, result_of(a, n));
        same_floats("variance", isa, a->result, want, n);
    }
}

static void check_count_active(struct arrays *a, size_t k, size_t n,
                               float epsilon)
{
    static float want[MOST];

    memset(want, 0, n * sizeof(*want));
    for (size_t j = 0; j < k; j++)
        for (size_t i = 0; i < n; i++)
            want[i] += a->x[j][i] > epsilon || -a->x[j][i] > epsilon;
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        tm_strip_count_active(isa, a->x, k, n, epsilon, result_of(a, n));
        same_floats("active", isa, a->result, want, n);
    }
}

static void check_vote(struct arrays *a, size_t k, size_t n)
{
    static float want_s[MOST], want_v[MOST], v[MOST];

    for (size_t i = 0; i < n; i++) {
        float total = 0, sum = 0, weight = 0;

        for (size_t j = 0; j < k; j++)
            total += a->x[j][i];
        for (size_t j = 0; j < k; j++) {
            volatile float part = a->w[j] * a->x[j][i];

            if (sign_of(a->x[j][i]) == (total >= 0 ? 1 : -1)) {
                sum += part;
                weight += a->w[j];
            }
        }
        want_s[i] = sum;
        want_v[i] = weight;
    }
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        memset(v, 0xff, sizeof(v));
        tm_strip_vote(isa, a->x, a->w, k, n, result_of(a, n), v);
        same_floats("vote", isa, a->result, want_s, n);
        same_floats("votes", isa, v, want_v, n);
    }
}

static void check_largest(struct arrays *a, size_t k, size_t n)
{
    static float want[MOST];

    for (size_t i = 0; i < n; i++) {
        float total = 0, most = 0;

        for (size_t j = 0; j < k; j++)
            total += a->x[j][i];
        for (size_t j = 0; j < k; j++)
            if (sign_of(a->x[j][i]) == (total > 0 ? 1 : -1) &&
                fabsf(a->x[j][i]) > fabsf(most))
                most = a->x[j][i];
        want[i] = most;
    }
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        tm_strip_largest(isa, a->x, k, n, result_of(a, n));
        same_floats("largest", isa, a->result, want, n);
    }
}

static void check_active(struct arrays *a, size_t k, size_t n, float epsilon)
{
    static float want[MOST];
    static float count[MOST];
    uint32_t alone = 3, shared = 4;

    tm_strip_count_active(TM_ISA_PORTABLE, a->x, k, n, epsilon, count);
    for (size_t i = 0; i < n; i++) {
        const float x = a->x[0][i];

        want[i] = a->x[1][i];
        if (fabsf(x) > epsilon) {
            volatile float part = count[i] < 2 ? x * a->w[0] : x / count[i];

            want[i] += part;
            alone += count[i] < 2;
            shared += count[i] >= 2;
        } else {
            want[i] += 0.0f;
        }
    }
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        uint32_t counts[2] = {3, 4};

        memcpy(result_of(a, n), a->x[1], n * 4);
        tm_strip_add_active(isa, a->result, a->x[0], count, n, epsilon,
                            a->w[0]);
        same_floats("add active", isa, a->result, want, n);
        tm_strip_count_shared(isa, a->x[0], count, n, epsilon, &counts[0],
                              &counts[1]);
        assert_int_equal(counts[0], alone);
        assert_int_equal(counts[1], shared);
    }
}

static void check_needed(struct arrays *a, size_t n, float share)
{
    static float want[MOST];

    for (size_t i = 0; i < n; i++) {
        volatile float rest = fabsf(a->x[1][i] - a->x[0][i]);
        volatile float limit = share * rest;

        want[i] = (float)(i % 5) + (fabsf(a->x[0][i]) > limit);
    }
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        result_of(a, n);
        for (size_t i = 0; i < n; i++)
            a->result[i] = (float)(i % 5);
        tm_strip_count_needed(isa, a->result, a->x[0], a->x[1], n, share);
        same_floats("needed", isa, a->result, want, n);
    }
}

/* What an array is divided or masked by; `by` is not negative. */
static void check_by(struct arrays *a, size_t n)
{
    static float by[MOST], least_want[MOST], want[MOST], mask_want[MOST];
    static float choice[MOST];

    for (size_t i = 0; i < n; i++) {
        const float v = a->x[1][i], most = 1e-6f;

        by[i] = fabsf(v);
        least_want[i] = a->x[0][i] / (by[i] > most ? by[i] : most);
        want[i] = a->x[0][i] / (v == 0 ? 1 : v);
        mask_want[i] = v >= 1 ? a->x[0][i] : 0;
        choice[i] = v >= 1 ? a->x[0][i] : a->x[2][i];
    }
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        memcpy(result_of(a, n), a->x[0], n * 4);
        tm_strip_divide_least(isa, a->result, by, n, 1e-6f);
        same_floats("divide least", isa, a->result, least_want, n);
        memcpy(result_of(a, n), a->x[0], n * 4);
        tm_strip_divide(isa, a->result, a->x[1], n);
        same_floats("divide", isa, a->result, want, n);
        memcpy(result_of(a, n), a->x[0], n * 4);
        tm_strip_mask_least(isa, a->result, a->x[1], n, 1);
        same_floats("mask least", isa, a->result, mask_want, n);
        tm_strip_choose(isa, result_of(a, n), a->x[0], a->x[2], a->x[1], n, 1);
        same_floats("choose", isa, a->result, choice, n);
    }
}

static void check_squares_by(struct arrays *a, size_t n, float least)
{
    static float by[MOST];
    double want[2][8] = {{1, 2}, {3, 4}};

    for (size_t i = 0; i < n; i++) {
        const double square = (double)a->x[0][i] * (double)a->x[0][i];

        by[i] = fabsf(a->x[1][i]);
        if (by[i] >= least)
            want[by[i] > least ? 0 : 1][i % 8] += square;
    }
    for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
         isa = next_isa(isa)) {
        double got[2][8] = {{1, 2}, {3, 4}};

        tm_strip_sum_squares_by(isa, a->x[0], by, n, least, got[0], got[1]);
        same_doubles("squares by", isa, n, got[0], want[0], 8);
        same_doubles("squares of equal", isa, n, got[1], want[1], 8);
    }
}

/* What methods need beside elections. */
static void arrays_are_put_together_otherwise(void **state)
{
    struct arrays a;

    (void)state;
    set_up(&a);
    for (size_t n = 0; n != SIZE_MAX; n = next_length(n)) {
        renew(&a, n);
        for (size_t k = 1; k <= MOST_K; k += k < 5 ? 1 : 3) {
            check_vote(&a, k, n);
            check_largest(&a, k, n);
            check_active(&a, k, n, 0);
            check_active(&a, k, n, 1e-8f);
        }
        check_needed(&a, n, 0.4f);
        check_needed(&a, n, 2);
        check_by(&a, n);
        check_squares_by(&a, n, 0);
        check_squares_by(&a, n, 1);
        check_squares_by(&a, n, INFINITY);
    }
    tear_down(&a);
}

static void arrays_are_put_together(void **state)
{
    struct arrays a;

    (void)state;
    set_up(&a);
    for (size_t n = 0; n != SIZE_MAX; n = next_length(n)) {
        renew(&a, n);
        for (size_t k = 1; k <= MOST_K; k += k < 5 ? 1 : 3) {
            check_elect(&a, k, n, false);
            check_elect(&a, k, n, true);
            check_variance(&a, k, n);
            check_count_active(&a, k, n, 0);
            check_count_active(&a, k, n, 1);
            check_count_active(&a, k, n, 1e-8f);
        }
    }
    tear_down(&a);
}

/* One element of three arrays, by hand. */
static void elections_are_what_they_should_be(void **state)
{
    static const struct {
        float x[3], w[3], sum, mean;
    } cases[] = {
        {{1, -3, 1.5f}, {1, 1, 1}, -3, -3},
        {{1, -2, 1.5f}, {1, 1, 0.25f}, 2.5f, 2},
        {{2, -2, 0}, {0.5f, 1, 1}, 2, 4}, /* a tie is positive */
        {{0, -0.0f, 0}, {1, 1, 1}, 0, 0},
        {{1, 2, -1}, {2, -2, 1}, 3, 3}, /* weights that cancel */
        {{-1, -2, 1}, {1, -3, 1}, -3, 1.5f},
    };

    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        _Alignas(64) float x[3][64], s[64];
        const float *at[3] = {x[0], x[1], x[2]};

        for (size_t j = 0; j < 3; j++)
            for (size_t i = 0; i < 64; i++)
                x[j][i] = cases[c].x[j];
        for (enum tm_isa isa = isa_from(0); isa < TM_NUM_ISAS;
             isa = next_isa(isa)) {
            tm_strip_elect(isa, at, cases[c].w, 3, 37, false, s);
            assert_true(s[0] == cases[c].sum && s[36] == s[0]);
            tm_strip_elect(isa, at, cases[c].w, 3, 37, true, s);
            assert_true(s[0] == cases[c].mean && s[36] == s[0]);
        }
    }
}

/* --- angles ------------------------------------------------------------- */

static double worst;

static void near_angle(double got, double want)
{
    double error = fabs(got - want);

    worst = error > worst ? error : worst;
    if (!(error <= 2e-15))
        fail_msg("%a is not %a", got, want);
}

static void angles_are_those_of_the_c_library(void **state)
{
    (void)state;
    for (int i = 0; i < 1000000; i++) {
        double r = (double)(int64_t)next_random() / ldexp(1, 63);
        double x = i % 2 == 0 ? r * 64 : r * 4;
        double c = i % 3 == 0   ? r
                   : i % 3 == 1 ? 1 - ldexp(fabs(r), -i % 60)
                                : ldexp(fabs(r), -i % 60) - 1;

        near_angle(tm_sin(x), sin(x));
        near_angle(tm_cos(x), cos(x));
        near_angle(tm_acos(c), acos(c));
    }
    for (int i = -40; i <= 40; i++) { /* at and beside multiples of pi / 4 */
        near_angle(tm_sin(i * PI / 4), sin(i * PI / 4));
        near_angle(tm_cos(i * PI / 4), cos(i * PI / 4));
        near_angle(tm_sin(nextafter(i * PI / 4, 99)),
                   sin(nextafter(i * PI / 4, 99)));
        near_angle(tm_cos(nextafter(i * PI / 4, 99)),
                   cos(nextafter(i * PI / 4, 99)));
    }
}

static void angles_end_where_they_should(void **state)
{
    static const double edges[] = {0, 0.5, -0.5, 0x1p-60, -0x1p-60};

    (void)state;
    assert_true(tm_sin(0) == 0 && tm_cos(0) == 1);
    assert_true(tm_sin(0x1p-40) == 0x1p-40);
    assert_true(tm_cos(PI) == -1 && fabs(tm_sin(PI)) < 2e-16);
    assert_true(tm_acos(1) == 0 && tm_acos(-1) == PI);
    assert_true(tm_acos(1 + 0x1p-50) == 0 && tm_acos(7) == 0);
    assert_true(tm_acos(-1 - 0x1p-50) == PI && tm_acos(-7) == PI);
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        near_angle(tm_acos(edges[i]), acos(edges[i]));
        near_angle(tm_acos(nextafter(edges[i], 1)),
                   acos(nextafter(edges[i], 1)));
        near_angle(tm_acos(nextafter(edges[i], -1)),
                   acos(nextafter(edges[i], -1)));
    }
    /* Small angles keep their precision: the error is relative there. */
    for (int i = 2; i < 52; i++) {
        double c = 1 - ldexp(1, -i), want = acos(c);

        assert_true(fabs(tm_acos(c) - want) <= 1e-15 * want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_are_widened_and_subtracted),
        cmocka_unit_test(every_code_is_widened),
        cmocka_unit_test(differences_are_what_they_should_be),
        cmocka_unit_test(sums_are_added_and_rounded),
        cmocka_unit_test(dots_are_summed_in_lanes),
        cmocka_unit_test(sums_are_made_in_lanes),
        cmocka_unit_test(what_is_not_zero_is_counted),
        cmocka_unit_test(many_are_counted),
        cmocka_unit_test(arrays_are_changed_element_by_element),
        cmocka_unit_test(arrays_are_put_together),
        cmocka_unit_test(arrays_are_put_together_otherwise),
        cmocka_unit_test(elections_are_what_they_should_be),
        cmocka_unit_test(angles_are_those_of_the_c_library),
        cmocka_unit_test(angles_end_where_they_should),
    };

    (void)ref_sum; /* the rest of sum_reference.h is of use here */
    ref_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
