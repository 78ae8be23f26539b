/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task: a command that makes an output, from the command line to its end.
 *
 *     parse -> plan -> check -> run -> write what is beside -> publish
 *
 * What differs from command to command is a handful of functions.
 */
#ifndef TM_SRC_TASK_H
#define TM_SRC_TASK_H

#include "src/options.h"
#include "src/plan.h"
#include "src/results.h"
#include "src/staging.h"

struct tm_task {
    struct tm_options options;
    struct tm_disk disk;
    struct tm_plan plan;
    struct tm_staging staging;
    struct tm_results results;
};

struct tm_task_kind {
    unsigned command;  /* of enum tm_command_bit */
    const char *usage; /* after "taumerge " */
    /* Whether the options make sense together; completes the recipe. */
    enum tm_status (*check)(struct tm_options *options);
    /*
     * Makes what has to be there before the plan, and takes it away in the
     * end, unless the run has failed and it is worth being gone on with. All
     * may be NULL.
     */
    enum tm_status (*prepare)(const struct tm_options *options);
    bool (*is_worth)(const struct tm_options *options);
    void (*clean_up)(const struct tm_options *options);
    /* Makes task->plan; `out` is "" where there is none. */
    enum tm_status (*plan)(struct tm_task *task, const char *out);
    /* Writes what the output has beside what the run makes. */
    enum tm_status (*write)(struct tm_task *task);
    /* Tells what was done. */
    void (*report)(const struct tm_task *task);
};

/* A command from its arguments to its exit status. */
enum tm_status tm_task_main(int argc, char **argv,
                            const struct tm_task_kind *kind);

/*
 * The first part, for commands that go no further: parses, and prints the help
 * if asked to (then options.help is set). tm_task_free in any case.
 */
enum tm_status tm_task_parse(struct tm_task *task, int argc, char **argv,
                             const struct tm_task_kind *kind);

/*
 * Opens the disk and makes the plan. Every problem is reported, not just the
 * first; with `out` NULL nothing is checked that depends on it.
 */
enum tm_status tm_task_plan(struct tm_task *task,
                            const struct tm_task_kind *kind, const char *out);

/* Makes the plan, runs it and reports. */
enum tm_status tm_task_make(struct tm_task *task,
                            const struct tm_task_kind *kind);

/* Runs the plan, into no output if it makes none. */
enum tm_status tm_task_run(struct tm_task *task,
                           const struct tm_task_kind *kind);

void tm_task_free(struct tm_task *task);

#endif
