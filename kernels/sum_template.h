/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum_template: the kernels of sum_kernels.h, once for all instruction sets.
 *
 * sum_<isa>.c includes a vector layer (vec_<isa>.h) and then this, which
 * leaves one thing behind: the table TM_SUM_TABLE. The functions that do the
 * work take types as arguments and are inlined where these are constants, so
 * that nothing of the choice is left at run time.
 *
 * Loops take four vectors at a time, by hand: compilers do not unroll at -O2,
 * and the chain of additions over the inputs is too long for one vector.
 */
#include "kernels/sum_kernels.h"
#include "kernels/vec_convert.h"

#define QUAD (4 * VEC_LANES)

_Static_assert(TM_SUM_STEP % QUAD == 0, "no kernel sees part of a step");

struct quad {
    vf v0, v1, v2, v3;
};

/*
 * Asks for what a later turn of the loop will load. With a dozen streams the
 * processor's own prefetchers are late: bench/kernels with BF16 gained a fifth
 * to a quarter by this on an Intel server; from 512 to 2048 bytes ahead made
 * little difference. Past the end of an array it has no effect.
 */
#define PREFETCH_AHEAD 512

VEC_INLINE void quad_prefetch(enum tm_dtype dtype, const void *p, size_t i)
{
    const char *ahead = (const char *)vec_at(dtype, p, i) + PREFETCH_AHEAD;
    size_t bytes = QUAD * vec_bytes(dtype);

    __builtin_prefetch(ahead);
    if (bytes > 64)
        __builtin_prefetch(ahead + 64);
    if (bytes > 128) {
        __builtin_prefetch(ahead + 128);
        __builtin_prefetch(ahead + 192);
    }
}

VEC_INLINE struct quad quad_load(enum tm_dtype dtype, const void *p, size_t i)
{
    struct quad r;

    r.v0 = vec_load(dtype, p, i);
    r.v1 = vec_load(dtype, p, i + VEC_LANES);
    r.v2 = vec_load(dtype, p, i + 2 * VEC_LANES);
    r.v3 = vec_load(dtype, p, i + 3 * VEC_LANES);
    return r;
}

VEC_INLINE void quad_store(enum tm_dtype dtype, void *p, size_t i,
                           struct quad q)
{
    vec_store(dtype, p, i, q.v0);
    vec_store(dtype, p, i + VEC_LANES, q.v1);
    vec_store(dtype, p, i + 2 * VEC_LANES, q.v2);
    vec_store(dtype, p, i + 3 * VEC_LANES, q.v3);
}

VEC_INLINE struct quad quad_zero(void)
{
    vf zero = vf_set(0);

    return (struct quad){zero, zero, zero, zero};
}

/* s + w * (x - b) */
VEC_INLINE struct quad quad_accumulate(struct quad s, vf w, struct quad x,
                                       struct quad b)
{
    s.v0 = vf_fma(w, vf_sub(x.v0, b.v0), s.v0);
    s.v1 = vf_fma(w, vf_sub(x.v1, b.v1), s.v1);
    s.v2 = vf_fma(w, vf_sub(x.v2, b.v2), s.v2);
    s.v3 = vf_fma(w, vf_sub(x.v3, b.v3), s.v3);
    return s;
}

VEC_INLINE struct quad quad_add_nonzero(struct quad b, struct quad s)
{
    s.v0 = vf_add_nonzero(b.v0, s.v0);
    s.v1 = vf_add_nonzero(b.v1, s.v1);
    s.v2 = vf_add_nonzero(b.v2, s.v2);
    s.v3 = vf_add_nonzero(b.v3, s.v3);
    return s;
}

VEC_INLINE vi vec_magnitude(vf a)
{
    return vi_and(vi_of(a), vi_set(FLOAT_ABS));
}

/* The largest magnitude in each lane; a NaN counts as larger than all. */
VEC_INLINE vi quad_peak(vi peak, struct quad q)
{
    vi a = vi_max(vec_magnitude(q.v0), vec_magnitude(q.v1));
    vi b = vi_max(vec_magnitude(q.v2), vec_magnitude(q.v3));

    return vi_max(peak, vi_max(a, b));
}

VEC_INLINE void accumulate(enum tm_dtype base_dtype, enum tm_dtype x_dtype,
                           const void *base, const void *const *x,
                           const float *w, size_t count, size_t n, float *s,
                           bool first)
{
    for (size_t i = 0; i < n; i += QUAD) {
        struct quad b = quad_load(base_dtype, base, i);
        struct quad sum = first ? quad_zero() : quad_load(TM_F32, s, i);

        if (first)
            quad_prefetch(base_dtype, base, i);
        for (size_t k = 0; k < count; k++) {
            quad_prefetch(x_dtype, x[k], i);
            sum = quad_accumulate(sum, vf_set(w[k]),
                                  quad_load(x_dtype, x[k], i), b);
        }
        quad_store(TM_F32, s, i, sum);
    }
}

VEC_INLINE bool finish(enum tm_dtype base_dtype, enum tm_dtype out_dtype,
                       const void *base, const float *s, void *out, size_t n)
{
    vi peak = vi_set(0);

    for (size_t i = 0; i < n; i += QUAD) {
        struct quad b = quad_load(base_dtype, base, i);
        struct quad r = quad_add_nonzero(b, quad_load(TM_F32, s, i));

        peak = quad_peak(peak, r);
        quad_store(out_dtype, out, i, r);
    }
    return vec_reaches(peak, vec_overflow(out_dtype));
}

/*
 * Where all types are the same it does not matter which lane holds which
 * element. BF16 is then split without shuffles: each 32-bit word has one
 * element in its low half and one in its high half.
 */
VEC_INLINE struct quad quad_load_own(enum tm_dtype dtype, const void *p,
                                     size_t i)
{
    struct quad r;
    vi high = vi_set(0xffff0000u), a, b;

    if (dtype != TM_BF16)
        return quad_load(dtype, p, i);
    a = vi_of(vf_load(vec_at(TM_BF16, p, i)));
    b = vi_of(vf_load(vec_at(TM_BF16, p, i + 2 * VEC_LANES)));
    r.v0 = vf_of(VEC_SHL(a, 16));
    r.v1 = vf_of(vi_and(a, high));
    r.v2 = vf_of(VEC_SHL(b, 16));
    r.v3 = vf_of(vi_and(b, high));
    return r;
}

VEC_INLINE vi vec_join_bf16(vf low, vf high)
{
    vi l = VEC_SHR(vec_round_bf16(low), 16);

    return vi_or(l, vi_and(vec_round_bf16(high), vi_set(0xffff0000u)));
}

VEC_INLINE void quad_store_own(enum tm_dtype dtype, void *p, size_t i,
                               struct quad q)
{
    char *to = (char *)p + 2 * i;

    if (dtype != TM_BF16) {
        quad_store(dtype, p, i, q);
        return;
    }
    vf_store(to, vf_of(vec_join_bf16(q.v0, q.v1)));
    vf_store(to + 4 * VEC_LANES, vf_of(vec_join_bf16(q.v2, q.v3)));
}

VEC_INLINE bool fused(enum tm_dtype dtype, const void *base,
                      const void *const *x, const float *w, size_t count,
                      size_t n, void *out)
{
    vi peak = vi_set(0);

    for (size_t i = 0; i < n; i += QUAD) {
        struct quad b = quad_load_own(dtype, base, i);
        struct quad r = quad_zero();

        quad_prefetch(dtype, base, i);
        for (size_t k = 0; k < count; k++) {
            quad_prefetch(dtype, x[k], i);
            r = quad_accumulate(r, vf_set(w[k]), quad_load_own(dtype, x[k], i),
                                b);
        }
        r = quad_add_nonzero(b, r);
        peak = quad_peak(peak, r);
        quad_store_own(dtype, out, i, r);
    }
    return vec_reaches(peak, vec_overflow(dtype));
}

VEC_INLINE void widen(enum tm_dtype dtype, const void *src, size_t n,
                      double *dst)
{
    if (dtype == TM_F64) {
        memcpy(dst, src, n * sizeof(*dst));
        return;
    }
    for (size_t i = 0; i < n; i += VEC_LANES)
        vec_store_double(dst + i, vec_load(dtype, src, i));
}

static void accumulate64(const double *base, const double *x, double w,
                         size_t n, double *s)
{
    for (size_t i = 0; i < n; i++)
        s[i] = __builtin_fma(w, x[i] - base[i], s[i]);
}

static void finish64(const double *base, size_t n, double *s)
{
    for (size_t i = 0; i < n; i++)
        s[i] = s[i] == 0 ? base[i] : base[i] + s[i];
}

/*
 * To the float below in magnitude, its last bit set if anything was cut off:
 * rounding that to fewer bits is the same as rounding the double.
 */
VEC_INLINE float round_to_odd(double value)
{
    float r = (float)value;
    double back = r;
    uint32_t bits;

    memcpy(&bits, &r, sizeof(bits));
    if (back != value && (bits & 1) == 0) {
        bool up = __builtin_fabs(back) < __builtin_fabs(value);

        bits = up ? bits + 1 : bits - 1;
        memcpy(&r, &bits, sizeof(r));
    }
    return r;
}

VEC_INLINE bool narrow_double(const double *src, size_t n, void *out)
{
    bool nonfinite = false;

    for (size_t i = 0; i < n; i++)
        nonfinite |= !(__builtin_fabs(src[i]) < __builtin_inf());
    memcpy(out, src, n * sizeof(*src));
    return nonfinite;
}

VEC_INLINE bool narrow(enum tm_dtype dtype, const double *src, size_t n,
                       void *out)
{
    vi peak = vi_set(0);
    float r[VEC_LANES];

    if (dtype == TM_F64)
        return narrow_double(src, n, out);
    for (size_t i = 0; i < n; i += VEC_LANES) {
        for (int j = 0; j < VEC_LANES; j++)
            r[j] =
                dtype == TM_F32 ? (float)src[i + j] : round_to_odd(src[i + j]);
        peak = vi_max(peak, vec_magnitude(vf_load(r)));
        vec_store(dtype, out, i, vf_load(r));
    }
    return vec_reaches(peak, vec_overflow(dtype));
}

/* Every pair of types, by name; the lists make the table as well. */
#define EACH_SHORT(X, a)                                                       \
    X(a, F8_E4M3) X(a, F8_E5M2) X(a, BF16) X(a, F16) X(a, F32)
#define EACH_FLOAT(X, a) EACH_SHORT(X, a) X(a, F64)
#define EACH_BASE(X)     X(F8_E4M3) X(F8_E5M2) X(BF16) X(F16) X(F32)

#define DEFINE_ACCUMULATE(b, x)                                                \
    static void accumulate_##b##_##x(                                          \
        const void *base, const void *const *inputs, const float *w,           \
        size_t count, size_t n, float *s, bool first)                          \
    {                                                                          \
        accumulate(TM_##b, TM_##x, base, inputs, w, count, n, s, first);       \
    }
#define DEFINE_FINISH(b, o)                                                    \
    static bool finish_##b##_##o(const void *base, const float *s, void *out,  \
                                 size_t n)                                     \
    {                                                                          \
        return finish(TM_##b, TM_##o, base, s, out, n);                        \
    }
#define DEFINE_WIDEN_NARROW(a, t)                                              \
    static void widen_##t(const void *src, size_t n, double *dst)              \
    {                                                                          \
        widen(TM_##t, src, n, dst);                                            \
    }                                                                          \
    static bool narrow_##t(const double *src, size_t n, void *out)             \
    {                                                                          \
        return narrow(TM_##t, src, n, out);                                    \
    }
#define DEFINE_FUSED(a, t)                                                     \
    static bool fused_##t(const void *base, const void *const *inputs,         \
                          const float *w, size_t count, size_t n, void *out)   \
    {                                                                          \
        return fused(TM_##t, base, inputs, w, count, n, out);                  \
    }
#define DEFINE_BASE(b)                                                         \
    EACH_SHORT(DEFINE_ACCUMULATE, b) EACH_FLOAT(DEFINE_FINISH, b)

EACH_BASE(DEFINE_BASE)
EACH_SHORT(DEFINE_FUSED, )
EACH_FLOAT(DEFINE_WIDEN_NARROW, )

#define ENTRY_ACCUMULATE(b, x) [TM_##x] = accumulate_##b##_##x,
#define ENTRY_FINISH(b, o)     [TM_##o] = finish_##b##_##o,
#define ENTRY_FUSED(a, t)      [TM_##t] = fused_##t,
#define ENTRY_WIDEN(a, t)      [TM_##t] = widen_##t,
#define ENTRY_NARROW(a, t)     [TM_##t] = narrow_##t,
#define ROW_ACCUMULATE(b)      [TM_##b] = {EACH_SHORT(ENTRY_ACCUMULATE, b)},
#define ROW_FINISH(b)          [TM_##b] = {EACH_FLOAT(ENTRY_FINISH, b)},

const struct tm_sum_kernels TM_SUM_TABLE = {
    .accumulate = {EACH_BASE(ROW_ACCUMULATE)},
    .finish = {EACH_BASE(ROW_FINISH)},
    .fused = {EACH_SHORT(ENTRY_FUSED, )},
    .widen = {EACH_FLOAT(ENTRY_WIDEN, )},
    .accumulate64 = accumulate64,
    .finish64 = finish64,
    .narrow = {EACH_FLOAT(ENTRY_NARROW, )},
};
