/* SPDX-License-Identifier: Apache-2.0 */
/* recipe_tell: a recipe as it was understood, for a plan and a manifest. */
#ifndef TM_SRC_RECIPE_RECIPE_TELL_H
#define TM_SRC_RECIPE_RECIPE_TELL_H

#include "io/json.h"
#include "src/recipe.h"

/* The path of a column: 0 the recipe's base, i + 1 its vectors[i]. */
static inline const char *tm_recipe_model(const struct tm_recipe *recipe,
                                          size_t column)
{
    return column == 0 ? recipe->base : recipe->vectors[column - 1].path;
}

/* What a column is, in a word. */
static inline const char *tm_recipe_role(const struct tm_recipe *recipe,
                                         size_t column)
{
    if (!recipe->has_base)
        return "model";
    return column == 0 ? "base" : "vector";
}

/* Whether there is one list of models for all layers. */
bool tm_recipe_is_plain(const struct tm_recipe *recipe);

/* Lines of text to stdout: method, models, parameters. */
void tm_recipe_tell(const struct tm_recipe *recipe);

/*
 * An object, "recipe". `with_text` adds the text of the document it came
 * from, if it came from one.
 */
void tm_recipe_put(struct tm_json_writer *writer,
                   const struct tm_recipe *recipe, bool with_text);

#endif
