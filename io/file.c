/* SPDX-License-Identifier: Apache-2.0 */
/* file: see file.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

/*
 * Places of a file that are looked at to tell how much of it is cached. With
 * 64 a file that is a quarter cached is mistaken for one that is half cached
 * once in 100,000.
 */
#define RESIDENCY_SAMPLES 64

/* f_type of file systems that live in memory (statfs(2)). */
#define TMPFS_TYPE 0x01021994
#define RAMFS_TYPE 0x858458f6

struct tm_identity tm_identity_from(const struct stat *st)
{
    return (struct tm_identity){
        .device = (uint64_t)st->st_dev,
        .inode = (uint64_t)st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_seconds = (int64_t)st->st_mtim.tv_sec,
        .mtime_nanoseconds = (int64_t)st->st_mtim.tv_nsec,
    };
}

bool tm_identity_same_file(const struct tm_identity *a,
                           const struct tm_identity *b)
{
    return a->device == b->device && a->inode == b->inode;
}

bool tm_identity_equal(const struct tm_identity *a, const struct tm_identity *b)
{
    return tm_identity_same_file(a, b) && a->size == b->size &&
           a->mtime_seconds == b->mtime_seconds &&
           a->mtime_nanoseconds == b->mtime_nanoseconds;
}

/* Whether direct I/O in TM_BLOCK units can work, as far as one can know. */
static bool direct_is_possible(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) == 0 &&
        (fs.f_type == TMPFS_TYPE || fs.f_type == RAMFS_TYPE))
        return false;
#ifdef STATX_DIOALIGN
    struct statx sx;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
        (sx.stx_mask & STATX_DIOALIGN))
        return sx.stx_dio_offset_align > 0 &&
               sx.stx_dio_offset_align <= TM_BLOCK &&
               sx.stx_dio_mem_align <= TM_BLOCK;
#endif
    return true;
}

/*
 * Whether at least half of the file is in the page cache: a read that may not
 * wait succeeds only there. File systems without such reads count as not
 * cached.
 */
static bool is_resident(int fd, uint64_t size)
{
    const uint64_t blocks = size / TM_BLOCK;
    unsigned cached = 0;

    if (blocks < RESIDENCY_SAMPLES)
        return true; /* small: a direct read would save nothing */
    for (unsigned i = 0; i < RESIDENCY_SAMPLES; i++) {
        const uint64_t block =
            blocks / RESIDENCY_SAMPLES * i + blocks / RESIDENCY_SAMPLES / 2;
        char byte;
        struct iovec iov = {.iov_base = &byte, .iov_len = 1};

        if (preadv2(fd, &iov, 1, (off_t)(block * TM_BLOCK), RWF_NOWAIT) == 1)
            cached++;
    }
    return cached >= RESIDENCY_SAMPLES / 2;
}

static bool set_direct(int fd, bool direct)
{
    const int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return false;
    return fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) ==
           0;
}

void tm_file_make_buffered(struct tm_file *file)
{
    if (file->direct && set_direct(file->fd, false))
        file->direct = false;
}

/*
 * Turns direct I/O on where `wish` asks for it and the file system has it.
 * TM_DIRECT_ON that is refused is no error: the bytes are the same.
 */
static void choose_direct(struct tm_file *file, enum tm_direct wish, bool input)
{
    file->direct = false;
    if (wish == TM_DIRECT_OFF || !direct_is_possible(file->fd))
        return;
    if (wish == TM_DIRECT_AUTO && input && is_resident(file->fd, file->size))
        return;
    file->direct = set_direct(file->fd, true);
}

enum tm_status tm_file_open(struct tm_engine *engine, const char *path,
                            enum tm_direct direct, struct tm_file *file,
                            struct tm_identity *identity)
{
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    const struct tm_call call = {
        .kind = TM_CALL_OPEN,
        .dirfd = AT_FDCWD,
        .path = path,
        .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY,
    };
    struct stat st;

    *file = (struct tm_file){.path = path, .fd = -1};
    const int fd = engine->ops->call(engine, &call);
    if (fd < 0) {
        const bool absent = fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP;

        return tm_error(absent ? TM_NO_INPUT : TM_IO_ERROR,
                        "%s: cannot open: %s", path, strerror(-fd));
    }
    file->fd = fd;
    if (fstat(fd, &st) != 0) {
        tm_error(TM_IO_ERROR, "%s: cannot stat: %s", path, strerror(errno));
        tm_file_close(engine, file);
        return TM_IO_ERROR;
    }
    if (!S_ISREG(st.st_mode)) {
        tm_file_close(engine, file);
        return tm_error(TM_BAD_DATA, "%s: not a regular file", path);
    }
    /* io_uring would give up at once on a descriptor that may not block. */
    fcntl(fd, F_SETFL, O_RDONLY);
    file->size = (uint64_t)st.st_size;
    if (identity != NULL)
        *identity = tm_identity_from(&st);
    choose_direct(file, direct, true);
    return TM_OK;
}

enum tm_status tm_write_status(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG ? TM_CANT_CREATE
                                                                : TM_IO_ERROR;
}

static enum tm_status open_output(struct tm_engine *engine, int dirfd,
                                  const char *name, int flags,
                                  enum tm_direct direct, struct tm_file *file)
{
    const struct tm_call call = {
        .kind = TM_CALL_OPEN,
        .dirfd = dirfd,
        .path = name,
        .flags = O_WRONLY | O_NOFOLLOW | flags,
        .mode = 0666,
    };

    file->fd = engine->ops->call(engine, &call);
    if (file->fd < 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot create: %s", file->path,
                        strerror(-file->fd));
    choose_direct(file, direct, false);
    return TM_OK;
}

enum tm_status tm_file_create(struct tm_engine *engine, int dirfd,
                              const char *name, const char *path, uint64_t size,
                              enum tm_direct direct, struct tm_file *file)
{
    enum tm_status status;
    int result;

    *file = (struct tm_file){
        .path = path, .fd = -1, .is_output = true, .size = size};
    status = open_output(engine, dirfd, name, O_CREAT | O_EXCL, direct, file);
    if (status != TM_OK || size == 0)
        return status;
    result = engine->ops->call(engine, &(struct tm_call){
                                           .kind = TM_CALL_ALLOCATE,
                                           .fd = file->fd,
                                           .size = size,
                                       });
    if (result < 0) {
        tm_file_close(engine, file);
        return tm_error(TM_CANT_CREATE, "%s: no room for its %llu bytes: %s",
                        path, (unsigned long long)size, strerror(-result));
    }
    return TM_OK;
}

enum tm_status tm_file_reopen(struct tm_engine *engine, int dirfd,
                              const char *name, const char *path,
                              enum tm_direct direct, struct tm_file *file)
{
    struct stat st;
    enum tm_status status;

    *file = (struct tm_file){.path = path, .fd = -1, .is_output = true};
    status = open_output(engine, dirfd, name, 0, direct, file);
    if (status != TM_OK)
        return status;
    if (fstat(file->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
        return TM_OK;
    tm_file_close(engine, file);
    return tm_error(TM_CANT_CREATE, "%s: is no file of its own", path);
}

enum tm_status tm_file_close(struct tm_engine *engine, struct tm_file *file)
{
    int result;

    if (file->fd < 0)
        return TM_OK;
    result = engine->ops->call(engine, &(struct tm_call){
                                           .kind = TM_CALL_CLOSE,
                                           .fd = file->fd,
                                       });
    file->fd = -1;
    if (result < 0 && file->is_output)
        return tm_error(TM_IO_ERROR, "%s: cannot close: %s", file->path,
                        strerror(-result));
    return TM_OK;
}
