/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_bind: where the inputs of each output tensor are.
 *
 * The models' headers are parsed a few at a time, one thread each, since
 * parsing is what planning takes time for; of each only the places of its
 * tensors are kept. All that does not fit is reported, model by model.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <limits.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "src/bind_base.h"
#include "src/cpus.h"
#include "src/plan_match.h"

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
            (struct tm_input_file){path, shard->identity, shard->header_digest};
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

/* --- several models at a time --------------------------------------------*/

static enum tm_status parse_index(struct tm_opening *opening)
{
    if (opening->stored != NULL)
        return TM_OK;
    return tm_checkpoint_parse_index(&opening->checkpoint);
}

static enum tm_status parse_headers(struct tm_opening *opening)
{
    if (opening->stored != NULL)
        return TM_OK;
    return tm_checkpoint_parse_headers(&opening->checkpoint,
                                       &opening->plan->base);
}

/* A stored vector's tensors are numbered in the plan, and so is their base. */
static enum tm_status add_coded(struct tm_opening *opening)
{
    struct tm_listing *l = opening->listing;
    const size_t count = opening->stored->tuned.num_tensors;
    const enum tm_status status = tm_plan_add_coded(
        opening->plan, opening->stored, &opening->first_coded);
    uint32_t *all = NULL;

    if (status == TM_OK)
        all = realloc(l->decodes_with,
                      (opening->plan->num_coded + 1) * sizeof(*all));
    if (status == TM_OK && all == NULL)
        return tm_no_memory();
    if (status != TM_OK)
        return status;
    l->decodes_with = all;
    memcpy(all + opening->first_coded, opening->map, count * sizeof(*all));
    return TM_OK;
}

static enum tm_status add_files(struct tm_opening *opening)
{
    const enum tm_status status = tm_plan_add_files(
        opening->plan, tm_match_model(opening), &opening->first);

    if (status != TM_OK || opening->stored == NULL)
        return status;
    return add_coded(opening);
}

typedef enum tm_status step(struct tm_opening *opening);

/* Runs a step on all that have not failed, one after the other. */
static void in_turn(struct tm_opening *openings, size_t count, step *what)
{
    for (size_t i = 0; i < count; i++)
        if (openings[i].status == TM_OK)
            openings[i].status = what(&openings[i]);
}

/* Runs a step that needs neither disk nor plan's lists, a thread each. */
static void in_parallel(struct tm_opening *openings, size_t count, step *what)
{
    const unsigned others =
        count == 0 ? 0 : (unsigned)(count < INT_MAX ? count - 1 : INT_MAX - 1);
    const unsigned threads = tm_cpus_startable(others) + 1;

#pragma omp parallel for schedule(dynamic, 1) num_threads((int)threads)
    for (size_t i = 0; i < count; i++)
        if (openings[i].status == TM_OK)
            openings[i].status = what(&openings[i]);
}

/* Finds out which tensor of a stored vector goes with which of the base. */
static enum tm_status bind_stored(struct tm_opening *opening,
                                  struct tm_disk *disk)
{
    const struct tm_checkpoint *base = &opening->plan->base;
    const struct tm_vector_stored *stored = opening->stored;
    const size_t count = stored->tuned.num_tensors;
    enum tm_status status;

    opening->map = malloc((count + 1) * sizeof(*opening->map));
    opening->tensors = calloc(base->num_tensors + 1, sizeof(*opening->tensors));
    if (opening->map == NULL || opening->tensors == NULL)
        return tm_no_memory();
    status = tm_bind_base(disk, base, stored, opening->map);
    for (size_t i = 0; i < count && status == TM_OK; i++) {
        const uint32_t made_against = opening->map[i];
        const struct tm_tensor *own =
            tm_checkpoint_get(base, stored->tuned.tensors[i].name);

        if (made_against != TM_NO_BASE)
            opening->tensors[made_against] = (uint32_t)i + 1;
        else if (own != NULL && opening->tensors[own - base->tensors] == 0)
            opening->tensors[own - base->tensors] = (uint32_t)i + 1;
    }
    return status;
}

/* Finds the model's files; opens it whole if it is a stored vector. */
static enum tm_status find_model(struct tm_opening *opening,
                                 struct tm_disk *disk, const char *path)
{
    struct tm_plan *plan = opening->plan;
    const struct tm_recipe *recipe = plan->recipe;
    enum tm_status status;

    if (!tm_vector_is(path))
        return tm_checkpoint_find(disk, path, &opening->checkpoint);
    if (!recipe->has_base)
        return tm_recipe_error(
            recipe, recipe->vectors[opening->column - 1].place, TM_USAGE,
            "%s: is a stored vector: base_model is needed, "
            "which it was made against",
            path);
    opening->stored = &plan->stored[plan->num_stored++];
    status = tm_vector_open(disk, path, opening->stored);
    if (status == TM_OK)
        status = bind_stored(opening, disk);
    return status;
}

static enum tm_status bind_batch(struct tm_plan *plan,
                                 struct tm_listing *listing,
                                 struct tm_disk *disk, size_t first,
                                 struct tm_opening *openings, size_t count)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < count; i++) {
        const char *path = plan->recipe->vectors[first + i].path;

        openings[i] = (struct tm_opening){
            .plan = plan,
            .listing = listing,
            .column = 1 + first + i,
            .problems = {path, 0},
        };
        openings[i].status = find_model(&openings[i], disk, path);
    }
    in_parallel(openings, count, parse_index);
    for (size_t i = 0; i < count; i++)
        if (openings[i].status == TM_OK && openings[i].stored == NULL)
            openings[i].status =
                tm_checkpoint_read_headers(disk, &openings[i].checkpoint);
    in_parallel(openings, count, parse_headers);
    in_turn(openings, count, add_files);
    in_turn(openings, count, tm_match_prepare);
    in_parallel(openings, count, tm_match_column);
    in_turn(openings, count, tm_match_rest);
    for (size_t i = 0; i < count; i++) {
        if (status == TM_OK)
            status = openings[i].status;
        tm_match_free(&openings[i]);
    }
    return status;
}

/*
 * Models that are opened at a time: one for each CPU, as long as that takes
 * no more than half the budget. A header is there as text and as what was
 * made of it, and the others' are about as large as the base's.
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
                            const struct tm_settings *settings,
                            struct tm_listing *listing)
{
    const size_t batch = batch_size(plan, settings);
    const size_t count = plan->recipe->num_vectors;
    struct tm_opening *openings = calloc(batch, sizeof(*openings));
    enum tm_status status = TM_OK;

    plan->stored = calloc(count + 1, sizeof(*plan->stored));
    if (openings == NULL || plan->stored == NULL) {
        free(openings);
        return tm_no_memory();
    }
    for (size_t v = 0; v < count; v += batch) {
        const size_t left = count - v;
        const enum tm_status own = bind_batch(plan, listing, disk, v, openings,
                                              left < batch ? left : batch);

        if (status == TM_OK)
            status = own;
    }
    free(openings);
    return status;
}
