/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall: the calls beside reading and writing, as every engine makes them.
 *
 * They are rare (a few for each file) and so are plain system calls in every
 * engine: io_uring would hand most of them to a kernel thread anyway. Each
 * returns 0 or a descriptor, or a negative errno.
 *
 * EINTR never leaves this file. A call that says so has not done its work and
 * is made again, but for close: Linux has freed the descriptor by then, and a
 * second close could hit one that another thread has just opened.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/engine.h"

/*
 * tmpfs gives all back and starts anew when a signal interrupts fallocate, so
 * under a fast timer a large reservation never ends. Reserving is a courtesy:
 * after so many attempts it is left out.
 */
#define RESERVE_ATTEMPTS 100

static int call_open(const struct tm_call *call)
{
    int flags = call->flags | O_CLOEXEC;
    int fd;

    do {
        fd = openat(call->dirfd, call->path, flags, call->mode);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

static int call_close(const struct tm_call *call)
{
    if (close(call->fd) == 0 || errno == EINTR)
        return 0;
    return -errno;
}

static int call_truncate(const struct tm_call *call)
{
    int rc;

    do {
        rc = ftruncate(call->fd, (off_t)call->size);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

/*
 * The size first, then the space: fallocate alone neither shrinks a file nor
 * accepts a size of 0. Not posix_fallocate: where the file system cannot
 * reserve space, the C library would write the whole file.
 */
static int call_allocate(const struct tm_call *call)
{
    int attempt = 0;
    int rc = call_truncate(call);

    if (rc < 0 || call->size == 0)
        return rc;
    do {
        rc = fallocate(call->fd, 0, 0, (off_t)call->size);
    } while (rc < 0 && errno == EINTR && ++attempt < RESERVE_ATTEMPTS);
    if (rc == 0 || errno == EINTR || errno == EOPNOTSUPP || errno == ENOSYS)
        return 0;
    return -errno;
}

static int call_mkdir(const struct tm_call *call)
{
    return mkdirat(call->dirfd, call->path, call->mode) < 0 ? -errno : 0;
}

/* Without flags any kernel and file system will do. */
static int call_rename(const struct tm_call *call)
{
    int rc;

    if (call->flags == 0)
        rc = renameat(call->dirfd, call->path, call->to_dirfd, call->to_path);
    else
        rc = renameat2(call->dirfd, call->path, call->to_dirfd, call->to_path,
                       (unsigned)call->flags);
    return rc < 0 ? -errno : 0;
}

static int call_unlink(const struct tm_call *call)
{
    return unlinkat(call->dirfd, call->path, call->flags) < 0 ? -errno : 0;
}

static int call_sync(const struct tm_call *call)
{
    int rc;

    do {
        rc = fsync(call->fd);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

int tm_engine_syscall(struct tm_engine *engine, const struct tm_call *call)
{
    static int (*const calls[TM_NUM_CALLS])(const struct tm_call *) = {
        [TM_CALL_OPEN] = call_open,         [TM_CALL_CLOSE] = call_close,
        [TM_CALL_ALLOCATE] = call_allocate, [TM_CALL_TRUNCATE] = call_truncate,
        [TM_CALL_MKDIR] = call_mkdir,       [TM_CALL_RENAME] = call_rename,
        [TM_CALL_UNLINK] = call_unlink,     [TM_CALL_SYNC] = call_sync,
    };

    (void)engine;
    if ((unsigned)call->kind >= TM_NUM_CALLS)
        return -EINVAL;
    return calls[call->kind](call);
}
