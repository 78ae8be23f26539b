/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspect_vector: what a stored vector says of itself, for people and for
 * programs.
 *
 *     tm_inspection_open, then tm_inspection_print or tm_inspection_json,
 *     tm_inspection_close
 */
#ifndef TM_SRC_INSPECT_VECTOR_H
#define TM_SRC_INSPECT_VECTOR_H

#include "io/arena.h"
#include "io/json.h"
#include "io/vector.h"
#include "src/codings.h"

/* What of the tuned checkpoint is not in the vector. */
struct tm_left_out {
    const char *name;
    const char *why;
    struct tm_left_out *next;
};

struct tm_inspection {
    struct tm_vector_stored vector;
    struct tm_codings codings;
    struct tm_left_out *left_out; /* in the order of the manifest */
    /* private: */
    struct tm_left_out **left_out_end;
    struct tm_arena arena;
};

/*
 * Opens the stored vector at `path` and looks how its chunks are coded.
 * Errors, reported: as of opening it and of reading; TM_INTERRUPTED.
 * tm_inspection_close must be called in any case.
 */
enum tm_status tm_inspection_open(struct tm_disk *disk, const char *path,
                                  enum tm_direct direct,
                                  struct tm_inspection *inspection);

/* All of it as text on stdout. */
void tm_inspection_print(const struct tm_inspection *inspection);

/* All of it as an object, the member `key`. */
void tm_inspection_json(const struct tm_inspection *inspection, const char *key,
                        struct tm_json_writer *w);

void tm_inspection_close(struct tm_inspection *inspection);

#endif
