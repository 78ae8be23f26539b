/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_bind: where the inputs of each output tensor are.
 *
 * The vectors' headers are parsed a few at a time, one thread each, since
 * parsing is what planning takes time for; of each only the places of its
 * tensors are kept. All that does not fit is reported, vector by vector.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/bind_base.h"
#include "src/cpus.h"
#include "src/plan.h"

/*
 * Problems of one vector that are listed one by one; the rest are counted. A
 * wrong model differs in every tensor.
 */
#define MAX_LISTED 20

struct problems {
    const char *path;
    size_t count;
};

/* Whether the next problem should be listed. */
static bool list_next(struct problems *problems)
{
    return ++problems->count <= MAX_LISTED;
}

static void finish_problems(const struct problems *problems)
{
    if (problems->count > MAX_LISTED)
        tm_error(TM_BAD_DATA, "%s: and %zu problems more", problems->path,
                 problems->count - MAX_LISTED);
}

enum tm_status tm_plan_add_files(struct tm_plan *plan,
                                 const struct tm_checkpoint *checkpoint,
                                 uint32_t *first)
{
    const size_t count = plan->num_files + checkpoint->num_shards;

    if (count > plan->files_capacity) {
        const size_t capacity = 2 * count;
        struct tm_input_file *files =
            realloc(plan->files, capacity * sizeof(*files));

        if (files == NULL)
            return tm_no_memory();
        plan->files = files;
        plan->files_capacity = capacity;
    }
    *first = (uint32_t)plan->num_files;
    for (size_t i = 0; i < checkpoint->num_shards; i++) {
        const struct tm_shard *shard = &checkpoint->shards[i];
        const char *path =
            tm_arena_copy(&plan->arena, shard->path, strlen(shard->path));

        if (path == NULL)
            return tm_no_memory();
        plan->files[plan->num_files++] =
            (struct tm_input_file){path, shard->identity};
    }
    return TM_OK;
}

enum tm_status tm_plan_add_coded(struct tm_plan *plan,
                                 const struct tm_vector_stored *vector,
                                 uint64_t *first)
{
    const struct tm_checkpoint *tuned = &vector->tuned;
    struct tm_coded_source *coded =
        realloc(plan->coded,
                (plan->num_coded + tuned->num_tensors + 1) * sizeof(*coded));

    if (coded == NULL)
        return tm_no_memory();
    plan->coded = coded;
    *first = plan->num_coded;
    for (size_t i = 0; i < tuned->num_tensors; i++)
        coded[plan->num_coded++] = (struct tm_coded_source){
            .coded = &vector->coded[i],
            .lengths = vector->shards[tuned->tensors[i].shard].lengths +
                       vector->coded[i].first,
            .vector = vector->path,
        };
    return TM_OK;
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

/* Whether `tensor` can be merged into the base's `own`. */
static bool fits(const struct tm_checkpoint *vector,
                 const struct tm_tensor *tensor, const struct tm_tensor *own,
                 struct problems *problems)
{
    const char *path = vector->shards[tensor->shard].path;
    struct tm_arena arena = {0};

    if (!tm_same_shape(tensor, own)) {
        if (list_next(problems))
            tm_error(TM_BAD_DATA, "%s: tensor '%s': has shape %s, the base %s",
                     path, own->name,
                     tm_shape_text(&arena, tensor->ndim, tensor->shape),
                     tm_shape_text(&arena, own->ndim, own->shape));
        tm_arena_free(&arena);
        return false;
    }
    if (strcmp(tensor->dtype_name, own->dtype_name) == 0 ||
        (tm_dtype_is_float((enum tm_dtype)tensor->dtype) &&
         tm_dtype_is_float((enum tm_dtype)own->dtype)))
        if (tensor->dtype != TM_OPAQUE || tensor->bytes == own->bytes)
            return true;
    if (list_next(problems))
        tm_error(TM_BAD_DATA,
                 "%s: tensor '%s': has %llu bytes of type %s, the base %llu "
                 "of %s: they cannot be merged",
                 path, own->name, (unsigned long long)tensor->bytes,
                 tensor->dtype_name, (unsigned long long)own->bytes,
                 own->dtype_name);
    return false;
}

/* Notes a tensor that the base lacks, or reports it. */
static void extra_tensor(struct tm_plan *plan, size_t number,
                         const struct tm_checkpoint *vector,
                         const struct tm_tensor *tensor,
                         struct problems *problems)
{
    struct tm_extra *extra;

    if (!plan->recipe->allow_extra) {
        if (list_next(problems))
            tm_error(TM_BAD_DATA,
                     "%s: tensor '%s': the base has no such tensor "
                     "(--allow-extra leaves it out)",
                     vector->shards[tensor->shard].path, tensor->name);
        return;
    }
    extra = tm_arena_alloc(&plan->arena, sizeof(*extra));
    if (extra == NULL ||
        (extra->name = tm_arena_copy(&plan->arena, tensor->name,
                                     strlen(tensor->name))) == NULL) {
        tm_no_memory();
        problems->count++;
        return;
    }
    extra->vector = number;
    extra->next = plan->extras;
    plan->extras = extra;
}

/* --- several vectors at a time -------------------------------------------*/

/* A vector that is being opened. */
struct opening {
    struct tm_plan *plan;
    struct tm_checkpoint checkpoint;
    struct tm_vector_stored *stored; /* NULL: it is a checkpoint */
    uint32_t *tensors;    /* of a stored one: for each of the base's tensors,
                             its own + 1, or 0 */
    uint64_t first_coded; /* of its tensors, in the plan */
    size_t number;        /* of the vector */
    uint32_t first;       /* of its files in the plan */
    size_t matched;       /* of its tensors */
    struct problems problems;
    enum tm_status status;
};

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

/* What the vector's tensors are called and look like. */
static const struct tm_checkpoint *tuned_of(const struct opening *opening)
{
    return opening->stored != NULL ? &opening->stored->tuned
                                   : &opening->checkpoint;
}

/* The vector's tensor that goes with number `t` of the base, or NULL. */
static const struct tm_tensor *find(const struct opening *opening, size_t t,
                                    size_t *next)
{
    const struct tm_checkpoint *tuned = tuned_of(opening);

    if (opening->tensors == NULL)
        return find_by_name(tuned, opening->plan->base.tensors[t].name, next);
    return opening->tensors[t] > 0 ? &tuned->tensors[opening->tensors[t] - 1]
                                   : NULL;
}

/* Where the bytes of `tensor` are. */
static struct tm_source source_of(const struct opening *opening,
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

/* Fills in the vector's column of sources. Touches nothing else. */
static enum tm_status bind_column(struct opening *opening)
{
    struct tm_plan *plan = opening->plan;
    const struct tm_checkpoint *vector = tuned_of(opening);
    const bool is_used = plan->recipe->vectors[opening->number].weight != 0;
    size_t next = 0;

    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_tensor *own = &plan->base.tensors[t];
        const struct tm_tensor *tensor = find(opening, t, &next);

        if (tensor == NULL) {
            if (!plan->recipe->allow_missing && list_next(&opening->problems))
                tm_error(TM_BAD_DATA,
                         "%s: has no tensor '%s' (--allow-missing takes it "
                         "for unchanged)",
                         vector->path, own->name);
            continue;
        }
        opening->matched++;
        if (fits(vector, tensor, own, &opening->problems) && is_used)
            plan->sources[t * plan->width + 1 + opening->number] =
                source_of(opening, tensor);
    }
    return TM_OK;
}

/* Whether tensor `t` of the vector goes with none of the base's. */
static bool is_extra(const struct opening *opening, size_t t)
{
    const struct tm_checkpoint *tuned = tuned_of(opening);

    return (opening->stored == NULL ||
            opening->stored->coded[t].state == TM_ALONE) &&
           tm_checkpoint_get(&opening->plan->base, tuned->tensors[t].name) ==
               NULL;
}

/* What the vector has and the base lacks; ends the list of problems. */
static enum tm_status finish_vector(struct opening *opening)
{
    struct tm_plan *plan = opening->plan;
    const struct tm_checkpoint *vector = tuned_of(opening);

    for (size_t t = 0;
         t < vector->num_tensors && opening->matched < vector->num_tensors; t++)
        if (is_extra(opening, t))
            extra_tensor(plan, opening->number, vector, &vector->tensors[t],
                         &opening->problems);
    finish_problems(&opening->problems);
    return opening->problems.count > 0 ? TM_BAD_DATA : TM_OK;
}

static enum tm_status parse_index(struct opening *opening)
{
    if (opening->stored != NULL)
        return TM_OK;
    return tm_checkpoint_parse_index(&opening->checkpoint);
}

static enum tm_status parse_headers(struct opening *opening)
{
    if (opening->stored != NULL)
        return TM_OK;
    return tm_checkpoint_parse_headers(&opening->checkpoint,
                                       &opening->plan->base);
}

static enum tm_status add_files(struct opening *opening)
{
    const enum tm_status status =
        tm_plan_add_files(opening->plan, tuned_of(opening), &opening->first);

    if (status != TM_OK || opening->stored == NULL)
        return status;
    return tm_plan_add_coded(opening->plan, opening->stored,
                             &opening->first_coded);
}

typedef enum tm_status step(struct opening *opening);

/* Runs a step on all that have not failed, one after the other. */
static void in_turn(struct opening *openings, size_t count, step *what)
{
    for (size_t i = 0; i < count; i++)
        if (openings[i].status == TM_OK)
            openings[i].status = what(&openings[i]);
}

/* Runs a step that needs neither disk nor plan's lists, a thread each. */
static void in_parallel(struct opening *openings, size_t count, step *what)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)count)
    for (size_t i = 0; i < count; i++)
        if (openings[i].status == TM_OK)
            openings[i].status = what(&openings[i]);
}

/* Finds out which tensor of a stored vector goes with which of the base. */
static enum tm_status bind_stored(struct opening *opening, struct tm_disk *disk)
{
    const struct tm_checkpoint *base = &opening->plan->base;
    const struct tm_vector_stored *stored = opening->stored;
    const size_t count = stored->tuned.num_tensors;
    uint32_t *map = malloc((count + 1) * sizeof(*map));
    enum tm_status status;

    opening->tensors = calloc(base->num_tensors + 1, sizeof(*opening->tensors));
    if (map == NULL || opening->tensors == NULL) {
        free(map);
        return tm_no_memory();
    }
    status = tm_bind_base(disk, base, stored, map);
    for (size_t i = 0; i < count && status == TM_OK; i++) {
        const struct tm_tensor *own =
            tm_checkpoint_get(base, stored->tuned.tensors[i].name);

        if (map[i] != TM_NO_BASE)
            opening->tensors[map[i]] = (uint32_t)i + 1;
        else if (own != NULL && opening->tensors[own - base->tensors] == 0)
            opening->tensors[own - base->tensors] = (uint32_t)i + 1;
    }
    free(map);
    return status;
}

/* Finds the vector's files; opens it whole if it is a stored one. */
static enum tm_status find_vector(struct opening *opening, struct tm_disk *disk,
                                  const char *path)
{
    struct tm_plan *plan = opening->plan;
    enum tm_status status;

    if (!tm_vector_is(path))
        return tm_checkpoint_find(disk, path, &opening->checkpoint);
    opening->stored = &plan->stored[plan->num_stored++];
    status = tm_vector_open(disk, path, opening->stored);
    if (status == TM_OK)
        status = bind_stored(opening, disk);
    return status;
}

static enum tm_status bind_batch(struct tm_plan *plan, struct tm_disk *disk,
                                 size_t first, struct opening *openings,
                                 size_t count)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < count; i++) {
        const char *path = plan->recipe->vectors[first + i].path;

        openings[i] = (struct opening){
            .plan = plan, .number = first + i, .problems = {path, 0}};
        openings[i].status = find_vector(&openings[i], disk, path);
    }
    in_parallel(openings, count, parse_index);
    for (size_t i = 0; i < count; i++)
        if (openings[i].status == TM_OK && openings[i].stored == NULL)
            openings[i].status =
                tm_checkpoint_read_headers(disk, &openings[i].checkpoint);
    in_parallel(openings, count, parse_headers);
    in_turn(openings, count, add_files);
    in_parallel(openings, count, bind_column);
    in_turn(openings, count, finish_vector);
    for (size_t i = 0; i < count; i++) {
        if (status == TM_OK)
            status = openings[i].status;
        tm_checkpoint_close(&openings[i].checkpoint);
        free(openings[i].tensors);
    }
    return status;
}

/* What is done with a tensor, now that its sources are known. */
static void choose_operation(struct tm_plan *plan, size_t number)
{
    struct tm_plan_tensor *tensor = &plan->tensors[number];
    const struct tm_tensor *own = &plan->base.tensors[number];
    const struct tm_source *sources = tm_plan_sources(plan, number);
    bool is_touched = false;

    for (size_t i = 1; i < plan->width; i++)
        if (sources[i].file != TM_NO_FILE)
            is_touched = true;
    if (!tm_dtype_is_float((enum tm_dtype)own->dtype)) {
        tensor->operation = TM_COPY;
        tensor->why = "not a floating-point type that can be merged";
    } else if (!is_touched && tensor->dtype == own->dtype) {
        tensor->operation = TM_COPY;
        tensor->why = "no vector has a part in it";
    } else {
        tensor->operation = TM_SUM;
    }
}

/*
 * Vectors that are opened at a time: one for each CPU, as long as that takes
 * no more than half the budget. A header is there as text and as what was
 * made of it, and the vectors' are about as large as the base's.
 */
static size_t batch_size(const struct tm_plan *plan,
                         const struct tm_settings *settings)
{
    const struct tm_checkpoint *base = &plan->base;
    uint64_t each = base->arena.bytes +
                    base->num_tensors * sizeof(*base->tensors) +
                    base->table_size * sizeof(*base->table) + 1;
    uint64_t fit;

    for (size_t i = 0; i < base->num_shards; i++)
        each += base->shards[i].header_length;
    fit = settings->memory / 2 / each;
    if (fit > tm_cpus_to_use(settings->threads))
        return tm_cpus_to_use(settings->threads);
    return fit > 0 ? (size_t)fit : 1;
}

enum tm_status tm_plan_bind(struct tm_plan *plan, struct tm_disk *disk,
                            const struct tm_settings *settings)
{
    const size_t batch = batch_size(plan, settings);
    struct opening *openings = calloc(batch, sizeof(*openings));
    enum tm_status status = TM_OK;

    plan->stored = calloc(plan->recipe->num_vectors, sizeof(*plan->stored));
    if (openings == NULL || plan->stored == NULL) {
        free(openings);
        return tm_no_memory();
    }
    for (size_t v = 0; v < plan->recipe->num_vectors; v += batch) {
        const size_t left = plan->recipe->num_vectors - v;
        const enum tm_status own =
            bind_batch(plan, disk, v, openings, left < batch ? left : batch);

        if (status == TM_OK)
            status = own;
    }
    free(openings);
    for (size_t t = 0; t < plan->num_tensors; t++)
        choose_operation(plan, t);
    return status;
}
