/* SPDX-License-Identifier: Apache-2.0 */
/* staging_publish: the end of a run, good or bad; see staging.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/staging_parts.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

static enum tm_status sync_fd(struct tm_staging *s, int fd, const char *path)
{
    const struct tm_call sync_it = {.kind = TM_CALL_SYNC, .fd = fd};

    return tm_disk_call(s->disk, &sync_it, TM_IO_ERROR, path, "sync");
}

/* Syncs the directory `fd` after all directories in it; closes it. */
static enum tm_status sync_tree(struct tm_staging *s, int fd)
{
    DIR *stream = fdopendir(fd);
    enum tm_status status = TM_OK;
    const struct dirent *entry;

    if (stream == NULL) {
        close(fd);
        return tm_error(TM_SYSTEM, "%s: cannot list: %s", s->path,
                        strerror(errno));
    }
    while (status == TM_OK && (entry = readdir(stream)) != NULL) {
        int below;

        if (tm_staging_is_dots(entry->d_name))
            continue;
        below = openat(fd, entry->d_name,
                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0)
            status = sync_tree(s, below);
        else if (errno != ENOTDIR && errno != ELOOP)
            status = tm_error(TM_SYSTEM, "%s: cannot open '%s': %s", s->path,
                              entry->d_name, strerror(errno));
    }
    if (status == TM_OK)
        status = sync_fd(s, fd, s->path);
    closedir(stream);
    return status;
}

static int rename_call(struct tm_staging *s, int from_fd, const char *from,
                       const char *to, int flags)
{
    return tm_staging_call(s, &(struct tm_call){
                                  .kind = TM_CALL_RENAME,
                                  .dirfd = from_fd,
                                  .path = from,
                                  .to_dirfd = s->parent_fd,
                                  .to_path = to,
                                  .flags = flags,
                              });
}

/*
 * Gives `from` its final name, in the place of another one if it `replaces`;
 * *flags says how, for the way back.
 */
static enum tm_status appear(struct tm_staging *s, int from_fd,
                             const char *from, const char *to, bool replaces,
                             int *flags)
{
    int result;

    *flags = RENAME_NOREPLACE;
    result = rename_call(s, from_fd, from, to, *flags);
    if (result == -EEXIST && replaces) {
        *flags = s->single_file ? 0 : RENAME_EXCHANGE;
        result = rename_call(s, from_fd, from, to, *flags);
    } else if (result == -EINVAL || result == -ENOSYS) {
        *flags = 0; /* a file system without that flag */
        result = rename_call(s, from_fd, from, to, *flags);
    }
    if (result == 0)
        return TM_OK;
    return tm_error(TM_CANT_CREATE, "%s: cannot give it its name: %s", s->out,
                    strerror(-result));
}

/* Makes it durable that something has come from there to the parent. */
static enum tm_status sync_moved(struct tm_staging *s, int from_fd)
{
    enum tm_status status = sync_fd(s, s->parent_fd, s->parent);

    return status == TM_OK ? sync_fd(s, from_fd, s->path) : status;
}

static enum tm_status publish_directory(struct tm_staging *s)
{
    int flags;
    enum tm_status status =
        appear(s, s->own_fd, TM_STAGING_OUTPUT, s->name, s->force, &flags);

    if (status != TM_OK)
        return status;
    status = sync_moved(s, s->own_fd);
    if (status == TM_OK)
        return TM_OK;
    /* Not known to be durable: take it back. */
    if (flags == RENAME_EXCHANGE)
        rename_call(s, s->own_fd, TM_STAGING_OUTPUT, s->name, flags);
    else
        tm_staging_call(s, &(struct tm_call){
                               .kind = TM_CALL_RENAME,
                               .dirfd = s->parent_fd,
                               .path = s->name,
                               .to_dirfd = s->own_fd,
                               .to_path = TM_STAGING_OUTPUT,
                           });
    return status;
}

/* The name of OUT or of one of its companions. */
static void companion_name(const struct tm_staging *s, size_t number,
                           char name[NAME_MAX + 16])
{
    snprintf(name, NAME_MAX + 16, "%s%s", s->name,
             number < s->num_companions ? tm_staging_companions[number] : "");
}

/* The companions first, for good: OUT itself is what counts. */
static enum tm_status publish_file(struct tm_staging *s)
{
    enum tm_status status = TM_OK;
    char name[NAME_MAX + 16];
    size_t done;

    for (done = 0; done <= s->num_companions; done++) {
        const bool is_out = done == s->num_companions;
        int flags;

        if (is_out && done > 0)
            status = sync_moved(s, s->fd);
        companion_name(s, done, name);
        if (status == TM_OK)
            status = appear(s, s->fd, name, name,
                            s->force || (s->has_companions && !is_out), &flags);
        if (status != TM_OK)
            break;
    }
    if (status == TM_OK)
        status = sync_moved(s, s->fd);
    while (status != TM_OK && done-- > 0) {
        companion_name(s, done, name);
        tm_staging_remove_entry(s, s->parent_fd, name);
    }
    return status;
}

/* Closes what tm_staging_create opened: nothing is left to abort. */
static void close_all(struct tm_staging *s)
{
    /* What counts in it is synced: that it cannot be closed is no error. */
    s->journal.file.is_output = false;
    tm_journal_close(&s->journal, s->disk);
    if (s->fd >= 0)
        close(s->fd);
    if (s->own_fd >= 0)
        close(s->own_fd);
    s->fd = s->own_fd = -1;
}

/* The journal first: it speaks of the rest, and is all that is left of most. */
static void remove_all(struct tm_staging *s)
{
    tm_staging_remove_entry(s, s->own_fd, TM_STAGING_JOURNAL);
    tm_staging_remove_entry(s, s->parent_fd, s->own_name);
    close_all(s);
}

/*
 * Removes what is left once OUT is there, an old one too. The journal last: as
 * long as it is there, a run that ends here has only the tidying left.
 */
static void remove_published(struct tm_staging *s)
{
    tm_staging_remove_entry(s, s->own_fd, TM_STAGING_OUTPUT);
    if (!s->keeps_journal)
        remove_all(s);
}

/* Syncs the directories of the output. */
static enum tm_status sync_output(struct tm_staging *s)
{
    const int copy = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (copy < 0)
        return tm_error(TM_SYSTEM, "%s: cannot open: %s", s->output,
                        strerror(errno));
    return sync_tree(s, copy);
}

enum tm_status tm_staging_settle(struct tm_staging *staging)
{
    struct tm_staging *s = staging;
    enum tm_status status = sync_output(s);

    if (status == TM_OK)
        status = sync_fd(s, s->own_fd, s->path);
    if (status == TM_OK)
        status = sync_fd(s, s->parent_fd, s->parent);
    return status;
}

enum tm_status tm_staging_publish(struct tm_staging *staging)
{
    struct tm_staging *s = staging;
    enum tm_status status = tm_staging_settle(s);

    if (status != TM_OK)
        return status;
    status = s->single_file ? publish_file(s) : publish_directory(s);
    if (status != TM_OK)
        return status;
    remove_published(s);
    close_all(s);
    return TM_OK;
}

void tm_staging_abort(struct tm_staging *staging, bool keeps)
{
    struct tm_staging *s = staging;

    if (s->own_fd < 0)
        return;
    if (!s->is_kept && (s->num_marks == 0 || !keeps)) {
        remove_all(s);
        return;
    }
    close_all(s);
}

enum tm_status tm_staging_tidy(struct tm_staging *staging)
{
    struct tm_staging *s = staging;
    enum tm_status status = tm_staging_open_parent(s);

    if (status != TM_OK)
        return status;
    s->own_fd =
        tm_staging_open_directory(s, s->parent_fd, s->own_name, O_NOFOLLOW);
    if (s->own_fd < 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot open: %s", s->path,
                        strerror(-s->own_fd));
    status = sync_moved(s, s->own_fd);
    if (status == TM_OK)
        remove_published(s);
    return status;
}

void tm_staging_free(struct tm_staging *staging)
{
    if (staging->out == NULL)
        return;
    close_all(staging);
    if (staging->parent_fd >= 0)
        close(staging->parent_fd);
    tm_arena_free(&staging->arena);
    *staging = (struct tm_staging){0};
}
