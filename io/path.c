/* SPDX-License-Identifier: Apache-2.0 */
/* path: see path.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/path.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

bool tm_path_ends_with(const char *path, const char *end)
{
    const size_t length = strlen(path), tail = strlen(end);

    return length > tail && strcmp(path + length - tail, end) == 0;
}

const char *tm_path_last(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

char *tm_path_join(struct tm_arena *arena, const char *directory,
                   const char *name)
{
    const size_t length = strlen(directory);
    const bool has_slash = length == 0 || directory[length - 1] == '/';
    const size_t size = length + strlen(name) + 2;
    char *path = tm_arena_alloc(arena, size);

    if (path != NULL)
        snprintf(path, size, "%s%s%s", directory, has_slash ? "" : "/", name);
    return path;
}

bool tm_path_is_harmless(const char *name)
{
    for (const char *part = name;; part++) {
        const size_t length = strcspn(part, "/");

        if (length > NAME_MAX ||
            (length <= 2 && memcmp(part, "..", length) == 0))
            return false;
        part += length;
        if (*part == '\0')
            return true;
    }
}
