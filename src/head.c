/* SPDX-License-Identifier: Apache-2.0 */
/* head: see head.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>
#include <zstd.h>

#include "src/manifest.h"
#include "src/mark.h"
#include "src/products.h"
#include "src/recipe/recipe_tell.h"

/* --- writing -------------------------------------------------------------*/

static void add_number(struct tm_hasher *hasher, uint64_t number)
{
    tm_hasher_add(hasher, &number, sizeof(number));
}

static void add_sources(struct tm_hasher *hasher, const struct tm_plan *plan,
                        size_t tensor)
{
    const struct tm_source *sources = tm_plan_sources(plan, tensor);

    for (size_t i = 0; i < plan->width; i++) {
        const struct tm_coded *coded;

        add_number(hasher, sources[i].file);
        add_number(hasher, sources[i].offset);
        add_number(hasher, sources[i].dtype);
        if (sources[i].file == TM_NO_FILE || !sources[i].is_coded)
            continue;
        coded = plan->coded[sources[i].offset].coded;
        tm_hasher_add(hasher, &coded->tuned_digest,
                      sizeof(coded->tuned_digest));
        tm_hasher_add(hasher, &coded->base_digest, sizeof(coded->base_digest));
        tm_hasher_add(hasher, coded->chunks_digest,
                      sizeof(coded->chunks_digest));
    }
}

/*
 * Of all that decides which byte of the output is where and of what it is
 * made, but for what is in the recipe; the contents of stored vectors too,
 * which record digests of theirs.
 */
static struct tm_digest plan_digest(const struct tm_plan *plan,
                                    struct tm_hasher *hasher)
{
    for (size_t s = 0; s < plan->num_shards; s++) {
        const struct tm_plan_shard *shard = &plan->shards[s];

        add_number(hasher, shard->size);
        if (shard->header != NULL)
            tm_hasher_add(hasher, shard->header, shard->data_start);
    }
    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_plan_tensor *tensor = &plan->tensors[t];

        tm_hasher_add(hasher, tensor->name, strlen(tensor->name) + 1);
        add_number(hasher, tensor->shard);
        add_number(hasher, tensor->offset);
        add_number(hasher, tensor->bytes);
        add_number(hasher, tensor->operation);
        add_sources(hasher, plan, t);
        for (size_t i = 0; i < plan->num_outputs; i++) {
            const struct tm_target *target =
                &plan->targets[t * plan->num_outputs + i];

            add_number(hasher, target->shard);
            add_number(hasher, target->record);
        }
    }
    return tm_hasher_digest(hasher);
}

static void put_inputs(struct tm_json_writer *w, const struct tm_plan *plan)
{
    tm_json_begin(w, "inputs", '[');
    for (size_t i = 0; i < plan->num_files; i++) {
        const struct tm_input_file *file = &plan->files[i];
        char modified[48];

        snprintf(modified, sizeof(modified), "%lld.%09lld",
                 (long long)file->identity.mtime_seconds,
                 (long long)file->identity.mtime_nanoseconds);
        tm_json_begin(w, NULL, '{');
        tm_json_string(w, "path", file->path);
        tm_json_integer(w, "bytes", file->identity.size);
        tm_json_string(w, "modified", modified);
        tm_put_digest(w, "header", &file->header_digest);
        tm_json_finish(w, '}');
    }
    tm_json_finish(w, ']');
}

static void put_recipe(struct tm_json_writer *w, const struct tm_plan *plan)
{
    const struct tm_recipe *recipe = plan->recipe;

    tm_json_integer(w, "makes", plan->product);
    tm_json_integer(w, "seed", recipe->seed);
    tm_json_integer(w, "codec", plan->codec);
    if (recipe->method != NULL) {
        tm_recipe_put(w, recipe, false);
        return;
    }
    tm_json_begin(w, "recipe", '[');
    for (size_t i = 0; i < plan->width; i++)
        tm_json_string(w, NULL, tm_recipe_model(recipe, i));
    tm_json_finish(w, ']');
}

static bool put_files(struct tm_json_writer *w, const struct tm_plan *plan)
{
    struct tm_arena arena = {0};
    bool complete = true;

    tm_json_integer(w, "bytes", tm_plan_shard_bytes(plan));
    tm_json_begin(w, "files", '[');
    for (size_t i = 0; i < tm_mark_num_files(plan); i++) {
        const char *name = tm_mark_file_name(plan, &arena, i);

        complete = complete && name != NULL;
        if (name != NULL)
            tm_json_string(w, NULL, name);
    }
    tm_json_finish(w, ']');
    tm_arena_free(&arena);
    return complete;
}

/* Only for people to read: arguments need not be UTF-8, JSON is. */
static bool put_command(struct tm_json_writer *w,
                        const struct tm_settings *settings)
{
    char *text = strdup(settings->command);

    if (text == NULL)
        return false;
    tm_mask(text);
    tm_json_string(w, "command", text);
    free(text);
    return true;
}

enum tm_status tm_head_make(const struct tm_plan *plan,
                            const struct tm_settings *settings,
                            uint64_t directory, struct tm_text *text)
{
    struct tm_json_writer w = {.sink = tm_text_sink, .context = text};
    struct tm_hasher hasher;
    struct tm_digest digest;

    if (!tm_hasher_init(&hasher))
        return tm_no_memory();
    digest = plan_digest(plan, &hasher);
    tm_hasher_free(&hasher);
    tm_json_begin(&w, NULL, '{');
    tm_json_string(&w, "taumerge", PACKAGE_VERSION);
    tm_json_integer(&w, "journal", TM_JOURNAL_VERSION);
    tm_json_integer(&w, "numerics", TM_NUMERICS_VERSION);
    tm_json_integer(&w, "xxhash", XXH_versionNumber());
    /* What it compresses may be other bytes in another version. */
    tm_json_integer(&w, "zstd",
                    plan->num_outputs > 0 ? ZSTD_versionNumber() : 0);
    tm_json_integer(&w, "begun", (uint64_t)time(NULL));
    w.failed |= !put_command(&w, settings);
    tm_json_integer(&w, "directory", directory);
    put_recipe(&w, plan);
    put_inputs(&w, plan);
    w.failed |= !put_files(&w, plan);
    tm_put_digest(&w, "plan", &digest);
    tm_json_finish(&w, '}');
    return w.failed ? tm_no_memory() : TM_OK;
}

/* --- comparing -----------------------------------------------------------*/

static bool agree(const json_t *kept, const json_t *own, const char *key)
{
    return json_equal(json_object_get(kept, key), json_object_get(own, key));
}

static enum tm_status differs(const char *path, const char *what)
{
    return tm_error(TM_CANT_CREATE,
                    "%s: cannot be gone on with: %s (--restart throws it away)",
                    path, what);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "?";
}

/* Says of the first input that is another, or other, what it was. */
static enum tm_status compare_inputs(const char *path, const json_t *kept,
                                     const json_t *own)
{
    const json_t *before = json_object_get(kept, "inputs");
    const json_t *now = json_object_get(own, "inputs");
    const size_t count = json_array_size(now);

    for (size_t i = 0; i < count && i < json_array_size(before); i++) {
        const json_t *a = json_array_get(before, i);
        const json_t *b = json_array_get(now, i);

        if (json_equal(a, b))
            continue;
        if (!agree(a, b, "path"))
            return tm_error(TM_CANT_CREATE,
                            "%s: cannot be gone on with: it was made of %s, "
                            "not of %s (--restart throws it away)",
                            path, text_of(a, "path"), text_of(b, "path"));
        return tm_error(TM_CANT_CREATE,
                        "%s: cannot be gone on with: %s has changed since: its "
                        "%s (--restart throws it away)",
                        path, text_of(b, "path"),
                        !agree(a, b, "bytes")    ? "size"
                        : !agree(a, b, "header") ? "header"
                                                 : "time of modification");
    }
    return json_array_size(before) == count
               ? TM_OK
               : differs(path, "it was made of another number of files");
}

/* Says which member of the recipe is another. */
static enum tm_status compare_recipes(const char *path, json_t *kept,
                                      json_t *own)
{
    json_t *before = json_object_get(kept, "recipe");
    json_t *now = json_object_get(own, "recipe");
    const char *key;
    json_t *value;

    if (json_equal(before, now))
        return TM_OK;
    json_object_foreach(now, key, value)
    {
        if (!agree(before, now, key))
            return tm_error(TM_CANT_CREATE,
                            "%s: cannot be gone on with: the recipe's '%s' was "
                            "another; it was begun as: %s (--restart throws it "
                            "away)",
                            path, key, text_of(kept, "command"));
    }
    return tm_error(TM_CANT_CREATE,
                    "%s: cannot be gone on with: the recipe was another; it "
                    "was begun as: %s (--restart throws it away)",
                    path, text_of(kept, "command"));
}

static enum tm_status compare(const char *path, json_t *kept, json_t *own)
{
    static const struct {
        const char *key;
        const char *what;
    } members[] = {
        {"journal", "another version of taumerge began it"},
        {"numerics", "a version of taumerge with other numerics began it"},
        {"xxhash", "taumerge ran with another version of libxxhash"},
        {"zstd", "taumerge ran with another version of libzstd"},
        {"makes", "it was to be something else (a model, or a vector)"},
        {"seed", "it has another --seed"},
        {"codec", "it has another --codec"},
        {"files", "its files have other names"},
        {"plan", "its tensors lie elsewhere, or its inputs' do"},
    };
    enum tm_status status = compare_recipes(path, kept, own);

    if (status == TM_OK)
        status = compare_inputs(path, kept, own);
    for (size_t i = 0;
         i < sizeof(members) / sizeof(members[0]) && status == TM_OK; i++)
        if (!agree(kept, own, members[i].key))
            status = differs(path, members[i].what);
    return status;
}

enum tm_status tm_head_compare(const char *path, json_t *kept,
                               const struct tm_text *own)
{
    struct tm_json_text text = {
        .path = path, .text = own->bytes, .length = own->length};
    json_t *head = tm_json_value(&text);
    enum tm_status status;

    if (head == NULL)
        return TM_SYSTEM;
    status = compare(path, kept, head);
    json_decref(head);
    return status;
}
