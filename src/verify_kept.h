/* SPDX-License-Identifier: Apache-2.0 */
/* verify_kept: what an interrupted run has left, against its journal. */
#ifndef TM_SRC_VERIFY_KEPT_H
#define TM_SRC_VERIFY_KEPT_H

#include "src/check.h"

/*
 * Reads what is kept in the staging directory check->path, as far as its marks
 * go, and notes the first file that is not what they say. Errors: TM_SYSTEM,
 * TM_INTERRUPTED, as of reading the journal.
 */
enum tm_status tm_verify_kept(struct tm_check *check);

#endif
