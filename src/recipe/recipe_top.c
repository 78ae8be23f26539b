/* SPDX-License-Identifier: Apache-2.0 */
/* recipe_top: the top level of a recipe; see recipe_reader.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "src/recipe/recipe_reader.h"

/* Values of the top level's keys; NULL where nothing is said. */
struct top {
    const struct tm_yaml_node *merge_method, *base_model, *models, *slices,
        *modules, *parameters, *dtype, *out_dtype, *tokenizer_source,
        *tokenizer, *chat_template, *name;
};

static void read_method(struct tm_reader *reader,
                        const struct tm_yaml_node *node, struct tm_place place)
{
    const char *name, *nearest;

    if (node == NULL) {
        tm_reader_error(reader, place, "there is no 'merge_method'");
        return;
    }
    name = tm_reader_text(reader, node, "'merge_method'");
    if (name == NULL)
        return;
    reader->recipe->method = tm_method_find(name);
    if (reader->recipe->method != NULL)
        return;
    nearest = tm_method_nearest(name);
    if (nearest != NULL)
        tm_reader_error(reader, node->place,
                        "unknown merge method '%s' (did you mean '%s'?)", name,
                        nearest);
    else
        tm_reader_error(reader, node->place,
                        "unknown merge method '%s' ('taumerge methods' lists "
                        "them)",
                        name);
}

static void read_base(struct tm_reader *reader, const struct tm_yaml_node *node)
{
    struct tm_recipe *recipe = reader->recipe;

    if (node == NULL)
        return;
    recipe->has_base = true;
    tm_reader_model(reader, node);
}

static void read_dtype(struct tm_reader *reader,
                       const struct tm_yaml_node *node, const char *what)
{
    struct tm_recipe *recipe = reader->recipe;
    const char *name;

    if (node == NULL)
        return;
    name = tm_reader_text(reader, node, what);
    if (name == NULL)
        return;
    if (strncmp(name, "torch.", 6) == 0)
        name += 6;
    recipe->has_dtype = tm_dtype_from_user(name, &recipe->dtype) &&
                        tm_dtype_bits(recipe->dtype) >= 16;
    if (!recipe->has_dtype)
        tm_reader_error(reader, node->place,
                        "%s is '%s', which is none of bfloat16, float16, "
                        "float32, float64",
                        what, node->text);
}

static void read_models(struct tm_reader *reader, const struct top *top,
                        struct tm_place place)
{
    const struct tm_reader_models models = {top->models, top->slices};
    const int given =
        (top->models != NULL) + (top->slices != NULL) + (top->modules != NULL);
    struct tm_recipe *recipe = reader->recipe;

    if (given > 1)
        place = top->modules != NULL ? top->modules->place : top->slices->place;
    if (given != 1) {
        tm_reader_error(reader, place,
                        given == 0
                            ? "none of 'models', 'slices' and 'modules' is "
                              "there"
                            : "only one of 'models', 'slices' and 'modules' "
                              "may be there");
        return;
    }
    if (top->modules != NULL) {
        tm_reader_modules(reader, top->modules);
        return;
    }
    recipe->modules = tm_reader_alloc(reader, 1, sizeof(*recipe->modules));
    if (recipe->modules == NULL)
        return;
    recipe->num_modules = 1;
    recipe->modules->place = place;
    tm_reader_module(reader, &models, recipe->modules);
}

/* Column 0 is the base; the others are vectors. */
static void take_columns(struct tm_reader *reader)
{
    struct tm_recipe *recipe = reader->recipe;
    const size_t count = reader->models.count;

    if (count == 0)
        return;
    recipe->base = reader->columns[0].path;
    recipe->base_name = reader->columns[0].name;
    recipe->base_place = reader->columns[0].place;
    recipe->num_vectors = count - 1;
    recipe->vectors =
        tm_reader_alloc(reader, count - 1, sizeof(*recipe->vectors));
    if (recipe->vectors != NULL && count > 1)
        memcpy(recipe->vectors, reader->columns + 1,
               (count - 1) * sizeof(*recipe->vectors));
}

void tm_reader_top(struct tm_reader *reader, const struct tm_yaml_node *root)
{
    struct top top = {0};
    const struct tm_reader_key keys[] = {
        {"merge_method", &top.merge_method},
        {"base_model", &top.base_model},
        {"models", &top.models},
        {"slices", &top.slices},
        {"modules", &top.modules},
        {"parameters", &top.parameters},
        {"dtype", &top.dtype},
        {"out_dtype", &top.out_dtype},
        {"tokenizer_source", &top.tokenizer_source},
        {"tokenizer", &top.tokenizer},
        {"chat_template", &top.chat_template},
        {"name", &top.name},
    };
    struct tm_recipe *recipe = reader->recipe;

    if (!tm_reader_map(reader, root, "the recipe", keys,
                       sizeof(keys) / sizeof(keys[0])))
        return;
    if (top.name != NULL)
        recipe->name = tm_reader_text(reader, top.name, "'name'");
    if (recipe->name != NULL)
        recipe->name = tm_reader_copy(reader, recipe->name);
    read_method(reader, top.merge_method, root->place);
    read_dtype(reader, top.dtype, "'dtype'");
    read_dtype(reader, top.out_dtype, "'out_dtype'");
    read_base(reader, top.base_model);
    tm_reader_level(reader, top.parameters, false, &recipe->level);
    read_models(reader, &top, root->place);
    take_columns(reader);
    tm_reader_tokenizer(reader, top.tokenizer_source, top.tokenizer);
    tm_reader_chat_template(reader, top.chat_template);
}
