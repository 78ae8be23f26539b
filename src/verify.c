/* SPDX-License-Identifier: Apache-2.0 */
/* verify: re-reads an output or a vector and names what has changed. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/json.h"
#include "io/vector.h"
#include "src/check.h"
#include "src/commands.h"
#include "src/kept.h"
#include "src/options.h"
#include "src/record.h"
#include "src/verify_base.h"
#include "src/verify_kept.h"
#include "src/verify_vector.h"

static bool same(const struct tm_digest *a, const struct tm_digest *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* Names the tensors of a damaged file that are damaged. */
static enum tm_status name_tensors(struct tm_check *check,
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
        status = tm_check_note(check, file, tensors[i].name,
                               extents[i].is_complete
                                   ? "has changed since it was written"
                                   : "the file ends before it does");
        named++;
    }
    if (named == 0 && status == TM_OK)
        status = tm_check_note(check, file, NULL,
                               count > 0 ? "has changed outside its tensors"
                                         : "has changed since it was written");
    return status;
}

static enum tm_status check_file(struct tm_check *check,
                                 const struct tm_recorded_file *file,
                                 const struct tm_recorded_tensor *tensors,
                                 size_t count)
{
    struct tm_extent *extents = calloc(count + 1, sizeof(*extents));
    struct tm_digest whole;
    enum tm_status status;
    bool is_there;

    if (extents == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < count; i++)
        extents[i] = (struct tm_extent){.offset = tensors[i].offset,
                                        .bytes = tensors[i].bytes};
    status = tm_check_file(check, file, extents, count, &whole, &is_there);
    if (status == TM_OK && is_there && !same(&whole, &file->digest))
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

static enum tm_status check_files(struct tm_check *check,
                                  const struct tm_record *record)
{
    enum tm_status status = TM_OK;

    tm_check_start(check, total_bytes(record));
    for (size_t i = 0; i < record->num_files && status == TM_OK; i++) {
        size_t first;
        const size_t count = tensors_of(record, record->files[i].name, &first);

        status = check_file(check, &record->files[i], record->tensors + first,
                            count);
    }
    tm_check_finish(check);
    return status;
}

static enum tm_status check_output(struct tm_check *check)
{
    struct tm_record record;
    enum tm_status status = tm_record_read(check->disk, check->path, &record);

    check->files = record.num_files;
    check->tensors = record.num_tensors;
    if (status == TM_OK)
        status = check_files(check, &record);
    tm_record_free(&record);
    return status;
}

enum tm_status tm_verify_output(struct tm_disk *disk,
                                const struct tm_settings *settings,
                                const char *path)
{
    struct tm_check check;
    enum tm_status status;

    tm_check_init(&check, path, disk, settings);
    status = check_output(&check);
    if (status == TM_OK && tm_check_found_damage(&check))
        status = TM_BAD_DATA;
    tm_check_free(&check);
    return status;
}

/* By itself, then against the base if one is given. */
static enum tm_status check_path(struct tm_check *check,
                                 const struct tm_options *options)
{
    const bool is_vector = tm_vector_is(check->path);
    enum tm_status status;

    if (options->recipe.base != NULL && !is_vector)
        return tm_error(TM_USAGE,
                        "%s: is not a stored vector: --base is for "
                        "those",
                        check->path);
    if (is_vector)
        status = tm_verify_vector(check);
    else if (tm_kept_is(check->path))
        status = tm_verify_kept(check);
    else
        status = check_output(check);
    if (status == TM_OK && tm_check_found_damage(check))
        return TM_BAD_DATA;
    if (status == TM_OK && options->recipe.base != NULL)
        status = tm_verify_base(options, check->path);
    return status;
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
        struct tm_check check;
        enum tm_status own;

        tm_check_init(&check, options->paths[i], &disk, &options->settings);
        own = check_path(&check, options);
        if (options->settings.json)
            tm_check_print_json(&check, own, &w);
        else
            tm_check_print(&check, own);
        if (own != TM_OK)
            status = own;
        tm_check_free(&check);
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

enum tm_status tm_command_verify(int argc, char **argv)
{
    return tm_command_on_paths(argc, argv, TM_FOR_VERIFY, "verify PATH...",
                               verify_all);
}
