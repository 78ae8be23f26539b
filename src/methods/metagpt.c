/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MetaGPT (Zhou et al., "MetaGPT: merging large language models using model
 * exclusive task arithmetic", EMNLP 2024, section 3): task arithmetic whose
 * factors come from the vectors themselves, each taken over the whole model:
 *
 *     lambda_i = |t_i|^2 / sum of |t_k|^2
 */
#include "src/methods/methods.h"

#include "kernels/strip.h"

static bool is_whole(const struct tm_terms *terms)
{
    (void)terms;
    return true;
}

static struct tm_work_sizes sizes(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane)
{
    (void)row;
    (void)plane;
    return (struct tm_work_sizes){.sums = terms->count,
                                  .numbers = terms->count};
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    for (uint32_t i = 0; i < work->terms->count; i++)
        tm_strip_sum_squares(strip->isa, strip->x[i], strip->n, strip->sums[i]);
}

static void recall(struct tm_work *work, size_t term,
                   const struct tm_recorded *recorded)
{
    work->sums[term] = recorded->squares;
}

static const char *conclude(struct tm_work *work)
{
    double total = 0;

    for (uint32_t i = 0; i < work->terms->count; i++)
        total += work->sums[i];
    for (uint32_t i = 0; i < work->terms->count; i++)
        work->numbers[i] = total > 0 ? work->sums[i] / total : 0;
    return NULL;
}

const struct tm_method tm_method_metagpt = {
    .name = "metagpt",
    .help = "task vectors weighted by their squared lengths",
    .source = "Zhou et al., EMNLP 2024",
    .family = TM_GRAM,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = SIZE_MAX,
    .phases = tm_methods_one_phase,
    .is_whole = is_whole,
    .sizes = sizes,
    .measure = measure,
    .recall = recall,
    .conclude = conclude,
};
