/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest: XXH3-128, the checksum of everything this program writes.
 *
 * Its text form is the 32 hexadecimal digits that `xxhsum -H2` prints (the
 * canonical, big-endian form). It finds damage; it is no protection against
 * somebody who wants a file to collide.
 */
#ifndef TM_IO_DIGEST_H
#define TM_IO_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <xxhash.h>

#define TM_DIGEST_CHARS 32

/* A digest as bytes, in canonical order; comparable with memcmp. */
struct tm_digest {
    unsigned char bytes[TM_DIGEST_CHARS / 2];
};

/* A digest in the making; all zero is one that was not made. */
struct tm_hasher {
    XXH3_state_t *state;
};

/* Makes a hasher of nothing so far; false if memory ran out. */
bool tm_hasher_init(struct tm_hasher *hasher);
void tm_hasher_free(struct tm_hasher *hasher);

/* Forgets what was added. */
void tm_hasher_reset(struct tm_hasher *hasher);
void tm_hasher_add(struct tm_hasher *hasher, const void *data, size_t length);
struct tm_digest tm_hasher_digest(const struct tm_hasher *hasher);

/* `to`, which was made, goes on from where `from` is. */
void tm_hasher_copy(struct tm_hasher *to, const struct tm_hasher *from);

/*
 * A digest in the making as bytes, of which tm_hasher_saved tells the number,
 * so that another process can go on with it. They fit the same version of
 * libxxhash on the same kind of machine; whoever keeps them has to see to it.
 */
size_t tm_hasher_saved(void);
void tm_hasher_save(const struct tm_hasher *hasher, void *bytes);

/* False, and nothing was added so far: the bytes are not of a hasher. */
bool tm_hasher_load(struct tm_hasher *hasher, const void *bytes);

struct tm_digest tm_digest_of(const void *data, size_t length);

void tm_digest_print(const struct tm_digest *digest,
                     char text[TM_DIGEST_CHARS + 1]);

/* Reads what tm_digest_print writes; false if `text` is anything else. */
bool tm_digest_parse(const char *text, struct tm_digest *digest);

#endif
