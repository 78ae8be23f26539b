/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: the command line.
 *
 * One table says which option exists, which commands take it and what its
 * help line is; parsing, --help and the checks all come from it.
 */
#ifndef TM_SRC_OPTIONS_H
#define TM_SRC_OPTIONS_H

#include "io/arena.h"
#include "src/recipe.h"
#include "src/recipe/recipe_file.h"

/* Commands, as a bit each: an option names those that take it. */
enum tm_command_bit {
    TM_FOR_MERGE = 1,
    TM_FOR_PLAN = 2,
    TM_FOR_VERIFY = 4,
    TM_FOR_INSPECT = 8,
    TM_FOR_DIFF = 16,
    TM_FOR_APPLY = 32,
    TM_FOR_METHODS = 64,
};

struct tm_options {
    /*
     * What options say of it: src/given.h completes it, or has it read from a
     * file.
     */
    struct tm_recipe recipe;
    struct tm_settings settings;
    const char *out; /* NULL: none given */
    bool help;
    char **paths; /* arguments that belong to no option */
    size_t num_paths;
    const char *document; /* of several in a file; NULL: none given */
    bool was_read;        /* recipe, from a file */
    const char *text;     /* of that file */
    size_t text_length;
    bool has_seed;                 /* recipe.seed was given */
    struct tm_override *overrides; /* --set, owned */
    size_t num_overrides;
    struct tm_recipe_alias *aliases; /* of other documents (src/series.h) */
    bool *is_made;                   /* which of them this run has made */
    bool *is_worth;                  /* or begun, and would be long in again */
    size_t num_aliases;
    bool is_alias;             /* document is one of them, made for another */
    struct tm_vector *vectors; /* recipe.vectors, owned */
    double *weights;           /* of each of them, owned */
    struct tm_arena arena;
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
