/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_chunk: chunks of a stored vector. Input: the type; whether there is a
 * base, and what the rest is; two bytes of the number of words; then the base
 * and a chunk, or the words to make one of and where to turn its bits.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

#include "io/chunk.h"

#define WITH_BASE 1 /* bits of the second byte */
#define DECODE    2
#define ONLY_ZSTD 4
#define SEALED    8 /* the payload's checksum is made here: none is found */

/* More than a sample of them; few, to be fast. */
#define MOST_WORDS 6000

/* What is left of the input; beyond its end there are zeros. */
struct input {
    const uint8_t *data;
    size_t size;
};

/* In a buffer of just that size, so that sanitizers see its end. */
static uint8_t *take(struct input *in, size_t size)
{
    const size_t there = size < in->size ? size : in->size;
    uint8_t *bytes = calloc(size > 0 ? size : 1, 1);

    FUZZ_REQUIRE(bytes != NULL);
    if (there > 0)
        memcpy(bytes, in->data, there);
    in->data += there;
    in->size -= there;
    return bytes;
}

static unsigned take_byte(struct input *in)
{
    uint8_t *bytes = take(in, 1);
    const unsigned byte = bytes[0];

    free(bytes);
    return byte;
}

static unsigned take_short(struct input *in)
{
    const unsigned low = take_byte(in);

    return low | take_byte(in) << 8;
}

/* Made once: what one chunk leaves behind must not harm the next. */
static struct tm_coder *coder_for(enum tm_codec codec)
{
    static struct tm_coder *coders[2];

    if (coders[codec] == NULL) {
        enum tm_isa isa;

        FUZZ_REQUIRE(tm_isa_choose(getenv("TAUMERGE_CPU"), &isa));
        coders[codec] = tm_coder_new(isa, codec);
        FUZZ_REQUIRE(coders[codec] != NULL);
    }
    return coders[codec];
}

static size_t bytes_of(const struct tm_chunk *chunk)
{
    return chunk->words * tm_word_bytes(chunk->dtype);
}

/* Words that pass are those whose checksum the chunk has. */
static void check_words(const struct tm_chunk *chunk, const uint8_t *coded,
                        size_t length, const uint8_t *words)
{
    const uint64_t sum = XXH3_64bits(words, bytes_of(chunk));

    if (length > 0)
        FUZZ_REQUIRE(memcmp(&sum, coded + 8, sizeof(sum)) == 0);
    else
        FUZZ_REQUIRE(memcmp(words, chunk->base, bytes_of(chunk)) == 0);
}

static void decode(const struct tm_chunk *chunk, const uint8_t *coded,
                   size_t length)
{
    uint8_t *words = malloc(bytes_of(chunk));
    enum tm_coding coding;

    FUZZ_REQUIRE(words != NULL);
    tm_chunk_check(coded, length, &coding);
    FUZZ_REQUIRE(coding < TM_NUM_CODINGS);
    if (tm_chunk_decode(coder_for(TM_CODEC_AUTO), chunk, coded, length,
                        words) == NULL)
        check_words(chunk, coded, length, words);
    free(words);
}

static void seal(uint8_t *coded, size_t length)
{
    uint64_t sum;

    if (length < TM_CHUNK_HEAD)
        return;
    sum = XXH3_64bits(coded + TM_CHUNK_HEAD, length - TM_CHUNK_HEAD);
    memcpy(coded + 4, &sum, 4);
}

/* In a buffer of just its size. */
static uint8_t *encode(const struct tm_chunk *chunk, enum tm_codec codec,
                       const uint8_t *tuned, size_t *length)
{
    uint8_t *out = malloc(tm_chunk_bound(bytes_of(chunk)));
    uint8_t *coded;
    enum tm_coding coding, found;

    FUZZ_REQUIRE(out != NULL);
    FUZZ_REQUIRE(tm_chunk_encode(coder_for(codec), chunk, tuned, out, length,
                                 &coding) == TM_OK);
    FUZZ_REQUIRE(*length <= tm_chunk_bound(bytes_of(chunk)));
    coded = malloc(*length > 0 ? *length : 1);
    FUZZ_REQUIRE(coded != NULL);
    memcpy(coded, out, *length);
    free(out);
    FUZZ_REQUIRE(tm_chunk_check(coded, *length, &found) == NULL);
    FUZZ_REQUIRE(found == coding && (*length == 0) == (coding == TM_SAME));
    FUZZ_REQUIRE(codec != TM_CODEC_ZSTD || coding != TM_RANS);
    return coded;
}

static void round_trip(const struct tm_chunk *chunk, const uint8_t *tuned,
                       const uint8_t *coded, size_t length)
{
    uint8_t *words = malloc(bytes_of(chunk));

    FUZZ_REQUIRE(words != NULL);
    FUZZ_REQUIRE(tm_chunk_decode(coder_for(TM_CODEC_AUTO), chunk, coded, length,
                                 words) == NULL);
    FUZZ_REQUIRE(memcmp(words, tuned, bytes_of(chunk)) == 0);
    free(words);
}

/* Each three bytes: where, and with what, a chunk is spoilt. */
static void spoil(struct input *in, uint8_t *coded, size_t length)
{
    while (in->size > 0 && length > 0) {
        const size_t at = take_short(in);

        coded[at % length] ^= (uint8_t)take_byte(in);
    }
}

static void encode_and_decode(struct input *in, const struct tm_chunk *chunk,
                              enum tm_codec codec)
{
    uint8_t *tuned = take(in, bytes_of(chunk));
    uint8_t *coded;
    size_t length;

    coded = encode(chunk, codec, tuned, &length);
    round_trip(chunk, tuned, coded, length);
    spoil(in, coded, length);
    decode(chunk, coded, length);
    free(tuned);
    free(coded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    const unsigned dtype = take_byte(&in);
    const unsigned flags = take_byte(&in);
    const size_t words = 1 + take_short(&in) % MOST_WORDS;
    struct tm_chunk chunk = {(enum tm_dtype)(dtype % TM_NUM_DTYPES), words,
                             NULL};
    uint8_t *base;

    tm_message_silence();
    base = take(&in, (flags & WITH_BASE) != 0 ? bytes_of(&chunk) : 0);
    if ((flags & WITH_BASE) != 0)
        chunk.base = base;
    if ((flags & DECODE) != 0) {
        const size_t length = in.size;
        uint8_t *coded = take(&in, length);

        if ((flags & SEALED) != 0)
            seal(coded, length);
        decode(&chunk, coded, length);
        free(coded);
    } else {
        encode_and_decode(&in, &chunk,
                          (flags & ONLY_ZSTD) != 0 ? TM_CODEC_ZSTD
                                                   : TM_CODEC_AUTO);
    }
    free(base);
    return 0;
}
