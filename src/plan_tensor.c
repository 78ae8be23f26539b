/* SPDX-License-Identifier: Apache-2.0 */
/* plan_tensor: what is done with single tensors. See plan_print.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <string.h>

#include "src/commands.h"
#include "src/plan_print.h"
#include "src/recipe/parameter.h"
#include "src/recipe/recipe_tell.h"

static const char *role(const struct tm_plan *plan,
                        const struct tm_plan_tensor *tensor, size_t column)
{
    if (tensor->operation == TM_COPY)
        return column == tensor->from ? "from" : "equal";
    if (tensor->terms->base == column)
        return "base";
    return tm_recipe_role(plan->recipe, column);
}

/* Where a source is: its own name if that is known and another. */
static void print_place(const struct tm_plan *plan, size_t number,
                        size_t column)
{
    const struct tm_source *source = &tm_plan_sources(plan, number)[column];
    const char *name = tm_plan_own_name(plan, number, column);

    tm_print_name(plan->files[source->file].path);
    if (name == NULL) {
        printf(", offset %llu",
               (unsigned long long)tm_plan_source_offset(plan, source));
    } else if (strcmp(name, plan->tensors[number].name) != 0) {
        printf(", tensor ");
        tm_print_name(name);
    }
    printf("%s", source->is_coded ? ", stored" : "");
}

/* One input of a tensor, if it has a part in it. */
static void print_source(const struct tm_plan *plan, size_t number,
                         size_t column)
{
    const struct tm_plan_tensor *tensor = &plan->tensors[number];
    const struct tm_source *source = &tm_plan_sources(plan, number)[column];
    const struct tm_term *term = tm_plan_term(tensor, column);

    if (source->file == TM_NO_FILE && term == NULL)
        return;
    printf("\n  %-7s ", role(plan, tensor, column));
    if (source->file != TM_NO_FILE) {
        print_place(plan, number, column);
    } else {
        tm_print_name(tm_recipe_model(plan->recipe, column));
        printf(", not read");
    }
    if (term != NULL)
        tm_parameters_print("\n         ", plan->recipe->method, term->values,
                            true);
}

static void print_tensor(const struct tm_plan *plan, size_t number)
{
    const struct tm_plan_tensor *tensor = &plan->tensors[number];
    struct tm_arena arena = {0};

    tm_print_name(tensor->name);
    printf("\n  %s %s: ", tensor->dtype_name,
           tm_shape_text(&arena, tensor->ndim, tensor->shape));
    tm_arena_free(&arena);
    if (tensor->operation == TM_COPY)
        printf("copied: %s", tensor->why != NULL ? tensor->why : "");
    else
        printf("%s", plan->recipe->method->name);
    for (size_t i = 0; i < plan->width; i++)
        print_source(plan, number, i);
    if (tensor->terms != NULL)
        tm_parameters_print("\n  merge  ", plan->recipe->method,
                            tensor->terms->values, false);
    puts("");
}

enum tm_status tm_plan_print_tensors(const struct tm_plan_view *view)
{
    size_t shown = 0;

    for (size_t t = 0; t < view->plan->num_tensors; t++)
        if (tm_plan_view_shows(view, t)) {
            print_tensor(view->plan, t);
            shown++;
        }
    if (shown > 0)
        return TM_OK;
    return tm_error(TM_USAGE, "--tensor: '%s' fits the name of no tensor",
                    view->glob);
}

uint64_t tm_plan_shard_bytes(const struct tm_plan *plan)
{
    uint64_t bytes = 0;

    for (size_t s = 0; s < plan->num_shards; s++)
        bytes += plan->shards[s].size;
    return bytes;
}
