/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check: one path that verify looks at: what of it was read, what is damaged.
 *
 * What is verified, an output or a stored vector, is known to who calls:
 *
 *     tm_check_start, then tm_check_file for each file, and
 *     tm_check_note for each damage found in one
 *     tm_check_print or tm_check_print_json, tm_check_free
 *
 * Damage is no error of these functions: it is noted and reported, and the
 * check goes on to the next file.
 */
#ifndef TM_SRC_CHECK_H
#define TM_SRC_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/json.h"
#include "src/digests.h"
#include "src/progress.h"
#include "src/recipe.h"
#include "src/record.h"

struct tm_damage;

struct tm_check {
    const char *path; /* as the user named it; the caller's */
    struct tm_disk *disk;
    const struct tm_settings *settings;
    size_t files; /* that the path should have */
    size_t tensors;
    uint64_t bytes;     /* of the files that are there */
    const char *so_far; /* of what is not complete; else NULL */
    /* private: */
    struct tm_damage *damage, **damage_end; /* in the order of their finding */
    struct tm_arena arena;                  /* holds it */
    struct tm_progress progress;
    uint64_t read_before; /* by the disk, when the check began */
};

/* Makes the check of `path`. */
void tm_check_init(struct tm_check *check, const char *path,
                   struct tm_disk *disk, const struct tm_settings *settings);

/* Before the first file: `bytes` are all that will be read. */
void tm_check_start(struct tm_check *check, uint64_t bytes);

/* Shows how far it is; for whoever reads without tm_check_file. */
void tm_check_tick(struct tm_check *check);

/* Behind the last file. */
void tm_check_finish(struct tm_check *check);

/*
 * Reads the file at `file->path` past the page cache and computes the digests
 * of its `count` extents and of the whole, as src/digests.h says; what they
 * should be is the caller's to compare. A file that is not there is noted,
 * and *is_there is false. Errors: as of reading, reported.
 */
enum tm_status tm_check_file(struct tm_check *check,
                             const struct tm_recorded_file *file,
                             struct tm_extent *extents, size_t count,
                             struct tm_digest *whole, bool *is_there);

/*
 * Notes and reports that `file` is damaged, or in it `tensor` if that is not
 * NULL; strings are copied. Errors: TM_SYSTEM (no memory), reported.
 */
enum tm_status tm_check_note(struct tm_check *check,
                             const struct tm_recorded_file *file,
                             const char *tensor, const char *cause);

/* Whether any was noted. */
bool tm_check_found_damage(const struct tm_check *check);

/* A line on stdout, if all is well; the check ended with `status`. */
void tm_check_print(const struct tm_check *check, enum tm_status status);

/* The same as an object, whatever the status. */
void tm_check_print_json(const struct tm_check *check, enum tm_status status,
                         struct tm_json_writer *w);

void tm_check_free(struct tm_check *check);

#endif
