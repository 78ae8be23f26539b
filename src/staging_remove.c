/* SPDX-License-Identifier: Apache-2.0 */
/* staging_remove: of directories, and of what is in them; see staging.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "io/path.h"
#include "src/staging_parts.h"

void tm_staging_remove_entry(struct tm_staging *s, int dirfd, const char *name)
{
    struct tm_call unlink_it = {
        .kind = TM_CALL_UNLINK, .dirfd = dirfd, .path = name};
    int result = tm_staging_call(s, &unlink_it);

    if (result == -EISDIR || result == -EPERM || result == -EACCES) {
        const int fd = openat(dirfd, name,
                              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd >= 0)
            tm_staging_remove_below(s, fd);
        unlink_it.flags = AT_REMOVEDIR;
        result = tm_staging_call(s, &unlink_it);
    }
    if (result < 0 && result != -ENOENT)
        tm_warning("%s: cannot remove '%s': %s", s->path, name,
                   strerror(-result));
}

void tm_staging_remove_below(struct tm_staging *s, int dirfd)
{
    DIR *stream = fdopendir(dirfd);
    const struct dirent *entry;

    if (stream == NULL) {
        close(dirfd);
        return;
    }
    while ((entry = readdir(stream)) != NULL)
        if (!tm_staging_is_dots(entry->d_name))
            tm_staging_remove_entry(s, dirfd, entry->d_name);
    closedir(stream);
}

/* Whether `name` is one of the `count` names. */
static bool is_listed(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* The files below `dirfd`, which is closed, are named from `prefix` on. */
static enum tm_status remove_unlisted(struct tm_staging *s, int dirfd,
                                      const char *prefix,
                                      const char *const *names, size_t count)
{
    DIR *stream = fdopendir(dirfd);
    const struct dirent *entry;
    enum tm_status status = TM_OK;

    if (stream == NULL) {
        close(dirfd);
        return tm_error(TM_SYSTEM, "%s: cannot list: %s", s->output,
                        strerror(errno));
    }
    while (status == TM_OK && (entry = readdir(stream)) != NULL) {
        const char *name = tm_staging_is_dots(entry->d_name)
                               ? ""
                               : tm_path_join(&s->arena, prefix, entry->d_name);
        int below;

        if (name == NULL)
            status = tm_no_memory();
        if (name == NULL || name[0] == '\0')
            continue;
        below = openat(dirfd, entry->d_name,
                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0)
            status = remove_unlisted(s, below, name, names, count);
        else if (!is_listed(name, names, count))
            tm_staging_remove_entry(s, dirfd, entry->d_name);
    }
    closedir(stream);
    return status;
}

enum tm_status tm_staging_keep_only(struct tm_staging *staging,
                                    const char *const *names, size_t count)
{
    const int copy =
        openat(staging->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (copy < 0)
        return tm_error(TM_SYSTEM, "%s: cannot open: %s", staging->output,
                        strerror(errno));
    return remove_unlisted(staging, copy, "", names, count);
}

void tm_staging_remove(struct tm_disk *disk, const char *path)
{
    struct tm_staging staging = {.disk = disk, .path = path};

    tm_staging_remove_entry(&staging, AT_FDCWD, path);
}
