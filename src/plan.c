/* SPDX-License-Identifier: Apache-2.0 */
/* plan: see plan.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/plan.h"

#include <stdlib.h>
#include <string.h>

#include "io/path.h"
#include "src/plan_list.h"
#include "src/vocabulary.h"

uint64_t tm_plan_source_bytes(const struct tm_plan *plan, size_t tensor,
                              size_t column)
{
    const struct tm_plan_tensor *of = &plan->tensors[tensor];
    const struct tm_source *source = &tm_plan_sources(plan, tensor)[column];

    if (source->file == TM_NO_FILE)
        return 0;
    if (source->is_coded)
        return plan->coded[source->offset].coded->bytes;
    return tm_plan_source_count(of, column) *
           tm_plan_unit(of, (enum tm_dtype)source->dtype);
}

static void count_memory(struct tm_plan *plan)
{
    plan->bytes_kept +=
        plan->num_tensors *
            (sizeof(*plan->tensors) + plan->width * sizeof(*plan->sources)) +
        plan->base.num_tensors * sizeof(*plan->base.tensors) +
        plan->base.table_size * sizeof(*plan->base.table) +
        plan->files_capacity * sizeof(*plan->files) + plan->base.arena.bytes +
        plan->num_coded * sizeof(*plan->coded) +
        plan->num_tensors * plan->num_outputs * sizeof(*plan->targets);
    for (size_t i = 0; i < plan->num_stored; i++) {
        const struct tm_vector_stored *stored = &plan->stored[i];

        plan->bytes_kept +=
            stored->bytes_kept + stored->arena.bytes +
            stored->tuned.arena.bytes +
            stored->tuned.num_tensors * sizeof(*stored->tuned.tensors) +
            stored->tuned.table_size * sizeof(*stored->tuned.table);
    }
    for (size_t i = 0; i < plan->num_tuned; i++)
        plan->bytes_kept +=
            plan->tuned[i].arena.bytes +
            plan->tuned[i].num_tensors * sizeof(*plan->tuned[i].tensors) +
            plan->tuned[i].table_size * sizeof(*plan->tuned[i].table);
    for (size_t i = 0; i < plan->num_outputs; i++)
        plan->bytes_kept +=
            plan->outputs[i].num_records * sizeof(*plan->outputs[i].records) +
            plan->outputs[i].num_shards * sizeof(*plan->outputs[i].shards);
}

void tm_plan_sum_up(struct tm_plan *plan)
{
    for (size_t t = 0; t < plan->num_tensors; t++)
        for (size_t i = 0; i < plan->width; i++)
            plan->bytes_read += tm_plan_source_bytes(plan, t, i);
    for (size_t i = 0; i < plan->num_shards && plan->product == TM_MODEL; i++)
        plan->bytes_written += plan->shards[i].size;
    count_memory(plan);
}

enum tm_status tm_plan_open_base(struct tm_plan *plan, struct tm_disk *disk)
{
    const char *path = plan->recipe->base;

    if (tm_vector_is(path))
        return tm_error(TM_BAD_DATA,
                        "%s: is a stored vector and cannot be a base%s", path,
                        plan->recipe->has_base ? "" : ": base_model is needed");
    return tm_checkpoint_open(disk, path, &plan->base);
}

/* Without a base no more can be said of a vector than that it is there. */
static void look_for_vectors(struct tm_disk *disk,
                             const struct tm_recipe *recipe)
{
    for (size_t i = 0; i < recipe->num_vectors; i++) {
        struct tm_checkpoint vector;

        tm_checkpoint_find(disk, recipe->vectors[i].path, &vector);
        tm_checkpoint_close(&vector);
    }
}

/* What the result's tensor `number` is, as a tensor of a checkpoint. */
static struct tm_tensor result_tensor(const struct tm_plan *plan, size_t number)
{
    const struct tm_plan_tensor *tensor = &plan->tensors[number];

    return (struct tm_tensor){
        .name = tensor->name,
        .dtype_name = tensor->dtype_name,
        .shape = tensor->shape,
        .elements = tensor->elements,
        .bytes = tensor->bytes,
        .dtype = tensor->dtype,
        .ndim = tensor->ndim,
    };
}

/* The result is stored against the base, shard by shard. */
static enum tm_status store_result(struct tm_plan *plan)
{
    struct tm_output *output = calloc(1, sizeof(*output));
    enum tm_status status;

    plan->outputs = output;
    plan->targets = calloc(plan->num_tensors + 1, sizeof(*plan->targets));
    if (output == NULL || plan->targets == NULL)
        return tm_no_memory();
    plan->num_outputs = 1;
    output->directory = "";
    output->tuned_path = "";
    status =
        tm_output_allocate(plan, output, plan->num_shards, plan->num_tensors);
    for (size_t i = 0; i < plan->num_shards && status == TM_OK; i++) {
        const struct tm_plan_shard *from = &plan->shards[i];
        struct tm_output_shard *shard = &output->shards[i];

        shard->tuned_name = from->name;
        shard->tuned_bytes = from->size;
        shard->start_bytes = from->data_start;
        shard->first = from->first;
        shard->count = from->count;
        output->tuned_bytes += from->size;
        for (size_t t = from->first; t < from->first + from->count; t++) {
            const struct tm_tensor own = result_tensor(plan, t);

            output->records[t] = tm_output_record_of(
                tm_checkpoint_get(&plan->base, own.name), &own);
            plan->targets[t] =
                (struct tm_target){(uint32_t)i, (uint32_t)(t - from->first)};
        }
    }
    return status == TM_OK ? tm_output_number(output, plan->base.path) : status;
}

/* A result that is stored is stored against the base it was made from. */
static enum tm_status check_storing(const struct tm_recipe *recipe)
{
    const struct tm_place nowhere = {0};

    if (!recipe->has_base)
        return tm_recipe_error(recipe, nowhere, TM_USAGE,
                               "--as-vector: there is no base to store the "
                               "result against");
    for (size_t m = 0; m < recipe->num_modules; m++)
        if (recipe->modules[m].is_sliced)
            return tm_recipe_error(recipe, recipe->modules[m].place, TM_USAGE,
                                   "--as-vector: a model of slices has no "
                                   "base to be stored against");
    return TM_OK;
}

/* All that reads the inputs' headers. */
static enum tm_status list_and_bind(struct tm_plan *plan, struct tm_disk *disk,
                                    const struct tm_settings *settings,
                                    struct tm_listing *listing)
{
    enum tm_status status = tm_plan_list(plan, disk, listing);

    if (status != TM_OK)
        return status;
    status = tm_plan_bind(plan, disk, settings, listing);
    if (status == TM_OK)
        status = tm_list_heads(plan, listing);
    if (status == TM_OK)
        status = tm_vocabulary_check(plan, disk);
    return status;
}

static enum tm_status make(struct tm_plan *plan, struct tm_disk *disk,
                           const struct tm_settings *settings, const char *out,
                           struct tm_listing *listing)
{
    enum tm_status status = list_and_bind(plan, disk, settings, listing);

    if (status == TM_OK)
        status = tm_plan_terms(plan, listing);
    if (status == TM_OK)
        status = tm_plan_layout(plan, listing, out);
    if (status == TM_OK)
        status =
            tm_side_files(&plan->arena, &plan->base, false, &plan->side_files);
    if (status == TM_OK)
        status = tm_plan_beside(plan, disk, listing);
    plan->bytes_beside = tm_side_file_bytes(plan->side_files);
    if (status == TM_OK)
        status = tm_plan_headers(plan, listing);
    if (status == TM_OK && settings->as_vector)
        status = store_result(plan);
    return status;
}

enum tm_status tm_plan_make(struct tm_disk *disk,
                            const struct tm_recipe *recipe,
                            const struct tm_settings *settings, const char *out,
                            struct tm_plan *plan)
{
    struct tm_listing listing = {0};
    enum tm_status status = TM_OK;

    *plan = (struct tm_plan){
        .recipe = recipe,
        .has_manifest = true,
        .product = settings->as_vector ? TM_MODEL_VECTOR : TM_MODEL,
        .codec = settings->codec,
    };
    if (settings->as_vector)
        status = check_storing(recipe);
    if (status != TM_OK)
        return status;
    status = tm_plan_open_base(plan, disk);
    if (status != TM_OK) {
        look_for_vectors(disk, recipe);
        return status;
    }
    plan->single_file = plan->base.directory == NULL && !settings->as_vector &&
                        tm_path_ends_with(out, ".safetensors");
    status = make(plan, disk, settings, out, &listing);
    tm_listing_free(&listing);
    if (status != TM_OK)
        return status;
    tm_plan_sum_up(plan);
    return tm_plan_budget(plan, settings);
}

void tm_plan_free(struct tm_plan *plan)
{
    for (size_t i = 0; i < plan->num_shards; i++)
        free(plan->shards[i].header);
    free(plan->shards);
    free(plan->tensors);
    free(plan->sources);
    free(plan->coded);
    for (size_t i = 0; i < plan->num_stored; i++)
        tm_vector_close(&plan->stored[i]);
    free(plan->stored);
    for (size_t i = 0; i < plan->num_tuned; i++)
        tm_checkpoint_close(&plan->tuned[i]);
    free(plan->tuned);
    free(plan->targets);
    for (size_t i = 0; i < plan->num_outputs; i++) {
        free(plan->outputs[i].shards);
        free(plan->outputs[i].records);
    }
    free(plan->outputs);
    free(plan->files);
    tm_checkpoint_close(&plan->base);
    tm_arena_free(&plan->arena);
    *plan = (struct tm_plan){0};
}
