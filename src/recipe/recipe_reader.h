/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe_reader: what the files that make a recipe of a tree share.
 *
 *     recipe_file.c      the file and its documents
 *     recipe_reader.c    errors, memory, keys
 *     recipe_set.c       --set, on the tree
 *     recipe_top.c       the top level
 *     recipe_models.c    model references and columns
 *     recipe_slices.c    models, slices, modules
 *     recipe_check.c     numbers of models, parameters that are required
 *     recipe_values.c    parameters
 *     recipe_chat.c      tokenizer and chat template
 *
 * Reading goes on after an error, so that all of them are seen at once; the
 * first decides about the status.
 */
#ifndef TM_SRC_RECIPE_RECIPE_READER_H
#define TM_SRC_RECIPE_RECIPE_READER_H

#include "src/nearest.h"
#include "src/recipe/names.h"
#include "src/recipe/place.h"
#include "src/recipe/recipe_file.h"
#include "src/recipe/yaml.h"

/*
 * Places are those of the file; or, with line 0, those of the override whose
 * number + 1 is the column.
 */
struct tm_reader {
    const struct tm_recipe_reading *reading;
    const char *path; /* for messages */
    struct tm_recipe *recipe;
    struct tm_arena tree; /* what is not kept */
    enum tm_status status;
    unsigned num_errors;
    struct tm_names ignored;     /* parameters that were warned of */
    const char **override_names; /* for messages */

    /* Models by name; their number is their column. */
    struct tm_names models;
    struct tm_vector *columns;
    uint32_t *last_slice; /* number of the last slice with that column */
    size_t columns_capacity;
    uint32_t num_slices;
};

/* --- recipe_reader.c -----------------------------------------------------*/

/* Reports an error; the status becomes TM_USAGE. */
void tm_reader_error(struct tm_reader *reader, struct tm_place place,
                     const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void tm_reader_warning(const struct tm_reader *reader, struct tm_place place,
                       const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What a place is in, for messages: the file or an override. */
const char *tm_reader_where(const struct tm_reader *reader,
                            struct tm_place place);

/* Another status was reported. */
void tm_reader_fail(struct tm_reader *reader, enum tm_status status);

/* Whether to go on: memory has not run out, and errors are not too many. */
bool tm_reader_goes_on(const struct tm_reader *reader);

/* `count` objects of `size` bytes in the recipe's arena, zero; NULL: reported.
 */
void *tm_reader_alloc(struct tm_reader *reader, size_t count, size_t size);

/* A copy of `text` in the recipe's arena; NULL: reported. */
const char *tm_reader_copy(struct tm_reader *reader, const char *text);

/* What a key means to its reader: `value` is not null. */
struct tm_reader_key {
    const char *name;
    const struct tm_yaml_node **value; /* gets it; NULL stays if not there */
};

/*
 * Requires a mapping, `what`, and hands out its values; unknown keys are
 * reported. A null value counts as not there. False: it is no mapping.
 */
bool tm_reader_map(struct tm_reader *reader, const struct tm_yaml_node *node,
                   const char *what, const struct tm_reader_key *keys,
                   size_t count);

/* The text of a scalar that is not null; NULL: reported as `what`. */
const char *tm_reader_text(struct tm_reader *reader,
                           const struct tm_yaml_node *node, const char *what);

/* An unknown key: an error or, if lax, a warning. */
void tm_reader_unknown(struct tm_reader *reader, const struct tm_yaml_node *key,
                       const struct tm_nearest *nearest);

/* --- recipe_set.c --------------------------------------------------------*/

/* Applies override number `k` to the tree, which is copied where needed. */
void tm_reader_set(struct tm_reader *reader, struct tm_yaml_node **root,
                   size_t k);

/* --- recipe_top.c --------------------------------------------------------*/

/* Makes a recipe of a document. */
void tm_reader_top(struct tm_reader *reader, const struct tm_yaml_node *root);

/* --- recipe_models.c -----------------------------------------------------*/

/* A model as the recipe names it. */
struct tm_reference {
    const char *name; /* the whole, for messages and to tell models apart */
    const char *path;
};

/*
 * Reads a reference and finds the model. False: reported.
 */
bool tm_reader_reference(struct tm_reader *reader,
                         const struct tm_yaml_node *node,
                         struct tm_reference *reference);

/* The column of the model; TM_NO_MODEL: reported. */
uint32_t tm_reader_model(struct tm_reader *reader,
                         const struct tm_yaml_node *node);

/* --- recipe_slices.c -----------------------------------------------------*/

/* Exactly one of three, or for a module one of two. */
struct tm_reader_models {
    const struct tm_yaml_node *models;
    const struct tm_yaml_node *slices;
};

/* Reads modules, or the one module that has no name. */
void tm_reader_modules(struct tm_reader *reader,
                       const struct tm_yaml_node *modules);
void tm_reader_module(struct tm_reader *reader,
                      const struct tm_reader_models *models,
                      struct tm_module *module);

/* --- recipe_check.c ------------------------------------------------------*/

/* What the method says about a slice that was read. */
void tm_reader_check(struct tm_reader *reader, const struct tm_module *module,
                     const struct tm_slice *slice);

/* The base of a slice; TM_NO_MODEL: it has none. */
uint32_t tm_reader_base(const struct tm_recipe *recipe,
                        const struct tm_slice *slice);

/* --- recipe_values.c -----------------------------------------------------*/

/* Reads `parameters`; `is_model`: of a model, not of the merge. */
void tm_reader_level(struct tm_reader *reader, const struct tm_yaml_node *node,
                     bool is_model, struct tm_level *level);

/* A whole number from 0 on; false: reported as `what`. */
bool tm_reader_whole(struct tm_reader *reader, const struct tm_yaml_node *node,
                     const char *what, uint64_t *number);

/* --- recipe_chat.c -------------------------------------------------------*/

void tm_reader_tokenizer(struct tm_reader *reader,
                         const struct tm_yaml_node *tokenizer_source,
                         const struct tm_yaml_node *tokenizer);
void tm_reader_chat_template(struct tm_reader *reader,
                             const struct tm_yaml_node *node);

#endif
