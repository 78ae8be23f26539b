/* SPDX-License-Identifier: Apache-2.0 */
/* made: see made.h. Appending is in made_append.c. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/made.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/checked.h"
#include "io/infile.h"
#include "io/json.h"
#include "io/path.h"
#include "io/safetensors.h"
#include "io/text.h"

/* Bytes of libxxhash's state, about. */
#define HASHER_BYTES 640

uint64_t tm_made_memory(const struct tm_plan *plan)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < plan->num_outputs; i++) {
        const struct tm_output *output = &plan->outputs[i];

        bytes +=
            output->num_shards *
                (sizeof(struct tm_made_shard) + TM_BLOCK + 2 * HASHER_BYTES) +
            output->num_records *
                (sizeof(struct tm_coded) + sizeof(struct tm_vector_stats)) +
            output->num_chunks * sizeof(uint32_t) +
            2 * TM_DRIFT_BINS * sizeof(uint64_t);
    }
    return bytes;
}

/* What is known of each record before anything is read. */
static void fill_records(struct tm_made *made)
{
    const struct tm_output *output = made->output;
    const struct tm_digest nothing = tm_digest_of("", 0);

    for (size_t i = 0; i < output->num_records; i++) {
        const struct tm_output_record *record = &output->records[i];
        struct tm_coded *coded = &made->records[i];

        *coded = (struct tm_coded){
            .first = record->first,
            .count = record->count,
            .base_words = record->base_words,
            .base_code = record->base_code,
            .state = TM_ALONE,
        };
        if (record->words > 0)
            continue;
        /* No unit will come by. */
        coded->tuned_digest = nothing;
        memcpy(coded->chunks_digest, nothing.bytes,
               sizeof(coded->chunks_digest));
        if (!record->has_base)
            continue;
        coded->base_digest = nothing;
        coded->base_probe = XXH3_64bits("", 0);
        coded->state = record->is_like_base ? TM_UNCHANGED : TM_DELTA;
        if (record->is_like_base)
            memset(coded->chunks_digest, 0, sizeof(coded->chunks_digest));
    }
}

static bool init_shards(struct tm_made *made)
{
    for (size_t i = 0; i < made->output->num_shards; i++)
        made->shards[i].file.fd = -1;
    for (size_t i = 0; i < made->output->num_shards; i++) {
        struct tm_made_shard *shard = &made->shards[i];

        shard->block = calloc(1, TM_BLOCK);
        if (shard->block == NULL || !tm_hasher_init(&shard->data) ||
            !tm_hasher_init(&shard->chunks))
            return false;
    }
    return true;
}

enum tm_status tm_made_init(struct tm_made *made, const struct tm_plan *plan,
                            const struct tm_output *output)
{
    *made = (struct tm_made){
        .plan = plan,
        .output = output,
        .shards = calloc(output->num_shards + 1, sizeof(*made->shards)),
        .records = calloc(output->num_records + 1, sizeof(*made->records)),
        .stats = calloc(output->num_records + 1, sizeof(*made->stats)),
        .lengths = calloc(output->num_chunks + 1, sizeof(*made->lengths)),
        .counts = {calloc(TM_DRIFT_BINS, sizeof(uint64_t)),
                   calloc(TM_DRIFT_BINS, sizeof(uint64_t))},
    };
    if (made->shards == NULL || made->records == NULL || made->stats == NULL ||
        made->lengths == NULL || made->counts[0] == NULL ||
        made->counts[1] == NULL || !init_shards(made))
        return tm_no_memory();
    fill_records(made);
    return TM_OK;
}

void tm_made_close(struct tm_made *made, struct tm_disk *disk)
{
    for (size_t i = 0; made->shards != NULL && i < made->output->num_shards;
         i++)
        tm_file_close(disk->engine, &made->shards[i].file);
}

void tm_made_free(struct tm_made *made)
{
    for (size_t i = 0; made->shards != NULL && i < made->output->num_shards;
         i++) {
        tm_hasher_free(&made->shards[i].data);
        tm_hasher_free(&made->shards[i].chunks);
        free(made->shards[i].block);
    }
    free(made->shards);
    free(made->records);
    free(made->stats);
    free(made->lengths);
    free(made->counts[0]);
    free(made->counts[1]);
    *made = (struct tm_made){0};
}

void tm_made_settle(struct tm_made *made, unsigned generation)
{
    uint64_t *from = made->counts[generation];
    uint64_t *to = made->counts[1 - generation];

    for (size_t i = 0; i < TM_DRIFT_BINS; i++) {
        to[i] += from[i];
        from[i] = 0;
    }
}

struct tm_made_counts tm_made_count(const struct tm_made *made)
{
    struct tm_made_counts all = {0};

    for (size_t i = 0; i < made->output->num_shards; i++)
        for (int c = 0; c < TM_NUM_CODINGS; c++) {
            const struct tm_made_counts *own = &made->shards[i].counts;

            all.tuned_bytes[c] += own->tuned_bytes[c];
            all.stored_bytes[c] += own->stored_bytes[c];
        }
    for (size_t i = 0; i < made->output->num_records; i++)
        all.tensors[made->records[i].state]++;
    return all;
}

/* --- headers -------------------------------------------------------------*/

/* Bytes that a shard of a vector has at most. */
static uint64_t most_bytes(const struct tm_output *output,
                           const struct tm_output_shard *from)
{
    uint64_t bytes = from->tuned_bytes + 2 * from->start_bytes +
                     from->count * (uint64_t)TM_RECORD_BYTES + TM_BLOCK;

    for (size_t i = 0; i < from->count; i++)
        bytes += output->records[from->first + i].count *
                 (TM_CHUNK_HEAD + sizeof(uint32_t));
    return bytes;
}

static void put_blob(struct tm_json_writer *writer, const char *name,
                     uint64_t begin, uint64_t bytes, uint64_t shape)
{
    const struct tm_header_tensor entry = {
        .name = name,
        .dtype_name = tm_dtype_name(TM_U8),
        .ndim = 1,
        .shape = &shape,
        .begin = begin,
        .bytes = bytes,
    };

    tm_safetensors_write(writer, &entry);
}

/*
 * The header of a shard as text: with `index_bytes` 0 one that has the
 * longest numbers that there can be, to know what space to leave for it.
 */
static enum tm_status make_header(const struct tm_made *made, size_t number,
                                  uint64_t index_bytes, struct tm_text *text)
{
    const struct tm_output *output = made->output;
    const struct tm_output_shard *from = &output->shards[number];
    const struct tm_made_shard *shard = &made->shards[number];
    const uint64_t most = most_bytes(output, from);
    const bool is_real = index_bytes > 0;
    struct tm_json_writer writer = {
        .sink = tm_text_sink, .context = text, .compact = true};

    *text = (struct tm_text){0};
    writer.failed = !tm_text_append(text, "\0\0\0\0\0\0\0\0", 8);
    tm_json_begin(&writer, NULL, '{');
    tm_json_begin(&writer, "__metadata__", '{');
    tm_json_string(&writer, "format", TM_VECTOR_FORMAT);
    tm_json_finish(&writer, '}');
    for (size_t i = 0; i < from->count; i++) {
        const struct tm_coded *coded = &made->records[from->first + i];
        const uint64_t bytes = is_real ? coded->bytes : 0;

        put_blob(&writer, output->records[from->first + i].name,
                 is_real ? coded->offset : most, bytes, is_real ? bytes : most);
    }
    put_blob(&writer, TM_VECTOR_INDEX,
             is_real ? shard->position - shard->header_bytes : most,
             index_bytes, is_real ? index_bytes : most);
    tm_json_finish(&writer, '}');
    return writer.failed ? tm_no_memory() : TM_OK;
}

/* Readers expect the data to begin at a multiple of 8. */
#define HEADER_UNIT 8

static enum tm_status reserve_header(struct tm_made *made, size_t number)
{
    struct tm_text text;
    const enum tm_status status = make_header(made, number, 0, &text);
    struct tm_made_shard *shard = &made->shards[number];

    shard->header_bytes =
        (text.length + HEADER_UNIT - 1) / HEADER_UNIT * HEADER_UNIT;
    if (shard->marked == 0)
        shard->position = shard->marked = shard->header_bytes;
    shard->synced = shard->marked;
    free(text.bytes);
    if (status == TM_OK && shard->header_bytes - 8 > TM_HEADER_MAX)
        return tm_error(TM_BAD_DATA,
                        "%s: its header would be larger than 100 MB",
                        shard->path);
    return status;
}

/* Goes on with a kept file, where only what was checked may stay. */
static enum tm_status reopen(struct tm_made_shard *shard, struct tm_disk *disk,
                             struct tm_staging *staging, const char *name,
                             enum tm_direct direct)
{
    struct tm_call cut = {.kind = TM_CALL_TRUNCATE,
                          .size = tm_round_down(shard->position, TM_BLOCK)};
    const enum tm_status status = tm_file_reopen(
        disk->engine, staging->fd, name, shard->path, direct, &shard->file);

    cut.fd = shard->file.fd;
    if (status == TM_OK && shard->position < shard->header_bytes)
        return tm_error(TM_CANT_CREATE, "%s: the last mark does not fit",
                        shard->path);
    return status == TM_OK ? tm_disk_call(disk, &cut, TM_IO_ERROR, shard->path,
                                          "set the size")
                           : status;
}

enum tm_status tm_made_create(struct tm_made *made, struct tm_disk *disk,
                              struct tm_staging *staging, enum tm_direct direct)
{
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < made->output->num_shards && status == TM_OK; i++) {
        struct tm_made_shard *shard = &made->shards[i];
        const bool is_kept = shard->marked > 0; /* as tm_mark_take found it */
        const char *name =
            tm_path_join(&staging->arena, made->output->directory,
                         made->output->shards[i].name);

        shard->path = name != NULL ? tm_staging_path(staging, name) : NULL;
        if (shard->path == NULL)
            return tm_no_memory();
        status = tm_staging_make_parents(staging, name);
        if (status == TM_OK)
            status = reserve_header(made, i);
        if (status == TM_OK && is_kept)
            status = reopen(shard, disk, staging, name, direct);
        else if (status == TM_OK)
            status = tm_file_create(disk->engine, staging->fd, name,
                                    shard->path, 0, direct, &shard->file);
    }
    return status;
}

/* --- the end -------------------------------------------------------------*/

/* Writes `length` bytes at `offset`, whatever blocks that touches. */
static enum tm_status write_at(struct tm_disk *disk, struct tm_file *file,
                               uint64_t offset, unsigned char *bytes,
                               size_t length)
{
    enum tm_status status = TM_OK;

    for (size_t at = 0; at < length && status == TM_OK; at += TM_REQUEST) {
        struct tm_transfer transfer = {
            .kind = TM_OP_WRITE,
            .file = file,
            .offset = offset + at,
            .buf = bytes + at,
            .len = length - at < TM_REQUEST ? length - at : TM_REQUEST,
        };

        status = tm_transfer_now(disk, &transfer);
    }
    return status;
}

/* The first bytes of the tuned shard, malloc'ed. */
static enum tm_status read_start(const struct tm_made *made, size_t number,
                                 struct tm_disk *disk, char **start)
{
    const struct tm_output_shard *from = &made->output->shards[number];
    uint64_t length = from->start_bytes;
    struct tm_file file;
    enum tm_status status;

    *start = NULL;
    if (from->start_path == NULL) {
        *start = malloc(length + 1);
        if (*start == NULL)
            return tm_no_memory();
        memcpy(*start, made->plan->shards[number].header, length);
        return TM_OK;
    }
    status = tm_file_open(disk->engine, from->start_path, TM_DIRECT_OFF, &file,
                          NULL);
    if (status != TM_OK)
        return status;
    status = tm_infile_start(disk, &file, &length, start);
    tm_file_close(disk->engine, &file);
    if (status == TM_OK && length != from->start_bytes)
        status = tm_error(TM_IO_ERROR, "%s: was changed while it was read",
                          from->start_path);
    return status;
}

/* The index of the shard, malloc'ed. */
static enum tm_status make_index(const struct tm_made *made, size_t number,
                                 struct tm_disk *disk, unsigned char **index,
                                 size_t *length)
{
    const struct tm_output_shard *from = &made->output->shards[number];
    const struct tm_coded *records = &made->records[from->first];
    struct tm_index_parts parts = {
        .records = records,
        .num_records = from->count,
        .tuned_bytes = from->tuned_bytes,
        .start_bytes = from->start_bytes,
    };
    uint32_t *lengths;
    char *start;
    enum tm_status status;

    for (size_t i = 0; i < from->count; i++)
        parts.num_lengths += records[i].count;
    lengths = malloc((parts.num_lengths + 1) * sizeof(*lengths));
    if (lengths == NULL)
        return tm_no_memory();
    parts.lengths = lengths;
    for (size_t i = 0, at = 0; i < from->count; at += records[i++].count)
        memcpy(lengths + at, made->lengths + records[i].first,
               records[i].count * sizeof(*lengths));
    status = read_start(made, number, disk, &start);
    parts.start = start;
    if (status == TM_OK)
        status = tm_vector_make_index(&parts, index, length);
    free(start);
    free(lengths);
    return status;
}

/* Behind the data: what the last block begins with, and the index. */
static enum tm_status write_index(struct tm_made_shard *shard,
                                  struct tm_disk *disk, unsigned char *index,
                                  size_t length)
{
    const uint64_t tail = shard->position % TM_BLOCK;
    enum tm_status status = write_at(disk, &shard->file, shard->position - tail,
                                     shard->block, tail);

    tm_hasher_add(&shard->data, index, length);
    if (status == TM_OK)
        status = write_at(disk, &shard->file, shard->position, index, length);
    shard->bytes = shard->position + length;
    shard->data_digest = tm_hasher_digest(&shard->data);
    return status;
}

static enum tm_status write_header(struct tm_made *made, size_t number,
                                   struct tm_disk *disk, uint64_t index_bytes)
{
    struct tm_made_shard *shard = &made->shards[number];
    const uint64_t n = shard->header_bytes - 8;
    struct tm_text text;
    enum tm_status status = make_header(made, number, index_bytes, &text);

    if (status == TM_OK && !tm_text_pad(&text, shard->header_bytes))
        status = tm_no_memory();
    if (status == TM_OK && text.length != shard->header_bytes)
        status = tm_error(TM_INTERNAL, "%s: its header outgrew its place",
                          shard->path);
    if (status == TM_OK) {
        for (unsigned i = 0; i < 8; i++)
            text.bytes[i] = (char)(n >> (8 * i));
        shard->header_digest = tm_digest_of(text.bytes, text.length);
        status = write_at(disk, &shard->file, 0, (unsigned char *)text.bytes,
                          text.length);
    }
    free(text.bytes);
    return status;
}

static enum tm_status finish_shard(struct tm_made *made, size_t number,
                                   struct tm_disk *disk)
{
    struct tm_made_shard *shard = &made->shards[number];
    struct tm_transfer sync = {.kind = TM_OP_SYNC, .file = &shard->file};
    unsigned char *index = NULL;
    size_t length = 0;
    enum tm_status status = make_index(made, number, disk, &index, &length);

    if (shard->file.direct)
        tm_file_make_buffered(&shard->file);
    if (status == TM_OK)
        status = write_index(shard, disk, index, length);
    if (status == TM_OK)
        status = write_header(made, number, disk, length);
    free(index);
    if (status == TM_OK)
        status = tm_transfer_now(disk, &sync);
    if (status == TM_OK)
        status = tm_file_close(disk->engine, &shard->file);
    return status;
}

enum tm_status tm_made_finish(struct tm_made *made, struct tm_disk *disk)
{
    enum tm_status status = TM_OK;

    tm_made_settle(made, 1);
    for (size_t i = 0; i < made->output->num_shards && status == TM_OK; i++)
        status = finish_shard(made, i, disk);
    return status;
}
