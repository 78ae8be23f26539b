/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_find: which files a checkpoint is made of, and their headers as
 * bytes. The part of checkpoint.h that looks at the disk.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/checkpoint.h"
#include "io/index.h"
#include "io/infile.h"
#include "io/path.h"
#include "io/safetensors.h"

#define SINGLE "model.safetensors"
#define INDEX  "model.safetensors.index.json"

/* An index of 100,000 tensors has 12 MB. */
#define INDEX_MAX ((uint64_t)1 << 30)

/* Enough for the header of most shards: then one read does. */
#define FIRST_READ ((uint64_t)64 << 10)

/* --- which files ---------------------------------------------------------*/

enum tm_status tm_checkpoint_list(struct tm_checkpoint *checkpoint,
                                  const char *const *names, size_t count)
{
    struct tm_checkpoint *c = checkpoint;

    c->shards = tm_arena_alloc(&c->arena, count * sizeof(*c->shards));
    if (c->shards == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < count; i++) {
        c->shards[i] = (struct tm_shard){
            .name = tm_arena_copy(&c->arena, names[i], strlen(names[i])),
            .path = c->directory != NULL
                        ? tm_path_join(&c->arena, c->directory, names[i])
                        : c->path,
        };
        if (c->shards[i].name == NULL || c->shards[i].path == NULL)
            return tm_no_memory();
    }
    c->num_shards = count;
    return TM_OK;
}

static enum tm_status use_index(struct tm_disk *disk, struct tm_checkpoint *c,
                                const char *path)
{
    c->index = calloc(1, sizeof(*c->index));
    if (c->index == NULL || path == NULL)
        return tm_no_memory();
    c->index->path = path;
    c->index_name = tm_path_last(path);
    return tm_infile_read(disk, path, INDEX_MAX, &c->index->text,
                          &c->index->length);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in `directory` that end with `end`, sorted; -1: reported. */
static ssize_t list(struct tm_checkpoint *c, const char *end, char ***names)
{
    DIR *directory = opendir(c->directory);
    size_t count = 0, capacity = 0;
    bool complete = true;
    const struct dirent *entry;

    *names = NULL;
    if (directory == NULL) {
        tm_error(TM_IO_ERROR, "%s: cannot list: %s", c->directory,
                 strerror(errno));
        return -1;
    }
    while (complete && (entry = readdir(directory)) != NULL) {
        if (!tm_path_ends_with(entry->d_name, end) || entry->d_name[0] == '.')
            continue;
        if (count == capacity) {
            char **more;

            capacity = capacity > 0 ? 2 * capacity : 16;
            more = realloc(*names, capacity * sizeof(**names));
            complete = more != NULL;
            if (!complete)
                break;
            *names = more;
        }
        (*names)[count] =
            tm_arena_copy(&c->arena, entry->d_name, strlen(entry->d_name));
        complete = (*names)[count] != NULL;
        count++;
    }
    closedir(directory);
    if (!complete) {
        tm_no_memory();
        return -1;
    }
    if (count > 0)
        qsort(*names, count, sizeof(**names), compare_names);
    return (ssize_t)count;
}

static bool has_file(struct tm_checkpoint *c, const char *name)
{
    const char *path = tm_path_join(&c->arena, c->directory, name);
    struct stat st;

    return path != NULL && stat(path, &st) == 0;
}

static enum tm_status no_weights(const struct tm_checkpoint *c, bool has_bin)
{
    if (has_bin)
        return tm_error(TM_NO_INPUT,
                        "%s: has no .safetensors files, only .bin: save the "
                        "model as safetensors first",
                        c->path);
    return tm_error(TM_NO_INPUT, "%s: has no .safetensors files", c->path);
}

/* A directory with neither of the usual names in it. */
static enum tm_status find_unusual(struct tm_disk *disk,
                                   struct tm_checkpoint *c)
{
    enum tm_status status = TM_IO_ERROR;
    char **names;
    ssize_t count = list(c, ".safetensors.index.json", &names);

    if (count > 1)
        status = tm_error(TM_BAD_DATA,
                          "%s: has %zd index files: name the one to use",
                          c->path, count);
    else if (count == 1)
        status =
            use_index(disk, c, tm_path_join(&c->arena, c->directory, names[0]));
    free(names);
    if (count != 0)
        return status;
    count = list(c, ".safetensors", &names);
    if (count > 0)
        status =
            tm_checkpoint_list(c, (const char *const *)names, (size_t)count);
    free(names);
    if (count != 0)
        return status;
    count = list(c, ".bin", &names);
    free(names);
    return count < 0 ? TM_IO_ERROR : no_weights(c, count > 0);
}

static enum tm_status find_in_directory(struct tm_disk *disk,
                                        struct tm_checkpoint *c)
{
    static const char *const single[] = {SINGLE};

    c->directory = c->path;
    if (has_file(c, SINGLE))
        return tm_checkpoint_list(c, single, 1);
    if (has_file(c, INDEX))
        return use_index(disk, c, tm_path_join(&c->arena, c->directory, INDEX));
    return find_unusual(disk, c);
}

enum tm_status tm_checkpoint_find(struct tm_disk *disk, const char *path,
                                  struct tm_checkpoint *checkpoint)
{
    struct tm_checkpoint *c = checkpoint;
    const char *name = tm_path_last(path);
    struct stat st;

    *c = (struct tm_checkpoint){.path = path};
    if (stat(path, &st) != 0)
        return tm_error(TM_NO_INPUT, "%s: cannot open: %s",
                        path[0] != '\0' ? path : "''", strerror(errno));
    if (S_ISDIR(st.st_mode))
        return find_in_directory(disk, c);
    if (!tm_path_ends_with(name, ".index.json"))
        return tm_checkpoint_list(c, &name, 1);
    c->directory = name == path
                       ? "."
                       : tm_arena_copy(&c->arena, path, (size_t)(name - path));
    if (c->directory == NULL)
        return tm_no_memory();
    return use_index(disk, c, path);
}

enum tm_status tm_checkpoint_parse_index(struct tm_checkpoint *checkpoint)
{
    struct tm_checkpoint *c = checkpoint;
    enum tm_status status;

    if (c->index == NULL)
        return TM_OK;
    status = tm_index_parse(c->index, &c->arena);
    c->index_metadata = c->index->metadata;
    if (status == TM_OK)
        status = tm_checkpoint_list(c, c->index->shards, c->index->num_shards);
    return status;
}

/* --- headers -------------------------------------------------------------*/

static enum tm_status read_header(struct tm_disk *disk, struct tm_file *file,
                                  struct tm_shard *shard)
{
    uint64_t have = FIRST_READ, length = 0;
    char *bytes;
    enum tm_status status = tm_infile_start(disk, file, &have, &bytes);

    if (status == TM_OK)
        status = tm_safetensors_length(file->path, (unsigned char *)bytes, have,
                                       file->size, &length);
    if (status == TM_OK && 8 + length > have) {
        free(bytes);
        have = 8 + length;
        status = tm_infile_start(disk, file, &have, &bytes);
    }
    if (status == TM_OK && have < 8 + length)
        status =
            tm_error(TM_IO_ERROR, "%s: shrank while it was read", file->path);
    if (status != TM_OK) {
        free(bytes);
        return status;
    }
    memmove(bytes, bytes + 8, length);
    shard->header = bytes;
    shard->header_length = length;
    return TM_OK;
}

enum tm_status tm_checkpoint_read_headers(struct tm_disk *disk,
                                          struct tm_checkpoint *checkpoint)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < checkpoint->num_shards; i++) {
        struct tm_shard *shard = &checkpoint->shards[i];
        struct tm_file file;
        enum tm_status own = tm_file_open(
            disk->engine, shard->path, TM_DIRECT_OFF, &file, &shard->identity);

        if (own == TM_OK)
            own = read_header(disk, &file, shard);
        tm_file_close(disk->engine, &file);
        if (own != TM_OK)
            status = own;
    }
    return status;
}
