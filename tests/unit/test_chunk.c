/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_chunk: chunks coded and decoded, against a decoder written once more
 * from docs/format.md (but for rans, which has tests of its own), and chunks
 * that are damaged or meant for another base.
 *
 * All buffers have just their size, so that sanitizers see their ends.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/unit/unit.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <xxhash.h>
#include <zstd.h>

#include "io/chunk.h"
#include "tests/unit/planes_reference.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct tm_coder *coder, *zstd_coder;

static enum tm_isa best_isa(void)
{
    enum tm_isa isa;

    assert_true(tm_isa_choose(getenv("TAUMERGE_CPU"), &isa));
    return isa;
}

static int open_coders(void **state)
{
    (void)state;
    coder = tm_coder_new(best_isa(), TM_CODEC_AUTO);
    zstd_coder = tm_coder_new(best_isa(), TM_CODEC_ZSTD);
    return coder == NULL || zstd_coder == NULL;
}

static int close_coders(void **state)
{
    (void)state;
    tm_coder_free(coder);
    tm_coder_free(zstd_coder);
    tm_coder_free(NULL);
    return 0;
}

static unsigned char *new_bytes(size_t size)
{
    unsigned char *bytes = malloc(size > 0 ? size : 1);

    assert_true(bytes != NULL);
    return bytes;
}

/* --- types ---------------------------------------------------------------*/

static bool is_float(enum tm_dtype dtype)
{
    const unsigned code = tm_word_code(dtype);

    return code >= 1 && code <= 7;
}

static void test_types(void **state)
{
    static const struct {
        enum tm_dtype dtype;
        unsigned code, bytes;
    } cases[] = {
        {TM_BF16, 1, 2},         {TM_F16, 2, 2},      {TM_F32, 3, 4},
        {TM_F64, 4, 8},          {TM_F8_E4M3, 5, 1},  {TM_F8_E5M2, 6, 1},
        {TM_C64, 7, 4},          {TM_I16, 8, 2},      {TM_U16, 8, 2},
        {TM_I32, 9, 4},          {TM_U32, 9, 4},      {TM_I64, 10, 8},
        {TM_U64, 10, 8},         {TM_BOOL, 11, 1},    {TM_F4, 11, 1},
        {TM_F6_E2M3, 11, 1},     {TM_F6_E3M2, 11, 1}, {TM_U8, 11, 1},
        {TM_I8, 11, 1},          {TM_F8_E8M0, 11, 1}, {TM_F8_E4M3FNUZ, 11, 1},
        {TM_F8_E5M2FNUZ, 11, 1}, {TM_OPAQUE, 11, 1},
    };

    (void)state;
    assert_int_equal(COUNT(cases), TM_NUM_DTYPES);
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(tm_word_code(cases[i].dtype), cases[i].code);
        assert_int_equal(tm_word_bytes(cases[i].dtype), cases[i].bytes);
    }
    assert_string_equal(tm_coding_name(TM_SAME), "same");
    assert_string_equal(tm_coding_name(TM_RANS), "rans");
    assert_string_equal(tm_coding_name(TM_ZSTD), "zstd");
    assert_string_equal(tm_coding_name(TM_SOLO), "solo");
    assert_string_equal(tm_coding_name(TM_RAW), "raw");
}

/* --- the reference -------------------------------------------------------*/

static uint64_t little_endian(const unsigned char *bytes, unsigned size)
{
    return reference_word(bytes, size, 0);
}

/* Byte i of plane k; what a payload says, or the test fails. */
static unsigned char *reference_planes(const unsigned char *in, size_t length,
                                       unsigned size, size_t n)
{
    unsigned char *planes = new_bytes(size * n);

    for (unsigned k = 0; k < size; k++) {
        uint64_t stored;

        assert_true(length >= 4);
        stored = little_endian(in, 4);
        in += 4;
        length -= 4;
        assert_true(stored <= length && stored <= n);
        if (stored == 0)
            memset(planes + k * n, 0, n);
        else if (stored == n)
            memcpy(planes + k * n, in, n);
        else
            assert_int_equal(ZSTD_decompress(planes + k * n, n, in, stored), n);
        in += stored;
        length -= stored;
    }
    assert_int_equal(length, 0);
    return planes;
}

static void reference_check_planes(const struct tm_chunk *chunk,
                                   const unsigned char *tuned,
                                   const unsigned char *payload, size_t length,
                                   bool difference)
{
    const unsigned size = tm_word_bytes(chunk->dtype);
    const bool floats = is_float(chunk->dtype);
    unsigned char *planes =
        reference_planes(payload, length, size, chunk->words);

    for (size_t i = 0; i < chunk->words; i++) {
        const uint64_t t = reference_word(tuned, size, i);
        uint64_t z = 0;

        for (unsigned k = size; k-- > 0;)
            z = z << 8 | planes[k * chunk->words + i];
        if (difference)
            assert_true(z == reference_m(reference_d(reference_word(chunk->base,
                                                                    size, i),
                                                     t, size, floats),
                                         size));
        else
            assert_true(z == reference_turned(t, size, floats));
    }
    free(planes);
}

/* What docs/format.md says of a chunk that codes `tuned`. */
static void reference_check(const struct tm_chunk *chunk,
                            const unsigned char *tuned,
                            const unsigned char *coded, size_t length)
{
    const size_t bytes = chunk->words * tm_word_bytes(chunk->dtype);

    if (length == 0) {
        assert_memory_equal(chunk->base, tuned, bytes);
        return;
    }
    assert_true(length > 16 && length - 16 <= bytes);
    assert_int_equal(little_endian(coded + 1, 3), 0);
    assert_int_equal(little_endian(coded + 4, 4),
                     XXH3_64bits(coded + 16, length - 16) & 0xffffffff);
    assert_true(little_endian(coded + 8, 8) == XXH3_64bits(tuned, bytes));
    switch (coded[0]) {
    case 1:
        assert_true(chunk->base != NULL && tm_word_code(chunk->dtype) <= 3);
        break;
    case 2:
        assert_true(chunk->base != NULL);
        reference_check_planes(chunk, tuned, coded + 16, length - 16, true);
        break;
    case 3:
        reference_check_planes(chunk, tuned, coded + 16, length - 16, false);
        break;
    default:
        assert_int_equal(coded[0], 4);
        assert_int_equal(length - 16, bytes);
        assert_memory_equal(coded + 16, tuned, bytes);
    }
}

/* --- words ---------------------------------------------------------------*/

static uint64_t random_state = 1;

static uint64_t random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1d;
}

/* 0 to limit - 1. */
static size_t random_below(size_t limit)
{
    return (size_t)(random_word() >> 32) % limit;
}

/*
 * A weight as training leaves it: uniform in sign and mantissa, the greater
 * the rarer. As bits of an F32, whose upper half is a BF16.
 */
static uint32_t random_weight(void)
{
    const uint64_t r = random_word();
    const uint32_t exponent = 124 - (uint32_t)__builtin_ctzll(r | 1 << 20);

    return (uint32_t)(r >> 32 & 0x807fffff) | exponent << 23;
}

static uint64_t random_value(enum tm_dtype dtype)
{
    const uint32_t weight = random_weight();

    switch (dtype) {
    case TM_BF16:
        return weight >> 16;
    case TM_F16: /* the exponent's bias is 112 less */
        return (weight >> 16 & 0x8000) | ((weight >> 13 & 0x3ffff) - 0x1c000);
    case TM_F32:
    case TM_C64:
        return weight;
    case TM_F64: /* and 896 more */
        return (uint64_t)(weight & 0x80000000) << 32 |
               (((uint64_t)(weight & 0x7fffffff) << 29) +
                ((uint64_t)896 << 52)) |
               random_word() >> 35;
    default:
        return random_word();
    }
}

static uint64_t special_word(unsigned size)
{
    static const uint64_t words[] = {
        0,
        1,
        0x7f80,
        0xff80,
        0x7fc0,
        0xffff,
        0x8000,
        0x7c00,
        0xfc01,
        0x7f800000,
        0xff800000,
        0x7fc00000,
        0x80000000,
        0xffffffff,
        0x7ff0000000000000,
        0xfff8000000000001,
    };
    const uint64_t top = (uint64_t)1 << (8 * size - 1);
    const size_t i = random_below(COUNT(words) + 3);

    if (i < COUNT(words))
        return words[i];
    return i == COUNT(words) ? top : i == COUNT(words) + 1 ? top - 1 : top + 1;
}

enum pattern {
    SAME,      /* as the base */
    ONE_WORD,  /* differs */
    NEAR,      /* all differ a little, as after training */
    SPARSE,    /* some rows differ a little */
    DECAYED,   /* by a function of the word, as weight decay does */
    ROWS,      /* the difference repeats */
    SPECIAL,   /* some words are NaN, -0, infinite ... */
    UNRELATED, /* another tensor of the kind */
    ZERO,
    RANDOM,
    OWN_ROWS, /* the words repeat, whatever the base */
    NUM_PATTERNS
};

#define ROW 384

static uint64_t near_word(uint64_t b, uint64_t spread)
{
    return b + random_below(2 * spread + 1) - spread;
}

/* Training moves all weights equally far: the smaller, the more of its ULPs. */
static uint64_t moved_word(enum tm_dtype dtype, uint64_t b)
{
    unsigned below; /* the largest weights' exponent */

    switch (dtype) {
    case TM_BF16:
        below = 124 - (b >> 7 & 255);
        break;
    case TM_F16:
        below = 12 - (b >> 10 & 31);
        break;
    case TM_F32:
        below = 124 - (b >> 23 & 255);
        break;
    default:
        below = 0;
    }
    return near_word(b, (uint64_t)2 << (below < 6 ? below : 6));
}

static uint64_t tuned_word(enum pattern pattern, enum tm_dtype dtype, size_t i,
                           uint64_t b, const uint64_t row[ROW])
{
    const unsigned size = tm_word_bytes(dtype);

    switch (pattern) {
    case ONE_WORD:
        return i == 0 ? b + 1 : b;
    case NEAR:
        return moved_word(dtype, b);
    case SPARSE:
        return i / ROW % 8 == 0 ? near_word(b, 20) : b;
    case DECAYED:
        return b - (b >> 2 & 31) / 7 - 1;
    case ROWS:
        return b + row[i % ROW] % 5000;
    case SPECIAL:
        return i % 5 == 0 ? special_word(size) : near_word(b, 3);
    case UNRELATED:
        return random_value(dtype);
    case ZERO:
        return 0;
    case RANDOM:
        return random_word();
    case OWN_ROWS:
        return row[i % ROW];
    default:
        return b;
    }
}

struct pair {
    enum tm_dtype dtype;
    unsigned size;
    size_t words, bytes;
    unsigned char *base, *tuned;
};

static struct pair new_pair(enum tm_dtype dtype, size_t words,
                            enum pattern pattern)
{
    const unsigned size = tm_word_bytes(dtype);
    struct pair p = {dtype, size, words, size * words, NULL, NULL};
    uint64_t row[ROW];

    p.base = new_bytes(p.bytes);
    p.tuned = new_bytes(p.bytes);
    for (size_t i = 0; i < ROW; i++)
        row[i] = random_value(dtype);
    for (size_t i = 0; i < words; i++) {
        const uint64_t b = pattern == SPECIAL && i % 7 == 0
                               ? special_word(size)
                               : random_value(dtype);

        reference_set(p.base, size, i, b);
        reference_set(p.tuned, size, i, tuned_word(pattern, dtype, i, b, row));
    }
    return p;
}

static void free_pair(struct pair *p)
{
    free(p->base);
    free(p->tuned);
}

static struct tm_chunk chunk_of(const struct pair *p, bool with_base)
{
    return (struct tm_chunk){p->dtype, p->words, with_base ? p->base : NULL};
}

/* --- both ways -----------------------------------------------------------*/

/* Coded bytes, malloc'ed in just their size. */
struct coded {
    unsigned char *bytes;
    size_t length;
    enum tm_coding coding;
};

static struct coded encode(struct tm_coder *with, const struct pair *p,
                           bool with_base)
{
    const struct tm_chunk chunk = chunk_of(p, with_base);
    unsigned char *out = new_bytes(tm_chunk_bound(p->bytes));
    struct coded c;

    assert_int_equal(
        tm_chunk_encode(with, &chunk, p->tuned, out, &c.length, &c.coding),
        TM_OK);
    assert_true(c.length <= tm_chunk_bound(p->bytes));
    c.bytes = new_bytes(c.length);
    memcpy(c.bytes, out, c.length);
    free(out);
    return c;
}

static const char *decode(const struct pair *p, bool with_base,
                          const unsigned char *bytes, size_t length,
                          bool *right)
{
    const struct tm_chunk chunk = chunk_of(p, with_base);
    unsigned char *back = new_bytes(p->bytes);
    const char *why = tm_chunk_decode(coder, &chunk, bytes, length, back);

    *right = memcmp(back, p->tuned, p->bytes) == 0;
    free(back);
    return why;
}

static enum tm_coding check(struct tm_coder *with, const struct pair *p,
                            bool with_base)
{
    const struct tm_chunk chunk = chunk_of(p, with_base);
    struct coded c = encode(with, p, with_base);
    enum tm_coding coding;
    bool right;

    reference_check(&chunk, p->tuned, c.bytes, c.length);
    assert_int_equal(c.length > 0 ? c.bytes[0] : TM_SAME, c.coding);
    assert_true(decode(p, with_base, c.bytes, c.length, &right) == NULL);
    assert_true(right);
    assert_true(tm_chunk_check(c.bytes, c.length, &coding) == NULL);
    assert_int_equal(coding, c.coding);
    free(c.bytes);
    return c.coding;
}

static void check_all(enum tm_dtype dtype, size_t words, enum pattern pattern)
{
    struct pair p = new_pair(dtype, words, pattern);

    check(coder, &p, true);
    check(coder, &p, false);
    assert_true(check(zstd_coder, &p, true) != TM_RANS);
    free_pair(&p);
}

static void test_every_length(void **state)
{
    (void)state;
    for (int dtype = 0; dtype < TM_NUM_DTYPES; dtype++)
        for (size_t n = 1; n <= 300; n++)
            check_all((enum tm_dtype)dtype, n,
                      (enum pattern)((n + (size_t)dtype) % NUM_PATTERNS));
}

static void test_every_pattern(void **state)
{
    (void)state;
    for (int dtype = 0; dtype < TM_NUM_DTYPES; dtype++)
        for (int pattern = 0; pattern < NUM_PATTERNS; pattern++)
            check_all((enum tm_dtype)dtype, pattern % 2 == 0 ? 20011 : 4096,
                      (enum pattern)pattern);
}

/* Whole chunks, and one word less. */
static void test_largest(void **state)
{
    static const enum tm_dtype dtypes[] = {TM_BF16, TM_F16, TM_F32,
                                           TM_F64,  TM_U8,  TM_I32};

    (void)state;
    for (size_t i = 0; i < COUNT(dtypes); i++) {
        check_all(dtypes[i], TM_CHUNK_WORDS, NEAR);
        check_all(dtypes[i], TM_CHUNK_WORDS - 1, RANDOM);
        check_all(dtypes[i], TM_CHUNK_WORDS, OWN_ROWS);
    }
}

/* --- the choice ----------------------------------------------------------*/

static void test_choice(void **state)
{
    static const struct {
        enum tm_dtype dtype;
        enum pattern pattern;
        enum tm_coding with, without, zstd;
    } cases[] = {
        {TM_BF16, SAME, TM_SAME, TM_SOLO, TM_SAME},
        {TM_BF16, NEAR, TM_RANS, TM_SOLO, TM_ZSTD},
        {TM_BF16, SPARSE, TM_ZSTD, TM_SOLO, TM_ZSTD},
        {TM_BF16, ROWS, TM_ZSTD, TM_SOLO, TM_ZSTD},
        {TM_BF16, UNRELATED, TM_SOLO, TM_SOLO, TM_SOLO},
        {TM_BF16, RANDOM, TM_RAW, TM_RAW, TM_RAW},
        {TM_BF16, OWN_ROWS, TM_SOLO, TM_SOLO, TM_SOLO},
        {TM_F16, NEAR, TM_RANS, TM_SOLO, TM_ZSTD},
        {TM_F32, NEAR, TM_RANS, TM_SOLO, TM_ZSTD},
        {TM_F32, ROWS, TM_ZSTD, TM_SOLO, TM_ZSTD},
        {TM_F32, UNRELATED, TM_SOLO, TM_SOLO, TM_SOLO},
        {TM_F64, NEAR, TM_ZSTD, TM_SOLO, TM_ZSTD},
        {TM_F64, ZERO, TM_SOLO, TM_SOLO, TM_SOLO},
        {TM_F8_E4M3, SPARSE, TM_ZSTD, TM_RAW, TM_ZSTD},
        {TM_I64, NEAR, TM_ZSTD, TM_RAW, TM_ZSTD},
        {TM_U8, SAME, TM_SAME, TM_RAW, TM_SAME},
        {TM_U8, RANDOM, TM_RAW, TM_RAW, TM_RAW},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pair p = new_pair(cases[i].dtype, 1 << 17, cases[i].pattern);

        if (check(coder, &p, true) != cases[i].with ||
            check(coder, &p, false) != cases[i].without ||
            check(zstd_coder, &p, true) != cases[i].zstd)
            fail_msg("case %zu: %s, %s, %s", i,
                     tm_coding_name(check(coder, &p, true)),
                     tm_coding_name(check(coder, &p, false)),
                     tm_coding_name(check(zstd_coder, &p, true)));
        free_pair(&p);
    }
}

/* Of two payloads that are equally long the first coding's is taken. */
static void test_tie(void **state)
{
    struct pair p = new_pair(TM_U8, 3000, ZERO);
    struct coded alone, delta;

    (void)state;
    memset(p.base, 0, p.bytes);
    for (size_t i = 0; i < p.words; i++)
        p.tuned[i] = random_word() & 1;
    alone = encode(coder, &p, false);
    delta = encode(coder, &p, true);
    assert_int_equal(alone.coding, TM_SOLO);
    assert_int_equal(alone.length, delta.length);
    assert_int_equal(delta.coding, TM_ZSTD);
    free(alone.bytes);
    free(delta.bytes);
    free_pair(&p);
}

/* Nothing is left in a coder of what it did before. */
static void test_same_bytes_again(void **state)
{
    (void)state;
    for (int pattern = 0; pattern < NUM_PATTERNS; pattern++) {
        struct pair p = new_pair(TM_F32, 50000, (enum pattern)pattern);
        struct tm_coder *fresh = tm_coder_new(best_isa(), TM_CODEC_AUTO);
        struct coded a = encode(coder, &p, true);
        struct coded b = encode(fresh, &p, true);

        assert_int_equal(a.length, b.length);
        assert_memory_equal(a.bytes, b.bytes, a.length);
        free(a.bytes);
        free(b.bytes);
        tm_coder_free(fresh);
        free_pair(&p);
    }
}

/* --- damage --------------------------------------------------------------*/

static bool is_damage(const char *why)
{
    return why != NULL && strncmp(why, "is damaged: ", 12) == 0;
}

/* One chunk of each coding that has bytes, with the base or without. */
struct sample {
    struct pair pair;
    struct coded coded;
    bool with_base;
};

static struct sample new_sample(enum tm_coding coding)
{
    static const struct {
        enum tm_dtype dtype;
        size_t words;
        enum pattern pattern;
        bool with_base;
    } cases[TM_NUM_CODINGS] = {
        [TM_RANS] = {TM_BF16, 2000, NEAR, true},
        [TM_ZSTD] = {TM_I32, 700, NEAR, true},
        [TM_SOLO] = {TM_F64, 700, UNRELATED, false},
        [TM_RAW] = {TM_U16, 700, RANDOM, false},
    };
    struct sample s = {.with_base = cases[coding].with_base};

    s.pair = new_pair(cases[coding].dtype, cases[coding].words,
                      cases[coding].pattern);
    s.coded = encode(coder, &s.pair, s.with_base);
    assert_int_equal(s.coded.coding, coding);
    return s;
}

static void free_sample(struct sample *s)
{
    free_pair(&s->pair);
    free(s->coded.bytes);
}

static const char *decode_sample(const struct sample *s,
                                 const unsigned char *bytes, size_t length)
{
    bool right;
    const char *why = decode(&s->pair, s->with_base, bytes, length, &right);

    /* Wrong words never come without a complaint. */
    assert_true(why != NULL || right);
    return why;
}

#define FOR_CODINGS(s)                                                         \
    for (int coding = TM_RANS; coding < TM_NUM_CODINGS; coding++)              \
        for (struct sample s = new_sample((enum tm_coding)coding);             \
             s.coded.bytes != NULL; free_sample(&s), s.coded.bytes = NULL)

/*
 * Any bit that is turned is found by decoding or by the check of the bytes.
 * Decoding leaves alone only what it did not need: the payload's checksum,
 * and in the payload what makes the same words.
 */
static void test_every_bit(void **state)
{
    (void)state;
    FOR_CODINGS(s)
    {
        for (size_t i = 0; i < 8 * s.coded.length; i++) {
            const size_t at = i / 8;
            const char *decoded, *checked;
            enum tm_coding found;

            s.coded.bytes[at] ^= (unsigned char)(1 << i % 8);
            decoded = decode_sample(&s, s.coded.bytes, s.coded.length);
            checked = tm_chunk_check(s.coded.bytes, s.coded.length, &found);
            assert_true(decoded != NULL || checked != NULL);
            assert_true((at >= 4 && at < 8) || at >= 16 || decoded != NULL);
            assert_true((at < 4 || at >= 8) || decoded == NULL);
            if (at >= 4 && (at < 8 || at >= 16))
                assert_true(is_damage(checked));
            if (at >= 16 && decoded != NULL)
                assert_true(is_damage(decoded));
            s.coded.bytes[at] ^= (unsigned char)(1 << i % 8);
        }
    }
}

static void test_every_length_but_its_own(void **state)
{
    (void)state;
    FOR_CODINGS(s)
    {
        const size_t length = s.coded.length;
        unsigned char *longer = new_bytes(length + 40);
        enum tm_coding found;

        memcpy(longer, s.coded.bytes, length);
        memset(longer + length, 0, 40);
        for (size_t n = 1; n <= length + 40; n++) {
            unsigned char *cut = new_bytes(n);
            const char *why;

            memcpy(cut, longer, n);
            why = decode_sample(&s, cut, n);
            assert_true(n == length ? why == NULL : is_damage(why));
            why = tm_chunk_check(cut, n, &found);
            assert_true(n == length ? why == NULL : is_damage(why));
            free(cut);
        }
        free(longer);
    }
}

static void test_other_base(void **state)
{
    (void)state;
    FOR_CODINGS(s)
    {
        for (size_t i = 0; i < s.pair.bytes; i += 13) {
            const char *why;

            s.pair.base[i] ^= 0x10;
            why = decode_sample(&s, s.coded.bytes, s.coded.length);
            assert_true(why == (s.with_base ? TM_OTHER_BASE : NULL));
            s.pair.base[i] ^= 0x10;
        }
        memset(s.pair.base, 0, s.pair.bytes);
        assert_true(decode_sample(&s, s.coded.bytes, s.coded.length) ==
                    (s.with_base ? TM_OTHER_BASE : NULL));
    }
}

static void test_heads(void **state)
{
    (void)state;
    FOR_CODINGS(s)
    {
        unsigned char *const bytes = s.coded.bytes;
        enum tm_coding found;

        for (unsigned value = 0; value < 256; value++) {
            bytes[0] = (unsigned char)value;
            if (value >= TM_RANS && value < TM_NUM_CODINGS)
                continue;
            assert_string_equal(decode_sample(&s, bytes, s.coded.length),
                                "has a coding this version does not know");
            assert_string_equal(tm_chunk_check(bytes, s.coded.length, &found),
                                "has a coding this version does not know");
        }
        bytes[0] = (unsigned char)coding;
        for (unsigned bit = 0; bit < 24; bit++) {
            bytes[1 + bit / 8] = (unsigned char)(1 << bit % 8);
            assert_string_equal(decode_sample(&s, bytes, s.coded.length),
                                "has a flag this version does not know");
            assert_string_equal(tm_chunk_check(bytes, s.coded.length, &found),
                                "has a flag this version does not know");
            bytes[1 + bit / 8] = 0;
        }
    }
}

/* Codings where they cannot be: no base, or a type without them. */
static void test_out_of_place(void **state)
{
    static const struct {
        enum tm_coding coding;
        enum tm_dtype dtype;
        bool with_base;
    } cases[] = {
        {TM_RANS, TM_BF16, false}, {TM_ZSTD, TM_BF16, false},
        {TM_ZSTD, TM_U8, false},   {TM_RANS, TM_F64, true},
        {TM_RANS, TM_I16, true},   {TM_RANS, TM_C64, true},
        {TM_SAME, TM_BF16, false},
    };
    bool right;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pair p = new_pair(cases[i].dtype, 500, NEAR);
        struct coded c = encode(coder, &p, true);

        c.bytes[0] = (unsigned char)cases[i].coding;
        assert_true(is_damage(decode(&p, cases[i].with_base, c.bytes,
                                     cases[i].coding == TM_SAME ? 0 : c.length,
                                     &right)));
        free(c.bytes);
        free_pair(&p);
    }
}

/* --- frames --------------------------------------------------------------*/

#define FRAME_WORDS ((size_t)3000)

/* U8 words whose one plane is `length` bytes at `plane`: as a solo chunk. */
static const char *decode_plane(const unsigned char *words, const void *plane,
                                size_t length)
{
    struct pair p = {TM_U8, 1, FRAME_WORDS, FRAME_WORDS, NULL, NULL};
    const size_t total = 16 + 4 + length;
    unsigned char *bytes = new_bytes(total);
    uint64_t sum;
    const char *why;
    bool right;

    p.tuned = new_bytes(FRAME_WORDS);
    memcpy(p.tuned, words, FRAME_WORDS);
    memset(bytes, 0, 16);
    bytes[0] = TM_SOLO;
    reference_set(bytes + 16, 4, 0, length);
    memcpy(bytes + 20, plane, length);
    sum = XXH3_64bits(bytes + 16, total - 16);
    reference_set(bytes + 4, 4, 0, sum & 0xffffffff);
    reference_set(bytes + 8, 8, 0, XXH3_64bits(words, FRAME_WORDS));
    why = decode(&p, false, bytes, total, &right);
    assert_true(why != NULL || right);
    free(bytes);
    free_pair(&p);
    return why;
}

struct setting {
    ZSTD_cParameter parameter;
    int value;
};

/* A frame of `n` bytes, and how long it is. */
static size_t make_frame(const unsigned char *words, size_t n,
                         const struct setting *settings, size_t count,
                         unsigned char *frame)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    size_t length;

    assert_true(context != NULL);
    for (size_t i = 0; i < count; i++)
        assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(
            context, settings[i].parameter, settings[i].value)));
    length = ZSTD_compress2(context, frame, FRAME_WORDS, words, n);
    assert_false(ZSTD_isError(length));
    ZSTD_freeCCtx(context);
    return length;
}

/* Words that zstd can make smaller. */
static void frame_words(unsigned char words[FRAME_WORDS])
{
    for (size_t i = 0; i < FRAME_WORDS; i++)
        words[i] = (unsigned char)(random_word() & 7);
}

static void test_frames_of_other_encoders(void **state)
{
    static const struct setting settings[][2] = {
        {{ZSTD_c_compressionLevel, 19}, {ZSTD_c_windowLog, 18}},
        {{ZSTD_c_compressionLevel, 1}, {ZSTD_c_checksumFlag, 1}},
        {{ZSTD_c_compressionLevel, 3}, {ZSTD_c_windowLog, 10}},
    };
    unsigned char words[FRAME_WORDS], frame[FRAME_WORDS];

    (void)state;
    frame_words(words);
    for (size_t i = 0; i < COUNT(settings); i++) {
        const size_t length =
            make_frame(words, FRAME_WORDS, settings[i], 2, frame);

        assert_true(decode_plane(words, frame, length) == NULL);
    }
    /* As long as the words, with its length longer. */
    assert_true(is_damage(decode_plane(words, words, FRAME_WORDS)));
    assert_true(is_damage(decode_plane(words, words, 0)));
    memset(words, 0, sizeof(words));
    assert_true(decode_plane(words, words, 0) == NULL);
}

/*
 * A frame of raw blocks, written byte by byte: `descriptor` and what follows
 * up to the blocks as given, then n words in one last block.
 */
static size_t raw_frame(const unsigned char *start, size_t start_length,
                        const unsigned char *words, size_t n,
                        unsigned char *frame)
{
    const uint32_t magic = ZSTD_MAGICNUMBER;
    const uint64_t block = 1 | n << 3;
    size_t length = 4;

    memcpy(frame, &magic, 4);
    memcpy(frame + length, start, start_length);
    length += start_length;
    reference_set(frame + length, 3, 0, block);
    memcpy(frame + length + 3, words, n);
    return length + 3 + n;
}

/*
 * Windows and sizes as a frame may say them. The payload may not be longer
 * than its words, so that the frames have fewer: the last block is one of a
 * repeated byte.
 */
static size_t run_frame(const unsigned char *start, size_t start_length,
                        unsigned char byte, size_t n, unsigned char *frame)
{
    const size_t length = raw_frame(start, start_length, &byte, 1, frame);

    reference_set(frame + length - 4, 3, 0, 1 | 1 << 1 | n << 3);
    return length;
}

#define SIZE_BYTES (unsigned char)(FRAME_WORDS - 256), (FRAME_WORDS - 256) >> 8

static void test_frames_by_hand(void **state)
{
    /* Descriptor, window, dictionary, content size. */
    static const struct {
        unsigned char start[12];
        size_t length;
        bool good;
    } cases[] = {
        {{0x60, SIZE_BYTES}, 3, true}, /* single segment */
        {{0x40, 0 << 3, SIZE_BYTES}, 4, true},
        {{0x40, 8 << 3, SIZE_BYTES}, 4, true},        /* 2^18 */
        {{0x40, (7 << 3) | 7, SIZE_BYTES}, 4, true},  /* just less */
        {{0x40, (8 << 3) | 1, SIZE_BYTES}, 4, false}, /* just more */
        {{0x40, 9 << 3, SIZE_BYTES}, 4, false},       /* 2^19 */
        {{0x40, 21 << 3, SIZE_BYTES}, 4, false},      /* 2 GiB */
        {{0x40, 0xff, SIZE_BYTES}, 4, false},         /* 2^41 and more */
        {{0x00, 0 << 3}, 2, false},                   /* without its size */
        {{0x60, (FRAME_WORDS - 257) & 255, (FRAME_WORDS - 257) >> 8}, 3, false},
        {{0x60, (FRAME_WORDS - 255) & 255, (FRAME_WORDS - 255) >> 8}, 3, false},
        {{0xe0, 0xb8, 0x0b, 0, 0, 0, 0, 0, 0}, 9, true}, /* 8 bytes of size */
        {{0xe0, 0xb8, 0x0b, 0, 0, 0, 0, 0, 1}, 9, false},
        {{0xe0, 255, 255, 255, 255, 255, 255, 255, 255}, 9, false},
        {{0xe0, 254, 255, 255, 255, 255, 255, 255, 255}, 9, false},
        {{0x61, 1, SIZE_BYTES}, 4, false}, /* a dictionary's number */
        {{0x62, 1, 2, SIZE_BYTES}, 5, false},
        {{0x63, 1, 2, 3, 4, SIZE_BYTES}, 7, false},
        {{0x68, SIZE_BYTES}, 3, false}, /* the reserved bit */
        {{0x64, SIZE_BYTES}, 3, false}, /* a checksum that is not there */
    };
    unsigned char words[FRAME_WORDS], frame[64];

    (void)state;
    assert_int_equal(FRAME_WORDS, 0xbb8);
    memset(words, 7, sizeof(words));
    for (size_t i = 0; i < COUNT(cases); i++) {
        const size_t length =
            run_frame(cases[i].start, cases[i].length, 7, FRAME_WORDS, frame);
        const char *why = decode_plane(words, frame, length);

        if (cases[i].good ? why != NULL : !is_damage(why))
            fail_msg("frame %zu: %s", i, why != NULL ? why : "good");
    }
}

/* One frame, of the right kind, and nothing around it. */
static void test_frames_in_a_row(void **state)
{
    static const unsigned char skip[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9};
    /* zstd 0.7 wrote it: all sevens. Many a library still reads such. */
    static const unsigned char legacy[] = {0x27,
                                           0xb5,
                                           0x2f,
                                           0xfd,
                                           0x60,
                                           (FRAME_WORDS - 256) & 255,
                                           (FRAME_WORDS - 256) >> 8,
                                           0x80,
                                           FRAME_WORDS >> 8,
                                           FRAME_WORDS & 255,
                                           7,
                                           0xc0,
                                           0,
                                           0};
    static const unsigned char none[] = {0x20, 0};
    unsigned char words[FRAME_WORDS], frame[2 * FRAME_WORDS];
    size_t length, half;

    (void)state;
    frame_words(words);
    length = make_frame(words, FRAME_WORDS, NULL, 0, frame);
    assert_true(decode_plane(words, frame, length) == NULL);
    assert_true(is_damage(decode_plane(words, frame, length - 1)));
    frame[length] = 0;
    assert_true(is_damage(decode_plane(words, frame, length + 1)));
    memcpy(frame + length, skip, sizeof(skip));
    assert_true(is_damage(decode_plane(words, frame, length + sizeof(skip))));
    memmove(frame + sizeof(skip), frame, length);
    memcpy(frame, skip, sizeof(skip));
    assert_true(is_damage(decode_plane(words, frame, length + sizeof(skip))));
    assert_true(is_damage(decode_plane(words, skip, sizeof(skip))));

    /* Two frames that make the words together, or one and an empty one. */
    half = make_frame(words, FRAME_WORDS / 2, NULL, 0, frame);
    length = half + make_frame(words + FRAME_WORDS / 2, FRAME_WORDS / 2, NULL,
                               0, frame + half);
    assert_true(is_damage(decode_plane(words, frame, length)));
    length = make_frame(words, FRAME_WORDS, NULL, 0, frame);
    length += raw_frame(none, sizeof(none), words, 0, frame + length);
    assert_true(is_damage(decode_plane(words, frame, length)));

    memset(words, 7, sizeof(words));
    assert_true(is_damage(decode_plane(words, legacy, sizeof(legacy))));
}

/* Lengths of planes that lead beyond the payload, or leave some of it. */
static void test_lengths_of_planes(void **state)
{
    static const uint32_t lengths[] = {0,     1,       699,        701,
                                       70000, 1 << 20, 0x7fffffff, 0xffffffff};

    (void)state;
    for (int coding = TM_ZSTD; coding <= TM_SOLO; coding++) {
        struct sample s = new_sample((enum tm_coding)coding);
        size_t at = 16;

        for (unsigned k = 0; k < s.pair.size; k++) {
            const uint64_t own = little_endian(s.coded.bytes + at, 4);

            for (size_t i = 0; i < COUNT(lengths); i++) {
                if (lengths[i] == own)
                    continue;
                reference_set(s.coded.bytes + at, 4, 0, lengths[i]);
                reference_set(
                    s.coded.bytes + 4, 4, 0,
                    XXH3_64bits(s.coded.bytes + 16, s.coded.length - 16) &
                        0xffffffff);
                assert_true(is_damage(
                    decode_sample(&s, s.coded.bytes, s.coded.length)));
            }
            reference_set(s.coded.bytes + at, 4, 0, own);
            at += 4 + own;
        }
        assert_int_equal(at, s.coded.length);
        free_sample(&s);
    }
}

/* --- memory --------------------------------------------------------------*/

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)

static size_t memory_now(void)
{
    const struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* All that a coder has after it has done everything. */
static void test_memory(void **state)
{
    const size_t before = memory_now();
    struct tm_coder *own = tm_coder_new(best_isa(), TM_CODEC_AUTO);
    struct tm_coder *shared = coder;
    size_t taken;

    (void)state;
    assert_true(own != NULL);
    coder = own;
    for (int pattern = 0; pattern < NUM_PATTERNS; pattern++) {
        struct pair p = new_pair(pattern % 2 == 0 ? TM_BF16 : TM_F32,
                                 TM_CHUNK_WORDS, (enum pattern)pattern);

        check(own, &p, true);
        check(own, &p, false);
        free_pair(&p);
    }
    taken = memory_now() - before;
    assert_true(taken <= tm_coder_memory());
    /* A bound, but no figure that has nothing to do with it. Sanitizers have
       an allocator of their own, of which nothing is said. */
    assert_true(taken == 0 || taken > tm_coder_memory() / 3);
    coder = shared;
    tm_coder_free(own);
}

#else

static void test_memory(void **state)
{
    (void)state;
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_every_pattern),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_tie),
        cmocka_unit_test(test_same_bytes_again),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_every_length_but_its_own),
        cmocka_unit_test(test_other_base),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_out_of_place),
        cmocka_unit_test(test_frames_of_other_encoders),
        cmocka_unit_test(test_frames_by_hand),
        cmocka_unit_test(test_frames_in_a_row),
        cmocka_unit_test(test_lengths_of_planes),
        cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests(tests, open_coders, close_coders);
}
