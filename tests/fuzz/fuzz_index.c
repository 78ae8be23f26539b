/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_index: the index of a sharded checkpoint. Input: its text.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "io/index.h"

/* Shards are sorted plain names, once each, and each entry has one. */
static void check_index(const struct tm_index *index)
{
    FUZZ_REQUIRE(index->num_shards > 0);
    FUZZ_REQUIRE(index->num_entries >= index->num_shards);
    for (size_t i = 0; i < index->num_shards; i++) {
        const char *name = index->shards[i];

        FUZZ_REQUIRE(name[0] != '\0' && strchr(name, '/') == NULL);
        FUZZ_REQUIRE(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
        FUZZ_REQUIRE(i == 0 || strcmp(index->shards[i - 1], name) < 0);
    }
    for (size_t i = 0; i < index->num_entries; i++) {
        const char *name = index->entries[i].tensor;

        FUZZ_REQUIRE(index->entries[i].shard < index->num_shards);
        FUZZ_REQUIRE(tm_utf8_is_valid(name, strlen(name)));
    }
}

/* The metadata goes into the output's index, so it must be JSON. */
static void check_metadata(const struct tm_index *index)
{
    json_t *value;

    if (index->metadata == NULL)
        return;
    value = json_loads(index->metadata, 0, NULL);
    FUZZ_REQUIRE(value != NULL);
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tm_arena arena = {0};
    struct tm_index index = {.path = "input", .length = size};
    enum tm_status status;

    tm_message_silence();
    index.text = malloc(size > 0 ? size : 1);
    FUZZ_REQUIRE(index.text != NULL);
    if (size > 0)
        memcpy(index.text, data, size);
    status = tm_index_parse(&index, &arena);
    FUZZ_REQUIRE(status == TM_OK || status == TM_BAD_DATA);
    if (status == TM_OK) {
        check_index(&index);
        check_metadata(&index);
    }
    tm_index_free(&index);
    tm_arena_free(&arena);
    return 0;
}
