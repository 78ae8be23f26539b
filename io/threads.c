/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads: the engine for where io_uring is forbidden or missing.
 *
 * A few threads take ops from one queue, attempt each with a plain system
 * call and put it on a second queue, which the owner empties. With direct I/O
 * and requests of a megabyte this comes close to io_uring; what it costs is a
 * switch of threads for every op. One lock covers both queues: at a few
 * thousand ops a second nobody ever waits for it.
 *
 * The number of threads is what bounds the ops in flight, so that the queue
 * itself may be as long as it likes.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "io/engine.h"

/*
 * Loaders that read with 4 to 16 threads fill the disks and file servers of
 * today with direct requests of a megabyte; more would only queue there.
 */
#define MAX_THREADS 16

/*
 * A thread here calls nothing deep. The usual 8 MiB would count against a
 * limit on address space.
 */
#define STACK_SIZE ((size_t)256 << 10)

struct queue {
    struct tm_op *head;
    struct tm_op **tail;
};

struct threads {
    struct tm_engine base;
    pthread_mutex_t lock; /* guards all up to `stopping` */
    pthread_cond_t more;  /* todo has grown, or stopping */
    pthread_cond_t news;  /* done has grown, or woken */
    struct queue todo;
    struct queue done;
    bool woken;
    bool stopping;
    unsigned num_workers;
    pthread_t workers[MAX_THREADS];
};

static void queue_init(struct queue *queue)
{
    queue->head = NULL;
    queue->tail = &queue->head;
}

/* Appends a list of any length. */
static void queue_append(struct queue *queue, struct tm_op *list)
{
    *queue->tail = list;
    while (*queue->tail)
        queue->tail = &(*queue->tail)->next;
}

/* The queue is not empty. */
static struct tm_op *queue_pop(struct queue *queue)
{
    struct tm_op *op = queue->head;

    queue->head = op->next;
    if (!queue->head)
        queue->tail = &queue->head;
    op->next = NULL;
    return op;
}

/* One attempt at one op. */
static void attempt(struct tm_op *op)
{
    ssize_t rc = -1;

    switch (op->kind) {
    case TM_OP_READ:
        rc = pread(op->fd, op->buf, op->len, (off_t)op->offset);
        break;
    case TM_OP_WRITE:
        rc = pwrite(op->fd, op->buf, op->len, (off_t)op->offset);
        break;
    case TM_OP_SYNC:
        rc = fsync(op->fd);
        break;
    default:
        errno = EINVAL;
        break;
    }
    op->result = rc < 0 ? -errno : rc;
}

static void *work(void *argument)
{
    struct threads *threads = argument;
    struct tm_op *op;

    pthread_mutex_lock(&threads->lock);
    for (;;) {
        while (!threads->todo.head && !threads->stopping)
            pthread_cond_wait(&threads->more, &threads->lock);
        if (!threads->todo.head)
            break;
        op = queue_pop(&threads->todo);
        pthread_mutex_unlock(&threads->lock);
        attempt(op);
        pthread_mutex_lock(&threads->lock);
        queue_append(&threads->done, op);
        pthread_cond_signal(&threads->news);
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

static void threads_submit(struct tm_engine *engine, struct tm_op *list)
{
    struct threads *threads = (struct threads *)engine;

    pthread_mutex_lock(&threads->lock);
    queue_append(&threads->todo, list);
    pthread_cond_broadcast(&threads->more);
    pthread_mutex_unlock(&threads->lock);
}

static struct timespec in_ms(int timeout_ms)
{
    struct timespec when;

    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_sec += timeout_ms / 1000;
    when.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (when.tv_nsec >= 1000000000L) {
        when.tv_sec++;
        when.tv_nsec -= 1000000000L;
    }
    return when;
}

static struct tm_op *threads_wait(struct tm_engine *engine, int timeout_ms)
{
    struct threads *threads = (struct threads *)engine;
    struct timespec deadline = in_ms(timeout_ms > 0 ? timeout_ms : 0);
    struct tm_op *list;
    int rc = 0;

    pthread_mutex_lock(&threads->lock);
    while (!threads->done.head && !threads->woken && rc == 0) {
        if (timeout_ms < 0)
            rc = pthread_cond_wait(&threads->news, &threads->lock);
        else if (timeout_ms == 0)
            rc = ETIMEDOUT;
        else
            rc = pthread_cond_timedwait(&threads->news, &threads->lock,
                                        &deadline);
    }
    list = threads->done.head;
    queue_init(&threads->done);
    threads->woken = false;
    pthread_mutex_unlock(&threads->lock);
    return list;
}

static void threads_wake(struct tm_engine *engine)
{
    struct threads *threads = (struct threads *)engine;

    pthread_mutex_lock(&threads->lock);
    threads->woken = true;
    pthread_cond_signal(&threads->news);
    pthread_mutex_unlock(&threads->lock);
}

/*
 * Starts `num` workers, or as many as there can be: one is enough to go on.
 * Signals are for the owner, so the workers are born with all of them blocked.
 */
static int start_workers(struct threads *threads, unsigned num)
{
    sigset_t all, old;
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);

    if (rc != 0)
        return -rc;
    /* If this size does not please the C library, its own will do. */
    (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (threads->num_workers < num && rc == 0) {
        rc = pthread_create(&threads->workers[threads->num_workers], &attr,
                            work, threads);
        if (rc == 0)
            threads->num_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return threads->num_workers > 0 ? 0 : -rc;
}

static void stop_workers(struct threads *threads)
{
    unsigned i;

    pthread_mutex_lock(&threads->lock);
    threads->stopping = true;
    pthread_cond_broadcast(&threads->more);
    pthread_mutex_unlock(&threads->lock);
    for (i = 0; i < threads->num_workers; i++)
        pthread_join(threads->workers[i], NULL);
    threads->num_workers = 0;
    threads->stopping = false; /* nobody is left to see it */
}

static int threads_renew(struct tm_engine *engine)
{
    struct threads *threads = (struct threads *)engine;
    const unsigned num = threads->num_workers;

    stop_workers(threads);
    return start_workers(threads, num);
}

static void threads_destroy(struct tm_engine *engine)
{
    struct threads *threads = (struct threads *)engine;

    stop_workers(threads);
    pthread_cond_destroy(&threads->news);
    pthread_cond_destroy(&threads->more);
    pthread_mutex_destroy(&threads->lock);
    free(threads);
}

static const struct tm_engine_ops threads_ops = {
    .name = "threads",
    .submit = threads_submit,
    .wait = threads_wait,
    .wake = threads_wake,
    .call = tm_engine_syscall,
    .renew = threads_renew,
    .destroy = threads_destroy,
};

/* The lock and the conditions; 0 or a negative errno. */
static int init_waiting(struct threads *threads)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    if (rc != 0)
        return -rc;
    /* A clock that nobody sets, for timeouts. */
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (rc == 0)
        rc = pthread_mutex_init(&threads->lock, NULL);
    if (rc == 0)
        rc = pthread_cond_init(&threads->more, NULL);
    if (rc == 0)
        rc = pthread_cond_init(&threads->news, &attr);
    pthread_condattr_destroy(&attr);
    return -rc;
}

struct tm_engine *tm_engine_threads(unsigned depth, int *error)
{
    struct threads *threads = calloc(1, sizeof(*threads));
    unsigned num = depth < MAX_THREADS ? depth : MAX_THREADS;

    if (!threads) {
        *error = -ENOMEM;
        return NULL;
    }
    threads->base.ops = &threads_ops;
    queue_init(&threads->todo);
    queue_init(&threads->done);
    *error = init_waiting(threads);
    if (*error < 0) {
        free(threads);
        return NULL;
    }
    *error = start_workers(threads, num > 0 ? num : 1);
    if (*error < 0) {
        threads_destroy(&threads->base);
        return NULL;
    }
    return &threads->base;
}
