/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gram: the inner products of a tensor's inputs, all that methods need to know
 * of them whose output is a weighted sum of the inputs: lengths, angles, and
 * lengths of whatever else is a weighted sum.
 *
 *     tm_gram_sizes, tm_gram_measure    as a method's `sizes`, `measure`
 *     tm_gram_dot(work, i, j)           when the phase is over
 */
#ifndef TM_SRC_METHODS_GRAM_H
#define TM_SRC_METHODS_GRAM_H

#include "src/method.h"

/* A sum for each pair, and a number for each term. */
struct tm_work_sizes tm_gram_sizes(const struct tm_terms *terms, uint64_t row,
                                   uint64_t plane);

void tm_gram_measure(const struct tm_work *work, const struct tm_strip *strip);

/* In a strip alone: x_i . x_i, x_i . x_j and x_j . x_j. */
void tm_gram_pair(const struct tm_strip *strip, size_t i, size_t j,
                  double products[3]);

/* x_i . x_j */
double tm_gram_dot(const struct tm_work *work, size_t i, size_t j);

/* |x_i| */
double tm_gram_norm(const struct tm_work *work, size_t i);

/* |sum c_i x_i|^2; not below 0, whatever rounding did. */
double tm_gram_square(const struct tm_work *work, const double *c);

#endif
