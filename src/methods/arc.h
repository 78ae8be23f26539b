/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arc: the way from one direction to another along a great circle (Shoemake,
 * "Animating rotation with quaternion curves", SIGGRAPH 1985): at the fraction
 * t of the angle theta between them,
 *
 *     sin((1 - t) theta) / sin(theta) * x_0 + sin(t theta) / sin(theta) * x_1
 *
 * and (1 - t) x_0 + t x_1 where there is no angle to speak of.
 */
#ifndef TM_SRC_METHODS_ARC_H
#define TM_SRC_METHODS_ARC_H

#include <stdbool.h>

struct tm_arc {
    double first; /* factor of x_0 */
    double other; /* and of x_1 */
};

/* `cosine` is that of theta; `is_straight`: where the second formula holds. */
struct tm_arc tm_arc_at(double cosine, double t, bool is_straight);

/*
 * The same from the inner products x_0 . x_0, x_0 . x_1 and x_1 . x_1, as
 * NuSlerp has it: lengths count as 1e-7 at least, and there is no angle to
 * speak of where the square of its sine is 1e-16 or less.
 */
struct tm_arc tm_arc_between(const double *products, double t);

#endif
