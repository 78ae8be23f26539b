/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_manifest: the manifest of a stored vector.
 *
 * Input: its text up to the key of the digest, which is made here: no fuzzer
 * finds one. Whatever is accepted, no name may lead out of the vector, or be
 * there twice. The statistics are those of a vector with the tensors a and b.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

#include "io/vector_parts.h"

static void check_name(const char *name)
{
    FUZZ_REQUIRE(name[0] != '\0' && name[0] != '/');
    FUZZ_REQUIRE(tm_utf8_is_valid(name, strlen(name)));
    for (const char *part = name; part != NULL; part = strchr(part, '/')) {
        part += *part == '/';
        FUZZ_REQUIRE(*part != '\0' && *part != '/');
        FUZZ_REQUIRE(strcmp(part, ".") != 0 && strcmp(part, "..") != 0);
        FUZZ_REQUIRE(strncmp(part, "./", 2) != 0);
        FUZZ_REQUIRE(strncmp(part, "../", 3) != 0);
    }
}

/* The path is the vector's, `below` and the name. */
static void check_path(const char *path, const char *below, const char *name)
{
    const size_t root = strlen("dir/"), middle = strlen(below);

    FUZZ_REQUIRE(strncmp(path, "dir/", root) == 0);
    FUZZ_REQUIRE(strncmp(path + root, below, middle) == 0);
    FUZZ_REQUIRE(strcmp(path + root + middle, name) == 0);
}

static void check_shards(const struct tm_vector_stored *v)
{
    const size_t count = v->tuned.num_shards;

    FUZZ_REQUIRE(count > 0);
    FUZZ_REQUIRE(v->single_file == (v->tuned.directory == NULL));
    FUZZ_REQUIRE(!v->single_file || count == 1);
    for (size_t i = 0; i < count; i++) {
        const struct tm_vector_shard *shard = &v->shards[i];

        check_name(shard->name);
        check_name(shard->tuned_name);
        check_path(shard->path, "", shard->name);
        FUZZ_REQUIRE(strchr(shard->tuned_name, '/') == NULL);
        FUZZ_REQUIRE(v->tuned.shards[i].name == shard->tuned_name);
        FUZZ_REQUIRE(v->tuned.shards[i].path == shard->path);
        FUZZ_REQUIRE(i == 0 || strcmp(v->shards[i - 1].tuned_name,
                                      shard->tuned_name) < 0);
        for (size_t k = 0; k < i && i < 100; k++)
            FUZZ_REQUIRE(strcmp(v->shards[k].name, shard->name) != 0);
    }
}

static void check_files(const struct tm_vector_stored *v)
{
    for (size_t i = 0; i < v->num_files; i++) {
        check_name(v->files[i].name);
        check_path(v->files[i].path, "files/", v->files[i].name);
        FUZZ_REQUIRE(i == 0 ||
                     strcmp(v->files[i - 1].name, v->files[i].name) < 0);
        for (size_t k = 0; k < v->tuned.num_shards && k < 100; k++)
            FUZZ_REQUIRE(strcmp(v->shards[k].tuned_name, v->files[i].name) !=
                         0);
    }
}

/* Gives the vector the tensors a and b. */
static void add_tensors(struct tm_vector_stored *vector)
{
    static const char header[] =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[12,16]}}";
    const size_t length = strlen(header);

    FUZZ_REQUIRE(tm_checkpoint_add_header(&vector->tuned, 0, header, length,
                                          8 + length + 16) == TM_OK);
    FUZZ_REQUIRE(tm_checkpoint_finish(&vector->tuned) == TM_OK);
}

static void check_statistics(const struct tm_vector_stored *v)
{
    for (size_t t = 0; t < v->tuned.num_tensors; t++) {
        const struct tm_vector_stats *stats = &v->stats[t];

        FUZZ_REQUIRE(stats->changed <= v->tuned.tensors[t].elements);
        FUZZ_REQUIRE(isfinite(stats->sum) && isfinite(stats->absolute));
        FUZZ_REQUIRE(isfinite(stats->squares) && isfinite(stats->largest));
    }
}

static void check(const char *text, size_t length)
{
    struct tm_vector_stored vector = {.path = "dir"};
    struct tm_vector_manifest manifest = {
        .path = "input", .text = text, .length = length};
    enum tm_status status = tm_vector_take_manifest(&vector, &manifest);

    FUZZ_REQUIRE(status == TM_OK || status == TM_BAD_DATA);
    if (status == TM_OK) {
        check_shards(&vector);
        check_files(&vector);
        FUZZ_REQUIRE(vector.base_path != NULL && vector.written_by != NULL);
        add_tensors(&vector);
        status = tm_vector_take_statistics(&vector, &manifest);
        FUZZ_REQUIRE(status == TM_OK || status == TM_BAD_DATA);
    }
    if (status == TM_OK)
        check_statistics(&vector);
    tm_vector_close(&vector);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct tm_digest digest = tm_digest_of(data, size);
    char digits[TM_DIGEST_CHARS + 1];
    char *text = malloc(size + 64);
    int tail;

    tm_message_silence();
    FUZZ_REQUIRE(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    check(text, size);
    tm_digest_print(&digest, digits);
    tail = snprintf(text + size, 64, "\"xxh128\": \"%s\"\n}\n", digits);
    check(text, size + (size_t)tail);
    free(text);
    return 0;
}
