/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_vector_index: the index of a shard of a stored vector.
 *
 * Input: its bytes without the digest at the end, which is made here: no
 * fuzzer finds one. They are tried twice: as they are, and with the numbers
 * put right that say how long its parts are, so that parts which grow or
 * shrink are read as well. What is accepted must keep the promises of
 * io/vector.h, and must be the same when it is written and read again.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "io/chunk.h"
#include "io/vector_parts.h"
#include "kernels/rans.h"

/* The chunks of a tensor: as many as its words need, none too long. */
static void check_chunks(const struct tm_tensor *tensor,
                         const struct tm_coded *coded, const uint32_t *lengths)
{
    const uint64_t whole =
        TM_CHUNK_WORDS * tm_word_bytes((enum tm_dtype)tensor->dtype);
    uint64_t sum = 0;

    FUZZ_REQUIRE(coded->count ==
                 (coded->state == TM_UNCHANGED
                      ? 0
                      : tensor->bytes / whole + (tensor->bytes % whole > 0)));
    for (uint64_t k = 0; k < coded->count; k++) {
        const uint32_t length = lengths[coded->first + k];
        const uint64_t left = tensor->bytes - k * whole;

        FUZZ_REQUIRE(length != 0 || coded->state == TM_DELTA);
        FUZZ_REQUIRE(length == 0 || length > TM_CHUNK_HEAD);
        FUZZ_REQUIRE(length <= TM_CHUNK_HEAD + (left < whole ? left : whole));
        sum += length;
    }
    FUZZ_REQUIRE(sum == coded->bytes);
}

static void check_tensors(const struct tm_vector_stored *vector,
                          const struct tm_index_view *view)
{
    uint64_t next = 0, end = vector->shards[0].start_bytes;

    FUZZ_REQUIRE(vector->tuned.num_tensors == view->num_records);
    for (size_t t = 0; t < vector->tuned.num_tensors; t++) {
        const struct tm_tensor *tensor = &vector->tuned.tensors[t];
        const struct tm_coded *coded = &vector->coded[t];

        FUZZ_REQUIRE(tm_checkpoint_get(&vector->tuned, tensor->name) == tensor);
        FUZZ_REQUIRE(tensor->offset == end);
        FUZZ_REQUIRE(coded->first == next);
        FUZZ_REQUIRE(coded->state <= TM_UNCHANGED);
        FUZZ_REQUIRE((coded->base_code == 0) == (coded->state == TM_ALONE));
        check_chunks(tensor, coded, vector->shards[0].lengths);
        end += tensor->bytes;
        next += coded->count;
    }
    FUZZ_REQUIRE(next == view->num_lengths);
    FUZZ_REQUIRE(end == view->tuned_bytes);
}

/* All but the frame is written as it was; the whole is an index again. */
static void check_again(const struct tm_vector_stored *vector,
                        const struct tm_index_view *view)
{
    const struct tm_index_parts parts = {
        .records = vector->coded,
        .num_records = vector->tuned.num_tensors,
        .lengths = vector->shards[0].lengths,
        .num_lengths = view->num_lengths,
        .tuned_bytes = vector->shards[0].tuned_bytes,
        .start = vector->shards[0].start,
        .start_bytes = vector->shards[0].start_bytes,
    };
    const size_t same = (size_t)(view->frame - view->records);
    unsigned char *bytes;
    size_t length;

    FUZZ_REQUIRE(tm_vector_make_index(&parts, &bytes, &length) == TM_OK);
    FUZZ_REQUIRE(length > TM_INDEX_HEAD + same);
    FUZZ_REQUIRE(memcmp(bytes, view->records - TM_INDEX_HEAD, 28) == 0);
    FUZZ_REQUIRE(memcmp(bytes + TM_INDEX_HEAD, view->records, same) == 0);
    FUZZ_REQUIRE(tm_vector_check_index(bytes, length));
    free(bytes);
}

static void check(const unsigned char *bytes, size_t length)
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
    FUZZ_REQUIRE(status == TM_OK || status == TM_BAD_DATA);
    if (status == TM_OK) {
        check_tensors(&vector, &view);
        check_again(&vector, &view);
    }
    FUZZ_REQUIRE((status == TM_OK) == tm_vector_check_index(bytes, length));
    tm_vector_close(&vector);
}

static uint64_t get32(const unsigned char *bytes)
{
    return bytes[0] | (uint64_t)bytes[1] << 8 | (uint64_t)bytes[2] << 16 |
           (uint64_t)bytes[3] << 24;
}

static void put32(unsigned char *bytes, uint64_t number)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(number >> 8 * i);
}

/* Of a frame: magic, descriptor, content size, the head of one raw block. */
#define FRAME_HEAD 12
#define BLOCK_MOST (128 << 10)

/* A frame as those of the seeds gets the sizes that it has. */
static bool repair_frame(unsigned char *frame, size_t size)
{
    const uint64_t content = size - FRAME_HEAD;

    if (size < FRAME_HEAD + 8 || content > BLOCK_MOST)
        return false;
    put32(frame, 0xfd2fb528);
    frame[4] = 0xa0;
    put32(frame + 5, content);
    for (unsigned i = 0; i < 3; i++)
        frame[9 + i] = (unsigned char)((content << 3 | 1) >> 8 * i);
    put32(frame + FRAME_HEAD, content - 8);
    put32(frame + FRAME_HEAD + 4, 0);
    return true;
}

/* Few records and chunks, and a frame that has what is left. */
static bool repair(unsigned char *bytes, size_t size)
{
    size_t parts = TM_INDEX_HEAD;

    if (size < parts)
        return false;
    memcpy(bytes, "TMINDEX1", 8);
    put32(bytes + 8, get32(bytes + 8) % 16);
    put32(bytes + 12, get32(bytes + 12) % 64);
    parts += get32(bytes + 8) * TM_RECORD_BYTES + get32(bytes + 12) * 4;
    if (size < parts || !repair_frame(bytes + parts, size - parts))
        return false;
    put32(bytes + 24, size - parts - FRAME_HEAD);
    put32(bytes + 28, size - parts);
    return true;
}

/* `bytes` have room for the digest. */
static void seal_and_check(unsigned char *bytes, size_t size)
{
    const struct tm_digest digest = tm_digest_of(bytes, size);

    memcpy(bytes + size, digest.bytes, sizeof(digest.bytes));
    check(bytes, size + sizeof(digest.bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *bytes = malloc(size + sizeof(struct tm_digest));

    tm_message_silence();
    FUZZ_REQUIRE(bytes != NULL);
    FUZZ_REQUIRE(!tm_vector_check_index(data, size));
    if (size > 0)
        memcpy(bytes, data, size);
    seal_and_check(bytes, size);
    if (repair(bytes, size))
        seal_and_check(bytes, size);
    free(bytes);
    return 0;
}
