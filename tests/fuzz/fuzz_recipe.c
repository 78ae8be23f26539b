/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_recipe: a recipe from a file, its values, and what is printed of it.
 *
 * Input: the text; behind a NUL, if there is one, the path and the value of an
 * override, with a NUL between them.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "src/recipe/evaluate.h"
#include "src/recipe/recipe_file.h"

static void check_value(const struct tm_parameter *parameter, double value)
{
    size_t choices = 0;

    switch (parameter->kind) {
    case TM_FLAG:
        FUZZ_REQUIRE(value == 0 || value == 1);
        break;
    case TM_CHOICE:
        while (parameter->choices[choices] != NULL)
            choices++;
        FUZZ_REQUIRE(value >= 0 && value < (double)choices);
        break;
    default:
        FUZZ_REQUIRE(value >= parameter->least && value <= parameter->most);
    }
}

static void check_values(const struct tm_recipe *recipe, bool is_own,
                         const double *values)
{
    for (size_t p = 0; p < recipe->method->num_parameters; p++)
        if (recipe->method->parameters[p].is_own == is_own)
            check_value(&recipe->method->parameters[p], values[p]);
}

static void check_source(const struct tm_question *question,
                         const struct tm_part_source *source)
{
    const struct tm_recipe *recipe = question->recipe;
    double values[TM_MAX_PARAMETERS];
    enum tm_status status;

    FUZZ_REQUIRE(source->model <= recipe->num_vectors);
    FUZZ_REQUIRE(source->begin <= source->end);
    status = tm_evaluate_own(question, source, question->name, values);
    FUZZ_REQUIRE(status == TM_OK || status == TM_USAGE);
    if (status == TM_OK)
        check_values(recipe, true, values);
}

static void check_slice(const struct tm_recipe *recipe,
                        const struct tm_module *module,
                        const struct tm_slice *slice, double position)
{
    const struct tm_question question = {.recipe = recipe,
                                         .module = module,
                                         .slice = slice,
                                         .name = "layers.1.mlp.weight",
                                         .position = position};
    double values[TM_MAX_PARAMETERS];
    enum tm_status status = tm_evaluate(&question, values);

    FUZZ_REQUIRE(status == TM_OK || status == TM_USAGE);
    if (status == TM_OK)
        check_values(recipe, false, values);
    FUZZ_REQUIRE(slice->base == TM_NO_MODEL ||
                 slice->base <= recipe->num_vectors);
    for (size_t i = 0; i < slice->num_sources && i < 50; i++)
        check_source(&question, &slice->sources[i]);
}

static void check_recipe(const struct tm_recipe *recipe)
{
    FUZZ_REQUIRE(recipe->method != NULL && recipe->base != NULL);
    FUZZ_REQUIRE(recipe->num_modules > 0);
    for (size_t m = 0; m < recipe->num_modules; m++) {
        const struct tm_module *module = &recipe->modules[m];

        FUZZ_REQUIRE(module->num_slices > 0);
        FUZZ_REQUIRE(module->is_sliced || module->num_slices == 1);
        for (size_t s = 0; s < module->num_slices; s++) {
            check_slice(recipe, module, &module->slices[s], 0);
            check_slice(recipe, module, &module->slices[s], 0.6);
        }
    }
    tm_evaluate_warn_unused(recipe);
}

/* What is printed is read as a recipe that is printed the same. */
static void check_print(const struct tm_recipe *recipe)
{
    const struct tm_recipe_reading reading = {.path = "printed",
                                              .finds_nothing = true};
    struct tm_text first = {0}, second = {0};
    struct tm_recipe again = {0};

    FUZZ_REQUIRE(tm_recipe_write(recipe, &first) == TM_OK);
    FUZZ_REQUIRE(tm_recipe_parse(&reading, first.bytes, first.length, &again) ==
                 TM_OK);
    FUZZ_REQUIRE(tm_recipe_write(&again, &second) == TM_OK);
    FUZZ_REQUIRE(first.length == second.length &&
                 memcmp(first.bytes, second.bytes, first.length) == 0);
    FUZZ_REQUIRE(again.num_vectors == recipe->num_vectors);
    tm_recipe_free(&again);
    free(first.bytes);
    free(second.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 2);
    const char *end;
    struct tm_override override;
    struct tm_recipe_reading reading = {
        .path = "input", .overrides = &override, .finds_nothing = true};
    struct tm_recipe recipe = {0};
    enum tm_status status;

    tm_message_silence();
    FUZZ_REQUIRE(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    memset(text + size, 0, 2);
    end = memchr(text, '\0', size);
    if (end != NULL) {
        override.path = end + 1;
        override.value = override.path + strlen(override.path) + 1;
        if (override.value > text + size + 1)
            override.value = "";
        reading.num_overrides = 1;
    }
    status = tm_recipe_parse(
        &reading, text, end != NULL ? (size_t)(end - text) : size, &recipe);
    FUZZ_REQUIRE(status == TM_OK || status == TM_USAGE);
    if (status == TM_OK) {
        check_recipe(&recipe);
        check_print(&recipe);
    }
    tm_recipe_free(&recipe);
    free(text);
    return 0;
}
