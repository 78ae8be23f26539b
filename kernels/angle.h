/* SPDX-License-Identifier: Apache-2.0 */
/*
 * angle: sine, cosine and arc cosine that give the same bits everywhere.
 *
 * C libraries choose their versions by CPU, and their last bits differ. These
 * use nothing but + - * / and sqrt, which IEEE 754 defines.
 */
#ifndef TM_KERNELS_ANGLE_H
#define TM_KERNELS_ANGLE_H

/* For 0 <= |x| <= 64 or so; absolute error below 1e-15. */
double tm_sin(double x);
double tm_cos(double x);

/* For -1 <= c <= 1 (what is outside counts as the end); error below 1e-15. */
double tm_acos(double c);

#endif
