/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_parts: the two parts of a stored vector that are read as bytes, its
 * manifest (vector_manifest.c) and the index of a shard (vector_index.c), for
 * vector.c, which reads and joins them, and for the fuzzers.
 */
#ifndef TM_IO_VECTOR_PARTS_H
#define TM_IO_VECTOR_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "io/checkpoint.h"
#include "io/vector.h"

/* --- the manifest --------------------------------------------------------*/

/* Larger ones are damage, or somebody's joke. */
#define TM_VECTOR_MANIFEST_MAX ((uint64_t)8 << 30)

/* vector.json as it was read. */
struct tm_vector_manifest {
    const char *path;
    const char *text;
    size_t length;
    size_t statistics; /* where those of the tensors begin; 0: there are none */
};

/*
 * Checks the text against its digest, and takes over what it says of shards
 * and files into `vector`, of which only the path is set before: the shards of
 * `tuned` get their names, and each path is where its file should be. Errors,
 * reported: TM_BAD_DATA, TM_SYSTEM.
 */
enum tm_status tm_vector_take_manifest(struct tm_vector_stored *vector,
                                       struct tm_vector_manifest *manifest);

/* The same with the statistics, once `tuned` is complete. */
enum tm_status
tm_vector_take_statistics(struct tm_vector_stored *vector,
                          const struct tm_vector_manifest *manifest);

/* --- the index of a shard ------------------------------------------------*/

/* One larger holds more chunks (2^28) than any shard has. */
#define TM_VECTOR_INDEX_MAX ((uint64_t)1 << 30)

/* Where the parts of an index are, in its bytes. */
struct tm_index_view {
    uint64_t tuned_bytes;
    uint64_t num_records;
    uint64_t num_lengths;
    uint64_t start_bytes;
    uint64_t frame_bytes;
    const unsigned char *records;
    const unsigned char *lengths;
    const unsigned char *frame;
};

/*
 * Checks the digest of an index, of the shard file `path`, and that its parts
 * fill it. Errors, reported: TM_BAD_DATA.
 */
enum tm_status tm_vector_split_index(const char *path,
                                     const unsigned char *bytes,
                                     uint64_t length,
                                     struct tm_index_view *view);

/*
 * Takes the index over as that of the vector's shard `number`, the ones before
 * being there: its tensors are added to `tuned` and `coded`. `blobs` is what
 * the header of the vector's shard file says; NULL: every blob is as long as
 * its chunks. Errors, reported: TM_BAD_DATA, TM_SYSTEM.
 */
enum tm_status tm_vector_take_index(struct tm_vector_stored *vector,
                                    size_t number,
                                    const struct tm_index_view *view,
                                    const struct tm_checkpoint *blobs);

#endif
