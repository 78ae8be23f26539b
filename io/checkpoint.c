/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint: see checkpoint.h. Finding the files is in checkpoint_find.c. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/checked.h"
#include "io/index.h"
#include "io/safetensors.h"

/* --- names to tensors ----------------------------------------------------*/

/* The place of that name in the table: empty if there is no such tensor. */
static uint32_t *place_of(const struct tm_checkpoint *c, const char *name)
{
    const size_t mask = c->table_size - 1;
    size_t i = XXH3_64bits(name, strlen(name)) & mask;

    while (c->table[i] != 0 &&
           strcmp(c->tensors[c->table[i] - 1].name, name) != 0)
        i = (i + 1) & mask;
    return &c->table[i];
}

const struct tm_tensor *
tm_checkpoint_get(const struct tm_checkpoint *checkpoint, const char *name)
{
    const uint32_t *place;

    if (checkpoint->table_size == 0)
        return NULL;
    place = place_of(checkpoint, name);
    return *place != 0 ? &checkpoint->tensors[*place - 1] : NULL;
}

/* Reports that the tensors `a` and `b` have the same name. */
static enum tm_status is_double(const struct tm_checkpoint *c,
                                const struct tm_tensor *a,
                                const struct tm_tensor *b)
{
    if (a->shard == b->shard)
        return tm_error(TM_BAD_DATA, "%s: tensor '%s': is there twice",
                        c->shards[b->shard].path, b->name);
    return tm_error(TM_BAD_DATA, "%s: tensor '%s': is in %s too",
                    c->shards[b->shard].path, b->name,
                    c->shards[a->shard].path);
}

/* Enters every tensor into the table; two of one name are an error. */
static enum tm_status build_table(struct tm_checkpoint *c)
{
    enum tm_status status = TM_OK;

    c->table_size = 16;
    while (c->table_size < 2 * c->num_tensors)
        c->table_size *= 2;
    c->table = calloc(c->table_size, sizeof(*c->table));
    if (c->table == NULL)
        return tm_no_memory();
    for (size_t t = 0; t < c->num_tensors; t++) {
        uint32_t *place = place_of(c, c->tensors[t].name);

        if (*place != 0)
            status = is_double(c, &c->tensors[*place - 1], &c->tensors[t]);
        else
            *place = (uint32_t)(t + 1);
    }
    return status;
}

/* --- headers -------------------------------------------------------------*/

/* A header in the parsing. */
struct reading {
    struct tm_checkpoint *checkpoint;
    uint32_t shard;
};

/* Room for `count` tensors more. */
static bool reserve(struct tm_checkpoint *c, size_t count)
{
    size_t capacity = c->capacity > 0 ? c->capacity : 64;
    struct tm_tensor *tensors;

    if (c->capacity - c->num_tensors >= count)
        return true;
    while (capacity - c->num_tensors < count)
        capacity *= 2;
    tensors = realloc(c->tensors, capacity * sizeof(*tensors));
    if (tensors == NULL)
        return false;
    c->tensors = tensors;
    c->capacity = capacity;
    return true;
}

static enum tm_status add_tensor(void *context,
                                 const struct tm_header_tensor *from)
{
    const struct reading *reading = context;
    struct tm_checkpoint *c = reading->checkpoint;
    struct tm_tensor *tensor;
    uint64_t *shape;

    if (!reserve(c, 1))
        return tm_no_memory();
    tensor = &c->tensors[c->num_tensors];
    shape = tm_arena_alloc(&c->arena, from->ndim * sizeof(*shape));
    *tensor = (struct tm_tensor){
        .name = tm_arena_copy(&c->arena, from->name, strlen(from->name)),
        .dtype_name = from->dtype != TM_OPAQUE
                          ? tm_dtype_name(from->dtype)
                          : tm_arena_copy(&c->arena, from->dtype_name,
                                          strlen(from->dtype_name)),
        .shape = shape,
        .elements = from->elements,
        .offset = c->shards[reading->shard].data_start + from->begin,
        .bytes = from->bytes,
        .shard = reading->shard,
        .dtype = (uint8_t)from->dtype,
        .ndim = (uint8_t)from->ndim,
    };
    if (tensor->name == NULL || tensor->dtype_name == NULL || shape == NULL)
        return tm_no_memory();
    if (from->ndim > 0)
        memcpy(shape, from->shape, from->ndim * sizeof(*shape));
    c->num_tensors++;
    return TM_OK;
}

static enum tm_status add_metadata(void *context, const char *key,
                                   const char *value)
{
    const struct reading *reading = context;
    struct tm_checkpoint *c = reading->checkpoint;
    struct tm_shard *shard = &c->shards[reading->shard];
    struct tm_metadata *pair = tm_arena_alloc(&c->arena, sizeof(*pair));

    if (pair == NULL)
        return tm_no_memory();
    *pair = (struct tm_metadata){
        .key = tm_arena_copy(&c->arena, key, strlen(key)),
        .value = tm_arena_copy(&c->arena, value, strlen(value)),
    };
    if (pair->key == NULL || pair->value == NULL)
        return tm_no_memory();
    *shard->metadata_end = pair;
    shard->metadata_end = &pair->next;
    return TM_OK;
}

/* By offset; of two at one offset the empty one first; then by name. */
static int compare_tensors(const void *a, const void *b)
{
    const struct tm_tensor *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Whether the shard's tensors, sorted, tile its data without hole. */
static enum tm_status check_tiling(const struct tm_checkpoint *c,
                                   const struct tm_shard *shard)
{
    uint64_t end = shard->data_start;

    for (size_t i = 0; i < shard->count; i++) {
        const struct tm_tensor *tensor = &c->tensors[shard->first + i];

        if (tensor->offset != end)
            return tm_error(
                TM_BAD_DATA, "%s: tensor '%s': begins at byte %llu, %s %llu",
                shard->path, tensor->name, (unsigned long long)tensor->offset,
                tensor->offset > end ? "the one before it ends at"
                                     : "inside one that ends at",
                (unsigned long long)end);
        end += tensor->bytes;
        if (end > shard->identity.size)
            return tm_error(TM_BAD_DATA,
                            "%s: tensor '%s': ends at byte %llu, the file at "
                            "%llu",
                            shard->path, tensor->name, (unsigned long long)end,
                            (unsigned long long)shard->identity.size);
    }
    if (end != shard->identity.size)
        return tm_error(TM_BAD_DATA,
                        "%s: its tensors end at byte %llu, the file at %llu",
                        shard->path, (unsigned long long)end,
                        (unsigned long long)shard->identity.size);
    return TM_OK;
}

/* The shard of `like` that has the same header, or NULL. */
static const struct tm_shard *find_same(const struct tm_checkpoint *like,
                                        const struct tm_shard *shard)
{
    for (size_t i = 0; like != NULL && i < like->num_shards; i++)
        if (like->shards[i].header_length == shard->header_length &&
            memcmp(&like->shards[i].header_digest, &shard->header_digest,
                   sizeof(shard->header_digest)) == 0)
            return &like->shards[i];
    return NULL;
}

/* Takes over what the same header of another checkpoint says. */
static enum tm_status take_over(struct tm_checkpoint *c, size_t number,
                                const struct tm_checkpoint *like,
                                const struct tm_shard *same)
{
    struct tm_shard *shard = &c->shards[number];

    if (!reserve(c, same->count))
        return tm_no_memory();
    for (size_t i = 0; i < same->count; i++) {
        struct tm_tensor *tensor = &c->tensors[c->num_tensors++];

        *tensor = like->tensors[same->first + i];
        tensor->shard = (uint32_t)number;
    }
    shard->metadata = same->metadata;
    return TM_OK;
}

static enum tm_status parse_text(struct tm_checkpoint *c, size_t number,
                                 const char *text)
{
    struct tm_shard *shard = &c->shards[number];
    struct reading reading = {.checkpoint = c, .shard = (uint32_t)number};
    const struct tm_header_visitor visitor = {
        .context = &reading, .tensor = add_tensor, .metadata = add_metadata};

    shard->metadata_end = &shard->metadata;
    return tm_safetensors_parse(shard->path, text, shard->header_length,
                                shard->identity.size - shard->data_start,
                                &visitor);
}

static enum tm_status parse_header(struct tm_checkpoint *c, size_t number,
                                   const char *text,
                                   const struct tm_checkpoint *like)
{
    struct tm_shard *shard = &c->shards[number];
    const struct tm_shard *same;
    enum tm_status status;

    shard->first = c->num_tensors;
    shard->data_start = 8 + shard->header_length;
    shard->header_digest = tm_digest_of(text, shard->header_length);
    same = find_same(like, shard);
    status = same != NULL ? take_over(c, number, like, same)
                          : parse_text(c, number, text);
    if (status != TM_OK)
        return status;
    shard->count = c->num_tensors - shard->first;
    if (shard->count > 0 && same == NULL)
        qsort(c->tensors + shard->first, shard->count, sizeof(*c->tensors),
              compare_tensors);
    return check_tiling(c, shard);
}

/* Whether every tensor is in the shard that the index names, and no other. */
static enum tm_status check_index(const struct tm_checkpoint *c)
{
    const struct tm_index *index = c->index;
    enum tm_status status = TM_OK;
    uint64_t total = 0;

    for (size_t i = 0; i < index->num_entries; i++) {
        const struct tm_index_entry *entry = &index->entries[i];
        const struct tm_tensor *tensor = tm_checkpoint_get(c, entry->tensor);

        if (tensor == NULL || tensor->shard != entry->shard)
            status = tm_error(TM_BAD_DATA,
                              "%s: tensor '%s': is not in %s as %s says",
                              c->path, entry->tensor,
                              c->shards[entry->shard].name, index->path);
    }
    if (status == TM_OK && index->num_entries != c->num_tensors)
        tm_warning("%s: lists %zu tensors, the shards hold %zu", index->path,
                   index->num_entries, c->num_tensors);
    for (size_t t = 0; t < c->num_tensors; t++)
        total += c->tensors[t].bytes;
    if (index->has_total_size && index->total_size != total)
        tm_warning("%s: total_size is %llu, the tensors have %llu bytes",
                   index->path, (unsigned long long)index->total_size,
                   (unsigned long long)total);
    return status;
}

static void free_index(struct tm_checkpoint *c)
{
    if (c->index != NULL)
        tm_index_free(c->index);
    free(c->index);
    c->index = NULL;
}

enum tm_status tm_checkpoint_finish(struct tm_checkpoint *checkpoint)
{
    struct tm_checkpoint *c = checkpoint;
    enum tm_status status = TM_OK;

    if (c->num_tensors >= UINT32_MAX)
        status = tm_error(TM_BAD_DATA, "%s: too many tensors", c->path);
    if (status == TM_OK)
        status = build_table(c);
    if (status == TM_OK && c->index != NULL)
        status = check_index(c);
    return status;
}

enum tm_status tm_checkpoint_parse_headers(struct tm_checkpoint *checkpoint,
                                           const struct tm_checkpoint *like)
{
    struct tm_checkpoint *c = checkpoint;
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < c->num_shards; i++) {
        struct tm_shard *shard = &c->shards[i];
        const enum tm_status own = parse_header(c, i, shard->header, like);

        free(shard->header);
        shard->header = NULL;
        if (own != TM_OK)
            status = own;
    }
    if (status == TM_OK)
        status = tm_checkpoint_finish(c);
    free_index(c);
    return status;
}

enum tm_status tm_checkpoint_add_header(struct tm_checkpoint *checkpoint,
                                        size_t number, const char *text,
                                        size_t length, uint64_t file_bytes)
{
    struct tm_shard *shard = &checkpoint->shards[number];

    shard->header_length = length;
    shard->identity.size = file_bytes;
    return parse_header(checkpoint, number, text, NULL);
}

enum tm_status tm_checkpoint_open(struct tm_disk *disk, const char *path,
                                  struct tm_checkpoint *checkpoint)
{
    enum tm_status status = tm_checkpoint_find(disk, path, checkpoint);

    if (status == TM_OK)
        status = tm_checkpoint_parse_index(checkpoint);
    if (status == TM_OK)
        status = tm_checkpoint_read_headers(disk, checkpoint);
    if (status == TM_OK)
        status = tm_checkpoint_parse_headers(checkpoint, NULL);
    return status;
}

enum tm_status tm_checkpoint_from_header(const char *text, size_t length,
                                         uint64_t data_bytes,
                                         struct tm_checkpoint *checkpoint)
{
    static const char *const name = "input";
    uint64_t file_bytes;
    enum tm_status status;

    *checkpoint = (struct tm_checkpoint){.path = name};
    if (!tm_add(8 + (uint64_t)length, data_bytes, &file_bytes))
        return tm_error(TM_USAGE, "too large");
    status = tm_checkpoint_list(checkpoint, &name, 1);
    if (status == TM_OK)
        status =
            tm_checkpoint_add_header(checkpoint, 0, text, length, file_bytes);
    if (status == TM_OK)
        status = tm_checkpoint_finish(checkpoint);
    return status;
}

void tm_checkpoint_close(struct tm_checkpoint *checkpoint)
{
    struct tm_checkpoint *c = checkpoint;

    for (size_t i = 0; i < c->num_shards; i++)
        free(c->shards[i].header);
    free(c->tensors);
    free(c->table);
    free_index(c);
    tm_arena_free(&c->arena);
    *c = (struct tm_checkpoint){0};
}
