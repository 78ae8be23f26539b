/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codings: how the chunks of a stored vector are coded.
 *
 * The first byte of each chunk says it. Only those are read, many at a time,
 * with what lies between those that are close together.
 */
#ifndef TM_SRC_CODINGS_H
#define TM_SRC_CODINGS_H

#include <stdint.h>

#include "io/chunk.h"
#include "io/vector.h"

/* Of all chunks of one coding. */
struct tm_coding_sum {
    uint64_t chunks;
    uint64_t bytes;  /* of the words */
    uint64_t stored; /* of the chunks */
};

struct tm_codings {
    uint64_t (*chunks)[TM_NUM_CODINGS]; /* of each tensor; malloc'ed */
    struct tm_coding_sum sums[TM_NUM_CODINGS];
};

/*
 * Counts the codings of all chunks of `vector`. Errors, reported: as of
 * reading; TM_BAD_DATA for a coding that is not known; TM_INTERRUPTED.
 * tm_codings_free must be called in any case.
 */
enum tm_status tm_codings_read(struct tm_disk *disk, enum tm_direct direct,
                               const struct tm_vector_stored *vector,
                               struct tm_codings *codings);

void tm_codings_free(struct tm_codings *codings);

#endif
