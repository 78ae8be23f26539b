/* SPDX-License-Identifier: Apache-2.0 */
/* plan_print: the plan as text, and what all its forms share. See report.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/plan_print.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/commands.h"
#include "src/progress.h"
#include "src/recipe/recipe_tell.h"

/* --- what there is to tell -----------------------------------------------*/

/* How often the sources of a tensor are read. */
static uint64_t times_read(const struct tm_plan *plan,
                           const struct tm_plan_tensor *tensor)
{
    const unsigned first = tm_plan_first_phase(plan, tensor);
    uint64_t times = plan->model_is_known ? 1 : 1 + first;

    if (tensor->is_swept)
        times += tensor->phases - first;
    return times;
}

/* Tensor bytes that the plan reads of each input file; NULL: no memory. */
static uint64_t *bytes_by_file(const struct tm_plan *plan)
{
    uint64_t *bytes = calloc(plan->num_files + 1, sizeof(*bytes));

    for (size_t t = 0; t < plan->num_tensors && bytes != NULL; t++) {
        const struct tm_source *sources = tm_plan_sources(plan, t);
        const uint64_t times = times_read(plan, &plan->tensors[t]);

        for (size_t i = 0; i < plan->width; i++)
            if (sources[i].file != TM_NO_FILE)
                bytes[sources[i].file] +=
                    times * tm_plan_source_bytes(plan, t, i);
    }
    return bytes;
}

/* Seconds at those speeds; 0: unknown. */
static double estimate(const struct tm_plan *plan, const struct tm_speed *speed)
{
    double read, write;

    if (speed->read <= 0 || speed->write <= 0)
        return 0;
    read = (double)plan->bytes_read / speed->read;
    write = (double)plan->bytes_written / speed->write;
    return read + write; /* one disk: it does one at a time */
}

bool tm_plan_view_shows(const struct tm_plan_view *view, size_t tensor)
{
    return view->glob == NULL ||
           fnmatch(view->glob, view->plan->tensors[tensor].name, 0) == 0;
}

/* Of the base, which is open: the plan's files begin with its shards. */
static const char *name_in_base(const struct tm_plan *plan,
                                const struct tm_plan_tensor *tensor,
                                const struct tm_source *source)
{
    const struct tm_checkpoint *base = &plan->base;
    const struct tm_tensor *like =
        tensor->like < base->num_tensors ? &base->tensors[tensor->like] : NULL;

    if (like != NULL && like->shard == source->file &&
        like->offset == source->offset)
        return like->name;
    for (size_t i = 0; i < base->num_tensors; i++)
        if (base->tensors[i].shard == source->file &&
            base->tensors[i].offset == source->offset)
            return base->tensors[i].name;
    return NULL;
}

const char *tm_plan_own_name(const struct tm_plan *plan, size_t tensor,
                             size_t column)
{
    const struct tm_source *source = &tm_plan_sources(plan, tensor)[column];

    if (source->is_coded) {
        const struct tm_coded *coded = plan->coded[source->offset].coded;

        for (size_t i = 0; i < plan->num_stored; i++) {
            const struct tm_vector_stored *stored = &plan->stored[i];

            if (coded >= stored->coded &&
                coded < stored->coded + stored->tuned.num_tensors)
                return stored->tuned.tensors[coded - stored->coded].name;
        }
        return NULL;
    }
    return column == 0 ? name_in_base(plan, &plan->tensors[tensor], source)
                       : NULL;
}

const struct tm_term *tm_plan_term(const struct tm_plan_tensor *tensor,
                                   size_t column)
{
    for (size_t i = 0; tensor->terms != NULL && i < tensor->terms->count; i++)
        if (tensor->terms->terms[i].column == column)
            return &tensor->terms->terms[i];
    return NULL;
}

uint64_t tm_plan_source_offset(const struct tm_plan *plan,
                               const struct tm_source *source)
{
    return source->is_coded ? plan->coded[source->offset].coded->offset
                            : source->offset;
}

size_t tm_plan_reasons(const struct tm_plan *plan,
                       struct tm_reason reasons[TM_MAX_REASONS])
{
    size_t known = 0;

    for (size_t t = 0; t < plan->num_tensors; t++) {
        const char *why = plan->tensors[t].why;
        size_t r = 0;

        if (plan->tensors[t].operation != TM_COPY || why == NULL)
            continue;
        while (r < known && strcmp(reasons[r].why, why) != 0)
            r++;
        if (r == TM_MAX_REASONS)
            continue;
        if (r == known)
            reasons[known++] = (struct tm_reason){.why = why};
        reasons[r].count++;
    }
    return known;
}

/* --- text ----------------------------------------------------------------*/

static void print_files(const struct tm_plan_view *view)
{
    const struct tm_plan *plan = view->plan;
    char size[TM_SIZE_TEXT];

    for (size_t i = 0; i < plan->num_files; i++) {
        printf("  read   %10s  ", tm_size_text(view->bytes[i], size));
        tm_print_name(plan->files[i].path);
        puts("");
    }
    for (size_t i = 0; i < plan->num_shards; i++) {
        const bool is_stored = plan->product == TM_MODEL_VECTOR;

        printf("  %s  %10s  ", is_stored ? "store" : "write",
               tm_size_text(plan->shards[i].size, size));
        tm_print_name(is_stored ? plan->outputs[0].shards[i].name
                                : plan->shards[i].name);
        puts("");
    }
}

/* How many tensors of each kind. */
static void print_kinds(const struct tm_plan *plan)
{
    struct tm_reason reasons[TM_MAX_REASONS];
    const size_t known = tm_plan_reasons(plan, reasons);
    size_t copied = 0;

    for (size_t t = 0; t < plan->num_tensors; t++)
        copied += plan->tensors[t].operation == TM_COPY;
    printf("tensors  %zu: %zu to merge, %zu to copy\n", plan->num_tensors,
           plan->num_tensors - copied, copied);
    for (size_t r = 0; r < known; r++)
        printf("  copy   %10zu  %s\n", reasons[r].count, reasons[r].why);
}

/* What is read more than once, and why. */
static void print_again(const struct tm_plan *plan)
{
    const char *method = plan->recipe->method->name;
    char again[TM_SIZE_TEXT];
    size_t swept = 0;

    if (plan->model_is_known)
        printf("known    what the stored vectors record: the model is not "
               "measured (%s)\n",
               method);
    if (plan->bytes_swept == 0)
        return;
    for (size_t t = 0; t < plan->num_tensors; t++)
        swept += plan->tensors[t].is_swept;
    printf("again    of that %s, read more than once:\n",
           tm_size_text(plan->bytes_swept, again));
    if (plan->measures_model && !plan->model_is_known)
        printf("         the whole model is read once more to measure it "
               "(%s)\n",
               method);
    if (swept > 0)
        printf("         %zu tensor%s not fit in --memory (%s measures them "
               "first)\n",
               swept, swept == 1 ? " does" : "s do", method);
    if (swept > 0)
        printf("         with about --memory %lluM %s would be read once\n",
               (unsigned long long)(plan->budget.keeps_all >> 20),
               swept == 1 ? "it" : "they");
}

static void print_totals(const struct tm_plan_view *view)
{
    const struct tm_plan *plan = view->plan;
    const struct tm_budget *b = &plan->budget;
    const bool stored = plan->product == TM_MODEL_VECTOR;
    const uint64_t written =
        stored ? plan->outputs[0].tuned_bytes : plan->bytes_written;
    char one[TM_SIZE_TEXT], two[TM_SIZE_TEXT], three[TM_SIZE_TEXT];

    printf("total    read %s%s, write %s%s, side files %s\n",
           tm_size_text(plan->bytes_read, one),
           plan->bytes_swept == 0 ? " once" : "", stored ? "at most " : "",
           tm_size_text(written, two), tm_size_text(plan->bytes_beside, three));
    print_again(plan);
    printf("memory   %s: plan and tables %s, %zu units in flight of %s\n",
           tm_size_text(b->total, one), tm_size_text(b->fixed, two), b->slots,
           tm_size_text(b->slot, three));
    printf("units    %llu, each up to %s of output\n",
           (unsigned long long)b->units, tm_size_text(b->span, one));
    printf("disk     needs %s%s, free %s\n", stored ? "at most " : "",
           tm_size_text(written + plan->bytes_beside, one),
           tm_size_text(view->space, two));
    if (view->seconds > 0)
        printf("time     about %.0f s (probe: read %.2f GB/s, write %.2f "
               "GB/s)\n",
               view->seconds < 1 ? 1 : view->seconds, view->speed->read / 1e9,
               view->speed->write / 1e9);
}

static enum tm_status print_text(const struct tm_plan_view *view)
{
    if (view->glob != NULL)
        return tm_plan_print_tensors(view);
    tm_recipe_tell(view->plan->recipe);
    print_files(view);
    print_kinds(view->plan);
    print_totals(view);
    return TM_OK;
}

static enum tm_status print_json(const struct tm_plan_view *view)
{
    if (tm_plan_print_json(view) || ferror(stdout))
        return TM_OK; /* standard output is looked at when it is flushed */
    return tm_error(TM_SYSTEM, "cannot print JSON: no memory, or a path that "
                               "is not UTF-8");
}

enum tm_status tm_plan_print(const struct tm_plan *plan,
                             const struct tm_settings *settings, uint64_t space,
                             const struct tm_speed *speed)
{
    struct tm_plan_view view = {
        .plan = plan,
        .glob = settings->only_tensors,
        .bytes = bytes_by_file(plan),
        .space = space,
        .speed = speed,
        .seconds = estimate(plan, speed),
    };
    enum tm_status status;

    if (view.bytes == NULL)
        return tm_no_memory();
    status = settings->json ? print_json(&view) : print_text(&view);
    free(view.bytes);
    return status != TM_OK ? status : tm_flush_stdout();
}
