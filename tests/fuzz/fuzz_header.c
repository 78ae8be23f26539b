/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_header: the header of a checkpoint file.
 *
 * Input: 8 bytes with the size of the data section, little-endian, and the
 * text of the header. What is accepted must keep the promises of
 * io/checkpoint.h, and must be the same when it is written and read again.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint.h"
#include "io/safetensors.h"

static bool is_same(const struct tm_tensor *a, const struct tm_tensor *b)
{
    return strcmp(a->name, b->name) == 0 &&
           strcmp(a->dtype_name, b->dtype_name) == 0 && a->dtype == b->dtype &&
           a->ndim == b->ndim &&
           memcmp(a->shape, b->shape, a->ndim * sizeof(*a->shape)) == 0 &&
           a->elements == b->elements && a->bytes == b->bytes;
}

/* The tensors tile the data section, and each is found by its name. */
static void check_tensors(const struct tm_checkpoint *c, uint64_t data_bytes)
{
    uint64_t end = c->shards[0].data_start;

    FUZZ_REQUIRE(c->num_shards == 1);
    FUZZ_REQUIRE(c->shards[0].first == 0);
    FUZZ_REQUIRE(c->shards[0].count == c->num_tensors);
    for (size_t t = 0; t < c->num_tensors; t++) {
        const struct tm_tensor *tensor = &c->tensors[t];

        FUZZ_REQUIRE(tensor->offset == end);
        FUZZ_REQUIRE(tensor->ndim <= TM_MAX_DIMS);
        FUZZ_REQUIRE(tensor->shard == 0);
        FUZZ_REQUIRE(tm_utf8_is_valid(tensor->name, strlen(tensor->name)));
        FUZZ_REQUIRE(tm_checkpoint_get(c, tensor->name) == tensor);
        if (tensor->dtype != TM_OPAQUE)
            FUZZ_REQUIRE(tensor->bytes * 8 ==
                         tensor->elements *
                             tm_dtype_bits((enum tm_dtype)tensor->dtype));
        end += tensor->bytes;
    }
    FUZZ_REQUIRE(end - c->shards[0].data_start == data_bytes);
}

static char *write_header(const struct tm_checkpoint *c, size_t *length)
{
    struct tm_json_writer writer = {.sink = tm_json_to_file, .compact = true};
    char *text = NULL;
    FILE *stream = open_memstream(&text, length);

    FUZZ_REQUIRE(stream != NULL);
    writer.context = stream;
    tm_json_begin(&writer, NULL, '{');
    for (size_t t = 0; t < c->num_tensors; t++) {
        const struct tm_tensor *tensor = &c->tensors[t];

        tm_safetensors_write(
            &writer, &(struct tm_header_tensor){
                         .name = tensor->name,
                         .dtype_name = tensor->dtype_name,
                         .ndim = tensor->ndim,
                         .shape = tensor->shape,
                         .begin = tensor->offset - c->shards[0].data_start,
                         .bytes = tensor->bytes,
                     });
    }
    tm_json_finish(&writer, '}');
    FUZZ_REQUIRE(fclose(stream) == 0 && !writer.failed);
    return text;
}

static void check_again(const struct tm_checkpoint *c, uint64_t data_bytes)
{
    struct tm_checkpoint again;
    size_t length;
    char *text = write_header(c, &length);

    FUZZ_REQUIRE(tm_checkpoint_from_header(text, length, data_bytes, &again) ==
                 TM_OK);
    FUZZ_REQUIRE(again.num_tensors == c->num_tensors);
    for (size_t t = 0; t < c->num_tensors; t++)
        FUZZ_REQUIRE(is_same(&again.tensors[t], &c->tensors[t]));
    tm_checkpoint_close(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tm_checkpoint checkpoint;
    uint64_t data_bytes = 0, length;
    enum tm_status status;

    tm_message_silence();
    status = tm_safetensors_length("input", data, size < 8 ? size : 8, size,
                                   &length);
    FUZZ_REQUIRE(status == TM_OK || status == TM_BAD_DATA);
    FUZZ_REQUIRE(status != TM_OK || length <= size - 8);
    if (size < 8)
        return 0;
    for (unsigned i = 0; i < 8; i++)
        data_bytes |= (uint64_t)data[i] << (8 * i);
    status = tm_checkpoint_from_header((const char *)data + 8, size - 8,
                                       data_bytes, &checkpoint);
    if (status == TM_OK) {
        check_tensors(&checkpoint, data_bytes);
        /* The text may become longer, and the whole too large to count. */
        if (data_bytes < UINT64_MAX / 2)
            check_again(&checkpoint, data_bytes);
    } else {
        FUZZ_REQUIRE(status == TM_BAD_DATA || status == TM_USAGE);
    }
    tm_checkpoint_close(&checkpoint);
    return 0;
}
