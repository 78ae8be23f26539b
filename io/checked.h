/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checked: arithmetic on sizes and offsets that come from files.
 *
 * Each returns true and stores the result, or returns false on overflow and
 * leaves *r alone.
 */
#ifndef TM_IO_CHECKED_H
#define TM_IO_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool tm_add(uint64_t a, uint64_t b, uint64_t *r)
{
    uint64_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *r = sum;
    return true;
}

static inline bool tm_mul(uint64_t a, uint64_t b, uint64_t *r)
{
    uint64_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *r = product;
    return true;
}

/* `a` rounded up to a multiple of `unit`, a power of two. */
static inline bool tm_round_up(uint64_t a, uint64_t unit, uint64_t *r)
{
    uint64_t sum;

    if (!tm_add(a, unit - 1, &sum))
        return false;
    *r = sum & ~(unit - 1);
    return true;
}

/* `a` rounded down to a multiple of `unit`, a power of two. */
static inline uint64_t tm_round_down(uint64_t a, uint64_t unit)
{
    return a & ~(unit - 1);
}

#endif
