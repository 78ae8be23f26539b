/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe_file: see recipe_file.h; and recipe_reader.h for the other files that
 * belong to it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/recipe_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/recipe/recipe_reader.h"

/* --- the file ------------------------------------------------------------*/

static const char *shown(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* Appends all of an open file, at most one byte more than is allowed. */
static enum tm_status take_all(int fd, const char *path, struct tm_text *text)
{
    char piece[1 << 15];

    while (text->length <= TM_YAML_MAX_BYTES) {
        const ssize_t n = read(fd, piece, sizeof(piece));

        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_error(errno == EISDIR ? TM_USAGE : TM_IO_ERROR,
                            "%s: cannot be read: %s", path, strerror(errno));
        if (!tm_text_append(text, piece, (size_t)n))
            return tm_no_memory();
    }
    return TM_OK;
}

enum tm_status tm_recipe_load(const char *path, struct tm_text *text)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    const int fd =
        is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    enum tm_status status;

    *text = (struct tm_text){0};
    if (fd < 0)
        return tm_error(TM_NO_INPUT, "%s: cannot be opened: %s", path,
                        strerror(errno));
    status = take_all(fd, shown(path), text);
    if (!is_stdin)
        close(fd);
    return status;
}

/* --- documents -----------------------------------------------------------*/

/* The name of a document; NULL: it has none. */
static const char *document_name(const struct tm_yaml_document *document)
{
    const struct tm_yaml_node *name = tm_yaml_get(document->root, "name");

    if (tm_yaml_is_null(name) || name->kind != TM_YAML_SCALAR)
        return NULL;
    return name->text;
}

/* Empty ones, between two markers or behind the last, are nothing. */
static struct tm_yaml_document *leave_out_empty(struct tm_yaml_document *first)
{
    struct tm_yaml_document **tail = &first;

    while (*tail != NULL) {
        if (tm_yaml_is_null((*tail)->root))
            *tail = (*tail)->next;
        else
            tail = &(*tail)->next;
    }
    return first;
}

static bool is_wanted(const struct tm_yaml_document *document, const char *name)
{
    const char *own = document_name(document);

    if (name == NULL || own == NULL)
        return name == own;
    return strcmp(name, own) == 0;
}

/* The names that there are, "a, b", as far as there is room. */
static void list_names(const struct tm_yaml_document *documents, char *names,
                       size_t size)
{
    size_t length = 0;

    snprintf(names, size, "none has a name");
    for (; documents != NULL && length < size; documents = documents->next) {
        const char *name = document_name(documents);

        if (name != NULL)
            length += (size_t)snprintf(names + length, size - length, "%s%s",
                                       length > 0 ? ", " : "", name);
    }
}

/* None is the one that was asked for, or that has no name. */
static void report_none(struct tm_reader *reader,
                        const struct tm_yaml_document *documents)
{
    const char *name = reader->reading->document;
    char names[400];

    list_names(documents, names, sizeof(names));
    if (name != NULL)
        tm_reader_error(reader, (struct tm_place){0},
                        "no document is named '%s' (there is: %s)", name,
                        names);
    else
        tm_reader_error(reader, (struct tm_place){0},
                        "each document has a name, choose one with --document: "
                        "%s",
                        names);
}

static void report_second(struct tm_reader *reader,
                          const struct tm_yaml_document *document,
                          const char *name)
{
    const struct tm_place place = document->root->place;

    if (name != NULL)
        tm_reader_error(reader, place, "a second document named '%s'", name);
    else
        tm_reader_error(reader, place,
                        "a second document without a name (all but one need a "
                        "'name')");
}

/* The document that was asked for; NULL: reported. */
static struct tm_yaml_document *choose(struct tm_reader *reader,
                                       struct tm_yaml_document *documents)
{
    const char *name = reader->reading->document;
    struct tm_yaml_document *chosen = NULL;

    if (documents == NULL) {
        tm_reader_error(reader, (struct tm_place){0}, "there is no recipe");
        return NULL;
    }
    if (name == NULL && documents->next == NULL)
        return documents;
    for (struct tm_yaml_document *d = documents; d != NULL; d = d->next) {
        if (!is_wanted(d, name))
            continue;
        if (chosen != NULL) {
            report_second(reader, d, name);
            return NULL;
        }
        chosen = d;
    }
    if (chosen == NULL)
        report_none(reader, documents);
    return chosen;
}

/* --- reading -------------------------------------------------------------*/

/* Names of overrides for messages; false: reported. */
static bool name_overrides(struct tm_reader *reader)
{
    const struct tm_recipe_reading *reading = reader->reading;
    const char **names = tm_arena_alloc(
        &reader->tree, (reading->num_overrides + 1) * sizeof(*names));

    reader->override_names = names;
    for (size_t i = 0; names != NULL && i < reading->num_overrides; i++) {
        const size_t length = strlen(reading->overrides[i].path);
        char *name = tm_arena_alloc(&reader->tree, length + 7);

        if (name == NULL) {
            names = NULL;
            break;
        }
        memcpy(name, "--set ", 6);
        memcpy(name + 6, reading->overrides[i].path, length + 1);
        names[i] = name;
    }
    if (names == NULL)
        tm_reader_fail(reader, tm_no_memory());
    return names != NULL;
}

static void read_document(struct tm_reader *reader,
                          const struct tm_yaml_document *document,
                          const char *bytes)
{
    struct tm_recipe *recipe = reader->recipe;
    struct tm_yaml_node *root = document->root;

    recipe->text = tm_arena_copy(&recipe->arena, bytes + document->begin,
                                 document->end - document->begin);
    if (recipe->text == NULL) {
        tm_reader_fail(reader, tm_no_memory());
        return;
    }
    for (size_t k = 0; k < reader->reading->num_overrides; k++)
        tm_reader_set(reader, &root, k);
    if (reader->status == TM_OK)
        tm_reader_top(reader, root);
    if (reader->status != TM_SYSTEM && !tm_reader_goes_on(reader))
        tm_error(reader->status, "%s: after %u mistakes the rest was not read",
                 reader->path, reader->num_errors);
}

/* *recipe with nothing but what no file says. */
static void clear(struct tm_recipe *recipe)
{
    *recipe = (struct tm_recipe){
        .shard_size = recipe->shard_size,
        .seed = recipe->seed,
        .allow_missing = recipe->allow_missing,
        .allow_extra = recipe->allow_extra,
    };
}

static void parse(struct tm_reader *reader, const char *bytes, size_t length)
{
    struct tm_yaml_document *documents, *document;
    const enum tm_status status =
        tm_yaml_read(&reader->tree, reader->path, bytes, length, &documents);

    if (status != TM_OK) {
        tm_reader_fail(reader, status);
        return;
    }
    document = choose(reader, leave_out_empty(documents));
    if (document != NULL && name_overrides(reader))
        read_document(reader, document, bytes);
}

enum tm_status tm_recipe_parse(const struct tm_recipe_reading *reading,
                               const char *bytes, size_t length,
                               struct tm_recipe *recipe)
{
    struct tm_reader reader = {.reading = reading, .recipe = recipe};

    clear(recipe);
    reader.path = shown(reading->path);
    recipe->path = tm_reader_copy(&reader, reader.path);
    if (recipe->path != NULL)
        parse(&reader, bytes, length);
    free(reader.columns);
    free(reader.last_slice);
    tm_names_free(&reader.models);
    tm_names_free(&reader.ignored);
    tm_arena_free(&reader.tree);
    return reader.status;
}

void tm_recipe_free(struct tm_recipe *recipe)
{
    tm_arena_free(&recipe->arena);
}

/* --- listing -------------------------------------------------------------*/

enum tm_status tm_recipe_list(const char *path, const char *bytes,
                              size_t length, struct tm_recipe_names *names)
{
    struct tm_yaml_document *documents;
    enum tm_status status;
    size_t count = 0;

    *names = (struct tm_recipe_names){0};
    status =
        tm_yaml_read(&names->arena, shown(path), bytes, length, &documents);
    if (status != TM_OK)
        return status;
    documents = leave_out_empty(documents);
    for (struct tm_yaml_document *d = documents; d != NULL; d = d->next)
        count++;
    names->names =
        tm_arena_alloc(&names->arena, (count + 1) * sizeof(*names->names));
    if (names->names == NULL)
        return tm_no_memory();
    for (; documents != NULL; documents = documents->next) {
        const char *name = document_name(documents);

        names->names[names->count++] = name != NULL ? name : "";
    }
    return TM_OK;
}
