/* SPDX-License-Identifier: Apache-2.0 */
/* verify_vector: see verify_vector.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/verify_vector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/chunk.h"
#include "io/infile.h"
#include "io/path.h"
#include "io/vector.h"
#include "src/digests.h"
#include "src/unlisted.h"

/* Bytes of the longest words. */
#define MAX_WORD 8

static bool same(const struct tm_digest *a, const struct tm_digest *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* --- chunks --------------------------------------------------------------*/

/* What is wrong with a tensor: its first damaged chunk, and how many are. */
struct finding {
    uint64_t chunks;
    uint64_t number;
    uint64_t offset;
    unsigned coding;
    const char *why;
};

/* A way through the chunks of a shard in the order of the file. */
struct walk {
    struct tm_check *check;
    const struct tm_recorded_file *file;
    const struct tm_vector_stored *vector;
    const uint32_t *lengths;
    const struct tm_coded **blobs; /* in the order of the file */
    size_t count;
    size_t blob; /* where it is */
    uint64_t chunk;
    uint64_t offset;
    unsigned char *begun; /* a chunk of which some is in the next piece */
    size_t filled;
    struct finding finding; /* of this tensor */
    bool is_damaged;        /* one of the tensors before */
};

static uint32_t chunk_length(const struct walk *walk)
{
    return walk->lengths[walk->blobs[walk->blob]->first + walk->chunk];
}

static const struct tm_tensor *tensor_of(const struct walk *walk)
{
    const struct tm_vector_stored *vector = walk->vector;

    return &vector->tuned.tensors[walk->blobs[walk->blob] - vector->coded];
}

/* Goes to the blob `number`, which may be behind the last. */
static void enter(struct walk *walk, size_t number)
{
    walk->blob = number;
    walk->chunk = 0;
    if (number < walk->count)
        walk->offset = walk->blobs[number]->offset;
    walk->finding = (struct finding){0};
}

static void step(struct walk *walk)
{
    walk->offset += chunk_length(walk);
    walk->chunk++;
}

/* What was found, for people. */
static void describe(const struct finding *finding, char *text, size_t size)
{
    const unsigned long long number = finding->number;
    const unsigned long long offset = finding->offset;
    const unsigned long long more = finding->chunks - 1;
    int length;

    if (finding->coding == TM_SAME || finding->coding >= TM_NUM_CODINGS)
        length = snprintf(text, size,
                          "chunk %llu at byte %llu has coding %u, which this "
                          "version does not know",
                          number, offset, finding->coding);
    else
        length = snprintf(text, size, "chunk %llu at byte %llu %s", number,
                          offset, finding->why);
    if (more > 0)
        snprintf(text + length, size - (size_t)length,
                 ", and %llu more of its chunks", more);
}

/* Notes what was found of the tensor. */
static enum tm_status finish_tensor(struct walk *walk)
{
    char cause[256]; /* twice the longest */

    if (walk->finding.chunks == 0)
        return TM_OK;
    walk->is_damaged = true;
    describe(&walk->finding, cause, sizeof(cause));
    return tm_check_note(walk->check, walk->file, tensor_of(walk)->name, cause);
}

/* Goes on to the next chunk that has bytes; *found is false: there is none. */
static enum tm_status find(struct walk *walk, bool *found)
{
    enum tm_status status = TM_OK;

    *found = false;
    while (walk->blob < walk->count && !*found && status == TM_OK) {
        if (walk->chunk == walk->blobs[walk->blob]->count) {
            status = finish_tensor(walk);
            enter(walk, walk->blob + 1);
        } else if (chunk_length(walk) == 0) {
            step(walk);
        } else {
            *found = true;
        }
    }
    return status;
}

/* Why a chunk's bytes are not what was written, or cannot have been. */
static const char *why_not(const struct walk *walk, const void *bytes)
{
    const size_t length = chunk_length(walk);
    enum tm_coding coding;
    const char *why = tm_chunk_check(bytes, length, &coding);

    if (why != NULL)
        return why;
    if (length == TM_CHUNK_HEAD)
        return "is damaged: a chunk is cut short";
    if (coding <= TM_ZSTD && walk->blobs[walk->blob]->state == TM_ALONE)
        return "is damaged: a chunk needs a base where there is none";
    return NULL;
}

static void check_chunk(struct walk *walk, const void *bytes)
{
    const char *why = why_not(walk, bytes);

    if (why != NULL && walk->finding.chunks++ == 0) {
        walk->finding.number = walk->chunk;
        walk->finding.offset = walk->offset;
        walk->finding.coding = *(const unsigned char *)bytes;
        walk->finding.why = why;
    }
    step(walk);
}

/*
 * Takes what of the chunk is in the piece from `offset` on; false: some is in
 * the next. Most chunks are in one, and are checked where they are.
 */
static bool take_chunk(struct walk *walk, uint64_t offset,
                       const unsigned char *data, size_t length)
{
    const size_t whole = chunk_length(walk);
    const size_t skip = (size_t)(walk->offset + walk->filled - offset);
    const size_t left = whole - walk->filled;
    const size_t here = left < length - skip ? left : length - skip;

    if (here == whole) {
        check_chunk(walk, data + skip);
        return true;
    }
    memcpy(walk->begun + walk->filled, data + skip, here);
    walk->filled += here;
    if (walk->filled < whole)
        return false;
    walk->filled = 0;
    check_chunk(walk, walk->begun);
    return true;
}

/* A piece of the shard, as it is read. */
static enum tm_status visit(void *context, uint64_t offset, const void *data,
                            size_t length)
{
    struct walk *walk = context;
    bool found = true;
    enum tm_status status = TM_OK;

    tm_check_tick(walk->check);
    while (found && status == TM_OK) {
        status = find(walk, &found);
        if (status == TM_OK && found)
            found = walk->offset < offset + length &&
                    take_chunk(walk, offset, data, length);
    }
    return status;
}

static int compare_blobs(const void *a, const void *b)
{
    const struct tm_coded *x = *(const struct tm_coded *const *)a;
    const struct tm_coded *y = *(const struct tm_coded *const *)b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Begins the way through the shard `number`; end_walk in any case. */
static enum tm_status begin_walk(struct walk *walk, size_t number)
{
    const struct tm_shard *tuned = &walk->vector->tuned.shards[number];

    walk->lengths = walk->vector->shards[number].lengths;
    walk->count = tuned->count;
    walk->blobs = malloc((tuned->count + 1) * sizeof(*walk->blobs));
    walk->begun = malloc(tm_chunk_bound(MAX_WORD * TM_CHUNK_WORDS));
    if (walk->blobs == NULL || walk->begun == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < tuned->count; i++)
        walk->blobs[i] = &walk->vector->coded[tuned->first + i];
    qsort(walk->blobs, walk->count, sizeof(*walk->blobs), compare_blobs);
    enter(walk, 0);
    return TM_OK;
}

static void end_walk(struct walk *walk)
{
    free(walk->blobs);
    free(walk->begun);
}

/* --- the files -----------------------------------------------------------*/

/*
 * Bytes of a shard's start, 8 and the header, as the file says; at most
 * `most`. The digest that covers them will tell if that is wrong.
 */
static enum tm_status measure_start(struct tm_disk *disk, const char *path,
                                    uint64_t most, uint64_t *start)
{
    uint64_t length = 8;
    char *bytes = NULL;
    struct tm_file file;
    enum tm_status status =
        tm_file_open(disk->engine, path, TM_DIRECT_OFF, &file, NULL);

    if (status == TM_OK)
        status = tm_infile_start(disk, &file, &length, &bytes);
    *start = 8;
    for (size_t i = 0; status == TM_OK && i < length; i++)
        *start += (uint64_t)(unsigned char)bytes[i] << (8 * i);
    if (*start > most)
        *start = most;
    tm_file_close(disk->engine, &file);
    free(bytes);
    return status;
}

/* Notes what the digests of a shard's two parts say, beside its tensors. */
static enum tm_status compare_parts(const struct walk *walk,
                                    const struct tm_vector_shard *shard,
                                    const struct tm_extent parts[2])
{
    if (!same(&parts[0].digest, &shard->header_digest))
        return tm_check_note(walk->check, walk->file, NULL,
                             "its header has changed");
    /*
     * Opening found the index whole. Where the chunks are so too, what is left
     * are those bytes of their heads that only the base can prove wrong.
     */
    if (!same(&parts[1].digest, &shard->data_digest) && !walk->is_damaged)
        return tm_check_note(walk->check, walk->file, NULL,
                             "has changed outside the payload of its tensors");
    return TM_OK;
}

static enum tm_status check_shard(struct tm_check *check,
                                  const struct tm_vector_stored *vector,
                                  size_t number)
{
    const struct tm_vector_shard *shard = &vector->shards[number];
    const struct tm_recorded_file file = {.name = shard->name,
                                          .path = shard->path};
    struct walk walk = {.check = check, .file = &file, .vector = vector};
    struct tm_extent parts[2] = {{.offset = 0}};
    uint64_t start;
    bool found;
    enum tm_status status =
        measure_start(check->disk, shard->path, shard->bytes, &start);

    check->bytes += shard->bytes;
    if (status == TM_OK)
        status = begin_walk(&walk, number);
    if (status == TM_OK) {
        parts[0].bytes = parts[1].offset = start;
        parts[1].bytes = shard->bytes - start;
        status = tm_digests_of_file(check->disk, shard->path,
                                    check->settings->direct, parts, 2, NULL,
                                    visit, &walk);
    }
    if (status == TM_OK)
        status = find(&walk, &found); /* behind the last */
    if (status == TM_OK)
        status = compare_parts(&walk, shard, parts);
    end_walk(&walk);
    return status;
}

static enum tm_status check_side_file(struct tm_check *check,
                                      const struct tm_vector_file *file)
{
    struct tm_arena arena = {0};
    const struct tm_recorded_file name = {
        .name = tm_path_join(&arena, TM_VECTOR_FILES, file->name),
        .path = file->path,
    };
    struct tm_digest whole;
    bool is_there;
    enum tm_status status = TM_OK;

    if (name.name == NULL)
        return tm_no_memory();
    status = tm_check_file(check, &name, NULL, 0, &whole, &is_there);
    if (status == TM_OK && is_there && !same(&whole, &file->digest))
        status = tm_check_note(check, &name, NULL,
                               "has changed since it was written");
    tm_arena_free(&arena);
    return status;
}

static enum tm_status check_files(struct tm_check *check,
                                  const struct tm_vector_stored *vector)
{
    enum tm_status status = TM_OK;
    uint64_t bytes = 0;

    for (size_t i = 0; i < vector->tuned.num_shards; i++)
        bytes += vector->shards[i].bytes;
    for (size_t i = 0; i < vector->num_files; i++)
        bytes += vector->files[i].bytes;
    tm_check_start(check, bytes);
    for (size_t i = 0; i < vector->tuned.num_shards && status == TM_OK; i++)
        status = check_shard(check, vector, i);
    for (size_t i = 0; i < vector->num_files && status == TM_OK; i++)
        status = check_side_file(check, &vector->files[i]);
    tm_check_finish(check);
    return status;
}

enum tm_status tm_verify_vector(struct tm_check *check)
{
    struct tm_vector_stored vector;
    enum tm_status status = tm_vector_open(check->disk, check->path, &vector);

    if (status == TM_OK) {
        check->files = vector.tuned.num_shards + vector.num_files;
        check->tensors = vector.tuned.num_tensors;
        status = tm_unlisted_warn(&vector);
    }
    if (status == TM_OK)
        status = check_files(check, &vector);
    tm_vector_close(&vector);
    return status;
}
