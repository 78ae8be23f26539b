/* SPDX-License-Identifier: Apache-2.0 */
/* merge and plan: the commands. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "src/commands.h"
#include "src/inputs.h"
#include "src/manifest.h"
#include "src/options.h"
#include "src/probe.h"
#include "src/report.h"
#include "src/run.h"
#include "src/signals.h"
#include "src/staging.h"

/* A merge from the command line to its end. */
struct merge {
    struct tm_options options;
    struct tm_disk disk;
    struct tm_plan plan;
    struct tm_staging staging;
    struct tm_results results;
};

static enum tm_status check_options(const struct tm_options *options)
{
    enum tm_status status = TM_OK;

    if (options->num_paths > 0)
        status =
            tm_error(TM_USAGE, "'%s': belongs to no option", options->paths[0]);
    if (options->recipe.base == NULL)
        status = tm_error(TM_USAGE, "no base is given (-b BASE)");
    if (options->recipe.num_vectors == 0)
        status = tm_error(TM_USAGE, "no vector is given (-t VECTOR)");
    return status;
}

/* One unit needs a file of each input, and each output shard one. */
static enum tm_status check_descriptors(const struct tm_plan *plan)
{
    const size_t limit = tm_inputs_limit();

    if (plan->width <= limit)
        return TM_OK;
    return tm_error(TM_SYSTEM,
                    "%zu files have to be open at once, %zu may be (ulimit "
                    "-n)",
                    plan->width, limit);
}

/*
 * The plan and all checks; every problem is reported, not just the first.
 * Without `out` (of plan) nothing is checked that depends on it.
 */
static enum tm_status make_plan(struct merge *m, const char *out)
{
    enum tm_status status, staged = TM_OK, descriptors;

    status = tm_disk_open(m->options.settings.io, m->options.settings.fault,
                          &m->disk);
    if (status != TM_OK)
        return status;
    status = tm_plan_make(&m->disk, &m->options.recipe, &m->options.settings,
                          out != NULL ? out : "", &m->plan);
    if (m->plan.num_files == 0)
        return status; /* not even the base could be opened */
    if (out != NULL)
        staged = tm_staging_check(&m->staging, &m->disk, &m->plan, out,
                                  m->options.settings.force);
    descriptors = check_descriptors(&m->plan);
    if (status != TM_OK)
        return status;
    return staged != TM_OK ? staged : descriptors;
}

static void say_engine(const struct merge *m)
{
    if (m->disk.why_not_uring != NULL)
        tm_info("io_uring is not to be had (%s): using the threads engine",
                m->disk.why_not_uring);
    tm_note("engine %s, kernels %s", m->disk.engine->ops->name,
            tm_isa_name(m->options.settings.isa));
}

/* From the plan to the published output. */
static enum tm_status execute(struct merge *m)
{
    enum tm_status status = tm_results_init(&m->results, &m->plan);

    if (status == TM_OK)
        status = tm_staging_create(&m->staging);
    if (status == TM_OK)
        status = tm_run(&m->plan, &m->options.settings, &m->disk, &m->staging,
                        &m->results);
    if (status == TM_OK)
        status = tm_manifest_write(&m->plan, &m->results, &m->staging);
    if (status == TM_OK)
        status = tm_staging_publish(&m->staging);
    if (status != TM_OK)
        tm_staging_abort(&m->staging);
    return status;
}

static void release(struct merge *m)
{
    tm_results_free(&m->results);
    tm_staging_free(&m->staging);
    tm_plan_free(&m->plan);
    tm_disk_close(&m->disk);
    tm_options_free(&m->options);
}

enum tm_status tm_command_merge(int argc, char **argv)
{
    struct merge m = {0};
    enum tm_status status =
        tm_options_parse(argc, argv, TM_FOR_MERGE, &m.options);

    if (status == TM_OK && m.options.help) {
        tm_command_help("merge -b BASE [-t VECTOR [-w WEIGHT]]... -o OUT",
                        TM_FOR_MERGE);
        status = tm_flush_stdout();
        release(&m);
        return status;
    }
    if (status == TM_OK)
        status = check_options(&m.options);
    if (status == TM_OK && m.options.out == NULL)
        status = tm_error(TM_USAGE, "no output is given (-o OUT)");
    if (status == TM_OK) {
        tm_message_verbosity(m.options.settings.verbosity);
        tm_signals_catch();
        status = make_plan(&m, m.options.out);
    }
    if (status == TM_OK) {
        say_engine(&m);
        status = execute(&m);
    }
    if (status == TM_OK)
        tm_report(&m.plan, &m.results, m.options.out);
    release(&m);
    return status;
}

static uint64_t free_space(const char *path)
{
    struct statvfs fs;

    if (statvfs(path, &fs) != 0)
        return 0;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static enum tm_status print_plan(struct merge *m)
{
    const char *directory = m->options.out != NULL ? m->staging.parent : ".";
    struct tm_speed speed;

    tm_probe(&m->plan, &m->options.settings, &m->disk, directory, &speed);
    return tm_plan_print(&m->plan, m->options.settings.json,
                         free_space(directory), &speed);
}

enum tm_status tm_command_plan(int argc, char **argv)
{
    struct merge m = {0};
    enum tm_status status =
        tm_options_parse(argc, argv, TM_FOR_PLAN, &m.options);

    if (status == TM_OK && m.options.help) {
        tm_command_help("plan -b BASE [-t VECTOR [-w WEIGHT]]... [-o OUT]",
                        TM_FOR_PLAN);
        status = tm_flush_stdout();
        release(&m);
        return status;
    }
    if (status == TM_OK)
        status = check_options(&m.options);
    if (status == TM_OK) {
        tm_message_verbosity(m.options.settings.verbosity);
        status = make_plan(&m, m.options.out);
    }
    if (status == TM_OK)
        status = print_plan(&m);
    release(&m);
    return status;
}
