/* SPDX-License-Identifier: Apache-2.0 */
/* verify_base: see verify_base.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/verify_base.h"

#include "src/task.h"

static enum tm_status plan(struct tm_task *task, const char *out)
{
    return tm_plan_apply(&task->disk, &task->options.recipe,
                         &task->options.settings, TM_CHECK, out, &task->plan);
}

static const struct tm_task_kind checking = {.plan = plan};

enum tm_status tm_verify_base(const struct tm_options *options,
                              const char *path)
{
    struct tm_vector vector = {.path = path};
    struct tm_task task = {.options = *options};
    enum tm_status status;

    task.options.recipe.vectors = &vector;
    task.options.recipe.num_vectors = 1;
    task.options.recipe.has_base = true;
    /* These stay the caller's. */
    task.options.vectors = NULL;
    task.options.weights = NULL;
    task.options.overrides = NULL;
    task.options.arena = (struct tm_arena){0};
    status = tm_task_plan(&task, &checking, NULL);
    if (status == TM_OK)
        status = tm_task_run(&task, &checking);
    tm_task_free(&task);
    return status;
}
