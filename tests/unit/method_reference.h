/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method_reference: merge methods once more, in double, on whole vectors, with
 * sorting instead of histograms and vectors instead of Gram matrices.
 *
 * `x` are k vectors of n doubles; results go to `out`. Methods on task vectors
 * get and give differences.
 */
#ifndef TM_TESTS_METHOD_REFERENCE_H
#define TM_TESTS_METHOD_REFERENCE_H

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef const double *const *reference_vectors;

/* --- vectors -------------------------------------------------------------*/

static double reference_dot(const double *a, const double *b, size_t n,
                            size_t stride)
{
    long double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (long double)a[i * stride] * b[i * stride];
    return (double)sum;
}

static double reference_norm(const double *a, size_t n, size_t stride)
{
    return sqrt(reference_dot(a, a, n, stride));
}

/* --- ranks ---------------------------------------------------------------*/

static const double *reference_keys;

/* Larger magnitudes first; of equal ones the first first. */
static int reference_compare(const void *a, const void *b)
{
    const size_t i = *(const size_t *)a;
    const size_t j = *(const size_t *)b;
    const double x = fabs(reference_keys[i]);
    const double y = fabs(reference_keys[j]);

    if (x != y)
        return x > y ? -1 : 1;
    return i < j ? -1 : 1;
}

static size_t *reference_order(const double *x, size_t n)
{
    size_t *order = malloc(n * sizeof(*order));

    for (size_t i = 0; i < n; i++)
        order[i] = i;
    reference_keys = x;
    qsort(order, n, sizeof(*order), reference_compare);
    return order;
}

/* Zeros x but for the ranks [begin, end), the largest being rank 0. */
static void reference_keep(double *x, size_t n, size_t begin, size_t end)
{
    size_t *order = reference_order(x, n);

    for (size_t r = 0; r < n; r++)
        if (r < begin || r >= end)
            x[order[r]] = 0;
    free(order);
}

static double reference_sum(const double *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += fabs(x[i]);
    return sum;
}

/* --- election ------------------------------------------------------------*/

/*
 * The mean, or sum, of those w * x whose sign is the majority's; votes are
 * weighted or not.
 */
static void reference_elect(reference_vectors x, const double *w, size_t k,
                            size_t n, bool weighted, bool normalize,
                            double *out)
{
    for (size_t i = 0; i < n; i++) {
        double total = 0, s = 0, v = 0;
        bool plus;

        for (size_t j = 0; j < k; j++)
            total += weighted ? w[j] * x[j][i] : x[j][i];
        plus = total >= 0;
        for (size_t j = 0; j < k; j++) {
            double vote = weighted ? w[j] * x[j][i] : x[j][i];

            if (vote != 0 && (vote > 0) == plus) {
                s += w[j] * x[j][i];
                v += w[j];
            }
        }
        out[i] = normalize ? s / (v == 0 ? 1 : v) : s;
    }
}

/* --- arcs ----------------------------------------------------------------*/

static void reference_arc(const double *a, const double *b, size_t n,
                          size_t stride, double t, double straight, double *out)
{
    double c = reference_dot(a, b, n, stride) /
               (reference_norm(a, n, stride) * reference_norm(b, n, stride));
    double theta = acos(fmax(-1, fmin(1, c)));
    double f = sin((1 - t) * theta) / sin(theta);
    double g = sin(t * theta) / sin(theta);

    if (!(fabs(c) <= straight)) {
        f = 1 - t;
        g = t;
    }
    for (size_t i = 0; i < n * stride; i += stride)
        out[i] = f * a[i] + g * b[i];
}

static void reference_multislerp(reference_vectors x, const double *w, size_t k,
                                 size_t n, double eps, double *out)
{
    double *m = calloc(n, sizeof(*m));
    double *tangent = calloc(n, sizeof(*m));
    double length = 0, norm, theta;

    for (size_t j = 0; j < k; j++) {
        double of_x = reference_norm(x[j], n, 1);

        length += w[j] * of_x;
        for (size_t i = 0; i < n; i++)
            m[i] += w[j] * x[j][i] / (of_x + eps);
    }
    norm = reference_norm(m, n, 1);
    for (size_t i = 0; i < n; i++)
        m[i] /= norm;
    for (size_t j = 0; j < k; j++) {
        double of_x = reference_norm(x[j], n, 1) + eps;
        double along = reference_dot(x[j], m, n, 1) / of_x;

        for (size_t i = 0; i < n; i++)
            tangent[i] += w[j] * (x[j][i] / of_x - along * m[i]);
    }
    theta = reference_norm(tangent, n, 1) + eps;
    for (size_t i = 0; i < n; i++)
        out[i] = (m[i] * cos(theta) + tangent[i] * sin(theta) / theta) * length;
    free(m);
    free(tangent);
}

static void reference_karcher(reference_vectors x, size_t k, size_t n,
                              unsigned steps, double tol, double *out)
{
    double *g = calloc(n, sizeof(*g));
    double *norms = calloc(k, sizeof(*norms));
    double live = 0, length = 0, norm;

    memset(out, 0, n * sizeof(*out));
    for (size_t j = 0; j < k; j++) {
        norms[j] = reference_norm(x[j], n, 1);
        length += norms[j] / (double)k;
        live += norms[j] > tol;
    }
    for (size_t j = 0; j < k; j++)
        for (size_t i = 0; i < n; i++)
            if (norms[j] > tol)
                out[i] += x[j][i] / norms[j];
    norm = reference_norm(out, n, 1);
    for (size_t i = 0; i < n; i++)
        out[i] /= norm;
    while (steps-- > 0) {
        memset(g, 0, n * sizeof(*g));
        for (size_t j = 0; j < k; j++) {
            double c, theta;

            if (norms[j] <= tol)
                continue;
            c = fmax(-1, fmin(1, reference_dot(out, x[j], n, 1) / norms[j]));
            theta = acos(c);
            if (theta < tol)
                continue;
            for (size_t i = 0; i < n; i++)
                g[i] += theta / sin(theta) / live *
                        (x[j][i] / norms[j] - c * out[i]);
        }
        norm = reference_norm(g, n, 1);
        if (norm < tol)
            break;
        for (size_t i = 0; i < n; i++)
            out[i] = cos(norm) * out[i] + sin(norm) / norm * g[i];
        norm = reference_norm(out, n, 1);
        for (size_t i = 0; i < n; i++)
            out[i] /= norm;
    }
    for (size_t i = 0; i < n; i++)
        out[i] *= length;
    free(g);
    free(norms);
}

static void reference_model_stock(reference_vectors d, size_t k, size_t n,
                                  double *out)
{
    double c = 0, t;

    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < i; j++)
            c += reference_dot(d[i], d[j], n, 1) /
                 fmax(reference_norm(d[i], n, 1) * reference_norm(d[j], n, 1),
                      1e-6);
    c /= (double)(k * (k - 1)) / 2;
    t = (double)k * c / (1 + (double)(k - 1) * c);
    for (size_t i = 0; i < n; i++) {
        out[i] = 0;
        for (size_t j = 0; j < k; j++)
            out[i] += t * d[j][i] / (double)k;
    }
}

/* --- activity ------------------------------------------------------------*/

static void reference_ram(reference_vectors d, size_t k, size_t n,
                          double epsilon, double r, double alpha, double *out)
{
    memset(out, 0, n * sizeof(*out));
    for (size_t j = 0; j < k; j++) {
        double shared = 0, own = 0, factor;

        for (unsigned pass = 0; pass < 2; pass++) {
            factor = 1 + r * fmin(shared / fmax(own, epsilon), alpha);
            for (size_t i = 0; i < n; i++) {
                double active = 0;

                for (size_t l = 0; l < k; l++)
                    active += fabs(d[l][i]) > epsilon;
                if (fabs(d[j][i]) <= epsilon)
                    continue;
                if (pass == 1)
                    out[i] += d[j][i] * (active == 1 ? factor : 1 / active);
                else if (active == 1)
                    own++;
                else
                    shared++;
            }
        }
    }
}

/* Variances over the vectors, place by place. */
static void reference_variance(reference_vectors d, size_t k, size_t n,
                               double *out)
{
    for (size_t i = 0; i < n; i++) {
        double mean = 0;

        for (size_t j = 0; j < k; j++)
            mean += d[j][i] / (double)k;
        out[i] = 0;
        for (size_t j = 0; j < k; j++)
            out[i] += (d[j][i] - mean) * (d[j][i] - mean) / (double)k;
    }
}

/* sum p log(p / q) of the softmax of two rows, plus 1e-8 each. */
static double reference_divergence(const double *x, const double *b, size_t n)
{
    long double sx = 0, sb = 0, sum = 0;
    double mx = x[0], mb = b[0];

    for (size_t i = 0; i < n; i++) {
        mx = fmax(mx, x[i]);
        mb = fmax(mb, b[i]);
    }
    for (size_t i = 0; i < n; i++) {
        sx += expl(x[i] - mx);
        sb += expl(b[i] - mb);
    }
    for (size_t i = 0; i < n; i++) {
        long double p = expl(x[i] - mx) / sx + 1e-8L;
        long double q = expl(b[i] - mb) / sb + 1e-8L;

        sum += p * logl(p / q);
    }
    return (double)sum;
}

#endif
