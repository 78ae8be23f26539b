/* SPDX-License-Identifier: Apache-2.0 */
/* rans_shuffles: as pshufb and tbl want them; a byte above 127 gives zero. */
#include "kernels/rans_shuffles.h"

static void set_lane(uint8_t shuffle[16], unsigned to, unsigned from)
{
    shuffle[2 * to] = (uint8_t)(2 * from);
    shuffle[2 * to + 1] = (uint8_t)(2 * from + 1);
}

void tm_rans_shuffles_init(struct tm_rans_shuffles *shuffles)
{
    for (unsigned mask = 0; mask < 256; mask++) {
        uint8_t *expand = shuffles->expand[mask];
        uint8_t *compress = shuffles->compress[mask];
        unsigned count = (unsigned)__builtin_popcount(mask), rank = 0;

        shuffles->count[mask] = (uint8_t)count;
        for (unsigned i = 0; i < 16; i++)
            expand[i] = compress[i] = 0xff;
        for (unsigned i = 0; i < 8; i++)
            if (mask >> i & 1) {
                set_lane(expand, i, rank);
                set_lane(compress, 8 - count + rank, i);
                rank++;
            }
    }
}
