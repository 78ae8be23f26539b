/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_list: which tensors a merge's output has and what each is made from,
 * by the recipe and the names in column 0. It lives while the plan is made,
 * beside plan->tensors; what the run needs of it goes into the plan.
 *
 *     tm_plan_list     names, and what column 0 has of each
 *     tm_plan_bind     plan_bind.c: what the other columns have
 *     tm_list_heads    which heads the output has after all
 *     tm_plan_terms    plan_terms.c: what is done with each
 *     tm_plan_layout   plan_layout.c: and where it goes
 */
#ifndef TM_SRC_PLAN_LIST_H
#define TM_SRC_PLAN_LIST_H

#include "src/layers.h"
#include "src/plan.h"

#define TM_NO_TENSOR UINT32_MAX

/* A slice of the recipe and the models that are inputs of it. */
struct tm_share {
    const struct tm_module *module;
    const struct tm_slice *slice;
    /* In recipe order; a base that goes without saying comes last. */
    const struct tm_part_source **sources;
    size_t num_sources;
    const struct tm_part_source **of; /* by column; NULL: no input */
    uint32_t base;                 /* column that differences are taken from, or
                                      TM_NO_COLUMN */
    uint64_t layers;               /* where the module is sliced */
    struct tm_part_source implied; /* that base */
};

/* A module of the recipe. */
struct tm_region {
    const struct tm_module *module;
    size_t first; /* of its shares */
    size_t tensors;
    uint32_t stack; /* that is sliced; or TM_NO_STACK */
};

/* What is known of plan->tensors[t]. */
struct tm_item {
    uint32_t share;
    uint32_t base;   /* the tensor that column 0 has in it; TM_NO_TENSOR */
    uint64_t step;   /* is_layer: which layer of the slice it is in */
    double position; /* as struct tm_terms has it */
    bool is_layer;   /* its layer has the number begin + step in a source */
    bool is_head;    /* an embedding may stand in for it */
    bool is_new;     /* column 0 has none; no name until a vector has one */
    bool has_head;   /* an input has it */
    bool is_known;   /* an input has given it a shape */
};

struct tm_listing {
    struct tm_item *items; /* as many as plan->tensors */
    size_t capacity;
    struct tm_share *shares;
    size_t num_shares;
    struct tm_region *regions;
    size_t num_regions;
    uint32_t *region_of;     /* each of the base's tensors */
    struct tm_stacks stacks; /* of the base */
    bool is_sliced;          /* some module is */
    uint64_t layers;         /* of the output, where it is sliced */
    size_t new_head;         /* number of the tensor; SIZE_MAX: none */
    size_t longest;          /* name of a tensor of the base */
    /* By number in plan->coded: the base's tensor it was made against. */
    uint32_t *decodes_with;
};

/* The user's name for the model of a column. */
const char *tm_model_name(const struct tm_recipe *recipe, size_t column);

/* Reports with the recipe's file, and the place if there is one; `status`. */
enum tm_status tm_recipe_error(const struct tm_recipe *recipe,
                               struct tm_place place, enum tm_status status,
                               const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Fills in plan->tensors, all but types and places, and column 0. */
enum tm_status tm_plan_list(struct tm_plan *plan, struct tm_disk *disk,
                            struct tm_listing *listing);

/*
 * Drops the heads that no input has. Errors, reported: TM_BAD_DATA: one that
 * an input lacks altogether.
 */
enum tm_status tm_list_heads(struct tm_plan *plan, struct tm_listing *listing);

void tm_listing_free(struct tm_listing *listing);

/* plan_regions.c: what the recipe's modules and slices come to. */
enum tm_status tm_list_regions(struct tm_plan *plan, struct tm_disk *disk,
                               struct tm_listing *listing);

/*
 * Whether the ranges of the slices' sources in that column fit a model whose
 * layers `model` names. Errors, reported: TM_USAGE.
 */
enum tm_status tm_list_check_ranges(const struct tm_plan *plan,
                                    const struct tm_listing *listing,
                                    size_t column,
                                    const struct tm_checkpoint *model);

/* The embedding that stands in for a head; NULL: none, or more than one. */
const struct tm_tensor *tm_list_lender(const struct tm_checkpoint *model);

/* Whether a tensor of that name is a head that an embedding can replace. */
bool tm_list_is_head(const char *name);

/* Whether it has a row for each token at the beginning of the model. */
bool tm_list_is_embedding(const char *name);

/*
 * What tensor `t` is called in the source `part` of its slice, in `buffer` of
 * tm_list_room bytes where it has to be made up; NULL: it has no name yet.
 */
const char *tm_list_own_name(const struct tm_plan *plan,
                             const struct tm_listing *listing, size_t t,
                             const struct tm_part_source *part, char *buffer);
size_t tm_list_room(const struct tm_listing *listing);

/* The recipe's part of that column in tensor `t`; NULL: it is no input. */
static inline const struct tm_part_source *
tm_list_part(const struct tm_listing *listing, size_t t, size_t column)
{
    return listing->shares[listing->items[t].share].of[column];
}

#endif
