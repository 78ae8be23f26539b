/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind_base: which of a base's tensors a stored vector was made against.
 *
 * By content, not by name: a base that was resharded or renamed serves, and
 * another one is found out before anything is written. Of each tensor a few
 * kilobytes in its middle are looked at (docs/format.md, probe); the rest is
 * compared while it is used.
 */
#ifndef TM_SRC_BIND_BASE_H
#define TM_SRC_BIND_BASE_H

#include <stdint.h>

#include "io/checkpoint.h"
#include "io/transfer.h"
#include "io/vector.h"

#define TM_NO_BASE UINT32_MAX

/*
 * Gives in map[i] the number of the tensor of `base` that tensor i of the
 * vector was made against, TM_NO_BASE where it was made against none. Errors:
 * TM_BAD_DATA, reported for the first tensor whose base is not there, and
 * those of reading.
 */
enum tm_status tm_bind_base(struct tm_disk *disk,
                            const struct tm_checkpoint *base,
                            const struct tm_vector_stored *vector,
                            uint32_t *map);

#endif
