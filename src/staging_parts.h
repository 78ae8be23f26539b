/* SPDX-License-Identifier: Apache-2.0 */
/*
 * staging_parts: what the files of staging.h share, and nobody else.
 *
 *     staging_check.c     before anything is written
 *     staging.c           making the directory, or taking one over
 *     staging_publish.c   the end of a run, good or bad
 *     staging_remove.c    of directories, and of what is in them
 */
#ifndef TM_SRC_STAGING_PARTS_H
#define TM_SRC_STAGING_PARTS_H

#include <stdbool.h>
#include <string.h>

#include "src/staging.h"

/* What is published beside an OUT that is one file: endings of its name. */
#define TM_NUM_COMPANIONS 2
static const char *const tm_staging_companions[TM_NUM_COMPANIONS] = {".json",
                                                                     ".xxh128"};

static inline int tm_staging_call(struct tm_staging *s,
                                  const struct tm_call *what)
{
    return s->disk->engine->ops->call(s->disk->engine, what);
}

static inline bool tm_staging_is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* A descriptor of the directory, or a negative errno. */
int tm_staging_open_directory(struct tm_staging *s, int dirfd, const char *path,
                              int flags);

/* Opens the directory that OUT will be in. TM_CANT_CREATE, reported. */
enum tm_status tm_staging_open_parent(struct tm_staging *s);

/*
 * Removes `name`, a file or a tree, from the directory `dirfd`. What cannot be
 * removed is warned of.
 */
void tm_staging_remove_entry(struct tm_staging *s, int dirfd, const char *name);

/* Removes everything in `dirfd`, and closes it. */
void tm_staging_remove_below(struct tm_staging *s, int dirfd);

#endif
