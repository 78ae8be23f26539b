/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outfile: a small output file, written front to back and made durable.
 *
 * For everything but the weights: index, manifest, checksums, side files. The
 * digest is that of the bytes as they were given.
 *
 *     tm_outfile_create ... tm_outfile_write ... tm_outfile_finish
 *
 * After a failed write the later calls fail too, without another message.
 */
#ifndef TM_IO_OUTFILE_H
#define TM_IO_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/digest.h"
#include "io/transfer.h"

struct tm_outfile {
    struct tm_disk *disk;
    struct tm_file file;
    struct tm_hasher hasher;
    unsigned char *buffer;
    size_t filled;
    uint64_t written; /* to the file, without what is in the buffer */
    enum tm_status status;
};

/*
 * Creates `name` in the directory `dirfd`; `path` (for messages) must outlive
 * the outfile. On failure there is nothing to finish.
 */
enum tm_status tm_outfile_create(struct tm_disk *disk, int dirfd,
                                 const char *name, const char *path,
                                 struct tm_outfile *out);

/* Appends; false once the file has failed. */
bool tm_outfile_write(struct tm_outfile *out, const void *data, size_t length);

/* A sink for tm_json_writer; the context is the outfile. */
bool tm_outfile_sink(void *context, const char *text, size_t length);

/*
 * Writes what is left, syncs and closes. Always frees; gives digest and size
 * (may be NULL) if all went well.
 */
enum tm_status tm_outfile_finish(struct tm_outfile *out,
                                 struct tm_digest *digest, uint64_t *bytes);

/* Copies the file `from` into a new outfile, whole. */
enum tm_status tm_outfile_copy(struct tm_disk *disk, const char *from,
                               int dirfd, const char *name, const char *path,
                               struct tm_digest *digest, uint64_t *bytes);

#endif
