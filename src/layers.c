/* SPDX-License-Identifier: Apache-2.0 */
/* layers: see layers.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/layers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* More would be no number of layers; ten would not fit 32 bits. */
#define MAX_DIGITS 9

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool tm_layer_find(const char *name, struct tm_layer *layer)
{
    const char *part = name, *dot;

    for (; (dot = strchr(part, '.')) != NULL; part = dot + 1) {
        const size_t length = (size_t)(dot - part);
        uint64_t number = 0;
        size_t i;

        for (i = 0; i < length && i < MAX_DIGITS && is_digit(part[i]); i++)
            number = number * 10 + (uint64_t)(part[i] - '0');
        if (length == 0 || i < length)
            continue;
        *layer = (struct tm_layer){
            .begin = (size_t)(part - name), .digits = length, .number = number};
        return true;
    }
    return false;
}

bool tm_layer_print(char *buffer, size_t size, const char *name,
                    const struct tm_layer *layer, uint64_t number)
{
    const int length = snprintf(buffer, size, "%.*s%llu%s", (int)layer->begin,
                                name, (unsigned long long)number,
                                name + layer->begin + layer->digits);

    return length >= 0 && (size_t)length < size;
}

const char *tm_layer_rename(struct tm_arena *arena, const char *name,
                            const struct tm_layer *layer, uint64_t number)
{
    const size_t size = strlen(name) + TM_LAYER_ROOM;
    char *text = tm_arena_alloc(arena, size);

    if (text != NULL && !tm_layer_print(text, size, name, layer, number))
        return NULL;
    return text;
}

/* --- stacks --------------------------------------------------------------*/

bool tm_stack_has(const struct tm_stack *stack, const char *name,
                  const struct tm_layer *layer)
{
    return stack->length == layer->begin &&
           memcmp(stack->name, name, layer->begin) == 0;
}

/* Stacks in the making: by name, since there may be as many as tensors. */
struct search {
    struct tm_stacks *stacks;
    uint32_t *table; /* stack + 1, open addressing */
    size_t size;
};

/* The stack of `name`, which is entered if it is new. */
static uint32_t enter(struct search *s, const char *name,
                      const struct tm_layer *layer)
{
    struct tm_stacks *all = s->stacks;
    size_t place = XXH3_64bits(name, layer->begin) & (s->size - 1);

    while (s->table[place] != 0) {
        if (tm_stack_has(&all->stacks[s->table[place] - 1], name, layer))
            return s->table[place] - 1;
        place = (place + 1) & (s->size - 1);
    }
    all->stacks[all->count] =
        (struct tm_stack){.name = name, .length = layer->begin};
    s->table[place] = (uint32_t)++all->count;
    return (uint32_t)all->count - 1;
}

enum tm_status tm_stacks_find(const struct tm_checkpoint *checkpoint,
                              struct tm_stacks *stacks)
{
    const size_t count = checkpoint->num_tensors;
    struct search s = {.stacks = stacks, .size = 16};

    while (s.size < 2 * count)
        s.size *= 2;
    *stacks = (struct tm_stacks){
        .stacks = calloc(count + 1, sizeof(*stacks->stacks)),
        .of = calloc(count + 1, sizeof(*stacks->of)),
    };
    s.table = calloc(s.size, sizeof(*s.table));
    if (stacks->stacks == NULL || stacks->of == NULL || s.table == NULL) {
        free(s.table);
        return tm_no_memory();
    }
    for (size_t t = 0; t < count; t++) {
        const char *name = checkpoint->tensors[t].name;
        struct tm_stack *stack;
        struct tm_layer layer;

        stacks->of[t] = TM_NO_STACK;
        if (!tm_layer_find(name, &layer))
            continue;
        stacks->of[t] = enter(&s, name, &layer);
        stack = &stacks->stacks[stacks->of[t]];
        if (layer.number >= stack->depth)
            stack->depth = layer.number + 1;
    }
    free(s.table);
    return TM_OK;
}

void tm_stacks_free(struct tm_stacks *stacks)
{
    free(stacks->stacks);
    free(stacks->of);
    *stacks = (struct tm_stacks){0};
}

uint64_t tm_stack_depth(const struct tm_stack *stack,
                        const struct tm_checkpoint *checkpoint)
{
    uint64_t depth = 0;

    for (size_t t = 0; t < checkpoint->num_tensors; t++) {
        const char *name = checkpoint->tensors[t].name;
        struct tm_layer layer;

        if (tm_layer_find(name, &layer) && tm_stack_has(stack, name, &layer) &&
            layer.number >= depth)
            depth = layer.number + 1;
    }
    return depth;
}
