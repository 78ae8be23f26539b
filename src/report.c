/* SPDX-License-Identifier: Apache-2.0 */
/* report: see report.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/report.h"

#include <stdio.h>
#include <string.h>

#include "src/progress.h"

/* Lines of one kind before "and N more": -v and the manifest have them all. */
#define MAX_LISTED 10

/* What became of the tensors. */
struct counts {
    size_t merged;
    size_t unchanged; /* of those, with the base's own bytes */
    size_t copied;
    uint64_t nonfinite_inputs, nonfinite_outputs, overflows;
};

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
        if (memcmp(&results->tensors[t], &results->sources[t * plan->width],
                   sizeof(struct tm_digest)) == 0)
            c.unchanged++;
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

static void list_copies(const struct tm_plan *plan)
{
    struct list list = {0};

    for (size_t t = 0; t < plan->num_tensors; t++)
        if (plan->tensors[t].operation == TM_COPY)
            list_line(&list, "copied", plan->tensors[t].name,
                      plan->tensors[t].why);
    list_more(&list);
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

void tm_report(const struct tm_plan *plan, const struct tm_results *results,
               const char *out)
{
    const struct counts c = count(plan, results);
    const double moved = (double)(results->bytes_read + results->bytes_written);
    static const char *const limits[] = {[TM_STAGE_READ] = "reading",
                                         [TM_STAGE_COMPUTE] = "computing",
                                         [TM_STAGE_WRITE] = "writing"};
    char read[TM_SIZE_TEXT], written[TM_SIZE_TEXT], memory[TM_SIZE_TEXT];

    tm_note("inputs opened: %zu past the page cache, %zu through it",
            results->files_direct, results->files_buffered);
    list_copies(plan);
    list_left_out(plan);
    list_nonfinite(plan, results);
    tm_info("%s: %zu tensors: %zu merged (%zu of them unchanged), %zu copied; "
            "%llu non-finite values, %llu overflows",
            out, plan->num_tensors, c.merged, c.unchanged, c.copied,
            (unsigned long long)c.nonfinite_outputs,
            (unsigned long long)c.overflows);
    tm_info("%s: read %s, wrote %s in %.2f s: %.2f GB/s, mostly %s; peak "
            "memory %s",
            out, tm_size_text(results->bytes_read, read),
            tm_size_text(results->bytes_written, written), results->seconds,
            results->seconds > 0 ? moved / results->seconds / 1e9 : 0,
            limits[results->limit], tm_size_text(peak_memory(), memory));
}
