/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector: see vector.h. What the manifest and an index say is checked in
 * vector_manifest.c and vector_index.c; here are the files.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/vector.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/checked.h"
#include "io/infile.h"
#include "io/path.h"
#include "io/vector_parts.h"

bool tm_vector_is(const char *path)
{
    char manifest[PATH_MAX]; /* nothing has a longer path */
    struct stat st;
    const int length =
        snprintf(manifest, sizeof(manifest), "%s/%s", path, TM_VECTOR_MANIFEST);

    /* A link counts too, so that opening can say what is wrong with it. */
    return path[0] != '\0' && length > 0 && (size_t)length < sizeof(manifest) &&
           lstat(manifest, &st) == 0 && !S_ISDIR(st.st_mode);
}

/* --- files ---------------------------------------------------------------*/

static enum tm_status look_at(const char *path, struct stat *st)
{
    if (lstat(path, st) != 0)
        return tm_error(errno == ENOENT || errno == ENOTDIR ? TM_NO_INPUT
                                                            : TM_IO_ERROR,
                        "%s: cannot open: %s", path, strerror(errno));
    if (S_ISLNK(st->st_mode))
        return tm_error(TM_BAD_DATA,
                        "%s: is a symbolic link: the files of a stored vector "
                        "are its own",
                        path);
    return TM_OK;
}

/* Looks at the directories between VECTOR and the file, in a copy of `path`. */
static enum tm_status check_directories(char *path, size_t root)
{
    enum tm_status status = TM_OK;
    char *slash = path + root;

    while (status == TM_OK && (slash = strchr(slash, '/')) != NULL) {
        struct stat st;

        *slash = '\0';
        status = look_at(path, &st);
        if (status == TM_OK && !S_ISDIR(st.st_mode))
            status = tm_error(TM_BAD_DATA, "%s: not a directory", path);
        *slash++ = '/';
    }
    return status;
}

/*
 * Whether the file of the vector is where the manifest says, with its size and
 * without a link on the way.
 */
static enum tm_status check_file(const struct tm_vector_stored *vector,
                                 const char *path, uint64_t bytes,
                                 struct tm_identity *identity)
{
    struct tm_arena arena = {0};
    char *copy = tm_arena_copy(&arena, path, strlen(path));
    enum tm_status status;
    size_t root = strlen(vector->path);
    struct stat st;

    if (copy == NULL)
        return tm_no_memory();
    while (copy[root] == '/')
        root++;
    status = check_directories(copy, root);
    tm_arena_free(&arena);
    if (status == TM_OK)
        status = look_at(path, &st);
    if (status != TM_OK)
        return status;
    if (!S_ISREG(st.st_mode))
        return tm_error(TM_BAD_DATA, "%s: not a regular file", path);
    *identity = tm_identity_from(&st);
    if (identity->size != bytes)
        return tm_error(TM_BAD_DATA,
                        "%s: has %" PRIu64 " bytes, " TM_VECTOR_MANIFEST
                        " says %" PRIu64,
                        path, identity->size, bytes);
    return TM_OK;
}

/* All of them, so that the user learns at once of all that are missing. */
static enum tm_status check_files(struct tm_vector_stored *vector)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < vector->tuned.num_shards; i++) {
        struct tm_vector_shard *shard = &vector->shards[i];
        const enum tm_status own =
            check_file(vector, shard->path, shard->bytes, &shard->identity);

        if (own != TM_OK)
            status = own;
    }
    for (size_t i = 0; i < vector->num_files; i++) {
        const struct tm_vector_file *file = &vector->files[i];
        struct tm_identity identity;
        const enum tm_status own =
            check_file(vector, file->path, file->bytes, &identity);

        if (own != TM_OK)
            status = own;
    }
    return status;
}

/* --- a shard -------------------------------------------------------------*/

static bool has_format(const struct tm_shard *shard)
{
    for (const struct tm_metadata *m = shard->metadata; m != NULL; m = m->next)
        if (strcmp(m->key, "format") == 0)
            return strcmp(m->value, TM_VECTOR_FORMAT) == 0;
    return false;
}

/* The header that was read against the manifest's digest of it. */
static enum tm_status check_header(const struct tm_vector_shard *shard,
                                   const struct tm_shard *file)
{
    struct tm_hasher hasher;
    struct tm_digest digest;
    unsigned char length[8];

    if (!tm_hasher_init(&hasher))
        return tm_no_memory();
    for (unsigned i = 0; i < sizeof(length); i++)
        length[i] = (unsigned char)((uint64_t)file->header_length >> (8 * i));
    tm_hasher_add(&hasher, length, sizeof(length));
    tm_hasher_add(&hasher, file->header, file->header_length);
    digest = tm_hasher_digest(&hasher);
    tm_hasher_free(&hasher);
    if (memcmp(&digest, &shard->header_digest, sizeof(digest)) != 0)
        return tm_error(TM_BAD_DATA,
                        "%s: its header is damaged: " TM_VECTOR_MANIFEST
                        " has another checksum for it",
                        shard->path);
    return TM_OK;
}

/* The index's place in the shard file, from the header of that. */
static enum tm_status find_index(const struct tm_vector_shard *shard,
                                 const struct tm_checkpoint *blobs,
                                 const struct tm_tensor **index)
{
    *index = tm_checkpoint_get(blobs, TM_VECTOR_INDEX);
    if (*index == NULL || !has_format(&blobs->shards[0]))
        return tm_error(TM_BAD_DATA, "%s: not a shard of a stored vector",
                        shard->path);
    if ((*index)->dtype != TM_U8 || (*index)->ndim != 1)
        return tm_error(TM_BAD_DATA, "%s: its index is not a row of bytes",
                        shard->path);
    if ((*index)->bytes > TM_VECTOR_INDEX_MAX)
        return tm_error(TM_BAD_DATA, "%s: its index is larger than 1 GiB",
                        shard->path);
    return TM_OK;
}

static enum tm_status check_same_file(const struct tm_vector_shard *shard,
                                      const struct tm_identity *identity)
{
    if (!tm_identity_equal(&shard->identity, identity))
        return tm_error(TM_IO_ERROR, "%s: was changed while it was read",
                        shard->path);
    return TM_OK;
}

/*
 * Reads the bytes of `index` into a block that begins at a boundary of the
 * file, *block, to be freed in any case; *bytes is where they are in it.
 */
static enum tm_status read_index(struct tm_disk *disk, struct tm_file *file,
                                 const struct tm_tensor *index,
                                 unsigned char **block, unsigned char **bytes)
{
    const uint64_t begin = tm_round_down(index->offset, TM_BLOCK);
    const uint64_t need = index->offset - begin + index->bytes;
    struct tm_transfer transfer = {
        .kind = TM_OP_READ,
        .file = file,
        .offset = begin,
        .need = need,
        .what = TM_VECTOR_INDEX,
    };
    uint64_t rounded;

    if (!tm_round_up(need, TM_BLOCK, &rounded))
        return tm_no_memory();
    *block = aligned_alloc(TM_BLOCK, rounded);
    if (*block == NULL)
        return tm_no_memory();
    *bytes = *block + (index->offset - begin);
    transfer.buf = *block;
    transfer.len = rounded;
    return tm_transfer_now(disk, &transfer);
}

/* Opens the shard file once more and takes its index over. */
static enum tm_status open_index(struct tm_disk *disk,
                                 struct tm_vector_stored *vector, size_t number,
                                 const struct tm_checkpoint *blobs,
                                 const struct tm_tensor *index)
{
    const struct tm_vector_shard *shard = &vector->shards[number];
    unsigned char *block = NULL, *bytes = NULL;
    struct tm_index_view view;
    struct tm_identity identity;
    struct tm_file file;
    enum tm_status status = tm_file_open(disk->engine, shard->path,
                                         TM_DIRECT_OFF, &file, &identity);

    if (status == TM_OK)
        status = check_same_file(shard, &identity);
    if (status == TM_OK)
        status = read_index(disk, &file, index, &block, &bytes);
    tm_file_close(disk->engine, &file);
    if (status == TM_OK)
        status = tm_vector_split_index(shard->path, bytes, index->bytes, &view);
    if (status == TM_OK)
        status = tm_vector_take_index(vector, number, &view, blobs);
    free(block);
    return status;
}

static enum tm_status open_shard(struct tm_disk *disk,
                                 struct tm_vector_stored *vector, size_t number)
{
    const struct tm_vector_shard *shard = &vector->shards[number];
    struct tm_checkpoint blobs = {.path = shard->path};
    const struct tm_tensor *index;
    enum tm_status status = tm_checkpoint_list(&blobs, &shard->name, 1);

    if (status == TM_OK)
        status = tm_checkpoint_read_headers(disk, &blobs);
    if (status == TM_OK)
        status = check_same_file(shard, &blobs.shards[0].identity);
    if (status == TM_OK)
        status = check_header(shard, &blobs.shards[0]);
    if (status == TM_OK)
        status = tm_checkpoint_parse_headers(&blobs, NULL);
    if (status == TM_OK)
        status = find_index(shard, &blobs, &index);
    if (status == TM_OK)
        status = open_index(disk, vector, number, &blobs, index);
    tm_checkpoint_close(&blobs);
    return status;
}

/* --- the whole -----------------------------------------------------------*/

static enum tm_status read_manifest(struct tm_disk *disk,
                                    struct tm_vector_stored *vector,
                                    struct tm_vector_manifest *manifest,
                                    char **text)
{
    struct stat st;
    enum tm_status status;

    manifest->path =
        tm_path_join(&vector->arena, vector->path, TM_VECTOR_MANIFEST);
    if (manifest->path == NULL)
        return tm_no_memory();
    status = look_at(manifest->path, &st);
    if (status == TM_OK)
        status = tm_infile_read(disk, manifest->path, TM_VECTOR_MANIFEST_MAX,
                                text, &manifest->length);
    manifest->text = *text;
    if (status == TM_OK)
        status = tm_vector_take_manifest(vector, manifest);
    return status;
}

/* So that nobody need be afraid to add them up. */
static enum tm_status check_total(const struct tm_vector_stored *vector)
{
    uint64_t total = 0;

    for (size_t i = 0; i < vector->tuned.num_shards; i++)
        if (!tm_add(total, vector->shards[i].tuned_bytes, &total) ||
            total > INT64_MAX)
            return tm_error(TM_BAD_DATA,
                            "%s: its tuned shards have more bytes than can be",
                            vector->path);
    return TM_OK;
}

enum tm_status tm_vector_open(struct tm_disk *disk, const char *path,
                              struct tm_vector_stored *vector)
{
    struct tm_vector_manifest manifest = {0};
    char *text = NULL;
    enum tm_status status;

    *vector = (struct tm_vector_stored){.path = path};
    status = read_manifest(disk, vector, &manifest, &text);
    if (status == TM_OK)
        status = check_files(vector);
    for (size_t i = 0; status == TM_OK && i < vector->tuned.num_shards; i++)
        status = open_shard(disk, vector, i);
    if (status == TM_OK)
        status = check_total(vector);
    if (status == TM_OK)
        status = tm_checkpoint_finish(&vector->tuned);
    if (status == TM_OK)
        status = tm_vector_take_statistics(vector, &manifest);
    vector->bytes_kept += vector->tuned.num_tensors * sizeof(*vector->coded);
    free(text);
    return status;
}

void tm_vector_close(struct tm_vector_stored *vector)
{
    free(vector->coded);
    free(vector->files);
    free(vector->stats);
    free(vector->histogram);
    tm_checkpoint_close(&vector->tuned);
    tm_arena_free(&vector->arena);
    *vector = (struct tm_vector_stored){0};
}
