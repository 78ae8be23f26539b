/* SPDX-License-Identifier: Apache-2.0 */
/* hub: see hub.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/hub.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/path.h"

/* A commit has 40 characters. */
#define MAX_COMMIT 128

/* What a message says of a model whose name and revision are these. */
struct model {
    const char *name;
    const char *revision; /* may be NULL */
};

/* Letters, digits and "-_."; and no name that means a directory. */
static bool is_plain(const char *text, size_t length)
{
    if (length == 0 || text[0] == '.')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && strchr("-_.", text[i]) == NULL)
            return false;
    return true;
}

/* Plain names with slashes between them, at most `most`. */
static bool is_name(const char *text, unsigned most)
{
    while (most-- > 0) {
        const size_t length = strcspn(text, "/");

        if (!is_plain(text, length))
            return false;
        text += length;
        if (*text == '\0')
            return true;
        text++;
    }
    return false;
}

/* The cache's directory; "": none is known; NULL: no memory. */
static const char *cache_directory(struct tm_arena *arena)
{
    static const struct {
        const char *variable;
        const char *below;
    } places[] = {
        {"HF_HUB_CACHE", NULL},
        {"HUGGINGFACE_HUB_CACHE", NULL},
        {"HF_HOME", "hub"},
        {"XDG_CACHE_HOME", "huggingface/hub"},
        {"HOME", ".cache/huggingface/hub"},
    };

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const char *value = getenv(places[i].variable);

        if (value == NULL || value[0] == '\0')
            continue;
        if (places[i].below == NULL)
            return value;
        return tm_path_join(arena, value, places[i].below);
    }
    return "";
}

/* "models--org--name" */
static char *folder_name(struct tm_arena *arena, const char *name)
{
    char *folder = tm_arena_alloc(arena, 2 * strlen(name) + 9);
    char *end;

    if (folder == NULL)
        return NULL;
    end = stpcpy(folder, "models--");
    for (; *name != '\0'; name++) {
        if (*name == '/')
            *end++ = '-';
        *end++ = *name != '/' ? *name : '-';
    }
    *end = '\0';
    return folder;
}

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The commit that a file of refs/ names; false: there is none. */
static bool read_ref(const char *path, char commit[MAX_COMMIT])
{
    FILE *file = fopen(path, "re");
    size_t length;

    if (file == NULL)
        return false;
    length = fread(commit, 1, MAX_COMMIT - 1, file);
    fclose(file);
    commit[length] = '\0';
    commit[strcspn(commit, " \t\r\n")] = '\0';
    return is_plain(commit, strlen(commit));
}

/* The directory of a revision below `folder`; "": none; NULL: no memory. */
static const char *find_snapshot(struct tm_arena *arena, const char *folder,
                                 const char *revision)
{
    const char *refs = tm_path_join(arena, folder, "refs");
    const char *snapshots = tm_path_join(arena, folder, "snapshots");
    const char *path = NULL;
    char commit[MAX_COMMIT];

    if (revision == NULL)
        revision = "main";
    if (refs != NULL && snapshots != NULL)
        path = tm_path_join(arena, refs, revision);
    if (path == NULL)
        return NULL;
    path = tm_path_join(arena, snapshots,
                        read_ref(path, commit) ? commit : revision);
    if (path == NULL || is_directory(path))
        return path;
    return "";
}

/* The model's directory in the cache; "": it is not there; NULL: no memory. */
static const char *find_in_cache(struct tm_arena *arena,
                                 const struct model *model)
{
    const char *cache = cache_directory(arena);
    const char *folder = folder_name(arena, model->name);

    if (cache == NULL || folder == NULL)
        return NULL;
    if (cache[0] == '\0')
        return "";
    folder = tm_path_join(arena, cache, folder);
    if (folder == NULL)
        return NULL;
    return find_snapshot(arena, folder, model->revision);
}

static enum tm_status not_found(const struct model *model, const char *where)
{
    if (model->revision != NULL)
        return tm_error(TM_NO_INPUT,
                        "%smodel '%s@%s': neither a path nor in the Hugging "
                        "Face cache (to download it: hf download %s "
                        "--revision %s)",
                        where, model->name, model->revision, model->name,
                        model->revision);
    return tm_error(TM_NO_INPUT,
                    "%smodel '%s': neither a path nor in the Hugging Face "
                    "cache (to download it: hf download %s)",
                    where, model->name, model->name);
}

enum tm_status tm_hub_find(struct tm_arena *arena, const char *name,
                           const char *revision, const char *where,
                           const char **path)
{
    const struct model model = {name, revision};

    *path = name;
    if (access(name, F_OK) == 0)
        return TM_OK;
    if (!is_name(name, 2) || (revision != NULL && !is_name(revision, 9)))
        return tm_error(TM_NO_INPUT, "%smodel '%s': no such path", where, name);
    *path = find_in_cache(arena, &model);
    if (*path == NULL)
        return tm_no_memory();
    return (*path)[0] != '\0' ? TM_OK : not_found(&model, where);
}
