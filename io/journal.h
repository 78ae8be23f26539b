/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal: an append-only file of checksummed records.
 *
 * It knows nothing of what is in the records. Each begins on a block of its
 * own, so that no write ever touches a block with an earlier record: whatever
 * a power cut does to the last ones, the earlier ones stay.
 *
 *     record:  magic 8 | number 8 | kind 4 | 0 4 | length 8
 *              | payload | digest 16 | zeros up to a block
 *
 * All numbers are little-endian. The magic is "TMJRNL1\n"; numbers count from
 * 0. The digest is XXH3-128 (canonical) over 32 bytes: the digest of the record
 * before (zeros before the first), and the XXH3-128 of head and payload. So
 * records of another journal, or in another order, do not fit. (In two steps,
 * since then nothing has to be allocated: a journal that seems to end where
 * memory ran out would be cut off there.)
 *
 * Writing, by the thread that owns the disk, one record at a time:
 *
 *     tm_journal_create --+
 *     tm_journal_continue +-> { tm_journal_begin -> tm_journal_put ...
 *                               -> tm_journal_end -> (the transfers are
 *                               started and done) } -> tm_journal_close
 *
 * A record only counts when its transfers are done and then the file has been
 * synced (TM_OP_SYNC of journal->file): both are the caller's, so that he can
 * go on with other things meanwhile. So is the directory of a new journal.
 *
 * Reading stops at the first record that is not whole; what comes behind it
 * is what a crash left, and is written over.
 *
 *     tm_journal_open -> tm_journal_next ... -> tm_journal_close
 *                                         +--> tm_journal_continue
 */
#ifndef TM_IO_JOURNAL_H
#define TM_IO_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/digest.h"
#include "io/transfer.h"

#define TM_JOURNAL_HEAD_BYTES ((size_t)32)

/* More than any record has: longer ones are taken for damage. */
#define TM_JOURNAL_MOST ((uint64_t)1 << 30)

struct tm_journal {
    struct tm_file file;
    uint64_t end;           /* of the last whole record: a block's begin */
    uint64_t number;        /* of the next record */
    struct tm_digest chain; /* of the last record */
    uint64_t place;         /* of the record that was ended last */
    unsigned char *buffer;  /* the record at hand; aligned to TM_BLOCK */
    size_t capacity;        /* a multiple of TM_BLOCK */
    size_t length;          /* of the record, padded once it is ended */
    bool failed;            /* no memory, or too long: tm_journal_end says so */
};

struct tm_journal_record {
    uint32_t kind;
    uint64_t number;
    const unsigned char *payload; /* until the next call */
    uint64_t length;
};

/*
 * Creates an empty journal `name` in the directory `dirfd`, where there is
 * none; `path` (for messages) must outlive it. TM_CANT_CREATE, reported; it
 * may be closed all the same.
 */
enum tm_status tm_journal_create(struct tm_journal *journal,
                                 struct tm_disk *disk, int dirfd,
                                 const char *name, const char *path);

/*
 * Begins a record; `kind` is the caller's. The transfers of the one before are
 * done: both have the same buffer. A record that was not ended is forgotten.
 */
void tm_journal_begin(struct tm_journal *journal, uint32_t kind);

/* Appends to the record's payload; `data` may be NULL if length is 0. */
void tm_journal_put(struct tm_journal *journal, const void *data,
                    size_t length);

/*
 * Ends the record: journal->buffer is now to be written, journal->length
 * bytes (a multiple of TM_BLOCK), at tm_journal_place. `end`, `number` and
 * `chain` are then those behind it. TM_SYSTEM, reported: memory had run out,
 * or the payload is longer than TM_JOURNAL_MOST; nothing has changed then, and
 * another record may be begun.
 */
enum tm_status tm_journal_end(struct tm_journal *journal);

/* Where in the file the record that was ended last goes. */
uint64_t tm_journal_place(const struct tm_journal *journal);

/*
 * Ends a record, writes and syncs it; nothing else is in flight. Errors, all
 * reported: as of tm_journal_end, TM_CANT_CREATE (no space), TM_IO_ERROR.
 */
enum tm_status tm_journal_write_now(struct tm_journal *journal,
                                    struct tm_disk *disk);

/*
 * Opens the journal `path`, which must outlive it, for reading. TM_NO_INPUT,
 * not reported: there is none. Other errors as of tm_file_open. After any
 * error it may be closed all the same.
 */
enum tm_status tm_journal_open(struct tm_journal *journal, struct tm_disk *disk,
                               const char *path);

/*
 * The next record; *record has kind, number and payload. False in *more: there
 * is no further whole record. Errors: TM_IO_ERROR, TM_SYSTEM (no memory); they
 * say nothing of what the journal has, and *more is then false too.
 */
enum tm_status tm_journal_next(struct tm_journal *journal, struct tm_disk *disk,
                               struct tm_journal_record *record, bool *more);

/*
 * Opens the journal again, for writing, behind the record that was read last:
 * what is there is cut off, for good: the file is synced. `journal` has been
 * read, if only in part; its records' payloads are gone. To go on behind an
 * earlier record, put back the end, number and chain that the journal had
 * when that was the last. name, dirfd and path as in tm_journal_create.
 * TM_CANT_CREATE, TM_IO_ERROR, reported; it may be closed all the same.
 */
enum tm_status tm_journal_continue(struct tm_journal *journal,
                                   struct tm_disk *disk, int dirfd,
                                   const char *name, const char *path);

/*
 * Closes and frees; all zero but file.fd == -1 is allowed, and is what it
 * leaves. TM_IO_ERROR, reported, where it was written.
 */
enum tm_status tm_journal_close(struct tm_journal *journal,
                                struct tm_disk *disk);

/*
 * For reading and fuzzing: looks for a whole record, number `number` after
 * `chain`, at the begin of `bytes`. True: *record has it and *size the bytes
 * it takes, padding included; `chain` is moved on. False: *size is how many
 * bytes are needed to tell (more than `length`), or 0: it is no record. What
 * the padding is does not matter, but it must be there.
 *
 * Where FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION is defined, any digest will
 * do.
 */
bool tm_journal_parse(const unsigned char *bytes, uint64_t length,
                      uint64_t number, struct tm_digest *chain,
                      struct tm_journal_record *record, uint64_t *size);

#endif
