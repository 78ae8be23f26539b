/* SPDX-License-Identifier: Apache-2.0 */
/* group: see group.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/group.h"

#include <stdlib.h>
#include <string.h>

#include "io/transfer.h"
#include "src/pipeline.h"
#include "src/recorded.h"
#include "src/work.h"

/* --- memory --------------------------------------------------------------*/

static bool init_group(struct tm_group *group, const struct tm_plan *plan)
{
    pthread_mutex_init(&group->counts_lock, NULL);
    group->ties = calloc(plan->budget.work.selects + 1, sizeof(*group->ties));
    return tm_work_init(&group->work, plan) && group->ties != NULL;
}

static void free_group(struct tm_group *group)
{
    tm_work_free(&group->work);
    free(group->ties);
    pthread_mutex_destroy(&group->counts_lock);
}

/* A tensor that stands for the model: one that is measured. */
static size_t measured_tensor(const struct tm_plan *plan)
{
    size_t t = 0;

    while (t < plan->num_tensors && plan->tensors[t].phases == 0)
        t++;
    return t;
}

static void open_group(struct tm_group *group, size_t tensor)
{
    group->open = true;
    group->tensor = tensor;
    group->phase = 0;
    group->units = UINT64_MAX;
    group->adding = group->counting = (struct tm_turn){0};
    group->parked = NULL;
    group->made = 0;
}

static void open_model(const struct tm_plan *plan, struct tm_group *group)
{
    open_group(group, TM_WHOLE_MODEL);
    tm_work_begin(&group->work, plan, measured_tensor(plan));
    group->work.elements = 0;
    for (size_t t = 0; t < plan->num_tensors; t++)
        if (plan->tensors[t].phases > 0)
            group->work.elements += plan->tensors[t].elements;
    tm_work_clear(&group->work);
}

/* Takes what stored vectors have recorded for what would be measured. */
static bool recall_model(const struct tm_plan *plan, struct tm_group *model)
{
    open_model(plan, model);
    model->phase = 1;
    return tm_recorded_recall(plan, &model->work);
}

bool tm_groups_init(struct tm_groups *groups, const struct tm_plan *plan)
{
    const size_t count = plan->budget.groups + plan->measures_model;
    bool complete = true;

    *groups = (struct tm_groups){
        .plan = plan, .groups = calloc(count + 1, sizeof(*groups->groups))};
    if (groups->groups == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        complete &= init_group(&groups->groups[i], plan);
    if (!complete || !plan->measures_model)
        return complete;
    groups->model = &groups->groups[plan->budget.groups];
    return !plan->model_is_known || recall_model(plan, groups->model);
}

void tm_groups_free(struct tm_groups *groups)
{
    const size_t count =
        groups->groups != NULL
            ? groups->plan->budget.groups + groups->plan->measures_model
            : 0;

    for (size_t i = 0; i < count; i++)
        free_group(&groups->groups[i]);
    free(groups->groups);
    *groups = (struct tm_groups){0};
}

uint64_t tm_groups_memory(const struct tm_plan *plan)
{
    const uint64_t count = plan->budget.groups + plan->measures_model;

    return count * (tm_work_memory(plan) +
                    plan->budget.work.selects * sizeof(uint64_t));
}

/* --- opening -------------------------------------------------------------*/

static bool open_tensor(struct tm_pipeline *p, struct tm_group *group,
                        size_t tensor)
{
    open_group(group, tensor);
    memset(group->ties, 0, p->plan->budget.work.selects * sizeof(*group->ties));
    tm_work_begin(&group->work, p->plan, tensor);
    if (p->groups.model != NULL &&
        tm_work_conclude_model(&group->work, &p->groups.model->work) != TM_OK)
        return false;
    group->phase = group->work.phase;
    tm_work_clear(&group->work);
    return true;
}

/* The group of `tensor`, or one that is free; NULL: neither. */
static struct tm_group *find(struct tm_groups *groups, size_t tensor)
{
    struct tm_group *free_one = NULL;

    for (size_t i = 0; i < groups->plan->budget.groups; i++) {
        struct tm_group *group = &groups->groups[i];

        if (group->open && group->tensor == tensor)
            return group;
        if (!group->open)
            free_one = group;
    }
    return free_one;
}

/* Whether all that the model's measurement is needed for may begin. */
static bool is_model_measured(const struct tm_groups *groups)
{
    return groups->model == NULL || groups->model->phase > 0;
}

bool tm_group_join(struct tm_pipeline *pipeline, struct tm_job *job)
{
    struct tm_groups *groups = &pipeline->groups;
    const struct tm_unit *unit = &job->unit;

    job->group = NULL;
    if (unit->aim == TM_AIM_MODEL) {
        job->group = groups->model;
        if (!job->group->open)
            open_model(pipeline->plan, job->group);
    } else if (!is_model_measured(groups)) {
        return false;
    } else if (unit->group != TM_NO_GROUP) {
        job->group = find(groups, unit->group);
        if (job->group == NULL)
            return false;
        if (!job->group->open &&
            !open_tensor(pipeline, job->group, unit->group) &&
            pipeline->status == TM_OK)
            pipeline->status = TM_BAD_DATA;
    }
    if (job->group != NULL && unit->is_last)
        job->group->units = unit->number + 1;
    job->phase = unit->phase;
    job->is_counted = job->is_decoded = false;
    job->num_checks = 0;
    return true;
}

/* --- from phase to phase -------------------------------------------------*/

static void park(struct tm_pipeline *p, struct tm_job *job)
{
    job->next = job->group->parked;
    job->group->parked = job;
    p->parked++;
}

bool tm_group_admit(struct tm_pipeline *pipeline, struct tm_job *job)
{
    if (job->group == NULL || job->phase == job->group->phase)
        return true;
    park(pipeline, job);
    return false;
}

/* Hands everything whose phase has come to the workers. */
static void unpark(struct tm_pipeline *p, struct tm_group *group)
{
    struct tm_job *jobs = group->parked;

    group->parked = NULL;
    while (jobs != NULL) {
        struct tm_job *job = jobs;

        jobs = job->next;
        p->parked--;
        if (tm_group_admit(p, job))
            tm_jobs_add(&p->ready, job);
    }
    pthread_cond_broadcast(&p->work);
}

/* Takes the waiting job whose turn it is; NULL: it has not come yet. */
static struct tm_job *take(struct tm_turn *turn)
{
    struct tm_job **link = &turn->waiting;

    while (*link != NULL && (*link)->unit.number != turn->next)
        link = &(*link)->next;
    if (*link != NULL) {
        struct tm_job *job = *link;

        *link = job->next;
        return job;
    }
    return NULL;
}

/* The unit has done its part of the phase: it waits for the next, or ends. */
static void leave_phase(struct tm_pipeline *p, struct tm_job *job)
{
    if (job->unit.aim == TM_AIM_OUTPUT) {
        job->phase++;
        park(p, job);
        return;
    }
    job->stream = NULL;
    job->num_writes = 0;
    tm_jobs_add(&p->hashed, job);
    tm_disk_wake(p->disk);
}

/* All units are in: on to the next phase. Called without the lock. */
static enum tm_status end_phase(struct tm_group *group)
{
    enum tm_status status;

    if (group->tensor == TM_WHOLE_MODEL)
        return TM_OK; /* each tensor draws its own conclusions */
    status = tm_work_conclude(&group->work);
    tm_work_clear(&group->work);
    return status;
}

/* Adds what the units whose turn it is have measured. Under the lock. */
static enum tm_status add_in_order(struct tm_pipeline *p,
                                   struct tm_group *group)
{
    enum tm_status status = TM_OK;
    struct tm_job *job;

    while ((job = take(&group->adding)) != NULL) {
        pthread_mutex_unlock(&p->lock);
        tm_work_add(&group->work, job->sums, job->unit.num_blocks);
        pthread_mutex_lock(&p->lock);
        if (++group->adding.next < group->units) {
            leave_phase(p, job);
            continue;
        }
        pthread_mutex_unlock(&p->lock);
        status = end_phase(group);
        pthread_mutex_lock(&p->lock);
        if (status != TM_OK)
            break; /* nothing follows from it */
        group->phase++;
        group->adding.next = 0;
        leave_phase(p, job); /* not before: nothing would seem to move */
        unpark(p, group);
        tm_disk_wake(p->disk);
    }
    return status;
}

/* Gives the units whose turn it is the ties before them. Under the lock. */
static void count_in_order(struct tm_pipeline *p, struct tm_group *group)
{
    const size_t count = tm_work_sizes(&group->work).selects;
    struct tm_job *job;

    while ((job = take(&group->counting)) != NULL) {
        for (size_t i = 0; i < count; i++) {
            const uint64_t own = job->ties[i];

            job->ties[i] = group->ties[i];
            group->ties[i] += own;
        }
        group->counting.next++;
        job->is_counted = true;
        tm_jobs_add(&p->ready, job);
        pthread_cond_signal(&p->work);
    }
}

/* Measures the tiles of the job's unit. */
static enum tm_status measure_unit(struct tm_pipeline *p, struct tm_job *job,
                                   struct tm_tools *tools)
{
    struct tm_group *group = job->group;
    const size_t num_sums = tm_work_sizes(&group->work).sums;
    struct tm_work work = group->work;
    double *sums = job->sums;
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < job->unit.num_tiles && status == TM_OK; i++) {
        const struct tm_plan_tensor *tensor =
            &p->plan->tensors[job->unit.tiles[i].tensor];

        if (tensor->phases == 0)
            continue;
        work.terms = tensor->terms; /* another tensor of the model */
        status = tm_tile_measure(p, tools, job, i, &work, sums);
        sums +=
            num_sums *
            ((job->unit.tiles[i].count - 1) / tm_plan_sum_block(tensor) + 1);
    }
    return status;
}

static enum tm_status measure(struct tm_pipeline *p, struct tm_job *job,
                              struct tm_tools *tools)
{
    struct tm_group *group = job->group;
    enum tm_status status = measure_unit(p, job, tools);

    if (status != TM_OK)
        return status;
    pthread_mutex_lock(&group->counts_lock);
    tm_strips_add_counts(&tools->strips, &group->work);
    pthread_mutex_unlock(&group->counts_lock);
    pthread_mutex_lock(&p->lock);
    job->next = group->adding.waiting;
    group->adding.waiting = job;
    if (!group->adding.busy) {
        group->adding.busy = true;
        status = add_in_order(p, group);
        group->adding.busy = false;
    }
    pthread_mutex_unlock(&p->lock);
    return status;
}

static enum tm_status count(struct tm_pipeline *p, struct tm_job *job,
                            struct tm_tools *tools)
{
    struct tm_group *group = job->group;
    enum tm_status status;

    memset(job->ties, 0,
           tm_work_sizes(&group->work).selects * sizeof(*job->ties));
    status = tm_tile_count_ties(p, tools, job, 0, &group->work, job->ties);
    if (status != TM_OK)
        return status;
    pthread_mutex_lock(&p->lock);
    job->next = group->counting.waiting;
    group->counting.waiting = job;
    count_in_order(p, group);
    pthread_mutex_unlock(&p->lock);
    return TM_OK;
}

bool tm_group_measure(struct tm_pipeline *pipeline, struct tm_job *job,
                      struct tm_tools *tools, enum tm_status *status)
{
    const struct tm_group *group = job->group;

    *status = TM_OK;
    if (group->tensor == TM_WHOLE_MODEL ||
        job->phase < pipeline->plan->tensors[group->tensor].phases) {
        *status = measure(pipeline, job, tools);
        return true;
    }
    if (!job->is_counted && group->work.method->count != NULL &&
        tm_work_has_ties(&group->work)) {
        *status = count(pipeline, job, tools);
        return true;
    }
    return false;
}

void tm_group_made(struct tm_pipeline *pipeline, struct tm_job *job)
{
    struct tm_group *group = job->group;

    pthread_mutex_lock(&pipeline->lock);
    if (++group->made == group->units)
        group->open = false;
    pthread_mutex_unlock(&pipeline->lock);
}
