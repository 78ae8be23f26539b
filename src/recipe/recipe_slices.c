/* SPDX-License-Identifier: Apache-2.0 */
/* recipe_slices: models, slices and modules; see recipe_reader.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "src/recipe/recipe_reader.h"

/* A member of `models` or of `sources`. */
struct member {
    const struct tm_yaml_node *model, *layer_range, *parameters;
};

/* Whether the base is no input of the method. */
static bool base_is_apart(const struct tm_recipe *recipe)
{
    return recipe->method == NULL || recipe->method->base != TM_BASE_IS_INPUT;
}

/* --- sources -------------------------------------------------------------*/

/* [begin, end] */
static void read_range(struct tm_reader *reader,
                       const struct tm_yaml_node *node,
                       struct tm_part_source *source)
{
    if (node->kind != TM_YAML_LIST || node->count != 2) {
        tm_reader_error(reader, node->place,
                        "'layer_range' is not of the form [BEGIN, END]");
        return;
    }
    if (!tm_reader_whole(reader, node->first->value, "'layer_range'",
                         &source->begin) ||
        !tm_reader_whole(reader, node->first->next->value, "'layer_range'",
                         &source->end))
        return;
    source->has_range = true;
    if (source->end < source->begin)
        tm_reader_error(reader, node->place,
                        "'layer_range' ends before it begins");
}

static bool read_member(struct tm_reader *reader,
                        const struct tm_yaml_node *node, bool is_sliced,
                        struct member *member)
{
    const struct tm_reader_key keys[] = {{"model", &member->model},
                                         {"parameters", &member->parameters},
                                         {"layer_range", &member->layer_range}};

    if (!tm_reader_map(reader, node, is_sliced ? "the source" : "the model",
                       keys, is_sliced ? 3 : 2))
        return false;
    if (member->model == NULL)
        tm_reader_error(reader, node->place, "there is no 'model'");
    return member->model != NULL;
}

/* The column of a member, which may be in a slice once; TM_NO_MODEL: not. */
static uint32_t read_column(struct tm_reader *reader,
                            const struct tm_yaml_node *node)
{
    const uint32_t column = tm_reader_model(reader, node);

    if (column == TM_NO_MODEL)
        return column;
    if (reader->last_slice[column] == reader->num_slices) {
        tm_reader_error(reader, node->place, "model '%s' is listed twice",
                        reader->columns[column].name);
        return TM_NO_MODEL;
    }
    reader->last_slice[column] = reader->num_slices;
    return column;
}

/* The base of the merge beside whose differences nothing of it is taken. */
static bool is_left_out(const struct tm_reader *reader, uint32_t column)
{
    const struct tm_recipe *recipe = reader->recipe;

    return column == 0 && recipe->has_base && base_is_apart(recipe);
}

/* Adds the member to the slice, or leaves it out. */
static void read_source(struct tm_reader *reader,
                        const struct tm_yaml_node *node, bool is_sliced,
                        struct tm_slice *slice)
{
    struct tm_part_source *source = &slice->sources[slice->num_sources];
    struct member member = {0};

    *source = (struct tm_part_source){.place = node->place};
    if (!read_member(reader, node, is_sliced, &member))
        return;
    source->model = read_column(reader, member.model);
    source->place = member.model->place;
    if (source->model == TM_NO_MODEL)
        return;
    if (!is_sliced && is_left_out(reader, source->model))
        return;
    slice->num_sources++;
    /* What is said of a base that is no input is of no use. */
    if (source->model != tm_reader_base(reader->recipe, slice) ||
        !base_is_apart(reader->recipe))
        tm_reader_level(reader, member.parameters, true, &source->level);
    if (!is_sliced)
        return;
    if (member.layer_range != NULL)
        read_range(reader, member.layer_range, source);
    else
        tm_reader_error(reader, node->place, "there is no 'layer_range'");
}

/* Reads the list of models or sources; `node` may be NULL. */
static void read_sources(struct tm_reader *reader,
                         const struct tm_yaml_node *node, const char *what,
                         bool is_sliced, struct tm_slice *slice)
{
    if (node == NULL || node->kind != TM_YAML_LIST) {
        tm_reader_error(reader, node != NULL ? node->place : slice->place,
                        "'%s' is no list", what);
        return;
    }
    /* One more: the base may be added. */
    slice->sources =
        tm_reader_alloc(reader, node->count + 1, sizeof(*slice->sources));
    if (slice->sources == NULL)
        return;
    reader->num_slices++;
    for (const struct tm_yaml_item *item = node->first;
         item != NULL && tm_reader_goes_on(reader); item = item->next)
        read_source(reader, item->value, is_sliced, slice);
}

/* --- slices --------------------------------------------------------------*/

/* An input that `models` does not list, as mergekit takes it. */
static void add_base(struct tm_reader *reader, struct tm_slice *slice)
{
    const struct tm_recipe *recipe = reader->recipe;

    if (!recipe->has_base || base_is_apart(recipe) || slice->sources == NULL ||
        reader->models.count == 0 ||
        reader->last_slice[0] == reader->num_slices)
        return;
    slice->sources[slice->num_sources++] =
        (struct tm_part_source){.model = 0, .place = reader->columns[0].place};
}

static void check_lengths(struct tm_reader *reader,
                          const struct tm_slice *slice)
{
    const struct tm_part_source *first = slice->sources;

    for (size_t i = 1; i < slice->num_sources; i++) {
        const struct tm_part_source *source = &slice->sources[i];

        if (!first->has_range || !source->has_range ||
            source->end - source->begin == first->end - first->begin)
            continue;
        tm_reader_error(reader, source->place,
                        "%llu layers, where the first source of the slice "
                        "has %llu",
                        (unsigned long long)(source->end - source->begin),
                        (unsigned long long)(first->end - first->begin));
    }
}

/* The base of a slice of its own; one that is an input is none. */
static void read_slice_base(struct tm_reader *reader,
                            const struct tm_yaml_node *node,
                            struct tm_slice *slice)
{
    if (node == NULL)
        return;
    if (base_is_apart(reader->recipe))
        slice->base = tm_reader_model(reader, node);
    else
        tm_reader_warning(reader, node->place,
                          "'base_model' of a slice has no effect on %s",
                          reader->recipe->method->name);
}

/*
 * Columns are numbered in the order of the text, in which the base of a slice
 * may stand before or behind its sources: of a model that is both, and it has
 * to be, the source counts.
 */
static void number_models(struct tm_reader *reader,
                          const struct tm_yaml_node *sources)
{
    const struct tm_yaml_node *model = NULL;

    if (reader->models.count > 0 || sources == NULL ||
        sources->kind != TM_YAML_LIST || sources->first == NULL)
        return;
    model = tm_yaml_get(sources->first->value, "model");
    if (!tm_yaml_is_null(model))
        tm_reader_model(reader, model);
}

static void read_slice(struct tm_reader *reader,
                       const struct tm_yaml_node *node,
                       struct tm_module *module)
{
    const struct tm_yaml_node *sources = NULL, *base = NULL, *weight = NULL,
                              *parameters = NULL;
    const struct tm_reader_key keys[] = {{"sources", &sources},
                                         {"base_model", &base},
                                         {"parameters", &parameters},
                                         {"residual_weight", &weight}};
    struct tm_slice *slice = &module->slices[module->num_slices++];

    *slice = (struct tm_slice){.base = TM_NO_MODEL, .place = node->place};
    if (!tm_reader_map(reader, node, "the slice", keys, 4))
        return;
    if (weight != NULL)
        tm_reader_warning(reader, weight->place,
                          "'residual_weight' has no effect");
    tm_reader_level(reader, parameters, false, &slice->level);
    if (base != NULL)
        number_models(reader, sources);
    read_slice_base(reader, base, slice);
    read_sources(reader, sources, "sources", true, slice);
    check_lengths(reader, slice);
    tm_reader_check(reader, module, slice);
}

static void read_slices(struct tm_reader *reader,
                        const struct tm_yaml_node *node,
                        struct tm_module *module)
{
    if (node->kind != TM_YAML_LIST || node->count == 0) {
        tm_reader_error(reader, node->place, "'slices' is no list of slices");
        return;
    }
    module->is_sliced = true;
    module->slices =
        tm_reader_alloc(reader, node->count, sizeof(*module->slices));
    if (module->slices == NULL)
        return;
    for (const struct tm_yaml_item *item = node->first;
         item != NULL && tm_reader_goes_on(reader); item = item->next)
        read_slice(reader, item->value, module);
}

/* `models` is one slice of all layers. */
static void read_models(struct tm_reader *reader,
                        const struct tm_yaml_node *node,
                        struct tm_module *module)
{
    struct tm_slice *slice = tm_reader_alloc(reader, 1, sizeof(*slice));

    if (slice == NULL)
        return;
    *slice = (struct tm_slice){.base = TM_NO_MODEL, .place = node->place};
    module->slices = slice;
    module->num_slices = 1;
    read_sources(reader, node, "models", false, slice);
    add_base(reader, slice);
    tm_reader_check(reader, module, slice);
}

/* --- modules -------------------------------------------------------------*/

void tm_reader_module(struct tm_reader *reader,
                      const struct tm_reader_models *models,
                      struct tm_module *module)
{
    if (models->slices != NULL)
        read_slices(reader, models->slices, module);
    else
        read_models(reader, models->models, module);
}

static void read_module(struct tm_reader *reader,
                        const struct tm_yaml_item *item,
                        struct tm_module *module)
{
    struct tm_reader_models models = {0};
    const struct tm_yaml_node *parameters = NULL;
    const struct tm_reader_key keys[] = {{"models", &models.models},
                                         {"slices", &models.slices},
                                         {"parameters", &parameters}};

    module->name = tm_reader_copy(reader, item->key->text);
    module->place = item->key->place;
    if (module->name == NULL ||
        !tm_reader_map(reader, item->value, "the module", keys, 3))
        return;
    if ((models.models != NULL) == (models.slices != NULL)) {
        tm_reader_error(reader, module->place,
                        "module '%s' has not exactly one of 'models' and "
                        "'slices'",
                        module->name);
        return;
    }
    tm_reader_level(reader, parameters, false, &module->level);
    tm_reader_module(reader, &models, module);
}

void tm_reader_modules(struct tm_reader *reader,
                       const struct tm_yaml_node *modules)
{
    struct tm_recipe *recipe = reader->recipe;

    if (modules->kind != TM_YAML_MAP || modules->count == 0) {
        tm_reader_error(reader, modules->place,
                        "'modules' is no mapping of modules");
        return;
    }
    recipe->modules =
        tm_reader_alloc(reader, modules->count, sizeof(*recipe->modules));
    if (recipe->modules == NULL)
        return;
    for (const struct tm_yaml_item *item = modules->first;
         item != NULL && tm_reader_goes_on(reader); item = item->next)
        read_module(reader, item, &recipe->modules[recipe->num_modules++]);
}
