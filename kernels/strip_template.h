/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strip_template: the kernels of strip_kernels.h, once for all instruction
 * sets.
 *
 * strip_<isa>.c includes a vector layer (vec_<isa>.h), defines what is below,
 * and then includes this, which leaves the table TM_STRIP_TABLE behind.
 *
 *     VEC_REGISTERS    how many the processor has
 *     vd               VD_LANES doubles
 *     vd_set           all lanes the same
 *     vd_load          from doubles, and
 *     vd_store         to doubles, at any address
 *     vd_widen         from as many floats
 *     vd_narrow        to as many floats, rounded
 *     vd_abs           |a|
 *     vd_add_exact     s + a * b, where a * b is exact, so that it may be fused
 *     vf_where_less    x where a < b, +0 elsewhere
 *     vf_where_least   x where a >= b, +0 elsewhere
 *
 * + - * / and ^ work on vectors as they do on numbers, each rounded by itself.
 *
 * A sum has eight lanes whatever a vector has: PARTS vectors. Arrays of them
 * become registers once the loops over them, whose ends are constants, are
 * unrolled, which compilers have to be told at -O2.
 */
#include "kernels/strip_kernels.h"
#include "kernels/vec_convert.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#define PARTS (TM_STRIP_LANES / VD_LANES)

_Static_assert(TM_STRIP_STEP % VEC_LANES == 0, "no kernel sees part of one");
_Static_assert(TM_STRIP_STEP % TM_STRIP_LANES == 0, "a step ends with lane 7");

VEC_INLINE vi vec_magnitude(vf a)
{
    return vi_and(vi_of(a), vi_set(FLOAT_ABS));
}

/* --- from elements of a tensor ------------------------------------------ */

VEC_INLINE bool widen(enum tm_dtype dtype, const void *x, size_t n, float *out)
{
    vi peak = vi_set(0);

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vf v = vec_load(dtype, x, i);

        peak = vi_max(peak, vec_magnitude(v));
        vf_store(out + i, v);
    }
    return !vec_reaches(peak, FLOAT_INF);
}

#define EACH_SHORT(X) X(F8_E4M3) X(F8_E5M2) X(BF16) X(F16) X(F32)

#define DEFINE_WIDEN(t)                                                        \
    static bool widen_##t(const void *x, size_t n, float *out)                 \
    {                                                                          \
        return widen(TM_##t, x, n, out);                                       \
    }

EACH_SHORT(DEFINE_WIDEN)

/* --- reductions --------------------------------------------------------- */

/*
 * Dot products of up to six arrays at once, a tile of all pairs: numbered so
 * that those among the first m arrays (m <= 4) are the first of all, and those
 * of the first four with the fifth and the sixth come behind.
 */
static const unsigned char pair_first[] = {0, 0, 1, 0, 1, 2, 0, 1, 2,
                                           3, 0, 1, 2, 3, 0, 1, 2, 3};
static const unsigned char pair_second[] = {0, 1, 1, 2, 2, 2, 3, 3, 3,
                                            3, 4, 4, 4, 4, 5, 5, 5, 5};

#define MOST_ARRAYS 6
#define MOST_PAIRS  10

struct tile {
    const float *x[MOST_ARRAYS];
    double *sums[MOST_PAIRS]; /* of the pairs that are wanted, 8 lanes each */
    size_t n;
};

/*
 * The pairs from number `from` on, in `parts` vectors of lanes from `lane` on.
 */
VEC_INLINE void tile_lanes(const struct tile *t, int arrays, int from,
                           int pairs, int parts, size_t lane)
{
    vd sums[MOST_PAIRS * PARTS], x[MOST_ARRAYS];

    UNROLL
    for (int s = 0; s < pairs * parts; s++)
        sums[s] = vd_load(t->sums[s / parts] + lane + s % parts * VD_LANES);
    for (size_t i = lane; i < t->n; i += TM_STRIP_LANES) {
        UNROLL
        for (int p = 0; p < parts; p++) {
            UNROLL
            for (int a = 0; a < arrays; a++)
                x[a] = vd_widen(t->x[a] + i + p * VD_LANES);
            UNROLL
            for (int s = 0; s < pairs; s++)
                sums[s * parts + p] =
                    vd_add_exact(sums[s * parts + p], x[pair_first[from + s]],
                                 x[pair_second[from + s]]);
        }
    }
    UNROLL
    for (int s = 0; s < pairs * parts; s++)
        vd_store(t->sums[s / parts] + lane + s % parts * VD_LANES, sums[s]);
}

/*
 * A register for each sum and each array is wanted: of the eight lanes, as
 * many are done at once as there are registers for.
 */
VEC_INLINE int tile_parts(int arrays, int pairs)
{
    int parts = PARTS;

    parts = pairs * parts + arrays > VEC_REGISTERS ? parts / 2 : parts;
    parts = pairs * parts + arrays > VEC_REGISTERS ? parts / 2 : parts;
    parts = pairs * parts + arrays > VEC_REGISTERS ? parts / 2 : parts;
    return parts > 0 ? parts : 1;
}

VEC_INLINE void tile_sum(const struct tile *t, int arrays, int from, int pairs)
{
    const int parts = tile_parts(arrays, pairs);

    for (int lane = 0; lane < TM_STRIP_LANES; lane += parts * VD_LANES)
        tile_lanes(t, arrays, from, pairs, parts, (size_t)lane);
}

#define DEFINE_TILE(arrays, from, pairs)                                       \
    static void tile_sum_##arrays(const struct tile *t)                        \
    {                                                                          \
        tile_sum(t, arrays, from, pairs);                                      \
    }

DEFINE_TILE(1, 0, 1)
DEFINE_TILE(2, 0, 3)
DEFINE_TILE(3, 0, 6)
DEFINE_TILE(4, 0, 10)
DEFINE_TILE(5, 10, 4)
DEFINE_TILE(6, 10, 8)

static const struct {
    unsigned from, pairs;
    void (*sum)(const struct tile *t);
} tiles[MOST_ARRAYS + 1] = {
    [1] = {0, 1, tile_sum_1},  [2] = {0, 3, tile_sum_2},
    [3] = {0, 6, tile_sum_3},  [4] = {0, 10, tile_sum_4},
    [5] = {10, 4, tile_sum_5}, [6] = {10, 8, tile_sum_6},
};

/* What is asked for, and the arrays a tile is made of. */
struct dots {
    const float *const *x;
    size_t k, n;
    double (*sums)[TM_STRIP_LANES];
    size_t first;  /* of up to four arrays */
    size_t behind; /* of the fifth and the sixth */
};

static size_t dots_array(const struct dots *d, size_t a)
{
    return a < 4 ? d->first + a : d->behind + a - 4;
}

static void dots_tile(const struct dots *d, size_t arrays)
{
    struct tile t = {.n = d->n};

    for (size_t a = 0; a < arrays; a++)
        t.x[a] = d->x[dots_array(d, a)];
    for (unsigned s = 0; s < tiles[arrays].pairs; s++) {
        size_t i = dots_array(d, pair_first[tiles[arrays].from + s]);
        size_t j = dots_array(d, pair_second[tiles[arrays].from + s]);

        t.sums[s] = d->sums[tm_pair(d->k, i, j)];
    }
    tiles[arrays].sum(&t);
}

static void dots(const float *const *x, size_t k, size_t n,
                 double (*sums)[TM_STRIP_LANES])
{
    struct dots d = {x, k, n, sums, 0, 0};

    for (d.first = 0; d.first < k; d.first += 4) {
        dots_tile(&d, k - d.first < 4 ? k - d.first : 4);
        for (d.behind = d.first + 4; d.behind < k; d.behind += 2)
            dots_tile(&d, k - d.behind < 2 ? 5 : 6);
    }
}

enum part { MAGNITUDES, SQUARES };

VEC_INLINE vd add_part(enum part part, vd sum, vd v)
{
    if (part == SQUARES)
        return vd_add_exact(sum, v, v);
    return sum + vd_abs(v);
}

VEC_INLINE void sum_parts(enum part part, const float *x, size_t n, double *sum)
{
    vd s[PARTS];

    UNROLL
    for (int p = 0; p < PARTS; p++)
        s[p] = vd_load(sum + p * VD_LANES);
    for (size_t i = 0; i < n; i += TM_STRIP_LANES) {
        UNROLL
        for (int p = 0; p < PARTS; p++)
            s[p] = add_part(part, s[p], vd_widen(x + i + p * VD_LANES));
    }
    UNROLL
    for (int p = 0; p < PARTS; p++)
        vd_store(sum + p * VD_LANES, s[p]);
}

static void sum_magnitudes(const float *x, size_t n, double *sum)
{
    sum_parts(MAGNITUDES, x, n, sum);
}

static void sum_squares(const float *x, size_t n, double *sum)
{
    sum_parts(SQUARES, x, n, sum);
}

/* Sixty-four at a time: what is not above is made zero, which adds nothing. */
static void sum_above(const float *x, size_t n, uint32_t high, double *sum)
{
    _Alignas(64) float above[64];

    for (size_t start = 0; start < n; start += 64) {
        size_t m = n - start < 64 ? n - start : 64;

        for (size_t i = 0; i < m; i += VEC_LANES) {
            vi a = vec_magnitude(vf_load(x + start + i));
            vi is = vi_if_less(vi_set(high), VEC_SHR(a, 16), a, vi_set(0));

            vf_store(above + i, vf_of(is));
        }
        sum_parts(MAGNITUDES, above, m, sum);
    }
}

/* As sum_above(). Often nothing is equal. */
static void sum_squares_by(const float *x, const float *by, size_t n,
                           float least, double *above, double *equal)
{
    const vi limit = vi_of(vf_set(least)), zero = vi_set(0);
    _Alignas(64) float more[64], same[64];

    for (size_t start = 0; start < n; start += 64) {
        size_t m = n - start < 64 ? n - start : 64;
        vi any = zero;

        for (size_t i = 0; i < m; i += VEC_LANES) {
            vi v = vi_of(vf_load(by + start + i));
            vi a = vi_of(vf_load(x + start + i));
            vi is = vi_if_less(limit, v, zero, vi_if_less(v, limit, zero, a));

            any = vi_or(any, is);
            vf_store(more + i, vf_of(vi_if_less(limit, v, a, zero)));
            vf_store(same + i, vf_of(is));
        }
        sum_parts(SQUARES, more, m, above);
        if (vec_reaches(any, 1))
            sum_parts(SQUARES, same, m, equal);
    }
}

VEC_INLINE uint32_t add_lanes(vi count)
{
    uint32_t lanes[VEC_LANES], all = 0;

    vf_store(lanes, vf_of(count));
    for (int j = 0; j < VEC_LANES; j++)
        all += lanes[j];
    return all;
}

static uint32_t count_nonzero(const float *x, size_t n)
{
    vi zero = vi_set(0), one = vi_set(1), count = zero;

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vi a = vec_magnitude(vf_load(x + i));

        count = vi_add(count, vi_if_less(zero, a, one, zero));
    }
    return add_lanes(count);
}

static void count_shared(const float *x, const float *active, size_t n,
                         float epsilon, uint32_t *counts)
{
    const vf limit = vf_set(epsilon), one = vf_of(vi_set(1));
    const vi two = vi_of(vf_set(2)), zero = vi_set(0);
    vi alone = zero, all = zero;

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vf a = vf_of(vec_magnitude(vf_load(x + i)));
        vi is = vi_of(vf_where_less(limit, a, one));
        vi count = vi_of(vf_load(active + i));

        all = vi_add(all, is);
        alone = vi_add(alone, vi_if_less(count, two, is, zero));
    }
    counts[0] = add_lanes(alone);
    counts[1] = add_lanes(all) - counts[0];
}

/* --- element by element ------------------------------------------------- */

static void scale(float *x, size_t n, float c)
{
    for (size_t i = 0; i < n; i += VEC_LANES)
        vf_store(x + i, vf_load(x + i) * vf_set(c));
}

static void add(float *s, const float *x, size_t n, float c)
{
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vf product = vf_set(c) * vf_load(x + i);

        vf_store(s + i, vf_add(vf_load(s + i), product));
    }
}

static void add_first(float *s, const float *x, size_t n, float c)
{
    for (size_t i = 0; i < n; i += VEC_LANES)
        vf_store(s + i, vf_set(c) * vf_load(x + i));
}

static void mask_least(float *x, const float *by, size_t n, float least)
{
    const vf limit = vf_set(least);

    for (size_t i = 0; i < n; i += VEC_LANES)
        vf_store(x + i, vf_where_least(vf_load(by + i), limit, vf_load(x + i)));
}

static void choose(float *s, const float *x, const float *other,
                   const float *by, size_t n, float least)
{
    const vf limit = vf_set(least);

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vi second = vi_of(vf_load(other + i));
        vf apart = vf_of(vi_of(vf_load(x + i)) ^ second);
        vi is = vi_of(vf_where_least(vf_load(by + i), limit, apart));

        vf_store(s + i, vf_of(is ^ second));
    }
}

/* Numbers that are not negative are in the order of their bits. */
static void divide_least(float *s, const float *by, size_t n, float least)
{
    const vi limit = vi_of(vf_set(least));

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vi v = vi_of(vf_load(by + i));

        vf_store(s + i, vf_load(s + i) / vf_of(vi_max(v, limit)));
    }
}

/*
 * The signs to turn: all of them where the majority is negative, so that what
 * counts is above zero.
 */
VEC_INLINE vi elect_turn(const float *const *x, size_t k, size_t i)
{
    vf sum = vf_set(0), sign = vf_of(vi_set(1u << 31));

    for (size_t j = 0; j < k; j++)
        sum = vf_add(sum, vf_load(x[j] + i));
    return vi_of(sign) ^ vi_of(vf_where_least(sum, vf_set(0), sign));
}

VEC_INLINE vf elect_divide(vf sum, vf weight)
{
    vi one = vi_of(vf_set(1));

    return sum / vf_of(vi_if_less(vec_magnitude(weight), vi_set(1), one,
                                  vi_of(weight)));
}

VEC_INLINE void elect_vectors(bool normalize, const float *const *x,
                              const float *w, size_t k, size_t n, float *s)
{
    vf zero = vf_set(0);

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vi turn = elect_turn(x, k, i);
        vf sum = zero, weight = zero;

        for (size_t j = 0; j < k; j++) {
            vf d = vf_load(x[j] + i), turned = vf_of(vi_of(d) ^ turn);

            sum = vf_add(sum, vf_where_less(zero, turned, d));
            if (normalize)
                weight =
                    vf_add(weight, vf_where_less(zero, turned, vf_set(w[j])));
        }
        vf_store(s + i, normalize ? elect_divide(sum, weight) : sum);
    }
}

static void elect(const float *const *x, const float *w, size_t k, size_t n,
                  float *s)
{
    elect_vectors(false, x, w, k, n, s);
}

static void elect_normalized(const float *const *x, const float *w, size_t k,
                             size_t n, float *s)
{
    elect_vectors(true, x, w, k, n, s);
}

static void divide(float *s, const float *by, size_t n)
{
    for (size_t i = 0; i < n; i += VEC_LANES)
        vf_store(s + i, elect_divide(vf_load(s + i), vf_load(by + i)));
}

static void vote(const float *const *x, const float *w, size_t k, size_t n,
                 float *s, float *v)
{
    const vf zero = vf_set(0);

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vi turn = elect_turn(x, k, i);
        vf sum = zero, weight = zero;

        for (size_t j = 0; j < k; j++) {
            vf d = vf_load(x[j] + i), own = vf_set(w[j]);
            vf turned = vf_of(vi_of(d) ^ turn);

            sum = vf_add(sum, vf_where_less(zero, turned, own * d));
            weight = vf_add(weight, vf_where_less(zero, turned, own));
        }
        vf_store(s + i, sum);
        vf_store(v + i, weight);
    }
}

/* What is above zero, once signs are turned, is in the order of its bits. */
static void largest(const float *const *x, size_t k, size_t n, float *s)
{
    const vf zero = vf_set(0), sign = vf_of(vi_set(1u << 31));

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vf sum = zero;
        vi most = vi_set(0), turn;

        for (size_t j = 0; j < k; j++)
            sum = vf_add(sum, vf_load(x[j] + i));
        turn = vi_of(sign) ^ vi_of(vf_where_less(zero, sum, sign));
        for (size_t j = 0; j < k; j++) {
            vf turned = vf_of(vi_of(vf_load(x[j] + i)) ^ turn);

            most = vi_max(most, vi_of(vf_where_less(zero, turned, turned)));
        }
        vf_store(s + i, vf_where_less(zero, vf_of(most), vf_of(most ^ turn)));
    }
}

static void variance(const float *const *x, size_t k, size_t n, float *out)
{
    const vd count = vd_set((double)k);
    const vd factor = vd_set(1 / ((double)k * (double)k));

    for (size_t i = 0; i < n; i += VD_LANES) {
        vd sum = vd_set(0), squares = vd_set(0), first = vd_widen(x[0] + i);

        for (size_t j = 1; j < k; j++) {
            vd away = vd_widen(x[j] + i) - first;

            sum = sum + away;
            squares = squares + away * away;
        }
        vd_narrow(out + i, (count * squares - sum * sum) * factor);
    }
}

static void count_active(const float *const *x, size_t k, size_t n,
                         float epsilon, float *count)
{
    vf limit = vf_set(epsilon), one = vf_set(1);

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vf all = vf_set(0);

        for (size_t j = 0; j < k; j++) {
            vf a = vf_of(vec_magnitude(vf_load(x[j] + i)));

            all = vf_add(all, vf_where_less(limit, a, one));
        }
        vf_store(count + i, all);
    }
}

static void add_active(float *s, const float *x, const float *active, size_t n,
                       float epsilon, float factor)
{
    const vf limit = vf_set(epsilon), own = vf_set(factor);
    const vi two = vi_of(vf_set(2));

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vf v = vf_load(x + i), a = vf_of(vec_magnitude(v));
        vf count = vf_load(active + i);
        vf part = vf_of(
            vi_if_less(vi_of(count), two, vi_of(v * own), vi_of(v / count)));

        vf_store(s + i, vf_add(vf_load(s + i), vf_where_less(limit, a, part)));
    }
}

static void count_needed(float *count, const float *x, const float *total,
                         size_t n, float share)
{
    const vf factor = vf_set(share), one = vf_set(1);

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vf v = vf_load(x + i);
        vi others = vec_magnitude(vf_sub(vf_load(total + i), v));
        vf is =
            vf_where_less(factor * vf_of(others), vf_of(vec_magnitude(v)), one);

        vf_store(count + i, vf_add(vf_load(count + i), is));
    }
}

/* Numbers that are not negative are in the order of their bits. */
static void near(float *x, size_t n, float t)
{
    vi least = vi_of(vf_set(1e-6f)), one = vi_of(vf_set(1));

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vf v = vf_load(x + i);
        vf away = vf_of(vi_max(vec_magnitude(v), least));
        vi share = vi_of(vf_set(t) / away);

        share = vi_if_less(share, one, share, one);
        vf_store(x + i, v * vf_of(share));
    }
}

#define ENTRY_WIDEN(t) [TM_##t] = widen_##t,

const struct tm_strip_kernels TM_STRIP_TABLE = {
    .widen = {EACH_SHORT(ENTRY_WIDEN)},
    .count_nonzero = count_nonzero,
    .dots = dots,
    .sum_magnitudes = sum_magnitudes,
    .sum_squares = sum_squares,
    .sum_above = sum_above,
    .sum_squares_by = sum_squares_by,
    .count_shared = count_shared,
    .scale = scale,
    .add = add,
    .add_first = add_first,
    .elect = elect,
    .elect_normalized = elect_normalized,
    .mask_least = mask_least,
    .choose = choose,
    .divide_least = divide_least,
    .divide = divide,
    .vote = vote,
    .largest = largest,
    .add_active = add_active,
    .count_needed = count_needed,
    .variance = variance,
    .count_active = count_active,
    .near = near,
};
