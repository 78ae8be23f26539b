/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_container: a stored vector as a whole, in files: opened, verified and
 * put back on its base.
 *
 * Input: a byte of flags; two bytes of a length and that many of the index,
 * without its digest; with GIVEN_HEADER the same of the shard's header; then
 * the blobs. Without, a header is made here in which each blob is as long as
 * the index says. The manifest and all digests of whole files are made here,
 * with SEALED those of the chunks' payloads too: no fuzzer finds one.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "io/chunk.h"
#include "io/vector_parts.h"
#include "src/check.h"
#include "src/commands.h"
#include "src/verify_vector.h"

#define GIVEN_HEADER 1
#define SEALED       2
#define APPLIED      4

#define SHARD "vector-00001-of-00001.safetensors"

/* More than any input needs; a claim of more is not written out. */
#define MOST_BYTES 65536

/* Bytes that grow, and where there is no memory end the program. */
struct bytes {
    uint8_t *data;
    size_t size;
};

static void add(struct bytes *b, const void *data, size_t size)
{
    b->data = realloc(b->data, b->size + size + 1);
    FUZZ_REQUIRE(b->data != NULL);
    if (size > 0)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    b->data[b->size] = 0;
}

static void add_text(struct bytes *b, const char *text)
{
    add(b, text, strlen(text));
}

/* --- files ---------------------------------------------------------------*/

static char folder[64], base_path[128], vector_path[128], out_path[128];

static void write_file(const char *directory, const char *name,
                       const struct bytes *b)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "wb");
    FUZZ_REQUIRE(file != NULL);
    FUZZ_REQUIRE(fwrite(b->data, 1, b->size, file) == b->size);
    FUZZ_REQUIRE(fclose(file) == 0);
}

static void add_start(struct bytes *file, const void *header, size_t length)
{
    uint8_t bytes[8];

    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)length >> 8 * i);
    add(file, bytes, sizeof(bytes));
    add(file, header, length);
}

/* What the vectors of the seeds are made against (make_corpus.py). */
static void write_base(void)
{
    static const char header[] =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[300],\"data_offsets\":[16,616]},"
        "\"c\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[616,622]}}";
    struct bytes file = {0};

    add_start(&file, header, strlen(header));
    for (unsigned i = 0; i < 622; i++) {
        const uint8_t byte = (uint8_t)(i * 37 + 11);

        add(&file, &byte, 1);
    }
    write_file(folder, "base.safetensors", &file);
    free(file.data);
}

static void clean_up(void)
{
    char path[256];

    unlink(out_path);
    unlink(base_path);
    snprintf(path, sizeof(path), "%s/%s", vector_path, SHARD);
    unlink(path);
    snprintf(path, sizeof(path), "%s/%s", vector_path, TM_VECTOR_MANIFEST);
    unlink(path);
    rmdir(vector_path);
    rmdir(folder);
}

/* In memory where that is possible. */
static void make_folder(void)
{
    if (folder[0] != '\0')
        return;
    snprintf(folder, sizeof(folder), "/dev/shm/taumerge-fuzz-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        snprintf(folder, sizeof(folder), "/tmp/taumerge-fuzz-XXXXXX");
        FUZZ_REQUIRE(mkdtemp(folder) != NULL);
    }
    snprintf(base_path, sizeof(base_path), "%s/base.safetensors", folder);
    snprintf(vector_path, sizeof(vector_path), "%s/vector", folder);
    snprintf(out_path, sizeof(out_path), "%s/out.safetensors", folder);
    FUZZ_REQUIRE(mkdir(vector_path, 0777) == 0);
    write_base();
    atexit(clean_up);
}

/* --- the parts of the input ----------------------------------------------*/

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t take_byte(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

/* Two bytes of a length and as much as there is of that. */
static struct input take_part(struct input *in)
{
    const size_t low = take_byte(in);
    const size_t length = low | (size_t)take_byte(in) << 8;
    struct input part = {in->data, length < in->size ? length : in->size};

    in->data += part.size;
    in->size -= part.size;
    return part;
}

static void add_quoted(struct bytes *b, const char *name)
{
    for (; *name != '\0'; name++) {
        char text[8];

        if ((unsigned char)*name < 32 || *name == '"' || *name == '\\')
            snprintf(text, sizeof(text), "\\u%04x", (unsigned char)*name);
        else
            snprintf(text, sizeof(text), "%c", *name);
        add_text(b, text);
    }
}

static void add_entry(struct bytes *header, const char *name, size_t begin,
                      size_t size)
{
    char text[128];

    add_text(header, ",\"");
    add_quoted(header, name);
    snprintf(text, sizeof(text),
             "\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
             size, begin, begin + size);
    add_text(header, text);
}

/* What is made of an input. */
struct made {
    struct bytes header, blobs, index;
    uint64_t tuned_bytes;
};

/* The chunks of a blob get the checksums that their payloads have. */
static void seal(struct bytes *blobs, const struct tm_coded *coded,
                 const uint32_t *lengths, size_t at)
{
    for (uint64_t k = 0; k < coded->count; k++) {
        const size_t length = lengths[coded->first + k];

        if (at + length > blobs->size)
            return;
        if (length > TM_CHUNK_HEAD) {
            uint8_t *head = blobs->data + at;
            const uint32_t sum = (uint32_t)XXH3_64bits(head + TM_CHUNK_HEAD,
                                                       length - TM_CHUNK_HEAD);

            for (unsigned i = 0; i < 4; i++)
                head[4 + i] = (uint8_t)(sum >> 8 * i);
        }
        at += length;
    }
}

/* A header for the tensors that the index has, and blobs as long. */
static void fit(struct made *made, const struct tm_vector_stored *vector,
                struct input *in, bool sealed)
{
    const uint32_t *lengths = vector->shards[0].lengths;
    size_t at = 0;

    for (size_t t = 0; t < vector->tuned.num_tensors; t++) {
        const struct tm_coded *coded = &vector->coded[t];

        add_entry(&made->header, vector->tuned.tensors[t].name, at,
                  coded->bytes);
        at += coded->bytes;
    }
    if (at > MOST_BYTES)
        at = MOST_BYTES;
    add(&made->blobs, in->data, in->size < at ? in->size : at);
    while (made->blobs.size < at)
        add(&made->blobs, "", 1);
    at = 0;
    for (size_t t = 0; sealed && t < vector->tuned.num_tensors; t++) {
        seal(&made->blobs, &vector->coded[t], lengths, at);
        at += vector->coded[t].bytes;
    }
}

/* An index that is none has no blobs. */
static void fit_to_index(struct made *made, struct input *in, bool sealed)
{
    static const char *const name = "input";
    struct tm_vector_shard shard = {
        .name = name, .path = name, .tuned_name = name};
    struct tm_vector_stored vector = {
        .path = name, .shards = &shard, .tuned = {.path = name}};
    struct tm_index_view view;
    enum tm_status status =
        tm_vector_split_index(name, made->index.data, made->index.size, &view);

    add_text(&made->header, "{\"__metadata__\":{\"format\":\"taumerge-vector"
                            "\"}");
    if (status == TM_OK) {
        made->tuned_bytes = view.tuned_bytes;
        status = tm_checkpoint_list(&vector.tuned, &name, 1);
    }
    if (status == TM_OK)
        status = tm_vector_take_index(&vector, 0, &view, NULL);
    if (status == TM_OK)
        status = tm_checkpoint_finish(&vector.tuned);
    if (status == TM_OK)
        fit(made, &vector, in, sealed);
    add_entry(&made->header, TM_VECTOR_INDEX, made->blobs.size,
              made->index.size);
    add_text(&made->header, "}");
    tm_vector_close(&vector);
}

static void take_parts(struct made *made, struct input *in, unsigned flags)
{
    const struct input index = take_part(in);
    const struct tm_digest digest = tm_digest_of(index.data, index.size);

    add(&made->index, index.data, index.size);
    add(&made->index, digest.bytes, sizeof(digest.bytes));
    if ((flags & GIVEN_HEADER) != 0) {
        const struct input header = take_part(in);

        add(&made->header, header.data, header.size);
        add(&made->blobs, in->data, in->size);
        made->tuned_bytes = UINT64_MAX;
    } else {
        fit_to_index(made, in, (flags & SEALED) != 0);
    }
}

/* --- the vector ----------------------------------------------------------*/

static void write_manifest(const struct bytes *shard, size_t start)
{
    const struct tm_digest head = tm_digest_of(shard->data, start);
    const struct tm_digest data =
        tm_digest_of(shard->data + start, shard->size - start);
    char digits[2][TM_DIGEST_CHARS + 1], text[512];
    struct bytes manifest = {0};
    struct tm_digest own;

    tm_digest_print(&head, digits[0]);
    tm_digest_print(&data, digits[1]);
    snprintf(text, sizeof(text),
             "{\"format\":\"taumerge-vector\",\"version\":1,"
             "\"base\":{\"path\":\"b\"},\"tuned\":{\"path\":\"t\","
             "\"single_file\":true},\"shards\":[{\"file\":\"" SHARD "\","
             "\"bytes\":%zu,\"name\":\"t.safetensors\","
             "\"header_xxh128\":\"%s\",\"data_xxh128\":\"%s\"}],\"files\":{},",
             shard->size, digits[0], digits[1]);
    add_text(&manifest, text);
    add_text(&manifest, "\"taumerge\":\"0\",\"zstd\":\"0\",\"left_out\":[],"
                        "\"statistics\":{\"tensors\":{}},");
    own = tm_digest_of(manifest.data, manifest.size);
    tm_digest_print(&own, digits[0]);
    snprintf(text, sizeof(text), "\"xxh128\": \"%s\"\n}\n", digits[0]);
    add_text(&manifest, text);
    write_file(vector_path, TM_VECTOR_MANIFEST, &manifest);
    free(manifest.data);
}

static void write_vector(const struct made *made)
{
    struct bytes shard = {0};

    add_start(&shard, made->header.data, made->header.size);
    add(&shard, made->blobs.data, made->blobs.size);
    add(&shard, made->index.data, made->index.size);
    write_file(vector_path, SHARD, &shard);
    write_manifest(&shard, 8 + made->header.size);
    free(shard.data);
}

static void verify(void)
{
    static struct tm_disk disk;
    const struct tm_settings settings = {.progress = TM_PROGRESS_NONE};
    struct tm_check check;
    enum tm_status status;

    if (disk.engine == NULL)
        FUZZ_REQUIRE(tm_disk_open(TM_IO_AUTO, NULL, &disk) == TM_OK);
    tm_check_init(&check, vector_path, &disk, &settings);
    status = tm_verify_vector(&check);
    FUZZ_REQUIRE(status == TM_OK || status == TM_BAD_DATA);
    tm_check_free(&check);
}

static void *apply_in_thread(void *context)
{
    static char name[] = "apply", quiet[] = "-q", threads[] = "--threads";
    static char one[] = "1", output[] = "-o";
    char *argv[] = {name,        quiet,  threads,  one, base_path,
                    vector_path, output, out_path, NULL};

    *(enum tm_status *)context = tm_command_apply(8, argv);
    return NULL;
}

/*
 * All or nothing. In a thread of its own, as what io/confine.h gives away is
 * gone for good.
 */
static void apply(uint64_t tuned_bytes)
{
    enum tm_status status = TM_INTERNAL;
    pthread_t thread;
    struct stat st;

    FUZZ_REQUIRE(pthread_create(&thread, NULL, apply_in_thread, &status) == 0);
    FUZZ_REQUIRE(pthread_join(thread, NULL) == 0);
    FUZZ_REQUIRE(status != TM_INTERNAL && status != TM_IO_ERROR);
    FUZZ_REQUIRE((stat(out_path, &st) == 0) == (status == TM_OK));
    if (status == TM_OK) {
        FUZZ_REQUIRE((uint64_t)st.st_size == tuned_bytes);
        FUZZ_REQUIRE(unlink(out_path) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    const unsigned flags = take_byte(&in);
    struct made made = {0};

    tm_message_silence();
    make_folder();
    take_parts(&made, &in, flags);
    write_vector(&made);
    verify();
    /* What claims to be large is not made: the disk is real. */
    if ((flags & APPLIED) != 0 && made.tuned_bytes <= MOST_BYTES)
        apply(made.tuned_bytes);
    free(made.header.data);
    free(made.blobs.data);
    free(made.index.data);
    return 0;
}
