/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk: a run of words of a tuned tensor, coded (docs/format.md, chunks).
 *
 * The encoder takes the smallest coding of those it tries; the decoder checks
 * what it made against the chunk's own checksum, so that it never passes on
 * words that are not the tuned tensor's.
 */
#ifndef TM_IO_CHUNK_H
#define TM_IO_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/message.h"
#include "kernels/cpu.h"
#include "kernels/dtype.h"
#include "kernels/rans.h"

enum tm_coding {
    TM_SAME, /* has no bytes at all */
    TM_RANS,
    TM_ZSTD,
    TM_SOLO,
    TM_RAW,
    TM_NUM_CODINGS
};

/* "same", "rans", "zstd", "solo", "raw". */
const char *tm_coding_name(enum tm_coding coding);

/* Bytes of one word of a tensor of type `dtype`. */
unsigned tm_word_bytes(enum tm_dtype dtype);

/* A type as the format numbers it (docs/format.md, types), and back. */
unsigned tm_word_code(enum tm_dtype dtype);

/* Which codings an encoder may use. */
enum tm_codec { TM_CODEC_AUTO, TM_CODEC_ZSTD /* no rans */ };

#define TM_CHUNK_HEAD 16

/* Most bytes that `bytes` of words are coded in. */
static inline size_t tm_chunk_bound(size_t bytes)
{
    return TM_CHUNK_HEAD + bytes;
}

/* What both sides know of a chunk; words at any address. */
struct tm_chunk {
    enum tm_dtype dtype; /* of the tuned tensor */
    size_t words;        /* 1 to TM_CHUNK_WORDS */
    const void *base;    /* as many words of that type; NULL: there are none */
};

/* Contexts and scratch of one thread. */
struct tm_coder;

/* Memory that a coder takes, at most. */
uint64_t tm_coder_memory(void);

/* NULL: no memory. */
struct tm_coder *tm_coder_new(enum tm_isa isa, enum tm_codec codec);
void tm_coder_free(struct tm_coder *coder);

/*
 * Codes `tuned` into `out`, which has tm_chunk_bound bytes. Gives the length (0
 * for TM_SAME) and the coding. Errors: TM_SYSTEM, reported (no memory).
 */
enum tm_status tm_chunk_encode(struct tm_coder *coder,
                               const struct tm_chunk *chunk, const void *tuned,
                               void *out, size_t *length,
                               enum tm_coding *coding);

/*
 * Decodes the `length` bytes at `coded` into `tuned`. Returns NULL if all is
 * well; otherwise why not, for a message: "is damaged: ...", "has a coding
 * this version does not know", or, where the bytes are whole and yet make
 * other words than they should, TM_OTHER_BASE (the very pointer).
 */
const char *tm_chunk_decode(struct tm_coder *coder,
                            const struct tm_chunk *chunk, const void *coded,
                            size_t length, void *tuned);

extern const char tm_other_base[];
#define TM_OTHER_BASE tm_other_base

/*
 * XXH3-64 of the `bytes` of words that the `length` bytes at `coded` stand for:
 * from the chunk's head, or of the words themselves where it has none.
 */
uint64_t tm_chunk_digest(const void *coded, size_t length, const void *words,
                         size_t bytes);

/*
 * The coding of a chunk and whether its bytes are those that were written,
 * without decoding. Returns NULL or why not.
 */
const char *tm_chunk_check(const void *coded, size_t length,
                           enum tm_coding *coding);

#endif
