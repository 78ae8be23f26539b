/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_shuffles: the byte shuffles that spread words of the stream over the
 * lanes of a mask, and put such lanes together again, for vectors of eight
 * lanes of 16 bits: by the mask, for instruction sets that cannot do it.
 */
#ifndef TM_KERNELS_RANS_SHUFFLES_H
#define TM_KERNELS_RANS_SHUFFLES_H

#include <stdint.h>

struct tm_rans_shuffles {
    /* The first words go to the lanes of the mask, zero to the others. */
    uint8_t expand[256][16];
    /* The words of the lanes of the mask go to the last lanes, in order. */
    uint8_t compress[256][16];
    /* How many lanes are in the mask. */
    uint8_t count[256];
};

void tm_rans_shuffles_init(struct tm_rans_shuffles *shuffles);

#endif
