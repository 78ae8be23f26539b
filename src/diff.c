/* SPDX-License-Identifier: Apache-2.0 */
/* diff: fine-tunes become stored vectors. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/commands.h"
#include "src/made_manifest.h"
#include "src/report.h"
#include "src/task.h"

/* The first path is the base, the others are the fine-tunes. */
static enum tm_status check(struct tm_options *options)
{
    struct tm_recipe *recipe = &options->recipe;

    if (options->num_paths < 2)
        return tm_error(TM_USAGE, "%s is given: diff BASE TUNED... -o VECTOR",
                        options->num_paths == 0 ? "no path" : "no fine-tune");
    recipe->base = options->paths[0];
    recipe->has_base = true;
    for (size_t i = 1; i < options->num_paths; i++)
        options->vectors[recipe->num_vectors++] =
            (struct tm_vector){.path = options->paths[i]};
    return TM_OK;
}

static enum tm_status plan(struct tm_task *task, const char *out)
{
    (void)out; /* always a directory */
    return tm_plan_diff(&task->disk, &task->options.recipe,
                        &task->options.settings, &task->plan);
}

static enum tm_status write_beside(struct tm_task *task)
{
    return tm_made_manifest_write(&task->plan, &task->results, &task->staging);
}

static void report(const struct tm_task *task)
{
    tm_report_vectors(&task->plan, &task->results, task->options.out);
}

static const struct tm_task_kind diffing = {
    .command = TM_FOR_DIFF,
    .usage = "diff BASE TUNED... -o VECTOR",
    .check = check,
    .plan = plan,
    .write = write_beside,
    .report = report,
};

enum tm_status tm_command_diff(int argc, char **argv)
{
    return tm_task_main(argc, argv, &diffing);
}
