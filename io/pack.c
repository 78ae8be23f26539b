/* SPDX-License-Identifier: Apache-2.0 */
/* pack: see pack.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/pack.h"

#include <stdlib.h>
#include <string.h>

#define NUMBER 8

void tm_pack_bytes(struct tm_pack *pack, const void *bytes, size_t length)
{
    if (length > 0 && !tm_text_append(&pack->text, bytes, length))
        pack->failed = true;
}

void *tm_pack_room(struct tm_pack *pack, size_t length)
{
    if (!tm_text_pad(&pack->text, pack->text.length + length)) {
        pack->failed = true;
        return NULL;
    }
    return pack->text.bytes + pack->text.length - length;
}

void tm_pack_number(struct tm_pack *pack, uint64_t value)
{
    unsigned char bytes[NUMBER];

    for (unsigned i = 0; i < NUMBER; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    tm_pack_bytes(pack, bytes, sizeof(bytes));
}

void tm_pack_real(struct tm_pack *pack, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    tm_pack_number(pack, bits);
}

void tm_pack_reset(struct tm_pack *pack)
{
    pack->text.length = 0;
    pack->failed = false;
}

void tm_pack_free(struct tm_pack *pack)
{
    free(pack->text.bytes);
    *pack = (struct tm_pack){0};
}

const void *tm_unpack_here(struct tm_unpack *unpack, uint64_t length)
{
    const unsigned char *here = unpack->at;

    if (unpack->failed || length > unpack->left) {
        unpack->failed = true;
        return NULL;
    }
    unpack->at += length;
    unpack->left -= (size_t)length;
    return here;
}

void tm_unpack_bytes(struct tm_unpack *unpack, void *bytes, size_t length)
{
    const void *here = tm_unpack_here(unpack, length);

    if (here != NULL)
        memcpy(bytes, here, length);
    else
        memset(bytes, 0, length);
}

uint64_t tm_unpack_number(struct tm_unpack *unpack)
{
    unsigned char bytes[NUMBER];
    uint64_t value = 0;

    tm_unpack_bytes(unpack, bytes, sizeof(bytes));
    for (unsigned i = 0; i < NUMBER; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

double tm_unpack_real(struct tm_unpack *unpack)
{
    const uint64_t bits = tm_unpack_number(unpack);
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}
