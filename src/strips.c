/* SPDX-License-Identifier: Apache-2.0 */
/* strips: see strips.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/strips.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/row.h"
#include "kernels/strip.h"

/* Arrays beside one for each term: base, output, two spare ones. */
#define EXTRA_ARRAYS 4

/* Floats of an array: padded, and no two a multiple of 4096 bytes apart. */
static uint64_t array_length(const struct tm_plan *plan)
{
    return (plan->budget.strip + 63) / 64 * 64 + 64;
}

static uint64_t scratch_length(const struct tm_plan *plan)
{
    return TM_ROW_SCRATCH(array_length(plan));
}

/* All arrays, in floats. */
static uint64_t total_length(const struct tm_plan *plan)
{
    return (plan->budget.terms + EXTRA_ARRAYS) * array_length(plan) +
           scratch_length(plan);
}

uint64_t tm_strips_memory(const struct tm_plan *plan)
{
    const struct tm_work_sizes *most = &plan->budget.work;

    if (plan->budget.strip == 0)
        return 0;
    return total_length(plan) * sizeof(float) +
           plan->budget.terms * sizeof(float *) +
           most->sums * TM_LANES * sizeof(double) +
           most->counts * sizeof(uint32_t);
}

bool tm_strips_init(struct tm_strips *strips, const struct tm_plan *plan,
                    enum tm_isa isa)
{
    const uint64_t length = array_length(plan);
    const struct tm_work_sizes *most = &plan->budget.work;
    float *next;

    *strips = (struct tm_strips){.isa = isa};
    if (plan->budget.strip == 0)
        return true; /* no method needs them */
    strips->memory = aligned_alloc(64, total_length(plan) * sizeof(float));
    strips->x = calloc(plan->budget.terms + 1, sizeof(*strips->x));
    strips->lanes = calloc(most->sums + 1, sizeof(*strips->lanes));
    strips->counts = calloc(most->counts + 1, sizeof(*strips->counts));
    if (strips->memory == NULL || strips->x == NULL || strips->lanes == NULL ||
        strips->counts == NULL)
        return false;
    /* What pads an array is computed with, to no effect. */
    memset(strips->memory, 0, total_length(plan) * sizeof(float));
    next = strips->memory;
    for (size_t i = 0; i < plan->budget.terms; i++, next += length)
        strips->x[i] = next;
    strips->base = next;
    strips->out = next + length;
    strips->spare[0] = next + 2 * length;
    strips->spare[1] = next + 3 * length;
    strips->scratch = (uint32_t *)(void *)(next + 4 * length);
    return true;
}

void tm_strips_free(struct tm_strips *strips)
{
    free(strips->memory);
    free(strips->x);
    free(strips->lanes);
    free(strips->counts);
    *strips = (struct tm_strips){0};
}

/* The task's element `at` of the input `column`. */
static const void *element(const struct tm_strips_task *task, uint32_t column,
                           uint64_t at)
{
    const enum tm_dtype dtype = (enum tm_dtype)task->sources[column].dtype;

    return (const char *)task->data[column] +
           (at - task->first) * (tm_dtype_bits(dtype) / 8);
}

/* Whether the method sees differences from the base, not values. */
static bool differs(const struct tm_strips_task *task)
{
    return task->work->method->view == TM_DIFFERENCES &&
           task->work->terms->base != TM_NO_COLUMN;
}

/* Reports the first of n elements that is not finite, of the input `column`. */
static enum tm_status not_finite(const struct tm_strips_task *task,
                                 const struct tm_strip *strip, uint32_t column,
                                 const float *x)
{
    const struct tm_input_file *file =
        &task->plan->files[task->sources[column].file];
    size_t i = 0;

    while (i + 1 < strip->n && isfinite(x[i]))
        i++;
    return tm_error(
        TM_BAD_DATA,
        "%s: tensor '%s': element %llu is a NaN or an infinity%s, "
        "which %s cannot merge",
        file->path, task->tensor->name, (unsigned long long)(strip->first + i),
        differs(task) ? " and not the base's" : "", task->work->method->name);
}

/* Widens the strip's part of an input. */
static enum tm_status widen(const struct tm_strips *strips,
                            const struct tm_strips_task *task,
                            const struct tm_strip *strip, uint32_t column,
                            float *x)
{
    const enum tm_dtype dtype = (enum tm_dtype)task->sources[column].dtype;

    if (tm_strip_widen(strips->isa, dtype, element(task, column, strip->first),
                       strip->n, x))
        return TM_OK;
    return not_finite(task, strip, column, x);
}

/* Takes the strip's part of an input from the base's. */
static enum tm_status differ(const struct tm_strips *strips,
                             const struct tm_strips_task *task,
                             const struct tm_strip *strip, uint32_t column,
                             float *x)
{
    const uint32_t base = task->work->terms->base;

    if (tm_strip_differ(strips->isa, (enum tm_dtype)task->sources[base].dtype,
                        element(task, base, strip->first),
                        (enum tm_dtype)task->sources[column].dtype,
                        element(task, column, strip->first), strip->n, x))
        return TM_OK;
    return not_finite(task, strip, column, x);
}

/* Brings the strip's inputs into the arrays. */
static enum tm_status load(struct tm_strips *strips,
                           const struct tm_strips_task *task,
                           const struct tm_strip *strip)
{
    const struct tm_terms *terms = task->work->terms;
    enum tm_status status = TM_OK;

    for (uint32_t i = 0; i < terms->count && status == TM_OK; i++)
        status = (differs(task) ? differ : widen)(
            strips, task, strip, terms->terms[i].column, strips->x[i]);
    if (status == TM_OK && task->work->method->wants_base)
        status = widen(strips, task, strip, terms->base, strips->base);
    return status;
}

/* The strip of the task that begins at the element `first`. */
static struct tm_strip strip_at(struct tm_strips *strips,
                                const struct tm_strips_task *task,
                                uint64_t first)
{
    const uint64_t left = task->first + task->count - first;
    const uint64_t most = task->tensor->by_row ? task->tensor->row : TM_STRIP;

    return (struct tm_strip){
        .isa = strips->isa,
        .first = first,
        .n = (size_t)(left < most ? left : most),
        .x = strips->x,
        .base = task->work->method->wants_base ? strips->base : NULL,
        .spare = {strips->spare[0], strips->spare[1]},
        .scratch = strips->scratch,
        .sums = strips->lanes,
        .counts = strips->counts,
    };
}

/* Adds up the lanes of a block, and clears them. */
static void finish_block(struct tm_strips *strips, size_t count, double *sums)
{
    for (size_t s = 0; s < count; s++) {
        const double *l = strips->lanes[s];

        sums[s] =
            ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
    }
    memset(strips->lanes, 0, count * sizeof(*strips->lanes));
}

enum tm_status tm_strips_measure(struct tm_strips *strips,
                                 const struct tm_strips_task *task,
                                 double *sums)
{
    const struct tm_method *method = task->work->method;
    const size_t num_sums = tm_method_sizes(method, task->work->terms,
                                            task->work->row, task->work->plane)
                                .sums;
    const uint64_t block = tm_plan_sum_block(task->tensor);
    const uint64_t end = task->first + task->count;

    for (uint64_t at = task->first; at < end;) {
        struct tm_strip strip = strip_at(strips, task, at);
        const enum tm_status status = load(strips, task, &strip);

        if (status != TM_OK)
            return status;
        method->measure(task->work, &strip);
        at += strip.n;
        if (at % block == 0 || at == end) {
            finish_block(strips, num_sums, sums);
            sums += num_sums;
        }
    }
    return TM_OK;
}

/*
 * Adds n counts, a step at most, to others and clears them; false: all were
 * zero.
 */
static bool move_counts(uint32_t *from, size_t n, uint64_t *to)
{
    static const uint32_t none[TM_COUNTS_STEP];

    if (memcmp(from, none, n * sizeof(*from)) == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        to[i] += from[i];
    memset(from, 0, n * sizeof(*from));
    return true;
}

void tm_strips_add_counts(struct tm_strips *strips, struct tm_work *work)
{
    const size_t count =
        tm_method_sizes(work->method, work->terms, work->row, work->plane)
            .counts;

    for (size_t i = 0; i < count; i += TM_COUNTS_STEP) {
        const size_t left = count - i;

        if (move_counts(strips->counts + i,
                        left < TM_COUNTS_STEP ? left : TM_COUNTS_STEP,
                        work->counts + i))
            work->touched[i / TM_COUNTS_STEP] = true;
    }
}

enum tm_status tm_strips_count(struct tm_strips *strips,
                               const struct tm_strips_task *task,
                               uint64_t *ties)
{
    const uint64_t end = task->first + task->count;

    for (uint64_t at = task->first; at < end;) {
        struct tm_strip strip = strip_at(strips, task, at);
        const enum tm_status status = load(strips, task, &strip);

        if (status != TM_OK)
            return status;
        strip.ties = ties;
        task->work->method->count(task->work, &strip);
        at += strip.n;
    }
    return TM_OK;
}

enum tm_status tm_strips_apply(struct tm_strips *strips,
                               const struct tm_strips_task *task,
                               uint64_t *ties, void *out,
                               struct tm_sum_stats *stats)
{
    const struct tm_method *method = task->work->method;
    const uint32_t base =
        method->view == TM_DIFFERENCES ? task->work->terms->base : TM_NO_COLUMN;
    const enum tm_dtype base_dtype =
        base != TM_NO_COLUMN ? (enum tm_dtype)task->sources[base].dtype
                             : TM_F32;
    const enum tm_dtype dtype = (enum tm_dtype)task->tensor->dtype;
    const uint64_t end = task->first + task->count;

    for (uint64_t at = task->first; at < end;) {
        struct tm_strip strip = strip_at(strips, task, at);
        const enum tm_status status = load(strips, task, &strip);

        if (status != TM_OK)
            return status;
        strip.ties = ties;
        method->apply(task->work, &strip, strips->out);
        tm_strip_finish(strips->isa, base_dtype,
                        base != TM_NO_COLUMN ? element(task, base, at) : NULL,
                        strips->out, strip.n, dtype,
                        (char *)out +
                            (at - task->first) * (tm_dtype_bits(dtype) / 8),
                        stats);
        at += strip.n;
    }
    return TM_OK;
}
