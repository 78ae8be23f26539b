/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe_file: recipes in YAML, in mergekit's grammar (docs/recipes.md).
 *
 * libyaml gives events; yaml.h makes a tree of them, with the place of
 * every node and within limits that no recipe needs; here the tree becomes a
 * recipe. All that is wrong is reported with file, line and column; a key
 * that nobody knows is an error with the nearest one that exists, or a
 * warning (`lax`); one that is known and has no effect is a warning.
 */
#ifndef TM_SRC_RECIPE_RECIPE_FILE_H
#define TM_SRC_RECIPE_RECIPE_FILE_H

#include "io/text.h"
#include "src/recipe.h"

/* NAME=VALUE of --set: a path like "models.1.weight" and YAML for its value. */
struct tm_override {
    const char *path;
    const char *value;
};

/*
 * A name that stands for a model, which need not be there yet: that of another
 * document in the file.
 */
struct tm_recipe_alias {
    const char *name;
    const char *path;
};

struct tm_recipe_reading {
    const char *path;     /* for messages; "-": standard input */
    const char *document; /* which one, by name; NULL: the one without */
    const struct tm_override *overrides;
    size_t num_overrides;
    const struct tm_recipe_alias *aliases; /* its own name is none */
    size_t num_aliases;
    bool lax;
    bool finds_nothing; /* models are not looked for: path is name (tests) */
};

/*
 * Reads all of a file, which may be a pipe; "-": standard input. text->bytes
 * is to be freed in any case. Errors: TM_NO_INPUT, TM_IO_ERROR, TM_USAGE.
 */
enum tm_status tm_recipe_load(const char *path, struct tm_text *text);

/*
 * Makes a recipe of the file's `length` bytes. Model paths are taken as they
 * are if they exist (relative to the working directory), else as names in the
 * local Hugging Face cache (hub.h). Sets all of *recipe but what no file
 * says (shard_size, seed, allow_missing, allow_extra). On failure what is wrong
 * has been reported. tm_recipe_free must be called in any case. Errors:
 * TM_USAGE for what the recipe says, TM_NO_INPUT for a model that is not there.
 */
enum tm_status tm_recipe_parse(const struct tm_recipe_reading *reading,
                               const char *bytes, size_t length,
                               struct tm_recipe *recipe);

/* Frees what tm_recipe_parse made. */
void tm_recipe_free(struct tm_recipe *recipe);

/* The names of the documents in a file, in order; "" for one without. */
struct tm_recipe_names {
    const char **names;
    size_t count;
    struct tm_arena arena;
};

/* Lists the documents of a file's bytes; arena to be freed in any case. */
enum tm_status tm_recipe_list(const char *path, const char *bytes,
                              size_t length, struct tm_recipe_names *names);

/* Prints the recipe as YAML that means the same, to stdout. */
enum tm_status tm_recipe_print(const struct tm_recipe *recipe);

/* Appends the same to `text`. */
enum tm_status tm_recipe_write(const struct tm_recipe *recipe,
                               struct tm_text *text);

#endif
