/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask: keys, and elements at either end that are part of a block of four or
 * of what a kernel makes at once; Philox itself is in mask_template.h.
 */
#include "kernels/mask.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/mask_kernels.h"

/* Elements that a kernel makes at once, at most. */
#define STEP (4 * TM_MASK_BLOCKS)

static const struct tm_mask_kernels *const tables[TM_NUM_ISAS] = {
    [TM_ISA_PORTABLE] = &tm_mask_portable,
#if defined(__aarch64__)
    [TM_ISA_NEON] = &tm_mask_neon,
#endif
#if defined(__x86_64__)
    [TM_ISA_AVX2] = &tm_mask_avx2,
    [TM_ISA_AVX512] = &tm_mask_avx512,
#endif
};

/* What is done to an array: made anew, or dropped from. */
struct job {
    const struct tm_mask_kernels *kernels;
    struct tm_mask_keys keys;
    bool drops;
    uint32_t limit;
};

/* The keys of Philox4x32 go up by a constant (Weyl's sequence). */
static struct job job_of(enum tm_isa isa, struct tm_mask mask)
{
    struct job job = {.kernels = tables[isa], .drops = false, .limit = 0};

    for (uint32_t r = 0; r < TM_PHILOX_ROUNDS; r++) {
        job.keys.of[r][0] = mask.key[0] + r * 0x9E3779B9u;
        job.keys.of[r][1] = mask.key[1] + r * 0xBB67AE85u;
    }
    return job;
}

static void make(const struct job *job, uint64_t block, size_t blocks, float *x)
{
    if (job->drops)
        job->kernels->drop(&job->keys, block, blocks, job->limit, x);
    else
        job->kernels->uniform(&job->keys, block, blocks, x);
}

/* Less than STEP elements, by way of a buffer that has room for one. */
static void make_part(const struct job *job, uint64_t first, size_t n, float *x)
{
    float step[STEP] = {0};
    float *from = step + first % 4;

    memcpy(from, x, n * sizeof(*x));
    make(job, first / 4, TM_MASK_BLOCKS, step);
    memcpy(x, from, n * sizeof(*x));
}

static void run(const struct job *job, uint64_t first, size_t n, float *x)
{
    size_t ahead = (size_t)((0 - first) % 4), whole;

    if (ahead > n)
        ahead = n;
    if (ahead > 0)
        make_part(job, first, ahead, x);
    whole = (n - ahead) / STEP * STEP;
    make(job, (first + ahead) / 4, whole / 4, x + ahead);
    ahead += whole;
    if (ahead < n)
        make_part(job, first + ahead, n - ahead, x + ahead);
}

void tm_mask_uniform(enum tm_isa isa, struct tm_mask mask, uint64_t first,
                     size_t n, float *out)
{
    struct job job = job_of(isa, mask);

    run(&job, first, n, out);
}

/* word * 2^-24 < density is word < density * 2^24, which is exact. */
static uint32_t limit_of(float density)
{
    if (!(density > 0))
        return 0;
    return density < 1 ? (uint32_t)ceil((double)density * 0x1p24) : 1u << 24;
}

void tm_mask_drop(enum tm_isa isa, struct tm_mask mask, uint64_t first,
                  size_t n, float density, float *x)
{
    struct job job = job_of(isa, mask);

    job.drops = true;
    job.limit = limit_of(density);
    run(&job, first, n, x);
}
