/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_manifest: vector.json (docs/format.md). See vector_parts.h.
 *
 * It names files that will be opened, and files that will be created where
 * the vector is put back on its base: no name leaves the directory, none is
 * there twice.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/json.h"
#include "io/path.h"
#include "io/vector.h"
#include "io/vector_parts.h"
#include "kernels/drift.h"

/* What the text ends with: this, the digits of the digest, and LAST. */
#define KEY  "\"xxh128\": \""
#define LAST "\"\n}\n"

struct parser {
    struct tm_vector_stored *vector;
    struct tm_vector_manifest *manifest;
    const char *program, *zstd; /* versions */
    size_t num_shards;
    size_t file_capacity;
    unsigned seen; /* a bit for each of the members below */
};

static enum tm_status bad(const struct tm_json_text *text, const char *cause)
{
    return tm_error(TM_BAD_DATA, "%s: %s", text->path, cause);
}

/* --- values --------------------------------------------------------------*/

static bool get_size(const json_t *value, uint64_t *size)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *size = (uint64_t)json_integer_value(value);
    return true;
}

static bool get_digest(const json_t *value, struct tm_digest *digest)
{
    const char *text = json_string_value(value);

    return text != NULL && tm_digest_parse(text, digest);
}

/* Copies the string `value` to *copy; `cause` says that it is none. */
static enum tm_status copy_string(struct parser *p,
                                  const struct tm_json_text *text,
                                  const json_t *value, const char *cause,
                                  const char **copy)
{
    const char *string = json_string_value(value);

    if (string == NULL)
        return bad(text, cause);
    *copy = tm_arena_copy(&p->vector->arena, string, strlen(string));
    return *copy != NULL ? TM_OK : tm_no_memory();
}

/* Whether `name` is that of a file in the directory itself. */
static bool is_plain(const char *name)
{
    return name != NULL && tm_path_is_harmless(name) &&
           strchr(name, '/') == NULL;
}

/* --- shards --------------------------------------------------------------*/

static enum tm_status take_shard(struct parser *p,
                                 const struct tm_json_text *text,
                                 const json_t *value)
{
    struct tm_vector_stored *vector = p->vector;
    struct tm_vector_shard *shard = &vector->shards[p->num_shards++];
    const char *file = json_string_value(json_object_get(value, "file"));
    const char *name = json_string_value(json_object_get(value, "name"));

    *shard = (struct tm_vector_shard){0};
    if (!is_plain(file) || !is_plain(name))
        return tm_error(TM_BAD_DATA,
                        "%s: shard %zu: 'file' or 'name' is not a plain file "
                        "name",
                        text->path, p->num_shards);
    if (!get_size(json_object_get(value, "bytes"), &shard->bytes) ||
        !get_digest(json_object_get(value, "header_xxh128"),
                    &shard->header_digest) ||
        !get_digest(json_object_get(value, "data_xxh128"), &shard->data_digest))
        return tm_error(TM_BAD_DATA,
                        "%s: shard '%s': 'bytes' or a digest is damaged",
                        text->path, file);
    shard->name = tm_arena_copy(&vector->arena, file, strlen(file));
    shard->path = tm_path_join(&vector->arena, vector->path, file);
    shard->tuned_name = tm_arena_copy(&vector->arena, name, strlen(name));
    if (shard->name == NULL || shard->path == NULL || shard->tuned_name == NULL)
        return tm_no_memory();
    return TM_OK;
}

static enum tm_status take_shards(void *context, const char *key,
                                  struct tm_json_text *text)
{
    struct parser *p = context;
    json_t *value = tm_json_value(text);
    const size_t count = json_array_size(value);
    enum tm_status status = TM_OK;

    (void)key;
    if (value == NULL)
        return text->status;
    if (count == 0 || count >= UINT32_MAX)
        status = bad(text, "'shards' is not a list of shards");
    if (status == TM_OK) {
        p->vector->shards = tm_arena_alloc(&p->vector->arena,
                                           count * sizeof(*p->vector->shards));
        if (p->vector->shards == NULL)
            status = tm_no_memory();
    }
    for (size_t i = 0; status == TM_OK && i < count; i++)
        status = take_shard(p, text, json_array_get(value, i));
    json_decref(value);
    return status;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Whether two of the vector's own files have one name. */
static enum tm_status check_files_differ(const struct parser *p,
                                         const struct tm_json_text *text,
                                         const char **names)
{
    for (size_t i = 0; i < p->num_shards; i++)
        names[i] = p->vector->shards[i].name;
    qsort(names, p->num_shards, sizeof(*names), compare_strings);
    for (size_t i = 1; i < p->num_shards; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return tm_error(TM_BAD_DATA, "%s: lists the shard '%s' twice",
                            text->path, names[i]);
    return TM_OK;
}

/* The shards of `tuned`, sorted as the format wants them, once each. */
static enum tm_status list_tuned(struct parser *p,
                                 const struct tm_json_text *text,
                                 const char **names)
{
    struct tm_vector_stored *vector = p->vector;
    enum tm_status status;

    for (size_t i = 0; i < p->num_shards; i++) {
        names[i] = vector->shards[i].tuned_name;
        if (i > 0 && strcmp(names[i - 1], names[i]) >= 0)
            return tm_error(TM_BAD_DATA,
                            "%s: the shard '%s' follows '%s', out of order",
                            text->path, names[i], names[i - 1]);
    }
    if (vector->single_file && p->num_shards != 1)
        return bad(text, "lists more shards than the one of a single file");
    vector->tuned = (struct tm_checkpoint){
        .path = vector->path,
        .directory = vector->single_file ? NULL : vector->path,
    };
    status = tm_checkpoint_list(&vector->tuned, names, p->num_shards);
    for (size_t i = 0; i < vector->tuned.num_shards; i++) {
        vector->tuned.shards[i].name = vector->shards[i].tuned_name;
        vector->tuned.shards[i].path = vector->shards[i].path;
    }
    return status;
}

static enum tm_status finish_shards(struct parser *p,
                                    const struct tm_json_text *text)
{
    const char **names = malloc(p->num_shards * sizeof(*names));
    enum tm_status status;

    if (names == NULL)
        return tm_no_memory();
    status = check_files_differ(p, text, names);
    if (status == TM_OK)
        status = list_tuned(p, text, names);
    free(names);
    return status;
}

/* --- side files ----------------------------------------------------------*/

/* Room for one more; NULL: reported. */
static struct tm_vector_file *new_file(struct parser *p)
{
    struct tm_vector_stored *vector = p->vector;
    struct tm_vector_file *files = vector->files;

    if (vector->num_files == p->file_capacity) {
        p->file_capacity = p->file_capacity > 0 ? 2 * p->file_capacity : 16;
        files = realloc(files, p->file_capacity * sizeof(*files));
        if (files == NULL) {
            tm_no_memory();
            return NULL;
        }
        vector->files = files;
    }
    return &files[vector->num_files];
}

static enum tm_status take_file(void *context, const char *key,
                                struct tm_json_text *text)
{
    struct parser *p = context;
    struct tm_vector_stored *vector = p->vector;
    struct tm_vector_file *file = new_file(p);
    json_t *value = file != NULL ? tm_json_value(text) : NULL;
    bool is_good;

    if (file == NULL)
        return TM_SYSTEM;
    if (value == NULL)
        return text->status;
    is_good = get_size(json_object_get(value, "bytes"), &file->bytes) &&
              get_digest(json_object_get(value, "xxh128"), &file->digest);
    json_decref(value);
    if (!tm_path_is_harmless(key))
        return tm_error(TM_BAD_DATA,
                        "%s: the file '%s': its name is not a path below the "
                        "vector",
                        text->path, key);
    if (!is_good)
        return tm_error(TM_BAD_DATA,
                        "%s: the file '%s': 'bytes' or 'xxh128' is damaged",
                        text->path, key);
    file->name = tm_arena_copy(&vector->arena, key, strlen(key));
    file->path = tm_path_join(&vector->arena, vector->path, TM_VECTOR_FILES);
    if (file->path != NULL && file->name != NULL)
        file->path = tm_path_join(&vector->arena, file->path, file->name);
    if (file->path == NULL || file->name == NULL)
        return tm_no_memory();
    vector->num_files++;
    return TM_OK;
}

static enum tm_status take_files(void *context, const char *key,
                                 struct tm_json_text *text)
{
    (void)key;
    return tm_json_members(text, take_file, context);
}

static int compare_files(const void *a, const void *b)
{
    const struct tm_vector_file *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* Compares the first part of a path, `key`, with the name of a shard. */
static int compare_first_part(const void *key, const void *shard)
{
    const char *path = key;
    const char *name = ((const struct tm_vector_shard *)shard)->tuned_name;
    const size_t length = strcspn(path, "/");
    const int order = strncmp(path, name, length);

    return order == 0 && name[length] != '\0' ? -1 : order;
}

/*
 * Sorts the side files. No two may have one name, and none may be in the way
 * of a shard where the tuned directory is made again.
 */
static enum tm_status finish_files(const struct parser *p,
                                   const struct tm_json_text *text)
{
    struct tm_vector_stored *vector = p->vector;

    if (vector->num_files > 0 && vector->single_file)
        return bad(text, "lists files beside the one of a single file");
    if (vector->num_files > 0)
        qsort(vector->files, vector->num_files, sizeof(*vector->files),
              compare_files);
    for (size_t i = 0; i < vector->num_files; i++) {
        const char *name = vector->files[i].name;

        if (i > 0 && strcmp(vector->files[i - 1].name, name) == 0)
            return tm_error(TM_BAD_DATA, "%s: lists the file '%s' twice",
                            text->path, name);
        if (bsearch(name, vector->shards, p->num_shards,
                    sizeof(*vector->shards), compare_first_part) != NULL)
            return tm_error(TM_BAD_DATA,
                            "%s: the file '%s' has the name of a shard",
                            text->path, name);
    }
    return TM_OK;
}

/* --- the other members ---------------------------------------------------*/

static enum tm_status take_format(void *context, const char *key,
                                  struct tm_json_text *text)
{
    json_t *value = tm_json_value(text);
    const char *format = json_string_value(value);
    enum tm_status status = TM_OK;

    (void)context;
    (void)key;
    if (value == NULL)
        return text->status;
    if (format == NULL || strcmp(format, TM_VECTOR_FORMAT) != 0)
        status = tm_error(TM_BAD_DATA,
                          "%s: not the manifest of a stored vector: its format "
                          "is '%s'",
                          text->path, format != NULL ? format : "?");
    json_decref(value);
    return status;
}

static enum tm_status take_version(void *context, const char *key,
                                   struct tm_json_text *text)
{
    json_t *value = tm_json_value(text);
    enum tm_status status = TM_OK;

    (void)context;
    (void)key;
    if (value == NULL)
        return text->status;
    if (!json_is_integer(value))
        status = bad(text, "'version' is not a whole number");
    else if (json_integer_value(value) != TM_VECTOR_VERSION)
        status = tm_error(TM_BAD_DATA,
                          "%s: has version %lld of the format, which this "
                          "version of taumerge does not know",
                          text->path, (long long)json_integer_value(value));
    json_decref(value);
    return status;
}

/* A member that is a string. */
static enum tm_status take_string(struct parser *p, struct tm_json_text *text,
                                  const char *cause, const char **copy)
{
    json_t *value = tm_json_value(text);
    enum tm_status status;

    if (value == NULL)
        return text->status;
    status = copy_string(p, text, value, cause, copy);
    json_decref(value);
    return status;
}

static enum tm_status take_program(void *context, const char *key,
                                   struct tm_json_text *text)
{
    struct parser *p = context;

    (void)key;
    return take_string(p, text, "'taumerge' is not a string", &p->program);
}

static enum tm_status take_zstd(void *context, const char *key,
                                struct tm_json_text *text)
{
    struct parser *p = context;

    (void)key;
    return take_string(p, text, "'zstd' is not a string", &p->zstd);
}

static enum tm_status take_base(void *context, const char *key,
                                struct tm_json_text *text)
{
    struct parser *p = context;
    json_t *value = tm_json_value(text);
    enum tm_status status;

    (void)key;
    if (value == NULL)
        return text->status;
    status = copy_string(p, text, json_object_get(value, "path"),
                         "'base' does not say a path", &p->vector->base_path);
    json_decref(value);
    return status;
}

static enum tm_status take_tuned(void *context, const char *key,
                                 struct tm_json_text *text)
{
    struct parser *p = context;
    json_t *value = tm_json_value(text);
    const json_t *single = json_object_get(value, "single_file");
    const bool is_good = json_is_boolean(single) &&
                         json_is_string(json_object_get(value, "path"));

    (void)key;
    if (value == NULL)
        return text->status;
    p->vector->single_file = json_is_true(single);
    json_decref(value);
    return is_good ? TM_OK : bad(text, "'tuned' says no path or single_file");
}

static enum tm_status take_any(void *context, const char *key,
                               struct tm_json_text *text)
{
    (void)context;
    (void)key;
    return tm_json_skip(text);
}

/* The counters of a histogram that is as fine as can be, or nothing. */
static enum tm_status get_histogram(const struct tm_json_text *text,
                                    const json_t *value, uint64_t **histogram)
{
    const json_t *list = json_object_get(value, "counts");
    const size_t count = json_array_size(list);
    uint64_t bits, first;

    if (!get_size(json_object_get(value, "mantissa_bits"), &bits) ||
        !get_size(json_object_get(value, "first"), &first) ||
        !json_is_array(list))
        return bad(text, "its histogram is damaged");
    if (bits != TM_DRIFT_MANTISSA_BITS)
        return TM_OK;
    if (*histogram != NULL || first > TM_DRIFT_BINS ||
        count > TM_DRIFT_BINS - first)
        return bad(text, "its histogram is damaged");
    *histogram = calloc(TM_DRIFT_BINS, sizeof(**histogram));
    if (*histogram == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < count; i++)
        if (!get_size(json_array_get(list, i), &(*histogram)[first + i]))
            return bad(text, "its histogram is damaged");
    return TM_OK;
}

static enum tm_status take_histogram(struct parser *p,
                                     struct tm_json_text *text)
{
    json_t *value = tm_json_value(text);
    enum tm_status status;

    if (value == NULL)
        return text->status;
    status = get_histogram(text, value, &p->vector->histogram);
    if (p->vector->histogram != NULL)
        p->vector->bytes_kept += TM_DRIFT_BINS * sizeof(uint64_t);
    json_decref(value);
    return status;
}

/* Notes where the statistics of the tensors are, for later. */
static enum tm_status find_tensors(void *context, const char *key,
                                   struct tm_json_text *text)
{
    struct parser *p = context;
    struct tm_vector_manifest *manifest = p->manifest;

    if (strcmp(key, "histogram") == 0)
        return take_histogram(p, text);
    if (strcmp(key, "tensors") != 0)
        return tm_json_skip(text);
    if (manifest->statistics != 0)
        return bad(text, "'tensors' is there twice");
    manifest->statistics = text->position;
    return tm_json_members(text, take_any, NULL);
}

static enum tm_status take_statistics(void *context, const char *key,
                                      struct tm_json_text *text)
{
    struct parser *p = context;

    (void)key;
    return tm_json_members(text, find_tensors, p);
}

/* --- all members ---------------------------------------------------------*/

static const struct {
    const char *key;
    tm_json_member *take;
    bool is_needed;
} members[] = {
    {"format", take_format, true},    {"version", take_version, true},
    {"taumerge", take_program, true}, {"zstd", take_zstd, true},
    {"base", take_base, true},        {"tuned", take_tuned, true},
    {"shards", take_shards, true},    {"files", take_files, true},
    {"left_out", take_any, false},    {"statistics", take_statistics, false},
    {"xxh128", take_any, true},
};

#define NUM_MEMBERS (sizeof(members) / sizeof(members[0]))

static enum tm_status take_member(void *context, const char *key,
                                  struct tm_json_text *text)
{
    struct parser *p = context;

    for (size_t i = 0; i < NUM_MEMBERS; i++) {
        if (strcmp(key, members[i].key) != 0)
            continue;
        if (p->seen & 1u << i)
            return tm_error(TM_BAD_DATA, "%s: '%s' is there twice", text->path,
                            key);
        p->seen |= 1u << i;
        return members[i].take(p, key, text);
    }
    return tm_json_skip(text);
}

static enum tm_status check_complete(const struct parser *p,
                                     const struct tm_json_text *text)
{
    for (size_t i = 0; i < NUM_MEMBERS; i++)
        if (members[i].is_needed && !(p->seen & 1u << i))
            return tm_error(TM_BAD_DATA, "%s: has no '%s'", text->path,
                            members[i].key);
    return TM_OK;
}

/* The text against the digest that it ends with. */
static enum tm_status check_digest(const struct tm_json_text *text)
{
    const size_t key = strlen(KEY), last = strlen(LAST);
    const size_t tail = key + TM_DIGEST_CHARS + last;
    char digits[TM_DIGEST_CHARS + 1] = "";
    struct tm_digest own, digest;
    const char *end;

    if (text->length < tail)
        return bad(text, "too short to be the manifest of a stored vector");
    end = text->text + text->length - tail;
    memcpy(digits, end + key, TM_DIGEST_CHARS);
    if (memcmp(end, KEY, key) != 0 ||
        memcmp(end + tail - last, LAST, last) != 0 ||
        !tm_digest_parse(digits, &digest))
        return bad(text, "is damaged: it does not end with its checksum");
    own = tm_digest_of(text->text, text->length - tail);
    if (memcmp(&own, &digest, sizeof(own)) != 0)
        return bad(text, "is damaged: it does not match its checksum");
    return TM_OK;
}

static enum tm_status set_written_by(struct parser *p)
{
    static const char form[] = "taumerge %s, zstd %s";
    const size_t size = sizeof(form) + strlen(p->program) + strlen(p->zstd);
    char *text = tm_arena_alloc(&p->vector->arena, size);

    if (text == NULL)
        return tm_no_memory();
    snprintf(text, size, form, p->program, p->zstd);
    p->vector->written_by = text;
    return TM_OK;
}

enum tm_status tm_vector_take_manifest(struct tm_vector_stored *vector,
                                       struct tm_vector_manifest *manifest)
{
    struct parser parser = {.vector = vector, .manifest = manifest};
    struct tm_json_text text = {.path = manifest->path,
                                .text = manifest->text,
                                .length = manifest->length};
    enum tm_status status = check_digest(&text);

    if (status == TM_OK)
        status = tm_json_members(&text, take_member, &parser);
    if (status == TM_OK)
        status = tm_json_end(&text);
    if (status == TM_OK)
        status = check_complete(&parser, &text);
    if (status == TM_OK)
        status = finish_shards(&parser, &text);
    if (status == TM_OK)
        status = finish_files(&parser, &text);
    if (status == TM_OK)
        status = set_written_by(&parser);
    vector->bytes_kept += parser.file_capacity * sizeof(*vector->files);
    return status;
}

/* --- statistics ----------------------------------------------------------*/

/* [changed, sum, absolute, squares, largest]; jansson's reals are finite. */
static bool get_stats(const json_t *value, struct tm_vector_stats *stats)
{
    for (size_t i = 1; i < 5; i++)
        if (!json_is_number(json_array_get(value, i)))
            return false;
    stats->sum = json_number_value(json_array_get(value, 1));
    stats->absolute = json_number_value(json_array_get(value, 2));
    stats->squares = json_number_value(json_array_get(value, 3));
    stats->largest = json_number_value(json_array_get(value, 4));
    return json_array_size(value) == 5 &&
           get_size(json_array_get(value, 0), &stats->changed) &&
           stats->changed > 0 && stats->absolute >= 0 && stats->squares >= 0 &&
           stats->largest >= 0;
}

static enum tm_status bad_stats(const struct tm_json_text *text,
                                const char *name, const char *cause)
{
    return tm_error(TM_BAD_DATA, "%s: the statistics of tensor '%s' %s",
                    text->path, name, cause);
}

static enum tm_status take_stats(void *context, const char *key,
                                 struct tm_json_text *text)
{
    struct tm_vector_stored *vector = context;
    const struct tm_tensor *tensor = tm_checkpoint_get(&vector->tuned, key);
    json_t *value = tm_json_value(text);
    struct tm_vector_stats stats;
    bool is_good;

    if (value == NULL)
        return text->status;
    is_good = get_stats(value, &stats);
    json_decref(value);
    if (tensor == NULL)
        return bad_stats(text, key, "are of no tensor of the vector");
    if (!is_good || stats.changed > tensor->elements)
        return bad_stats(text, key, "are damaged");
    if (vector->stats[tensor - vector->tuned.tensors].changed != 0)
        return bad_stats(text, key, "are there twice");
    vector->stats[tensor - vector->tuned.tensors] = stats;
    return TM_OK;
}

enum tm_status
tm_vector_take_statistics(struct tm_vector_stored *vector,
                          const struct tm_vector_manifest *manifest)
{
    struct tm_json_text text = {.path = manifest->path,
                                .text = manifest->text,
                                .length = manifest->length,
                                .position = manifest->statistics};
    const size_t count = vector->tuned.num_tensors;

    vector->stats = calloc(count > 0 ? count : 1, sizeof(*vector->stats));
    if (vector->stats == NULL)
        return tm_no_memory();
    vector->bytes_kept += count * sizeof(*vector->stats);
    if (manifest->statistics == 0)
        return TM_OK;
    return tm_json_members(&text, take_stats, vector);
}
