/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/band.h"

#include "kernels/row.h"

struct tm_band tm_band_of(double density, double gamma, uint64_t n)
{
    const uint64_t top = (uint64_t)(gamma * (double)n);
    uint64_t kept = (uint64_t)(density * (double)n);

    if (kept == 0 && n > 0)
        kept = 1;
    return top < n - kept ? (struct tm_band){top, top + kept}
                          : (struct tm_band){n - kept, n};
}

void tm_band_thin(const struct tm_strip *strip, size_t term,
                  struct tm_band band)
{
    const size_t n = strip->n;
    uint32_t *rank = (void *)strip->spare[0];
    float *x = strip->x[term];

    tm_row_rank(strip->isa, x, n, rank, strip->scratch);
    for (size_t i = 0; i < n; i++)
        if (rank[i] < n - band.end || rank[i] >= n - band.begin)
            x[i] = 0;
}
