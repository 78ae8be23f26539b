/* SPDX-License-Identifier: Apache-2.0 */
/* infile: small input files, read as a whole. */
#ifndef TM_IO_INFILE_H
#define TM_IO_INFILE_H

#include <stddef.h>
#include <stdint.h>

#include "io/transfer.h"

/*
 * Reads bytes 0 ... *length - 1 of an open file into a malloc'ed block;
 * *length becomes what there is if the file is shorter. *bytes must be freed
 * in any case. Errors: reported.
 */
enum tm_status tm_infile_start(struct tm_disk *disk, struct tm_file *file,
                               uint64_t *length, char **bytes);

/* Reads all of `path`, which may have `most` bytes. As above. */
enum tm_status tm_infile_read(struct tm_disk *disk, const char *path,
                              uint64_t most, char **bytes, size_t *length);

#endif
