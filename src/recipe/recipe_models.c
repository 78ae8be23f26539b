/* SPDX-License-Identifier: Apache-2.0 */
/* recipe_models: model references and columns; see recipe_reader.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/recipe/hub.h"
#include "src/recipe/recipe_reader.h"

/* --- references ----------------------------------------------------------*/

/* A reference taken apart, in the tree's memory. */
struct parts {
    const char *name;
    const char *path;
    const char *revision; /* NULL: none */
};

static bool exists(const struct tm_reader *reader, const char *path)
{
    return !reader->reading->finds_nothing && access(path, F_OK) == 0;
}

static void refuse_lora(struct tm_reader *reader, struct tm_place place)
{
    tm_reader_error(reader, place,
                    "LoRA adapters are not merged: merge the adapter into its "
                    "base first");
}

/* The path that a name stands for; NULL: it is no other document's. */
static const char *alias_path(const struct tm_reader *reader, const char *name)
{
    const struct tm_recipe_reading *reading = reader->reading;

    for (size_t i = 0; i < reading->num_aliases; i++)
        if (strcmp(reading->aliases[i].name, name) == 0 &&
            (reading->document == NULL || strcmp(reading->document, name) != 0))
            return reading->aliases[i].path;
    return NULL;
}

/* PATH[@REVISION][+LORA]; what exists as it stands is a path. */
static bool split(struct tm_reader *reader, const struct tm_yaml_node *node,
                  struct parts *parts)
{
    const char *at = strchr(node->text, '@');

    parts->name = parts->path = node->text;
    if (node->text[0] == '\0') {
        tm_reader_error(reader, node->place, "a model without a name");
        return false;
    }
    if (alias_path(reader, node->text) != NULL || exists(reader, node->text))
        return true;
    if (strchr(node->text, '+') != NULL) {
        refuse_lora(reader, node->place);
        return false;
    }
    if (at == NULL)
        return true;
    if (at == node->text || at[1] == '\0' || strchr(at + 1, '@') != NULL) {
        tm_reader_error(reader, node->place,
                        "model '%s' is not of the form PATH@REVISION",
                        node->text);
        return false;
    }
    parts->path =
        tm_arena_copy(&reader->tree, node->text, (size_t)(at - node->text));
    parts->revision = at + 1;
    if (parts->path == NULL)
        tm_reader_fail(reader, tm_no_memory());
    return parts->path != NULL;
}

/* "PATH@REVISION", in the tree's memory. */
static bool join(struct tm_reader *reader, struct tm_place place,
                 struct parts *parts)
{
    const size_t length = strlen(parts->path) + strlen(parts->revision) + 2;
    char *name;

    if (strpbrk(parts->path, "@+") != NULL ||
        strpbrk(parts->revision, "@+") != NULL) {
        tm_reader_error(reader, place,
                        "a path with '@' or '+' takes no "
                        "revision");
        return false;
    }
    name = tm_arena_alloc(&reader->tree, length);
    if (name == NULL) {
        tm_reader_fail(reader, tm_no_memory());
        return false;
    }
    snprintf(name, length, "%s@%s", parts->path, parts->revision);
    parts->name = name;
    return true;
}

/* {path, revision?} */
static bool read_path(struct tm_reader *reader, const struct tm_yaml_node *node,
                      struct parts *parts)
{
    const struct tm_yaml_node *path = NULL, *revision = NULL;
    const struct tm_reader_key keys[] = {{"path", &path},
                                         {"revision", &revision}};

    if (!tm_reader_map(reader, node, "the model", keys, 2))
        return false;
    if (path == NULL) {
        tm_reader_error(reader, node->place, "a model without 'path'");
        return false;
    }
    parts->path = parts->name = tm_reader_text(reader, path, "'path'");
    if (parts->path == NULL)
        return false;
    if (parts->path[0] == '\0') {
        tm_reader_error(reader, path->place, "a model without a name");
        return false;
    }
    if (revision == NULL)
        return true;
    parts->revision = tm_reader_text(reader, revision, "'revision'");
    return parts->revision != NULL && join(reader, revision->place, parts);
}

/* {model, lora?, override_architecture?} */
static bool read_mapping(struct tm_reader *reader,
                         const struct tm_yaml_node *node, struct parts *parts)
{
    const struct tm_yaml_node *model = NULL, *lora = NULL, *override = NULL;
    const struct tm_reader_key keys[] = {{"model", &model},
                                         {"lora", &lora},
                                         {"override_architecture", &override}};

    if (!tm_reader_map(reader, node, "the model", keys, 3))
        return false;
    if (lora != NULL) {
        refuse_lora(reader, lora->place);
        return false;
    }
    if (override != NULL)
        tm_reader_warning(reader, override->place,
                          "'override_architecture' has no effect");
    if (model == NULL) {
        tm_reader_error(reader, node->place, "a model without 'model'");
        return false;
    }
    if (model->kind == TM_YAML_SCALAR)
        return split(reader, model, parts);
    return read_path(reader, model, parts);
}

/* Where the model is, in the recipe's memory; false: reported. */
static bool find(struct tm_reader *reader, struct tm_place place,
                 struct parts *parts)
{
    const char *alias = alias_path(reader, parts->name);
    char where[512];
    enum tm_status status;

    if (alias != NULL || reader->reading->finds_nothing) {
        parts->path =
            tm_reader_copy(reader, alias != NULL ? alias : parts->path);
        return parts->path != NULL;
    }
    if (place.line > 0)
        snprintf(where, sizeof(where), "%.480s:%u:%u: ", reader->path,
                 place.line, place.column);
    else
        snprintf(where, sizeof(where),
                 "%.500s: ", tm_reader_where(reader, place));
    if (parts->revision != NULL && exists(reader, parts->path))
        tm_reader_warning(reader, place,
                          "revision '%s' has no effect on a path",
                          parts->revision);
    status = tm_hub_find(&reader->recipe->arena, parts->path, parts->revision,
                         where, &parts->path);
    if (status == TM_OK)
        parts->path = tm_reader_copy(reader, parts->path);
    else
        tm_reader_fail(reader, status);
    return status == TM_OK && parts->path != NULL;
}

static bool read_parts(struct tm_reader *reader,
                       const struct tm_yaml_node *node, struct parts *parts)
{
    if (node->kind == TM_YAML_MAP)
        return read_mapping(reader, node, parts);
    if (node->kind == TM_YAML_SCALAR && !tm_yaml_is_null(node))
        return split(reader, node, parts);
    tm_reader_error(reader, node->place, "no model");
    return false;
}

bool tm_reader_reference(struct tm_reader *reader,
                         const struct tm_yaml_node *node,
                         struct tm_reference *reference)
{
    struct parts parts = {0};

    if (!read_parts(reader, node, &parts) || !find(reader, node->place, &parts))
        return false;
    reference->name = tm_reader_copy(reader, parts.name);
    reference->path = parts.path;
    return reference->name != NULL;
}

/* --- columns -------------------------------------------------------------*/

/* Room for one more column; false: reported. */
static bool make_room(struct tm_reader *reader)
{
    const size_t capacity = 2 * reader->columns_capacity + 16;
    struct tm_vector *columns;
    uint32_t *last_slice;

    if (reader->models.count < reader->columns_capacity)
        return true;
    columns = realloc(reader->columns, capacity * sizeof(*columns));
    if (columns != NULL)
        reader->columns = columns;
    last_slice = realloc(reader->last_slice, capacity * sizeof(*last_slice));
    if (last_slice != NULL)
        reader->last_slice = last_slice;
    if (columns == NULL || last_slice == NULL) {
        tm_reader_fail(reader, tm_no_memory());
        return false;
    }
    reader->columns_capacity = capacity;
    return true;
}

/* A model that was not met before. A path that is not found is reported, and
 * the column there: so it is reported once. */
static uint32_t add_column(struct tm_reader *reader, struct tm_place place,
                           struct parts *parts)
{
    const char *name = tm_reader_copy(reader, parts->name);
    uint32_t column;

    if (name == NULL || !make_room(reader))
        return TM_NO_MODEL;
    column = tm_names_add(&reader->models, name);
    if (column == TM_NAMES_NONE) {
        tm_reader_fail(reader, TM_SYSTEM);
        return TM_NO_MODEL;
    }
    find(reader, place, parts);
    reader->columns[column] =
        (struct tm_vector){.path = parts->path, .name = name, .place = place};
    reader->last_slice[column] = 0;
    return column;
}

uint32_t tm_reader_model(struct tm_reader *reader,
                         const struct tm_yaml_node *node)
{
    struct parts parts = {0};
    uint32_t column;

    if (!read_parts(reader, node, &parts))
        return TM_NO_MODEL;
    column = tm_names_find(&reader->models, parts.name);
    if (column != TM_NAMES_NONE)
        return column;
    return add_column(reader, node->place, &parts);
}
