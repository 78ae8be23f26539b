/* SPDX-License-Identifier: Apache-2.0 */
/* planes: see planes.h; planes_template.h has the work. */
#include "kernels/planes.h"

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints are little-endian, and this program reads them as they are"
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Words at a time. */
#define BLOCK ((size_t)64)

#define WORD_BITS 8
#include "kernels/planes_template.h"
#define WORD_BITS 16
#include "kernels/planes_template.h"
#define WORD_BITS 32
#include "kernels/planes_template.h"
#define WORD_BITS 64
#include "kernels/planes_template.h"

void tm_planes_difference(unsigned size, bool is_float, const void *base,
                          const void *tuned, size_t n, unsigned char *planes)
{
    switch (size) {
    case 1:
        difference8(is_float, base, tuned, n, planes);
        break;
    case 2:
        difference16(is_float, base, tuned, n, planes);
        break;
    case 4:
        difference32(is_float, base, tuned, n, planes);
        break;
    default:
        difference64(is_float, base, tuned, n, planes);
        break;
    }
}

void tm_planes_restore(unsigned size, bool is_float, const void *base,
                       const unsigned char *planes, size_t n, void *tuned)
{
    switch (size) {
    case 1:
        restore8(is_float, base, planes, n, tuned);
        break;
    case 2:
        restore16(is_float, base, planes, n, tuned);
        break;
    case 4:
        restore32(is_float, base, planes, n, tuned);
        break;
    default:
        restore64(is_float, base, planes, n, tuned);
        break;
    }
}

void tm_planes_split(unsigned size, bool is_float, const void *words, size_t n,
                     unsigned char *planes)
{
    switch (size) {
    case 1:
        split8(is_float, words, n, planes);
        break;
    case 2:
        split16(is_float, words, n, planes);
        break;
    case 4:
        split32(is_float, words, n, planes);
        break;
    default:
        split64(is_float, words, n, planes);
        break;
    }
}

void tm_planes_join(unsigned size, bool is_float, const unsigned char *planes,
                    size_t n, void *words)
{
    switch (size) {
    case 1:
        join8(is_float, planes, n, words);
        break;
    case 2:
        join16(is_float, planes, n, words);
        break;
    case 4:
        join32(is_float, planes, n, words);
        break;
    default:
        join64(is_float, planes, n, words);
        break;
    }
}
