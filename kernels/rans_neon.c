/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_neon: the vector layer of rans_template.h for 64-bit ARM. Words of the
 * stream come to lanes by shuffles that are looked up by mask, as in rans_avx2.
 */
#if defined(__aarch64__)

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rans_kernels.h"

#define VECS  4
#define QUIET 0

/* Lanes of 32 bits, too, go by this type. */
typedef uint16x8_t vec;

struct lanes {
    vec v[VECS];
};

/* A lane of a mask is 0 or -1. */
struct masks {
    vec v[VECS];
};

/* --- lanes ---------------------------------------------------------------- */

#define v_or          vorrq_u16
#define v_xor         veorq_u16
#define v_and         vandq_u16
#define v_add16       vaddq_u16
#define v_sub16       vsubq_u16
#define v_less16      vqsubq_u16
#define v_min16       vminq_u16
#define v_max16       vmaxq_u16
#define v_ge16        vcgeq_u16
#define v_above16     vcgtq_u16
#define v_is_zero16   vceqzq_u16
#define v_choose16    vbslq_u16
#define v_choose32    vbslq_u16 /* a mask has all bits of a lane */
#define V_SHL16(a, n) vshlq_n_u16(a, n)
#define V_SHR16(a, n) vshrq_n_u16(a, n)
#define V_SHL32(a, n) of32(vshlq_n_u32(to32(a), n))

ALWAYS_INLINE uint32x4_t to32(vec a)
{
    return vreinterpretq_u32_u16(a);
}

ALWAYS_INLINE vec of32(uint32x4_t a)
{
    return vreinterpretq_u16_u32(a);
}

ALWAYS_INLINE int16x8_t signed16(vec a)
{
    return vreinterpretq_s16_u16(a);
}

ALWAYS_INLINE int32x4_t signed32(vec a)
{
    return vreinterpretq_s32_u16(a);
}

/* As bytes, because other loads may be compiled to want them aligned. */
ALWAYS_INLINE vec v_load(const void *p)
{
    return vreinterpretq_u16_u8(vld1q_u8(p));
}

ALWAYS_INLINE void v_store(void *p, vec a)
{
    vst1q_u8(p, vreinterpretq_u8_u16(a));
}

ALWAYS_INLINE vec v_set16(unsigned value)
{
    return vdupq_n_u16((uint16_t)value);
}

ALWAYS_INLINE vec v_set32(unsigned value)
{
    return of32(vdupq_n_u32(value));
}

ALWAYS_INLINE vec v_add32(vec a, vec b)
{
    return of32(vaddq_u32(to32(a), to32(b)));
}

ALWAYS_INLINE vec v_sub32(vec a, vec b)
{
    return of32(vsubq_u32(to32(a), to32(b)));
}

ALWAYS_INLINE vec v_ge32(vec a, vec b)
{
    return of32(vcgeq_u32(to32(a), to32(b)));
}

ALWAYS_INLINE vec v_above32(vec a, vec b)
{
    return of32(vcgtq_u32(to32(a), to32(b)));
}

ALWAYS_INLINE vec v_abs16(vec a)
{
    return vreinterpretq_u16_s16(vabsq_s16(signed16(a)));
}

ALWAYS_INLINE vec v_abs32(vec a)
{
    return vreinterpretq_u16_s32(vabsq_s32(signed32(a)));
}

ALWAYS_INLINE vec v_sign16(vec a)
{
    return vreinterpretq_u16_s16(vshrq_n_s16(signed16(a), 15));
}

ALWAYS_INLINE vec v_sign32(vec a)
{
    return vreinterpretq_u16_s32(vshrq_n_s32(signed32(a), 31));
}

ALWAYS_INLINE vec v_and_or(vec a, vec m, vec b)
{
    return v_or(v_and(a, m), b);
}

ALWAYS_INLINE vec v_xor_and(vec a, vec b, vec m)
{
    return v_xor(a, v_and(b, m));
}

ALWAYS_INLINE vec v_half16(vec a)
{
    return vrhaddq_u16(a, v_set16(0));
}

ALWAYS_INLINE vec v_shift16(vec a, vec by)
{
    return vshlq_u16(a, signed16(by));
}

ALWAYS_INLINE vec v_back16(vec a, vec by)
{
    return vshlq_u16(a, vnegq_s16(signed16(by)));
}

ALWAYS_INLINE vec v_shift32(vec a, vec by)
{
    return of32(vshlq_u32(to32(a), signed32(by)));
}

ALWAYS_INLINE vec v_back32(vec a, vec by)
{
    return of32(vshlq_u32(to32(a), vnegq_s32(signed32(by))));
}

ALWAYS_INLINE vec v_low_bits(vec a, vec m)
{
    return vbicq_u16(a, v_shift16(v_set16(0xffff), m));
}

ALWAYS_INLINE vec v_even(vec a)
{
    return v_and(a, v_set32(0xffff));
}

ALWAYS_INLINE vec v_odd(vec a)
{
    return of32(vshrq_n_u32(to32(a), 16));
}

ALWAYS_INLINE vec v_join_low(vec a, vec b)
{
    return vtrn1q_u16(a, b);
}

ALWAYS_INLINE vec v_join_high(vec a, vec b)
{
    return vtrn2q_u16(a, b);
}

ALWAYS_INLINE bool any_bit(struct lanes a)
{
    return vmaxvq_u16(v_or(v_or(a.v[0], a.v[1]), v_or(a.v[2], a.v[3]))) != 0;
}

ALWAYS_INLINE bool any_lane(struct masks m)
{
    return any_bit((struct lanes){{m.v[0], m.v[1], m.v[2], m.v[3]}});
}

/*
 * With 2^k <= a: a >> (k - 3) is 8 to 15, for k = 5 in buckets 32 to 39, and
 * eight further on for each k.
 */
ALWAYS_INLINE vec v_octave16(vec a)
{
    vec k = v_sub16(v_set16(15), vclzq_u16(a));

    return v_add16(v_back16(a, v_sub16(k, v_set16(3))),
                   v_sub16(V_SHL16(k, 3), v_set16(16)));
}

/* a >> (k - 2) is 4 to 7, for k = 3 in buckets 8 to 11. */
ALWAYS_INLINE vec v_octave32(vec a)
{
    vec k = v_sub32(v_set32(31), of32(vclzq_u32(to32(a))));

    return v_add32(v_back32(a, v_sub32(k, v_set32(2))),
                   v_sub32(V_SHL32(k, 2), v_set32(8)));
}

/* --- states --------------------------------------------------------------- */

ALWAYS_INLINE void load_states(const uint32_t x[TM_RANS_LANES],
                               struct lanes *high, struct lanes *low)
{
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        vec a = v_load(x + 8 * i), b = v_load(x + 8 * i + 4);

        low->v[i] = vuzp1q_u16(a, b);
        high->v[i] = vuzp2q_u16(a, b);
    }
}

ALWAYS_INLINE void store_states(uint32_t x[TM_RANS_LANES], struct lanes high,
                                struct lanes low)
{
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        v_store(x + 8 * i, vzip1q_u16(low.v[i], high.v[i]));
        v_store(x + 8 * i + 4, vzip2q_u16(low.v[i], high.v[i]));
    }
}

ALWAYS_INLINE vec v_double_high(vec high, vec low)
{
    return vsriq_n_u16(V_SHL16(high, 1), low, 15);
}

/* The product with the middle 16 bits of x, and with those above. */
ALWAYS_INLINE void v_advance(vec *high, vec *low, vec f, vec offset)
{
    vec middle = vsriq_n_u16(V_SHL16(*high, 5), *low, 11);
    uint32x4_t a = vmull_u16(vget_low_u16(middle), vget_low_u16(f));
    uint32x4_t b = vmull_high_u16(middle, f);
    vec x = of32(vaddw_u16(a, vget_low_u16(offset)));
    vec y = of32(vaddw_high_u16(b, offset));

    *high = vmlaq_u16(vuzp2q_u16(x, y), V_SHR16(*high, 11), f);
    *low = vuzp1q_u16(x, y);
}

ALWAYS_INLINE void v_shift_out(vec *high, vec *low, vec m)
{
    vec over = v_shift16(*high, v_sub16(v_set16(16), m));

    *low = v_or(v_back16(*low, m), over);
    *high = v_back16(*high, m);
}

ALWAYS_INLINE void v_shift_in(vec *high, vec *low, vec m)
{
    vec over = v_back16(*low, v_sub16(v_set16(16), m));

    *high = v_or(v_shift16(*high, m), over);
    *low = v_shift16(*low, m);
}

/* The high half of a state that has no room for m bits more: 2^(15 - m). */
ALWAYS_INLINE vec v_limit(vec m)
{
    return v_back16(v_set16(0x8000), m);
}

/* --- words of the stream -------------------------------------------------- */

/* The bits of a mask of lanes, eight by eight, and how many came before. */
struct eights {
    unsigned bits[4], before[5];
};

/* Each lane's bit is added to the others of its vector. */
ALWAYS_INLINE struct eights eights_of(const struct tm_rans_shuffles *shuffles,
                                      struct masks m)
{
    static const uint16_t weights[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    vec w = vld1q_u16(weights);
    vec a = vpaddq_u16(v_and(m.v[0], w), v_and(m.v[1], w));
    vec b = vpaddq_u16(v_and(m.v[2], w), v_and(m.v[3], w));
    struct eights e;
    uint64_t all;

    a = vpaddq_u16(a, b);
    a = vpaddq_u16(a, a);
    all = vgetq_lane_u64(vreinterpretq_u64_u16(a), 0);
    e.before[0] = 0;
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        e.bits[i] = (unsigned)(all >> 16 * i) & 255;
        e.before[i + 1] = e.before[i] + shuffles->count[e.bits[i]];
    }
    return e;
}

ALWAYS_INLINE uint8x16_t shuffle(uint8x16_t words, const uint8_t by[16])
{
    return vqtbl1q_u8(words, vld1q_u8(by));
}

ALWAYS_INLINE struct lanes next_words(const struct tm_rans_shuffles *shuffles,
                                      const unsigned char **next,
                                      struct masks m, struct lanes others)
{
    const struct eights e = eights_of(shuffles, m);

    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        uint8x16_t words = vld1q_u8(*next + 2 * e.before[i]);

        words = shuffle(words, shuffles->expand[e.bits[i]]);
        others.v[i] =
            v_choose16(m.v[i], vreinterpretq_u16_u8(words), others.v[i]);
    }
    *next += 2 * e.before[4];
    return others;
}

/*
 * Eight lanes at a time are moved to the end of a vector; what is stored
 * before them is garbage which the next words go over.
 */
ALWAYS_INLINE void put_words(const struct tm_rans_shuffles *shuffles,
                             unsigned char **next, struct masks m,
                             struct lanes words)
{
    const struct eights e = eights_of(shuffles, m);
    unsigned char *begin = *next - 2 * e.before[4];

    UNROLL
    for (unsigned i = VECS; i-- > 0;) {
        uint8x16_t eight = vreinterpretq_u8_u16(words.v[i]);

        vst1q_u8(begin + 2 * e.before[i + 1] - 16,
                 shuffle(eight, shuffles->compress[e.bits[i]]));
    }
    *next = begin;
}

/* --- tables --------------------------------------------------------------- */

ALWAYS_INLINE void store_indices(uint16_t at[TM_RANS_LANES], struct lanes index)
{
    UNROLL
    for (unsigned i = 0; i < VECS; i++)
        v_store(at + 8 * i, index.v[i]);
    __asm__("" : : : "memory"); /* else they are extracted one by one */
}

ALWAYS_INLINE vec four_slots(const uint32_t *slots, const uint16_t *at)
{
    uint32x4_t r = vdupq_n_u32(slots[at[0]]);

    r = vld1q_lane_u32(slots + at[1], r, 1);
    r = vld1q_lane_u32(slots + at[2], r, 2);
    return of32(vld1q_lane_u32(slots + at[3], r, 3));
}

ALWAYS_INLINE void load_slots(bool gather, const uint32_t *slots,
                              struct lanes index, struct lanes *f,
                              struct lanes *offset)
{
    uint16_t at[TM_RANS_LANES];

    (void)gather;
    store_indices(at, index);
    UNROLL
    for (unsigned i = 0; i < VECS; i++) {
        vec a = four_slots(slots, at + 8 * i);
        vec b = four_slots(slots, at + 8 * i + 4);

        f->v[i] = vuzp2q_u16(a, b);
        offset->v[i] = vuzp1q_u16(a, b);
    }
}

/* f and cum, and 1 / f, of the first four states and of the others. */
struct entries {
    uint32x4_t low[2], inverse[2];
};

ALWAYS_INLINE uint32x4_t two_entries(const uint64_t *entries,
                                     const uint16_t *at)
{
    uint64x2_t r = vdupq_n_u64(entries[at[0]]);

    return vreinterpretq_u32_u64(vld1q_lane_u64(entries + at[1], r, 1));
}

ALWAYS_INLINE void load_entries(bool gather, const uint64_t *entries,
                                struct lanes index, struct entries e[VECS])
{
    uint16_t at[TM_RANS_LANES];

    (void)gather;
    store_indices(at, index);
    UNROLL
    for (unsigned i = 0; i < 2 * VECS; i++) {
        uint32x4_t a = two_entries(entries, at + 4 * i);
        uint32x4_t b = two_entries(entries, at + 4 * i + 2);

        e[i / 2].low[i % 2] = vuzp1q_u32(a, b);
        e[i / 2].inverse[i % 2] = vuzp2q_u32(a, b);
    }
}

ALWAYS_INLINE vec v_entry_f(struct entries e)
{
    return vuzp1q_u16(of32(e.low[0]), of32(e.low[1]));
}

/* See tm_rans_entries for why the quotient is right or too small by 1. */
ALWAYS_INLINE vec push(vec x, uint32x4_t low, uint32x4_t inverse)
{
    uint32x4_t f = vandq_u32(low, vdupq_n_u32(0xffff)), q, rest, more;

    q = vcvtq_u32_f32(
        vmulq_f32(vcvtq_f32_u32(to32(x)), vreinterpretq_f32_u32(inverse)));
    rest = vmlsq_u32(to32(x), q, f);
    more =
        vandq_u32(vcgeq_u32(rest, f), vsubq_u32(vdupq_n_u32(TM_RANS_SCALE), f));
    rest = vsraq_n_u32(rest, low, 16);
    return of32(
        vaddq_u32(vaddq_u32(vshlq_n_u32(q, TM_RANS_SCALE_BITS), more), rest));
}

ALWAYS_INLINE void v_push(vec *high, vec *low, struct entries e)
{
    vec a = push(vzip1q_u16(*low, *high), e.low[0], e.inverse[0]);
    vec b = push(vzip2q_u16(*low, *high), e.low[1], e.inverse[1]);

    *low = vuzp1q_u16(a, b);
    *high = vuzp2q_u16(a, b);
}

#include "kernels/rans_template.h"

RANS_TABLE(tm_rans_neon, false)

#endif
