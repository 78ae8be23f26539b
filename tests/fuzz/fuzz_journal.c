/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_journal: a journal. Input: the file's bytes, read record by record
 * until there is no further one.
 *
 * A record that is understood keeps the promises of io/journal.h, comes out
 * the same when it is written again, and is none if a byte is missing. What
 * is in it is looked at as whoever finds a kept run does, who has no plan yet
 * (src/kept.h): the first record is a head, others are marks.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "io/journal.h"
#include "io/path.h"
#include "src/head.h"
#include "src/kept.h"

/* In a buffer of just that size, so that sanitizers see its end. */
static unsigned char *copy_of(const unsigned char *bytes, uint64_t length)
{
    unsigned char *copy = calloc(1, length > 0 ? (size_t)length : 1);

    FUZZ_REQUIRE(copy != NULL);
    if (length > 0)
        memcpy(copy, bytes, (size_t)length);
    return copy;
}

/* What has to be there of a record before anything more is known of it. */
static uint64_t needed(uint64_t there, uint64_t whole)
{
    return there < TM_JOURNAL_HEAD_BYTES ? TM_JOURNAL_HEAD_BYTES : whole;
}

/* `there` bytes of a record that has `whole`. */
static void check_cut(const unsigned char *bytes, uint64_t there,
                      uint64_t whole, uint64_t number)
{
    unsigned char *copy = copy_of(bytes, there);
    const struct tm_digest none = {{0}};
    struct tm_digest chain = none;
    struct tm_journal_record record;
    uint64_t size;

    FUZZ_REQUIRE(
        !tm_journal_parse(copy, there, number, &chain, &record, &size));
    FUZZ_REQUIRE(size == needed(there, whole));
    FUZZ_REQUIRE(memcmp(&chain, &none, sizeof(none)) == 0);
    free(copy);
}

static void check_record(const unsigned char *bytes, uint64_t length,
                         const struct tm_journal_record *record, uint64_t size)
{
    const uint64_t head = TM_JOURNAL_HEAD_BYTES,
                   tail = sizeof(struct tm_digest);

    FUZZ_REQUIRE(size <= length && size > 0 && size % TM_BLOCK == 0);
    FUZZ_REQUIRE(record->length <= TM_JOURNAL_MOST);
    FUZZ_REQUIRE(record->payload == bytes + head);
    FUZZ_REQUIRE(head + record->length + tail <= size);
    FUZZ_REQUIRE(size - (head + record->length + tail) < TM_BLOCK);
    check_cut(bytes, size - 1, size, record->number);
    check_cut(bytes, head, size, record->number);
    check_cut(bytes, head - 1, size, record->number);
}

/* Writes the record behind those that `again` had; it has these bytes. */
static void write_again(struct tm_journal *again, const unsigned char *bytes,
                        const struct tm_journal_record *record,
                        const struct tm_digest *chain, uint64_t size)
{
    unsigned char *payload = copy_of(record->payload, record->length);
    const size_t rest = TM_JOURNAL_HEAD_BYTES + (size_t)record->length;
    const uint64_t place = again->end;

    tm_journal_begin(again, record->kind);
    tm_journal_put(again, payload, (size_t)record->length / 3);
    tm_journal_put(again, payload + record->length / 3,
                   (size_t)(record->length - record->length / 3));
    free(payload);
    FUZZ_REQUIRE(tm_journal_end(again) == TM_OK);
    FUZZ_REQUIRE(tm_journal_place(again) == place);
    FUZZ_REQUIRE(again->length == size && again->end == place + size);
    FUZZ_REQUIRE(again->number == record->number + 1);
    FUZZ_REQUIRE(memcmp(again->buffer, bytes, rest) == 0);
    FUZZ_REQUIRE(memcmp(&again->chain, chain, sizeof(*chain)) == 0);
    FUZZ_REQUIRE(memcmp(again->buffer + rest, chain, sizeof(*chain)) == 0);
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    FUZZ_REQUIRE(memcmp(bytes + rest, chain, sizeof(*chain)) == 0);
#endif
}

/* --- what is in them -----------------------------------------------------*/

/* Compares the head with one of a run and with itself. */
static void compare_head(json_t *head, unsigned char *text, size_t length)
{
    static char other[] =
        "{\"journal\":1,\"numerics\":1,\"recipe\":{\"method\":\"ties\"},"
        "\"inputs\":[{\"path\":\"a\",\"bytes\":1,\"header\":\"0\"}],"
        "\"files\":[\"model.safetensors\"]}";
    const struct tm_text others = {.bytes = other, .length = sizeof(other) - 1};
    const struct tm_text own = {.bytes = (char *)text, .length = length};

    tm_head_compare("kept", head, &others);
    tm_head_compare("kept", head, &own);
}

static void check_head(const struct tm_journal_record *record)
{
    unsigned char *copy = copy_of(record->payload, record->length);
    const size_t length = (size_t)record->length;
    struct tm_json_text text = {
        .path = "journal", .text = (const char *)copy, .length = length};
    struct tm_kept kept = {.head = tm_json_value(&text)};
    char since[TM_KEPT_TIME];
    json_t *name;
    size_t i;

    if (json_is_object(kept.head)) {
        json_array_foreach(json_object_get(kept.head, "files"), i, name)
        {
            if (json_is_string(name))
                tm_path_is_harmless(json_string_value(name));
        }
        FUZZ_REQUIRE(tm_kept_since(&kept, since) == since);
        FUZZ_REQUIRE(memchr(since, '\0', sizeof(since)) != NULL);
        compare_head(kept.head, copy, length);
    }
    json_decref(kept.head);
    free(copy);
}

/* One file of a mark, of which `body` is the rest. */
static bool check_file(struct tm_unpack *body)
{
    const unsigned char *begin = body->at;
    const size_t left = body->left;
    struct tm_mark_file file;

    if (!tm_mark_get_file(body, &file))
        return false;
    FUZZ_REQUIRE(file.tail_length < TM_BLOCK);
    FUZZ_REQUIRE(file.from <= file.to && file.tail_length <= file.to);
    FUZZ_REQUIRE(file.from <= file.to - file.tail_length);
    FUZZ_REQUIRE(body->at == file.tail + file.tail_length);
    FUZZ_REQUIRE(body->at > begin && body->left < left);
    FUZZ_REQUIRE((size_t)(body->at - begin) == left - body->left);
    return true;
}

static void check_mark(const struct tm_journal_record *record)
{
    unsigned char *copy = copy_of(record->payload, record->length);
    struct tm_unpack body = {.at = copy, .left = (size_t)record->length};
    struct tm_kept kept = {.num_marks = 1, .bytes_total = 1000};
    uint64_t num_files;

    if (tm_mark_get_place(&body, &kept.place, &num_files)) {
        FUZZ_REQUIRE(tm_kept_percent(&kept) < 100);
        while (num_files-- > 0 && check_file(&body))
            continue;
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tm_journal again = {.file = {.fd = -1}};
    struct tm_journal_record record;
    struct tm_digest chain = {{0}};
    uint64_t at = 0, bytes = 0;

    tm_message_silence();
    while (tm_journal_parse(data + at, size - at, again.number, &chain, &record,
                            &bytes)) {
        FUZZ_REQUIRE(record.number == again.number);
        check_record(data + at, size - at, &record, bytes);
        write_again(&again, data + at, &record, &chain, bytes);
        if (record.number == 0)
            check_head(&record);
        if (record.kind == TM_JOURNAL_MARK)
            check_mark(&record);
        at += bytes;
        FUZZ_REQUIRE(again.end == at);
    }
    FUZZ_REQUIRE(bytes == 0 || bytes > size - at);
    FUZZ_REQUIRE(memcmp(&chain, &again.chain, sizeof(chain)) == 0);
    free(again.buffer);
    return 0;
}
