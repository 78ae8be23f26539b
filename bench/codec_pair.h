/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_pair: the tensors of two checkpoints that a codec is measured on.
 *
 * Codecs take a tensor in parts. A part is cut where every codec would have
 * cut anyway, so that the cut costs none of them a byte.
 */
#ifndef TM_BENCH_CODEC_PAIR_H
#define TM_BENCH_CODEC_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/dtype.h"

#define PART_BYTES ((size_t)16 << 20)

struct part {
    enum tm_dtype dtype;       /* TM_BF16, TM_F16 or TM_F32 */
    size_t bytes;              /* 1 word to PART_BYTES */
    size_t tensor;             /* which one: parts of one follow one another */
    const unsigned char *base; /* whole cache lines, as `tuned` */
    const unsigned char *tuned;
};

struct pair {
    struct part *parts;
    size_t num_parts, capacity;
    size_t tensors;
    size_t bytes; /* of tuned */
    size_t left_out;
};

/*
 * Reads the tensors that both checkpoints have under one name with one type
 * and shape, but for those whose name a pattern matches, up to `limit` bytes
 * of tuned. Ends the program if it cannot.
 */
void pair_read(const char *base, const char *tuned, const char *const *patterns,
               size_t limit, struct pair *pair);

/* Copies of a pair, `bytes` of tuned or more, with a chunk a part. */
void pair_spread(const struct pair *from, size_t bytes, struct pair *to);

/* Memory of its own, in huge pages where there are any. */
void *new_memory(size_t bytes);

/* Takes memory out of all caches. False: not possible here. */
bool make_cold(const void *at, size_t bytes);

/* Says what failed last and ends the program. */
_Noreturn void die(const char *what);

#endif
