/* SPDX-License-Identifier: Apache-2.0 */
/* unlisted: see unlisted.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/unlisted.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/path.h"

/* The names that are listed, from the top of the vector, sorted. */
struct names {
    const char **names;
    size_t count;
    struct tm_arena arena;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Compares a directory with a name: equal if the name is one below it. */
static int compare_directory(const void *directory, const void *name)
{
    const char *below = *(const char *const *)name;
    const size_t length = strlen(directory);
    const int order = strncmp(directory, below, length);

    return order != 0 ? order : '/' - (unsigned char)below[length];
}

static enum tm_status list_names(const struct tm_vector_stored *vector,
                                 struct names *names)
{
    const size_t shards = vector->tuned.num_shards;
    const size_t count = shards + vector->num_files + 1;

    *names = (struct names){.names = malloc(count * sizeof(*names->names))};
    if (names->names == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < shards; i++)
        names->names[i] = vector->shards[i].name;
    names->names[shards] = TM_VECTOR_MANIFEST;
    for (size_t i = 0; i < vector->num_files; i++) {
        const char *name =
            tm_path_join(&names->arena, TM_VECTOR_FILES, vector->files[i].name);

        if (name == NULL)
            return tm_no_memory();
        names->names[shards + 1 + i] = name;
    }
    names->count = count;
    qsort(names->names, count, sizeof(*names->names), compare_names);
    return TM_OK;
}

static bool is_listed(const struct names *names, const char *name)
{
    return bsearch(&name, names->names, names->count, sizeof(*names->names),
                   compare_names) != NULL;
}

/* Whether `name`, which is at `path`, is a directory with listed files. */
static bool has_listed(const struct names *names, const char *name,
                       const char *path)
{
    struct stat st;

    if (strcmp(name, TM_VECTOR_FILES) != 0 && /* may be empty */
        bsearch(name, names->names, names->count, sizeof(*names->names),
                compare_directory) == NULL)
        return false;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Of the directory at `path`, which is `prefix` from the top. */
static enum tm_status warn(struct names *names, const char *path,
                           const char *prefix)
{
    DIR *stream = opendir(path);
    enum tm_status status = TM_OK;
    const struct dirent *entry;

    if (stream == NULL)
        return tm_error(TM_IO_ERROR, "%s: cannot list: %s", path,
                        strerror(errno));
    while (status == TM_OK && (entry = readdir(stream)) != NULL) {
        const char *name = tm_path_join(&names->arena, prefix, entry->d_name);
        const char *place = tm_path_join(&names->arena, path, entry->d_name);

        if (name == NULL || place == NULL)
            status = tm_no_memory();
        else if (strcmp(entry->d_name, ".") == 0 ||
                 strcmp(entry->d_name, "..") == 0)
            continue;
        else if (has_listed(names, name, place))
            status = warn(names, place, name);
        else if (!is_listed(names, name))
            tm_warning("%s: is not listed in " TM_VECTOR_MANIFEST, place);
    }
    closedir(stream);
    return status;
}

enum tm_status tm_unlisted_warn(const struct tm_vector_stored *vector)
{
    struct names names;
    enum tm_status status = list_names(vector, &names);

    if (status == TM_OK)
        status = warn(&names, vector->path, "");
    free(names.names);
    tm_arena_free(&names.arena);
    return status;
}
