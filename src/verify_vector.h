/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_vector: a stored vector read again, without its base.
 *
 * All its bytes are compared with its own digests and checksums. That they
 * make the tuned tensors again only the base can tell.
 */
#ifndef TM_SRC_VERIFY_VECTOR_H
#define TM_SRC_VERIFY_VECTOR_H

#include "src/check.h"

/*
 * Reads every byte of the stored vector at check->path, in one pass, and notes
 * damage in the check; what lies there and is not listed in the manifest is
 * warned of. Errors: as of opening a vector and of reading; TM_INTERRUPTED.
 */
enum tm_status tm_verify_vector(struct tm_check *check);

#endif
