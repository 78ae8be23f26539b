/* SPDX-License-Identifier: Apache-2.0 */
/* inspect_vector: see inspect_vector.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/inspect_vector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/infile.h"
#include "io/path.h"
#include "io/vector_parts.h"
#include "src/plan.h"
#include "src/progress.h"
#include "src/table.h"

static const char *const state_names[] = {
    [TM_DELTA] = "delta",
    [TM_ALONE] = "alone",
    [TM_UNCHANGED] = "same",
};

#define NUM_STATES (sizeof(state_names) / sizeof(state_names[0]))

/* --- what is left out ----------------------------------------------------*/

static enum tm_status add_left_out(struct tm_inspection *look,
                                   const json_t *value)
{
    const char *name = json_string_value(json_object_get(value, "name"));
    const char *why = json_string_value(json_object_get(value, "why"));
    struct tm_left_out *entry = tm_arena_alloc(&look->arena, sizeof(*entry));

    if (entry == NULL)
        return tm_no_memory();
    name = name != NULL ? name : "?";
    why = why != NULL ? why : "?";
    *entry = (struct tm_left_out){
        .name = tm_arena_copy(&look->arena, name, strlen(name)),
        .why = tm_arena_copy(&look->arena, why, strlen(why)),
    };
    if (entry->name == NULL || entry->why == NULL)
        return tm_no_memory();
    *look->left_out_end = entry;
    look->left_out_end = &entry->next;
    return TM_OK;
}

static enum tm_status take_member(void *context, const char *key,
                                  struct tm_json_text *text)
{
    enum tm_status status = TM_OK;
    json_t *value;

    if (strcmp(key, "left_out") != 0)
        return tm_json_skip(text);
    value = tm_json_value(text);
    if (value == NULL)
        return text->status;
    for (size_t i = 0; i < json_array_size(value) && status == TM_OK; i++)
        status = add_left_out(context, json_array_get(value, i));
    json_decref(value);
    return status;
}

/* Merging has no use for this: opening a vector passes over it. */
static enum tm_status read_left_out(struct tm_disk *disk,
                                    struct tm_inspection *look)
{
    const char *path =
        tm_path_join(&look->arena, look->vector.path, TM_VECTOR_MANIFEST);
    struct tm_json_text text = {.path = path};
    char *bytes = NULL;
    enum tm_status status;

    if (path == NULL)
        return tm_no_memory();
    status = tm_infile_read(disk, path, TM_VECTOR_MANIFEST_MAX, &bytes,
                            &text.length);
    text.text = bytes;
    if (status == TM_OK)
        status = tm_json_members(&text, take_member, look);
    free(bytes);
    return status;
}

enum tm_status tm_inspection_open(struct tm_disk *disk, const char *path,
                                  enum tm_direct direct,
                                  struct tm_inspection *inspection)
{
    struct tm_inspection *look = inspection;
    enum tm_status status;

    *look = (struct tm_inspection){0};
    look->left_out_end = &look->left_out;
    status = tm_vector_open(disk, path, &look->vector);
    if (status == TM_OK)
        status = read_left_out(disk, look);
    if (status == TM_OK)
        status = tm_codings_read(disk, direct, &look->vector, &look->codings);
    return status;
}

void tm_inspection_close(struct tm_inspection *inspection)
{
    tm_codings_free(&inspection->codings);
    tm_vector_close(&inspection->vector);
    tm_arena_free(&inspection->arena);
}

/* --- sums ----------------------------------------------------------------*/

/* Of the shard files, which is what a disk has to hold. */
static uint64_t tuned_bytes(const struct tm_vector_stored *vector)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < vector->tuned.num_shards; i++)
        bytes += vector->shards[i].tuned_bytes;
    return bytes;
}

static uint64_t stored_bytes(const struct tm_vector_stored *vector)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < vector->tuned.num_shards; i++)
        bytes += vector->shards[i].bytes;
    return bytes;
}

/* Some tensors or chunks together. */
struct sum {
    uint64_t count;
    uint64_t bytes; /* of the tuned tensors */
    uint64_t stored;
};

static void sum_states(const struct tm_vector_stored *vector,
                       struct sum sums[NUM_STATES])
{
    for (size_t t = 0; t < vector->tuned.num_tensors; t++) {
        struct sum *sum = &sums[vector->coded[t].state];

        sum->count++;
        sum->bytes += vector->tuned.tensors[t].bytes;
        sum->stored += vector->coded[t].bytes;
    }
}

/*
 * What is known of the tensor's difference; NULL: nothing. One without
 * changes has no statistics, and neither has one that they are not made of.
 */
static const struct tm_vector_stats *
stats_of(const struct tm_vector_stored *vector, size_t tensor)
{
    static const struct tm_vector_stats no_change;
    const struct tm_coded *coded = &vector->coded[tensor];

    if (vector->stats[tensor].changed > 0)
        return &vector->stats[tensor];
    return coded->state != TM_ALONE && coded->bytes == 0 ? &no_change : NULL;
}

/* --- text ----------------------------------------------------------------*/

/* Numbers as short as people want them. */
#define NUMBER_TEXT 32

static const char *ratio_text(uint64_t part, uint64_t whole,
                              char text[NUMBER_TEXT])
{
    if (whole == 0)
        return "-";
    snprintf(text, NUMBER_TEXT, "%.3f", (double)part / (double)whole);
    return text;
}

static const char *percent_text(uint64_t part, uint64_t whole,
                                char text[NUMBER_TEXT])
{
    const double percent = 100 * (double)part / (double)whole;

    if (whole == 0)
        return "-";
    if (part > 0 && percent < 0.1)
        return "<0.1%";
    snprintf(text, NUMBER_TEXT, "%.1f%%", percent);
    return text;
}

static const char *real_text(double value, char text[NUMBER_TEXT])
{
    snprintf(text, NUMBER_TEXT, "%.2g", value);
    return text;
}

/* A line of the head; the text may come from a file. */
static void print_line(const char *what, const char *text, unsigned gap)
{
    static const struct tm_column columns[] = {{.width = 6}, {.width = 0}};
    const char *cells[] = {what, text};

    tm_table_print(columns, 2, gap, cells);
}

static void print_head(const struct tm_vector_stored *vector)
{
    const uint64_t tuned = tuned_bytes(vector), stored = stored_bytes(vector);
    char size[TM_SIZE_TEXT], ratio[NUMBER_TEXT];

    print_line("a stored vector, made by", vector->written_by, 1);
    print_line("base", vector->base_path, 2);
    tm_size_text(tuned, size);
    if (vector->single_file)
        printf("%-6s  one file, %s\n", "tuned", size);
    else
        printf("%-6s  a directory, %zu shard%s, %s\n", "tuned",
               vector->tuned.num_shards,
               vector->tuned.num_shards == 1 ? "" : "s", size);
    printf("%-6s  %s, ratio %s\n", "stored", tm_size_text(stored, size),
           ratio_text(stored, tuned, ratio));
}

enum { SUM_COLUMNS = 6 };

/* Shows a row of sums, unless there is nothing in it. */
static void print_sum(const struct tm_column *columns, const char *of,
                      const char *name, const struct sum *sum, uint64_t whole)
{
    char what[NUMBER_TEXT], count[NUMBER_TEXT], ratio[NUMBER_TEXT];
    char bytes[TM_SIZE_TEXT], stored[TM_SIZE_TEXT], share[NUMBER_TEXT];
    const char *cells[SUM_COLUMNS] = {
        what,
        count,
        tm_size_text(sum->bytes, bytes),
        percent_text(sum->bytes, whole, share),
        tm_size_text(sum->stored, stored),
        ratio_text(sum->stored, sum->bytes, ratio),
    };

    if (sum->count == 0)
        return;
    snprintf(what, sizeof(what), "%s %s", of, name);
    snprintf(count, sizeof(count), "%llu", (unsigned long long)sum->count);
    tm_table_print(columns, SUM_COLUMNS, 2, cells);
}

static void print_sums(const struct tm_inspection *look)
{
    static const struct tm_column columns[SUM_COLUMNS] = {
        {.title = "", .width = 13},
        {.title = "count", .is_number = true, .width = 8},
        {.title = "bytes", .is_number = true, .width = 7},
        {.title = "share", .is_number = true, .width = 6},
        {.title = "stored", .is_number = true, .width = 7},
        {.title = "ratio", .is_number = true, .width = 5},
    };
    struct sum states[NUM_STATES] = {{0}};
    uint64_t whole = 0;

    sum_states(&look->vector, states);
    for (size_t i = 0; i < NUM_STATES; i++)
        whole += states[i].bytes;
    tm_table_print(columns, SUM_COLUMNS, 2, NULL);
    for (size_t i = 0; i < NUM_STATES; i++)
        print_sum(columns, "tensors", state_names[i], &states[i], whole);
    for (int i = 0; i < TM_NUM_CODINGS; i++) {
        const struct tm_coding_sum *coding = &look->codings.sums[i];
        const struct sum sum = {coding->chunks, coding->bytes, coding->stored};

        print_sum(columns, "chunks", tm_coding_name((enum tm_coding)i), &sum,
                  whole);
    }
}

enum { TENSOR_COLUMNS = 10 };

/* A row of the table of tensors. */
struct row {
    struct tm_arena arena;
    char bytes[TM_SIZE_TEXT], stored[TM_SIZE_TEXT], ratio[NUMBER_TEXT];
    char changed[NUMBER_TEXT], norm[NUMBER_TEXT], largest[NUMBER_TEXT];
    const char *cells[TENSOR_COLUMNS];
};

static void make_row(const struct tm_vector_stored *vector, size_t number,
                     struct row *row)
{
    const struct tm_tensor *tensor = &vector->tuned.tensors[number];
    const struct tm_coded *coded = &vector->coded[number];
    const struct tm_vector_stats *stats = stats_of(vector, number);
    const char **cell = row->cells;

    row->arena = (struct tm_arena){0};
    *cell++ = tensor->name;
    *cell++ = tensor->dtype_name;
    *cell++ = tm_shape_text(&row->arena, tensor->ndim, tensor->shape);
    *cell++ = state_names[coded->state];
    *cell++ = tm_size_text(tensor->bytes, row->bytes);
    *cell++ = tm_size_text(coded->bytes, row->stored);
    *cell++ = ratio_text(coded->bytes, tensor->bytes, row->ratio);
    if (stats == NULL) {
        cell[0] = cell[1] = cell[2] = "-";
        return;
    }
    *cell++ = percent_text(stats->changed, tensor->elements, row->changed);
    *cell++ = real_text(sqrt(stats->squares), row->norm);
    *cell++ = real_text(stats->largest, row->largest);
}

static void print_tensors(const struct tm_vector_stored *vector)
{
    struct tm_column columns[TENSOR_COLUMNS] = {
        {.title = "name", .widest = TM_TABLE_NAME},
        {.title = "dtype"},
        {.title = "shape"},
        {.title = "state"},
        {.title = "bytes", .is_number = true},
        {.title = "stored", .is_number = true},
        {.title = "ratio", .is_number = true},
        {.title = "changed", .is_number = true},
        {.title = "norm", .is_number = true},
        {.title = "largest", .is_number = true},
    };
    const size_t count = vector->tuned.num_tensors;
    struct row row;

    for (size_t t = 0; t < count; t++) {
        make_row(vector, t, &row);
        tm_table_measure(columns, TENSOR_COLUMNS, row.cells);
        tm_arena_free(&row.arena);
    }
    tm_table_print(columns, TENSOR_COLUMNS, 1, NULL);
    for (size_t t = 0; t < count; t++) {
        make_row(vector, t, &row);
        tm_table_print(columns, TENSOR_COLUMNS, 1, row.cells);
        tm_arena_free(&row.arena);
    }
}

/* A line of a list. */
static void print_item(const char *name, const char *text)
{
    static const struct tm_column columns[3]; /* as wide as they are */
    const char *cells[] = {"", name, text};

    tm_table_print(columns, 3, 2, cells);
}

static void print_lists(const struct tm_inspection *look)
{
    const struct tm_vector_stored *vector = &look->vector;
    char size[TM_SIZE_TEXT];

    if (vector->num_files > 0)
        puts("\nside files");
    for (size_t i = 0; i < vector->num_files; i++)
        print_item(vector->files[i].name,
                   tm_size_text(vector->files[i].bytes, size));
    if (look->left_out != NULL)
        puts("\nleft out");
    for (const struct tm_left_out *l = look->left_out; l != NULL; l = l->next)
        print_item(l->name, l->why);
}

void tm_inspection_print(const struct tm_inspection *inspection)
{
    print_head(&inspection->vector);
    putchar('\n');
    print_sums(inspection);
    putchar('\n');
    print_tensors(&inspection->vector);
    print_lists(inspection);
}

/* --- JSON ----------------------------------------------------------------*/

static void tensor_json(const struct tm_inspection *look, size_t number,
                        struct tm_json_writer *w)
{
    const struct tm_tensor *tensor = &look->vector.tuned.tensors[number];
    const struct tm_coded *coded = &look->vector.coded[number];
    const struct tm_vector_stats *stats = stats_of(&look->vector, number);
    char digest[TM_DIGEST_CHARS + 1];

    tm_digest_print(&coded->tuned_digest, digest);
    tm_json_begin(w, NULL, '{');
    tm_json_string(w, "name", tensor->name);
    tm_json_string(w, "dtype", tensor->dtype_name);
    tm_json_integers(w, "shape", tensor->ndim, tensor->shape);
    tm_json_string(w, "state", state_names[coded->state]);
    tm_json_integer(w, "bytes", tensor->bytes);
    tm_json_integer(w, "stored", coded->bytes);
    tm_json_begin(w, "codings", '{');
    for (int i = 0; i < TM_NUM_CODINGS; i++)
        tm_json_integer(w, tm_coding_name((enum tm_coding)i),
                        look->codings.chunks[number][i]);
    tm_json_finish(w, '}');
    if (stats != NULL) {
        tm_json_integer(w, "changed", stats->changed);
        tm_json_real(w, "norm", sqrt(stats->squares));
        tm_json_real(w, "largest", stats->largest);
    } else {
        tm_json_raw(w, "changed", "null");
        tm_json_raw(w, "norm", "null");
        tm_json_raw(w, "largest", "null");
    }
    tm_json_string(w, "digest", digest);
    tm_json_finish(w, '}');
}

static void lists_json(const struct tm_inspection *look,
                       struct tm_json_writer *w)
{
    const struct tm_vector_stored *vector = &look->vector;

    tm_json_begin(w, "files", '[');
    for (size_t i = 0; i < vector->num_files; i++) {
        const struct tm_vector_file *file = &vector->files[i];
        char digest[TM_DIGEST_CHARS + 1];

        tm_digest_print(&file->digest, digest);
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "name", file->name);
        tm_json_integer(w, "bytes", file->bytes);
        tm_json_string(w, "digest", digest);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
    tm_json_begin(w, "left_out", '[');
    for (const struct tm_left_out *l = look->left_out; l != NULL; l = l->next) {
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "name", l->name);
        tm_json_string(w, "why", l->why);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
}

void tm_inspection_json(const struct tm_inspection *inspection, const char *key,
                        struct tm_json_writer *w)
{
    const struct tm_vector_stored *vector = &inspection->vector;

    tm_json_begin(w, key, '{');
    tm_json_string(w, "base", vector->base_path);
    tm_json_string(w, "written_by", vector->written_by);
    tm_json_boolean(w, "single_file", vector->single_file);
    tm_json_integer(w, "tuned_bytes", tuned_bytes(vector));
    tm_json_integer(w, "stored_bytes", stored_bytes(vector));
    tm_json_begin(w, "tensors", '[');
    for (size_t t = 0; t < vector->tuned.num_tensors; t++)
        tensor_json(inspection, t, w);
    tm_json_finish(w, ']');
    lists_json(inspection, w);
    tm_json_finish(w, '}');
}
