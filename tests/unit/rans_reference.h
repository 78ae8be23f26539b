/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_reference: the coding rans once more, from docs/format.md alone: a bit,
 * a word and a step at a time, with nothing in common with kernels/.
 */
#ifndef TM_TESTS_RANS_REFERENCE_H
#define TM_TESTS_RANS_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum ref_kind { REF_BF16, REF_F16, REF_F32 };

#define REF_T      2048u
#define REF_L      32768u
#define REF_MASSES 127

struct ref_table {
    bool there;
    unsigned groups;
    unsigned q[REF_MASSES];
    unsigned f[256];
};

struct ref_model {
    enum ref_kind kind;
    unsigned e, c;
    bool z;
    struct ref_table tables[32];
};

/* --- words ---------------------------------------------------------------- */

static unsigned ref_word_bits(enum ref_kind kind)
{
    return kind == REF_F32 ? 32 : 16;
}

static uint32_t ref_word(enum ref_kind kind, const void *p, size_t i)
{
    const unsigned char *b = p;
    uint32_t word = 0;

    for (unsigned k = ref_word_bits(kind) / 8; k-- > 0;)
        word = word << 8 | b[i * (ref_word_bits(kind) / 8) + k];
    return word;
}

static void ref_put_word(enum ref_kind kind, void *p, size_t i, uint32_t word)
{
    unsigned char *b = p;

    for (unsigned k = 0; k < ref_word_bits(kind) / 8; k++)
        b[i * (ref_word_bits(kind) / 8) + k] = (unsigned char)(word >> 8 * k);
}

static int64_t ref_order(enum ref_kind kind, uint32_t u)
{
    int64_t half = INT64_C(1) << (ref_word_bits(kind) - 1);

    return u < half ? u : -(u - half) - 1;
}

static uint32_t ref_unorder(enum ref_kind kind, int64_t o)
{
    int64_t half = INT64_C(1) << (ref_word_bits(kind) - 1);

    return (uint32_t)(o >= 0 ? o : half - (o + 1));
}

/* Into the range of two's complement. */
static int64_t ref_wrap(enum ref_kind kind, int64_t d)
{
    int64_t whole = INT64_C(1) << ref_word_bits(kind);

    while (d >= whole / 2)
        d -= whole;
    while (d < -whole / 2)
        d += whole;
    return d;
}

static bool ref_is_negative(enum ref_kind kind, uint32_t u)
{
    return u >> (ref_word_bits(kind) - 1) != 0;
}

static int64_t ref_difference(enum ref_kind kind, uint32_t b, uint32_t t)
{
    int64_t d = ref_order(kind, t) - ref_order(kind, b);

    return ref_wrap(kind, ref_is_negative(kind, b) ? -d : d);
}

static uint32_t ref_undo(enum ref_kind kind, uint32_t b, int64_t d)
{
    d = ref_is_negative(kind, b) ? -d : d;
    return ref_unorder(kind, ref_wrap(kind, ref_order(kind, b) + d));
}

static unsigned ref_class(const struct ref_model *m, uint32_t b)
{
    int e = m->kind == REF_F32    ? (int)(b >> 23 & 255)
            : m->kind == REF_BF16 ? (int)(b >> 7 & 255)
                                  : (int)(b >> 10 & 31);
    int class = (int)m->e - e;

    class = class < 0 ? 0 : class;
    return class < (int)m->c ? (unsigned)class : m->c - 1;
}

/* --- tokens --------------------------------------------------------------- */

static unsigned ref_k(enum ref_kind kind)
{
    return kind == REF_F32 ? 3 : 5;
}

static unsigned ref_b(enum ref_kind kind)
{
    return kind == REF_F32 ? 2 : 3;
}

static unsigned ref_log2(uint64_t v)
{
    unsigned k = 0;

    while (v >> (k + 1) != 0)
        k++;
    return k;
}

struct ref_token {
    unsigned token, r;
    uint64_t raw;
};

static struct ref_token ref_tokenize(enum ref_kind kind, int64_t d)
{
    uint64_t a = (uint64_t)(d < 0 ? -d : d);
    unsigned K = ref_k(kind), B = ref_b(kind), bucket = (unsigned)a;
    struct ref_token t = {0, 0, 0};

    if (a >= 1u << K) {
        unsigned k = ref_log2(a);

        t.r = k - B;
        bucket = (1u << K) + ((k - K) << B);
        bucket += (unsigned)(a >> t.r) & ((1u << B) - 1);
        t.raw = a & ((UINT64_C(1) << t.r) - 1);
    }
    t.token = bucket == 0 ? 0 : d < 0 ? 2 * bucket - 1 : 2 * bucket;
    return t;
}

/* The raw bits of a token, and the magnitude when they are 0. */
static unsigned ref_raw_bits(enum ref_kind kind, unsigned token, uint64_t *a)
{
    unsigned K = ref_k(kind), B = ref_b(kind), bucket = (token + 1) / 2, k;

    *a = bucket;
    if (bucket < 1u << K)
        return 0;
    k = K + ((bucket - (1u << K)) >> B);
    *a = ((UINT64_C(1) << B) | (bucket & ((1u << B) - 1))) << (k - B);
    return k - B;
}

/* --- tables --------------------------------------------------------------- */

struct ref_shape {
    unsigned first, width;
    uint64_t values; /* of |d|, in a bucket's group */
};

static struct ref_shape ref_group(enum ref_kind kind, unsigned g)
{
    unsigned K = ref_k(kind), B = ref_b(kind), k = (g + 1) / 2;
    unsigned buckets = k < K ? 1u << k : 1u << B;
    unsigned first = k < K ? 1u << k : (1u << K) + ((k - K) << B);
    struct ref_shape s = {first, buckets, UINT64_C(1) << k};

    if (g > 0) {
        s.width /= 2;
        s.values /= 2;
        s.first += g % 2 == 0 ? s.width : 0;
    }
    return s;
}

static unsigned ref_max_groups(enum ref_kind kind)
{
    return 2 * ref_word_bits(kind) - 1;
}

static uint64_t ref_isqrt(uint64_t x)
{
    uint64_t low = 0, high = UINT64_C(1) << 31;

    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;

        if (middle * middle <= x)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The largest of f - w, the first of those. */
static unsigned ref_largest(const unsigned *f, const unsigned *w, unsigned n)
{
    unsigned best = 0;

    for (unsigned i = 0; i < n; i++)
        best = f[i] - w[i] > f[best] - w[best] ? i : best;
    return best;
}

static void ref_adjust(unsigned *f, const unsigned *w, unsigned n)
{
    static const unsigned zeros[REF_MASSES];
    unsigned sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += f[i];
    if (sum < REF_T)
        f[ref_largest(f, zeros, n)] += REF_T - sum;
    while (sum > REF_T) {
        unsigned i = ref_largest(f, w, n), less = f[i] - w[i];

        less = less < sum - REF_T ? less : sum - REF_T;
        f[i] -= less;
        sum -= less;
    }
}

static void ref_deal(struct ref_table *t, enum ref_kind kind, unsigned g,
                     const unsigned *f, bool negative)
{
    struct ref_shape s = ref_group(kind, g), n;
    unsigned own = f[1 + 2 * g + !negative], left_over = own;
    uint64_t D = (uint64_t)own << 14, before = D, after = D / 4;
    uint64_t left, right, total = 0;

    if (own == 0)
        return;
    if (g > 0 && f[1 + 2 * (g - 1) + !negative] != 0) {
        n = ref_group(kind, g - 1);
        before = (uint64_t)f[1 + 2 * (g - 1) + !negative] << 14;
        before *= s.values / n.values;
    }
    if (g + 1 < t->groups && f[1 + 2 * (g + 1) + !negative] != 0) {
        n = ref_group(kind, g + 1);
        after = (uint64_t)f[1 + 2 * (g + 1) + !negative] << 14;
        after /= n.values / s.values;
    }
    left = ref_isqrt(before * D);
    right = ref_isqrt(D * after);
    for (uint64_t x = 0; x < s.width; x++)
        total += left * (2 * (s.width - x) - 1) + right * (2 * x + 1);
    for (unsigned x = 0; x < s.width; x++) {
        uint64_t v = left * (2 * (s.width - x) - 1) + right * (2 * x + 1);
        unsigned share = 1 + (unsigned)((own - s.width) * v / total);

        t->f[2 * (s.first + x) - negative] = share;
        left_over -= share;
    }
    t->f[2 * s.first - negative] += left_over;
}

static void ref_frequencies(struct ref_table *t, enum ref_kind kind)
{
    unsigned n = 1 + 2 * t->groups, f[REF_MASSES], w[REF_MASSES];
    unsigned sum = 0;

    memset(t->f, 0, sizeof(t->f));
    for (unsigned i = 0; i < n; i++)
        sum += t->q[i];
    for (unsigned i = 0; i < n; i++) {
        w[i] = i == 0 ? 1 : ref_group(kind, (i - 1) / 2).width;
        w[i] = t->q[i] == 0 ? 0 : w[i];
        f[i] = t->q[i] * REF_T / sum;
        f[i] = f[i] > w[i] ? f[i] : w[i];
    }
    ref_adjust(f, w, n);
    t->f[0] = f[0];
    for (unsigned g = 0; g < t->groups; g++) {
        ref_deal(t, kind, g, f, true);
        ref_deal(t, kind, g, f, false);
    }
}

/* --- bits ----------------------------------------------------------------- */

struct ref_bits {
    unsigned char *p;
    size_t size, at; /* bytes, bits */
};

/* -1 behind the end. */
static int ref_get_bit(struct ref_bits *b)
{
    if (b->at / 8 >= b->size)
        return -1;
    b->at++;
    return b->p[(b->at - 1) / 8] >> (b->at - 1) % 8 & 1;
}

static int ref_get_bits(struct ref_bits *b, unsigned n)
{
    int value = 0;

    for (unsigned i = 0; i < n; i++) {
        int bit = ref_get_bit(b);

        if (bit < 0)
            return -1;
        value |= bit << i;
    }
    return value;
}

static void ref_put_bits(struct ref_bits *b, unsigned value, unsigned n)
{
    for (unsigned i = 0; i < n; i++, b->at++) {
        if (b->at % 8 == 0)
            b->p[b->at / 8] = 0;
        b->p[b->at / 8] |= (unsigned char)((value >> i & 1) << b->at % 8);
    }
}

static bool ref_read_mass(struct ref_bits *b, int *length, unsigned *q)
{
    unsigned k = 0;
    int bit, low, u, h;

    while ((bit = ref_get_bit(b)) == 0)
        if (++k > 8)
            return false;
    if (bit < 0 || (low = ref_get_bits(b, k)) < 0)
        return false;
    u = (1 << k) + low - 1;
    *length += u % 2 == 0 ? u / 2 : -(u + 1) / 2;
    if (*length < 0 || *length > 14)
        return false;
    h = *length - 1 < 2 ? *length - 1 : 2;
    h = h < 0 ? 0 : h;
    if ((low = ref_get_bits(b, (unsigned)h)) < 0)
        return false;
    *q = *length == 0 ? 0 : (unsigned)(1 << h | low) << (*length - 1 - h);
    return true;
}

static bool ref_read_table(struct ref_bits *b, enum ref_kind kind,
                           struct ref_table *t)
{
    int there = ref_get_bit(b), groups, length = 12;
    unsigned sum = 0;

    t->there = there == 1;
    if (there <= 0)
        return there == 0;
    groups = ref_get_bits(b, 6);
    if (groups < 0 || groups > (int)ref_max_groups(kind))
        return false;
    t->groups = (unsigned)groups;
    for (unsigned i = 0; i < 1 + 2 * t->groups; i++) {
        if (!ref_read_mass(b, &length, &t->q[i]))
            return false;
        sum += t->q[i];
    }
    if (sum == 0)
        return false;
    ref_frequencies(t, kind);
    return true;
}

static void ref_write_table(struct ref_bits *b, const struct ref_table *t)
{
    int before = 12;

    ref_put_bits(b, t->there, 1);
    if (!t->there)
        return;
    ref_put_bits(b, t->groups, 6);
    for (unsigned i = 0; i < 1 + 2 * t->groups; i++) {
        int l = t->q[i] == 0 ? 0 : (int)ref_log2(t->q[i]) + 1;
        int u = l >= before ? 2 * (l - before) : 2 * (before - l) - 1;
        unsigned k = ref_log2((uint64_t)u + 1);
        unsigned h = l > 3 ? 2 : l > 1 ? (unsigned)l - 1 : 0;

        ref_put_bits(b, 0, k);
        ref_put_bits(b, 1, 1);
        ref_put_bits(b, ((unsigned)u + 1) - (1u << k), k);
        ref_put_bits(b, h > 0 ? t->q[i] >> (l - 1 - (int)h) : 0, h);
        before = l;
    }
}

/* --- the stream ----------------------------------------------------------- */

static unsigned ref_word_of(enum ref_kind kind, unsigned j)
{
    if (kind != REF_F32)
        return j;
    return j % 2 == 0 ? j / 2 : 16 + (j - 1) / 2;
}

struct ref_stream {
    uint32_t x[64];
    const unsigned char *p; /* words */
    size_t words, at;
    bool bad;
};

static uint32_t ref_next(struct ref_stream *s)
{
    if (s->at == s->words) {
        s->bad = true;
        return 0;
    }
    s->at++;
    return s->p[2 * s->at - 2] | (uint32_t)s->p[2 * s->at - 1] << 8;
}

static uint32_t ref_refill(struct ref_stream *s, uint32_t x)
{
    return x < REF_L ? (x << 16) + ref_next(s) : x;
}

static const struct ref_table *ref_context(const struct ref_model *m,
                                           uint32_t b, bool zero)
{
    return &m->tables[ref_class(m, b) + (m->z && zero ? m->c : 0)];
}

/* One group; returns whether all its tokens were 0. */
static bool ref_decode_group(const struct ref_model *m, struct ref_stream *s,
                             const void *base, size_t g, size_t n, bool zero,
                             void *tuned)
{
    uint32_t *x = s->x + 32 * (g % 2);
    uint64_t a[32], raw[32] = {0};
    unsigned token[32], r[32], any = 0;

    for (unsigned j = 0; j < 32; j++) {
        size_t i = 32 * g + ref_word_of(m->kind, j);
        const struct ref_table *t;
        uint32_t low = x[j] % REF_T;

        r[j] = token[j] = 0;
        if (i >= n)
            continue;
        t = ref_context(m, ref_word(m->kind, base, i), zero);
        s->bad |= !t->there;
        if (s->bad)
            return false;
        while (low >= t->f[token[j]])
            low -= t->f[token[j]++];
        any |= token[j];
        x[j] = ref_refill(s, t->f[token[j]] * (x[j] / REF_T) + low);
        r[j] = ref_raw_bits(m->kind, token[j], &a[j]);
    }
    for (unsigned j = 0; j < 32; j++) {
        unsigned k = r[j] % 16;

        if (k == 0)
            continue;
        raw[j] = x[j] % (1u << k);
        x[j] = ref_refill(s, x[j] >> k);
    }
    for (unsigned j = 0; j < 32; j++)
        if (r[j] >= 16)
            raw[j] = raw[j] * 65536 + ref_next(s);
    for (unsigned j = 0; j < 32; j++) {
        size_t i = 32 * g + ref_word_of(m->kind, j);
        int64_t d;

        if (i >= n)
            continue;
        d = (int64_t)(a[j] + raw[j]);
        d = ref_wrap(m->kind, token[j] % 2 == 1 ? -d : d);
        ref_put_word(m->kind, tuned, i,
                     ref_undo(m->kind, ref_word(m->kind, base, i), d));
    }
    return any == 0;
}

static uint32_t ref_u32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

static bool ref_read_model(struct ref_model *m, const unsigned char *in,
                           size_t length, size_t *header)
{
    struct ref_bits bits;
    size_t tables;

    if (length < 4)
        return false;
    m->e = in[0];
    m->c = in[1] & 127;
    m->z = in[1] >> 7;
    tables = in[2] + 256u * in[3];
    if (m->c < 1 || m->c > 16 || length < 4 + tables + 256)
        return false;
    bits = (struct ref_bits){(unsigned char *)(uintptr_t)in + 4, tables, 0};
    for (unsigned i = 0; i < m->c * (m->z ? 2u : 1u); i++)
        if (!ref_read_table(&bits, m->kind, &m->tables[i]))
            return false;
    while (bits.at < 8 * bits.size)
        if (ref_get_bit(&bits) != 0)
            return false;
    *header = 4 + tables;
    return true;
}

static bool ref_decode(enum ref_kind kind, const void *base,
                       const unsigned char *in, size_t length, size_t n,
                       void *tuned)
{
    struct ref_model m = {.kind = kind};
    struct ref_stream s = {.at = 0};
    bool zero = false;
    size_t header;

    if (!ref_read_model(&m, in, length, &header))
        return false;
    s.p = in + header + 256;
    s.words = (length - header - 256) / 2;
    for (unsigned j = 0; j < 64; j++) {
        s.x[j] = ref_u32(in + header + 4 * j);
        if (s.x[j] < REF_L || s.x[j] >= REF_L << 16)
            return false;
    }
    for (size_t g = 0; 32 * g < n && !s.bad; g++)
        zero = ref_decode_group(&m, &s, base, g, n, zero, tuned);
    for (unsigned j = 0; j < 64; j++)
        s.bad |= s.x[j] != REF_L;
    return !s.bad && s.at == s.words && (length - header) % 2 == 0;
}

/* --- encoding, with tables that are given -------------------------------- */

/* Words go below `at`. */
struct ref_sink {
    uint32_t x[64];
    unsigned char *p;
    size_t at;
};

static void ref_put(struct ref_sink *s, uint64_t word)
{
    s->p[--s->at] = (unsigned char)(word >> 8);
    s->p[--s->at] = (unsigned char)word;
}

/* f of `total` parts, of which `low` is one: the inverse of a decoding step. */
static void ref_push(struct ref_sink *s, uint32_t *x, uint32_t f, uint32_t cum,
                     unsigned total_bits)
{
    uint64_t v = *x;

    if (v >= (uint64_t)f << (31 - total_bits)) {
        ref_put(s, v & 0xffff);
        v >>= 16;
    }
    *x = (uint32_t)(((v / f) << total_bits) + cum + v % f);
}

static void ref_encode_group(const struct ref_model *m, struct ref_sink *s,
                             const void *base, const void *tuned, size_t g,
                             size_t n, bool zero)
{
    uint32_t *x = s->x + 32 * (g % 2);
    const struct ref_table *tables[32];
    struct ref_token t[32];

    memset(t, 0, sizeof(t));
    for (unsigned j = 0; j < 32; j++) {
        size_t i = 32 * g + ref_word_of(m->kind, j);
        uint32_t b;

        tables[j] = NULL;
        if (i >= n)
            continue;
        b = ref_word(m->kind, base, i);
        tables[j] = ref_context(m, b, zero);
        t[j] = ref_tokenize(
            m->kind, ref_difference(m->kind, b, ref_word(m->kind, tuned, i)));
    }
    for (unsigned j = 32; j-- > 0;)
        if (t[j].r >= 16)
            ref_put(s, t[j].raw & 0xffff);
    for (unsigned j = 32; j-- > 0;) {
        unsigned k = t[j].r % 16;

        if (k > 0)
            ref_push(s, &x[j], 1, (uint32_t)(t[j].raw >> (t[j].r - k)), k);
    }
    for (unsigned j = 32; j-- > 0;) {
        unsigned cum = 0;

        if (tables[j] == NULL)
            continue;
        for (unsigned i = 0; i < t[j].token; i++)
            cum += tables[j]->f[i];
        ref_push(s, &x[j], tables[j]->f[t[j].token], cum, 11);
    }
}

static bool ref_group_is_zero(const struct ref_model *m, const void *base,
                              const void *tuned, size_t g, size_t n)
{
    for (size_t i = 32 * g; i < 32 * g + 32 && i < n; i++)
        if (ref_word(m->kind, base, i) != ref_word(m->kind, tuned, i))
            return false;
    return true;
}

/*
 * Encodes with a model that has a frequency for everything, to the end of
 * `out`, which has `size` bytes and room enough; returns where it begins.
 */
static size_t ref_encode(const struct ref_model *m, const void *base,
                         const void *tuned, size_t n, unsigned char *out,
                         size_t size)
{
    unsigned char tables[8192];
    struct ref_bits bits = {tables, sizeof(tables), 0};
    struct ref_sink s = {.p = out, .at = size};
    size_t bytes;

    for (unsigned j = 0; j < 64; j++)
        s.x[j] = REF_L;
    for (size_t g = (n + 31) / 32; g-- > 0;)
        ref_encode_group(m, &s, base, tuned, g, n,
                         g > 0 && ref_group_is_zero(m, base, tuned, g - 1, n));
    for (unsigned j = 64; j-- > 0;) {
        ref_put(&s, s.x[j] >> 16);
        ref_put(&s, s.x[j]);
    }
    for (unsigned i = 0; i < m->c * (m->z ? 2u : 1u); i++)
        ref_write_table(&bits, &m->tables[i]);
    bytes = (bits.at + 7) / 8;
    s.at -= bytes;
    memcpy(out + s.at, tables, bytes);
    s.at -= 4;
    out[s.at] = (unsigned char)m->e;
    out[s.at + 1] = (unsigned char)(m->c | (m->z ? 128u : 0));
    out[s.at + 2] = (unsigned char)bytes;
    out[s.at + 3] = (unsigned char)(bytes >> 8);
    return s.at;
}

#endif
