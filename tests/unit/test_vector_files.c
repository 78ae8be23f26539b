/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_vector_files: stored vectors as directories: what opening finds in a
 * good one, and what is refused in one with a manifest, a header or a file
 * changed. Manifests are changed as text and get the checksum that goes with
 * the change.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/unit/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "io/transfer.h"
#include "io/vector_parts.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* --- a vector of two shards ----------------------------------------------*/

#define FIRST  "vector-00001-of-00002.safetensors"
#define SECOND "vector-00002-of-00002.safetensors"

static char directory[64]; /* the tests' own; the vector is "v" in it */
static struct tm_disk disk;

/* A path in the test's directory; a few at a time. */
static const char *at(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % COUNT(paths)];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t length)
{
    FILE *file = fopen(at(name), "wb");

    assert_true(file != NULL);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* A shard file in the making, and what the manifest says of it. */
struct shard {
    unsigned char bytes[4096];
    size_t length;
    char header_digest[TM_DIGEST_CHARS + 1];
    char data_digest[TM_DIGEST_CHARS + 1];
};

/* A header of 8 + N bytes; returns its size. */
static size_t put_header(unsigned char *bytes, const char *text)
{
    const size_t length = strlen(text);

    memset(bytes, 0, 8);
    bytes[0] = (unsigned char)length;
    bytes[1] = (unsigned char)(length >> 8);
    memcpy(bytes + 8, text, length);
    return 8 + length;
}

#define ENTRY(name, type, shape, begin, end)                                   \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape                    \
    ",\"data_offsets\":[" #begin "," #end "]}"

/* `form` is the file's header, with the index's size, begin and end open. */
static void make_shard(struct shard *shard, const char *form, size_t blobs,
                       const char *tuned, const struct tm_index_parts *parts)
{
    unsigned char start[1024], *index;
    struct tm_index_parts whole = *parts;
    char header[1024];
    struct tm_digest digest;
    size_t length;

    whole.start = start;
    whole.start_bytes = put_header(start, tuned);
    whole.tuned_bytes += whole.start_bytes;
    assert_int_equal(tm_vector_make_index(&whole, &index, &length), TM_OK);
    snprintf(header, sizeof(header), form, length, blobs, blobs + length);
    shard->length = put_header(shard->bytes, header);
    digest = tm_digest_of(shard->bytes, shard->length);
    tm_digest_print(&digest, shard->header_digest);
    memset(shard->bytes + shard->length, 'b', blobs);
    memcpy(shard->bytes + shard->length + blobs, index, length);
    digest = tm_digest_of(shard->bytes + shard->length, blobs + length);
    tm_digest_print(&digest, shard->data_digest);
    shard->length += blobs + length;
    free(index);
}

#define HEAD "{\"__metadata__\":{\"format\":\"taumerge-vector\"},"
#define INDEX(type, shape)                                                     \
    "\"__taumerge__\":{\"dtype\":\"" type "\",\"shape\":" shape                \
    ",\"data_offsets\":[%zu,%zu]}}"
#define TAIL INDEX("U8", "[%zu]")

/* Of a, 4 BF16 that are a delta, and b, which is the base's. */
static void make_first(struct shard *shard)
{
    static const uint32_t length = 20;
    static const struct tm_coded records[] = {
        {.base_code = 1, .base_words = 4},
        {.state = TM_UNCHANGED, .base_code = 3, .base_words = 1}};
    const struct tm_index_parts parts = {records, 2, &length, 1, 12, NULL, 0};

    make_shard(shard,
               HEAD ENTRY("b", "U8", "[0]", 0, 0) "," ENTRY("a", "U8", "[20]",
                                                            0, 20) "," TAIL,
               20,
               "{" ENTRY("a", "BF16", "[2,2]", 0,
                         8) "," ENTRY("b", "F32", "[1]", 8, 12) "}",
               &parts);
}

/* Of the tensor `name`, 3 bytes alone. */
static void make_second(struct shard *shard, const char *name)
{
    static const uint32_t length = 19;
    static const struct tm_coded record = {.state = TM_ALONE};
    const struct tm_index_parts parts = {&record, 1, &length, 1, 3, NULL, 0};
    const bool is_a = strcmp(name, "a") == 0;

    make_shard(shard,
               is_a ? HEAD ENTRY("a", "U8", "[19]", 0, 19) "," TAIL
                    : HEAD ENTRY("c", "U8", "[19]", 0, 19) "," TAIL,
               19,
               is_a ? "{" ENTRY("a", "U8", "[3]", 0, 3) "}"
                    : "{" ENTRY("c", "U8", "[3]", 0, 3) "}",
               &parts);
}

#define NO_DIGEST "00112233445566778899aabbccddeeff"

static const char manifest[] =
    "{\n"
    "  \"format\": \"taumerge-vector\",\n"
    "  \"version\": 1,\n"
    "  \"taumerge\": \"0.2.0\",\n"
    "  \"zstd\": \"1.5.4\",\n"
    "  \"base\": {\"path\": \"/models/base\"},\n"
    "  \"tuned\": {\"path\": \"/models/tuned\", \"single_file\": false},\n"
    "  \"shards\": [\n"
    "    {\"file\": \"" FIRST "\", \"bytes\": %zu,\n"
    "     \"header_xxh128\": \"%s\", \"data_xxh128\": \"%s\",\n"
    "     \"name\": \"m-1.safetensors\"},\n"
    "    {\"file\": \"" SECOND "\", \"bytes\": %zu,\n"
    "     \"header_xxh128\": \"%s\", \"data_xxh128\": \"%s\",\n"
    "     \"name\": \"m-2.safetensors\"}\n"
    "  ],\n"
    "  \"files\": {\n"
    "    \"sub/x.txt\": {\"bytes\": 3, \"xxh128\": \"" NO_DIGEST "\"},\n"
    "    \"config.json\": {\"bytes\": 2, \"xxh128\": \"" NO_DIGEST "\"}\n"
    "  },\n"
    "  \"left_out\": [{\"name\": \"y\", \"why\": \"a directory\"}],\n"
    "  \"statistics\": {\n"
    "    \"tensors\": {\"a\": [3, -0.5, 1.5, 1e0, 1]},\n"
    "    \"histogram\": {\"mantissa_bits\": 7, \"first\": 1, \"counts\": [3]}\n"
    "  },\n"
    "  ";

/* Writes `text` as the manifest, with its checksum. */
static void write_manifest(const char *text)
{
    const struct tm_digest digest = tm_digest_of(text, strlen(text));
    char digits[TM_DIGEST_CHARS + 1], whole[16384];
    int length;

    tm_digest_print(&digest, digits);
    length = snprintf(whole, sizeof(whole), "%s\"xxh128\": \"%s\"\n}\n", text,
                      digits);
    assert_true(length > 0 && (size_t)length < sizeof(whole));
    write_file("v/vector.json", whole, (size_t)length);
}

/* Writes the vector of these shards; its manifest goes to `text` too. */
static void write_shards(const struct shard *a, const struct shard *b,
                         char *text, size_t room)
{
    snprintf(text, room, manifest, a->length, a->header_digest, a->data_digest,
             b->length, b->header_digest, b->data_digest);
    write_file("v/" FIRST, a->bytes, a->length);
    write_file("v/" SECOND, b->bytes, b->length);
    write_file("v/files/config.json", "{}", 2);
    write_file("v/files/sub/x.txt", "abc", 3);
    write_manifest(text);
}

/* Writes the usual one, whose second shard holds the tensor `second`. */
static void write_vector(const char *second, char *text, size_t room)
{
    static struct shard a, b;
    char own[4096];

    make_first(&a);
    make_second(&b, second);
    write_shards(&a, &b, text != NULL ? text : own,
                 text != NULL ? room : sizeof(own));
}

static enum tm_status open_at(const char *name)
{
    struct tm_vector_stored vector;
    const enum tm_status status = tm_vector_open(&disk, at(name), &vector);

    tm_vector_close(&vector);
    return status;
}

/* --- a good one ----------------------------------------------------------*/

static void check_shards(const struct tm_vector_stored *v)
{
    static const char *const names[] = {FIRST, SECOND};
    static const char *const tuned[] = {"m-1.safetensors", "m-2.safetensors"};

    assert_int_equal(v->tuned.num_shards, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct tm_vector_shard *shard = &v->shards[i];
        struct stat st;

        assert_string_equal(shard->name, names[i]);
        assert_string_equal(shard->tuned_name, tuned[i]);
        assert_int_equal(stat(shard->path, &st), 0);
        assert_int_equal(st.st_size, shard->bytes);
        assert_string_equal(v->tuned.shards[i].name, tuned[i]);
        assert_string_equal(v->tuned.shards[i].path, shard->path);
        assert_int_equal(v->tuned.shards[i].identity.size, shard->bytes);
        assert_int_equal(v->tuned.shards[i].identity.inode, st.st_ino);
        assert_int_equal(shard->start[0] + 8u, shard->start_bytes);
        assert_int_equal(v->tuned.shards[i].data_start, shard->start_bytes);
    }
    assert_int_equal(v->shards[0].tuned_bytes, v->shards[0].start_bytes + 12);
}

static void check_tensors(const struct tm_vector_stored *v)
{
    static const char *const names[] = {"a", "b", "c"};
    static const enum tm_vector_state states[] = {TM_DELTA, TM_UNCHANGED,
                                                  TM_ALONE};
    static const uint64_t blobs[] = {20, 0, 19};

    assert_int_equal(v->tuned.num_tensors, 3);
    for (size_t t = 0; t < 3; t++) {
        const struct tm_tensor *tensor = &v->tuned.tensors[t];
        const struct tm_coded *coded = &v->coded[t];
        const struct tm_vector_shard *shard = &v->shards[tensor->shard];
        FILE *file = fopen(shard->path, "rb");
        char blob[20], expected[20];

        assert_string_equal(tensor->name, names[t]);
        assert_true(tm_checkpoint_get(&v->tuned, names[t]) == tensor);
        assert_int_equal(tensor->shard, t == 2);
        assert_int_equal(coded->state, states[t]);
        assert_int_equal(coded->bytes, blobs[t]);
        memset(expected, 'b', sizeof(expected));
        assert_true(file != NULL);
        assert_int_equal(fseek(file, (long)coded->offset, SEEK_SET), 0);
        assert_int_equal(fread(blob, 1, coded->bytes, file), coded->bytes);
        assert_memory_equal(blob, expected, coded->bytes);
        if (coded->count > 0)
            assert_int_equal(shard->lengths[coded->first], coded->bytes);
        fclose(file);
    }
    assert_int_equal(v->tuned.tensors[1].offset, v->shards[0].start_bytes + 8);
}

static void check_rest(const struct tm_vector_stored *v)
{
    assert_string_equal(v->base_path, "/models/base");
    assert_string_equal(v->written_by, "taumerge 0.2.0, zstd 1.5.4");
    assert_false(v->single_file);
    assert_string_equal(v->tuned.directory, v->path);
    assert_string_equal(v->tuned.path, v->path);
    assert_int_equal(v->num_files, 2);
    assert_string_equal(v->files[0].name, "config.json");
    assert_string_equal(v->files[1].name, "sub/x.txt");
    assert_int_equal(access(v->files[1].path, F_OK), 0);
    assert_int_equal(v->files[1].bytes, 3);
    assert_int_equal(v->files[1].digest.bytes[15], 0xff);
    assert_int_equal(v->stats[0].changed, 3);
    assert_true(v->stats[0].sum == -0.5 && v->stats[0].absolute == 1.5);
    assert_true(v->stats[0].squares == 1 && v->stats[0].largest == 1);
    assert_int_equal(v->stats[1].changed, 0);
}

static void test_good(void **state)
{
    struct tm_vector_stored vector;

    (void)state;
    write_vector("c", NULL, 0);
    assert_true(tm_vector_is(at("v")) && tm_vector_is(at("v/")));
    assert_int_equal(tm_vector_open(&disk, at("v"), &vector), TM_OK);
    check_shards(&vector);
    check_tensors(&vector);
    check_rest(&vector);
    tm_vector_close(&vector);
    assert_int_equal(open_at("v//"), TM_OK);
    assert_int_equal(symlink("v", at("link")), 0);
    assert_int_equal(open_at("link"), TM_OK); /* the user may name one */
}

static void test_is_none(void **state)
{
    (void)state;
    write_vector("c", NULL, 0);
    assert_false(tm_vector_is(at("v/files")));
    assert_false(tm_vector_is(at("v/vector.json")));
    assert_false(tm_vector_is(at("nowhere")));
    assert_false(tm_vector_is(""));
    assert_int_equal(mkdir(at("v/files/vector.json"), 0777), 0);
    assert_false(tm_vector_is(at("v/files")));
    assert_int_equal(open_at("v/files/sub"), TM_NO_INPUT);
    assert_int_equal(open_at("v/files"), TM_BAD_DATA);
    assert_int_equal(open_at("v/vector.json"), TM_NO_INPUT);
}

/* --- the manifest --------------------------------------------------------*/

static const struct {
    const char *from; /* once in the manifest */
    const char *to;
    enum tm_status status;
} changes[] = {
    {"version\": 1", "version\": 1, \"later\": {\"x\": [1, {}]}", TM_OK},
    {"version\": 1", "version\": 2", TM_BAD_DATA},
    {"version\": 1", "version\": \"1\"", TM_BAD_DATA},
    {"version\": 1", "version\": 1.0", TM_BAD_DATA},
    {"version\": 1", "version\": 1, \"version\": 1", TM_BAD_DATA},
    {"\"version\": 1,", "", TM_BAD_DATA},
    {"taumerge-vector", "taumerge", TM_BAD_DATA},
    {"\"taumerge-vector\"", "1", TM_BAD_DATA},
    {"\"format\": \"taumerge-vector\",", "", TM_BAD_DATA},
    {"\"0.2.0\"", "2", TM_BAD_DATA},
    {"\"1.5.4\"", "null", TM_BAD_DATA},
    {"{\"path\": \"/models/base\"}", "\"/models/base\"", TM_BAD_DATA},
    {"single_file\": false", "single_file\": 0", TM_BAD_DATA},
    {"single_file\": false", "single_file\": true", TM_BAD_DATA},
    {"\"path\": \"/models/tuned\", ", "", TM_BAD_DATA},
    {"\"left_out\": [{\"name\": \"y\", \"why\": \"a directory\"}],", "", TM_OK},
    {"\"xxh128\": \"" NO_DIGEST "\"},", "\"xxh128\": \"00\"},", TM_BAD_DATA},
    {"\"bytes\": 3,", "\"bytes\": 4,", TM_BAD_DATA},
    {"\"bytes\": 3,", "\"bytes\": -1,", TM_BAD_DATA},
    {"\"bytes\": 3,", "\"bytes\": 3.0,", TM_BAD_DATA},
    {"\"bytes\": 3,", "\"bytes\": 9223372036854775808,", TM_BAD_DATA},
    {"\"bytes\": 3,", "\"bytes\": 3, \"mode\": 0,", TM_OK},
    /* names */
    {"\"sub/x.txt\"", "\"sub/y.txt\"", TM_NO_INPUT},
    {"\"sub/x.txt\"", "\"sub\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"../files/sub/x.txt\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"sub/../sub/x.txt\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"./sub/x.txt\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"sub//x.txt\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"/etc/passwd\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"sub/x.txt/\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"config.json/x\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"sub/..\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"sub/x.txt\\u0000\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"m-2.safetensors\"", TM_BAD_DATA},
    {"\"sub/x.txt\"", "\"m-1.safetensors/x\"", TM_BAD_DATA},
    {"\"config.json\": {\"bytes\": 2", "\"sub/x.txt\": {\"bytes\": 3",
     TM_BAD_DATA},
    {"\"" SECOND "\"", "\"" FIRST "\"", TM_BAD_DATA},
    {"\"" SECOND "\"", "\"vector-00003-of-00002.safetensors\"", TM_NO_INPUT},
    {"\"" SECOND "\"", "\"files/config.json\"", TM_BAD_DATA},
    {"\"" SECOND "\"", "\"vector.json\"", TM_BAD_DATA},
    {"\"" SECOND "\"", "\"files\"", TM_BAD_DATA},
    {"\"" SECOND "\"", "\"..\"", TM_BAD_DATA},
    {"\"" SECOND "\"", "7", TM_BAD_DATA},
    {"\"m-2.safetensors\"", "\"m-3\"", TM_OK},
    {"\"m-2.safetensors\"", "\"m-1.safetensors\"", TM_BAD_DATA},
    {"\"m-2.safetensors\"", "\"m-0.safetensors\"", TM_BAD_DATA},
    {"\"m-2.safetensors\"", "\"n/m-2.safetensors\"", TM_BAD_DATA},
    {"\"m-2.safetensors\"", "\"/m-2.safetensors\"", TM_BAD_DATA},
    {"\"m-2.safetensors\"", "\".\"", TM_BAD_DATA},
    {"\"m-2.safetensors\"", "[]", TM_BAD_DATA},
    {"\"m-2.safetensors\"", "\"m-2\", \"bytes\": 1", TM_BAD_DATA},
    {"\"bytes\": 3, \"xxh128\"", "\"bytes\": 3, \"x\"", TM_BAD_DATA},
    {"\"shards\": [", "\"shards\": [[],", TM_BAD_DATA},
    {"\"shards\": [", "\"shards\": [], \"x\": [", TM_BAD_DATA},
    {"\"shards\": [", "\"shards\": {}, \"x\": [", TM_BAD_DATA},
    {"\"shards\": [", "\"xhards\": [", TM_BAD_DATA},
    {"\"files\": {", "\"files\": {}, \"x\": {", TM_OK},
    {"\"files\": {", "\"files\": [], \"x\": {", TM_BAD_DATA},
    {"\"files\": {", "\"xiles\": {", TM_BAD_DATA},
    /* statistics */
    {"\"statistics\": {", "\"x\": {", TM_OK},
    {"\"tensors\": {", "\"x\": {", TM_OK},
    {"\"tensors\": {", "\"tensors\": {}, \"tensors\": {", TM_BAD_DATA},
    {"\"tensors\": {", "\"tensors\": [], \"x\": {", TM_BAD_DATA},
    {"{\"a\": [3,", "{\"a\": [4,", TM_OK},
    {"{\"a\": [3,", "{\"a\": [5,", TM_BAD_DATA},
    {"{\"a\": [3,", "{\"a\": [0,", TM_BAD_DATA},
    {"{\"a\": [3,", "{\"a\": [3.5,", TM_BAD_DATA},
    {"{\"a\": [3,", "{\"a\": [", TM_BAD_DATA},
    {"1.5, 1e0, 1]", "1.5, 1e0, 1, 1]", TM_BAD_DATA},
    {"{\"a\": [3,", "{\"z\": [3,", TM_BAD_DATA},
    {"{\"a\": [3,", "{\"a\": [3, 1, 1, 1, 1], \"a\": [3,", TM_BAD_DATA},
    {"-0.5, 1.5, 1e0, 1]", "-0.5, -1.5, 1e0, 1]", TM_BAD_DATA},
    {"-0.5, 1.5, 1e0, 1]", "-0.5, 1.5, 1e0, \"1\"]", TM_BAD_DATA},
    {"-0.5, 1.5, 1e0, 1]", "-0.5, 1.5, 1e999, 1]", TM_BAD_DATA},
    {"[3, -0.5, 1.5, 1e0, 1]", "{}", TM_BAD_DATA},
};

/* `text` with the one `from` in it made `to`. */
static void replace(char *text, size_t room, const char *from, const char *to)
{
    char *place = strstr(text, from);
    char rest[4096];

    assert_true(place != NULL && strstr(place + 1, from) == NULL);
    snprintf(rest, sizeof(rest), "%s", place + strlen(from));
    snprintf(place, room - (size_t)(place - text), "%s%s", to, rest);
}

static void test_manifests(void **state)
{
    char good[4096], text[4096];

    (void)state;
    write_vector("c", good, sizeof(good));
    for (size_t i = 0; i < COUNT(changes); i++) {
        enum tm_status status;

        snprintf(text, sizeof(text), "%s", good);
        replace(text, sizeof(text), changes[i].from, changes[i].to);
        write_manifest(text);
        status = open_at("v");
        if (status != changes[i].status)
            fail_msg("change %zu: %d\n", i, (int)status);
    }
}

/* Of one shard, with and without side files. */
static void test_single_file(void **state)
{
    char text[4096];
    struct tm_vector_stored vector;
    char *second, *end;

    (void)state;
    write_vector("c", text, sizeof(text));
    second = strstr(text, ",\n    {\"file\": \"" SECOND);
    end = strstr(text, "\n  ],");
    assert_true(second != NULL && end != NULL);
    memmove(second, end, strlen(end) + 1);
    write_manifest(text);
    assert_int_equal(open_at("v"), TM_OK);
    replace(text, sizeof(text), "single_file\": false", "single_file\": true");
    write_manifest(text);
    assert_int_equal(open_at("v"), TM_BAD_DATA);
    replace(text, sizeof(text), "\"files\": {", "\"files\": {}, \"x\": {");
    write_manifest(text);
    assert_int_equal(tm_vector_open(&disk, at("v"), &vector), TM_OK);
    assert_true(vector.single_file && vector.tuned.directory == NULL);
    assert_string_equal(vector.tuned.shards[0].path, vector.shards[0].path);
    assert_int_equal(vector.tuned.num_tensors, 2);
    tm_vector_close(&vector);
}

/* Longer than any file's, as a part of a path and as a whole. */
static void test_long_names(void **state)
{
    static const char *const names[] = {"\"sub/x.txt\"", "\"" SECOND "\"",
                                        "\"m-2.safetensors\""};
    char good[4096], text[12288], name[6000];

    (void)state;
    write_vector("c", good, sizeof(good));
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(text, sizeof(text), "%s", good);
        memset(name, 'm', 258);
        name[0] = name[257] = '"';
        name[258] = '\0';
        replace(text, sizeof(text), names[i], name);
        write_manifest(text);
        assert_int_equal(open_at("v"), TM_BAD_DATA);
    }
    memset(name, 'm', 4500);
    for (size_t i = 100; i < 4500; i += 100)
        name[i] = '/';
    name[0] = name[4500] = '"';
    name[4501] = '\0';
    snprintf(text, sizeof(text), "%s", good);
    replace(text, sizeof(text), names[0], name);
    write_manifest(text);
    assert_int_equal(open_at("v"), TM_NO_INPUT); /* its first directory */
}

/* Changed, cut or lengthened without a new checksum. */
static void test_manifest_damaged(void **state)
{
    char good[4096];
    FILE *file;
    size_t length;

    (void)state;
    write_vector("c", NULL, 0);
    file = fopen(at("v/vector.json"), "rb");
    assert_true(file != NULL);
    length = fread(good, 1, sizeof(good) - 1, file);
    fclose(file);
    for (size_t i = 0; i < length; i++) {
        good[i] ^= 1;
        write_file("v/vector.json", good, length);
        good[i] ^= 1;
        if (open_at("v") != TM_BAD_DATA)
            fail_msg("byte %zu\n", i);
        write_file("v/vector.json", good, i);
        assert_int_equal(open_at("v"), TM_BAD_DATA);
    }
    good[length] = '\n';
    write_file("v/vector.json", good, length + 1);
    assert_int_equal(open_at("v"), TM_BAD_DATA);
    good[length - 1] = ' '; /* as JSON it is the same */
    write_file("v/vector.json", good, length);
    assert_int_equal(open_at("v"), TM_BAD_DATA);
}

/* --- files ---------------------------------------------------------------*/

static void move(const char *from, const char *to)
{
    assert_int_equal(rename(at(from), at(to)), 0);
}

/* Moves a file out of the vector and puts a link to it there. */
static void make_link(const char *name)
{
    char target[256];

    snprintf(target, sizeof(target), "%s", at("elsewhere"));
    move(name, "elsewhere");
    assert_int_equal(symlink(target, at(name)), 0);
}

static void undo_link(const char *name)
{
    assert_int_equal(unlink(at(name)), 0);
    move("elsewhere", name);
}

static void test_links(void **state)
{
    static const char *const names[] = {
        "v/" FIRST,         "v/" SECOND,           "v/vector.json",
        "v/files",          "v/files/config.json", "v/files/sub",
        "v/files/sub/x.txt"};

    (void)state;
    write_vector("c", NULL, 0);
    for (size_t i = 0; i < COUNT(names); i++) {
        make_link(names[i]);
        assert_int_equal(open_at("v"), TM_BAD_DATA);
        undo_link(names[i]);
    }
    make_link("v/vector.json");
    assert_true(tm_vector_is(at("v"))); /* so that opening can complain */
    undo_link("v/vector.json");
    assert_int_equal(symlink("nowhere", at("v/files/sub/y")), 0);
    assert_int_equal(open_at("v"), TM_OK); /* nobody names it */
}

static void test_missing(void **state)
{
    static const char *const names[] = {"v/" FIRST, "v/" SECOND,
                                        "v/vector.json", "v/files",
                                        "v/files/sub/x.txt"};

    (void)state;
    write_vector("c", NULL, 0);
    for (size_t i = 0; i < COUNT(names); i++) {
        move(names[i], "elsewhere");
        assert_int_equal(open_at("v"), TM_NO_INPUT);
        move("elsewhere", names[i]);
    }
    move("v/" FIRST, "elsewhere");
    assert_int_equal(mkfifo(at("v/" FIRST), 0666), 0);
    assert_int_equal(open_at("v"), TM_BAD_DATA);
    assert_int_equal(unlink(at("v/" FIRST)), 0);
    move("elsewhere", "v/" FIRST);
    assert_int_equal(open_at("v"), TM_OK);
}

/*
 * Every bit of a shard but those of the blob, and the file cut anywhere.
 * Bits of the header and of the index have a checksum; a blob's are looked at
 * when it is decoded.
 */
static void test_shard_damaged(void **state)
{
    static struct shard shard;
    size_t blob;

    (void)state;
    write_vector("c", NULL, 0);
    make_first(&shard);
    blob = 8u + shard.bytes[0] + ((size_t)shard.bytes[1] << 8);
    for (size_t i = 0; i < shard.length; i++) {
        const bool in_blob = i >= blob && i < blob + 20;
        enum tm_status status;

        shard.bytes[i] ^= (unsigned char)(1 << i % 8);
        write_file("v/" FIRST, shard.bytes, shard.length);
        shard.bytes[i] ^= (unsigned char)(1 << i % 8);
        status = open_at("v");
        if (status != (in_blob ? TM_OK : TM_BAD_DATA))
            fail_msg("byte %zu: %d\n", i, (int)status);
        write_file("v/" FIRST, shard.bytes, i);
        assert_int_equal(open_at("v"), TM_BAD_DATA);
    }
    memset(shard.bytes + shard.length, 0, 1);
    write_file("v/" FIRST, shard.bytes, shard.length + 1);
    assert_int_equal(open_at("v"), TM_BAD_DATA);
}

/* The manifest says what the second shard now is, and a is in both. */
static void test_tensor_twice(void **state)
{
    char text[4096];

    (void)state;
    write_vector("a", text, sizeof(text));
    assert_int_equal(open_at("v"), TM_BAD_DATA);
    write_vector("c", text, sizeof(text));
    assert_int_equal(open_at("v"), TM_OK);
}

/* A shard of no tensors, which nothing but its name forbids to be twice. */
static void test_file_twice(void **state)
{
    static const struct tm_index_parts none = {0};
    static struct shard shard;
    char text[4096];

    (void)state;
    make_shard(&shard, HEAD TAIL, 0, "{}", &none);
    write_shards(&shard, &shard, text, sizeof(text));
    assert_int_equal(open_at("v"), TM_BAD_DATA); /* statistics of a */
    replace(text, sizeof(text), "\"statistics\"", "\"x\"");
    write_manifest(text);
    assert_int_equal(open_at("v"), TM_OK);
    replace(text, sizeof(text), SECOND, FIRST);
    write_manifest(text);
    assert_int_equal(open_at("v"), TM_BAD_DATA);
}

/* A header that is a good one, and not the one that was written. */
static void test_other_header(void **state)
{
    static struct shard a, b;
    char text[4096];

    (void)state;
    make_first(&a);
    make_second(&b, "c");
    write_shards(&a, &b, text, sizeof(text));
    assert_int_equal(open_at("v"), TM_OK);
    memcpy(a.header_digest, NO_DIGEST, TM_DIGEST_CHARS);
    write_shards(&a, &b, text, sizeof(text));
    assert_int_equal(open_at("v"), TM_BAD_DATA);
}

/* Shard files that would be a vector's but for what their header says. */
static void test_not_a_shard(void **state)
{
    static const struct {
        const char *form;
        enum tm_status status;
    } cases[] = {
        {HEAD TAIL, TM_OK},
        {"{" TAIL, TM_BAD_DATA},
        {"{\"__metadata__\":{\"format\":\"pt\"}," TAIL, TM_BAD_DATA},
        {"{\"__metadata__\":{\"of\":\"taumerge-vector\"}," TAIL, TM_BAD_DATA},
        {HEAD INDEX("I8", "[%zu]"), TM_BAD_DATA},
        {HEAD INDEX("U8", "[%zu,1]"), TM_BAD_DATA},
        {HEAD "\"__taumerge_\":{\"dtype\":\"U8\",\"shape\":[%zu],"
              "\"data_offsets\":[%zu,%zu]}}",
         TM_BAD_DATA},
    };
    static const struct tm_index_parts none = {0};
    static struct shard a, b;
    char text[4096];

    (void)state;
    make_first(&a);
    for (size_t i = 0; i < COUNT(cases); i++) {
        make_shard(&b, cases[i].form, 0, "{}", &none);
        write_shards(&a, &b, text, sizeof(text));
        assert_int_equal(open_at("v"), cases[i].status);
    }
}

/* Tensors that need no chunk, and whose bytes together wrap around. */
static void test_more_than_can_be(void **state)
{
    static const struct tm_coded record = {
        .state = TM_UNCHANGED, .base_code = 11, .base_words = 1ull << 62};
    const struct tm_index_parts parts = {
        .records = &record, .num_records = 1, .tuned_bytes = 1ull << 62};
    static struct shard a, b;
    char text[4096];

    (void)state;
    make_shard(&a, HEAD ENTRY("a", "U8", "[0]", 0, 0) "," TAIL, 0,
               "{" ENTRY("a", "X", "[3]", 0, 4611686018427387904) "}", &parts);
    make_shard(&b, HEAD ENTRY("c", "U8", "[0]", 0, 0) "," TAIL, 0,
               "{" ENTRY("c", "X", "[3]", 0, 4611686018427387904) "}", &parts);
    write_shards(&a, &b, text, sizeof(text));
    assert_int_equal(open_at("v"), TM_BAD_DATA);
    make_second(&b, "c");
    write_shards(&a, &b, text, sizeof(text));
    assert_int_equal(open_at("v"), TM_OK);
}

/* --- the directory of the tests ------------------------------------------*/

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/taumerge-vector-XXXXXX");
    return mkdtemp(directory) == NULL || mkdir(at("v"), 0777) != 0 ||
           mkdir(at("v/files"), 0777) != 0 ||
           mkdir(at("v/files/sub"), 0777) != 0;
}

/* Removes what any of the tests leaves. */
static int remove_directory(void **state)
{
    static const char *const files[] = {"link",
                                        "v/vector.json",
                                        "v/" FIRST,
                                        "v/" SECOND,
                                        "v/files/config.json",
                                        "v/files/sub/x.txt",
                                        "v/files/sub/y",
                                        "elsewhere"};
    static const char *const directories[] = {
        "v/files/vector.json", "v/files/sub", "v/files", "v", ""};

    (void)state;
    for (size_t i = 0; i < COUNT(files); i++)
        unlink(at(files[i]));
    for (size_t i = 0; i < COUNT(directories); i++)
        rmdir(at(directories[i]));
    return access(directory, F_OK) == 0;
}

#define vector_test(f)                                                         \
    cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        vector_test(test_good),          vector_test(test_is_none),
        vector_test(test_manifests),     vector_test(test_manifest_damaged),
        vector_test(test_single_file),   vector_test(test_long_names),
        vector_test(test_links),         vector_test(test_missing),
        vector_test(test_shard_damaged), vector_test(test_tensor_twice),
        vector_test(test_not_a_shard),   vector_test(test_file_twice),
        vector_test(test_other_header),  vector_test(test_more_than_can_be),
    };
    int failed;

    tm_message_silence();
    if (tm_disk_open(TM_IO_THREADS, NULL, &disk) != TM_OK)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    tm_disk_close(&disk);
    return failed;
}
