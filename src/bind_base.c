/* SPDX-License-Identifier: Apache-2.0 */
/* bind_base: see bind_base.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/bind_base.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/checked.h"
#include "io/chunk.h"
#include "io/path.h"
#include "src/digests.h"

/* Probes that are read at once; one lies in two blocks, or in three. */
#define BATCH      TM_DEPTH
#define PROBE_ROOM ((size_t)(3 * TM_BLOCK))

/* A tensor of the base whose probe is wanted, of its first `bytes` bytes. */
struct probe {
    uint32_t tensor;
    uint64_t bytes;
    uint64_t value; /* out */
    size_t inside;  /* the middle, in what is read */
    size_t count;
};

struct binding {
    struct tm_disk *disk;
    const struct tm_checkpoint *base;
    const struct tm_vector_stored *vector;
    uint32_t *map;
    bool *is_taken; /* of the base's tensors */
    unsigned char *buffers;
    struct tm_transfer *transfers;
};

static uint64_t words_of(const struct tm_tensor *tensor)
{
    return tensor->bytes / tm_word_bytes((enum tm_dtype)tensor->dtype);
}

/* Bytes of the base's `own` that the vector's tensor number `i` uses. */
static uint64_t used_bytes(const struct binding *b, size_t i,
                           const struct tm_tensor *own)
{
    const uint64_t words = words_of(&b->vector->tuned.tensors[i]);
    const uint64_t has = words_of(own);

    return (words < has ? words : has) *
           tm_word_bytes((enum tm_dtype)own->dtype);
}

/* Whether `own` can be what the vector's tensor number `i` was made against. */
static bool is_alike(const struct binding *b, size_t i,
                     const struct tm_tensor *own)
{
    const struct tm_coded *coded = &b->vector->coded[i];

    return coded->base_words == words_of(own) &&
           coded->base_code == tm_word_code((enum tm_dtype)own->dtype);
}

/* --- probes --------------------------------------------------------------*/

static void start_probe(struct binding *b, struct tm_file *file,
                        struct probe *probe, size_t slot)
{
    const struct tm_tensor *tensor = &b->base->tensors[probe->tensor];
    uint64_t middle, begin;

    probe->count =
        probe->bytes < TM_PROBE_BYTES ? probe->bytes : TM_PROBE_BYTES;
    middle = tensor->offset + (probe->bytes - probe->count) / 2;
    begin = tm_round_down(middle, TM_BLOCK);
    probe->inside = middle - begin;
    b->transfers[slot] = (struct tm_transfer){
        .kind = TM_OP_READ,
        .file = file,
        .offset = begin,
        .buf = b->buffers + slot * PROBE_ROOM,
        .len =
            (probe->inside + probe->count + TM_BLOCK - 1) / TM_BLOCK * TM_BLOCK,
        .need = probe->inside + probe->count,
        .what = tensor->name,
    };
    if (b->transfers[slot].len > 0)
        tm_transfer_start(b->disk, &b->transfers[slot]);
}

/* Reads a run of probes that lie in one file. */
static enum tm_status read_batch(struct binding *b, struct tm_file *file,
                                 struct probe *probes, size_t count)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < count; i++)
        start_probe(b, file, &probes[i], i);
    while (b->disk->in_flight > 0)
        tm_disk_wait(b->disk, -1);
    for (size_t i = 0; i < count; i++) {
        if (b->transfers[i].status != TM_OK)
            status = b->transfers[i].status;
        probes[i].value = XXH3_64bits(
            b->buffers + i * PROBE_ROOM + probes[i].inside, probes[i].count);
    }
    return status;
}

static enum tm_status read_of_shard(struct binding *b, uint32_t shard,
                                    struct probe *probes, size_t count)
{
    struct tm_file file;
    enum tm_status status =
        tm_file_open(b->disk->engine, b->base->shards[shard].path,
                     TM_DIRECT_AUTO, &file, NULL);

    for (size_t i = 0; i < count && status == TM_OK; i += BATCH)
        status = read_batch(b, &file, probes + i,
                            count - i < BATCH ? count - i : BATCH);
    tm_file_close(b->disk->engine, &file);
    return status;
}

/* Reads the probes, which are in the order of the base's tensors. */
static enum tm_status read_probes(struct binding *b, struct probe *probes,
                                  size_t count)
{
    enum tm_status status = TM_OK;
    size_t end;

    for (size_t i = 0; i < count && status == TM_OK; i = end) {
        const uint32_t shard = b->base->tensors[probes[i].tensor].shard;

        for (end = i + 1; end < count; end++)
            if (b->base->tensors[probes[end].tensor].shard != shard)
                break;
        status = read_of_shard(b, shard, probes + i, end - i);
    }
    return status;
}

/* --- binding -------------------------------------------------------------*/

/* Binds what the base has under the same name. */
static enum tm_status bind_by_name(struct binding *b, struct probe *probes)
{
    const struct tm_checkpoint *tuned = &b->vector->tuned;
    size_t count = 0;
    enum tm_status status;

    for (size_t t = 0; t < b->base->num_tensors; t++) {
        const struct tm_tensor *own = &b->base->tensors[t];
        const struct tm_tensor *tensor = tm_checkpoint_get(tuned, own->name);
        size_t i;

        if (tensor == NULL)
            continue;
        i = (size_t)(tensor - tuned->tensors);
        if (b->vector->coded[i].state != TM_ALONE && is_alike(b, i, own))
            probes[count++] = (struct probe){.tensor = (uint32_t)t,
                                             .bytes = used_bytes(b, i, own)};
    }
    status = read_probes(b, probes, count);
    for (size_t k = 0; k < count && status == TM_OK; k++) {
        const char *name = b->base->tensors[probes[k].tensor].name;
        const size_t i =
            (size_t)(tm_checkpoint_get(tuned, name) - tuned->tensors);

        if (probes[k].value != b->vector->coded[i].base_probe)
            continue;
        b->map[i] = probes[k].tensor;
        b->is_taken[probes[k].tensor] = true;
    }
    return status;
}

/* The digest of the first `bytes` bytes of one of the base's tensors. */
static enum tm_status digest_of(struct binding *b, const struct tm_tensor *own,
                                uint64_t bytes, struct tm_digest *digest)
{
    struct tm_extent extent = {.offset = own->offset, .bytes = bytes};
    const enum tm_status status =
        tm_digests_of_file(b->disk, b->base->shards[own->shard].path,
                           TM_DIRECT_AUTO, &extent, 1, NULL, NULL, NULL);

    *digest = extent.digest;
    return status;
}

/* Whether one name is the other with something in front of it. */
static bool is_renamed(const char *a, const char *b)
{
    return strcmp(a, b) == 0 || tm_path_ends_with(a, b) ||
           tm_path_ends_with(b, a);
}

/*
 * Whether tensor `t` of the base may be what the vector's number `i` was made
 * against. The probes are of whole tensors: one that was only used in part
 * could be any.
 */
static bool may_be(const struct binding *b, const struct probe *probes,
                   size_t i, uint32_t t)
{
    const struct tm_tensor *own = &b->base->tensors[t];

    return is_alike(b, i, own) &&
           (used_bytes(b, i, own) < own->bytes ||
            probes[t].value == b->vector->coded[i].base_probe);
}

/*
 * The base tensor that the vector's number `i` was made against, under
 * whatever name; TM_NO_BASE if there is none. Of several that look alike one
 * with a similar name is taken, or else the one with the right digest.
 */
static enum tm_status search(struct binding *b, const struct probe *probes,
                             size_t i, uint32_t *found)
{
    const struct tm_coded *coded = &b->vector->coded[i];
    const char *name = b->vector->tuned.tensors[i].name;
    size_t count = 0;

    *found = TM_NO_BASE;
    for (uint32_t t = 0; t < b->base->num_tensors; t++) {
        if (!may_be(b, probes, i, t))
            continue;
        if (!b->is_taken[t] && is_renamed(b->base->tensors[t].name, name)) {
            *found = t;
            return TM_OK;
        }
        *found = t;
        count++;
    }
    for (uint32_t t = 0; t < b->base->num_tensors && count > 1; t++) {
        const struct tm_tensor *own = &b->base->tensors[t];
        struct tm_digest digest;
        enum tm_status status;

        if (!may_be(b, probes, i, t))
            continue;
        status = digest_of(b, own, used_bytes(b, i, own), &digest);
        if (status != TM_OK)
            return status;
        if (memcmp(&digest, &coded->base_digest, sizeof(digest)) != 0)
            continue;
        *found = t;
        if (!b->is_taken[t])
            return TM_OK;
    }
    return TM_OK;
}

static enum tm_status is_missing(const struct binding *b, size_t i)
{
    const struct tm_tensor *tensor = &b->vector->tuned.tensors[i];
    const struct tm_tensor *own = tm_checkpoint_get(b->base, tensor->name);

    if (own == NULL)
        return tm_error(TM_BAD_DATA,
                        "%s: has no tensor that '%s' of %s was made against",
                        b->base->path, tensor->name, b->vector->path);
    return tm_error(TM_BAD_DATA,
                    "%s: tensor '%s': is not the base's that %s was made "
                    "against",
                    b->base->shards[own->shard].path, own->name,
                    b->vector->path);
}

/* Binds the rest, by what is in the tensors. */
static enum tm_status bind_by_content(struct binding *b, struct probe *probes)
{
    const size_t count = b->base->num_tensors;
    bool is_complete = true;
    enum tm_status status;

    for (size_t i = 0; i < b->vector->tuned.num_tensors; i++)
        if (b->map[i] == TM_NO_BASE && b->vector->coded[i].state != TM_ALONE)
            is_complete = false;
    if (is_complete)
        return TM_OK;
    for (size_t t = 0; t < count; t++)
        probes[t] = (struct probe){.tensor = (uint32_t)t,
                                   .bytes = b->base->tensors[t].bytes};
    status = read_probes(b, probes, count);
    for (size_t i = 0; i < b->vector->tuned.num_tensors && status == TM_OK;
         i++) {
        if (b->map[i] != TM_NO_BASE || b->vector->coded[i].state == TM_ALONE)
            continue;
        status = search(b, probes, i, &b->map[i]);
        if (status == TM_OK && b->map[i] == TM_NO_BASE)
            status = is_missing(b, i);
        if (status == TM_OK)
            b->is_taken[b->map[i]] = true;
    }
    return status;
}

enum tm_status tm_bind_base(struct tm_disk *disk,
                            const struct tm_checkpoint *base,
                            const struct tm_vector_stored *vector,
                            uint32_t *map)
{
    struct binding b = {
        .disk = disk,
        .base = base,
        .vector = vector,
        .map = map,
        .is_taken = calloc(base->num_tensors + 1, sizeof(*b.is_taken)),
        .buffers = aligned_alloc(TM_BLOCK, BATCH * PROBE_ROOM),
        .transfers = calloc(BATCH, sizeof(*b.transfers)),
    };
    struct probe *probes = calloc(base->num_tensors + 1, sizeof(*probes));
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < vector->tuned.num_tensors; i++)
        map[i] = TM_NO_BASE;
    if (b.is_taken == NULL || b.buffers == NULL || b.transfers == NULL ||
        probes == NULL)
        status = tm_no_memory();
    if (status == TM_OK)
        status = bind_by_name(&b, probes);
    if (status == TM_OK)
        status = bind_by_content(&b, probes);
    free(probes);
    free(b.is_taken);
    free(b.buffers);
    free(b.transfers);
    return status;
}
