/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring: the engine that is one io_uring.
 *
 * The owner is the only thread that touches the ring, which is what the
 * kernel's fastest mode asks for. Three things can end the owner's sleep, and
 * all of them are completions: an op, a timeout, and a read of an eventfd
 * that is posted at all times and that `wake` feeds.
 *
 * The ring has room for `depth` ops and that read; ops beyond it wait in a
 * queue here. The submission queue can therefore never be full, nor can the
 * completion queue, which is twice as long, overflow.
 *
 *     submit -> queue -> staged in the ring -> with the kernel -> wait
 *                        `------------ in_ring ------------'
 *
 * Neither buffers nor files are registered: with requests of a megabyte the
 * gain is too small to measure, while registered buffers count against a
 * limit on locked memory that is often 8 MiB (and sometimes 64 KiB).
 *
 * A read through the page cache is given to a thread of the kernel
 * (IOSQE_ASYNC). Otherwise the owner would copy what is cached itself, within
 * submit, one request after the other, while the workers wait for it. Such a
 * thread acts with the rights that the owner had when it submitted, so there
 * is nothing to renew.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "io/engine.h"

/* liburing 2.2 is older than these flags of Linux 6.0 and 6.1. */
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

/* More than any device can use, and well below the kernel's limit. */
#define MAX_DEPTH 4096u

/*
 * Ops that cannot be started without blocking (buffered writes on ext4, reads
 * from many network file systems) are run by threads of the kernel, by
 * default four for each CPU. The threads engine does with 16 at the most; so
 * does this one.
 */
#define MAX_KERNEL_WORKERS 16u

/* How soon to try again after the kernel was out of resources. */
#define RETRY_MS 10

struct uring {
    struct tm_engine base;
    struct io_uring ring;
    unsigned depth;   /* ops that the ring may hold */
    unsigned in_ring; /* ops that it holds */
    struct tm_op *head;
    struct tm_op **tail; /* the queue of ops that wait for a place */
    int event_fd;
    uint64_t event; /* where the read of event_fd goes; never looked at */
    bool listening; /* that read is in the ring */
    int broken;     /* 0, or the errno (negative) that ended all submitting */
};

static void queue_init(struct uring *uring)
{
    uring->head = NULL;
    uring->tail = &uring->head;
}

static void queue_append(struct uring *uring, struct tm_op *list)
{
    *uring->tail = list;
    while (*uring->tail)
        uring->tail = &(*uring->tail)->next;
}

/* --- towards the kernel ------------------------------------------------- */

static void prepare(struct io_uring_sqe *sqe, struct tm_op *op)
{
    size_t len = op->len < TM_OP_MAX_LEN ? op->len : TM_OP_MAX_LEN;

    switch (op->kind) {
    case TM_OP_READ:
        io_uring_prep_read(sqe, op->fd, op->buf, (unsigned)len, op->offset);
        break;
    case TM_OP_WRITE:
        io_uring_prep_write(sqe, op->fd, op->buf, (unsigned)len, op->offset);
        break;
    case TM_OP_SYNC:
        io_uring_prep_fsync(sqe, op->fd, 0);
        break;
    }
    if (op->kind == TM_OP_READ && op->is_buffered)
        io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
    io_uring_sqe_set_data(sqe, op);
}

/* The read that `wake` ends is the one entry without an op. */
static void prepare_listening(struct uring *uring, struct io_uring_sqe *sqe)
{
    io_uring_prep_read(sqe, uring->event_fd, &uring->event,
                       sizeof(uring->event), 0);
    io_uring_sqe_set_data(sqe, NULL);
    uring->listening = true;
}

/* Fills the ring from the queue. */
static void stage(struct uring *uring)
{
    struct io_uring_sqe *sqe;
    struct tm_op *op;

    if (!uring->listening && (sqe = io_uring_get_sqe(&uring->ring)))
        prepare_listening(uring, sqe);
    while (uring->head && uring->in_ring < uring->depth) {
        sqe = io_uring_get_sqe(&uring->ring);
        if (!sqe)
            break;
        op = uring->head;
        uring->head = op->next;
        if (!uring->head)
            queue_init(uring);
        op->next = NULL;
        prepare(sqe, op);
        uring->in_ring++;
    }
}

/* Takes the ops back that are staged but that the kernel has not taken. */
static void unstage(struct uring *uring)
{
    const struct io_uring_sq *sq = &uring->ring.sq;
    unsigned mask = *sq->kring_entries - 1;
    unsigned i;
    struct tm_op *op;

    for (i = *sq->khead; i != sq->sqe_tail; i++) {
        op = (struct tm_op *)(uintptr_t)sq->sqes[i & mask].user_data;
        if (op) {
            uring->in_ring--;
            queue_append(uring, op);
        } else {
            uring->listening = false;
        }
    }
}

/*
 * Gives the kernel what is staged. It may take only a part, or nothing just
 * now: the rest stays staged until the next time. An error of any other kind
 * is one of ours; it ends all submitting, and ops fail with it, rather than
 * that someone waits for them for ever.
 */
static void push(struct uring *uring)
{
    int rc;

    while (io_uring_sq_ready(&uring->ring) > 0) {
        rc = io_uring_submit(&uring->ring);
        if (rc > 0)
            continue;
        if (rc < 0 && rc != -EAGAIN && rc != -EBUSY && rc != -EINTR) {
            uring->broken = rc;
            unstage(uring);
        }
        return;
    }
}

static void start(struct uring *uring)
{
    if (uring->broken)
        return;
    stage(uring);
    push(uring);
}

/* --- back --------------------------------------------------------------- */

/*
 * Sleeps until there is a completion. Not io_uring_submit_and_wait_timeout:
 * when that call has submitted something, it does not tell of a signal, but
 * sleeps again. Entering the kernel is also what makes it post completions
 * (IORING_SETUP_DEFER_TASKRUN), so this enters it with a timeout of 0 too.
 */
static void sleep_in_kernel(struct uring *uring, int timeout_ms)
{
    struct __kernel_timespec limit = {0};
    struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
    struct io_uring_cqe *cqe;
    int rc;

    if (!uring->broken && io_uring_sq_ready(&uring->ring) > 0 &&
        (timeout_ms < 0 || timeout_ms > RETRY_MS))
        timeout_ms = RETRY_MS;
    if (timeout_ms > 0) {
        limit.tv_sec = timeout_ms / 1000;
        limit.tv_nsec = timeout_ms % 1000 * 1000000LL;
    }
    rc = io_uring_wait_cqe_timeout(&uring->ring, &cqe,
                                   timeout_ms < 0 ? NULL : &limit);
    /* No other error is known; should there be one, the owner must not spin. */
    if (rc < 0 && rc != -ETIME && rc != -EINTR && timeout_ms != 0)
        nanosleep(&pause, NULL);
}

/* Appends to *tail what has completed. */
static void reap(struct uring *uring, struct tm_op **tail)
{
    struct io_uring_cqe *cqe;
    struct tm_op *op;

    while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
        op = io_uring_cqe_get_data(cqe);
        if (op) {
            op->result = cqe->res;
            *tail = op;
            tail = &op->next;
            uring->in_ring--;
        } else {
            uring->listening = false;
        }
        io_uring_cqe_seen(&uring->ring, cqe);
    }
    *tail = NULL;
}

/* Appends to *tail the ops that cannot be submitted any more. */
static struct tm_op **refuse(struct uring *uring, struct tm_op **tail)
{
    struct tm_op *op;

    *tail = uring->head;
    queue_init(uring);
    for (op = *tail; op; op = op->next) {
        op->result = uring->broken;
        tail = &op->next;
    }
    return tail;
}

/* --- the engine --------------------------------------------------------- */

static void uring_submit(struct tm_engine *engine, struct tm_op *list)
{
    struct uring *uring = (struct uring *)engine;

    queue_append(uring, list);
    start(uring);
}

static struct tm_op *uring_wait(struct tm_engine *engine, int timeout_ms)
{
    struct uring *uring = (struct uring *)engine;
    struct tm_op *list = NULL;
    struct tm_op **tail = &list;

    start(uring);
    if (uring->broken)
        tail = refuse(uring, tail);
    sleep_in_kernel(uring, list ? 0 : timeout_ms);
    reap(uring, tail);
    /* There is room now: do not leave it empty while the owner is busy. */
    if (uring->head)
        start(uring);
    return list;
}

static void uring_wake(struct tm_engine *engine)
{
    struct uring *uring = (struct uring *)engine;
    uint64_t one = 1;
    ssize_t rc;

    do {
        rc = write(uring->event_fd, &one, sizeof(one));
    } while (rc < 0 && errno == EINTR);
}

/*
 * The kernel goes on cancelling after the ring is closed. The read must have
 * ended by then, for it writes into the engine.
 */
static void stop_listening(struct uring *uring)
{
    struct tm_op *none;
    int i;

    uring_wake(&uring->base);
    for (i = 0; i < 100 && uring->listening; i++) {
        if (!uring->broken)
            push(uring);
        sleep_in_kernel(uring, RETRY_MS);
        reap(uring, &none);
    }
}

static void uring_destroy(struct tm_engine *engine)
{
    struct uring *uring = (struct uring *)engine;

    stop_listening(uring);
    io_uring_queue_exit(&uring->ring);
    close(uring->event_fd);
    free(uring);
}

static const struct tm_engine_ops uring_ops = {
    .name = "uring",
    .submit = uring_submit,
    .wait = uring_wait,
    .wake = uring_wake,
    .call = tm_engine_syscall,
    .destroy = uring_destroy,
};

/* --- setting up --------------------------------------------------------- */

/*
 * From the best mode downwards; a kernel that does not know a flag says
 * EINVAL. The three steps are Linux 6.1, 5.19 and whatever there is.
 */
static int open_ring(struct io_uring *ring, unsigned entries)
{
    static const unsigned ladder[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
            IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        0,
    };
    int rc = -EINVAL;
    size_t i;

    for (i = 0; i < sizeof(ladder) / sizeof(*ladder) && rc == -EINVAL; i++)
        rc = io_uring_queue_init(entries, ring, ladder[i]);
    return rc;
}

/*
 * Whether the kernel (5.11 or later) does all that is needed: waits with a
 * timeout, completions that are never dropped, and our operations.
 */
static bool ring_suffices(struct io_uring *ring)
{
    const unsigned features = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
    struct io_uring_probe *probe;
    bool suffices;

    if ((ring->features & features) != features)
        return false;
    probe = io_uring_get_probe_ring(ring);
    if (!probe)
        return false;
    suffices = io_uring_opcode_supported(probe, IORING_OP_READ) &&
               io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
               io_uring_opcode_supported(probe, IORING_OP_FSYNC);
    io_uring_free_probe(probe);
    return suffices;
}

static int set_up(struct uring *uring, unsigned depth)
{
    unsigned workers[2] = {0, 0}; /* 0: leave the limit as it is */
    int rc = open_ring(&uring->ring, depth + 1);

    if (rc < 0)
        return rc;
    if (!ring_suffices(&uring->ring)) {
        io_uring_queue_exit(&uring->ring);
        return -ENOSYS;
    }
    uring->event_fd = eventfd(0, EFD_CLOEXEC);
    if (uring->event_fd < 0) {
        rc = -errno;
        io_uring_queue_exit(&uring->ring);
        return rc;
    }
    /* Before Linux 5.15 there is no such limit, and nothing to be done. */
    workers[0] = depth < MAX_KERNEL_WORKERS ? depth : MAX_KERNEL_WORKERS;
    (void)io_uring_register_iowq_max_workers(&uring->ring, workers);
    return 0;
}

struct tm_engine *tm_engine_uring(unsigned depth, int *error)
{
    struct uring *uring = calloc(1, sizeof(*uring));

    if (!uring) {
        *error = -ENOMEM;
        return NULL;
    }
    if (depth < 1)
        depth = 1;
    if (depth > MAX_DEPTH)
        depth = MAX_DEPTH;
    uring->base.ops = &uring_ops;
    uring->depth = depth;
    queue_init(uring);
    *error = set_up(uring, depth);
    if (*error < 0) {
        free(uring);
        return NULL;
    }
    return &uring->base;
}
