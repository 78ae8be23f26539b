/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask_template: the kernels of mask_kernels.h, once for all instruction sets.
 *
 * mask_<isa>.c includes a vector layer (vec_<isa>.h), defines what is below,
 * and then includes this, which leaves the table TM_MASK_TABLE behind.
 *
 *     MASK_BLOCKS      how many blocks there are in a vw
 *     vw               a word of each of them, in an order of its own
 *     vw_set           the same for all
 *     vw_counters      the lower and the upper words of the counters
 *                      block ... block + MASK_BLOCKS - 1
 *     vw_multiply      the lower and the upper words of products
 *     vw_xor           of three
 *     vw_in_order      four vw, words 0 to 3 of all blocks, to as many words
 *                      in vi, in order of the blocks
 *     vf_unit          a vi of numbers below 2^24, times 2^-24
 */
#include "kernels/mask_kernels.h"

/* Vectors of words in order. */
#define MASK_VECTORS (4 * MASK_BLOCKS / VEC_LANES)

_Static_assert(TM_MASK_BLOCKS % MASK_BLOCKS == 0, "kernels see whole vectors");

struct four {
    vw w[4];
};

VEC_INLINE struct four philox_round(struct four c, const uint32_t key[2])
{
    vw low0, high0, low2, high2;

    vw_multiply(c.w[0], 0xD2511F53u, &low0, &high0);
    vw_multiply(c.w[2], 0xCD9E8D57u, &low2, &high2);
    return (struct four){{vw_xor(high2, c.w[1], vw_set(key[0])), low2,
                          vw_xor(high0, c.w[3], vw_set(key[1])), low0}};
}

VEC_INLINE void philox(const struct tm_mask_keys *keys, uint64_t block,
                       vi out[MASK_VECTORS])
{
    struct four c;

    vw_counters(block, &c.w[0], &c.w[1]);
    c.w[2] = c.w[3] = vw_set(0);
    c = philox_round(c, keys->of[0]);
    c = philox_round(c, keys->of[1]);
    c = philox_round(c, keys->of[2]);
    c = philox_round(c, keys->of[3]);
    c = philox_round(c, keys->of[4]);
    c = philox_round(c, keys->of[5]);
    c = philox_round(c, keys->of[6]);
    c = philox_round(c, keys->of[7]);
    c = philox_round(c, keys->of[8]);
    c = philox_round(c, keys->of[9]);
    vw_in_order(c.w, out);
}

static void uniform(const struct tm_mask_keys *keys, uint64_t block,
                    size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i += MASK_BLOCKS) {
        vi words[MASK_VECTORS];

        philox(keys, block + i, words);
        for (size_t j = 0; j < MASK_VECTORS; j++)
            vf_store(out + 4 * i + VEC_LANES * j,
                     vf_unit(VEC_SHR(words[j], 8)));
    }
}

static void drop(const struct tm_mask_keys *keys, uint64_t block, size_t blocks,
                 uint32_t limit, float *x)
{
    vi least = vi_set(limit), zero = vi_set(0);

    for (size_t i = 0; i < blocks; i += MASK_BLOCKS) {
        vi words[MASK_VECTORS];

        philox(keys, block + i, words);
        for (size_t j = 0; j < MASK_VECTORS; j++) {
            float *at = x + 4 * i + VEC_LANES * j;
            vi v = vi_of(vf_load(at));

            v = vi_if_less(VEC_SHR(words[j], 8), least, v, zero);
            vf_store(at, vf_of(v));
        }
    }
}

const struct tm_mask_kernels TM_MASK_TABLE = {
    .uniform = uniform,
    .drop = drop,
};
