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

/* How often each token comes: after a group of zeros or not, by class. */
typedef uint32_t tm_rans_counts[2][TM_RANS_CLASSES][TM_RANS_TOKENS];

struct tm_rans_context {
    bool there;
    struct tm_rans_masses masses;
    uint16_t f[TM_RANS_TOKENS];
};

struct tm_rans_choice {
    unsigned classes;
    bool has_zero;
    struct tm_rans_context contexts[TM_RANS_CONTEXTS];
};

/* log2 costs; made once. */
struct tm_rans_costs {
    uint16_t of[TM_RANS_SCALE + 1]; /* (11 - log2 f) 2^10 bits */
};

void tm_rans_costs_init(struct tm_rans_costs *costs);

/*
 * Chooses the number of classes and whether there is a zero context so that
 * tables and stream are smallest. Changes `counts`.
 */
void tm_rans_choose(const struct tm_rans_alphabet *alphabet,
                    const struct tm_rans_costs *costs, tm_rans_counts counts,
                    struct tm_rans_choice *choice);

#endif
