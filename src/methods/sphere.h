/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sphere: the Karcher mean of the directions of a tensor's inputs: the point
 * of the unit sphere from which they lie evenly around. Found by going, again
 * and again, where they pull on the average (Karcher, "Riemannian center of
 * mass and mollifier smoothing", 1977):
 *
 *     g = sum of 1/n * theta_i / sin theta_i * (u_i - cos theta_i * m)
 *     m = cos |g| * m + sin |g| / |g| * g
 *
 * All of these are sums of the u_i, so this works on coefficients, and needs
 * inner products alone (gram.h). Directions that are near each other cost
 * no accuracy: theta / sin theta is then 1, whatever theta is.
 *
 * mergekit's rules are kept: directions nearer than `tol` to m do not pull, and
 * inputs shorter than that have no direction.
 */
#ifndef TM_SRC_METHODS_SPHERE_H
#define TM_SRC_METHODS_SPHERE_H

#include "src/method.h"

struct tm_sphere {
    const struct tm_work *work; /* with the sums of tm_gram_measure */
    double tol;
    double *m; /* coefficients of the u_i; room for a number for each term */
    double *g; /* the same */
    double *lengths; /* of the inputs; 0 where one has no direction */
};

/* Sets m to the mean, after `steps` steps at most. */
void tm_sphere_mean(struct tm_sphere *sphere, unsigned steps);

#endif
