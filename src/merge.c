/* SPDX-License-Identifier: Apache-2.0 */
/* merge and plan: the commands. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "src/commands.h"
#include "src/made_manifest.h"
#include "src/manifest.h"
#include "src/probe.h"
#include "src/report.h"
#include "src/task.h"

static enum tm_status check(struct tm_options *options)
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

static enum tm_status plan(struct tm_task *task, const char *out)
{
    return tm_plan_make(&task->disk, &task->options.recipe,
                        &task->options.settings, out, &task->plan);
}

static enum tm_status write_beside(struct tm_task *task)
{
    struct tm_products products = {.staging = &task->staging, .prefix = ""};
    enum tm_status status;

    if (task->plan.product == TM_MODEL_VECTOR)
        return tm_made_manifest_write(&task->plan, &task->results,
                                      &task->staging);
    status = tm_manifest_write(&task->plan, &task->results, &products);
    tm_products_free(&products);
    return status;
}

static void report(const struct tm_task *task)
{
    tm_report(&task->plan, &task->results, task->options.out);
}

static const struct tm_task_kind merging = {
    .command = TM_FOR_MERGE,
    .usage = "merge -b BASE [-t VECTOR [-w WEIGHT]]... -o OUT",
    .check = check,
    .plan = plan,
    .write = write_beside,
    .report = report,
};

enum tm_status tm_command_merge(int argc, char **argv)
{
    return tm_task_main(argc, argv, &merging);
}

static const struct tm_task_kind planning = {
    .command = TM_FOR_PLAN,
    .usage = "plan -b BASE [-t VECTOR [-w WEIGHT]]... [-o OUT]",
    .check = check,
    .plan = plan,
};

static uint64_t free_space(const char *path)
{
    struct statvfs fs;

    if (statvfs(path, &fs) != 0)
        return 0;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static enum tm_status print_plan(struct tm_task *task)
{
    const struct tm_settings *settings = &task->options.settings;
    const char *directory =
        task->options.out != NULL ? task->staging.parent : ".";
    struct tm_speed speed;

    tm_probe(&task->plan, settings, &task->disk, directory, &speed);
    return tm_plan_print(&task->plan, settings->json, free_space(directory),
                         &speed);
}

enum tm_status tm_command_plan(int argc, char **argv)
{
    struct tm_task task = {0};
    enum tm_status status = tm_task_parse(&task, argc, argv, &planning);

    if (status == TM_OK && !task.options.help) {
        status = tm_task_plan(&task, &planning, task.options.out);
        if (status == TM_OK)
            status = print_plan(&task);
    }
    tm_task_free(&task);
    return status;
}
