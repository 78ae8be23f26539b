/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors: the header of one shard.
 *
 *     8 bytes   N, little-endian
 *     N bytes   JSON: tensor name -> {dtype, shape, data_offsets},
 *               and optionally "__metadata__": string -> string
 *     the rest  the tensors, without holes, in the order of their offsets
 *
 * Reading is as strict as the reference implementation (safetensors 0.8,
 * src/tensor.rs) and stricter where it is known to be lax: a name that occurs
 * twice is refused. A type this program does not know is taken for bytes.
 */
#ifndef TM_IO_SAFETENSORS_H
#define TM_IO_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "io/json.h"
#include "io/message.h"
#include "kernels/dtype.h"

/* Largest N the reference implementation accepts. */
#define TM_HEADER_MAX ((uint64_t)100000000)

/* More dimensions than any framework has (numpy: 64). */
#define TM_MAX_DIMS 64

/* One tensor of a header; strings and shape are valid during the call. */
struct tm_header_tensor {
    const char *name;
    const char *dtype_name; /* as the file spells it */
    enum tm_dtype dtype;
    unsigned ndim;
    const uint64_t *shape;
    uint64_t elements; /* product of the shape */
    uint64_t begin;    /* in the data section */
    uint64_t bytes;
};

struct tm_header_visitor {
    void *context;
    enum tm_status (*tensor)(void *context,
                             const struct tm_header_tensor *tensor);
    enum tm_status (*metadata)(void *context, const char *key,
                               const char *value);
};

/*
 * Parses the `length` bytes of JSON at `json` of the file `path`, whose data
 * section has `data_bytes` bytes, calling the visitor for each tensor in the
 * order of the text. Checks all that concerns one tensor; that the tensors
 * tile the data section is checked by whoever has them all
 * (io/checkpoint.h). Errors: TM_BAD_DATA, reported.
 */
enum tm_status tm_safetensors_parse(const char *path, const char *json,
                                    size_t length, uint64_t data_bytes,
                                    const struct tm_header_visitor *visitor);

/*
 * Checks the first 8 bytes of a file of `file_bytes` bytes and gives N in
 * *length. `start` holds the first `start_length` (up to 8) bytes of the
 * file; a few other formats are recognised by them and named in the message.
 */
enum tm_status tm_safetensors_length(const char *path,
                                     const unsigned char *start,
                                     size_t start_length, uint64_t file_bytes,
                                     uint64_t *length);

/*
 * The other direction: writes a member of a header to `writer` (compact),
 * inside the outermost object.
 */
void tm_safetensors_write(struct tm_json_writer *writer,
                          const struct tm_header_tensor *tensor);

#endif
