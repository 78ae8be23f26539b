/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_builder: see yaml_builder.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/yaml_builder.h"

#include <stdlib.h>
#include <string.h>

#include "src/recipe/place.h"

static enum tm_status wrong(const struct tm_yaml_builder *builder,
                            struct tm_place place, const char *what)
{
    return tm_place_error(TM_USAGE, builder->path, place, "%s", what);
}

/* --- nodes ---------------------------------------------------------------*/

static struct tm_yaml_node *make_node(struct tm_yaml_builder *builder,
                                      enum tm_yaml_kind kind,
                                      struct tm_place place)
{
    struct tm_yaml_node *node = tm_arena_alloc(builder->arena, sizeof(*node));

    if (node == NULL) {
        tm_no_memory();
        return NULL;
    }
    *node = (struct tm_yaml_node){
        .kind = kind, .place = place, .text = "", .size = 1};
    return node;
}

static enum tm_status append(struct tm_yaml_builder *builder,
                             struct tm_yaml_frame *frame,
                             struct tm_yaml_node *value)
{
    struct tm_yaml_item *item = tm_arena_alloc(builder->arena, sizeof(*item));

    if (item == NULL)
        return tm_no_memory();
    *item = (struct tm_yaml_item){.key = frame->key, .value = value};
    *frame->tail = item;
    frame->tail = &item->next;
    frame->key = NULL;
    frame->node->count++;
    return TM_OK;
}

/* What a node that is complete adds to the one it is in. */
static void account(struct tm_yaml_node *parent,
                    const struct tm_yaml_node *node)
{
    parent->size += node->size;
    if (parent->height < node->height + 1)
        parent->height = node->height + 1;
}

/* Puts a node, which may be about to be filled, where it belongs. */
static enum tm_status place_node(struct tm_yaml_builder *builder,
                                 struct tm_yaml_node *node)
{
    struct tm_yaml_frame *frame;

    builder->size += node->size;
    if (builder->size > TM_YAML_MAX_NODES)
        return wrong(builder, node->place,
                     "more than 1000000 values, aliases written out");
    if (builder->depth + node->height >= TM_YAML_MAX_DEPTH)
        return wrong(builder, node->place, "nested more than 64 deep");
    if (builder->depth == 0) {
        builder->root = node;
        return TM_OK;
    }
    frame = &builder->frames[builder->depth - 1];
    if (!node->is_open)
        account(frame->node, node);
    if (frame->node->kind == TM_YAML_LIST || frame->key != NULL)
        return append(builder, frame, node);
    if (node->kind != TM_YAML_SCALAR)
        return wrong(builder, node->place, "a key that is no scalar");
    frame->key = node;
    return TM_OK;
}

/* --- anchors -------------------------------------------------------------*/

static enum tm_status set_anchor(struct tm_yaml_builder *builder,
                                 const char *name, struct tm_yaml_node *node)
{
    struct tm_yaml_node **more = builder->anchored;
    uint32_t number;

    if (name == NULL)
        return TM_OK;
    name = tm_arena_copy(builder->arena, name, strlen(name));
    if (name == NULL)
        return tm_no_memory();
    number = tm_names_add(&builder->anchors, name);
    if (number == TM_NAMES_NONE)
        return TM_SYSTEM;
    if (number >= builder->anchors_capacity) {
        const size_t capacity = 2 * builder->anchors_capacity + 16;

        more = realloc(more, capacity * sizeof(struct tm_yaml_node *));
        if (more == NULL)
            return tm_no_memory();
        builder->anchored = more;
        builder->anchors_capacity = capacity;
    }
    builder->anchored[number] = node;
    return TM_OK;
}

enum tm_status tm_yaml_builder_alias(struct tm_yaml_builder *builder,
                                     struct tm_place place, const char *name)
{
    const uint32_t number = tm_names_find(&builder->anchors, name);

    if (number == TM_NAMES_NONE)
        return tm_place_error(TM_USAGE, builder->path, place,
                              "no anchor '%s' before this alias", name);
    if (builder->anchored[number]->is_open)
        return tm_place_error(TM_USAGE, builder->path, place,
                              "'%s' would contain itself", name);
    return place_node(builder, builder->anchored[number]);
}

/* --- mappings ------------------------------------------------------------*/

static bool is_merge_key(const struct tm_yaml_node *key)
{
    return key->is_plain && strcmp(key->text, "<<") == 0;
}

/* Puts members of `from` at the end of `map` whose keys are new there. */
static enum tm_status merge_from(struct tm_yaml_builder *builder,
                                 const struct tm_yaml_node *from,
                                 struct tm_yaml_frame *frame,
                                 struct tm_names *keys)
{
    for (const struct tm_yaml_item *item = from->first; item != NULL;
         item = item->next) {
        const size_t before = keys->count;
        enum tm_status status;

        if (tm_names_add(keys, item->key->text) == TM_NAMES_NONE)
            return TM_SYSTEM;
        if (keys->count == before)
            continue;
        frame->key = item->key;
        status = append(builder, frame, item->value);
        if (status != TM_OK)
            return status;
    }
    return TM_OK;
}

/* What a merge key brings: a mapping, or a list of them. */
static enum tm_status merge(struct tm_yaml_builder *builder,
                            const struct tm_yaml_node *value,
                            struct tm_yaml_frame *frame, struct tm_names *keys)
{
    if (value->kind == TM_YAML_MAP)
        return merge_from(builder, value, frame, keys);
    if (value->kind != TM_YAML_LIST)
        return wrong(builder, value->place, "'<<' takes a mapping");
    for (const struct tm_yaml_item *item = value->first; item != NULL;
         item = item->next) {
        enum tm_status status;

        if (item->value->kind != TM_YAML_MAP)
            return wrong(builder, item->value->place, "'<<' takes mappings");
        status = merge_from(builder, item->value, frame, keys);
        if (status != TM_OK)
            return status;
    }
    return TM_OK;
}

/* The place of the member that has the same key as `item`. */
static enum tm_status duplicate(const struct tm_yaml_builder *builder,
                                const struct tm_yaml_node *map,
                                const struct tm_yaml_item *item)
{
    const struct tm_yaml_item *first = map->first;

    while (strcmp(first->key->text, item->key->text) != 0)
        first = first->next;
    return tm_place_error(TM_USAGE, builder->path, item->key->place,
                          "duplicate key '%s', first in line %u",
                          item->key->text, first->key->place.line);
}

/*
 * The mapping is complete: keys must differ, and what merge keys name comes
 * in where there is no key of its own. `keys` begins empty.
 */
static enum tm_status settle(struct tm_yaml_builder *builder,
                             struct tm_yaml_frame *frame, struct tm_names *keys)
{
    struct tm_yaml_node *map = frame->node;
    struct tm_yaml_item *merges = NULL, **last = &merges;
    enum tm_status status = TM_OK;

    frame->tail = &map->first;
    while (*frame->tail != NULL) {
        struct tm_yaml_item *item = *frame->tail;
        const size_t before = keys->count;

        if (is_merge_key(item->key)) {
            *frame->tail = item->next;
            *last = item;
            last = &item->next;
            map->count--;
            continue;
        }
        if (tm_names_add(keys, item->key->text) == TM_NAMES_NONE)
            return TM_SYSTEM;
        if (keys->count == before)
            return duplicate(builder, map, item);
        frame->tail = &item->next;
    }
    *last = NULL;
    for (; merges != NULL && status == TM_OK; merges = merges->next)
        status = merge(builder, merges->value, frame, keys);
    return status;
}

/* --- what the parser says ------------------------------------------------*/

enum tm_status tm_yaml_builder_scalar(struct tm_yaml_builder *builder,
                                      struct tm_place place, const char *text,
                                      size_t length, bool is_plain,
                                      const char *anchor)
{
    struct tm_yaml_node *node = make_node(builder, TM_YAML_SCALAR, place);
    enum tm_status status;

    if (node == NULL)
        return TM_SYSTEM;
    if (memchr(text, '\0', length) != NULL)
        return wrong(builder, place, "text with a NUL character");
    node->text = tm_arena_copy(builder->arena, text, length);
    if (node->text == NULL)
        return tm_no_memory();
    node->is_plain = is_plain;
    status = place_node(builder, node);
    if (status == TM_OK)
        status = set_anchor(builder, anchor, node);
    return status;
}

enum tm_status tm_yaml_builder_open(struct tm_yaml_builder *builder,
                                    struct tm_place place,
                                    enum tm_yaml_kind kind, const char *anchor)
{
    struct tm_yaml_node *node = make_node(builder, kind, place);
    enum tm_status status;

    if (node == NULL)
        return TM_SYSTEM;
    node->is_open = true;
    status = place_node(builder, node);
    if (status == TM_OK)
        status = set_anchor(builder, anchor, node);
    if (status != TM_OK)
        return status;
    builder->frames[builder->depth++] =
        (struct tm_yaml_frame){.node = node, .tail = &node->first};
    return TM_OK;
}

enum tm_status tm_yaml_builder_close(struct tm_yaml_builder *builder)
{
    struct tm_yaml_frame *frame = &builder->frames[--builder->depth];
    enum tm_status status = TM_OK;

    if (frame->node->kind == TM_YAML_MAP) {
        struct tm_names keys = {0};

        status = settle(builder, frame, &keys);
        tm_names_free(&keys);
    }
    frame->node->is_open = false;
    if (builder->depth > 0)
        account(builder->frames[builder->depth - 1].node, frame->node);
    return status;
}

void tm_yaml_builder_next(struct tm_yaml_builder *builder)
{
    builder->root = NULL;
    tm_names_free(&builder->anchors);
}

void tm_yaml_builder_free(struct tm_yaml_builder *builder)
{
    tm_names_free(&builder->anchors);
    free(builder->anchored);
}
