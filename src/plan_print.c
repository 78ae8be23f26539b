/* SPDX-License-Identifier: Apache-2.0 */
/* plan_print: the plan as text and as JSON. See report.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/json.h"
#include "src/commands.h"
#include "src/progress.h"
#include "src/report.h"

/* Tensor bytes that the plan reads of each input file; NULL: no memory. */
static uint64_t *bytes_by_file(const struct tm_plan *plan)
{
    uint64_t *bytes = calloc(plan->num_files + 1, sizeof(*bytes));

    for (size_t t = 0; t < plan->num_tensors && bytes != NULL; t++) {
        const struct tm_source *sources = tm_plan_sources(plan, t);

        for (size_t i = 0; i < plan->width; i++)
            if (sources[i].file != TM_NO_FILE)
                bytes[sources[i].file] += tm_plan_source_bytes(plan, t, i);
    }
    return bytes;
}

/* Seconds at those speeds, reading and writing at the same time; 0: unknown.
 */
static double estimate(const struct tm_plan *plan, const struct tm_speed *speed)
{
    double read, write;

    if (speed->read <= 0 || speed->write <= 0)
        return 0;
    read = (double)plan->bytes_read / speed->read;
    write = (double)plan->bytes_written / speed->write;
    return read + write; /* one disk: it does one at a time */
}

/* --- text ----------------------------------------------------------------*/

static void print_files(const struct tm_plan *plan, const uint64_t *bytes)
{
    char size[TM_SIZE_TEXT];

    for (size_t i = 0; i < plan->num_files; i++) {
        char path[4096];

        snprintf(path, sizeof(path), "%s", plan->files[i].path);
        tm_mask(path);
        printf("  read   %10s  %s\n", tm_size_text(bytes[i], size), path);
    }
    for (size_t i = 0; i < plan->num_shards; i++) {
        const bool is_stored = plan->product == TM_MODEL_VECTOR;
        char name[4096];

        snprintf(name, sizeof(name), "%s",
                 is_stored ? plan->outputs[0].shards[i].name
                           : plan->shards[i].name);
        tm_mask(name);
        printf("  %s  %10s  %s\n", is_stored ? "store" : "write",
               tm_size_text(plan->shards[i].size, size), name);
    }
}

static void print_text(const struct tm_plan *plan, const uint64_t *bytes,
                       uint64_t space, const struct tm_speed *speed)
{
    const struct tm_budget *b = &plan->budget;
    const double seconds = estimate(plan, speed);
    const bool stored = plan->product == TM_MODEL_VECTOR;
    const uint64_t written =
        stored ? plan->outputs[0].tuned_bytes : plan->bytes_written;
    char one[TM_SIZE_TEXT], two[TM_SIZE_TEXT], three[TM_SIZE_TEXT];
    size_t copied = 0;

    for (size_t t = 0; t < plan->num_tensors; t++)
        copied += plan->tensors[t].operation == TM_COPY;
    print_files(plan, bytes);
    printf("tensors  %zu: %zu to merge, %zu to copy\n", plan->num_tensors,
           plan->num_tensors - copied, copied);
    printf("total    read %s once, write %s%s, side files %s\n",
           tm_size_text(plan->bytes_read, one), stored ? "at most " : "",
           tm_size_text(written, two), tm_size_text(plan->bytes_beside, three));
    printf("memory   %s: plan and tables %s, %zu units in flight of %s\n",
           tm_size_text(b->total, one), tm_size_text(b->fixed, two), b->slots,
           tm_size_text(b->slot, three));
    printf("units    %llu, each up to %s of output\n",
           (unsigned long long)b->units, tm_size_text(b->span, one));
    printf("disk     needs %s%s, free %s\n", stored ? "at most " : "",
           tm_size_text(written + plan->bytes_beside, one),
           tm_size_text(space, two));
    if (seconds > 0)
        printf("time     about %.0f s (probe: read %.2f GB/s, write %.2f "
               "GB/s)\n",
               seconds < 1 ? 1 : seconds, speed->read / 1e9,
               speed->write / 1e9);
}

/* --- JSON ----------------------------------------------------------------*/

static void put_sources(struct tm_json_writer *w, const struct tm_plan *plan,
                        size_t number)
{
    const struct tm_source *sources = tm_plan_sources(plan, number);

    tm_json_begin(w, "sources", '[');
    for (size_t i = 0; i < plan->width; i++) {
        if (sources[i].file == TM_NO_FILE)
            continue;
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "file", plan->files[sources[i].file].path);
        tm_json_integer(w, "offset",
                        sources[i].is_coded
                            ? plan->coded[sources[i].offset].coded->offset
                            : sources[i].offset);
        tm_json_integer(w, "bytes", tm_plan_source_bytes(plan, number, i));
        if (sources[i].is_coded)
            tm_json_boolean(w, "coded", true);
        if (plan->tensors[number].operation == TM_SUM)
            tm_json_string(w, "dtype",
                           tm_dtype_name((enum tm_dtype)sources[i].dtype));
        if (i > 0)
            tm_json_real(w, "weight", plan->recipe->vectors[i - 1].weight);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
}

static void put_tensors(struct tm_json_writer *w, const struct tm_plan *plan)
{
    tm_json_begin(w, "tensors", '[');
    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_plan_tensor *tensor = &plan->tensors[t];

        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "name", tensor->name);
        tm_json_string(w, "dtype", tensor->dtype_name);
        tm_json_integers(w, "shape", tensor->ndim, tensor->shape);
        tm_json_string(w, "file", plan->shards[tensor->shard].name);
        tm_json_integer(w, "offset", tensor->offset);
        tm_json_integer(w, "bytes", tensor->bytes);
        tm_json_string(w, "operation",
                       tensor->operation == TM_COPY ? "copy" : "sum");
        if (tensor->why != NULL)
            tm_json_string(w, "why", tensor->why);
        put_sources(w, plan, t);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
}

static void put_files(struct tm_json_writer *w, const struct tm_plan *plan,
                      const uint64_t *bytes)
{
    tm_json_begin(w, "inputs", '[');
    for (size_t i = 0; i < plan->num_files; i++) {
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "file", plan->files[i].path);
        tm_json_integer(w, "size", plan->files[i].identity.size);
        tm_json_integer(w, "read_bytes", bytes[i]);
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

static bool print_json(const struct tm_plan *plan, const uint64_t *bytes,
                       uint64_t space, const struct tm_speed *speed)
{
    struct tm_json_writer w = {.sink = tm_json_to_file, .context = stdout};
    const struct tm_budget *b = &plan->budget;

    tm_json_begin(&w, NULL, '{');
    tm_json_integer(&w, "read_bytes", plan->bytes_read);
    tm_json_integer(&w, "write_bytes", plan->bytes_written);
    tm_json_integer(&w, "side_bytes", plan->bytes_beside);
    tm_json_integer(&w, "free_bytes", space);
    tm_json_begin(&w, "memory", '{');
    tm_json_integer(&w, "budget", b->total);
    tm_json_integer(&w, "fixed", b->fixed);
    tm_json_integer(&w, "units_in_flight", b->slots);
    tm_json_integer(&w, "unit_bytes", b->slot);
    tm_json_integer(&w, "tiles_per_unit", b->tiles);
    tm_json_integer(&w, "span", b->span);
    tm_json_finish(&w, '}');
    tm_json_integer(&w, "units", b->units);
    tm_json_real(&w, "probe_read_bytes_per_second", speed->read);
    tm_json_real(&w, "probe_write_bytes_per_second", speed->write);
    tm_json_real(&w, "seconds", estimate(plan, speed));
    put_files(&w, plan, bytes);
    put_tensors(&w, plan);
    tm_json_finish(&w, '}');
    return !w.failed;
}

enum tm_status tm_plan_print(const struct tm_plan *plan, bool json,
                             uint64_t space, const struct tm_speed *speed)
{
    uint64_t *bytes = bytes_by_file(plan);
    enum tm_status status = TM_OK;

    if (bytes == NULL)
        return tm_no_memory();
    if (!json)
        print_text(plan, bytes, space, speed);
    else if (!print_json(plan, bytes, space, speed) && !ferror(stdout))
        status = tm_no_memory();
    free(bytes);
    return status != TM_OK ? status : tm_flush_stdout();
}
