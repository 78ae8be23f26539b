/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sum: every instruction set of this machine gives the bits and the
 * counts of the reference, whatever the types, lengths, addresses and values.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <unistd.h>

#include "kernels/sum.h"
#include "tests/unit/sum_reference.h"

#define MAX_K 256
#define PAGE  ((size_t)65536) /* a multiple of every page size */

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

/* --- random elements ---------------------------------------------------- */

static uint64_t seed = 1;

static uint64_t next_random(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

enum flavour {
    ORDINARY, /* about 1, finite */
    SMALL,    /* where this type has subnormals */
    ANY,      /* any bits */
    MIXED,    /* ordinary, and one in 256 special */
    NUM_FLAVOURS
};

static uint64_t special(enum tm_dtype type)
{
    uint64_t sign = ref_sign(type), nan = ref_formats[type].nan;
    uint64_t codes[] = {0,       sign,     1,           sign | 1,
                        nan - 1, nan,      sign | nan,  nan | 1,
                        nan + 1, sign - 1, 2 * sign - 1};
    uint64_t infinity = ref_encode(type, (double)INFINITY);

    switch (next_random() % 13) {
    case 11:
        return infinity;
    case 12:
        return infinity | sign;
    default:
        return codes[next_random() % 11] & (2 * sign - 1);
    }
}

static uint64_t random_code(enum tm_dtype type, enum flavour flavour)
{
    double r = (double)(int64_t)next_random() / ldexp(1, 63);
    uint64_t sign = ref_sign(type);
    int m = ref_formats[type].mantissa_bits;

    if (flavour == MIXED && next_random() % 256 == 0)
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

/* --- comparing ----------------------------------------------------------- */

static void check_stats(const struct tm_sum_stats *a,
                        const struct tm_sum_stats *b)
{
    assert_int_equal(a->nonfinite_inputs, b->nonfinite_inputs);
    assert_int_equal(a->nonfinite_outputs, b->nonfinite_outputs);
    assert_int_equal(a->overflows, b->overflows);
}

static void explain(enum tm_isa isa, const struct tm_sum_task *task,
                    const void *want)
{
    for (size_t i = 0; i < task->n; i++) {
        uint64_t b = ref_get(task->base_dtype, task->base, i);
        uint64_t r = ref_get(task->out_dtype, task->out, i);
        uint64_t e = ref_get(task->out_dtype, want, i);

        if (r != e)
            fail_msg("%s: %s to %s, %zu inputs, element %zu of %zu: "
                     "base %#llx gives %#llx, not %#llx",
                     tm_isa_name(isa), tm_dtype_name(task->base_dtype),
                     tm_dtype_name(task->out_dtype), task->num_inputs, i,
                     task->n, (unsigned long long)b, (unsigned long long)r,
                     (unsigned long long)e);
    }
}

/* Runs `task` with every instruction set. */
static void check(struct tm_sum_task *task)
{
    size_t size = task->n * ref_formats[task->out_dtype].bytes;
    void *want = malloc(size + 1);
    struct tm_sum_stats expected = {0, 0, 0};

    assert_true(want != NULL);
    ref_sum(task, want, &expected);
    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        struct tm_sum_stats stats = {0, 0, 0};

        if (!tm_isa_available((enum tm_isa)isa))
            continue;
        memset(task->out, 0xa5, size);
        tm_sum((enum tm_isa)isa, task, &stats);
        if (memcmp(task->out, want, size) != 0)
            explain((enum tm_isa)isa, task, want);
        check_stats(&stats, &expected);
    }
    free(want);
}

/*
 * Base, inputs and output of n elements each; the types of all inputs are
 * `x`, and the caller may change inputs and weights.
 */
struct bench {
    struct guarded base, out, x[MAX_K];
    struct tm_sum_input inputs[MAX_K];
    struct tm_sum_task task;
};

static struct bench *set_up(enum tm_dtype b, enum tm_dtype x, enum tm_dtype o,
                            size_t k, size_t n)
{
    struct bench *t = malloc(sizeof(*t));

    assert_true(t != NULL);
    t->base = guard(n * ref_formats[b].bytes + 64);
    t->out = guard(n * ref_formats[o].bytes + 64);
    t->task =
        (struct tm_sum_task){t->base.data, b, t->inputs, k, t->out.data, o, n};
    for (size_t i = 0; i < k; i++) {
        t->x[i] = guard(n * ref_formats[x].bytes + 64);
        t->inputs[i].data = t->x[i].data;
        t->inputs[i].dtype = x;
        t->inputs[i].weight = (double)(int64_t)next_random() / ldexp(1, 63);
    }
    return t;
}

static void tear_down(struct bench *t)
{
    for (size_t i = 0; i < t->task.num_inputs; i++)
        unguard(&t->x[i]);
    unguard(&t->base);
    unguard(&t->out);
    free(t);
}

static void fill_all(struct bench *t, enum flavour flavour)
{
    fill(t->task.base_dtype, t->base.data, t->task.n, flavour);
    for (size_t k = 0; k < t->task.num_inputs; k++)
        fill(t->inputs[k].dtype, t->x[k].data, t->task.n, flavour);
}

/* --- tests --------------------------------------------------------------- */

static unsigned codes_of(enum tm_dtype type)
{
    return 1u << (8 * ref_formats[type].bytes);
}

/* All codes of a small type as base, with x a number that makes it move. */
static void all_codes(enum tm_dtype b, enum tm_dtype x, enum tm_dtype o,
                      bool as_input, double weight)
{
    enum tm_dtype type = as_input ? x : b, other = as_input ? b : x;
    size_t n = codes_of(type);
    struct bench *t = set_up(b, x, o, 1, n);
    void *all = as_input ? t->x[0].data : t->base.data;
    void *rest = as_input ? t->base.data : t->x[0].data;

    for (size_t i = 0; i < n; i++)
        ref_put(type, all, i, i);
    t->inputs[0].weight = weight;
    fill(other, rest, n, ORDINARY);
    check(&t->task);
    fill(other, rest, n, ANY);
    check(&t->task);
    /* Without the codes that spoil a block, so that the fast path is used. */
    for (size_t i = 0; i < n; i++)
        if (!isfinite(ref_decode(type, i)))
            ref_put(type, all, i, 0);
    fill(other, rest, n, SMALL);
    check(&t->task);
    tear_down(t);
}

static void every_code_is_right_as_base(void **state)
{
    (void)state;
    for (int b = 0; b < TM_F32; b++)
        for (int o = 0; o < TM_NUM_FLOATS; o++)
            all_codes((enum tm_dtype)b, (enum tm_dtype)b, (enum tm_dtype)o,
                      false, 0.375);
}

static void every_code_is_right_as_input(void **state)
{
    (void)state;
    for (int x = 0; x < TM_F32; x++)
        for (int b = 0; b < TM_NUM_FLOATS; b++)
            all_codes((enum tm_dtype)b, (enum tm_dtype)x, (enum tm_dtype)b,
                      true, -1.0);
}

/*
 * Floats and doubles all around every number of a small type and around the
 * middles between neighbours, where rounding changes its mind.
 */
static void around_middles(enum tm_dtype from, enum tm_dtype o)
{
    unsigned codes = ref_count[o] + 1;
    size_t n = (size_t)codes * 8;
    struct bench *t = set_up(from, from, o, 0, n);
    uint64_t sign = ref_sign(from);

    for (unsigned c = 0; c < codes; c++) {
        double low = c < ref_count[o]
                         ? ref_values[o][c]
                         : 2 * ref_values[o][c - 1] - ref_values[o][c - 2];
        double below = c == 0 ? 0 : ref_values[o][c - 1];
        uint64_t at = ref_encode(from, low);
        uint64_t middle = ref_encode(from, (low + below) / 2);
        uint64_t near[8] = {at,        at + 1,       at - (at > 0),
                            middle,    middle + 1,   middle - (middle > 0),
                            sign | at, sign | middle};

        for (size_t j = 0; j < 8; j++)
            ref_put(from, t->base.data, (size_t)c * 8 + j, near[j]);
    }
    check(&t->task);
    /* The last few hundred overflow; once more without them. */
    t->task.n = n - 64 * 8;
    check(&t->task);
    tear_down(t);
}

static void results_round_to_nearest_even(void **state)
{
    (void)state;
    for (int o = 0; o < TM_F32; o++) {
        around_middles(TM_F32, (enum tm_dtype)o);
        around_middles(TM_F64, (enum tm_dtype)o);
    }
}

/* A double a hair off a middle must not be rounded twice. */
static void doubles_are_rounded_once(void **state)
{
    static const struct {
        enum tm_dtype type;
        double value;
        uint64_t code;
    } cases[] = {
        {TM_BF16, 0x1.01p0 + 0x1p-40, 0x3f81},
        {TM_BF16, 0x1.03p0 - 0x1p-40, 0x3f81},
        {TM_F16, 0x1.002p0 + 0x1p-40, 0x3c01},
        {TM_F16, 0x1.006p0 - 0x1p-40, 0x3c01},
        {TM_F8_E4M3, 0x1.1p0 + 0x1p-40, 0x39},
        {TM_F8_E4M3, 464 + 0x1p-30, 0x7f},
        {TM_F8_E4M3, 464, 0x7e},
        {TM_F8_E5M2, 0x1.2p0 + 0x1p-40, 0x3d},
        {TM_BF16, 0x1p-134 + 0x1p-170, 0x0001},
        {TM_BF16, 0x1p-134, 0x0000},
        {TM_F32, 0x1.000001p0 + 0x1p-50, 0x3f800001},
    };

    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct bench *t = set_up(TM_F64, TM_F64, cases[c].type, 0, 64);

        for (size_t i = 0; i < 64; i++)
            memcpy(t->base.data + 8 * i, &cases[c].value, 8);
        check(&t->task);
        assert_int_equal(ref_get(cases[c].type, t->out.data, 0), cases[c].code);
        tear_down(t);
    }
}

static void every_combination_of_types_is_right(void **state)
{
    const size_t n = 2048 + 64 + 7;

    (void)state;
    for (int i = 0; i < 216; i++) {
        struct bench *t =
            set_up((enum tm_dtype)(i / 36), (enum tm_dtype)(i / 6 % 6),
                   (enum tm_dtype)(i % 6), 2, n);

        for (int f = 0; f < NUM_FLAVOURS; f++) {
            fill_all(t, (enum flavour)f);
            check(&t->task);
        }
        tear_down(t);
    }
}

static void inputs_of_different_types_are_added_in_order(void **state)
{
    const size_t k = 23, n = 4096 + 33;

    (void)state;
    for (int b = 0; b < TM_NUM_FLOATS; b++) {
        for (int types = 5; types <= 6; types++) {
            struct bench *t =
                set_up((enum tm_dtype)b, TM_F64, (enum tm_dtype)b, k, n);

            for (size_t i = 0; i < k; i++)
                t->inputs[i].dtype =
                    (enum tm_dtype)(next_random() % (unsigned)types);
            fill_all(t, ORDINARY);
            check(&t->task);
            fill_all(t, MIXED);
            check(&t->task);
            tear_down(t);
        }
    }
}

static void any_number_of_inputs_is_right(void **state)
{
    static const size_t counts[] = {0, 1, 2, 7, 8, 9, 16, 17, 64, 256};

    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        for (int type = 0; type < TM_NUM_FLOATS; type++) {
            enum tm_dtype d = (enum tm_dtype)type;
            struct bench *t = set_up(d, d, d, counts[c], 2048 + 100);

            fill_all(t, ORDINARY);
            check(&t->task);
            tear_down(t);
        }
    }
}

/* Arrays at the very start of their pages, and at the very end. */
static void check_ends(struct bench *t, size_t n, bool at_end)
{
    struct tm_sum_task task = t->task;
    struct tm_sum_input inputs[2] = {t->inputs[0], t->inputs[1]};
    size_t b = n * ref_formats[task.base_dtype].bytes;
    size_t x = n * ref_formats[inputs[0].dtype].bytes;
    size_t o = n * ref_formats[task.out_dtype].bytes;

    task.n = n;
    task.inputs = inputs;
    if (at_end) {
        task.base = t->base.data + t->base.size - b;
        task.out = t->out.data + t->out.size - o;
        for (size_t k = 0; k < 2; k++)
            inputs[k].data = t->x[k].data + t->x[k].size - x;
    }
    check(&task);
}

static void nothing_outside_the_arrays_is_touched(void **state)
{
    (void)state;
    for (int type = 0; type < TM_NUM_FLOATS; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        enum tm_dtype other = (enum tm_dtype)((type + 1) % TM_NUM_FLOATS);
        struct bench *t = set_up(d, d, d, 2, PAGE / 8 - 8);
        struct bench *u = set_up(d, other, other, 2, PAGE / 8 - 8);

        for (size_t k = 0; k < 2; k++) {
            memset(t->x[k].data, 0x3b, t->x[k].size);
            memset(u->x[k].data, 0x3a, u->x[k].size);
        }
        memset(t->base.data, 0x3a, t->base.size);
        memset(u->base.data, 0x3b, u->base.size);
        for (size_t n = 0; n <= 300; n++) {
            check_ends(t, n, false);
            check_ends(t, n, true);
            check_ends(u, n, false);
            check_ends(u, n, true);
        }
        tear_down(t);
        tear_down(u);
    }
}

/* The bytes around an output that starts at an odd address. */
static void check_around(struct bench *t, size_t shift)
{
    size_t size = t->task.n * ref_formats[t->task.out_dtype].bytes;

    t->task.out = t->out.data + shift;
    memset(t->out.data, 0x77, size + 64);
    check(&t->task);
    for (size_t i = 0; i < shift; i++)
        assert_int_equal(t->out.data[i], 0x77);
    for (size_t i = shift + size; i < size + 64; i++)
        assert_int_equal(t->out.data[i], 0x77);
}

static void any_address_is_right(void **state)
{
    (void)state;
    for (int type = 0; type < TM_NUM_FLOATS; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        struct bench *t = set_up(d, d, d, 2, 300);

        for (size_t shift = 0; shift < 64; shift++) {
            t->task.base = t->base.data + shift * 7 % 64;
            t->inputs[0].data = t->x[0].data + shift * 5 % 64;
            t->inputs[1].data = t->x[1].data + shift * 3 % 64;
            fill(d, t->base.data + shift * 7 % 64, 300, ORDINARY);
            fill(d, t->x[0].data + shift * 5 % 64, 300, ORDINARY);
            fill(d, t->x[1].data + shift * 3 % 64, 300, ORDINARY);
            check_around(t, shift);
        }
        tear_down(t);
    }
}

/*
 * A vector and its opposite. Only with weights whose products are exact: the
 * fused chain keeps what the first product lost to rounding.
 */
static void opposite_vectors_leave_the_base_alone(void **state)
{
    const size_t n = 65536;

    (void)state;
    for (int type = 0; type < TM_NUM_FLOATS; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        struct bench *t = set_up(d, d, d, 2, n);
        size_t size = n * ref_formats[d].bytes;

        fill(d, t->base.data, n, ORDINARY);
        fill(d, t->x[0].data, n, ORDINARY);
        memcpy(t->x[1].data, t->x[0].data, size);
        for (double w = 0.25; w <= 1; w *= 2) {
            t->inputs[0].weight = w;
            t->inputs[1].weight = -w;
            check(&t->task);
            assert_memory_equal(t->out.data, t->base.data, size);
        }
        tear_down(t);
    }
}

static void untouched_elements_keep_their_bits(void **state)
{
    const size_t n = 65536;

    (void)state;
    for (int type = 0; type < TM_NUM_FLOATS; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        struct bench *t = set_up(d, d, d, 3, n);
        size_t size = n * ref_formats[d].bytes;

        if (type < TM_F32)
            for (size_t i = 0; i < n; i++)
                ref_put(d, t->base.data, i, i);
        else
            fill(d, t->base.data, n, MIXED);
        for (size_t k = 0; k < 3; k++)
            memcpy(t->x[k].data, t->base.data, size);
        check(&t->task);
        assert_memory_equal(t->out.data, t->base.data, size);
        tear_down(t);
    }
}

/* One element of everything else, counted. */
static struct tm_sum_stats one(enum tm_dtype d, uint64_t b, uint64_t x,
                               double weight, uint64_t *out)
{
    struct bench *t = set_up(d, d, d, 1, 64);
    struct tm_sum_stats stats = {0, 0, 0};
    enum tm_isa isa;

    for (size_t i = 0; i < 64; i++) {
        ref_put(d, t->base.data, i, i == 9 ? b : 0);
        ref_put(d, t->x[0].data, i, i == 9 ? x : 0);
    }
    t->inputs[0].weight = weight;
    check(&t->task);
    assert_true(tm_isa_choose(NULL, &isa));
    tm_sum(isa, &t->task, &stats);
    *out = ref_get(d, t->out.data, 9);
    tear_down(t);
    return stats;
}

static void overflow_is_infinity_and_counted(void **state)
{
    static const struct {
        enum tm_dtype type;
        uint64_t max, result;
    } cases[] = {
        {TM_F8_E4M3, 0x7e, 0x7f},
        {TM_F8_E5M2, 0x7b, 0x7c},
        {TM_BF16, 0x7f7f, 0x7f80},
        {TM_F16, 0x7bff, 0x7c00},
        {TM_F32, 0x7f7fffff, 0x7f800000},
        {TM_F64, UINT64_C(0x7fefffffffffffff), UINT64_C(0x7ff0000000000000)}};

    (void)state;
    for (size_t c = 0; c < 6; c++) {
        uint64_t out;
        struct tm_sum_stats s = one(cases[c].type, 0, cases[c].max, 2, &out);

        assert_int_equal(out, cases[c].result);
        assert_int_equal(s.nonfinite_inputs, 0);
        assert_int_equal(s.nonfinite_outputs, 1);
        assert_int_equal(s.overflows, 1);
    }
}

/*
 * The least number that overflows, and the greatest that does not, alone in a
 * block, so that nothing else makes it be looked at closely.
 */
static void the_edge_of_overflow_is_seen(void **state)
{
    static const double edges[TM_F32][2] = {
        [TM_F8_E4M3] = {464, 0x1.d00002p8},
        [TM_F8_E5M2] = {0x1.dffffep15, 61440},
        [TM_BF16] = {0x1.fefffep127, 0x1.ffp127},
        [TM_F16] = {0x1.ffdffep15, 65520},
    };

    (void)state;
    for (int i = 0; i < TM_F32 * 4; i++) {
        enum tm_dtype o = (enum tm_dtype)(i / 4);
        enum tm_dtype b = i % 2 == 0 ? TM_F32 : TM_F64;
        double value = edges[o][i / 2 % 2];
        struct bench *t = set_up(b, b, o, 0, 128);

        for (size_t j = 0; j < 128; j++) {
            memset(t->base.data, 0, 128 * 8);
            ref_put(b, t->base.data, j, ref_encode(b, value));
            check(&t->task);
            ref_put(b, t->base.data, j, ref_encode(b, -value));
            check(&t->task);
        }
        tear_down(t);
    }
}

static void nan_and_infinity_are_counted(void **state)
{
    uint64_t out;
    struct tm_sum_stats s = one(TM_BF16, 0x3f80, 0xff93, 1, &out);

    (void)state;
    assert_int_equal(out, 0x7fc0); /* canonical, whatever came in */
    assert_int_equal(s.nonfinite_inputs, 1);
    assert_int_equal(s.nonfinite_outputs, 1);
    assert_int_equal(s.overflows, 0);

    s = one(TM_BF16, 0xff80, 0xff80, 1, &out);
    assert_int_equal(out, 0xff80); /* a mask: untouched */
    assert_int_equal(s.nonfinite_inputs, 2);
    assert_int_equal(s.nonfinite_outputs, 1);

    s = one(TM_BF16, 0x7f80, 0xff80, 1, &out);
    assert_int_equal(out, 0x7fc0);
    s = one(TM_F8_E4M3, 0x38, 0xff, 1, &out);
    assert_int_equal(out, 0x7f);
    assert_int_equal(s.nonfinite_inputs, 1);
    assert_int_equal(s.overflows, 0);
}

static void negative_zero_survives(void **state)
{
    uint64_t out;

    (void)state;
    one(TM_BF16, 0x8000, 0x8000, 1, &out);
    assert_int_equal(out, 0x8000);
    one(TM_F16, 0x8000, 0x0000, -1, &out);
    assert_int_equal(out, 0x8000);
    one(TM_F64, UINT64_C(1) << 63, 0, 3, &out);
    assert_true(out == UINT64_C(1) << 63);
}

static void extreme_weights_are_right(void **state)
{
    static const double weights[] = {0,     -0.0,         1e-60,
                                     1e-45, 1e38,         1e300,
                                     1e-30, 0x1.000001p0, 0x1.0000010000001p0};

    (void)state;
    for (int type = 0; type < TM_NUM_FLOATS; type++) {
        enum tm_dtype d = (enum tm_dtype)type;
        struct bench *t = set_up(d, d, d, 2, 512 + 3);

        for (size_t i = 0; i < sizeof(weights) / sizeof(weights[0]); i++) {
            fill_all(t, (enum flavour)(i % NUM_FLAVOURS));
            t->inputs[0].weight = weights[i];
            check(&t->task);
        }
        tear_down(t);
    }
}

static void the_cap_chooses_the_instruction_set(void **state)
{
    enum tm_isa isa, widest;

    (void)state;
    assert_true(tm_isa_choose(NULL, &widest));
    assert_true(tm_isa_choose("", &isa));
    assert_int_equal(isa, widest);
    assert_true(tm_isa_choose("portable", &isa));
    assert_int_equal(isa, TM_ISA_PORTABLE);
    assert_false(tm_isa_choose("sse9", &isa));
    assert_false(tm_isa_choose("AVX2", &isa));
    for (int i = 0; i < TM_NUM_ISAS; i++) {
        bool there = tm_isa_available((enum tm_isa)i);

        assert_int_equal(tm_isa_choose(tm_isa_name((enum tm_isa)i), &isa),
                         there);
        if (there)
            assert_int_equal(isa, i);
    }
}

static void types_have_the_names_of_safetensors_and_torch(void **state)
{
    enum tm_dtype d;

    (void)state;
    for (int i = 0; i < TM_OPAQUE; i++)
        assert_int_equal(tm_dtype_from_name(tm_dtype_name((enum tm_dtype)i)),
                         i);
    assert_int_equal(tm_dtype_from_name("bf16"), TM_OPAQUE);
    assert_int_equal(tm_dtype_from_name("?"), TM_OPAQUE);
    assert_true(tm_dtype_from_user("bfloat16", &d));
    assert_int_equal(d, TM_BF16);
    assert_true(tm_dtype_from_user("f8_e4m3", &d));
    assert_int_equal(d, TM_F8_E4M3);
    assert_false(tm_dtype_from_user("int8", &d));
    assert_false(tm_dtype_from_user("I8", &d));
    assert_int_equal(tm_dtype_bits(TM_F4), 4);
    assert_int_equal(tm_dtype_bits(TM_OPAQUE), 0);
}

/* Sets what -ffast-math start-up code sets, and puts it back. */
static void a_changed_floating_point_mode_is_noticed(void **state)
{
    (void)state;
    assert_true(tm_fp_mode_is_default());
#if defined(__x86_64__)
    {
        unsigned normal = __builtin_ia32_stmxcsr();

        __builtin_ia32_ldmxcsr(normal | 0x8000); /* flush to zero */
        assert_false(tm_fp_mode_is_default());
        __builtin_ia32_ldmxcsr(normal | 0x0040); /* denormals are zero */
        assert_false(tm_fp_mode_is_default());
        for (unsigned mode = 1; mode < 4; mode++) {
            __builtin_ia32_ldmxcsr(normal | mode << 13);
            assert_false(tm_fp_mode_is_default());
        }
        __builtin_ia32_ldmxcsr(normal);
    }
#endif
    assert_true(tm_fp_mode_is_default());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_is_right_as_base),
        cmocka_unit_test(every_code_is_right_as_input),
        cmocka_unit_test(results_round_to_nearest_even),
        cmocka_unit_test(doubles_are_rounded_once),
        cmocka_unit_test(every_combination_of_types_is_right),
        cmocka_unit_test(inputs_of_different_types_are_added_in_order),
        cmocka_unit_test(any_number_of_inputs_is_right),
        cmocka_unit_test(nothing_outside_the_arrays_is_touched),
        cmocka_unit_test(any_address_is_right),
        cmocka_unit_test(opposite_vectors_leave_the_base_alone),
        cmocka_unit_test(untouched_elements_keep_their_bits),
        cmocka_unit_test(overflow_is_infinity_and_counted),
        cmocka_unit_test(the_edge_of_overflow_is_seen),
        cmocka_unit_test(nan_and_infinity_are_counted),
        cmocka_unit_test(negative_zero_survives),
        cmocka_unit_test(extreme_weights_are_right),
        cmocka_unit_test(the_cap_chooses_the_instruction_set),
        cmocka_unit_test(types_have_the_names_of_safetensors_and_torch),
        cmocka_unit_test(a_changed_floating_point_mode_is_noticed),
    };

    ref_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
