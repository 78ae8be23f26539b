/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "bench/codec_kinds.h"
#include "io/chunk.h"

/* Bytes that a peer compresses at once. */
#define TENSORX_BYTES ((size_t)2 << 20) /* of a tensor */
#define BITX_BYTES    ((size_t)1 << 20) /* of a plane */

#define SCRATCH ((size_t)4 << 20) /* BitX, words of 4 bytes */

struct coders {
    struct tm_coder *ours, *ours_zstd;
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
    unsigned char *planes;
};

static const struct {
    const char *name, *key;
} kinds[] = {
    [OURS] = {"ours", "ours"},
    [OURS_ZSTD] = {"ours, zstd only", "ours_zstd"},
    [BITX] = {"BitX", "bitx"},
    [TENSORX] = {"TensorX", "tensorx"},
    [ZSTD3] = {"zstd -3", "zstd3"},
    [MEMCPY] = {"memcpy", "memcpy"},
};

const char *kind_name(enum kind kind)
{
    return kinds[kind].name;
}

const char *kind_key(enum kind kind)
{
    return kinds[kind].key;
}

struct coders *coders_new(enum tm_isa isa)
{
    struct coders *c = malloc(sizeof(*c));

    errno = ENOMEM;
    if (c == NULL)
        die("memory");
    c->ours = tm_coder_new(isa, TM_CODEC_AUTO);
    c->ours_zstd = tm_coder_new(isa, TM_CODEC_ZSTD);
    c->compress = ZSTD_createCCtx();
    c->decompress = ZSTD_createDCtx();
    c->planes = new_memory(SCRATCH);
    if (c->ours == NULL || c->ours_zstd == NULL || c->compress == NULL ||
        c->decompress == NULL)
        die("memory");
    return c;
}

void coders_free(struct coders *c)
{
    tm_coder_free(c->ours);
    tm_coder_free(c->ours_zstd);
    ZSTD_freeCCtx(c->compress);
    ZSTD_freeDCtx(c->decompress);
    free(c);
}

size_t coded_bound(size_t bytes)
{
    /* Our chunks are the smallest of all, down to 2^18 words of 2 bytes. */
    return ZSTD_compressBound(bytes) +
           1024 * (bytes / (2 * TM_CHUNK_WORDS) + 1);
}

/* --- lengths ------------------------------------------------------------*/

/* What is decoded alone has its length before it, 4 bytes. */
#define LENGTH 4

static size_t put_length(unsigned char *at, size_t length)
{
    uint32_t n = (uint32_t)length;

    memcpy(at, &n, LENGTH);
    return LENGTH + length;
}

static size_t get_length(const unsigned char *at)
{
    uint32_t n;

    memcpy(&n, at, LENGTH);
    return n;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* --- ours ---------------------------------------------------------------*/

static struct tm_chunk chunk_of(const struct part *part, size_t at)
{
    unsigned size = tm_word_bytes(part->dtype);

    return (struct tm_chunk){
        .dtype = part->dtype,
        .words = least(TM_CHUNK_WORDS, (part->bytes - at) / size),
        .base = part->base + at};
}

static size_t encode_ours(struct tm_coder *coder, const struct part *part,
                          unsigned char *out)
{
    size_t step = TM_CHUNK_WORDS * tm_word_bytes(part->dtype), used = 0;

    for (size_t at = 0; at < part->bytes; at += step) {
        struct tm_chunk chunk = chunk_of(part, at);
        enum tm_coding coding;
        size_t length;

        if (tm_chunk_encode(coder, &chunk, part->tuned + at,
                            out + used + LENGTH, &length, &coding) != TM_OK)
            exit(TM_SYSTEM);
        used += put_length(out + used, length);
    }
    return used;
}

static size_t decode_ours(struct tm_coder *coder, const struct part *part,
                          const unsigned char *in, unsigned char *tuned)
{
    size_t step = TM_CHUNK_WORDS * tm_word_bytes(part->dtype), used = 0;

    for (size_t at = 0; at < part->bytes; at += step) {
        struct tm_chunk chunk = chunk_of(part, at);
        size_t length = get_length(in + used);

        if (tm_chunk_decode(coder, &chunk, in + used + LENGTH, length,
                            tuned + at) != NULL)
            return 0;
        used += LENGTH + length;
    }
    return used;
}

/* --- planes of the XOR --------------------------------------------------*/

/*
 * Simple loops that gcc vectorises with -O3. With AVX2 they go as fast as the
 * memory, at 0.8 of memcpy's pace, and take a tenth of the time that TensorX
 * codes in, and a quarter of what it decodes in.
 */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VECTORISED                                                             \
    __attribute__((optimize("O3"), target_clones("avx2", "default")))
#else
#define VECTORISED
#endif

typedef unsigned char *restrict to_bytes;
typedef const unsigned char *restrict bytes;
typedef const uint16_t *restrict words16;
typedef const uint32_t *restrict words32;

VECTORISED static void split16(words16 base, words16 tuned, size_t n,
                               to_bytes low, to_bytes high)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t x = base[i] ^ tuned[i];

        low[i] = (unsigned char)x;
        high[i] = (unsigned char)(x >> 8);
    }
}

VECTORISED static void join16(words16 base, bytes low, bytes high, size_t n,
                              uint16_t *restrict tuned)
{
    for (size_t i = 0; i < n; i++)
        tuned[i] = (uint16_t)(base[i] ^ (low[i] | high[i] << 8));
}

VECTORISED static void split_bf16(words16 base, words16 tuned, size_t n,
                                  to_bytes rest, to_bytes exponent)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t x = base[i] ^ tuned[i];

        rest[i] = (unsigned char)((x >> 8 & 0x80) | (x & 0x7f));
        exponent[i] = (unsigned char)(x >> 7);
    }
}

VECTORISED static void join_bf16(words16 base, bytes rest, bytes exponent,
                                 size_t n, uint16_t *restrict tuned)
{
    for (size_t i = 0; i < n; i++)
        tuned[i] = (uint16_t)(base[i] ^ ((rest[i] & 0x80) << 8 |
                                         exponent[i] << 7 | (rest[i] & 0x7f)));
}

VECTORISED static void split32(words32 base, words32 tuned, size_t n,
                               to_bytes p0, to_bytes p1, to_bytes p2,
                               to_bytes p3)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t x = base[i] ^ tuned[i];

        p0[i] = (unsigned char)x;
        p1[i] = (unsigned char)(x >> 8);
        p2[i] = (unsigned char)(x >> 16);
        p3[i] = (unsigned char)(x >> 24);
    }
}

VECTORISED static void join32(words32 base, bytes p0, bytes p1, bytes p2,
                              bytes p3, size_t n, uint32_t *restrict tuned)
{
    for (size_t i = 0; i < n; i++)
        tuned[i] = base[i] ^ (p0[i] | (uint32_t)p1[i] << 8 |
                              (uint32_t)p2[i] << 16 | (uint32_t)p3[i] << 24);
}

/* The planes of n words, one behind the other. */
static void split(const struct part *part, size_t at, size_t n, bool fields,
                  unsigned char *p)
{
    const void *b = part->base + at, *t = part->tuned + at;

    if (part->dtype == TM_F32)
        split32(b, t, n, p, p + n, p + 2 * n, p + 3 * n);
    else if (part->dtype == TM_BF16 && fields)
        split_bf16(b, t, n, p, p + n);
    else
        split16(b, t, n, p, p + n);
}

static void join(const struct part *part, size_t at, size_t n, bool fields,
                 const unsigned char *p, void *tuned)
{
    const void *b = part->base + at;

    if (part->dtype == TM_F32)
        join32(b, p, p + n, p + 2 * n, p + 3 * n, n, tuned);
    else if (part->dtype == TM_BF16 && fields)
        join_bf16(b, p, p + n, n, tuned);
    else
        join16(b, p, p + n, n, tuned);
}

/* --- the peers ----------------------------------------------------------*/

static size_t compress(struct coders *c, int level, const void *from, size_t n,
                       unsigned char *out)
{
    size_t length = ZSTD_compressCCtx(c->compress, out + LENGTH,
                                      ZSTD_compressBound(n), from, n, level);

    if (ZSTD_isError(length))
        abort();
    return put_length(out, length);
}

/* Bytes used; 0 if they do not make n. */
static size_t decompress(struct coders *c, const unsigned char *in, void *to,
                         size_t n)
{
    size_t length = get_length(in);

    if (ZSTD_decompressDCtx(c->decompress, to, n, in + LENGTH, length) != n)
        return 0;
    return LENGTH + length;
}

/* Words whose planes a peer makes at once. */
static size_t peer_words(enum kind kind, const struct part *part)
{
    return kind == BITX ? BITX_BYTES
                        : TENSORX_BYTES / tm_word_bytes(part->dtype);
}

static size_t encode_planes(struct coders *c, enum kind kind,
                            const struct part *part, unsigned char *out)
{
    size_t size = tm_word_bytes(part->dtype), words = peer_words(kind, part);
    size_t used = 0;

    for (size_t at = 0; at < part->bytes; at += words * size) {
        size_t n = least(words, (part->bytes - at) / size);
        size_t frame = kind == BITX ? n : n * size;

        split(part, at, n, kind == BITX, c->planes);
        for (size_t i = 0; i < n * size; i += frame)
            used += compress(c, kind == BITX ? 3 : 1, c->planes + i, frame,
                             out + used);
    }
    return used;
}

static size_t decode_planes(struct coders *c, enum kind kind,
                            const struct part *part, const unsigned char *in,
                            unsigned char *tuned)
{
    size_t size = tm_word_bytes(part->dtype), words = peer_words(kind, part);
    size_t used = 0;

    for (size_t at = 0; at < part->bytes; at += words * size) {
        size_t n = least(words, (part->bytes - at) / size);
        size_t frame = kind == BITX ? n : n * size;

        for (size_t i = 0; i < n * size; i += frame) {
            size_t length = decompress(c, in + used, c->planes + i, frame);

            if (length == 0)
                return 0;
            used += length;
        }
        join(part, at, n, kind == BITX, c->planes, tuned + at);
    }
    return used;
}

/* --- all ----------------------------------------------------------------*/

size_t kind_encode(struct coders *c, enum kind kind, const struct part *part,
                   unsigned char *out)
{
    switch (kind) {
    case OURS:
        return encode_ours(c->ours, part, out);
    case OURS_ZSTD:
        return encode_ours(c->ours_zstd, part, out);
    case ZSTD3:
        return compress(c, 3, part->tuned, part->bytes, out);
    case MEMCPY:
        memcpy(out, part->tuned, part->bytes);
        return part->bytes;
    default:
        return encode_planes(c, kind, part, out);
    }
}

size_t kind_decode(struct coders *c, enum kind kind, const struct part *part,
                   const unsigned char *in, unsigned char *tuned)
{
    switch (kind) {
    case OURS:
        return decode_ours(c->ours, part, in, tuned);
    case OURS_ZSTD:
        return decode_ours(c->ours_zstd, part, in, tuned);
    case ZSTD3:
        return decompress(c, in, tuned, part->bytes);
    case MEMCPY:
        memcpy(tuned, in, part->bytes);
        return part->bytes;
    default:
        return decode_planes(c, kind, part, in, tuned);
    }
}
