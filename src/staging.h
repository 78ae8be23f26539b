/* SPDX-License-Identifier: Apache-2.0 */
/*
 * staging: the output while it is being made, and the moment it appears.
 *
 * Everything is written into a directory beside OUT, .OUT.taumerge, which is
 * locked while a run uses it. Publishing makes it durable and visible:
 *
 *     every file is written and synced (by whoever writes it)
 *     sync the directories
 *     rename .OUT.taumerge to OUT         the one moment that counts
 *     sync the parent
 *
 * A crash at any point leaves either no OUT or a complete one. An OUT that is
 * replaced (--force) changes places with the new one, then is removed. Where
 * the output is one file, its two companions are renamed before it.
 *
 *     tm_staging_check -> tm_staging_create -> tm_staging_publish
 *                                         +--> tm_staging_abort
 *
 * A directory that a crashed run left is emptied and used again; continuing
 * from what is in it will find its place in tm_staging_create.
 */
#ifndef TM_SRC_STAGING_H
#define TM_SRC_STAGING_H

#include <stdbool.h>

#include "io/arena.h"
#include "io/transfer.h"
#include "src/plan.h"

struct tm_staging {
    struct tm_disk *disk;
    const char *out;    /* the final path */
    const char *parent; /* the directory it will be in */
    const char *name;   /* of OUT in it */
    const char *path;   /* of the staging directory */
    const char *own_name;
    bool single_file;
    size_t num_companions; /* files that are published beside such an OUT */
    bool force;
    int parent_fd;
    int fd;
    struct tm_arena arena;
};

/*
 * Whether OUT may be made: it does not exist, or may be replaced and is no
 * input and contains none; its parent is there; there is room for what the
 * plan writes. Lists what is wrong. Changes nothing on disk.
 */
enum tm_status tm_staging_check(struct tm_staging *staging,
                                struct tm_disk *disk,
                                const struct tm_plan *plan, const char *out,
                                bool force);

/* Makes and locks the staging directory. */
enum tm_status tm_staging_create(struct tm_staging *staging);

/* Makes the directories that `name`, a path inside OUT, is in. */
enum tm_status tm_staging_make_parents(struct tm_staging *staging,
                                       const char *name);

/* The path of a file that is being made, for messages; NULL: no memory. */
const char *tm_staging_path(struct tm_staging *staging, const char *name);

/* Makes the output visible; on failure OUT is as it was. */
enum tm_status tm_staging_publish(struct tm_staging *staging);

/* Removes what was made; does nothing if there is nothing. */
void tm_staging_abort(struct tm_staging *staging);

/* Removes a directory that was published as a step on the way. */
void tm_staging_remove(struct tm_disk *disk, const char *path);

/* Frees everything; all zero is allowed. */
void tm_staging_free(struct tm_staging *staging);

#endif
