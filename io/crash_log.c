/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_log: files and what is in them; see crash_log.h. Names are in
 * io/crash_names.c.
 *
 * A file with changes that are not durable has its durable content in memory.
 * A sync applies changes to that; a power cut applies those that stay, in the
 * order in which they were submitted, and writes the result to the file:
 *
 *     durable content + changes that stay = what is there afterwards
 *
 * When the last change has become durable, the file itself is the durable
 * content, and what was in memory is freed.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/checked.h"
#include "io/crash_parts.h"
#include "io/fault_spec.h"

struct tm_crash_change {
    struct tm_crash_change *next; /* of the same node */
    struct tm_crash_node *node;
    bool is_done;
    bool is_resize;
    uint64_t done_at; /* on the log's clock */
    uint64_t offset;  /* or the new size */
    uint64_t len;
    unsigned char data[];
};

/* --- nodes -------------------------------------------------------------- */

struct tm_crash_log *tm_crash_log_new(void)
{
    if (access("/proc/self/fd", X_OK) != 0)
        return NULL;
    return calloc(1, sizeof(struct tm_crash_log));
}

bool tm_crash_is_node(const struct tm_crash_node *node, const struct stat *st)
{
    return node->device == st->st_dev && node->inode == st->st_ino;
}

static struct tm_crash_node *find_node(const struct tm_crash_log *log,
                                       const struct stat *st)
{
    struct tm_crash_node *node = log->nodes;

    while (node && !tm_crash_is_node(node, st))
        node = node->next;
    return node;
}

/* A descriptor to read and, if it may be, to write by. */
static int open_node(int dirfd, const char *path, int flags, bool directory)
{
    int fd = -1;

    flags |= O_CLOEXEC;
    if (!directory)
        fd = openat(dirfd, path, flags | O_RDWR);
    return fd >= 0 ? fd : openat(dirfd, path, flags | O_RDONLY);
}

static bool add_node(struct tm_crash_log *log, const struct stat *st, int fd,
                     struct tm_crash_node **node)
{
    struct tm_crash_node **tail = &log->nodes;
    struct tm_crash_node *new = calloc(1, sizeof(*new));

    if (!new) {
        close(fd);
        return false;
    }
    new->device = st->st_dev;
    new->inode = st->st_ino;
    new->fd = fd;
    new->is_directory = S_ISDIR(st->st_mode);
    while (*tail)
        tail = &(*tail)->next;
    *tail = new;
    *node = new;
    return true;
}

bool tm_crash_node_at(struct tm_crash_log *log, int dirfd, const char *path,
                      bool follow, struct tm_crash_node **node)
{
    struct stat st;
    int fd;

    *node = NULL;
    if (fstatat(dirfd, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
        return true;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return true;
    *node = find_node(log, &st);
    if (*node)
        return true;
    fd = open_node(dirfd, path, follow ? 0 : O_NOFOLLOW, S_ISDIR(st.st_mode));
    return fd >= 0 && add_node(log, &st, fd, node);
}

/* --- contents ----------------------------------------------------------- */

static bool set_image_size(struct tm_crash_image *image, uint64_t size)
{
    unsigned char *bytes = realloc(image->bytes, size > 0 ? size : 1);

    if (!bytes)
        return false;
    if (size > image->size)
        memset(bytes + image->size, 0, size - image->size);
    image->bytes = bytes;
    image->size = size;
    return true;
}

static void free_image(struct tm_crash_image *image)
{
    free(image->bytes);
    *image = (struct tm_crash_image){0};
}

/* Adds what one attempt has moved; false if there is no use in another. */
static bool has_moved(ssize_t moved, uint64_t *done)
{
    if (moved == 0)
        errno = EIO;
    if (moved <= 0)
        return moved < 0 && errno == EINTR;
    *done += (uint64_t)moved;
    return true;
}

/* Reads the file, all of which is durable. */
static bool load_image(struct tm_crash_node *node)
{
    struct stat st;
    uint64_t done = 0;
    ssize_t moved;

    if (fstat(node->fd, &st) != 0 ||
        !set_image_size(&node->durable, (uint64_t)st.st_size))
        return false;
    while (done < node->durable.size) {
        moved = pread(node->fd, node->durable.bytes + done,
                      node->durable.size - done, (off_t)done);
        if (!has_moved(moved, &done))
            return false;
    }
    return true;
}

/* Makes the file what the image is. */
static bool store_image(const struct tm_crash_node *node,
                        const struct tm_crash_image *image)
{
    uint64_t done = 0;
    ssize_t moved;

    while (done < image->size) {
        moved = pwrite(node->fd, image->bytes + done, image->size - done,
                       (off_t)done);
        if (!has_moved(moved, &done))
            return false;
    }
    return ftruncate(node->fd, (off_t)image->size) == 0;
}

/* Applies `len` bytes of a write, from `offset` of the file on. */
static bool apply_bytes(struct tm_crash_image *image,
                        const struct tm_crash_change *change, uint64_t offset,
                        uint64_t len)
{
    if (offset + len > image->size && !set_image_size(image, offset + len))
        return false;
    memcpy(image->bytes + offset, change->data + (offset - change->offset),
           len);
    return true;
}

static bool apply(struct tm_crash_image *image,
                  const struct tm_crash_change *change)
{
    if (change->is_resize)
        return set_image_size(image, change->offset);
    return apply_bytes(image, change, change->offset, change->len);
}

/* --- changes ------------------------------------------------------------ */

/* Adds a change, not done yet, with room for `len` bytes. */
static bool begin_change(struct tm_crash_log *log, int fd, size_t len,
                         struct tm_crash_change **change)
{
    struct tm_crash_node *node;
    struct tm_crash_change **tail;
    char path[40];

    *change = NULL;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (!tm_crash_node_at(log, AT_FDCWD, path, true, &node))
        return false;
    if (!node || node->is_directory)
        return true;
    if (!node->changes && !load_image(node))
        return false;
    *change = calloc(1, sizeof(**change) + len);
    if (!*change)
        return false;
    (*change)->node = node;
    for (tail = &node->changes; *tail; tail = &(*tail)->next)
        ;
    *tail = *change;
    return true;
}

bool tm_crash_write(struct tm_crash_log *log, int fd, uint64_t offset,
                    const void *data, size_t len,
                    struct tm_crash_change **change)
{
    uint64_t end;

    *change = NULL;
    if (!tm_add(offset, len, &end) || end > INT64_MAX)
        return true; /* it will be refused */
    if (!begin_change(log, fd, len, change))
        return false;
    if (*change) {
        (*change)->offset = offset;
        (*change)->len = len;
        memcpy((*change)->data, data, len);
    }
    return true;
}

bool tm_crash_resize(struct tm_crash_log *log, int fd, uint64_t size,
                     struct tm_crash_change **change)
{
    if (!begin_change(log, fd, 0, change))
        return false;
    if (*change) {
        (*change)->is_resize = true;
        (*change)->offset = size;
    }
    return true;
}

/* Takes the change at *place away, and the image after the last one. */
static void drop(struct tm_crash_change **place)
{
    struct tm_crash_change *change = *place;
    struct tm_crash_node *node = change->node;

    *place = change->next;
    free(change);
    if (!node->changes)
        free_image(&node->durable);
}

void tm_crash_done(struct tm_crash_log *log, struct tm_crash_change *change,
                   int64_t result)
{
    struct tm_crash_change **place;

    if (!change)
        return;
    if (result < 0 || (result == 0 && !change->is_resize)) {
        place = &change->node->changes;
        while (*place != change)
            place = &(*place)->next;
        drop(place);
        return;
    }
    if (!change->is_resize && (uint64_t)result < change->len)
        change->len = (uint64_t)result;
    change->is_done = true;
    change->done_at = ++log->clock;
}

/* --- durability --------------------------------------------------------- */

struct tm_crash_point tm_crash_point(struct tm_crash_log *log, int fd)
{
    struct tm_crash_point point = {.time = ++log->clock};
    struct stat st;

    if (fstat(fd, &st) == 0)
        point.node = find_node(log, &st);
    return point;
}

bool tm_crash_synced(struct tm_crash_log *log, struct tm_crash_point point)
{
    struct tm_crash_change **place;

    if (!point.node)
        return true;
    if (point.node->is_directory) {
        tm_crash_settle_names(log, point.node, point.time);
        return true;
    }
    for (place = &point.node->changes; *place;) {
        const struct tm_crash_change *change = *place;

        if (!change->is_done || change->done_at > point.time) {
            place = &(*place)->next;
            continue;
        }
        if (!apply(&point.node->durable, change))
            return false;
        drop(place);
    }
    return true;
}

bool tm_crash_stays(enum tm_crash_fate fate, uint64_t *random)
{
    if (fate == TM_CRASH_DRAW)
        return tm_fault_draw(random) & 1;
    return fate == TM_CRASH_KEEP;
}

/* Applies those sectors of a write that stay. */
static bool apply_torn(struct tm_crash_image *image,
                       const struct tm_crash_change *change,
                       struct tm_crash_fates *fates)
{
    const uint64_t end = change->offset + change->len;
    uint64_t from = change->offset;

    while (from < end) {
        uint64_t to = tm_round_down(from, fates->sector) + fates->sector;

        if (to > end)
            to = end;
        if (tm_crash_stays(fates->contents, &fates->random) &&
            !apply_bytes(image, change, from, to - from))
            return false;
        from = to;
    }
    return true;
}

static bool cut_node(struct tm_crash_node *node, struct tm_crash_fates *fates)
{
    const struct tm_crash_change *change;
    bool good = true;

    for (change = node->changes; good && change; change = change->next)
        if (fates->sector > 0 && !change->is_resize)
            good = apply_torn(&node->durable, change, fates);
        else if (tm_crash_stays(fates->contents, &fates->random))
            good = apply(&node->durable, change);
    return good && store_image(node, &node->durable);
}

bool tm_crash_power_cut(struct tm_crash_log *log, struct tm_crash_fates *fates)
{
    struct tm_crash_node *node;

    for (node = log->nodes; node; node = node->next)
        if (node->changes && !cut_node(node, fates))
            return false;
    return tm_crash_undo_names(log, fates);
}

void tm_crash_log_free(struct tm_crash_log *log)
{
    struct tm_crash_node *node;

    tm_crash_free_names(log);
    while ((node = log->nodes)) {
        log->nodes = node->next;
        while (node->changes)
            drop(&node->changes);
        close(node->fd);
        free(node);
    }
    free(log);
}
