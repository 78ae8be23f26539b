/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json: JSON text too large to hold as a tree.
 *
 * The header of a checkpoint may have 100,000 members, and the manifest of a
 * merge millions. jansson reads and writes the values; here an object is
 * walked one member at a time, and a document is written as it is made, so
 * that memory holds one member and not the document.
 */
#ifndef TM_IO_JSON_H
#define TM_IO_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/message.h"

/* --- reading -------------------------------------------------------------*/

/* A place in a JSON text. */
struct tm_json_text {
    const char *path; /* for messages */
    const char *text;
    size_t length;
    size_t position;
    enum tm_status status; /* why tm_json_value returned NULL */
};

/*
 * Called for each member of an object with `text` at its value, which it must
 * consume with tm_json_value, tm_json_skip or tm_json_members. `key` is valid
 * during the call.
 */
typedef enum tm_status tm_json_member(void *context, const char *key,
                                      struct tm_json_text *text);

/*
 * Walks the object that begins at the position (white space may stand before
 * it) and leaves the position behind it. Members with the same key are both
 * passed on: the caller knows what is a duplicate. Errors: TM_BAD_DATA,
 * reported with path and offset, or what `member` returned.
 */
enum tm_status tm_json_members(struct tm_json_text *text,
                               tm_json_member *member, void *context);

/*
 * Reads the value at the position, duplicate keys inside rejected. Returns a
 * new reference, or NULL: reported, with the status in text->status
 * (TM_BAD_DATA; TM_SYSTEM without memory).
 */
json_t *tm_json_value(struct tm_json_text *text);

/* Reads past the value at the position. */
enum tm_status tm_json_skip(struct tm_json_text *text);

/* Requires that nothing but white space follows the position. */
enum tm_status tm_json_end(struct tm_json_text *text);

/* --- writing -------------------------------------------------------------*/

/* Takes `length` bytes; returns false when it can take no more. */
typedef bool tm_json_sink(void *context, const char *text, size_t length);

/*
 * A document in the making. Members and elements are written in the order of
 * the calls, one a line and indented, unless `compact`. `key` is NULL inside
 * arrays and for the outermost value, an object or array, whose end brings
 * all of it to the sink. After a failure (of the sink or of memory) the calls
 * do nothing and `failed` is set.
 */
struct tm_json_writer {
    tm_json_sink *sink;
    void *context;
    bool compact;
    bool failed;
    /* private: */
    unsigned depth;
    bool has_members;
    size_t filled;
    char buffer[4096]; /* a document is many small pieces */
};

void tm_json_begin(struct tm_json_writer *writer, const char *key, char open);
void tm_json_finish(struct tm_json_writer *writer, char close);
void tm_json_string(struct tm_json_writer *writer, const char *key,
                    const char *value); /* NULL is null */
void tm_json_integer(struct tm_json_writer *writer, const char *key,
                     uint64_t value);
void tm_json_integers(struct tm_json_writer *writer, const char *key,
                      unsigned count, const uint64_t *values);
void tm_json_real(struct tm_json_writer *writer, const char *key, double value);
void tm_json_boolean(struct tm_json_writer *writer, const char *key,
                     bool value);

/* Gives a string that says something of all that was written before. */
typedef void tm_json_sealer(void *context, char *text, size_t size);

/*
 * Writes a member whose value `sealer` makes when everything up to the quote
 * of its key has been brought to the sink. At most 64 characters.
 */
void tm_json_seal(struct tm_json_writer *writer, const char *key,
                  tm_json_sealer *sealer, void *context);

/* `json` is a value already in JSON. */
void tm_json_raw(struct tm_json_writer *writer, const char *key,
                 const char *json);

/* The value as JSON, compact and malloc'ed; NULL: no memory, or not UTF-8. */
char *tm_json_dump(const json_t *value);

/* A sink that writes to the FILE * that is its context. */
bool tm_json_to_file(void *context, const char *text, size_t length);

#endif
