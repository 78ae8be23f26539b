/* SPDX-License-Identifier: Apache-2.0 */
/* confinement: see confinement.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/confinement.h"

#include <fcntl.h>
#include <omp.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "io/confine.h"

/*
 * OpenMP's threads, from reading headers, live on and would work for the run
 * with the rights they have. Ended here, the next region starts others.
 */
static void end_team(struct tm_confine *confine)
{
#ifdef __clang__
    /* It opens shared memory to begin again, and aborts where it cannot. */
    tm_confine_give_up(confine, "built with LLVM's OpenMP");
#elif defined HAVE_OMP_PAUSE_RESOURCE_ALL
    if (omp_pause_resource_all(omp_pause_hard) != 0)
        tm_confine_give_up(confine, "OpenMP cannot end its threads");
#else
    tm_confine_give_up(confine, "built with an OpenMP before 5.0");
#endif
}

static void *end_oneself(void *result)
{
    pthread_exit(result);
}

/*
 * When a thread first ends itself, as OpenMP's do, glibc loads a library for
 * that; where it may not, it aborts.
 */
static void load_libraries(struct tm_confine *confine)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, end_oneself, NULL) == 0)
        pthread_join(thread, NULL);
    else
        tm_confine_give_up(confine, "cannot start a thread");
}

static void list_file(struct tm_confine *confine, const char *path)
{
    if (path != NULL)
        tm_confine_allow(confine, AT_FDCWD, path, TM_MAY_READ);
}

static void list_side_files(struct tm_confine *confine,
                            const struct tm_side_file *file)
{
    for (; file != NULL; file = file->next)
        if (file->why_not == NULL)
            list_file(confine, file->path);
}

static void list_inputs(struct tm_confine *confine, const struct tm_plan *plan)
{
    for (size_t i = 0; i < plan->num_files; i++)
        list_file(confine, plan->files[i].path);
    list_side_files(confine, plan->side_files);
    for (size_t i = 0; i < plan->num_outputs; i++) {
        const struct tm_output *output = &plan->outputs[i];

        list_side_files(confine, output->side_files);
        for (size_t k = 0; k < output->num_shards; k++)
            list_file(confine, output->shards[k].start_path);
    }
}

/* What is in OUT's place is removed once it has been replaced. */
static void list_output(struct tm_confine *confine, const struct tm_staging *s)
{
    const bool files = s->single_file || s->force;

    tm_confine_allow(confine, s->parent_fd, s->own_name, TM_MAY_WRITE);
    /* Itself too: it could not be taken back to where it may do more. */
    tm_confine_allow(confine, s->fd, ".", TM_MAY_WRITE);
    tm_confine_allow(confine, s->parent_fd, ".",
                     files ? TM_MAY_NAME : TM_MAY_NAME_DIRS);
    if (s->force && !s->single_file)
        tm_confine_allow(confine, s->parent_fd, s->name, TM_MAY_WRITE);
}

/* What other documents of a recipe made for this one is removed at the end. */
static void list_steps(struct tm_confine *confine,
                       const struct tm_options *options)
{
    struct tm_arena arena = {0};

    for (size_t i = 0; i < options->num_aliases; i++) {
        const char *path = options->aliases[i].path;
        const char *staging = tm_staging_sibling(&arena, path);

        if (!options->is_made[i])
            continue;
        tm_confine_allow(confine, AT_FDCWD, path, TM_MAY_WRITE);
        if (staging != NULL && access(staging, F_OK) == 0)
            tm_confine_allow(confine, AT_FDCWD, staging, TM_MAY_WRITE);
    }
    tm_arena_free(&arena);
}

/*
 * Our peak memory is read for the report, and sanitizers look at our threads.
 * The directory stays open until the end: what is not in use there the kernel
 * may forget and make anew, and then it would be another one for Landlock.
 */
static void list_self(struct tm_confine *confine)
{
    const int fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0)
        tm_confine_allow(confine, fd, ".", TM_MAY_READ);
}

enum tm_status tm_confinement(struct tm_task *task)
{
    const char *fault = task->options.settings.fault;
    struct tm_confine confine;

    tm_confine_begin(&confine);
    list_inputs(&confine, &task->plan);
    list_output(&confine, &task->staging);
    list_steps(&confine, &task->options);
    list_self(&confine);
    /* A power cut takes back what it was not the program's to do. */
    if (fault != NULL && strncmp(fault, "crash=", 6) == 0)
        tm_confine_give_up(&confine, "power cuts are being simulated");
    if (confine.why_not == NULL)
        end_team(&confine);
    if (confine.why_not == NULL)
        load_libraries(&confine);
    if (!tm_confine_apply(&confine)) {
        tm_note("not confined: %s", confine.why_not);
        return TM_OK;
    }
    tm_note("confined: writing to %s, reading the inputs (Landlock ABI %d)",
            task->staging.path, confine.abi);
    return tm_disk_renew(&task->disk);
}
