/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine: what moves bytes between memory and files, asynchronously.
 *
 * An engine is the raw machinery: it attempts each operation once and says
 * what the kernel said. Short transfers, EINTR, EAGAIN and files that refuse
 * direct I/O are the business of io/transfer.h, one floor up. Nothing else in
 * the program touches a data file.
 *
 *     uring     one io_uring
 *     threads   a few threads with pread and pwrite: where containers, old
 *               kernels or administrators forbid io_uring
 *     fault     wraps either and breaks it on purpose (io/fault.h)
 *
 * Protocol. One thread, the owner, calls everything but `wake`. It fills in a
 * tm_op, submits it, and from then on neither touches the op nor the buffer
 * until `wait` hands the op back. Ops complete in any order.
 *
 *     owner:  submit(list) ... wait() -> list of done ops ... submit ...
 *     others: wake()           makes a wait that sleeps return early
 *
 * An engine whose ops are still in flight must not be destroyed: wait for
 * them first.
 */
#ifndef TM_IO_ENGINE_H
#define TM_IO_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum tm_op_kind {
    TM_OP_READ,
    TM_OP_WRITE,
    TM_OP_SYNC, /* fsync of fd: data and metadata; len and buf unused */
};

/*
 * One attempt at one operation. The largest length is TM_OP_MAX_LEN: Linux
 * moves no more than 0x7ffff000 bytes in one call.
 */
#define TM_OP_MAX_LEN ((size_t)1 << 30)

struct tm_op {
    enum tm_op_kind kind;
    int fd;
    uint64_t offset;
    void *buf;
    size_t len;
    bool is_buffered;   /* through the page cache: copying takes a CPU */
    int64_t result;     /* out: bytes moved, or a negative errno */
    struct tm_op *next; /* links lists of ops; the engine's while in flight */
};

/* The calls beside reading and writing, made at once by the owner. */
enum tm_call_kind {
    TM_CALL_OPEN,     /* dirfd, path, flags, mode -> descriptor */
    TM_CALL_CLOSE,    /* fd */
    TM_CALL_ALLOCATE, /* fd, size: reserve the space and set the size */
    TM_CALL_TRUNCATE, /* fd, size */
    TM_CALL_MKDIR,    /* dirfd, path, mode */
    TM_CALL_RENAME,   /* dirfd, path, to_dirfd, to_path, flags (renameat2) */
    TM_CALL_UNLINK,   /* dirfd, path, flags (AT_REMOVEDIR) */
    TM_CALL_SYNC,     /* fd: fsync, also of a directory */
    TM_NUM_CALLS
};

struct tm_call {
    enum tm_call_kind kind;
    int fd;
    int dirfd;
    const char *path;
    int flags;
    mode_t mode;
    uint64_t size;
    int to_dirfd;
    const char *to_path;
};

struct tm_engine {
    const struct tm_engine_ops *ops;
};

struct tm_engine_ops {
    const char *name;

    /* Takes a list of ops (linked by next); they are in flight from now. */
    void (*submit)(struct tm_engine *engine, struct tm_op *list);

    /*
     * Sleeps until at least one op is done, wake was called, or `timeout_ms`
     * have passed (-1: no limit; 0: only looks). Returns the list of done
     * ops, possibly empty (NULL): a signal, for one, may end the sleep early.
     * It does not always, so who must notice signals gives a finite timeout.
     */
    struct tm_op *(*wait)(struct tm_engine *engine, int timeout_ms);

    /* From any thread: the current or else the next wait returns at once. */
    void (*wake)(struct tm_engine *engine);

    /* Makes a call; returns its result, or a negative errno. */
    int (*call)(struct tm_engine *engine, const struct tm_call *call);

    /*
     * Ends the threads that the engine has and starts others, which inherit
     * what the owner may still do (io/confine.h); nothing is in flight. 0, or
     * a negative errno, and then the engine is good for nothing but its end.
     * NULL: it has no threads that act with rights of their own.
     */
    int (*renew)(struct tm_engine *engine);

    /* Frees the engine; nothing is in flight. */
    void (*destroy)(struct tm_engine *engine);
};

/*
 * Each returns a new engine that can hold `depth` ops in flight at once
 * (more may be submitted: they wait their turn), or NULL with a negative
 * errno in *error. uring fails with -ENOSYS, -EPERM or the like where the
 * kernel or the container forbids it. Must be called by the owning thread.
 */
struct tm_engine *tm_engine_uring(unsigned depth, int *error);
struct tm_engine *tm_engine_threads(unsigned depth, int *error);

/* What `call` does without faults: the system calls themselves. */
int tm_engine_syscall(struct tm_engine *engine, const struct tm_call *call);

#endif
