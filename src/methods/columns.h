/* SPDX-License-Identifier: Apache-2.0 */
/*
 * columns: two inputs taken as vectors along the first dimension, one for each
 * index of the others: element i of a tensor is of column i % count.
 */
#ifndef TM_SRC_METHODS_COLUMNS_H
#define TM_SRC_METHODS_COLUMNS_H

#include "src/method.h"

/* Inner products of two inputs, in the order of tm_pair: x.x, x.y, y.y. */
#define TM_COLUMN_SUMS 3

/* Adds to the sums of column c: strip->sums[TM_COLUMN_SUMS * c ...]. */
void tm_columns_measure(const struct tm_strip *strip, uint64_t count);

/* out = numbers[2 c] x + numbers[2 c + 1] y */
void tm_columns_add(const struct tm_strip *strip, uint64_t count,
                    const double *numbers, float *out);

#endif
