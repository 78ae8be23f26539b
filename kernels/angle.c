/* SPDX-License-Identifier: Apache-2.0 */
/*
 * angle: Taylor series on short intervals, and what leads there.
 *
 * Sine and cosine: x - q * pi / 2 is within pi / 4 of zero. Arc cosine: by
 * way of the arc sine of at most 1/2, which is four times that of the sine of
 * a quarter of the angle.
 */
#include "kernels/angle.h"

#include <math.h>

#define PI      0x1.921fb54442d18p+1
#define HALF_PI 0x1.921fb54442d18p+0

/* pi / 2 in two parts: 33 bits, so that products with q are exact; the rest. */
#define HALF_PI_HIGH 0x1.921fb544p+0
#define HALF_PI_LOW  0x1.0b4611a626331p-34

/* Added and subtracted again, it leaves a whole number: ties to even. */
#define ROUNDER 0x1.8p52

static double nearest(double x)
{
    double shifted = x + ROUNDER;

    return shifted - ROUNDER;
}

/* For |x| <= pi / 4, whose 19th power by 19! is under 2^-63. */
static double sin_series(double x)
{
    double z = x * x, r = 1.0 / 355687428096000; /* 17! */

    r = -1.0 / 1307674368000 + z * r; /* 15! */
    r = 1.0 / 6227020800 + z * r;     /* 13! ... */
    r = -1.0 / 39916800 + z * r;
    r = 1.0 / 362880 + z * r;
    r = -1.0 / 5040 + z * r;
    r = 1.0 / 120 + z * r;
    r = -1.0 / 6 + z * r;
    return x + x * (z * r);
}

static double cos_series(double x)
{
    double z = x * x, r = 1.0 / 20922789888000; /* 16! */

    r = -1.0 / 87178291200 + z * r; /* 14! ... */
    r = 1.0 / 479001600 + z * r;
    r = -1.0 / 3628800 + z * r;
    r = 1.0 / 40320 + z * r;
    r = -1.0 / 720 + z * r;
    r = 1.0 / 24 + z * r;
    return 1 - (z / 2 - z * (z * r));
}

/* The sine of x + quarters * pi / 2. */
static double sin_shifted(double x, double quarters)
{
    double q = nearest(x / HALF_PI);
    double r = (x - q * HALF_PI_HIGH) - q * HALF_PI_LOW;
    double turn = q + quarters;

    turn -= 4 * nearest(turn / 4); /* -2, -1, 0, 1 or 2 */
    if (turn == 0)
        return sin_series(r);
    if (turn == 1)
        return cos_series(r);
    if (turn == -1)
        return -cos_series(r);
    return -sin_series(r);
}

double tm_sin(double x)
{
    return sin_shifted(x, 0);
}

double tm_cos(double x)
{
    return sin_shifted(x, 1);
}

/* sin(a / 2) of sin(a), for a from 0 to pi / 2. */
static double halve(double s)
{
    return s / sqrt(2 * (1 + sqrt((1 - s) * (1 + s))));
}

/*
 * For 0 <= x <= 1/2. The sine of a quarter is below 0.131, and the series
 * x + 1/2 x^3/3 + (1 3)/(2 4) x^5/5 + ... can end with x^19: what comes behind
 * is under 2^-65 of it.
 */
static double arc_sine(double x)
{
    double s = halve(halve(x)), z = s * s, r = 12155.0 / 1245184;

    r = 6435.0 / 557056 + z * r;
    r = 143.0 / 10240 + z * r;
    r = 231.0 / 13312 + z * r;
    r = 63.0 / 2816 + z * r;
    r = 35.0 / 1152 + z * r;
    r = 5.0 / 112 + z * r;
    r = 3.0 / 40 + z * r;
    r = 1.0 / 6 + z * r;
    return 4 * (s + s * (z * r));
}

double tm_acos(double c)
{
    if (c >= 1)
        return 0;
    if (c <= -1)
        return PI;
    if (c > 0.5)
        return 2 * arc_sine(sqrt((1 - c) / 2));
    if (c < -0.5)
        return PI - 2 * arc_sine(sqrt((1 + c) / 2));
    return c < 0 ? HALF_PI + arc_sine(-c) : HALF_PI - arc_sine(c);
}
