/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine: see confine.h.
 *
 * The kernel's interface is written down here: the headers that a
 * distribution has are often older than the kernel that the program runs on,
 * and some of them know no Landlock at all.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Calls of Linux 5.13; they have the same numbers wherever we run. */
#ifndef SYS_landlock_create_ruleset
#if defined(__x86_64__) || defined(__aarch64__) || defined(__riscv)
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif
#endif

#define BIT(n) ((uint64_t)1 << (n))

enum {
    EXECUTE,
    WRITE_FILE,
    READ_FILE,
    READ_DIR,
    REMOVE_DIR,
    REMOVE_FILE,
    MAKE_CHAR,
    MAKE_DIR,
    MAKE_REG,
    MAKE_SOCK,
    MAKE_FIFO,
    MAKE_BLOCK,
    MAKE_SYM,
    REFER,     /* ABI 2: to move a file into another directory */
    TRUNCATE,  /* ABI 3 */
    IOCTL_DEV, /* ABI 5 */
    NUM_RIGHTS
};

/* The rights that there are from the first ABI on, and up to some other. */
static const struct {
    int abi;
    int num_rights;
} known[] = {{5, NUM_RIGHTS}, {3, IOCTL_DEV}, {2, TRUNCATE}};

#define NET_ABI 4
#define NET_TCP (BIT(0) | BIT(1)) /* bind and connect */

/* Those that make sense for what is no directory. */
#define FOR_FILES                                                              \
    (BIT(EXECUTE) | BIT(WRITE_FILE) | BIT(READ_FILE) | BIT(TRUNCATE) |         \
     BIT(IOCTL_DEV))

#define NAMING_DIRS (BIT(MAKE_DIR) | BIT(REMOVE_DIR) | BIT(REFER))

#define NAMING (NAMING_DIRS | BIT(MAKE_REG) | BIT(MAKE_SYM) | BIT(REMOVE_FILE))

#define READING (BIT(READ_FILE) | BIT(READ_DIR))

static const uint64_t rights[] = {
    [TM_MAY_READ] = READING,
    [TM_MAY_WRITE] = READING | NAMING | BIT(WRITE_FILE) | BIT(TRUNCATE),
    [TM_MAY_NAME_DIRS] = NAMING_DIRS,
    [TM_MAY_NAME] = NAMING,
};

/*
 * File systems that may give a name another inode while the first is still in
 * use. A rule is for an inode: hours later it might not fit any more.
 */
static const uint32_t unsteady[] = {
    0x01021997,                         /* 9p */
    0x65735546,                         /* FUSE, virtiofs */
    0xff534d42, 0xfe534d42, 0x0000517b, /* SMB */
};

/* What the calls take. */
struct ruleset {
    uint64_t handled_fs;
    uint64_t handled_net; /* kernels that do not know it accept a 0 */
};

struct __attribute__((packed)) rule {
    uint64_t allowed;
    int32_t parent_fd;
};

#define GET_VERSION       1u
#define RULE_PATH_BENEATH 1
#define NO_LANDLOCK       "the kernel has no Landlock"

static long create_ruleset(const struct ruleset *ruleset, unsigned flags)
{
#ifdef SYS_landlock_create_ruleset
    return syscall(SYS_landlock_create_ruleset, ruleset,
                   ruleset != NULL ? sizeof(*ruleset) : 0, flags);
#else
    (void)ruleset;
    (void)flags;
    errno = ENOSYS;
    return -1;
#endif
}

static long add_rule(int ruleset, const struct rule *rule)
{
#ifdef SYS_landlock_create_ruleset
    return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, rule, 0);
#else
    (void)ruleset;
    (void)rule;
    errno = ENOSYS;
    return -1;
#endif
}

static long restrict_self(int ruleset)
{
#ifdef SYS_landlock_create_ruleset
    return syscall(SYS_landlock_restrict_self, ruleset, 0);
#else
    (void)ruleset;
    errno = ENOSYS;
    return -1;
#endif
}

void tm_confine_give_up(struct tm_confine *confine, const char *why_not)
{
    if (confine->why_not == NULL)
        confine->why_not = why_not;
    if (confine->ruleset >= 0)
        (void)close(confine->ruleset);
    confine->ruleset = -1;
}

/* Gives up because of errno. */
static void give_up(struct tm_confine *confine)
{
    if (errno == ENOSYS)
        tm_confine_give_up(confine, NO_LANDLOCK);
    else if (errno == EOPNOTSUPP)
        tm_confine_give_up(confine, "the kernel's Landlock is switched off");
    else
        tm_confine_give_up(confine, strerror(errno));
}

/* 0: without moving files between directories the program cannot do. */
static uint64_t rights_of(int abi)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (abi >= known[i].abi)
            return BIT(known[i].num_rights) - 1;
    return 0;
}

void tm_confine_begin(struct tm_confine *confine)
{
    struct ruleset ruleset = {0};

    *confine = (struct tm_confine){.ruleset = -1};
    confine->abi = (int)create_ruleset(NULL, GET_VERSION);
    if (confine->abi < 0) {
        give_up(confine);
        return;
    }
    confine->handled = rights_of(confine->abi);
    if (confine->handled == 0) {
        tm_confine_give_up(confine, "the kernel's Landlock allows no renaming");
        return;
    }
    ruleset.handled_fs = confine->handled;
    ruleset.handled_net = confine->abi >= NET_ABI ? NET_TCP : 0;
    /* A descriptor that is closed on exec. */
    confine->ruleset = (int)create_ruleset(&ruleset, 0);
    if (confine->ruleset < 0)
        give_up(confine);
}

/* Whether a rule for `fd` will go on being one for its name. */
static bool is_steady(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) != 0)
        return false;
    for (size_t i = 0; i < sizeof(unsteady) / sizeof(unsteady[0]); i++)
        if ((uint32_t)fs.f_type == unsteady[i])
            return false;
    return true;
}

static void allow_open(struct tm_confine *confine, int fd, uint64_t allowed)
{
    struct rule rule = {.parent_fd = fd};
    struct stat st;

    if (fstat(fd, &st) != 0) {
        give_up(confine);
        return;
    }
    if (!is_steady(fd)) {
        tm_confine_give_up(confine, "a file system's files have no lasting "
                                    "identity");
        return;
    }
    rule.allowed = allowed & confine->handled;
    if (!S_ISDIR(st.st_mode))
        rule.allowed &= FOR_FILES;
    if (rule.allowed != 0 && add_rule(confine->ruleset, &rule) != 0)
        give_up(confine);
}

/* Whether `error` means that nobody can open it later, either. */
static bool is_not_there(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ELOOP ||
           error == EACCES || error == ENAMETOOLONG;
}

void tm_confine_allow(struct tm_confine *confine, int dirfd, const char *path,
                      enum tm_confine_right right)
{
    int fd;

    if (confine->ruleset < 0)
        return;
    fd = openat(dirfd, path,
                O_PATH | O_CLOEXEC | (right == TM_MAY_WRITE ? O_NOFOLLOW : 0));
    if (fd < 0) {
        if (!is_not_there(errno))
            give_up(confine);
        return;
    }
    allow_open(confine, fd, rights[right]);
    (void)close(fd);
}

bool tm_confine_apply(struct tm_confine *confine)
{
    if (confine->ruleset < 0)
        return false;
    /* Otherwise programs with more rights could be started to undo it. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        restrict_self(confine->ruleset) != 0) {
        give_up(confine);
        return false;
    }
    (void)close(confine->ruleset);
    confine->ruleset = -1;
    return true;
}
