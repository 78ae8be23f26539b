/* SPDX-License-Identifier: Apache-2.0 */
/* series: see series.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/series.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/path.h"
#include "src/given.h"

/* --- names ---------------------------------------------------------------*/

/* DIRECTORY/.OUT.NAME.taumerge; NULL: no memory. */
static const char *place_of(struct tm_arena *arena, const char *out,
                            const char *name)
{
    size_t length = strlen(out), begin, size;
    char *path;

    while (length > 1 && out[length - 1] == '/')
        length--;
    begin = length;
    while (begin > 0 && out[begin - 1] != '/')
        begin--;
    size = length + strlen(name) + sizeof("...taumerge");
    path = tm_arena_alloc(arena, size);
    if (path != NULL)
        snprintf(path, size, "%.*s.%.*s.%s.taumerge", (int)begin, out,
                 (int)(length - begin), out + begin, name);
    return path;
}

static enum tm_status add_aliases(struct tm_options *options,
                                  const struct tm_recipe_names *names)
{
    struct tm_arena *arena = &options->arena;
    const char *out = options->out != NULL ? options->out : "";

    options->aliases =
        tm_arena_alloc(arena, (names->count + 1) * sizeof(*options->aliases));
    options->is_made =
        tm_arena_alloc(arena, (names->count + 1) * sizeof(*options->is_made));
    options->is_worth =
        tm_arena_alloc(arena, (names->count + 1) * sizeof(*options->is_worth));
    if (options->aliases == NULL || options->is_made == NULL ||
        options->is_worth == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        struct tm_recipe_alias *alias = &options->aliases[options->num_aliases];

        if (name[0] == '\0')
            continue;
        alias->name = tm_arena_copy(arena, name, strlen(name));
        alias->path = place_of(arena, out, name);
        if (alias->name == NULL || alias->path == NULL)
            return tm_no_memory();
        options->is_worth[options->num_aliases] = false;
        options->is_made[options->num_aliases++] = false;
    }
    return TM_OK;
}

enum tm_status tm_series_name(struct tm_options *options)
{
    struct tm_recipe_names names = {0};
    enum tm_status status;

    if (!tm_given_is_file(options))
        return TM_OK;
    status = tm_given_load(options);
    if (status != TM_OK)
        return status;
    status = tm_recipe_list(options->paths[0], options->text,
                            options->text_length, &names);
    if (status == TM_OK && names.count > 1)
        status = add_aliases(options, &names);
    tm_arena_free(&names.arena);
    return status;
}

/* --- what needs what -----------------------------------------------------*/

/* Whether the recipe has the alias among its models. */
static bool uses(const struct tm_recipe *recipe,
                 const struct tm_recipe_alias *alias)
{
    if (strcmp(recipe->base, alias->path) == 0)
        return true;
    if (recipe->tokenizer != NULL &&
        strcmp(recipe->tokenizer, alias->path) == 0)
        return true;
    for (size_t i = 0; i < recipe->num_vectors; i++)
        if (strcmp(recipe->vectors[i].path, alias->path) == 0)
            return true;
    return false;
}

const char *tm_series_first(const struct tm_options *options)
{
    for (size_t i = 0; i < options->num_aliases; i++)
        if (uses(&options->recipe, &options->aliases[i]))
            return options->aliases[i].name;
    return NULL;
}

/* A document's options: what is said of the last one's form is not its. */
static struct tm_options options_of(const struct tm_options *options,
                                    const struct tm_recipe_alias *alias)
{
    struct tm_options own = *options;

    own.recipe = (struct tm_recipe){
        .seed = options->recipe.seed,
        .allow_missing = options->recipe.allow_missing,
        .allow_extra = options->recipe.allow_extra,
    };
    own.settings.as_vector = false;
    own.settings.force = true; /* what a run that was killed left */
    own.settings.keeps_journal = true;
    own.document = alias->name;
    own.is_alias = true;
    own.out = alias->path;
    own.num_overrides = 0;
    own.was_read = false;
    /* These stay the caller's. */
    own.overrides = NULL;
    own.vectors = NULL;
    own.weights = NULL;
    own.arena = (struct tm_arena){0};
    return own;
}

enum state { UNKNOWN, BEING_MADE, MADE };

/* A walk from a recipe to those that it needs. */
struct walk {
    const struct tm_options *options;
    const struct tm_task_kind *kind;
    enum state *states; /* of the aliases */
};

static enum tm_status make(struct walk *walk, size_t number);

/* Makes the documents that a recipe needs, and are not made yet. */
static enum tm_status make_all(struct walk *walk,
                               const struct tm_recipe *recipe)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < walk->options->num_aliases && status == TM_OK; i++)
        if (walk->states[i] != MADE && uses(recipe, &walk->options->aliases[i]))
            status = make(walk, i);
    return status;
}

static enum tm_status make(struct walk *walk, size_t number)
{
    const struct tm_recipe_alias *alias = &walk->options->aliases[number];
    struct tm_task task = {.options = options_of(walk->options, alias)};
    enum tm_status status;

    if (walk->states[number] == BEING_MADE)
        return tm_error(TM_USAGE, "%s: document '%s' needs itself",
                        walk->options->recipe.path, alias->name);
    if (strchr(alias->name, '/') != NULL ||
        strlen(tm_path_last(alias->path)) > NAME_MAX)
        return tm_error(TM_USAGE,
                        "%s: document '%s': no file can have that name",
                        walk->options->recipe.path, alias->name);
    walk->states[number] = BEING_MADE;
    status = tm_given_complete(&task.options);
    if (status == TM_OK)
        status = make_all(walk, &task.options.recipe);
    if (status == TM_OK)
        status = tm_task_make(&task, walk->kind);
    walk->options->is_made[number] = status == TM_OK;
    walk->options->is_worth[number] = task.staging.num_marks > 0;
    tm_task_free(&task);
    walk->states[number] = MADE;
    return status;
}

/* Found now, not when the others have been made. */
static enum tm_status check_out(const struct tm_options *options)
{
    struct tm_arena arena = {0};
    const char *staging = tm_staging_sibling(&arena, options->out);
    struct stat st;
    /* One that is complete but for the tidying still has that. */
    const bool may_be_ours =
        options->settings.resume && staging != NULL && lstat(staging, &st) == 0;

    tm_arena_free(&arena);
    if (options->settings.force || may_be_ours || lstat(options->out, &st) != 0)
        return TM_OK;
    return tm_error(TM_CANT_CREATE, "%s: exists (--force replaces it)",
                    options->out);
}

enum tm_status tm_series_make(const struct tm_options *options,
                              const struct tm_task_kind *kind)
{
    struct walk walk = {.options = options, .kind = kind};
    enum tm_status status;

    if (tm_series_first(options) == NULL)
        return TM_OK;
    status = check_out(options);
    if (status != TM_OK)
        return status;
    walk.states = calloc(options->num_aliases, sizeof(*walk.states));
    if (walk.states == NULL)
        return tm_no_memory();
    status = make_all(&walk, &options->recipe);
    free(walk.states);
    return status;
}

/* The output of a document, and what its staging directory has left. */
static void remove_step(struct tm_disk *disk, const char *path)
{
    struct tm_arena arena = {0};
    const char *staging = tm_staging_sibling(&arena, path);

    tm_staging_remove(disk, path);
    if (staging != NULL)
        tm_staging_remove(disk, staging);
    tm_arena_free(&arena);
}

bool tm_series_is_worth(const struct tm_options *options)
{
    for (size_t i = 0; i < options->num_aliases; i++)
        if (options->is_worth[i])
            return true;
    return false;
}

void tm_series_remove(const struct tm_options *options)
{
    struct tm_disk disk;
    bool is_any = false;

    for (size_t i = 0; i < options->num_aliases; i++)
        is_any = is_any || options->is_made[i];
    if (!is_any || tm_disk_open(options->settings.io, options->settings.fault,
                                &disk) != TM_OK)
        return;
    for (size_t i = 0; i < options->num_aliases; i++)
        if (options->is_made[i])
            remove_step(&disk, options->aliases[i].path);
    tm_disk_close(&disk);
}
