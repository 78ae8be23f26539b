/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume: where a run begins: at the beginning, or where one that was
 * interrupted has left off.
 */
#ifndef TM_SRC_RESUME_H
#define TM_SRC_RESUME_H

#include "src/mark.h"
#include "src/plan.h"
#include "src/results.h"
#include "src/staging.h"

struct tm_start {
    bool is_resumed;
    struct tm_mark_place place; /* all zero: the beginning */
    unsigned char *stream;      /* for tm_mark_resume */
    size_t stream_length;
};

/*
 * Makes the staging directory's journal ready for marks. Where a run is kept
 * that is to be gone on with, compares what it was with this one, checks what
 * it has written, fills in `results` as they were at the last mark that is
 * true, and removes what came after it. Errors, reported: TM_CANT_CREATE (it
 * was another run), TM_IO_ERROR, TM_SYSTEM, TM_INTERRUPTED.
 * tm_start_free in any case.
 */
enum tm_status tm_resume(const struct tm_plan *plan,
                         const struct tm_settings *settings,
                         struct tm_staging *staging, struct tm_results *results,
                         struct tm_start *start);

/*
 * Whether the OUT that is there, of a run that came to its end but for the
 * tidying, is what this one would make. TM_CANT_CREATE, reported: what
 * differs. Its content is not looked at.
 */
enum tm_status tm_resume_published(const struct tm_plan *plan,
                                   const struct tm_settings *settings,
                                   const struct tm_staging *staging);

void tm_start_free(struct tm_start *start);

#endif
