/* SPDX-License-Identifier: Apache-2.0 */
/* staging_check: before anything is written; see staging.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/checked.h"
#include "io/path.h"
#include "src/kept.h"
#include "src/progress.h"
#include "src/staging_parts.h"

/* Manifest, checksums and index, over-estimated: per tensor and input. */
#define LISTED_BYTES 256

const char *tm_staging_sibling(struct tm_arena *arena, const char *out)
{
    const char *name = tm_path_last(out);
    const size_t size = strlen(out) + sizeof("..taumerge");
    char *path = tm_arena_alloc(arena, size);

    if (path != NULL)
        snprintf(path, size, "%.*s.%s.taumerge", (int)(name - out), out, name);
    return path;
}

static enum tm_status name_parts(struct tm_staging *s, const char *out)
{
    size_t length = strlen(out);
    char *path;
    const char *slash;

    while (length > 1 && out[length - 1] == '/')
        length--;
    path = tm_arena_copy(&s->arena, out, length);
    if (path == NULL)
        return tm_no_memory();
    s->out = path;
    s->name = tm_path_last(path);
    if (s->name[0] == '\0' || strcmp(s->name, ".") == 0 ||
        strcmp(s->name, "..") == 0)
        return tm_error(TM_CANT_CREATE, "%s: not a name for an output",
                        length > 0 ? path : "''");
    s->parent = ".";
    slash = strrchr(path, '/');
    if (slash != NULL)
        s->parent = slash == path ? "/"
                                  : tm_arena_copy(&s->arena, path,
                                                  (size_t)(slash - path));
    s->path = tm_staging_sibling(&s->arena, path);
    if (s->parent == NULL || s->path == NULL)
        return tm_no_memory();
    s->own_name = tm_path_last(s->path);
    s->output = tm_path_join(&s->arena, s->path, TM_STAGING_OUTPUT);
    s->journal_path = tm_path_join(&s->arena, s->path, TM_STAGING_JOURNAL);
    return s->output != NULL && s->journal_path != NULL ? TM_OK
                                                        : tm_no_memory();
}

/* Whether `inner`, a real path, is `outer` or lies below it. */
static bool is_below(const char *inner, const char *outer)
{
    const size_t length = strlen(outer);

    return strncmp(inner, outer, length) == 0 &&
           (inner[length] == '\0' || inner[length] == '/' ||
            outer[length - 1] == '/');
}

/* Whether OUT, which exists as `st`, is an input or contains one. */
static enum tm_status check_inputs(const struct tm_staging *s,
                                   const struct tm_plan *plan,
                                   const struct stat *st)
{
    const struct tm_identity own = tm_identity_from(st);
    char *real_out = realpath(s->out, NULL);
    enum tm_status status = TM_OK;

    if (real_out == NULL)
        return tm_error(TM_CANT_CREATE, "%s: cannot resolve: %s", s->out,
                        strerror(errno));
    for (size_t i = 0; i < plan->num_files && status == TM_OK; i++) {
        char *real_input = realpath(plan->files[i].path, NULL);

        if (tm_identity_same_file(&own, &plan->files[i].identity) ||
            (real_input != NULL && is_below(real_input, real_out)))
            status = tm_error(TM_CANT_CREATE,
                              "%s: is an input (%s) and cannot be the output",
                              s->out, plan->files[i].path);
        free(real_input);
    }
    free(real_out);
    return status;
}

static enum tm_status check_existing(struct tm_staging *s,
                                     const struct tm_plan *plan)
{
    struct stat st;
    enum tm_status status;

    if (stat(s->out, &st) != 0) {
        struct stat link;

        if (errno == ENOENT && lstat(s->out, &link) != 0)
            return TM_OK;
        if (errno == ENOENT)
            return tm_error(TM_CANT_CREATE,
                            "%s: exists, as a link that leads nowhere", s->out);
        return tm_error(TM_CANT_CREATE, "%s: cannot look at it: %s", s->out,
                        strerror(errno));
    }
    status = check_inputs(s, plan, &st);
    if (status != TM_OK)
        return status;
    if (s->resumes && tm_kept_is_published(s->disk, s, &st)) {
        s->was_published = true;
        return TM_OK;
    }
    if (!s->force)
        return tm_error(TM_CANT_CREATE, "%s: exists (--force replaces it)",
                        s->out);
    if (S_ISDIR(st.st_mode) == s->single_file)
        return tm_error(TM_CANT_CREATE, "%s: is %s, the output would be %s",
                        s->out, s->single_file ? "a directory" : "a file",
                        s->single_file ? "a file" : "a directory");
    return TM_OK;
}

/*
 * Whether `path` is a companion, ending in `suffix`, that a kept run has
 * published before it could publish OUT: it is missing from what is kept, and
 * begins as ours do.
 */
static bool is_left(struct tm_staging *s, const char *path, const char *suffix)
{
    static const char manifest[] = "{\n  \"taumerge\": ";
    const size_t name = strlen(s->name);
    const char *kept = tm_path_join(&s->arena, s->output, tm_path_last(path));
    char text[32 + 2 + NAME_MAX + 1] = {0};
    FILE *file;

    if (!s->resumes || kept == NULL || access(kept, F_OK) == 0 ||
        !tm_kept_is(s->path))
        return false;
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    if (strcmp(suffix, ".json") == 0)
        return strncmp(text, manifest, sizeof(manifest) - 1) == 0;
    return strspn(text, "0123456789abcdef") == 32 &&
           strncmp(text + 32, "  ", 2) == 0 &&
           strncmp(text + 34, s->name, name) == 0 && text[34 + name] == '\n';
}

static enum tm_status check_companions(struct tm_staging *s)
{
    for (size_t i = 0; i < s->num_companions; i++) {
        const size_t size =
            strlen(s->out) + strlen(tm_staging_companions[i]) + 1;
        char *path = tm_arena_alloc(&s->arena, size);

        if (path == NULL)
            return tm_no_memory();
        snprintf(path, size, "%s%s", s->out, tm_staging_companions[i]);
        if (access(path, F_OK) != 0)
            continue;
        if (!is_left(s, path, tm_staging_companions[i]))
            return tm_error(TM_CANT_CREATE, "%s: exists (--force replaces it)",
                            path);
        s->has_companions = true;
    }
    return TM_OK;
}

/* Bytes of the files below the directory `dirfd`, which is closed: those that
   have a place on the disk. */
static uint64_t bytes_below(int dirfd)
{
    DIR *stream = dirfd >= 0 ? fdopendir(dirfd) : NULL;
    const struct dirent *entry;
    uint64_t bytes = 0;

    if (stream == NULL) {
        if (dirfd >= 0)
            close(dirfd);
        return 0;
    }
    while ((entry = readdir(stream)) != NULL) {
        const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        struct stat st;
        uint64_t own;

        if (tm_staging_is_dots(entry->d_name) ||
            fstatat(dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            own = bytes_below(openat(dirfd, entry->d_name, flags));
        else if (!tm_mul((uint64_t)st.st_blocks, 512, &own) ||
                 own > (uint64_t)st.st_size)
            own = (uint64_t)st.st_size;
        if (!tm_add(bytes, own, &bytes))
            break;
    }
    closedir(stream);
    return bytes;
}

/* What the output still needs, and what of it has its place already. */
static void measure(const struct tm_staging *s, const struct tm_plan *plan,
                    uint64_t *need, uint64_t *held)
{
    *held = bytes_below(
        open(s->output, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!tm_add(plan->bytes_written, plan->bytes_beside, need) ||
        !tm_add(*need,
                (uint64_t)plan->num_tensors * (plan->width + 1) * LISTED_BYTES,
                need))
        *need = UINT64_MAX;
    *need -= *held < *need ? *held : *need;
}

/* Bytes that are free; some file systems do not know their size. */
static bool get_room(const struct tm_staging *s, uint64_t *room)
{
    struct statvfs fs;

    return statvfs(s->parent, &fs) == 0 && fs.f_blocks > 0 &&
           tm_mul(fs.f_bavail, fs.f_frsize, room);
}

static enum tm_status check_space(const struct tm_staging *s,
                                  const struct tm_plan *plan)
{
    uint64_t need, held, room;
    char missing[TM_SIZE_TEXT], wanted[TM_SIZE_TEXT];

    measure(s, plan, &need, &held);
    if (!get_room(s, &room) || need <= room)
        return TM_OK;
    return tm_error(
        TM_CANT_CREATE, "%s: no space: the output %s %s, %s more than is free",
        s->parent, held > 0 ? "still takes" : "takes",
        tm_size_text(need, wanted), tm_size_text(need - room, missing));
}

void tm_staging_tell_space(const struct tm_staging *staging,
                           const struct tm_plan *plan)
{
    uint64_t need, held, room;
    char wanted[TM_SIZE_TEXT], left[TM_SIZE_TEXT];

    measure(staging, plan, &need, &held);
    if (!get_room(staging, &room) || (!staging->disk->is_full && need <= room))
        return;
    /* How small a vector gets turns out when it is compressed. */
    if (plan->num_outputs > 0)
        need = plan->bytes_beside + tm_plan_shard_bytes(plan) -
               staging->bytes_kept;
    tm_answer("%s: the output needs %s%s%s, %s is free", staging->parent,
              plan->num_outputs > 0 ? "up to " : "", tm_size_text(need, wanted),
              held > 0 || staging->bytes_kept > 0 ? " more" : "",
              tm_size_text(room, left));
}

enum tm_status tm_staging_check(struct tm_staging *staging,
                                struct tm_disk *disk,
                                const struct tm_plan *plan, const char *out,
                                const struct tm_settings *settings)
{
    struct stat st;
    enum tm_status status, space;

    *staging = (struct tm_staging){
        .disk = disk,
        .single_file = plan->single_file,
        .num_companions = plan->has_manifest ? TM_NUM_COMPANIONS : 0,
        .force = settings->force,
        .resumes = settings->resume,
        .restarts = settings->restart,
        .keeps_journal = settings->keeps_journal,
        .parent_fd = -1,
        .own_fd = -1,
        .fd = -1,
        .journal = {.file = {.fd = -1}},
    };
    status = name_parts(staging, out);
    if (status != TM_OK)
        return status;
    if (stat(staging->parent, &st) != 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot make the output there: %s",
                        staging->parent, strerror(errno));
    if (access(staging->parent, W_OK | X_OK) != 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot write into it: %s",
                        staging->parent, strerror(errno));
    status = check_existing(staging, plan);
    if (staging->was_published)
        return status;
    if (status == TM_OK && plan->single_file && !settings->force)
        status = check_companions(staging);
    space = check_space(staging, plan);
    return status != TM_OK ? status : space;
}
