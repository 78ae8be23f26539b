/* SPDX-License-Identifier: Apache-2.0 */
/* recipe_reader: errors, memory and keys; see recipe_reader.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/recipe_reader.h"

#include <stdarg.h>
#include <string.h>

/* More than these are of no help. */
#define MOST_ERRORS 20

/* --- errors --------------------------------------------------------------*/

const char *tm_reader_where(const struct tm_reader *reader,
                            struct tm_place place)
{
    if (place.line == 0 && place.column > 0)
        return reader->override_names[place.column - 1];
    return reader->path;
}

void tm_reader_fail(struct tm_reader *reader, enum tm_status status)
{
    if (reader->status == TM_OK || status == TM_SYSTEM)
        reader->status = status;
    reader->num_errors++;
}

void tm_reader_error(struct tm_reader *reader, struct tm_place place,
                     const char *format, ...)
{
    va_list args;

    if (!tm_reader_goes_on(reader))
        return;
    va_start(args, format);
    tm_reader_fail(reader,
                   tm_place_verror(TM_USAGE, tm_reader_where(reader, place),
                                   place, format, args));
    va_end(args);
}

void tm_reader_warning(const struct tm_reader *reader, struct tm_place place,
                       const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tm_place_vwarning(tm_reader_where(reader, place), place, format, args);
    va_end(args);
}

bool tm_reader_goes_on(const struct tm_reader *reader)
{
    return reader->status != TM_SYSTEM && reader->num_errors < MOST_ERRORS;
}

/* --- memory --------------------------------------------------------------*/

void *tm_reader_alloc(struct tm_reader *reader, size_t count, size_t size)
{
    void *memory = NULL;

    if (size == 0 || count <= SIZE_MAX / size)
        memory = tm_arena_alloc(&reader->recipe->arena, count * size);
    if (memory == NULL)
        tm_reader_fail(reader, tm_no_memory());
    else
        memset(memory, 0, count * size);
    return memory;
}

const char *tm_reader_copy(struct tm_reader *reader, const char *text)
{
    const char *copy =
        tm_arena_copy(&reader->recipe->arena, text, strlen(text));

    if (copy == NULL)
        tm_reader_fail(reader, tm_no_memory());
    return copy;
}

/* --- keys ----------------------------------------------------------------*/

void tm_reader_unknown(struct tm_reader *reader, const struct tm_yaml_node *key,
                       const struct tm_nearest *nearest)
{
    const char *before = nearest->name != NULL ? " (did you mean '" : "";
    const char *name = nearest->name != NULL ? nearest->name : "";
    const char *after = nearest->name != NULL ? "'?)" : "";

    if (reader->reading->lax)
        tm_reader_warning(reader, key->place, "unknown key '%s'%s%s%s",
                          key->text, before, name, after);
    else
        tm_reader_error(reader, key->place, "unknown key '%s'%s%s%s", key->text,
                        before, name, after);
}

/* Whether some method has a parameter of that name. */
static bool is_parameter(const char *name)
{
    for (const char *const *known = tm_known_parameters; *known != NULL;
         known++)
        if (strcmp(*known, name) == 0)
            return true;
    for (size_t m = 0; tm_methods[m] != NULL; m++)
        for (size_t i = 0; i < tm_methods[m]->num_parameters; i++)
            if (strcmp(tm_methods[m]->parameters[i].name, name) == 0)
                return true;
    return false;
}

/* A key that is none of `keys`; parameters are often written too high up. */
static void report(struct tm_reader *reader, const struct tm_yaml_node *key,
                   const struct tm_reader_key *keys, size_t count)
{
    struct tm_nearest nearest = {.word = key->text};
    bool has_parameters = false;

    for (size_t i = 0; i < count; i++) {
        tm_nearest_try(&nearest, keys[i].name);
        has_parameters |= strcmp(keys[i].name, "parameters") == 0;
    }
    if (!has_parameters || !is_parameter(key->text))
        tm_reader_unknown(reader, key, &nearest);
    else if (reader->reading->lax)
        tm_reader_warning(reader, key->place,
                          "'%s' has no effect outside 'parameters'", key->text);
    else
        tm_reader_error(reader, key->place,
                        "unknown key '%s' (it belongs under 'parameters')",
                        key->text);
}

bool tm_reader_map(struct tm_reader *reader, const struct tm_yaml_node *node,
                   const char *what, const struct tm_reader_key *keys,
                   size_t count)
{
    if (node->kind != TM_YAML_MAP) {
        tm_reader_error(reader, node->place, "%s is no mapping", what);
        return false;
    }
    for (const struct tm_yaml_item *item = node->first;
         item != NULL && tm_reader_goes_on(reader); item = item->next) {
        size_t i = 0;

        while (i < count && strcmp(keys[i].name, item->key->text) != 0)
            i++;
        if (i == count)
            report(reader, item->key, keys, count);
        else if (!tm_yaml_is_null(item->value))
            *keys[i].value = item->value;
    }
    return true;
}

const char *tm_reader_text(struct tm_reader *reader,
                           const struct tm_yaml_node *node, const char *what)
{
    if (node->kind == TM_YAML_SCALAR && !tm_yaml_is_null(node))
        return node->text;
    tm_reader_error(reader, node->place, "%s is no text", what);
    return NULL;
}
