/* SPDX-License-Identifier: Apache-2.0 */
/* results: see results.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/results.h"

#include <stdlib.h>

uint64_t tm_results_memory(const struct tm_plan *plan)
{
    return tm_made_memory(plan) + plan->num_shards * sizeof(struct tm_digest) +
           plan->num_tensors * (sizeof(struct tm_digest) * (1 + plan->width) +
                                sizeof(struct tm_sum_stats));
}

/* The tensors that no unit will come by: those without elements. */
static void fill_empty(struct tm_results *results, const struct tm_plan *plan)
{
    const struct tm_digest nothing = tm_digest_of("", 0);

    for (size_t t = 0; t < plan->num_tensors; t++) {
        if (plan->tensors[t].bytes > 0)
            continue;
        results->tensors[t] = nothing;
        for (size_t i = 0; i < plan->width; i++)
            results->sources[t * plan->width + i] = nothing;
    }
}

enum tm_status tm_results_init(struct tm_results *results,
                               const struct tm_plan *plan)
{
    const size_t tensors = plan->num_tensors + 1;

    *results = (struct tm_results){
        .shards = calloc(plan->num_shards, sizeof(*results->shards)),
        .tensors = calloc(tensors, sizeof(*results->tensors)),
        .sources = calloc(tensors * plan->width, sizeof(*results->sources)),
        .stats = calloc(tensors, sizeof(*results->stats)),
        .made = calloc(plan->num_outputs + 1, sizeof(*results->made)),
    };
    enum tm_status status = TM_OK;

    if (results->shards == NULL || results->tensors == NULL ||
        results->sources == NULL || results->stats == NULL ||
        results->made == NULL) {
        tm_results_free(results);
        return tm_no_memory();
    }
    results->num_made = plan->num_outputs;
    for (size_t i = 0; i < plan->num_outputs && status == TM_OK; i++)
        status = tm_made_init(&results->made[i], plan, &plan->outputs[i]);
    fill_empty(results, plan);
    return status;
}

void tm_results_free(struct tm_results *results)
{
    free(results->shards);
    free(results->tensors);
    free(results->sources);
    free(results->stats);
    for (size_t i = 0; i < results->num_made; i++)
        tm_made_free(&results->made[i]);
    free(results->made);
    *results = (struct tm_results){0};
}
