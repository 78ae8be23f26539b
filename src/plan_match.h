/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_match: which tensor of a model goes with each of the output's.
 *
 *     prepare    in turn: looks for what the list does not know yet
 *     column     in parallel: fills in the model's column of sources
 *     rest       in turn: what it has that goes with none
 */
#ifndef TM_SRC_PLAN_MATCH_H
#define TM_SRC_PLAN_MATCH_H

#include "src/plan_list.h"

struct tm_problems {
    const char *path;
    size_t count;
};

/* A model beside column 0 that is being opened. */
struct tm_opening {
    struct tm_plan *plan;
    struct tm_listing *listing;
    struct tm_checkpoint checkpoint;
    struct tm_vector_stored *stored; /* NULL: it is a checkpoint */
    uint32_t *map;        /* of a stored one: what its tensors were made
                             against */
    uint32_t *tensors;    /* and for each of the base's tensors, its own + 1,
                             or 0 */
    uint64_t first_coded; /* of its tensors, in the plan */
    size_t column;
    uint32_t first;                 /* of its files in the plan */
    bool *is_matched;               /* each of its tensors */
    size_t matched;                 /* so many */
    const struct tm_tensor *lender; /* its embedding, or NULL */
    char *name;                     /* room for one */
    struct tm_problems problems;
    enum tm_status status;
};

enum tm_status tm_match_prepare(struct tm_opening *opening);
enum tm_status tm_match_column(struct tm_opening *opening);
enum tm_status tm_match_rest(struct tm_opening *opening);
void tm_match_free(struct tm_opening *opening);

/* What the model's tensors are called and look like. */
static inline const struct tm_checkpoint *
tm_match_model(const struct tm_opening *opening)
{
    return opening->stored != NULL ? &opening->stored->tuned
                                   : &opening->checkpoint;
}

#endif
