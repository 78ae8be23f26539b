/* SPDX-License-Identifier: Apache-2.0 */
/* outfile: see outfile.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/outfile.h"

#include <stdlib.h>
#include <string.h>

#include "io/checked.h"

/* A multiple of TM_BLOCK; larger ones make nothing faster here. */
#define BUFFER ((size_t)256 << 10)

enum tm_status tm_outfile_create(struct tm_disk *disk, int dirfd,
                                 const char *name, const char *path,
                                 struct tm_outfile *out)
{
    enum tm_status status;

    *out = (struct tm_outfile){.disk = disk, .file = {.fd = -1}};
    out->buffer = aligned_alloc(TM_BLOCK, BUFFER);
    if (out->buffer == NULL || !tm_hasher_init(&out->hasher))
        status = tm_no_memory();
    else
        status = tm_file_create(disk->engine, dirfd, name, path, 0,
                                TM_DIRECT_OFF, &out->file);
    if (status != TM_OK) {
        free(out->buffer);
        tm_hasher_free(&out->hasher);
    }
    return status;
}

/* Writes the buffer out, padded to whole blocks. */
static void flush(struct tm_outfile *out)
{
    const size_t length =
        (size_t)((out->filled + TM_BLOCK - 1) & ~(TM_BLOCK - 1));
    struct tm_transfer transfer = {
        .kind = TM_OP_WRITE,
        .file = &out->file,
        .offset = out->written,
        .buf = out->buffer,
        .len = length,
    };

    if (out->filled == 0 || out->status != TM_OK)
        return;
    memset(out->buffer + out->filled, 0, length - out->filled);
    out->status = tm_transfer_now(out->disk, &transfer);
    out->written += out->filled;
    out->filled = 0;
}

bool tm_outfile_write(struct tm_outfile *out, const void *data, size_t length)
{
    const unsigned char *bytes = data;

    while (length > 0 && out->status == TM_OK) {
        size_t piece = BUFFER - out->filled;

        if (piece > length)
            piece = length;
        memcpy(out->buffer + out->filled, bytes, piece);
        tm_hasher_add(&out->hasher, bytes, piece);
        out->filled += piece;
        bytes += piece;
        length -= piece;
        if (out->filled == BUFFER)
            flush(out);
    }
    return out->status == TM_OK;
}

bool tm_outfile_sink(void *context, const char *text, size_t length)
{
    return tm_outfile_write(context, text, length);
}

/* Cuts the padding off and makes the file durable. */
static enum tm_status settle(struct tm_outfile *out)
{
    struct tm_call call = {
        .kind = TM_CALL_TRUNCATE, .fd = out->file.fd, .size = out->written};
    enum tm_status status = tm_disk_call(out->disk, &call, TM_IO_ERROR,
                                         out->file.path, "set the size");

    call.kind = TM_CALL_SYNC;
    if (status == TM_OK)
        status =
            tm_disk_call(out->disk, &call, TM_IO_ERROR, out->file.path, "sync");
    return status;
}

enum tm_status tm_outfile_finish(struct tm_outfile *out,
                                 struct tm_digest *digest, uint64_t *bytes)
{
    enum tm_status closed;

    flush(out);
    if (out->status == TM_OK)
        out->status = settle(out);
    closed = tm_file_close(out->disk->engine, &out->file);
    if (out->status == TM_OK)
        out->status = closed;
    if (digest != NULL)
        *digest = tm_hasher_digest(&out->hasher);
    if (bytes != NULL)
        *bytes = out->written;
    tm_hasher_free(&out->hasher);
    free(out->buffer);
    return out->status;
}

/* Moves all of `file` into `out`, a piece at a time. */
static enum tm_status pour(struct tm_disk *disk, struct tm_file *file,
                           struct tm_outfile *out)
{
    unsigned char *piece = aligned_alloc(TM_BLOCK, BUFFER);
    enum tm_status status = piece != NULL ? TM_OK : tm_no_memory();

    for (uint64_t at = 0; status == TM_OK && at < file->size; at += BUFFER) {
        struct tm_transfer transfer = {
            .kind = TM_OP_READ,
            .file = file,
            .offset = at,
            .buf = piece,
            .len = BUFFER,
            .need = file->size - at < BUFFER ? file->size - at : BUFFER,
        };

        status = tm_transfer_now(disk, &transfer);
        if (status == TM_OK && !tm_outfile_write(out, piece, transfer.need))
            status = out->status;
    }
    free(piece);
    return status;
}

enum tm_status tm_outfile_copy(struct tm_disk *disk, const char *from,
                               int dirfd, const char *name, const char *path,
                               struct tm_digest *digest, uint64_t *bytes)
{
    struct tm_file file;
    struct tm_outfile out;
    enum tm_status status =
        tm_file_open(disk->engine, from, TM_DIRECT_OFF, &file, NULL);

    if (status != TM_OK)
        return status;
    status = tm_outfile_create(disk, dirfd, name, path, &out);
    if (status == TM_OK) {
        const enum tm_status poured = pour(disk, &file, &out);

        status = tm_outfile_finish(&out, digest, bytes);
        if (poured != TM_OK)
            status = poured;
    }
    tm_file_close(disk->engine, &file);
    return status;
}
