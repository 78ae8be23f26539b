/* SPDX-License-Identifier: Apache-2.0 */
/* staging: see staging.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/checked.h"
#include "io/path.h"
#include "src/progress.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

/* Manifest, checksums and index, over-estimated: per tensor and input. */
#define LISTED_BYTES 256

/* --- before anything is written ------------------------------------------*/

static enum tm_status name_parts(struct tm_staging *s, const char *out)
{
    size_t length = strlen(out), size;
    char *path, *own;
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
    size = strlen(s->name) + sizeof("..taumerge");
    own = tm_arena_alloc(&s->arena, size);
    if (s->parent == NULL || own == NULL)
        return tm_no_memory();
    snprintf(own, size, ".%s.taumerge", s->name);
    s->own_name = own;
    s->path = tm_path_join(&s->arena, slash != NULL ? s->parent : "", own);
    return s->path != NULL ? TM_OK : tm_no_memory();
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

static enum tm_status check_existing(const struct tm_staging *s,
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
    if (!s->force)
        return tm_error(TM_CANT_CREATE, "%s: exists (--force replaces it)",
                        s->out);
    if (S_ISDIR(st.st_mode) == s->single_file)
        return tm_error(TM_CANT_CREATE, "%s: is %s, the output would be %s",
                        s->out, s->single_file ? "a directory" : "a file",
                        s->single_file ? "a file" : "a directory");
    return TM_OK;
}

/* What is published beside an OUT that is one file. */
static const char *const companions[] = {".json", ".xxh128"};

#define NUM_COMPANIONS (sizeof(companions) / sizeof(companions[0]))

static enum tm_status check_companions(struct tm_staging *s)
{
    for (size_t i = 0; i < s->num_companions; i++) {
        const size_t size = strlen(s->out) + strlen(companions[i]) + 1;
        char *path = tm_arena_alloc(&s->arena, size);

        if (path == NULL)
            return tm_no_memory();
        snprintf(path, size, "%s%s", s->out, companions[i]);
        if (access(path, F_OK) == 0)
            return tm_error(TM_CANT_CREATE, "%s: exists (--force replaces it)",
                            path);
    }
    return TM_OK;
}

static enum tm_status check_space(const struct tm_staging *s,
                                  const struct tm_plan *plan)
{
    struct statvfs fs;
    uint64_t need, room;
    char missing[TM_SIZE_TEXT], wanted[TM_SIZE_TEXT];

    if (statvfs(s->parent, &fs) != 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot look at it: %s", s->parent,
                        strerror(errno));
    if (!tm_add(plan->bytes_written, plan->bytes_beside, &need) ||
        !tm_add(need,
                (uint64_t)plan->num_tensors * (plan->width + 1) * LISTED_BYTES,
                &need))
        need = UINT64_MAX;
    room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (fs.f_blocks == 0 || need <= room)
        return TM_OK; /* some file systems do not know their size */
    return tm_error(TM_CANT_CREATE,
                    "%s: no space: the output takes %s, %s more than is free",
                    s->parent, tm_size_text(need, wanted),
                    tm_size_text(need - room, missing));
}

enum tm_status tm_staging_check(struct tm_staging *staging,
                                struct tm_disk *disk,
                                const struct tm_plan *plan, const char *out,
                                bool force)
{
    struct stat st;
    enum tm_status status, space;

    *staging = (struct tm_staging){
        .disk = disk,
        .single_file = plan->single_file,
        .num_companions = plan->has_manifest ? NUM_COMPANIONS : 0,
        .force = force,
        .parent_fd = -1,
        .fd = -1,
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
    if (status == TM_OK && plan->single_file && !force)
        status = check_companions(staging);
    space = check_space(staging, plan);
    return status != TM_OK ? status : space;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* --- removing ------------------------------------------------------------*/

static int call(struct tm_staging *s, const struct tm_call *what)
{
    return s->disk->engine->ops->call(s->disk->engine, what);
}

static void remove_below(struct tm_staging *s, int dirfd);

/* Removes `name`, a file or a tree, from the directory `dirfd`. */
static void remove_entry(struct tm_staging *s, int dirfd, const char *name)
{
    struct tm_call unlink_it = {
        .kind = TM_CALL_UNLINK, .dirfd = dirfd, .path = name};
    int result = call(s, &unlink_it);

    if (result == -EISDIR || result == -EPERM) {
        const int fd = openat(dirfd, name,
                              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd >= 0)
            remove_below(s, fd);
        unlink_it.flags = AT_REMOVEDIR;
        result = call(s, &unlink_it);
    }
    if (result < 0 && result != -ENOENT)
        tm_warning("%s: cannot remove '%s': %s", s->path, name,
                   strerror(-result));
}

/* Removes everything in `dirfd`, and closes it. */
static void remove_below(struct tm_staging *s, int dirfd)
{
    DIR *stream = fdopendir(dirfd);
    const struct dirent *entry;

    if (stream == NULL) {
        close(dirfd);
        return;
    }
    while ((entry = readdir(stream)) != NULL)
        if (!is_dots(entry->d_name))
            remove_entry(s, dirfd, entry->d_name);
    closedir(stream);
}

/* --- making --------------------------------------------------------------*/

static int open_directory(struct tm_staging *s, int dirfd, const char *path,
                          int flags)
{
    return call(s, &(struct tm_call){
                       .kind = TM_CALL_OPEN,
                       .dirfd = dirfd,
                       .path = path,
                       .flags = O_RDONLY | O_DIRECTORY | flags,
                   });
}

/* Locks the staging directory and removes what a crashed run left in it. */
static enum tm_status take_over(struct tm_staging *s, bool is_new)
{
    int copy;

    /* A file system without locks is used without. */
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(s->fd);
        s->fd = -1; /* another run's: not ours to remove */
        return tm_error(TM_CANT_CREATE, "%s: another run is making it", s->out);
    }
    if (is_new)
        return TM_OK;
    tm_note("%s: removing what an interrupted run left", s->path);
    copy = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy >= 0)
        remove_below(s, copy);
    return TM_OK;
}

enum tm_status tm_staging_create(struct tm_staging *staging)
{
    struct tm_staging *s = staging;
    int made;

    s->parent_fd = open_directory(s, AT_FDCWD, s->parent, 0);
    if (s->parent_fd < 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot open: %s", s->parent,
                        strerror(-s->parent_fd));
    made = call(s, &(struct tm_call){
                       .kind = TM_CALL_MKDIR,
                       .dirfd = s->parent_fd,
                       .path = s->own_name,
                       .mode = 0777,
                   });
    if (made < 0 && made != -EEXIST)
        return tm_error(TM_CANT_CREATE, "%s: cannot create: %s", s->path,
                        strerror(-made));
    s->fd = open_directory(s, s->parent_fd, s->own_name, O_NOFOLLOW);
    if (s->fd < 0) {
        const int error = -s->fd;

        if (made == 0)
            remove_entry(s, s->parent_fd, s->own_name);
        return tm_error(TM_CANT_CREATE, "%s: cannot open: %s", s->path,
                        strerror(error));
    }
    return take_over(s, made == 0);
}

enum tm_status tm_staging_make_parents(struct tm_staging *staging,
                                       const char *name)
{
    for (const char *slash = strchr(name, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        const char *directory =
            tm_arena_copy(&staging->arena, name, (size_t)(slash - name));
        int result;

        if (directory == NULL)
            return tm_no_memory();
        result = call(staging, &(struct tm_call){
                                   .kind = TM_CALL_MKDIR,
                                   .dirfd = staging->fd,
                                   .path = directory,
                                   .mode = 0777,
                               });
        if (result < 0 && result != -EEXIST)
            return tm_error(TM_CANT_CREATE, "%s/%s: cannot create: %s",
                            staging->path, directory, strerror(-result));
    }
    return TM_OK;
}

const char *tm_staging_path(struct tm_staging *staging, const char *name)
{
    return tm_path_join(&staging->arena, staging->path, name);
}

/* --- publishing ----------------------------------------------------------*/

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

        if (is_dots(entry->d_name))
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
    return call(s, &(struct tm_call){
                       .kind = TM_CALL_RENAME,
                       .dirfd = from_fd,
                       .path = from,
                       .to_dirfd = s->parent_fd,
                       .to_path = to,
                       .flags = flags,
                   });
}

/* Gives `from` its final name; *flags says how, for the way back. */
static enum tm_status appear(struct tm_staging *s, int from_fd,
                             const char *from, const char *to, int *flags)
{
    int result;

    *flags = RENAME_NOREPLACE;
    result = rename_call(s, from_fd, from, to, *flags);
    if (result == -EEXIST && s->force) {
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

static enum tm_status publish_directory(struct tm_staging *s)
{
    int flags;
    enum tm_status status =
        appear(s, s->parent_fd, s->own_name, s->name, &flags);

    if (status != TM_OK)
        return status;
    status = sync_fd(s, s->parent_fd, s->parent);
    if (status != TM_OK) {
        /* Not known to be durable: take it back. */
        if (flags == RENAME_EXCHANGE)
            rename_call(s, s->parent_fd, s->own_name, s->name, flags);
        else
            rename_call(s, s->parent_fd, s->name, s->own_name, 0);
        return status;
    }
    if (flags == RENAME_EXCHANGE)
        remove_entry(s, s->parent_fd, s->own_name);
    return TM_OK;
}

/* The name of OUT or of one of its companions. */
static void companion_name(const struct tm_staging *s, size_t number,
                           char name[NAME_MAX + 16])
{
    snprintf(name, NAME_MAX + 16, "%s%s", s->name,
             number < s->num_companions ? companions[number] : "");
}

/* The companions first: OUT itself is what counts. */
static enum tm_status publish_file(struct tm_staging *s)
{
    enum tm_status status = TM_OK;
    char name[NAME_MAX + 16];
    size_t done;

    for (done = 0; done <= s->num_companions; done++) {
        int flags;

        companion_name(s, done, name);
        status = appear(s, s->fd, name, name, &flags);
        if (status != TM_OK)
            break;
    }
    if (status == TM_OK)
        status = sync_fd(s, s->parent_fd, s->parent);
    while (status != TM_OK && done-- > 0) {
        companion_name(s, done, name);
        remove_entry(s, s->parent_fd, name);
    }
    if (status == TM_OK)
        remove_entry(s, s->parent_fd, s->own_name);
    return status;
}

enum tm_status tm_staging_publish(struct tm_staging *staging)
{
    struct tm_staging *s = staging;
    const int copy = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum tm_status status;

    if (copy < 0)
        return tm_error(TM_SYSTEM, "%s: cannot open: %s", s->path,
                        strerror(errno));
    status = sync_tree(s, copy);
    if (status != TM_OK)
        return status;
    status = s->single_file ? publish_file(s) : publish_directory(s);
    if (status == TM_OK) {
        close(s->fd);
        s->fd = -1; /* nothing is left to abort */
    }
    return status;
}

void tm_staging_abort(struct tm_staging *staging)
{
    if (staging->fd < 0)
        return;
    remove_entry(staging, staging->parent_fd, staging->own_name);
    close(staging->fd);
    staging->fd = -1;
}

void tm_staging_remove(struct tm_disk *disk, const char *path)
{
    struct tm_staging staging = {.disk = disk, .path = path};

    remove_entry(&staging, AT_FDCWD, path);
}

void tm_staging_free(struct tm_staging *staging)
{
    if (staging->out == NULL)
        return;
    if (staging->fd >= 0)
        close(staging->fd);
    if (staging->parent_fd >= 0)
        close(staging->parent_fd);
    tm_arena_free(&staging->arena);
    *staging = (struct tm_staging){0};
}
