/* SPDX-License-Identifier: Apache-2.0 */
/* recorded: see recorded.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recorded.h"

#include <stdlib.h>

#include "kernels/drift.h"

_Static_assert(TM_HIGH_BINS == TM_DRIFT_BINS, "a histogram serves both");

/* What the plan takes of one stored vector. */
struct part {
    const struct tm_vector_stored *vector;
    uint64_t elements;
    uint64_t changed;
    double absolute;
    double squares;
};

/* The stored vector that a coded source is of. */
static const struct tm_vector_stored *vector_of(const struct tm_plan *plan,
                                                const struct tm_coded *coded)
{
    for (size_t i = 0; i < plan->num_stored; i++) {
        const struct tm_vector_stored *vector = &plan->stored[i];

        if (coded >= vector->coded &&
            coded < vector->coded + vector->tuned.num_tensors)
            return vector;
    }
    return NULL;
}

/* Adds tensor `t` of the term `i`; false: nothing is recorded of it. */
static bool add_tensor(const struct tm_plan *plan, size_t t, uint32_t i,
                       struct part *part)
{
    const struct tm_plan_tensor *tensor = &plan->tensors[t];
    const struct tm_source *source =
        &tm_plan_sources(plan, t)[tensor->terms->terms[i].column];
    const struct tm_vector_stored *vector;
    const struct tm_coded *coded;
    const struct tm_vector_stats *stats;

    if (source->file == TM_NO_FILE || !source->is_coded)
        return false;
    coded = plan->coded[source->offset].coded;
    vector = vector_of(plan, coded);
    if (vector == NULL || vector->histogram == NULL || vector->stats == NULL ||
        coded->state == TM_ALONE ||
        (part->vector != NULL && part->vector != vector))
        return false;
    part->vector = vector;
    stats = &vector->stats[coded - vector->coded];
    part->elements += tensor->elements;
    part->changed += stats->changed;
    part->absolute += stats->absolute;
    part->squares += stats->squares;
    return true;
}

/* All that the plan takes of the term `i`; false: not all is recorded. */
static bool add_up(const struct tm_plan *plan, uint32_t i, struct part *part)
{
    uint64_t counted = 0;

    *part = (struct part){0};
    for (size_t t = 0; t < plan->num_tensors; t++)
        if (plan->tensors[t].phases > 0 &&
            (i >= plan->tensors[t].terms->count ||
             !add_tensor(plan, t, i, part)))
            return false;
    if (part->vector == NULL)
        return false;
    for (size_t k = 0; k < TM_DRIFT_BINS; k++)
        counted += part->vector->histogram[k];
    return counted == part->changed;
}

static uint32_t count_terms(const struct tm_plan *plan)
{
    for (size_t t = 0; t < plan->num_tensors; t++)
        if (plan->tensors[t].phases > 0)
            return plan->tensors[t].terms->count;
    return 0;
}

bool tm_recorded_is_enough(const struct tm_plan *plan)
{
    struct part part;

    if (plan->recipe->method->recall == NULL)
        return false;
    for (uint32_t i = 0; i < count_terms(plan); i++)
        if (!add_up(plan, i, &part))
            return false;
    return true;
}

bool tm_recorded_recall(const struct tm_plan *plan, struct tm_work *work)
{
    uint64_t *high = malloc(TM_HIGH_BINS * sizeof(*high));
    struct part part;

    if (high == NULL)
        return false;
    for (uint32_t i = 0; i < count_terms(plan); i++) {
        add_up(plan, i, &part);
        for (size_t k = 0; k < TM_HIGH_BINS; k++)
            high[k] = part.vector->histogram[k];
        high[0] += part.elements - part.changed;
        work->method->recall(work, i,
                             &(struct tm_recorded){.high = high,
                                                   .absolute = part.absolute,
                                                   .squares = part.squares});
    }
    free(high);
    return true;
}
