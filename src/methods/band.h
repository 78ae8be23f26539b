/* SPDX-License-Identifier: Apache-2.0 */
/*
 * band: the elements that breadcrumbs keeps, by rank: of n in order of size,
 * the largest first, those from `begin` up to `end`.
 */
#ifndef TM_SRC_METHODS_BAND_H
#define TM_SRC_METHODS_BAND_H

#include "src/method.h"

struct tm_band {
    uint64_t begin;
    uint64_t end;
};

/*
 * The fraction `density` of n, at least one, after the fraction `gamma`; where
 * there are too few for both, fewer come before it (mergekit 0.1.5).
 */
struct tm_band tm_band_of(double density, double gamma, uint64_t n);

/*
 * Zeros what is outside the band in the strip's x[term], which is a row. Of
 * equal magnitudes those that come last count as larger (kernels/row.h).
 */
void tm_band_thin(const struct tm_strip *strip, size_t term,
                  struct tm_band band);

#endif
