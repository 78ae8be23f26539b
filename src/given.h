/* SPDX-License-Identifier: Apache-2.0 */
/*
 * given: the recipe that a command line gives, in one of two ways: as the
 * name of a file, or with -b, -t and -w, which stand for task arithmetic over
 * the whole model. Options that say the same as the file win.
 */
#ifndef TM_SRC_GIVEN_H
#define TM_SRC_GIVEN_H

#include "src/options.h"

/* Whether it is in a file; else options give it. */
static inline bool tm_given_is_file(const struct tm_options *options)
{
    return options->num_paths > 0;
}

/* Whether the options make sense together. Nothing is looked for on disk. */
enum tm_status tm_given_check(const struct tm_options *options);

/* Reads the file, once: it may be a pipe. Errors: those of tm_recipe_load. */
enum tm_status tm_given_load(struct tm_options *options);

/* Completes options->recipe, after that. Errors: those of tm_recipe_parse. */
enum tm_status tm_given_complete(struct tm_options *options);

#endif
