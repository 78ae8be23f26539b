/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engines: every test runs on uring and on threads, bare and inside a
 * fault engine that breaks nothing, for all of them keep the same contract.
 * What the fault engine breaks is tested over both.
 *
 * Where io_uring is not to be had, its half says so and is left out.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/engine.h"
#include "io/fault.h"

#define MIB          ((size_t)1 << 20)
#define DEPTH        8
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* --- the engine under test ---------------------------------------------- */

struct backend {
    const char *name;
    struct tm_engine *(*make)(unsigned depth, int *error);
    bool wrapped; /* inside a fault engine that breaks nothing */
};

static const struct backend *backend;

static struct tm_engine *make_bare(unsigned depth)
{
    int error = 1;
    struct tm_engine *engine = backend->make(depth, &error);

    assert_non_null(engine);
    assert_int_equal(error, 0);
    return engine;
}

static struct tm_engine *make_faulty(const char *spec)
{
    struct tm_engine *engine = tm_engine_fault(make_bare(DEPTH), spec);

    assert_non_null(engine);
    return engine;
}

static struct tm_engine *make_engine(unsigned depth)
{
    struct tm_engine *engine = make_bare(depth);

    if (backend->wrapped)
        engine = tm_engine_fault(engine, "");
    assert_non_null(engine);
    return engine;
}

static void destroy(struct tm_engine *engine)
{
    engine->ops->destroy(engine);
}

/* Submits ops as one list. */
static void submit(struct tm_engine *engine, struct tm_op *ops, size_t num)
{
    size_t i;

    for (i = 0; i < num; i++) {
        ops[i].result = INT64_MIN;
        ops[i].next = i + 1 < num ? &ops[i + 1] : NULL;
    }
    engine->ops->submit(engine, ops);
}

/*
 * Waits for `num` ops of the array and writes their places in it to `order`.
 * Each must come once.
 */
static void collect(struct tm_engine *engine, struct tm_op *ops, size_t num,
                    size_t *order)
{
    bool *seen = calloc(num, sizeof(*seen));
    size_t done = 0;
    struct tm_op *op;
    size_t i;

    assert_non_null(seen);
    while (done < num)
        for (op = engine->ops->wait(engine, -1); op; op = op->next) {
            i = (size_t)(op - ops);
            assert_true(i < num);
            assert_false(seen[i]);
            seen[i] = true;
            order[done++] = i;
        }
    free(seen);
}

static void run(struct tm_engine *engine, struct tm_op *ops, size_t num)
{
    size_t *order = calloc(num, sizeof(*order));

    assert_non_null(order);
    submit(engine, ops, num);
    collect(engine, ops, num, order);
    free(order);
}

static int64_t run_one(struct tm_engine *engine, enum tm_op_kind kind, int fd,
                       void *buf, size_t len, uint64_t offset)
{
    struct tm_op op = {
        .kind = kind, .fd = fd, .buf = buf, .len = len, .offset = offset};

    run(engine, &op, 1);
    return op.result;
}

/* --- files and time ----------------------------------------------------- */

/* An open file in `dir` that has no name any more; -1 if flags do not suit. */
static int open_unnamed(const char *dir, int flags)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/test_engine.XXXXXX", dir);
    fd = mkostemp(path, flags | O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

/* An unnamed file that holds `len` bytes: 0, 1, 2 ... and so on. */
static int open_filled(size_t len)
{
    unsigned char data[4096];
    int fd = open_unnamed(".", 0);
    size_t i;

    assert_true(fd >= 0);
    assert_true(len <= sizeof(data));
    for (i = 0; i < len; i++)
        data[i] = (unsigned char)i;
    assert_int_equal(pwrite(fd, data, len, 0), len);
    return fd;
}

static const char *other_dir(void)
{
    const char *dir = getenv("TMPDIR");

    if (dir && *dir)
        return dir;
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleep_us(long us)
{
    struct timespec pause = {.tv_sec = us / 1000000,
                             .tv_nsec = us % 1000000 * 1000};

    nanosleep(&pause, NULL);
}

/* --- moving bytes ------------------------------------------------------- */

static void fill(uint64_t *words, size_t num)
{
    uint64_t x = 88172645463325252u;
    size_t i;

    for (i = 0; i < num; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        words[i] = x;
    }
}

/* One op for each MiB of `data`; all must move it whole. */
static void move(struct tm_engine *engine, enum tm_op_kind kind, int fd,
                 char *data, size_t num)
{
    struct tm_op *ops = calloc(num, sizeof(*ops));
    size_t i;

    assert_non_null(ops);
    for (i = 0; i < num; i++)
        ops[i] = (struct tm_op){.kind = kind,
                                .fd = fd,
                                .buf = data + i * MIB,
                                .len = MIB,
                                .offset = i * MIB};
    run(engine, ops, num);
    for (i = 0; i < num; i++)
        assert_int_equal(ops[i].result, MIB);
    free(ops);
}

static void write_and_read_back(struct tm_engine *engine, int fd)
{
    const size_t num = 64;
    char *out = aligned_alloc(4096, num * MIB);
    char *in = aligned_alloc(4096, num * MIB);
    struct stat st;

    assert_non_null(out);
    assert_non_null(in);
    fill((uint64_t *)(void *)out, num * MIB / sizeof(uint64_t));
    memset(in, 0, num * MIB);
    move(engine, TM_OP_WRITE, fd, out, num);
    assert_int_equal(run_one(engine, TM_OP_SYNC, fd, NULL, 0, 0), 0);
    move(engine, TM_OP_READ, fd, in, num);
    assert_memory_equal(out, in, num * MIB);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, num * MIB);
    free(out);
    free(in);
}

static void test_direct(void **state)
{
    struct tm_engine *engine;
    int fd = open_unnamed(".", O_DIRECT);

    (void)state;
    if (fd < 0) {
        assert_int_equal(errno, EINVAL);
        print_message("no direct I/O in the current directory: skipped\n");
        skip();
    }
    engine = make_engine(DEPTH);
    write_and_read_back(engine, fd);
    destroy(engine);
    close(fd);
}

static void test_buffered(void **state)
{
    struct tm_engine *engine = make_engine(DEPTH);
    int fd = open_unnamed(other_dir(), 0);

    (void)state;
    assert_true(fd >= 0);
    write_and_read_back(engine, fd);
    destroy(engine);
    close(fd);
}

static void test_more_than_depth(void **state)
{
    struct tm_engine *engine = make_engine(2);
    static struct tm_op ops[500];
    static unsigned char data[500];
    int fd = open_filled(COUNT(ops));
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(ops); i++)
        ops[i] = (struct tm_op){.kind = TM_OP_READ,
                                .fd = fd,
                                .buf = &data[i],
                                .len = 1,
                                .offset = i};
    run(engine, ops, COUNT(ops));
    for (i = 0; i < COUNT(ops); i++) {
        assert_int_equal(ops[i].result, 1);
        assert_int_equal(data[i], i & 255);
    }
    destroy(engine);
    close(fd);
}

static void test_past_end(void **state)
{
    struct tm_engine *engine = make_engine(DEPTH);
    unsigned char data[4096];
    int fd = open_filled(1000);

    (void)state;
    assert_int_equal(run_one(engine, TM_OP_READ, fd, data, 4096, 600), 400);
    assert_int_equal(data[0], 600 & 255);
    assert_int_equal(data[399], 999 & 255);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, data, 4096, 1000), 0);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, data, 4096, 5000), 0);
    destroy(engine);
    close(fd);
}

static void test_errors(void **state)
{
    struct tm_engine *engine = make_engine(DEPTH);
    char data[16] = "";
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    int fd = open_filled(16);

    (void)state;
    close(fd);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, data, 16, 0), -EBADF);
    assert_int_equal(run_one(engine, TM_OP_WRITE, fd, data, 16, 0), -EBADF);
    assert_int_equal(run_one(engine, TM_OP_SYNC, fd, NULL, 0, 0), -EBADF);
    assert_int_equal(run_one(engine, TM_OP_READ, -1, data, 16, 0), -EBADF);
    assert_true(full >= 0);
    assert_int_equal(run_one(engine, TM_OP_WRITE, full, data, 16, 0), -28);
    close(full);
    destroy(engine);
}

/* --- waiting ------------------------------------------------------------ */

static void test_timeout(void **state)
{
    struct tm_engine *engine = make_engine(DEPTH);
    int64_t start = now_ms();

    (void)state;
    assert_null(engine->ops->wait(engine, 0));
    assert_true(now_ms() - start < 1000);
    start = now_ms();
    assert_null(engine->ops->wait(engine, 60));
    assert_in_range(now_ms() - start, 59, 5000);
    start = now_ms();
    assert_null(engine->ops->wait(engine, 1001));
    assert_in_range(now_ms() - start, 1000, 5000);
    destroy(engine);
}

/* Looking again and again, without sleeping, gets at everything too. */
static void test_polling(void **state)
{
    struct tm_engine *engine = make_engine(DEPTH);
    static struct tm_op ops[20];
    static unsigned char data[20][100];
    int fd = open_filled(100);
    size_t done = 0;
    struct tm_op *op;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(ops); i++)
        ops[i] = (struct tm_op){
            .kind = TM_OP_READ, .fd = fd, .buf = data[i], .len = 100};
    submit(engine, ops, COUNT(ops));
    while (done < COUNT(ops))
        for (op = engine->ops->wait(engine, 0); op; op = op->next) {
            assert_int_equal(op->result, 100);
            done++;
        }
    assert_null(engine->ops->wait(engine, 0));
    destroy(engine);
    close(fd);
}

static void *wake_soon(void *engine)
{
    sleep_us(50000);
    ((struct tm_engine *)engine)->ops->wake(engine);
    return NULL;
}

static void test_wake(void **state)
{
    struct tm_engine *engine = make_engine(DEPTH);
    pthread_t thread;
    int64_t start;
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        start = now_ms();
        assert_int_equal(pthread_create(&thread, NULL, wake_soon, engine), 0);
        assert_null(engine->ops->wait(engine, i == 0 ? -1 : 30000));
        assert_in_range(now_ms() - start, 40, 10000);
        pthread_join(thread, NULL);
    }
    /* One that comes before the wait counts, and counts once. */
    engine->ops->wake(engine);
    engine->ops->wake(engine);
    start = now_ms();
    assert_null(engine->ops->wait(engine, 30000));
    assert_true(now_ms() - start < 10000);
    start = now_ms();
    assert_null(engine->ops->wait(engine, 60));
    assert_in_range(now_ms() - start, 59, 5000);
    /* Nobody need hear it. */
    engine->ops->wake(engine);
    destroy(engine);
}

/* A crowd that wakes the owner all the time, while ops come and go. */
static atomic_bool stop_waking;

static void *wake_often(void *engine)
{
    while (!atomic_load(&stop_waking)) {
        ((struct tm_engine *)engine)->ops->wake(engine);
        sleep_us(100);
    }
    return NULL;
}

static void test_wake_storm(void **state)
{
    struct tm_engine *engine = make_engine(DEPTH);
    pthread_t threads[4];
    int fd = open_unnamed(other_dir(), 0);
    size_t i;

    (void)state;
    assert_true(fd >= 0);
    atomic_store(&stop_waking, false);
    for (i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wake_often, engine),
                         0);
    write_and_read_back(engine, fd);
    atomic_store(&stop_waking, true);
    for (i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    destroy(engine);
    close(fd);
}

/* --- signals ------------------------------------------------------------ */

static pthread_t owner;
static atomic_int signals_here;
static atomic_int signals_elsewhere;
static atomic_bool stop_signals;

static void on_signal(int number)
{
    (void)number;
    if (pthread_equal(pthread_self(), owner))
        atomic_fetch_add(&signals_here, 1);
    else
        atomic_fetch_add(&signals_elsewhere, 1);
}

/* Signals the process as a whole, about a thousand times a second. */
static void *signal_often(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop_signals)) {
        kill(getpid(), SIGUSR1);
        sleep_us(1000);
    }
    return NULL;
}

/* Begins or ends a storm of signals, which interrupts what can be. */
static void storm(bool begin)
{
    static pthread_t thread;
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t usr1;

    if (!begin) {
        atomic_store(&stop_signals, true);
        pthread_join(thread, NULL);
        return;
    }
    owner = pthread_self();
    atomic_store(&signals_here, 0);
    atomic_store(&signals_elsewhere, 0);
    atomic_store(&stop_signals, false);
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    /* The thread that sends them does not take them. */
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    assert_int_equal(pthread_create(&thread, NULL, signal_often, NULL), 0);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
}

static void test_signals(void **state)
{
    struct tm_engine *engine = make_engine(DEPTH);
    int fd = open_unnamed(other_dir(), 0);
    struct tm_call call = {
        .kind = TM_CALL_ALLOCATE, .fd = fd, .size = 256 * MIB};
    struct stat st;

    (void)state;
    assert_true(fd >= 0);
    storm(true);
    write_and_read_back(engine, fd);
    assert_int_equal(engine->ops->call(engine, &call), 0);
    /* Sleeps too, while they go on, so that there are some for sure. */
    while (atomic_load(&signals_here) < 10)
        assert_null(engine->ops->wait(engine, 20));
    storm(false);
    assert_int_equal(atomic_load(&signals_elsewhere), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 256 * MIB);
    destroy(engine);
    close(fd);
}

/* --- the calls ---------------------------------------------------------- */

/*
 * Makes a call on "from" (and "to") in the directory `dirfd`, with `fd` and
 * a size.
 */
static int call_in(struct tm_engine *engine, enum tm_call_kind kind, int dirfd,
                   int fd, int flags, uint64_t size)
{
    struct tm_call call = {
        .kind = kind,
        .fd = fd,
        .dirfd = dirfd,
        .path = "from",
        .flags = flags,
        .mode = 0700,
        .size = size,
        .to_dirfd = dirfd,
        .to_path = "to",
    };

    return engine->ops->call(engine, &call);
}

/* A new directory, as a descriptor; its path goes to `path`. */
static int make_dir(char *path)
{
    static const char template[] = "test_engine.XXXXXX";
    int fd;

    memcpy(path, template, sizeof(template));
    assert_non_null(mkdtemp(path));
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static off_t size_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size;
}

static void test_calls_on_files(void **state)
{
    struct tm_engine *e = make_engine(DEPTH);
    char path[32];
    int dir = make_dir(path);
    int fd;

    (void)state;
    assert_int_equal(call_in(e, TM_CALL_OPEN, dir, -1, O_RDWR, 0), -ENOENT);
    fd = call_in(e, TM_CALL_OPEN, dir, -1, O_RDWR | O_CREAT | O_EXCL, 0);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(call_in(e, TM_CALL_OPEN, dir, -1, O_CREAT | O_EXCL, 0),
                     -EEXIST);
    assert_int_equal(call_in(e, TM_CALL_ALLOCATE, dir, fd, 0, 12345), 0);
    assert_int_equal(size_of(fd), 12345);
    assert_int_equal(call_in(e, TM_CALL_ALLOCATE, dir, fd, 0, 100), 0);
    assert_int_equal(size_of(fd), 100);
    assert_int_equal(call_in(e, TM_CALL_ALLOCATE, dir, fd, 0, 0), 0);
    assert_int_equal(size_of(fd), 0);
    assert_int_equal(
        call_in(e, TM_CALL_ALLOCATE, dir, fd, 0, UINT64_MAX / 2 + 2), -EINVAL);
    assert_int_equal(call_in(e, TM_CALL_TRUNCATE, dir, fd, 0, 77), 0);
    assert_int_equal(size_of(fd), 77);
    assert_int_equal(call_in(e, TM_CALL_SYNC, dir, fd, 0, 0), 0);
    assert_int_equal(call_in(e, TM_CALL_SYNC, dir, dir, 0, 0), 0);
    assert_int_equal(call_in(e, TM_CALL_CLOSE, dir, fd, 0, 0), 0);
    assert_int_equal(call_in(e, TM_CALL_CLOSE, dir, fd, 0, 0), -EBADF);
    assert_int_equal(call_in(e, TM_CALL_TRUNCATE, dir, fd, 0, 1), -EBADF);
    assert_int_equal(call_in(e, TM_CALL_UNLINK, dir, -1, 0, 0), 0);
    close(dir);
    assert_int_equal(rmdir(path), 0);
    destroy(e);
}

static void test_calls_on_directories(void **state)
{
    struct tm_engine *e = make_engine(DEPTH);
    char path[32];
    int dir = make_dir(path);

    (void)state;
    assert_int_equal(call_in(e, TM_CALL_RENAME, dir, -1, 0, 0), -ENOENT);
    assert_int_equal(call_in(e, TM_CALL_MKDIR, dir, -1, 0, 0), 0);
    assert_int_equal(call_in(e, TM_CALL_MKDIR, dir, -1, 0, 0), -EEXIST);
    assert_int_equal(call_in(e, TM_CALL_RENAME, dir, -1, RENAME_NOREPLACE, 0),
                     0);
    assert_int_equal(call_in(e, TM_CALL_MKDIR, dir, -1, 0, 0), 0);
    assert_int_equal(call_in(e, TM_CALL_RENAME, dir, -1, RENAME_NOREPLACE, 0),
                     -EEXIST);
    assert_int_equal(call_in(e, TM_CALL_RENAME, dir, -1, 0, 0), 0);
    assert_int_equal(call_in(e, TM_CALL_UNLINK, dir, -1, AT_REMOVEDIR, 0),
                     -ENOENT);
    assert_int_equal(unlinkat(dir, "to", AT_REMOVEDIR), 0);
    close(dir);
    assert_int_equal(rmdir(path), 0);
    destroy(e);
}

/* --- faults ------------------------------------------------------------- */

/* Runs a read, a write, a sync, three times over, and compares the results. */
static void check_ops(const char *spec, const int64_t expected[9])
{
    struct tm_engine *engine = make_faulty(spec);
    char data[9][8] = {{0}};
    struct tm_op ops[9];
    int fd = open_filled(8);
    int i;

    for (i = 0; i < 9; i++)
        ops[i] = (struct tm_op){.kind = (enum tm_op_kind)(i % 3),
                                .fd = fd,
                                .buf = data[i],
                                .len = 8};
    run(engine, ops, 9);
    for (i = 0; i < 9; i++)
        if (ops[i].result != expected[i])
            fail_msg("%s: op %d gave %lld, not %lld", spec, i,
                     (long long)ops[i].result, (long long)expected[i]);
    destroy(engine);
    close(fd);
}

static void test_fault_ops(void **state)
{
    static const struct {
        const char *spec;
        int64_t expected[9];
    } cases[] = {
        {"op=read", {8, 8, 0, 8, 8, 0, 8, 8, 0}},
        {"k=1", {-EIO, 8, 0, 8, 8, 0, 8, 8, 0}},
        {"op=any,k=5,errno=EINTR", {8, 8, 0, 8, -EINTR, 0, 8, 8, 0}},
        {"k=5,for=ever", {8, 8, 0, 8, -EIO, -EIO, -EIO, -EIO, -EIO}},
        {"op=read,k=2", {8, 8, 0, -EIO, 8, 0, 8, 8, 0}},
        {"op=read,k=2,for=ever", {8, 8, 0, -EIO, 8, 0, -EIO, 8, 0}},
        {"op=write,k=2,for=once", {8, 8, 0, 8, -EIO, 0, 8, 8, 0}},
        {"for=ever,k=1,op=write", {8, -EIO, 0, 8, -EIO, 0, 8, -EIO, 0}},
        {"op=sync,k=3,errno=ENOSPC", {8, 8, 0, 8, 8, 0, 8, 8, -ENOSPC}},
        {"op=sync,k=2,for=ever", {8, 8, 0, 8, 8, -EIO, 8, 8, -EIO}},
        {"op=sync,k=4", {8, 8, 0, 8, 8, 0, 8, 8, 0}},
        {"op=open,k=1,for=ever", {8, 8, 0, 8, 8, 0, 8, 8, 0}},
        {"short=1", {4, 4, 0, 4, 4, 0, 4, 4, 0}},
        {"short=1,op=read", {4, 8, 0, 4, 8, 0, 4, 8, 0}},
        {"short=1,op=write,k=2", {8, 8, 0, 8, 4, 0, 8, 8, 0}},
        {"short=1,k=3", {8, 8, 0, 8, 8, 0, 8, 8, 0}},
        {"short=1,k=3,for=ever", {8, 8, 0, 4, 4, 0, 4, 4, 0}},
        {"k=1,for=ever,shuffle=7",
         {-EIO, -EIO, -EIO, -EIO, -EIO, -EIO, -EIO, -EIO, -EIO}},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++)
        check_ops(cases[i].spec, cases[i].expected);
}

static void test_fault_errors(void **state)
{
    static const struct {
        const char *spec;
        int error;
    } cases[] = {
        {"k=1,errno=EIO", EIO},       {"k=1,errno=ENOSPC", ENOSPC},
        {"k=1,errno=EINTR", EINTR},   {"k=1,errno=EAGAIN", EAGAIN},
        {"k=1,errno=EINVAL", EINVAL}, {"k=1,errno=EDQUOT", EDQUOT},
        {"k=1,errno=EROFS", EROFS},   {"k=1,errno=EACCES", EACCES},
        {"k=1,errno=EMFILE", EMFILE}, {"k=1,errno=ENOMEM", ENOMEM},
    };
    struct tm_engine *engine;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        engine = make_faulty(cases[i].spec);
        /* Fails before it gets to the bad descriptor, and with nothing else */
        /* in flight. */
        assert_int_equal(run_one(engine, TM_OP_READ, -1, NULL, 8, 0),
                         -cases[i].error);
        assert_int_equal(run_one(engine, TM_OP_READ, -1, NULL, 8, 0), -EBADF);
        destroy(engine);
    }
}

/* The k-th call of each name fails, once or ever, and is not made. */
static void check_call(enum tm_call_kind kind, const char *name, bool ever)
{
    char spec[80];
    char path[32];
    int dir = make_dir(path);
    struct tm_engine *engine;
    int i;

    snprintf(spec, sizeof(spec), "op=%s,k=2,errno=EROFS,for=%s", name,
             ever ? "ever" : "once");
    engine = make_faulty(spec);
    for (i = 1; i <= 3; i++) {
        /* Other calls do not count. */
        int rc = call_in(engine,
                         kind == TM_CALL_SYNC ? TM_CALL_TRUNCATE : TM_CALL_SYNC,
                         dir, -1, 0, 0);

        assert_int_equal(rc, -EBADF);
        rc = call_in(engine, kind, dir, -1, AT_REMOVEDIR, 0);
        if (i == 2 || (i == 3 && ever))
            assert_int_equal(rc, -EROFS);
        else
            assert_int_not_equal(rc, -EROFS);
    }
    unlinkat(dir, "from", AT_REMOVEDIR);
    close(dir);
    assert_int_equal(rmdir(path), 0);
    destroy(engine);
}

static void test_fault_calls(void **state)
{
    static const char *const names[TM_NUM_CALLS] = {
        [TM_CALL_OPEN] = "open",         [TM_CALL_CLOSE] = "close",
        [TM_CALL_ALLOCATE] = "allocate", [TM_CALL_TRUNCATE] = "truncate",
        [TM_CALL_MKDIR] = "mkdir",       [TM_CALL_RENAME] = "rename",
        [TM_CALL_UNLINK] = "unlink",     [TM_CALL_SYNC] = "sync",
    };
    struct tm_engine *engine;
    int i;

    (void)state;
    for (i = 0; i < TM_NUM_CALLS; i++) {
        check_call((enum tm_call_kind)i, names[i], false);
        check_call((enum tm_call_kind)i, names[i], true);
    }
    /* sync counts ops and calls alike. */
    engine = make_faulty("op=sync,k=2");
    assert_int_equal(run_one(engine, TM_OP_SYNC, -1, NULL, 0, 0), -EBADF);
    assert_int_equal(call_in(engine, TM_CALL_SYNC, -1, -1, 0, 0), -EIO);
    destroy(engine);
}

/* A call that fails is not made; close is, and fails all the same. */
static void test_fault_calls_not_made(void **state)
{
    struct tm_engine *engine = make_faulty("op=mkdir,k=1");
    char path[32];
    int dir = make_dir(path);
    int fd = open_filled(1);

    (void)state;
    assert_int_equal(call_in(engine, TM_CALL_MKDIR, dir, -1, 0, 0), -EIO);
    assert_int_equal(faccessat(dir, "from", F_OK, 0), -1);
    destroy(engine);
    engine = make_faulty("op=close,k=1");
    assert_int_equal(call_in(engine, TM_CALL_CLOSE, dir, fd, 0, 0), -EIO);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    destroy(engine);
    close(dir);
    assert_int_equal(rmdir(path), 0);
}

/* Reads on and on until all is there, as the floor above does. */
static void test_fault_short(void **state)
{
    struct tm_engine *engine = make_faulty("short=1");
    unsigned char data[100];
    int fd = open_filled(100);
    int64_t last = 0;
    int64_t moved;
    size_t done;
    size_t i;

    (void)state;
    for (done = 0; done < 100; done += (size_t)moved) {
        moved = run_one(engine, TM_OP_READ, fd, data + done, 100 - done, done);
        assert_int_equal(moved, (100 - done + 1) / 2);
        last = moved;
    }
    assert_int_equal(last, 1);
    for (i = 0; i < 100; i++)
        assert_int_equal(data[i], i);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, data, 10, 100), 0);
    destroy(engine);
    close(fd);
}

/* Direct I/O comes up short by whole blocks. */
static void test_fault_short_direct(void **state)
{
    struct tm_engine *engine;
    char *data = aligned_alloc(4096, 16384);
    int fd = open_unnamed(".", O_DIRECT);

    (void)state;
    assert_non_null(data);
    if (fd < 0) {
        free(data);
        skip();
    }
    memset(data, 7, 16384);
    engine = make_faulty("short=1");
    assert_int_equal(run_one(engine, TM_OP_WRITE, fd, data, 12288, 0), 8192);
    assert_int_equal(run_one(engine, TM_OP_WRITE, fd, data, 4096, 12288), 4096);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, data, 16384, 0), 8192);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, data, 4096, 0), 4096);
    destroy(engine);
    close(fd);
    free(data);
}

/* In how many bits two buffers differ. */
static int count_flips(const unsigned char *a, const unsigned char *b,
                       size_t len)
{
    int flips = 0;
    size_t i;

    for (i = 0; i < len; i++)
        flips += __builtin_popcount((unsigned)(a[i] ^ b[i]));
    return flips;
}

static void test_fault_flip(void **state)
{
    struct tm_engine *engine = make_faulty("op=write,k=2,flip=1");
    static unsigned char out[1000], kept[1000], in[1000];
    int fd = open_unnamed(".", 0);

    (void)state;
    assert_true(fd >= 0);
    memset(out, 0x5a, sizeof(out));
    memcpy(kept, out, sizeof(out));
    assert_int_equal(run_one(engine, TM_OP_WRITE, fd, out, 1000, 0), 1000);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, in, 1000, 0), 1000);
    assert_int_equal(count_flips(in, kept, 1000), 0);
    assert_int_equal(run_one(engine, TM_OP_WRITE, fd, out, 1000, 0), 1000);
    assert_memory_equal(out, kept, 1000);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, in, 1000, 0), 1000);
    assert_int_equal(count_flips(in, kept, 1000), 1);
    destroy(engine);

    engine = make_faulty("op=read,k=2,flip=1");
    assert_int_equal(run_one(engine, TM_OP_WRITE, fd, out, 1000, 0), 1000);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, in, 1000, 0), 1000);
    assert_int_equal(count_flips(in, kept, 1000), 0);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, in, 1000, 0), 1000);
    assert_int_equal(count_flips(in, kept, 1000), 1);
    /* One byte, and none. */
    destroy(engine);
    engine = make_faulty("k=1,for=ever,flip=1");
    assert_int_equal(run_one(engine, TM_OP_READ, fd, in, 1, 999), 1);
    assert_int_equal(count_flips(in, kept, 1), 1);
    assert_int_equal(run_one(engine, TM_OP_READ, fd, in, 1, 1000), 0);
    assert_int_equal(run_one(engine, TM_OP_WRITE, fd, out, 0, 0), 0);
    destroy(engine);
    close(fd);
}

#define NUM_SHUFFLED 32

/* The order in which a batch of reads, the third failing, comes back. */
static void shuffled(const char *spec, size_t *order)
{
    struct tm_engine *engine = make_faulty(spec);
    static struct tm_op ops[NUM_SHUFFLED];
    static unsigned char data[NUM_SHUFFLED];
    int fd = open_filled(NUM_SHUFFLED);
    size_t i;

    for (i = 0; i < NUM_SHUFFLED; i++)
        ops[i] = (struct tm_op){.kind = TM_OP_READ,
                                .fd = fd,
                                .buf = &data[i],
                                .len = 1,
                                .offset = i};
    submit(engine, ops, NUM_SHUFFLED);
    collect(engine, ops, NUM_SHUFFLED, order);
    for (i = 0; i < NUM_SHUFFLED; i++)
        assert_int_equal(ops[i].result, i == 2 ? -EIO : 1);
    /* Nothing is left, and a wait for nothing ends. */
    assert_null(engine->ops->wait(engine, 10));
    destroy(engine);
    close(fd);
}

static void test_fault_shuffle(void **state)
{
    size_t straight[NUM_SHUFFLED], one[NUM_SHUFFLED], again[NUM_SHUFFLED],
        two[NUM_SHUFFLED];
    size_t i;

    (void)state;
    for (i = 0; i < NUM_SHUFFLED; i++)
        straight[i] = i;
    shuffled("shuffle=1,op=read,k=3", one);
    shuffled("shuffle=1,op=read,k=3", again);
    shuffled("shuffle=2,op=read,k=3", two);
    assert_memory_equal(one, again, sizeof(one));
    assert_memory_not_equal(one, straight, sizeof(one));
    assert_memory_not_equal(two, straight, sizeof(two));
    assert_memory_not_equal(one, two, sizeof(one));
}

/* The program's own load, in disorder. */
static void test_fault_shuffle_load(void **state)
{
    struct tm_engine *engine = make_faulty("shuffle=3");
    int fd = open_unnamed(other_dir(), 0);

    (void)state;
    assert_true(fd >= 0);
    write_and_read_back(engine, fd);
    destroy(engine);
    close(fd);
}

/* What is printed to standard error as an engine of `spec` ends. */
static void last_words(const char *spec, char *words, size_t size)
{
    struct tm_engine *engine = make_faulty(spec);
    int fd = open_unnamed(".", 0);
    int saved = dup(STDERR_FILENO);
    ssize_t len;

    assert_true(fd >= 0 && saved >= 0);
    run_one(engine, TM_OP_READ, -1, NULL, 1, 0);
    run_one(engine, TM_OP_SYNC, -1, NULL, 0, 0);
    call_in(engine, TM_CALL_SYNC, -1, -1, 0, 0);
    fflush(stderr);
    dup2(fd, STDERR_FILENO);
    destroy(engine);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    len = pread(fd, words, size - 1, 0);
    assert_true(len >= 0);
    words[len] = '\0';
    close(saved);
    close(fd);
}

static void test_fault_log(void **state)
{
    char words[100];

    (void)state;
    last_words("log=1", words, sizeof(words));
    assert_string_equal(words, "fault: 3 operations\n");
    last_words("op=sync,log=1", words, sizeof(words));
    assert_string_equal(words, "fault: 2 operations\n");
    last_words("op=sync", words, sizeof(words));
    assert_string_equal(words, "");
}

static void test_fault_spec(void **state)
{
    static const char *const bad[] = {
        ",",
        "k",
        "k=",
        "k=x",
        "k=-1",
        "k=+1",
        "k= 1",
        "k=1 ",
        "k=1,",
        ",k=1",
        "k=1,,op=any",
        "k=1;op=any",
        "op=",
        "op=Read",
        "op=reads",
        "=1",
        "errno=5",
        "errno=EPERM",
        "errno=",
        "for=never",
        "for=",
        "short=0",
        "short=2",
        "flip=yes",
        "log=",
        "shuffle=",
        "shuffle=a",
        "K=1",
        "seed=1",
        "k=1,k=2",
        "k==1",
        "op=read,what=1",
        "k=18446744073709551616",
    };
    struct tm_engine *inner = make_bare(DEPTH);
    struct tm_engine *engine;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(bad); i++)
        if (tm_engine_fault(inner, bad[i]))
            fail_msg("'%s' was understood", bad[i]);
    /* The inner engine is still ours, and well. */
    assert_int_equal(run_one(inner, TM_OP_SYNC, -1, NULL, 0, 0), -EBADF);
    engine = tm_engine_fault(inner, "op=write,k=3,errno=EIO,for=ever,short=1,"
                                    "flip=1,shuffle=18446744073709551615");
    assert_non_null(engine);
    assert_string_equal(engine->ops->name, "fault");
    destroy(engine);
}

/* --- all of it ---------------------------------------------------------- */

static int run_on(const struct backend *which)
{
    const struct CMUnitTest contract[] = {
        cmocka_unit_test(test_direct),
        cmocka_unit_test(test_buffered),
        cmocka_unit_test(test_more_than_depth),
        cmocka_unit_test(test_past_end),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_polling),
        cmocka_unit_test(test_wake),
        cmocka_unit_test(test_wake_storm),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_calls_on_files),
        cmocka_unit_test(test_calls_on_directories),
    };
    const struct CMUnitTest faults[] = {
        cmocka_unit_test(test_fault_ops),
        cmocka_unit_test(test_fault_errors),
        cmocka_unit_test(test_fault_calls),
        cmocka_unit_test(test_fault_calls_not_made),
        cmocka_unit_test(test_fault_short),
        cmocka_unit_test(test_fault_short_direct),
        cmocka_unit_test(test_fault_flip),
        cmocka_unit_test(test_fault_shuffle),
        cmocka_unit_test(test_fault_shuffle_load),
        cmocka_unit_test(test_fault_log),
        cmocka_unit_test(test_fault_spec),
    };
    int failed;

    backend = which;
    print_message("--- %s%s\n", which->name, which->wrapped ? ", wrapped" : "");
    failed = cmocka_run_group_tests(contract, NULL, NULL);
    if (!which->wrapped)
        failed += cmocka_run_group_tests(faults, NULL, NULL);
    return failed;
}

#ifdef HAVE_LIBURING
static bool has_uring(void)
{
    int error;
    struct tm_engine *engine = tm_engine_uring(DEPTH, &error);

    if (!engine) {
        print_message("uring: skipped: %s\n", strerror(-error));
        return false;
    }
    destroy(engine);
    return true;
}
#endif

int main(void)
{
    static const struct backend threads[] = {
        {"threads", tm_engine_threads, false},
        {"threads", tm_engine_threads, true},
    };
    int failed = 0;

    /* A wait that never ends must not hang whoever runs this. */
    alarm(600);
#ifdef HAVE_LIBURING
    static const struct backend urings[] = {
        {"uring", tm_engine_uring, false},
        {"uring", tm_engine_uring, true},
    };

    if (has_uring())
        failed += run_on(&urings[0]) + run_on(&urings[1]);
#else
    print_message("uring: skipped: built without liburing\n");
#endif
    failed += run_on(&threads[0]) + run_on(&threads[1]);
    return failed == 0 ? 0 : 1;
}
