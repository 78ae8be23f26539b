/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drift_pick: bytes of a table look-up that moves some of four words to the
 * front, in order. Bit i of the index says that word i is wanted; what comes
 * behind those means nothing. For instruction sets that have no compress.
 */
#ifndef TM_KERNELS_DRIFT_PICK_H
#define TM_KERNELS_DRIFT_PICK_H

#include <stdint.h>

#define WORD(i) 4 * (i), 4 * (i) + 1, 4 * (i) + 2, 4 * (i) + 3
#define FOUR(a, b, c, d)                                                       \
    {                                                                          \
        WORD(a), WORD(b), WORD(c), WORD(d)                                     \
    }

static const uint8_t pick_bytes[16][16] = {
    FOUR(0, 0, 0, 0), FOUR(0, 0, 0, 0), FOUR(1, 0, 0, 0), FOUR(0, 1, 0, 0),
    FOUR(2, 0, 0, 0), FOUR(0, 2, 0, 0), FOUR(1, 2, 0, 0), FOUR(0, 1, 2, 0),
    FOUR(3, 0, 0, 0), FOUR(0, 3, 0, 0), FOUR(1, 3, 0, 0), FOUR(0, 1, 3, 0),
    FOUR(2, 3, 0, 0), FOUR(0, 2, 3, 0), FOUR(1, 2, 3, 0), FOUR(0, 1, 2, 3),
};

#undef WORD
#undef FOUR

#endif
