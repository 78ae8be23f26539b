/* SPDX-License-Identifier: Apache-2.0 */
/* digests: see digests.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/digests.h"

#include "io/scan.h"
#include "src/signals.h"

struct digesting {
    struct tm_extent *extents;
    size_t count;
    size_t current; /* the first extent that is not complete */
    uint64_t position;
    struct tm_hasher whole;
    struct tm_hasher extent;
    tm_digests_visitor *visitor;
    void *context;
};

/* Completes the extents that end where the file now stands. */
static void complete(struct digesting *d)
{
    while (d->current < d->count) {
        struct tm_extent *extent = &d->extents[d->current];

        if (d->position < extent->offset ||
            d->position - extent->offset < extent->bytes)
            return;
        extent->digest = tm_hasher_digest(&d->extent);
        extent->is_complete = true;
        tm_hasher_reset(&d->extent);
        d->current++;
    }
}

static enum tm_status visit(void *context, const void *data, size_t length)
{
    struct digesting *d = context;
    const unsigned char *bytes = data;
    const uint64_t end = d->position + length;
    const enum tm_status interrupted = tm_signals_check();

    if (interrupted != TM_OK)
        return interrupted;
    tm_hasher_add(&d->whole, data, length);
    complete(d);
    while (d->current < d->count && d->position < end) {
        const struct tm_extent *extent = &d->extents[d->current];
        const uint64_t extent_end = extent->offset + extent->bytes;
        const uint64_t from =
            d->position > extent->offset ? d->position : extent->offset;
        const uint64_t to = end < extent_end ? end : extent_end;

        if (from >= end)
            break;
        tm_hasher_add(&d->extent, bytes + (from - (end - length)), to - from);
        d->position = to;
        complete(d);
    }
    d->position = end;
    if (d->visitor == NULL)
        return TM_OK;
    return d->visitor(d->context, end - length, data, length);
}

enum tm_status tm_digests_of_file(struct tm_disk *disk, const char *path,
                                  enum tm_direct direct,
                                  struct tm_extent *extents, size_t count,
                                  struct tm_digest *whole,
                                  tm_digests_visitor *visitor, void *context)
{
    struct digesting d = {
        .extents = extents,
        .count = count,
        .visitor = visitor,
        .context = context,
    };
    struct tm_file file;
    enum tm_status status = tm_file_open(
        disk->engine, path, direct == TM_DIRECT_AUTO ? TM_DIRECT_ON : direct,
        &file, NULL);

    if (status != TM_OK)
        return status;
    if (!tm_hasher_init(&d.whole) || !tm_hasher_init(&d.extent))
        status = tm_no_memory();
    if (status == TM_OK)
        status = tm_scan(disk, &file, visit, &d);
    if (status == TM_OK)
        complete(&d); /* what is empty, at the end of the file */
    if (status == TM_OK && whole != NULL)
        *whole = tm_hasher_digest(&d.whole);
    tm_hasher_free(&d.whole);
    tm_hasher_free(&d.extent);
    tm_file_close(disk->engine, &file);
    return status;
}
