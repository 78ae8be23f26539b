/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chance_kernels: what an instruction set provides for chance.c, and nobody
 * else.
 */
#ifndef TM_KERNELS_CHANCE_KERNELS_H
#define TM_KERNELS_CHANCE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/chance.h"

/*
 * The elements that kernels see: fewer have no room in `scratch`, more not in
 * a kernel's numbers.
 */
#define TM_CHANCE_FEWEST ((size_t)256)
#define TM_CHANCE_MOST   ((size_t)1 << 30)

/* A row while it is worked on. */
struct tm_chance_row {
    struct tm_chance chance;
    float least; /* the smallest element's chance */
    float most;  /* the largest one's */
    const float *x;
    size_t n;
    float *number;
    uint32_t *list; /* of elements' numbers; as long as an array */
    uint32_t *scratch;
};

struct tm_chance_kernels {
    /*
     * Makes numbers from `least` up to `most` negative if their elements are
     * kept. Returns whether it has gone through all of them: it does not if
     * it takes less time to sort.
     */
    bool (*settle)(const struct tm_chance_row *row);
    /* x[i] = +0 where number[i] is `least` or more. */
    void (*drop)(float *x, size_t n, const float *number, float least);
};

/* Whether the element of that rank is kept. */
static inline bool tm_chance_keeps(struct tm_chance chance, uint32_t rank,
                                   float number)
{
    return number < (float)(chance.least + chance.step * rank);
}

/* Makes the number negative if `is`. */
static inline void tm_chance_keep(float *number, bool is)
{
    uint32_t bits;

    memcpy(&bits, number, sizeof(bits));
    bits |= (uint32_t)is << 31;
    memcpy(number, &bits, sizeof(bits));
}

extern const struct tm_chance_kernels tm_chance_portable;
extern const struct tm_chance_kernels tm_chance_neon;
extern const struct tm_chance_kernels tm_chance_avx2;
extern const struct tm_chance_kernels tm_chance_avx512;

#endif
