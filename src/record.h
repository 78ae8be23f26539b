/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record: what taumerge.json and taumerge.xxh128 say of an output.
 *
 * The checksum file lists every file, the manifest among them; the manifest
 * says where each tensor is and what its digest was.
 */
#ifndef TM_SRC_RECORD_H
#define TM_SRC_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/digest.h"
#include "io/transfer.h"

struct tm_recorded_file {
    const char *name;
    const char *path;
    struct tm_digest digest;
};

struct tm_recorded_tensor {
    const char *name;
    const char *file;
    uint64_t offset;
    uint64_t bytes;
    struct tm_digest digest;
};

struct tm_record {
    struct tm_recorded_file *files; /* without the checksum file */
    size_t num_files;
    struct tm_recorded_tensor *tensors; /* by file, then offset */
    size_t num_tensors;
    struct tm_arena arena;
    /* private: */
    size_t file_capacity, tensor_capacity;
    size_t next_file; /* where the next name is looked for first */
};

/* Whether there is a checksum file for `path`, a directory or a file. */
bool tm_record_exists(const char *path);

/*
 * Reads the record of `path`. Errors, reported: TM_NO_INPUT if there is none,
 * TM_BAD_DATA if it is damaged. tm_record_free must be called in any case.
 */
enum tm_status tm_record_read(struct tm_disk *disk, const char *path,
                              struct tm_record *record);

void tm_record_free(struct tm_record *record);

#endif
