/* SPDX-License-Identifier: Apache-2.0 */
/* plan_match: see plan_match.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/plan_match.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Problems of one model that are listed one by one; the rest are counted. A
 * wrong model differs in every tensor.
 */
#define MAX_LISTED 20

/* Whether the next problem should be listed. */
static bool list_next(struct tm_problems *problems)
{
    return ++problems->count <= MAX_LISTED;
}

static void finish_problems(const struct tm_problems *problems)
{
    if (problems->count > MAX_LISTED)
        tm_error(TM_BAD_DATA, "%s: and %zu problems more", problems->path,
                 problems->count - MAX_LISTED);
}

const char *tm_shape_text(struct tm_arena *arena, unsigned ndim,
                          const uint64_t *shape)
{
    char text[TM_MAX_SHAPE_TEXT];
    size_t length = 0;
    const char *copy;

    text[length++] = '[';
    for (unsigned i = 0; i < ndim; i++)
        length +=
            (size_t)snprintf(text + length, sizeof(text) - length, "%s%llu",
                             i > 0 ? ", " : "", (unsigned long long)shape[i]);
    text[length++] = ']';
    copy = tm_arena_copy(arena, text, length);
    return copy != NULL ? copy : "?";
}

/* --- looking -------------------------------------------------------------*/

/*
 * The tensor of that name. Most checkpoints of a family have their tensors
 * in one order: `next`, the one after the last found, is the first guess.
 */
static const struct tm_tensor *
find_by_name(const struct tm_checkpoint *checkpoint, const char *name,
             size_t *next)
{
    const struct tm_tensor *tensor = NULL;

    if (*next < checkpoint->num_tensors &&
        strcmp(checkpoint->tensors[*next].name, name) == 0)
        tensor = &checkpoint->tensors[*next];
    else
        tensor = tm_checkpoint_get(checkpoint, name);
    if (tensor != NULL)
        *next = (size_t)(tensor - checkpoint->tensors) + 1;
    return tensor;
}

/*
 * The tensor of a stored vector that is called `name` where it was made: by
 * what it was made against, which may have another name there.
 */
static const struct tm_tensor *find_stored(const struct tm_opening *opening,
                                           const char *name)
{
    const struct tm_checkpoint *base = &opening->plan->base;
    const struct tm_checkpoint *tuned = &opening->stored->tuned;
    const struct tm_tensor *own = tm_checkpoint_get(base, name);
    const uint32_t found =
        own != NULL ? opening->tensors[own - base->tensors] : 0;
    const struct tm_tensor *tensor;

    if (found > 0)
        return &tuned->tensors[found - 1];
    tensor = tm_checkpoint_get(tuned, name);
    return tensor != NULL &&
                   opening->map[tensor - tuned->tensors] == TM_NO_TENSOR
               ? tensor
               : NULL;
}

/* The model's tensor that goes with number `t` of the output, or NULL. */
static const struct tm_tensor *find(const struct tm_opening *opening, size_t t,
                                    const struct tm_part_source *part,
                                    size_t *next)
{
    const struct tm_listing *l = opening->listing;
    const struct tm_tensor *lender = opening->lender;
    const char *name =
        tm_list_own_name(opening->plan, l, t, part, opening->name);
    const struct tm_tensor *tensor = NULL;

    if (name != NULL)
        tensor = opening->stored != NULL
                     ? find_stored(opening, name)
                     : find_by_name(&opening->checkpoint, name, next);
    if (tensor != NULL || !l->items[t].is_head || lender == NULL)
        return tensor;
    if (l->items[t].is_known) {
        const struct tm_plan_tensor *own = &opening->plan->tensors[t];
        const struct tm_tensor like = {.shape = own->shape, .ndim = own->ndim};

        if (!tm_same_shape(lender, &like))
            return NULL;
    }
    return lender;
}

/* Where the bytes of `tensor` are. */
static struct tm_source source_of(const struct tm_opening *opening,
                                  const struct tm_tensor *tensor)
{
    struct tm_source source = tm_plan_raw(tensor, opening->first);

    if (opening->stored != NULL) {
        source.is_coded = true;
        source.offset = opening->first_coded +
                        (uint64_t)(tensor - opening->stored->tuned.tensors);
    }
    return source;
}

/* --- preparing -----------------------------------------------------------*/

/* Tensors whose shape no input has given yet take this model's. */
static enum tm_status adopt(struct tm_opening *opening)
{
    struct tm_plan *plan = opening->plan;
    size_t next = 0;

    for (size_t t = 0; t < plan->num_tensors; t++) {
        struct tm_plan_tensor *tensor = &plan->tensors[t];
        struct tm_item *item = &opening->listing->items[t];
        const struct tm_part_source *part =
            tm_list_part(opening->listing, t, opening->column);
        const struct tm_tensor *from;
        uint64_t *shape;

        if (item->is_known || part == NULL)
            continue;
        from = find(opening, t, part, &next);
        if (from == NULL)
            continue;
        shape =
            tm_arena_alloc(&plan->arena, (from->ndim + 1U) * sizeof(*shape));
        tensor->dtype_name = tm_arena_copy(&plan->arena, from->dtype_name,
                                           strlen(from->dtype_name));
        if (shape == NULL || tensor->dtype_name == NULL)
            return tm_no_memory();
        if (from->ndim > 0)
            memcpy(shape, from->shape, from->ndim * sizeof(*shape));
        tensor->shape = shape;
        tensor->ndim = from->ndim;
        tensor->elements = from->elements;
        tensor->bytes = from->bytes;
        tensor->dtype = from->dtype;
        item->is_known = true;
    }
    return TM_OK;
}

/* Names the head that only vectors have, if this one has it. */
static enum tm_status name_head(struct tm_opening *opening)
{
    struct tm_plan *plan = opening->plan;
    struct tm_listing *l = opening->listing;
    const size_t head = l->new_head;
    const struct tm_checkpoint *model = tm_match_model(opening);

    if (head == SIZE_MAX || plan->tensors[head].name != NULL ||
        tm_list_part(l, head, opening->column) == NULL)
        return TM_OK;
    for (size_t t = 0; t < model->num_tensors; t++) {
        const struct tm_tensor *tensor = &model->tensors[t];
        const struct tm_tensor *like =
            &plan->base.tensors[plan->tensors[head].like];

        if (!tm_list_is_head(tensor->name) || !tm_same_shape(tensor, like))
            continue;
        plan->tensors[head].name =
            tm_arena_copy(&plan->arena, tensor->name, strlen(tensor->name));
        return plan->tensors[head].name != NULL ? TM_OK : tm_no_memory();
    }
    return TM_OK;
}

/* Notes which heads the model has itself. */
static void look_for_heads(struct tm_opening *opening)
{
    struct tm_listing *l = opening->listing;
    size_t next = 0;

    for (size_t t = 0; t < opening->plan->num_tensors; t++) {
        const struct tm_part_source *part = tm_list_part(l, t, opening->column);

        if (l->items[t].is_head && !l->items[t].has_head && part != NULL &&
            find(opening, t, part, &next) != NULL)
            l->items[t].has_head = true;
    }
}

enum tm_status tm_match_prepare(struct tm_opening *opening)
{
    const struct tm_checkpoint *model = tm_match_model(opening);
    struct tm_listing *l = opening->listing;
    enum tm_status status = TM_OK;

    opening->is_matched =
        calloc(model->num_tensors + 1, sizeof(*opening->is_matched));
    opening->name = malloc(tm_list_room(l));
    if (opening->is_matched == NULL || opening->name == NULL)
        return tm_no_memory();
    if (l->is_sliced)
        status = tm_list_check_ranges(opening->plan, l, opening->column, model);
    if (status == TM_OK)
        status = name_head(opening);
    look_for_heads(opening);
    opening->lender = tm_list_lender(model);
    if (status == TM_OK && l->is_sliced)
        status = adopt(opening);
    return status;
}

/* --- the column ----------------------------------------------------------*/

/* Whose shape it is that the others must have. */
static const char *first_input(const struct tm_opening *opening)
{
    return opening->plan->recipe->has_base ? "the base" : "the first model";
}

/* Reports another shape than that of the first input. */
static void other_shape(struct tm_opening *opening, size_t t,
                        const struct tm_tensor *tensor)
{
    const struct tm_plan_tensor *own = &opening->plan->tensors[t];
    const bool is_vocabulary = (tm_list_is_embedding(own->name) ||
                                opening->listing->items[t].is_head) &&
                               own->ndim == 2 && tensor->ndim == 2 &&
                               own->shape[1] == tensor->shape[1];
    struct tm_arena arena = {0};

    if (list_next(&opening->problems))
        tm_error(
            TM_BAD_DATA, "%s: tensor '%s': has shape %s, %s %s%s",
            tm_match_model(opening)->shards[tensor->shard].path, tensor->name,
            tm_shape_text(&arena, tensor->ndim, tensor->shape),
            first_input(opening), tm_shape_text(&arena, own->ndim, own->shape),
            is_vocabulary ? ": to merge different vocabularies would need "
                            "`tokenizer: union`, which is not done yet"
                          : "");
    tm_arena_free(&arena);
}

/* Whether `tensor` can be merged into number `t` of the output. */
static bool fits(struct tm_opening *opening, size_t t,
                 const struct tm_tensor *tensor)
{
    const struct tm_plan_tensor *own = &opening->plan->tensors[t];
    const struct tm_tensor like = {.shape = own->shape, .ndim = own->ndim};

    if (!tm_same_shape(tensor, &like)) {
        other_shape(opening, t, tensor);
        return false;
    }
    if (strcmp(tensor->dtype_name, own->dtype_name) == 0 ||
        (tm_dtype_is_float((enum tm_dtype)tensor->dtype) &&
         tm_dtype_is_float((enum tm_dtype)own->dtype)))
        if (tensor->dtype != TM_OPAQUE || tensor->bytes == own->bytes)
            return true;
    if (list_next(&opening->problems))
        tm_error(TM_BAD_DATA,
                 "%s: tensor '%s': has %llu bytes of type %s, %s %llu of %s: "
                 "they cannot be merged",
                 tm_match_model(opening)->shards[tensor->shard].path,
                 tensor->name, (unsigned long long)tensor->bytes,
                 tensor->dtype_name, first_input(opening),
                 (unsigned long long)own->bytes, own->dtype_name);
    return false;
}

static void is_missing(struct tm_opening *opening, size_t t,
                       const struct tm_part_source *part)
{
    if (opening->listing->items[t].is_new ||
        opening->plan->recipe->allow_missing || !list_next(&opening->problems))
        return; /* a new head: tm_list_heads, when it is known to be one */
    tm_error(TM_BAD_DATA,
             "%s: has no tensor '%s' (--allow-missing takes it for unchanged)",
             tm_match_model(opening)->path,
             tm_list_own_name(opening->plan, opening->listing, t, part,
                              opening->name));
}

enum tm_status tm_match_column(struct tm_opening *opening)
{
    struct tm_plan *plan = opening->plan;
    const struct tm_checkpoint *model = tm_match_model(opening);
    size_t next = 0;

    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_part_source *part =
            tm_list_part(opening->listing, t, opening->column);
        const struct tm_tensor *tensor;

        if (part == NULL)
            continue;
        tensor = find(opening, t, part, &next);
        if (tensor == NULL) {
            is_missing(opening, t, part);
            continue;
        }
        if (!opening->is_matched[tensor - model->tensors])
            opening->matched++;
        opening->is_matched[tensor - model->tensors] = true;
        if (fits(opening, t, tensor))
            plan->sources[t * plan->width + opening->column] =
                source_of(opening, tensor);
    }
    return TM_OK;
}

/* --- the rest ------------------------------------------------------------*/

/*
 * Whether a layer of the model is one that no slice has, in the stack that is
 * sliced.
 */
static bool is_unused_layer(const struct tm_opening *opening, const char *name)
{
    const struct tm_listing *l = opening->listing;
    struct tm_layer layer;

    if (!tm_layer_find(name, &layer))
        return false;
    for (size_t m = 0; m < l->num_regions; m++) {
        const struct tm_region *region = &l->regions[m];

        if (!region->module->is_sliced ||
            !tm_stack_has(&l->stacks.stacks[region->stack], name, &layer))
            continue;
        for (size_t s = 0; s < region->module->num_slices; s++) {
            const struct tm_part_source *part =
                l->shares[region->first + s].of[opening->column];

            if (part != NULL && layer.number >= part->begin &&
                layer.number < part->end)
                return false;
        }
        return true;
    }
    return false;
}

/* Whether tensor `t` of the model goes with none of the base's. */
static bool is_extra(const struct tm_opening *opening, size_t t)
{
    const char *name = tm_match_model(opening)->tensors[t].name;
    const struct tm_listing *l = opening->listing;

    if (opening->is_matched[t] ||
        (opening->stored != NULL &&
         opening->stored->coded[t].state != TM_ALONE) ||
        tm_checkpoint_get(&opening->plan->base, name) != NULL)
        return false;
    if (!l->is_sliced)
        return true;
    return !is_unused_layer(opening, name) &&
           !(l->new_head != SIZE_MAX && tm_list_is_head(name));
}

/* Notes a tensor that the base lacks, or reports it. */
static void extra_tensor(struct tm_opening *opening,
                         const struct tm_tensor *tensor)
{
    struct tm_plan *plan = opening->plan;
    struct tm_extra *extra;

    if (!plan->recipe->allow_extra) {
        if (list_next(&opening->problems))
            tm_error(TM_BAD_DATA,
                     "%s: tensor '%s': %s has no such tensor (--allow-extra "
                     "leaves it out)",
                     tm_match_model(opening)->shards[tensor->shard].path,
                     tensor->name, first_input(opening));
        return;
    }
    extra = tm_arena_alloc(&plan->arena, sizeof(*extra));
    if (extra == NULL ||
        (extra->name = tm_arena_copy(&plan->arena, tensor->name,
                                     strlen(tensor->name))) == NULL) {
        tm_no_memory();
        opening->problems.count++;
        return;
    }
    extra->vector = opening->column - 1;
    extra->next = plan->extras;
    plan->extras = extra;
}

enum tm_status tm_match_rest(struct tm_opening *opening)
{
    const struct tm_checkpoint *model = tm_match_model(opening);
    const struct tm_listing *l = opening->listing;
    bool is_input = false;

    for (size_t i = 0; i < l->num_shares; i++)
        is_input = is_input || l->shares[i].of[opening->column] != NULL;
    for (size_t t = 0; t < model->num_tensors && is_input &&
                       opening->matched < model->num_tensors;
         t++)
        if (is_extra(opening, t))
            extra_tensor(opening, &model->tensors[t]);
    finish_problems(&opening->problems);
    return opening->problems.count > 0 ? TM_BAD_DATA : TM_OK;
}

void tm_match_free(struct tm_opening *opening)
{
    tm_checkpoint_close(&opening->checkpoint);
    free(opening->tensors);
    free(opening->map);
    free(opening->is_matched);
    free(opening->name);
}
