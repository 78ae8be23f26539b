/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/arc.h"

#include <math.h>

#include "kernels/angle.h"

struct tm_arc tm_arc_at(double cosine, double t, bool is_straight)
{
    struct tm_arc arc = {.first = 1 - t, .other = t};

    if (!is_straight) {
        double theta = tm_acos(cosine);
        double sine = tm_sin(theta);

        arc.first = tm_sin((1 - t) * theta) / sine;
        arc.other = tm_sin(t * theta) / sine;
    }
    return arc;
}

struct tm_arc tm_arc_between(const double *products, double t)
{
    const double first = fmax(sqrt(products[0]), 1e-7);
    const double other = fmax(sqrt(products[2]), 1e-7);
    const double c = fmax(-1, fmin(products[1] / (first * other), 1));

    return tm_arc_at(c, t, 1 - c * c <= 1e-16);
}
