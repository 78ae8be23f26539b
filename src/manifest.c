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

/* A file of the output, as the checksum file lists it. */
struct product {
    const char *name;
    uint64_t bytes;
    struct tm_digest digest;
};

struct writing {
    const struct tm_plan *plan;
    const struct tm_results *results;
    struct tm_staging *staging;
    struct product *products;
    size_t num_products;
};

static struct product *add_product(struct writing *w, const char *name)
{
    struct product *product = &w->products[w->num_products++];

    product->name = name;
    return product;
}

static enum tm_status create(struct writing *w, const char *name,
                             struct tm_outfile *out)
{
    const char *path = tm_staging_path(w->staging, name);

    if (path == NULL)
        return tm_no_memory();
    return tm_outfile_create(w->staging->disk, w->staging->fd, name, path, out);
}

/* Finishes the file `name` and lists it. */
static enum tm_status finish(struct writing *w, const char *name,
                             struct tm_outfile *out,
                             const struct tm_json_writer *writer)
{
    struct product *product = add_product(w, name);
    enum tm_status status =
        tm_outfile_finish(out, &product->digest, &product->bytes);

    if (status == TM_OK && writer->failed)
        status = tm_no_memory(); /* the file itself did not fail */
    return status;
}

static void put_digest(struct tm_json_writer *writer, const char *key,
                       const struct tm_digest *digest)
{
    char text[TM_DIGEST_CHARS + 1];

    tm_digest_print(digest, text);
    tm_json_string(writer, key, text);
}

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
    enum tm_status status = create(w, plan->index_name, &out);

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
    return finish(w, plan->index_name, &out, &writer);
}

/* --- side files ----------------------------------------------------------*/

static enum tm_status copy_side_files(struct writing *w)
{
    for (const struct tm_side_file *file = w->plan->side_files; file != NULL;
         file = file->next) {
        const char *path = tm_staging_path(w->staging, file->name);
        struct product *product;
        enum tm_status status;

        if (file->why_not != NULL)
            continue;
        if (path == NULL)
            return tm_no_memory();
        product = add_product(w, file->name);
        status = tm_staging_make_parents(w->staging, file->name);
        if (status == TM_OK)
            status = tm_outfile_copy(w->staging->disk, file->path,
                                     w->staging->fd, file->name, path,
                                     &product->digest, &product->bytes);
        if (status != TM_OK)
            return status;
    }
    return TM_OK;
}

/* --- taumerge.json -------------------------------------------------------*/

static void put_recipe(const struct tm_recipe *recipe,
                       struct tm_json_writer *writer)
{
    tm_json_begin(writer, "recipe", '{');
    tm_json_string(writer, "method", "task_arithmetic");
    tm_json_string(writer, "base", recipe->base);
    tm_json_begin(writer, "vectors", '[');
    for (size_t i = 0; i < recipe->num_vectors; i++) {
        tm_json_begin(writer, NULL, '{');
        tm_json_string(writer, "path", recipe->vectors[i].path);
        tm_json_real(writer, "weight", recipe->vectors[i].weight);
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, ']');
    if (recipe->has_dtype)
        tm_json_string(writer, "dtype", tm_dtype_name(recipe->dtype));
    if (recipe->shard_size > 0)
        tm_json_integer(writer, "shard_size", recipe->shard_size);
    if (recipe->allow_missing)
        tm_json_boolean(writer, "allow_missing", true);
    if (recipe->allow_extra)
        tm_json_boolean(writer, "allow_extra", true);
    tm_json_finish(writer, '}');
}

static void put_inputs(const struct writing *w, struct tm_json_writer *writer)
{
    const struct tm_plan *plan = w->plan;

    tm_json_begin(writer, "inputs", '[');
    for (size_t i = 0; i < plan->width; i++) {
        tm_json_begin(writer, NULL, '{');
        tm_json_string(writer, "path",
                       i == 0 ? plan->recipe->base
                              : plan->recipe->vectors[i - 1].path);
        tm_json_string(writer, "role", i == 0 ? "base" : "vector");
        tm_json_begin(writer, "tensors", '{');
        for (size_t t = 0; t < plan->num_tensors; t++)
            if (tm_plan_sources(plan, t)[i].file != TM_NO_FILE)
                put_digest(writer, plan->tensors[t].name,
                           &w->results->sources[t * plan->width + i]);
        tm_json_finish(writer, '}');
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, ']');
}

static void put_files(const struct writing *w, struct tm_json_writer *writer)
{
    tm_json_begin(writer, "files", '{');
    for (size_t i = 0; i < w->num_products; i++) {
        tm_json_begin(writer, w->products[i].name, '{');
        tm_json_integer(writer, "bytes", w->products[i].bytes);
        put_digest(writer, "xxh128", &w->products[i].digest);
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
        put_digest(writer, "xxh128", &w->results->tensors[t]);
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
    for (const struct tm_side_file *file = plan->side_files; file != NULL;
         file = file->next) {
        if (file->why_not == NULL ||
            !tm_utf8_is_valid(file->name, strlen(file->name)))
            continue;
        tm_json_begin(writer, NULL, '{');
        tm_json_string(writer, "name", file->name);
        tm_json_string(writer, "why", file->why_not);
        tm_json_finish(writer, '}');
    }
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
    enum tm_status status = create(w, name, &out);

    if (status != TM_OK)
        return status;
    tm_json_begin(&writer, NULL, '{');
    tm_json_string(&writer, "taumerge", PACKAGE_VERSION);
    tm_json_integer(&writer, "format", TM_MANIFEST_FORMAT);
    tm_json_integer(&writer, "numerics", TM_NUMERICS_VERSION);
    put_recipe(w->plan->recipe, &writer);
    put_inputs(w, &writer);
    put_files(w, &writer);
    put_tensors(w, &writer);
    put_left_out(w->plan, &writer);
    tm_json_finish(&writer, '}');
    return finish(w, name, &out, &writer);
}

/* --- taumerge.xxh128 -----------------------------------------------------*/

static enum tm_status write_sums(struct writing *w, const char *name)
{
    struct tm_outfile out;
    enum tm_status status = create(w, name, &out);

    if (status != TM_OK)
        return status;
    for (size_t i = 0; i < w->num_products; i++) {
        char digest[TM_DIGEST_CHARS + 1];

        tm_digest_print(&w->products[i].digest, digest);
        tm_outfile_write(&out, digest, TM_DIGEST_CHARS);
        tm_outfile_write(&out, "  ", 2);
        tm_outfile_write(&out, w->products[i].name,
                         strlen(w->products[i].name));
        tm_outfile_write(&out, "\n", 1);
    }
    return tm_outfile_finish(&out, NULL, NULL);
}

/* The name of a companion of the output: beside it if it is one file. */
static const char *companion(struct writing *w, const char *in_directory,
                             const char *ending)
{
    struct tm_staging *staging = w->staging;
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
        struct product *product = add_product(w, plan->shards[i].name);

        product->bytes = plan->shards[i].size;
        product->digest = w->results->shards[i];
    }
    if (plan->index_name != NULL)
        status = write_index(w);
    if (status == TM_OK)
        status = copy_side_files(w);
    if (status == TM_OK)
        status = write_manifest(w, manifest);
    if (status == TM_OK)
        status = write_sums(w, sums);
    return status;
}

enum tm_status tm_manifest_write(const struct tm_plan *plan,
                                 const struct tm_results *results,
                                 struct tm_staging *staging)
{
    struct writing writing = {plan, results, staging, NULL, 0};
    size_t count = plan->num_shards + 2; /* index, manifest */
    enum tm_status status;

    for (const struct tm_side_file *file = plan->side_files; file != NULL;
         file = file->next)
        count++;
    writing.products = calloc(count, sizeof(*writing.products));
    if (writing.products == NULL)
        return tm_no_memory();
    status = write_all(&writing);
    free(writing.products);
    return status;
}
