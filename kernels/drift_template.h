/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift_template: the kernels of drift_kernels.h, once for all instruction
 * sets.
 *
 * drift_<isa>.c includes a vector layer (vec_<isa>.h), defines what is below,
 * and then includes this, which leaves the table TM_DRIFT_TABLE behind.
 *
 *     eight            eight doubles
 *     eight_load       from doubles, and
 *     eight_store      to doubles, at any address
 *     eight_widen      from eight aligned floats
 *     eight_add        s + t
 *     eight_add_abs    s + |t|
 *     eight_add_square s + t * t, which is exact, so that it may be fused
 *     vec_any          whether a lane is not zero
 *     vec_pick         writes the lanes that are not zero, with any rest behind
 *                      them up to VEC_LANES words; returns how many they are
 */
#include "kernels/drift_kernels.h"
#include "kernels/vec_convert.h"

/* Four at a time, by hand: compilers do not unroll at -O2. */
#define QUAD (4 * VEC_LANES)

_Static_assert(TM_SUM_STEP % QUAD == 0, "no kernel sees part of a step");
_Static_assert(TM_SUM_STEP % (4 * TM_DRIFT_LANES) == 0,
               "every step begins with lane 0");

struct sums {
    eight sum, absolute, squares;
};

VEC_INLINE vi vec_magnitude(vf a)
{
    return vi_and(vi_of(a), vi_set(FLOAT_ABS));
}

VEC_INLINE uint32_t vec_most(vi a)
{
    uint32_t each[VEC_LANES], most = 0;

    vf_store(each, vf_of(a));
    for (int j = 0; j < VEC_LANES; j++)
        most = each[j] > most ? each[j] : most;
    return most;
}

VEC_INLINE vi subtract_vector(enum tm_dtype base_dtype, enum tm_dtype dtype,
                              const void *base, const void *tuned, size_t i,
                              float *t)
{
    vf r = vf_sub(vec_load(dtype, tuned, i), vec_load(base_dtype, base, i));

    vf_store(t + i, r);
    return vec_magnitude(r);
}

VEC_INLINE uint32_t subtract(enum tm_dtype base_dtype, enum tm_dtype dtype,
                             const void *base, const void *tuned, size_t n,
                             float *t)
{
    vi peak = vi_set(0);

    for (size_t i = 0; i < n; i += 2 * VEC_LANES) {
        vi a = subtract_vector(base_dtype, dtype, base, tuned, i, t);
        vi b =
            subtract_vector(base_dtype, dtype, base, tuned, i + VEC_LANES, t);

        peak = vi_max(peak, vi_max(a, b));
    }
    return vec_most(peak);
}

VEC_INLINE vi quad_or(const float *t)
{
    vi a = vi_or(vi_of(vf_load(t)), vi_of(vf_load(t + VEC_LANES)));
    vi b = vi_or(vi_of(vf_load(t + 2 * VEC_LANES)),
                 vi_of(vf_load(t + 3 * VEC_LANES)));

    return vi_or(a, b);
}

VEC_INLINE bool step_is_zero(const float *t)
{
    vi any = quad_or(t);

    for (size_t i = QUAD; i < TM_SUM_STEP; i += QUAD)
        any = vi_or(any, quad_or(t + i));
    return !vec_any(vec_magnitude(vf_of(any)));
}

VEC_INLINE void add_eight(struct sums *s, const float *t)
{
    eight v = eight_widen(t);

    s->sum = eight_add(s->sum, v);
    s->absolute = eight_add_abs(s->absolute, v);
    s->squares = eight_add_square(s->squares, v);
}

VEC_INLINE void add_step(struct sums *s, const float *t)
{
    for (size_t i = 0; i < TM_SUM_STEP; i += 4 * TM_DRIFT_LANES) {
        add_eight(s, t + i);
        add_eight(s, t + i + TM_DRIFT_LANES);
        add_eight(s, t + i + 2 * TM_DRIFT_LANES);
        add_eight(s, t + i + 3 * TM_DRIFT_LANES);
    }
}

VEC_INLINE uint32_t *pick(uint32_t *to, const float *t)
{
    return to + vec_pick(to, vec_magnitude(vf_load(t)));
}

VEC_INLINE uint32_t *pick_step(uint32_t *to, const float *t)
{
    for (size_t i = 0; i < TM_SUM_STEP; i += QUAD) {
        to = pick(to, t + i);
        to = pick(to, t + i + VEC_LANES);
        to = pick(to, t + i + 2 * VEC_LANES);
        to = pick(to, t + i + 3 * VEC_LANES);
    }
    return to;
}

static size_t add(const float *t, size_t n, struct tm_drift_lanes *lanes,
                  uint32_t *changed)
{
    struct sums s = {eight_load(lanes->sum), eight_load(lanes->absolute),
                     eight_load(lanes->squares)};
    uint32_t *to = changed;

    for (size_t i = 0; i < n; i += TM_SUM_STEP) {
        if (step_is_zero(t + i))
            continue;
        add_step(&s, t + i);
        to = pick_step(to, t + i);
    }
    eight_store(lanes->sum, s.sum);
    eight_store(lanes->absolute, s.absolute);
    eight_store(lanes->squares, s.squares);
    return (size_t)(to - changed);
}

/* Every pair of types, by name; the lists make the table as well. */
#define EACH_SHORT(X, a)                                                       \
    X(a, F8_E4M3) X(a, F8_E5M2) X(a, BF16) X(a, F16) X(a, F32)
#define EACH_BASE(X) X(F8_E4M3) X(F8_E5M2) X(BF16) X(F16) X(F32)

#define DEFINE_SUBTRACT(b, x)                                                  \
    static uint32_t subtract_##b##_##x(const void *base, const void *tuned,    \
                                       size_t n, float *t)                     \
    {                                                                          \
        return subtract(TM_##b, TM_##x, base, tuned, n, t);                    \
    }
#define DEFINE_BASE(b) EACH_SHORT(DEFINE_SUBTRACT, b)

EACH_BASE(DEFINE_BASE)

#define ENTRY_SUBTRACT(b, x) [TM_##x] = subtract_##b##_##x,
#define ROW_SUBTRACT(b)      [TM_##b] = {EACH_SHORT(ENTRY_SUBTRACT, b)},

const struct tm_drift_kernels TM_DRIFT_TABLE = {
    .subtract = {EACH_BASE(ROW_SUBTRACT)},
    .add = add,
};
