/* SPDX-License-Identifier: Apache-2.0 */
/* json: see json.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/json.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum tm_status bad(const struct tm_json_text *text, const char *cause)
{
    return tm_error(TM_BAD_DATA, "%s: not valid JSON at byte %zu: %s",
                    text->path, text->position, cause);
}

/* The next character that is not white space, or -1 at the end. */
static int peek(struct tm_json_text *text)
{
    while (text->position < text->length) {
        const char c = text->text[text->position];

        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return (unsigned char)c;
        text->position++;
    }
    return -1;
}

static bool accept(struct tm_json_text *text, char c)
{
    if (peek(text) != c)
        return false;
    text->position++;
    return true;
}

/*
 * jansson goes on where an allocation fails: its reader drops characters of
 * strings and then writes behind their end, its writer drops whole strings
 * (2.14, lex_save and do_dump). So that it never sees a failure, the allocator
 * leaves through here while jansson reads or writes. What it has allocated by
 * then is lost, and the run ends anyway.
 */
static _Thread_local jmp_buf *leave;

static void *allocate(size_t size)
{
    void *memory = malloc(size);

    if (memory == NULL && leave != NULL)
        longjmp(*leave, 1);
    return memory;
}

static void set_allocator(void)
{
    json_set_alloc_funcs(allocate, free);
}

static void prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, set_allocator);
}

/* json_loadb, which is the same but for TM_SYSTEM in *status. */
static json_t *load(const char *bytes, size_t length, json_error_t *error,
                    enum tm_status *status)
{
    jmp_buf here;
    json_t *value;

    prepare();
    if (setjmp(here) != 0) {
        leave = NULL;
        *status = tm_no_memory();
        return NULL;
    }
    leave = &here;
    value = json_loadb(bytes, length,
                       JSON_REJECT_DUPLICATES | JSON_DECODE_ANY |
                           JSON_DISABLE_EOF_CHECK,
                       error);
    leave = NULL;
    return value;
}

json_t *tm_json_value(struct tm_json_text *text)
{
    json_error_t error;
    json_t *value;

    text->status = TM_OK;
    if (peek(text) < 0) {
        text->status = bad(text, "the text ends here");
        return NULL;
    }
    value = load(text->text + text->position, text->length - text->position,
                 &error, &text->status);
    if (value != NULL) {
        text->position += (size_t)error.position;
    } else if (text->status == TM_OK) {
        if (error.position > 0)
            text->position += (size_t)error.position;
        text->status = bad(text, error.text);
    }
    return value;
}

enum tm_status tm_json_skip(struct tm_json_text *text)
{
    json_t *value = tm_json_value(text);

    if (value == NULL)
        return text->status;
    json_decref(value);
    return TM_OK;
}

static enum tm_status one_member(struct tm_json_text *text,
                                 tm_json_member *member, void *context)
{
    enum tm_status status;
    json_t *key;

    if (peek(text) != '"')
        return bad(text, "a member's name was expected");
    key = tm_json_value(text);
    if (key == NULL)
        return text->status;
    if (accept(text, ':'))
        status = member(context, json_string_value(key), text);
    else
        status = bad(text, "':' was expected");
    json_decref(key);
    return status;
}

enum tm_status tm_json_members(struct tm_json_text *text,
                               tm_json_member *member, void *context)
{
    if (!accept(text, '{'))
        return bad(text, "'{' was expected");
    if (accept(text, '}'))
        return TM_OK;
    do {
        const enum tm_status status = one_member(text, member, context);

        if (status != TM_OK)
            return status;
    } while (accept(text, ','));
    if (!accept(text, '}'))
        return bad(text, "',' or '}' was expected");
    return TM_OK;
}

enum tm_status tm_json_end(struct tm_json_text *text)
{
    if (peek(text) >= 0)
        return bad(text, "the text should end here");
    return TM_OK;
}

static void flush(struct tm_json_writer *writer)
{
    if (writer->filled > 0 && !writer->failed &&
        !writer->sink(writer->context, writer->buffer, writer->filled))
        writer->failed = true;
    writer->filled = 0;
}

static void put(struct tm_json_writer *writer, const char *text)
{
    const size_t length = strlen(text);

    if (length > sizeof(writer->buffer) - writer->filled)
        flush(writer);
    if (length <= sizeof(writer->buffer)) {
        memcpy(writer->buffer + writer->filled, text, length);
        writer->filled += length;
    } else if (!writer->failed &&
               !writer->sink(writer->context, text, length)) {
        writer->failed = true;
    }
}

static void put_escaped(struct tm_json_writer *writer, const char *text)
{
    json_t *string = json_string(text);
    char *quoted = string != NULL ? tm_json_dump(string) : NULL;

    if (quoted != NULL)
        put(writer, quoted);
    else
        writer->failed = true; /* no memory, or not UTF-8 */
    free(quoted);
    json_decref(string);
}

/* Whether `text` is the same in JSON, but for the quotes: most names are. */
static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
            return false;
    return true;
}

char *tm_json_dump(const json_t *value)
{
    jmp_buf here;
    char *text;

    prepare();
    if (setjmp(here) != 0) {
        leave = NULL;
        return NULL;
    }
    leave = &here;
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    leave = NULL;
    return text;
}

static void put_quoted(struct tm_json_writer *writer, const char *text)
{
    if (is_plain(text)) {
        put(writer, "\"");
        put(writer, text);
        put(writer, "\"");
        return;
    }
    put_escaped(writer, text);
}

static void start_line(struct tm_json_writer *writer)
{
    if (writer->compact)
        return;
    put(writer, "\n");
    for (unsigned i = 0; i < writer->depth; i++)
        put(writer, "  ");
}

static void put_comma(struct tm_json_writer *writer)
{
    if (writer->depth == 0)
        return;
    if (writer->has_members)
        put(writer, ",");
    start_line(writer);
}

/* What stands before a value: the comma, the line, the key. */
static void put_key(struct tm_json_writer *writer, const char *key)
{
    put_comma(writer);
    if (key != NULL) {
        put_quoted(writer, key);
        put(writer, writer->compact ? ":" : ": ");
    }
    writer->has_members = true;
}

void tm_json_begin(struct tm_json_writer *writer, const char *key, char open)
{
    const char text[2] = {open, '\0'};

    put_key(writer, key);
    put(writer, text);
    writer->depth++;
    writer->has_members = false;
}

void tm_json_finish(struct tm_json_writer *writer, char close)
{
    const char text[2] = {close, '\0'};

    writer->depth--;
    if (writer->has_members)
        start_line(writer);
    put(writer, text);
    writer->has_members = true;
    if (writer->depth == 0) {
        if (!writer->compact)
            put(writer, "\n");
        flush(writer);
    }
}

void tm_json_string(struct tm_json_writer *writer, const char *key,
                    const char *value)
{
    put_key(writer, key);
    if (value != NULL)
        put_quoted(writer, value);
    else
        put(writer, "null");
}

void tm_json_seal(struct tm_json_writer *writer, const char *key,
                  tm_json_sealer *sealer, void *context)
{
    char text[65] = "";

    put_comma(writer);
    flush(writer);
    sealer(context, text, sizeof(text));
    put_quoted(writer, key);
    put(writer, writer->compact ? ":" : ": ");
    put_quoted(writer, text);
    writer->has_members = true;
}

void tm_json_integer(struct tm_json_writer *writer, const char *key,
                     uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    put_key(writer, key);
    put(writer, text);
}

void tm_json_integers(struct tm_json_writer *writer, const char *key,
                      unsigned count, const uint64_t *values)
{
    tm_json_begin(writer, key, '[');
    for (unsigned i = 0; i < count; i++)
        tm_json_integer(writer, NULL, values[i]);
    tm_json_finish(writer, ']');
}

void tm_json_real(struct tm_json_writer *writer, const char *key, double value)
{
    json_t *real = json_real(value);
    char *text = real != NULL ? tm_json_dump(real) : NULL;

    put_key(writer, key);
    if (text != NULL)
        put(writer, text);
    else
        writer->failed = true;
    free(text);
    json_decref(real);
}

void tm_json_boolean(struct tm_json_writer *writer, const char *key, bool value)
{
    put_key(writer, key);
    put(writer, value ? "true" : "false");
}

void tm_json_raw(struct tm_json_writer *writer, const char *key,
                 const char *json)
{
    put_key(writer, key);
    put(writer, json);
}

bool tm_json_to_file(void *context, const char *text, size_t length)
{
    return fwrite(text, 1, length, context) == length;
}
