/* SPDX-License-Identifier: Apache-2.0 */
/* text: bytes that grow at their end. */
#ifndef TM_IO_TEXT_H
#define TM_IO_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* All zero is empty; `bytes` is the owner's to free. */
struct tm_text {
    char *bytes;
    size_t length;
    size_t capacity;
};

/* Appends; false, with the text as it was, if memory ran out. */
bool tm_text_append(struct tm_text *text, const char *bytes, size_t length);

/* Appends spaces up to a length of `length`. */
bool tm_text_pad(struct tm_text *text, size_t length);

/* A sink for tm_json_writer; the context is the text. */
bool tm_text_sink(void *context, const char *bytes, size_t length);

#endif
