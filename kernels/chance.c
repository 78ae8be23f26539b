/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chance: rows that are short, and those for which sorting is the fastest way;
 * the rest is chance_template.h's.
 */
#include "kernels/chance.h"

#include "kernels/chance_kernels.h"
#include "kernels/row.h"

static const struct tm_chance_kernels *const tables[TM_NUM_ISAS] = {
    [TM_ISA_PORTABLE] = &tm_chance_portable,
#if defined(__aarch64__)
    [TM_ISA_NEON] = &tm_chance_neon,
#endif
#if defined(__x86_64__)
    [TM_ISA_AVX2] = &tm_chance_avx2,
    [TM_ISA_AVX512] = &tm_chance_avx512,
#endif
};

/* Without branches, which would go either way at random. */
static void settle_by_rank(enum tm_isa isa, const struct tm_chance_row *row)
{
    tm_row_rank(isa, row->x, row->n, row->list, row->scratch);
    for (size_t i = 0; i < row->n; i++)
        tm_chance_keep(
            &row->number[i],
            tm_chance_keeps(row->chance, row->list[i], row->number[i]));
}

void tm_chance_drop(enum tm_isa isa, struct tm_chance chance, float *x,
                    size_t n, float *number, uint32_t *rank, uint32_t *scratch)
{
    const double last = n > 0 ? (double)(n - 1) : 0;
    const struct tm_chance_row row = {
        .chance = chance,
        .least = (float)chance.least,
        .most = (float)(chance.least + chance.step * last),
        .x = x,
        .n = n,
        .number = number,
        .list = rank,
        .scratch = scratch,
    };

    if (row.least < row.most && (n < TM_CHANCE_FEWEST || n > TM_CHANCE_MOST ||
                                 !tables[isa]->settle(&row)))
        settle_by_rank(isa, &row);
    tables[isa]->drop(x, n, number, row.least);
}
