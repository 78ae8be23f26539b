/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_names: the names that were made, changed and removed; see crash_log.h.
 *
 * A change of names is known by the directories it happened in, not by paths:
 * those may have been renamed since. Changes are taken back newest first. One
 * whose trace is gone, since a later one that stays has built on it (or has
 * removed it), stays too: every step checks that it finds what it left.
 *
 * What is removed stays open (io/crash_parts.h), so no copy of it need be
 * kept beside: nothing appears in a directory that the program may list. To
 * take a removal back is to make the file anew from what was open; it has
 * another inode then, which its node is told of.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/crash_parts.h"

enum change {
    MADE,
    REMOVED,
    MOVED, /* from -> to; to.node, if any, was replaced */
    EXCHANGED,
};

/* A name in a directory, and what it stood for before the change. */
struct entry {
    struct tm_crash_node *directory; /* NULL: there is no such entry */
    struct tm_crash_node *node;
    char *name;
};

struct tm_crash_name {
    struct tm_crash_name *older;
    enum change change;
    struct entry from;
    struct entry to; /* of MOVED and EXCHANGED */
    bool from_synced;
    bool to_synced;
    uint64_t made_at; /* on the log's clock */
};

/* --- before and after a call -------------------------------------------- */

static void free_name(struct tm_crash_name *name)
{
    free(name->from.name);
    free(name->to.name);
    free(name);
}

/*
 * Splits a path into a directory and a name in it. Without such a directory,
 * or with a path that ends in nothing, entry->directory is NULL.
 */
static bool find_entry(struct tm_crash_log *log, int dirfd, const char *path,
                       struct entry *entry)
{
    size_t len = strlen(path);
    size_t start;
    char *parent;
    bool good;

    while (len > 0 && path[len - 1] == '/')
        len--;
    for (start = len; start > 0 && path[start - 1] != '/'; start--)
        ;
    if (start == len)
        return true;
    entry->name = strndup(path + start, len - start);
    parent = start > 0 ? strndup(path, start) : strdup(".");
    good = entry->name && parent &&
           tm_crash_node_at(log, dirfd, parent, true, &entry->directory);
    free(parent);
    return good;
}

static bool find_removed(struct tm_crash_log *log, int dirfd, const char *path,
                         struct entry *entry)
{
    return find_entry(log, dirfd, path, entry) &&
           tm_crash_node_at(log, dirfd, path, false, &entry->node);
}

static bool look_at_rename(struct tm_crash_log *log, const struct tm_call *call,
                           struct tm_crash_name *name)
{
    const bool exchange = call->flags & RENAME_EXCHANGE;

    name->change = exchange ? EXCHANGED : MOVED;
    return find_removed(log, call->dirfd, call->path, &name->from) &&
           find_removed(log, call->to_dirfd, call->to_path, &name->to);
}

static bool look(struct tm_crash_log *log, const struct tm_call *call,
                 struct tm_crash_name *name)
{
    struct stat st;

    switch (call->kind) {
    case TM_CALL_OPEN:
        if (!(call->flags & O_CREAT) ||
            fstatat(call->dirfd, call->path, &st, 0) == 0)
            return true;
        /* fall through */
    case TM_CALL_MKDIR:
        name->change = MADE;
        return find_entry(log, call->dirfd, call->path, &name->from);
    case TM_CALL_UNLINK:
        name->change = REMOVED;
        return find_removed(log, call->dirfd, call->path, &name->from);
    case TM_CALL_RENAME:
        return look_at_rename(log, call, name);
    default:
        return true;
    }
}

/* Whether all is known that it takes to undo a change. */
static bool is_known(const struct tm_crash_name *name)
{
    if (!name->from.directory)
        return false;
    if (name->change != MADE && !name->from.node)
        return false;
    if (name->change == MOVED || name->change == EXCHANGED)
        return name->to.directory && name->to.node != name->from.node;
    return true;
}

bool tm_crash_look(struct tm_crash_log *log, const struct tm_call *call,
                   struct tm_crash_name **name)
{
    *name = calloc(1, sizeof(**name));
    if (!*name)
        return false;
    if (!look(log, call, *name)) {
        free_name(*name);
        *name = NULL;
        return false;
    }
    if (!is_known(*name)) {
        free_name(*name);
        *name = NULL;
    }
    return true;
}

bool tm_crash_named(struct tm_crash_log *log, struct tm_crash_name *name,
                    int result)
{
    bool good = true;

    if (!name)
        return true;
    if (result >= 0 && name->change == MADE)
        good = tm_crash_node_at(log, name->from.directory->fd, name->from.name,
                                false, &name->from.node);
    if (result < 0 || !name->from.node) {
        free_name(name);
        return good;
    }
    name->made_at = ++log->clock;
    name->older = log->names;
    log->names = name;
    return true;
}

void tm_crash_settle_names(struct tm_crash_log *log,
                           const struct tm_crash_node *directory, uint64_t time)
{
    struct tm_crash_name **place = &log->names;

    while (*place) {
        struct tm_crash_name *name = *place;

        if (name->made_at < time) {
            name->from_synced |= name->from.directory == directory;
            name->to_synced |= name->to.directory == directory;
        }
        if (name->from_synced && (name->to_synced || !name->to.directory)) {
            *place = name->older;
            free_name(name);
        } else {
            place = &name->older;
        }
    }
}

void tm_crash_free_names(struct tm_crash_log *log)
{
    struct tm_crash_name *name;

    while ((name = log->names)) {
        log->names = name->older;
        free_name(name);
    }
}

/* --- undoing ------------------------------------------------------------ */

static bool is_free(const struct entry *entry)
{
    struct stat st;

    return fstatat(entry->directory->fd, entry->name, &st,
                   AT_SYMLINK_NOFOLLOW) != 0 &&
           errno == ENOENT;
}

/* Whether the name of `entry` stands for `node` now. */
static bool is_at(const struct entry *entry, const struct tm_crash_node *node)
{
    struct stat st;

    return fstatat(entry->directory->fd, entry->name, &st,
                   AT_SYMLINK_NOFOLLOW) == 0 &&
           tm_crash_is_node(node, &st);
}

static bool remove_tree(int dirfd, const char *name);

/* Removes all that is in the directory `fd`, and closes it. */
static bool remove_below(int fd)
{
    DIR *stream = fdopendir(fd);
    const struct dirent *entry;
    bool good = true;

    if (!stream) {
        close(fd);
        return false;
    }
    while (good && (entry = readdir(stream)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            good = remove_tree(fd, entry->d_name);
    closedir(stream);
    return good;
}

static bool remove_tree(int dirfd, const char *name)
{
    int fd;

    if (unlinkat(dirfd, name, 0) == 0)
        return true;
    if (errno != EISDIR && errno != EPERM)
        return false;
    fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && remove_below(fd) &&
           unlinkat(dirfd, name, AT_REMOVEDIR) == 0;
}

/* Copies what is left of `from`; both are at their begin. */
static bool copy_bytes(int from, int to)
{
    char bytes[16384];
    off_t done = 0;
    ssize_t moved;

    while ((moved = pread(from, bytes, sizeof(bytes), done)) > 0) {
        if (pwrite(to, bytes, (size_t)moved, done) != moved)
            return false;
        done += moved;
    }
    return moved == 0;
}

/* The file or directory behind `node` again, empty, under a name. */
static int make_again(const struct tm_crash_node *node,
                      const struct entry *entry)
{
    const int dirfd = entry->directory->fd;

    if (!node->is_directory)
        return openat(dirfd, entry->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                      0600);
    if (mkdirat(dirfd, entry->name, 0700) != 0)
        return -1;
    return openat(dirfd, entry->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Brings back what was removed, and gives its node the new inode. */
static bool revive(struct tm_crash_node *node, const struct entry *entry)
{
    struct stat old, new;
    int fd;

    if (fstat(node->fd, &old) != 0)
        return false;
    fd = make_again(node, entry);
    if (fd < 0)
        return errno == ENOENT; /* its directory is gone, and stays gone */
    if ((!node->is_directory && !copy_bytes(node->fd, fd)) ||
        fchmod(fd, old.st_mode & 07777) != 0 ||
        futimens(fd, (struct timespec[]){old.st_atim, old.st_mtim}) != 0 ||
        fstat(fd, &new) != 0) {
        close(fd);
        return false;
    }
    close(node->fd);
    node->fd = fd;
    node->device = new.st_dev;
    node->inode = new.st_ino;
    return true;
}

static bool undo_move(const struct tm_crash_name *name)
{
    const struct entry *from = &name->from;
    const struct entry *to = &name->to;

    if (!is_at(to, from->node) || !is_free(from))
        return true;
    if (renameat(to->directory->fd, to->name, from->directory->fd,
                 from->name) != 0)
        return errno == ENOENT;
    return !to->node || revive(to->node, to);
}

static bool undo_exchange(const struct tm_crash_name *name)
{
    const struct entry *from = &name->from;
    const struct entry *to = &name->to;

    if (!is_at(to, from->node) || !is_at(from, to->node))
        return true;
    return renameat2(from->directory->fd, from->name, to->directory->fd,
                     to->name, RENAME_EXCHANGE) == 0;
}

static bool undo(const struct tm_crash_name *name)
{
    const struct entry *from = &name->from;

    switch (name->change) {
    case MADE:
        return !is_at(from, from->node) ||
               remove_tree(from->directory->fd, from->name);
    case REMOVED:
        return !is_free(from) || revive(from->node, from);
    case MOVED:
        return undo_move(name);
    default:
        return undo_exchange(name);
    }
}

/*
 * What was moved into a directory, and stays there, was somewhere else before:
 * it must not get lost with the directory. What was made in it may.
 */
static bool stays(struct tm_crash_name *name, struct tm_crash_fates *fates)
{
    const bool needed = name->change == MADE && name->from.node->is_needed;

    if (!tm_crash_stays(fates->names, &fates->random) && !needed)
        return false;
    if (needed)
        name->from.directory->is_needed = true;
    if (name->to.directory) {
        name->from.directory->is_needed |= name->change == EXCHANGED;
        name->to.directory->is_needed = true;
    }
    return true;
}

bool tm_crash_undo_names(struct tm_crash_log *log, struct tm_crash_fates *fates)
{
    struct tm_crash_name *name;

    for (name = log->names; name; name = name->older)
        if (!stays(name, fates) && !undo(name))
            return false;
    return true;
}
