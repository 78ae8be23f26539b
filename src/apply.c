/* SPDX-License-Identifier: Apache-2.0 */
/* apply: a stored vector becomes the fine-tune that it was. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "src/commands.h"
#include "src/products.h"
#include "src/report.h"
#include "src/task.h"

static enum tm_status check(struct tm_options *options)
{
    if (options->num_paths != 2)
        return tm_error(TM_USAGE, "%s: apply BASE VECTOR -o OUT",
                        options->num_paths < 2 ? "too few paths are given"
                                               : "too many paths are given");
    options->recipe.base = options->paths[0];
    options->recipe.has_base = true;
    options->vectors[options->recipe.num_vectors++] =
        (struct tm_vector){.path = options->paths[1]};
    return TM_OK;
}

static enum tm_status plan(struct tm_task *task, const char *out)
{
    return tm_plan_apply(&task->disk, &task->options.recipe,
                         &task->options.settings, TM_MODEL, out, &task->plan);
}

/* The side files, which must still be what they were. */
static enum tm_status write_beside(struct tm_task *task)
{
    const struct tm_vector_stored *vector = task->plan.stored;
    struct tm_products products = {.staging = &task->staging, .prefix = ""};
    enum tm_status status = tm_products_copy(&products, task->plan.side_files);

    for (size_t i = 0; i < vector->num_files && status == TM_OK; i++)
        if (memcmp(&products.files[i].digest, &vector->files[i].digest,
                   sizeof(struct tm_digest)) != 0)
            status = tm_error(TM_BAD_DATA,
                              "%s: has changed since it was "
                              "stored",
                              vector->files[i].path);
    tm_products_free(&products);
    return status;
}

static void report(const struct tm_task *task)
{
    tm_report_restored(&task->plan, &task->results, task->options.out);
}

static const struct tm_task_kind applying = {
    .command = TM_FOR_APPLY,
    .usage = "apply BASE VECTOR -o OUT",
    .check = check,
    .plan = plan,
    .write = write_beside,
    .report = report,
};

enum tm_status tm_command_apply(int argc, char **argv)
{
    return tm_task_main(argc, argv, &applying);
}
