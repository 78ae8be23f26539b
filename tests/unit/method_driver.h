/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method_driver: plays the engine for one tensor in memory, as src/method.h
 * describes it: phases, blocks, strips, lanes, ties. Types are F32 throughout.
 *
 *     struct job job = {.method = ..., .terms = ..., .inputs = ...};
 *     driver_run(&job, out)
 */
#ifndef TM_TESTS_METHOD_DRIVER_H
#define TM_TESTS_METHOD_DRIVER_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/row.h"
#include "kernels/strip.h"
#include "src/method.h"

#define DRIVER_MOST 16 /* inputs */

struct job {
    const struct tm_method *method;
    const struct tm_terms *terms;
    const float *const *inputs; /* of terms */
    const float *base;          /* NULL: none */
    uint64_t n, row, plane;
    size_t cut; /* elements of a strip, a multiple of 8; 0: TM_STRIP */
    enum tm_isa isa;
    uint64_t seed;
    const char *name; /* NULL: "tensor" */

    struct tm_work work; /* what is found; its arrays are the driver's */
    struct tm_work_sizes sizes;
    float *spare[2 + DRIVER_MOST + 1];
    uint32_t *scratch;
    uint64_t *ties;
    double (*lanes)[TM_LANES];
    uint32_t *block_counts;
};

static void *driver_array(size_t count, size_t size)
{
    size_t bytes = (count * size + 64 * size + 63) / 64 * 64;
    void *array = aligned_alloc(64, bytes);

    if (array == NULL)
        abort();
    memset(array, 0, bytes);
    return array;
}

static bool driver_by_row(const struct job *job)
{
    return tm_method_is_by_row(job->method, job->terms);
}

static void driver_begin(struct job *job)
{
    const struct tm_method *m = job->method;
    size_t longest;

    if (job->cut == 0)
        job->cut = TM_STRIP;
    longest = driver_by_row(job) ? job->row : job->cut;
    job->sizes = tm_method_sizes(m, job->terms, job->row, job->plane);
    job->work = (struct tm_work){
        .method = m,
        .terms = job->terms,
        .name = job->name != NULL ? job->name : "tensor",
        .seed = job->seed,
        .elements = job->n,
        .row = job->row,
        .plane = job->plane,
        .pivot = m->view == TM_DIFFERENCES ? job->terms->base : TM_NO_COLUMN,
        .sums = driver_array(job->sizes.sums, sizeof(double)),
        .counts = driver_array(job->sizes.counts, sizeof(uint64_t)),
        .numbers = driver_array(job->sizes.numbers, sizeof(double)),
        .selects = driver_array(job->sizes.selects, sizeof(struct tm_select)),
    };
    for (size_t i = 0; i < 3 + job->terms->count; i++)
        job->spare[i] = driver_array(longest, sizeof(float));
    job->scratch = driver_array(TM_ROW_SCRATCH(longest), sizeof(uint32_t));
    job->ties = driver_array(job->sizes.selects, sizeof(uint64_t));
    job->lanes = driver_array(job->sizes.sums, sizeof(*job->lanes));
    job->block_counts = driver_array(job->sizes.counts, sizeof(uint32_t));
}

static void driver_end(struct job *job)
{
    free(job->work.sums);
    free(job->work.counts);
    free(job->work.numbers);
    free(job->work.selects);
    for (size_t i = 0; i < 3 + job->terms->count; i++)
        free(job->spare[i]);
    free(job->scratch);
    free(job->ties);
    free(job->lanes);
    free(job->block_counts);
}

/* Fills in the strip of elements [first, first + n). */
static struct tm_strip driver_strip(struct job *job, uint64_t first, size_t n)
{
    const bool differ =
        job->method->view == TM_DIFFERENCES && job->base != NULL;

    for (size_t i = 0; i < job->terms->count; i++) {
        float *x = job->spare[3 + i];

        if (differ)
            tm_strip_differ(job->isa, TM_F32, job->base + first, TM_F32,
                            job->inputs[i] + first, n, x);
        else
            memcpy(x, job->inputs[i] + first, n * sizeof(*x));
    }
    if (job->base != NULL)
        memcpy(job->spare[2], job->base + first, n * sizeof(float));
    return (struct tm_strip){
        .isa = job->isa,
        .first = first,
        .n = n,
        .x = job->spare + 3,
        .base = job->method->wants_base ? job->spare[2] : NULL,
        .spare = {job->spare[0], job->spare[1]},
        .scratch = driver_by_row(job) ? job->scratch : NULL,
        .sums = job->lanes,
        .counts = job->block_counts,
        .ties = job->ties,
    };
}

/* Where the strip that begins at `first` ends. */
static uint64_t driver_stop(const struct job *job, uint64_t first)
{
    uint64_t stop = first + job->cut;
    uint64_t block = (first / TM_BLOCK_ELEMENTS + 1) * TM_BLOCK_ELEMENTS;

    if (driver_by_row(job))
        return first + job->row;
    stop = stop < block ? stop : block;
    return stop < job->n ? stop : job->n;
}

static void driver_add_block(struct job *job)
{
    for (size_t s = 0; s < job->sizes.sums; s++) {
        double *l = job->lanes[s];

        job->work.sums[s] +=
            ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
        memset(l, 0, sizeof(job->lanes[s]));
    }
    for (size_t s = 0; s < job->sizes.counts; s++) {
        job->work.counts[s] += job->block_counts[s];
        job->block_counts[s] = 0;
    }
}

/* A block ends where a strip crosses or meets a multiple of its size. */
static void driver_measure(struct job *job)
{
    for (uint64_t i = 0, stop; i < job->n; i = stop) {
        struct tm_strip strip;

        stop = driver_stop(job, i);
        strip = driver_strip(job, i, stop - i);
        job->method->measure(&job->work, &strip);
        if (stop / TM_BLOCK_ELEMENTS != i / TM_BLOCK_ELEMENTS || stop == job->n)
            driver_add_block(job);
    }
}

static const char *driver_phases(struct job *job)
{
    const unsigned phases = tm_method_phases(job->method, job->terms);
    const char *problem = NULL;

    if (phases == 0)
        return job->method->conclude(&job->work);
    for (unsigned p = 0; p < phases && problem == NULL; p++) {
        job->work.phase = p;
        memset(job->work.sums, 0, job->sizes.sums * sizeof(double));
        memset(job->work.counts, 0, job->sizes.counts * sizeof(uint64_t));
        driver_measure(job);
        problem = job->method->conclude(&job->work);
    }
    job->work.phase = phases;
    return problem;
}

/* From coefficients, fused as kernels/sum.h has it. */
static void driver_sum(const struct job *job, float *out)
{
    const struct tm_work *w = &job->work;
    const float *pivot = w->pivot == job->terms->base ? job->base : NULL;

    for (size_t i = 0; i < job->terms->count; i++)
        if (job->terms->terms[i].column == w->pivot)
            pivot = job->inputs[i];
    for (uint64_t e = 0; e < job->n; e++) {
        float s = 0;

        for (size_t i = 0; i < job->terms->count; i++) {
            float x = job->inputs[i][e];

            if (job->terms->terms[i].column == w->pivot)
                continue;
            s = fmaf((float)w->numbers[i], pivot ? x - pivot[e] : x, s);
        }
        out[e] = pivot == NULL ? s : s == 0 ? pivot[e] : pivot[e] + s;
    }
}

static void driver_apply_strip(struct job *job, uint64_t first, float *out)
{
    const uint64_t stop = driver_stop(job, first);
    struct tm_strip strip = driver_strip(job, first, stop - first);
    float *values = driver_array(strip.n, sizeof(float));

    job->method->apply(&job->work, &strip, values);
    for (size_t i = 0; i < strip.n; i++) {
        const float b = job->base != NULL ? job->base[first + i] : 0;

        if (job->method->view == TM_VALUES || job->base == NULL)
            out[first + i] = values[i];
        else
            out[first + i] = values[i] == 0 ? b : b + values[i];
    }
    free(values);
}

/*
 * Ties are counted from the beginning on; then strips are made from the last
 * to the first, with what was counted, as if each were another thread's.
 */
static void driver_apply(struct job *job, float *out)
{
    const size_t selects = job->sizes.selects;
    uint64_t *before = driver_array((job->n / 8 + 1) * (selects + 1), 8);
    uint64_t *starts = driver_array(job->n / 8 + 1, 8);
    size_t count = 0;

    for (uint64_t i = 0; i < job->n; i = driver_stop(job, i)) {
        struct tm_strip strip = driver_strip(job, i, driver_stop(job, i) - i);

        memcpy(before + count * selects, job->ties, selects * 8);
        starts[count++] = i;
        if (job->method->count != NULL)
            job->method->count(&job->work, &strip);
    }
    while (count-- > 0) {
        memcpy(job->ties, before + count * selects, selects * 8);
        driver_apply_strip(job, starts[count], out);
    }
    free(before);
    free(starts);
}

/* Returns NULL, or why there is no output. driver_end afterwards. */
static const char *driver_run(struct job *job, float *out)
{
    const char *problem;

    driver_begin(job);
    problem = driver_phases(job);
    if (problem != NULL)
        return problem;
    if (tm_method_is_sum(job->method, job->terms))
        driver_sum(job, out);
    else
        driver_apply(job, out);
    return NULL;
}

#endif
