/* SPDX-License-Identifier: Apache-2.0 */
/* verify: re-reads an output and names what has changed. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/json.h"
#include "src/commands.h"
#include "src/digests.h"
#include "src/options.h"
#include "src/progress.h"
#include "src/record.h"

struct damage {
    const char *file;
    const char *tensor; /* NULL: of the file as a whole */
    const char *cause;
    struct damage *next;
};

/* The verification of one output. */
struct check {
    const char *path;
    struct tm_disk *disk;
    const struct tm_settings *settings;
    struct tm_record record;
    struct damage *damage, **damage_end;
    uint64_t bytes;
    uint64_t read_before;
    struct tm_progress progress;
};

static enum tm_status note_damage(struct check *check,
                                  const struct tm_recorded_file *file,
                                  const char *tensor, const char *cause)
{
    struct damage *damage =
        tm_arena_alloc(&check->record.arena, sizeof(*damage));

    if (damage == NULL)
        return tm_no_memory();
    *damage = (struct damage){file->name, tensor, cause, NULL};
    *check->damage_end = damage;
    check->damage_end = &damage->next;
    if (tensor != NULL)
        tm_error(TM_BAD_DATA, "%s: tensor '%s': %s", file->path, tensor, cause);
    else
        tm_error(TM_BAD_DATA, "%s: %s", file->path, cause);
    return TM_OK;
}

static void tick(void *context, const struct tm_disk *disk)
{
    struct check *check = context;

    tm_progress_tick(&check->progress, disk->bytes_read - check->read_before, 0,
                     TM_STAGE_READ);
}

static bool same(const struct tm_digest *a, const struct tm_digest *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* Names the tensors of a damaged file that are damaged. */
static enum tm_status name_tensors(struct check *check,
                                   const struct tm_recorded_file *file,
                                   const struct tm_recorded_tensor *tensors,
                                   const struct tm_extent *extents,
                                   size_t count)
{
    enum tm_status status = TM_OK;
    size_t named = 0;

    for (size_t i = 0; i < count && status == TM_OK; i++) {
        if (extents[i].is_complete &&
            same(&extents[i].digest, &tensors[i].digest))
            continue;
        status = note_damage(check, file, tensors[i].name,
                             extents[i].is_complete
                                 ? "has changed since it was written"
                                 : "the file ends before it does");
        named++;
    }
    if (named == 0 && status == TM_OK)
        status = note_damage(check, file, NULL,
                             count > 0 ? "has changed outside its tensors"
                                       : "has changed since it was written");
    return status;
}

static enum tm_status check_file(struct check *check,
                                 const struct tm_recorded_file *file,
                                 const struct tm_recorded_tensor *tensors,
                                 size_t count)
{
    struct tm_extent *extents = calloc(count + 1, sizeof(*extents));
    struct tm_digest whole;
    struct stat st;
    enum tm_status status;

    if (extents == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < count; i++)
        extents[i] = (struct tm_extent){.offset = tensors[i].offset,
                                        .bytes = tensors[i].bytes};
    if (stat(file->path, &st) != 0) {
        free(extents);
        return note_damage(check, file, NULL, "is missing");
    }
    if (!S_ISREG(st.st_mode)) {
        free(extents);
        return note_damage(check, file, NULL, "is no regular file");
    }
    check->bytes += (uint64_t)st.st_size;
    status =
        tm_digests_of_file(check->disk, file->path, check->settings->direct,
                           extents, count, &whole, tick, check);
    if (status == TM_OK && !same(&whole, &file->digest))
        status = name_tensors(check, file, tensors, extents, count);
    free(extents);
    return status;
}

/* The recorded tensors of `file`; they are sorted by file. */
static size_t tensors_of(const struct tm_record *record, const char *file,
                         size_t *first)
{
    size_t low = 0, high = record->num_tensors;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (strcmp(record->tensors[middle].file, file) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *first = low;
    while (high < record->num_tensors &&
           strcmp(record->tensors[high].file, file) == 0)
        high++;
    return high - low;
}

static uint64_t total_bytes(const struct tm_record *record)
{
    uint64_t total = 0;

    for (size_t i = 0; i < record->num_files; i++) {
        struct stat st;

        if (stat(record->files[i].path, &st) == 0)
            total += (uint64_t)st.st_size;
    }
    return total;
}

static enum tm_status check_output(struct check *check)
{
    enum tm_status status =
        tm_record_read(check->disk, check->path, &check->record);
    const struct tm_record *record = &check->record;

    if (status != TM_OK)
        return status;
    check->read_before = check->disk->bytes_read;
    tm_progress_start(&check->progress, check->settings->progress,
                      total_bytes(record), 0);
    for (size_t i = 0; i < record->num_files && status == TM_OK; i++) {
        size_t first;
        const size_t count = tensors_of(record, record->files[i].name, &first);

        status = check_file(check, &record->files[i], record->tensors + first,
                            count);
    }
    tm_progress_finish(&check->progress,
                       check->disk->bytes_read - check->read_before, 0);
    if (status == TM_OK && check->damage != NULL)
        return TM_BAD_DATA;
    return status;
}

static void print_text(const struct check *check, enum tm_status status)
{
    char bytes[TM_SIZE_TEXT];
    const double seconds = tm_clock() - check->progress.started;

    if (status != TM_OK)
        return; /* stderr has said it */
    printf("%s: OK: %zu files, %zu tensors, %s in %.2f s\n", check->path,
           check->record.num_files, check->record.num_tensors,
           tm_size_text(check->bytes, bytes), seconds);
}

static void print_json(const struct check *check, enum tm_status status,
                       struct tm_json_writer *w)
{
    tm_json_begin(w, NULL, '{');
    tm_json_string(w, "path", check->path);
    tm_json_boolean(w, "ok", status == TM_OK);
    tm_json_integer(w, "files", check->record.num_files);
    tm_json_integer(w, "tensors", check->record.num_tensors);
    tm_json_integer(w, "bytes", check->bytes);
    tm_json_begin(w, "damage", '[');
    for (const struct damage *d = check->damage; d != NULL; d = d->next) {
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "file", d->file);
        tm_json_string(w, "tensor", d->tensor);
        tm_json_string(w, "cause", d->cause);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
    tm_json_finish(w, '}');
}

static enum tm_status verify_all(const struct tm_options *options)
{
    struct tm_json_writer w = {.sink = tm_json_to_file, .context = stdout};
    struct tm_disk disk;
    enum tm_status status =
        tm_disk_open(options->settings.io, options->settings.fault, &disk);

    if (status != TM_OK)
        return status;
    if (options->settings.json) {
        tm_json_begin(&w, NULL, '{');
        tm_json_begin(&w, "paths", '[');
    }
    for (size_t i = 0; i < options->num_paths; i++) {
        struct check check = {.path = options->paths[i],
                              .disk = &disk,
                              .settings = &options->settings};
        enum tm_status own;

        check.damage_end = &check.damage;
        own = check_output(&check);
        if (options->settings.json)
            print_json(&check, own, &w);
        else
            print_text(&check, own);
        if (own != TM_OK)
            status = own;
        tm_record_free(&check.record);
    }
    if (options->settings.json) {
        tm_json_finish(&w, ']');
        tm_json_finish(&w, '}');
    }
    tm_disk_close(&disk);
    return status;
}

enum tm_status tm_command_verify(int argc, char **argv)
{
    return tm_command_on_paths(argc, argv, TM_FOR_VERIFY, "verify PATH...",
                               verify_all);
}
