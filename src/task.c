/* SPDX-License-Identifier: Apache-2.0 */
/* task: see task.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/task.h"

#include "src/commands.h"
#include "src/confinement.h"
#include "src/inputs.h"
#include "src/resume.h"
#include "src/run.h"
#include "src/signals.h"
#include "src/verify.h"

/* One unit needs a file of each input, and each file being made one. */
static enum tm_status check_descriptors(const struct tm_plan *plan)
{
    const size_t limit = tm_inputs_limit();
    size_t need = plan->width;

    for (size_t i = 0; i < plan->num_outputs; i++)
        need += plan->outputs[i].num_shards;
    if (need <= limit)
        return TM_OK;
    return tm_error(TM_SYSTEM,
                    "%zu files have to be open at once, %zu may be (ulimit "
                    "-n)",
                    need, limit);
}

enum tm_status tm_task_plan(struct tm_task *task,
                            const struct tm_task_kind *kind, const char *out)
{
    const struct tm_settings *settings = &task->options.settings;
    enum tm_status status, staged = TM_OK, descriptors;

    status = tm_disk_open(settings->io, settings->fault, &task->disk);
    if (status != TM_OK)
        return status;
    status = kind->plan(task, out != NULL ? out : "");
    if (task->plan.num_files == 0)
        return status; /* not even the base could be opened */
    if (out != NULL)
        staged = tm_staging_check(&task->staging, &task->disk, &task->plan, out,
                                  settings);
    descriptors = check_descriptors(&task->plan);
    if (status != TM_OK)
        return status;
    return staged != TM_OK ? staged : descriptors;
}

/* Says what is kept of a run that failed, and how to go on with it. */
static void tell_kept(const struct tm_task *task)
{
    const struct tm_staging *staging = &task->staging;
    const uint64_t all = tm_plan_shard_bytes(&task->plan);

    if (staging->num_marks == 0)
        return;
    tm_answer(
        "%s: %u %% is done and kept in %s; to go on with it:", staging->out,
        (unsigned)((double)staging->bytes_kept * 100 / (double)(all + 1)),
        staging->path);
    tm_answer("%s", task->options.settings.command);
}

static void say_engine(const struct tm_task *task)
{
    if (task->disk.why_not_uring != NULL)
        tm_info("io_uring is not to be had (%s): using the threads engine",
                task->disk.why_not_uring);
    tm_note("engine %s, kernels %s", task->disk.engine->ops->name,
            tm_isa_name(task->options.settings.isa));
}

enum tm_status tm_task_run(struct tm_task *task,
                           const struct tm_task_kind *kind)
{
    const bool makes = task->plan.product != TM_CHECK;
    struct tm_start start = {0};
    enum tm_status status;

    say_engine(task);
    status = tm_results_init(&task->results, &task->plan);
    tm_signals_catch();
    if (status == TM_OK && makes)
        status = tm_staging_create(&task->staging);
    /* A document that others need is not the last thing that is made. */
    if (status == TM_OK && makes && !task->options.is_alias)
        status = tm_confinement(task);
    if (status == TM_OK && makes)
        status = tm_resume(&task->plan, &task->options.settings, &task->staging,
                           &task->results, &start);
    if (status == TM_OK)
        status = tm_run(&task->plan, &task->options.settings, &task->disk,
                        &task->staging, &start, &task->results);
    tm_start_free(&start);
    if (status == TM_OK && makes)
        status = kind->write(task);
    if (status == TM_OK && makes)
        status = tm_staging_publish(&task->staging);
    if (status != TM_OK && makes) {
        tm_staging_abort(&task->staging, status != TM_INTERNAL);
        if (status == TM_CANT_CREATE)
            tm_staging_tell_space(&task->staging, &task->plan);
        tell_kept(task);
    }
    return status;
}

void tm_task_free(struct tm_task *task)
{
    tm_results_free(&task->results);
    tm_staging_free(&task->staging);
    tm_plan_free(&task->plan);
    tm_disk_close(&task->disk);
    tm_options_free(&task->options);
}

enum tm_status tm_task_parse(struct tm_task *task, int argc, char **argv,
                             const struct tm_task_kind *kind)
{
    enum tm_status status =
        tm_options_parse(argc, argv, kind->command, &task->options);

    if (status != TM_OK)
        return status;
    if (task->options.help) {
        tm_command_help(kind->usage, kind->command);
        return tm_flush_stdout();
    }
    tm_message_verbosity(task->options.settings.verbosity);
    return kind->check(&task->options);
}

/* The output is there: all that was left to do is the tidying. */
static enum tm_status end_published(struct tm_task *task)
{
    const struct tm_settings *settings = &task->options.settings;
    enum tm_status status =
        tm_resume_published(&task->plan, settings, &task->staging);

    if (status == TM_OK && settings->keeps_journal)
        status = tm_verify_output(&task->disk, settings, task->staging.out);
    if (status != TM_OK)
        return status;
    tm_info("%s: was complete already", task->staging.out);
    return settings->keeps_journal ? TM_OK : tm_staging_tidy(&task->staging);
}

enum tm_status tm_task_make(struct tm_task *task,
                            const struct tm_task_kind *kind)
{
    enum tm_status status = tm_task_plan(task, kind, task->options.out);

    if (status != TM_OK)
        return status;
    if (task->staging.was_published)
        return end_published(task);
    status = tm_task_run(task, kind);
    if (status == TM_OK)
        kind->report(task);
    return status;
}

/* All that comes after the command line. */
static enum tm_status make_all(struct tm_task *task,
                               const struct tm_task_kind *kind)
{
    enum tm_status status = TM_OK;

    if (task->options.out == NULL)
        return tm_error(TM_USAGE, "no output is given (-o OUT)");
    tm_signals_leave();
    if (kind->prepare != NULL)
        status = kind->prepare(&task->options);
    if (status == TM_OK)
        status = tm_task_make(task, kind);
    if (kind->clean_up != NULL &&
        (status == TM_OK ||
         (task->staging.num_marks == 0 && !kind->is_worth(&task->options))))
        kind->clean_up(&task->options);
    return status;
}

enum tm_status tm_task_main(int argc, char **argv,
                            const struct tm_task_kind *kind)
{
    struct tm_task task = {0};
    enum tm_status status = tm_task_parse(&task, argc, argv, kind);

    if (status == TM_OK && !task.options.help)
        status = make_all(&task, kind);
    tm_task_free(&task);
    return status;
}
