/* SPDX-License-Identifier: Apache-2.0 */
/* verify: an output read again, against the checksums that are beside it. */
#ifndef TM_SRC_VERIFY_H
#define TM_SRC_VERIFY_H

#include "io/transfer.h"
#include "src/recipe.h"

/*
 * Reads the whole output at `path`. TM_BAD_DATA, reported: it is damaged.
 * Others as of reading.
 */
enum tm_status tm_verify_output(struct tm_disk *disk,
                                const struct tm_settings *settings,
                                const char *path);

#endif
