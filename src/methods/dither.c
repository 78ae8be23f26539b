/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/dither.h"

#include <string.h>
#include <xxhash.h>

static void put(unsigned char bytes[8], uint64_t word)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(word >> (8 * i));
}

struct tm_mask tm_mask_for(const struct tm_work *work, size_t term)
{
    unsigned char bytes[16];
    uint64_t seed;

    put(bytes, work->seed);
    put(bytes + 8, work->terms->terms[term].column);
    seed = XXH3_64bits(bytes, sizeof(bytes));
    return tm_mask_of(
        XXH3_64bits_withSeed(work->name, strlen(work->name), seed));
}
