/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine that cuts the power: a child works on a directory and dies at one
 * of its syncs; then its parent looks at what is there. On uring and threads;
 * where io_uring is not to be had, its half says so and is left out.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/crash.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define DEPTH        8
#define BLOCK        4096
#define MOST         (64 * BLOCK)

struct backend {
    const char *name;
    struct tm_engine *(*make)(unsigned depth, int *error);
};

static const struct backend *backend;

/* What a child does. */
typedef void act(struct tm_engine *engine, int dir);

/* --- in the child ------------------------------------------------------- */

/* cmocka's own would go on with the next test, in the child. */
#define MUST(ok)                                                               \
    do {                                                                       \
        if (!(ok)) {                                                           \
            fprintf(stderr, "child: %d: %s\n", __LINE__, #ok);                 \
            _exit(1);                                                          \
        }                                                                      \
    } while (0)

static int call(struct tm_engine *engine, struct tm_call what)
{
    return engine->ops->call(engine, &what);
}

static int open_at(struct tm_engine *engine, int dir, const char *path,
                   int flags)
{
    int fd = call(engine, (struct tm_call){.kind = TM_CALL_OPEN,
                                           .dirfd = dir,
                                           .path = path,
                                           .flags = flags,
                                           .mode = 0666});

    MUST(fd >= 0);
    return fd;
}

static int create(struct tm_engine *engine, int dir, const char *path)
{
    return open_at(engine, dir, path, O_WRONLY | O_CREAT | O_EXCL);
}

static int open_dir(struct tm_engine *engine, int dir, const char *path)
{
    return open_at(engine, dir, path, O_RDONLY | O_DIRECTORY);
}

static void make_dir(struct tm_engine *engine, int dir, const char *path)
{
    MUST(call(engine, (struct tm_call){.kind = TM_CALL_MKDIR,
                                       .dirfd = dir,
                                       .path = path,
                                       .mode = 0777}) == 0);
}

static void unlink_at(struct tm_engine *engine, int dir, const char *path,
                      int flags)
{
    MUST(call(engine, (struct tm_call){.kind = TM_CALL_UNLINK,
                                       .dirfd = dir,
                                       .path = path,
                                       .flags = flags}) == 0);
}

static void rename_at(struct tm_engine *engine, int dir, const char *from,
                      const char *to, int flags)
{
    MUST(call(engine, (struct tm_call){.kind = TM_CALL_RENAME,
                                       .dirfd = dir,
                                       .path = from,
                                       .to_dirfd = dir,
                                       .to_path = to,
                                       .flags = flags}) == 0);
}

static void resize(struct tm_engine *engine, enum tm_call_kind kind, int fd,
                   uint64_t size)
{
    MUST(call(engine, (struct tm_call){.kind = kind, .fd = fd, .size = size}) ==
         0);
}

static void sync_fd(struct tm_engine *engine, int fd)
{
    MUST(call(engine, (struct tm_call){.kind = TM_CALL_SYNC, .fd = fd}) == 0);
}

static void sync_at(struct tm_engine *engine, int dir, const char *path)
{
    int fd = open_dir(engine, dir, path);

    sync_fd(engine, fd);
    MUST(call(engine, (struct tm_call){.kind = TM_CALL_CLOSE, .fd = fd}) == 0);
}

static void wait_for(struct tm_engine *engine, size_t num)
{
    while (num > 0)
        for (struct tm_op *op = engine->ops->wait(engine, -1); op;
             op = op->next)
            num--;
}

static int64_t run_one(struct tm_engine *engine, struct tm_op op)
{
    op.next = NULL;
    op.result = INT64_MIN;
    engine->ops->submit(engine, &op);
    wait_for(engine, 1);
    return op.result;
}

/* A write of `len` times the byte `c`; its buffer is the caller's. */
static struct tm_op filled(int fd, uint64_t offset, char c, size_t len)
{
    char *data = aligned_alloc(BLOCK, MOST);

    MUST(data && len <= MOST);
    memset(data, c, len);
    return (struct tm_op){.kind = TM_OP_WRITE,
                          .fd = fd,
                          .offset = offset,
                          .buf = data,
                          .len = len};
}

static void put(struct tm_engine *engine, int fd, uint64_t offset, char c,
                size_t len)
{
    struct tm_op op = filled(fd, offset, c, len);

    MUST(run_one(engine, op) == (int64_t)len);
    free(op.buf);
}

/* --- in the parent ------------------------------------------------------ */

static struct tm_engine *make_bare(void)
{
    int error = 1;

    return backend->make(DEPTH, &error);
}

/* Returns the child's exit status. */
static int run_child(const char *spec, act *what, int dir)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct tm_engine *bare = make_bare();
        struct tm_engine *engine = bare ? tm_engine_crash(bare, spec) : NULL;

        MUST(engine);
        alarm(60);
        what(engine, dir);
        engine->ops->destroy(engine);
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void crash_in(const char *spec, act *what, int dir)
{
    assert_int_equal(run_child(spec, what, dir), TM_CRASH_EXIT);
}

static int scratch(char path[32])
{
    int dir;

    strcpy(path, "./test_crash.XXXXXX");
    assert_non_null(mkdtemp(path));
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    return dir;
}

static void clear(int fd)
{
    DIR *stream = fdopendir(fd);
    const struct dirent *entry;

    assert_non_null(stream);
    while ((entry = readdir(stream))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (unlinkat(fd, entry->d_name, 0) != 0) {
            clear(openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY));
            assert_int_equal(unlinkat(fd, entry->d_name, AT_REMOVEDIR), 0);
        }
    }
    closedir(stream);
}

static void put_away(int dir, const char *path)
{
    clear(dir);
    assert_int_equal(rmdir(path), 0);
}

/* A file that was there before. */
static void plant(int dir, const char *path, const char *text, size_t times)
{
    int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    while (times-- > 0)
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static size_t look(int dir, const char *path, char *data, size_t room)
{
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    ssize_t len;

    assert_true(fd >= 0);
    len = read(fd, data, room);
    assert_true(len >= 0);
    close(fd);
    return (size_t)len;
}

/* What is in a file, a letter for each `unit` bytes: all of them are the same;
 * 0 is written as a dot. */
static const char *letters(int dir, const char *path, size_t unit)
{
    static char data[MOST + 1], text[MOST + 1];
    size_t len = look(dir, path, data, sizeof(data));
    size_t i;

    assert_true(len <= MOST);
    for (i = 0; i < len; i++)
        if (data[i] != data[i - i % unit])
            fail_msg("%s: byte %zu is not as its unit", path, i);
    for (i = 0; i * unit < len; i++)
        text[i] = data[i * unit] ? data[i * unit] : '.';
    text[i] = '\0';
    return text;
}

static bool is_there(int dir, const char *path)
{
    return faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static size_t count_names(int dir)
{
    DIR *stream = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY));
    size_t num = 0;

    assert_non_null(stream);
    while (readdir(stream))
        num++;
    closedir(stream);
    return num - 2;
}

/* --- contents ----------------------------------------------------------- */

static void write_twice(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_WRONLY);

    put(engine, fd, 0, 'b', BLOCK);
    sync_fd(engine, fd);
    put(engine, fd, BLOCK, 'c', BLOCK);
    put(engine, fd, 2 * BLOCK, 'd', BLOCK);
    MUST(run_one(engine, (struct tm_op){.kind = TM_OP_SYNC, .fd = fd}) == 0);
    put(engine, fd, 0, 'e', BLOCK);
    resize(engine, TM_CALL_TRUNCATE, fd, BLOCK);
    sync_fd(engine, fd);
}

static void test_writes(void **state)
{
    static const struct {
        const char *spec;
        const char *left;
    } cases[] = {
        {"crash=1", "aa"},
        {"crash=1,when=before,lose=all,names=lose", "aa"},
        {"crash=1,lose=none", "ba"},
        {"crash=1,when=after", "ba"},
        {"crash=2", "ba"},
        {"crash=2,lose=none", "bcd"},
        {"crash=2,when=after", "bcd"},
        {"crash=3", "bcd"},
        {"crash=3,lose=none", "e"},
        {"crash=3,when=after", "e"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char path[32];
        int dir = scratch(path);

        plant(dir, "f", "a", 2 * BLOCK);
        crash_in(cases[i].spec, write_twice, dir);
        assert_string_equal(letters(dir, "f", BLOCK), cases[i].left);
        assert_int_equal(count_names(dir), 1);
        put_away(dir, path);
    }
}

/* Odd lengths and places, and an allocation that is taken back. */
static void write_odd(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_WRONLY);

    put(engine, fd, 1, 'b', 2);
    sync_fd(engine, fd);
    resize(engine, TM_CALL_ALLOCATE, fd, 3 * BLOCK);
    put(engine, fd, 2, 'c', 5);
    sync_fd(engine, fd);
    sync_fd(engine, fd);
}

static void test_odd_writes(void **state)
{
    static const char *const left[] = {"aaaa", "abba", "abccccc"};

    (void)state;
    for (int k = 1; k <= 3; k++) {
        char path[32], spec[32];
        int dir = scratch(path);
        struct stat st;

        plant(dir, "f", "a", 4);
        snprintf(spec, sizeof(spec), "crash=%d", k);
        crash_in(spec, write_odd, dir);
        assert_int_equal(fstatat(dir, "f", &st, 0), 0);
        assert_int_equal(st.st_size, k < 3 ? 4 : 3 * BLOCK);
        assert_memory_equal(letters(dir, "f", 1), left[k - 1],
                            strlen(left[k - 1]));
        put_away(dir, path);
    }
}

/* Direct writes, taken back through the page cache. */
static void write_direct(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_WRONLY);
    int flags = fcntl(fd, F_GETFL);

    if (fcntl(fd, F_SETFL, flags | O_DIRECT) != 0)
        fprintf(stderr, "no direct I/O here\n");
    put(engine, fd, 0, 'b', 2 * BLOCK);
    sync_fd(engine, fd);
    put(engine, fd, BLOCK, 'c', 2 * BLOCK);
    sync_fd(engine, fd);
}

static void test_direct(void **state)
{
    char path[32];
    int dir = scratch(path);

    (void)state;
    plant(dir, "f", "a", 4 * BLOCK);
    crash_in("crash=2", write_direct, dir);
    assert_string_equal(letters(dir, "f", BLOCK), "bbaa");
    put_away(dir, path);
}

/* A write and a sync at once: the sync does not wait for the write. */
static void write_and_sync(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_WRONLY);
    struct tm_op early = filled(fd, 0, 'b', BLOCK);
    struct tm_op late = filled(fd, BLOCK, 'c', BLOCK);
    struct tm_op sync = {.kind = TM_OP_SYNC, .fd = fd};

    MUST(run_one(engine, early) == BLOCK);
    late.next = &sync;
    sync.next = NULL;
    engine->ops->submit(engine, &late);
    wait_for(engine, 2);
    MUST(sync.result == 0);
    sync_fd(engine, dir);
    sync_fd(engine, fd);
    sync_fd(engine, fd);
}

static void test_in_flight(void **state)
{
    static const char *const left[] = {"ba", "ba", "ba", "bc"};

    (void)state;
    for (int k = 1; k <= 4; k++) {
        char path[32], spec[32];
        int dir = scratch(path);

        plant(dir, "f", "a", 2 * BLOCK);
        snprintf(spec, sizeof(spec), "crash=%d%s", k,
                 k == 1 ? ",when=after" : "");
        crash_in(spec, write_and_sync, dir);
        assert_string_equal(letters(dir, "f", BLOCK), left[k - 1]);
        put_away(dir, path);
    }
}

/* A sync that is in flight when the power goes has no effect. */
static void sync_unheard(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_WRONLY);
    struct tm_op sync = {.kind = TM_OP_SYNC, .fd = fd};
    struct tm_op more = filled(fd, BLOCK, 'c', BLOCK);

    put(engine, fd, 0, 'b', BLOCK);
    sync.next = &more;
    more.next = NULL;
    engine->ops->submit(engine, &sync);
    sync_fd(engine, dir);
}

static void test_unheard_sync(void **state)
{
    char path[32];
    int dir = scratch(path);

    (void)state;
    plant(dir, "f", "a", 2 * BLOCK);
    crash_in("crash=2,when=after", sync_unheard, dir);
    assert_string_equal(letters(dir, "f", BLOCK), "aa");
    crash_in("crash=2,lose=none", sync_unheard, dir);
    assert_string_equal(letters(dir, "f", BLOCK), "bc");
    put_away(dir, path);
}

/* Ops and calls that fail leave no trace. */
static void fail_often(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_RDONLY);
    struct tm_call bad = {.kind = TM_CALL_MKDIR, .dirfd = dir, .path = "f"};

    MUST(run_one(engine, filled(fd, 0, 'b', BLOCK)) == -EBADF);
    MUST(run_one(engine, filled(-1, 0, 'b', BLOCK)) == -EBADF);
    MUST(run_one(engine, filled(fd, UINT64_MAX, 'b', BLOCK)) < 0);
    MUST(call(engine, bad) == -EEXIST);
    bad.kind = TM_CALL_UNLINK;
    bad.path = "g";
    MUST(call(engine, bad) == -ENOENT);
    bad.path = "";
    MUST(call(engine, bad) == -ENOENT);
    bad.path = "no/such";
    bad.kind = TM_CALL_OPEN;
    bad.flags = O_CREAT | O_WRONLY;
    MUST(call(engine, bad) == -ENOENT);
    bad.path = "f";
    bad.flags = O_CREAT | O_EXCL | O_WRONLY;
    MUST(call(engine, bad) == -EEXIST);
    bad.kind = TM_CALL_RENAME;
    bad.to_dirfd = dir;
    bad.to_path = "f";
    bad.flags = RENAME_NOREPLACE;
    MUST(call(engine, bad) == -EEXIST);
    bad.kind = TM_CALL_TRUNCATE;
    bad.fd = fd;
    MUST(call(engine, bad) < 0);
    MUST(call(engine, (struct tm_call){.kind = TM_CALL_SYNC, .fd = -1}) ==
         -EBADF);
    sync_fd(engine, dir);
}

static void test_failures(void **state)
{
    char path[32];
    int dir = scratch(path);

    (void)state;
    plant(dir, "f", "a", BLOCK);
    crash_in("crash=2,lose=none,names=keep", fail_often, dir);
    assert_string_equal(letters(dir, "f", BLOCK), "a");
    crash_in("crash=2", fail_often, dir);
    assert_string_equal(letters(dir, "f", BLOCK), "a");
    assert_int_equal(count_names(dir), 1);
    put_away(dir, path);
}

/* --- torn and reordered ------------------------------------------------- */

#define NUM_SECTORS 64

/* Over each other, so that it shows which one is the last that was kept. */
static void write_over(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_WRONLY);

    put(engine, fd, 0, 'b', 512 * NUM_SECTORS);
    put(engine, fd, 0, 'c', 512 * NUM_SECTORS);
    sync_fd(engine, fd);
}

static void torn(const char *spec, char *text)
{
    char path[32];
    int dir = scratch(path);

    plant(dir, "f", "a", 512 * NUM_SECTORS);
    crash_in(spec, write_over, dir);
    strcpy(text, letters(dir, "f", 512));
    assert_int_equal(strlen(text), NUM_SECTORS);
    put_away(dir, path);
}

/* Whether something ends at a sector that is odd, or one that is even. */
static bool has_step(const char *text, size_t odd)
{
    for (size_t i = 1; i < NUM_SECTORS; i++)
        if (i % 2 == odd && text[i] != text[i - 1])
            return true;
    return false;
}

static void test_torn(void **state)
{
    char one[MOST], again[MOST], two[MOST];

    (void)state;
    torn("crash=1,lose=some,tear=512,seed=1", one);
    torn("crash=1,lose=some,tear=512,seed=1", again);
    torn("crash=1,lose=some,tear=512,seed=2", two);
    assert_string_equal(one, again);
    assert_string_not_equal(one, two);
    assert_true(has_step(one, 0) && has_step(one, 1));
    for (const char *c = "abc"; *c; c++)
        assert_non_null(strchr(one, *c));
    /* By blocks: each eight sectors are the same. */
    torn("crash=1,lose=some,tear=4096,seed=1", one);
    for (size_t i = 0; i < NUM_SECTORS; i++)
        assert_int_equal(one[i], one[i - i % 8]);
    assert_true(strchr(one, 'c') && strspn(one, "c") < NUM_SECTORS);
    /* Not torn where all is lost, or none. */
    torn("crash=1,tear=512,seed=1", one);
    assert_int_equal(strspn(one, "a"), NUM_SECTORS);
    torn("crash=1,tear=512,lose=none", one);
    assert_int_equal(strspn(one, "c"), NUM_SECTORS);
}

static void write_across(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_WRONLY);

    put(engine, fd, 100, 'b', 512 * NUM_SECTORS - 200);
    sync_fd(engine, fd);
}

/* The sectors are those of the file, wherever a write begins. */
static void test_torn_across(void **state)
{
    char path[32];
    int dir = scratch(path);
    const char *text;

    (void)state;
    plant(dir, "f", "a", 512 * NUM_SECTORS);
    crash_in("crash=1,lose=some,tear=512,seed=1", write_across, dir);
    text = letters(dir, "f", 1);
    assert_int_equal(strlen(text), 512 * NUM_SECTORS);
    assert_true(strchr(text, 'b') && strchr(text + 512, 'a'));
    for (size_t i = 1; i < 512 * NUM_SECTORS; i++)
        if (i != 100 && i != 512 * NUM_SECTORS - 100 && i % 512 != 0)
            assert_int_equal(text[i], text[i - 1]);
    put_away(dir, path);
}

#define NUM_WRITES 16

static void write_in_turn(struct tm_engine *engine, int dir)
{
    int fd = create(engine, dir, "f");

    sync_fd(engine, dir);
    for (int i = 0; i < NUM_WRITES; i++)
        put(engine, fd, (uint64_t)i * BLOCK, 'b', BLOCK);
    sync_fd(engine, fd);
}

/* A later write is kept where an earlier one is lost. */
static void test_reordered(void **state)
{
    char path[32];
    int dir = scratch(path);
    const char *text;

    (void)state;
    crash_in("crash=2,lose=some,seed=7", write_in_turn, dir);
    text = letters(dir, "f", BLOCK);
    assert_true(strlen(text) <= NUM_WRITES);
    assert_non_null(strstr(text, ".b"));
    assert_int_equal(strspn(text, ".b"), strlen(text));
    put_away(dir, path);
}

/* --- names -------------------------------------------------------------- */

static void make_file(struct tm_engine *engine, int dir)
{
    int fd = create(engine, dir, "f");

    put(engine, fd, 0, 'b', BLOCK);
    sync_fd(engine, fd);
    sync_fd(engine, dir);
    put(engine, fd, BLOCK, 'c', BLOCK);
    sync_fd(engine, dir);
}

static void test_created(void **state)
{
    static const struct {
        const char *spec;
        const char *left; /* NULL: no file */
    } cases[] = {
        {"crash=1", NULL},
        {"crash=1,names=keep", ""},
        {"crash=1,when=after", NULL},
        {"crash=1,when=after,names=keep", "b"},
        {"crash=2", NULL},
        {"crash=2,when=after", "b"},
        {"crash=3", "b"},
        {"crash=3,lose=none", "bc"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char path[32];
        int dir = scratch(path);

        crash_in(cases[i].spec, make_file, dir);
        assert_int_equal(is_there(dir, "f"), cases[i].left != NULL);
        if (cases[i].left)
            assert_string_equal(letters(dir, "f", BLOCK), cases[i].left);
        put_away(dir, path);
    }
}

/* The directory of a new file is synced before anything is in it. */
static void make_empty(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_WRONLY | O_CREAT);

    MUST(open_at(engine, dir, "f", O_WRONLY | O_CREAT) >= 0);
    MUST(open_at(engine, dir, "g", O_WRONLY | O_CREAT) >= 0);
    resize(engine, TM_CALL_ALLOCATE, fd, BLOCK);
    MUST(run_one(engine, (struct tm_op){.kind = TM_OP_SYNC, .fd = dir}) == 0);
    sync_fd(engine, dir);
}

static void test_empty(void **state)
{
    char path[32];
    int dir = scratch(path);

    (void)state;
    /* What was there is not taken for made. */
    plant(dir, "g", "a", BLOCK);
    crash_in("crash=1", make_empty, dir);
    assert_false(is_there(dir, "f"));
    assert_string_equal(letters(dir, "g", BLOCK), "a");
    crash_in("crash=2", make_empty, dir);
    assert_string_equal(letters(dir, "f", BLOCK), "");
    put_away(dir, path);
}

static void truncate_open(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "f", O_WRONLY | O_CREAT | O_TRUNC);

    put(engine, fd, 0, 'b', BLOCK);
    sync_fd(engine, fd);
}

static void test_truncated(void **state)
{
    char path[32];
    int dir = scratch(path);

    (void)state;
    plant(dir, "f", "a", 2 * BLOCK);
    crash_in("crash=1", truncate_open, dir);
    assert_string_equal(letters(dir, "f", BLOCK), "aa");
    crash_in("crash=1,when=after", truncate_open, dir);
    assert_string_equal(letters(dir, "f", BLOCK), "b");
    put_away(dir, path);
}

static void make_tree(struct tm_engine *engine, int dir)
{
    make_dir(engine, dir, "d");
    make_dir(engine, dir, "d/e/");
    put(engine, create(engine, dir, "d/e/f"), 0, 'b', BLOCK);
    sync_at(engine, dir, "d/e");
    sync_at(engine, dir, "d");
    sync_at(engine, dir, ".");
    create(engine, dir, "d/e/g");
    sync_fd(engine, dir);
}

static void test_tree(void **state)
{
    (void)state;
    for (int k = 1; k <= 4; k++) {
        char path[32], spec[32];
        int dir = scratch(path);

        snprintf(spec, sizeof(spec), "crash=%d", k);
        crash_in(spec, make_tree, dir);
        assert_int_equal(is_there(dir, "d"), k == 4);
        assert_int_equal(is_there(dir, "d/e/f"), k == 4);
        assert_false(is_there(dir, "d/e/g"));
        put_away(dir, path);
    }
}

/* Two files under new names, one of them in place of a third. */
static void rename_files(struct tm_engine *engine, int dir)
{
    rename_at(engine, dir, "a", "x", RENAME_NOREPLACE);
    rename_at(engine, dir, "b", "c", 0);
    put(engine, open_at(engine, dir, "c", O_WRONLY), 0, 'd', BLOCK);
    sync_fd(engine, dir);
}

static void test_renamed(void **state)
{
    char path[32];
    int dir = scratch(path);
    struct stat before, after;

    (void)state;
    plant(dir, "a", "a", BLOCK);
    plant(dir, "b", "b", BLOCK);
    plant(dir, "c", "c", BLOCK);
    assert_int_equal(fchmodat(dir, "c", 0640, 0), 0);
    assert_int_equal(fstatat(dir, "c", &before, 0), 0);
    crash_in("crash=1", rename_files, dir);
    assert_int_equal(count_names(dir), 3);
    assert_string_equal(letters(dir, "a", BLOCK), "a");
    assert_string_equal(letters(dir, "b", BLOCK), "b");
    assert_string_equal(letters(dir, "c", BLOCK), "c");
    assert_int_equal(fstatat(dir, "c", &after, 0), 0);
    assert_int_equal(after.st_mode, before.st_mode);
    assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    crash_in("crash=1,when=after", rename_files, dir);
    assert_int_equal(count_names(dir), 2);
    assert_string_equal(letters(dir, "x", BLOCK), "a");
    assert_string_equal(letters(dir, "c", BLOCK), "b");
    put_away(dir, path);
}

/* Both directories have to be synced. */
static void rename_in(struct tm_engine *engine, int dir)
{
    rename_at(engine, dir, "d/f", "e/g", 0);
    sync_at(engine, dir, "e");
    sync_at(engine, dir, "d");
    sync_fd(engine, dir);
}

static void rename_out(struct tm_engine *engine, int dir)
{
    rename_at(engine, dir, "d/f", "e/g", 0);
    sync_at(engine, dir, "d");
    sync_at(engine, dir, "e");
    sync_fd(engine, dir);
}

static void check_renamed_across(act *what)
{
    for (int k = 1; k <= 3; k++) {
        char path[32], spec[32];
        int dir = scratch(path);

        assert_int_equal(mkdirat(dir, "d", 0777), 0);
        assert_int_equal(mkdirat(dir, "e", 0777), 0);
        plant(dir, "d/f", "a", BLOCK);
        snprintf(spec, sizeof(spec), "crash=%d", k);
        crash_in(spec, what, dir);
        assert_int_equal(is_there(dir, "d/f"), k < 3);
        assert_int_equal(is_there(dir, "e/g"), k == 3);
        put_away(dir, path);
    }
}

static void test_renamed_across(void **state)
{
    (void)state;
    check_renamed_across(rename_in);
    check_renamed_across(rename_out);
}

/* Names that are made while their directory is synced are not durable. */
static void make_late(struct tm_engine *engine, int dir)
{
    struct tm_op sync = {.kind = TM_OP_SYNC, .fd = dir};

    make_dir(engine, dir, "early");
    engine->ops->submit(engine, &sync);
    make_dir(engine, dir, "late");
    wait_for(engine, 1);
    sync_at(engine, dir, "early");
}

static void test_late(void **state)
{
    char path[32];
    int dir = scratch(path);

    (void)state;
    crash_in("crash=2", make_late, dir);
    assert_true(is_there(dir, "early"));
    assert_false(is_there(dir, "late"));
    put_away(dir, path);
}

/* As the program publishes a directory in place of another one. */
static void publish(struct tm_engine *engine, int dir)
{
    int fd;

    make_dir(engine, dir, "new");
    fd = create(engine, dir, "new/f");
    put(engine, fd, 0, 'n', BLOCK);
    sync_fd(engine, fd);
    sync_at(engine, dir, "new");
    rename_at(engine, dir, "new", "out", RENAME_EXCHANGE);
    sync_fd(engine, dir);
    unlink_at(engine, dir, "new/f", 0);
    unlink_at(engine, dir, "new", AT_REMOVEDIR);
    sync_at(engine, dir, ".");
}

static void test_exchanged(void **state)
{
    static const struct {
        const char *spec;
        const char *out;
        const char *new; /* NULL: it is not there */
    } cases[] = {
        {"crash=1", "o", NULL}, {"crash=2", "o", NULL},
        {"crash=3", "o", NULL}, {"crash=3,names=keep", "n", "o"},
        {"crash=4", "n", "o"},  {"crash=4,when=after", "n", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char path[32];
        int dir = scratch(path);

        assert_int_equal(mkdirat(dir, "out", 0777), 0);
        plant(dir, "out/f", "o", BLOCK);
        crash_in(cases[i].spec, publish, dir);
        assert_string_equal(letters(dir, "out/f", BLOCK), cases[i].out);
        assert_int_equal(is_there(dir, "new"), cases[i].new != NULL);
        if (cases[i].new)
            assert_string_equal(letters(dir, "new/f", BLOCK), cases[i].new);
        put_away(dir, path);
    }
}

/* A file that was changed before it was removed, in a tree that goes too. */
static void remove_all(struct tm_engine *engine, int dir)
{
    int fd = open_at(engine, dir, "d/f", O_WRONLY);

    put(engine, fd, 0, 'b', BLOCK);
    sync_fd(engine, fd);
    put(engine, fd, 0, 'c', BLOCK);
    unlink_at(engine, dir, "d/f", 0);
    unlink_at(engine, dir, "d", AT_REMOVEDIR);
    make_dir(engine, dir, "d");
    create(engine, dir, "d/g");
    sync_at(engine, dir, "d");
    sync_at(engine, dir, ".");
}

static void test_removed(void **state)
{
    (void)state;
    for (int k = 2; k <= 3; k++) {
        char path[32], spec[32];
        int dir = scratch(path);
        struct stat st;

        assert_int_equal(mkdirat(dir, "d", 0777), 0);
        assert_int_equal(fchmodat(dir, "d", 0750, 0), 0);
        plant(dir, "d/f", "a", BLOCK);
        snprintf(spec, sizeof(spec), "crash=%d", k);
        crash_in(spec, remove_all, dir);
        assert_string_equal(letters(dir, "d/f", BLOCK), "b");
        assert_false(is_there(dir, "d/g"));
        assert_int_equal(fstatat(dir, "d", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0750);
        assert_int_equal(count_names(dir), 1);
        snprintf(spec, sizeof(spec), "crash=%d,when=after", k);
        crash_in(spec, remove_all, dir);
        assert_int_equal(is_there(dir, "d/g"), k == 3);
        assert_int_equal(is_there(dir, "d/f"), k == 2);
        put_away(dir, path);
    }
}

/* What was made and removed again comes and goes. */
static void make_and_remove(struct tm_engine *engine, int dir)
{
    make_dir(engine, dir, "d");
    create(engine, dir, "d/f");
    unlink_at(engine, dir, "d/f", 0);
    unlink_at(engine, dir, "d", AT_REMOVEDIR);
    create(engine, dir, "f");
    create(engine, dir, "g");
    rename_at(engine, dir, "g", "f", 0);
    sync_fd(engine, dir);
}

static void test_made_and_removed(void **state)
{
    char path[32];
    int dir = scratch(path);

    (void)state;
    crash_in("crash=1", make_and_remove, dir);
    assert_int_equal(count_names(dir), 0);
    put_away(dir, path);
}

/* The old and the new directory are there, whatever is drawn. */
static void test_exchanged_or_not(void **state)
{
    unsigned seen = 0;

    (void)state;
    for (int seed = 0; seed < 20; seed++) {
        char path[32], spec[64], letter;
        int dir = scratch(path);

        assert_int_equal(mkdirat(dir, "out", 0777), 0);
        plant(dir, "out/f", "o", BLOCK);
        snprintf(spec, sizeof(spec), "crash=3,names=some,seed=%d", seed);
        crash_in(spec, publish, dir);
        letter = letters(dir, "out/f", BLOCK)[0];
        if (letter == 'n')
            assert_string_equal(letters(dir, "new/f", BLOCK), "o");
        else if (is_there(dir, "new"))
            assert_string_equal(letters(dir, "new/f", BLOCK), "n");
        seen |= letter == 'n' ? 1 : is_there(dir, "new") ? 2 : 4;
        put_away(dir, path);
    }
    assert_int_equal(seen, 7);
}

/* Names that are given up and taken again. */
static void take_again(struct tm_engine *engine, int dir)
{
    rename_at(engine, dir, "a", "b", 0);
    rename_at(engine, dir, "b", "c", 0);
    create(engine, dir, "b");
    unlink_at(engine, dir, "u", 0);
    create(engine, dir, "u");
    rename_at(engine, dir, "x", "y", RENAME_EXCHANGE);
    unlink_at(engine, dir, "x", 0);
    sync_fd(engine, dir);
}

static void test_taken_again(void **state)
{
    static const char *const names[] = {"a", "b", "c"};
    unsigned seen = 0;

    (void)state;
    for (int seed = 0; seed < 40; seed++) {
        char path[32], spec[64];
        int dir = scratch(path);
        size_t num = 0;
        bool is_back;

        plant(dir, "a", "a", BLOCK);
        plant(dir, "u", "u", BLOCK);
        plant(dir, "x", "x", BLOCK);
        plant(dir, "y", "y", BLOCK);
        snprintf(spec, sizeof(spec), "crash=1,names=some,seed=%d", seed);
        crash_in(spec, take_again, dir);
        for (size_t i = 0; i < COUNT(names); i++)
            if (is_there(dir, names[i]) &&
                !strcmp(letters(dir, names[i], BLOCK), "a")) {
                seen |= 1u << i;
                num++;
            }
        assert_int_equal(num, 1);
        assert_true(!is_there(dir, "a") ||
                    !strcmp(letters(dir, "a", BLOCK), "a"));
        /* One after the other: letters has one place for what it found. */
        is_back = is_there(dir, "x") && *letters(dir, "x", BLOCK) == 'x';
        assert_string_equal(letters(dir, "y", BLOCK), is_back ? "y" : "x");
        seen |= is_there(dir, "u") ? *letters(dir, "u", BLOCK) ? 8 : 16 : 32;
        put_away(dir, path);
    }
    assert_int_equal(seen, 63);
}

/* A durable file goes to a new directory and gets a new name there. */
static void move_in(struct tm_engine *engine, int dir)
{
    make_dir(engine, dir, "d");
    make_dir(engine, dir, "d/e");
    create(engine, dir, "d/other");
    rename_at(engine, dir, "f", "d/e/f", 0);
    rename_at(engine, dir, "d/e/f", "d/e/g", 0);
    sync_fd(engine, open_at(engine, dir, "d/e/g", O_RDONLY));
}

/* Whatever is drawn, the file has one name of the three. */
static void test_some_names(void **state)
{
    static const char *const names[] = {"f", "d/e/f", "d/e/g"};
    unsigned seen = 0;

    (void)state;
    for (int seed = 0; seed < 40; seed++) {
        char path[32], spec[64];
        int dir = scratch(path);
        size_t num = 0;

        plant(dir, "f", "a", BLOCK);
        snprintf(spec, sizeof(spec), "crash=1,names=some,seed=%d", seed);
        crash_in(spec, move_in, dir);
        for (size_t i = 0; i < COUNT(names); i++)
            if (is_there(dir, names[i])) {
                assert_string_equal(letters(dir, names[i], BLOCK), "a");
                seen |= 1u << i;
                num++;
            }
        assert_int_equal(num, 1);
        seen |= is_there(dir, "d/other") ? 8 : 0;
        seen |= is_there(dir, "d") ? 0 : 16;
        put_away(dir, path);
    }
    assert_int_equal(seen, 31);
}

/* --- settings ----------------------------------------------------------- */

/* What the child has printed to standard error. */
static void last_words(const char *spec, int expected, char words[80])
{
    char path[32];
    int dir = scratch(path);
    int saved = dup(STDERR_FILENO);
    int words_fd =
        openat(dir, "words", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int status;
    size_t len;

    assert_true(saved >= 0 && words_fd >= 0);
    dup2(words_fd, STDERR_FILENO);
    status = run_child(spec, make_file, dir);
    dup2(saved, STDERR_FILENO);
    assert_int_equal(status, expected);
    len = look(dir, "words", words, 79);
    words[len] = '\0';
    close(saved);
    close(words_fd);
    put_away(dir, path);
}

static void test_log(void **state)
{
    char words[80];

    (void)state;
    last_words("log=1", 0, words);
    assert_string_equal(words, "crash: 3 syncs\n");
    last_words("crash=0,log=1", 0, words);
    assert_string_equal(words, "crash: 3 syncs\n");
    last_words("crash=4,log=1", 0, words);
    assert_string_equal(words, "crash: 3 syncs\n");
    last_words("crash=2,log=1", TM_CRASH_EXIT, words);
    assert_string_equal(words, "crash: 2 syncs\n");
    last_words("crash=0", 0, words);
    assert_string_equal(words, "");
}

/* Without a power cut all is as it would be without this engine. */
static void test_nothing(void **state)
{
    static act *const acts[] = {make_file, make_tree, make_empty};

    (void)state;
    for (size_t i = 0; i < COUNT(acts); i++) {
        char path[32];
        int dir = scratch(path);

        plant(dir, i == 2 ? "g" : "other", "a", BLOCK);
        assert_int_equal(run_child("crash=99", acts[i], dir), 0);
        assert_int_equal(count_names(dir), 2);
        put_away(dir, path);
    }
}

static void test_spec(void **state)
{
    static const char *const bad[] = {
        ",",         "crash",    "crash=",     "crash=x",
        "crash=-1",  "crash=1,", "when=never", "lose=every",
        "tear=1024", "tear=",    "names=none", "names=all",
        "seed=a",    "log=0",    "k=1",        "seed=1,crash=1,seed=2",
        "op=sync",
    };
    struct tm_engine *inner = make_bare();
    struct tm_engine *engine;

    (void)state;
    assert_non_null(inner);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (tm_engine_crash(inner, bad[i]))
            fail_msg("'%s' was understood", bad[i]);
    /* The inner engine is still ours, and well. */
    assert_int_equal(
        run_one(inner, (struct tm_op){.kind = TM_OP_SYNC, .fd = -1}), -EBADF);
    engine = tm_engine_crash(inner, "crash=18446744073709551615,when=after,"
                                    "lose=some,tear=512,names=some,seed=3");
    assert_non_null(engine);
    assert_string_equal(engine->ops->name, "crash");
    engine->ops->wake(engine);
    assert_null(engine->ops->wait(engine, 0));
    engine->ops->destroy(engine);
}

/* --- all of it ---------------------------------------------------------- */

static int run_on(const struct backend *which)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_odd_writes),
        cmocka_unit_test(test_direct),
        cmocka_unit_test(test_in_flight),
        cmocka_unit_test(test_unheard_sync),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_torn),
        cmocka_unit_test(test_torn_across),
        cmocka_unit_test(test_reordered),
        cmocka_unit_test(test_created),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_renamed),
        cmocka_unit_test(test_renamed_across),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_exchanged),
        cmocka_unit_test(test_exchanged_or_not),
        cmocka_unit_test(test_made_and_removed),
        cmocka_unit_test(test_taken_again),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_some_names),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_spec),
    };

    backend = which;
    print_message("--- %s\n", which->name);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    static const struct backend threads = {"threads", tm_engine_threads};
    int failed = 0;

    alarm(600);
#ifdef HAVE_LIBURING
    static const struct backend uring = {"uring", tm_engine_uring};
    int error;
    struct tm_engine *engine = tm_engine_uring(DEPTH, &error);

    if (engine) {
        engine->ops->destroy(engine);
        failed += run_on(&uring);
    } else {
        print_message("uring: skipped: %s\n", strerror(-error));
    }
#else
    print_message("uring: skipped: built without liburing\n");
#endif
    failed += run_on(&threads);
    return failed == 0 ? 0 : 1;
}
