/* SPDX-License-Identifier: Apache-2.0 */
/*
 * row: ranks by counting digits, and the ends of rows for divergences, whose
 * arithmetic is in row_template.h.
 *
 * Magnitudes are sorted by their lowest digit, then the next, stably (radix
 * sort), with the elements' numbers beside them. Only bits that are not the
 * same in all of them are looked at: what began as BF16 has half as many.
 */
#include "kernels/row.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/row_kernels.h"

#define FLOAT_ABS 0x7fffffffu

/*
 * Three digits of 11 bits do for 31, and their counters stay in the L1 cache.
 * Where elements are few, counters take the time: then digits may be shorter
 * and one more (digits_of()).
 */
#define DIGIT_MOST  11u
#define DIGIT_SIZE  ((size_t)1 << DIGIT_MOST)
#define DIGITS_MOST 4u

static const struct tm_row_kernels *const tables[TM_NUM_ISAS] = {
    [TM_ISA_PORTABLE] = &tm_row_portable,
#if defined(__aarch64__)
    [TM_ISA_NEON] = &tm_row_neon,
#endif
#if defined(__x86_64__)
    [TM_ISA_AVX2] = &tm_row_avx2,
    [TM_ISA_AVX512] = &tm_row_avx512,
#endif
};

/* --- ranks ---------------------------------------------------------------*/

static uint32_t magnitude(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits & FLOAT_ABS;
}

/* The bits of magnitudes that are looked at, as digits. */
struct digits {
    unsigned shift; /* of the lowest */
    unsigned bits;  /* of each */
    unsigned count; /* 0 where all magnitudes are the same */
};

/* Of the whole steps by the kernel, which is faster, then of the rest. */
static uint32_t bits_that_differ(enum tm_isa isa, const float *x, size_t n)
{
    size_t whole = n - n % TM_ROW_LANES;
    uint32_t differ = 0;

    if (n == 0)
        return 0;
    differ = tables[isa]->differ(x, whole, x[0]);
    for (size_t i = whole; i < n; i++)
        differ |= magnitude(x[i]) ^ magnitude(x[0]);
    return differ & FLOAT_ABS;
}

/*
 * The number of digits that takes the least time: an element costs about
 * twice as much as a counter, on an Intel server.
 */
static struct digits digits_of(enum tm_isa isa, const float *x, size_t n)
{
    uint32_t differ = bits_that_differ(isa, x, n);
    struct digits d = {0, 0, 0};
    uint64_t least = UINT64_MAX;
    unsigned width;

    if (differ == 0)
        return d;
    d.shift = (unsigned)__builtin_ctz(differ);
    width = 32 - (unsigned)__builtin_clz(differ) - d.shift;
    for (unsigned count = 1; count <= DIGITS_MOST; count++) {
        unsigned bits = (width + count - 1) / count;
        uint64_t cost = count * (2 * (uint64_t)n + (UINT64_C(1) << bits));

        if (bits <= DIGIT_MOST && cost < least) {
            least = cost;
            d.count = count;
            d.bits = bits;
        }
    }
    return d;
}

/*
 * Of one digit: where the next element with each value goes, and the place
 * behind the last one. Elements are placed from both ends at once, each end
 * with counters of its own: an increment has to wait for the one before it of
 * the same counter, and many elements have the same digit.
 */
struct places {
    uint32_t front[DIGIT_SIZE];
    uint32_t back[DIGIT_SIZE];
};

/* How to take a digit from the bits of a magnitude. */
struct digit {
    unsigned shift;
    uint32_t mask;
};

static struct digit digit_at(const struct digits *d, unsigned k)
{
    return (struct digit){d->shift + k * d->bits, (1u << d->bits) - 1};
}

static inline uint32_t digit_of(struct digit d, uint32_t bits)
{
    return bits >> d.shift & d.mask;
}

/* Inlined where `count` and `back` are constants. */
static inline __attribute__((always_inline)) void
count_one(const struct digits *d, unsigned count, uint32_t bits, bool back,
          struct places *p)
{
    for (unsigned k = 0; k < count; k++) {
        uint32_t digit = digit_of(digit_at(d, k), bits);

        if (back)
            p[k].back[digit]++;
        else
            p[k].front[digit]++;
    }
}

static inline __attribute__((always_inline)) void
count_digits(const struct digits *digits, unsigned count, const float *x,
             size_t n, struct places *p)
{
    struct digits d = *digits; /* which no store can change */
    size_t i;

    for (i = 0; i + 2 <= n; i += 2) {
        count_one(&d, count, magnitude(x[i]), false, p);
        count_one(&d, count, magnitude(x[i + 1]), true, p);
    }
    if (i < n)
        count_one(&d, count, magnitude(x[i]), false, p);
}

/* From how many there are, in two parts, to where they go. */
static void add_up(struct places *p, size_t size)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < size; i++) {
        uint32_t count = p->front[i] + p->back[i];

        p->front[i] = sum;
        sum += count;
        p->back[i] = sum;
    }
}

static void find_places(const struct digits *d, const float *x, size_t n,
                        struct places *p)
{
    size_t size = (size_t)1 << d->bits;

    for (unsigned k = 0; k < d->count; k++) {
        memset(p[k].front, 0, size * sizeof(p[k].front[0]));
        memset(p[k].back, 0, size * sizeof(p[k].back[0]));
    }
    if (d->count == 1)
        count_digits(d, 1, x, n, p);
    else if (d->count == 2)
        count_digits(d, 2, x, n, p);
    else if (d->count == 3)
        count_digits(d, 3, x, n, p);
    else
        count_digits(d, 4, x, n, p);
    for (unsigned k = 0; k < d->count; k++)
        add_up(&p[k], size);
}

/* A magnitude in the upper half, its element's number in the lower one. */
static inline uint64_t load_pair(const uint32_t *pairs, size_t i)
{
    uint64_t pair;

    memcpy(&pair, pairs + 2 * i, sizeof(pair));
    return pair;
}

static inline void store_pair(uint32_t *pairs, size_t i, uint64_t pair)
{
    memcpy(pairs + 2 * i, &pair, sizeof(pair));
}

static inline uint64_t make_pair(const float *x, size_t i)
{
    return (uint64_t)magnitude(x[i]) << 32 | i;
}

static inline uint32_t digit_of_pair(struct digit d, uint64_t pair)
{
    return digit_of(d, (uint32_t)(pair >> 32));
}

static void sort_first(struct digit d, struct places *p, const float *x,
                       size_t n, uint32_t *to)
{
    for (size_t i = 0, j = n; i < j; i++) {
        uint64_t pair = make_pair(x, i);

        store_pair(to, p->front[digit_of_pair(d, pair)]++, pair);
        if (i == --j)
            break;
        pair = make_pair(x, j);
        store_pair(to, --p->back[digit_of_pair(d, pair)], pair);
    }
}

static void sort_next(struct digit d, struct places *p, const uint32_t *from,
                      size_t n, uint32_t *to)
{
    for (size_t i = 0, j = n; i < j; i++) {
        uint64_t pair = load_pair(from, i);

        store_pair(to, p->front[digit_of_pair(d, pair)]++, pair);
        if (i == --j)
            break;
        pair = load_pair(from, j);
        store_pair(to, --p->back[digit_of_pair(d, pair)], pair);
    }
}

static void rank_last(struct digit d, struct places *p, const uint32_t *from,
                      size_t n, uint32_t *rank)
{
    for (size_t i = 0, j = n; i < j; i++) {
        uint64_t pair = load_pair(from, i);

        rank[(uint32_t)pair] = p->front[digit_of_pair(d, pair)]++;
        if (i == --j)
            break;
        pair = load_pair(from, j);
        rank[(uint32_t)pair] = --p->back[digit_of_pair(d, pair)];
    }
}

static void rank_only(struct digit d, struct places *p, const float *x,
                      size_t n, uint32_t *rank)
{
    for (size_t i = 0; i < n; i++)
        rank[i] = p->front[digit_of(d, magnitude(x[i]))]++;
}

static void rank_equal(size_t n, uint32_t *rank)
{
    for (size_t i = 0; i < n; i++)
        rank[i] = (uint32_t)i;
}

/* Of more than one digit. */
static void rank_sorted(const struct digits *d, struct places *p,
                        const float *x, size_t n, uint32_t *rank,
                        uint32_t *scratch)
{
    uint32_t *from = scratch, *to = scratch + 2 * n;
    unsigned last = d->count - 1;

    sort_first(digit_at(d, 0), &p[0], x, n, from);
    for (unsigned k = 1; k < last; k++) {
        uint32_t *other = from;

        sort_next(digit_at(d, k), &p[k], from, n, to);
        from = to;
        to = other;
    }
    rank_last(digit_at(d, last), &p[last], from, n, rank);
}

void tm_row_rank(enum tm_isa isa, const float *x, size_t n, uint32_t *rank,
                 uint32_t *scratch)
{
    struct digits d = digits_of(isa, x, n);
    struct places places[DIGITS_MOST];

    if (d.count == 0) {
        rank_equal(n, rank);
        return;
    }
    find_places(&d, x, n, places);
    if (d.count == 1)
        rank_only(digit_at(&d, 0), &places[0], x, n, rank);
    else
        rank_sorted(&d, places, x, n, rank, scratch);
}

/* --- divergence ----------------------------------------------------------*/

static double fold(const double *v)
{
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* What comes behind the last whole run of lanes, filled up with -infinity. */
static void fill_up(const float *x, size_t n, float *rest)
{
    for (size_t k = 0; k < TM_ROW_LANES; k++)
        rest[k] = k < n ? x[k] : -INFINITY;
}

/*
 * The softmax of x, whose exponentials go to `power` and, of what comes behind
 * the last whole run, to the run behind it.
 */
static struct tm_row_softmax softmax_of(const struct tm_row_kernels *kernels,
                                        const float *x, size_t n, double *power)
{
    size_t whole = n - n % TM_ROW_LANES;
    double lanes[TM_ROW_LANES] = {0};
    float rest[TM_ROW_LANES], most;

    fill_up(x + whole, n - whole, rest);
    most = kernels->most(rest, TM_ROW_LANES, -INFINITY);
    most = kernels->most(x, whole, most);
    kernels->add_exp(x, whole, (double)most, power, lanes);
    kernels->add_exp(rest, TM_ROW_LANES, (double)most, power + whole, lanes);
    return (struct tm_row_softmax){power, 1 / fold(lanes)};
}

double tm_row_divergence(enum tm_isa isa, const float *x, const float *base,
                         size_t n, double *scratch)
{
    const struct tm_row_kernels *kernels = tables[isa];
    size_t runs = n - n % TM_ROW_LANES + TM_ROW_LANES;
    double lanes[TM_ROW_LANES] = {0};
    struct tm_row_softmax p, q;

    if (n == 0)
        return 0;
    p = softmax_of(kernels, x, n, scratch);
    q = softmax_of(kernels, base, n, scratch + runs);
    /* Where it was filled up both are 1e-8, and the logarithm of 1 is zero. */
    kernels->add_terms(&p, &q, runs, lanes);
    return fold(lanes);
}

void tm_row_weigh(enum tm_isa isa, const float *x, const float *base, size_t n,
                  double factor, float *out)
{
    size_t padded = (n + TM_ROW_LANES - 1) / TM_ROW_LANES * TM_ROW_LANES;

    tables[isa]->weigh(x, base, padded, factor, out);
}
