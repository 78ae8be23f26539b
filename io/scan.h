/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan: one file from its first byte to its last, in order, as fast as the
 * disk: reads run ahead while the caller looks at what has come.
 */
#ifndef TM_IO_SCAN_H
#define TM_IO_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "io/transfer.h"

/* Takes the next `length` bytes; anything but TM_OK ends the scan. */
typedef enum tm_status tm_scan_visitor(void *context, const void *data,
                                       size_t length);

/*
 * Reads the open `file` whole. Where it is not direct, its pages are dropped
 * from the cache first, so that what is read is what the disk holds.
 */
enum tm_status tm_scan(struct tm_disk *disk, struct tm_file *file,
                       tm_scan_visitor *visitor, void *context);

/*
 * The same for the bytes from `from`, a multiple of TM_BLOCK, to `to`, which
 * the file must have. Pages stay in the cache, if they are not direct.
 */
enum tm_status tm_scan_range(struct tm_disk *disk, struct tm_file *file,
                             uint64_t from, uint64_t to,
                             tm_scan_visitor *visitor, void *context);

#endif
