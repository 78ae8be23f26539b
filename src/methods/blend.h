/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blend: what ties, dare, della and breadcrumbs have in common, which is all
 * but the question which elements of a task vector are kept. As mergekit 0.1.5
 * has it, with t_i thinned out to d_i:
 *
 *     d_i   = d_i * f_i           f_i: what makes up for what was dropped
 *     sum:    m = sum w_i d_i,  v = sum w_i           (1 where that is 0)
 *     vote:   m and v of those terms alone whose w_i d_i has the sign of the
 *             whole sum; zeros never count (kernels/strip.h: tm_strip_elect)
 *     m     = m / v if normalize
 *     out   = base + lambda m
 *
 * A method's table of parameters begins with TM_BLEND_TABLE; work->numbers[i]
 * is f_i. The rest is computed where it is used, from the terms: where the
 * whole model is measured, weights may still differ from tensor to tensor.
 */
#ifndef TM_SRC_METHODS_BLEND_H
#define TM_SRC_METHODS_BLEND_H

#include "src/method.h"

/* Terms at most where there is a vote: their weights are kept on the stack. */
#define TM_VOTE_MOST 1024

enum {
    TM_BLEND_WEIGHT,
    TM_BLEND_DENSITY,
    TM_BLEND_NORMALIZE,
    TM_BLEND_RESCALE,
    TM_BLEND_LAMBDA,
    TM_BLEND_MORE, /* the method's own */
};

#define TM_BLEND_TABLE(normalizes, rescales)                                   \
    [TM_BLEND_WEIGHT] = {.name = "weight",                                     \
                         .help = "factor of a vector",                         \
                         .is_own = true,                                       \
                         .is_required = true,                                  \
                         TM_ANY_NUMBER},                                       \
    [TM_BLEND_DENSITY] = {.name = "density",                                   \
                          .help = "fraction of a vector's elements to keep",   \
                          .is_own = true,                                      \
                          .standard = 1,                                       \
                          .most = 1},                                          \
    [TM_BLEND_NORMALIZE] = {.name = "normalize",                               \
                            .help = "divide by the sum of the weights",        \
                            .kind = TM_FLAG,                                   \
                            .standard = (normalizes),                          \
                            .most = 1},                                        \
    [TM_BLEND_RESCALE] = {.name = "rescale",                                   \
                          .help = "scale what is kept of a tensor to the "     \
                                  "sum of magnitudes it had",                  \
                          .kind = TM_FLAG,                                     \
                          .standard = (rescales),                              \
                          .most = 1},                                          \
    [TM_BLEND_LAMBDA] = {.name = "lambda",                                     \
                         .help = "factor of the sum",                          \
                         .standard = 1,                                        \
                         TM_ANY_NUMBER}

/* The parameter at the end of dare's and della's tables. */
#define TM_BLEND_BY_DENSITY                                                    \
    {                                                                          \
        .name = "rescale_by_density",                                          \
        .help = "divide what is kept by the chance it had, as the paper does", \
        .kind = TM_FLAG, .most = 1                                             \
    }

/* The sum of the parameter numbered `weight`; 1 where that is below 1e-8. */
double tm_blend_divisor(const struct tm_terms *terms, size_t weight);

/* Whether some elements are dropped and others kept. */
bool tm_blend_thins(const struct tm_term *term);
bool tm_blend_thins_any(const struct tm_terms *terms);

/* Whether nothing is dropped of any term: for `is_sum`. */
bool tm_blend_is_whole(const struct tm_terms *terms);

/* f_i = 1 */
void tm_blend_start(struct tm_work *work);

/* f_i as mergekit has it: the sums of magnitudes agree again. */
double tm_blend_rescale(double before, double after);

/* For `is_sum`: work->numbers[i] = lambda w_i, over v if normalize. */
void tm_blend_conclude_sum(struct tm_work *work);

/* Zeros the arrays of terms of which nothing is kept. */
void tm_blend_drop(const struct tm_work *work, const struct tm_strip *strip);

/* What is to be added to the base. strip->x[i] is d_i, and is written to. */
void tm_blend_sum(const struct tm_work *work, const struct tm_strip *strip,
                  float *out);
void tm_blend_vote(const struct tm_work *work, const struct tm_strip *strip,
                   float *out);

/*
 * tm_blend_vote with the election as the paper has it (Yadav et al., section
 * 3.2): each d_i votes as it is, its weight counts in the mean alone.
 */
void tm_blend_vote_plain(const struct tm_work *work,
                         const struct tm_strip *strip, float *out);

#endif
