/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate: what a recipe's parameters are for one tensor.
 *
 * A parameter of the merge is looked up in the slice, the module and the
 * recipe; one of an input first in what its source says. The first level that
 * has an entry for the tensor decides; then the method's standard value.
 * Filters of an input's own parameters see the tensor's name in that input's
 * own source; those of the merge's parameters the name in the output. A
 * filter is a plain part of the name; "*" fits every name.
 */
#ifndef TM_SRC_RECIPE_EVALUATE_H
#define TM_SRC_RECIPE_EVALUATE_H

#include "src/recipe.h"

/* What is asked about. */
struct tm_question {
    const struct tm_recipe *recipe;
    const struct tm_module *module;
    const struct tm_slice *slice;
    const char *name; /* of the output tensor */
    double position;  /* in the slice, from 0 to 1, for gradients */
};

/*
 * The merge's values (those of the method's parameters that are not is_own)
 * to values[0 ... num_parameters). Errors: TM_USAGE, reported: one that is
 * required has no value for this tensor, or is out of range.
 */
enum tm_status tm_evaluate(const struct tm_question *question, double *values);

/* The same for an input; `name`: of the tensor in that input. */
enum tm_status tm_evaluate_own(const struct tm_question *question,
                               const struct tm_part_source *source,
                               const char *name, double *values);

/*
 * Where the recipe says so: warns of filters that have fitted no name. Marks
 * are kept by the two functions above.
 */
void tm_evaluate_warn_unused(const struct tm_recipe *recipe);

#endif
