/* SPDX-License-Identifier: Apache-2.0 */
/* journal: see journal.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/checked.h"

/* Of the head: where things are. */
#define NUMBER  8
#define KIND    16
#define NOTHING 20
#define LENGTH  24

static const unsigned char magic[8] = "TMJRNL1\n";

/* --- the format ----------------------------------------------------------*/

static uint64_t get(const unsigned char *bytes, unsigned count)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void put(unsigned char *bytes, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
}

/* The bytes of a record with a payload of `length`, padding included. */
static bool record_bytes(uint64_t length, uint64_t *size)
{
    uint64_t sum;

    return length <= TM_JOURNAL_MOST &&
           tm_add(length, TM_JOURNAL_HEAD_BYTES + sizeof(struct tm_digest),
                  &sum) &&
           tm_round_up(sum, TM_BLOCK, size);
}

/* Of the `length` bytes of head and payload, behind a record of `chain`. */
static struct tm_digest digest_of(const struct tm_digest *chain,
                                  const unsigned char *bytes, size_t length)
{
    const struct tm_digest both[2] = {*chain, tm_digest_of(bytes, length)};

    return tm_digest_of(both, sizeof(both));
}

static bool is_digest(const struct tm_digest *digest,
                      const unsigned char *bytes)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    /* No fuzzer finds one. */
    (void)digest;
    (void)bytes;
    return true;
#else
    return memcmp(digest->bytes, bytes, sizeof(digest->bytes)) == 0;
#endif
}

bool tm_journal_parse(const unsigned char *bytes, uint64_t length,
                      uint64_t number, struct tm_digest *chain,
                      struct tm_journal_record *record, uint64_t *size)
{
    struct tm_digest digest;
    uint64_t payload, whole;

    *size = 0;
    if (length < TM_JOURNAL_HEAD_BYTES) {
        *size = TM_JOURNAL_HEAD_BYTES;
        return false;
    }
    payload = get(bytes + LENGTH, 8);
    if (memcmp(bytes, magic, sizeof(magic)) != 0 ||
        get(bytes + NUMBER, 8) != number || get(bytes + NOTHING, 4) != 0 ||
        !record_bytes(payload, &whole))
        return false;
    if (length < whole) {
        *size = whole;
        return false;
    }
    digest = digest_of(chain, bytes, TM_JOURNAL_HEAD_BYTES + (size_t)payload);
    if (!is_digest(&digest, bytes + TM_JOURNAL_HEAD_BYTES + payload))
        return false;
    *record = (struct tm_journal_record){
        .kind = (uint32_t)get(bytes + KIND, 4),
        .number = number,
        .payload = bytes + TM_JOURNAL_HEAD_BYTES,
        .length = payload,
    };
    *chain = digest;
    *size = whole;
    return true;
}

/* --- the buffer and the file ---------------------------------------------*/

/*
 * Makes room for `size` bytes, a multiple of TM_BLOCK, and keeps the first
 * `used`. False, with the buffer as it was: no memory.
 */
static bool reserve(struct tm_journal *journal, size_t size, size_t used)
{
    size_t capacity = journal->capacity * 2;
    unsigned char *larger;

    if (size <= journal->capacity)
        return true;
    if (capacity < size)
        capacity = size;
    larger = aligned_alloc(TM_BLOCK, capacity);
    if (larger == NULL)
        return false;
    if (used > 0)
        memcpy(larger, journal->buffer, used);
    free(journal->buffer);
    journal->buffer = larger;
    journal->capacity = capacity;
    return true;
}

/*
 * Reads or writes bytes `from` to `to` of the buffer, blocks both, where the
 * buffer begins at `place` in the file.
 */
static enum tm_status move(struct tm_journal *journal, struct tm_disk *disk,
                           enum tm_op_kind kind, uint64_t place, size_t from,
                           size_t to)
{
    enum tm_status status = TM_OK;

    while (status == TM_OK && from < to) {
        const size_t left = to - from;
        const size_t length = left < TM_REQUEST ? left : TM_REQUEST;
        struct tm_transfer transfer = {
            .kind = kind,
            .file = &journal->file,
            .offset = place + from,
            .buf = journal->buffer + from,
            .len = length,
            .need = length,
        };

        status = tm_transfer_now(disk, &transfer);
        from += length;
    }
    return status;
}

enum tm_status tm_journal_close(struct tm_journal *journal,
                                struct tm_disk *disk)
{
    const enum tm_status status = tm_file_close(disk->engine, &journal->file);

    free(journal->buffer);
    *journal = (struct tm_journal){.file = {.fd = -1}};
    return status;
}

/* --- writing -------------------------------------------------------------*/

enum tm_status tm_journal_create(struct tm_journal *journal,
                                 struct tm_disk *disk, int dirfd,
                                 const char *name, const char *path)
{
    *journal = (struct tm_journal){.file = {.fd = -1}};
    return tm_file_create(disk->engine, dirfd, name, path, 0, TM_DIRECT_OFF,
                          &journal->file);
}

/* Room for a record whose payload has `length` bytes. */
static void make_room(struct tm_journal *journal, uint64_t length, size_t used)
{
    uint64_t size;

    if (!record_bytes(length, &size) || !reserve(journal, (size_t)size, used))
        journal->failed = true;
}

void tm_journal_begin(struct tm_journal *journal, uint32_t kind)
{
    journal->failed = false;
    journal->length = TM_JOURNAL_HEAD_BYTES;
    make_room(journal, 0, 0);
    if (journal->failed)
        return;
    memset(journal->buffer, 0, TM_JOURNAL_HEAD_BYTES);
    memcpy(journal->buffer, magic, sizeof(magic));
    put(journal->buffer + NUMBER, journal->number, 8);
    put(journal->buffer + KIND, kind, 4);
}

void tm_journal_put(struct tm_journal *journal, const void *data, size_t length)
{
    uint64_t payload;

    if (journal->failed || length == 0)
        return;
    if (tm_add(journal->length - TM_JOURNAL_HEAD_BYTES, length, &payload))
        make_room(journal, payload, journal->length);
    else
        journal->failed = true;
    if (journal->failed)
        return;
    memcpy(journal->buffer + journal->length, data, length);
    journal->length += length;
}

enum tm_status tm_journal_end(struct tm_journal *journal)
{
    const uint64_t payload = journal->length - TM_JOURNAL_HEAD_BYTES;
    uint64_t size, end;

    if (journal->failed || !record_bytes(payload, &size) ||
        !tm_add(journal->end, size, &end))
        return tm_no_memory();
    put(journal->buffer + LENGTH, payload, 8);
    journal->chain =
        digest_of(&journal->chain, journal->buffer, journal->length);
    memcpy(journal->buffer + journal->length, journal->chain.bytes,
           sizeof(journal->chain.bytes));
    journal->length += sizeof(journal->chain.bytes);
    memset(journal->buffer + journal->length, 0,
           (size_t)size - journal->length);
    journal->length = (size_t)size;
    journal->place = journal->end;
    journal->end = end;
    journal->number++;
    return TM_OK;
}

uint64_t tm_journal_place(const struct tm_journal *journal)
{
    return journal->place;
}

enum tm_status tm_journal_write_now(struct tm_journal *journal,
                                    struct tm_disk *disk)
{
    struct tm_transfer sync = {.kind = TM_OP_SYNC, .file = &journal->file};
    enum tm_status status = tm_journal_end(journal);

    if (status == TM_OK)
        status = move(journal, disk, TM_OP_WRITE, journal->place, 0,
                      journal->length);
    if (status == TM_OK)
        status = tm_transfer_now(disk, &sync);
    return status;
}

/* --- reading -------------------------------------------------------------*/

enum tm_status tm_journal_open(struct tm_journal *journal, struct tm_disk *disk,
                               const char *path)
{
    struct stat st;

    *journal = (struct tm_journal){.file = {.fd = -1}};
    if (stat(path, &st) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return TM_NO_INPUT;
    return tm_file_open(disk->engine, path, TM_DIRECT_OFF, &journal->file,
                        NULL);
}

/* Reads the bytes `from` to `to` of the record at hand into the buffer. */
static enum tm_status read_on(struct tm_journal *journal, struct tm_disk *disk,
                              uint64_t from, uint64_t to)
{
    if (!reserve(journal, (size_t)to, (size_t)from))
        return tm_no_memory();
    return move(journal, disk, TM_OP_READ, journal->end, (size_t)from,
                (size_t)to);
}

enum tm_status tm_journal_next(struct tm_journal *journal, struct tm_disk *disk,
                               struct tm_journal_record *record, bool *more)
{
    const uint64_t left = journal->file.size > journal->end
                              ? journal->file.size - journal->end
                              : 0;
    uint64_t there = 0, size = TM_BLOCK;
    enum tm_status status = TM_OK;

    /* First a block, for the head; then what is missing, if the file has it:
       a record ends with a block, so nothing is read beyond the file. */
    *more = false;
    while (status == TM_OK && !*more && size > there && size <= left) {
        status = read_on(journal, disk, there, size);
        there = size;
        if (status == TM_OK)
            *more = tm_journal_parse(journal->buffer, there, journal->number,
                                     &journal->chain, record, &size);
    }
    if (*more) {
        journal->end += size;
        journal->number++;
    }
    return status;
}

static enum tm_status cut_off(struct tm_journal *journal, struct tm_disk *disk)
{
    struct tm_call call = {
        .kind = TM_CALL_TRUNCATE, .fd = journal->file.fd, .size = journal->end};
    enum tm_status status = tm_disk_call(disk, &call, TM_IO_ERROR,
                                         journal->file.path, "set the size");

    call.kind = TM_CALL_SYNC;
    if (status == TM_OK)
        status =
            tm_disk_call(disk, &call, TM_IO_ERROR, journal->file.path, "sync");
    return status;
}

enum tm_status tm_journal_continue(struct tm_journal *journal,
                                   struct tm_disk *disk, int dirfd,
                                   const char *name, const char *path)
{
    enum tm_status status = tm_file_close(disk->engine, &journal->file);

    if (status == TM_OK)
        status = tm_file_reopen(disk->engine, dirfd, name, path, TM_DIRECT_OFF,
                                &journal->file);
    if (status == TM_OK)
        status = cut_off(journal, disk);
    return status;
}
