/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack: numbers and bytes one after another, and out again.
 *
 * Numbers are 8 bytes, little-endian. Whoever unpacks has to know what comes;
 * what is cut short makes all further results zero and sets `failed`.
 */
#ifndef TM_IO_PACK_H
#define TM_IO_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/text.h"

/* Bytes that are put together: all zero is empty, text.bytes to be freed. */
struct tm_pack {
    struct tm_text text;
    bool failed; /* memory ran out */
};

void tm_pack_number(struct tm_pack *pack, uint64_t value);
void tm_pack_real(struct tm_pack *pack, double value);
void tm_pack_bytes(struct tm_pack *pack, const void *bytes, size_t length);

/* Room for so many bytes at the end, for the caller to fill; NULL: failed. */
void *tm_pack_room(struct tm_pack *pack, size_t length);

/* Empties it; its memory is kept. */
void tm_pack_reset(struct tm_pack *pack);
void tm_pack_free(struct tm_pack *pack);

/* Bytes that are taken apart; the caller's. */
struct tm_unpack {
    const unsigned char *at;
    size_t left;
    bool failed;
};

uint64_t tm_unpack_number(struct tm_unpack *unpack);
double tm_unpack_real(struct tm_unpack *unpack);

/* Copies; zeros where there is nothing left. */
void tm_unpack_bytes(struct tm_unpack *unpack, void *bytes, size_t length);

/* The next `length` bytes where they are; NULL: there are fewer. */
const void *tm_unpack_here(struct tm_unpack *unpack, uint64_t length);

#endif
