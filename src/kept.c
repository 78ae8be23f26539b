/* SPDX-License-Identifier: Apache-2.0 */
/* kept: see kept.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/checked.h"
#include "io/path.h"
#include "io/scan.h"
#include "src/signals.h"
#include "src/staging.h"

/* --- opening -------------------------------------------------------------*/

static bool take_files(struct tm_kept *kept)
{
    json_t *list = json_object_get(kept->head, "files");
    const size_t count = json_array_size(list);

    kept->files = calloc(count + 1, sizeof(*kept->files));
    if (kept->files == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(list, i));

        if (name == NULL || !tm_path_is_harmless(name))
            return false;
        kept->files[kept->num_files++] =
            (struct tm_kept_file){.name = name, .file = {.fd = -1}};
    }
    return true;
}

/* Takes the head apart; what is none leaves no head. */
static void take_head(struct tm_kept *kept,
                      const struct tm_journal_record *record)
{
    struct tm_json_text text = {
        .path = kept->journal.file.path,
        .text = (const char *)record->payload,
        .length = record->length,
    };
    json_t *bytes;

    if (record->kind != TM_JOURNAL_HEAD)
        return;
    kept->head = tm_json_value(&text);
    if (json_is_object(kept->head) && take_files(kept)) {
        bytes = json_object_get(kept->head, "bytes");
        kept->bytes_total = (uint64_t)json_integer_value(bytes);
        return;
    }
    json_decref(kept->head);
    kept->head = NULL;
}

enum tm_status tm_kept_open(struct tm_kept *kept, struct tm_disk *disk,
                            const char *path)
{
    struct tm_journal_record record;
    const char *journal;
    enum tm_status status;
    bool more;

    *kept = (struct tm_kept){
        .disk = disk, .path = path, .journal = {.file = {.fd = -1}}};
    kept->output = tm_path_join(&kept->arena, path, TM_STAGING_OUTPUT);
    journal = tm_path_join(&kept->arena, path, TM_STAGING_JOURNAL);
    if (kept->output == NULL || journal == NULL)
        return tm_no_memory();
    status = tm_journal_open(&kept->journal, disk, journal);
    if (status == TM_NO_INPUT)
        return TM_OK;
    if (status == TM_OK)
        status = tm_journal_next(&kept->journal, disk, &record, &more);
    if (status == TM_OK && more)
        take_head(kept, &record);
    return status;
}

void tm_kept_close(struct tm_kept *kept)
{
    if (kept->disk == NULL)
        return;
    for (size_t i = 0; i < kept->num_files; i++) {
        tm_file_close(kept->disk->engine, &kept->files[i].file);
        tm_hasher_free(&kept->files[i].hasher);
    }
    free(kept->files);
    json_decref(kept->head);
    tm_journal_close(&kept->journal, kept->disk);
    tm_arena_free(&kept->arena);
    *kept = (struct tm_kept){0};
}

/* --- marks ---------------------------------------------------------------*/

enum tm_status tm_kept_next(struct tm_kept *kept, struct tm_unpack *body,
                            uint64_t *num_files, bool *more)
{
    struct tm_journal_record record;
    enum tm_status status;

    *more = false;
    if (kept->head == NULL)
        return TM_OK;
    status = tm_journal_next(&kept->journal, kept->disk, &record, more);
    if (status != TM_OK || !*more)
        return status;
    *body =
        (struct tm_unpack){.at = record.payload, .left = (size_t)record.length};
    *more = record.kind == TM_JOURNAL_MARK &&
            tm_mark_get_place(body, &kept->place, num_files);
    if (*more)
        kept->num_marks++;
    return TM_OK;
}

enum tm_status tm_kept_survey(struct tm_kept *kept, struct tm_disk *disk,
                              const char *path)
{
    enum tm_status status = tm_kept_open(kept, disk, path);
    struct tm_unpack body;
    uint64_t num_files;
    bool more = true;

    while (status == TM_OK && more)
        status = tm_kept_next(kept, &body, &num_files, &more);
    return status;
}

unsigned tm_kept_percent(const struct tm_kept *kept)
{
    const uint64_t done = kept->num_marks > 0 ? kept->place.bytes_done : 0;

    if (kept->bytes_total == 0 || done >= kept->bytes_total)
        return 99;
    return (unsigned)((double)done / (double)kept->bytes_total * 100);
}

const char *tm_kept_since(const struct tm_kept *kept, char text[TM_KEPT_TIME])
{
    const time_t begun =
        (time_t)json_integer_value(json_object_get(kept->head, "begun"));
    struct tm broken;

    if (localtime_r(&begun, &broken) == NULL ||
        strftime(text, TM_KEPT_TIME, "%Y-%m-%d %H:%M", &broken) == 0)
        snprintf(text, TM_KEPT_TIME, "at an unknown time");
    return text;
}

/* --- checking ------------------------------------------------------------*/

struct checking {
    struct tm_kept *kept;
    struct tm_kept_file *file;
    uint64_t at;   /* where the next bytes come from */
    uint64_t from; /* what is before does not count */
};

static enum tm_status visit(void *context, const void *data, size_t length)
{
    struct checking *c = context;
    const uint64_t skip = c->at < c->from ? c->from - c->at : 0;
    const enum tm_status interrupted = tm_signals_check();

    if (interrupted != TM_OK)
        return interrupted;
    if (skip < length)
        tm_hasher_add(&c->file->hasher, (const char *)data + skip,
                      length - skip);
    c->at += length;
    c->kept->bytes_checked += length;
    if (c->kept->tick != NULL)
        c->kept->tick(c->kept->context, c->kept->bytes_checked);
    return TM_OK;
}

/* Opens the file, unless it is open; false: it cannot be what it should. */
static bool open_file(struct tm_kept *kept, struct tm_kept_file *file,
                      enum tm_status *status)
{
    const char *path;
    struct stat st;

    if (file->file.fd >= 0)
        return true;
    path = tm_path_join(&kept->arena, kept->output, file->name);
    if (path == NULL ||
        (file->hasher.state == NULL && !tm_hasher_init(&file->hasher))) {
        *status = tm_no_memory();
        return false;
    }
    /* A link would lead to what is not ours alone. */
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
           tm_file_open(kept->disk->engine, path, TM_DIRECT_AUTO, &file->file,
                        NULL) == TM_OK;
}

/* Adds to the file's digest what has come to it since the mark before. */
static enum tm_status read_on(struct tm_kept *kept, struct tm_kept_file *file,
                              const struct tm_mark_file *now)
{
    const uint64_t end = now->to - now->tail_length;
    const uint64_t start =
        file->position > now->from ? file->position : now->from;
    struct checking checking = {.kept = kept, .file = file, .from = start};
    enum tm_status status;

    if (end <= start)
        return TM_OK;
    checking.at = tm_round_down(start, TM_BLOCK);
    status = tm_scan_range(kept->disk, &file->file, checking.at, end, visit,
                           &checking);
    file->position = end;
    return status;
}

/* Whether the file has, with the tail, the digest that it should. */
static bool has_digest(const struct tm_kept_file *file,
                       const struct tm_mark_file *now, enum tm_status *status)
{
    struct tm_hasher hasher;
    struct tm_digest digest;

    if (!tm_hasher_init(&hasher)) {
        *status = tm_no_memory();
        return false;
    }
    tm_hasher_copy(&hasher, &file->hasher);
    tm_hasher_add(&hasher, now->tail, now->tail_length);
    digest = tm_hasher_digest(&hasher);
    tm_hasher_free(&hasher);
    return memcmp(&digest, &now->digest, sizeof(digest)) == 0;
}

/* Files only grow from mark to mark, by whole blocks, and are there. */
static bool fits(const struct tm_kept_file *file,
                 const struct tm_mark_file *now)
{
    const uint64_t end = now->to - now->tail_length;

    return end >= file->position &&
           (end <= file->file.size || end <= now->from);
}

static enum tm_status check_file(struct tm_kept *kept,
                                 const struct tm_mark_file *now, bool *good)
{
    struct tm_kept_file *file = &kept->files[now->number];
    enum tm_status status = TM_OK;

    kept->bad = file;
    kept->why_bad = "is missing, or shorter than the journal says";
    *good = open_file(kept, file, &status) && fits(file, now);
    if (*good)
        status = read_on(kept, file, now);
    if (status == TM_IO_ERROR) {
        status = TM_OK; /* it was reported; what was before is good */
        kept->disk->failed = false;
        kept->why_bad = "cannot be read as far as the journal says";
        *good = false;
    }
    if (status == TM_OK && *good) {
        kept->why_bad = "is not what was written, says the journal";
        *good = has_digest(file, now, &status);
    }
    if (*good && now->tail_length == 0 && now->to == file->file.size)
        status = tm_file_close(kept->disk->engine, &file->file);
    return status;
}

enum tm_status tm_kept_check(struct tm_kept *kept, struct tm_unpack *body,
                             uint64_t num_files, bool *good)
{
    enum tm_status status = TM_OK;

    *good = true;
    kept->bad = NULL;
    for (uint64_t i = 0; i < num_files && *good && status == TM_OK; i++) {
        struct tm_mark_file file;

        *good = tm_mark_get_file(body, &file) && file.number < kept->num_files;
        if (*good)
            status = check_file(kept, &file, good);
    }
    return status;
}

bool tm_kept_is(const char *path)
{
    struct tm_arena arena = {0};
    const char *journal = tm_path_join(&arena, path, TM_STAGING_JOURNAL);
    struct stat st;
    const bool is = journal != NULL && stat(journal, &st) == 0 &&
                    S_ISREG(st.st_mode) && tm_path_ends_with(path, ".taumerge");

    tm_arena_free(&arena);
    return is;
}

/* --- what was left to do -------------------------------------------------*/

static bool is_earlier(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec < b->tv_sec ||
           (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/*
 * Whether OUT is the file that is missing in the output: it was given its name
 * after the journal was last written, and has the size.
 */
static bool is_moved_file(struct tm_kept *kept,
                          const struct tm_staging *staging,
                          const struct stat *out)
{
    const char *file =
        tm_path_join(&kept->arena, staging->output, staging->name);
    struct stat journal;

    return file != NULL && access(file, F_OK) != 0 && S_ISREG(out->st_mode) &&
           (uint64_t)out->st_size == kept->bytes_total &&
           stat(staging->journal_path, &journal) == 0 &&
           !is_earlier(&out->st_ctim, &journal.st_mtim);
}

bool tm_kept_is_published(struct tm_disk *disk,
                          const struct tm_staging *staging,
                          const struct stat *out)
{
    struct tm_kept kept;
    bool is = tm_kept_survey(&kept, disk, staging->path) == TM_OK &&
              kept.head != NULL;

    if (is && staging->single_file)
        is = is_moved_file(&kept, staging, out);
    else if (is)
        is = (uint64_t)json_integer_value(json_object_get(
                 kept.head, "directory")) == (uint64_t)out->st_ino;
    tm_kept_close(&kept);
    return is;
}
