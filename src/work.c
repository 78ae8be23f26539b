/* SPDX-License-Identifier: Apache-2.0 */
/* work: see work.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/work.h"

#include <stdlib.h>
#include <string.h>

bool tm_work_init(struct tm_work *work, const struct tm_plan *plan)
{
    const struct tm_work_sizes *most = &plan->budget.work;

    *work = (struct tm_work){
        .sums = calloc(most->sums + 1, sizeof(*work->sums)),
        .counts = calloc(most->counts + 1, sizeof(*work->counts)),
        .touched =
            calloc(most->counts / TM_COUNTS_STEP + 1, sizeof(*work->touched)),
        .numbers = calloc(most->numbers + 1, sizeof(*work->numbers)),
        .selects = calloc(most->selects + 1, sizeof(*work->selects)),
    };
    return work->sums != NULL && work->counts != NULL &&
           work->touched != NULL && work->numbers != NULL &&
           work->selects != NULL;
}

void tm_work_free(struct tm_work *work)
{
    free(work->sums);
    free(work->counts);
    free(work->touched);
    free(work->numbers);
    free(work->selects);
    *work = (struct tm_work){0};
}

uint64_t tm_work_memory(const struct tm_plan *plan)
{
    const struct tm_work_sizes *most = &plan->budget.work;

    return most->sums * sizeof(double) + most->counts * sizeof(uint64_t) +
           most->counts / TM_COUNTS_STEP + most->numbers * sizeof(double) +
           most->selects * sizeof(struct tm_select);
}

void tm_work_begin(struct tm_work *work, const struct tm_plan *plan,
                   size_t tensor)
{
    const struct tm_plan_tensor *of = &plan->tensors[tensor];
    const struct tm_method *method = plan->recipe->method;
    struct tm_work_sizes sizes;

    work->method = method;
    work->terms = of->terms;
    work->name = of->name;
    work->seed = plan->recipe->seed;
    work->elements = of->elements;
    work->row = of->row;
    work->plane = of->plane;
    work->phase = 0;
    work->pivot = method->view == TM_DIFFERENCES || of->terms->count == 0
                      ? of->terms->base
                      : TM_NO_COLUMN;
    sizes = tm_work_sizes(work);
    memset(work->numbers, 0, sizes.numbers * sizeof(*work->numbers));
    memset(work->selects, 0, sizes.selects * sizeof(*work->selects));
}

struct tm_work_sizes tm_work_sizes(const struct tm_work *work)
{
    return tm_method_sizes(work->method, work->terms, work->row, work->plane);
}

void tm_work_clear(struct tm_work *work)
{
    const struct tm_work_sizes sizes = tm_work_sizes(work);

    memset(work->sums, 0, sizes.sums * sizeof(*work->sums));
    for (size_t i = 0; i < sizes.counts; i += TM_COUNTS_STEP) {
        const size_t left = sizes.counts - i;

        if (!work->touched[i / TM_COUNTS_STEP])
            continue;
        memset(work->counts + i, 0,
               (left < TM_COUNTS_STEP ? left : TM_COUNTS_STEP) *
                   sizeof(*work->counts));
        work->touched[i / TM_COUNTS_STEP] = false;
    }
}

void tm_work_add(struct tm_work *work, const double *sums, uint64_t blocks)
{
    const size_t count = tm_work_sizes(work).sums;

    for (uint64_t b = 0; b < blocks; b++, sums += count)
        for (size_t s = 0; s < count; s++)
            work->sums[s] += sums[s];
}

enum tm_status tm_work_conclude(struct tm_work *work)
{
    const char *why = work->method->conclude(work);

    work->phase++;
    if (why == NULL)
        return TM_OK;
    return tm_error(TM_BAD_DATA, "tensor '%s': %s", work->name, why);
}

enum tm_status tm_work_conclude_model(struct tm_work *work,
                                      const struct tm_work *model)
{
    struct tm_work with = *work;
    enum tm_status status;

    with.sums = model->sums;
    with.counts = model->counts;
    with.elements = model->elements;
    status = tm_work_conclude(&with);
    work->phase = with.phase;
    work->pivot = with.pivot;
    return status;
}

bool tm_work_has_ties(const struct tm_work *work)
{
    const size_t count = tm_work_sizes(work).selects;

    for (size_t i = 0; i < count; i++)
        if (work->selects[i].quota > 0 &&
            work->selects[i].quota < work->selects[i].equal)
            return true;
    return false;
}
