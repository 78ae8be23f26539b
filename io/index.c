/* SPDX-License-Identifier: Apache-2.0 */
/* index: see index.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/index.h"

#include <stdlib.h>
#include <string.h>

#include "io/json.h"

struct parser {
    struct tm_index *index;
    struct tm_arena *arena;
    size_t shard_capacity;
    size_t entry_capacity;
    bool has_map;
};

static void *grow(void *array, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity > 0 ? *capacity * 2 : 16;
    return realloc(array, *capacity * size);
}

/* A name is a plain file name: no way out of the directory. */
static bool is_plain(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static enum tm_status add_shard(struct parser *p, const char *name,
                                uint32_t *shard)
{
    struct tm_index *index = p->index;
    const char **shards;

    /* Tensors mostly stand beside others of their shard. */
    if (index->num_shards > 0 &&
        strcmp(index->shards[index->num_shards - 1], name) == 0) {
        *shard = (uint32_t)index->num_shards - 1;
        return TM_OK;
    }
    shards = grow(index->shards, &p->shard_capacity, index->num_shards,
                  sizeof(*shards));
    if (shards == NULL)
        return tm_no_memory();
    index->shards = shards;
    shards[index->num_shards] = tm_arena_copy(p->arena, name, strlen(name));
    if (shards[index->num_shards] == NULL)
        return tm_no_memory();
    *shard = (uint32_t)index->num_shards++;
    return TM_OK;
}

static enum tm_status add_entry(void *context, const char *key,
                                struct tm_json_text *text)
{
    struct parser *p = context;
    struct tm_index *index = p->index;
    struct tm_index_entry *entries;
    enum tm_status status;
    json_t *value = tm_json_value(text);
    const char *name = json_string_value(value);

    if (value == NULL)
        return text->status;
    if (name == NULL || !is_plain(name)) {
        status = tm_error(TM_BAD_DATA,
                          "%s: tensor '%s': its shard is not a plain file "
                          "name: '%s'",
                          index->path, key, name != NULL ? name : "?");
        json_decref(value);
        return status;
    }
    entries = grow(index->entries, &p->entry_capacity, index->num_entries,
                   sizeof(*entries));
    if (entries == NULL) {
        json_decref(value);
        return tm_no_memory();
    }
    index->entries = entries;
    entries += index->num_entries;
    status = add_shard(p, name, &entries->shard);
    json_decref(value);
    entries->tensor = tm_arena_copy(p->arena, key, strlen(key));
    if (status != TM_OK)
        return status;
    if (entries->tensor == NULL)
        return tm_no_memory();
    index->num_entries++;
    return TM_OK;
}

static enum tm_status get_metadata(const struct parser *p,
                                   struct tm_json_text *text)
{
    struct tm_index *index = p->index;
    json_t *value = tm_json_value(text);
    const json_t *total;
    char *dump;

    if (value == NULL)
        return text->status;
    if (json_is_object(value)) {
        dump = tm_json_dump(value);
        index->metadata =
            dump != NULL ? tm_arena_copy(p->arena, dump, strlen(dump)) : NULL;
        free(dump);
        if (index->metadata == NULL) {
            json_decref(value);
            return tm_no_memory();
        }
    }
    total = json_object_get(value, "total_size");
    if (json_is_integer(total) && json_integer_value(total) >= 0) {
        index->total_size = (uint64_t)json_integer_value(total);
        index->has_total_size = true;
    }
    json_decref(value);
    return TM_OK;
}

static enum tm_status get_member(void *context, const char *key,
                                 struct tm_json_text *text)
{
    struct parser *p = context;

    if (strcmp(key, "weight_map") == 0 && !p->has_map) {
        p->has_map = true;
        return tm_json_members(text, add_entry, p);
    }
    if (strcmp(key, "weight_map") == 0)
        return tm_error(TM_BAD_DATA, "%s: has two weight_maps", p->index->path);
    if (strcmp(key, "metadata") == 0)
        return get_metadata(p, text);
    return tm_json_skip(text);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts the shards by name, once each, and renumbers the entries. */
static enum tm_status sort_shards(struct tm_index *index)
{
    const char **sorted = malloc((index->num_shards + 1) * sizeof(*sorted));
    size_t count = 0;

    if (sorted == NULL)
        return tm_no_memory();
    memcpy(sorted, index->shards, index->num_shards * sizeof(*sorted));
    qsort(sorted, index->num_shards, sizeof(*sorted), compare_names);
    for (size_t i = 0; i < index->num_shards; i++)
        if (count == 0 || strcmp(sorted[count - 1], sorted[i]) != 0)
            sorted[count++] = sorted[i];
    for (size_t i = 0; i < index->num_entries; i++) {
        const char **found =
            bsearch(&index->shards[index->entries[i].shard], sorted, count,
                    sizeof(*sorted), compare_names);

        index->entries[i].shard = (uint32_t)(found - sorted);
    }
    free(index->shards);
    index->shards = sorted;
    index->num_shards = count;
    return TM_OK;
}

enum tm_status tm_index_parse(struct tm_index *index, struct tm_arena *arena)
{
    struct parser parser = {.index = index, .arena = arena};
    struct tm_json_text text = {
        .path = index->path, .text = index->text, .length = index->length};
    enum tm_status status = tm_json_members(&text, get_member, &parser);

    if (status == TM_OK)
        status = tm_json_end(&text);
    if (status == TM_OK && index->num_shards == 0)
        status = tm_error(TM_BAD_DATA, "%s: names no shard in a weight_map",
                          index->path);
    if (status == TM_OK)
        status = sort_shards(index);
    free(index->text);
    index->text = NULL;
    return status;
}

void tm_index_free(struct tm_index *index)
{
    free(index->text);
    free(index->shards);
    free(index->entries);
}
