/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select_template: the kernels of select_kernels.h, once for all instruction
 * sets.
 *
 * select_<isa>.c includes a vector layer (vec_<isa>.h), defines what is below,
 * and then includes this, which leaves the table TM_SELECT_TABLE behind.
 *
 *     vb               a truth value for each lane
 *     vb_equal         of two vi
 *     vb_nonzero       of one
 *     vb_or, vb_and
 *     vb_and_not       a and not b
 *     vb_any           whether one is true
 *     vb_count         how many are true
 *     vec_pick         writes the lanes of a vi that are wanted, with any rest
 *                      behind them up to VEC_LANES words; returns how many
 */
#include "kernels/select_kernels.h"

/* Four at a time, by hand: compilers do not unroll at -O2. */
#define QUAD (4 * VEC_LANES)

#define SELECT_ABS 0x7fffffffu

_Static_assert(TM_SUM_STEP % QUAD == 0, "no kernel sees part of a step");

struct quad {
    vi v0, v1, v2, v3;
};

/* Which of a quad. */
struct which {
    vb v0, v1, v2, v3;
};

VEC_INLINE vi magnitude(const float *x)
{
    return vi_and(vi_of(vf_load(x)), vi_set(SELECT_ABS));
}

VEC_INLINE struct quad magnitudes(const float *x)
{
    return (struct quad){magnitude(x), magnitude(x + VEC_LANES),
                         magnitude(x + 2 * VEC_LANES),
                         magnitude(x + 3 * VEC_LANES)};
}

VEC_INLINE struct which which_equal(struct quad q, vi bits)
{
    return (struct which){vb_equal(q.v0, bits), vb_equal(q.v1, bits),
                          vb_equal(q.v2, bits), vb_equal(q.v3, bits)};
}

VEC_INLINE struct which which_nonzero(struct quad q)
{
    return (struct which){vb_nonzero(q.v0), vb_nonzero(q.v1), vb_nonzero(q.v2),
                          vb_nonzero(q.v3)};
}

VEC_INLINE struct which which_and(struct which a, struct which b)
{
    return (struct which){vb_and(a.v0, b.v0), vb_and(a.v1, b.v1),
                          vb_and(a.v2, b.v2), vb_and(a.v3, b.v3)};
}

VEC_INLINE struct which which_and_not(struct which a, struct which b)
{
    return (struct which){vb_and_not(a.v0, b.v0), vb_and_not(a.v1, b.v1),
                          vb_and_not(a.v2, b.v2), vb_and_not(a.v3, b.v3)};
}

VEC_INLINE bool which_any(struct which w)
{
    return vb_any(vb_or(vb_or(w.v0, w.v1), vb_or(w.v2, w.v3)));
}

VEC_INLINE size_t which_count(struct which w)
{
    return vb_count(w.v0) + vb_count(w.v1) + vb_count(w.v2) + vb_count(w.v3);
}

VEC_INLINE uint32_t *pick_quad(uint32_t *to, struct quad q, struct which w)
{
    to += vec_pick(to, q.v0, w.v0);
    to += vec_pick(to, q.v1, w.v1);
    to += vec_pick(to, q.v2, w.v2);
    return to + vec_pick(to, q.v3, w.v3);
}

VEC_INLINE uint32_t largest(vi a)
{
    uint32_t each[VEC_LANES], most = 0;

    vf_store(each, vf_of(a));
    for (int j = 0; j < VEC_LANES; j++)
        most = each[j] > most ? each[j] : most;
    return most;
}

static uint32_t peak(const float *x, size_t n)
{
    vi most = vi_set(0);

    for (size_t i = 0; i < n; i += QUAD) {
        struct quad q = magnitudes(x + i);

        most = vi_max(most, vi_max(vi_max(q.v0, q.v1), vi_max(q.v2, q.v3)));
    }
    return largest(most);
}

/* Whether below the window's size, which is a power of two. */
VEC_INLINE struct which which_inside(struct quad q)
{
    vi zero = vi_set(0), high = vi_set(~(TM_SELECT_WINDOW - 1));

    return (struct which){
        vb_equal(vi_and(q.v0, high), zero), vb_equal(vi_and(q.v1, high), zero),
        vb_equal(vi_and(q.v2, high), zero), vb_equal(vi_and(q.v3, high), zero)};
}

/* Places in the window; what is below its start wraps around. */
VEC_INLINE struct quad places(struct quad q, vi minus_start)
{
    return (struct quad){vi_add(VEC_SHR(q.v0, 16), minus_start),
                         vi_add(VEC_SHR(q.v1, 16), minus_start),
                         vi_add(VEC_SHR(q.v2, 16), minus_start),
                         vi_add(VEC_SHR(q.v3, 16), minus_start)};
}

static size_t count_outside(uint32_t *counts, struct quad q, struct which w)
{
    uint32_t picked[QUAD + VEC_LANES];
    const uint32_t *end = pick_quad(picked, q, w);

    for (const uint32_t *p = picked; p < end; p++)
        counts[*p >> 16]++;
    return (size_t)(end - picked);
}

static void count_inside(struct tm_select_window *window,
                         const uint32_t *picked, size_t n)
{
    uint32_t *counts = window->counts + window->start;
    size_t i;

    for (i = 0; i + 4 <= n; i += 4) {
        counts[picked[i]]++;
        window->spare[0][picked[i + 1]]++;
        window->spare[1][picked[i + 2]]++;
        window->spare[2][picked[i + 3]]++;
    }
    for (; i < n; i++)
        counts[picked[i]]++;
}

/* Zeros are not picked, but counted as what is left. */
static size_t high(struct tm_select_window *window, const float *x, size_t n)
{
    uint32_t picked[TM_SELECT_SLAB + VEC_LANES], *to = picked;
    vi minus_start = vi_set(0 - window->start);
    size_t inside, outside = 0;

    for (size_t i = 0; i < n; i += QUAD) {
        struct quad q = magnitudes(x + i), place = places(q, minus_start);
        struct which in = which_inside(place), any = which_nonzero(q), out;

        if (!which_any(any))
            continue;
        to = pick_quad(to, place, which_and(any, in));
        out = which_and_not(any, in);
        if (which_any(out))
            outside += count_outside(window->counts, q, out);
    }
    inside = (size_t)(to - picked);
    count_inside(window, picked, inside);
    window->counts[0] += (uint32_t)(n - inside - outside);
    return outside;
}

VEC_INLINE vi spares_at(const struct tm_select_window *window, size_t i)
{
    vi a = vi_load16(&window->spare[0][i]), b = vi_load16(&window->spare[1][i]);

    return vi_add(vi_add(a, b), vi_load16(&window->spare[2][i]));
}

static void add_spares(struct tm_select_window *window)
{
    uint32_t *counts = window->counts + window->start;

    for (size_t i = 0; i < TM_SELECT_WINDOW; i += 2 * VEC_LANES) {
        size_t j = i + VEC_LANES;
        vi a = spares_at(window, i), b = spares_at(window, j);

        if (!vb_any(vb_nonzero(vi_or(a, b))))
            continue;
        a = vi_add(a, vi_of(vf_load(counts + i)));
        b = vi_add(b, vi_of(vf_load(counts + j)));
        vf_store(counts + i, vf_of(a));
        vf_store(counts + j, vf_of(b));
    }
}

/*
 * What began as BF16 has no lower bits at all: those are counted apart, so
 * that not every increment waits for the one before it.
 */
static void low(const float *x, size_t n, uint32_t upper, uint32_t *counts)
{
    vi bin = vi_set(upper), first = vi_set(upper << 16);
    uint32_t picked[QUAD + VEC_LANES];
    size_t zeros = 0;

    for (size_t i = 0; i < n; i += QUAD) {
        struct quad q = magnitudes(x + i);
        struct which in = which_equal(places(q, vi_set(0)), bin), zero;
        const uint32_t *end;

        if (!which_any(in))
            continue;
        zero = which_equal(q, first);
        zeros += which_count(zero);
        end = pick_quad(picked, q, which_and_not(in, zero));
        for (const uint32_t *p = picked; p < end; p++)
            counts[*p & 0xffff]++;
    }
    counts[0] += (uint32_t)zeros;
}

VEC_INLINE size_t equal_in_step(const float *x, vi bits)
{
    size_t count = 0;

    for (size_t i = 0; i < TM_SUM_STEP; i += QUAD) {
        struct which w = which_equal(magnitudes(x + i), bits);

        if (which_any(w))
            count += which_count(w);
    }
    return count;
}

static uint64_t equal(const float *x, size_t n, uint32_t bits)
{
    uint64_t count = 0;

    for (size_t i = 0; i < n; i += TM_SUM_STEP)
        count += equal_in_step(x + i, vi_set(bits));
    return count;
}

VEC_INLINE void cut_vector(const float *key, float *x, vi least, bool keep)
{
    vi zero = vi_set(0), v = vi_of(vf_load(x)), a = magnitude(key);

    v = keep ? vi_if_less(a, least, zero, v) : vi_if_less(a, least, v, zero);
    vf_store(x, vf_of(v));
}

/* Magnitudes from `least` on are selected. */
VEC_INLINE void cut_step(const float *key, float *x, vi least, bool keep)
{
    for (size_t i = 0; i < TM_SUM_STEP; i += QUAD) {
        size_t j = i + VEC_LANES, k = j + VEC_LANES, l = k + VEC_LANES;

        cut_vector(key + i, x + i, least, keep);
        cut_vector(key + j, x + j, least, keep);
        cut_vector(key + k, x + k, least, keep);
        cut_vector(key + l, x + l, least, keep);
    }
}

/*
 * Only in one step of all those of a tensor are some of the elements equal to
 * the threshold selected and others not.
 */
VEC_INLINE void cut_steps(const float *key, float *x, size_t n,
                          struct tm_select_cut *cut, bool keep)
{
    vi bits = vi_set(cut->bits), above = vi_set(cut->bits + 1);

    for (size_t i = 0; i < n; i += TM_SUM_STEP) {
        size_t count = equal_in_step(key + i, bits);

        if (count > cut->left && cut->left > 0) {
            tm_select_cut_exact(key + i, x + i, TM_SUM_STEP, cut, keep);
            continue;
        }
        cut_step(key + i, x + i, count > cut->left ? above : bits, keep);
        cut->left -= count > cut->left ? 0 : count;
        cut->met += count;
    }
}

static void cut_by(const float *key, float *x, size_t n,
                   struct tm_select_cut *cut, bool keep)
{
    if (keep)
        cut_steps(key, x, n, cut, true);
    else
        cut_steps(key, x, n, cut, false);
}

const struct tm_select_kernels TM_SELECT_TABLE = {
    .peak = peak,
    .high = high,
    .add_spares = add_spares,
    .low = low,
    .equal = equal,
    .cut = cut_by,
};
