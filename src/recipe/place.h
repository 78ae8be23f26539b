/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place: messages about a place in a recipe, "recipe.yaml:12:5: ...".
 */
#ifndef TM_SRC_RECIPE_PLACE_H
#define TM_SRC_RECIPE_PLACE_H

#include "src/recipe.h"

/*
 * tm_error with "PATH:LINE:COLUMN: " in front; "PATH: " where the place has
 * no line, nothing where there is no path. Returns `status`.
 */
enum tm_status tm_place_error(enum tm_status status, const char *path,
                              struct tm_place place, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same with tm_warning. */
void tm_place_warning(const char *path, struct tm_place place,
                      const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The two above for those who have a va_list. */
enum tm_status tm_place_verror(enum tm_status status, const char *path,
                               struct tm_place place, const char *format,
                               va_list args);
void tm_place_vwarning(const char *path, struct tm_place place,
                       const char *format, va_list args);

#endif
