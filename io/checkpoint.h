/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint: what the headers of a model's weight files say.
 *
 * A checkpoint is named by a directory, by the index file in it, or by one
 * .safetensors file. In a directory the weights are what transformers would
 * load: model.safetensors, else the shards of model.safetensors.index.json,
 * else the shards of the only other index, else all .safetensors files.
 *
 * Opening has four steps, so that the parsing of many checkpoints can be
 * spread over threads while one thread does the reading:
 *
 *     tm_checkpoint_find           finds the files, reads the index
 *     tm_checkpoint_parse_index    (any thread)
 *     tm_checkpoint_read_headers
 *     tm_checkpoint_parse_headers  (any thread)
 *
 * After a failed step, which has reported why, only tm_checkpoint_close may
 * be called.
 */
#ifndef TM_IO_CHECKPOINT_H
#define TM_IO_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/digest.h"
#include "io/file.h"
#include "io/transfer.h"
#include "kernels/dtype.h"

struct tm_tensor {
    const char *name;
    const char *dtype_name;
    const uint64_t *shape;
    uint64_t elements;
    uint64_t offset; /* of its first byte in the file */
    uint64_t bytes;
    uint32_t shard;
    uint8_t dtype; /* enum tm_dtype */
    uint8_t ndim;
};

struct tm_metadata {
    const char *key;
    const char *value;
    struct tm_metadata *next;
};

struct tm_shard {
    const char *name; /* inside the checkpoint's directory */
    const char *path;
    struct tm_identity identity;
    uint64_t data_start;
    size_t first; /* its tensors: tensors[first] ... in offset order */
    size_t count;
    struct tm_metadata *metadata; /* in the order of the file */
    /* private: */
    struct tm_metadata **metadata_end;
    char *header;
    size_t header_length;
    struct tm_digest header_digest;
};

struct tm_checkpoint {
    const char *path;           /* as the user named it; the caller's */
    const char *directory;      /* NULL where the path names one weight file */
    const char *index_name;     /* NULL where there is no index */
    const char *index_metadata; /* of the index, as JSON; may be NULL */
    struct tm_shard *shards;
    size_t num_shards;
    struct tm_tensor *tensors; /* shard by shard, in the order of names */
    size_t num_tensors;
    struct tm_arena arena; /* holds all the above but `tensors` */
    /* private: */
    size_t capacity;
    uint32_t *table; /* name -> index + 1, open addressing */
    size_t table_size;
    struct tm_index *index;
};

enum tm_status tm_checkpoint_find(struct tm_disk *disk, const char *path,
                                  struct tm_checkpoint *checkpoint);
enum tm_status tm_checkpoint_parse_index(struct tm_checkpoint *checkpoint);
enum tm_status tm_checkpoint_read_headers(struct tm_disk *disk,
                                          struct tm_checkpoint *checkpoint);

/*
 * Shards whose header is byte for byte one of those of `like` (may be NULL)
 * are taken over from it instead of parsed: the fine-tunes of a base mostly
 * are. `like` must then outlive the checkpoint.
 */
enum tm_status tm_checkpoint_parse_headers(struct tm_checkpoint *checkpoint,
                                           const struct tm_checkpoint *like);

/*
 * A checkpoint whose headers come from elsewhere (io/vector.h) is made with
 *
 *     tm_checkpoint_list         in place of the first two steps
 *     tm_checkpoint_add_header   for each shard, in order
 *     tm_checkpoint_finish       when they are all there
 *
 * Before: the checkpoint's path and directory, all else zero. The shards are
 * `names` in the directory; where there is none, the one shard is the path.
 */
enum tm_status tm_checkpoint_list(struct tm_checkpoint *checkpoint,
                                  const char *const *names, size_t count);

/* Parses the header at `text` of shard `number`, of `file_bytes` bytes. */
enum tm_status tm_checkpoint_add_header(struct tm_checkpoint *checkpoint,
                                        size_t number, const char *text,
                                        size_t length, uint64_t file_bytes);
enum tm_status tm_checkpoint_finish(struct tm_checkpoint *checkpoint);

/* All four steps, like nothing else. */
enum tm_status tm_checkpoint_open(struct tm_disk *disk, const char *path,
                                  struct tm_checkpoint *checkpoint);

/* The tensor of that name, or NULL. */
const struct tm_tensor *
tm_checkpoint_get(const struct tm_checkpoint *checkpoint, const char *name);

/* Frees everything; all zero is allowed. */
void tm_checkpoint_close(struct tm_checkpoint *checkpoint);

/*
 * For fuzzing: the checkpoint of one file whose header text and data size are
 * given instead of read.
 */
enum tm_status tm_checkpoint_from_header(const char *text, size_t length,
                                         uint64_t data_bytes,
                                         struct tm_checkpoint *checkpoint);

#endif
