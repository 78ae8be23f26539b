/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digests: of a file and of the tensors in it, in one pass over the disk.
 */
#ifndef TM_SRC_DIGESTS_H
#define TM_SRC_DIGESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/digest.h"
#include "io/transfer.h"

/* A run of bytes whose digest is wanted. */
struct tm_extent {
    uint64_t offset;
    uint64_t bytes;
    struct tm_digest digest; /* out */
    bool is_complete;        /* out: the file reached its end */
};

/*
 * Looks at each piece of the file, in order, once it has been added to the
 * digests. Anything but TM_OK ends the reading.
 */
typedef enum tm_status tm_digests_visitor(void *context, uint64_t offset,
                                          const void *data, size_t length);

/*
 * Reads `path` past the page cache and computes the digests of the `count`
 * extents, which are sorted by offset and do not overlap, and of the whole
 * file (*whole, may be NULL). `visitor` may be NULL. Errors: as of reading,
 * and what `visitor` returned.
 */
enum tm_status tm_digests_of_file(struct tm_disk *disk, const char *path,
                                  enum tm_direct direct,
                                  struct tm_extent *extents, size_t count,
                                  struct tm_digest *whole,
                                  tm_digests_visitor *visitor, void *context);

#endif
