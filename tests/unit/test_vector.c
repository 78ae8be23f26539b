/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_vector: the index of a stored vector, written, read, and damaged: with
 * a checksum that tells, and with one made for the damage.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/unit/unit.h"

#include <zstd.h>

#include "io/safetensors.h"
#include "io/vector_parts.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* --- a tuned shard and its index -----------------------------------------*/

struct spec {
    const char *name;
    const char *dtype;
    unsigned ndim;
    uint64_t shape[4];
    uint64_t bytes;
};

/* In the order of the format: of every kind one. */
static const struct spec specs[] = {
    {"empty", "F32", 2, {0, 3}, 0},           /* a base that has rows */
    {"a", "BF16", 1, {300000}, 600000},       /* of another type; two chunks */
    {"b", "I8", 1, {5}, 5},                   /* bytes */
    {"c", "C64", 2, {2, 3}, 48},              /* more rows than the base */
    {"d", "F64", 0, {0}, 8},                  /* alone */
    {"e", "U8", 1, {7}, 7},                   /* the base's */
    {"f", "FANTASY", 2, {3, 2}, 9},           /* no chunk changed */
    {"g", "F16", 2, {2, 262144}, 524288 * 2}, /* whole chunks */
};

static const struct tm_coded records[COUNT(specs)] = {
    {.base_code = 3, .base_words = 6, .base_probe = 11},
    {.base_code = 3, .base_words = 300000, .base_probe = UINT64_MAX},
    {.base_code = 11, .base_words = 5},
    {.base_code = 7, .base_words = 6},
    {.state = TM_ALONE, .tuned_digest = {{1, 2, 3}}},
    {.state = TM_UNCHANGED,
     .base_code = 11,
     .base_words = 7,
     .base_digest = {{9, 8, 7}},
     .tuned_digest = {{9, 8, 7}}},
    {.base_code = 11, .base_words = 9},
    {.base_code = 2, .base_words = 262144 * 3, .base_digest = {{0, 255}}},
};

static const uint32_t lengths[] = {
    16 + 524288, 0,  /* a */
    21,          17, /* b, c */
    24,              /* d */
    0,               /* f */
    0,           17, /* g */
};

/* How many of the lengths are whose, and what they add up to. */
static const uint64_t counts[COUNT(specs)] = {0, 2, 1, 1, 1, 0, 1, 2};
static const uint64_t sums[COUNT(specs)] = {0, 524304, 21, 17, 24, 0, 0, 17};

/* The first bytes of a shard of these tensors, in their order. */
static size_t make_start(const struct spec *spec, size_t count,
                         unsigned char **start, uint64_t *file_bytes)
{
    struct tm_json_writer writer = {.sink = tm_json_to_file, .compact = true};
    char *text = NULL;
    size_t length = 0;
    uint64_t end = 0;
    FILE *stream = open_memstream(&text, &length);

    assert_true(stream != NULL);
    fwrite("????????", 1, 8, stream);
    writer.context = stream;
    tm_json_begin(&writer, NULL, '{');
    for (size_t i = 0; i < count; end += spec[i++].bytes)
        tm_safetensors_write(&writer, &(struct tm_header_tensor){
                                          .name = spec[i].name,
                                          .dtype_name = spec[i].dtype,
                                          .ndim = spec[i].ndim,
                                          .shape = spec[i].shape,
                                          .begin = end,
                                          .bytes = spec[i].bytes,
                                      });
    tm_json_finish(&writer, '}');
    assert_true(fclose(stream) == 0 && !writer.failed);
    for (unsigned i = 0; i < 8; i++)
        text[i] = (char)((length - 8) >> (8 * i));
    *start = (unsigned char *)text;
    *file_bytes = length + end;
    return length;
}

struct index {
    unsigned char *bytes;
    size_t length;
};

static struct index make_index(const struct spec *spec,
                               const struct tm_coded *coded, size_t count,
                               const uint32_t *chunks, size_t num_chunks)
{
    struct tm_index_parts parts = {.records = coded,
                                   .num_records = count,
                                   .lengths = chunks,
                                   .num_lengths = num_chunks};
    unsigned char *start;
    struct index index;

    parts.start_bytes = make_start(spec, count, &start, &parts.tuned_bytes);
    parts.start = start;
    assert_int_equal(tm_vector_make_index(&parts, &index.bytes, &index.length),
                     TM_OK);
    free(start);
    return index;
}

static struct index make_sample(void)
{
    return make_index(specs, records, COUNT(specs), lengths, COUNT(lengths));
}

/* Gives the index, changed, the checksum that goes with it. */
static void seal(const struct index *index)
{
    const struct tm_digest digest =
        tm_digest_of(index->bytes, index->length - 16);

    memcpy(index->bytes + index->length - 16, digest.bytes, 16);
}

/* In a buffer of just that size, so that sanitizers see its end. */
static bool is_index(const unsigned char *bytes, size_t length)
{
    unsigned char *copy = malloc(length > 0 ? length : 1);
    bool is_one;

    assert_true(copy != NULL);
    memcpy(copy, bytes, length);
    is_one = tm_vector_check_index(copy, length);
    free(copy);
    return is_one;
}

/* --- a vector of one shard -----------------------------------------------*/

struct one {
    struct tm_vector_stored vector;
    struct tm_vector_shard shard;
};

/* Opens the index as that of a shard whose blobs are those of `blobs`. */
static enum tm_status open_one(const struct index *index,
                               const struct tm_checkpoint *blobs,
                               struct one *one)
{
    static const char *const name = "t.safetensors";
    struct tm_index_view view;
    enum tm_status status;

    *one = (struct one){
        .shard = {.name = "v", .path = "v", .tuned_name = name},
        .vector = {.path = "v", .tuned = {.path = "v"}},
    };
    one->vector.shards = &one->shard;
    status = tm_checkpoint_list(&one->vector.tuned, &name, 1);
    assert_int_equal(status, TM_OK);
    status = tm_vector_split_index("v", index->bytes, index->length, &view);
    if (status == TM_OK)
        status = tm_vector_take_index(&one->vector, 0, &view, blobs);
    if (status == TM_OK)
        status = tm_checkpoint_finish(&one->vector.tuned);
    return status;
}

static void test_round_trip(void **state)
{
    struct index index = make_sample();
    struct one one;
    uint64_t next = 0;

    (void)state;
    assert_int_equal(open_one(&index, NULL, &one), TM_OK);
    assert_int_equal(one.vector.tuned.num_tensors, COUNT(specs));
    for (size_t i = 0; i < COUNT(specs); i++) {
        const struct tm_tensor *tensor = &one.vector.tuned.tensors[i];
        const struct tm_coded *coded = &one.vector.coded[i];

        assert_string_equal(tensor->name, specs[i].name);
        assert_string_equal(tensor->dtype_name, specs[i].dtype);
        assert_int_equal(tensor->bytes, specs[i].bytes);
        assert_int_equal(coded->state, records[i].state);
        assert_int_equal(coded->base_code, records[i].base_code);
        assert_int_equal(coded->base_words, records[i].base_words);
        assert_int_equal(coded->base_probe, records[i].base_probe);
        assert_memory_equal(&coded->base_digest, &records[i].base_digest, 16);
        assert_memory_equal(&coded->tuned_digest, &records[i].tuned_digest, 16);
        assert_int_equal(coded->first, next);
        assert_int_equal(coded->count, counts[i]);
        assert_int_equal(coded->bytes, sums[i]);
        next += counts[i];
    }
    assert_int_equal(next, COUNT(lengths));
    assert_memory_equal(one.shard.lengths, lengths, sizeof(lengths));
    tm_vector_close(&one.vector);
    free(index.bytes);
}

/* What stands where, from docs/format.md and not from the reader. */
static void test_layout(void **state)
{
    struct index index = make_sample();
    unsigned char *start, *bytes = index.bytes;
    uint64_t file_bytes;
    const size_t length = make_start(specs, COUNT(specs), &start, &file_bytes);
    const size_t frame = 32 + 60 * COUNT(specs) + sizeof(lengths);
    unsigned char *out = malloc(length);
    struct tm_digest digest = tm_digest_of(bytes, index.length - 16);

    (void)state;
    assert_memory_equal(bytes, "TMINDEX1\x08\0\0\0\x08\0\0\0", 16);
    assert_memory_equal(bytes + 16, &file_bytes, 8);
    assert_int_equal(bytes[24] | bytes[25] << 8, length);
    assert_int_equal(bytes[28] | bytes[29] << 8, index.length - 16 - frame);
    assert_memory_equal(bytes + 32 + 60, "\0\3\0\0\0\0\0\0\xe0\x93\4\0\0", 13);
    assert_memory_equal(bytes + 32 + 60 + 16, "\xff\xff\xff\xff\xff\xff\xff",
                        7);
    assert_memory_equal(bytes + 32 + 5 * 60 + 24, "\x09\x08\x07", 3);
    assert_memory_equal(bytes + 32 + 5 * 60 + 40, "\x09\x08\x07", 3);
    assert_memory_equal(bytes + frame - 8, "\0\0\0\0\x11\0\0\0", 8);
    assert_true(out != NULL);
    assert_int_equal(
        ZSTD_getFrameContentSize(bytes + frame, index.length - 16 - frame),
        length);
    assert_int_equal(
        ZSTD_decompress(out, length, bytes + frame, index.length - 16 - frame),
        length);
    assert_memory_equal(out, start, length);
    assert_memory_equal(bytes + index.length - 16, &digest, 16);
    free(out);
    free(start);
    free(bytes);
}

/* --- damage that the checksum tells --------------------------------------*/

static void test_every_flip(void **state)
{
    struct index index = make_sample();

    (void)state;
    assert_true(is_index(index.bytes, index.length));
    for (size_t bit = 0; bit < 8 * index.length; bit++) {
        index.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        if (tm_vector_check_index(index.bytes, index.length))
            fail_msg("bit %zu\n", bit);
        index.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    free(index.bytes);
}

static void test_every_length(void **state)
{
    struct index index = make_sample();
    unsigned char *longer = calloc(1, index.length + 64);

    (void)state;
    assert_true(longer != NULL);
    memcpy(longer, index.bytes, index.length);
    for (size_t length = 0; length <= index.length + 64; length++)
        assert_true(is_index(longer, length) == (length == index.length));
    free(longer);
    free(index.bytes);
}

/* --- damage with a checksum of its own -----------------------------------*/

/* Cut or lengthened anywhere: the parts no longer fill it. */
static void test_every_length_sealed(void **state)
{
    struct index index = make_sample();
    unsigned char *bytes = calloc(1, index.length + 64);

    (void)state;
    assert_true(bytes != NULL);
    for (size_t length = 16; length <= index.length + 64; length++) {
        struct index cut = {bytes, length};

        memset(bytes, 0, index.length + 64);
        memcpy(bytes, index.bytes,
               length < index.length ? length : index.length - 16);
        seal(&cut);
        assert_true(is_index(bytes, length) == (length == index.length));
    }
    free(bytes);
    free(index.bytes);
}

/* No bit of the head, and of no record's zero bytes, may be another. */
static void test_every_flip_sealed(void **state)
{
    struct index index = make_sample();

    (void)state;
    for (size_t bit = 0; bit < 8 * (index.length - 16); bit++) {
        const size_t at = bit / 8, in_record = (at - 32) % 60;
        const bool matters = at < 32 || (at < 32 + 60 * COUNT(specs) &&
                                         in_record >= 2 && in_record < 8);
        bool is_one;

        index.bytes[at] ^= (unsigned char)(1 << bit % 8);
        seal(&index);
        is_one = tm_vector_check_index(index.bytes, index.length);
        index.bytes[at] ^= (unsigned char)(1 << bit % 8);
        if (is_one && matters)
            fail_msg("bit %zu\n", bit);
    }
    free(index.bytes);
}

#define RECORD(i) (32 + 60 * (i))
#define LENGTH(k) (32 + 60 * COUNT(specs) + 4 * (k))

/* Bytes put in at a place, and whether it is an index after that. */
static const struct {
    size_t at;
    const char *bytes;
    size_t count;
    bool is_index;
} changes[] = {
    {0, "TMINDEX1", 8, true},
    {0, "TMINDEX2", 8, false},
    {0, "PK\3\4", 4, false},
    {8, "\x07", 1, false}, /* records */
    {8, "\x09", 1, false},
    {8, "\xff\xff\xff\xff", 4, false},
    {12, "\x07", 1, false}, /* chunks */
    {12, "\x09", 1, false},
    {12, "\xff\xff\xff\xff", 4, false},
    {8, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, false}, /* both */
    {8, "\x07\0\0\0\x16", 5, false},    /* a record turned into chunks */
    {16, "\0\0\0\0\0\0\0\0", 8, false}, /* the tuned shard's size */
    {16, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, false},
    {16, "\xff\xff\xff\xff\xff\xff\xff\x7f", 8, false},
    {24, "\0\0\0\0", 4, false}, /* its start */
    {24, "\7\0\0\0", 4, false},
    {24, "\xff\xff\xff\xff", 4, false},
    {24, "\x09\xe1\xf5\x05", 4, false}, /* 9 + 100,000,000 */
    {28, "\0\0\0\0", 4, false},         /* its frame */
    {28, "\xff\xff\xff\xff", 4, false},
    {RECORD(1), "\1", 1, false}, /* a delta that is alone, and has a base */
    {RECORD(1), "\2", 1, false}, /* that is the base's, which is F32 */
    {RECORD(1), "\3", 1, false}, /* states that are not known */
    {RECORD(1), "\xff", 1, false},
    {RECORD(4), "\0", 1, false},      /* alone, and a delta against nothing */
    {RECORD(4) + 1, "\4", 1, false},  /* alone, with a type */
    {RECORD(4) + 8, "\1", 1, false},  /* with words */
    {RECORD(4) + 23, "\1", 1, false}, /* with a probe */
    {RECORD(4) + 39, "\1", 1, false}, /* with a digest of the base */
    {RECORD(4) + 55, "\1", 1, true},  /* of its own */
    {RECORD(5), "\0", 1, false}, /* the base's, and a delta without chunks */
    {RECORD(5) + 1, "\1", 1, false},   /* of another type */
    {RECORD(5) + 8, "\6", 1, false},   /* of other words */
    {RECORD(5) + 24, "\xa", 1, false}, /* of another digest */
    {RECORD(5) + 16, "\1", 1, true},   /* of any probe */
    {RECORD(1) + 1, "\0", 1, false},   /* types that are none */
    {RECORD(1) + 1, "\x0c", 1, false},
    {RECORD(1) + 1, "\xff", 1, false},
    {RECORD(1) + 2, "\1", 1, false}, /* what is zero */
    {RECORD(1) + 7, "\x80", 1, false},
    {LENGTH(0), "\x10\0\x08\0", 4, true}, /* the longest chunk */
    {LENGTH(0), "\x11\0\x08\0", 4, false},
    {LENGTH(0), "\xff\xff\xff\xff", 4, false},
    {LENGTH(1), "\x10\0\0\0", 4, false}, /* a head and nothing behind it */
    {LENGTH(1), "\x11\0\0\0", 4, true},
    {LENGTH(1), "\1\0\0\0", 4, false},
    {LENGTH(2), "\x16\0\0\0", 4, false}, /* a byte more than 16 + 5 */
    {LENGTH(4), "\0\0\0\0", 4, false},   /* same, with no base */
};

static void test_changes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(changes); i++) {
        struct index index = make_sample();

        memcpy(index.bytes + changes[i].at, changes[i].bytes, changes[i].count);
        seal(&index);
        if (is_index(index.bytes, index.length) != changes[i].is_index)
            fail_msg("change %zu\n", i);
        free(index.bytes);
    }
}

/* The sample with other chunks: `count` of these lengths. */
static bool takes_lengths(const uint32_t *chunks, size_t count)
{
    struct index index =
        make_index(specs, records, COUNT(specs), chunks, count);
    const bool is_one = is_index(index.bytes, index.length);

    free(index.bytes);
    return is_one;
}

static void test_number_of_chunks(void **state)
{
    uint32_t chunks[COUNT(lengths) + 2] = {0};

    (void)state;
    memcpy(chunks, lengths, sizeof(lengths));
    for (size_t count = 0; count <= COUNT(chunks); count++)
        assert_true(takes_lengths(chunks, count) == (count == COUNT(lengths)));
}

/* The sample with another frame around its start. */
static bool takes_frame(const void *frame, size_t size)
{
    struct index index = make_sample();
    const size_t before = LENGTH(COUNT(lengths));
    struct index other = {malloc(before + size + 16), before + size + 16};
    bool is_one;

    assert_true(other.bytes != NULL && size < 65536);
    memcpy(other.bytes, index.bytes, before);
    memcpy(other.bytes + before, frame, size);
    other.bytes[28] = (unsigned char)size;
    other.bytes[29] = (unsigned char)(size >> 8);
    seal(&other);
    is_one = is_index(other.bytes, other.length);
    free(other.bytes);
    free(index.bytes);
    return is_one;
}

/* Compresses `bytes`; returns the frame's size. */
static size_t compress(const void *bytes, size_t length, bool with_size,
                       void *frame, size_t room)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    size_t size;

    assert_true(context != NULL);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, with_size);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    size = ZSTD_compress2(context, frame, room, bytes, length);
    assert_false(ZSTD_isError(size));
    ZSTD_freeCCtx(context);
    return size;
}

static void test_frames(void **state)
{
    unsigned char *start, frame[8192];
    uint64_t file_bytes;
    const size_t length = make_start(specs, COUNT(specs), &start, &file_bytes);
    size_t size = compress(start, length, true, frame, sizeof(frame));

    (void)state;
    assert_true(takes_frame(frame, size));
    assert_false(takes_frame(frame, size - 1));
    assert_false(takes_frame(frame, 4));
    assert_false(takes_frame(frame, 0));
    frame[size] = 0;
    assert_false(takes_frame(frame, size + 1));
    memcpy(frame + size, "\x50\x2a\x4d\x18\1\0\0\0x", 9); /* skippable */
    assert_false(takes_frame(frame, size + 9));
    assert_false(takes_frame(frame + size, 9));
    memmove(frame + 9, frame, size);
    memcpy(frame, "\x50\x2a\x4d\x18\1\0\0\0x", 9);
    assert_false(takes_frame(frame, size + 9));
    size = compress(start, length, false, frame, sizeof(frame));
    assert_false(takes_frame(frame, size));
    size = compress(start, length - 1, true, frame, sizeof(frame));
    assert_false(takes_frame(frame, size));
    size = compress(start, length, true, frame, sizeof(frame));
    frame[size - 1] ^= 1; /* the frame's own checksum */
    assert_false(takes_frame(frame, size));
    start[0] ^= 1; /* N */
    size = compress(start, length, true, frame, sizeof(frame));
    assert_false(takes_frame(frame, size));
    free(start);
}

/* The first bytes of the data do not belong to the start. */
static void test_start_too_long(void **state)
{
    static const struct spec spec = {"x", "U8", 1, {8}, 8};
    static const struct tm_coded coded = {.state = TM_ALONE};
    static const uint32_t chunk = 20;
    struct tm_index_parts parts = {&coded, 1, &chunk, 1, 0, NULL, 0};
    unsigned char *start, longer[1024] = {0};
    size_t length = make_start(&spec, 1, &start, &parts.tuned_bytes);

    (void)state;
    assert_true(length < sizeof(longer) - 8);
    memcpy(longer, start, length);
    parts.start = longer;
    for (size_t more = 0; more <= 8; more++) {
        struct index index;

        parts.start_bytes = length + more;
        assert_int_equal(
            tm_vector_make_index(&parts, &index.bytes, &index.length), TM_OK);
        assert_true(is_index(index.bytes, index.length) == (more == 0));
        free(index.bytes);
    }
    free(start);
}

/* The header of the tuned shard is as strict as that of any. */
static void test_headers(void **state)
{
    static const struct spec twice[] = {{"x", "U8", 1, {4}, 4},
                                        {"x", "U8", 1, {4}, 4}};
    static const struct spec wrong[] = {{"x", "F32", 1, {4}, 15}};
    static const struct spec own[] = {{TM_VECTOR_INDEX, "U8", 1, {4}, 4}};
    static const struct tm_coded coded[] = {{.state = TM_ALONE},
                                            {.state = TM_ALONE}};
    static const uint32_t chunks[] = {20, 20};
    const struct {
        const struct spec *spec;
        size_t count;
        bool is_index;
    } cases[] = {
        {twice, 0, true},  {twice, 1, true}, {twice, 2, false},
        {wrong, 1, false}, {own, 1, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct index index = make_index(cases[i].spec, coded, cases[i].count,
                                        chunks, cases[i].count);

        assert_true(is_index(index.bytes, index.length) == cases[i].is_index);
        free(index.bytes);
    }
}

/* --- what may be a delta -------------------------------------------------*/

/* A tensor, and the code and words of a base. */
static const struct {
    struct spec spec;
    uint8_t code;
    uint64_t words;
    bool may_be;
} deltas[] = {
    {{"x", "BF16", 2, {3, 4}, 24}, 1, 12, true},
    {{"x", "BF16", 2, {3, 4}, 24}, 1, 8, true},
    {{"x", "BF16", 2, {3, 4}, 24}, 1, 16, true},
    {{"x", "BF16", 2, {3, 4}, 24}, 1, 0, true},
    {{"x", "BF16", 2, {3, 4}, 24}, 1, 13, false},
    {{"x", "BF16", 2, {3, 4}, 24}, 2, 12, true},
    {{"x", "BF16", 2, {3, 4}, 24}, 3, 12, true},
    {{"x", "BF16", 2, {3, 4}, 24}, 4, 8, true},
    {{"x", "BF16", 2, {3, 4}, 24}, 4, 9, false},
    {{"x", "BF16", 2, {3, 4}, 24}, 5, 12, false},
    {{"x", "BF16", 2, {3, 4}, 24}, 7, 12, false},
    {{"x", "BF16", 2, {3, 4}, 24}, 8, 12, false},
    {{"x", "BF16", 2, {3, 4}, 24}, 11, 12, false},
    {{"x", "F64", 1, {2}, 16}, 1, 2, true},
    {{"x", "F64", 1, {2}, 16}, 1, 1, true},
    {{"x", "F64", 1, {2}, 16}, 6, 2, false},
    {{"x", "F8_E4M3", 1, {2}, 2}, 5, 7, true},
    {{"x", "F8_E4M3", 1, {2}, 2}, 6, 2, false},
    {{"x", "F8_E4M3", 1, {2}, 2}, 1, 2, false},
    {{"x", "C64", 2, {3, 2}, 48}, 7, 12, true},
    {{"x", "C64", 2, {3, 2}, 48}, 7, 4, true},
    {{"x", "C64", 2, {3, 2}, 48}, 7, 6, false},
    {{"x", "C64", 0, {0}, 8}, 7, 2, true},
    {{"x", "C64", 0, {0}, 8}, 7, 1, false},
    {{"x", "C64", 2, {3, 2}, 48}, 3, 12, false},
    {{"x", "F32", 0, {0}, 4}, 3, 1, true},
    {{"x", "F32", 0, {0}, 4}, 3, 0, false},
    {{"x", "F32", 0, {0}, 4}, 3, 2, false},
    {{"x", "F32", 2, {2, 0}, 0}, 3, 0, true},
    {{"x", "F32", 2, {2, 0}, 0}, 3, 1, false},
    {{"x", "F32", 3, {0, 1ull << 40, 1ull << 40}, 0}, 3, 0, true},
    {{"x", "F32", 3, {0, 1ull << 40, 1ull << 40}, 0}, 3, 1, false},
    {{"x", "F32", 1, {0}, 0}, 3, INT64_MAX / 8, true},
    {{"x", "F32", 1, {0}, 0}, 3, INT64_MAX / 8 + 1, false},
    {{"x", "F32", 1, {0}, 0}, 3, UINT64_MAX, false},
    {{"x", "U16", 1, {4}, 8}, 8, 4, true},
    {{"x", "I32", 1, {4}, 16}, 9, 1, true},
    {{"x", "I32", 1, {4}, 16}, 10, 4, false},
    {{"x", "U64", 1, {4}, 32}, 10, 5, true},
    {{"x", "U8", 1, {4}, 4}, 11, 4, true},
    {{"x", "U8", 1, {4}, 4}, 11, 3, false},
    {{"x", "BOOL", 1, {4}, 4}, 11, 5, false},
    {{"x", "F4", 1, {4}, 2}, 11, 2, true},
    {{"x", "F4", 1, {4}, 2}, 11, 4, false},
    {{"x", "FANTASY", 1, {4}, 9}, 11, 9, true},
    {{"x", "FANTASY", 1, {4}, 9}, 11, 8, false},
    {{"x", "FANTASY", 1, {4}, 9}, 1, 9, false},
    {{"x", "BF16", 1, {4}, 8}, 0, 4, false},
    {{"x", "BF16", 1, {4}, 8}, 12, 4, false},
};

static void test_deltas(void **state)
{
    static const uint32_t chunk = 17;

    (void)state;
    for (size_t i = 0; i < COUNT(deltas); i++) {
        const struct spec *spec = &deltas[i].spec;
        const struct tm_coded coded = {.base_code = deltas[i].code,
                                       .base_words = deltas[i].words};
        struct index index =
            make_index(spec, &coded, 1, &chunk, spec->bytes > 0 ? 1 : 0);

        if (is_index(index.bytes, index.length) != deltas[i].may_be)
            fail_msg("delta %zu\n", i);
        free(index.bytes);
    }
}

/* A tensor without bytes, for which nothing but its state can be wrong. */
static void test_states(void **state)
{
    static const struct spec spec = {"x", "F32", 1, {0}, 0};

    (void)state;
    for (unsigned s = 0; s < 256; s++) {
        const struct tm_coded coded = {.state = (uint8_t)s, .base_code = 3};
        struct index index = make_index(&spec, &coded, 1, NULL, 0);

        assert_true(is_index(index.bytes, index.length) ==
                    (s == TM_DELTA || s == TM_UNCHANGED));
        free(index.bytes);
    }
}

/* A shard of more bytes than a file can have. */
static void test_size_of_shard(void **state)
{
    static const uint64_t sizes[] = {INT64_MAX - 4096, INT64_MAX};

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const struct spec spec = {"x", "FANTASY", 1, {3}, sizes[i]};
        const struct tm_coded coded = {
            .state = TM_UNCHANGED, .base_code = 11, .base_words = sizes[i]};
        struct index index = make_index(&spec, &coded, 1, NULL, 0);

        assert_true(is_index(index.bytes, index.length) == (i == 0));
        free(index.bytes);
    }
}

/* --- blobs ---------------------------------------------------------------*/

/* What stands in the header of the vector's shard, of which data is left. */
static const struct {
    const char *text;
    uint64_t data;
    enum tm_status status;
} headers[] = {
#define INDEX                                                                  \
    "\"__taumerge__\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"
#define BLOB(name, type, shape, begin, end)                                    \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":[" shape                   \
    "],\"data_offsets\":[" #begin "," #end "]}"
    {"{" INDEX
     "," BLOB("x", "U8", "20", 0, 20) "," BLOB("y", "U8", "0", 20, 20) "}",
     20, TM_OK},
    {"{" BLOB("y", "U8", "0", 0, 0) "," BLOB("x", "U8", "20", 0, 20) "," INDEX
                                                                     "}",
     20, TM_OK},
    {"{" INDEX "," BLOB("x", "U8", "20", 0, 20) "}", 20, TM_BAD_DATA},
    {"{" INDEX
     "," BLOB("x", "U8", "20", 0, 20) "," BLOB("z", "U8", "0", 20, 20) "}",
     20, TM_BAD_DATA},
    {"{" INDEX "," BLOB("x", "U8", "20", 0, 20) "," BLOB(
         "y", "U8", "0", 20, 20) "," BLOB("z", "U8", "0", 20, 20) "}",
     20, TM_BAD_DATA},
    {"{" INDEX
     "," BLOB("x", "U8", "19", 0, 19) "," BLOB("y", "U8", "0", 19, 19) "}",
     19, TM_BAD_DATA},
    {"{" INDEX
     "," BLOB("x", "U8", "20", 0, 20) "," BLOB("y", "U8", "1", 20, 21) "}",
     21, TM_BAD_DATA},
    {"{" INDEX
     "," BLOB("x", "I8", "20", 0, 20) "," BLOB("y", "U8", "0", 20, 20) "}",
     20, TM_BAD_DATA},
    {"{" INDEX
     "," BLOB("x", "U8", "4,5", 0, 20) "," BLOB("y", "U8", "0", 20, 20) "}",
     20, TM_BAD_DATA},
};

static void test_blobs(void **state)
{
    static const struct spec two[] = {{"x", "F32", 1, {1}, 4},
                                      {"y", "F32", 1, {1}, 4}};
    static const struct tm_coded coded[] = {
        {.state = TM_ALONE},
        {.state = TM_UNCHANGED, .base_code = 3, .base_words = 1}};
    static const uint32_t chunk = 20;
    struct index index = make_index(two, coded, 2, &chunk, 1);

    (void)state;
    for (size_t i = 0; i < COUNT(headers); i++) {
        const size_t length = strlen(headers[i].text);
        struct tm_checkpoint blobs;
        struct one one;

        assert_int_equal(tm_checkpoint_from_header(headers[i].text, length,
                                                   headers[i].data, &blobs),
                         TM_OK);
        assert_int_equal(open_one(&index, &blobs, &one), headers[i].status);
        if (headers[i].status == TM_OK) {
            assert_int_equal(one.vector.coded[0].offset, 8 + length);
            assert_int_equal(one.vector.coded[0].bytes, 20);
            assert_int_equal(one.vector.coded[1].bytes, 0);
        }
        tm_vector_close(&one.vector);
        tm_checkpoint_close(&blobs);
    }
    free(index.bytes);
}

/* --- what is too large ---------------------------------------------------*/

static void test_too_large_to_write(void **state)
{
    struct tm_index_parts parts = {.num_lengths = (size_t)1 << 28};
    unsigned char *bytes;
    size_t length;

    (void)state;
    assert_int_equal(tm_vector_make_index(&parts, &bytes, &length), TM_SYSTEM);
    assert_true(bytes == NULL);
    parts = (struct tm_index_parts){.num_records = SIZE_MAX};
    assert_int_equal(tm_vector_make_index(&parts, &bytes, &length), TM_SYSTEM);
    parts = (struct tm_index_parts){.start_bytes = 8 + TM_HEADER_MAX + 1};
    assert_int_equal(tm_vector_make_index(&parts, &bytes, &length), TM_SYSTEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_every_flip),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_every_length_sealed),
        cmocka_unit_test(test_every_flip_sealed),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_number_of_chunks),
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_start_too_long),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_deltas),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_size_of_shard),
        cmocka_unit_test(test_blobs),
        cmocka_unit_test(test_too_large_to_write),
    };

    tm_message_silence();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
