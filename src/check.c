/* SPDX-License-Identifier: Apache-2.0 */
/* check: see check.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/check.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct tm_damage {
    const char *file;
    const char *tensor; /* NULL: of the file as a whole */
    const char *cause;
    struct tm_damage *next;
};

void tm_check_init(struct tm_check *check, const char *path,
                   struct tm_disk *disk, const struct tm_settings *settings)
{
    *check =
        (struct tm_check){.path = path, .disk = disk, .settings = settings};
    check->damage_end = &check->damage;
}

void tm_check_start(struct tm_check *check, uint64_t bytes)
{
    check->read_before = check->disk->bytes_read;
    tm_progress_start(&check->progress, check->settings->progress, bytes, 0);
}

void tm_check_tick(struct tm_check *check)
{
    tm_progress_tick(&check->progress,
                     check->disk->bytes_read - check->read_before, 0,
                     TM_STAGE_READ);
}

static enum tm_status tick(void *context, uint64_t offset, const void *data,
                           size_t length)
{
    (void)offset;
    (void)data;
    (void)length;
    tm_check_tick(context);
    return TM_OK;
}

void tm_check_finish(struct tm_check *check)
{
    tm_progress_finish(&check->progress,
                       check->disk->bytes_read - check->read_before, 0);
}

enum tm_status tm_check_file(struct tm_check *check,
                             const struct tm_recorded_file *file,
                             struct tm_extent *extents, size_t count,
                             struct tm_digest *whole, bool *is_there)
{
    struct stat st;

    *is_there = false;
    if (stat(file->path, &st) != 0)
        return tm_check_note(check, file, NULL, "is missing");
    if (!S_ISREG(st.st_mode))
        return tm_check_note(check, file, NULL, "is no regular file");
    *is_there = true;
    check->bytes += (uint64_t)st.st_size;
    return tm_digests_of_file(check->disk, file->path, check->settings->direct,
                              extents, count, whole, tick, check);
}

enum tm_status tm_check_note(struct tm_check *check,
                             const struct tm_recorded_file *file,
                             const char *tensor, const char *cause)
{
    struct tm_arena *arena = &check->arena;
    struct tm_damage *damage = tm_arena_alloc(arena, sizeof(*damage));

    if (damage == NULL)
        return tm_no_memory();
    *damage = (struct tm_damage){
        .file = tm_arena_copy(arena, file->name, strlen(file->name)),
        .cause = tm_arena_copy(arena, cause, strlen(cause)),
    };
    if (tensor != NULL)
        damage->tensor = tm_arena_copy(arena, tensor, strlen(tensor));
    if (damage->file == NULL || damage->cause == NULL ||
        (tensor != NULL && damage->tensor == NULL))
        return tm_no_memory();
    *check->damage_end = damage;
    check->damage_end = &damage->next;
    if (tensor != NULL)
        tm_error(TM_BAD_DATA, "%s: tensor '%s': %s", file->path, tensor, cause);
    else
        tm_error(TM_BAD_DATA, "%s: %s", file->path, cause);
    return TM_OK;
}

bool tm_check_found_damage(const struct tm_check *check)
{
    return check->damage != NULL;
}

void tm_check_print(const struct tm_check *check, enum tm_status status)
{
    char bytes[TM_SIZE_TEXT];
    const double seconds = tm_clock() - check->progress.started;

    if (status != TM_OK)
        return; /* stderr has said it */
    printf("%s: OK%s%s: %zu files, %zu tensors, %s in %.2f s\n", check->path,
           check->so_far != NULL ? " " : "",
           check->so_far != NULL ? check->so_far : "", check->files,
           check->tensors, tm_size_text(check->bytes, bytes), seconds);
}

void tm_check_print_json(const struct tm_check *check, enum tm_status status,
                         struct tm_json_writer *w)
{
    tm_json_begin(w, NULL, '{');
    tm_json_string(w, "path", check->path);
    tm_json_boolean(w, "ok", status == TM_OK);
    if (check->so_far != NULL)
        tm_json_boolean(w, "unfinished", true);
    tm_json_integer(w, "files", check->files);
    tm_json_integer(w, "tensors", check->tensors);
    tm_json_integer(w, "bytes", check->bytes);
    tm_json_begin(w, "damage", '[');
    for (const struct tm_damage *d = check->damage; d != NULL; d = d->next) {
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "file", d->file);
        tm_json_string(w, "tensor", d->tensor);
        tm_json_string(w, "cause", d->cause);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
    tm_json_finish(w, '}');
}

void tm_check_free(struct tm_check *check)
{
    tm_arena_free(&check->arena);
    check->damage = NULL;
    check->damage_end = &check->damage;
}
