/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub: what a model's name in a recipe stands for.
 *
 * A name that exists as a path is that path. Else it may be that of a model
 * that Hugging Face's tools have downloaded, which is looked for in their
 * cache. Nothing is ever downloaded.
 */
#ifndef TM_SRC_RECIPE_HUB_H
#define TM_SRC_RECIPE_HUB_H

#include "io/arena.h"
#include "io/message.h"

/*
 * Finds `name`; `revision` (a branch, tag or commit) may be NULL. `path` gets
 * `name` itself, or a directory of the cache, in the arena. `where` goes in
 * front of an error. Errors, reported: TM_NO_INPUT, TM_SYSTEM.
 */
enum tm_status tm_hub_find(struct tm_arena *arena, const char *name,
                           const char *revision, const char *where,
                           const char **path);

#endif
