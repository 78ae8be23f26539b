/* SPDX-License-Identifier: Apache-2.0 */
/* manifest: see manifest.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/json.h"
#include "io/outfile.h"
#include "src/recipe/recipe_tell.h"

struct writing {
    const struct tm_plan *plan;
    const struct tm_results *results;
    struct tm_products *products;
};

/* --- index ---------------------------------------------------------------*/

/* What the base's index says beside total_size, kept. */
static void put_metadata(const struct tm_plan *plan,
                         struct tm_json_writer *writer, uint64_t total)
{
    const char *text = plan->base.index_metadata;
    struct tm_json_text kept_text = {.path = plan->base.path,
                                     .text = text,
                                     .length = text ? strlen(text) : 0};
    json_t *kept = text != NULL ? tm_json_value(&kept_text) : NULL;
    const char *key;
    json_t *value;

    if (text != NULL && kept == NULL)
        writer->failed = true;
    tm_json_begin(writer, "metadata", '{');
    json_object_foreach(kept, key, value)
    {
        char *dump = tm_json_dump(value);

        if (dump == NULL)
            writer->failed = true;
        else if (strcmp(key, "total_size") != 0)
            tm_json_raw(writer, key, dump);
        free(dump);
    }
    tm_json_integer(writer, "total_size", total);
    tm_json_finish(writer, '}');
    json_decref(kept);
}

static enum tm_status write_index(struct writing *w)
{
    const struct tm_plan *plan = w->plan;
    struct tm_outfile out;
    struct tm_json_writer writer = {.sink = tm_outfile_sink, .context = &out};
    uint64_t total = 0;
    enum tm_status status =
        tm_products_create(w->products, plan->index_name, &out);

    if (status != TM_OK)
        return status;
    for (size_t t = 0; t < plan->num_tensors; t++)
        total += plan->tensors[t].bytes;
    tm_json_begin(&writer, NULL, '{');
    put_metadata(plan, &writer, total);
    tm_json_begin(&writer, "weight_map", '{');
    for (size_t t = 0; t < plan->num_tensors; t++)
        tm_json_string(&writer, plan->tensors[t].name,
                       plan->shards[plan->tensors[t].shard].name);
    tm_json_finish(&writer, '}');
    tm_json_finish(&writer, '}');
    return tm_products_finish(w->products, plan->index_name, &out, &writer);
}

/* --- taumerge.json -------------------------------------------------------*/

static void put_inputs(const struct writing *w, struct tm_json_writer *writer)
{
    const struct tm_plan *plan = w->plan;

    tm_json_begin(writer, "inputs", '[');
    for (size_t i = 0; i < plan->width; i++) {
        tm_json_begin(writer, NULL, '{');
        tm_json_string(writer, "path", tm_recipe_model(plan->recipe, i));
        tm_json_string(writer, "role", tm_recipe_role(plan->recipe, i));
        tm_json_begin(writer, "tensors", '{');
        for (size_t t = 0; t < plan->num_tensors; t++)
            if (tm_plan_sources(plan, t)[i].file != TM_NO_FILE)
                tm_put_digest(writer, plan->tensors[t].name,
                              &w->results->sources[t * plan->width + i]);
        tm_json_finish(writer, '}');
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, ']');
}

static void put_files(const struct writing *w, struct tm_json_writer *writer)
{
    tm_json_begin(writer, "files", '{');
    for (size_t i = 0; i < w->products->count; i++) {
        tm_json_begin(writer, w->products->files[i].name, '{');
        tm_json_integer(writer, "bytes", w->products->files[i].bytes);
        tm_put_digest(writer, "xxh128", &w->products->files[i].digest);
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, '}');
}

static void put_stats(const struct tm_sum_stats *stats,
                      struct tm_json_writer *writer)
{
    if (stats->nonfinite_inputs > 0)
        tm_json_integer(writer, "nonfinite_inputs", stats->nonfinite_inputs);
    if (stats->nonfinite_outputs > 0)
        tm_json_integer(writer, "nonfinite_outputs", stats->nonfinite_outputs);
    if (stats->overflows > 0)
        tm_json_integer(writer, "overflows", stats->overflows);
}

static void put_tensors(const struct writing *w, struct tm_json_writer *writer)
{
    const struct tm_plan *plan = w->plan;

    tm_json_begin(writer, "tensors", '{');
    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_plan_tensor *tensor = &plan->tensors[t];

        tm_json_begin(writer, tensor->name, '{');
        tm_json_string(writer, "file", plan->shards[tensor->shard].name);
        tm_json_string(writer, "dtype", tensor->dtype_name);
        tm_json_integers(writer, "shape", tensor->ndim, tensor->shape);
        tm_json_integer(writer, "offset", tensor->offset);
        tm_json_integer(writer, "bytes", tensor->bytes);
        tm_put_digest(writer, "xxh128", &w->results->tensors[t]);
        tm_json_string(writer, "how",
                       tensor->operation == TM_COPY ? "copied" : "merged");
        if (tensor->why != NULL)
            tm_json_string(writer, "why", tensor->why);
        put_stats(&w->results->stats[t], writer);
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, '}');
}

static void put_left_out(const struct tm_plan *plan,
                         struct tm_json_writer *writer)
{
    tm_json_begin(writer, "left_out", '[');
    tm_put_left_out(writer, plan->side_files);
    for (const struct tm_extra *extra = plan->extras; extra != NULL;
         extra = extra->next) {
        tm_json_begin(writer, NULL, '{');
        tm_json_string(writer, "name", extra->name);
        tm_json_string(writer, "of", plan->recipe->vectors[extra->vector].path);
        tm_json_string(writer, "why", "the base has no such tensor");
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, ']');
}

static enum tm_status write_manifest(struct writing *w, const char *name)
{
    struct tm_outfile out;
    struct tm_json_writer writer = {.sink = tm_outfile_sink, .context = &out};
    enum tm_status status = tm_products_create(w->products, name, &out);

    if (status != TM_OK)
        return status;
    tm_json_begin(&writer, NULL, '{');
    tm_json_string(&writer, "taumerge", PACKAGE_VERSION);
    tm_json_integer(&writer, "format", TM_MANIFEST_FORMAT);
    tm_json_integer(&writer, "numerics", TM_NUMERICS_VERSION);
    tm_recipe_put(&writer, w->plan->recipe, true);
    put_inputs(w, &writer);
    put_files(w, &writer);
    put_tensors(w, &writer);
    put_left_out(w->plan, &writer);
    tm_json_finish(&writer, '}');
    return tm_products_finish(w->products, name, &out, &writer);
}

/* --- taumerge.xxh128 -----------------------------------------------------*/

static enum tm_status write_sums(struct writing *w, const char *name)
{
    struct tm_outfile out;
    enum tm_status status = tm_products_create(w->products, name, &out);

    if (status != TM_OK)
        return status;
    for (size_t i = 0; i < w->products->count; i++) {
        char digest[TM_DIGEST_CHARS + 1];

        tm_digest_print(&w->products->files[i].digest, digest);
        tm_outfile_write(&out, digest, TM_DIGEST_CHARS);
        tm_outfile_write(&out, "  ", 2);
        tm_outfile_write(&out, w->products->files[i].name,
                         strlen(w->products->files[i].name));
        tm_outfile_write(&out, "\n", 1);
    }
    return tm_products_finish(w->products, name, &out, NULL);
}

/* The name of a companion of the output: beside it if it is one file. */
static const char *companion(struct writing *w, const char *in_directory,
                             const char *ending)
{
    struct tm_staging *staging = w->products->staging;
    const size_t size = strlen(staging->name) + strlen(ending) + 1;
    char *name;

    if (!w->plan->single_file)
        return in_directory;
    name = tm_arena_alloc(&staging->arena, size);
    if (name != NULL)
        snprintf(name, size, "%s%s", staging->name, ending);
    return name;
}

static enum tm_status write_all(struct writing *w)
{
    const struct tm_plan *plan = w->plan;
    const char *manifest = companion(w, TM_MANIFEST_NAME, ".json");
    const char *sums = companion(w, TM_SUMS_NAME, ".xxh128");
    enum tm_status status = TM_OK;

    if (manifest == NULL || sums == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < plan->num_shards; i++) {
        struct tm_product_file *file =
            tm_products_add(w->products, plan->shards[i].name);

        if (file == NULL)
            return TM_SYSTEM;
        file->bytes = plan->shards[i].size;
        file->digest = w->results->shards[i];
    }
    if (plan->index_name != NULL)
        status = write_index(w);
    if (status == TM_OK)
        status = tm_products_copy(w->products, plan->side_files);
    if (status == TM_OK)
        status = write_manifest(w, manifest);
    if (status == TM_OK)
        status = write_sums(w, sums);
    return status;
}

enum tm_status tm_manifest_write(const struct tm_plan *plan,
                                 const struct tm_results *results,
                                 struct tm_products *products)
{
    struct writing writing = {plan, results, products};

    return write_all(&writing);
}
