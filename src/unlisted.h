/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unlisted: what lies in the directory of a stored vector and is not listed in
 * its manifest: a README, what a download left behind. It is no damage; but
 * nothing reads it, and nothing can tell whether it is whole.
 */
#ifndef TM_SRC_UNLISTED_H
#define TM_SRC_UNLISTED_H

#include "io/vector.h"

/*
 * Warns of each; a directory without a listed file is named as a whole.
 * Errors, reported: TM_IO_ERROR, TM_SYSTEM.
 */
enum tm_status tm_unlisted_warn(const struct tm_vector_stored *vector);

#endif
