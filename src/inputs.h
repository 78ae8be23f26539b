/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inputs: the plan's input files, opened when they are needed.
 *
 * A merge of many models with many shards names more files than a process
 * may open. A file stays open until the place is needed by another and no
 * read is under way in it; the run goes through the shards in order, so few
 * are opened twice. Each opening checks that the file is the one that was
 * planned with, and so does a last look when all is read.
 */
#ifndef TM_SRC_INPUTS_H
#define TM_SRC_INPUTS_H

#include <stdbool.h>
#include <stddef.h>

#include "io/transfer.h"
#include "src/plan.h"

struct tm_input {
    struct tm_file file;
    size_t users; /* reads under way */
    uint64_t last_used;
};

struct tm_inputs {
    struct tm_disk *disk;
    const struct tm_plan *plan;
    enum tm_direct direct;
    struct tm_input *inputs; /* one for each of the plan's files */
    size_t num_open;
    size_t most_open;
    uint64_t clock;
    size_t num_direct; /* of the openings so far */
    size_t num_buffered;
};

/*
 * The files that may be open at once, after raising the soft limit as far as
 * it goes; 0 if the limit cannot be read.
 */
size_t tm_inputs_limit(void);

enum tm_status tm_inputs_init(struct tm_inputs *inputs, struct tm_disk *disk,
                              const struct tm_plan *plan,
                              enum tm_direct direct);

/* Closes everything. */
void tm_inputs_free(struct tm_inputs *inputs);

/*
 * Opens file number `number` if it is closed and counts a user. *file is NULL
 * if there is no descriptor to be had before another file is released. Errors:
 * TM_IO_ERROR if it has changed, and those of tm_file_open.
 */
enum tm_status tm_inputs_acquire(struct tm_inputs *inputs, uint32_t number,
                                 struct tm_file **file);

void tm_inputs_release(struct tm_inputs *inputs, uint32_t number);

/* Looks whether all files are still as they were planned with. */
enum tm_status tm_inputs_check(const struct tm_plan *plan);

#endif
