/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer: a read, a write or a sync that is done whole or fails for good.
 *
 * The floor above engines, and the one that the program uses. What an engine
 * leaves open is settled here, once, for all of them:
 *
 *     EINTR, EAGAIN     tried again, TM_TRANSFER_RETRIES times in a row
 *     short             the rest is asked for, from a block boundary where
 *                       the file is direct; a read needs only `need` bytes of
 *                       its `len`, since the last block of a file is short
 *     end of file       an error: the file shrank while it was read
 *     EINVAL, EOPNOTSUPP, EFAULT on a direct file
 *                       the file system refuses direct I/O after all: the file
 *                       goes on through the page cache
 *     anything else     reported here, once for the whole disk, and final
 *
 * Protocol: fill in the fields above the line, tm_transfer_start, and leave
 * transfer, file and buffer alone until tm_disk_wait hands it back. The
 * thread that opened the disk makes all calls but tm_disk_wake.
 */
#ifndef TM_IO_TRANSFER_H
#define TM_IO_TRANSFER_H

#include <stdint.h>

#include "io/engine.h"
#include "io/file.h"
#include "io/message.h"

#define TM_TRANSFER_RETRIES 1000

/*
 * Bytes of one request: enough to hide the cost of a request, and what disks
 * are asked for at once by those who measured it (kernels before 6 split and
 * fail larger direct ones with EAGAIN).
 */
#define TM_REQUEST ((size_t)1 << 20)

/* Requests that an engine keeps in flight. */
#define TM_DEPTH 64

struct tm_transfer {
    enum tm_op_kind kind;
    struct tm_file *file;
    uint64_t offset;  /* a multiple of TM_BLOCK */
    void *buf;        /* aligned to TM_BLOCK */
    size_t len;       /* a multiple of TM_BLOCK */
    size_t need;      /* of a read: bytes without which it has failed */
    const char *what; /* for messages, or NULL: the tensor that is moved */
    void *owner;      /* the caller's */
    /* ---- */
    enum tm_status status; /* once it is handed back */
    struct tm_transfer *next;
    size_t done;
    unsigned retries;
    bool was_direct;
    struct tm_op op;
};

struct tm_disk {
    struct tm_engine *engine;
    const char *why_not_uring; /* why auto fell back to threads, or NULL */
    size_t in_flight;
    bool failed;  /* an error was reported: further ones follow from it */
    bool is_full; /* one of them was that there is no space */
    uint64_t bytes_read;
    uint64_t bytes_written;
};

enum tm_io_choice { TM_IO_AUTO, TM_IO_URING, TM_IO_THREADS };

/*
 * Opens a disk with the engine of `choice`; `fault` (may be NULL) wraps it as
 * io/fault.h says. Errors: TM_USAGE (fault), TM_SYSTEM.
 */
enum tm_status tm_disk_open(enum tm_io_choice choice, const char *fault,
                            struct tm_disk *disk);

/* Closes a disk with nothing in flight; all zero is allowed. */
void tm_disk_close(struct tm_disk *disk);

/*
 * Lets all threads of the engine have what confines the caller, with nothing
 * in flight. Errors: TM_SYSTEM; the disk can only be closed then.
 */
enum tm_status tm_disk_renew(struct tm_disk *disk);

void tm_transfer_start(struct tm_disk *disk, struct tm_transfer *transfer);

/*
 * Sleeps as engine->wait does and returns a list (linked by next) of
 * transfers that are done, each with its status; NULL if there are none.
 */
struct tm_transfer *tm_disk_wait(struct tm_disk *disk, int timeout_ms);

/* From any thread: makes tm_disk_wait return. */
void tm_disk_wake(struct tm_disk *disk);

/* Starts a transfer and waits for it; nothing else is in flight. */
enum tm_status tm_transfer_now(struct tm_disk *disk,
                               struct tm_transfer *transfer);

/*
 * A call that `path` is the subject of; `verb` says what was tried. Repeated
 * when a signal interrupts it; any other failure is final. It returns `status`
 * then, but TM_CANT_CREATE where there is no space.
 */
enum tm_status tm_disk_call(struct tm_disk *disk, const struct tm_call *call,
                            enum tm_status status, const char *path,
                            const char *verb);

#endif
