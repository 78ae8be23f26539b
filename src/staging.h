/* SPDX-License-Identifier: Apache-2.0 */
/*
 * staging: the output while it is being made, and the moment it appears.
 *
 * Everything is written into a directory beside OUT, which is locked while a
 * run uses it:
 *
 *     .OUT.taumerge/output     what OUT will be, or the directory it is in
 *     .OUT.taumerge/journal    how far it has got (src/kept.h)
 *
 * Publishing makes it durable and visible:
 *
 *     every file is written and synced (by whoever writes it)
 *     sync the directories
 *     rename .OUT.taumerge/output to OUT   the one moment that counts
 *     sync the parent, and where it came from
 *     remove .OUT.taumerge
 *
 * A crash at any point leaves either no OUT or a complete one. An OUT that is
 * replaced (--force) changes places with the new one, then is removed. Where
 * the output is one file, its two companions are renamed and synced before it.
 *
 *     tm_staging_check -> tm_staging_create -> tm_staging_publish
 *                                         +--> tm_staging_abort
 *
 * What a run that was interrupted has left is kept if its journal has a mark,
 * for --resume to go on with (src/resume.h) or --restart to remove. What has
 * none is emptied and used again.
 */
#ifndef TM_SRC_STAGING_H
#define TM_SRC_STAGING_H

#include <stdbool.h>

#include "io/arena.h"
#include "io/journal.h"
#include "io/transfer.h"
#include "src/plan.h"

/* The names in the staging directory. */
#define TM_STAGING_OUTPUT  "output"
#define TM_STAGING_JOURNAL "journal"

struct tm_staging {
    struct tm_disk *disk;
    const char *out;    /* the final path */
    const char *parent; /* the directory it will be in */
    const char *name;   /* of OUT in it */
    const char *path;   /* of the staging directory */
    const char *own_name;
    const char *output; /* the path of the directory that is written to */
    const char *journal_path;
    bool single_file;
    size_t num_companions; /* files that are published beside such an OUT */
    bool force;
    bool resumes;        /* what is kept is to be gone on with */
    bool restarts;       /* or removed */
    bool is_kept;        /* another run has left something there */
    bool keeps_journal;  /* of an output that is a step on the way */
    bool was_published;  /* that run came to its end, all but the tidying */
    bool has_companions; /* or has published those of OUT, which is missing */
    int parent_fd;
    int own_fd; /* of the staging directory */
    int fd;     /* of the directory that is written to */
    struct tm_journal journal;
    size_t num_marks;    /* in it, that count */
    uint64_t bytes_kept; /* of the output, at the last one */
    struct tm_arena arena;
};

/*
 * The path of the staging directory for `out`, which does not end with a
 * slash; in the arena. NULL: no memory.
 */
const char *tm_staging_sibling(struct tm_arena *arena, const char *out);

/*
 * Whether OUT may be made: it does not exist, or may be replaced and is no
 * input and contains none; its parent is there; there is room for what the
 * plan writes. Lists what is wrong. Changes nothing on disk.
 */
enum tm_status tm_staging_check(struct tm_staging *staging,
                                struct tm_disk *disk,
                                const struct tm_plan *plan, const char *out,
                                const struct tm_settings *settings);

/*
 * Makes and locks the staging directory, or takes over the one that is there.
 * TM_CANT_CREATE, reported: somebody else has it, or something is kept there
 * that the user has not said what to do with.
 */
enum tm_status tm_staging_create(struct tm_staging *staging);

/* Makes the directories that `name`, a path inside OUT, is in. */
enum tm_status tm_staging_make_parents(struct tm_staging *staging,
                                       const char *name);

/* The path of a file that is being made, for messages; NULL: no memory. */
const char *tm_staging_path(struct tm_staging *staging, const char *name);

/*
 * Removes every file of the output but the `count` ones named: what was made
 * of it after the mark that is gone on from.
 */
enum tm_status tm_staging_keep_only(struct tm_staging *staging,
                                    const char *const *names, size_t count);

/* Makes all directories durable, so that what is in the files can be. */
enum tm_status tm_staging_settle(struct tm_staging *staging);

/* Makes the output visible; on failure OUT is as it was. */
enum tm_status tm_staging_publish(struct tm_staging *staging);

/*
 * Removes what was made, unless another run had left something, or there is a
 * mark and `keeps`; does nothing if there is nothing.
 */
void tm_staging_abort(struct tm_staging *staging, bool keeps);

/*
 * After a failure, once tm_staging_abort is done: says how much more the output
 * takes and how much is free, if that is why.
 */
void tm_staging_tell_space(const struct tm_staging *staging,
                           const struct tm_plan *plan);

/* Completes what a run left that had published its output. */
enum tm_status tm_staging_tidy(struct tm_staging *staging);

/* Removes a directory that was published as a step on the way. */
void tm_staging_remove(struct tm_disk *disk, const char *path);

/* Frees everything; all zero is allowed. */
void tm_staging_free(struct tm_staging *staging);

#endif
