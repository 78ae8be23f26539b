/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_builder: the tree of a YAML document, built from its parts in the order
 * of the text (yaml.c tells what these are). All errors are reported.
 */
#ifndef TM_SRC_RECIPE_YAML_BUILDER_H
#define TM_SRC_RECIPE_YAML_BUILDER_H

#include "src/recipe/names.h"
#include "src/recipe/yaml.h"

/* A mapping or list that has not ended. */
struct tm_yaml_frame {
    struct tm_yaml_node *node;
    struct tm_yaml_item **tail;
    struct tm_yaml_node *key; /* whose value comes next */
};

/* All zero, but for the first two, is ready. */
struct tm_yaml_builder {
    struct tm_arena *arena;
    const char *path;          /* for messages */
    struct tm_yaml_node *root; /* of the document */
    /* private: */
    struct tm_yaml_frame frames[TM_YAML_MAX_DEPTH];
    unsigned depth;
    uint64_t size; /* nodes so far, of all documents */
    struct tm_names anchors;
    struct tm_yaml_node **anchored; /* by number of the anchor */
    size_t anchors_capacity;
};

/* Begins the next document, in which no anchor is known. */
void tm_yaml_builder_next(struct tm_yaml_builder *builder);

/* `anchor` may be NULL, here and below. */
enum tm_status tm_yaml_builder_scalar(struct tm_yaml_builder *builder,
                                      struct tm_place place, const char *text,
                                      size_t length, bool is_plain,
                                      const char *anchor);

/* Begins a mapping or list; what comes up to tm_yaml_builder_close is in it. */
enum tm_status tm_yaml_builder_open(struct tm_yaml_builder *builder,
                                    struct tm_place place,
                                    enum tm_yaml_kind kind, const char *anchor);
enum tm_status tm_yaml_builder_close(struct tm_yaml_builder *builder);

/* The node with that anchor once more. */
enum tm_status tm_yaml_builder_alias(struct tm_yaml_builder *builder,
                                     struct tm_place place, const char *name);

/* Frees what is not in the arena. */
void tm_yaml_builder_free(struct tm_yaml_builder *builder);

#endif
