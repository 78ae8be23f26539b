/* SPDX-License-Identifier: Apache-2.0 */
/* path: file names as text. */
#ifndef TM_IO_PATH_H
#define TM_IO_PATH_H

#include <stdbool.h>

#include "io/arena.h"

/* Whether `path` ends with `end`, and with more than that. */
bool tm_path_ends_with(const char *path, const char *end);

/* What follows the last slash. */
const char *tm_path_last(const char *path);

/*
 * `directory` and `name` with one slash between them, in the arena; only
 * `name` where the directory is "". NULL: no memory.
 */
char *tm_path_join(struct tm_arena *arena, const char *directory,
                   const char *name);

/*
 * Whether `name` is relative and each of its parts a name that a file can
 * have: not empty, not "." or "..", not too long for any file system.
 */
bool tm_path_is_harmless(const char *name);

#endif
