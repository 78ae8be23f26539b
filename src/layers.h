/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layers: which number in a tensor's name is that of its layer.
 *
 * It is the first that stands between dots, or between the beginning and a
 * dot: 3 in "model.layers.3.mlp.experts.5.w1.weight". What stands before it
 * names the stack of layers that the tensor is in; a model may have several
 * of them, a text and a vision part.
 */
#ifndef TM_SRC_LAYERS_H
#define TM_SRC_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/checkpoint.h"

/* A layer's number in a name: `digits` characters from `begin` on. */
struct tm_layer {
    size_t begin;
    size_t digits;
    uint64_t number;
};

/* Whether `name` has one, of at most nine digits. */
bool tm_layer_find(const char *name, struct tm_layer *layer);

/* `name` with another number in that place, in the arena; NULL: no memory. */
const char *tm_layer_rename(struct tm_arena *arena, const char *name,
                            const struct tm_layer *layer, uint64_t number);

/*
 * The same into `buffer`; false where that has no room for it, which takes
 * strlen(name) + TM_LAYER_ROOM bytes.
 */
#define TM_LAYER_ROOM 21
bool tm_layer_print(char *buffer, size_t size, const char *name,
                    const struct tm_layer *layer, uint64_t number);

#define TM_NO_STACK UINT32_MAX

/* Layers whose tensors have the same beginning. */
struct tm_stack {
    const char *name; /* begins with the stack's, "model.layers." */
    size_t length;    /* of that */
    uint64_t depth;   /* the largest number of a layer, and one */
};

struct tm_stacks {
    struct tm_stack *stacks; /* in the order of their first tensors */
    size_t count;
    uint32_t *of; /* of each tensor; TM_NO_STACK: it belongs to no layer */
};

/*
 * Finds all stacks of a checkpoint, which must outlive them. Errors: no
 * memory, reported; tm_stacks_free must be called in any case.
 */
enum tm_status tm_stacks_find(const struct tm_checkpoint *checkpoint,
                              struct tm_stacks *stacks);

void tm_stacks_free(struct tm_stacks *stacks);

/* Whether `name`, whose layer is `layer`, is in the stack. */
bool tm_stack_has(const struct tm_stack *stack, const char *name,
                  const struct tm_layer *layer);

/* The depth of a stack of that name in any checkpoint; 0: it has none. */
uint64_t tm_stack_depth(const struct tm_stack *stack,
                        const struct tm_checkpoint *checkpoint);

#endif
