/* SPDX-License-Identifier: Apache-2.0 */
/* merge and plan: the commands. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "src/commands.h"
#include "src/given.h"
#include "src/made_manifest.h"
#include "src/manifest.h"
#include "src/probe.h"
#include "src/recipe/evaluate.h"
#include "src/report.h"
#include "src/series.h"
#include "src/task.h"

static enum tm_status check(struct tm_options *options)
{
    enum tm_status status = tm_given_check(options);

    if (status == TM_OK)
        status = tm_series_name(options);
    return status == TM_OK ? tm_given_complete(options) : status;
}

static enum tm_status plan(struct tm_task *task, const char *out)
{
    const struct tm_recipe *recipe = &task->options.recipe;
    const enum tm_status status = tm_plan_make(
        &task->disk, recipe, &task->options.settings, out, &task->plan);

    if (status == TM_OK)
        tm_evaluate_warn_unused(recipe);
    return status;
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
    const struct tm_options *options = &task->options;
    char name[300];

    if (options->is_alias)
        snprintf(name, sizeof(name), "document %s", options->document);
    tm_report(&task->plan, &task->results,
              options->is_alias ? name : options->out);
}

/* Before this recipe come the documents whose results it needs. */
static enum tm_status prepare(const struct tm_options *options);

static const struct tm_task_kind merging = {
    .command = TM_FOR_MERGE,
    .usage = "merge RECIPE.yaml -o OUT\n"
             "       taumerge merge -b BASE [-t VECTOR [-w WEIGHT]]... -o OUT",
    .check = check,
    .prepare = prepare,
    .is_worth = tm_series_is_worth,
    .clean_up = tm_series_remove,
    .plan = plan,
    .write = write_beside,
    .report = report,
};

static enum tm_status prepare(const struct tm_options *options)
{
    return tm_series_make(options, &merging);
}

enum tm_status tm_command_merge(int argc, char **argv)
{
    return tm_task_main(argc, argv, &merging);
}

static const struct tm_task_kind planning = {
    .command = TM_FOR_PLAN,
    .usage = "plan RECIPE.yaml [-o OUT]\n"
             "       taumerge plan -b BASE [-t VECTOR [-w WEIGHT]]... [-o OUT]",
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
    const struct tm_options *options = &task->options;
    const char *directory = ".";
    const char *first = tm_series_first(options);
    struct tm_speed speed = {0};
    enum tm_status status;

    if (first != NULL)
        return tm_error(TM_USAGE,
                        "%s: document '%s' has to be made before the rest can "
                        "be planned (--document)",
                        options->recipe.path, first);
    status = tm_task_plan(task, &planning, options->out);
    if (status != TM_OK)
        return status;
    if (options->out != NULL)
        directory = task->staging.parent;
    if (options->settings.only_tensors == NULL)
        tm_probe(&task->plan, &options->settings, &task->disk, directory,
                 &speed);
    return tm_plan_print(&task->plan, &options->settings, free_space(directory),
                         &speed);
}

static enum tm_status print_recipe(const struct tm_recipe *recipe)
{
    const enum tm_status status = tm_recipe_print(recipe);

    return status == TM_OK ? tm_flush_stdout() : status;
}

enum tm_status tm_command_plan(int argc, char **argv)
{
    struct tm_task task = {0};
    const struct tm_options *options = &task.options;
    enum tm_status status = tm_task_parse(&task, argc, argv, &planning);

    if (status == TM_OK && !options->help) {
        if (options->settings.print_recipe)
            status = print_recipe(&options->recipe);
        else
            status = print_plan(&task);
    }
    tm_task_free(&task);
    return status;
}
