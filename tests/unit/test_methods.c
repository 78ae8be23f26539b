/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_methods: every merge method on small tensors, as the engine would run
 * it (method_driver.h), against formulas written differently
 * (method_reference.h); and that neither the instruction set nor how a tensor
 * is cut into strips changes a bit.
 */
#include "tests/unit/unit.h"

#include <float.h>

#include "kernels/mask.h"
#include "src/methods/dither.h"
#include "tests/unit/method_driver.h"
#include "tests/unit/method_reference.h"

#define ROWS  300
#define ROW   70
#define SMALL ((size_t)ROWS * ROW)
#define LARGE ((size_t)150000) /* three blocks, the last one partial */
#define MOST  4                /* inputs */

/* --- a problem -----------------------------------------------------------*/

static struct {
    float *base;
    float *inputs[MOST];
    double *d[MOST]; /* inputs - base */
    double *x[MOST]; /* inputs */
    double *b;       /* base */
    double *expected;
    float *out;
    struct tm_terms *terms;
    const struct tm_method *method;
    size_t k, n, row, plane;
    bool has_base;
    const char *name;
} p;

static uint64_t random_state;

static double random_unit(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state * 0x2545f4914f6cdd1d >> 11) * 0x1p-53;
}

/* Roughly normal, deviation 1. */
static double random_normal(void)
{
    double sum = -6;

    for (int i = 0; i < 12; i++)
        sum += random_unit();
    return sum;
}

/*
 * k fine-tunes of a base of n elements, `spread` away from it. With `grid` all
 * numbers are multiples of it: many magnitudes are equal.
 */
static void problem(const char *method, size_t k, size_t n, double spread,
                    double grid)
{
    random_state = 88172645463325252;
    p.method = tm_method_find(method);
    assert_true(p.method != NULL);
    p.k = k;
    p.n = n;
    p.row = n == SMALL ? ROW : n;
    p.plane = p.row;
    p.has_base = p.method->base == TM_BASE_NEEDED;
    p.name = NULL;
    p.terms = calloc(1, sizeof(*p.terms) + k * sizeof(p.terms->terms[0]));
    p.base = driver_array(n, sizeof(float));
    p.b = driver_array(n, sizeof(double));
    p.expected = driver_array(n, sizeof(double));
    p.out = driver_array(n, sizeof(float));
    for (size_t i = 0; i < n; i++) {
        double v = 0.05 * random_normal();

        p.base[i] = (float)(grid > 0 ? rint(v / grid) * grid : v);
        p.b[i] = p.base[i];
    }
    for (size_t j = 0; j < k; j++) {
        p.inputs[j] = driver_array(n, sizeof(float));
        p.d[j] = driver_array(n, sizeof(double));
        p.x[j] = driver_array(n, sizeof(double));
        for (size_t i = 0; i < n; i++) {
            double v = spread * random_normal() * (1 + (double)j);

            v = grid > 0 ? rint(v / grid) * grid : v;
            p.inputs[j][i] = (float)(p.base[i] + v);
            p.x[j][i] = p.inputs[j][i];
            p.d[j][i] = p.inputs[j][i] - p.base[i]; /* rounded to float */
        }
    }
    p.terms->position = -1;
    p.terms->count = (uint32_t)k;
    for (size_t i = 0; i < p.method->num_parameters; i++) {
        p.terms->values[i] = p.method->parameters[i].standard;
        for (size_t j = 0; j < k; j++)
            p.terms->terms[j].values[i] = p.method->parameters[i].standard;
    }
}

static void done(void)
{
    free(p.base);
    free(p.b);
    free(p.expected);
    free(p.out);
    free(p.terms);
    for (size_t j = 0; j < p.k; j++) {
        free(p.inputs[j]);
        free(p.d[j]);
        free(p.x[j]);
    }
}

static size_t parameter(const char *name)
{
    for (size_t i = 0; i < p.method->num_parameters; i++)
        if (strcmp(p.method->parameters[i].name, name) == 0)
            return i;
    fail_msg("%s has no parameter %s", p.method->name, name);
    return 0;
}

static void set(const char *name, double value)
{
    p.terms->values[parameter(name)] = value;
}

static void set_own(const char *name, const double *values)
{
    for (size_t j = 0; j < p.k; j++)
        p.terms->terms[j].values[parameter(name)] = values[j];
}

/* --- running it ----------------------------------------------------------*/

static struct job job_of(enum tm_isa isa, size_t cut)
{
    p.terms->base = p.has_base ? 0 : TM_NO_COLUMN;
    for (size_t j = 0; j < p.k; j++)
        p.terms->terms[j].column = (uint32_t)j + 1;
    return (struct job){
        .method = p.method,
        .terms = p.terms,
        .inputs = (const float *const *)p.inputs,
        .base = p.has_base ? p.base : NULL,
        .n = p.n,
        .row = p.row,
        .plane = p.plane,
        .isa = isa,
        .cut = cut,
        .seed = 7,
        .name = p.name,
    };
}

/* Runs it on every instruction set, cut differently; the bits agree. */
static void run(void)
{
    static const size_t cuts[] = {0, 1000, 264};
    float *again = driver_array(p.n, sizeof(float));
    bool is_first = true;

    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        for (size_t c = 0; c < 3 && tm_isa_available(isa); c++) {
            struct job job = job_of(isa, cuts[c]);
            const char *problem = driver_run(&job, is_first ? p.out : again);

            driver_end(&job);
            assert_true(problem == NULL);
            if (!is_first)
                assert_memory_equal(again, p.out, p.n * sizeof(float));
            is_first = false;
        }
    }
    free(again);
}

static const char *problem_of_run(void)
{
    struct job job = job_of(TM_ISA_PORTABLE, 0);
    const char *problem = driver_run(&job, p.out);

    driver_end(&job);
    return problem;
}

/*
 * p.out against p.expected, or base + expected: within `tolerance` of the
 * largest number.
 */
static void check_values(const double *base, double tolerance)
{
    double largest = 0;

    for (size_t i = 0; i < p.n; i++)
        largest = fmax(largest, fabs((double)p.out[i]));
    for (size_t i = 0; i < p.n; i++) {
        double expected = p.expected[i] + (base != NULL ? base[i] : 0);

        if (!(fabs(p.out[i] - expected) <= tolerance * largest))
            fail_msg("%s, element %zu: %.9g, not %.9g", p.method->name, i,
                     (double)p.out[i], expected);
    }
}

#define CLOSE 3e-7

static reference_vectors vectors(double *const *x)
{
    return (reference_vectors)x;
}

/* --- linear family -------------------------------------------------------*/

static void test_task_arithmetic(void **state)
{
    static const double w[] = {0.5, -0.75, 2};

    (void)state;
    for (unsigned normalize = 0; normalize < 2; normalize++) {
        problem("task_arithmetic", 3, SMALL, 0.01, 0);
        set_own("weight", w);
        set("lambda", 0.3);
        set("normalize", normalize);
        run();
        for (size_t i = 0; i < p.n; i++)
            for (size_t j = 0; j < 3; j++)
                p.expected[i] +=
                    w[j] * 0.3 / (normalize ? 1.75 : 1) * p.d[j][i];
        check_values(p.b, CLOSE);
        done();
    }
}

/* An average of numbers near each other is exact, halves included. */
static void test_linear_pivot(void **state)
{
    static const double halves[] = {3, 3};
    static const double thirds[] = {1, 1, 1};

    (void)state;
    problem("linear", 2, SMALL, 0.001, 0x1p-12);
    set_own("weight", halves);
    run();
    for (size_t i = 0; i < p.n; i++)
        assert_true(p.out[i] == (p.x[0][i] + p.x[1][i]) / 2);
    done();

    problem("linear", 3, SMALL, 0, 0); /* all the same */
    set_own("weight", thirds);
    p.base[0] = p.inputs[0][0] = p.inputs[1][0] = p.inputs[2][0] = -0.0F;
    run();
    assert_memory_equal(p.out, p.base, p.n * sizeof(float));
    done();
}

static void test_linear(void **state)
{
    static const double w[] = {0.5, -0.75, 2};
    static const double zero[] = {1, -3, 2};

    (void)state;
    for (unsigned normalize = 0; normalize < 2; normalize++) {
        problem("linear", 3, SMALL, 0.1, 0);
        set_own("weight", w);
        set("normalize", normalize);
        assert_true(p.method->check(p.terms) == NULL);
        run();
        for (size_t i = 0; i < p.n; i++)
            for (size_t j = 0; j < 3; j++)
                p.expected[i] += w[j] / (normalize ? 1.75 : 1) * p.x[j][i];
        check_values(NULL, CLOSE);
        set_own("weight", zero);
        assert_true((p.method->check(p.terms) != NULL) == normalize);
        done();
    }
}

static void test_passthrough(void **state)
{
    (void)state;
    problem("passthrough", 1, SMALL, 0.1, 0);
    p.inputs[0][3] = -0.0F;
    run();
    assert_memory_equal(p.out, p.inputs[0], p.n * sizeof(float));
    p.terms->terms[0].values[0] = 0.25;
    run();
    for (size_t i = 0; i < p.n; i++)
        assert_true(p.out[i] == p.inputs[0][i] / 4);
    done();
}

static void test_nearswap(void **state)
{
    (void)state;
    problem("nearswap", 1, SMALL, 0.01, 0);
    set("t", 0.005);
    p.inputs[0][5] = p.base[5];
    p.d[0][5] = 0;
    run();
    for (size_t i = 0; i < p.n; i++)
        p.expected[i] =
            p.d[0][i] * fmin(1, 0.005 / fmax(fabs(p.d[0][i]), 1e-6));
    check_values(p.b, CLOSE);
    assert_memory_equal(&p.out[5], &p.base[5], sizeof(float));
    done();
}

static void test_lines(void **state)
{
    static const double w[] = {1, 2};
    static const double positions[] = {-1, 0, 0.25, 1};
    static const double factors[] = {0.5, 0.5, 0.75, 1.5};

    (void)state;
    for (size_t l = 0; l < 4; l++) {
        problem("lines", 2, SMALL, 0.01, 0);
        set_own("weight", w);
        set("beta", 1);
        p.terms->position = positions[l];
        run();
        for (size_t i = 0; i < p.n; i++)
            p.expected[i] = factors[l] * (p.d[0][i] + 2 * p.d[1][i]);
        check_values(p.b, CLOSE);
        done();
    }
}

static void test_consensus(void **state)
{
    static const double masks[] = {0.4, 0.6, 0.2};

    (void)state;
    problem("consensus", 3, SMALL, 0.01, 0);
    set_own("lambda_mask", masks);
    set("lambda", 0.5);
    run();
    for (size_t i = 0; i < p.n; i++) {
        float total = (float)p.d[0][i] + (float)p.d[1][i] + (float)p.d[2][i];
        unsigned votes = 0;

        for (size_t j = 0; j < 3; j++)
            votes += fabsf((float)p.d[j][i]) >
                     (float)masks[j] * fabsf(total - (float)p.d[j][i]);
        p.expected[i] = votes >= 2 ? 0.5 * total : 0;
    }
    check_values(p.b, CLOSE);
    done();
}

static void test_emr(void **state)
{
    (void)state;
    problem("emr", 3, SMALL, 0.01, 0);
    set("lambda", 0.5);
    run();
    for (size_t i = 0; i < p.n; i++) {
        float total = (float)p.d[0][i] + (float)p.d[1][i] + (float)p.d[2][i];

        for (size_t j = 0; j < 3; j++)
            if ((p.d[j][i] > 0) == (total > 0) &&
                fabs(p.d[j][i]) / 2 > fabs(p.expected[i]))
                p.expected[i] = p.d[j][i] / 2;
    }
    check_values(p.b, CLOSE);
    done();
}

static void test_ram(void **state)
{
    (void)state;
    for (unsigned plus = 0; plus < 2; plus++) {
        problem(plus ? "ramplus_tl" : "ram", 3, LARGE, 0.001, 0);
        set("epsilon", 1e-3);
        if (plus) {
            set("r", 0.3);
            set("alpha", 2.5);
        }
        run();
        reference_ram(vectors(p.d), 3, p.n, (double)1e-3F, plus ? 0.3 : 0, 2.5,
                      p.expected);
        check_values(p.b, CLOSE);
        done();
    }
}

/* --- gram family ---------------------------------------------------------*/

static void test_slerp(void **state)
{
    static const double spreads[] = {0.0001, 0.01, 0.2};
    static const double ts[] = {0, 0.3, 1, 1.4};

    (void)state;
    for (size_t s = 0; s < 3; s++) {
        for (size_t t = 0; t < 4; t++) {
            problem("slerp", 1, LARGE, spreads[s], 0);
            set("t", ts[t]);
            run();
            reference_arc(p.b, p.x[0], p.n, 1, ts[t], 0.9995, p.expected);
            check_values(NULL, CLOSE);
            if (t == 0)
                assert_memory_equal(p.out, p.base, p.n * sizeof(float));
            done();
        }
    }
}

static void test_nuslerp_flat(void **state)
{
    static const double w[] = {0.3, 0.6};

    (void)state;
    for (unsigned has_base = 0; has_base < 2; has_base++) {
        problem("nuslerp", 2, LARGE, 0.1, 0);
        p.has_base = has_base;
        set_own("weight", w);
        run();
        reference_arc(has_base ? p.d[0] : p.x[0], has_base ? p.d[1] : p.x[1],
                      p.n, 1, 2. / 3, 1, p.expected);
        check_values(has_base ? p.b : NULL, CLOSE);
        done();
    }
}

/* No angle: the straight line. */
static void test_nuslerp_straight(void **state)
{
    static const double w[] = {0.3, 0.6};

    (void)state;
    problem("nuslerp", 2, SMALL, 0.1, 0x1p-9);
    set_own("weight", w);
    for (size_t i = 0; i < p.n; i++)
        p.inputs[1][i] = 4 * p.inputs[0][i];
    run();
    for (size_t i = 0; i < p.n; i++)
        p.expected[i] = p.x[0][i] * (1. / 3 + 4 * 2. / 3);
    check_values(NULL, CLOSE);
    done();
}

/* Along the last dimension and along the first; a vector is one of each. */
static void test_nuslerp_rows(void **state)
{
    static const double w[] = {0.3, 0.6};

    (void)state;
    for (unsigned c = 0; c < 6; c++) {
        const bool has_base = c & 1, by_column = c & 2, is_vector = c & 4;
        size_t count, stride, step;

        problem("nuslerp", 2, SMALL, 0.1, 0);
        p.has_base = has_base;
        if (is_vector)
            p.row = p.plane = p.n;
        count = is_vector ? 1 : by_column ? ROW : ROWS;
        stride = by_column && !is_vector ? ROW : 1;
        step = by_column ? 1 : ROW;
        set_own("weight", w);
        set("nuslerp_flatten", 0);
        set("nuslerp_row_wise", by_column);
        run();
        for (size_t i = 0; i < count; i++)
            reference_arc((has_base ? p.d[0] : p.x[0]) + i * step,
                          (has_base ? p.d[1] : p.x[1]) + i * step, p.n / count,
                          stride, 2. / 3, 1, p.expected + i * step);
        check_values(has_base ? p.b : NULL, CLOSE);
        done();
    }
}

static void test_multislerp(void **state)
{
    static const double w[] = {0.2, 0.5, 0.3};

    (void)state;
    for (unsigned has_base = 0; has_base < 2; has_base++) {
        problem("multislerp", 3, LARGE, 0.1, 0);
        p.has_base = has_base;
        set_own("weight", w);
        run();
        reference_multislerp(vectors(has_base ? p.d : p.x), w, 3, p.n, 1e-8,
                             p.expected);
        check_values(has_base ? p.b : NULL, CLOSE);
        done();
    }
}

/* Opposite vectors: two are averaged, more have no direction. */
static void test_multislerp_opposite(void **state)
{
    static const double w[] = {1, 1, 0};

    (void)state;
    for (size_t k = 2; k < 4; k++) {
        problem("multislerp", k, SMALL, 0.1, 0);
        p.has_base = true;
        for (size_t i = 0; i < p.n; i++) {
            p.base[i] = 0;
            p.inputs[1][i] = -p.inputs[0][i];
        }
        set_own("weight", w);
        assert_true((problem_of_run() == NULL) == (k == 2));
        if (k == 2)
            assert_memory_equal(p.out, p.base, p.n * sizeof(float));
        done();
    }
    problem("multislerp", 3, SMALL, 0, 0); /* nothing has changed */
    p.has_base = true;
    set_own("weight", w);
    run();
    assert_memory_equal(p.out, p.base, p.n * sizeof(float));
    done();
}

static void test_karcher(void **state)
{
    static const double spreads[] = {0.1, 1e-3, 3e-6, 0};

    (void)state;
    for (size_t s = 0; s < 4; s++) {
        problem("karcher", 4, LARGE, spreads[s], 0);
        if (s == 2) /* two the same, and the others near */
            memcpy(p.inputs[1], p.inputs[0], p.n * sizeof(float));
        if (s == 2)
            memcpy(p.x[1], p.x[0], p.n * sizeof(double));
        if (s == 1) /* one without a direction */
            for (size_t i = 0; i < p.n; i++)
                p.x[2][i] = p.inputs[2][i] = 0;
        run();
        reference_karcher(vectors(p.x), 4, p.n, 10, 1e-5, p.expected);
        check_values(NULL, CLOSE);
        if (s == 3)
            assert_memory_equal(p.out, p.base, p.n * sizeof(float));
        done();
    }
}

static void test_model_stock(void **state)
{
    (void)state;
    for (unsigned rows = 0; rows < 2; rows++) {
        problem("model_stock", 3, SMALL, 0.01, 0);
        for (size_t i = 0; i < p.n; i++) { /* an angle below 90 degrees */
            p.inputs[1][i] += 0.5F * (float)p.d[0][i];
            p.d[1][i] = p.inputs[1][i] - p.base[i];
        }
        set("filter_wise", rows);
        run();
        for (size_t i = 0; i < (rows ? ROWS : 1); i++) {
            const double *const d[3] = {p.d[0] + i * ROW, p.d[1] + i * ROW,
                                        p.d[2] + i * ROW};

            reference_model_stock(d, 3, rows ? ROW : p.n, p.expected + i * ROW);
        }
        check_values(p.b, CLOSE);
        done();
    }
}

static void test_metagpt(void **state)
{
    double squares[3], total = 0;

    (void)state;
    problem("metagpt", 3, LARGE, 0.01, 0);
    run();
    for (size_t j = 0; j < 3; j++) {
        squares[j] = reference_dot(p.d[j], p.d[j], p.n, 1);
        total += squares[j];
    }
    for (size_t j = 0; j < 3; j++)
        for (size_t i = 0; i < p.n; i++)
            p.expected[i] += squares[j] / total * p.d[j][i];
    check_values(p.b, CLOSE);
    done();
}

/* --- threshold family ----------------------------------------------------*/

/* Trims p.d[j] by `density`, with rescale if asked for. */
static void trim(size_t j, double density, double gamma, bool rescale,
                 size_t length)
{
    for (size_t i = 0; i < p.n && density < 1; i += length) {
        size_t kept = (size_t)(density * (double)length);
        size_t top = (size_t)(gamma * (double)length);

        kept = kept == 0 && density > 0 ? 1 : kept;
        top = top + kept > length ? length - kept : top;
        if (!rescale) {
            reference_keep(p.d[j] + i, length, top, top + kept);
        } else {
            double before = reference_sum(p.d[j], p.n), after;

            assert_true(length == p.n);
            reference_keep(p.d[j], p.n, top, top + kept);
            after = reference_sum(p.d[j], p.n);
            for (size_t e = 0; e < p.n && after > 0; e++)
                p.d[j][e] *= before / after;
        }
    }
}

static void test_ties(void **state)
{
    static const double w[] = {0.5, 1.5, -0.25, 1};
    static const double densities[] = {0.37, 1e-6, 1, 0.8};

    (void)state;
    for (unsigned c = 0; c < 16; c++) {
        const bool normalize = c & 1, rescale = c & 2, plain = c & 4;
        /* a sum that cancels is zero but for rounding once it is rescaled */
        const double grid = c & 8 && !rescale ? 0x1p-9 : 0;

        problem("ties", 4, c == 9 || c == 2 ? LARGE : SMALL, 0.01, grid);
        set_own("weight", w);
        set_own("density", densities);
        set("normalize", normalize);
        set("rescale", rescale);
        set("election", plain);
        set("lambda", 0.7);
        run();
        for (size_t j = 0; j < 4; j++)
            trim(j, densities[j], 0, rescale, p.n);
        reference_elect(vectors(p.d), w, 4, p.n, !plain, normalize, p.expected);
        for (size_t i = 0; i < p.n; i++)
            p.expected[i] *= 0.7;
        check_values(p.b, CLOSE);
        done();
    }
}

static void test_ties_nothing(void **state)
{
    static const double w[] = {1, 1};
    static const double densities[] = {0, 0};

    (void)state;
    problem("ties", 2, SMALL, 0.01, 0);
    set_own("weight", w);
    set_own("density", densities);
    run();
    assert_memory_equal(p.out, p.base, p.n * sizeof(float));
    done();
}

/* The whole model: a threshold of 8 bits of mantissa, ties kept. */
static void test_ties_model(void **state)
{
    static const double w[] = {1};
    static const double densities[] = {0.2};
    size_t kept = 0;
    float least = INFINITY, dropped = 0;

    (void)state;
    for (unsigned rescale = 0; rescale < 2; rescale++) {
        double sum = 0;

        problem("ties", 1, LARGE, 0.01, 0);
        set_own("weight", w);
        set_own("density", densities);
        set("scope", 1);
        set("rescale", rescale);
        kept = 0;
        run();
        for (size_t i = 0; i < p.n; i++) {
            float d = fabsf((float)p.d[0][i]);

            if (p.out[i] != p.base[i]) {
                kept++;
                least = fminf(least, d);
                sum += fabs((double)p.out[i] - p.b[i]);
            } else {
                dropped = fmaxf(dropped, d);
            }
        }
        assert_true(dropped < least);
        /* a bin is a 128th of an octave, where there are about 60 000 */
        assert_true(fabs((double)kept - 0.2 * (double)p.n) < 250);
        if (rescale)
            assert_true(fabs(sum / reference_sum(p.d[0], p.n) - 1) < 1e-5);
        done();
    }
}

/* What was recorded takes the place of what phase 0 measures. */
static void test_recall(void **state)
{
    static const char *const names[] = {"metagpt", "ties"};
    static const double densities[] = {0.2, 0.3};

    (void)state;
    for (size_t m = 0; m < 2; m++) {
        struct tm_recorded recorded;
        struct job job;

        problem(names[m], 2, LARGE, 0.01, 0);
        if (m == 1) {
            set("scope", 1);
            set_own("density", densities);
        }
        job = job_of(TM_ISA_PORTABLE, 0);
        driver_begin(&job);
        driver_measure(&job);
        for (size_t j = 0; j < 2; j++) {
            uint64_t *high = driver_array(TM_HIGH_BINS, sizeof(*high));
            struct tm_work work = job.work;
            double sums[4] = {0};

            for (size_t i = 0; i < p.n; i++) {
                float d = fabsf((float)p.d[j][i]);
                uint32_t bits;

                memcpy(&bits, &d, sizeof(bits));
                high[bits >> 16]++;
            }
            recorded.high = high;
            recorded.squares = reference_dot(p.d[j], p.d[j], p.n, 1);
            work.sums = sums;
            work.counts = driver_array(2 * TM_HIGH_BINS, sizeof(uint64_t));
            p.method->recall(&work, j, &recorded);
            if (m == 0)
                assert_true(fabs(sums[j] / job.work.sums[j] - 1) < 1e-12);
            else
                assert_memory_equal(work.counts + j * TM_HIGH_BINS,
                                    job.work.counts + j * TM_HIGH_BINS,
                                    TM_HIGH_BINS * sizeof(uint64_t));
            free(work.counts);
            free(high);
        }
        driver_end(&job);
        done();
    }
}

static void test_breadcrumbs(void **state)
{
    static const double w[] = {0.5, 1.5, -0.25};
    static const double densities[] = {0.37, 0.95, 1};
    static const double gammas[] = {0, 0.2, 0.5};

    (void)state;
    for (unsigned c = 0; c < 32; c++) {
        const bool ties = c & 1, by_row = c & 2, rescale = c & 4;
        const double grid = c & 8 && !by_row ? 0x1p-9 : 0;
        const double shares[] = {0.37, c & 16 ? 0.5 : 0.95, 1};

        if (by_row && rescale)
            continue;
        problem(ties ? "breadcrumbs_ties" : "breadcrumbs", 3, SMALL, 0.01,
                grid);
        set_own("weight", w);
        set_own("density", c & 16 ? shares : densities);
        set_own("gamma", gammas);
        set("scope", by_row);
        set("rescale", rescale);
        run();
        for (size_t j = 0; j < 3; j++)
            trim(j, shares[j], gammas[j], rescale, by_row ? ROW : p.n);
        if (ties)
            reference_elect(vectors(p.d), w, 3, p.n, true, false, p.expected);
        for (size_t i = 0; i < p.n && !ties; i++)
            for (size_t j = 0; j < 3; j++)
                p.expected[i] += w[j] * p.d[j][i];
        check_values(p.b, CLOSE);
        done();
    }
}

/* With `grid` variances are equal by the hundreds. */
static void test_sce(void **state)
{
    static const double topks[] = {1, 0.3, 0.0001, 0};

    (void)state;
    for (unsigned c = 0; c < 8; c++) {
        const double topk = topks[c % 4];
        double *v, w[3] = {0}, total = 0;
        size_t varying = 0;

        problem("sce", 3, LARGE, 0.01, c & 4 ? 0x1p-9 : 0);
        if (c & 4) /* all mean squares alike, so that ties do not matter */
            for (size_t i = 0; i < p.n; i++)
                for (size_t j = 1; j < 3; j++) {
                    p.d[j][i] = p.d[0][(i + j * 7) % p.n];
                    p.inputs[j][i] = (float)(p.b[i] + p.d[j][i]);
                }
        set("select_topk", topk);
        run();
        v = driver_array(p.n, sizeof(double));
        reference_variance(vectors(p.d), 3, p.n, v);
        for (size_t i = 0; i < p.n; i++) {
            v[i] = (float)v[i]; /* as they are ranked */
            varying += v[i] > 0;
        }
        if (topk < 1)
            reference_keep(v, p.n, 0, (size_t)(topk * (double)varying));
        for (size_t j = 0; j < 3; j++) {
            for (size_t i = 0; i < p.n && topk < 1; i++)
                p.d[j][i] = v[i] > 0 ? p.d[j][i] : 0;
            w[j] = reference_dot(p.d[j], p.d[j], p.n, 1) / (double)p.n;
            total += w[j];
        }
        for (size_t j = 0; j < 3; j++)
            w[j] = total < 1e-6 ? 1. / 3 : w[j] / total;
        reference_elect(vectors(p.d), w, 3, p.n, false, true, p.expected);
        check_values(p.b, c & 4 ? 1e-4 : CLOSE);
        free(v);
        done();
    }
}

static void test_arcee_fusion(void **state)
{
    double *importance, thresholds[3];
    size_t *order, swapped = 0, doubtful = 0;

    (void)state;
    problem("arcee_fusion", 1, SMALL, 0.02, 0);
    run();
    importance = driver_array(p.n, sizeof(double));
    for (size_t r = 0; r < ROWS; r++) {
        double divergence =
            reference_divergence(p.x[0] + r * ROW, p.b + r * ROW, ROW);

        for (size_t i = r * ROW; i < (r + 1) * ROW; i++)
            importance[i] = fabs(p.d[0][i]) * divergence;
    }
    order = reference_order(importance, p.n);
    for (size_t q = 0; q < 3; q++) {
        size_t place = (size_t)((double)(q + 1) / 4 * (double)(p.n - 1));

        thresholds[q] = importance[order[p.n - 1 - place]];
    }
    thresholds[1] += 1.5 * (thresholds[2] - thresholds[0]);
    for (size_t i = 0; i < p.n; i++) {
        const bool wanted = importance[i] >= thresholds[1];

        assert_true(p.out[i] == p.inputs[0][i] || p.out[i] == p.base[i]);
        if (fabs(importance[i] / thresholds[1] - 1) < 1e-6)
            doubtful++;
        else
            assert_true(p.out[i] == (wanted ? p.inputs[0][i] : p.base[i]));
        swapped += p.out[i] != p.base[i];
    }
    assert_true(doubtful < 5);
    assert_true(swapped > p.n / 100 && swapped < p.n / 5);
    free(importance);
    free(order);
    done();
}

/* --- random masks --------------------------------------------------------*/

static size_t count_kept(void)
{
    size_t kept = 0;

    for (size_t i = 0; i < p.n; i++)
        kept += p.out[i] != p.base[i];
    return kept;
}

static void test_dare(void **state)
{
    static const double w[] = {1};
    static const double densities[] = {0.3};

    (void)state;
    for (unsigned c = 0; c < 4; c++) {
        const bool ties = c & 1, by_density = c & 2;
        const double n = LARGE;
        double sum = 0, factor = 0;

        problem(ties ? "dare_ties" : "dare_linear", 1, LARGE, 0.01, 0);
        memset(p.base, 0, p.n * sizeof(float)); /* so that d is exact */
        set_own("weight", w);
        set_own("density", densities);
        set("rescale_by_density", by_density);
        run();
        /* five standard deviations */
        assert_true(fabs((double)count_kept() - 0.3 * n) <
                    5 * sqrt(0.3 * 0.7 * n));
        for (size_t i = 0; i < p.n; i++) {
            sum += fabs((double)p.out[i]);
            if (p.out[i] != 0 && factor == 0)
                factor = (double)p.out[i] / p.inputs[0][i];
            if (p.out[i] != 0)
                assert_true(fabs(p.out[i] / p.inputs[0][i] / factor - 1) <
                            CLOSE);
        }
        if (by_density)
            assert_true(fabs(factor * 0.3 - 1) < CLOSE);
        else
            assert_true(fabs(sum / reference_sum(p.x[0], p.n) - 1) < 1e-6);
        done();
    }
}

/* Masks depend on seed, name and column, as dither.h says, and no more. */
static void test_dare_mask(void **state)
{
    static const double w[] = {1, 1};
    static const double densities[] = {0.5, 0.5};
    struct tm_work work = {.seed = 7, .name = "a.weight"};
    float *number = driver_array(LARGE, sizeof(float));
    uint32_t key;

    (void)state;
    problem("dare_linear", 2, LARGE, 0.01, 0);
    memset(p.base, 0, p.n * sizeof(float));
    memset(p.inputs[0], 0, p.n * sizeof(float));
    set_own("weight", w);
    set_own("density", densities);
    set("rescale", 0);
    p.name = work.name;
    run();
    work.terms = p.terms;
    tm_mask_uniform(TM_ISA_PORTABLE, tm_mask_for(&work, 1), 0, p.n, number);
    for (size_t i = 0; i < p.n; i++)
        assert_true(p.out[i] == (number[i] < 0.5F ? p.inputs[1][i] : 0));
    key = tm_mask_for(&work, 1).key[0];
    assert_true(tm_mask_for(&work, 0).key[0] != key);
    work.seed = 8;
    assert_true(tm_mask_for(&work, 1).key[0] != key);
    work.seed = 7;
    work.name = "b.weight";
    assert_true(tm_mask_for(&work, 1).key[0] != key);
    done();
    free(number);
}

static void test_dare_ends(void **state)
{
    static const double w[] = {1, 1};
    static const double densities[] = {1, 0};

    (void)state;
    problem("dare_linear", 2, SMALL, 0.01, 0);
    set_own("weight", w);
    set_own("density", densities);
    run();
    memcpy(p.expected, p.d[0], p.n * sizeof(double));
    check_values(p.b, CLOSE);
    done();
}

/* Of long rows, how often each tenth of the ranks is kept. */
static void test_della(void **state)
{
    static const double w[] = {1};
    static const double densities[] = {0.5};
    static const double epsilons[] = {0.2};

    (void)state;
    for (unsigned by_density = 0; by_density < 2; by_density++) {
        double kept[10] = {0}, sum = 0, scaled = 0;

        problem("della_linear", 1, SMALL, 0.01, 0);
        memset(p.base, 0, p.n * sizeof(float));
        set_own("weight", w);
        set_own("density", densities);
        set_own("epsilon", epsilons);
        set("rescale_by_density", by_density);
        assert_true(p.method->check(p.terms) == NULL);
        run();
        for (size_t r = 0; r < ROWS; r++) {
            size_t *order = reference_order(p.x[0] + r * ROW, ROW);

            for (size_t i = 0; i < ROW; i++) {
                const double x = p.x[0][r * ROW + order[i]];
                const double y = p.out[r * ROW + order[i]];
                const double chance =
                    0.3 + 0.4 * (double)(ROW - 1 - i) / (ROW - 1);

                kept[(ROW - 1 - i) * 10 / ROW] += y != 0;
                sum += fabs(y);
                scaled += fabs(x);
                if (by_density && y != 0)
                    assert_true(fabs(y / x * chance - 1) < 1e-6);
            }
            free(order);
        }
        for (size_t t = 0; t < 10; t++) /* seven of the 70 ranks in each */
            assert_true(fabs(kept[t] / (7 * ROWS) -
                             (0.3 + 0.4 * (7 * (double)t + 3) / 69)) <
                        5 * sqrt(0.25 / (7 * ROWS)));
        if (!by_density)
            assert_true(fabs(sum / scaled - 1) < 1e-6);
        done();
    }
}

static void test_della_check(void **state)
{
    static const double w[] = {1};
    static const struct {
        double density, epsilon;
        bool is_right;
    } cases[] = {
        {0.1, 0.15, false}, {0.15, 0.15, false}, {0.9, 0.15, false},
        {0.7, 0.3, true},   {0.5, 0.4, true},    {1, 0.15, true},
        {0, 0.15, true},
    };

    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
        problem("della", 1, SMALL, 0.01, 0);
        set_own("weight", w);
        set_own("density", &cases[c].density);
        set_own("epsilon", &cases[c].epsilon);
        assert_true((p.method->check(p.terms) == NULL) == cases[c].is_right);
        if (cases[c].is_right)
            run();
        done();
    }
}

/* --- the list ------------------------------------------------------------*/

static bool is_known(const char *name)
{
    for (size_t i = 0; tm_known_parameters[i] != NULL; i++)
        if (strcmp(tm_known_parameters[i], name) == 0)
            return true;
    return false;
}

static void check_parameter(const struct tm_method *m,
                            const struct tm_parameter *q)
{
    if (!is_known(q->name))
        fail_msg("%s: %s is not in tm_known_parameters", m->name, q->name);
    assert_true(q->help[0] != '\0' && strchr(q->help, '\n') == NULL);
    assert_true(q->help[strlen(q->help) - 1] != '.');
    assert_true(q->least < q->most);
    assert_true(q->is_required ||
                (q->least <= q->standard && q->standard <= q->most));
    if (q->kind == TM_CHOICE)
        assert_true(q->choices[(size_t)q->most] != NULL &&
                    q->choices[(size_t)q->most + 1] == NULL);
}

static void test_list(void **state)
{
    (void)state;
    for (size_t i = 0; tm_methods[i] != NULL; i++) {
        const struct tm_method *m = tm_methods[i];

        assert_true(tm_method_find(m->name) == m);
        assert_true(m->help != NULL && m->source != NULL);
        assert_true(m->least >= 1 && m->least <= m->most);
        assert_true(m->num_parameters <= TM_MAX_PARAMETERS);
        assert_true((m->phases != NULL) == (m->measure != NULL));
        assert_true(m->conclude != NULL);
        assert_true(!m->skips_zero || m->parameters[0].is_own);
        for (size_t j = 0; j < m->num_parameters; j++)
            check_parameter(m, &m->parameters[j]);
    }
    assert_true(tm_method_find("tie") == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_task_arithmetic),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_linear_pivot),
        cmocka_unit_test(test_passthrough),
        cmocka_unit_test(test_nearswap),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_consensus),
        cmocka_unit_test(test_emr),
        cmocka_unit_test(test_ram),
        cmocka_unit_test(test_slerp),
        cmocka_unit_test(test_nuslerp_flat),
        cmocka_unit_test(test_nuslerp_straight),
        cmocka_unit_test(test_nuslerp_rows),
        cmocka_unit_test(test_multislerp),
        cmocka_unit_test(test_multislerp_opposite),
        cmocka_unit_test(test_karcher),
        cmocka_unit_test(test_model_stock),
        cmocka_unit_test(test_metagpt),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_ties_nothing),
        cmocka_unit_test(test_ties_model),
        cmocka_unit_test(test_recall),
        cmocka_unit_test(test_breadcrumbs),
        cmocka_unit_test(test_sce),
        cmocka_unit_test(test_arcee_fusion),
        cmocka_unit_test(test_dare),
        cmocka_unit_test(test_dare_mask),
        cmocka_unit_test(test_dare_ends),
        cmocka_unit_test(test_della),
        cmocka_unit_test(test_della_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
