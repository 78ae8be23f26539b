/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group: a tensor that is measured before it is made, and does not lie in one
 * unit; or the whole model, while that is measured.
 *
 *     I/O thread   opens a group with the first unit that is cut of it
 *     workers      measure units in any order; what they found is added in
 *                  the order of the units; whoever adds the last one draws
 *                  the conclusions, and the next phase begins
 *     last phase   the units become output; whoever computes the last one
 *                  closes the group
 *
 * A unit whose phase has not come yet is parked in the group. Units keep
 * their slots from phase to phase, unless the tensor is swept: then each
 * phase has units of its own. Nothing can wait in a circle: units are cut in
 * order, and one waits only for such that were cut before it, which all have
 * their slots.
 *
 * Where it matters which of equal magnitudes come first in the tensor, units
 * of the last phase first count theirs, and go on when all before them have.
 */
#ifndef TM_SRC_GROUP_H
#define TM_SRC_GROUP_H

#include <pthread.h>
#include <stdbool.h>

#include "src/method.h"
#include "src/plan.h"

struct tm_job;
struct tm_pipeline;
struct tm_tools;

/* Units that are waiting for their turn, in any order. */
struct tm_turn {
    uint64_t next;
    bool busy; /* somebody takes those whose turn it is */
    struct tm_job *waiting;
};

struct tm_group {
    bool open;
    size_t tensor; /* TM_WHOLE_MODEL */
    struct tm_work work;
    pthread_mutex_t counts_lock; /* of work.counts, while it is measured */
    /* Under the pipeline's lock, unless a turn is busy: */
    unsigned phase;
    uint64_t units; /* UINT64_MAX until the last one is cut */
    struct tm_turn adding;
    struct tm_turn counting;
    struct tm_job *parked;
    uint64_t *ties; /* of each select, in the units so far */
    uint64_t made;  /* units whose output is computed */
};

#define TM_WHOLE_MODEL (SIZE_MAX - 1)

/* All groups of a run. */
struct tm_groups {
    const struct tm_plan *plan;
    struct tm_group *groups; /* plan->budget.groups of them */
    struct tm_group *model;  /* one more, closed unless measures_model */
};

bool tm_groups_init(struct tm_groups *groups, const struct tm_plan *plan);
void tm_groups_free(struct tm_groups *groups);

/* Memory that tm_groups_init takes. */
uint64_t tm_groups_memory(const struct tm_plan *plan);

/*
 * Gives the job, whose unit was just cut, its group, if it is of one. False
 * while all are in use. By the I/O thread, with the pipeline's lock held.
 */
bool tm_group_join(struct tm_pipeline *pipeline, struct tm_job *job);

/* Whether the job's phase has come; else it is parked. Under the lock. */
bool tm_group_admit(struct tm_pipeline *pipeline, struct tm_job *job);

/*
 * The worker's part of a unit of a group that is not made yet: true if it was
 * done and the job is somebody else's now. False: its output is to be made.
 * Errors are in *status (then true).
 */
bool tm_group_measure(struct tm_pipeline *pipeline, struct tm_job *job,
                      struct tm_tools *tools, enum tm_status *status);

/* The output of the job's unit has been computed. */
void tm_group_made(struct tm_pipeline *pipeline, struct tm_job *job);

#endif
