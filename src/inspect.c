/* SPDX-License-Identifier: Apache-2.0 */
/* inspect: lists the tensors of checkpoints. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint.h"
#include "io/digest.h"
#include "io/json.h"
#include "src/commands.h"
#include "src/digests.h"
#include "src/options.h"
#include "src/plan.h"
#include "src/record.h"

/* A checkpoint and what is known of its tensors' digests. */
struct listing {
    const char *path;
    struct tm_checkpoint checkpoint;
    struct tm_digest *digests;
    bool *has_digest;
};

/* Takes the digests that a merge has recorded beside its output. */
static enum tm_status take_recorded(struct tm_disk *disk,
                                    struct listing *listing)
{
    const struct tm_checkpoint *c = &listing->checkpoint;
    struct tm_record record;
    enum tm_status status;

    if (!tm_record_exists(listing->path))
        return TM_OK;
    status = tm_record_read(disk, listing->path, &record);
    for (size_t i = 0; i < record.num_tensors && status == TM_OK; i++) {
        const struct tm_recorded_tensor *recorded = &record.tensors[i];
        const struct tm_tensor *tensor = tm_checkpoint_get(c, recorded->name);

        if (tensor == NULL || tensor->bytes != recorded->bytes)
            continue;
        listing->digests[tensor - c->tensors] = recorded->digest;
        listing->has_digest[tensor - c->tensors] = true;
    }
    tm_record_free(&record);
    return status;
}

/* Reads every shard to compute what is not recorded. */
static enum tm_status compute(struct tm_disk *disk, enum tm_direct direct,
                              struct listing *listing)
{
    const struct tm_checkpoint *c = &listing->checkpoint;
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < c->num_shards && status == TM_OK; i++) {
        const struct tm_shard *shard = &c->shards[i];
        struct tm_extent *extents = calloc(shard->count + 1, sizeof(*extents));

        if (extents == NULL)
            return tm_no_memory();
        for (size_t k = 0; k < shard->count; k++)
            extents[k] = (struct tm_extent){
                .offset = c->tensors[shard->first + k].offset,
                .bytes = c->tensors[shard->first + k].bytes,
            };
        status = tm_digests_of_file(disk, shard->path, direct, extents,
                                    shard->count, NULL, NULL, NULL);
        for (size_t k = 0; k < shard->count && status == TM_OK; k++) {
            listing->digests[shard->first + k] = extents[k].digest;
            listing->has_digest[shard->first + k] = true;
        }
        free(extents);
    }
    return status;
}

static enum tm_status open_listing(struct tm_disk *disk,
                                   const struct tm_settings *settings,
                                   struct listing *listing)
{
    enum tm_status status =
        tm_checkpoint_open(disk, listing->path, &listing->checkpoint);
    size_t count = listing->checkpoint.num_tensors + 1;

    if (status != TM_OK)
        return status;
    listing->digests = calloc(count, sizeof(*listing->digests));
    listing->has_digest = calloc(count, sizeof(*listing->has_digest));
    if (listing->digests == NULL || listing->has_digest == NULL)
        return tm_no_memory();
    if (settings->digest)
        return compute(disk, settings->direct, listing);
    return take_recorded(disk, listing);
}

static void digest_text(const struct listing *listing, size_t tensor,
                        char text[TM_DIGEST_CHARS + 1])
{
    if (listing->has_digest[tensor])
        tm_digest_print(&listing->digests[tensor], text);
    else
        snprintf(text, TM_DIGEST_CHARS + 1, "-");
}

/* One column of the table. */
struct columns {
    int name, dtype, shape, file;
};

static void widen(int *width, const char *text)
{
    const int length = (int)strlen(text);

    if (length > *width)
        *width = length;
}

/* Very long names push the rest of their line aside. */
#define MAX_NAME_WIDTH 64

static struct columns measure(struct listing *listing)
{
    struct columns widths = {4, 5, 5, 4};
    struct tm_checkpoint *c = &listing->checkpoint;

    for (size_t t = 0; t < c->num_tensors; t++) {
        const struct tm_tensor *tensor = &c->tensors[t];
        struct tm_arena arena = {0};

        widen(&widths.name, tensor->name);
        widen(&widths.dtype, tensor->dtype_name);
        widen(&widths.file, c->shards[tensor->shard].name);
        widen(&widths.shape,
              tm_shape_text(&arena, tensor->ndim, tensor->shape));
        tm_arena_free(&arena);
    }
    if (widths.name > MAX_NAME_WIDTH)
        widths.name = MAX_NAME_WIDTH;
    return widths;
}

static void print_row(const struct columns *widths, const char *name,
                      const char *dtype, const char *shape, const char *file,
                      const char *bytes, const char *digest)
{
    char *masked = strdup(name);

    if (masked != NULL)
        tm_mask(masked);
    printf("%-*s  %-*s  %-*s  %-*s  %14s  %s\n", widths->name,
           masked != NULL ? masked : "?", widths->dtype, dtype, widths->shape,
           shape, widths->file, file, bytes, digest);
    free(masked);
}

static void print_table(struct listing *listing)
{
    const struct columns widths = measure(listing);
    const struct tm_checkpoint *c = &listing->checkpoint;
    uint64_t total = 0;

    print_row(&widths, "name", "dtype", "shape", "file", "bytes", "digest");
    for (size_t t = 0; t < c->num_tensors; t++) {
        const struct tm_tensor *tensor = &c->tensors[t];
        struct tm_arena arena = {0};
        char bytes[24], digest[TM_DIGEST_CHARS + 1];

        snprintf(bytes, sizeof(bytes), "%llu",
                 (unsigned long long)tensor->bytes);
        digest_text(listing, t, digest);
        print_row(&widths, tensor->name, tensor->dtype_name,
                  tm_shape_text(&arena, tensor->ndim, tensor->shape),
                  c->shards[tensor->shard].name, bytes, digest);
        tm_arena_free(&arena);
        total += tensor->bytes;
    }
    printf("%zu tensors in %zu files, %llu bytes\n", c->num_tensors,
           c->num_shards, (unsigned long long)total);
}

static void print_json(const struct listing *listing, struct tm_json_writer *w)
{
    const struct tm_checkpoint *c = &listing->checkpoint;

    tm_json_begin(w, NULL, '{');
    tm_json_string(w, "path", listing->path);
    tm_json_begin(w, "tensors", '[');
    for (size_t t = 0; t < c->num_tensors; t++) {
        const struct tm_tensor *tensor = &c->tensors[t];
        char digest[TM_DIGEST_CHARS + 1];

        digest_text(listing, t, digest);
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "name", tensor->name);
        tm_json_string(w, "dtype", tensor->dtype_name);
        tm_json_integers(w, "shape", tensor->ndim, tensor->shape);
        tm_json_string(w, "file", c->shards[tensor->shard].name);
        tm_json_integer(w, "bytes", tensor->bytes);
        tm_json_string(w, "digest", listing->has_digest[t] ? digest : NULL);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
    tm_json_finish(w, '}');
}

static enum tm_status inspect_one(struct tm_disk *disk,
                                  const struct tm_options *options,
                                  size_t number, struct tm_json_writer *w)
{
    struct listing listing = {.path = options->paths[number]};
    enum tm_status status = open_listing(disk, &options->settings, &listing);

    if (status == TM_OK && options->settings.json) {
        print_json(&listing, w);
    } else if (status == TM_OK) {
        if (options->num_paths > 1)
            printf("%s%s:\n", number > 0 ? "\n" : "", listing.path);
        print_table(&listing);
    }
    tm_checkpoint_close(&listing.checkpoint);
    free(listing.digests);
    free(listing.has_digest);
    return status;
}

static enum tm_status inspect_all(const struct tm_options *options)
{
    struct tm_json_writer w = {.sink = tm_json_to_file, .context = stdout};
    struct tm_disk disk;
    enum tm_status status =
        tm_disk_open(options->settings.io, options->settings.fault, &disk);

    if (status != TM_OK)
        return status;
    if (options->settings.json) {
        tm_json_begin(&w, NULL, '{');
        tm_json_begin(&w, "checkpoints", '[');
    }
    for (size_t i = 0; i < options->num_paths; i++) {
        const enum tm_status own = inspect_one(&disk, options, i, &w);

        if (own != TM_OK)
            status = own;
    }
    if (options->settings.json) {
        tm_json_finish(&w, ']');
        tm_json_finish(&w, '}');
    }
    tm_disk_close(&disk);
    return status;
}

enum tm_status tm_command_inspect(int argc, char **argv)
{
    return tm_command_on_paths(argc, argv, TM_FOR_INSPECT, "inspect PATH...",
                               inspect_all);
}
