/* SPDX-License-Identifier: Apache-2.0 */
/* made_manifest: see made_manifest.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/made_manifest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "io/path.h"
#include "io/text.h"
#include "src/manifest.h"
#include "src/products.h"
#include "src/recipe/parameter.h"

/* Mantissa bits of the histogram that is kept while encoding. */
#define MANTISSA_BITS 7

/* The histogram may take so little of a vector's bytes, as text. */
#define HISTOGRAM_SHARE 4096

/* --- statistics ----------------------------------------------------------*/

static void put_stats(const struct tm_vector_stats *stats, const char *name,
                      struct tm_json_writer *writer)
{
    char sum[TM_NUMBER_TEXT], absolute[TM_NUMBER_TEXT];
    char squares[TM_NUMBER_TEXT], largest[TM_NUMBER_TEXT];
    char text[24 + 4 * TM_NUMBER_TEXT];

    snprintf(text, sizeof(text), "[%llu,%s,%s,%s,%s]",
             (unsigned long long)stats->changed,
             tm_number_text(stats->sum, sum),
             tm_number_text(stats->absolute, absolute),
             tm_number_text(stats->squares, squares),
             tm_number_text(stats->largest, largest));
    tm_json_raw(writer, name, text);
}

/* The counts with only `bits` of the mantissa, from the first on, as text. */
static bool print_counts(const struct tm_made *made, unsigned bits,
                         size_t *first, struct tm_text *text)
{
    const size_t step = (size_t)1 << (MANTISSA_BITS - bits);
    size_t end = TM_DRIFT_BINS, begin = 0;

    while (begin < end && made->counts[0][begin] == 0)
        begin++;
    while (end > begin && made->counts[0][end - 1] == 0)
        end--;
    *first = begin / step;
    *text = (struct tm_text){0};
    if (!tm_text_append(text, "[", 1))
        return false;
    for (size_t i = *first * step; i < end; i += step) {
        uint64_t count = 0;
        char number[24];

        for (size_t k = i; k < i + step; k++)
            count += made->counts[0][k];
        snprintf(number, sizeof(number), "%s%llu", i > *first * step ? "," : "",
                 (unsigned long long)count);
        if (!tm_text_append(text, number, strlen(number)))
            return false;
    }
    return tm_text_append(text, "]", 2); /* the NUL too */
}

static void put_histogram(const struct tm_made *made, uint64_t stored,
                          struct tm_json_writer *writer)
{
    unsigned bits = MANTISSA_BITS;
    struct tm_text text = {0};
    size_t first = 0;

    while (print_counts(made, bits, &first, &text) && bits > 0 &&
           text.length > stored / HISTOGRAM_SHARE) {
        free(text.bytes);
        bits--;
    }
    tm_json_begin(writer, "histogram", '{');
    tm_json_integer(writer, "mantissa_bits", bits);
    tm_json_integer(writer, "first", first);
    if (text.bytes != NULL && text.length > 0 &&
        text.bytes[text.length - 1] == '\0')
        tm_json_raw(writer, "counts", text.bytes);
    else
        writer->failed = true;
    tm_json_finish(writer, '}');
    free(text.bytes);
}

/* Sums of F64 differences may overflow: JSON has no infinity. */
static bool is_told(const struct tm_vector_stats *stats)
{
    return stats->changed > 0 && isfinite(stats->sum) &&
           isfinite(stats->absolute) && isfinite(stats->squares);
}

static void put_statistics(const struct tm_made *made, uint64_t stored,
                           struct tm_json_writer *writer)
{
    tm_json_begin(writer, "statistics", '{');
    tm_json_begin(writer, "tensors", '{');
    for (size_t i = 0; i < made->output->num_records; i++)
        if (is_told(&made->stats[i]))
            put_stats(&made->stats[i], made->output->records[i].name, writer);
    tm_json_finish(writer, '}');
    put_histogram(made, stored, writer);
    tm_json_finish(writer, '}');
}

/* --- vector.json ---------------------------------------------------------*/

static uint64_t put_shards(const struct tm_made *made,
                           struct tm_json_writer *writer)
{
    uint64_t stored = 0;

    tm_json_begin(writer, "shards", '[');
    for (size_t i = 0; i < made->output->num_shards; i++) {
        const struct tm_output_shard *from = &made->output->shards[i];
        const struct tm_made_shard *shard = &made->shards[i];

        tm_json_begin(writer, NULL, '{');
        tm_json_string(writer, "file", from->name);
        tm_json_string(writer, "name", from->tuned_name);
        tm_json_integer(writer, "bytes", shard->bytes);
        tm_put_digest(writer, "header_xxh128", &shard->header_digest);
        tm_put_digest(writer, "data_xxh128", &shard->data_digest);
        tm_json_finish(writer, '}');
        stored += shard->bytes;
    }
    tm_json_finish(writer, ']');
    return stored;
}

/* The side files: those products that are no shards. */
static void put_files(const struct tm_products *products, size_t first,
                      struct tm_json_writer *writer)
{
    tm_json_begin(writer, "files", '{');
    for (size_t i = first; i < products->count; i++) {
        tm_json_begin(writer, products->files[i].name, '{');
        tm_json_integer(writer, "bytes", products->files[i].bytes);
        tm_put_digest(writer, "xxh128", &products->files[i].digest);
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, '}');
}

static void put_origin(const struct tm_made *made,
                       struct tm_json_writer *writer)
{
    tm_json_string(writer, "taumerge", PACKAGE_VERSION);
    tm_json_string(writer, "format", TM_VECTOR_FORMAT);
    tm_json_integer(writer, "version", TM_VECTOR_VERSION);
    tm_json_string(writer, "zstd", ZSTD_versionString());
    tm_json_begin(writer, "base", '{');
    tm_json_string(writer, "path", made->plan->recipe->base);
    tm_json_finish(writer, '}');
    tm_json_begin(writer, "tuned", '{');
    tm_json_string(writer, "path", made->output->tuned_path);
    tm_json_boolean(writer, "single_file", made->output->single_file);
    tm_json_finish(writer, '}');
}

/* The digest of all that the manifest has said so far. */
static void seal(void *context, char *text, size_t size)
{
    const struct tm_outfile *out = context;
    const struct tm_digest digest = tm_hasher_digest(&out->hasher);
    char digits[TM_DIGEST_CHARS + 1];

    tm_digest_print(&digest, digits);
    snprintf(text, size, "%s", digits);
}

static enum tm_status write_manifest(const struct tm_made *made,
                                     struct tm_products *products,
                                     const struct tm_products *beside,
                                     size_t first)
{
    struct tm_outfile out;
    struct tm_json_writer writer = {.sink = tm_outfile_sink, .context = &out};
    enum tm_status status =
        tm_products_create(products, TM_VECTOR_MANIFEST, &out);
    uint64_t stored;

    if (status != TM_OK)
        return status;
    tm_json_begin(&writer, NULL, '{');
    put_origin(made, &writer);
    stored = put_shards(made, &writer);
    put_files(beside, first, &writer);
    tm_json_begin(&writer, "left_out", '[');
    tm_put_left_out(&writer, made->output->side_files);
    tm_json_finish(&writer, ']');
    put_statistics(made, stored, &writer);
    tm_json_seal(&writer, "xxh128", seal, &out);
    tm_json_finish(&writer, '}');
    return tm_products_finish(products, TM_VECTOR_MANIFEST, &out, &writer);
}

/* What one vector is beside its shards. */
static enum tm_status write_one(const struct tm_plan *plan,
                                const struct tm_results *results,
                                const struct tm_made *made,
                                struct tm_staging *staging)
{
    const char *directory = made->output->directory;
    struct tm_products own = {.staging = staging, .prefix = directory};
    struct tm_products beside = {.staging = staging};
    const bool is_model = plan->product == TM_MODEL_VECTOR;
    enum tm_status status = TM_OK;

    beside.prefix = tm_path_join(&staging->arena, directory, TM_VECTOR_FILES);
    if (beside.prefix == NULL)
        return tm_no_memory();
    if (is_model)
        status = tm_manifest_write(plan, results, &beside);
    else
        status = tm_products_copy(&beside, made->output->side_files);
    if (status == TM_OK)
        status = write_manifest(made, &own, &beside,
                                is_model ? plan->num_shards : 0);
    tm_products_free(&own);
    tm_products_free(&beside);
    return status;
}

enum tm_status tm_made_manifest_write(const struct tm_plan *plan,
                                      const struct tm_results *results,
                                      struct tm_staging *staging)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < plan->num_outputs && status == TM_OK; i++)
        status = write_one(plan, results, &results->made[i], staging);
    return status;
}
