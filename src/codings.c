/* SPDX-License-Identifier: Apache-2.0 */
/* codings: see codings.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/codings.h"

#include <stdbool.h>
#include <stdlib.h>

#include "io/checked.h"
#include "src/signals.h"

/* A disk takes hardly longer for this much than for one block. */
#define RUN ((size_t)64 << 10)

/* Runs in flight: enough for a disk of flash, little memory (2 MiB). */
#define AHEAD 32

/* A chunk of a shard, on the way through all of them. */
struct place {
    size_t tensor;
    uint64_t chunk;
    uint64_t offset;
};

/* Some chunks in a row whose first bytes one read brings. */
struct run {
    struct tm_transfer transfer;
    struct place first;
    size_t chunks;
};

struct reading {
    struct tm_disk *disk;
    const struct tm_vector_stored *vector;
    struct tm_codings *codings;
    const uint32_t *lengths; /* of the shard */
    size_t end;              /* behind its last tensor */
    struct tm_file file;
    struct place next;
    unsigned char *buffer;
    struct run runs[AHEAD];
};

/* Goes to the chunk's place in its tensor, where that is behind the last. */
static void enter(const struct reading *r, struct place *at, size_t tensor)
{
    *at = (struct place){.tensor = tensor};
    if (tensor < r->end)
        at->offset = r->vector->coded[tensor].offset;
}

static uint32_t length_of(const struct reading *r, const struct place *at)
{
    return r->lengths[r->vector->coded[at->tensor].first + at->chunk];
}

static void step(const struct reading *r, struct place *at)
{
    at->offset += length_of(r, at);
    at->chunk++;
}

/* Goes on to the next chunk that has bytes; false: there is none. */
static bool find(const struct reading *r, struct place *at)
{
    while (at->tensor < r->end) {
        if (at->chunk == r->vector->coded[at->tensor].count)
            enter(r, at, at->tensor + 1);
        else if (length_of(r, at) == 0)
            step(r, at);
        else
            return true;
    }
    return false;
}

static void count(const struct reading *r, const struct place *at,
                  enum tm_coding coding)
{
    const struct tm_tensor *tensor = &r->vector->tuned.tensors[at->tensor];
    const uint64_t step =
        TM_CHUNK_WORDS * tm_word_bytes((enum tm_dtype)tensor->dtype);
    const uint64_t left = tensor->bytes - at->chunk * step;
    struct tm_coding_sum *sum = &r->codings->sums[coding];

    r->codings->chunks[at->tensor][coding]++;
    sum->chunks++;
    sum->bytes += left < step ? left : step;
    sum->stored += length_of(r, at);
}

/* Counts the chunks that have no bytes: nothing is read for them. */
static void count_same(const struct reading *r, size_t first)
{
    struct place at;

    for (size_t t = first; t < r->end; t++)
        for (enter(r, &at, t); at.chunk < r->vector->coded[t].count; at.chunk++)
            if (length_of(r, &at) == 0)
                count(r, &at, TM_SAME);
}

/* Counts the chunks of a run whose bytes are there. */
static enum tm_status take(const struct reading *r, const struct run *run)
{
    const unsigned char *bytes = run->transfer.buf;
    struct place at = run->first;

    for (size_t i = 0; i < run->chunks; i++, step(r, &at)) {
        unsigned coding;

        find(r, &at);
        coding = bytes[at.offset - run->transfer.offset];
        if (coding == TM_SAME || coding >= TM_NUM_CODINGS)
            return tm_error(TM_BAD_DATA,
                            "%s: tensor '%s': chunk %llu has coding %u, which "
                            "this version does not know",
                            r->file.path,
                            r->vector->tuned.tensors[at.tensor].name,
                            (unsigned long long)at.chunk, coding);
        count(r, &at, (enum tm_coding)coding);
    }
    return TM_OK;
}

/* Asks for the next run, if there is one. */
static void ask(struct reading *r, struct run *run)
{
    uint64_t start, last;

    if (!find(r, &r->next))
        return;
    start = tm_round_down(r->next.offset, TM_BLOCK);
    run->first = r->next;
    run->chunks = 0;
    do {
        last = r->next.offset;
        run->chunks++;
        step(r, &r->next);
    } while (find(r, &r->next) && r->next.offset > last &&
             r->next.offset < start + RUN);
    run->transfer = (struct tm_transfer){
        .kind = TM_OP_READ,
        .file = &r->file,
        .offset = start,
        .buf = r->buffer + (size_t)(run - r->runs) * RUN,
        .len = (size_t)(tm_round_down(last, TM_BLOCK) + TM_BLOCK - start),
        .need = (size_t)(last + 1 - start),
        .owner = run,
    };
    tm_transfer_start(r->disk, &run->transfer);
}

static enum tm_status read_open_shard(struct reading *r)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < AHEAD; i++)
        ask(r, &r->runs[i]);
    while (r->disk->in_flight > 0) {
        struct tm_transfer *next, *done = tm_disk_wait(r->disk, -1);

        if (status == TM_OK)
            status = tm_signals_check();
        for (; done != NULL; done = next) {
            struct run *run = done->owner;

            next = done->next;
            if (status == TM_OK)
                status = done->status;
            if (status == TM_OK)
                status = take(r, run);
            if (status == TM_OK)
                ask(r, run);
        }
    }
    return status;
}

static enum tm_status read_shard(struct reading *r, enum tm_direct direct,
                                 size_t number)
{
    const struct tm_shard *tuned = &r->vector->tuned.shards[number];
    const struct tm_vector_shard *shard = &r->vector->shards[number];
    enum tm_status status;

    r->lengths = shard->lengths;
    r->end = tuned->first + tuned->count;
    enter(r, &r->next, tuned->first);
    count_same(r, tuned->first);
    status = tm_file_open(r->disk->engine, shard->path, direct, &r->file, NULL);
    if (status != TM_OK)
        return status;
    status = read_open_shard(r);
    tm_file_close(r->disk->engine, &r->file);
    return status;
}

enum tm_status tm_codings_read(struct tm_disk *disk, enum tm_direct direct,
                               const struct tm_vector_stored *vector,
                               struct tm_codings *codings)
{
    struct reading *r = calloc(1, sizeof(*r));
    enum tm_status status = TM_OK;

    *codings = (struct tm_codings){
        .chunks =
            calloc(vector->tuned.num_tensors + 1, sizeof(*codings->chunks)),
    };
    if (r == NULL || codings->chunks == NULL) {
        free(r);
        return tm_no_memory();
    }
    *r = (struct reading){
        .disk = disk,
        .vector = vector,
        .codings = codings,
        .buffer = aligned_alloc(TM_BLOCK, AHEAD * RUN),
    };
    if (r->buffer == NULL)
        status = tm_no_memory();
    for (size_t i = 0; i < vector->tuned.num_shards && status == TM_OK; i++)
        status = read_shard(r, direct, i);
    free(r->buffer);
    free(r);
    return status;
}

void tm_codings_free(struct tm_codings *codings)
{
    free(codings->chunks);
    codings->chunks = NULL;
}
