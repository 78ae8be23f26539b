/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side_files: what belongs to a checkpoint beside its weights.
 *
 * Configuration, tokenizer, templates, in subdirectories too, are copied.
 * Weights in other formats are not copied from a base: they would be the
 * base's, not the merge's. What is left out is listed in the report and in
 * the manifest, each with the reason.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "io/path.h"
#include "src/plan.h"

/* Deeper than any model; keeps loops of directories finite. */
#define MAX_DEPTH 16

/* Endings of files that hold weights, or the state of a training. */
static const char *const weight_endings[] = {
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".gguf",
    ".ggml",
    ".h5",
    ".msgpack",
    ".onnx",
    ".onnx_data",
    ".pkl",
    ".npz",
    ".pdparams",
    ".tflite",
    ".mlmodel",
    ".ot",
    ".keras",
    ".safetensors.index.json",
    ".bin.index.json",
};

/* What an earlier merge wrote about its own output. */
static const char *const own_files[] = {"taumerge.json", "taumerge.xxh128"};

/* A walk through a checkpoint's directory. */
struct walk {
    struct tm_arena *arena;
    const struct tm_checkpoint *checkpoint;
    bool is_whole; /* weights of other formats and the index too */
    struct tm_side_file *files;
};

/* Names as Windows writes them count too. */
static bool ends_with(const char *name, const char *end)
{
    const size_t length = strlen(name), tail = strlen(end);

    return length >= tail && strcasecmp(name + length - tail, end) == 0;
}

/* Whether a file of the output may have the name, so that no folder can. */
static bool is_taken(const struct walk *walk, const char *name)
{
    const size_t count = sizeof(own_files) / sizeof(*own_files);

    if (walk->is_whole)
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, own_files[i]) == 0)
            return true;
    return ends_with(name, ".safetensors") ||
           ends_with(name, ".safetensors.index.json");
}

/* Why a regular file is not copied, or NULL. */
static const char *why_not(const struct walk *walk, const char *name)
{
    const char *last = tm_path_last(name);
    const size_t endings = sizeof(weight_endings) / sizeof(*weight_endings);

    if (!tm_utf8_is_valid(name, strlen(name)))
        return "its name is not UTF-8";
    if (walk->is_whole)
        return NULL;
    for (size_t i = 0; i < sizeof(own_files) / sizeof(*own_files); i++)
        if (strcmp(last, own_files[i]) == 0)
            return "describes the base";
    if (name[strcspn(name, "\n\r\\")] != '\0')
        return "its name cannot be written in taumerge.xxh128";
    for (size_t i = 0; i < endings; i++)
        if (ends_with(last, weight_endings[i]))
            return "weights that are not merged";
    return NULL;
}

static bool is_shard(const struct walk *walk, const char *name)
{
    const struct tm_checkpoint *c = walk->checkpoint;

    if (c->index_name != NULL && strcmp(name, c->index_name) == 0)
        return !walk->is_whole;
    for (size_t i = 0; i < c->num_shards; i++)
        if (strcmp(name, c->shards[i].name) == 0)
            return true;
    return false;
}

static enum tm_status add(struct walk *walk, const char *name, const char *path,
                          const char *reason, uint64_t size)
{
    struct tm_side_file *file = tm_arena_alloc(walk->arena, sizeof(*file));

    if (file == NULL)
        return tm_no_memory();
    *file = (struct tm_side_file){
        .name = name, .path = path, .why_not = reason, .size = size};
    file->next = walk->files;
    walk->files = file;
    return TM_OK;
}

static enum tm_status list(struct walk *walk, const char *directory,
                           const char *prefix, unsigned depth);

/* One entry of a directory: `name` from the top, `path` to open it. */
static enum tm_status take(struct walk *walk, const char *name,
                           const char *path, unsigned depth)
{
    const char *last = tm_path_last(name);
    struct stat link, target;

    if (last == name && is_shard(walk, name))
        return TM_OK;
    if (lstat(path, &link) != 0 || stat(path, &target) != 0)
        return add(walk, name, path, "cannot be looked at", 0);
    if (S_ISREG(target.st_mode))
        return add(walk, name, path, why_not(walk, name),
                   (uint64_t)target.st_size);
    if (!S_ISDIR(target.st_mode))
        return add(walk, name, path, "not a regular file", 0);
    if (S_ISLNK(link.st_mode))
        return add(walk, name, path, "a link to a directory", 0);
    if (last == name && is_taken(walk, name))
        return add(walk, name, path, "a folder with the name of a file", 0);
    if (strcmp(last, ".git") == 0 || strcmp(last, ".cache") == 0)
        return add(walk, name, path, "the state of a download", 0);
    if (depth == MAX_DEPTH)
        return add(walk, name, path, "too deep", 0);
    return list(walk, path, name, depth + 1);
}

static enum tm_status list(struct walk *walk, const char *directory,
                           const char *prefix, unsigned depth)
{
    DIR *stream = opendir(directory);
    enum tm_status status = TM_OK;
    const struct dirent *entry;

    if (stream == NULL)
        return tm_error(TM_IO_ERROR, "%s: cannot list: %s", directory,
                        strerror(errno));
    while (status == TM_OK && (entry = readdir(stream)) != NULL) {
        const char *name, *path;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        name = tm_path_join(walk->arena, prefix, entry->d_name);
        path = tm_path_join(walk->arena, directory, entry->d_name);
        if (name == NULL || path == NULL)
            status = tm_no_memory();
        else
            status = take(walk, name, path, depth);
    }
    closedir(stream);
    return status;
}

static int compare(const void *a, const void *b)
{
    const struct tm_side_file *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* Directories list their files in any order; outputs must not. */
static enum tm_status sort(struct walk *walk)
{
    struct tm_side_file **files, **end = &walk->files;
    size_t count = 0, i = 0;

    for (struct tm_side_file *f = walk->files; f != NULL; f = f->next)
        count++;
    files = calloc(count + 1, sizeof(struct tm_side_file *));
    if (files == NULL)
        return tm_no_memory();
    for (struct tm_side_file *f = walk->files; f != NULL; f = f->next)
        files[i++] = f;
    qsort(files, count, sizeof(struct tm_side_file *), compare);
    for (i = 0; i < count; i++) {
        *end = files[i];
        end = &files[i]->next;
    }
    *end = NULL;
    free(files);
    return TM_OK;
}

enum tm_status tm_side_files(struct tm_arena *arena,
                             const struct tm_checkpoint *checkpoint,
                             bool is_whole, struct tm_side_file **files)
{
    struct walk walk = {
        .arena = arena, .checkpoint = checkpoint, .is_whole = is_whole};
    enum tm_status status;

    *files = NULL;
    if (checkpoint->directory == NULL)
        return TM_OK; /* a file has no side files */
    status = list(&walk, checkpoint->directory, "", 0);
    if (status == TM_OK)
        status = sort(&walk);
    *files = walk.files;
    return status;
}

uint64_t tm_side_file_bytes(const struct tm_side_file *files)
{
    uint64_t bytes = 0;

    for (; files != NULL; files = files->next)
        if (files->why_not == NULL)
            bytes += files->size;
    return bytes;
}
