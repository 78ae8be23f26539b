/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head: what a run makes of what, as the journal's first record says it.
 *
 * A JSON object: whoever finds a kept run can read what it is, and a run that
 * is to go on with it can say what differs.
 */
#ifndef TM_SRC_HEAD_H
#define TM_SRC_HEAD_H

#include "io/json.h"
#include "io/text.h"
#include "src/plan.h"

/* Of the journal as a whole, the form of its marks included. */
#define TM_JOURNAL_VERSION 1

/*
 * The head for a run of the plan that begins now; `directory` is the inode of
 * the one that is written to. text->bytes is the caller's. TM_SYSTEM.
 */
enum tm_status tm_head_make(const struct tm_plan *plan,
                            const struct tm_settings *settings,
                            uint64_t directory, struct tm_text *text);

/*
 * Whether a run with the head `own` can go on with what one with `kept` has
 * left in `path`. TM_CANT_CREATE, reported: what differs. TM_SYSTEM.
 */
enum tm_status tm_head_compare(const char *path, json_t *kept,
                               const struct tm_text *own);

#endif
