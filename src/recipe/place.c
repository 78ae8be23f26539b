/* SPDX-License-Identifier: Apache-2.0 */
/* place: see place.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/place.h"

#include <stdio.h>
#include <stdlib.h>

/* The message with its place, malloc'ed; NULL: no memory, reported. */
static char *compose(const char *path, struct tm_place place,
                     const char *format, va_list args)
{
    char *text = NULL, *line = NULL;
    int length;

    if (vasprintf(&text, format, args) < 0) {
        tm_no_memory();
        return NULL;
    }
    if (path == NULL)
        return text;
    if (place.line > 0)
        length = asprintf(&line, "%s:%u:%u: %s", path, place.line, place.column,
                          text);
    else
        length = asprintf(&line, "%s: %s", path, text);
    free(text);
    if (length >= 0)
        return line;
    tm_no_memory();
    return NULL;
}

enum tm_status tm_place_verror(enum tm_status status, const char *path,
                               struct tm_place place, const char *format,
                               va_list args)
{
    char *line = compose(path, place, format, args);

    if (line == NULL)
        return TM_SYSTEM;
    tm_error(status, "%s", line);
    free(line);
    return status;
}

void tm_place_vwarning(const char *path, struct tm_place place,
                       const char *format, va_list args)
{
    char *line = compose(path, place, format, args);

    if (line != NULL)
        tm_warning("%s", line);
    free(line);
}

enum tm_status tm_place_error(enum tm_status status, const char *path,
                              struct tm_place place, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    status = tm_place_verror(status, path, place, format, args);
    va_end(args);
    return status;
}

void tm_place_warning(const char *path, struct tm_place place,
                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tm_place_vwarning(path, place, format, args);
    va_end(args);
}
