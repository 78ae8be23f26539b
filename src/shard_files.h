/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shard_files: the files of the output's shards, where a model is made.
 */
#ifndef TM_SRC_SHARD_FILES_H
#define TM_SRC_SHARD_FILES_H

#include "src/resume.h"

/*
 * Makes all of them, with room for what they will hold. Those that an earlier
 * run has begun are there: whatever is behind their ends is cut off. Errors,
 * reported: TM_CANT_CREATE, TM_IO_ERROR, TM_SYSTEM.
 */
enum tm_status tm_shard_files_make(const struct tm_plan *plan,
                                   const struct tm_settings *settings,
                                   struct tm_staging *staging,
                                   const struct tm_start *start);

/* Opens that of shard `number`, for writing. */
enum tm_status tm_shard_files_open(const struct tm_plan *plan,
                                   const struct tm_settings *settings,
                                   struct tm_staging *staging, size_t number,
                                   struct tm_file *file);

#endif
