/* SPDX-License-Identifier: Apache-2.0 */
/* given: see given.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/given.h"

#include <stdlib.h>
#include <string.h>

/* --- as options ----------------------------------------------------------*/

/* The parameter that -w gives. */
#define WEIGHT "weight"

static size_t weight_of(const struct tm_method *method)
{
    size_t p = 0;

    while (p < method->num_parameters &&
           strcmp(method->parameters[p].name, WEIGHT) != 0)
        p++;
    return p;
}

/* Where the weight of one vector is kept. */
struct weighted {
    struct tm_setting setting;
    struct tm_entry entry;
    bool was_used;
};

/* What is in the arena of a recipe that options give. */
struct parts {
    struct tm_module module;
    struct tm_slice slice;
};

/* One source for each vector, with its weight. */
static enum tm_status add_sources(struct tm_options *options,
                                  struct tm_slice *slice)
{
    const struct tm_recipe *recipe = &options->recipe;
    const size_t count = recipe->num_vectors;
    struct weighted *weighted =
        tm_arena_alloc(&options->arena, count * sizeof(*weighted));

    slice->sources =
        tm_arena_alloc(&options->arena, count * sizeof(*slice->sources));
    if (weighted == NULL || slice->sources == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < count; i++) {
        struct weighted *w = &weighted[i];

        w->was_used = false;
        w->entry = (struct tm_entry){.values = &options->weights[i],
                                     .count = 1,
                                     .was_used = &w->was_used};
        w->setting = (struct tm_setting){
            .parameter = weight_of(recipe->method),
            .entries = &w->entry,
            .count = 1,
        };
        slice->sources[i] = (struct tm_part_source){
            .model = (uint32_t)i + 1,
            .level = {.settings = &w->setting, .count = 1},
        };
    }
    slice->num_sources = count;
    return TM_OK;
}

static enum tm_status from_options(struct tm_options *options)
{
    struct tm_recipe *recipe = &options->recipe;
    struct parts *parts = tm_arena_alloc(&options->arena, sizeof(*parts));

    if (parts == NULL)
        return tm_no_memory();
    *parts = (struct parts){
        .module = {.slices = &parts->slice, .num_slices = 1},
        .slice = {.base = TM_NO_MODEL},
    };
    recipe->method = tm_method_find("task_arithmetic");
    recipe->base_name = recipe->base;
    recipe->has_base = true;
    recipe->keeps_dtypes = true;
    recipe->modules = &parts->module;
    recipe->num_modules = 1;
    return add_sources(options, &parts->slice);
}

/* --- as a file -----------------------------------------------------------*/

/* What options say beside the file holds. */
static void override(struct tm_recipe *recipe, const struct tm_recipe *said,
                     bool has_seed)
{
    if (said->has_dtype) {
        recipe->has_dtype = true;
        recipe->dtype = said->dtype;
    }
    if (said->shard_size > 0)
        recipe->shard_size = said->shard_size;
    if (has_seed)
        recipe->seed = said->seed;
    recipe->allow_missing = recipe->allow_missing || said->allow_missing;
    recipe->allow_extra = recipe->allow_extra || said->allow_extra;
}

enum tm_status tm_given_load(struct tm_options *options)
{
    struct tm_text text;
    enum tm_status status = tm_recipe_load(options->paths[0], &text);

    if (status == TM_OK) {
        options->text = tm_arena_copy(
            &options->arena, text.bytes != NULL ? text.bytes : "", text.length);
        options->text_length = text.length;
        if (options->text == NULL)
            status = tm_no_memory();
    }
    free(text.bytes);
    return status;
}

static enum tm_status from_file(struct tm_options *options)
{
    const struct tm_recipe said = options->recipe;
    const struct tm_recipe_reading reading = {
        .path = options->paths[0],
        .document = options->document,
        .overrides = options->overrides,
        .num_overrides = options->num_overrides,
        .aliases = options->aliases,
        .num_aliases = options->num_aliases,
        .lax = options->settings.lax,
    };
    enum tm_status status;

    options->was_read = true;
    options->recipe = (struct tm_recipe){0};
    status = tm_recipe_parse(&reading, options->text, options->text_length,
                             &options->recipe);
    if (status == TM_OK)
        override(&options->recipe, &said, options->has_seed);
    return status;
}

enum tm_status tm_given_complete(struct tm_options *options)
{
    return tm_given_is_file(options) ? from_file(options)
                                     : from_options(options);
}

/* --- whether it makes sense ----------------------------------------------*/

/* The first of -b and -t that is there beside the name of a file. */
static enum tm_status check_file(const struct tm_options *options)
{
    const struct tm_recipe *recipe = &options->recipe;
    const bool has_base = recipe->base != NULL;

    if (options->num_paths > 1)
        return tm_error(TM_USAGE,
                        "'%s': belongs to no option, and '%s' is "
                        "the recipe",
                        options->paths[1], options->paths[0]);
    if (has_base || recipe->num_vectors > 0)
        return tm_error(TM_USAGE,
                        "'%s' and %s %s: a merge is told by a recipe or by "
                        "-b and -t, not by both",
                        options->paths[0], has_base ? "-b" : "-t",
                        has_base ? recipe->base : recipe->vectors[0].path);
    return TM_OK;
}

static enum tm_status check_options(const struct tm_options *options)
{
    const bool has_base = options->recipe.base != NULL;
    const bool has_vectors = options->recipe.num_vectors > 0;
    const char *stray = options->num_overrides > 0  ? "set"
                        : options->document != NULL ? "document"
                        : options->settings.lax     ? "lax"
                                                    : NULL;
    enum tm_status status = TM_OK;

    if (!has_base && !has_vectors)
        return tm_error(TM_USAGE, "no recipe is given (RECIPE.yaml, or -b "
                                  "BASE -t VECTOR)");
    if (!has_base)
        status = tm_error(TM_USAGE, "no base is given (-b BASE)");
    if (!has_vectors)
        status = tm_error(TM_USAGE, "no vector is given (-t VECTOR)");
    if (stray != NULL)
        status = tm_error(TM_USAGE,
                          "--%s: is for a recipe in a file, and none is given",
                          stray);
    return status;
}

enum tm_status tm_given_check(const struct tm_options *options)
{
    return tm_given_is_file(options) ? check_file(options)
                                     : check_options(options);
}
