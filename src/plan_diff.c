/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_diff: fine-tunes that are to be stored as vectors.
 *
 * The plan goes through the base's tensors in their order; each is read once
 * for all fine-tunes whose tensor of that name looks the same. Tensors that
 * look otherwise, and those that the base lacks, come by themselves.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>

#include "io/checked.h"
#include "io/path.h"
#include "src/plan.h"

/* A plan in the making. */
struct making {
    struct tm_plan *plan;
    uint32_t base_first; /* of the base's files in the plan */
    uint32_t *first;     /* of each fine-tune's */
    /* The fine-tunes' tensors of one name, NULL where there is none left. */
    const struct tm_tensor **tensors;
};

/* --- the vectors ---------------------------------------------------------*/

/* Describes the vector that fine-tune number `i` becomes. */
static enum tm_status describe(struct tm_plan *plan, size_t i)
{
    const struct tm_checkpoint *tuned = &plan->tuned[i];
    struct tm_output *output = &plan->outputs[i];
    enum tm_status status =
        tm_output_allocate(plan, output, tuned->num_shards, tuned->num_tensors);

    if (status != TM_OK)
        return status;
    output->tuned_path = tuned->path;
    output->single_file = tuned->directory == NULL;
    for (size_t s = 0; s < tuned->num_shards; s++) {
        const struct tm_shard *from = &tuned->shards[s];
        struct tm_output_shard *shard = &output->shards[s];

        shard->tuned_name = from->name;
        shard->tuned_bytes = from->identity.size;
        shard->start_path = from->path;
        shard->start_bytes = from->data_start;
        shard->first = from->first;
        shard->count = from->count;
        output->tuned_bytes += shard->tuned_bytes;
    }
    for (size_t t = 0; t < tuned->num_tensors; t++) {
        const struct tm_tensor *own = &tuned->tensors[t];

        output->records[t] =
            tm_output_record_of(tm_checkpoint_get(&plan->base, own->name), own);
    }
    return tm_output_number(output, tuned->path);
}

/* The last part of a path, in the arena, with a slash at its end. */
static const char *directory_name(struct tm_arena *arena, const char *path)
{
    size_t length = strlen(path), begin;
    char *name;

    while (length > 1 && path[length - 1] == '/')
        length--;
    begin = length;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    name = tm_arena_copy(arena, path + begin, length - begin + 1);
    if (name != NULL)
        name[length - begin] = '/';
    return name;
}

/* One vector is OUT itself; several are directories in it. */
static enum tm_status name_outputs(struct tm_plan *plan)
{
    plan->outputs[0].directory = "";
    if (plan->num_outputs == 1)
        return TM_OK;
    for (size_t i = 0; i < plan->num_outputs; i++) {
        const char *path = plan->recipe->vectors[i].path;
        const char *name = directory_name(&plan->arena, path);

        if (name == NULL)
            return tm_no_memory();
        if (strcmp(name, "./") == 0 || strcmp(name, "../") == 0 ||
            strcmp(name, "/") == 0)
            return tm_error(TM_USAGE, "%s: not a name for a vector", path);
        plan->outputs[i].directory = name;
        for (size_t k = 0; k < i; k++)
            if (strcmp(plan->outputs[k].directory, name) == 0)
                return tm_error(TM_USAGE,
                                "%s and %s: their vectors would have one name",
                                path, plan->recipe->vectors[k].path);
    }
    return TM_OK;
}

static enum tm_status open_tuned(struct tm_plan *plan, struct tm_disk *disk,
                                 size_t i)
{
    const char *path = plan->recipe->vectors[i].path;
    struct tm_checkpoint *tuned = &plan->tuned[plan->num_tuned++];
    enum tm_status status;

    if (tm_vector_is(path))
        return tm_error(TM_BAD_DATA, "%s: is a stored vector already", path);
    status = tm_checkpoint_open(disk, path, tuned);
    if (status == TM_OK)
        status = tm_side_files(&plan->arena, tuned, true,
                               &plan->outputs[i].side_files);
    if (status == TM_OK)
        plan->bytes_beside += tm_side_file_bytes(plan->outputs[i].side_files);
    return status;
}

/* Opens all fine-tunes and describes what becomes of them. */
static enum tm_status open_all(struct tm_plan *plan, struct tm_disk *disk)
{
    const size_t count = plan->recipe->num_vectors;
    enum tm_status status;

    plan->product = TM_VECTORS;
    plan->outputs = calloc(count, sizeof(*plan->outputs));
    plan->tuned = calloc(count, sizeof(*plan->tuned));
    if (plan->outputs == NULL || plan->tuned == NULL)
        return tm_no_memory();
    plan->num_outputs = count;
    plan->width = 1 + count;
    status = name_outputs(plan);
    for (size_t i = 0; i < count; i++) {
        const enum tm_status own = open_tuned(plan, disk, i);

        if (status == TM_OK)
            status = own;
    }
    for (size_t i = 0; i < count && status == TM_OK; i++)
        status = describe(plan, i);
    return status;
}

/* --- the tensors ---------------------------------------------------------*/

static bool look_alike(const struct tm_tensor *a, const struct tm_tensor *b)
{
    return strcmp(a->dtype_name, b->dtype_name) == 0 && a->bytes == b->bytes;
}

/* Whether fine-tune `i` has a tensor left that goes with `own`. */
static bool belongs(const struct making *m, size_t i,
                    const struct tm_tensor *base, const struct tm_tensor *own)
{
    const struct tm_tensor *tensor = m->tensors[i];

    return tensor != NULL && look_alike(tensor, own) &&
           (base == NULL || tm_can_be_delta(base, tensor));
}

static void take_column(struct making *m, size_t i)
{
    struct tm_plan *plan = m->plan;
    const struct tm_checkpoint *tuned = &plan->tuned[i];
    const struct tm_tensor *tensor = m->tensors[i];
    const size_t number = plan->num_tensors;
    const size_t index = (size_t)(tensor - tuned->tensors);

    plan->sources[number * plan->width + 1 + i] =
        tm_plan_raw(tensor, m->first[i]);
    plan->targets[number * plan->num_outputs + i] = (struct tm_target){
        .shard = tensor->shard,
        .record = (uint32_t)(index - tuned->shards[tensor->shard].first),
    };
}

static enum tm_status add_tensor(struct making *m, const struct tm_tensor *base,
                                 const struct tm_tensor *own)
{
    struct tm_plan *plan = m->plan;
    struct tm_plan_shard *shard = &plan->shards[0];
    const uint64_t words =
        own->bytes / tm_word_bytes((enum tm_dtype)own->dtype);
    struct tm_source *sources = &plan->sources[plan->num_tensors * plan->width];
    struct tm_target *targets =
        &plan->targets[plan->num_tensors * plan->num_outputs];

    plan->tensors[plan->num_tensors] = (struct tm_plan_tensor){
        .name = own->name,
        .dtype_name = own->dtype_name,
        .shape = own->shape,
        .elements = words,
        .bytes = own->bytes,
        .offset = shard->size,
        .ndim = own->ndim,
        .dtype = own->dtype,
        .operation = TM_TAKE,
    };
    for (size_t i = 0; i < plan->width; i++)
        sources[i].file = TM_NO_FILE;
    for (size_t i = 0; i < plan->num_outputs; i++)
        targets[i].shard = TM_NO_TARGET;
    if (!tm_add(shard->size, own->bytes, &shard->size))
        return tm_error(TM_BAD_DATA, "tensor '%s': too large", own->name);
    if (base == NULL)
        return TM_OK;
    sources[0] = tm_plan_raw(base, m->base_first);
    plan->tensors[plan->num_tensors].base_elements =
        base->bytes / tm_word_bytes((enum tm_dtype)base->dtype);
    if (plan->tensors[plan->num_tensors].base_elements > words)
        plan->tensors[plan->num_tensors].base_elements = words;
    return TM_OK;
}

/*
 * One tensor of the plan for each look that the fine-tunes' tensors in
 * m->tensors have. Only counts where the plan has no room for tensors yet.
 */
static enum tm_status add_group(struct making *m, const struct tm_tensor *base,
                                size_t from)
{
    struct tm_plan *plan = m->plan;
    const struct tm_tensor *own = m->tensors[from];
    enum tm_status status = TM_OK;

    if (base != NULL && !tm_can_be_delta(base, own))
        base = NULL;
    if (plan->tensors != NULL)
        status = add_tensor(m, base, own);
    for (size_t i = from; i < plan->num_tuned && status == TM_OK; i++) {
        if (i != from && (base == NULL || !belongs(m, i, base, own)))
            continue;
        if (plan->tensors != NULL)
            take_column(m, i);
        m->tensors[i] = NULL;
    }
    plan->num_tensors++;
    return status;
}

/* What is in m->tensors, all of one name. */
static enum tm_status add_groups(struct making *m, const struct tm_tensor *base)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < m->plan->num_tuned && status == TM_OK; i++)
        if (m->tensors[i] != NULL)
            status = add_group(m, base, i);
    return status;
}

/* Goes through everything that there is to store. */
static enum tm_status add_all(struct making *m)
{
    const struct tm_plan *plan = m->plan;
    enum tm_status status = TM_OK;

    m->plan->num_tensors = 0;
    for (size_t t = 0; t < plan->base.num_tensors && status == TM_OK; t++) {
        const struct tm_tensor *base = &plan->base.tensors[t];

        for (size_t i = 0; i < plan->num_tuned; i++)
            m->tensors[i] = tm_checkpoint_get(&plan->tuned[i], base->name);
        status = add_groups(m, base);
    }
    for (size_t i = 0; i < plan->num_tuned; i++) {
        const struct tm_checkpoint *tuned = &plan->tuned[i];

        for (size_t t = 0; t < tuned->num_tensors && status == TM_OK; t++) {
            if (tm_checkpoint_get(&plan->base, tuned->tensors[t].name) != NULL)
                continue;
            m->tensors[i] = &tuned->tensors[t];
            status = add_groups(m, NULL);
        }
    }
    return status;
}

static enum tm_status add_files(struct making *m)
{
    struct tm_plan *plan = m->plan;
    enum tm_status status =
        tm_plan_add_files(plan, &plan->base, &m->base_first);

    for (size_t i = 0; i < plan->num_tuned && status == TM_OK; i++)
        status = tm_plan_add_files(plan, &plan->tuned[i], &m->first[i]);
    return status;
}

static enum tm_status make_tensors(struct making *m)
{
    struct tm_plan *plan = m->plan;
    enum tm_status status = add_files(m);
    size_t count;

    if (status == TM_OK)
        status = add_all(m);
    if (status != TM_OK)
        return status;
    count = plan->num_tensors;
    plan->tensors = calloc(count + 1, sizeof(*plan->tensors));
    plan->sources = calloc(count * plan->width + 1, sizeof(*plan->sources));
    plan->targets =
        calloc(count * plan->num_outputs + 1, sizeof(*plan->targets));
    plan->shards = calloc(1, sizeof(*plan->shards));
    if (plan->tensors == NULL || plan->sources == NULL ||
        plan->targets == NULL || plan->shards == NULL)
        return tm_no_memory();
    plan->num_shards = 1;
    plan->shards[0].name = "";
    status = add_all(m);
    plan->shards[0].count = plan->num_tensors;
    return status;
}

enum tm_status tm_plan_diff(struct tm_disk *disk,
                            const struct tm_recipe *recipe,
                            const struct tm_settings *settings,
                            struct tm_plan *plan)
{
    const size_t count = recipe->num_vectors;
    struct making making = {
        .plan = plan,
        .first = calloc(count + 1, sizeof(*making.first)),
        .tensors = calloc(count + 1, sizeof(*making.tensors)),
    };
    enum tm_status status, opened;

    *plan = (struct tm_plan){.recipe = recipe, .codec = settings->codec};
    if (making.first == NULL || making.tensors == NULL)
        status = tm_no_memory();
    else
        status = tm_plan_open_base(plan, disk);
    opened = open_all(plan, disk);
    if (status == TM_OK)
        status = opened;
    if (status == TM_OK)
        status = make_tensors(&making);
    free(making.first);
    free(making.tensors);
    if (status != TM_OK)
        return status;
    tm_plan_sum_up(plan);
    return tm_plan_budget(plan, settings);
}
