/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rans: every instruction set of this machine makes the same bytes of a
 * chunk, which the reference understands; makes of any bytes what the
 * reference makes of them; and touches nothing else.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "tests/unit/unit.h"

#include <sys/mman.h>

#include "kernels/rans.h"
#include "kernels/rans_kernels.h"
#include "tests/unit/rans_reference.h"

#define PAGE      ((size_t)65536) /* a multiple of every page size */
#define MAX_WORDS ((size_t)1 << 16)

/* Tables and states of the shortest payload, and more than any header. */
#define OVERHEAD ((size_t)8192)

/* --- kernels ---------------------------------------------------------------
 */

struct variant {
    const char *name;
    struct tm_rans *rans;
};

static struct variant variants[8];
static unsigned num_variants;

static void add_variant(const char *name, struct tm_rans *rans)
{
    assert_true(rans != NULL);
    variants[num_variants++] = (struct variant){name, rans};
}

/* The portable one first: the others are compared with it. */
static void make_variants(void)
{
    for (int isa = 0; isa < TM_NUM_ISAS; isa++)
        if (tm_isa_available((enum tm_isa)isa))
            add_variant(tm_isa_name((enum tm_isa)isa),
                        tm_rans_new((enum tm_isa)isa));
#if defined(__x86_64__)
    /* Which of the two tm_rans_new() takes depends on the machine. */
    if (tm_isa_available(TM_ISA_AVX512)) {
        add_variant("loads", tm_rans_new_with(&tm_rans_avx512));
        add_variant("gathers", tm_rans_new_with(&tm_rans_avx512_gather));
    }
#endif
}

/* --- memory that ends where it should ---------------------------------- */

/* `size` bytes with a page before and after that nobody may touch. */
struct guarded {
    unsigned char *map, *data;
    size_t size;
};

static struct guarded guard(size_t size)
{
    struct guarded g;

    g.size = (size + PAGE - 1) / PAGE * PAGE;
    g.map = mmap(NULL, g.size + 2 * PAGE, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    g.data = g.map + PAGE;
    assert_int_equal(mprotect(g.data, g.size, PROT_READ | PROT_WRITE), 0);
    return g;
}

/* The last `size` bytes, behind which nothing may be touched. */
static unsigned char *end_of(const struct guarded *g, size_t size)
{
    return g->data + g->size - size;
}

static struct guarded base_pages, tuned_pages, code_pages, out_pages;

static void make_pages(void)
{
    base_pages = guard(4 * MAX_WORDS + 64);
    tuned_pages = guard(4 * MAX_WORDS + 64);
    out_pages = guard(4 * MAX_WORDS + 64);
    code_pages = guard(6 * MAX_WORDS + OVERHEAD);
}

/* --- random words -----------------------------------------------------------
 */

static uint64_t seed = 1;

static uint64_t next_random(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static unsigned below(unsigned n)
{
    return (unsigned)(next_random() % n);
}

enum flavour {
    EQUAL,    /* tuned is base */
    SPARSE,   /* one word in 50 differs */
    NEAR,     /* by a few units */
    SCALED,   /* the more the smaller the exponent, as fine-tunes */
    FAR,      /* mostly raw bits */
    RUNS,     /* runs of equal words, and of others */
    ONE_BASE, /* one exponent */
    EXTREME,  /* the largest differences */
    ANY,      /* any bits */
    NUM_FLAVOURS
};

static size_t word_bytes(enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32 ? 4 : 2;
}

static enum ref_kind ref_of(enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32   ? REF_F32
           : kind == TM_RANS_F16 ? REF_F16
                                 : REF_BF16;
}

static unsigned mantissa_bits(enum tm_rans_kind kind)
{
    return kind == TM_RANS_F32 ? 23 : kind == TM_RANS_F16 ? 10 : 7;
}

/* Geometrically distributed exponents, below one of about 1. */
static uint32_t ordinary_word(enum tm_rans_kind kind)
{
    unsigned bits = mantissa_bits(kind), e = kind == TM_RANS_F16 ? 15 : 127;
    uint64_t r = next_random();

    for (unsigned i = 0; i < 13 && (r >> i & 1); i++)
        e--;
    return e << bits | (uint32_t)(r >> 16 & ((1u << bits) - 1)) |
           (uint32_t)(r >> 63) << (8 * word_bytes(kind) - 1);
}

static uint32_t special_word(enum tm_rans_kind kind)
{
    uint32_t sign = 1u << (8 * word_bytes(kind) - 1);
    uint32_t inf = ((sign - 1) >> mantissa_bits(kind)) << mantissa_bits(kind);
    uint32_t words[] = {0,
                        1,
                        sign - 1,
                        inf,
                        inf - 1,
                        inf + 1,
                        inf | 1u << (mantissa_bits(kind) - 1),
                        1u << mantissa_bits(kind)};

    return words[below(8)] | (below(2) ? sign : 0);
}

/* About 2^bits, of both signs. */
static int64_t noise(unsigned bits)
{
    uint64_t r = next_random();
    int64_t sum = 0;

    for (unsigned i = 0; i < 4; i++)
        sum += (int64_t)(r >> 8 * i & 255) - 127;
    return bits > 8 ? sum * (INT64_C(1) << (bits - 8)) +
                          (int64_t)(r >> 32) % (1 << (bits - 8))
                    : sum / (1 << (8 - bits));
}

static int64_t difference(enum tm_rans_kind kind, enum flavour flavour,
                          size_t i, uint32_t base)
{
    unsigned wide = kind == TM_RANS_F32 ? 12 : 0;
    unsigned e = base >> mantissa_bits(kind) & (kind == TM_RANS_F16 ? 31 : 255);
    unsigned below_one = (kind == TM_RANS_F16 ? 15 : 127) - e;

    switch (flavour) {
    case SPARSE:
        return below(50) == 0 ? noise(2 + wide) : 0;
    case NEAR:
    case ONE_BASE:
        return noise(2 + wide / 2);
    case SCALED:
        return noise((below_one < 9 ? below_one : 9) + wide);
    case FAR:
        return noise(11 + wide);
    case RUNS:
        return i / 200 % 3 == 0 ? noise(3 + wide) : 0;
    default:
        return 0;
    }
}

static void fill(enum tm_rans_kind kind, enum flavour flavour, size_t n,
                 void *base, void *tuned)
{
    enum ref_kind ref = ref_of(kind);
    uint32_t sign = 1u << (8 * word_bytes(kind) - 1);

    for (size_t i = 0; i < n; i++) {
        uint32_t b = ordinary_word(kind), t;

        if (flavour == ONE_BASE)
            b |= 0x7fu << mantissa_bits(kind);
        if (flavour == ANY)
            b = (uint32_t)next_random() & (2 * sign - 1);
        t = ref_undo(ref, b, difference(kind, flavour, i, b));
        if (flavour == ANY)
            t = (uint32_t)next_random() & (2 * sign - 1);
        if (flavour == EXTREME) {
            b = special_word(kind);
            t = below(4) == 0 ? b ^ (sign - 1) : special_word(kind);
        }
        ref_put_word(ref, base, i, b);
        ref_put_word(ref, tuned, i, t);
    }
}

/* --- checking ----------------------------------------------------------------
 */

/* The words, and what becomes of them. */
struct chunk {
    enum tm_rans_kind kind;
    size_t n;
    const void *base, *tuned;
};

static void check_equal(const char *name, const struct chunk *c,
                        const void *out)
{
    enum ref_kind ref = ref_of(c->kind);

    for (size_t i = 0; i < c->n; i++)
        if (ref_word(ref, out, i) != ref_word(ref, c->tuned, i))
            fail_msg("%s: kind %d, word %zu of %zu: base %#x gives %#x, "
                     "not %#x",
                     name, (int)c->kind, i, c->n, ref_word(ref, c->base, i),
                     ref_word(ref, out, i), ref_word(ref, c->tuned, i));
}

/* Decodes with everything, from the end of pages to the end of pages. */
static void check_decodes(const struct chunk *c, const void *code,
                          size_t length)
{
    size_t bytes = c->n * word_bytes(c->kind);
    unsigned char *in = end_of(&code_pages, length);
    unsigned char *out = end_of(&out_pages, bytes);

    memmove(in, code, length);
    assert_true(ref_decode(ref_of(c->kind), c->base, in, length, c->n, out));
    check_equal("reference", c, out);
    for (unsigned v = 0; v < num_variants; v++) {
        memset(out, 0xa5, bytes);
        if (!tm_rans_decode(variants[v].rans, c->kind, c->base, in, length,
                            c->n, out))
            fail_msg("%s: refuses kind %d, %zu words", variants[v].name,
                     (int)c->kind, c->n);
        check_equal(variants[v].name, c, out);
    }
}

/* Encodes with everything; the bytes are malloc'ed. */
static unsigned char *check_encodes(const struct chunk *c, size_t *length)
{
    size_t room = 6 * c->n + OVERHEAD;
    unsigned char *code = malloc(room), *again = malloc(room);

    assert_true(code != NULL && again != NULL);
    *length = tm_rans_encode(variants[0].rans, c->kind, c->base, c->tuned, c->n,
                             code, room);
    assert_true(*length > 0);
    for (unsigned v = 1; v < num_variants; v++) {
        size_t other = tm_rans_encode(variants[v].rans, c->kind, c->base,
                                      c->tuned, c->n, again, room);

        if (other != *length || memcmp(code, again, *length) != 0)
            fail_msg("%s: kind %d, %zu words: other bytes", variants[v].name,
                     (int)c->kind, c->n);
    }
    free(again);
    return code;
}

static size_t check(const struct chunk *c)
{
    size_t length;
    unsigned char *code = check_encodes(c, &length);

    check_decodes(c, code, length);
    free(code);
    return length;
}

/* A chunk of random words, which end where their pages do. */
static struct chunk random_chunk(enum tm_rans_kind kind, enum flavour flavour,
                                 size_t n)
{
    unsigned char *base = end_of(&base_pages, n * word_bytes(kind));
    unsigned char *tuned = end_of(&tuned_pages, n * word_bytes(kind));

    fill(kind, flavour, n, base, tuned);
    return (struct chunk){kind, n, base, tuned};
}

/* --- tests --------------------------------------------------------------- */

static void every_length_round_trips(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (size_t n = 1; n <= 300; n++) {
            struct chunk c =
                random_chunk(kind, (enum flavour)(n % NUM_FLAVOURS), n);

            check(&c);
            c = random_chunk(kind, SCALED, n);
            check(&c);
        }
}

static void every_flavour_round_trips(void **state)
{
    static const size_t lengths[] = {31,   32,   33,   63,    64,    65,   1023,
                                     1024, 1025, 4063, 10000, 20001, 65536};

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (enum flavour flavour = EQUAL; flavour < NUM_FLAVOURS; flavour++)
            for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
                struct chunk c = random_chunk(kind, flavour, lengths[i]);

                check(&c);
            }
}

/* Every base word, with every difference up to one with raw bits. */
static void every_word_of_16_bits_is_right(void **state)
{
    static const int64_t steps[] = {0,  1,   -1,  31,   -31,   32,     -32,
                                    63, -64, 511, -512, 32767, -32767, -32768};

    (void)state;
    for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
        struct chunk c = random_chunk(TM_RANS_BF16, EQUAL, MAX_WORDS);
        unsigned char *base = end_of(&base_pages, 2 * MAX_WORDS);
        unsigned char *tuned = end_of(&tuned_pages, 2 * MAX_WORDS);

        for (uint32_t i = 0; i < MAX_WORDS; i++) {
            ref_put_word(REF_BF16, base, i, i);
            ref_put_word(REF_BF16, tuned, i, ref_undo(REF_BF16, i, steps[s]));
        }
        check(&c);
        c.kind = TM_RANS_F16;
        check(&c);
    }
}

/* Differences around every power of two, from words of every exponent. */
static void every_bucket_is_right(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        const size_t n = 32768;
        struct chunk c = random_chunk(kind, ANY, n);
        unsigned char *tuned = end_of(&tuned_pages, n * word_bytes(kind));

        for (size_t i = 0; i < n; i++) {
            uint32_t b = ref_word(ref_of(kind), c.base, i);
            int64_t d = INT64_C(1) << i % (8 * word_bytes(kind));

            d += (int64_t)below(5) - 2 + (below(2) ? d / 8 * below(8) : 0);
            ref_put_word(ref_of(kind), tuned, i,
                         ref_undo(ref_of(kind), b, below(2) ? d : -d));
        }
        check(&c);
    }
}

/* Only one word of a group that comes after many without has raw bits. */
static void lone_raw_bits_are_found(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (size_t i = 0; i < 32; i++) {
            struct chunk c = random_chunk(kind, EQUAL, 32 * 128);
            unsigned char *tuned = end_of(&tuned_pages, c.n * word_bytes(kind));
            size_t at = 32 * (64 + i) + i;
            int64_t d = kind == TM_RANS_F32 ? 8 : 32;

            ref_put_word(ref_of(kind), tuned, at,
                         ref_undo(ref_of(kind),
                                  ref_word(ref_of(kind), c.base, at),
                                  i % 2 ? d : -d));
            check(&c);
        }
}

static void a_whole_chunk_round_trips(void **state)
{
    const size_t n = TM_CHUNK_WORDS;

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        size_t bytes = n * word_bytes(kind), length;
        unsigned char *words = malloc(3 * bytes), *code = malloc(bytes);

        assert_true(words != NULL && code != NULL);
        fill(kind, SCALED, n, words, words + bytes);
        for (unsigned v = 0; v < num_variants; v++) {
            struct tm_rans *rans = variants[v].rans;

            length = tm_rans_encode(rans, kind, words, words + bytes, n, code,
                                    bytes);
            assert_true(length > 0 && length < bytes * 3 / 4);
            assert_true(tm_rans_decode(rans, kind, words, code, length, n,
                                       words + 2 * bytes));
            assert_memory_equal(words + bytes, words + 2 * bytes, bytes);
        }
        free(words);
        free(code);
    }
}

/* The worst there is: each word takes as much of the stream as it can. */
static void a_whole_chunk_of_noise_is_refused_or_fits(void **state)
{
    const size_t n = TM_CHUNK_WORDS;

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        size_t bytes = n * word_bytes(kind);
        unsigned char *words = malloc(2 * bytes), *code = malloc(2 * bytes);

        assert_true(words != NULL && code != NULL);
        fill(kind, ANY, n, words, words + bytes);
        for (unsigned v = 0; v < num_variants; v++) {
            size_t all = tm_rans_encode(variants[v].rans, kind, words,
                                        words + bytes, n, code, 2 * bytes);

            assert_true(all > bytes && all < 2 * bytes);
            assert_int_equal(tm_rans_encode(variants[v].rans, kind, words,
                                            words + bytes, n, code, bytes),
                             0);
        }
        free(words);
        free(code);
    }
}

static void what_is_equal_costs_next_to_nothing(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        struct chunk c = random_chunk(kind, EQUAL, 65536);

        assert_true(check(&c) <= 4 + 4 + 256);
        c = random_chunk(kind, RUNS, 65536);
        assert_true(check(&c) < 65536 * word_bytes(kind) / 3);
    }
}

/* The zero context is used where it pays, and not where it does not. */
static void zero_contexts_are_used_where_they_pay(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        struct chunk c = random_chunk(kind, RUNS, 20000);
        size_t length;
        unsigned char *code = check_encodes(&c, &length);

        assert_true(code[1] & 128);
        free(code);
        c = random_chunk(kind, NEAR, 20000);
        code = check_encodes(&c, &length);
        assert_false(code[1] & 128);
        free(code);
    }
}

/*
 * The states that have no word in the last group are not of any class: here
 * the first class never comes after zeros, and its table would be empty.
 */
static void states_without_words_are_not_counted(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        const size_t n = 32 * (4 * 500 + 2) + 5;
        struct chunk c = random_chunk(kind, EQUAL, n);
        unsigned char *base = end_of(&base_pages, n * word_bytes(kind));
        unsigned char *tuned = end_of(&tuned_pages, n * word_bytes(kind));
        size_t length;
        unsigned char *code;

        for (size_t i = 0; i < n; i++) {
            bool first = i / 32 % 4 == 0, last = i / 32 % 4 == 3;
            uint32_t b = (first ? 15u : 8u) << mantissa_bits(kind);
            int64_t d = first ? 1 + (int64_t)below(4) : last && i % 32 == 7;

            ref_put_word(ref_of(kind), base, i, b);
            ref_put_word(ref_of(kind), tuned, i, ref_undo(ref_of(kind), b, d));
        }
        code = check_encodes(&c, &length);
        assert_true(code[1] & 128);
        check_decodes(&c, code, length);
        free(code);
    }
}

static void any_address_is_right(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (size_t shift = 0; shift < 64; shift++) {
            const size_t n = 333, bytes = n * word_bytes(kind);
            struct chunk c = {kind, n, base_pages.data + shift * 7 % 64,
                              tuned_pages.data + shift * 3 % 64};
            unsigned char *out = out_pages.data + shift;
            unsigned char code[3000];
            size_t length;

            fill(kind, SCALED, n, base_pages.data + shift * 7 % 64,
                 tuned_pages.data + shift * 3 % 64);
            for (unsigned v = 0; v < num_variants; v++) {
                memset(out_pages.data, 0x77, bytes + 128);
                length = tm_rans_encode(variants[v].rans, kind, c.base, c.tuned,
                                        n, code + shift, 2000);
                assert_true(length > 0);
                assert_true(tm_rans_decode(variants[v].rans, kind, c.base,
                                           code + shift, length, n, out));
                check_equal(variants[v].name, &c, out);
                for (size_t i = 0; i < 128; i++)
                    assert_int_equal(out_pages.data[i < shift ? i : i + bytes],
                                     0x77);
            }
        }
}

/* Words at the very start of their pages; the output's room is just enough. */
static void nothing_outside_is_touched(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (size_t n = 1; n <= 300; n += 1 + n / 70) {
            struct chunk c = {kind, n, base_pages.data, tuned_pages.data};
            size_t length;
            unsigned char *code;

            fill(kind, (enum flavour)(n % NUM_FLAVOURS), n, base_pages.data,
                 tuned_pages.data);
            code = check_encodes(&c, &length);
            for (unsigned v = 0; v < num_variants; v++) {
                struct tm_rans *rans = variants[v].rans;
                unsigned char *to = end_of(&code_pages, length);

                assert_int_equal(
                    tm_rans_encode(rans, kind, c.base, c.tuned, n, to, length),
                    length);
                assert_memory_equal(code, to, length);
                assert_int_equal(tm_rans_encode(rans, kind, c.base, c.tuned, n,
                                                to + 1, length - 1),
                                 0);
                memcpy(code_pages.data, code, length);
                assert_true(tm_rans_decode(rans, kind, c.base, code_pages.data,
                                           length, n, out_pages.data));
                check_equal(variants[v].name, &c, out_pages.data);
            }
            free(code);
        }
}

/* --- tables that the encoder does not make -------------------------------- */

static void random_table(enum ref_kind kind, struct ref_table *t)
{
    unsigned spread = 1 + below(14);

    t->there = true;
    t->groups = ref_max_groups(kind);
    for (unsigned i = 0; i < 1 + 2 * t->groups; i++) {
        unsigned l = 1 + below(spread);

        /* three significant bits */
        t->q[i] = l > 3 ? (4 + below(4)) << (l - 3)
                        : 1u << (l - 1) | below(1u << (l - 1));
    }
    ref_frequencies(t, kind);
}

static void check_table(const struct ref_table *t)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < 256; i++)
        sum += t->f[i];
    assert_int_equal(sum, REF_T);
}

/* All frequencies are at least 1, so anything can be coded with them. */
static void any_tables_are_understood(void **state)
{
    static struct ref_model m;
    static unsigned char code[65536];

    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        enum tm_rans_kind kind = (enum tm_rans_kind)(round % 3);
        enum flavour flavour = (enum flavour)below(NUM_FLAVOURS);
        struct chunk c = random_chunk(kind, flavour, 1 + below(3000));
        size_t at;

        m.kind = ref_of(kind);
        m.c = 1 + below(16);
        m.z = below(2);
        m.e = below(2) ? kind == TM_RANS_F16 ? 15 : 127 : below(256);
        for (unsigned i = 0; i < (m.z ? 2 * m.c : m.c); i++) {
            random_table(m.kind, &m.tables[i]);
            check_table(&m.tables[i]);
        }
        at = ref_encode(&m, c.base, c.tuned, c.n, code, sizeof(code));
        check_decodes(&c, code + at, sizeof(code) - at);
    }
}

/* One token that is always there takes nothing at all of the stream. */
static void tables_of_one_token_are_understood(void **state)
{
    static struct ref_model m;
    unsigned char code[2000];

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (unsigned g = 0; g < 4; g++) {
            struct chunk c = random_chunk(kind, EQUAL, 777);
            unsigned char *tuned = end_of(&tuned_pages, 777 * word_bytes(kind));
            size_t at;

            memset(&m, 0, sizeof(m));
            m.kind = ref_of(kind);
            m.c = 1;
            m.tables[0].there = true;
            m.tables[0].groups = g;
            m.tables[0].q[2 * g] = 1;
            ref_frequencies(&m.tables[0], m.kind);
            for (size_t i = 0; i < c.n && g > 0; i++)
                ref_put_word(m.kind, tuned, i,
                             ref_undo(m.kind, ref_word(m.kind, c.base, i), g));
            at = ref_encode(&m, c.base, c.tuned, c.n, code, sizeof(code));
            assert_true(sizeof(code) - at < 4 + 30 + 256);
            check_decodes(&c, code + at, sizeof(code) - at);
        }
}

/*
 * All words alike and of the dearest token: all states are refilled at once,
 * so that the kernels read as far ahead as they ever do, up to a guard page.
 */
static void nothing_behind_the_stream_is_read(void **state)
{
    static struct ref_model m;
    static unsigned char code[65536];

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (size_t n = 64; n <= 4096; n += 64) {
            struct chunk c = random_chunk(kind, EQUAL, n);
            unsigned char *tuned = end_of(&tuned_pages, n * word_bytes(kind));
            unsigned bits = ref_word_bits(ref_of(kind));
            size_t at;

            memset(&m, 0, sizeof(m));
            m.kind = ref_of(kind);
            m.c = 1;
            m.tables[0].there = true;
            m.tables[0].groups = 2 * (bits - 2) + 1;
            m.tables[0].q[0] = 1 << 13;
            m.tables[0].q[2 * m.tables[0].groups] = 1;
            ref_frequencies(&m.tables[0], m.kind);
            for (size_t i = 0; i < n; i++)
                ref_put_word(m.kind, tuned, i,
                             ref_undo(m.kind, ref_word(m.kind, c.base, i),
                                      (INT64_C(1) << (bits - 1)) - 1));
            at = ref_encode(&m, c.base, c.tuned, n, code, sizeof(code));
            check_decodes(&c, code + at, sizeof(code) - at);
        }
}

/* --- damage ----------------------------------------------------------------
 */

/* As the reference: whether it is refused, and what comes out if not. */
static void check_as_reference(enum tm_rans_kind kind, const void *base,
                               const unsigned char *code, size_t length,
                               size_t n)
{
    static unsigned char want[65536];
    size_t bytes = n * word_bytes(kind);
    unsigned char *in = end_of(&code_pages, length);
    unsigned char *out = end_of(&out_pages, bytes);
    bool ok;

    memcpy(in, code, length);
    ok = ref_decode(ref_of(kind), base, in, length, n, want);
    for (unsigned v = 0; v < num_variants; v++) {
        bool is =
            tm_rans_decode(variants[v].rans, kind, base, in, length, n, out);

        if (is != ok || (ok && memcmp(want, out, bytes) != 0))
            fail_msg("%s: kind %d, %zu words, %zu bytes: %s", variants[v].name,
                     (int)kind, n, length,
                     is == ok ? "other words"
                     : ok     ? "refused"
                              : "not refused");
    }
}

static void what_is_cut_off_is_missed(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        struct chunk c = random_chunk(kind, RUNS, 500);
        size_t length;
        unsigned char *code = check_encodes(&c, &length);

        for (size_t cut = 0; cut < length; cut++) {
            assert_false(tm_rans_decode(variants[0].rans, kind, c.base, code,
                                        cut, c.n, out_pages.data));
            check_as_reference(kind, c.base, code, cut, c.n);
        }
        free(code);
    }
}

static void what_is_too_much_is_refused(void **state)
{
    unsigned char code[20000];

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        struct chunk c = random_chunk(kind, NEAR, 1000);
        size_t length = tm_rans_encode(variants[0].rans, kind, c.base, c.tuned,
                                       c.n, code, 10000);

        assert_true(length > 0);
        memset(code + length, 0, 10000);
        for (size_t more = 1; more < 10000; more += more)
            check_as_reference(kind, c.base, code, length + more, c.n);
        for (size_t n = 1; n < c.n; n += 37)
            check_as_reference(kind, c.base, code, length, n);
    }
}

static void flipped_bits_do_no_harm(void **state)
{
    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (unsigned round = 0; round < 3; round++) {
            static const enum flavour flavours[] = {SCALED, RUNS, FAR};
            struct chunk c = random_chunk(kind, flavours[round], 300);
            size_t length;
            unsigned char *code = check_encodes(&c, &length);

            for (size_t bit = 0; bit < 8 * length; bit += 1 + below(3)) {
                code[bit / 8] ^= (unsigned char)(1u << bit % 8);
                check_as_reference(kind, c.base, code, length, c.n);
                code[bit / 8] ^= (unsigned char)(1u << bit % 8);
            }
            free(code);
        }
}

/* Headers that may be good, and then noise. */
static void noise_does_no_harm(void **state)
{
    static unsigned char code[40000];

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        struct chunk c = random_chunk(kind, ANY, 3000);

        for (unsigned round = 0; round < 2000; round++) {
            size_t length = 260 + below(round % 2 ? 1000 : 30000);

            for (size_t i = 0; i < length; i++)
                code[i] = (unsigned char)(next_random() >> 32);
            code[1] &= 0x87;
            code[3] = 0;
            if (round % 3 == 0) { /* one context, no table but token 0 */
                memcpy(code, "\x40\x01\x02\x00\x81\x01", 6);
                for (unsigned j = 0; j < 64; j++)
                    code[6 + 4 * j + 3] = 1;
            }
            check_as_reference(kind, c.base, code, length, 1 + below(3000));
        }
    }
}

/*
 * A payload with these tables, all states `x`, and a stream of `words` words
 * `word`; for base words of exponents up to 127. Returns its length.
 */
static size_t by_hand(unsigned char *code, unsigned classes,
                      const struct ref_table *table, uint32_t x, size_t words,
                      uint32_t word)
{
    struct ref_bits bits = {code + 4, 1000, 0};
    size_t at;

    for (unsigned i = 0; i < classes; i++)
        ref_write_table(&bits, table);
    at = 4 + (bits.at + 7) / 8;
    code[0] = 127;
    code[1] = (unsigned char)classes;
    code[2] = (unsigned char)(at - 4);
    code[3] = (unsigned char)((at - 4) >> 8);
    for (unsigned j = 0; j < 64; j++)
        for (unsigned k = 0; k < 4; k++)
            code[at++] = (unsigned char)(x >> 8 * k);
    for (size_t i = 0; i < words; i++) {
        code[at++] = (unsigned char)word;
        code[at++] = (unsigned char)(word >> 8);
    }
    return at;
}

static void check_all(const struct chunk *c, const void *code, size_t length,
                      bool good)
{
    check_as_reference(c->kind, c->base, code, length, c->n);
    assert_true(good == tm_rans_decode(variants[0].rans, c->kind, c->base, code,
                                       length, c->n, out_pages.data));
}

/* With states that decoding would bring back into range. */
static void states_out_of_range_are_refused(void **state)
{
    static const struct ref_table only = {.there = true, .q = {1}};
    static const struct ref_table half = {
        .there = true, .groups = 1, .q = {1, 1}};
    unsigned char code[2000];

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++) {
        struct chunk c = random_chunk(kind, EQUAL, 960);
        size_t length;

        /* Each word halves a state; of 15 each has a turn. */
        length = by_hand(code, 1, &half, 1u << 30, 0, 0);
        check_all(&c, code, length, true);
        c = random_chunk(kind, EQUAL, 1024);
        length = by_hand(code, 1, &half, 1u << 31, 0, 0);
        check_all(&c, code, length, false);
        /* A word leaves a state as it is; then it is refilled. */
        c = random_chunk(kind, EQUAL, 64);
        length = by_hand(code, 1, &only, REF_L, 0, 0);
        check_all(&c, code, length, true);
        length = by_hand(code, 1, &only, 0, 64, REF_L);
        check_all(&c, code, length, false);
    }
}

/* What a decoder that did not know better could make of such a context. */
static void an_absent_context_is_not_a_token(void **state)
{
    static const struct ref_table none = {.there = false};
    unsigned char code[2000];

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (size_t n = 1; n <= 128; n++) {
            struct chunk c = random_chunk(kind, EQUAL, n);

            /* token 255 would have 14 raw bits, or 15 and a word */
            for (unsigned bits = 0; bits < 16; bits++)
                for (size_t words = 0; words <= n; words += n)
                    check_all(&c, code,
                              by_hand(code, 1, &none, REF_L << bits, words, 0),
                              false);
        }
}

static void any_number_of_classes_but_1_to_16_is_refused(void **state)
{
    static const struct ref_table only = {.there = true, .q = {1}};
    unsigned char code[2000];

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (unsigned classes = 0; classes < 128; classes++) {
            struct chunk c = random_chunk(kind, EQUAL, 333);

            check_all(&c, code, by_hand(code, classes, &only, REF_L, 0, 0),
                      classes >= 1 && classes <= 16);
        }
}

static void more_groups_than_there_are_are_refused(void **state)
{
    unsigned char code[2000];

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (unsigned groups = 0; groups < 64; groups++) {
            struct ref_table t = {.there = true, .groups = groups, .q = {1}};
            struct chunk c = random_chunk(kind, EQUAL, 333);

            check_all(&c, code, by_hand(code, 1, &t, REF_L, 0, 0),
                      groups <= ref_max_groups(ref_of(kind)));
        }
}

/* A context that is not there must not be taken from a chunk before. */
static void absent_contexts_are_refused(void **state)
{
    static struct ref_model m;
    static unsigned char code[65536];

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (unsigned gone = 0; gone < 8; gone++) {
            struct chunk c = random_chunk(kind, RUNS, 2000);
            size_t at;

            m.kind = ref_of(kind);
            m.c = 4;
            m.z = true;
            m.e = kind == TM_RANS_F16 ? 15 : 127;
            for (unsigned i = 0; i < 8; i++)
                random_table(m.kind, &m.tables[i]);
            at = ref_encode(&m, c.base, c.tuned, c.n, code, sizeof(code));
            check_decodes(&c, code + at, sizeof(code) - at);
            m.tables[gone].there = false;
            /* The encoder still has its frequencies. */
            at = ref_encode(&m, c.base, c.tuned, c.n, code, sizeof(code));
            assert_false(ref_decode(m.kind, c.base, code + at,
                                    sizeof(code) - at, c.n, out_pages.data));
            check_as_reference(kind, c.base, code + at, sizeof(code) - at, c.n);
        }
}

static void bad_tables_are_refused(void **state)
{
    static const struct {
        unsigned char bytes[8];
        unsigned size;
    } tables[] = {
        {{0x00}, 0},             /* no bit to say whether it is there */
        {{0x01}, 1},             /* ends after the number of groups */
        {{0x81, 0x30, 0x00}, 3}, /* one mass, of length 0: none at all */
        {{0xff, 0xff, 0xff}, 3}, /* 63 groups, too many for 16 bits */
        {{0x01, 0x00, 0x00}, 3}, /* a length of too many zeros */
        {{0x81, 0x01, 0x80}, 3}, /* a bit behind the end */
        {{0x81, 0x03, 0x00}, 3}, /* good, with a byte too many */
        {{0x81, 0x01}, 2},       /* good */
    };

    (void)state;
    for (enum tm_rans_kind kind = TM_RANS_BF16; kind <= TM_RANS_F32; kind++)
        for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
            struct chunk c = random_chunk(kind, EQUAL, 64);
            unsigned char code[512] = {127, 1, 0, 0};
            unsigned size = tables[i].size;

            code[2] = (unsigned char)size;
            memcpy(code + 4, tables[i].bytes, size);
            for (unsigned j = 0; j < 64; j++)
                code[4 + size + 4 * j + 1] = 0x80;
            check_as_reference(kind, c.base, code, 4 + size + 256, c.n);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_round_trips),
        cmocka_unit_test(every_flavour_round_trips),
        cmocka_unit_test(every_word_of_16_bits_is_right),
        cmocka_unit_test(every_bucket_is_right),
        cmocka_unit_test(lone_raw_bits_are_found),
        cmocka_unit_test(a_whole_chunk_round_trips),
        cmocka_unit_test(a_whole_chunk_of_noise_is_refused_or_fits),
        cmocka_unit_test(what_is_equal_costs_next_to_nothing),
        cmocka_unit_test(zero_contexts_are_used_where_they_pay),
        cmocka_unit_test(states_without_words_are_not_counted),
        cmocka_unit_test(any_address_is_right),
        cmocka_unit_test(nothing_outside_is_touched),
        cmocka_unit_test(any_tables_are_understood),
        cmocka_unit_test(tables_of_one_token_are_understood),
        cmocka_unit_test(nothing_behind_the_stream_is_read),
        cmocka_unit_test(what_is_cut_off_is_missed),
        cmocka_unit_test(what_is_too_much_is_refused),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(noise_does_no_harm),
        cmocka_unit_test(states_out_of_range_are_refused),
        cmocka_unit_test(an_absent_context_is_not_a_token),
        cmocka_unit_test(any_number_of_classes_but_1_to_16_is_refused),
        cmocka_unit_test(more_groups_than_there_are_are_refused),
        cmocka_unit_test(absent_contexts_are_refused),
        cmocka_unit_test(bad_tables_are_refused),
    };

    make_variants();
    make_pages();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
