/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method: what a merge method is, as the engine sees it.
 *
 * A method makes one tensor at a time of the inputs that the recipe names for
 * it, its terms. It may measure them first, in as many phases as it needs:
 *
 *     begin -> measure every block -> conclude -> ... -> apply every block
 *              '--------- for each phase -------'
 *
 * The engine (src/work.h) knows these steps and no method: it reads, widens,
 * calls `measure` on every strip of elements, adds up what that found, block
 * by block in order, lets `conclude` turn the sums into numbers, and in the
 * end asks for the output, in one of two ways: as coefficients of a weighted
 * sum (kernels/sum.h), or strip by strip by `apply`.
 *
 * A method is one file in src/methods/: its parameters, what it measures, and
 * what follows from that; methods.c there lists them all. The arithmetic on
 * arrays is in kernels/, in several instruction sets.
 */
#ifndef TM_SRC_METHOD_H
#define TM_SRC_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"
#include "kernels/select.h"

/* --- parameters ----------------------------------------------------------*/

#define TM_MAX_PARAMETERS 10

enum tm_parameter_kind {
    TM_NUMBER, /* a finite number */
    TM_WHOLE,  /* one without a fraction */
    TM_FLAG,   /* 0 or 1 */
    TM_CHOICE, /* one of `choices`, by its position */
};

struct tm_parameter {
    const char *name;
    const char *help; /* one line, lower case, no full stop */
    enum tm_parameter_kind kind;
    bool is_own;      /* of each input, else of the merge as a whole */
    bool is_required; /* else `standard` holds where nothing is said */
    double standard;
    double least; /* of what is allowed */
    double most;
    const char *const *choices; /* ends with NULL */
};

/* No limit but that a float must be able to hold it. */
#define TM_ANY_NUMBER .least = -3.4e38, .most = 3.4e38

/* --- what the recipe says about a tensor ---------------------------------*/

#define TM_NO_COLUMN UINT32_MAX

/* An input of a method: which of the plan's columns, and its parameters. */
struct tm_term {
    uint32_t column;
    /* values[p]: of method->parameters[p], if that is_own */
    double values[TM_MAX_PARAMETERS];
};

/*
 * The inputs that go into one tensor, in recipe order. Many tensors share
 * one of these. The base is a term where the method takes it for an ordinary
 * input (TM_BASE_IS_INPUT), else it is not.
 */
struct tm_terms {
    double values[TM_MAX_PARAMETERS]; /* those that are not is_own */
    /*
     * Where the tensor is in its stack of layers, from 0 to 1; -1 where it
     * belongs to no layer.
     */
    double position;
    uint32_t base; /* column; TM_NO_COLUMN: none */
    uint32_t count;
    struct tm_term terms[];
};

/* --- the work on one tensor ----------------------------------------------*/

/* What is known of a term's differences in all of the model. */
struct tm_recorded {
    const uint64_t *high; /* TM_HIGH_BINS, as tm_select_high counts */
    double absolute;      /* sum of |t| */
    double squares;       /* sum of t^2 */
};

#define TM_COUNTS_STEP ((size_t)64)

/* Lanes of a sum: element i of a block goes to lane i % TM_LANES. */
#define TM_LANES 8

/*
 * What a method keeps about one tensor, in memory that the engine owns. A
 * method may have `num_numbers` of them as it likes; `sums` and `counts` are
 * of one phase: zero before it, complete when `conclude` is called.
 */
struct tm_work {
    const struct tm_method *method;
    const struct tm_terms *terms;
    const char *name;  /* of the output tensor: masks depend on it */
    uint64_t seed;     /* of the recipe */
    uint64_t elements; /* of the tensor; where the whole model is measured,
                          of all tensors */
    uint64_t row;      /* elements of a row: of the last dimension; a tensor
                          of fewer than two dimensions is one row */
    uint64_t plane;    /* elements for each index of the first dimension; 1
                          of a tensor of fewer than two dimensions */
    unsigned phase;    /* 0 ...; method->phases: apply */
    /*
     * What coefficients count from: the sum is pivot + sum c_i (x_i - pivot).
     * A column; the base to begin with where there are differences, else
     * TM_NO_COLUMN: sum c_i x_i. A method may choose it where its
     * coefficients add up to 1, since differences are rounded less; the term
     * that is the pivot then has no part in the sum.
     */
    uint32_t pivot;
    double *sums;
    uint64_t *counts;
    /* Of each TM_COUNTS_STEP counts, whether one is not zero. The engine's:
     * histograms of small tensors are mostly empty. */
    bool *touched;
    double *numbers;
    struct tm_select *selects;
};

/* How many of each `struct tm_work` has. */
struct tm_work_sizes {
    size_t sums;
    size_t counts;
    size_t numbers;
    size_t selects;
};

/*
 * A run of elements that is worked on at once: at most TM_STRIP, or one row
 * where the method works by rows. Arrays are of n floats, aligned to 64
 * bytes, and padded: kernels may touch up to a multiple of 64 of them.
 */
struct tm_strip {
    enum tm_isa isa;
    uint64_t first; /* element of the tensor; where the whole model is
                       measured, that has no meaning */
    size_t n;
    /* x[i]: of term i, tuned - base, or its values (method->view). `apply`
     * and `measure` may write to them. */
    float *const *x;
    const float *base; /* widened; NULL unless method->wants_base */
    float *spare[2];   /* arrays to work with */
    uint32_t *scratch; /* TM_ROW_SCRATCH(n) words (kernels/row.h), where the
                          method works by rows */
    /*
     * measure: double lanes of the block, sums[s][lane], to be added to.
     */
    double (*sums)[TM_LANES];
    uint32_t *counts; /* measure: to be added to */
    /*
     * Of each select: elements equal to its threshold that came before this
     * strip in the tensor. `count` and `apply` add what they meet.
     */
    uint64_t *ties;
};

/* Elements of a strip: 16 KiB of floats, a few of which stay in L1 and L2. */
#define TM_STRIP ((size_t)4096)

/* Elements whose lanes are added up at once, before the next block's. */
#define TM_BLOCK_ELEMENTS ((uint64_t)65536)

/* --- the method ----------------------------------------------------------*/

enum tm_family {
    TM_LINEAR,    /* measures nothing, or needs nothing but the element */
    TM_GRAM,      /* inner products decide about coefficients */
    TM_THRESHOLD, /* ranks decide what is kept */
};

enum tm_base_use {
    TM_BASE_NEEDED,   /* what differences are taken from */
    TM_BASE_OPTIONAL, /* may be left out of the recipe */
    TM_BASE_IS_INPUT, /* if there is one: an ordinary input */
};

enum tm_view {
    TM_DIFFERENCES, /* x[i] = widen(x_i) - widen(base); values without base */
    TM_VALUES,      /* x[i] = widen(x_i) */
};

enum tm_scope {
    TM_BY_ELEMENT, /* strips may end anywhere */
    TM_BY_ROW,     /* a strip is a row */
};

struct tm_method {
    const char *name;
    const char *help;   /* one line */
    const char *source; /* paper, or program, that defines it */
    enum tm_family family;
    enum tm_base_use base;
    enum tm_view view;
    size_t least, most; /* terms; beside the base unless that is one */
    const struct tm_parameter *parameters;
    size_t num_parameters;

    bool wants_base; /* strip.base */
    bool is_random;  /* it depends on the recipe's seed */
    /* A term whose first own parameter is 0 counts for nothing: not read. */
    bool skips_zero;

    /* Numbers of phases, 0 if `measure` is NULL. */
    unsigned (*phases)(const struct tm_terms *terms);
    /* Phase 0 is about the whole model, all tensors of which are measured
     * before the first is made. NULL: never. */
    bool (*is_whole)(const struct tm_terms *terms);
    /*
     * What phase 0 would measure of term `term`, from what a stored vector
     * has recorded; of all terms, it takes the place of the sweep. NULL where
     * that cannot be.
     */
    void (*recall)(struct tm_work *work, size_t term,
                   const struct tm_recorded *recorded);
    /* NULL: TM_BY_ELEMENT. */
    enum tm_scope (*scope)(const struct tm_terms *terms);
    /*
     * What is wrong with the parameters taken together, in words that go
     * after "parameter ", or NULL. May be NULL.
     */
    const char *(*check)(const struct tm_terms *terms);
    /* NULL: one number for each term, no more. */
    struct tm_work_sizes (*sizes)(const struct tm_terms *terms, uint64_t row,
                                  uint64_t plane);

    /* Adds a strip to strip->sums and ->counts. */
    void (*measure)(const struct tm_work *work, const struct tm_strip *strip);
    /*
     * What follows from the phase that is over, work->phase; for a method
     * without phases it is called once, with nothing measured. Returns NULL,
     * or why it cannot go on, in words that go after "tensor 'x': ".
     */
    const char *(*conclude)(struct tm_work *work);
    /*
     * Counts the strip's ties (strip->ties); NULL where ties do not matter.
     */
    void (*count)(const struct tm_work *work, const struct tm_strip *strip);
    /*
     * Writes what is to be added to the base (TM_DIFFERENCES), or the values
     * themselves (TM_VALUES), to `out`. NULL: the method gives coefficients,
     * work->numbers[i] of term i, which then are of the same view.
     */
    void (*apply)(const struct tm_work *work, const struct tm_strip *strip,
                  float *out);
    /*
     * Of a method with an `apply`: whether with these terms it gives
     * coefficients all the same, and neither `count` nor `apply` is called.
     * NULL: never.
     */
    bool (*is_sum)(const struct tm_terms *terms);
};

/* The optional members, where they may be NULL. */

static inline unsigned tm_method_phases(const struct tm_method *method,
                                        const struct tm_terms *terms)
{
    return method->phases != NULL ? method->phases(terms) : 0;
}

static inline bool tm_method_is_whole(const struct tm_method *method,
                                      const struct tm_terms *terms)
{
    return method->is_whole != NULL && method->is_whole(terms);
}

static inline bool tm_method_is_by_row(const struct tm_method *method,
                                       const struct tm_terms *terms)
{
    return method->scope != NULL && method->scope(terms) == TM_BY_ROW;
}

/* Whether the output is a sum with the coefficients in work->numbers. */
static inline bool tm_method_is_sum(const struct tm_method *method,
                                    const struct tm_terms *terms)
{
    return method->apply == NULL ||
           (method->is_sum != NULL && method->is_sum(terms));
}

static inline struct tm_work_sizes
tm_method_sizes(const struct tm_method *method, const struct tm_terms *terms,
                uint64_t row, uint64_t plane)
{
    if (method->sizes != NULL)
        return method->sizes(terms, row, plane);
    return (struct tm_work_sizes){.numbers = terms->count};
}

/* All of them, in the order they are listed in; ends with NULL. */
extern const struct tm_method *const tm_methods[];

/* The method of that name; NULL if there is none. */
const struct tm_method *tm_method_find(const char *name);

/* The name that may have been meant by one that is none; NULL: who knows. */
const char *tm_method_nearest(const char *name);

/*
 * Names of parameters that published recipes have and some methods ignore
 * (int8_mask, or a weight under model_stock); ends with NULL.
 */
extern const char *const tm_known_parameters[];

#endif
