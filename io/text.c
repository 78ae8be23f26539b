/* SPDX-License-Identifier: Apache-2.0 */
/* text: see text.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for `length` bytes more. */
static bool reserve(struct tm_text *text, size_t length)
{
    const size_t capacity = 2 * (text->length + length) + 4096;
    char *more;

    if (text->capacity - text->length >= length)
        return true;
    if (length > SIZE_MAX / 4 || text->length > SIZE_MAX / 4)
        return false;
    more = realloc(text->bytes, capacity);
    if (more == NULL)
        return false;
    text->bytes = more;
    text->capacity = capacity;
    return true;
}

bool tm_text_append(struct tm_text *text, const char *bytes, size_t length)
{
    if (!reserve(text, length))
        return false;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    return true;
}

bool tm_text_pad(struct tm_text *text, size_t length)
{
    if (text->length >= length)
        return true;
    if (!reserve(text, length - text->length))
        return false;
    memset(text->bytes + text->length, ' ', length - text->length);
    text->length = length;
    return true;
}

bool tm_text_sink(void *context, const char *bytes, size_t length)
{
    return tm_text_append(context, bytes, length);
}
