/* SPDX-License-Identifier: Apache-2.0 */
/* vocabulary: see vocabulary.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/vocabulary.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "io/infile.h"
#include "io/json.h"
#include "io/path.h"
#include "src/plan_list.h"

/* The largest tokenizers have some 20 MB. */
#define MAX_BYTES ((uint64_t)64 << 20)

static const char tokenizer[] = "tokenizer.json";

static const char *const owned[] = {
    "added_tokens.json",       "chat_template.jinja", "merges.txt",
    "special_tokens_map.json", "tokenizer.json",      "tokenizer.model",
    "tokenizer_config.json",   "vocab.json",
};

#define NUM_OWNED (sizeof(owned) / sizeof(*owned))

bool tm_vocabulary_owns(const char *name)
{
    for (size_t i = 0; i < NUM_OWNED; i++)
        if (strcmp(owned[i], name) == 0)
            return true;
    return false;
}

/* --- where side files are ------------------------------------------------*/

/*
 * The directory of the side files of the model at `path`, a checkpoint or a
 * stored vector; NULL: it has none.
 */
static enum tm_status directory_of(struct tm_arena *arena, const char *path,
                                   const char **directory)
{
    const char *last = tm_path_last(path);
    struct stat st;

    *directory = NULL;
    if (tm_vector_is(path))
        *directory = tm_path_join(arena, path, TM_VECTOR_FILES);
    else if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        *directory = path;
    else if (!tm_path_ends_with(path, ".json"))
        return TM_OK; /* one file of weights */
    else if (last == path)
        *directory = ".";
    else
        *directory = tm_arena_copy(arena, path, (size_t)(last - path));
    return *directory != NULL ? TM_OK : tm_no_memory();
}

enum tm_status tm_vocabulary_files(struct tm_arena *arena, const char *path,
                                   struct tm_side_file **files)
{
    const char *directory;
    struct tm_side_file **end = files;
    const enum tm_status status = directory_of(arena, path, &directory);

    *files = NULL;
    if (status != TM_OK)
        return status;
    for (size_t i = 0; i < NUM_OWNED && directory != NULL; i++) {
        const char *name = tm_path_join(arena, directory, owned[i]);
        struct tm_side_file *file;
        struct stat st;

        if (name == NULL)
            return tm_no_memory();
        if (stat(name, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        file = tm_arena_alloc(arena, sizeof(*file));
        if (file == NULL)
            return tm_no_memory();
        *file = (struct tm_side_file){
            .name = owned[i], .path = name, .size = (uint64_t)st.st_size};
        *end = file;
        end = &file->next;
    }
    return TM_OK;
}

/* --- tokens --------------------------------------------------------------*/

/* Tokens and their numbers, hashed: equal sets are equal vocabularies. */
struct tokens {
    XXH128_hash_t *pairs;
    size_t count;
    size_t capacity;
    bool exist; /* there is a tokenizer.json */
};

static enum tm_status add(struct tokens *tokens, const char *text,
                          size_t length, uint64_t number)
{
    if (tokens->count == tokens->capacity) {
        const size_t capacity = 2 * tokens->capacity + 1024;
        XXH128_hash_t *pairs =
            realloc(tokens->pairs, capacity * sizeof(*pairs));

        if (pairs == NULL)
            return tm_no_memory();
        tokens->pairs = pairs;
        tokens->capacity = capacity;
    }
    tokens->pairs[tokens->count++] =
        XXH3_128bits_withSeed(text, length, number);
    return TM_OK;
}

static enum tm_status bad(const struct tm_json_text *text)
{
    return tm_error(TM_BAD_DATA,
                    "%s: not a vocabulary as expected, before "
                    "byte %zu",
                    text->path, text->position);
}

/* A token of model.vocab where that is an object. */
static enum tm_status take_token(void *context, const char *key,
                                 struct tm_json_text *text)
{
    json_t *number = tm_json_value(text);
    enum tm_status status;

    if (number == NULL)
        return text->status;
    if (json_is_integer(number))
        status = add(context, key, strlen(key),
                     (uint64_t)json_integer_value(number));
    else
        status = bad(text);
    json_decref(number);
    return status;
}

/* model.vocab as pairs of a token and its likelihood, in order. */
static enum tm_status take_list(struct tokens *tokens,
                                struct tm_json_text *text)
{
    json_t *list = tm_json_value(text), *pair;
    enum tm_status status = TM_OK;
    size_t i;

    if (list == NULL)
        return text->status;
    if (!json_is_array(list) && !json_is_null(list))
        status = bad(text);
    json_array_foreach(list, i, pair)
    {
        const char *token = json_string_value(json_array_get(pair, 0));

        if (status == TM_OK)
            status = token != NULL ? add(tokens, token, strlen(token), i)
                                   : bad(text);
    }
    json_decref(list);
    return status;
}

static enum tm_status take_model(void *context, const char *key,
                                 struct tm_json_text *text)
{
    if (strcmp(key, "vocab") != 0)
        return tm_json_skip(text);
    while (text->position < text->length &&
           strchr(" \t\r\n", text->text[text->position]) != NULL)
        text->position++;
    if (text->position < text->length && text->text[text->position] == '{')
        return tm_json_members(text, take_token, context);
    return take_list(context, text);
}

static enum tm_status take_added(struct tokens *tokens,
                                 struct tm_json_text *text)
{
    json_t *list = tm_json_value(text), *token;
    enum tm_status status = TM_OK;
    size_t i;

    if (list == NULL)
        return text->status;
    json_array_foreach(list, i, token)
    {
        const char *content =
            json_string_value(json_object_get(token, "content"));
        const json_t *number = json_object_get(token, "id");

        if (content == NULL || !json_is_integer(number))
            status = bad(text);
        else if (status == TM_OK)
            status = add(tokens, content, strlen(content),
                         (uint64_t)json_integer_value(number));
    }
    json_decref(list);
    return status;
}

static enum tm_status take_part(void *context, const char *key,
                                struct tm_json_text *text)
{
    if (strcmp(key, "model") == 0)
        return tm_json_members(text, take_model, context);
    if (strcmp(key, "added_tokens") == 0)
        return take_added(context, text);
    return tm_json_skip(text);
}

static int by_hash(const void *a, const void *b)
{
    return XXH128_cmp(a, b);
}

/* Sorted, each once: a token may be in the vocabulary and an added one. */
static void sort(struct tokens *tokens)
{
    size_t kept = 0;

    if (tokens->count > 0)
        qsort(tokens->pairs, tokens->count, sizeof(*tokens->pairs), by_hash);
    for (size_t i = 0; i < tokens->count; i++)
        if (kept == 0 ||
            !XXH128_isEqual(tokens->pairs[kept - 1], tokens->pairs[i]))
            tokens->pairs[kept++] = tokens->pairs[i];
    tokens->count = kept;
}

/* Reads the file `path`, if there is one. */
static enum tm_status read_file(struct tm_disk *disk, const char *path,
                                struct tokens *tokens)
{
    struct tm_json_text text = {.path = path};
    char *bytes = NULL;
    enum tm_status status;
    struct stat st;

    if (stat(path, &st) != 0)
        return TM_OK;
    tokens->exist = true;
    status = tm_infile_read(disk, path, MAX_BYTES, &bytes, &text.length);
    text.text = bytes;
    if (status == TM_OK)
        status = tm_json_members(&text, take_part, tokens);
    free(bytes);
    sort(tokens);
    return status;
}

static enum tm_status read_tokens(struct tm_disk *disk, const char *model,
                                  struct tokens *tokens)
{
    struct tm_arena arena = {0};
    const char *directory, *path;
    enum tm_status status = directory_of(&arena, model, &directory);

    *tokens = (struct tokens){0};
    if (status == TM_OK && directory != NULL) {
        path = tm_path_join(&arena, directory, tokenizer);
        status = path != NULL ? read_file(disk, path, tokens) : tm_no_memory();
    }
    tm_arena_free(&arena);
    return status;
}

/* --- comparing -----------------------------------------------------------*/

static bool are_equal(const struct tokens *a, const struct tokens *b)
{
    return a->exist == b->exist && a->count == b->count &&
           (a->count == 0 ||
            memcmp(a->pairs, b->pairs, a->count * sizeof(*a->pairs)) == 0);
}

/* Compares the model's tokens with `own`, those of the recipe's tokenizer. */
static enum tm_status compare(const struct tm_plan *plan, struct tm_disk *disk,
                              size_t column, const struct tokens *own)
{
    const struct tm_recipe *recipe = plan->recipe;
    const struct tm_place nowhere = {0};
    struct tokens tokens;
    const char *path =
        column == 0 ? recipe->base : recipe->vectors[column - 1].path;
    enum tm_status status;

    if (strcmp(path, recipe->tokenizer) == 0)
        return TM_OK;
    status = read_tokens(disk, path, &tokens);
    if (status == TM_OK && tokens.exist != own->exist)
        status = tm_recipe_error(
            recipe, nowhere, TM_USAGE,
            "%s has no %s: its tokens cannot be compared with those of %s",
            tokens.exist ? recipe->tokenizer : path, tokenizer,
            tokens.exist ? path : recipe->tokenizer);
    else if (status == TM_OK && !are_equal(&tokens, own))
        status = tm_recipe_error(
            recipe, nowhere, TM_USAGE,
            "%s numbers its tokens otherwise than %s: the rows of its "
            "embedding would have to be put in another order, which is not "
            "done yet",
            path, recipe->tokenizer);
    free(tokens.pairs);
    return status;
}

enum tm_status tm_vocabulary_check(const struct tm_plan *plan,
                                   struct tm_disk *disk)
{
    const struct tm_recipe *recipe = plan->recipe;
    struct tokens own;
    enum tm_status status;

    if (recipe->tokenizer == NULL)
        return TM_OK;
    status = read_tokens(disk, recipe->tokenizer, &own);
    for (size_t i = 0; i <= recipe->num_vectors && status == TM_OK; i++)
        status = compare(plan, disk, i, &own);
    free(own.pairs);
    return status;
}
