/* SPDX-License-Identifier: Apache-2.0 */
/* plan_list: see plan_list.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/plan_list.h"

#include <stdlib.h>
#include <string.h>

#include "io/path.h"

/* --- names ---------------------------------------------------------------*/

/* What the embedding is called that a head may share its numbers with. */
static const char *const lenders[] = {
    "embed_tokens.weight",
    "wte.weight",
    "embed_in.weight",
    "word_embeddings.weight",
};

#define NUM_LENDERS (sizeof(lenders) / sizeof(*lenders))

/* Whether the last components of `name` are `end`. */
static bool ends_in(const char *name, const char *end)
{
    return strcmp(name, end) == 0 ||
           (tm_path_ends_with(name, end) &&
            name[strlen(name) - strlen(end) - 1] == '.');
}

bool tm_list_is_head(const char *name)
{
    return ends_in(name, "lm_head.weight");
}

bool tm_list_is_embedding(const char *name)
{
    return strstr(name, "embed") != NULL || strstr(name, "embd") != NULL ||
           strstr(name, "wte") != NULL || strstr(name, "wpe") != NULL;
}

const struct tm_tensor *tm_list_lender(const struct tm_checkpoint *model)
{
    const struct tm_tensor *found = NULL;

    for (size_t t = 0; t < model->num_tensors; t++)
        for (size_t i = 0; i < NUM_LENDERS; i++) {
            if (!ends_in(model->tensors[t].name, lenders[i]))
                continue;
            if (found != NULL)
                return NULL;
            found = &model->tensors[t];
        }
    return found;
}

size_t tm_list_room(const struct tm_listing *listing)
{
    return listing->longest + TM_LAYER_ROOM;
}

const char *tm_list_own_name(const struct tm_plan *plan,
                             const struct tm_listing *listing, size_t t,
                             const struct tm_part_source *part, char *buffer)
{
    const struct tm_item *item = &listing->items[t];
    struct tm_layer layer;
    const char *name;

    if (!item->is_layer)
        return plan->tensors[t].name;
    name = plan->base.tensors[plan->tensors[t].like].name;
    if (!tm_layer_find(name, &layer) ||
        !tm_layer_print(buffer, tm_list_room(listing), name, &layer,
                        part->begin + item->step))
        return name;
    return buffer;
}

/* --- the list ------------------------------------------------------------*/

/* One more tensor, like number `like` of the base. NULL: no memory. */
static struct tm_item *add(struct tm_plan *plan, struct tm_listing *l,
                           size_t share, size_t like)
{
    const struct tm_tensor *from = &plan->base.tensors[like];
    struct tm_item *item;

    if (plan->num_tensors == l->capacity) {
        const size_t capacity = l->capacity + l->capacity / 2 + 64;
        struct tm_plan_tensor *tensors =
            realloc(plan->tensors, capacity * sizeof(*tensors));

        if (tensors == NULL)
            return NULL;
        plan->tensors = tensors;
        item = realloc(l->items, capacity * sizeof(*item));
        if (item == NULL)
            return NULL;
        l->items = item;
        l->capacity = capacity;
    }
    plan->tensors[plan->num_tensors] = (struct tm_plan_tensor){
        .name = from->name,
        .dtype_name = from->dtype_name,
        .shape = from->shape,
        .elements = from->elements,
        .bytes = from->bytes,
        .like = (uint32_t)like,
        .ndim = from->ndim,
        .dtype = from->dtype,
    };
    item = &l->items[plan->num_tensors++];
    *item = (struct tm_item){
        .share = (uint32_t)share,
        .base = TM_NO_TENSOR,
        .position = -1,
        .is_head = tm_list_is_head(from->name),
    };
    return item;
}

/* The base's tensor `t` as it is, with the first or last slice's sources. */
static enum tm_status add_whole(struct tm_plan *plan, struct tm_listing *l,
                                size_t share, size_t t)
{
    struct tm_item *item = add(plan, l, share, t);
    const uint32_t stack = l->stacks.of[t];
    struct tm_layer layer;

    if (item == NULL)
        return tm_no_memory();
    if (stack != TM_NO_STACK &&
        tm_layer_find(plan->base.tensors[t].name, &layer)) {
        const uint64_t depth = l->stacks.stacks[stack].depth;

        item->position =
            depth > 1 ? (double)layer.number / (double)(depth - 1) : 1;
    }
    return TM_OK;
}

/* A tensor of the stack that is sliced. */
struct layered {
    uint64_t number; /* of its layer */
    size_t tensor;
};

static int by_layer(const void *a, const void *b)
{
    const struct layered *x = a, *y = b;

    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* The stack's tensors, layer by layer; *count of them. NULL: no memory. */
static struct layered *sort_layers(const struct tm_plan *plan,
                                   const struct tm_listing *l, uint32_t stack,
                                   size_t *count)
{
    struct layered *all = calloc(plan->base.num_tensors + 1, sizeof(*all));

    *count = 0;
    for (size_t t = 0; t < plan->base.num_tensors && all != NULL; t++) {
        struct tm_layer layer;

        if (l->stacks.of[t] != stack ||
            !tm_layer_find(plan->base.tensors[t].name, &layer))
            continue;
        all[(*count)++] = (struct layered){layer.number, t};
    }
    if (all != NULL)
        qsort(all, *count, sizeof(*all), by_layer);
    return all;
}

/* The first tensor of a layer, or of the one after it. */
static size_t find_layer(const struct layered *all, size_t count,
                         uint64_t number)
{
    size_t low = 0, high = count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (all[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A module in the making. */
struct slicing {
    struct tm_plan *plan;
    struct tm_listing *listing;
    const struct tm_region *region;
    struct layered *layers;
    size_t count;
    uint64_t next; /* layer of the output */
};

/* Adds layer `step` of a slice, under its new number. */
static enum tm_status add_layer(struct slicing *s, size_t share, uint64_t step)
{
    const struct tm_share *of = &s->listing->shares[share];
    const uint64_t last = s->listing->stacks.stacks[s->region->stack].depth - 1;
    uint64_t number =
        (of->of[0] != NULL ? of->of[0] : of->sources[0])->begin + step;
    size_t i;

    if (number > last)
        number = last; /* of a model that column 0 is no source beside */
    i = find_layer(s->layers, s->count, number);
    if (i == s->count || s->layers[i].number != number)
        return tm_error(TM_BAD_DATA, "%s: layer %llu has no tensors",
                        s->plan->base.path, (unsigned long long)number);
    for (; i < s->count && s->layers[i].number == number; i++) {
        struct tm_item *item =
            add(s->plan, s->listing, share, s->layers[i].tensor);
        struct tm_plan_tensor *tensor;
        struct tm_layer layer = {0};

        if (item == NULL)
            return tm_no_memory();
        tensor = &s->plan->tensors[s->plan->num_tensors - 1];
        tm_layer_find(tensor->name, &layer);
        tensor->name =
            tm_layer_rename(&s->plan->arena, tensor->name, &layer, s->next);
        if (tensor->name == NULL)
            return tm_no_memory();
        item->is_layer = true;
        item->step = step;
        item->position =
            of->layers > 1 ? (double)step / (double)(of->layers - 1) : 1;
    }
    s->next++;
    return TM_OK;
}

/*
 * Those of a sliced module that are in no slice: with `front` embeddings and
 * stacks that are whole, else the rest.
 */
static enum tm_status add_around(struct slicing *s, bool front)
{
    struct tm_listing *l = s->listing;
    const size_t m = (size_t)(s->region - l->regions);
    const size_t share =
        s->region->first + (front ? 0 : s->region->module->num_slices - 1);
    enum tm_status status = TM_OK;

    for (size_t t = 0; t < s->plan->base.num_tensors && status == TM_OK; t++) {
        const bool is_front =
            l->stacks.of[t] != TM_NO_STACK ||
            tm_list_is_embedding(s->plan->base.tensors[t].name);

        if (l->region_of[t] == m && l->stacks.of[t] != s->region->stack &&
            is_front == front)
            status = add_whole(s->plan, l, share, t);
    }
    return status;
}

static enum tm_status add_sliced(struct tm_plan *plan, struct tm_listing *l,
                                 const struct tm_region *region)
{
    struct slicing s = {.plan = plan, .listing = l, .region = region};
    enum tm_status status;

    s.layers = sort_layers(plan, l, region->stack, &s.count);
    if (s.layers == NULL)
        return tm_no_memory();
    status = add_around(&s, true);
    for (size_t i = 0; i < region->module->num_slices; i++)
        for (uint64_t step = 0;
             step < l->shares[region->first + i].layers && status == TM_OK;
             step++)
            status = add_layer(&s, region->first + i, step);
    if (status == TM_OK)
        status = add_around(&s, false);
    free(s.layers);
    return status;
}

/* All tensors of the base, module by module where some are sliced. */
static enum tm_status add_all(struct tm_plan *plan, struct tm_listing *l)
{
    enum tm_status status = TM_OK;

    for (size_t t = 0; t < plan->base.num_tensors && !l->is_sliced; t++)
        if (add_whole(plan, l, l->regions[l->region_of[t]].first, t) != TM_OK)
            return TM_SYSTEM;
    for (size_t m = 0; m < l->num_regions && l->is_sliced; m++) {
        if (l->regions[m].module->is_sliced) {
            status = add_sliced(plan, l, &l->regions[m]);
            if (status != TM_OK)
                return status;
            continue;
        }
        for (size_t t = 0; t < plan->base.num_tensors; t++)
            if (l->region_of[t] == m &&
                add_whole(plan, l, l->regions[m].first, t) != TM_OK)
                return TM_SYSTEM;
    }
    return status;
}

/* --- heads ---------------------------------------------------------------*/

/*
 * Where column 0 has no head but an embedding, another input may have one:
 * the output then has it too, behind all else.
 */
static enum tm_status add_head(struct tm_plan *plan, struct tm_listing *l)
{
    const struct tm_tensor *lender = tm_list_lender(&plan->base);
    const struct tm_region *region;
    struct tm_item *item;
    size_t like;

    l->new_head = SIZE_MAX;
    for (size_t t = 0; t < plan->base.num_tensors; t++)
        if (tm_list_is_head(plan->base.tensors[t].name))
            return TM_OK;
    if (lender == NULL)
        return TM_OK;
    like = (size_t)(lender - plan->base.tensors);
    region = &l->regions[l->region_of[like]];
    item = add(plan, l, region->first + region->module->num_slices - 1, like);
    if (item == NULL)
        return tm_no_memory();
    item->is_head = item->is_new = true;
    l->new_head = plan->num_tensors - 1;
    plan->tensors[l->new_head].name = NULL;
    return TM_OK;
}

/* The head is there: whatever has no part in it lacks it. */
static enum tm_status check_head(const struct tm_plan *plan,
                                 const struct tm_listing *l, size_t t)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < plan->width; i++)
        if (tm_list_part(l, t, i) != NULL && !plan->recipe->allow_missing &&
            tm_plan_sources(plan, t)[i].file == TM_NO_FILE)
            status =
                tm_error(TM_BAD_DATA,
                         "%s: has no tensor '%s', nor an embedding in "
                         "its place (--allow-missing takes it for "
                         "unchanged)",
                         tm_model_name(plan->recipe, i), plan->tensors[t].name);
    return status;
}

/* Moves tensor `from` of the list to `to`. */
static void move(struct tm_plan *plan, struct tm_listing *l, size_t from,
                 size_t to)
{
    if (from == to)
        return;
    plan->tensors[to] = plan->tensors[from];
    l->items[to] = l->items[from];
    memcpy(&plan->sources[to * plan->width], &plan->sources[from * plan->width],
           plan->width * sizeof(*plan->sources));
}

enum tm_status tm_list_heads(struct tm_plan *plan, struct tm_listing *l)
{
    enum tm_status status = TM_OK;
    size_t kept = 0;

    for (size_t t = 0; t < plan->num_tensors; t++) {
        if (l->items[t].is_head && !l->items[t].has_head)
            continue;
        if (l->items[t].is_new && check_head(plan, l, t) != TM_OK)
            status = TM_BAD_DATA;
        move(plan, l, t, kept++);
    }
    plan->num_tensors = kept;
    return status;
}

/* --- column 0 ------------------------------------------------------------*/

/* Column 0's own sources. */
static enum tm_status bind_first(struct tm_plan *plan, struct tm_listing *l)
{
    uint32_t first;
    const enum tm_status status = tm_plan_add_files(plan, &plan->base, &first);

    plan->width = 1 + plan->recipe->num_vectors;
    plan->sources =
        calloc(plan->num_tensors * plan->width + 1, sizeof(*plan->sources));
    if (status == TM_OK && plan->sources == NULL)
        return tm_no_memory();
    if (status != TM_OK)
        return status;
    for (size_t i = 0; i < plan->num_tensors * plan->width; i++)
        plan->sources[i].file = TM_NO_FILE;
    for (size_t t = 0; t < plan->num_tensors; t++) {
        const uint32_t like = plan->tensors[t].like;
        struct tm_item *item = &l->items[t];

        if (tm_list_part(l, t, 0) == NULL)
            continue;
        item->base = like;
        item->is_known = true;
        item->has_head = item->is_head && !item->is_new;
        plan->sources[t * plan->width] =
            tm_plan_raw(&plan->base.tensors[like], first);
    }
    return TM_OK;
}

/* Gives back what the list grew too much. */
static void shrink(struct tm_plan *plan, struct tm_listing *l)
{
    struct tm_plan_tensor *tensors =
        realloc(plan->tensors, (plan->num_tensors + 1) * sizeof(*tensors));

    if (tensors != NULL)
        plan->tensors = tensors;
    l->capacity = plan->num_tensors;
}

enum tm_status tm_plan_list(struct tm_plan *plan, struct tm_disk *disk,
                            struct tm_listing *listing)
{
    enum tm_status status = tm_list_regions(plan, disk, listing);

    if (status == TM_OK)
        status = add_all(plan, listing);
    if (status == TM_OK)
        status = add_head(plan, listing);
    if (status != TM_OK)
        return status;
    shrink(plan, listing);
    status = bind_first(plan, listing);
    return status;
}

void tm_listing_free(struct tm_listing *listing)
{
    tm_stacks_free(&listing->stacks);
    free(listing->items);
    free(listing->shares);
    free(listing->regions);
    free(listing->region_of);
    free(listing->decodes_with);
    *listing = (struct tm_listing){0};
}
