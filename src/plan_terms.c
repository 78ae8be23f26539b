/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_terms: what is done with each tensor of the output, of what type it
 * is, and what its method has to go by.
 *
 * Tensors whose parameters are the same share one struct tm_terms: the last
 * few that were made are looked at first, so that a model of 100,000 tensors
 * needs few.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>

#include "src/plan_list.h"
#include "src/recipe/evaluate.h"

#define NUM_RECENT     16
#define MAX_COMPLAINTS 16

/* Reports of one kind that are listed one by one. */
#define MAX_LISTED 20

static const char no_part[] = "no vector has a part in it";
static const char no_float[] = "not a floating-point type that can be merged";
static const char as_it_is[] = "taken over from one model as it is";

struct making {
    struct tm_plan *plan;
    struct tm_listing *listing;
    const struct tm_method *method;
    size_t own; /* number of the method's first own parameter, or none */
    struct tm_terms *now; /* of the tensor at hand, room for all columns */
    const struct tm_terms *recent[NUM_RECENT];
    size_t num_made;
    char *name; /* room for one */
    const char *complaints[MAX_COMPLAINTS];
    size_t num_complaints;
    size_t problems;
    bool has_no_values; /* a parameter had none, which has been reported */
};

static size_t size_of(size_t count)
{
    return sizeof(struct tm_terms) + count * sizeof(struct tm_term);
}

/* The tensor's sources, to be changed. */
static struct tm_source *sources_of(const struct making *m, size_t t)
{
    return &m->plan->sources[t * m->plan->width];
}

static const struct tm_share *share_of(const struct making *m, size_t t)
{
    return &m->listing->shares[m->listing->items[t].share];
}

static bool is_there(const struct making *m, size_t t, uint32_t column)
{
    return column != TM_NO_COLUMN &&
           sources_of(m, t)[column].file != TM_NO_FILE;
}

/* Reports what is wrong with a tensor, unless too much is already. */
static enum tm_status wrong(struct making *m, size_t t, enum tm_status status,
                            const char *why)
{
    if (++m->problems <= MAX_LISTED)
        tm_recipe_error(m->plan->recipe, share_of(m, t)->slice->place, status,
                        "tensor '%s': %s", m->plan->tensors[t].name, why);
    return status;
}

/* --- terms ---------------------------------------------------------------*/

/* Evaluates the parameters of tensor `t` and of its inputs, into m->now. */
static enum tm_status evaluate(struct making *m, size_t t)
{
    const struct tm_share *share = share_of(m, t);
    const double position = m->listing->items[t].position;
    const struct tm_question question = {
        .recipe = m->plan->recipe,
        .module = share->module,
        .slice = share->slice,
        .name = m->plan->tensors[t].name,
        .position = position < 0 ? 0 : position,
    };
    struct tm_terms *now = m->now;
    enum tm_status status;

    memset(now, 0, size_of(share->num_sources));
    now->base = share->base;
    now->position = position;
    status = tm_evaluate(&question, now->values);
    for (size_t i = 0; i < share->num_sources; i++) {
        const struct tm_part_source *part = share->sources[i];
        struct tm_term *term = &now->terms[now->count];
        enum tm_status own;

        if (part->model == share->base || !is_there(m, t, part->model))
            continue;
        term->column = part->model;
        own = tm_evaluate_own(
            &question, part,
            tm_list_own_name(m->plan, m->listing, t, part, m->name),
            term->values);
        status = own != TM_OK ? own : status;
        now->count++;
    }
    m->has_no_values = status != TM_OK;
    return status;
}

/* Whether the method can do with these parameters; told once for each way. */
static enum tm_status check(struct making *m, size_t t)
{
    const char *why =
        m->method->check != NULL ? m->method->check(m->now) : NULL;

    if (why == NULL)
        return TM_OK;
    for (size_t i = 0; i < m->num_complaints; i++)
        if (strcmp(m->complaints[i], why) == 0)
            return TM_USAGE;
    if (m->num_complaints < MAX_COMPLAINTS) {
        const char *copy = tm_arena_copy(&m->plan->arena, why, strlen(why));

        if (copy == NULL)
            return tm_no_memory();
        m->complaints[m->num_complaints++] = copy;
    }
    return tm_recipe_error(m->plan->recipe, share_of(m, t)->slice->place,
                           TM_USAGE, "tensor '%s': parameter %s",
                           m->plan->tensors[t].name, why);
}

/*
 * Takes out the terms that count for nothing; their sources are not read. Not
 * where the whole model is measured: what counts for nothing in one tensor is
 * ranked with the rest of its vector all the same.
 */
static void drop_zeros(struct making *m, size_t t)
{
    struct tm_terms *now = m->now;
    const uint32_t count = now->count;

    if (!m->method->skips_zero || m->own == m->method->num_parameters ||
        tm_method_is_whole(m->method, now))
        return;
    now->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (now->terms[i].values[m->own] == 0)
            sources_of(m, t)[now->terms[i].column].file = TM_NO_FILE;
        else
            now->terms[now->count++] = now->terms[i];
    }
}

/* What m->now says, as one of the plan's, which may be shared. */
static const struct tm_terms *keep(struct making *m)
{
    const size_t size = size_of(m->now->count);
    const size_t known = m->num_made < NUM_RECENT ? m->num_made : NUM_RECENT;
    struct tm_terms *made;

    for (size_t i = 0; i < known; i++)
        if (m->recent[i]->count == m->now->count &&
            memcmp(m->recent[i], m->now, size) == 0)
            return m->recent[i];
    made = tm_arena_alloc(&m->plan->arena, size);
    if (made == NULL)
        return NULL;
    memcpy(made, m->now, size);
    m->recent[m->num_made++ % NUM_RECENT] = made;
    return made;
}

/* --- types ---------------------------------------------------------------*/

/* How exact a type is: the more so wins. */
static unsigned rank(enum tm_dtype dtype)
{
    switch (dtype) {
    case TM_F64:
        return 3;
    case TM_F32:
        return 2;
    case TM_F16:
    case TM_BF16:
        return 1;
    default:
        return 0;
    }
}

/* The type that holds both as well as one does. */
static enum tm_dtype common_type(enum tm_dtype a, enum tm_dtype b)
{
    if (a == b)
        return a;
    if (rank(a) != rank(b))
        return rank(a) > rank(b) ? a : b;
    return rank(a) == 0 ? TM_BF16 : TM_F32;
}

/* Gives a float tensor the type it has in the output. */
static void set_type(struct making *m, size_t t)
{
    const struct tm_recipe *recipe = m->plan->recipe;
    const struct tm_share *share = share_of(m, t);
    struct tm_plan_tensor *tensor = &m->plan->tensors[t];
    enum tm_dtype dtype = (enum tm_dtype)tensor->dtype;
    bool is_first = true;

    if (recipe->has_dtype)
        dtype = recipe->dtype;
    for (size_t i = 0;
         i < share->num_sources && !recipe->has_dtype && !recipe->keeps_dtypes;
         i++) {
        const uint32_t column = share->sources[i]->model;
        const enum tm_dtype own = (enum tm_dtype)sources_of(m, t)[column].dtype;

        if (!is_there(m, t, column))
            continue;
        dtype = is_first ? own : common_type(dtype, own);
        is_first = false;
    }
    tensor->dtype = (uint8_t)dtype;
    tensor->dtype_name = tm_dtype_name(dtype);
}

/* --- operations ----------------------------------------------------------*/

/* The tensor is a copy of what `from` has, and nothing else is read. */
static void copy_float(struct making *m, size_t t, uint32_t from,
                       const char *why)
{
    struct tm_plan_tensor *tensor = &m->plan->tensors[t];

    tensor->operation = TM_COPY;
    tensor->why = why;
    tensor->from = from;
    for (uint32_t i = 0; i < m->plan->width; i++)
        if (i != from)
            sources_of(m, t)[i].file = TM_NO_FILE;
}

/* What cannot be computed with is copied; all inputs must be the same. */
static enum tm_status copy_other(struct making *m, size_t t)
{
    const struct tm_share *share = share_of(m, t);
    struct tm_plan_tensor *tensor = &m->plan->tensors[t];
    uint32_t from = is_there(m, t, 0) ? 0 : TM_NO_COLUMN;
    struct tm_source kept;

    for (size_t i = 0; i < share->num_sources && from == TM_NO_COLUMN; i++)
        if (is_there(m, t, share->sources[i]->model))
            from = share->sources[i]->model;
    if (from == TM_NO_COLUMN)
        return wrong(m, t, TM_BAD_DATA, "none of its inputs has it");
    kept = sources_of(m, t)[from];
    drop_zeros(m, t);
    sources_of(m, t)[from] = kept;
    tensor->operation = TM_COPY;
    tensor->why = no_float;
    tensor->from = from;
    return TM_OK;
}

/* Whether the source of `column` has the output's type already. */
static bool has_type(const struct making *m, size_t t, uint32_t column)
{
    return sources_of(m, t)[column].dtype == m->plan->tensors[t].dtype;
}

static enum tm_status merge(struct making *m, size_t t)
{
    const struct tm_method *method = m->method;
    struct tm_plan_tensor *tensor = &m->plan->tensors[t];

    tensor->operation = TM_MERGE;
    tensor->terms = keep(m);
    if (tensor->terms == NULL)
        return tm_no_memory();
    if (tensor->terms->count == 0)
        return TM_OK; /* the base in another type */
    if (tm_method_is_whole(method, tensor->terms))
        m->plan->measures_model = true;
    return TM_OK;
}

/* Fewer models have the tensor than the method needs: all but the base? */
static enum tm_status too_few(struct making *m, size_t t)
{
    const struct tm_terms *now = m->now;
    const bool is_alone = now->count == 0 && now->base != TM_NO_COLUMN;
    uint32_t left = is_alone ? now->base : TM_NO_COLUMN;

    if (m->method->base == TM_BASE_IS_INPUT && now->count == 1 &&
        now->terms[0].column == 0 && m->plan->recipe->has_base)
        left = 0;
    if (left != TM_NO_COLUMN && has_type(m, t, left))
        copy_float(m, t, left, no_part);
    else if (is_alone)
        return merge(m, t);
    else
        return wrong(m, t, TM_BAD_DATA,
                     "too few of the models have it for this method");
    return TM_OK;
}

/* Whether the method takes one model as it is, where that has the value 1. */
static bool is_taken_over(const struct making *m)
{
    const struct tm_method *method = m->method;

    return method->least == 1 && method->most == 1 &&
           method->base == TM_BASE_IS_INPUT && m->now->count == 1 &&
           m->own < method->num_parameters &&
           m->now->terms[0].values[m->own] == 1;
}

static enum tm_status choose_float(struct making *m, size_t t)
{
    const struct tm_terms *now = m->now;
    enum tm_status status;

    if (now->base != TM_NO_COLUMN && !is_there(m, t, now->base))
        return wrong(m, t, TM_BAD_DATA, "the base lacks it");
    set_type(m, t);
    if (now->count < m->method->least)
        return too_few(m, t);
    status = check(m, t);
    if (status != TM_OK)
        return status;
    drop_zeros(m, t);
    if (now->count == 0 && now->base == TM_NO_COLUMN)
        return wrong(m, t, TM_USAGE, "nothing is left: all models count 0");
    if (now->count == 0 && has_type(m, t, now->base))
        copy_float(m, t, now->base, no_part);
    else if (is_taken_over(m) && has_type(m, t, now->terms[0].column))
        copy_float(m, t, now->terms[0].column, as_it_is);
    else
        return merge(m, t);
    return TM_OK;
}

/* --- what stored vectors are decoded with --------------------------------*/

/* Binds the tensor of the base that a stored vector was made against. */
static enum tm_status bind_aid(struct making *m, size_t t, uint32_t column)
{
    struct tm_source *sources = sources_of(m, t);
    const struct tm_plan *plan = m->plan;
    const uint64_t coded = sources[column].offset;
    const uint32_t need = m->listing->decodes_with[coded];
    struct tm_item *item = &m->listing->items[t];
    const struct tm_tensor *base;

    if (need == TM_NO_TENSOR)
        return TM_OK;
    base = &plan->base.tensors[need];
    if (sources[0].file == TM_NO_FILE &&
        base->elements == plan->tensors[t].elements) {
        sources[0] = tm_plan_raw(base, 0); /* column 0's files are the first */
        sources[0].only_decodes = true;
        item->base = need;
    }
    if (sources[0].file != TM_NO_FILE && item->base == need)
        return TM_OK;
    if (++m->problems <= MAX_LISTED)
        tm_error(TM_USAGE,
                 "%s: tensor '%s': is stored against '%s' of the base and is "
                 "wanted beside another tensor of it: restore the model first "
                 "(taumerge apply)",
                 plan->coded[coded].vector, plan->tensors[t].name, base->name);
    return TM_USAGE;
}

static enum tm_status bind_aids(struct making *m, size_t t)
{
    const struct tm_source *sources = sources_of(m, t);
    enum tm_status status = TM_OK;

    for (uint32_t i = 1; i < m->plan->width; i++)
        if (sources[i].file != TM_NO_FILE && sources[i].is_coded &&
            bind_aid(m, t, i) != TM_OK)
            status = TM_USAGE;
    return status;
}

/* --- all of it -----------------------------------------------------------*/

/*
 * The longest row that methods work on at once: a few arrays of such rows fit
 * in the smallest budgets. Twice the largest vocabularies there are.
 */
#define ROW_MOST ((uint64_t)512 << 10)

/*
 * Rows that are longer count as several: of the same length, if some divisor
 * gives parts that are not too short.
 */
static uint64_t part_of_row(uint64_t row)
{
    const uint64_t least = (row + ROW_MOST - 1) / ROW_MOST;

    for (uint64_t parts = least; parts < 64 * least; parts++)
        if (row % parts == 0)
            return row / parts;
    return ROW_MOST;
}

/* Elements of a row, and of what one index of the first dimension has. */
static void set_rows(struct tm_plan_tensor *tensor)
{
    uint64_t row = tensor->elements, plane = 1;

    if (tensor->ndim >= 2 && tensor->elements > 0) {
        row = tensor->shape[tensor->ndim - 1];
        plane = tensor->elements / tensor->shape[0];
    }
    tensor->row = row > ROW_MOST ? part_of_row(row) : row > 0 ? row : 1;
    tensor->plane = plane > 0 ? plane : 1;
}

static enum tm_status choose(struct making *m, size_t t)
{
    struct tm_plan_tensor *tensor = &m->plan->tensors[t];
    enum tm_status status;

    set_rows(tensor);
    status = evaluate(m, t);
    if (status == TM_OK && tm_dtype_is_float((enum tm_dtype)tensor->dtype))
        status = choose_float(m, t);
    else if (status == TM_OK)
        status = copy_other(m, t);
    return status == TM_OK ? bind_aids(m, t) : status;
}

enum tm_status tm_plan_terms(struct tm_plan *plan, struct tm_listing *listing)
{
    struct making m = {
        .plan = plan,
        .listing = listing,
        .method = plan->recipe->method,
        .now = malloc(size_of(plan->width)),
        .name = malloc(tm_list_room(listing)),
    };
    enum tm_status status = TM_OK;

    if (m.now == NULL || m.name == NULL)
        status = tm_no_memory();
    while (m.own < m.method->num_parameters &&
           !m.method->parameters[m.own].is_own)
        m.own++;
    /* What has no value for one tensor has none for the next either. */
    for (size_t t = 0;
         t < plan->num_tensors && status != TM_SYSTEM && !m.has_no_values;
         t++) {
        const enum tm_status own = choose(&m, t);

        status = own != TM_OK ? own : status;
    }
    if (m.problems > MAX_LISTED)
        tm_error(status, "and %zu problems more of that kind",
                 m.problems - MAX_LISTED);
    free(m.now);
    free(m.name);
    return status;
}
