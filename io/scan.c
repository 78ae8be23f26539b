/* SPDX-License-Identifier: Apache-2.0 */
/* scan: see scan.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/scan.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>

/* Requests that are under way: what a single disk needs to be busy. */
#define AHEAD 16

struct piece {
    struct tm_transfer transfer;
    bool is_done;
};

struct scan {
    struct tm_disk *disk;
    struct tm_file *file;
    unsigned char *buffer;
    struct piece pieces[AHEAD];
    uint64_t asked; /* offset of the next request */
    uint64_t end;
};

/* Asks for the next piece into `piece`, whose buffer is free. */
static void ask(struct scan *scan, struct piece *piece)
{
    const uint64_t left = scan->end - scan->asked;
    const size_t number = (size_t)(piece - scan->pieces);

    if (left == 0)
        return;
    piece->is_done = false;
    piece->transfer = (struct tm_transfer){
        .kind = TM_OP_READ,
        .file = scan->file,
        .offset = scan->asked,
        .buf = scan->buffer + number * TM_REQUEST,
        .len = TM_REQUEST,
        .need = left < TM_REQUEST ? left : TM_REQUEST,
        .owner = piece,
    };
    scan->asked += piece->transfer.need;
    tm_transfer_start(scan->disk, &piece->transfer);
}

static void take_done(struct scan *scan)
{
    struct tm_transfer *done = tm_disk_wait(scan->disk, -1);

    for (; done != NULL; done = done->next)
        ((struct piece *)done->owner)->is_done = true;
}

static enum tm_status run(struct scan *scan, tm_scan_visitor *visitor,
                          void *context)
{
    enum tm_status status = TM_OK;
    uint64_t seen = scan->asked;

    for (size_t i = 0; i < AHEAD; i++)
        ask(scan, &scan->pieces[i]);
    for (size_t i = 0; seen < scan->end && status == TM_OK;
         i = (i + 1) % AHEAD) {
        struct piece *piece = &scan->pieces[i];

        while (!piece->is_done)
            take_done(scan);
        status = piece->transfer.status;
        if (status == TM_OK)
            status =
                visitor(context, piece->transfer.buf, piece->transfer.need);
        seen += piece->transfer.need;
        if (status == TM_OK)
            ask(scan, piece);
    }
    while (scan->disk->in_flight > 0)
        take_done(scan);
    return status;
}

enum tm_status tm_scan_range(struct tm_disk *disk, struct tm_file *file,
                             uint64_t from, uint64_t to,
                             tm_scan_visitor *visitor, void *context)
{
    struct scan *scan = calloc(1, sizeof(*scan));
    enum tm_status status;

    if (scan == NULL)
        return tm_no_memory();
    scan->disk = disk;
    scan->file = file;
    scan->asked = from;
    scan->end = to;
    scan->buffer = aligned_alloc(TM_BLOCK, AHEAD * TM_REQUEST);
    status =
        scan->buffer != NULL ? run(scan, visitor, context) : tm_no_memory();
    free(scan->buffer);
    free(scan);
    return status;
}

enum tm_status tm_scan(struct tm_disk *disk, struct tm_file *file,
                       tm_scan_visitor *visitor, void *context)
{
    if (!file->direct)
        posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
    return tm_scan_range(disk, file, 0, file->size, visitor, context);
}
