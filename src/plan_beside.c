/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_beside: what is other beside the output's weights than beside the
 * base's: the number of layers, the tokenizer, the chat template.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/json.h"
#include "io/path.h"
#include "src/config_file.h"
#include "src/plan_list.h"
#include "src/vocabulary.h"

static const char template_name[] = "chat_template.jinja";

/* The side file of that name that is copied, or NULL. */
static struct tm_side_file *find(struct tm_plan *plan, const char *name)
{
    for (struct tm_side_file *f = plan->side_files; f != NULL; f = f->next)
        if (strcmp(f->name, name) == 0 && f->why_not == NULL)
            return f;
    return NULL;
}

/* Puts one more in its place, in the order of names. */
static void insert(struct tm_plan *plan, struct tm_side_file *file)
{
    struct tm_side_file **at = &plan->side_files;

    while (*at != NULL && strcmp((*at)->name, file->name) < 0)
        at = &(*at)->next;
    file->next = *at;
    *at = file;
}

/* The file gets this content in the output. */
static enum tm_status set_content(struct tm_plan *plan,
                                  struct tm_side_file *file, const char *text,
                                  size_t length)
{
    file->content = tm_arena_copy(&plan->arena, text, length);
    file->size = length;
    return file->content != NULL ? TM_OK : tm_no_memory();
}

/* --- config.json ---------------------------------------------------------*/

/* Some models list something for each layer, which nobody cuts to size. */
static void warn_of_lists(const struct tm_config *config)
{
    struct tm_config_place place;

    if (tm_config_find(config, NULL, "layer_types", &place) ||
        tm_config_find(config, "text_config", "layer_types", &place))
        tm_warning("%s: layer_types is about the base's layers and stays as "
                   "it is",
                   config->path);
}

/* A head that the base does not have is not to be ignored. */
static enum tm_status untie(struct tm_config *config)
{
    static const char *const sections[] = {NULL, "text_config"};
    static const char key[] = "tie_word_embeddings";
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < 2 && status == TM_OK; i++) {
        struct tm_config_place place;

        if (tm_config_find(config, sections[i], key, &place) &&
            place.length == 4 &&
            memcmp(config->text + place.begin, "true", 4) == 0)
            status = tm_config_put(config, &place, "false");
    }
    return status;
}

static enum tm_status change_config(struct tm_plan *plan, struct tm_disk *disk,
                                    const struct tm_listing *listing)
{
    const bool has_new_head =
        plan->num_tensors > 0 && listing->items[plan->num_tensors - 1].is_new;
    struct tm_side_file *file = find(plan, "config.json");
    struct tm_config config = {0};
    enum tm_status status;

    if (file == NULL || (!listing->is_sliced && !has_new_head))
        return TM_OK;
    status = tm_config_read(disk, file->path, &config);
    if (status == TM_OK && listing->is_sliced) {
        warn_of_lists(&config);
        status = tm_config_set_layers(&config, listing->layers);
    }
    if (status == TM_OK && has_new_head)
        status = untie(&config);
    if (status == TM_OK)
        status = set_content(plan, file, config.text, config.length);
    tm_config_free(&config);
    return status;
}

/* --- tokenizer -----------------------------------------------------------*/

/* Why a file of a tokenizer is left out; NULL: no memory. */
static const char *why_left_out(struct tm_plan *plan)
{
    static const char format[] =
        "belongs to another tokenizer: the output has that of %s";
    const size_t size = sizeof(format) + strlen(plan->recipe->tokenizer);
    char *why = tm_arena_alloc(&plan->arena, size);

    if (why != NULL)
        snprintf(why, size, format, plan->recipe->tokenizer);
    return why;
}

/* The tokenizer's files are the other model's, not the base's. */
static enum tm_status change_tokenizer(struct tm_plan *plan)
{
    const struct tm_recipe *recipe = plan->recipe;
    struct tm_side_file *files, *next;
    const char *why;
    enum tm_status status;

    if (recipe->tokenizer == NULL || plan->single_file ||
        strcmp(recipe->tokenizer, recipe->base) == 0)
        return TM_OK;
    status = tm_vocabulary_files(&plan->arena, recipe->tokenizer, &files);
    if (status != TM_OK || files == NULL)
        return status;
    why = why_left_out(plan);
    if (why == NULL)
        return tm_no_memory();
    for (struct tm_side_file *f = plan->side_files; f != NULL; f = f->next)
        if (tm_vocabulary_owns(f->name) && f->why_not == NULL)
            f->why_not = why;
    for (; files != NULL; files = next) {
        next = files->next;
        insert(plan, files);
    }
    return TM_OK;
}

/* --- chat template -------------------------------------------------------*/

/* Where tokenizer_config.json has a template too, it is the same. */
static enum tm_status change_inside(struct tm_plan *plan, struct tm_disk *disk)
{
    struct tm_side_file *file = find(plan, "tokenizer_config.json");
    struct tm_config config = {0};
    struct tm_config_place place;
    enum tm_status status;

    if (file == NULL)
        return TM_OK;
    status = tm_config_read(disk, file->path, &config);
    if (status == TM_OK &&
        tm_config_find(&config, NULL, "chat_template", &place)) {
        json_t *text = json_string(plan->recipe->chat_template);
        char *quoted = text != NULL ? tm_json_dump(text) : NULL;

        status = quoted != NULL ? tm_config_put(&config, &place, quoted)
                                : tm_no_memory();
        if (status == TM_OK)
            status = set_content(plan, file, config.text, config.length);
        free(quoted);
        json_decref(text);
    }
    tm_config_free(&config);
    return status;
}

static enum tm_status change_template(struct tm_plan *plan,
                                      struct tm_disk *disk)
{
    const char *text = plan->recipe->chat_template;
    struct tm_side_file *file = find(plan, template_name);
    enum tm_status status;

    if (text == NULL)
        return TM_OK;
    if (plan->single_file) {
        tm_warning("the output is one file and has no place for a chat "
                   "template");
        return TM_OK;
    }
    if (file == NULL) {
        file = tm_arena_alloc(&plan->arena, sizeof(*file));
        if (file == NULL)
            return tm_no_memory();
        *file = (struct tm_side_file){.name = template_name, .path = ""};
        insert(plan, file);
    }
    status = set_content(plan, file, text, strlen(text));
    return status == TM_OK ? change_inside(plan, disk) : status;
}

enum tm_status tm_plan_beside(struct tm_plan *plan, struct tm_disk *disk,
                              const struct tm_listing *listing)
{
    enum tm_status status = change_config(plan, disk, listing);

    if (status == TM_OK)
        status = change_tokenizer(plan);
    if (status == TM_OK)
        status = change_template(plan, disk);
    return status;
}
