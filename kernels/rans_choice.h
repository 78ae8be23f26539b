/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_choice: which contexts a chunk is coded with, and their tables; the
 * encoder's side of rans_tables.
 */
#ifndef TM_KERNELS_RANS_CHOICE_H
#define TM_KERNELS_RANS_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rans_tables.h"

/* How often each token comes in each of all classes. */
typedef uint32_t tm_rans_counts[TM_RANS_CLASSES][TM_RANS_TOKENS];

/* What a token costs, by its f: (11 - log2 f) 2^10 bits. */
struct tm_rans_costs {
    uint16_t of[TM_RANS_SCALE + 1];
};

void tm_rans_costs_init(struct tm_rans_costs *costs);

struct tm_rans_context {
    uint64_t cost; /* of its table and its tokens */
    bool there;
    struct tm_rans_masses masses;
    uint16_t f[TM_RANS_TOKENS];
};

/* The contexts of all classes; of those after zeros, too, if has_zero. */
struct tm_rans_choice {
    unsigned classes;
    bool has_zero;
    struct tm_rans_context contexts[2][TM_RANS_CLASSES];
};

/*
 * Chooses the number of classes and whether there is a zero context so that
 * tables and stream are small: `counts` are those of words after other groups
 * and after `zeros` groups of zeros. Changes them.
 */
void tm_rans_choose(const struct tm_rans_alphabet *alphabet,
                    const struct tm_rans_costs *costs, tm_rans_counts counts[2],
                    size_t zeros, struct tm_rans_choice *choice);

#endif
