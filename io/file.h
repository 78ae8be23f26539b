/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file: an open data file.
 *
 * Every range that is read or written begins at a multiple of TM_BLOCK, in
 * the file and in memory, so that the same plan works with and without direct
 * I/O. Whether a file is direct can change once, from yes to no, when the file
 * system turns out to refuse it (io/transfer.h).
 */
#ifndef TM_IO_FILE_H
#define TM_IO_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/engine.h"
#include "io/message.h"

/*
 * The unit of direct I/O. Disks ask for 512 or 4096; a file system that asks
 * for more is read through the page cache.
 */
#define TM_BLOCK ((uint64_t)4096)

enum tm_direct { TM_DIRECT_AUTO, TM_DIRECT_ON, TM_DIRECT_OFF };

/* What tells that a file is still the one that was planned with. */
struct tm_identity {
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    int64_t mtime_seconds;
    int64_t mtime_nanoseconds;
};

struct tm_file {
    const char *path; /* for messages; the caller's */
    int fd;           /* -1 while closed */
    bool direct;
    bool is_output;
    uint64_t size;
};

struct stat;
struct tm_identity tm_identity_from(const struct stat *st);

/* Whether both are the same file, whatever its size and time. */
bool tm_identity_same_file(const struct tm_identity *a,
                           const struct tm_identity *b);

/* Whether nothing of `a` differs from `b`. */
bool tm_identity_equal(const struct tm_identity *a,
                       const struct tm_identity *b);

/*
 * Opens `path`, which must be a regular file, for reading. With
 * TM_DIRECT_AUTO direct I/O is used where the file system has it and less
 * than half of the file is in the page cache. `path` must outlive the file.
 * `identity` (may be NULL) gets the file's identity. Errors: TM_NO_INPUT if
 * there is no such file, TM_BAD_DATA if it is not a regular file,
 * TM_IO_ERROR.
 */
enum tm_status tm_file_open(struct tm_engine *engine, const char *path,
                            enum tm_direct direct, struct tm_file *file,
                            struct tm_identity *identity);

/*
 * Creates `name` in the directory `dirfd` with room for `size` bytes, and
 * opens it for writing; `path` (for messages) must outlive the file. Errors:
 * TM_CANT_CREATE, no space too.
 */
enum tm_status tm_file_create(struct tm_engine *engine, int dirfd,
                              const char *name, const char *path, uint64_t size,
                              enum tm_direct direct, struct tm_file *file);

/* Opens a file that tm_file_create made, for writing. */
enum tm_status tm_file_reopen(struct tm_engine *engine, int dirfd,
                              const char *name, const char *path,
                              enum tm_direct direct, struct tm_file *file);

/*
 * Closes the file if it is open. A failure is an error only for a file that
 * was written: network file systems report lost data here.
 */
enum tm_status tm_file_close(struct tm_engine *engine, struct tm_file *file);

/* Stops using direct I/O for an open file. */
void tm_file_make_buffered(struct tm_file *file);

/* The exit status that goes with `error` (an errno) of a write or create. */
enum tm_status tm_write_status(int error);

#endif
