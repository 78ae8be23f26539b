/* SPDX-License-Identifier: Apache-2.0 */
/* recipe_tell: see recipe_tell.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/recipe_tell.h"

#include <inttypes.h>
#include <stdio.h>

#include "src/commands.h"
#include "src/recipe/parameter.h"

bool tm_recipe_is_plain(const struct tm_recipe *recipe)
{
    return recipe->num_modules == 1 && !recipe->modules[0].is_sliced &&
           recipe->modules[0].num_slices == 1;
}

/* --- text ----------------------------------------------------------------*/

static void tell_method(const struct tm_recipe *recipe)
{
    printf("recipe   %s", recipe->method->name);
    if (recipe->path != NULL) {
        printf(" from ");
        tm_print_name(recipe->path);
    }
    if (recipe->name != NULL) {
        printf(", document ");
        tm_print_name(recipe->name);
    }
    if (recipe->method->is_random)
        printf(", seed %" PRIu64, recipe->seed);
    puts("");
}

static void tell_model(const char *role, const char *path,
                       const struct tm_level *level,
                       const struct tm_method *method)
{
    printf("%-9s", role);
    tm_print_name(path);
    if (level != NULL)
        tm_level_print(":", level, method);
    puts("");
}

static void tell_level(const struct tm_level *level,
                       const struct tm_method *method)
{
    if (level->count == 0)
        return;
    tm_level_print("merge   ", level, method);
    puts("");
}

/* One list of models: each with what is said of it. */
static void tell_plain(const struct tm_recipe *recipe)
{
    const struct tm_module *module = &recipe->modules[0];
    const struct tm_slice *slice = &module->slices[0];

    for (size_t i = 0; i < slice->num_sources; i++)
        tell_model("model", tm_recipe_model(recipe, slice->sources[i].model),
                   &slice->sources[i].level, recipe->method);
    tell_level(&slice->level, recipe->method);
    tell_level(&module->level, recipe->method);
}

static void tell_stack(const struct tm_recipe *recipe)
{
    size_t slices = 0;

    for (size_t i = recipe->has_base; i <= recipe->num_vectors; i++)
        tell_model("model", tm_recipe_model(recipe, i), NULL, recipe->method);
    for (size_t i = 0; i < recipe->num_modules; i++)
        slices += recipe->modules[i].num_slices;
    printf("layers   %zu slice%s in %zu module%s (--print-recipe shows "
           "them)\n",
           slices, slices == 1 ? "" : "s", recipe->num_modules,
           recipe->num_modules == 1 ? "" : "s");
}

void tm_recipe_tell(const struct tm_recipe *recipe)
{
    tell_method(recipe);
    if (recipe->has_base)
        tell_model("base", recipe->base, NULL, recipe->method);
    if (tm_recipe_is_plain(recipe))
        tell_plain(recipe);
    else
        tell_stack(recipe);
    tell_level(&recipe->level, recipe->method);
}

/* --- JSON ----------------------------------------------------------------*/

static void put_level(struct tm_json_writer *writer,
                      const struct tm_level *level,
                      const struct tm_method *method)
{
    if (level->count > 0)
        tm_level_put(writer, "parameters", level, method);
}

/* A source, as an element: `key` is what its path is called. */
static void put_source(struct tm_json_writer *writer,
                       const struct tm_recipe *recipe, const char *key,
                       const struct tm_part_source *source)
{
    tm_json_begin(writer, NULL, '{');
    tm_json_string(writer, key, tm_recipe_model(recipe, source->model));
    if (source->has_range) {
        const uint64_t range[] = {source->begin, source->end};

        tm_json_integers(writer, "layer_range", 2, range);
    }
    put_level(writer, &source->level, recipe->method);
    tm_json_finish(writer, '}');
}

static void put_models(struct tm_json_writer *writer,
                       const struct tm_recipe *recipe)
{
    const struct tm_slice *slice = &recipe->modules[0].slices[0];

    tm_json_begin(writer, "models", '[');
    if (tm_recipe_is_plain(recipe)) {
        for (size_t i = 0; i < slice->num_sources; i++)
            put_source(writer, recipe, "path", &slice->sources[i]);
    } else {
        for (size_t i = recipe->has_base; i <= recipe->num_vectors; i++) {
            tm_json_begin(writer, NULL, '{');
            tm_json_string(writer, "path", tm_recipe_model(recipe, i));
            tm_json_finish(writer, '}');
        }
    }
    tm_json_finish(writer, ']');
}

static void put_slice(struct tm_json_writer *writer,
                      const struct tm_recipe *recipe,
                      const struct tm_slice *slice)
{
    tm_json_begin(writer, NULL, '{');
    if (slice->base != TM_NO_MODEL)
        tm_json_string(writer, "base", tm_recipe_model(recipe, slice->base));
    tm_json_begin(writer, "sources", '[');
    for (size_t i = 0; i < slice->num_sources; i++)
        put_source(writer, recipe, "model", &slice->sources[i]);
    tm_json_finish(writer, ']');
    put_level(writer, &slice->level, recipe->method);
    tm_json_finish(writer, '}');
}

static void put_modules(struct tm_json_writer *writer,
                        const struct tm_recipe *recipe)
{
    tm_json_begin(writer, "modules", '[');
    for (size_t i = 0; i < recipe->num_modules; i++) {
        const struct tm_module *module = &recipe->modules[i];

        tm_json_begin(writer, NULL, '{');
        if (module->name != NULL)
            tm_json_string(writer, "name", module->name);
        tm_json_begin(writer, "slices", '[');
        for (size_t k = 0; k < module->num_slices; k++)
            put_slice(writer, recipe, &module->slices[k]);
        tm_json_finish(writer, ']');
        put_level(writer, &module->level, recipe->method);
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, ']');
}

/* What a vector's weight is, where it is one number. */
static bool constant_weight(const struct tm_recipe *recipe, size_t vector,
                            double *weight)
{
    const struct tm_slice *slice = &recipe->modules[0].slices[0];
    const struct tm_parameter *parameter =
        tm_parameter_find(recipe->method, "weight");

    if (parameter == NULL || !tm_recipe_is_plain(recipe))
        return false;
    for (size_t i = 0; i < slice->num_sources; i++) {
        const struct tm_setting *setting =
            slice->sources[i].model == vector + 1
                ? tm_level_find(&slice->sources[i].level, recipe->method,
                                parameter)
                : NULL;

        if (setting != NULL)
            return tm_setting_is_constant(setting, weight);
    }
    return false;
}

/* The vectors with their weights: what task arithmetic is made of. */
static void put_vectors(struct tm_json_writer *writer,
                        const struct tm_recipe *recipe)
{
    tm_json_begin(writer, "vectors", '[');
    for (size_t i = 0; i < recipe->num_vectors; i++) {
        double weight;

        tm_json_begin(writer, NULL, '{');
        tm_json_string(writer, "path", recipe->vectors[i].path);
        if (constant_weight(recipe, i, &weight))
            tm_json_real(writer, "weight", weight);
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, ']');
}

/* What the output is to be like. */
static void put_output(struct tm_json_writer *writer,
                       const struct tm_recipe *recipe)
{
    if (recipe->method->is_random)
        tm_json_integer(writer, "seed", recipe->seed);
    if (recipe->has_dtype)
        tm_json_string(writer, "dtype", tm_dtype_name(recipe->dtype));
    if (recipe->shard_size > 0)
        tm_json_integer(writer, "shard_size", recipe->shard_size);
    if (recipe->tokenizer != NULL)
        tm_json_string(writer, "tokenizer", recipe->tokenizer);
    if (recipe->chat_template != NULL)
        tm_json_string(writer, "chat_template", recipe->chat_template);
    if (recipe->allow_missing)
        tm_json_boolean(writer, "allow_missing", true);
    if (recipe->allow_extra)
        tm_json_boolean(writer, "allow_extra", true);
}

void tm_recipe_put(struct tm_json_writer *writer,
                   const struct tm_recipe *recipe, bool with_text)
{
    tm_json_begin(writer, "recipe", '{');
    tm_json_string(writer, "method", recipe->method->name);
    if (recipe->path != NULL)
        tm_json_string(writer, "file", recipe->path);
    if (recipe->name != NULL)
        tm_json_string(writer, "document", recipe->name);
    if (recipe->has_base)
        tm_json_string(writer, "base", recipe->base);
    put_models(writer, recipe);
    if (recipe->has_base)
        put_vectors(writer, recipe);
    if (!tm_recipe_is_plain(recipe) || recipe->modules[0].level.count > 0 ||
        recipe->modules[0].slices[0].level.count > 0)
        put_modules(writer, recipe);
    put_level(writer, &recipe->level, recipe->method);
    put_output(writer, recipe);
    if (with_text && recipe->text != NULL)
        tm_json_string(writer, "text", recipe->text);
    tm_json_finish(writer, '}');
}
