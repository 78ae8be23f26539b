/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml: see yaml.h. Here libyaml is asked; what it says goes to
 * yaml_builder.c, and what scalars mean is in yaml_scalar.c.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/yaml.h"

#include <string.h>
#include <yaml.h>

#include "src/recipe/place.h"
#include "src/recipe/yaml_builder.h"

#define TAG "tag:yaml.org,2002:"

/* A text being read. */
struct text {
    yaml_parser_t parser;
    struct tm_yaml_builder builder;
    const char *bytes; /* behind a byte order mark */
    size_t length;
    /* Where the last document began: libyaml counts characters. */
    size_t seen_characters;
    size_t seen_bytes;
    struct tm_yaml_document *document; /* the one being built */
    struct tm_yaml_document **tail;    /* where the next one goes */
};

/* --- places and errors ---------------------------------------------------*/

static struct tm_place place_of(const yaml_mark_t *mark)
{
    return (struct tm_place){(unsigned)mark->line + 1,
                             (unsigned)mark->column + 1};
}

/* The byte at which the character with that index begins; marks only grow. */
static size_t byte_of(struct text *text, const yaml_mark_t *mark)
{
    const char *bytes = text->bytes;

    while (text->seen_characters < mark->index &&
           text->seen_bytes < text->length) {
        text->seen_bytes++;
        while (text->seen_bytes < text->length &&
               (bytes[text->seen_bytes] & 0xc0) == 0x80)
            text->seen_bytes++;
        text->seen_characters++;
    }
    return text->seen_bytes;
}

/* What libyaml finds before it looks at lines. */
static enum tm_status reader_error(const struct text *text)
{
    const yaml_parser_t *parser = &text->parser;
    struct tm_place place = {1, 1};
    size_t end = parser->problem_offset;

    if (end > text->length)
        end = text->length;
    for (size_t i = 0; i < end; i++) {
        place.column++;
        if (text->bytes[i] == '\n')
            place = (struct tm_place){place.line + 1, 1};
    }
    return tm_place_error(TM_USAGE, text->builder.path, place,
                          "not valid YAML: %s", parser->problem);
}

static enum tm_status parser_error(struct text *text)
{
    const yaml_parser_t *parser = &text->parser;
    struct tm_place place = place_of(&parser->problem_mark);
    size_t at;

    if (parser->error == YAML_MEMORY_ERROR)
        return tm_no_memory();
    if (parser->error == YAML_READER_ERROR)
        return reader_error(text);
    /* A problem may be noticed behind the last mark, or before it. */
    text->seen_bytes = text->seen_characters = 0;
    at = byte_of(text, &parser->problem_mark);
    if (at < text->length && text->bytes[at] == '\t')
        return tm_place_error(TM_USAGE, text->builder.path, place,
                              "not valid YAML: a tab where only spaces may be");
    if (parser->context != NULL)
        return tm_place_error(TM_USAGE, text->builder.path, place,
                              "not valid YAML: %s (%s that begins in line %zu)",
                              parser->problem, parser->context,
                              parser->context_mark.line + 1);
    return tm_place_error(TM_USAGE, text->builder.path, place,
                          "not valid YAML: %s", parser->problem);
}

/* --- scalars -------------------------------------------------------------*/

/* Whether a tag says no more than YAML's own rules would. */
static bool is_known_tag(const yaml_char_t *tag, const char *const *known)
{
    const char *name = (const char *)tag;

    if (name == NULL || strcmp(name, "!") == 0)
        return true;
    if (strncmp(name, TAG, strlen(TAG)) != 0)
        return false;
    for (; *known != NULL; known++)
        if (strcmp(name + strlen(TAG), *known) == 0)
            return true;
    return false;
}

static enum tm_status wrong_tag(const struct text *text,
                                const yaml_event_t *event,
                                const yaml_char_t *tag)
{
    return tm_place_error(TM_USAGE, text->builder.path,
                          place_of(&event->start_mark),
                          "tag '%s' means nothing here", (const char *)tag);
}

static enum tm_status take_scalar(struct text *text, const yaml_event_t *event)
{
    static const char *const known[] = {"str",  "int",   "float", "bool",
                                        "null", "merge", NULL};
    const yaml_char_t *tag = event->data.scalar.tag;
    bool is_plain = event->data.scalar.plain_implicit;

    if (!is_known_tag(tag, known))
        return wrong_tag(text, event, tag);
    if (tag != NULL && strncmp((const char *)tag, TAG, strlen(TAG)) == 0)
        is_plain = strcmp((const char *)tag, TAG "str") != 0;
    return tm_yaml_builder_scalar(&text->builder, place_of(&event->start_mark),
                                  (const char *)event->data.scalar.value,
                                  event->data.scalar.length, is_plain,
                                  (const char *)event->data.scalar.anchor);
}

static enum tm_status take_list(struct text *text, const yaml_event_t *event)
{
    static const char *const known[] = {"seq", NULL};
    const yaml_char_t *tag = event->data.sequence_start.tag;

    if (!is_known_tag(tag, known))
        return wrong_tag(text, event, tag);
    return tm_yaml_builder_open(
        &text->builder, place_of(&event->start_mark), TM_YAML_LIST,
        (const char *)event->data.sequence_start.anchor);
}

static enum tm_status take_map(struct text *text, const yaml_event_t *event)
{
    static const char *const known[] = {"map", NULL};
    const yaml_char_t *tag = event->data.mapping_start.tag;

    if (!is_known_tag(tag, known))
        return wrong_tag(text, event, tag);
    return tm_yaml_builder_open(&text->builder, place_of(&event->start_mark),
                                TM_YAML_MAP,
                                (const char *)event->data.mapping_start.anchor);
}

/* --- documents -----------------------------------------------------------*/

static enum tm_status open_document(struct text *text,
                                    const yaml_event_t *event)
{
    struct tm_yaml_document *document =
        tm_arena_alloc(text->builder.arena, sizeof(*document));
    size_t begin = byte_of(text, &event->start_mark);

    if (document == NULL)
        return tm_no_memory();
    /* Comments above the first belong to it. */
    if (text->document == NULL)
        begin = 0;
    else
        text->document->end = begin;
    *document = (struct tm_yaml_document){.begin = begin, .end = text->length};
    text->document = document;
    *text->tail = document;
    text->tail = &document->next;
    tm_yaml_builder_next(&text->builder);
    return TM_OK;
}

static enum tm_status take_event(struct text *text, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return open_document(text, event);
    case YAML_DOCUMENT_END_EVENT:
        text->document->root = text->builder.root;
        return TM_OK;
    case YAML_ALIAS_EVENT:
        return tm_yaml_builder_alias(&text->builder,
                                     place_of(&event->start_mark),
                                     (const char *)event->data.alias.anchor);
    case YAML_SCALAR_EVENT:
        return take_scalar(text, event);
    case YAML_SEQUENCE_START_EVENT:
        return take_list(text, event);
    case YAML_MAPPING_START_EVENT:
        return take_map(text, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return tm_yaml_builder_close(&text->builder);
    default:
        return TM_OK;
    }
}

static enum tm_status read_events(struct text *text)
{
    enum tm_status status = TM_OK;
    bool is_over = false;

    while (!is_over && status == TM_OK) {
        yaml_event_t event;

        if (!yaml_parser_parse(&text->parser, &event))
            return parser_error(text);
        status = take_event(text, &event);
        is_over = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    return status;
}

/* Byte offsets were counted behind the byte order mark. */
static void shift(struct tm_yaml_document *documents, size_t mark)
{
    for (struct tm_yaml_document *d = documents; d != NULL; d = d->next) {
        d->begin += mark;
        d->end += mark;
    }
}

enum tm_status tm_yaml_read(struct tm_arena *arena, const char *path,
                            const char *bytes, size_t length,
                            struct tm_yaml_document **documents)
{
    struct text text = {.builder = {.arena = arena, .path = path},
                        .tail = documents};
    size_t mark = 0;
    enum tm_status status;

    *documents = NULL;
    if (length > TM_YAML_MAX_BYTES)
        return tm_error(TM_USAGE, "%s: longer than 16 MiB", path);
    if (!tm_utf8_is_valid(bytes, length))
        return tm_error(TM_USAGE, "%s: not UTF-8", path);
    if (length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
        mark = 3;
    text.bytes = bytes + mark;
    text.length = length - mark;
    if (!yaml_parser_initialize(&text.parser))
        return tm_no_memory();
    yaml_parser_set_encoding(&text.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(
        &text.parser, (const unsigned char *)text.bytes, text.length);
    status = read_events(&text);
    yaml_parser_delete(&text.parser);
    tm_yaml_builder_free(&text.builder);
    shift(*documents, mark);
    return status;
}

struct tm_yaml_node *tm_yaml_get(const struct tm_yaml_node *map,
                                 const char *key)
{
    const struct tm_yaml_item *item;

    if (map == NULL || map->kind != TM_YAML_MAP)
        return NULL;
    for (item = map->first; item != NULL; item = item->next)
        if (strcmp(item->key->text, key) == 0)
            return item->value;
    return NULL;
}
