/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_layout: the shards of the output and their headers.
 *
 * The base's shards, tensor order and metadata are kept. With --shard-size,
 * and where layers are sliced, the tensors are dealt out anew, in their order,
 * as huggingface_hub does: a shard is closed when the next tensor would make
 * it too large.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checked.h"
#include "io/json.h"
#include "io/path.h"
#include "io/safetensors.h"
#include "io/text.h"
#include "src/plan_list.h"

/* Shard numbers in names have five digits. */
#define MAX_SHARDS 99999

/* Of sliced models where nothing is said: as huggingface_hub has it. */
#define SLICED_SHARD UINT64_C(5000000000)

/* Bytes of a tensor, whose type is known now. */
static enum tm_status set_size(const struct tm_plan *plan,
                               struct tm_plan_tensor *tensor)
{
    if (!tm_dtype_is_float((enum tm_dtype)tensor->dtype) ||
        tm_mul(tensor->elements,
               tm_dtype_bits((enum tm_dtype)tensor->dtype) / 8, &tensor->bytes))
        return TM_OK;
    return tm_error(TM_BAD_DATA, "%s: tensor '%s': too large for %s",
                    plan->base.path, tensor->name, tensor->dtype_name);
}

static enum tm_status add_to_shard(struct tm_plan *plan, size_t number)
{
    struct tm_plan_shard *shard = &plan->shards[plan->num_shards - 1];
    struct tm_plan_tensor *tensor = &plan->tensors[number];

    tensor->shard = (uint32_t)plan->num_shards - 1;
    tensor->offset = shard->size; /* data_start is added with the header */
    shard->count++;
    if (!tm_add(shard->size, tensor->bytes, &shard->size))
        return tm_error(TM_BAD_DATA, "%s: tensor '%s': too large",
                        plan->base.path, tensor->name);
    return TM_OK;
}

/* The base's shard that a tensor stays in; a new one goes into the last. */
static uint32_t shard_of(const struct tm_plan *plan,
                         const struct tm_listing *listing, size_t t)
{
    if (listing->items[t].is_new)
        return (uint32_t)plan->base.num_shards - 1;
    return plan->base.tensors[plan->tensors[t].like].shard;
}

/* One shard for each of the base's. */
static enum tm_status keep_shards(struct tm_plan *plan,
                                  const struct tm_listing *listing)
{
    enum tm_status status = TM_OK;
    size_t t = 0;

    for (size_t i = 0; i < plan->base.num_shards && status == TM_OK; i++) {
        plan->shards[plan->num_shards++].first = t;
        for (; t < plan->num_tensors && status == TM_OK &&
               shard_of(plan, listing, t) == i;
             t++)
            status = add_to_shard(plan, t);
    }
    return status;
}

/* Shards of at most `most` bytes, or of one tensor that is larger. */
static enum tm_status deal_out(struct tm_plan *plan, uint64_t most)
{
    enum tm_status status = TM_OK;
    const struct tm_plan_shard *shard = plan->shards;

    plan->num_shards = 1;
    for (size_t t = 0; t < plan->num_tensors && status == TM_OK; t++) {
        uint64_t sum;

        if (shard->size > 0 &&
            (!tm_add(shard->size, plan->tensors[t].bytes, &sum) ||
             sum > most)) {
            plan->shards[plan->num_shards++].first = t;
            shard++;
        }
        status = add_to_shard(plan, t);
    }
    return status;
}

/* Whether the output has the base's shards. */
static bool keeps_shards(const struct tm_plan *plan,
                         const struct tm_listing *listing)
{
    return plan->recipe->shard_size == 0 && !listing->is_sliced;
}

/* Bytes of a shard where they are dealt out. */
static uint64_t shard_size(const struct tm_plan *plan)
{
    if (plan->recipe->shard_size > 0)
        return plan->recipe->shard_size;
    return plan->single_file ? UINT64_MAX : SLICED_SHARD;
}

/* The name of the output shard `number` and whether there is an index. */
static enum tm_status name_shards(struct tm_plan *plan, bool kept,
                                  const char *out)
{
    const struct tm_checkpoint *base = &plan->base;

    if (plan->num_shards > MAX_SHARDS)
        return tm_error(TM_USAGE, "--shard-size makes %zu shards, too many",
                        plan->num_shards);
    if (plan->single_file && plan->num_shards > 1)
        return tm_error(TM_USAGE,
                        "--shard-size makes %zu shards, but %s is one file",
                        plan->num_shards, out);
    for (size_t i = 0; i < plan->num_shards; i++) {
        struct tm_plan_shard *shard = &plan->shards[i];
        char name[64] = "model.safetensors";

        if (plan->num_shards > 1)
            snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors",
                     i + 1, plan->num_shards);
        if (plan->single_file)
            shard->name = tm_path_last(out);
        else if (kept)
            shard->name = base->shards[i].name;
        else
            shard->name = tm_arena_copy(&plan->arena, name, strlen(name));
        if (shard->name == NULL)
            return tm_no_memory();
    }
    if (kept && base->index_name != NULL)
        plan->index_name = base->index_name;
    else if (plan->num_shards > 1)
        plan->index_name = "model.safetensors.index.json";
    return TM_OK;
}

/* --- headers -------------------------------------------------------------*/

/*
 * The metadata of output shard `number`: that of the base shard it stands
 * for if they are `kept`, else of all of them, the first value of each key.
 */
static void write_metadata(const struct tm_plan *plan, bool kept, size_t number,
                           struct tm_json_writer *writer)
{
    const size_t from = kept ? number : 0;
    const size_t to = kept ? number + 1 : plan->base.num_shards;
    json_t *seen = json_object();

    for (size_t i = from; i < to; i++)
        for (const struct tm_metadata *pair = plan->base.shards[i].metadata;
             pair != NULL; pair = pair->next) {
            if (json_object_get(seen, pair->key) != NULL)
                continue;
            if (json_object_size(seen) == 0)
                tm_json_begin(writer, "__metadata__", '{');
            if (json_object_set_new(seen, pair->key, json_true()) != 0)
                writer->failed = true;
            tm_json_string(writer, pair->key, pair->value);
        }
    if (json_object_size(seen) > 0)
        tm_json_finish(writer, '}');
    json_decref(seen);
}

/* Pads with spaces, so that the data begins on a block, and adds N. */
static enum tm_status complete_header(struct tm_plan *plan,
                                      struct tm_plan_shard *shard,
                                      struct tm_text *text)
{
    uint64_t n;

    if (!tm_text_pad(text, (text->length + TM_BLOCK - 1) / TM_BLOCK * TM_BLOCK))
        return tm_no_memory();
    n = text->length - 8;
    if (n > TM_HEADER_MAX)
        return tm_error(TM_BAD_DATA,
                        "%s: its header would be larger than 100 MB: use a "
                        "smaller --shard-size",
                        shard->name);
    for (unsigned i = 0; i < 8; i++)
        text->bytes[i] = (char)(n >> (8 * i));
    shard->header = realloc(text->bytes, text->length);
    if (shard->header == NULL)
        return tm_no_memory();
    shard->data_start = text->length;
    plan->bytes_kept += text->length;
    if (!tm_add(shard->size, shard->data_start, &shard->size))
        return tm_error(TM_BAD_DATA, "%s: too large", shard->name);
    for (size_t i = 0; i < shard->count; i++)
        plan->tensors[shard->first + i].offset += shard->data_start;
    return TM_OK;
}

static enum tm_status make_header(struct tm_plan *plan, bool kept,
                                  size_t number)
{
    struct tm_plan_shard *shard = &plan->shards[number];
    struct tm_text text = {0};
    struct tm_json_writer writer = {
        .sink = tm_text_sink, .context = &text, .compact = true};
    enum tm_status status;

    writer.failed = !tm_text_append(&text, "\0\0\0\0\0\0\0\0", 8);
    tm_json_begin(&writer, NULL, '{');
    write_metadata(plan, kept, number, &writer);
    for (size_t i = 0; i < shard->count; i++) {
        const struct tm_plan_tensor *tensor = &plan->tensors[shard->first + i];
        const struct tm_header_tensor entry = {
            .name = tensor->name,
            .dtype_name = tensor->dtype_name,
            .ndim = tensor->ndim,
            .shape = tensor->shape,
            .begin = tensor->offset,
            .bytes = tensor->bytes,
        };

        tm_safetensors_write(&writer, &entry);
    }
    tm_json_finish(&writer, '}');
    status =
        writer.failed ? tm_no_memory() : complete_header(plan, shard, &text);
    if (status != TM_OK && shard->header == NULL)
        free(text.bytes);
    return status;
}

enum tm_status tm_plan_layout(struct tm_plan *plan,
                              const struct tm_listing *listing, const char *out)
{
    const bool kept = keeps_shards(plan, listing);
    const size_t most = kept ? plan->base.num_shards : plan->num_tensors + 1;
    enum tm_status status = TM_OK;

    plan->shards = calloc(most, sizeof(*plan->shards));
    if (plan->shards == NULL)
        return tm_no_memory();
    for (size_t t = 0; t < plan->num_tensors && status == TM_OK; t++)
        status = set_size(plan, &plan->tensors[t]);
    if (status == TM_OK)
        status = kept ? keep_shards(plan, listing)
                      : deal_out(plan, shard_size(plan));
    if (status == TM_OK)
        status = name_shards(plan, kept, out);
    return status;
}

enum tm_status tm_plan_headers(struct tm_plan *plan,
                               const struct tm_listing *listing)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < plan->num_shards && status == TM_OK; i++)
        status = make_header(plan, keeps_shards(plan, listing), i);
    return status;
}
