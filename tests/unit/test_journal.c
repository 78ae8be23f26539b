/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_journal: what is written to a journal is read from it, or else a true
 * prefix of it: whatever is cut off, changed or put behind it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/unit/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "io/journal.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Large enough for all journals but that of test_large. */
#define ROOM ((size_t)64 << 10)

static char directory[64], path[128];
static int dirfd;
static struct tm_disk disk;

/* --- records -------------------------------------------------------------*/

/*
 * The payloads of a journal; `seed` makes them others. Their lengths are those
 * at which something changes: nothing, the last that fits into a block with
 * head and digest, the next, some blocks.
 */
static const size_t lengths[] = {17, 0, 4048, 4049, 1, 9000, 8144, 300};

#define ALL      COUNT(lengths)
#define MOST     ((size_t)9000)
#define OVERHEAD (TM_JOURNAL_HEAD_BYTES + sizeof(struct tm_digest))

static size_t padded(size_t length)
{
    return (length + OVERHEAD + TM_BLOCK - 1) / TM_BLOCK * TM_BLOCK;
}

static void make_payload(unsigned char *bytes, size_t length, size_t number,
                         unsigned seed)
{
    uint32_t x = (uint32_t)(seed * 1000 + number) * 2654435761u + 1;

    for (size_t i = 0; i < length; i++) {
        x = x * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(x >> 24);
    }
}

static uint32_t kind_of(size_t number, unsigned seed)
{
    return (uint32_t)(0xfedc0000u + 100 * seed + number);
}

/* Puts record `number` in pieces, the last one of no bytes. */
static void put_record(struct tm_journal *journal, size_t number, unsigned seed)
{
    const size_t length = lengths[number];
    unsigned char payload[MOST];

    make_payload(payload, length, number, seed);
    tm_journal_begin(journal, kind_of(number, seed));
    tm_journal_put(journal, payload, length / 2);
    tm_journal_put(journal, payload + length / 2, length - length / 2);
    tm_journal_put(journal, NULL, 0);
}

static void write_records(struct tm_journal *journal, size_t from, size_t to,
                          unsigned seed)
{
    for (size_t i = from; i < to; i++) {
        put_record(journal, i, seed);
        assert_int_equal(tm_journal_write_now(journal, &disk), TM_OK);
    }
}

static bool is_record(const struct tm_journal_record *record, size_t number,
                      unsigned seed)
{
    unsigned char payload[MOST];

    if (number >= ALL || record->number != number ||
        record->length != lengths[number] ||
        record->kind != kind_of(number, seed))
        return false;
    make_payload(payload, lengths[number], number, seed);
    return memcmp(record->payload, payload, lengths[number]) == 0;
}

/* --- files ---------------------------------------------------------------*/

static void create(struct tm_journal *journal)
{
    unlink(path);
    assert_int_equal(tm_journal_create(journal, &disk, dirfd, "journal", path),
                     TM_OK);
}

/* Writes a journal of the first `count` records. */
static void write_journal(size_t count, unsigned seed)
{
    struct tm_journal journal;

    create(&journal);
    write_records(&journal, 0, count, seed);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
}

static size_t read_file(unsigned char *bytes, size_t room)
{
    FILE *file = fopen(path, "rb");
    size_t length;

    assert_true(file != NULL);
    length = fread(bytes, 1, room, file);
    assert_true(length < room);
    fclose(file);
    return length;
}

static void write_file(const unsigned char *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");

    assert_true(file != NULL);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void open_journal(struct tm_journal *journal)
{
    assert_int_equal(tm_journal_open(journal, &disk, path), TM_OK);
}

/*
 * Reads at most `most` records. The first `own` have to be those of `seed`,
 * the rest of the next seed.
 */
static size_t read_records(struct tm_journal *journal, size_t most, size_t own,
                           unsigned seed)
{
    struct tm_journal_record record;
    bool more = true;
    size_t count = 0;

    while (count < most) {
        assert_int_equal(tm_journal_next(journal, &disk, &record, &more),
                         TM_OK);
        if (!more)
            break;
        assert_true(is_record(&record, count, count < own ? seed : seed + 1));
        count++;
    }
    assert_int_equal(journal->number, count);
    return count;
}

/* The records of the journal there is, all those of `seed`. */
static size_t count_records(unsigned seed)
{
    struct tm_journal journal;
    size_t count;

    open_journal(&journal);
    count = read_records(&journal, ALL, ALL, seed);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    return count;
}

/* The same in memory. */
static size_t count_in(const unsigned char *bytes, size_t length, unsigned seed)
{
    struct tm_digest chain = {{0}};
    struct tm_journal_record record;
    uint64_t size = 0;
    size_t at = 0, count = 0;

    while (tm_journal_parse(bytes + at, length - at, count, &chain, &record,
                            &size)) {
        assert_true(is_record(&record, count, seed));
        assert_int_equal(size, padded(lengths[count]));
        at += (size_t)size;
        count++;
    }
    assert_true(size == 0 || size > length - at);
    return count;
}

/* How many records of the usual journal end within `length` bytes. */
static size_t whole_within(size_t length)
{
    size_t end = 0, count = 0;

    while (count < ALL && end + padded(lengths[count]) <= length)
        end += padded(lengths[count++]);
    return count;
}

/* --- writing and reading -------------------------------------------------*/

static void test_some(void **state)
{
    (void)state;
    for (size_t count = 0; count <= ALL; count++) {
        static unsigned char bytes[ROOM];

        write_journal(count, 1);
        assert_int_equal(count_records(1), count);
        assert_int_equal(count_in(bytes, read_file(bytes, ROOM), 1), count);
    }
}

/* The bytes of a record, as the header has them. */
static void test_format(void **state)
{
    static const unsigned char head[TM_JOURNAL_HEAD_BYTES] =
        "TMJRNL1\n\1\0\0\0\0\0\0\0\5\0\xdc\xfe\0\0\0\0\5\0\0\0\0\0\0";
    unsigned char bytes[3 * 4096];
    struct tm_journal journal;
    struct tm_digest both[2], digest;

    (void)state;
    create(&journal);
    for (int i = 0; i < 2; i++) {
        tm_journal_begin(&journal, 0xfedc0005u);
        tm_journal_put(&journal, "abcde", 5);
        assert_int_equal(tm_journal_write_now(&journal, &disk), TM_OK);
        assert_int_equal(tm_journal_place(&journal), i * 4096);
        assert_int_equal(journal.length, 4096);
    }
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    assert_int_equal(read_file(bytes, sizeof(bytes)), 8192);
    assert_memory_equal(bytes + 4096, head, sizeof(head));
    assert_memory_equal(bytes + 4096 + 32, "abcde", 5);
    memset(&both[0], 0, sizeof(both[0]));
    both[1] = tm_digest_of(bytes, 37);
    both[0] = tm_digest_of(both, sizeof(both));
    assert_memory_equal(bytes + 37, &both[0], 16);
    both[1] = tm_digest_of(bytes + 4096, 37);
    digest = tm_digest_of(both, sizeof(both));
    assert_memory_equal(bytes + 4096 + 37, &digest, 16);
    for (size_t i = 37 + 16; i < 4096; i++)
        assert_true(bytes[i] == 0 && bytes[4096 + i] == 0);
}

/* Whether a record of no bytes is one when its head is `head`. */
static bool is_one(const unsigned char *head)
{
    unsigned char bytes[4096] = {0};
    struct tm_digest both[2] = {{{0}}}, chain = {{0}};
    struct tm_journal_record record;
    uint64_t size;

    memcpy(bytes, head, TM_JOURNAL_HEAD_BYTES);
    both[1] = tm_digest_of(bytes, TM_JOURNAL_HEAD_BYTES);
    both[0] = tm_digest_of(both, sizeof(both));
    memcpy(bytes + TM_JOURNAL_HEAD_BYTES, &both[0], sizeof(both[0]));
    return tm_journal_parse(bytes, sizeof(bytes), 0, &chain, &record, &size);
}

/* Nothing of a head but the kind may be another, whatever the digest says. */
static void test_heads(void **state)
{
    unsigned char head[TM_JOURNAL_HEAD_BYTES] = "TMJRNL1\n";

    (void)state;
    assert_true(is_one(head));
    for (unsigned bit = 0; bit < 8 * TM_JOURNAL_HEAD_BYTES; bit++) {
        const bool is_kind = bit / 32 == 4;

        head[bit / 8] ^= (unsigned char)(1 << bit % 8);
        if (bit / 64 < 3) /* a length may be: it has test_length_field */
            assert_int_equal(is_one(head), is_kind);
        head[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

/* Larger than a request, in pieces of odd lengths; then a small one. */
static void test_large(void **state)
{
    const size_t length = (size_t)3 << 20;
    unsigned char *payload = malloc(length);
    struct tm_journal_record record;
    struct tm_journal journal;
    bool more;

    (void)state;
    assert_true(payload != NULL);
    make_payload(payload, length, 0, 9);
    create(&journal);
    tm_journal_begin(&journal, 7);
    for (size_t at = 0, piece = 1; at < length; at += piece, piece += 1234) {
        if (piece > length - at)
            piece = length - at;
        tm_journal_put(&journal, payload + at, piece);
    }
    assert_int_equal(tm_journal_write_now(&journal, &disk), TM_OK);
    assert_int_equal(journal.end, padded(length));
    tm_journal_begin(&journal, 8);
    tm_journal_put(&journal, payload, 3);
    assert_int_equal(tm_journal_write_now(&journal, &disk), TM_OK);
    assert_int_equal(tm_journal_place(&journal), padded(length));
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);

    open_journal(&journal);
    assert_int_equal(tm_journal_next(&journal, &disk, &record, &more), TM_OK);
    assert_true(more && record.kind == 7 && record.length == length);
    assert_memory_equal(record.payload, payload, length);
    assert_int_equal(tm_journal_next(&journal, &disk, &record, &more), TM_OK);
    assert_true(more && record.kind == 8 && record.length == 3);
    assert_memory_equal(record.payload, payload, 3);
    assert_int_equal(tm_journal_next(&journal, &disk, &record, &more), TM_OK);
    assert_false(more);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    free(payload);
}

/* The owner writes and syncs himself. */
static void test_own_transfers(void **state)
{
    struct tm_journal journal;

    (void)state;
    create(&journal);
    for (size_t i = 0; i < ALL; i++) {
        struct tm_transfer write = {.kind = TM_OP_WRITE, .file = &journal.file};
        struct tm_transfer sync = {.kind = TM_OP_SYNC, .file = &journal.file};

        put_record(&journal, i, 1);
        assert_int_equal(tm_journal_end(&journal), TM_OK);
        write.offset = tm_journal_place(&journal);
        write.buf = journal.buffer;
        write.len = journal.length;
        assert_int_equal((uintptr_t)journal.buffer % TM_BLOCK, 0);
        assert_int_equal(write.len % TM_BLOCK, 0);
        assert_int_equal(write.offset + write.len, journal.end);
        assert_int_equal(tm_transfer_now(&disk, &write), TM_OK);
        assert_int_equal(tm_transfer_now(&disk, &sync), TM_OK);
    }
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    assert_int_equal(count_records(1), ALL);
}

static void test_begun_again(void **state)
{
    struct tm_journal journal;

    (void)state;
    create(&journal);
    put_record(&journal, 5, 3);
    write_records(&journal, 0, 2, 1);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    assert_int_equal(count_records(1), 2);
}

/* Refused before a byte of it is looked at; what comes next is not harmed. */
static void test_too_long(void **state)
{
    static const size_t lengths_put[] = {TM_JOURNAL_MOST + 1,
                                         TM_JOURNAL_MOST - 2, SIZE_MAX};
    struct tm_journal journal;

    (void)state;
    create(&journal);
    for (size_t i = 0; i < COUNT(lengths_put); i++) {
        tm_journal_begin(&journal, 0);
        tm_journal_put(&journal, "abc", 3);
        tm_journal_put(&journal, "abc", lengths_put[i]);
        tm_journal_put(&journal, "abc", 3);
        assert_int_equal(tm_journal_end(&journal), TM_SYSTEM);
        assert_int_equal(journal.number, i);
        write_records(&journal, i, i + 1, 1);
    }
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    assert_int_equal(count_records(1), COUNT(lengths_put));
}

static void test_none(void **state)
{
    struct tm_journal journal;

    (void)state;
    assert_int_equal(tm_journal_open(&journal, &disk, path), TM_NO_INPUT);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    assert_int_equal(tm_journal_open(&journal, &disk, directory), TM_BAD_DATA);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    write_journal(1, 1);
    assert_int_equal(tm_journal_create(&journal, &disk, dirfd, "journal", path),
                     TM_CANT_CREATE);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    assert_int_equal(count_records(1), 1);
}

/* --- going on ------------------------------------------------------------*/

/* Reads `keep` records of those there are, and writes others behind them. */
static void go_on(size_t keep, size_t to)
{
    struct tm_journal journal;

    open_journal(&journal);
    assert_int_equal(read_records(&journal, keep, ALL, 1), keep);
    assert_int_equal(
        tm_journal_continue(&journal, &disk, dirfd, "journal", path), TM_OK);
    write_records(&journal, keep, to, 2);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    open_journal(&journal);
    assert_int_equal(whole_within((size_t)journal.file.size), to);
    assert_int_equal(journal.file.size % TM_BLOCK, 0);
    assert_int_equal(read_records(&journal, ALL, keep, 1), to);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
}

static void test_continue(void **state)
{
    (void)state;
    for (size_t count = 0; count <= ALL; count++)
        for (size_t keep = 0; keep <= count; keep++) {
            const size_t to = keep + 2 < ALL ? keep + 2 : ALL;

            write_journal(count, 1);
            go_on(keep, to);
            write_journal(count, 1);
            go_on(keep, keep);
        }
}

/* All are read, and all but three are dropped. */
static void test_put_back(void **state)
{
    struct tm_journal journal, third;

    (void)state;
    write_journal(ALL, 1);
    open_journal(&journal);
    assert_int_equal(read_records(&journal, 3, ALL, 1), 3);
    third = journal;
    for (bool more = true; more;) {
        struct tm_journal_record record;

        assert_int_equal(tm_journal_next(&journal, &disk, &record, &more),
                         TM_OK);
    }
    assert_int_equal(journal.number, ALL);
    journal.end = third.end;
    journal.number = third.number;
    journal.chain = third.chain;
    assert_int_equal(
        tm_journal_continue(&journal, &disk, dirfd, "journal", path), TM_OK);
    write_records(&journal, 3, 5, 2);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    open_journal(&journal);
    assert_int_equal(read_records(&journal, ALL, 3, 1), 5);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
}

/* --- damage --------------------------------------------------------------*/

static void check_length(const unsigned char *bytes, size_t length)
{
    const size_t whole = whole_within(length);

    write_file(bytes, length);
    assert_int_equal(count_records(1), whole);
    go_on(whole, whole < ALL ? whole + 1 : ALL);
}

static void test_cut_short(void **state)
{
    static unsigned char bytes[ROOM];
    size_t all;

    (void)state;
    write_journal(ALL, 1);
    all = read_file(bytes, ROOM);
    assert_int_equal(whole_within(all), ALL);
    for (size_t length = 0; length <= all; length++)
        assert_int_equal(count_in(bytes, length, 1), whole_within(length));
    for (size_t length = 0; length <= all; length += TM_BLOCK) {
        check_length(bytes, length);
        check_length(bytes, length + 1 < all ? length + 1 : all);
        check_length(bytes, length > 0 ? length - 1 : 0);
        check_length(bytes, length + 31 < all ? length + 31 : all);
    }
    for (size_t length = 7; length <= all; length += 1009)
        check_length(bytes, length);
}

/* Where digests are not compared, none of these is noticed. */
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION

#define FEW ((size_t)3)

/*
 * How many of the first records, each in one block, are left when the byte at
 * `at` is another: padding does not count.
 */
static size_t left_by(size_t at)
{
    const size_t number = at / TM_BLOCK;

    return at % TM_BLOCK < lengths[number] + OVERHEAD ? number : FEW;
}

static void test_flipped(void **state)
{
    static unsigned char bytes[ROOM];
    size_t length;

    (void)state;
    write_journal(FEW, 1);
    length = read_file(bytes, ROOM);
    assert_int_equal(length, FEW * TM_BLOCK);
    for (size_t bit = 0; bit < 8 * length; bit++) {
        const size_t at = bit / 8;

        bytes[at] ^= (unsigned char)(1 << bit % 8);
        assert_int_equal(count_in(bytes, length, 1), left_by(at));
        if (at % TM_BLOCK < 80 || bit % 613 == 0) {
            write_file(bytes, length);
            assert_int_equal(count_records(1), left_by(at));
        }
        bytes[at] ^= (unsigned char)(1 << bit % 8);
    }
}

/* Blocks that were never written, or hold what was there before. */
static void test_torn(void **state)
{
    static unsigned char bytes[ROOM], torn[ROOM];
    size_t length;

    (void)state;
    write_journal(ALL, 1);
    length = read_file(bytes, ROOM);
    for (size_t at = 0; at < length; at += TM_BLOCK)
        for (int fill = 0; fill < 2; fill++) {
            size_t count;

            memcpy(torn, bytes, length);
            memset(torn + at, fill * 0xff, TM_BLOCK);
            count = count_in(torn, length, 1);
            assert_int_equal(count, whole_within(at));
            write_file(torn, length);
            assert_int_equal(count_records(1), count);
            go_on(count, count + 1);
        }
}

/* Records of the same numbers, and in the other order. */
static void test_other_journal(void **state)
{
    static unsigned char one[ROOM], other[ROOM];
    size_t length;

    (void)state;
    write_journal(ALL, 2);
    read_file(other, ROOM);
    write_journal(ALL, 1);
    length = read_file(one, ROOM);
    for (size_t keep = 1, at = padded(lengths[0]); keep < ALL;
         at += padded(lengths[keep++])) {
        unsigned char mixed[ROOM];

        memcpy(mixed, one, at);
        memcpy(mixed + at, other + at, length - at);
        assert_int_equal(count_in(mixed, length, 1), keep);
        write_file(mixed, length);
        assert_int_equal(count_records(1), keep);
    }
    memcpy(one, other, TM_BLOCK); /* the first one, too, of the other */
    assert_int_equal(count_in(one, length, 2), 1);
    memcpy(one, other + TM_BLOCK, TM_BLOCK);
    assert_int_equal(count_in(one, length, 2), 0);
}

/* What was cut off does not come back behind others of its length. */
static void test_old_tail(void **state)
{
    static unsigned char bytes[ROOM];
    struct tm_journal journal;
    size_t length;

    (void)state;
    write_journal(ALL, 1);
    length = read_file(bytes, ROOM);
    go_on(2, 4);
    read_file(bytes, ROOM);
    write_file(bytes, length); /* as if it had not been cut off */
    open_journal(&journal);
    assert_int_equal(read_records(&journal, ALL, 2, 1), 4);
    assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
}

#endif

/* A length that no file can have costs no memory. */
static void test_length_field(void **state)
{
    static const uint64_t claims[] = {4049,
                                      8144,
                                      TM_JOURNAL_MOST,
                                      TM_JOURNAL_MOST + 1,
                                      UINT64_MAX - 47,
                                      UINT64_MAX,
                                      UINT64_C(1) << 63};
    static unsigned char bytes[ROOM];
    size_t length;

    (void)state;
    write_journal(2, 1);
    length = read_file(bytes, ROOM);
    for (size_t i = 0; i < COUNT(claims); i++) {
        struct tm_journal journal;

        for (unsigned k = 0; k < 8; k++)
            bytes[TM_BLOCK + 24 + k] = (unsigned char)(claims[i] >> 8 * k);
        assert_int_equal(count_in(bytes, length, 1), 1);
        write_file(bytes, length);
        open_journal(&journal);
        assert_int_equal(read_records(&journal, ALL, ALL, 1), 1);
        assert_int_equal(journal.capacity, TM_BLOCK);
        assert_int_equal(tm_journal_close(&journal, &disk), TM_OK);
    }
}

/* --- disks that fail -----------------------------------------------------*/

static struct tm_disk disk_with(const char *fault)
{
    struct tm_disk broken;

    assert_int_equal(tm_disk_open(TM_IO_THREADS, fault, &broken), TM_OK);
    return broken;
}

/* An error is none of the ends of a journal. */
static void test_read_fails(void **state)
{
    static const char *const faults[] = {
        "op=read,k=1", "op=read,k=4,errno=EACCES", "op=read,k=5"};
    static const size_t before[] = {0, 3, 3}; /* that one has two reads */

    (void)state;
    write_journal(ALL, 1);
    for (size_t i = 0; i < COUNT(faults); i++) {
        struct tm_disk broken = disk_with(faults[i]);
        struct tm_journal_record record;
        struct tm_journal journal;
        bool more = true;

        assert_int_equal(tm_journal_open(&journal, &broken, path), TM_OK);
        for (size_t n = 0; n < before[i]; n++) {
            assert_int_equal(tm_journal_next(&journal, &broken, &record, &more),
                             TM_OK);
            assert_true(more && is_record(&record, n, 1));
        }
        assert_int_equal(tm_journal_next(&journal, &broken, &record, &more),
                         TM_IO_ERROR);
        assert_false(more);
        assert_int_equal(tm_journal_close(&journal, &broken), TM_OK);
        tm_disk_close(&broken);
    }
}

static void test_write_fails(void **state)
{
    static const struct {
        const char *fault;
        enum tm_status status;
    } cases[] = {{"op=write,k=1", TM_IO_ERROR},
                 {"op=write,k=1,errno=ENOSPC", TM_CANT_CREATE},
                 {"op=sync,k=1", TM_IO_ERROR},
                 {"op=sync,k=1,errno=EDQUOT", TM_CANT_CREATE}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tm_disk broken = disk_with(cases[i].fault);
        struct tm_journal journal;

        create(&journal);
        write_records(&journal, 0, 1, 1);
        put_record(&journal, 1, 1);
        assert_int_equal(tm_journal_write_now(&journal, &broken),
                         cases[i].status);
        assert_int_equal(tm_journal_close(&journal, &broken), TM_OK);
        tm_disk_close(&broken);
        assert_true(count_records(1) >= 1);
    }
}

static void test_continue_fails(void **state)
{
    static const struct {
        const char *fault;
        enum tm_status status;
    } cases[] = {{"op=open,k=2,errno=EACCES", TM_CANT_CREATE},
                 {"op=truncate,k=1", TM_IO_ERROR},
                 {"op=sync,k=1", TM_IO_ERROR}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tm_disk broken = disk_with(cases[i].fault);
        struct tm_journal journal;

        write_journal(ALL, 1);
        assert_int_equal(tm_journal_open(&journal, &broken, path), TM_OK);
        assert_int_equal(read_records(&journal, 3, ALL, 1), 3);
        assert_int_equal(
            tm_journal_continue(&journal, &broken, dirfd, "journal", path),
            cases[i].status);
        assert_int_equal(tm_journal_close(&journal, &broken), TM_OK);
        tm_disk_close(&broken);
        assert_true(count_records(1) >= 3);
    }
}

/* Reads and writes that move a part of what they were asked for. */
static void test_dribble(void **state)
{
    struct tm_disk whole = disk;

    (void)state;
    disk = disk_with("short=1");
    write_journal(ALL, 1);
    assert_int_equal(count_records(1), ALL);
    go_on(3, ALL);
    tm_disk_close(&disk);
    disk = whole;
}

/* --- the tests -----------------------------------------------------------*/

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/taumerge-journal-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/journal", directory);
    dirfd = open(directory, O_RDONLY | O_DIRECTORY);
    return dirfd < 0;
}

static int remove_directory(void **state)
{
    (void)state;
    close(dirfd);
    unlink(path);
    return rmdir(directory);
}

#define journal_test(f)                                                        \
    cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        journal_test(test_some),          journal_test(test_format),
        journal_test(test_heads),         journal_test(test_large),
        journal_test(test_own_transfers), journal_test(test_begun_again),
        journal_test(test_too_long),      journal_test(test_none),
        journal_test(test_continue),      journal_test(test_put_back),
        journal_test(test_cut_short),
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
        journal_test(test_flipped),       journal_test(test_old_tail),
        journal_test(test_torn),          journal_test(test_other_journal),
#endif
        journal_test(test_length_field),  journal_test(test_read_fails),
        journal_test(test_write_fails),   journal_test(test_continue_fails),
        journal_test(test_dribble),
    };
    int failed;

    tm_message_silence();
    if (tm_disk_open(TM_IO_THREADS, NULL, &disk) != TM_OK)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    tm_disk_close(&disk);
    return failed;
}
