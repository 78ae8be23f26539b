/* SPDX-License-Identifier: Apache-2.0 */
/* run: see run.h. This is the I/O thread. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/run.h"

#include <errno.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "io/path.h"
#include "src/cpus.h"
#include "src/inputs.h"
#include "src/keeper.h"
#include "src/pipeline.h"
#include "src/progress.h"
#include "src/shard_files.h"
#include "src/signals.h"

/* The size of a huge page on x86-64 and, mostly, aarch64. */
#define HUGE_PAGE ((size_t)2 << 20)

struct run {
    const struct tm_plan *plan;
    const struct tm_settings *settings;
    struct tm_disk *disk;
    struct tm_staging *staging;
    struct tm_pipeline pipeline;
    struct tm_inputs inputs;
    struct tm_cutter cutter;
    struct tm_unit_limits limits;
    struct tm_stream streams[TM_OPEN_STREAMS];
    struct tm_progress progress;
    struct tm_keeper keeper;
    const struct tm_start *start;

    unsigned char *pool;
    size_t pool_bytes;
    struct tm_job *jobs;
    struct tm_jobs idle;     /* jobs without a unit */
    struct tm_job *waiting;  /* cut, but file or stream are not to be had */
    size_t reading, writing; /* jobs in these stages */
    uint64_t bytes_read, bytes_written; /* by units that are done with it */
    uint64_t bytes_kept;                /* written by the run before */
    uint64_t order; /* units that are written, as they were cut */
    bool all_cut;
    double stopped;        /* when a signal asked for an end; 0: none has */
    enum tm_status status; /* of the first failure */
};

/* --- memory --------------------------------------------------------------*/

/*
 * One mapping for all buffers. Huge pages spare the TLB, page faults and the
 * pinning of direct I/O.
 */
static enum tm_status make_pool(struct run *run)
{
    const struct tm_budget *budget = &run->plan->budget;
    const size_t bytes = budget->slot * budget->slots;
    unsigned char *mapping;

    run->pool_bytes = bytes + HUGE_PAGE;
    mapping = mmap(NULL, run->pool_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        return tm_error(TM_SYSTEM, "cannot map %zu bytes of memory: %s",
                        run->pool_bytes, strerror(errno));
    run->pool = mapping;
    mapping += HUGE_PAGE - (uintptr_t)mapping % HUGE_PAGE;
    /* Whole huge pages only: the rest would cost memory beyond the budget. */
    if (bytes >= HUGE_PAGE)
        madvise(mapping, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    madvise(mapping, bytes, MADV_DONTFORK);
    for (size_t i = 0; i < budget->slots; i++)
        run->jobs[i].slot = mapping + i * budget->slot;
    return TM_OK;
}

static enum tm_status make_jobs(struct run *run)
{
    const struct tm_budget *budget = &run->plan->budget;

    run->jobs = calloc(budget->slots, sizeof(*run->jobs));
    if (run->jobs == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < budget->slots; i++) {
        struct tm_job *job = &run->jobs[i];

        job->transfers = calloc(budget->requests, sizeof(*job->transfers));
        job->pieces = calloc(budget->pieces + 1, sizeof(*job->pieces));
        job->checks = calloc(budget->checks + 1, sizeof(*job->checks));
        job->writes = calloc(run->plan->num_outputs + 1, sizeof(*job->writes));
        job->sums = calloc(budget->unit_sums + 1, sizeof(*job->sums));
        job->ties = calloc(budget->work.selects + 1, sizeof(*job->ties));
        job->stats = calloc(budget->tiles + 1, sizeof(*job->stats));
        if (job->stats == NULL || job->transfers == NULL ||
            job->pieces == NULL || job->checks == NULL || job->writes == NULL ||
            job->sums == NULL || job->ties == NULL ||
            !tm_unit_init(&job->unit, run->plan, &run->limits))
            return tm_no_memory();
        tm_jobs_add(&run->idle, job);
    }
    return TM_OK;
}

static enum tm_status prepare(struct run *run)
{
    const struct tm_budget *budget = &run->plan->budget;
    enum tm_status status;

    run->limits = (struct tm_unit_limits){
        .span = budget->span,
        .slot_bytes = budget->slot,
        .tiles = budget->tiles,
        .reads = budget->requests,
    };
    status = tm_inputs_init(&run->inputs, run->disk, run->plan,
                            run->settings->direct);
    if (status == TM_OK)
        status = make_jobs(run);
    if (status == TM_OK)
        status = make_pool(run);
    if (status == TM_OK &&
        !tm_cutter_init(&run->cutter, run->plan, &run->limits))
        status = tm_no_memory();
    if (status == TM_OK && run->start->is_resumed)
        tm_cutter_start(&run->cutter, run->start->place.shard,
                        run->start->place.position);
    if (status == TM_OK && !tm_groups_init(&run->pipeline.groups, run->plan))
        status = tm_no_memory();
    for (size_t i = 0; i < TM_OPEN_STREAMS && status == TM_OK; i++)
        if (!tm_stream_init(&run->streams[i], run->plan->width))
            status = tm_no_memory();
    return status;
}

static void release(struct run *run)
{
    for (size_t i = 0; i < TM_OPEN_STREAMS; i++) {
        tm_file_close(run->disk->engine, &run->streams[i].file);
        tm_stream_free(&run->streams[i], run->plan->width);
    }
    for (size_t i = 0; i < run->plan->budget.slots && run->jobs; i++) {
        free(run->jobs[i].transfers);
        free(run->jobs[i].pieces);
        free(run->jobs[i].checks);
        free(run->jobs[i].writes);
        free(run->jobs[i].sums);
        free(run->jobs[i].ties);
        free(run->jobs[i].stats);
        tm_unit_free(&run->jobs[i].unit);
    }
    free(run->jobs);
    for (size_t i = 0; i < run->plan->num_outputs; i++)
        tm_made_close(&run->pipeline.results->made[i], run->disk);
    if (run->pool != NULL)
        munmap(run->pool, run->pool_bytes);
    tm_groups_free(&run->pipeline.groups);
    tm_mark_free(&run->pipeline.mark);
    tm_keeper_free(&run->keeper);
    tm_cutter_free(&run->cutter);
    tm_inputs_free(&run->inputs);
}

static void set_status(struct run *run, enum tm_status status)
{
    if (run->status == TM_OK)
        run->status = status;
}

/* --- output shards -------------------------------------------------------*/

/* All files are made at once. */
static enum tm_status create_files(struct run *run)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < run->plan->num_outputs && status == TM_OK; i++)
        status = tm_made_create(&run->pipeline.results->made[i], run->disk,
                                run->staging, run->settings->direct);
    if (status == TM_OK && run->plan->product == TM_MODEL)
        status = tm_shard_files_make(run->plan, run->settings, run->staging,
                                     run->start);
    return status;
}

/* Puts the stream to where the kept run has left it. */
static void resume_stream(struct run *run, struct tm_stream *stream)
{
    struct tm_unpack from = {.at = run->start->stream,
                             .left = run->start->stream_length};

    if (!tm_mark_resume(&from, run->plan, &run->start->place, stream))
        set_status(run, tm_error(TM_CANT_CREATE,
                                 "%s: the last mark does not fit (--restart "
                                 "throws it away)",
                                 run->staging->journal_path));
}

/* The stream of output shard `number`; NULL while all are busy. */
static struct tm_stream *stream_of(struct run *run, size_t number)
{
    struct tm_stream *stream = &run->streams[number % TM_OPEN_STREAMS];
    enum tm_status status = TM_OK;

    if (stream->open)
        return stream->shard == number ? stream : NULL;
    if (run->plan->product == TM_MODEL)
        status = tm_shard_files_open(run->plan, run->settings, run->staging,
                                     number, &stream->file);
    if (status != TM_OK) {
        set_status(run, status);
        return NULL;
    }
    tm_stream_reset(stream, run->plan->width, number);
    if (run->start->is_resumed && number == run->start->place.shard)
        resume_stream(run, stream);
    return stream;
}

/* The stream can serve another shard. */
static void close_stream(struct run *run, struct tm_stream *stream)
{
    set_status(run, tm_file_close(run->disk->engine, &stream->file));
    stream->open = false;
}

/* All of the shard is written: cut the padding off and sync it. */
static void finish_stream(struct run *run, struct tm_stream *stream)
{
    const uint64_t size = run->plan->shards[stream->shard].size;
    const struct tm_call truncate_it = {
        .kind = TM_CALL_TRUNCATE, .fd = stream->file.fd, .size = size};
    enum tm_status status = TM_OK;

    if (stream->file.fd < 0) {
        close_stream(run, stream); /* it had no file */
        return;
    }
    if (size % TM_BLOCK != 0 || run->start->is_resumed)
        status = tm_disk_call(run->disk, &truncate_it, TM_IO_ERROR,
                              stream->file.path, "set the size");
    if (status != TM_OK) {
        set_status(run, status);
        return;
    }
    stream->sync = (struct tm_transfer){
        .kind = TM_OP_SYNC, .file = &stream->file, .owner = NULL};
    tm_transfer_start(run->disk, &stream->sync);
}

/* --- reading -------------------------------------------------------------*/

/* The files of the job's reads, all or none. */
static bool acquire_files(struct run *run, struct tm_job *job)
{
    const struct tm_unit *unit = &job->unit;

    for (size_t i = 0; i < unit->num_reads; i++) {
        struct tm_file *file;
        const enum tm_status status =
            tm_inputs_acquire(&run->inputs, unit->reads[i].file, &file);

        set_status(run, status);
        if (file != NULL)
            continue;
        while (i-- > 0)
            tm_inputs_release(&run->inputs, unit->reads[i].file);
        return false;
    }
    return true;
}

/* One transfer for each request of `len` bytes of `file`. */
static void start_transfers(struct run *run, struct tm_job *job,
                            const struct tm_transfer *all)
{
    const uint64_t size = tm_request_size(all->len);

    for (uint64_t at = 0; at < all->len; at += size) {
        struct tm_transfer *transfer = &job->transfers[job->pending++];
        const uint64_t len = all->len - at < size ? all->len - at : size;

        *transfer = *all;
        transfer->offset += at;
        transfer->buf = (char *)all->buf + at;
        transfer->len = len;
        transfer->need = all->need - at < len ? all->need - at : len;
        tm_transfer_start(run->disk, transfer);
    }
}

static void pass_to_workers(struct run *run, struct tm_job *job)
{
    pthread_mutex_lock(&run->pipeline.lock);
    if (tm_group_admit(&run->pipeline, job)) {
        tm_jobs_add(&run->pipeline.ready, job);
        pthread_cond_signal(&run->pipeline.work);
    }
    pthread_mutex_unlock(&run->pipeline.lock);
}

static void start_reads(struct run *run, struct tm_job *job)
{
    const struct tm_unit *unit = &job->unit;

    job->pending = 0;
    if (unit->num_reads == 0) {
        pass_to_workers(run, job);
        return;
    }
    run->reading++;
    for (size_t i = 0; i < unit->num_reads; i++) {
        const struct tm_read *read = &unit->reads[i];
        const struct tm_transfer all = {
            .kind = TM_OP_READ,
            .file = &run->inputs.inputs[read->file].file,
            .offset = read->offset,
            .buf = job->slot + read->place,
            .len = read->len,
            .need = read->need,
            .what = run->plan->tensors[read->tensor].name,
            .owner = job,
        };

        start_transfers(run, job, &all);
    }
}

/* Gives the job its stream and its place in it, if it has an output. */
static bool join_stream(struct run *run, struct tm_job *job)
{
    struct tm_stream *stream;

    job->stream = NULL;
    if (job->unit.aim != TM_AIM_OUTPUT)
        return true;
    stream = stream_of(run, job->unit.shard);
    if (stream == NULL)
        return false;
    job->stream = stream;
    return true;
}

static bool join_group(struct run *run, struct tm_job *job)
{
    bool joined;

    pthread_mutex_lock(&run->pipeline.lock);
    joined = tm_group_join(&run->pipeline, job);
    pthread_mutex_unlock(&run->pipeline.lock);
    return joined;
}

/* The job is on its way: the next unit of its stream comes after it. */
static void take_place(struct run *run, struct tm_job *job)
{
    struct tm_stream *stream = job->stream;

    job->is_busy = job->is_marked = false;
    if (stream == NULL)
        return;
    job->is_busy = true;
    tm_keeper_cut(&run->keeper, job, ++run->order);
    job->sequence = stream->cut++;
    stream->all_cut = job->unit.end == run->plan->shards[job->unit.shard].size;
}

/* Starts units while there are slots, files and streams for them. */
static void start_units(struct run *run)
{
    while (run->status == TM_OK && !run->all_cut && run->stopped == 0 &&
           !tm_keeper_holds(&run->keeper)) {
        struct tm_job *job = run->waiting;

        if (job == NULL) {
            enum tm_cut cut;

            job = tm_jobs_take(&run->idle);
            if (job == NULL)
                return;
            cut = tm_cutter_next(&run->cutter, &run->limits, &job->unit);
            if (cut != TM_CUT_UNIT) {
                run->all_cut = true;
                tm_jobs_add(&run->idle, job);
                if (cut == TM_CUT_SLOT)
                    set_status(
                        run, tm_error(TM_INTERNAL, "a unit outgrew its slot"));
                return;
            }
        }
        run->waiting = job;
        if (!acquire_files(run, job))
            return;
        if (!join_stream(run, job) || !join_group(run, job)) {
            for (size_t i = 0; i < job->unit.num_reads; i++)
                tm_inputs_release(&run->inputs, job->unit.reads[i].file);
            return;
        }
        take_place(run, job);
        run->waiting = NULL;
        start_reads(run, job);
    }
}

/* --- writing -------------------------------------------------------------*/

/* Bytes of the output that the job has brought, without padding. */
static uint64_t written_by(const struct tm_plan *plan, const struct tm_job *job)
{
    uint64_t bytes = 0;

    if (plan->product == TM_MODEL)
        return job->unit.end - job->unit.begin;
    for (size_t i = 0; i < job->num_writes; i++)
        bytes += job->writes[i].len;
    return bytes;
}

/* The job's output is where it belongs. */
static void writes_done(struct run *run, struct tm_job *job)
{
    struct tm_stream *stream = job->stream;

    run->writing--;
    job->is_busy = false;
    run->bytes_written += written_by(run->plan, job);
    stream->written++;
    tm_jobs_add(&run->idle, job);
}

/*
 * Finishes the streams whose units are all written. A file that is synced for
 * a mark must stay open until that is done.
 */
static void finish_streams(struct run *run)
{
    for (size_t i = 0; i < TM_OPEN_STREAMS; i++) {
        struct tm_stream *stream = &run->streams[i];

        if (run->status != TM_OK || !stream->open || stream->finishing ||
            !stream->all_cut || stream->written < stream->cut ||
            tm_keeper_syncs(&run->keeper, &stream->file))
            continue;
        stream->finishing = true;
        finish_stream(run, stream);
    }
}

static void start_writes(struct run *run, struct tm_job *job)
{
    job->pending = 0;
    run->writing++;
    for (size_t i = 0; i < job->num_writes; i++) {
        const struct tm_write *write = &job->writes[i];
        const struct tm_transfer all = {
            .kind = TM_OP_WRITE,
            .file = write->file,
            .offset = write->offset,
            .buf = job->slot + write->place,
            .len = write->len,
            .need = write->len,
            .owner = job,
        };

        start_transfers(run, job, &all);
    }
    if (job->num_writes == 0)
        writes_done(run, job);
}

/* Takes what the workers have done. */
static void collect(struct run *run)
{
    struct tm_pipeline *p = &run->pipeline;
    struct tm_jobs hashed;

    pthread_mutex_lock(&p->lock);
    hashed = p->hashed;
    p->hashed = (struct tm_jobs){0};
    set_status(run, p->status);
    pthread_mutex_unlock(&p->lock);
    while (hashed.count > 0) {
        struct tm_job *job = tm_jobs_take(&hashed);

        if (job->stream == NULL)
            tm_jobs_add(&run->idle, job);
        else if (run->status == TM_OK)
            start_writes(run, job);
    }
}

/* --- completions ---------------------------------------------------------*/

static void reads_done(struct run *run, struct tm_job *job)
{
    run->reading--;
    run->bytes_read += job->unit.input_bytes;
    for (size_t i = 0; i < job->unit.num_reads; i++)
        tm_inputs_release(&run->inputs, job->unit.reads[i].file);
    if (run->status == TM_OK)
        pass_to_workers(run, job);
}

static void complete(struct run *run, struct tm_transfer *transfer)
{
    struct tm_job *job = transfer->owner;

    set_status(run, transfer->status);
    if (transfer->owner == &run->keeper) {
        if (run->status == TM_OK)
            set_status(run, tm_keeper_complete(&run->keeper, transfer));
        return;
    }
    if (transfer->kind == TM_OP_SYNC) {
        for (size_t i = 0; i < TM_OPEN_STREAMS; i++)
            if (transfer == &run->streams[i].sync)
                close_stream(run, &run->streams[i]);
        return;
    }
    if (--job->pending > 0)
        return;
    if (transfer->kind == TM_OP_READ)
        reads_done(run, job);
    else
        writes_done(run, job);
}

/* Which stage the others wait for: the one that most slots are in. */
static enum tm_stage slowest_stage(struct run *run)
{
    const size_t elsewhere =
        run->idle.count + run->reading + run->writing + (run->waiting != NULL);
    const size_t computing = run->plan->budget.slots - elsewhere;

    if (computing >= run->reading && computing >= run->writing)
        return TM_STAGE_COMPUTE;
    return run->reading >= run->writing ? TM_STAGE_READ : TM_STAGE_WRITE;
}

static bool is_finished(struct run *run)
{
    if (run->disk->in_flight > 0)
        return false;
    if (run->status != TM_OK)
        return true;
    for (size_t i = 0; i < TM_OPEN_STREAMS; i++)
        if (run->streams[i].open)
            return false;
    if (run->keeper.stage != TM_KEEPER_IDLE)
        return false;
    return run->all_cut && run->idle.count == run->plan->budget.slots;
}

/* Whether something is under way that will make tm_disk_wait return. */
static bool is_moving(struct run *run)
{
    return run->disk->in_flight > 0 ||
           run->idle.count + (run->waiting != NULL) < run->plan->budget.slots;
}

/* --- marks ---------------------------------------------------------------*/

/* Whether everything up to the mark at hand is written. */
static bool is_mark_written(const struct run *run)
{
    const struct tm_mark_place *mark = &run->pipeline.mark.place;

    for (size_t i = 0; i < run->plan->budget.slots; i++)
        if (run->jobs[i].is_busy && run->jobs[i].order <= run->keeper.order)
            return false;
    /* What is complete is synced when it is closed. */
    for (size_t i = 0; i < TM_OPEN_STREAMS; i++) {
        const struct tm_stream *stream = &run->streams[i];
        const bool is_complete =
            stream->finishing ||
            mark->position == run->plan->shards[mark->shard].size;

        if (stream->open && (stream->shard < mark->shard ||
                             (stream->shard == mark->shard && is_complete)))
            return false;
    }
    return true;
}

/* Takes the mark at hand on, if its time has come. */
static void keep(struct run *run)
{
    struct tm_file closed = {.fd = -1};
    const size_t shard = run->pipeline.mark.place.shard;
    struct tm_stream *stream = &run->streams[shard % TM_OPEN_STREAMS];

    if (run->status != TM_OK || run->keeper.stage != TM_KEEPER_UNITS ||
        !is_mark_written(run))
        return;
    set_status(
        run, tm_keeper_sync(&run->keeper, stream->open && stream->shard == shard
                                              ? &stream->file
                                              : &closed));
}

/* Whether nothing moves any more, now that no unit is started. */
static bool is_drained(struct run *run)
{
    size_t parked;

    pthread_mutex_lock(&run->pipeline.lock);
    parked = run->pipeline.parked;
    pthread_mutex_unlock(&run->pipeline.lock);
    return run->disk->in_flight == 0 &&
           run->idle.count + (run->waiting != NULL) + parked ==
               run->plan->budget.slots;
}

/* So long may what is under way take, when a signal has asked for an end. */
#define STOPPING_SECONDS 1.5

/* What a signal asks for: an end, with a mark if that can be had. */
static void check_signals(struct run *run)
{
    const size_t shard = run->keeper.last.shard;
    bool is_done;

    if (run->status != TM_OK || tm_signals_end() == 0)
        return;
    if (run->stopped == 0)
        run->stopped = tm_clock();
    is_done = run->keeper.stage == TM_KEEPER_IDLE && is_drained(run);
    if (is_done && run->pipeline.parked == 0 &&
        tm_keeper_mark_last(&run->keeper,
                            &run->streams[shard % TM_OPEN_STREAMS]))
        return;
    if (is_done || tm_clock() - run->stopped > STOPPING_SECONDS)
        run->status = tm_signals_check();
}

static void io_loop(struct run *run)
{
    for (;;) {
        struct tm_transfer *done;

        collect(run);
        check_signals(run);
        finish_streams(run); /* a mark may wait for their end */
        keep(run);
        start_units(run);
        if (is_finished(run))
            break;
        if (!is_moving(run) && run->stopped == 0) {
            set_status(run,
                       tm_error(TM_SYSTEM, "too few open files are allowed for "
                                           "this merge (ulimit -n)"));
            break;
        }
        done = tm_disk_wait(run->disk, TM_PROGRESS_MS);
        while (done != NULL) {
            struct tm_transfer *next = done->next;

            complete(run, done);
            done = next;
        }
        tm_progress_tick(&run->progress, run->bytes_read, run->bytes_written,
                         slowest_stage(run));
    }
}

static void close_pipeline(struct tm_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

/* The team: this thread moves bytes, the others compute. */
static void run_team(struct run *run)
{
    const unsigned workers = tm_cpus_startable(run->plan->budget.workers);

    if (workers == 0) {
        set_status(run, tm_error(TM_SYSTEM, "cannot start threads"));
        return;
    }
#pragma omp parallel num_threads((int)workers + 1)
    {
        if (omp_get_num_threads() == 1) {
            set_status(run, tm_error(TM_SYSTEM, "cannot start threads"));
        } else if (omp_get_thread_num() == 0) {
            io_loop(run);
            close_pipeline(&run->pipeline);
        } else {
            tm_worker(&run->pipeline);
        }
    }
}

static enum tm_status finish_vectors(struct run *run)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < run->plan->num_outputs && status == TM_OK; i++)
        status = tm_made_finish(&run->pipeline.results->made[i], run->disk);
    return status;
}

/* Bytes of the output that an earlier run has written. */
static uint64_t bytes_kept(const struct run *run)
{
    const struct tm_results *results = run->pipeline.results;
    uint64_t bytes = 0;

    if (run->plan->num_outputs == 0)
        return run->start->place.bytes_done;
    for (size_t i = 0; i < results->num_made; i++)
        for (size_t k = 0; k < results->made[i].output->num_shards; k++)
            bytes += results->made[i].shards[k].position -
                     results->made[i].shards[k].header_bytes;
    return bytes;
}

static void note_results(struct run *run)
{
    struct tm_results *results = run->pipeline.results;

    results->bytes_read = run->bytes_read - run->start->place.bytes_read;
    results->bytes_written = run->bytes_written - run->bytes_kept;
    results->seconds = tm_clock() - run->progress.started;
    results->limit = tm_progress_limit(&run->progress);
    results->files_direct = run->inputs.num_direct;
    results->files_buffered = run->inputs.num_buffered;
}

enum tm_status tm_run(const struct tm_plan *plan,
                      const struct tm_settings *settings, struct tm_disk *disk,
                      struct tm_staging *staging, const struct tm_start *start,
                      struct tm_results *results)
{
    struct run run = {
        .plan = plan,
        .settings = settings,
        .disk = disk,
        .staging = staging,
        .start = start,
        .bytes_read = start->place.bytes_read,
        .pipeline =
            {
                .plan = plan,
                .disk = disk,
                .results = results,
                .isa = settings->isa,
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .work = PTHREAD_COND_INITIALIZER,
            },
    };

    for (size_t i = 0; i < TM_OPEN_STREAMS; i++)
        run.streams[i].file.fd = -1;
    tm_keeper_init(&run.keeper, &run.pipeline, staging, &start->place,
                   plan->product == TM_CHECK ? -1 : settings->journal);
    run.status = prepare(&run);
    if (run.status == TM_OK)
        run.status = create_files(&run);
    run.bytes_written = run.bytes_kept = bytes_kept(&run);
    tm_progress_start(&run.progress, settings->progress, plan->bytes_read,
                      plan->bytes_written);
    if (run.status == TM_OK)
        run_team(&run);
    if (run.status == TM_OK)
        run.status = finish_vectors(&run);
    tm_progress_finish(&run.progress, run.bytes_read, run.bytes_written);
    note_results(&run);
    release(&run);
    if (run.status == TM_OK)
        run.status = tm_inputs_check(plan);
    return run.status;
}
