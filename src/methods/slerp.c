/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slerp (mergekit): the base and another model as points on a sphere, and the
 * point between them at the fraction t of the angle (arc.h); at less than
 * about 1.8 degrees, on the straight line. The factors go to the models as they
 * are, not to their directions.
 *
 * All in terms of d = other - base, which is exact where the two are near each
 * other, as fine-tunes are:
 *
 *     f b + o (b + d) - b = (f + o - 1) b + o d
 *     b . (b + d) = b.b + b.d       |b + d|^2 = b.b + 2 b.d + d.d
 */
#include "src/methods/methods.h"

#include <math.h>

#include "kernels/strip.h"
#include "src/methods/arc.h"

#define STRAIGHT  0.9995
#define NO_LENGTH 1e-8

enum { T };
enum { BB, BD, DD, SUMS };
enum { OF_BASE, OF_DIFFERENCE, NUMBERS };

static const struct tm_parameter parameters[] = {
    [T] = {.name = "t",
           .help = "how far from the base (0) to the other model (1)",
           .is_required = true,
           TM_ANY_NUMBER},
};

static struct tm_work_sizes sizes(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane)
{
    (void)terms;
    (void)row;
    (void)plane;
    return (struct tm_work_sizes){.sums = SUMS, .numbers = NUMBERS};
}

static void measure(const struct tm_work *work, const struct tm_strip *strip)
{
    const float *const arrays[2] = {strip->base, strip->x[0]};

    (void)work;
    _Static_assert(BB == 0 && BD == 1 && DD == 2, "the order of tm_pair");
    tm_strip_dots(strip->isa, arrays, 2, strip->n, strip->sums);
}

static const char *conclude(struct tm_work *work)
{
    const double *s = work->sums;
    double base = sqrt(s[BB]);
    double other = sqrt(fmax(s[BB] + 2 * s[BD] + s[DD], 0));
    double c = s[BB] + s[BD];
    struct tm_arc arc;

    c /= base > NO_LENGTH ? base : 1;
    c /= other > NO_LENGTH ? other : 1;
    arc = tm_arc_at(c, work->terms->values[T], fabs(c) > STRAIGHT);
    work->numbers[OF_BASE] =
        fabs(c) > STRAIGHT ? 0 : (arc.first - 1) + arc.other;
    work->numbers[OF_DIFFERENCE] = arc.other;
    return NULL;
}

static void apply(const struct tm_work *work, const struct tm_strip *strip,
                  float *out)
{
    const double *c = work->numbers;

    tm_strip_add(strip->isa, out, strip->x[0], strip->n,
                 (float)c[OF_DIFFERENCE], true);
    if (c[OF_BASE] != 0)
        tm_strip_add(strip->isa, out, strip->base, strip->n, (float)c[OF_BASE],
                     false);
}

const struct tm_method tm_method_slerp = {
    .name = "slerp",
    .help = "spherical interpolation between the base and another model",
    .source = "Shoemake, SIGGRAPH 1985; mergekit",
    .family = TM_GRAM,
    .base = TM_BASE_NEEDED,
    .view = TM_DIFFERENCES,
    .least = 1,
    .most = 1,
    TM_PARAMETERS(parameters),
    .wants_base = true,
    .phases = tm_methods_one_phase,
    .sizes = sizes,
    .measure = measure,
    .conclude = conclude,
    .apply = apply,
};
