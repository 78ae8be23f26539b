/* SPDX-License-Identifier: Apache-2.0 */
/* transfer: see transfer.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/transfer.h"

#include <errno.h>
#include <string.h>

#include "io/checked.h"
#include "io/crash.h"
#include "io/fault.h"

static struct tm_engine *open_engine(enum tm_io_choice choice,
                                     struct tm_disk *disk, int *error)
{
    struct tm_engine *engine = NULL;

    *error = -ENOSYS;
#ifdef HAVE_LIBURING
    if (choice != TM_IO_THREADS)
        engine = tm_engine_uring(TM_DEPTH, error);
#endif
    if (engine != NULL || choice == TM_IO_URING)
        return engine;
    if (choice == TM_IO_AUTO)
        disk->why_not_uring = strerror(-*error);
    return tm_engine_threads(TM_DEPTH, error);
}

enum tm_status tm_disk_open(enum tm_io_choice choice, const char *fault,
                            struct tm_disk *disk)
{
    struct tm_engine *wrapped;
    int error;

    *disk = (struct tm_disk){0};
    disk->engine = open_engine(choice, disk, &error);
    if (disk->engine == NULL)
        return tm_error(TM_SYSTEM, "cannot start the %s I/O engine: %s",
                        choice == TM_IO_URING ? "uring" : "threads",
                        strerror(-error));
    if (fault == NULL || fault[0] == '\0')
        return TM_OK;
    if (strncmp(fault, "crash=", 6) == 0)
        wrapped = tm_engine_crash(disk->engine, fault);
    else
        wrapped = tm_engine_fault(disk->engine, fault);
    if (wrapped == NULL) {
        tm_disk_close(disk);
        return tm_error(TM_USAGE, "TAUMERGE_FAULT: '%s' is not understood",
                        fault);
    }
    disk->engine = wrapped;
    return TM_OK;
}

void tm_disk_close(struct tm_disk *disk)
{
    if (disk->engine != NULL)
        disk->engine->ops->destroy(disk->engine);
    disk->engine = NULL;
}

enum tm_status tm_disk_renew(struct tm_disk *disk)
{
    const struct tm_engine_ops *ops = disk->engine->ops;
    const int error = ops->renew != NULL ? ops->renew(disk->engine) : 0;

    if (error == 0)
        return TM_OK;
    return tm_error(TM_SYSTEM, "cannot start the %s I/O engine again: %s",
                    ops->name, strerror(-error));
}

static void submit(struct tm_disk *disk, struct tm_transfer *t)
{
    t->was_direct = t->file->direct;
    t->op = (struct tm_op){
        .kind = t->kind,
        .fd = t->file->fd,
        .offset = t->offset + t->done,
        .buf = t->done > 0 ? (char *)t->buf + t->done : t->buf,
        .len = t->len - t->done,
        .is_buffered = !t->was_direct,
    };
    disk->engine->ops->submit(disk->engine, &t->op);
}

void tm_transfer_start(struct tm_disk *disk, struct tm_transfer *transfer)
{
    transfer->status = TM_OK;
    transfer->next = NULL;
    transfer->done = 0;
    transfer->retries = 0;
    if (transfer->kind == TM_OP_WRITE)
        transfer->need = transfer->len;
    disk->in_flight++;
    submit(disk, transfer);
}

/* Reports why `t` failed, unless that follows from an earlier failure. */
static void report(struct tm_disk *disk, const struct tm_transfer *t,
                   enum tm_status status, const char *cause)
{
    static const char *const verbs[] = {
        [TM_OP_READ] = "read", [TM_OP_WRITE] = "write", [TM_OP_SYNC] = "sync"};
    const unsigned long long offset = t->offset + t->done;

    if (disk->failed)
        return;
    disk->failed = true;
    if (t->kind == TM_OP_SYNC)
        tm_error(status, "%s: sync failed: %s", t->file->path, cause);
    else if (t->what != NULL)
        tm_error(status, "%s: tensor '%s': %s at byte %llu failed: %s",
                 t->file->path, t->what, verbs[t->kind], offset, cause);
    else
        tm_error(status, "%s: %s at byte %llu failed: %s", t->file->path,
                 verbs[t->kind], offset, cause);
}

static bool fail(struct tm_disk *disk, struct tm_transfer *t,
                 enum tm_status status, const char *cause)
{
    report(disk, t, status, cause);
    t->status = status;
    return true;
}

static bool again(struct tm_disk *disk, struct tm_transfer *t,
                  const char *cause)
{
    if (++t->retries > TM_TRANSFER_RETRIES)
        return fail(disk, t, TM_IO_ERROR, cause);
    submit(disk, t);
    return false;
}

/* What a failed attempt to change something on the disk comes to. */
static enum tm_status status_of(struct tm_disk *disk, int error,
                                enum tm_status otherwise)
{
    if (error == ENOSPC || error == EDQUOT)
        disk->is_full = true;
    return tm_write_status(error) == TM_CANT_CREATE ? TM_CANT_CREATE
                                                    : otherwise;
}

static bool refuses_direct(int error)
{
    return error == EINVAL || error == EOPNOTSUPP || error == EFAULT;
}

/* Settles an attempt that failed with `error`; true if `t` is done. */
static bool settle_error(struct tm_disk *disk, struct tm_transfer *t, int error)
{
    if (error == EINTR || error == EAGAIN)
        return again(disk, t, strerror(error));
    if (t->kind != TM_OP_SYNC && t->was_direct && refuses_direct(error)) {
        tm_file_make_buffered(t->file);
        return again(disk, t, strerror(error));
    }
    return fail(disk, t,
                t->kind == TM_OP_READ ? TM_IO_ERROR
                                      : status_of(disk, error, TM_IO_ERROR),
                strerror(error));
}

/* Settles an attempt that moved `moved` bytes; true if `t` is done. */
static bool settle_bytes(struct tm_disk *disk, struct tm_transfer *t,
                         size_t moved)
{
    const size_t before = t->done;

    if (t->kind == TM_OP_SYNC)
        return true;
    t->done += moved;
    if (t->done >= t->need)
        return true;
    if (moved == 0 && t->kind == TM_OP_READ)
        return fail(disk, t, TM_IO_ERROR,
                    "the file ends here: it shrank while it was read");
    if (t->was_direct)
        t->done = tm_round_down(t->done, TM_BLOCK);
    if (t->done > before) {
        t->retries = 0;
        submit(disk, t);
        return false;
    }
    return again(disk, t, "no progress");
}

static bool settle(struct tm_disk *disk, struct tm_transfer *t)
{
    const int64_t result = t->op.result;

    if (result < 0)
        return settle_error(disk, t, (int)-result);
    return settle_bytes(disk, t, (size_t)result);
}

static void count(struct tm_disk *disk, const struct tm_transfer *t)
{
    disk->in_flight--;
    if (t->status != TM_OK)
        return;
    if (t->kind == TM_OP_READ)
        disk->bytes_read += t->need;
    else if (t->kind == TM_OP_WRITE)
        disk->bytes_written += t->len;
}

struct tm_transfer *tm_disk_wait(struct tm_disk *disk, int timeout_ms)
{
    struct tm_transfer *finished = NULL;
    struct tm_op *op = disk->engine->ops->wait(disk->engine, timeout_ms);

    while (op != NULL) {
        struct tm_op *next = op->next;
        struct tm_transfer *t =
            (struct tm_transfer *)((char *)op -
                                   offsetof(struct tm_transfer, op));

        if (settle(disk, t)) {
            count(disk, t);
            t->next = finished;
            finished = t;
        }
        op = next;
    }
    return finished;
}

void tm_disk_wake(struct tm_disk *disk)
{
    disk->engine->ops->wake(disk->engine);
}

enum tm_status tm_transfer_now(struct tm_disk *disk,
                               struct tm_transfer *transfer)
{
    tm_transfer_start(disk, transfer);
    while (disk->in_flight > 0)
        tm_disk_wait(disk, -1);
    return transfer->status;
}

enum tm_status tm_disk_call(struct tm_disk *disk, const struct tm_call *call,
                            enum tm_status status, const char *path,
                            const char *verb)
{
    int result = disk->engine->ops->call(disk->engine, call);

    for (int i = 0; result == -EINTR && i < TM_TRANSFER_RETRIES; i++)
        result = disk->engine->ops->call(disk->engine, call);
    if (result >= 0)
        return TM_OK;
    return tm_error(status_of(disk, -result, status), "%s: cannot %s: %s", path,
                    verb, strerror(-result));
}
