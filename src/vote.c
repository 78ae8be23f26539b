/* SPDX-License-Identifier: Apache-2.0 */
#include "src/vote.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/strip.h"

void tm_vote(enum tm_isa isa, const float *const *x, size_t k, size_t n,
             const float *weights, float *total, float *sum, float *weight)
{
    for (size_t j = 0; j < k; j++)
        tm_strip_add(isa, total, x[j], n, 1, j == 0);
    memset(sum, 0, n * sizeof(*sum));
    memset(weight, 0, n * sizeof(*weight));
    for (size_t j = 0; j < k; j++) {
        for (size_t i = 0; i < n; i++) {
            bool agrees = total[i] >= 0 ? x[j][i] > 0 : x[j][i] < 0;
            float part = weights[j] * x[j][i];

            sum[i] += agrees ? part : 0;
            weight[i] += agrees ? weights[j] : 0;
        }
    }
}
