/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_apply: a stored vector that is put back on its base.
 *
 * The output is the tuned checkpoint as it was: its shards with their own
 * headers and layout, and its side files, nothing else.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>

#include "io/path.h"
#include "src/bind_base.h"
#include "src/plan.h"

static enum tm_status open_vector(struct tm_plan *plan, struct tm_disk *disk)
{
    const char *path = plan->recipe->vectors[0].path;

    plan->stored = calloc(1, sizeof(*plan->stored));
    if (plan->stored == NULL)
        return tm_no_memory();
    if (!tm_vector_is(path)) {
        struct tm_checkpoint checkpoint;
        const enum tm_status status =
            tm_checkpoint_find(disk, path, &checkpoint);

        tm_checkpoint_close(&checkpoint);
        return status != TM_OK
                   ? status
                   : tm_error(TM_BAD_DATA, "%s: is not a stored vector", path);
    }
    plan->num_stored = 1;
    return tm_vector_open(disk, path, plan->stored);
}

/* The output's shards: the tuned ones, header and all. */
static enum tm_status make_shards(struct tm_plan *plan, const char *out)
{
    const struct tm_vector_stored *vector = plan->stored;
    const struct tm_checkpoint *tuned = &vector->tuned;

    plan->single_file =
        vector->single_file && tm_path_ends_with(out, ".safetensors");
    plan->shards = calloc(tuned->num_shards + 1, sizeof(*plan->shards));
    if (plan->shards == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < tuned->num_shards; i++) {
        const struct tm_vector_shard *from = &vector->shards[i];
        struct tm_plan_shard *shard = &plan->shards[plan->num_shards++];

        shard->name = plan->single_file ? tm_path_last(out) : from->tuned_name;
        shard->header = malloc(from->start_bytes);
        if (shard->header == NULL)
            return tm_no_memory();
        memcpy(shard->header, from->start, from->start_bytes);
        shard->data_start = from->start_bytes;
        shard->size = from->tuned_bytes;
        shard->first = tuned->shards[i].first;
        shard->count = tuned->shards[i].count;
        plan->bytes_kept += shard->data_start;
    }
    return TM_OK;
}

static void make_tensor(struct tm_plan *plan, size_t number,
                        const struct tm_tensor *from)
{
    const struct tm_coded *coded = &plan->stored->coded[number];
    const uint64_t words =
        from->bytes / tm_word_bytes((enum tm_dtype)from->dtype);

    plan->tensors[number] = (struct tm_plan_tensor){
        .name = from->name,
        .dtype_name = from->dtype_name,
        .shape = from->shape,
        .elements = words,
        .base_elements = coded->base_words < words ? coded->base_words : words,
        .bytes = from->bytes,
        .offset = from->offset,
        .shard = from->shard,
        .ndim = from->ndim,
        .dtype = from->dtype,
        .operation = TM_TAKE,
    };
}

/* The tensors and where they come from: the base, and the vector's chunks. */
static enum tm_status make_tensors(struct tm_plan *plan, const uint32_t *map)
{
    const struct tm_checkpoint *tuned = &plan->stored->tuned;
    uint32_t base_first, first;
    uint64_t first_coded;
    enum tm_status status = tm_plan_add_files(plan, &plan->base, &base_first);

    if (status == TM_OK)
        status = tm_plan_add_files(plan, tuned, &first);
    if (status == TM_OK)
        status = tm_plan_add_coded(plan, plan->stored, &first_coded);
    plan->width = 2;
    plan->num_tensors = tuned->num_tensors;
    plan->tensors = calloc(plan->num_tensors + 1, sizeof(*plan->tensors));
    plan->sources =
        calloc(plan->num_tensors * plan->width + 1, sizeof(*plan->sources));
    if (status != TM_OK)
        return status;
    if (plan->tensors == NULL || plan->sources == NULL)
        return tm_no_memory();
    for (size_t t = 0; t < plan->num_tensors; t++) {
        struct tm_source *sources = &plan->sources[t * plan->width];

        make_tensor(plan, t, &tuned->tensors[t]);
        sources[0].file = TM_NO_FILE;
        if (map[t] != TM_NO_BASE)
            sources[0] = tm_plan_raw(&plan->base.tensors[map[t]], base_first);
        sources[1] = (struct tm_source){
            .offset = first_coded + t,
            .file = first + tuned->tensors[t].shard,
            .dtype = tuned->tensors[t].dtype,
            .is_coded = true,
        };
    }
    return TM_OK;
}

/* The vector's side files, which go where they were. */
static enum tm_status list_side_files(struct tm_plan *plan)
{
    const struct tm_vector_stored *vector = plan->stored;
    struct tm_side_file **end = &plan->side_files;

    for (size_t i = 0; i < vector->num_files; i++) {
        struct tm_side_file *file = tm_arena_alloc(&plan->arena, sizeof(*file));

        if (file == NULL)
            return tm_no_memory();
        *file = (struct tm_side_file){
            .name = vector->files[i].name,
            .path = vector->files[i].path,
            .size = vector->files[i].bytes,
        };
        *end = file;
        end = &file->next;
    }
    plan->bytes_beside = tm_side_file_bytes(plan->side_files);
    return TM_OK;
}

static enum tm_status bind(struct tm_plan *plan, struct tm_disk *disk)
{
    uint32_t *map = calloc(plan->stored->tuned.num_tensors + 1, sizeof(*map));
    enum tm_status status;

    if (map == NULL)
        return tm_no_memory();
    status = tm_bind_base(disk, &plan->base, plan->stored, map);
    if (status == TM_OK)
        status = make_tensors(plan, map);
    free(map);
    return status;
}

enum tm_status tm_plan_apply(struct tm_disk *disk,
                             const struct tm_recipe *recipe,
                             const struct tm_settings *settings,
                             enum tm_product product, const char *out,
                             struct tm_plan *plan)
{
    enum tm_status status, opened;

    *plan = (struct tm_plan){.recipe = recipe, .product = product};
    status = tm_plan_open_base(plan, disk);
    opened = open_vector(plan, disk);
    if (status == TM_OK)
        status = opened;
    if (status == TM_OK)
        status = make_shards(plan, out);
    if (status == TM_OK)
        status = bind(plan, disk);
    if (status == TM_OK)
        status = list_side_files(plan);
    if (status != TM_OK)
        return status;
    tm_plan_sum_up(plan);
    return tm_plan_budget(plan, settings);
}
