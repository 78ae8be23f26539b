/* SPDX-License-Identifier: Apache-2.0 */
#include "src/methods/sphere.h"

#include <math.h>

#include "kernels/angle.h"
#include "src/methods/gram.h"

/* u_i . v */
static double dot(const struct tm_sphere *sphere, size_t i, const double *v)
{
    double sum = 0;

    for (size_t j = 0; j < sphere->work->terms->count; j++)
        if (v[j] != 0)
            sum += v[j] * (tm_gram_dot(sphere->work, i, j) /
                           (sphere->lengths[i] * sphere->lengths[j]));
    return sum;
}

static double norm(const struct tm_sphere *sphere, const double *v)
{
    double sum = 0;

    for (size_t i = 0; i < sphere->work->terms->count; i++)
        if (v[i] != 0)
            sum += v[i] * dot(sphere, i, v);
    return sum > 0 ? sqrt(sum) : 0;
}

/* Sets lengths and the first m; returns how many have a direction. */
static size_t begin(struct tm_sphere *sphere)
{
    const size_t count = sphere->work->terms->count;
    size_t live = 0;
    size_t first = 0;
    double length;

    for (size_t i = count; i-- > 0;) {
        length = tm_gram_norm(sphere->work, i);
        sphere->lengths[i] = length > sphere->tol ? length : 0;
        if (length > sphere->tol) {
            live++;
            first = i;
        }
    }
    for (size_t i = 0; i < count; i++)
        sphere->m[i] = sphere->lengths[i] > 0 ? 1 / (double)live : 0;
    if (live == 0)
        return 0;
    length = norm(sphere, sphere->m);
    for (size_t i = 0; i < count; i++) /* opposite ones: any will do */
        sphere->m[i] = length < sphere->tol || length == 0
                           ? i == first
                           : sphere->m[i] / length;
    return live;
}

/* Where the directions pull; returns how strongly. */
static double pull(struct tm_sphere *sphere, size_t live)
{
    const size_t count = sphere->work->terms->count;
    double along = 0;

    for (size_t i = 0; i < count; i++) {
        double c = sphere->lengths[i] > 0 ? dot(sphere, i, sphere->m) : 1;
        double theta = tm_acos(c);

        sphere->g[i] = 0;
        if (theta >= sphere->tol && theta > 0) {
            sphere->g[i] = theta / tm_sin(theta) / (double)live;
            along += sphere->g[i] * fmax(-1, fmin(c, 1));
        }
    }
    for (size_t i = 0; i < count; i++)
        sphere->g[i] -= along * sphere->m[i];
    return norm(sphere, sphere->g);
}

static void step(struct tm_sphere *sphere, double t)
{
    const size_t count = sphere->work->terms->count;
    double length;

    for (size_t i = 0; i < count; i++)
        sphere->m[i] = tm_cos(t) * sphere->m[i] + tm_sin(t) / t * sphere->g[i];
    length = norm(sphere, sphere->m);
    if (length > sphere->tol)
        for (size_t i = 0; i < count; i++)
            sphere->m[i] /= length;
}

void tm_sphere_mean(struct tm_sphere *sphere, unsigned steps)
{
    const size_t live = begin(sphere);

    while (live > 0 && steps-- > 0) {
        double t = pull(sphere, live);

        if (t < sphere->tol || t == 0)
            return;
        step(sphere, t);
    }
}
