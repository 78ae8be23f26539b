/* SPDX-License-Identifier: Apache-2.0 */
/* staging: see staging.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/path.h"
#include "src/kept.h"
#include "src/staging_parts.h"

int tm_staging_open_directory(struct tm_staging *s, int dirfd, const char *path,
                              int flags)
{
    return tm_staging_call(s, &(struct tm_call){
                                  .kind = TM_CALL_OPEN,
                                  .dirfd = dirfd,
                                  .path = path,
                                  .flags = O_RDONLY | O_DIRECTORY | flags,
                              });
}

/* Removes all that is in the staging directory. */
static enum tm_status empty(struct tm_staging *s)
{
    const int copy = openat(s->own_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (copy < 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot open: %s", s->path,
                        strerror(errno));
    tm_staging_remove_below(s, copy);
    return TM_OK;
}

/* What is there is somebody's work: it is for him to say what becomes of it. */
static enum tm_status refuse(const struct tm_staging *s,
                             const struct tm_kept *kept)
{
    char since[TM_KEPT_TIME];

    return tm_error(TM_CANT_CREATE,
                    "%s: a run that was interrupted is kept in %s: %u %% is "
                    "done, begun %s (--resume goes on with it, --restart "
                    "throws it away)",
                    s->out, s->path, tm_kept_percent(kept),
                    tm_kept_since(kept, since));
}

/* Decides what becomes of what is in the staging directory. */
static enum tm_status look_at_kept(struct tm_staging *s)
{
    struct tm_kept kept;
    enum tm_status status = tm_kept_survey(&kept, s->disk, s->path);

    if (status == TM_OK && kept.num_marks > 0 && !s->restarts) {
        s->is_kept = true;
        if (!s->resumes)
            status = refuse(s, &kept);
    }
    tm_kept_close(&kept);
    if (status != TM_OK || s->is_kept)
        return status;
    tm_note("%s: removing what an interrupted run left", s->path);
    return empty(s);
}

/*
 * Where anybody may write, another user may have made the directory first:
 * the output would be his. Elsewhere an owner may look like another one (root
 * on NFS).
 */
static enum tm_status check_owner(const struct tm_staging *s)
{
    struct stat own, parent;

    if (fstat(s->own_fd, &own) != 0 || fstat(s->parent_fd, &parent) != 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot look at it: %s", s->path,
                        strerror(errno));
    if (own.st_uid == geteuid() || !(parent.st_mode & S_IWOTH))
        return TM_OK;
    return tm_error(TM_CANT_CREATE, "%s: belongs to another user", s->path);
}

/* Locks the staging directory. */
static enum tm_status take_over(struct tm_staging *s, bool is_new)
{
    if (!is_new && check_owner(s) != TM_OK) {
        close(s->own_fd);
        s->own_fd = -1; /* not ours to remove */
        return TM_CANT_CREATE;
    }
    /* A file system without locks is used without. */
    if (flock(s->own_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(s->own_fd);
        s->own_fd = -1; /* another run's: not ours to remove */
        return tm_error(TM_CANT_CREATE, "%s: another run is making it", s->out);
    }
    return is_new ? TM_OK : look_at_kept(s);
}

/* Opens the directory that is written to, which is made unless it is there. */
static enum tm_status open_output(struct tm_staging *s)
{
    const struct tm_call make_it = {.kind = TM_CALL_MKDIR,
                                    .dirfd = s->own_fd,
                                    .path = TM_STAGING_OUTPUT,
                                    .mode = 0777};
    const int made = tm_staging_call(s, &make_it);

    if (made < 0 && made != -EEXIST)
        return tm_error(TM_CANT_CREATE, "%s: cannot create: %s", s->output,
                        strerror(-made));
    s->fd =
        tm_staging_open_directory(s, s->own_fd, TM_STAGING_OUTPUT, O_NOFOLLOW);
    if (s->fd < 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot open: %s", s->output,
                        strerror(-s->fd));
    return TM_OK;
}

enum tm_status tm_staging_open_parent(struct tm_staging *s)
{
    s->parent_fd = tm_staging_open_directory(s, AT_FDCWD, s->parent, 0);
    if (s->parent_fd >= 0)
        return TM_OK;
    return tm_error(TM_CANT_CREATE, "%s: cannot open: %s", s->parent,
                    strerror(-s->parent_fd));
}

enum tm_status tm_staging_create(struct tm_staging *staging)
{
    struct tm_staging *s = staging;
    enum tm_status status = tm_staging_open_parent(s);
    int made;

    if (status != TM_OK)
        return status;
    made = tm_staging_call(s, &(struct tm_call){
                                  .kind = TM_CALL_MKDIR,
                                  .dirfd = s->parent_fd,
                                  .path = s->own_name,
                                  .mode = 0777,
                              });
    if (made < 0 && made != -EEXIST)
        return tm_error(TM_CANT_CREATE, "%s: cannot create: %s", s->path,
                        strerror(-made));
    s->own_fd =
        tm_staging_open_directory(s, s->parent_fd, s->own_name, O_NOFOLLOW);
    if (s->own_fd < 0) {
        const int error = -s->own_fd;

        if (made == 0)
            tm_staging_remove_entry(s, s->parent_fd, s->own_name);
        return tm_error(TM_CANT_CREATE, "%s: cannot open: %s", s->path,
                        strerror(error));
    }
    status = take_over(s, made == 0);
    return status == TM_OK ? open_output(s) : status;
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
        result = tm_staging_call(staging, &(struct tm_call){
                                              .kind = TM_CALL_MKDIR,
                                              .dirfd = staging->fd,
                                              .path = directory,
                                              .mode = 0777,
                                          });
        if (result < 0 && result != -EEXIST)
            return tm_error(TM_CANT_CREATE, "%s/%s: cannot create: %s",
                            staging->output, directory, strerror(-result));
    }
    return TM_OK;
}

const char *tm_staging_path(struct tm_staging *staging, const char *name)
{
    return tm_path_join(&staging->arena, staging->output, name);
}
