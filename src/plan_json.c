/* SPDX-License-Identifier: Apache-2.0 */
/* plan_json: the plan as JSON. See plan_print.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <string.h>

#include "io/json.h"
#include "src/plan_print.h"
#include "src/recipe/parameter.h"
#include "src/recipe/recipe_tell.h"

static void put_source(struct tm_json_writer *w,
                       const struct tm_plan_view *view, size_t number,
                       size_t column)
{
    const struct tm_plan *plan = view->plan;
    const struct tm_plan_tensor *tensor = &plan->tensors[number];
    const struct tm_source *source = &tm_plan_sources(plan, number)[column];
    /* Searching for names is for those that were asked for. */
    const char *name =
        view->glob != NULL ? tm_plan_own_name(plan, number, column) : NULL;

    tm_json_begin(w, NULL, '{');
    tm_json_string(w, "model", tm_recipe_model(plan->recipe, column));
    tm_json_string(w, "file", plan->files[source->file].path);
    tm_json_integer(w, "offset", tm_plan_source_offset(plan, source));
    tm_json_integer(w, "bytes", tm_plan_source_bytes(plan, number, column));
    if (name != NULL)
        tm_json_string(w, "name", name);
    if (source->is_coded)
        tm_json_boolean(w, "coded", true);
    if (tensor->operation == TM_MERGE)
        tm_json_string(w, "dtype", tm_dtype_name((enum tm_dtype)source->dtype));
    tm_json_finish(w, '}');
}

static void put_sources(struct tm_json_writer *w,
                        const struct tm_plan_view *view, size_t number)
{
    const struct tm_plan *plan = view->plan;
    const struct tm_source *sources = tm_plan_sources(plan, number);

    tm_json_begin(w, "sources", '[');
    for (size_t i = 0; i < plan->width; i++)
        if (sources[i].file != TM_NO_FILE)
            put_source(w, view, number, i);
    tm_json_finish(w, ']');
}

/* The inputs as the method sees them, in its order. */
static void put_terms(struct tm_json_writer *w, const struct tm_plan *plan,
                      const struct tm_terms *terms)
{
    const struct tm_method *method = plan->recipe->method;

    tm_parameters_put(w, "parameters", method, terms->values, false);
    if (terms->base != TM_NO_COLUMN)
        tm_json_string(w, "base", tm_recipe_model(plan->recipe, terms->base));
    tm_json_begin(w, "terms", '[');
    for (size_t i = 0; i < terms->count; i++) {
        const struct tm_term *term = &terms->terms[i];

        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "model", tm_recipe_model(plan->recipe, term->column));
        tm_parameters_put(w, "parameters", method, term->values, true);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
}

static void put_tensor(struct tm_json_writer *w,
                       const struct tm_plan_view *view, size_t number)
{
    const struct tm_plan *plan = view->plan;
    const struct tm_plan_tensor *tensor = &plan->tensors[number];

    tm_json_begin(w, NULL, '{');
    tm_json_string(w, "name", tensor->name);
    tm_json_string(w, "dtype", tensor->dtype_name);
    tm_json_integers(w, "shape", tensor->ndim, tensor->shape);
    tm_json_string(w, "file", plan->shards[tensor->shard].name);
    tm_json_integer(w, "offset", tensor->offset);
    tm_json_integer(w, "bytes", tensor->bytes);
    if (tensor->operation == TM_COPY) {
        tm_json_string(w, "operation", "copy");
    } else {
        tm_json_string(w, "operation", "merge");
        tm_json_string(w, "method", plan->recipe->method->name);
        tm_json_integer(w, "phases", tensor->phases);
        tm_json_boolean(w, "read_again", tensor->is_swept);
    }
    if (tensor->why != NULL)
        tm_json_string(w, "why", tensor->why);
    put_sources(w, view, number);
    if (tensor->terms != NULL)
        put_terms(w, plan, tensor->terms);
    tm_json_finish(w, '}');
}

static void put_tensors(struct tm_json_writer *w,
                        const struct tm_plan_view *view)
{
    tm_json_begin(w, "tensors", '[');
    for (size_t t = 0; t < view->plan->num_tensors; t++)
        if (tm_plan_view_shows(view, t))
            put_tensor(w, view, t);
    tm_json_finish(w, ']');
}

static void put_side_files(struct tm_json_writer *w, const struct tm_plan *plan)
{
    tm_json_begin(w, "side_files", '[');
    for (const struct tm_side_file *f = plan->side_files; f != NULL;
         f = f->next) {
        if (!tm_utf8_is_valid(f->name, strlen(f->name)))
            continue;
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "file", f->name);
        tm_json_integer(w, "size", f->size);
        if (f->why_not != NULL)
            tm_json_string(w, "left_out", f->why_not);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
}

static void put_files(struct tm_json_writer *w, const struct tm_plan_view *view)
{
    const struct tm_plan *plan = view->plan;

    tm_json_begin(w, "inputs", '[');
    for (size_t i = 0; i < plan->num_files; i++) {
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "file", plan->files[i].path);
        tm_json_integer(w, "size", plan->files[i].identity.size);
        tm_json_integer(w, "read_bytes", view->bytes[i]);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
    tm_json_begin(w, "outputs", '[');
    for (size_t i = 0; i < plan->num_shards; i++) {
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "file", plan->shards[i].name);
        tm_json_integer(w, "size", plan->shards[i].size);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
    put_side_files(w, plan);
}

static void put_memory(struct tm_json_writer *w, const struct tm_budget *b)
{
    tm_json_begin(w, "memory", '{');
    tm_json_integer(w, "budget", b->total);
    tm_json_integer(w, "fixed", b->fixed);
    tm_json_integer(w, "units_in_flight", b->slots);
    tm_json_integer(w, "unit_bytes", b->slot);
    tm_json_integer(w, "tiles_per_unit", b->tiles);
    tm_json_integer(w, "span", b->span);
    tm_json_finish(w, '}');
}

bool tm_plan_print_json(const struct tm_plan_view *view)
{
    struct tm_json_writer w = {.sink = tm_json_to_file, .context = stdout};
    const struct tm_plan *plan = view->plan;

    tm_json_begin(&w, NULL, '{');
    tm_recipe_put(&w, plan->recipe, false);
    tm_json_integer(&w, "read_bytes", plan->bytes_read);
    tm_json_integer(&w, "read_again_bytes", plan->bytes_swept);
    tm_json_boolean(&w, "measures_model",
                    plan->measures_model && !plan->model_is_known);
    tm_json_integer(&w, "write_bytes", plan->bytes_written);
    tm_json_integer(&w, "side_bytes", plan->bytes_beside);
    tm_json_integer(&w, "free_bytes", view->space);
    put_memory(&w, &plan->budget);
    tm_json_integer(&w, "units", plan->budget.units);
    tm_json_real(&w, "probe_read_bytes_per_second", view->speed->read);
    tm_json_real(&w, "probe_write_bytes_per_second", view->speed->write);
    tm_json_real(&w, "seconds", view->seconds);
    put_files(&w, view);
    put_tensors(&w, view);
    tm_json_finish(&w, '}');
    return !w.failed;
}
