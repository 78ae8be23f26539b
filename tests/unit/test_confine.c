/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The confinement: what it refuses and what it leaves. What is confined stays
 * so, hence every test does it in a child, which says by its exit status how
 * it went: 0, or the line of what was not as it should be.
 *
 * Where the kernel has no Landlock, the tests of what it does are left out.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/confine.h"
#include "io/transfer.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* sys/syscall.h may be older than the call. */
#define CREATE_RULESET 444

/* In a child: 0 is success, and lines of this file are below 1000. */
#define REQUIRE(what)                                                          \
    do {                                                                       \
        if (!(what)) {                                                         \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #what);         \
            return 1;                                                          \
        }                                                                      \
    } while (0)

/* --- a place with files ---------------------------------------------------*/

/* in/a, in/sub/b, link -> in/a, other/c, out/ */
static char place[] = "/tmp/test_confine.XXXXXX";

static const char *const directories[] = {"in", "in/sub", "other", "out"};
static const char *const files[] = {"in/a", "in/sub/b", "other/c"};

static int make_file(const char *path)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

    if (fd < 0)
        return -errno;
    return close(fd);
}

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(place) == NULL || chdir(place) != 0)
        return -1;
    for (size_t i = 0; i < COUNT(directories); i++)
        if (mkdir(directories[i], 0777) != 0)
            return -1;
    for (size_t i = 0; i < COUNT(files); i++)
        if (make_file(files[i]) != 0)
            return -1;
    return symlink("in/a", "link");
}

static int tear_down(void **state)
{
    (void)state;
    unlink("link");
    for (size_t i = COUNT(files); i-- > 0;)
        unlink(files[i]);
    for (size_t i = COUNT(directories); i-- > 0;)
        rmdir(directories[i]);
    return chdir("/") != 0 || rmdir(place) != 0;
}

/* What opening gives: 0, or an errno. */
static int try_open(const char *path, int flags)
{
    const int fd = open(path, flags | O_CLOEXEC, 0666);

    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int try_read(const char *path)
{
    return try_open(path, O_RDONLY);
}

static int try_make(const char *path)
{
    return try_open(path, O_WRONLY | O_CREAT | O_EXCL);
}

/* What a call that returned `rc` gives: 0, or an errno. */
static int said(int rc)
{
    return rc == 0 ? 0 : errno;
}

/* --- children -------------------------------------------------------------*/

static void in_child(int (*test)(void))
{
    int status;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        _exit(test());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* The kernel's, once that was asked; what it cannot refuse is not tried. */
static int abi;

#define TRUNCATE_ABI 3
#define NET_ABI      4

static bool is_to_be_had(void)
{
    struct tm_confine confine;

    tm_confine_begin(&confine);
    abi = confine.abi;
    if (confine.why_not == NULL) {
        tm_confine_give_up(&confine, "only asked");
        return true;
    }
    print_message("left out: %s\n", confine.why_not);
    return false;
}

static void confined(int (*test)(void))
{
    if (is_to_be_had())
        in_child(test);
    else
        skip();
}

struct allowed {
    const char *path;
    enum tm_confine_right right;
};

static bool confine_to(const struct allowed *allowed, size_t count)
{
    struct tm_confine confine;

    tm_confine_begin(&confine);
    for (size_t i = 0; i < count; i++)
        tm_confine_allow(&confine, AT_FDCWD, allowed[i].path, allowed[i].right);
    return tm_confine_apply(&confine) && confine.ruleset < 0;
}

/* --- reading --------------------------------------------------------------*/

static int reads_below(void)
{
    const struct allowed allowed[] = {{"in", TM_MAY_READ}};

    REQUIRE(confine_to(allowed, COUNT(allowed)));
    REQUIRE(try_read("in/a") == 0);
    REQUIRE(try_read("in/sub/b") == 0);
    REQUIRE(try_open("in/sub", O_RDONLY | O_DIRECTORY) == 0);
    REQUIRE(try_read("link") == 0);
    REQUIRE(try_open("in/a", O_WRONLY) == EACCES);
    REQUIRE(abi < TRUNCATE_ABI || said(truncate("in/a", 0)) == EACCES);
    REQUIRE(try_make("in/new") == EACCES);
    REQUIRE(said(unlink("in/a")) == EACCES);
    REQUIRE(said(rename("in/a", "in/b")) == EACCES);
    REQUIRE(try_read("other/c") == EACCES);
    REQUIRE(try_open("other", O_RDONLY | O_DIRECTORY) == EACCES);
    REQUIRE(try_read("/etc/passwd") == EACCES);
    return 0;
}

/* A file allowed by its link can be opened by either, its neighbours not. */
static int reads_one(void)
{
    const struct allowed allowed[] = {{"link", TM_MAY_READ}};

    REQUIRE(confine_to(allowed, COUNT(allowed)));
    REQUIRE(try_read("link") == 0);
    REQUIRE(try_read("in/a") == 0);
    REQUIRE(try_read("in/sub/b") == EACCES);
    REQUIRE(try_open("in", O_RDONLY | O_DIRECTORY) == EACCES);
    return 0;
}

static int keeps_open(void)
{
    const int fd = open("other/c", O_RDWR | O_CLOEXEC);
    char byte = 'c';

    REQUIRE(fd >= 0);
    REQUIRE(confine_to(NULL, 0));
    REQUIRE(try_read("other/c") == EACCES);
    REQUIRE(pwrite(fd, &byte, 1, 0) == 1);
    REQUIRE(pread(fd, &byte, 1, 0) == 1);
    REQUIRE(ftruncate(fd, 0) == 0);
    return close(fd);
}

/* What is missing is passed over, the rest stays as it is. */
static int passes_over(void)
{
    const struct allowed allowed[] = {
        {"in/none", TM_MAY_READ},
        {"in/a/b", TM_MAY_WRITE},
        {"", TM_MAY_READ},
        {"in/a", TM_MAY_READ},
    };

    REQUIRE(confine_to(allowed, COUNT(allowed)));
    REQUIRE(try_read("in/a") == 0);
    REQUIRE(try_read("other/c") == EACCES);
    return 0;
}

/* --- writing --------------------------------------------------------------*/

static int writes_below(void)
{
    const struct allowed allowed[] = {{"out", TM_MAY_WRITE}};

    REQUIRE(confine_to(allowed, COUNT(allowed)));
    REQUIRE(said(mkdir("out/d", 0777)) == 0);
    REQUIRE(try_make("out/d/x") == 0);
    REQUIRE(try_open("out/d/x", O_RDWR | O_TRUNC) == 0);
    REQUIRE(said(truncate("out/d/x", 1)) == 0);
    REQUIRE(said(rename("out/d/x", "out/x")) == 0);
    REQUIRE(said(unlink("out/x")) == 0);
    REQUIRE(said(rename("out/d", "out/e")) == 0);
    REQUIRE(try_open("out", O_RDONLY | O_DIRECTORY) == 0);
    REQUIRE(said(rmdir("out/e")) == 0);
    REQUIRE(try_make("new") == EACCES);
    REQUIRE(said(mkdir("new", 0777)) == EACCES);
    REQUIRE(try_open("other/c", O_WRONLY) == EACCES);
    REQUIRE(abi < TRUNCATE_ABI || said(truncate("other/c", 0)) == EACCES);
    REQUIRE(said(rename("other/c", "out/c")) != 0);
    REQUIRE(said(link("other/c", "out/c")) != 0);
    return 0;
}

/* As a directory is published: only directories get another name. */
static int names_directories(void)
{
    const struct allowed allowed[] = {{".", TM_MAY_NAME_DIRS},
                                      {"out", TM_MAY_WRITE}};

    REQUIRE(confine_to(allowed, COUNT(allowed)));
    REQUIRE(try_make("out/x") == 0);
    REQUIRE(said(rename("out", "done")) == 0);
    REQUIRE(try_read("done/x") == 0);
    REQUIRE(said(rename("done", "out")) == 0);
    REQUIRE(said(rename("out/x", "x")) != 0);
    REQUIRE(said(unlink("out/x")) == 0);
    REQUIRE(try_make("new") == EACCES);
    REQUIRE(said(unlink("link")) == EACCES);
    REQUIRE(try_read("other/c") == EACCES);
    REQUIRE(try_open("other/c", O_WRONLY) == EACCES);
    return 0;
}

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

static int exchange(const char *one, const char *other)
{
    return said(
        renameat2(AT_FDCWD, one, AT_FDCWD, other, (unsigned)RENAME_EXCHANGE));
}

/*
 * As one that is made inside another is published: it takes the place of a
 * directory, which is then removed. The way back is open to what has a right
 * of its own.
 */
static int replaces_a_directory(void)
{
    const struct allowed allowed[] = {{".", TM_MAY_NAME_DIRS},
                                      {"out", TM_MAY_WRITE},
                                      {"out/d", TM_MAY_WRITE},
                                      {"old", TM_MAY_WRITE}};

    REQUIRE(mkdir("old", 0777) == 0 && make_file("old/x") == 0);
    REQUIRE(mkdir("out/d", 0777) == 0);
    REQUIRE(confine_to(allowed, COUNT(allowed)));
    REQUIRE(exchange("out/d", "old") == 0);
    REQUIRE(exchange("out/d", "old") == 0);
    REQUIRE(exchange("out/d", "old") == 0);
    REQUIRE(said(unlink("out/d/x")) == 0);
    REQUIRE(said(rmdir("out/d")) == 0);
    REQUIRE(said(rename("old", "out/d")) == 0);
    REQUIRE(said(rename("out/d", "new")) == 0);
    REQUIRE(said(rmdir("new")) == 0);
    REQUIRE(exchange("other", "out") == 0); /* only names */
    REQUIRE(exchange("other", "out") == 0);
    REQUIRE(said(rename("other", "out/other")) != 0);
    return 0;
}

/* The same where there is a link, whose end is not its business. */
static int replaces_a_link(void)
{
    const struct allowed allowed[] = {
        {".", TM_MAY_NAME}, {"out", TM_MAY_WRITE}, {"old", TM_MAY_WRITE}};

    REQUIRE(symlink("other", "old") == 0);
    REQUIRE(confine_to(allowed, COUNT(allowed)));
    REQUIRE(try_open("old/c", O_WRONLY) == EACCES);
    REQUIRE(said(mkdir("out/d", 0777)) == 0);
    REQUIRE(exchange("out/d", "old") == 0);
    REQUIRE(said(unlink("out/d")) == 0);
    REQUIRE(said(rmdir("old")) == 0);
    return 0;
}

/* As a single file is: it comes out of the directory it was made in. */
static int names_files(void)
{
    const struct allowed allowed[] = {{".", TM_MAY_NAME},
                                      {"out", TM_MAY_WRITE}};

    REQUIRE(confine_to(allowed, COUNT(allowed)));
    REQUIRE(try_make("out/x") == 0);
    REQUIRE(said(rename("out/x", "x")) == 0);
    REQUIRE(try_read("x") == EACCES);
    REQUIRE(try_open("x", O_WRONLY) == EACCES);
    REQUIRE(try_make("out/y") == 0);
    REQUIRE(said(rename("out/y", "x")) == 0);
    REQUIRE(said(unlink("x")) == 0);
    REQUIRE(try_open("other/c", O_WRONLY) == EACCES);
    return 0;
}

/* --- threads --------------------------------------------------------------*/

static void *read_other(void *result)
{
    *(int *)result = try_read("other/c");
    return NULL;
}

static int goes_on_in_threads(void)
{
    pthread_t thread;
    int result = 0;

    REQUIRE(confine_to(NULL, 0));
    REQUIRE(pthread_create(&thread, NULL, read_other, &result) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    REQUIRE(result == EACCES);
    return 0;
}

/* Whether a thread can get no new rights, which comes with confining it. */
static bool is_confined(const char *id)
{
    char path[300], line[128];
    bool is = false;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%s/status", id);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        is = is || strcmp(line, "NoNewPrivs:\t1\n") == 0;
    if (file != NULL)
        fclose(file);
    return is;
}

/* How many threads of the process are not. */
static int count_free(void)
{
    DIR *stream = opendir("/proc/self/task");
    const struct dirent *entry;
    int count = 0;

    if (stream == NULL)
        return -1;
    while ((entry = readdir(stream)) != NULL)
        count += entry->d_name[0] != '.' && !is_confined(entry->d_name);
    closedir(stream);
    return count;
}

/* Whether all threads are the program's: the thread sanitizer has its own. */
#define THREADS_ARE_OURS 1
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#undef THREADS_ARE_OURS
#define THREADS_ARE_OURS 0
#endif
#endif

/* The engine's threads are others afterwards, and it works as before. */
static int renews(enum tm_io_choice choice, const char *fault)
{
    const struct allowed allowed[] = {{"/proc", TM_MAY_READ}};
    const int fd = open("other/c", O_RDWR | O_CLOEXEC);
    struct tm_file file = {.fd = fd, .path = "other/c"};
    _Alignas(TM_BLOCK) static char block[TM_BLOCK] = "c";
    struct tm_transfer write = {
        .kind = TM_OP_WRITE, .file = &file, .buf = block, .len = TM_BLOCK};
    const bool counts = THREADS_ARE_OURS && choice == TM_IO_THREADS;
    struct tm_disk disk;

    REQUIRE(fd >= 0);
    REQUIRE(tm_disk_open(choice, fault, &disk) == TM_OK);
    REQUIRE(tm_transfer_now(&disk, &write) == TM_OK);
    REQUIRE(confine_to(allowed, COUNT(allowed)));
    REQUIRE(!counts || count_free() > 0);
    REQUIRE(tm_disk_renew(&disk) == TM_OK);
    REQUIRE(!counts || count_free() == 0);
    REQUIRE(tm_transfer_now(&disk, &write) == TM_OK);
    REQUIRE(tm_disk_renew(&disk) == TM_OK);
    tm_disk_close(&disk);
    return close(fd);
}

static int renews_threads(void)
{
    return renews(TM_IO_THREADS, NULL);
}

static int renews_inside(void)
{
    return renews(TM_IO_THREADS, "op=read,k=1000000");
}

static int renews_any(void)
{
    return renews(TM_IO_AUTO, NULL);
}

/* --- the network ----------------------------------------------------------*/

static int has_no_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(confine_to(NULL, 0));
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || abi < NET_ABI)
        return 0;
    REQUIRE(said(bind(fd, (void *)&address, sizeof(address))) == EACCES);
    address.sin_port = htons(9);
    REQUIRE(said(connect(fd, (void *)&address, sizeof(address))) == EACCES);
    return close(fd);
}

/* --- where it cannot be had -----------------------------------------------*/

/* Lets the kernel say `error` whenever it is asked for a ruleset. */
static bool forbid(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CREATE_RULESET, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT(filter), .filter = filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int goes_without(int error, const char *why_not)
{
    struct tm_confine confine;

    if (!forbid(error))
        return 0; /* a kernel without filters */
    tm_confine_begin(&confine);
    tm_confine_allow(&confine, AT_FDCWD, "in", TM_MAY_READ);
    tm_confine_allow(&confine, AT_FDCWD, "out", TM_MAY_WRITE);
    REQUIRE(!tm_confine_apply(&confine));
    REQUIRE(strcmp(confine.why_not, why_not) == 0);
    REQUIRE(try_read("other/c") == 0);
    return 0;
}

static int goes_without_it(void)
{
    return goes_without(ENOSYS, "the kernel has no Landlock");
}

static int goes_without_where_off(void)
{
    return goes_without(EOPNOTSUPP, "the kernel's Landlock is switched off");
}

static int goes_without_where_forbidden(void)
{
    return goes_without(EPERM, strerror(EPERM));
}

/* Given up half-way: nothing is refused, and the first reason counts. */
static int gives_up(void)
{
    struct tm_confine confine;

    tm_confine_begin(&confine);
    tm_confine_allow(&confine, AT_FDCWD, "in", TM_MAY_READ);
    tm_confine_give_up(&confine, "first");
    tm_confine_give_up(&confine, "second");
    tm_confine_allow(&confine, AT_FDCWD, "out", TM_MAY_WRITE);
    REQUIRE(!tm_confine_apply(&confine));
    REQUIRE(strcmp(confine.why_not, "first") == 0);
    REQUIRE(try_read("other/c") == 0);
    return 0;
}

/* The kernel has an end to how often; then the last ones stay in force. */
static int adds_up_to_a_limit(void)
{
    const struct allowed first[] = {{"in", TM_MAY_READ},
                                    {"other", TM_MAY_READ}};
    const struct allowed other[] = {{"in", TM_MAY_READ}};
    int times = 0;

    REQUIRE(confine_to(first, COUNT(first)));
    REQUIRE(try_read("other/c") == 0);
    while (times < 100 && confine_to(other, COUNT(other)))
        times++;
    REQUIRE(times > 0 && times < 100);
    REQUIRE(try_read("in/a") == 0);
    REQUIRE(try_read("other/c") == EACCES);
    return 0;
}

/* --- all of them ----------------------------------------------------------*/

#define CONFINED(name)                                                         \
    static void test_##name(void **state)                                      \
    {                                                                          \
        (void)state;                                                           \
        confined(name);                                                        \
    }

#define ANYWHERE(name)                                                         \
    static void test_##name(void **state)                                      \
    {                                                                          \
        (void)state;                                                           \
        in_child(name);                                                        \
    }

CONFINED(reads_below)
CONFINED(reads_one)
CONFINED(keeps_open)
CONFINED(passes_over)
CONFINED(writes_below)
CONFINED(names_directories)
CONFINED(names_files)
CONFINED(replaces_a_directory)
CONFINED(replaces_a_link)
CONFINED(goes_on_in_threads)
CONFINED(renews_threads)
CONFINED(renews_inside)
CONFINED(renews_any)
CONFINED(has_no_tcp)
CONFINED(gives_up)
CONFINED(adds_up_to_a_limit)
ANYWHERE(goes_without_it)
ANYWHERE(goes_without_where_off)
ANYWHERE(goes_without_where_forbidden)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_below),
        cmocka_unit_test(test_reads_one),
        cmocka_unit_test(test_keeps_open),
        cmocka_unit_test(test_passes_over),
        cmocka_unit_test(test_writes_below),
        cmocka_unit_test(test_names_directories),
        cmocka_unit_test(test_names_files),
        cmocka_unit_test(test_replaces_a_directory),
        cmocka_unit_test(test_replaces_a_link),
        cmocka_unit_test(test_goes_on_in_threads),
        cmocka_unit_test(test_renews_threads),
        cmocka_unit_test(test_renews_inside),
        cmocka_unit_test(test_renews_any),
        cmocka_unit_test(test_has_no_tcp),
        cmocka_unit_test(test_gives_up),
        cmocka_unit_test(test_adds_up_to_a_limit),
        cmocka_unit_test(test_goes_without_it),
        cmocka_unit_test(test_goes_without_where_off),
        cmocka_unit_test(test_goes_without_where_forbidden),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
