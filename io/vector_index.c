/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_index: the index of a vector's shard (docs/format.md, the index),
 * read and written. See vector_parts.h and vector.h.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "io/checked.h"
#include "io/chunk.h"
#include "io/safetensors.h"
#include "io/vector.h"
#include "io/vector_parts.h"
#include "kernels/rans.h"

#define MAGIC        "TMINDEX1"
#define MAGIC_BYTES  8
#define DIGEST_BYTES 16

/*
 * What the headers and tables of a vector may take: those of tens of millions
 * of tensors. A header of 100 MB can hide in a frame of 5 kB, and chunks that
 * are all the same in a hole of a file; nothing but this keeps a small vector
 * from filling the memory with them.
 */
#define TABLES_MAX ((size_t)4 << 30)

/* Level 3: a header shrinks to a tenth, and higher levels gain little. */
#define FRAME_LEVEL 3

/* Codes of types (docs/format.md, types and words). */
enum { CODE_F64 = 4, CODE_OTHER = 11 };

/* --- numbers -------------------------------------------------------------*/

static uint64_t get(const unsigned char *bytes, unsigned count)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static uint32_t get32(const unsigned char *bytes)
{
    return (uint32_t)get(bytes, 4);
}

static uint64_t get64(const unsigned char *bytes)
{
    return get(bytes, 8);
}

static void put(unsigned char *bytes, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
}

static bool all_zero(const void *bytes, size_t count)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < count; i++)
        if (at[i] != 0)
            return false;
    return true;
}

/* Bytes of an index of these parts; false: more than it may have. */
static bool index_bytes(uint64_t records, uint64_t lengths, uint64_t frame,
                        uint64_t *bytes)
{
    uint64_t all, part;

    if (!tm_mul(records, TM_RECORD_BYTES, &all) || !tm_mul(lengths, 4, &part) ||
        !tm_add(all, part, &all) || !tm_add(all, frame, &all) ||
        !tm_add(all, TM_INDEX_HEAD + DIGEST_BYTES, &all) ||
        all > TM_VECTOR_INDEX_MAX)
        return false;
    *bytes = all;
    return true;
}

/* --- its parts -----------------------------------------------------------*/

static enum tm_status bad_index(const char *path, const char *cause)
{
    return tm_error(TM_BAD_DATA, "%s: its index %s", path, cause);
}

static enum tm_status check_magic(const char *path, const unsigned char *bytes)
{
    const char version = (char)bytes[MAGIC_BYTES - 1];

    if (memcmp(bytes, MAGIC, MAGIC_BYTES) == 0)
        return TM_OK;
    if (memcmp(bytes, MAGIC, MAGIC_BYTES - 1) == 0 && version >= '0' &&
        version <= '9')
        return tm_error(TM_BAD_DATA,
                        "%s: its index is of version %c, which this version of "
                        "taumerge does not know",
                        path, version);
    return bad_index(path, "is none: it begins with other bytes");
}

static enum tm_status check_digest(const char *path, const unsigned char *bytes,
                                   uint64_t length)
{
    const struct tm_digest digest = tm_digest_of(bytes, length - DIGEST_BYTES);

    if (memcmp(bytes + length - DIGEST_BYTES, digest.bytes, DIGEST_BYTES) != 0)
        return bad_index(path, "is damaged: it does not match its checksum");
    return TM_OK;
}

enum tm_status tm_vector_split_index(const char *path,
                                     const unsigned char *bytes,
                                     uint64_t length,
                                     struct tm_index_view *view)
{
    enum tm_status status;
    uint64_t whole;

    if (length < TM_INDEX_HEAD + DIGEST_BYTES)
        return bad_index(path, "is too short to be one");
    status = check_magic(path, bytes);
    if (status == TM_OK)
        status = check_digest(path, bytes, length);
    if (status != TM_OK)
        return status;
    *view = (struct tm_index_view){
        .num_records = get32(bytes + 8),
        .num_lengths = get32(bytes + 12),
        .tuned_bytes = get64(bytes + 16),
        .start_bytes = get32(bytes + 24),
        .frame_bytes = get32(bytes + 28),
    };
    if (!index_bytes(view->num_records, view->num_lengths, view->frame_bytes,
                     &whole))
        return bad_index(path, "would be larger than 1 GiB");
    if (whole != length)
        return tm_error(TM_BAD_DATA,
                        "%s: its index has %" PRIu64 " bytes, its parts "
                        "%" PRIu64,
                        path, length, whole);
    view->records = bytes + TM_INDEX_HEAD;
    view->lengths = view->records + view->num_records * TM_RECORD_BYTES;
    view->frame = view->lengths + view->num_lengths * 4;
    return TM_OK;
}

/* --- the start of the tuned shard ----------------------------------------*/

/* Whether the frame is one of zstd that says it has `start_bytes` bytes. */
static bool is_frame(const struct tm_index_view *view)
{
    /* libzstd may know older formats too; a skippable frame has no bytes. */
    return view->frame_bytes >= 4 && get32(view->frame) == ZSTD_MAGICNUMBER &&
           ZSTD_getFrameContentSize(view->frame, view->frame_bytes) ==
               view->start_bytes &&
           ZSTD_findFrameCompressedSize(view->frame, view->frame_bytes) ==
               view->frame_bytes;
}

/*
 * In one call, into room for all of it: then no window is allocated, whatever
 * size of one the frame asks for.
 */
static enum tm_status decompress(const char *path,
                                 const struct tm_index_view *view,
                                 unsigned char *start)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    size_t result;

    if (context == NULL)
        return tm_no_memory();
    result = ZSTD_decompressDCtx(context, start, view->start_bytes, view->frame,
                                 view->frame_bytes);
    ZSTD_freeDCtx(context);
    if (ZSTD_isError(result))
        return tm_error(TM_BAD_DATA,
                        "%s: its index holds a damaged zstd frame: %s", path,
                        ZSTD_getErrorName(result));
    if (result != view->start_bytes)
        return bad_index(path, "holds a zstd frame of another size");
    return TM_OK;
}

/* Before memory is taken for it. */
static enum tm_status check_start(const struct tm_vector_stored *vector,
                                  const char *path,
                                  const struct tm_index_view *view)
{
    const uint64_t more = view->start_bytes + 4 * view->num_lengths;

    if (view->start_bytes < 8 || view->start_bytes > 8 + TM_HEADER_MAX)
        return bad_index(path, "gives a tuned header of a size none can have");
    if (view->tuned_bytes > INT64_MAX)
        return bad_index(path, "gives a tuned shard of a size none can have");
    if (vector->arena.bytes > TABLES_MAX ||
        more > TABLES_MAX - vector->arena.bytes)
        return bad_index(path, "is one too many: the vector's tables have more "
                               "than 4 GiB");
    if (!is_frame(view))
        return bad_index(path, "does not hold the zstd frame it should");
    return TM_OK;
}

/* Gives the vector's shard its start and tuned_bytes. */
static enum tm_status take_start(struct tm_vector_stored *vector, size_t number,
                                 const struct tm_index_view *view)
{
    struct tm_vector_shard *shard = &vector->shards[number];
    enum tm_status status = check_start(vector, shard->path, view);
    unsigned char *start;

    if (status != TM_OK)
        return status;
    start = tm_arena_alloc(&vector->arena, view->start_bytes);
    if (start == NULL)
        return tm_no_memory();
    status = decompress(shard->path, view, start);
    if (status != TM_OK)
        return status;
    shard->start = start;
    shard->start_bytes = view->start_bytes;
    shard->tuned_bytes = view->tuned_bytes;
    return TM_OK;
}

/* What messages about the tuned header begin with. */
static char *label_of(struct tm_vector_stored *vector,
                      const struct tm_vector_shard *shard)
{
    static const char between[] = ": the header of ";
    const size_t first = strlen(shard->path), last = strlen(shard->tuned_name);
    char *label =
        tm_arena_alloc(&vector->arena, first + sizeof(between) + last);

    if (label == NULL)
        return NULL;
    memcpy(label, shard->path, first);
    memcpy(label + first, between, sizeof(between) - 1);
    memcpy(label + first + sizeof(between) - 1, shard->tuned_name, last + 1);
    return label;
}

/* Adds the tensors of the tuned shard `number` to `tuned`. */
static enum tm_status take_header(struct tm_vector_stored *vector,
                                  size_t number)
{
    struct tm_vector_shard *shard = &vector->shards[number];
    const char *label = label_of(vector, shard);
    enum tm_status status;
    uint64_t length;

    if (label == NULL)
        return tm_no_memory();
    status = tm_safetensors_length(label, shard->start, 8, shard->tuned_bytes,
                                   &length);
    if (status == TM_OK && length != shard->start_bytes - 8)
        status = tm_error(TM_BAD_DATA,
                          "%s: has %" PRIu64 " bytes, and says %" PRIu64, label,
                          shard->start_bytes - 8, length);
    if (status != TM_OK)
        return status;
    vector->tuned.shards[number].path = label;
    status = tm_checkpoint_add_header(&vector->tuned, number,
                                      (const char *)shard->start + 8, length,
                                      shard->tuned_bytes);
    vector->tuned.shards[number].path = shard->path;
    vector->tuned.shards[number].identity = shard->identity;
    return status;
}

/* --- records -------------------------------------------------------------*/

/* The records and lengths of one shard, tensor by tensor. */
struct binding {
    const char *path;
    const struct tm_index_view *view;
    const struct tm_checkpoint *blobs;
    const uint32_t *lengths;
    uint64_t next; /* the first chunk of the next tensor */
};

static enum tm_status bad_tensor(const struct binding *b,
                                 const struct tm_tensor *tensor,
                                 const char *cause)
{
    return tm_error(TM_BAD_DATA, "%s: tensor '%s': %s", b->path, tensor->name,
                    cause);
}

static uint64_t word_bytes(const struct tm_tensor *tensor)
{
    return tm_word_bytes((enum tm_dtype)tensor->dtype);
}

static uint64_t words_of(const struct tm_tensor *tensor)
{
    return tensor->bytes / word_bytes(tensor);
}

/* Whether `code` is that of BF16, F16, F32 or F64. */
static bool is_converted(unsigned code)
{
    return code >= 1 && code <= CODE_F64;
}

/*
 * Whether a tensor of so many words can have the shape of `tensor` but for the
 * first dimension.
 */
static bool has_rows(const struct tm_tensor *tensor, uint64_t words)
{
    uint64_t row =
        tm_dtype_bits((enum tm_dtype)tensor->dtype) / 8 / word_bytes(tensor);

    if (tensor->ndim == 0)
        return words == row;
    for (unsigned i = 1; i < tensor->ndim; i++)
        if (!tm_mul(row, tensor->shape[i], &row))
            return words == 0; /* nothing has so long a row */
    return row > 0 ? words % row == 0 : words == 0;
}

/* What forbids that the tensor is a delta, or NULL. */
static const char *check_delta(const struct tm_tensor *tensor,
                               const struct tm_coded *coded)
{
    const unsigned own = tm_word_code((enum tm_dtype)tensor->dtype);
    const unsigned base = coded->base_code;

    if (base == 0 || base > CODE_OTHER)
        return "its base has a type this version of taumerge does not know";
    if (base != own && !(is_converted(base) && is_converted(own)))
        return "its base has a type that it cannot be a delta against";
    if (coded->base_words > INT64_MAX / 8)
        return "its base has more words than can be";
    if (own == CODE_OTHER)
        return coded->base_words == words_of(tensor)
                   ? NULL
                   : "its base has another number of bytes";
    return has_rows(tensor, coded->base_words)
               ? NULL
               : "its base has a number of words that its shape cannot have";
}

/* What forbids that the tensor is the base's, or NULL. */
static const char *check_unchanged(const struct tm_tensor *tensor,
                                   const struct tm_coded *coded)
{
    if (coded->base_code != tm_word_code((enum tm_dtype)tensor->dtype) ||
        coded->base_words != words_of(tensor) ||
        memcmp(&coded->base_digest, &coded->tuned_digest,
               sizeof(coded->base_digest)) != 0)
        return "is said to be the base's, and is not";
    return NULL;
}

static const char *check_alone(const struct tm_coded *coded)
{
    if (coded->base_code != 0 || coded->base_words != 0 ||
        coded->base_probe != 0 ||
        !all_zero(&coded->base_digest, sizeof(coded->base_digest)))
        return "is said to have no base, and has one";
    return NULL;
}

/* Reads the record at `bytes`. Where the tensor's blob is comes later. */
static enum tm_status take_record(const struct binding *b,
                                  const struct tm_tensor *tensor,
                                  const unsigned char *bytes,
                                  struct tm_coded *coded)
{
    const char *cause;

    *coded = (struct tm_coded){
        .state = bytes[0],
        .base_code = bytes[1],
        .base_words = get64(bytes + 8),
        .base_probe = get64(bytes + 16),
    };
    memcpy(coded->base_digest.bytes, bytes + 24, DIGEST_BYTES);
    memcpy(coded->tuned_digest.bytes, bytes + 40, DIGEST_BYTES);
    memcpy(coded->chunks_digest, bytes + 56, sizeof(coded->chunks_digest));
    if (coded->state > TM_UNCHANGED)
        return tm_error(TM_BAD_DATA,
                        "%s: tensor '%s': has the state %u, which this version "
                        "of taumerge does not know",
                        b->path, tensor->name, coded->state);
    if (!all_zero(bytes + 2, 6))
        return bad_tensor(b, tensor,
                          "its record has bits set which this version of "
                          "taumerge does not know");
    if (coded->state == TM_DELTA)
        cause = check_delta(tensor, coded);
    else if (coded->state == TM_ALONE)
        cause = check_alone(coded);
    else
        cause = check_unchanged(tensor, coded);
    return cause != NULL ? bad_tensor(b, tensor, cause) : TM_OK;
}

/* --- chunks and blobs ----------------------------------------------------*/

static enum tm_status bad_chunk(const struct binding *b,
                                const struct tm_tensor *tensor, uint64_t chunk,
                                uint32_t length, uint64_t bytes)
{
    return tm_error(TM_BAD_DATA,
                    "%s: tensor '%s': chunk %" PRIu64 " cannot have %" PRIu32
                    " bytes for its %" PRIu64,
                    b->path, tensor->name, chunk, length, bytes);
}

/* Checks the lengths of the tensor's chunks and adds them up. */
static enum tm_status sum_chunks(const struct binding *b,
                                 const struct tm_tensor *tensor,
                                 const struct tm_coded *coded, uint64_t *sum)
{
    const uint64_t whole = TM_CHUNK_WORDS * word_bytes(tensor);
    uint64_t left = tensor->bytes;

    *sum = 0;
    for (uint64_t k = 0; k < coded->count; k++) {
        const uint32_t length = b->lengths[coded->first + k];
        const uint64_t bytes = left < whole ? left : whole;

        left -= bytes;
        if (length == 0 && coded->state == TM_ALONE)
            return bad_chunk(b, tensor, k, length, bytes);
        if (length > 0 &&
            (length <= TM_CHUNK_HEAD || length > tm_chunk_bound((size_t)bytes)))
            return bad_chunk(b, tensor, k, length, bytes);
        *sum += length; /* 2^32 lengths of 32 bits fit */
    }
    return TM_OK;
}

/* Gives the tensor its chunks, and their bytes in *sum. */
static enum tm_status take_chunks(struct binding *b,
                                  const struct tm_tensor *tensor,
                                  struct tm_coded *coded, uint64_t *sum)
{
    const uint64_t words = words_of(tensor);

    coded->first = b->next;
    if (coded->state != TM_UNCHANGED)
        coded->count =
            words / TM_CHUNK_WORDS + (words % TM_CHUNK_WORDS > 0 ? 1 : 0);
    if (coded->count > b->view->num_lengths - b->next)
        return tm_error(TM_BAD_DATA,
                        "%s: tensor '%s': needs %" PRIu64
                        " chunks, its index has %" PRIu64 " more",
                        b->path, tensor->name, coded->count,
                        b->view->num_lengths - b->next);
    b->next += coded->count;
    return sum_chunks(b, tensor, coded, sum);
}

/* Gives the tensor its blob, which must have `sum` bytes. */
static enum tm_status take_blob(const struct binding *b,
                                const struct tm_tensor *tensor,
                                struct tm_coded *coded, uint64_t sum)
{
    const struct tm_tensor *blob;

    coded->bytes = sum;
    if (strcmp(tensor->name, TM_VECTOR_INDEX) == 0)
        return bad_tensor(b, tensor, "has the name of the index");
    if (b->blobs == NULL)
        return TM_OK;
    blob = tm_checkpoint_get(b->blobs, tensor->name);
    if (blob == NULL)
        return bad_tensor(b, tensor, "has no blob");
    if (blob->dtype != TM_U8 || blob->ndim != 1)
        return bad_tensor(b, tensor, "its blob is not a row of bytes");
    if (blob->bytes != sum)
        return tm_error(TM_BAD_DATA,
                        "%s: tensor '%s': its chunks have %" PRIu64
                        " bytes, its blob at byte %" PRIu64 " has %" PRIu64,
                        b->path, tensor->name, sum, blob->offset, blob->bytes);
    coded->offset = blob->offset;
    return TM_OK;
}

static enum tm_status bind_tensor(struct binding *b,
                                  const struct tm_tensor *tensor,
                                  const unsigned char *record,
                                  struct tm_coded *coded)
{
    uint64_t sum = 0;
    enum tm_status status = take_record(b, tensor, record, coded);

    if (status == TM_OK)
        status = take_chunks(b, tensor, coded, &sum);
    if (status == TM_OK)
        status = take_blob(b, tensor, coded, sum);
    return status;
}

/* --- all of an index -----------------------------------------------------*/

static enum tm_status take_lengths(struct tm_vector_stored *vector,
                                   size_t number,
                                   const struct tm_index_view *view)
{
    uint32_t *lengths =
        tm_arena_alloc(&vector->arena, view->num_lengths * sizeof(*lengths));

    if (lengths == NULL)
        return tm_no_memory();
    for (uint64_t k = 0; k < view->num_lengths; k++)
        lengths[k] = get32(view->lengths + 4 * k);
    vector->shards[number].lengths = lengths;
    return TM_OK;
}

/* Makes `coded` as long as the tensors of `tuned`. */
static enum tm_status grow_coded(struct tm_vector_stored *vector)
{
    const size_t count = vector->tuned.num_tensors;
    struct tm_coded *coded;

    if (count == 0)
        return TM_OK;
    coded = realloc(vector->coded, count * sizeof(*coded));
    if (coded == NULL)
        return tm_no_memory();
    vector->coded = coded;
    return TM_OK;
}

/* As many records, tensors and blobs: with distinct names they are the same. */
static enum tm_status check_counts(const struct binding *b, size_t tensors)
{
    if (b->view->num_records != tensors)
        return tm_error(TM_BAD_DATA,
                        "%s: its index has %" PRIu64
                        " records, the tuned header %zu tensors",
                        b->path, b->view->num_records, tensors);
    if (b->blobs != NULL && b->blobs->num_tensors - 1 != tensors)
        return tm_error(TM_BAD_DATA,
                        "%s: has %zu blobs, the tuned header %zu tensors",
                        b->path, b->blobs->num_tensors - 1, tensors);
    return TM_OK;
}

static enum tm_status bind_tensors(struct tm_vector_stored *vector,
                                   size_t number, struct binding *b)
{
    const struct tm_shard *shard = &vector->tuned.shards[number];
    enum tm_status status = check_counts(b, shard->count);

    for (size_t i = 0; status == TM_OK && i < shard->count; i++)
        status = bind_tensor(b, &vector->tuned.tensors[shard->first + i],
                             b->view->records + i * TM_RECORD_BYTES,
                             &vector->coded[shard->first + i]);
    if (status == TM_OK && b->next != b->view->num_lengths)
        status = tm_error(TM_BAD_DATA,
                          "%s: its index has %" PRIu64
                          " chunks, its tensors %" PRIu64,
                          b->path, b->view->num_lengths, b->next);
    return status;
}

enum tm_status tm_vector_take_index(struct tm_vector_stored *vector,
                                    size_t number,
                                    const struct tm_index_view *view,
                                    const struct tm_checkpoint *blobs)
{
    struct binding binding = {
        .path = vector->shards[number].path, .view = view, .blobs = blobs};
    enum tm_status status = take_start(vector, number, view);

    if (status == TM_OK)
        status = take_header(vector, number);
    if (status == TM_OK)
        status = take_lengths(vector, number, view);
    if (status == TM_OK)
        status = grow_coded(vector);
    if (status != TM_OK)
        return status;
    binding.lengths = vector->shards[number].lengths;
    return bind_tensors(vector, number, &binding);
}

bool tm_vector_check_index(const unsigned char *bytes, size_t length)
{
    static const char *const name = "input";
    struct tm_vector_shard shard = {
        .name = name, .path = name, .tuned_name = name};
    struct tm_vector_stored vector = {
        .path = name, .shards = &shard, .tuned = {.path = name}};
    struct tm_index_view view;
    enum tm_status status = tm_vector_split_index(name, bytes, length, &view);

    if (status == TM_OK)
        status = tm_checkpoint_list(&vector.tuned, &name, 1);
    if (status == TM_OK)
        status = tm_vector_take_index(&vector, 0, &view, NULL);
    if (status == TM_OK)
        status = tm_checkpoint_finish(&vector.tuned);
    tm_vector_close(&vector);
    return status == TM_OK;
}

/* --- writing -------------------------------------------------------------*/

static void put_record(unsigned char *bytes, const struct tm_coded *coded)
{
    memset(bytes, 0, TM_RECORD_BYTES);
    bytes[0] = coded->state;
    bytes[1] = coded->base_code;
    put(bytes + 8, coded->base_words, 8);
    put(bytes + 16, coded->base_probe, 8);
    memcpy(bytes + 24, coded->base_digest.bytes, DIGEST_BYTES);
    memcpy(bytes + 40, coded->tuned_digest.bytes, DIGEST_BYTES);
    memcpy(bytes + 56, coded->chunks_digest, sizeof(coded->chunks_digest));
}

/* Writes all that stands before the frame; returns where that begins. */
static unsigned char *put_tables(unsigned char *bytes,
                                 const struct tm_index_parts *parts)
{
    unsigned char *at = bytes + TM_INDEX_HEAD;

    memcpy(bytes, MAGIC, MAGIC_BYTES);
    put(bytes + 8, parts->num_records, 4);
    put(bytes + 12, parts->num_lengths, 4);
    put(bytes + 16, parts->tuned_bytes, 8);
    put(bytes + 24, parts->start_bytes, 4);
    for (size_t i = 0; i < parts->num_records; i++, at += TM_RECORD_BYTES)
        put_record(at, &parts->records[i]);
    for (size_t k = 0; k < parts->num_lengths; k++, at += 4)
        put(at, parts->lengths[k], 4);
    return at;
}

enum tm_status tm_vector_make_index(const struct tm_index_parts *parts,
                                    unsigned char **bytes, size_t *length)
{
    const size_t room = ZSTD_compressBound(parts->start_bytes);
    struct tm_digest digest;
    unsigned char *frame;
    uint64_t most;
    size_t size;

    *bytes = NULL;
    if (parts->start_bytes > 8 + TM_HEADER_MAX ||
        !index_bytes(parts->num_records, parts->num_lengths, room, &most))
        return tm_error(TM_SYSTEM,
                        "an index of %zu tensors and %zu chunks "
                        "would be larger than 1 GiB",
                        parts->num_records, parts->num_lengths);
    *bytes = malloc(most);
    if (*bytes == NULL)
        return tm_no_memory();
    frame = put_tables(*bytes, parts);
    size = ZSTD_compress(frame, room, parts->start, parts->start_bytes,
                         FRAME_LEVEL);
    if (ZSTD_isError(size)) {
        free(*bytes);
        *bytes = NULL;
        return tm_no_memory();
    }
    put(*bytes + 28, size, 4);
    *length = (size_t)(frame - *bytes) + size + DIGEST_BYTES;
    digest = tm_digest_of(*bytes, *length - DIGEST_BYTES);
    memcpy(*bytes + *length - DIGEST_BYTES, digest.bytes, DIGEST_BYTES);
    return TM_OK;
}
