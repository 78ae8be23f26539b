/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pivot: the input that a weighted sum is measured from.
 *
 * Coefficients that add up to 1 make an average, and an average of numbers
 * that are near each other loses bits as sum c_i x_i: the coefficients are
 * rounded, and every product. As x_0 + sum c_i (x_i - x_0) it does not: the
 * differences of near numbers are exact, and what is rounded is small. Where
 * all inputs agree, so does the output, bit for bit.
 */
#ifndef TM_SRC_METHODS_PIVOT_H
#define TM_SRC_METHODS_PIVOT_H

#include "src/method.h"

/*
 * Of a method that ends as a sum, with the coefficients in work->numbers:
 * makes the first term the pivot if there is no base and they add up to 1, but
 * for the rounding of the numbers themselves.
 */
void tm_pivot_choose(struct tm_work *work);

#endif
