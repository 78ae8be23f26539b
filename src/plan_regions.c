/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_regions: what the recipe's modules and slices come to for this base:
 * which tensors each takes, which stack of layers is sliced, and which models
 * are inputs of each slice. What can be told without the models was refused
 * when the recipe was read (src/recipe/recipe_file.h).
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/path.h"
#include "io/text.h"
#include "src/config_file.h"
#include "src/plan_list.h"
#include "src/recipe/place.h"

const char *tm_model_name(const struct tm_recipe *recipe, size_t column)
{
    if (column == 0)
        return recipe->base_name != NULL ? recipe->base_name : recipe->base;
    return recipe->vectors[column - 1].name != NULL
               ? recipe->vectors[column - 1].name
               : recipe->vectors[column - 1].path;
}

enum tm_status tm_recipe_error(const struct tm_recipe *recipe,
                               struct tm_place place, enum tm_status status,
                               const char *format, ...)
{
    va_list args;

    va_start(args, format);
    status = tm_place_verror(status, recipe->path, place, format, args);
    va_end(args);
    return status;
}

/* --- which module a tensor belongs to ------------------------------------*/

/* Whether the module takes what no other takes. */
static bool takes_rest(const struct tm_recipe *recipe,
                       const struct tm_module *module)
{
    return module->name == NULL || strcmp(module->name, "default") == 0 ||
           (recipe->num_modules > 1 &&
            strcmp(module->name, "text_decoder") == 0);
}

/*
 * Whether `part` is a component in front of the layer's number in `name`, or
 * of its last component where it has none.
 */
static bool has_part(const char *name, const char *part)
{
    const size_t length = strlen(part);
    struct tm_layer layer;
    const char *at = name, *dot;
    const char *end =
        tm_layer_find(name, &layer) ? name + layer.begin : strrchr(name, '.');

    while (end != NULL && at < end && (dot = strchr(at, '.')) != NULL) {
        if ((size_t)(dot - at) == length && memcmp(at, part, length) == 0)
            return true;
        at = dot + 1;
    }
    return false;
}

/* The module that takes `name`; TM_NO_TENSOR: none. */
static uint32_t region_of(const struct tm_recipe *recipe, const char *name)
{
    uint32_t rest = TM_NO_TENSOR;

    for (size_t m = 0; m < recipe->num_modules; m++) {
        const struct tm_module *module = &recipe->modules[m];

        if (takes_rest(recipe, module))
            rest = rest == TM_NO_TENSOR ? (uint32_t)m : rest;
        else if (has_part(name, module->name))
            return (uint32_t)m;
    }
    return rest;
}

/* Parts of the base that a module could be named after, as a list. */
static void name_parts(const struct tm_checkpoint *base, struct tm_text *text)
{
    enum { MOST = 8 };
    const char *seen[MOST];
    size_t lengths[MOST], count = 0;

    tm_text_append(text, "default", 7);
    for (size_t t = 0; t < base->num_tensors && count < MOST; t++) {
        const char *name = base->tensors[t].name;
        const size_t length = strcspn(name, ".");
        bool is_new = name[length] == '.';

        for (size_t i = 0; i < count; i++)
            if (lengths[i] == length && memcmp(seen[i], name, length) == 0)
                is_new = false;
        if (!is_new)
            continue;
        seen[count] = name;
        lengths[count++] = length;
        tm_text_append(text, ", ", 2);
        tm_text_append(text, name, length);
    }
}

static enum tm_status no_such_module(const struct tm_plan *plan,
                                     const struct tm_module *module)
{
    struct tm_text text = {0};
    enum tm_status status;

    name_parts(&plan->base, &text);
    status =
        tm_recipe_error(plan->recipe, module->place, TM_USAGE,
                        "module '%s': %s has no part of that name; it "
                        "has: %.*s",
                        module->name, tm_model_name(plan->recipe, 0),
                        (int)text.length, text.bytes != NULL ? text.bytes : "");
    free(text.bytes);
    return status;
}

static enum tm_status assign(struct tm_plan *plan, struct tm_listing *l)
{
    const struct tm_recipe *recipe = plan->recipe;
    enum tm_status status = TM_OK;
    const char *left = NULL;

    for (size_t t = 0; t < plan->base.num_tensors; t++) {
        const char *name = plan->base.tensors[t].name;
        const size_t length = strlen(name);

        l->region_of[t] = region_of(recipe, name);
        l->longest = length > l->longest ? length : l->longest;
        if (l->region_of[t] != TM_NO_TENSOR)
            l->regions[l->region_of[t]].tensors++;
        else if (left == NULL)
            left = name;
    }
    for (size_t m = 0; m < l->num_regions; m++)
        if (l->regions[m].tensors == 0 && plan->base.num_tensors > 0 &&
            !takes_rest(recipe, &recipe->modules[m]))
            status = no_such_module(plan, &recipe->modules[m]);
    if (status == TM_OK && left != NULL)
        status = tm_recipe_error(recipe, recipe->modules[0].place, TM_USAGE,
                                 "no module takes the tensor '%s' of %s: a "
                                 "module 'default' would",
                                 left, tm_model_name(recipe, 0));
    return status;
}

/* --- which stack is sliced -----------------------------------------------*/

/* How many layers the base says it has; 0: it does not. */
static enum tm_status config_layers(struct tm_plan *plan, struct tm_disk *disk,
                                    uint64_t *layers)
{
    struct tm_config config = {0};
    struct tm_arena arena = {0};
    enum tm_status status = TM_OK;
    struct stat st;
    const char *path;

    *layers = 0;
    if (plan->base.directory == NULL)
        return TM_OK;
    path = tm_path_join(&arena, plan->base.directory, "config.json");
    if (path == NULL)
        status = tm_no_memory();
    else if (stat(path, &st) == 0)
        status = tm_config_read(disk, path, &config);
    if (status == TM_OK && config.text != NULL &&
        !tm_config_layers(&config, layers))
        *layers = 0;
    tm_config_free(&config);
    tm_arena_free(&arena);
    return status;
}

/* Among the stacks of region `m`: the one of that depth, or the deepest. */
static uint32_t choose_stack(const struct tm_plan *plan,
                             const struct tm_listing *l, size_t m,
                             uint64_t layers)
{
    uint32_t best = TM_NO_STACK;

    for (size_t t = 0; t < plan->base.num_tensors; t++) {
        const uint32_t stack = l->stacks.of[t];
        uint64_t depth;

        if (stack == TM_NO_STACK || stack == best || l->region_of[t] != m)
            continue;
        depth = l->stacks.stacks[stack].depth;
        if (best == TM_NO_STACK ||
            (l->stacks.stacks[best].depth != layers &&
             (depth == layers || depth > l->stacks.stacks[best].depth)))
            best = stack;
    }
    return best;
}

/* Says which stacks of a sliced module are whole. */
static void note_whole_stacks(const struct tm_plan *plan,
                              const struct tm_listing *l, size_t m)
{
    uint32_t last = TM_NO_STACK;

    for (size_t t = 0; t < plan->base.num_tensors; t++) {
        const uint32_t stack = l->stacks.of[t];

        if (stack == TM_NO_STACK || stack == last || l->region_of[t] != m)
            continue;
        last = stack;
        if (stack != l->regions[m].stack)
            tm_note("%s: layers '%.*s...' are not sliced, '%.*s...' are",
                    plan->base.path, (int)l->stacks.stacks[stack].length,
                    l->stacks.stacks[stack].name,
                    (int)l->stacks.stacks[l->regions[m].stack].length,
                    l->stacks.stacks[l->regions[m].stack].name);
    }
}

/* Finds the stack that each sliced module slices, and how deep it becomes. */
static enum tm_status find_stacks(struct tm_plan *plan, struct tm_disk *disk,
                                  struct tm_listing *l)
{
    uint64_t layers;
    enum tm_status status = config_layers(plan, disk, &layers);
    bool is_main = false;

    for (size_t m = 0; m < l->num_regions && status == TM_OK; m++) {
        const struct tm_module *module = l->regions[m].module;
        uint64_t sum = 0;

        if (!module->is_sliced)
            continue;
        l->regions[m].stack = choose_stack(plan, l, m, layers);
        if (l->regions[m].stack == TM_NO_STACK)
            return tm_recipe_error(plan->recipe, module->place, TM_USAGE,
                                   "%s has no layers that could be sliced",
                                   tm_model_name(plan->recipe, 0));
        note_whole_stacks(plan, l, m);
        for (size_t s = 0; s < module->num_slices; s++)
            sum += l->shares[l->regions[m].first + s].layers;
        if (sum == 0)
            return tm_recipe_error(plan->recipe, module->place, TM_USAGE,
                                   "the slices have no layers");
        if (l->layers == 0 || !is_main)
            l->layers = sum;
        is_main =
            is_main || l->stacks.stacks[l->regions[m].stack].depth == layers;
    }
    return status;
}

enum tm_status tm_list_check_ranges(const struct tm_plan *plan,
                                    const struct tm_listing *l, size_t column,
                                    const struct tm_checkpoint *model)
{
    enum tm_status status = TM_OK;

    for (size_t m = 0; m < l->num_regions; m++) {
        const struct tm_region *region = &l->regions[m];
        uint64_t depth;

        if (!region->module->is_sliced)
            continue;
        depth = tm_stack_depth(&l->stacks.stacks[region->stack], model);
        for (size_t s = 0; s < region->module->num_slices; s++) {
            const struct tm_part_source *part =
                l->shares[region->first + s].of[column];

            if (part != NULL && part->end > depth)
                status = tm_recipe_error(
                    plan->recipe, part->place, TM_USAGE,
                    "layers %llu to %llu: %s has %llu layers, 0 to %llu",
                    (unsigned long long)part->begin,
                    (unsigned long long)part->end - 1,
                    tm_model_name(plan->recipe, column),
                    (unsigned long long)depth,
                    (unsigned long long)(depth > 0 ? depth - 1 : 0));
        }
    }
    return status;
}

/* --- shares --------------------------------------------------------------*/

/* The column that differences are taken from in `slice`, if there are any. */
static uint32_t base_of(const struct tm_recipe *recipe,
                        const struct tm_slice *slice)
{
    if (recipe->method->base == TM_BASE_IS_INPUT)
        return TM_NO_COLUMN;
    if (slice->base != TM_NO_MODEL)
        return slice->base;
    return recipe->has_base ? 0 : TM_NO_COLUMN;
}

/*
 * The base is an input of every slice that is all of the model, listed or
 * not; of layers it has to be said which.
 */
static void imply_base(const struct tm_recipe *recipe, struct tm_share *share)
{
    uint32_t column = share->slice->base;

    if (column == TM_NO_MODEL)
        column = recipe->has_base ? 0 : TM_NO_MODEL;
    if (share->module->is_sliced || column == TM_NO_MODEL ||
        share->of[column] != NULL)
        return;
    share->implied =
        (struct tm_part_source){.model = column, .place = recipe->base_place};
    share->of[column] = &share->implied;
    share->sources[share->num_sources++] = &share->implied;
}

static enum tm_status make_share(struct tm_plan *plan,
                                 const struct tm_module *module,
                                 const struct tm_slice *slice,
                                 struct tm_share *share)
{
    const struct tm_recipe *recipe = plan->recipe;
    const size_t room = (slice->num_sources + 1) * sizeof(*share->sources);
    const size_t width = (1 + recipe->num_vectors) * sizeof(*share->of);

    *share = (struct tm_share){
        .module = module,
        .slice = slice,
        .sources = tm_arena_alloc(&plan->arena, room),
        .of = tm_arena_alloc(&plan->arena, width),
        .base = base_of(recipe, slice),
    };
    if (share->sources == NULL || share->of == NULL)
        return tm_no_memory();
    memset(share->of, 0, width);
    for (size_t i = 0; i < slice->num_sources; i++) {
        const struct tm_part_source *part = &slice->sources[i];

        share->sources[share->num_sources++] = part;
        share->of[part->model] = part;
    }
    if (module->is_sliced)
        share->layers = slice->sources[0].end - slice->sources[0].begin;
    imply_base(recipe, share);
    return TM_OK;
}

static enum tm_status make_shares(struct tm_plan *plan, struct tm_listing *l)
{
    const struct tm_recipe *recipe = plan->recipe;
    enum tm_status status = TM_OK;

    for (size_t m = 0; m < recipe->num_modules; m++) {
        const struct tm_module *module = &recipe->modules[m];

        l->is_sliced = l->is_sliced || module->is_sliced;
        l->regions[l->num_regions++] = (struct tm_region){
            .module = module, .first = l->num_shares, .stack = TM_NO_STACK};
        for (size_t s = 0; s < module->num_slices; s++) {
            const enum tm_status own = make_share(
                plan, module, &module->slices[s], &l->shares[l->num_shares++]);

            status = own != TM_OK ? own : status;
        }
    }
    return status;
}

enum tm_status tm_list_regions(struct tm_plan *plan, struct tm_disk *disk,
                               struct tm_listing *l)
{
    const struct tm_recipe *recipe = plan->recipe;
    size_t shares = 0;
    enum tm_status status;

    for (size_t m = 0; m < recipe->num_modules; m++)
        shares += recipe->modules[m].num_slices;
    l->shares = calloc(shares + 1, sizeof(*l->shares));
    l->regions = calloc(recipe->num_modules + 1, sizeof(*l->regions));
    l->region_of = calloc(plan->base.num_tensors + 1, sizeof(*l->region_of));
    if (l->shares == NULL || l->regions == NULL || l->region_of == NULL)
        return tm_no_memory();
    status = make_shares(plan, l);
    if (status == TM_OK)
        status = tm_stacks_find(&plan->base, &l->stacks);
    if (status == TM_OK)
        status = assign(plan, l);
    if (status == TM_OK && l->is_sliced)
        status = find_stacks(plan, disk, l);
    if (status == TM_OK && l->is_sliced)
        status = tm_list_check_ranges(plan, l, 0, &plan->base);
    return status;
}
