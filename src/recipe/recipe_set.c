/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe_set: --set; see recipe_reader.h.
 *
 * A path is keys and positions with dots between them. The tree may hold a
 * node in several places, so every node on the way is copied, and the copies
 * are changed.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>

#include "src/recipe/recipe_reader.h"

struct path {
    struct tm_reader *reader;
    size_t k;         /* number of the override */
    const char *text; /* the whole path */
    const char *rest; /* from the component that is next */
    struct tm_yaml_node *value;
    bool is_below_parameters;
};

static struct tm_place place_of(const struct path *path)
{
    return (struct tm_place){0, (unsigned)path->k + 1};
}

/* What stands where in the recipe, but for parameters. */
static bool is_recipe_key(const char *key)
{
    static const char *const keys[] = {"merge_method",
                                       "base_model",
                                       "models",
                                       "slices",
                                       "modules",
                                       "parameters",
                                       "dtype",
                                       "out_dtype",
                                       "chat_template",
                                       "tokenizer",
                                       "tokenizer_source",
                                       "name",
                                       "model",
                                       "sources",
                                       "layer_range",
                                       "residual_weight",
                                       "path",
                                       "revision",
                                       "lora",
                                       "source",
                                       "filter",
                                       "value",
                                       "tokens",
                                       "pad_to_multiple_of",
                                       "override_architecture"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* --- new nodes -----------------------------------------------------------*/

static void *allocate(struct path *path, size_t size)
{
    void *memory = tm_arena_alloc(&path->reader->tree, size);

    if (memory == NULL)
        tm_reader_fail(path->reader, tm_no_memory());
    return memory;
}

/* Adds a member at the end; NULL: reported. */
static struct tm_yaml_item *add_item(struct path *path,
                                     struct tm_yaml_node *node,
                                     struct tm_yaml_node *key,
                                     struct tm_yaml_node *value)
{
    struct tm_yaml_item **tail = &node->first;
    struct tm_yaml_item *item = allocate(path, sizeof(*item));

    if (item == NULL)
        return NULL;
    while (*tail != NULL)
        tail = &(*tail)->next;
    *item = (struct tm_yaml_item){.key = key, .value = value};
    *tail = item;
    node->count++;
    return item;
}

static struct tm_yaml_node *make_node(struct path *path, enum tm_yaml_kind kind,
                                      const char *text)
{
    struct tm_yaml_node *node = allocate(path, sizeof(*node));

    if (node != NULL)
        *node = (struct tm_yaml_node){
            .kind = kind, .text = text, .place = place_of(path)};
    return node;
}

/* A node with the same members, which is nowhere else. */
static struct tm_yaml_node *copy_node(struct path *path,
                                      const struct tm_yaml_node *node)
{
    struct tm_yaml_node *copy = make_node(path, node->kind, node->text);
    struct tm_yaml_item **tail;

    if (copy == NULL)
        return NULL;
    *copy = *node;
    tail = &copy->first;
    for (const struct tm_yaml_item *item = node->first; item != NULL;
         item = item->next) {
        struct tm_yaml_item *twin = allocate(path, sizeof(*twin));

        if (twin == NULL)
            return NULL;
        *twin = *item;
        *tail = twin;
        tail = &twin->next;
    }
    return copy;
}

/* --- the way -------------------------------------------------------------*/

/* The next component; NULL: memory, reported. */
static const char *take_component(struct path *path)
{
    const size_t length = strcspn(path->rest, ".");
    const char *name = tm_arena_copy(&path->reader->tree, path->rest, length);

    if (name == NULL)
        tm_reader_fail(path->reader, tm_no_memory());
    path->rest += length + (path->rest[length] == '.');
    return name;
}

/* The member of that name or position; NULL: there is none. */
static struct tm_yaml_item *find_item(const struct tm_yaml_node *node,
                                      const char *name)
{
    struct tm_yaml_item *item = node->first;
    unsigned long position;
    char *end;

    if (node->kind == TM_YAML_MAP) {
        while (item != NULL && strcmp(item->key->text, name) != 0)
            item = item->next;
        return item;
    }
    if (node->kind != TM_YAML_LIST || name[0] < '0' || name[0] > '9')
        return NULL;
    position = strtoul(name, &end, 10);
    if (*end != '\0')
        return NULL;
    while (item != NULL && position-- > 0)
        item = item->next;
    return item;
}

/* The value of `parameters` in the mapping `*node`, made if need be. */
static struct tm_yaml_node **enter_parameters(struct path *path,
                                              struct tm_yaml_node *node)
{
    struct tm_yaml_item *item = find_item(node, "parameters");

    if (item == NULL)
        item = add_item(path, node,
                        make_node(path, TM_YAML_SCALAR, "parameters"), NULL);
    if (item == NULL)
        return NULL;
    if (tm_yaml_is_null(item->value))
        item->value = make_node(path, TM_YAML_MAP, "");
    path->is_below_parameters = true;
    return item->value != NULL ? &item->value : NULL;
}

/* Says that there is nothing where the path leads. */
static void report(struct path *path)
{
    const size_t length = (size_t)(path->rest - path->text);
    const bool has_more = path->rest[0] != '\0';

    tm_reader_error(path->reader, place_of(path), "the recipe has no '%.*s'",
                    (int)(length - has_more), path->text);
}

/* Puts the value at the last component of the path. */
static void put(struct path *path, struct tm_yaml_node **slot, const char *name)
{
    struct tm_yaml_item *item = find_item(*slot, name);

    if (item != NULL) {
        item->value = path->value;
        return;
    }
    if ((*slot)->kind != TM_YAML_MAP) {
        report(path);
        return;
    }
    if (!path->is_below_parameters && !is_recipe_key(name)) {
        slot = enter_parameters(path, *slot);
        if (slot == NULL)
            return;
        *slot = copy_node(path, *slot);
        if (*slot != NULL)
            put(path, slot, name);
        return;
    }
    add_item(path, *slot, make_node(path, TM_YAML_SCALAR, name), path->value);
}

static void walk(struct path *path, struct tm_yaml_node **slot)
{
    while (tm_reader_goes_on(path->reader)) {
        const char *name = take_component(path);
        struct tm_yaml_item *item;

        *slot = copy_node(path, *slot);
        if (name == NULL || *slot == NULL)
            return;
        if (path->rest[0] == '\0') {
            put(path, slot, name);
            return;
        }
        if ((*slot)->kind == TM_YAML_MAP && strcmp(name, "parameters") == 0) {
            slot = enter_parameters(path, *slot);
            if (slot == NULL)
                return;
            continue;
        }
        item = find_item(*slot, name);
        if (item == NULL) {
            report(path);
            return;
        }
        slot = &item->value;
    }
}

/* --- the value -----------------------------------------------------------*/

/* Nodes of an override are in no line of the file. */
static void set_places(struct tm_yaml_node *node, struct tm_place place)
{
    node->place = place;
    for (struct tm_yaml_item *item = node->first; item != NULL;
         item = item->next) {
        if (item->key != NULL)
            item->key->place = place;
        set_places(item->value, place);
    }
}

static struct tm_yaml_node *read_value(struct path *path)
{
    struct tm_reader *reader = path->reader;
    const char *text = reader->reading->overrides[path->k].value;
    struct tm_yaml_document *documents;
    const enum tm_status status =
        tm_yaml_read(&reader->tree, reader->override_names[path->k], text,
                     strlen(text), &documents);
    struct tm_yaml_node *null;

    if (status != TM_OK) {
        tm_reader_fail(reader, status);
        return NULL;
    }
    if (documents != NULL && documents->next != NULL) {
        tm_reader_error(reader, place_of(path), "more than one value");
        return NULL;
    }
    if (documents != NULL) {
        set_places(documents->root, place_of(path));
        return documents->root;
    }
    null = make_node(path, TM_YAML_SCALAR, "");
    if (null != NULL)
        null->is_plain = true;
    return null;
}

void tm_reader_set(struct tm_reader *reader, struct tm_yaml_node **root,
                   size_t k)
{
    const char *text = reader->reading->overrides[k].path;
    struct path path = {.reader = reader, .k = k, .text = text, .rest = text};

    if (text[0] == '\0' || text[0] == '.' || text[strlen(text) - 1] == '.' ||
        strstr(text, "..") != NULL) {
        tm_reader_error(reader, place_of(&path),
                        "no path of keys and positions");
        return;
    }
    path.value = read_value(&path);
    if (path.value != NULL)
        walk(&path, root);
}
