/* SPDX-License-Identifier: Apache-2.0 */
/* crash_parts: what the files of io/crash_log.h share. */
#ifndef TM_IO_CRASH_PARTS_H
#define TM_IO_CRASH_PARTS_H

#include <sys/stat.h>

#include "io/crash_log.h"

/*
 * The content of a file in memory. `bytes` is not NULL, even if it has none.
 */
struct tm_crash_image {
    unsigned char *bytes;
    uint64_t size;
};

/*
 * A file or directory, known by device and inode. It stays open as long as
 * the log lives: so its inode number is not given to another meanwhile, and
 * its content can still be had when its name is gone.
 */
struct tm_crash_node {
    struct tm_crash_node *next;
    dev_t device;
    ino_t inode;
    int fd; /* of our own, never direct */
    bool is_directory;
    bool is_needed;                  /* a name that stays is in it */
    struct tm_crash_image durable;   /* of a file, while it has changes */
    struct tm_crash_change *changes; /* of a file: not durable, oldest first */
};

struct tm_crash_log {
    struct tm_crash_node *nodes; /* in order of appearance */
    struct tm_crash_name *names; /* not durable, newest first */
    uint64_t clock;              /* counts events */
};

/* Whether `st` is of that node. */
bool tm_crash_is_node(const struct tm_crash_node *node, const struct stat *st);

/* The node at `path`; NULL: nothing is there, or nothing we keep track of. */
bool tm_crash_node_at(struct tm_crash_log *log, int dirfd, const char *path,
                      bool follow, struct tm_crash_node **node);

/* Makes the names in the directory durable that were made before `time`. */
void tm_crash_settle_names(struct tm_crash_log *log,
                           const struct tm_crash_node *directory,
                           uint64_t time);

/* Whether something stays; draws if need be. */
bool tm_crash_stays(enum tm_crash_fate fate, uint64_t *random);

/* Takes back names, after the contents. */
bool tm_crash_undo_names(struct tm_crash_log *log,
                         struct tm_crash_fates *fates);

void tm_crash_free_names(struct tm_crash_log *log);

#endif
