/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum: blocks, groups of inputs, and which kernels to call. What sum.h says
 * is done here once for all instruction sets; sum_template.h has the rest.
 */
#include "kernels/sum.h"

#include <string.h>

#include "kernels/sum_kernels.h"

/* Buffers of doubles are twice as large and there are three. */
#define BLOCK_64 (TM_SUM_BLOCK / 4)

static const struct tm_sum_kernels *const tables[TM_NUM_ISAS] = {
    [TM_ISA_PORTABLE] = &tm_sum_portable,
#if defined(__aarch64__)
    [TM_ISA_NEON] = &tm_sum_neon,
#endif
#if defined(__x86_64__)
    [TM_ISA_AVX2] = &tm_sum_avx2,
    [TM_ISA_AVX512] = &tm_sum_avx512,
#endif
};

/* A part of a task: elements [start, start + n), n a multiple of a step. */
struct part {
    const struct tm_sum_kernels *kernels;
    const struct tm_sum_task *task;
    size_t start, n;
};

static const void *at(const void *data, enum tm_dtype dtype, size_t i)
{
    return (const char *)data + i * (tm_dtype_bits(dtype) / 8);
}

static void *out_at(const struct tm_sum_task *task, size_t i)
{
    return (char *)task->out + i * (tm_dtype_bits(task->out_dtype) / 8);
}

/* How many inputs from `from` on are of one type, at most a group. */
static size_t group_size(const struct tm_sum_task *task, size_t from)
{
    const struct tm_sum_input *in = task->inputs;
    size_t count = 1;

    while (count < TM_SUM_GROUP && from + count < task->num_inputs &&
           in[from + count].dtype == in[from].dtype)
        count++;
    return count;
}

/* Up to a group of inputs, as the kernels want them. */
struct group {
    const void *x[TM_SUM_GROUP];
    float w[TM_SUM_GROUP];
};

static void set_group(struct group *g, const struct part *p, size_t from,
                      size_t count)
{
    for (size_t k = 0; k < count; k++) {
        const struct tm_sum_input *in = &p->task->inputs[from + k];

        g->x[k] = at(in->data, in->dtype, p->start);
        g->w[k] = (float)in->weight;
    }
}

/* These return whether an output is not finite. */
static bool sum_fused(const struct part *p)
{
    const struct tm_sum_task *task = p->task;
    struct group g;

    set_group(&g, p, 0, task->num_inputs);
    return p->kernels->fused[task->base_dtype](
        at(task->base, task->base_dtype, p->start), g.x, g.w, task->num_inputs,
        p->n, out_at(task, p->start));
}

static bool sum_grouped(const struct part *p)
{
    const struct tm_sum_task *task = p->task;
    const void *base = at(task->base, task->base_dtype, p->start);
    float s[TM_SUM_BLOCK];
    struct group g;

    if (task->num_inputs == 0)
        memset(s, 0, p->n * sizeof(*s));
    for (size_t from = 0; from < task->num_inputs;) {
        size_t count = group_size(task, from);

        set_group(&g, p, from, count);
        p->kernels->accumulate[task->base_dtype][task->inputs[from].dtype](
            base, g.x, g.w, count, p->n, s, from == 0);
        from += count;
    }
    return p->kernels->finish[task->base_dtype][task->out_dtype](
        base, s, out_at(task, p->start), p->n);
}

static bool sum_wide(const struct part *p)
{
    const struct tm_sum_task *task = p->task;
    const struct tm_sum_kernels *kernels = p->kernels;
    double base[BLOCK_64], x[BLOCK_64], s[BLOCK_64];

    memset(s, 0, p->n * sizeof(*s));
    kernels->widen[task->base_dtype](at(task->base, task->base_dtype, p->start),
                                     p->n, base);
    for (size_t k = 0; k < task->num_inputs; k++) {
        const struct tm_sum_input *in = &task->inputs[k];

        kernels->widen[in->dtype](at(in->data, in->dtype, p->start), p->n, x);
        kernels->accumulate64(base, x, in->weight, p->n, s);
    }
    kernels->finish64(base, p->n, s);
    return kernels->narrow[task->out_dtype](s, p->n, out_at(task, p->start));
}

static bool has_input_of(const struct tm_sum_task *task, enum tm_dtype dtype)
{
    for (size_t k = 0; k < task->num_inputs; k++)
        if (task->inputs[k].dtype == dtype)
            return true;
    return false;
}

/* Whether there is one group of inputs, and one type for everything. */
static bool can_fuse(const struct tm_sum_task *task)
{
    return task->out_dtype == task->base_dtype &&
           (task->num_inputs == 0 ||
            (task->inputs[0].dtype == task->base_dtype &&
             group_size(task, 0) == task->num_inputs));
}

void tm_sum(enum tm_isa isa, const struct tm_sum_task *task,
            struct tm_sum_stats *stats)
{
    bool wide = task->base_dtype == TM_F64 || has_input_of(task, TM_F64);
    bool (*sum)(const struct part *) = wide             ? sum_wide
                                       : can_fuse(task) ? sum_fused
                                                        : sum_grouped;
    size_t block = wide ? BLOCK_64 : TM_SUM_BLOCK;
    size_t whole = task->n - task->n % TM_SUM_STEP;
    struct part p = {tables[isa], task, 0, 0};

    for (; p.start < whole; p.start += p.n) {
        p.n = whole - p.start < block ? whole - p.start : block;
        if (sum(&p))
            tm_sum_exact(task, wide, p.start, p.n, stats);
    }
    /* Under a step: the kernels would have to look at its length. */
    tm_sum_exact(task, wide, whole, task->n - whole, stats);
}
