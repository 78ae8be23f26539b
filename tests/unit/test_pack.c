/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pack: what marks are made of and checked with: numbers and bytes one
 * after another, digests in the making as bytes, a range of a file read in
 * order, names that lead nowhere else.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/unit/unit.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "io/digest.h"
#include "io/pack.h"
#include "io/path.h"
#include "io/scan.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static uint64_t seed;

static uint64_t next_random(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void *allocate(size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);

    assert_true(memory != NULL);
    return memory;
}

static void fill(unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(next_random() >> 24);
}

/* --- packs ---------------------------------------------------------------*/

static const uint64_t numbers[] = {0,
                                   1,
                                   255,
                                   256,
                                   UINT64_C(0x0102030405060708),
                                   UINT64_MAX,
                                   (uint64_t)1 << 63};

/* As bits: not all of them can be compared as numbers. */
static const uint64_t reals[] = {
    UINT64_C(0x0000000000000000), UINT64_C(0x8000000000000000), /* -0 */
    UINT64_C(0x3ff8000000000000), UINT64_C(0x0000000000000001),
    UINT64_C(0x7ff0000000000000), UINT64_C(0xfff0000000000000),
    UINT64_C(0x7ff8000000000000), UINT64_C(0x7ff8dead0000beef),
    UINT64_C(0xfffc000000000001), /* NaNs that say something */
};

static const char text[] = "some bytes";

static double real_of(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* One of everything; the caller frees it. */
static struct tm_pack pack_all(void)
{
    struct tm_pack pack = {0};
    void *room;

    for (size_t i = 0; i < COUNT(numbers); i++)
        tm_pack_number(&pack, numbers[i]);
    for (size_t i = 0; i < COUNT(reals); i++)
        tm_pack_real(&pack, real_of(reals[i]));
    tm_pack_bytes(&pack, NULL, 0);
    tm_pack_bytes(&pack, text, sizeof(text));
    room = tm_pack_room(&pack, 3);
    assert_true(room != NULL);
    memcpy(room, "end", 3);
    assert_false(pack.failed);
    return pack;
}

/* What pack_all has packed, of which only `there` bytes are. */
static void unpack_all(struct tm_unpack *unpack, size_t there)
{
    const unsigned char zeros[sizeof(text)] = {0};
    size_t end = 0;
    unsigned char bytes[sizeof(text)];

    for (size_t i = 0; i < COUNT(numbers); i++) {
        end += 8;
        assert_true(tm_unpack_number(unpack) == (there < end ? 0 : numbers[i]));
        assert_true(unpack->failed == (there < end));
    }
    for (size_t i = 0; i < COUNT(reals); i++) {
        end += 8;
        assert_true(bits_of(tm_unpack_real(unpack)) ==
                    (there < end ? 0 : reals[i]));
        assert_true(unpack->failed == (there < end));
    }
    tm_unpack_bytes(unpack, bytes, 0);
    end += sizeof(text);
    memset(bytes, 0xa5, sizeof(bytes));
    tm_unpack_bytes(unpack, bytes, sizeof(text));
    assert_memory_equal(bytes, there < end ? (const char *)zeros : text,
                        sizeof(text));
    assert_true(unpack->failed == (there < end));
    end += 3;
    memset(bytes, 0xa5, sizeof(bytes));
    tm_unpack_bytes(unpack, bytes, 3);
    assert_memory_equal(bytes, there < end ? (const char *)zeros : "end", 3);
    assert_true(unpack->failed == (there < end));
}

static void test_cut_short(void **state)
{
    struct tm_pack pack = pack_all();
    const size_t length = pack.text.length;

    (void)state;
    assert_int_equal(length,
                     8 * (COUNT(numbers) + COUNT(reals)) + sizeof(text) + 3);
    for (size_t there = 0; there <= length; there++) {
        unsigned char *bytes = allocate(there);
        struct tm_unpack unpack = {.at = bytes, .left = there};

        memcpy(bytes, pack.text.bytes, there);
        unpack_all(&unpack, there);
        assert_true(there < length || unpack.left == 0);
        free(bytes);
    }
    tm_pack_free(&pack);
    assert_true(pack.text.bytes == NULL && pack.text.length == 0);
}

/* Other machines and other builds read the same. */
static void test_little_endian(void **state)
{
    struct tm_pack pack = {0};

    (void)state;
    tm_pack_number(&pack, UINT64_C(0x0102030405060708));
    tm_pack_real(&pack, -2.0);
    assert_int_equal(pack.text.length, 16);
    assert_memory_equal(pack.text.bytes, "\x08\7\6\5\4\3\2\1\0\0\0\0\0\0\0\xc0",
                        16);
    tm_pack_reset(&pack);
    assert_int_equal(pack.text.length, 0);
    tm_pack_bytes(&pack, "x", 1);
    assert_memory_equal(pack.text.bytes, "x", 1);
    tm_pack_free(&pack);
}

static void test_here(void **state)
{
    static const uint64_t too_long[] = {6,
                                        7,
                                        (uint64_t)1 << 32,
                                        ((uint64_t)1 << 32) + 1,
                                        UINT64_MAX - 4,
                                        UINT64_MAX};
    unsigned char *bytes = allocate(5);

    (void)state;
    for (size_t i = 0; i < COUNT(too_long); i++) {
        struct tm_unpack unpack = {.at = bytes, .left = 5};

        assert_true(tm_unpack_here(&unpack, 0) == bytes);
        assert_true(tm_unpack_here(&unpack, too_long[i]) == NULL);
        assert_true(unpack.failed && unpack.at == bytes && unpack.left == 5);
        /* What has failed goes on failing. */
        assert_true(tm_unpack_here(&unpack, 1) == NULL);
        assert_true(tm_unpack_number(&unpack) == 0);
    }
    for (size_t first = 0; first <= 5; first++) {
        struct tm_unpack unpack = {.at = bytes, .left = 5};

        assert_true(tm_unpack_here(&unpack, first) == bytes);
        assert_true(tm_unpack_here(&unpack, 5 - first) == bytes + first);
        assert_true(!unpack.failed && unpack.left == 0);
        assert_true(tm_unpack_here(&unpack, 0) == bytes + 5);
        assert_true(tm_unpack_here(&unpack, 1) == NULL);
    }
    free(bytes);
}

/* A failure to allocate is told, and stays. */
static void test_too_much_room(void **state)
{
    struct tm_pack pack = {0};

    (void)state;
    tm_pack_number(&pack, 7);
    assert_true(tm_pack_room(&pack, SIZE_MAX / 2) == NULL);
    assert_true(pack.failed);
    tm_pack_number(&pack, 8);
    assert_true(pack.failed);
    tm_pack_reset(&pack);
    assert_false(pack.failed);
    tm_pack_free(&pack);
}

/* --- digests in the making -----------------------------------------------*/

#define MOST ((size_t)300000)

static unsigned char data[MOST];

static bool is_digest_of(const struct tm_hasher *hasher, size_t length)
{
    const struct tm_digest digest = tm_hasher_digest(hasher);
    const struct tm_digest right = tm_digest_of(data, length);

    return memcmp(&digest, &right, sizeof(right)) == 0;
}

/* Saves `from` into bytes of just that number, at an odd place. */
static unsigned char *save(const struct tm_hasher *from)
{
    unsigned char *bytes = allocate(tm_hasher_saved() + 1);

    tm_hasher_save(from, bytes + 1);
    return bytes;
}

/* `first` bytes in one hasher, the rest in another two. */
static void check_split(struct tm_hasher *one, struct tm_hasher *other,
                        size_t first, size_t length)
{
    unsigned char *bytes;

    tm_hasher_reset(one);
    tm_hasher_add(one, data, first);
    bytes = save(one);
    assert_true(is_digest_of(one, first)); /* it was only looked at */
    assert_true(tm_hasher_load(other, bytes + 1));
    free(bytes);
    assert_true(is_digest_of(other, first));
    tm_hasher_add(other, data + first, length - first);
    assert_true(is_digest_of(other, length));
    tm_hasher_copy(other, one);
    assert_true(is_digest_of(other, first));
    tm_hasher_add(one, data, 1); /* nothing is shared */
    tm_hasher_add(other, data + first, length - first);
    assert_true(is_digest_of(other, length));
}

static void test_small_digests(void **state)
{
    struct tm_hasher one, other;

    (void)state;
    assert_true(tm_hasher_init(&one) && tm_hasher_init(&other));
    for (size_t length = 0; length <= 1200; length++) {
        for (size_t i = 0; i < 12; i++)
            check_split(&one, &other, next_random() % (length + 1), length);
        check_split(&one, &other, length, length);
        check_split(&one, &other, 0, length);
    }
    tm_hasher_free(&one);
    tm_hasher_free(&other);
}

/* Around where libxxhash does something else. */
static void test_large_digests(void **state)
{
    static const size_t around[] = {240,   256,    512,    1024,   2048,
                                    65536, 131072, 196608, 262144, 299900};
    struct tm_hasher one, other;

    (void)state;
    assert_true(tm_hasher_init(&one) && tm_hasher_init(&other));
    for (size_t a = 0; a < COUNT(around); a++)
        for (size_t first = around[a] - 3; first <= around[a] + 3; first++)
            for (size_t b = 0; b < COUNT(around); b++)
                if (around[b] >= around[a])
                    check_split(&one, &other, first, around[b] + 70);
    tm_hasher_free(&one);
    tm_hasher_free(&other);
}

/* A saved state: refused, or its digest is what it was. */
static bool check_changed(struct tm_hasher *hasher, const unsigned char *bytes,
                          size_t length)
{
    const bool is_taken = tm_hasher_load(hasher, bytes);

    assert_true(is_digest_of(hasher, is_taken ? length : 0));
    tm_hasher_add(hasher, data, 3000); /* whatever comes of it */
    tm_hasher_digest(hasher);
    return is_taken;
}

static void test_changed_states(void **state)
{
    static const size_t lengths[] = {
        0,   1,   16,  17,  128,  129,  240,  241,  255,  256,   257,   320,
        511, 512, 513, 576, 1023, 1024, 1025, 1088, 9000, 65536, 65537, 299999};
    const size_t bits = 8 * tm_hasher_saved();
    struct tm_hasher hasher, other;

    (void)state;
    assert_true(tm_hasher_init(&hasher) && tm_hasher_init(&other));
    for (size_t i = 0; i < COUNT(lengths); i++) {
        unsigned char *bytes;

        tm_hasher_reset(&hasher);
        tm_hasher_add(&hasher, data, lengths[i]);
        bytes = save(&hasher);
        for (size_t bit = 0; bit < bits; bit++) {
            bytes[1 + bit / 8] ^= (unsigned char)(1 << bit % 8);
            /* Its own digest is in the last bytes. */
            if (check_changed(&other, bytes + 1, lengths[i]))
                assert_true(bit < bits - 8 * sizeof(struct tm_digest));
            bytes[1 + bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        assert_true(check_changed(&other, bytes + 1, lengths[i]));
        free(bytes);
    }
    tm_hasher_free(&hasher);
    tm_hasher_free(&other);
}

/* What never was a state, but begins or ends as one. */
static void test_no_states(void **state)
{
    const size_t length = tm_hasher_saved();
    struct tm_hasher hasher, other;
    unsigned char *good;
    unsigned char *bytes = allocate(length);

    (void)state;
    assert_true(tm_hasher_init(&hasher) && tm_hasher_init(&other));
    tm_hasher_add(&hasher, data, 5000);
    good = save(&hasher);
    for (size_t i = 0; i < 20000; i++) {
        const size_t from = next_random() % (length + 1);
        const size_t to = from + next_random() % (length - from + 1);

        memcpy(bytes, good + 1, length);
        if (i % 3 == 0)
            memset(bytes + from, i % 2 ? 0xff : 0, to - from);
        else
            fill(bytes + from, to - from);
        check_changed(&other, bytes, 5000);
    }
    memset(bytes, 0, length);
    assert_false(tm_hasher_load(&other, bytes));
    assert_true(is_digest_of(&other, 0));
    free(good);
    free(bytes);
    tm_hasher_free(&hasher);
    tm_hasher_free(&other);
}

/* --- ranges of files -----------------------------------------------------*/

/* More than is asked for at once, so that buffers are used again. */
#define FILE_BYTES ((18 << 20) + 1234)

static struct tm_disk disk;
static char path[] = "/tmp/taumerge-pack-XXXXXX";

/* Where the bytes that come go. */
struct sink {
    unsigned char *bytes;
    size_t length;
    size_t room;
    size_t visits_left;
};

static enum tm_status visit(void *context, const void *bytes, size_t length)
{
    struct sink *sink = context;

    assert_true(length > 0 && length <= sink->room - sink->length);
    memcpy(sink->bytes + sink->length, bytes, length);
    sink->length += length;
    return --sink->visits_left == 0 ? TM_INTERRUPTED : TM_OK;
}

static void check_range(struct tm_file *file, int fd, uint64_t from,
                        uint64_t to)
{
    const size_t length = (size_t)(to - from);
    struct sink sink = {
        .bytes = allocate(length), .room = length, .visits_left = SIZE_MAX};
    unsigned char *right = allocate(length);

    assert_int_equal(tm_scan_range(&disk, file, from, to, visit, &sink), TM_OK);
    assert_int_equal(sink.length, length);
    assert_int_equal(pread(fd, right, length, (off_t)from), length);
    assert_memory_equal(sink.bytes, right, length);
    assert_int_equal(disk.in_flight, 0);
    free(right);
    free(sink.bytes);
}

/* The file is made by the first who wants it. */
static int open_plain(void)
{
    const int fd = mkstemp(path);
    unsigned char *bytes = allocate(FILE_BYTES);

    assert_true(fd >= 0);
    fill(bytes, FILE_BYTES);
    assert_int_equal(write(fd, bytes, FILE_BYTES), FILE_BYTES);
    assert_int_equal(fsync(fd), 0);
    free(bytes);
    return fd;
}

static void check_ranges(struct tm_file *file, int fd)
{
    static const uint64_t begins[] = {0,   1,   2,    255,  256,
                                      257, 511, 4095, 4607, 4608};
    static const uint64_t lengths[] = {0,
                                       1,
                                       4095,
                                       4096,
                                       4097,
                                       TM_REQUEST - 1,
                                       TM_REQUEST,
                                       TM_REQUEST + 1,
                                       3 * TM_REQUEST + 77};

    for (size_t i = 0; i < COUNT(begins); i++) {
        const uint64_t from = begins[i] * TM_BLOCK;

        for (size_t k = 0; k < COUNT(lengths); k++)
            if (from + lengths[k] <= FILE_BYTES)
                check_range(file, fd, from, from + lengths[k]);
        check_range(file, fd, from, FILE_BYTES);
    }
    check_range(file, fd, FILE_BYTES / TM_BLOCK * TM_BLOCK, FILE_BYTES);
    check_range(file, fd, 0, FILE_BYTES - 1);
    for (size_t i = 0; i < 20; i++) {
        const uint64_t to = next_random() % FILE_BYTES;

        check_range(file, fd, next_random() % (to / TM_BLOCK + 1) * TM_BLOCK,
                    to);
    }
}

/* A visitor who has had enough is not called again. */
static void check_ended(struct tm_file *file)
{
    for (size_t visits = 1; visits < 18; visits += 4) {
        struct sink sink = {.bytes = allocate(FILE_BYTES),
                            .room = FILE_BYTES,
                            .visits_left = visits};

        assert_int_equal(
            tm_scan_range(&disk, file, 0, FILE_BYTES, visit, &sink),
            TM_INTERRUPTED);
        assert_int_equal(sink.length, visits * TM_REQUEST);
        assert_int_equal(disk.in_flight, 0);
        free(sink.bytes);
    }
}

static void check_engine(enum tm_io_choice choice, enum tm_direct direct,
                         int fd)
{
    struct tm_file file;

    assert_int_equal(tm_disk_open(choice, NULL, &disk), TM_OK);
    assert_int_equal(tm_file_open(disk.engine, path, direct, &file, NULL),
                     TM_OK);
    check_ranges(&file, fd);
    check_ended(&file);
    assert_int_equal(tm_file_close(disk.engine, &file), TM_OK);
    tm_disk_close(&disk);
}

/* The file is shorter than it was said to be. */
static void check_too_far(void)
{
    struct sink sink = {.bytes = allocate(FILE_BYTES + TM_REQUEST),
                        .room = FILE_BYTES + TM_REQUEST,
                        .visits_left = SIZE_MAX};
    struct tm_file file;

    assert_int_equal(tm_disk_open(TM_IO_THREADS, NULL, &disk), TM_OK);
    assert_int_equal(
        tm_file_open(disk.engine, path, TM_DIRECT_OFF, &file, NULL), TM_OK);
    assert_int_equal(
        tm_scan_range(&disk, &file, 0, FILE_BYTES + 1, visit, &sink),
        TM_IO_ERROR);
    assert_true(sink.length <= FILE_BYTES);
    assert_int_equal(disk.in_flight, 0);
    tm_file_close(disk.engine, &file);
    tm_disk_close(&disk);
    free(sink.bytes);
}

static void test_scan_range(void **state)
{
    const int fd = open_plain();

    (void)state;
    check_engine(TM_IO_THREADS, TM_DIRECT_OFF, fd);
    check_engine(TM_IO_THREADS, TM_DIRECT_ON, fd);
    check_engine(TM_IO_AUTO, TM_DIRECT_ON, fd);
    check_engine(TM_IO_AUTO, TM_DIRECT_AUTO, fd);
    check_too_far();
    close(fd);
    unlink(path);
}

/* --- names ---------------------------------------------------------------*/

static void test_harmless(void **state)
{
    static const char *const harmless[] = {
        "a", "a/b", "...", "..a", ".a", "a..", "a/.b/c", "a/...", " ", "\\"};
    static const char *const others[] = {
        "",       "/",   "/a",    "a/",    "a//b",          ".",
        "..",     "./a", "../a",  "a/.",   "a/..",          "a/./b",
        "a/../b", "//",  "a/b//", "../..", "a/b/../../../c"};
    char longest[2 * 255 + 3];

    (void)state;
    for (size_t i = 0; i < COUNT(harmless); i++)
        assert_true(tm_path_is_harmless(harmless[i]));
    for (size_t i = 0; i < COUNT(others); i++)
        assert_false(tm_path_is_harmless(others[i]));
    memset(longest, 'a', sizeof(longest));
    longest[255] = '\0';
    assert_true(tm_path_is_harmless(longest));
    longest[255] = '/';
    longest[2 * 255 + 1] = '\0';
    assert_true(tm_path_is_harmless(longest));
    longest[2 * 255 + 1] = 'a';
    longest[2 * 255 + 2] = '\0';
    assert_false(tm_path_is_harmless(longest));
    longest[256] = '\0';
    longest[255] = 'a';
    assert_false(tm_path_is_harmless(longest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_little_endian),
        cmocka_unit_test(test_here),
        cmocka_unit_test(test_too_much_room),
        cmocka_unit_test(test_small_digests),
        cmocka_unit_test(test_large_digests),
        cmocka_unit_test(test_changed_states),
        cmocka_unit_test(test_no_states),
        cmocka_unit_test(test_scan_range),
        cmocka_unit_test(test_harmless),
    };

    tm_message_silence();
    seed = 1;
    fill(data, sizeof(data));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
