/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_vector_index: the index of a shard of a stored vector.
 *
 * Input: its bytes without the digest at the end, which is made here: no
 * fuzzer finds one. What is accepted must keep the promises of io/vector.h,
 * and must be the same when it is written and read again.
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct tm_digest digest = tm_digest_of(data, size);
    unsigned char *sealed = malloc(size + sizeof(digest.bytes));

    tm_message_silence();
    FUZZ_REQUIRE(sealed != NULL);
    FUZZ_REQUIRE(!tm_vector_check_index(data, size));
    if (size > 0)
        memcpy(sealed, data, size);
    memcpy(sealed + size, digest.bytes, sizeof(digest.bytes));
    check(sealed, size + sizeof(digest.bytes));
    free(sealed);
    return 0;
}
