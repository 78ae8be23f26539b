/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parameter: values of a method's parameters, as text and as JSON: numbers as
 * short as they can be, flags as true and false, choices by name.
 */
#ifndef TM_SRC_RECIPE_PARAMETER_H
#define TM_SRC_RECIPE_PARAMETER_H

#include "io/json.h"
#include "src/recipe.h"

#define TM_NUMBER_TEXT 32

/* The shortest text that reads back as `value`; returns `text`. */
const char *tm_number_text(double value, char text[TM_NUMBER_TEXT]);

/* A value, for people; returns `text` or the name of a choice. */
const char *tm_parameter_text(const struct tm_parameter *parameter,
                              double value, char text[TM_NUMBER_TEXT]);

void tm_parameter_put(struct tm_json_writer *writer, const char *key,
                      const struct tm_parameter *parameter, double value);

/* The parameter of that name; NULL: the method has none. */
const struct tm_parameter *tm_parameter_find(const struct tm_method *method,
                                             const char *name);

/*
 * Prints `lead` and " name value, name value" to stdout: those of `values`
 * whose parameters are `own` ones, or are not; nothing where there are none.
 */
void tm_parameters_print(const char *lead, const struct tm_method *method,
                         const double *values, bool own);

/* The same as an object. */
void tm_parameters_put(struct tm_json_writer *writer, const char *key,
                       const struct tm_method *method, const double *values,
                       bool own);

/* --- as a recipe says them -----------------------------------------------*/

/* Whether a setting is one value for all tensors, then *value. */
bool tm_setting_is_constant(const struct tm_setting *setting, double *value);

/* What `level` says about the parameter, or NULL. */
const struct tm_setting *tm_level_find(const struct tm_level *level,
                                       const struct tm_method *method,
                                       const struct tm_parameter *parameter);

/* Prints like tm_parameters_print, "varies" for what is not constant. */
void tm_level_print(const char *lead, const struct tm_level *level,
                    const struct tm_method *method);

/*
 * An object of all that a level says, in the form a recipe has it: a value, a
 * list, or objects with `filter` and `value`.
 */
void tm_level_put(struct tm_json_writer *writer, const char *key,
                  const struct tm_level *level, const struct tm_method *method);

#endif
