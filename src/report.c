/* SPDX-License-Identifier: Apache-2.0 */
/* report: see report.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/report.h"

#include <stdio.h>
#include <string.h>

#include "io/path.h"
#include "src/plan_print.h"
#include "src/progress.h"

/* Lines of one kind before "and N more": -v and the manifest have them all. */
#define MAX_LISTED 10

/* What became of the tensors. */
struct counts {
    size_t merged;
    size_t with_base; /* of those, that have one to be compared with */
    size_t unchanged; /* of those, with their base's own bytes */
    size_t copied;
    uint64_t nonfinite_inputs, nonfinite_outputs, overflows;
};

static bool has_base(const struct tm_plan *plan, size_t tensor)
{
    const struct tm_terms *terms = plan->tensors[tensor].terms;

    return terms != NULL && terms->base != TM_NO_COLUMN &&
           tm_plan_sources(plan, tensor)[terms->base].file != TM_NO_FILE;
}

/* Whether the tensor came out as it is in its base. */
static bool is_unchanged(const struct tm_plan *plan,
                         const struct tm_results *results, size_t tensor)
{
    return has_base(plan, tensor) &&
           memcmp(&results->tensors[tensor],
                  &results->sources[tensor * plan->width +
                                    plan->tensors[tensor].terms->base],
                  sizeof(struct tm_digest)) == 0;
}

static struct counts count(const struct tm_plan *plan,
                           const struct tm_results *results)
{
    struct counts c = {0};

    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_sum_stats *stats = &results->stats[t];

        if (plan->tensors[t].operation == TM_COPY) {
            c.copied++;
            continue;
        }
        c.merged++;
        c.with_base += has_base(plan, t);
        c.unchanged += is_unchanged(plan, results, t);
        c.nonfinite_inputs += stats->nonfinite_inputs;
        c.nonfinite_outputs += stats->nonfinite_outputs;
        c.overflows += stats->overflows;
    }
    return c;
}

/* Lines of a list: the first few, or with -v all. */
struct list {
    size_t count;
};

static void list_line(struct list *list, const char *what, const char *name,
                      const char *why)
{
    if (list->count++ < MAX_LISTED)
        tm_info("  %s %s: %s", what, name, why);
    else
        tm_note("  %s %s: %s", what, name, why);
}

static void list_more(const struct list *list)
{
    if (list->count > MAX_LISTED)
        tm_info("  ... and %zu more, listed in the manifest",
                list->count - MAX_LISTED);
}

/* Those that are copied for one reason: many are told in one line. */
static void list_copied_for(const struct tm_plan *plan,
                            const struct tm_reason *reason)
{
    if (reason->count > MAX_LISTED)
        tm_info("  copied %zu tensors: %s", reason->count, reason->why);
    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_plan_tensor *tensor = &plan->tensors[t];

        if (tensor->operation != TM_COPY || tensor->why == NULL ||
            strcmp(tensor->why, reason->why) != 0)
            continue;
        if (reason->count > MAX_LISTED)
            tm_note("  copied %s: %s", tensor->name, tensor->why);
        else
            tm_info("  copied %s: %s", tensor->name, tensor->why);
    }
}

static void list_copies(const struct tm_plan *plan)
{
    struct tm_reason reasons[TM_MAX_REASONS];
    const size_t count = tm_plan_reasons(plan, reasons);

    for (size_t r = 0; r < count; r++)
        list_copied_for(plan, &reasons[r]);
}

static void list_left_out(const struct tm_plan *plan)
{
    struct list list = {0};

    for (const struct tm_side_file *file = plan->side_files; file != NULL;
         file = file->next)
        if (file->why_not != NULL)
            list_line(&list, "left out", file->name, file->why_not);
    for (const struct tm_extra *extra = plan->extras; extra != NULL;
         extra = extra->next)
        list_line(&list, "left out", extra->name,
                  "the base has no such tensor");
    list_more(&list);
}

static void list_nonfinite(const struct tm_plan *plan,
                           const struct tm_results *results)
{
    size_t listed = 0;

    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_sum_stats *stats = &results->stats[t];

        if (stats->nonfinite_outputs == 0 && stats->nonfinite_inputs == 0)
            continue;
        if (listed++ < MAX_LISTED)
            tm_warning("tensor '%s': %llu infinite or NaN in, %llu out, %llu "
                       "overflowed",
                       plan->tensors[t].name,
                       (unsigned long long)stats->nonfinite_inputs,
                       (unsigned long long)stats->nonfinite_outputs,
                       (unsigned long long)stats->overflows);
    }
    if (listed > MAX_LISTED)
        tm_warning("%zu tensors more have infinite or NaN values",
                   listed - MAX_LISTED);
}

/*
 * The most memory that was resident. Not getrusage's figure, which a process
 * inherits: it is at least that of the parent that started it.
 */
static uint64_t peak_memory(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long kilobytes = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "VmHWM: %llu kB", &kilobytes) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return (uint64_t)kilobytes * 1024;
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

/* A vector that was made: tensors, sizes, and the share of each coding. */
static void tell_vector(const struct tm_made *made, const char *path)
{
    const struct tm_made_counts c = tm_made_count(made);
    const uint64_t before = made->output->tuned_bytes;
    uint64_t after = 0;
    char from[TM_SIZE_TEXT], to[TM_SIZE_TEXT];

    for (size_t i = 0; i < made->output->num_shards; i++)
        after += made->shards[i].bytes;
    tm_info("%s: %zu tensors: %zu the same, %zu changed, %zu new", path,
            made->output->num_records, c.tensors[TM_UNCHANGED],
            c.tensors[TM_DELTA], c.tensors[TM_ALONE]);
    tm_info("%s: %s stored in %s: %.1f %%", path, tm_size_text(before, from),
            tm_size_text(after, to), percent(after, before));
    for (int i = 0; i < TM_NUM_CODINGS; i++)
        if (c.tuned_bytes[i] > 0)
            tm_info("  %-5s %10s in %10s %6.1f %% of the bytes, %5.1f %% of "
                    "their size",
                    tm_coding_name((enum tm_coding)i),
                    tm_size_text(c.tuned_bytes[i], from),
                    tm_size_text(c.stored_bytes[i], to),
                    percent(c.tuned_bytes[i], before),
                    percent(c.stored_bytes[i], c.tuned_bytes[i]));
}

/* What was moved, how fast, and what held it up. */
static void tell_speed(const struct tm_results *results, const char *out)
{
    static const char *const limits[] = {[TM_STAGE_READ] = "reading",
                                         [TM_STAGE_COMPUTE] = "computing",
                                         [TM_STAGE_WRITE] = "writing"};
    const double moved = (double)(results->bytes_read + results->bytes_written);
    char read[TM_SIZE_TEXT], written[TM_SIZE_TEXT], memory[TM_SIZE_TEXT];

    tm_note("inputs opened: %zu past the page cache, %zu through it",
            results->files_direct, results->files_buffered);
    tm_info("%s: read %s, wrote %s in %.2f s: %.2f GB/s, mostly %s; peak "
            "memory %s",
            out, tm_size_text(results->bytes_read, read),
            tm_size_text(results->bytes_written, written), results->seconds,
            results->seconds > 0 ? moved / results->seconds / 1e9 : 0,
            limits[results->limit], tm_size_text(peak_memory(), memory));
}

void tm_report(const struct tm_plan *plan, const struct tm_results *results,
               const char *out)
{
    const struct counts c = count(plan, results);
    char unchanged[48] = "";

    list_copies(plan);
    list_left_out(plan);
    list_nonfinite(plan, results);
    if (c.with_base > 0)
        snprintf(unchanged, sizeof(unchanged), " (%zu of them unchanged)",
                 c.unchanged);
    tm_info("%s: %zu tensors: %zu merged by %s%s, %zu copied; %llu non-finite "
            "values, %llu overflows",
            out, plan->num_tensors, c.merged, plan->recipe->method->name,
            unchanged, c.copied, (unsigned long long)c.nonfinite_outputs,
            (unsigned long long)c.overflows);
    if (plan->product == TM_MODEL_VECTOR)
        tell_vector(&results->made[0], out);
    tell_speed(results, out);
}

void tm_report_vectors(const struct tm_plan *plan,
                       const struct tm_results *results, const char *out)
{
    struct tm_arena arena = {0};

    for (size_t i = 0; i < plan->num_outputs; i++) {
        const struct tm_output *output = &plan->outputs[i];
        const size_t length = strlen(output->directory);
        const char *name =
            tm_arena_copy(&arena, output->directory,
                          length > 0 ? length - 1 : 0); /* the slash */
        const char *path =
            length > 0 && name != NULL ? tm_path_join(&arena, out, name) : out;
        struct list list = {0};

        for (const struct tm_side_file *file = output->side_files; file != NULL;
             file = file->next)
            if (file->why_not != NULL)
                list_line(&list, "left out", file->name, file->why_not);
        list_more(&list);
        tell_vector(&results->made[i], path != NULL ? path : out);
    }
    tm_arena_free(&arena);
    tell_speed(results, out);
}

void tm_report_restored(const struct tm_plan *plan,
                        const struct tm_results *results, const char *out)
{
    size_t files = 0;

    for (const struct tm_side_file *file = plan->side_files; file != NULL;
         file = file->next)
        files++;
    tm_info("%s: %zu tensors in %zu shards and %zu side files restored", out,
            plan->num_tensors, plan->num_shards, files);
    tell_speed(results, out);
}
