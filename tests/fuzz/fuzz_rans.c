/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_rans: the coding rans, with every instruction set of this machine; all
 * have to agree. Input: the kind of words and, from 128 on, that the rest is
 * to be decoded; two bytes of the number of words; the base's words; the tuned
 * ones or a payload.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/rans.h"

/* Enough for every path; few, to be fast. */
#define MOST_WORDS 2000

static struct tm_rans *all[TM_NUM_ISAS];

static void make_all(void)
{
    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        if (all[isa] != NULL || !tm_isa_available((enum tm_isa)isa))
            continue;
        all[isa] = tm_rans_new((enum tm_isa)isa);
        FUZZ_REQUIRE(all[isa] != NULL);
    }
}

/* What is left of the input; beyond its end there are zeros. */
struct input {
    const uint8_t *data;
    size_t size;
};

/* In a buffer of just that size, so that sanitizers see its end. */
static uint8_t *take(struct input *in, size_t size)
{
    const size_t there = size < in->size ? size : in->size;
    uint8_t *bytes = calloc(size > 0 ? size : 1, 1);

    FUZZ_REQUIRE(bytes != NULL);
    if (there > 0)
        memcpy(bytes, in->data, there);
    in->data += there;
    in->size -= there;
    return bytes;
}

struct chunk {
    enum tm_rans_kind kind;
    size_t n, bytes;
    const uint8_t *base;
};

/* Whether `code` is understood, and the words that come of it. */
static bool decode(const struct chunk *c, int isa, const uint8_t *code,
                   size_t length, uint8_t *words)
{
    return tm_rans_decode(all[isa], c->kind, c->base, code, length, c->n,
                          words);
}

static void decode_anything(const struct chunk *c, struct input *in)
{
    const size_t length = in->size;
    uint8_t *code = take(in, length), *want = malloc(c->bytes);
    const bool good = decode(c, TM_ISA_PORTABLE, code, length, want);

    for (int isa = TM_ISA_PORTABLE + 1; isa < TM_NUM_ISAS; isa++) {
        uint8_t *words = malloc(c->bytes);

        if (all[isa] != NULL) {
            FUZZ_REQUIRE(decode(c, isa, code, length, words) == good);
            FUZZ_REQUIRE(!good || memcmp(words, want, c->bytes) == 0);
        }
        free(words);
    }
    free(code);
    free(want);
}

static void encode_and_decode(const struct chunk *c, struct input *in)
{
    /* tables at most, states, three words of the stream for each */
    const size_t room = 8192 + 6 * c->n;
    uint8_t *tuned = take(in, c->bytes), *want = malloc(room);
    size_t length = tm_rans_encode(all[TM_ISA_PORTABLE], c->kind, c->base,
                                   tuned, c->n, want, room);

    FUZZ_REQUIRE(length > 0);
    for (int isa = 0; isa < TM_NUM_ISAS; isa++) {
        uint8_t *code = malloc(length), *words = malloc(c->bytes);

        if (all[isa] != NULL) {
            FUZZ_REQUIRE(tm_rans_encode(all[isa], c->kind, c->base, tuned, c->n,
                                        code, length) == length);
            FUZZ_REQUIRE(memcmp(code, want, length) == 0);
            FUZZ_REQUIRE(decode(c, isa, code, length, words));
            FUZZ_REQUIRE(memcmp(words, tuned, c->bytes) == 0);
            FUZZ_REQUIRE(tm_rans_encode(all[isa], c->kind, c->base, tuned, c->n,
                                        code, length - 1) == 0);
        }
        free(code);
        free(words);
    }
    free(tuned);
    free(want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t *head = take(&in, 3), *base;
    struct chunk c;

    make_all();
    c.kind = (enum tm_rans_kind)(head[0] % 128 % 3);
    c.n = 1 + (head[1] | (size_t)head[2] << 8) % MOST_WORDS;
    c.bytes = c.n * (c.kind == TM_RANS_F32 ? 4 : 2);
    base = take(&in, c.bytes);
    c.base = base;
    if (head[0] >= 128)
        decode_anything(&c, &in);
    else
        encode_and_decode(&c, &in);
    free(head);
    free(base);
    return 0;
}
