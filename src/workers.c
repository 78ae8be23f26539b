/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers: the threads that compute and hash.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>

#include "io/transfer.h"
#include "kernels/cpu.h"
#include "src/pipeline.h"
#include "src/work.h"

void tm_jobs_add(struct tm_jobs *jobs, struct tm_job *job)
{
    job->next = NULL;
    if (jobs->last != NULL)
        jobs->last->next = job;
    else
        jobs->first = job;
    jobs->last = job;
    jobs->count++;
}

struct tm_job *tm_jobs_take(struct tm_jobs *jobs)
{
    struct tm_job *job = jobs->first;

    if (job == NULL)
        return NULL;
    jobs->first = job->next;
    if (jobs->first == NULL)
        jobs->last = NULL;
    jobs->count--;
    return job;
}

/* Waits for a job; NULL once the pipeline is closed. */
static struct tm_job *next_job(struct tm_pipeline *p)
{
    struct tm_job *job = NULL;

    pthread_mutex_lock(&p->lock);
    while (!p->closed && p->ready.count == 0)
        pthread_cond_wait(&p->work, &p->lock);
    if (!p->closed)
        job = tm_jobs_take(&p->ready);
    pthread_mutex_unlock(&p->lock);
    return job;
}

static void set_failed(struct tm_pipeline *p, enum tm_status status)
{
    pthread_mutex_lock(&p->lock);
    if (p->status == TM_OK)
        p->status = status;
    pthread_mutex_unlock(&p->lock);
}

/* Takes the stream's next job in file order out of those computed. */
static struct tm_job *take_next(struct tm_stream *stream)
{
    for (struct tm_job **link = &stream->computed; *link != NULL;
         link = &(*link)->next)
        if ((*link)->sequence == stream->hashed) {
            struct tm_job *job = *link;

            *link = job->next;
            return job;
        }
    return NULL;
}

/*
 * Puts a computed job into its stream. If nobody is hashing there, hashes
 * every job whose turn it is; else whoever does will come to it.
 */
static void hash_in_order(struct tm_pipeline *p, struct tm_job *job)
{
    struct tm_stream *stream = job->stream;

    pthread_mutex_lock(&p->lock);
    job->next = stream->computed;
    stream->computed = job;
    if (stream->hashing) {
        pthread_mutex_unlock(&p->lock);
        return;
    }
    stream->hashing = true;
    while ((job = take_next(stream)) != NULL) {
        enum tm_status status;

        pthread_mutex_unlock(&p->lock);
        status = tm_hash(p, stream, job);
        pthread_mutex_lock(&p->lock);
        if (p->status == TM_OK)
            p->status = status;
        stream->hashed++;
        tm_jobs_add(&p->hashed, job);
        pthread_mutex_unlock(&p->lock);
        tm_disk_wake(p->disk);
        pthread_mutex_lock(&p->lock);
    }
    stream->hashing = false;
    pthread_mutex_unlock(&p->lock);
}

static void free_tools(struct tm_tools *tools)
{
    free(tools->inputs);
    free(tools->data);
    free(tools->decoded);
    free(tools->converted);
    free(tools->bins);
    free(tools->filled);
    free(tools->sums);
    free(tools->ties);
    tm_strips_free(&tools->strips);
    tm_work_free(&tools->work);
    if (tools->coder != NULL)
        tm_coder_free(tools->coder);
}

/* What the plan needs of tools; false: no memory. */
static bool make_tools(const struct tm_pipeline *p, struct tm_tools *tools)
{
    const struct tm_plan *plan = p->plan;
    const struct tm_budget *budget = &plan->budget;

    *tools = (struct tm_tools){
        .inputs = malloc(plan->width * sizeof(*tools->inputs)),
        .data = malloc(plan->width * sizeof(*tools->data)),
        .decoded = malloc(budget->decoded + 1),
        .converted = malloc(budget->converted + 1),
        .bins = calloc(TM_DRIFT_BINS, sizeof(*tools->bins)),
        .filled = malloc((plan->num_outputs + 1) * sizeof(*tools->filled)),
        .sums = malloc((budget->unit_sums + 1) * sizeof(*tools->sums)),
        .ties = malloc((budget->work.selects + 1) * sizeof(*tools->ties)),
    };
    bool complete = tm_strips_init(&tools->strips, plan, p->isa);

    complete &= tm_work_init(&tools->work, plan);
    if (tm_plan_is_chunked(plan))
        tools->coder = tm_coder_new(p->isa, plan->codec);
    return complete && tools->sums != NULL && tools->ties != NULL &&
           tools->inputs != NULL && tools->data != NULL &&
           tools->decoded != NULL && tools->converted != NULL &&
           tools->bins != NULL && tools->filled != NULL &&
           (tools->coder != NULL || !tm_plan_is_chunked(plan));
}

/* One job, up to where it is somebody else's. */
static enum tm_status work_on(struct tm_pipeline *p, struct tm_tools *tools,
                              struct tm_job *job)
{
    enum tm_status status;

    if (!tm_fp_mode_is_default())
        return tm_error(TM_INTERNAL, "this thread does not round to nearest");
    if (job->group != NULL && tm_group_measure(p, job, tools, &status))
        return status;
    status = tm_compute(p, job, tools);
    if (status != TM_OK)
        return status;
    if (job->group != NULL)
        tm_group_made(p, job);
    hash_in_order(p, job);
    return TM_OK;
}

void tm_worker(struct tm_pipeline *pipeline)
{
    struct tm_tools tools;
    const bool has_tools = make_tools(pipeline, &tools);
    struct tm_job *job;

    while ((job = next_job(pipeline)) != NULL) {
        const enum tm_status status =
            has_tools ? work_on(pipeline, &tools, job) : tm_no_memory();

        if (status != TM_OK) {
            set_failed(pipeline, status);
            tm_disk_wake(pipeline->disk);
        }
    }
    free_tools(&tools);
}
