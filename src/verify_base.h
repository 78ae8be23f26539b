/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_base: whether a stored vector gives its fine-tune back.
 */
#ifndef TM_SRC_VERIFY_BASE_H
#define TM_SRC_VERIFY_BASE_H

#include "src/options.h"

/*
 * Does all that applying the vector `path` to the base of `options` would do,
 * and throws the result away: every chunk is decoded and compared with what
 * was recorded of it. Errors: TM_BAD_DATA (another base, damage) and those of
 * reading, reported.
 */
enum tm_status tm_verify_base(const struct tm_options *options,
                              const char *path);

#endif
