/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: the command line.
 *
 * One table says which option exists, which commands take it and what its
 * help line is; parsing, --help and the checks all come from it.
 */
#ifndef TM_SRC_OPTIONS_H
#define TM_SRC_OPTIONS_H

#include "src/recipe.h"

/* Commands, as a bit each: an option names those that take it. */
enum tm_command_bit {
    TM_FOR_MERGE = 1,
    TM_FOR_PLAN = 2,
    TM_FOR_VERIFY = 4,
    TM_FOR_INSPECT = 8,
    TM_FOR_DIFF = 16,
    TM_FOR_APPLY = 32,
};

struct tm_options {
    struct tm_recipe recipe;
    struct tm_settings settings;
    const char *out; /* NULL: none given */
    bool help;
    char **paths; /* arguments that belong to no option */
    size_t num_paths;
    struct tm_vector *vectors; /* recipe.vectors, owned */
};

/*
 * Parses the arguments after the command's name (argv[0] is that name).
 * Strings stay the caller's. Errors: TM_USAGE, reported. tm_options_free must
 * be called in any case.
 */
enum tm_status tm_options_parse(int argc, char **argv, unsigned command,
                                struct tm_options *options);

/* The instruction set to run with; TAUMERGE_CPU may cap it (TM_USAGE). */
enum tm_status tm_options_isa(enum tm_isa *isa);

void tm_options_free(struct tm_options *options);

/* Prints the options that `command` takes, a line each, to stdout. */
void tm_options_print(unsigned command);

#endif
