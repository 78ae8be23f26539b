/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask_kernels: what an instruction set provides for mask.c, and nobody else.
 */
#ifndef TM_KERNELS_MASK_KERNELS_H
#define TM_KERNELS_MASK_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define TM_PHILOX_ROUNDS 10

/* Four-word blocks that a kernel makes at once, at most: of 64 elements. */
#define TM_MASK_BLOCKS ((size_t)16)

struct tm_mask_keys {
    uint32_t of[TM_PHILOX_ROUNDS][2]; /* each round's */
};

/*
 * For the blocks block, block + 1, ..., whose number is a multiple of
 * TM_MASK_BLOCKS: out[i], or x[i], is of word i of them all. At any address.
 */
typedef void tm_mask_make_uniform(const struct tm_mask_keys *keys,
                                  uint64_t block, size_t blocks, float *out);

/* x[i] = +0 unless word >> 8 is less than `limit`, which is 2^24 at most. */
typedef void tm_mask_make_drop(const struct tm_mask_keys *keys, uint64_t block,
                               size_t blocks, uint32_t limit, float *x);

struct tm_mask_kernels {
    tm_mask_make_uniform *uniform;
    tm_mask_make_drop *drop;
};

extern const struct tm_mask_kernels tm_mask_portable;
extern const struct tm_mask_kernels tm_mask_neon;
extern const struct tm_mask_kernels tm_mask_avx2;
extern const struct tm_mask_kernels tm_mask_avx512;

#endif
