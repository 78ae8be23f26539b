/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept: what an interrupted run has left in its staging directory.
 *
 * Its journal (io/journal.h) begins with a head, a JSON object that says what
 * was being made of what (src/head.h); all other records are marks. What is
 * kept is checked, not trusted: a mark is good if all before it were and what
 * it says of the files is true of what the disk holds. Needs no plan.
 *
 *     tm_kept_open -> { tm_kept_next -> tm_kept_check } ... -> tm_kept_close
 *
 * or, to know only how far it is said to have got,
 *
 *     tm_kept_survey -> tm_kept_close
 */
#ifndef TM_SRC_KEPT_H
#define TM_SRC_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "io/arena.h"
#include "io/journal.h"
#include "io/json.h"
#include "src/mark.h"
#include "src/progress.h"

struct tm_staging;

/* Records of the journal. */
enum tm_journal_kind { TM_JOURNAL_HEAD = 1, TM_JOURNAL_MARK = 2 };

/* One of the files, as far as it has been checked. */
struct tm_kept_file {
    const char *name;
    struct tm_file file;
    uint64_t position;
    struct tm_hasher hasher;
};

struct tm_kept {
    struct tm_disk *disk;
    const char *path; /* of the staging directory; the caller's */
    const char *output;
    struct tm_journal journal;
    json_t *head; /* NULL: there is no journal, or none that is whole */
    struct tm_kept_file *files;
    size_t num_files;
    size_t num_marks;               /* so far */
    struct tm_mark_place place;     /* of the last of them */
    const struct tm_kept_file *bad; /* what tm_kept_check found wanting */
    const char *why_bad;
    uint64_t bytes_checked;
    uint64_t bytes_total; /* of the output, when it is done */
    /* Called now and then while files are read; may be NULL. */
    void (*tick)(void *context, uint64_t bytes_checked);
    void *context;
    struct tm_arena arena;
};

/*
 * Opens the journal in the staging directory `path` and reads its head, if
 * there is one. Errors, reported: TM_IO_ERROR, TM_SYSTEM; tm_kept_close in any
 * case.
 */
enum tm_status tm_kept_open(struct tm_kept *kept, struct tm_disk *disk,
                            const char *path);

/*
 * The next mark: *body is behind its place, *num_files files come first.
 * False in *more: there is none.
 */
enum tm_status tm_kept_next(struct tm_kept *kept, struct tm_unpack *body,
                            uint64_t *num_files, bool *more);

/*
 * Reads what the mark says that has come to the files, and moves `body` behind
 * that. False in *good: it is not so, or cannot be read; kept->bad is the file
 * (NULL: it is no mark) and kept->why_bad says more. Errors: TM_SYSTEM,
 * TM_INTERRUPTED.
 */
enum tm_status tm_kept_check(struct tm_kept *kept, struct tm_unpack *body,
                             uint64_t num_files, bool *good);

void tm_kept_close(struct tm_kept *kept);

/* Opens it and goes through all its marks without looking at any file. */
enum tm_status tm_kept_survey(struct tm_kept *kept, struct tm_disk *disk,
                              const char *path);

/* How much of the output is done, from 0 to 99. */
unsigned tm_kept_percent(const struct tm_kept *kept);

/* Whether `path` is a staging directory with a journal. */
bool tm_kept_is(const char *path);

/* When the run was begun, as local time: "2026-11-22 15:34". */
#define TM_KEPT_TIME 64
const char *tm_kept_since(const struct tm_kept *kept, char text[TM_KEPT_TIME]);

/*
 * Whether the OUT that exists, as `out`, is what the run of the staging
 * directory has made: only the tidying was left.
 */
bool tm_kept_is_published(struct tm_disk *disk,
                          const struct tm_staging *staging,
                          const struct stat *out);

#endif
