/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector: a stored vector as it is on disk, read (docs/format.md).
 *
 * To whoever merges, a stored vector is a checkpoint, `tuned`, whose tensors
 * are those of the fine-tune it was made of, with names, types, shapes and
 * order of that; where the bytes of each really are says `coded`, one for each
 * tensor. Opening reads and checks the manifest and the shards' headers and
 * indexes, no blob.
 */
#ifndef TM_IO_VECTOR_H
#define TM_IO_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/checkpoint.h"
#include "io/digest.h"
#include "io/transfer.h"

#define TM_VECTOR_MANIFEST "vector.json"
#define TM_VECTOR_FILES    "files"
#define TM_VECTOR_INDEX    "__taumerge__"
#define TM_VECTOR_FORMAT   "taumerge-vector"
#define TM_VECTOR_VERSION  1

/* Bytes of a record, and of the part of an index before the records. */
#define TM_RECORD_BYTES 60
#define TM_INDEX_HEAD   32

/* Bytes from a tensor's middle that its probe is made of, at most. */
#define TM_PROBE_BYTES ((uint64_t)4096)

enum tm_vector_state { TM_DELTA, TM_ALONE, TM_UNCHANGED };

/* How a tensor is stored. */
struct tm_coded {
    uint64_t offset; /* of its blob in the vector's shard file */
    uint64_t bytes;  /* of the blob */
    uint64_t first;  /* of its chunks: lengths[first] ... */
    uint64_t count;
    uint64_t base_words;
    uint64_t base_probe;
    struct tm_digest base_digest;
    struct tm_digest tuned_digest;
    unsigned char chunks_digest[4]; /* of the digests of its chunks' words */
    uint8_t state;                  /* enum tm_vector_state */
    uint8_t base_code; /* of the base's type; 0 where it is alone */
};

/* A shard file of the vector. */
struct tm_vector_shard {
    const char *name; /* in the directory */
    const char *path;
    struct tm_identity identity;
    uint64_t bytes;                 /* as the manifest says */
    struct tm_digest header_digest; /* of its first 8 + N bytes: is checked */
    struct tm_digest data_digest;   /* of the rest: is not */
    const char *tuned_name;         /* of the shard it was made of */
    uint64_t tuned_bytes;
    unsigned char *start; /* of the tuned shard: 8 bytes and the header */
    uint64_t start_bytes;
    const uint32_t *lengths; /* of the chunks of all its tensors */
};

/* A side file, below files/. */
struct tm_vector_file {
    const char *name; /* of the tuned directory: relative, harmless */
    const char *path;
    uint64_t bytes;
    struct tm_digest digest;
};

/* Of one tensor (docs/format.md, statistics). */
struct tm_vector_stats {
    uint64_t changed;
    double sum;
    double absolute;
    double squares;
    double largest;
};

struct tm_vector_stored {
    const char *path; /* as the user named it; the caller's */
    const char *base_path;
    const char *written_by; /* program and zstd, as text */
    bool single_file;       /* tuned was one file */
    struct tm_checkpoint tuned;
    struct tm_coded *coded;         /* of tuned.tensors, in their order */
    struct tm_vector_shard *shards; /* as many as tuned.shards */
    struct tm_vector_file *files;   /* in the order of their names */
    size_t num_files;
    struct tm_vector_stats *stats; /* of tuned.tensors; zero: none recorded */
    /* TM_DRIFT_BINS counters of all |t| (kernels/drift.h); NULL: there are
     * none, or coarser ones. malloc'ed. */
    uint64_t *histogram;
    struct tm_arena arena;
    uint64_t bytes_kept; /* memory beside arenas and `tuned` */
};

/* Whether `path` is a stored vector: a directory with a manifest in it. */
bool tm_vector_is(const char *path);

/*
 * Opens the stored vector at `path`. Everything that can be wrong with a
 * manifest, header or index is found here: names that leave the directory,
 * links, sizes that do not add up, chunks that overlap or are longer than
 * what they hold, versions and states that are not known. Errors, reported:
 * TM_NO_INPUT, TM_BAD_DATA, TM_IO_ERROR, TM_SYSTEM; tm_vector_close must be
 * called in any case.
 */
enum tm_status tm_vector_open(struct tm_disk *disk, const char *path,
                              struct tm_vector_stored *vector);

void tm_vector_close(struct tm_vector_stored *vector);

/*
 * For tests: whether the bytes are an index, with no file around it: every
 * blob is taken to be as long as its chunks.
 */
bool tm_vector_check_index(const unsigned char *bytes, size_t length);

/* --- writing -------------------------------------------------------------*/

/* What the index of one shard is made of; the caller's arrays. */
struct tm_index_parts {
    const struct tm_coded *records; /* in the order of the format */
    size_t num_records;
    const uint32_t *lengths; /* of all chunks, record by record */
    size_t num_lengths;
    uint64_t tuned_bytes;
    const void *start; /* of the tuned shard: 8 bytes and the header */
    uint64_t start_bytes;
};

/*
 * The index as bytes, malloc'ed, in *bytes. Errors, reported: TM_SYSTEM, also
 * where it would be larger than a reader takes (1 GiB: 2^28 chunks).
 */
enum tm_status tm_vector_make_index(const struct tm_index_parts *parts,
                                    unsigned char **bytes, size_t *length);

#endif
