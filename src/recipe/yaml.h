/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml: a YAML text as a tree.
 *
 * libyaml parses; this keeps what it says, with places, and within limits.
 * Aliases are resolved (a node may stand in several places of the tree, which
 * must not be changed for that reason), merge keys too. What a plain scalar
 * means is decided as YAML 1.1 has it, like PyYAML: recipes were written for
 * that.
 */
#ifndef TM_SRC_RECIPE_YAML_H
#define TM_SRC_RECIPE_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/message.h"
#include "src/recipe.h"

/* Limits, far above what recipes have: 10,000 models make 100,000 nodes. */
#define TM_YAML_MAX_BYTES ((size_t)16 << 20)
#define TM_YAML_MAX_NODES ((uint64_t)1000000) /* aliases written out */
#define TM_YAML_MAX_DEPTH 64

enum tm_yaml_kind { TM_YAML_SCALAR, TM_YAML_LIST, TM_YAML_MAP };

/* A member of a mapping or list. */
struct tm_yaml_item {
    struct tm_yaml_node *key; /* a scalar; NULL in a list */
    struct tm_yaml_node *value;
    struct tm_yaml_item *next;
};

struct tm_yaml_node {
    enum tm_yaml_kind kind;
    struct tm_place place;
    const char *text;           /* of a scalar: UTF-8 without NUL */
    bool is_plain;              /* a scalar that need not be text */
    struct tm_yaml_item *first; /* keys are different from each other */
    size_t count;
    /* private: */
    bool is_open;
    unsigned height; /* of the tree below it */
    uint64_t size;   /* nodes of it */
};

struct tm_yaml_document {
    struct tm_yaml_node *root;
    size_t begin; /* bytes [begin, end) of the text */
    size_t end;
    struct tm_yaml_document *next;
};

/*
 * Makes trees of all documents of `bytes`, in the arena; NULL if there are
 * none. `path` is for messages. Errors, reported with line and column:
 * TM_USAGE, TM_SYSTEM.
 */
enum tm_status tm_yaml_read(struct tm_arena *arena, const char *path,
                            const char *bytes, size_t length,
                            struct tm_yaml_document **documents);

/* The value of `key` in a mapping; NULL if there is none. */
struct tm_yaml_node *tm_yaml_get(const struct tm_yaml_node *map,
                                 const char *key);

enum tm_yaml_type {
    TM_YAML_NULL,
    TM_YAML_BOOL,   /* number: 0 or 1 */
    TM_YAML_NUMBER, /* may be infinite or not a number */
    TM_YAML_TEXT,   /* or not a scalar */
};

/* What a scalar means; `number` is set for TM_YAML_BOOL and TM_YAML_NUMBER. */
enum tm_yaml_type tm_yaml_type(const struct tm_yaml_node *node, double *number);

/* Whether nothing is there, or a null. */
bool tm_yaml_is_null(const struct tm_yaml_node *node);

/*
 * The number that is wanted and that `node` gives, if need be by its text:
 * '1e-3' is text in YAML 1.1. False: it gives none.
 */
bool tm_yaml_number(const struct tm_yaml_node *node, double *number);

#endif
