/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_neon: the kernels for 64-bit ARM. As in rans_avx2, the states of a
 * group are lanes of 16 bits, high and low halves apart, and shuffles that
 * are looked up by mask bring words to lanes: here four vectors of 8 states.
 */
#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>

#include "kernels/rans_kernels.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* So that what is indexed by the loop's variable stays in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

/* --- lanes ---------------------------------------------------------------- */

typedef uint16x8_t v16;
typedef uint32x4_t v32;

/* 32 lanes of 16 bits. */
struct quad {
    v16 v[4];
};

/* As bytes, because other loads may be compiled to want them aligned. */
ALWAYS_INLINE v16 load16(const void *p)
{
    return vreinterpretq_u16_u8(vld1q_u8(p));
}

ALWAYS_INLINE v32 load32(const void *p)
{
    return vreinterpretq_u32_u8(vld1q_u8(p));
}

ALWAYS_INLINE void store16(void *p, v16 a)
{
    vst1q_u8(p, vreinterpretq_u8_u16(a));
}

ALWAYS_INLINE void store32(void *p, v32 a)
{
    vst1q_u8(p, vreinterpretq_u8_u32(a));
}

ALWAYS_INLINE v16 set16(unsigned value)
{
    return vdupq_n_u16((uint16_t)value);
}

/* Of lanes of 32 bits: the low or the high halves of a's and b's by turns. */
ALWAYS_INLINE v16 join_low(v32 a, v32 b)
{
    return vtrn1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
}

ALWAYS_INLINE v16 join_high(v32 a, v32 b)
{
    return vtrn2q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
}

/* And back: what became of a and b. */
ALWAYS_INLINE v32 even(v16 a)
{
    return vandq_u32(vreinterpretq_u32_u16(a), vdupq_n_u32(0xffff));
}

ALWAYS_INLINE v32 odd(v16 a)
{
    return vshrq_n_u32(vreinterpretq_u32_u16(a), 16);
}

/* The low or the high halves of a's lanes of 32 bits, then of b's. */
ALWAYS_INLINE v16 low_halves(v32 a, v32 b)
{
    return vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
}

ALWAYS_INLINE v16 high_halves(v32 a, v32 b)
{
    return vuzp2q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
}

ALWAYS_INLINE v16 shift_left(v16 a, v16 by)
{
    return vshlq_u16(a, vreinterpretq_s16_u16(by));
}

ALWAYS_INLINE v16 shift_right(v16 a, v16 by)
{
    return vshlq_u16(a, vnegq_s16(vreinterpretq_s16_u16(by)));
}

/* Those of the sign, in all bits. */
ALWAYS_INLINE v16 signs16(v16 a)
{
    return vreinterpretq_u16_s16(vshrq_n_s16(vreinterpretq_s16_u16(a), 15));
}

ALWAYS_INLINE v32 signs32(v32 a)
{
    return vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(a), 31));
}

ALWAYS_INLINE bool any_bit(struct quad a)
{
    v16 b = vorrq_u16(vorrq_u16(a.v[0], a.v[1]), vorrq_u16(a.v[2], a.v[3]));

    return vmaxvq_u16(b) != 0;
}

/* The bits of a mask of lanes, eight by eight. */
struct mask {
    unsigned bits[4];
    unsigned before[5]; /* how many are set in those before */
};

ALWAYS_INLINE struct mask mask_of(const struct tm_rans_shuffles *shuffles,
                                  struct quad lanes)
{
    static const uint16_t weights[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    v16 w = vld1q_u16(weights), sum;
    struct mask m;
    uint64_t all;

    sum = vpaddq_u16(
        vpaddq_u16(vandq_u16(lanes.v[0], w), vandq_u16(lanes.v[1], w)),
        vpaddq_u16(vandq_u16(lanes.v[2], w), vandq_u16(lanes.v[3], w)));
    sum = vpaddq_u16(sum, sum);
    all = vgetq_lane_u64(vreinterpretq_u64_u16(sum), 0);
    m.before[0] = 0;
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        m.bits[i] = (unsigned)(all >> 16 * i) & 255;
        m.before[i + 1] = m.before[i] + shuffles->count[m.bits[i]];
    }
    return m;
}

/* --- states --------------------------------------------------------------- */

struct states {
    struct quad high, low;
};

ALWAYS_INLINE struct states load_states(const uint32_t x[TM_RANS_LANES])
{
    struct states s;

    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        v32 a = load32(x + 8 * i), b = load32(x + 8 * i + 4);

        s.low.v[i] = low_halves(a, b);
        s.high.v[i] = high_halves(a, b);
    }
    return s;
}

ALWAYS_INLINE void store_states(uint32_t x[TM_RANS_LANES], struct states s)
{
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        store16(x + 8 * i, vzip1q_u16(s.low.v[i], s.high.v[i]));
        store16(x + 8 * i + 4, vzip2q_u16(s.low.v[i], s.high.v[i]));
    }
}

/* --- words ---------------------------------------------------------------- */

/*
 * Where the words of states 8 i on are: 8 words, or four for the even states
 * and, 64 bytes behind, four for the odd ones.
 */
#define WORDS(p, i) ((const char *)(p) + 16 * (i))

/* The exponents of 8 words; in the order of their states, as everything. */
ALWAYS_INLINE v16 exponents(enum tm_rans_kind kind, const void *words,
                            unsigned i)
{
    v16 w = load16(WORDS(words, i));

    if (kind == TM_RANS_F16)
        return vandq_u16(vshrq_n_u16(w, 10), set16(31));
    if (kind == TM_RANS_F32)
        w = join_high(vreinterpretq_u32_u16(w), load32(WORDS(words, i) + 64));
    return vandq_u16(vshrq_n_u16(w, 7), set16(255));
}

ALWAYS_INLINE v16 classes_of(enum tm_rans_kind kind, const void *base,
                             unsigned i, v16 top, v16 last)
{
    return vminq_u16(vqsubq_u16(top, exponents(kind, base, i)), last);
}

/* Sign and magnitude to the order on the number line, and back. */
ALWAYS_INLINE v16 order16(v16 a)
{
    return veorq_u16(a, vshrq_n_u16(signs16(a), 1));
}

ALWAYS_INLINE v32 order32(v32 a)
{
    return veorq_u32(a, vshrq_n_u32(signs32(a), 1));
}

/* Base words and magnitudes to tuned words; `minus` is 0 or -1. */
ALWAYS_INLINE v16 apply16(v16 base, v16 magnitude, v16 minus)
{
    minus = veorq_u16(minus, signs16(base));
    magnitude = vsubq_u16(veorq_u16(magnitude, minus), minus);
    return order16(vaddq_u16(order16(base), magnitude));
}

ALWAYS_INLINE v32 apply32(v32 base, v32 magnitude, v32 minus)
{
    minus = veorq_u32(minus, signs32(base));
    magnitude = vsubq_u32(veorq_u32(magnitude, minus), minus);
    return order32(vaddq_u32(order32(base), magnitude));
}

/* Differences of the tuned words, away from zero where the base points. */
ALWAYS_INLINE v16 differences16(v16 base, v16 tuned)
{
    v16 d = vsubq_u16(order16(tuned), order16(base)), sign = signs16(base);

    return vsubq_u16(veorq_u16(d, sign), sign);
}

ALWAYS_INLINE v32 differences32(v32 base, v32 tuned)
{
    v32 d = vsubq_u32(order32(tuned), order32(base)), sign = signs32(base);

    return vsubq_u32(veorq_u32(d, sign), sign);
}

ALWAYS_INLINE v16 abs16(v16 a)
{
    return vreinterpretq_u16_s16(vabsq_s16(vreinterpretq_s16_u16(a)));
}

ALWAYS_INLINE v32 abs32(v32 a)
{
    return vreinterpretq_u32_s32(vabsq_s32(vreinterpretq_s32_u32(a)));
}

ALWAYS_INLINE v16 bucket_of(v16 token)
{
    return vrhaddq_u16(token, set16(0));
}

/* Those of 32 and more have raw bits: two, and one more for each eight. */
ALWAYS_INLINE v16 raw_bits16(v16 bucket)
{
    v16 bits = vsubq_u16(vshrq_n_u16(bucket, 3), set16(2));

    return vandq_u16(bits, vcgeq_u16(bucket, set16(32)));
}

/* Those of 4 to 7 have none, then it is one more for each four. */
ALWAYS_INLINE v16 raw_bits32(v16 bucket)
{
    return vqsubq_u16(vshrq_n_u16(bucket, 2), set16(1));
}

/* --- decoding ------------------------------------------------------------- */

/* What all groups have in common. */
struct decoding {
    const unsigned char *next;
    const uint32_t *slots, *own_slots, *zero_slots;
    const struct tm_rans_shuffles *shuffles;
    v16 top, last;
    v16 worst; /* the largest tokens */
    bool has_zero;
};

/* Words of the stream for the lanes of the mask, zero for the others. */
ALWAYS_INLINE struct quad next_words(struct decoding *d, struct quad lanes)
{
    struct mask m = mask_of(d->shuffles, lanes);
    struct quad words;

    UNROLL
    for (unsigned i = 0; i < 4; i++)
        words.v[i] = vreinterpretq_u16_u8(
            vqtbl1q_u8(vld1q_u8(d->next + 2 * m.before[i]),
                       vld1q_u8(d->shuffles->expand[m.bits[i]])));
    d->next += 2 * m.before[4];
    return words;
}

ALWAYS_INLINE void refill(struct decoding *d, struct states *s)
{
    struct quad few, words;

    /* x < L: the high half of 2 x is 0 */
    UNROLL
    for (unsigned i = 0; i < 4; i++)
        few.v[i] = vceqzq_u16(
            vsriq_n_u16(vshlq_n_u16(s->high.v[i], 1), s->low.v[i], 15));
    words = next_words(d, few);
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        s->high.v[i] = vbslq_u16(few.v[i], s->low.v[i], s->high.v[i]);
        s->low.v[i] = vbslq_u16(few.v[i], words.v[i], s->low.v[i]);
    }
}

/* x = f (x >> 11) + offset: the middle 16 bits of x, and those above. */
ALWAYS_INLINE void advance(v16 *high, v16 *low, v16 f, v16 offset)
{
    v16 middle = vsriq_n_u16(vshlq_n_u16(*high, 5), *low, 11);
    v32 a = vmull_u16(vget_low_u16(middle), vget_low_u16(f));
    v32 b = vmull_high_u16(middle, f);

    a = vaddw_u16(a, vget_low_u16(offset));
    b = vaddw_high_u16(b, offset);
    *high = vmlaq_u16(high_halves(a, b), vshrq_n_u16(*high, 11), f);
    *low = low_halves(a, b);
}

ALWAYS_INLINE v32 four_slots(const uint32_t *slots, const uint16_t *at)
{
    v32 r = vdupq_n_u32(slots[at[0]]);

    r = vld1q_lane_u32(slots + at[1], r, 1);
    r = vld1q_lane_u32(slots + at[2], r, 2);
    return vld1q_lane_u32(slots + at[3], r, 3);
}

/* The tokens of a group; moves its states on. */
ALWAYS_INLINE struct quad decode_tokens(enum tm_rans_kind kind,
                                        struct decoding *d, struct states *s,
                                        const void *base)
{
    uint16_t at[TM_RANS_LANES];
    struct quad token;

    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        v16 class = classes_of(kind, base, i, d->top, d->last);

        store16(at + 8 * i, vsliq_n_u16(s->low.v[i], class, 11));
    }
    __asm__("" : "+m"(at)); /* else they are extracted one by one */
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        v32 a = four_slots(d->slots, at + 8 * i);
        v32 b = four_slots(d->slots, at + 8 * i + 4);
        v16 f = high_halves(a, b), offset = low_halves(a, b);

        token.v[i] =
            vsliq_n_u16(vshrq_n_u16(offset, 11), vshrq_n_u16(f, 12), 5);
        advance(&s->high.v[i], &s->low.v[i], vandq_u16(f, set16(0xfff)),
                vandq_u16(offset, set16(0x7ff)));
        d->worst = vmaxq_u16(d->worst, token.v[i]);
    }
    refill(d, s);
    d->slots = d->own_slots;
    if (d->has_zero && !any_bit(token)) {
        d->slots = d->zero_slots;
        /* A jump, which is predicted: a choice would have to be waited for. */
        __asm__ volatile("" : "+r"(d->slots));
    }
    return token;
}

/* The low m bits of the states, which they lose. */
ALWAYS_INLINE struct quad take_bits(struct decoding *d, struct states *s,
                                    struct quad m)
{
    struct quad raw;

    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        v16 high = s->high.v[i], low = s->low.v[i], by = m.v[i];

        raw.v[i] = vbicq_u16(low, shift_left(set16(0xffff), by));
        s->low.v[i] = vorrq_u16(shift_right(low, by),
                                shift_left(high, vsubq_u16(set16(16), by)));
        s->high.v[i] = shift_right(high, by);
    }
    refill(d, s);
    return raw;
}

/* Magnitudes from 32 on are buckets of octaves: 8 | 3 bits, and raw bits. */
ALWAYS_INLINE void magnitudes16(struct decoding *d, struct states *s,
                                struct quad *bucket)
{
    struct quad m, raw;

    UNROLL
    for (unsigned i = 0; i < 4; i++)
        m.v[i] = raw_bits16(bucket->v[i]);
    if (!any_bit(m))
        return;
    raw = take_bits(d, s, m);
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        v16 first = vsliq_n_u16(bucket->v[i], set16(1), 3);

        first = shift_left(vandq_u16(first, set16(15)), m.v[i]);
        bucket->v[i] = vbslq_u16(vcgeq_u16(bucket->v[i], set16(32)),
                                 vorrq_u16(first, raw.v[i]), bucket->v[i]);
    }
}

ALWAYS_INLINE void store_words16(struct decoding *d, struct states *s,
                                 const char *base, char *tuned,
                                 struct quad token)
{
    struct quad a;

    UNROLL
    for (unsigned i = 0; i < 4; i++)
        a.v[i] = bucket_of(token.v[i]);
    magnitudes16(d, s, &a);
    UNROLL
    for (unsigned i = 0; i < 4; i++)
        store16(tuned + 16 * i, apply16(load16(base + 16 * i), a.v[i],
                                        signs16(vshlq_n_u16(token.v[i], 15))));
}

/* From 4 on: 4 | 2 bits, and raw bits: what was in the state, the others. */
ALWAYS_INLINE v32 magnitudes32(v32 bucket, v32 raw_bits, v32 raw, v32 whole)
{
    v32 first = vorrq_u32(vandq_u32(bucket, vdupq_n_u32(3)), vdupq_n_u32(4));
    v32 shift = vandq_u32(raw_bits, vdupq_n_u32(16));

    raw = vorrq_u32(vshlq_u32(raw, vreinterpretq_s32_u32(shift)), whole);
    first = vshlq_u32(first, vreinterpretq_s32_u32(raw_bits));
    return vbslq_u32(vcgeq_u32(bucket, vdupq_n_u32(4)), vorrq_u32(first, raw),
                     bucket);
}

ALWAYS_INLINE void store_words32(struct decoding *d, struct states *s,
                                 const char *base, char *tuned,
                                 struct quad token)
{
    struct quad bucket, bits, m, has_whole, raw, whole;

    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        bucket.v[i] = bucket_of(token.v[i]);
        bits.v[i] = raw_bits32(bucket.v[i]);
        m.v[i] = vandq_u16(bits.v[i], set16(15));
        has_whole.v[i] = vcgtq_u16(bits.v[i], set16(15));
        raw.v[i] = whole.v[i] = set16(0);
    }
    if (any_bit(bits)) {
        raw = take_bits(d, s, m);
        whole = next_words(d, has_whole);
    }
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        v32 t = vreinterpretq_u32_u16(token.v[i]);
        v32 a = magnitudes32(even(bucket.v[i]), even(bits.v[i]), even(raw.v[i]),
                             even(whole.v[i]));
        v32 b = magnitudes32(odd(bucket.v[i]), odd(bits.v[i]), odd(raw.v[i]),
                             odd(whole.v[i]));

        store32(tuned + 16 * i,
                apply32(load32(base + 16 * i), a, signs32(vshlq_n_u32(t, 31))));
        store32(tuned + 16 * i + 64, apply32(load32(base + 16 * i + 64), b,
                                             signs32(vshlq_n_u32(t, 15))));
    }
}

ALWAYS_INLINE void decode_group(enum tm_rans_kind kind, struct decoding *d,
                                struct states *s, const void *base, void *tuned)
{
    struct quad token = decode_tokens(kind, d, s, base);

    if (kind == TM_RANS_F32)
        store_words32(d, s, base, tuned, token);
    else
        store_words16(d, s, base, tuned, token);
}

ALWAYS_INLINE size_t decode(enum tm_rans_kind kind, struct tm_rans_decoder *out,
                            size_t pairs, const unsigned char *limit)
{
    const size_t bytes = TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
    const uint32_t *own = out->slots->of[0];
    const uint32_t *zero = out->slots->of[out->has_zero ? out->classes : 0];
    struct decoding d = {
        .next = out->next,
        .slots = out->after_zero ? zero : own,
        .own_slots = own,
        .zero_slots = zero,
        .shuffles = out->shuffles,
        .top = set16(out->top),
        .last = set16(out->classes - 1),
        .worst = set16(0),
        .has_zero = out->has_zero,
    };
    struct states s = load_states(out->x[0]), t = load_states(out->x[1]);
    const unsigned char *base = out->base;
    unsigned char *tuned = out->tuned;
    size_t done = 0;

    for (; done < pairs && d.next <= limit; done++) {
        decode_group(kind, &d, &s, base, tuned);
        decode_group(kind, &d, &t, base + bytes, tuned + bytes);
        base += 2 * bytes;
        tuned += 2 * bytes;
    }
    store_states(out->x[0], s);
    store_states(out->x[1], t);
    out->next = d.next;
    out->base = base;
    out->tuned = tuned;
    out->after_zero = d.slots != own;
    out->absent |= vmaxvq_u16(d.worst) == TM_RANS_ABSENT;
    return done;
}

/* --- scanning ------------------------------------------------------------- */

/*
 * The bucket of a from 32 on, 2^k <= a: a >> (k - 3) is 8 to 15, for k = 5 in
 * buckets 32 to 39, and eight further on for each k.
 */
ALWAYS_INLINE v16 octaves16(v16 a)
{
    v16 k = vsubq_u16(set16(15), vclzq_u16(a));

    return vaddq_u16(shift_right(a, vsubq_u16(k, set16(3))),
                     vsubq_u16(vshlq_n_u16(k, 3), set16(16)));
}

/* From 8 on: a >> (k - 2) is 4 to 7, for k = 3 in buckets 8 to 11. */
ALWAYS_INLINE v32 octaves32(v32 a)
{
    v32 k = vsubq_u32(vdupq_n_u32(31), vclzq_u32(a));
    int32x4_t by = vreinterpretq_s32_u32(vsubq_u32(vdupq_n_u32(2), k));

    return vaddq_u32(vshlq_u32(a, by),
                     vsubq_u32(vshlq_n_u32(k, 2), vdupq_n_u32(8)));
}

/* Eight words: their tokens; adds to `raw` which have raw bits. */
ALWAYS_INLINE v16 tokens16(const void *base, const void *tuned, v16 *raw)
{
    v16 d = differences16(load16(base), load16(tuned)), bucket = abs16(d);
    v16 is_octave = vcgeq_u16(bucket, set16(32));

    *raw = vorrq_u16(*raw, is_octave);
    bucket = vbslq_u16(is_octave, octaves16(bucket), bucket);
    return vaddq_u16(vaddq_u16(bucket, bucket), signs16(d));
}

/* Four words, in lanes of 32 bits. */
ALWAYS_INLINE v32 tokens32(const void *base, const void *tuned, v16 *raw)
{
    v32 d = differences32(load32(base), load32(tuned)), bucket = abs32(d);
    v32 is_octave = vcgeq_u32(bucket, vdupq_n_u32(8));

    *raw = vorrq_u16(*raw, vreinterpretq_u16_u32(is_octave));
    bucket = vbslq_u32(is_octave, octaves32(bucket), bucket);
    return vaddq_u32(vaddq_u32(bucket, bucket), signs32(d));
}

/* Of states 8 i on. */
ALWAYS_INLINE v16 tokens_of(enum tm_rans_kind kind, const char *base,
                            const char *tuned, unsigned i, v16 *raw)
{
    base += 16 * i;
    tuned += 16 * i;
    if (kind != TM_RANS_F32)
        return tokens16(base, tuned, raw);
    return join_low(tokens32(base, tuned, raw),
                    tokens32(base + 64, tuned + 64, raw));
}

ALWAYS_INLINE void scan(enum tm_rans_kind kind, const struct tm_rans_scan *s,
                        size_t pairs)
{
    const size_t bytes = TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
    v16 top = set16(s->top), last = set16(TM_RANS_CLASSES - 1);

    for (size_t g = 0; g < 2 * pairs; g++) {
        const void *base = s->base + g * bytes, *tuned = s->tuned + g * bytes;
        v16 raw = set16(0), any = set16(0);

        UNROLL
        for (unsigned i = 0; i < 4; i++) {
            v16 class = classes_of(kind, base, i, top, last);
            v16 token = tokens_of(kind, base, tuned, i, &raw);

            store16(s->index + g * TM_RANS_LANES + 8 * i,
                    vsliq_n_u16(token, class, 8));
            any = vorrq_u16(any, token);
        }
        s->flags[g] =
            (unsigned char)((vmaxvq_u16(raw) != 0 ? TM_RANS_GROUP_RAW : 0) |
                            (vmaxvq_u16(any) == 0 ? TM_RANS_GROUP_ZERO : 0));
    }
}

/* --- encoding ------------------------------------------------------------- */

struct encoding {
    unsigned char *next;
    const struct tm_rans_shuffles *shuffles;
};

/*
 * The lanes' words, of those chosen, go below `next`: eight lanes at a time
 * are moved to the end of a vector, and what is stored before them is garbage
 * which the next words go over.
 */
ALWAYS_INLINE void put_words(struct encoding *e, struct quad chosen,
                             struct quad words)
{
    struct mask m = mask_of(e->shuffles, chosen);
    unsigned char *begin = e->next - 2 * m.before[4];

    UNROLL
    for (unsigned i = 4; i-- > 0;) {
        uint8x16_t shuffle = vld1q_u8(e->shuffles->compress[m.bits[i]]);

        vst1q_u8(begin + 2 * m.before[i + 1] - 16,
                 vqtbl1q_u8(vreinterpretq_u8_u16(words.v[i]), shuffle));
    }
    e->next = begin;
}

/* Makes room in states from limit x 2^16 on. */
ALWAYS_INLINE void spill(struct encoding *e, struct states *s,
                         struct quad limit)
{
    struct quad full;

    UNROLL
    for (unsigned i = 0; i < 4; i++)
        full.v[i] = vcgeq_u16(s->high.v[i], limit.v[i]);
    put_words(e, full, s->low);
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        s->low.v[i] = vbslq_u16(full.v[i], s->high.v[i], s->low.v[i]);
        s->high.v[i] = vbicq_u16(s->high.v[i], full.v[i]);
    }
}

/* Gives the states m bits each, the low ones of `bits`. */
ALWAYS_INLINE void give_bits(struct encoding *e, struct states *s,
                             struct quad m, struct quad bits)
{
    struct quad limit;

    UNROLL
    for (unsigned i = 0; i < 4; i++)
        limit.v[i] = shift_right(set16(0x8000), m.v[i]);
    spill(e, s, limit);
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        v16 low = s->low.v[i], by = m.v[i];
        v16 raw = vbicq_u16(bits.v[i], shift_left(set16(0xffff), by));

        s->high.v[i] = vorrq_u16(shift_left(s->high.v[i], by),
                                 shift_right(low, vsubq_u16(set16(16), by)));
        s->low.v[i] = vorrq_u16(shift_left(low, by), raw);
    }
}

ALWAYS_INLINE void encode_raw16(struct encoding *e, struct states *s,
                                const char *base, const char *tuned,
                                struct quad token)
{
    struct quad m, a;

    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        m.v[i] = raw_bits16(bucket_of(token.v[i]));
        a.v[i] =
            abs16(differences16(load16(base + 16 * i), load16(tuned + 16 * i)));
    }
    give_bits(e, s, m, a);
}

/* Magnitudes of four words, and these without 0 or 16 bits. */
ALWAYS_INLINE v32 magnitudes_at(const char *base, const char *tuned)
{
    return abs32(differences32(load32(base), load32(tuned)));
}

ALWAYS_INLINE v32 without(v32 a, v32 shift)
{
    return vshlq_u32(a, vnegq_s32(vreinterpretq_s32_u32(shift)));
}

ALWAYS_INLINE void encode_raw32(struct encoding *e, struct states *s,
                                const char *base, const char *tuned,
                                struct quad token)
{
    struct quad m, high, low, has_whole;

    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        v16 bits = raw_bits32(bucket_of(token.v[i]));
        v16 shift = vandq_u16(bits, set16(16));
        v32 a = magnitudes_at(base + 16 * i, tuned + 16 * i);
        v32 b = magnitudes_at(base + 16 * i + 64, tuned + 16 * i + 64);

        m.v[i] = vandq_u16(bits, set16(15));
        has_whole.v[i] = vcgtq_u16(bits, set16(15));
        low.v[i] = join_low(a, b);
        high.v[i] = join_low(without(a, even(shift)), without(b, odd(shift)));
    }
    put_words(e, has_whole, low);
    give_bits(e, s, m, high);
}

/* f and cum, and 1 / f, of four states, as vectors of 32 bits. */
struct entries {
    v32 low, inverse;
};

ALWAYS_INLINE v32 two_entries(const uint64_t *entries, const uint16_t *at)
{
    uint64x2_t r = vdupq_n_u64(entries[at[0]]);

    return vreinterpretq_u32_u64(vld1q_lane_u64(entries + at[1], r, 1));
}

ALWAYS_INLINE struct entries load_entries(const uint64_t *entries,
                                          const uint16_t *at)
{
    v32 a = two_entries(entries, at), b = two_entries(entries, at + 2);

    return (struct entries){vuzp1q_u32(a, b), vuzp2q_u32(a, b)};
}

/* x / f x T + x mod f + cum, for x below 2^20 f; see rans_avx512.c. */
ALWAYS_INLINE v32 push(v32 x, struct entries e)
{
    v32 f = vandq_u32(e.low, vdupq_n_u32(0xffff)), q, rest, more;

    q = vcvtq_u32_f32(
        vmulq_f32(vcvtq_f32_u32(x), vreinterpretq_f32_u32(e.inverse)));
    rest = vmlsq_u32(x, q, f);
    more =
        vandq_u32(vcgeq_u32(rest, f), vsubq_u32(vdupq_n_u32(TM_RANS_SCALE), f));
    x = vaddq_u32(vshlq_n_u32(q, TM_RANS_SCALE_BITS), more);
    return vaddq_u32(x, vsraq_n_u32(rest, e.low, 16));
}

ALWAYS_INLINE void encode_tokens(struct encoding *e, struct states *s,
                                 const uint64_t *entries, struct quad index)
{
    uint16_t at[TM_RANS_LANES];
    struct entries a[4], b[4];
    struct quad limit;

    UNROLL
    for (unsigned i = 0; i < 4; i++)
        store16(at + 8 * i, index.v[i]);
    __asm__("" : "+m"(at));
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        a[i] = load_entries(entries, at + 8 * i);
        b[i] = load_entries(entries, at + 8 * i + 4);
        limit.v[i] = vshlq_n_u16(low_halves(a[i].low, b[i].low), 4);
    }
    spill(e, s, limit);
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        v16 low = s->low.v[i], high = s->high.v[i];
        v32 x = push(vreinterpretq_u32_u16(vzip1q_u16(low, high)), a[i]);
        v32 y = push(vreinterpretq_u32_u16(vzip2q_u16(low, high)), b[i]);

        s->low.v[i] = low_halves(x, y);
        s->high.v[i] = high_halves(x, y);
    }
}

/* The index, with the classes that share the last table made one. */
ALWAYS_INLINE v16 merge_classes(v16 index, unsigned classes)
{
    v16 most = set16(TM_RANS_INDEX(classes - 1, 255));

    return vbslq_u16(set16(255), index, vminq_u16(index, most));
}

ALWAYS_INLINE void encode_group(enum tm_rans_kind kind,
                                const struct tm_rans_encoder *from,
                                struct encoding *e, struct states *s, size_t g)
{
    const size_t at = g * TM_RANS_LANES * (kind == TM_RANS_F32 ? 4 : 2);
    const char *base = (const char *)from->base + at;
    const char *tuned = (const char *)from->tuned + at;
    bool zero = from->has_zero && g > 0 &&
                (from->flags[g - 1] & TM_RANS_GROUP_ZERO) != 0;
    struct quad index, token;

    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        index.v[i] = load16(from->index + g * TM_RANS_LANES + 8 * i);
        token.v[i] = vandq_u16(index.v[i], set16(255));
        index.v[i] = merge_classes(index.v[i], from->classes);
    }
    if (from->flags[g] & TM_RANS_GROUP_RAW) {
        if (kind == TM_RANS_F32)
            encode_raw32(e, s, base, tuned, token);
        else
            encode_raw16(e, s, base, tuned, token);
    }
    encode_tokens(e, s, from->entries->of[zero ? from->classes : 0], index);
}

ALWAYS_INLINE void encode(enum tm_rans_kind kind, struct tm_rans_encoder *from,
                          size_t pairs)
{
    struct states s = load_states(from->x[0]), t = load_states(from->x[1]);
    struct encoding e = {from->next, from->shuffles};

    while (pairs-- > 0) {
        encode_group(kind, from, &e, &t, 2 * pairs + 1);
        encode_group(kind, from, &e, &s, 2 * pairs);
    }
    store_states(from->x[0], s);
    store_states(from->x[1], t);
    from->next = e.next;
}

/* --- for each kind of words ----------------------------------------------- */

#define DEFINE(kind)                                                           \
    static size_t decode_##kind(struct tm_rans_decoder *d, size_t pairs,       \
                                const unsigned char *limit)                    \
    {                                                                          \
        return decode(TM_RANS_##kind, d, pairs, limit);                        \
    }                                                                          \
    static void scan_##kind(const struct tm_rans_scan *s, size_t pairs)        \
    {                                                                          \
        scan(TM_RANS_##kind, s, pairs);                                        \
    }                                                                          \
    static void encode_##kind(struct tm_rans_encoder *e, size_t pairs)         \
    {                                                                          \
        encode(TM_RANS_##kind, e, pairs);                                      \
    }

DEFINE(BF16)
DEFINE(F16)
DEFINE(F32)

const struct tm_rans_kernels tm_rans_neon = {
    .decode = {decode_BF16, decode_F16, decode_F32},
    .scan = {scan_BF16, scan_F16, scan_F32},
    .encode = {encode_BF16, encode_F16, encode_F32},
};

#endif
