/* SPDX-License-Identifier: Apache-2.0 */
/* inspect: lists the tensors of checkpoints and of stored vectors. */
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
#include "src/inspect_vector.h"
#include "src/options.h"
#include "src/plan.h"
#include "src/record.h"
#include "src/table.h"

/* A checkpoint and what is known of its tensors' digests. */
struct listing {
    const char *path;
    const struct tm_checkpoint *checkpoint;
    struct tm_digest *digests;
    bool *has_digest;
    const struct tm_inspection *vector; /* that has it; NULL: none */
};

/* Takes the digests that a merge has recorded beside its output. */
static enum tm_status take_recorded(struct tm_disk *disk,
                                    struct listing *listing)
{
    const struct tm_checkpoint *c = listing->checkpoint;
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
    const struct tm_checkpoint *c = listing->checkpoint;
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

/* Room for the digests of all tensors. */
static enum tm_status make_room(struct listing *listing)
{
    const size_t count = listing->checkpoint->num_tensors + 1;

    listing->digests = calloc(count, sizeof(*listing->digests));
    listing->has_digest = calloc(count, sizeof(*listing->has_digest));
    if (listing->digests == NULL || listing->has_digest == NULL)
        return tm_no_memory();
    return TM_OK;
}

static enum tm_status open_listing(struct tm_disk *disk,
                                   const struct tm_settings *settings,
                                   struct listing *listing,
                                   struct tm_checkpoint *checkpoint)
{
    enum tm_status status = tm_checkpoint_open(disk, listing->path, checkpoint);

    listing->checkpoint = checkpoint;
    if (status == TM_OK)
        status = make_room(listing);
    if (status != TM_OK)
        return status;
    if (settings->digest)
        return compute(disk, settings->direct, listing);
    return take_recorded(disk, listing);
}

/* The same with a stored vector, which has recorded them all. */
static enum tm_status open_vector(struct tm_disk *disk,
                                  const struct tm_settings *settings,
                                  struct listing *listing,
                                  struct tm_inspection *inspection)
{
    enum tm_status status =
        tm_inspection_open(disk, listing->path, settings->direct, inspection);

    listing->vector = inspection;
    listing->checkpoint = &inspection->vector.tuned;
    if (status == TM_OK)
        status = make_room(listing);
    for (size_t t = 0; t < listing->checkpoint->num_tensors && status == TM_OK;
         t++) {
        listing->digests[t] = inspection->vector.coded[t].tuned_digest;
        listing->has_digest[t] = true;
    }
    return status;
}

static void digest_text(const struct listing *listing, size_t tensor,
                        char text[TM_DIGEST_CHARS + 1])
{
    if (listing->has_digest[tensor])
        tm_digest_print(&listing->digests[tensor], text);
    else
        snprintf(text, TM_DIGEST_CHARS + 1, "-");
}

enum { COLUMNS = 6 };

/* A row of the table. */
struct row {
    struct tm_arena arena;
    char bytes[24], digest[TM_DIGEST_CHARS + 1];
    const char *cells[COLUMNS];
};

static void make_row(const struct listing *listing, size_t number,
                     struct row *row)
{
    const struct tm_checkpoint *c = listing->checkpoint;
    const struct tm_tensor *tensor = &c->tensors[number];

    row->arena = (struct tm_arena){0};
    row->cells[0] = tensor->name;
    row->cells[1] = tensor->dtype_name;
    row->cells[2] = tm_shape_text(&row->arena, tensor->ndim, tensor->shape);
    row->cells[3] = c->shards[tensor->shard].name;
    row->cells[4] = row->bytes;
    row->cells[5] = row->digest;
    snprintf(row->bytes, sizeof(row->bytes), "%llu",
             (unsigned long long)tensor->bytes);
    digest_text(listing, number, row->digest);
}

static void print_table(const struct listing *listing)
{
    struct tm_column columns[COLUMNS] = {
        {.title = "name", .widest = TM_TABLE_NAME},
        {.title = "dtype"},
        {.title = "shape"},
        {.title = "file"},
        {.title = "bytes", .is_number = true, .width = 14},
        {.title = "digest"},
    };
    const struct tm_checkpoint *c = listing->checkpoint;
    uint64_t total = 0;
    struct row row;

    for (size_t t = 0; t < c->num_tensors; t++) {
        make_row(listing, t, &row);
        tm_table_measure(columns, COLUMNS, row.cells);
        tm_arena_free(&row.arena);
    }
    tm_table_print(columns, COLUMNS, 2, NULL);
    for (size_t t = 0; t < c->num_tensors; t++) {
        make_row(listing, t, &row);
        tm_table_print(columns, COLUMNS, 2, row.cells);
        tm_arena_free(&row.arena);
        total += c->tensors[t].bytes;
    }
    printf("%zu tensors in %zu files, %llu bytes\n", c->num_tensors,
           c->num_shards, (unsigned long long)total);
}

static void print_json(const struct listing *listing, struct tm_json_writer *w)
{
    const struct tm_checkpoint *c = listing->checkpoint;

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
    if (listing->vector != NULL)
        tm_inspection_json(listing->vector, "vector", w);
    tm_json_finish(w, '}');
}

static void print_text(const struct listing *listing, bool is_titled,
                       bool is_first)
{
    if (is_titled)
        printf("%s%s:\n", is_first ? "" : "\n", listing->path);
    if (listing->vector != NULL)
        tm_inspection_print(listing->vector);
    else
        print_table(listing);
}

static enum tm_status inspect_one(struct tm_disk *disk,
                                  const struct tm_options *options,
                                  size_t number, struct tm_json_writer *w)
{
    struct tm_checkpoint checkpoint = {0};
    struct tm_inspection vector = {0};
    struct listing listing = {.path = options->paths[number]};
    enum tm_status status;

    if (tm_vector_is(listing.path))
        status = open_vector(disk, &options->settings, &listing, &vector);
    else
        status = open_listing(disk, &options->settings, &listing, &checkpoint);
    if (status == TM_OK && options->settings.json)
        print_json(&listing, w);
    else if (status == TM_OK)
        print_text(&listing, options->num_paths > 1, number == 0);
    tm_inspection_close(&vector);
    tm_checkpoint_close(&checkpoint);
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
        if (w.failed && status == TM_OK && !ferror(stdout))
            status = tm_error(TM_SYSTEM, "cannot print JSON: no memory, or a "
                                         "path that is not UTF-8");
    }
    tm_disk_close(&disk);
    return status;
}

enum tm_status tm_command_inspect(int argc, char **argv)
{
    return tm_command_on_paths(argc, argv, TM_FOR_INSPECT, "inspect PATH...",
                               inspect_all);
}
