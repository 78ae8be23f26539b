/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planes_template: planes.c for words of one size.
 *
 * Included once for each WORD_BITS. Works on blocks that are copied to and
 * from the stack: their loops then have a constant length and nothing that
 * could overlap, which is what gcc wants to see to vectorise at -O2.
 */
#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#define WORD        JOIN(JOIN(uint, WORD_BITS), _t)
#define WORD_BYTES  (WORD_BITS / 8)
#define NAME(name)  JOIN(name, WORD_BITS)

/* All ones where the top bit of u is set, else 0. */
static inline WORD NAME(sign)(WORD u)
{
    return (WORD) - (WORD)(u >> (WORD_BITS - 1));
}

/* o of docs/format.md, without a branch: `floats` is all ones, or 0. */
static inline WORD NAME(order)(WORD u, WORD floats)
{
    return u ^ (NAME(sign)(u) & floats & (WORD) ~((WORD)1 << (WORD_BITS - 1)));
}

/* d, negated where the base is a negative float; its own inverse. */
static inline WORD NAME(fold)(WORD d, WORD base, WORD floats)
{
    const WORD flip = NAME(sign)(base) & floats;

    return (WORD)((d ^ flip) - flip);
}

/*
 * |d| with its sign below it. Other than zigzag's, the low bits of a negative
 * d are zero if those of d are: low planes stay empty where both tensors were
 * once rounded to fewer bits. The least d, whose |d| has a bit too many, is
 * what -0 would be.
 */
static inline WORD NAME(sign_low)(WORD d)
{
    const WORD sign = NAME(sign)(d);

    return (WORD)((WORD)((d ^ sign) - sign) << 1) | (sign & 1);
}

static inline WORD NAME(sign_back)(WORD m)
{
    const WORD sign = (WORD) - (WORD)(m & 1);
    const WORD size =
        (WORD)(m >> 1) | (WORD)((WORD)(m == 1) << (WORD_BITS - 1));

    return (WORD)((size ^ sign) - sign);
}

static inline WORD NAME(floats)(bool is_float)
{
    return is_float ? (WORD) ~(WORD)0 : 0;
}

/* A block's words, at any address, and back; `count` of them. */
#define LOAD(words, p, count)  memcpy(words, p, (count) * sizeof(WORD))
#define STORE(p, words, count) memcpy(p, words, (count) * sizeof(WORD))

/* Writes a block into the planes; `n` words are from one to the next. */
static inline void NAME(deal)(const WORD *words, unsigned char *planes,
                              size_t n, size_t count)
{
    for (unsigned i = 0; i < WORD_BYTES; i++) {
        unsigned char bytes[BLOCK];

        for (size_t j = 0; j < BLOCK; j++)
            bytes[j] = (unsigned char)(words[j] >> (8 * i));
        memcpy(planes + i * n, bytes, count);
    }
}

static inline void NAME(gather)(const unsigned char *planes, size_t n,
                                size_t count, WORD *words)
{
    unsigned char bytes[BLOCK] = {0};

    memcpy(bytes, planes, count);
    for (size_t j = 0; j < BLOCK; j++)
        words[j] = bytes[j];
    for (unsigned i = 1; i < WORD_BYTES; i++) {
        memcpy(bytes, planes + i * n, count);
        for (size_t j = 0; j < BLOCK; j++)
            words[j] |= (WORD)((WORD)bytes[j] << (8 * i));
    }
}

ALWAYS_INLINE void NAME(difference_block)(WORD floats, const char *base,
                                          const char *tuned, size_t n,
                                          size_t count, unsigned char *planes)
{
    WORD b[BLOCK] = {0}, t[BLOCK] = {0};

    LOAD(b, base, count);
    LOAD(t, tuned, count);
    for (size_t j = 0; j < BLOCK; j++) {
        const WORD d =
            (WORD)(NAME(order)(t[j], floats) - NAME(order)(b[j], floats));
        const WORD folded = NAME(fold)(d, b[j], floats);

        t[j] = NAME(sign_low)(folded);
    }
    NAME(deal)(t, planes, n, count);
}

ALWAYS_INLINE void NAME(restore_block)(WORD floats, const char *base,
                                       const unsigned char *planes, size_t n,
                                       size_t count, char *tuned)
{
    WORD b[BLOCK] = {0}, z[BLOCK];

    LOAD(b, base, count);
    NAME(gather)(planes, n, count, z);
    for (size_t j = 0; j < BLOCK; j++) {
        const WORD d = NAME(fold)(NAME(sign_back)(z[j]), b[j], floats);

        z[j] = NAME(order)((WORD)(NAME(order)(b[j], floats) + d), floats);
    }
    STORE(tuned, z, count);
}

ALWAYS_INLINE void NAME(split_block)(WORD floats, const char *words, size_t n,
                                     size_t count, unsigned char *planes)
{
    WORD u[BLOCK] = {0};

    LOAD(u, words, count);
    for (size_t j = 0; j < BLOCK; j++) {
        const WORD turned = (WORD)(u[j] << 1) | (WORD)(u[j] >> (WORD_BITS - 1));

        u[j] ^= (turned ^ u[j]) & floats;
    }
    NAME(deal)(u, planes, n, count);
}

ALWAYS_INLINE void NAME(join_block)(WORD floats, const unsigned char *planes,
                                    size_t n, size_t count, char *words)
{
    WORD u[BLOCK];

    NAME(gather)(planes, n, count, u);
    for (size_t j = 0; j < BLOCK; j++) {
        const WORD turned = (WORD)(u[j] >> 1) | (WORD)(u[j] << (WORD_BITS - 1));

        u[j] ^= (turned ^ u[j]) & floats;
    }
    STORE(words, u, count);
}

/* Whole blocks with a constant count, then what is left. */
#define FOR_BLOCKS(block_at)                                                   \
    do {                                                                       \
        const WORD floats = NAME(floats)(is_float);                            \
        size_t at = 0;                                                         \
                                                                               \
        for (; n - at >= BLOCK; at += BLOCK)                                   \
            block_at(BLOCK);                                                   \
        if (at < n)                                                            \
            block_at(n - at);                                                  \
    } while (0)

static void NAME(difference)(bool is_float, const char *base, const char *tuned,
                             size_t n, unsigned char *planes)
{
#define BLOCK_AT(count)                                                        \
    NAME(difference_block)                                                     \
    (floats, base + at * WORD_BYTES, tuned + at * WORD_BYTES, n, count,        \
     planes + at)
    FOR_BLOCKS(BLOCK_AT);
#undef BLOCK_AT
}

static void NAME(restore)(bool is_float, const char *base,
                          const unsigned char *planes, size_t n, char *tuned)
{
#define BLOCK_AT(count)                                                        \
    NAME(restore_block)                                                        \
    (floats, base + at * WORD_BYTES, planes + at, n, count,                    \
     tuned + at * WORD_BYTES)
    FOR_BLOCKS(BLOCK_AT);
#undef BLOCK_AT
}

static void NAME(split)(bool is_float, const char *words, size_t n,
                        unsigned char *planes)
{
#define BLOCK_AT(count)                                                        \
    NAME(split_block)(floats, words + at * WORD_BYTES, n, count, planes + at)
    FOR_BLOCKS(BLOCK_AT);
#undef BLOCK_AT
}

static void NAME(join)(bool is_float, const unsigned char *planes, size_t n,
                       char *words)
{
#define BLOCK_AT(count)                                                        \
    NAME(join_block)(floats, planes + at, n, count, words + at * WORD_BYTES)
    FOR_BLOCKS(BLOCK_AT);
#undef BLOCK_AT
}

#undef JOIN_
#undef JOIN
#undef WORD
#undef WORD_BYTES
#undef NAME
#undef LOAD
#undef STORE
#undef FOR_BLOCKS
#undef WORD_BITS
