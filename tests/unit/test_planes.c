/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_planes: byte planes against planes_reference.h, for words of every
 * size, floats and integers, in buffers of just their size.
 */
#include "tests/unit/unit.h"

#include "kernels/planes.h"
#include "tests/unit/planes_reference.h"

#define MOST 300

static uint64_t random_state = 1;

static uint64_t random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1d;
}

/* Ends of ranges, zeros of both signs, infinities, NaNs: of every size. */
static uint64_t special_word(unsigned size, size_t i)
{
    const uint64_t top = (uint64_t)1 << (8 * size - 1);
    const uint64_t words[] = {
        0,
        1,
        top,
        top + 1,
        top - 1,
        top - 2,
        0 - (uint64_t)1,
        0 - (uint64_t)2,
        0x7f80,
        0xff80,
        0x7fc0,
        0x7c00,
        0xfc00,
        0x7e00,
        0x7f800000,
        0xff800000,
        0x7fc00001,
        0x7ff0000000000000,
        0xfff0000000000000,
        0xfff8000000000001,
    };

    return words[i % (sizeof(words) / sizeof(*words))];
}

/* `words` of the size with `extra` bytes before them, to be at odd places. */
static unsigned char *new_words(unsigned size, size_t n, size_t extra)
{
    unsigned char *words = malloc(extra + size * n);

    assert_true(words != NULL);
    return words;
}

static void check(unsigned size, bool is_float, const unsigned char *base,
                  const unsigned char *tuned, size_t n)
{
    unsigned char *planes = new_words(size, n, 0);
    unsigned char *back = new_words(size, n, 1);

    tm_planes_difference(size, is_float, base, tuned, n, planes);
    for (size_t i = 0; i < n; i++) {
        const uint64_t z = reference_m(
            reference_d(reference_word(base, size, i),
                        reference_word(tuned, size, i), size, is_float),
            size);

        for (unsigned k = 0; k < size; k++)
            assert_int_equal(planes[k * n + i], (z >> (8 * k)) & 255);
    }
    memset(back, 0x5a, 1 + size * n);
    tm_planes_restore(size, is_float, base, planes, n, back + 1);
    assert_memory_equal(back + 1, tuned, size * n);

    tm_planes_split(size, is_float, tuned, n, planes);
    for (size_t i = 0; i < n; i++) {
        const uint64_t u =
            reference_turned(reference_word(tuned, size, i), size, is_float);

        for (unsigned k = 0; k < size; k++)
            assert_int_equal(planes[k * n + i], (u >> (8 * k)) & 255);
    }
    memset(back, 0x5a, 1 + size * n);
    tm_planes_join(size, is_float, planes, n, back + 1);
    assert_memory_equal(back + 1, tuned, size * n);
    free(planes);
    free(back);
}

static void check_both(unsigned size, const unsigned char *base,
                       const unsigned char *tuned, size_t n)
{
    check(size, false, base, tuned, n);
    check(size, true, base, tuned, n);
}

static void test_every_length(void **state)
{
    (void)state;
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (size_t n = 1; n <= MOST; n++) {
            const size_t odd = n % 8;
            unsigned char *base = new_words(size, n, odd);
            unsigned char *tuned = new_words(size, n, odd);

            for (size_t i = 0; i < n; i++) {
                const uint64_t b = random_word();

                reference_set(base + odd, size, i, b);
                reference_set(tuned + odd, size, i,
                              i % 3 == 0 ? b + i % 7 - 3 : random_word());
            }
            check_both(size, base + odd, tuned + odd, n);
            free(base);
            free(tuned);
        }
    }
}

/* Every special word against every other. */
static void test_special_words(void **state)
{
    unsigned char base[400 * 8], tuned[400 * 8];

    (void)state;
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (size_t i = 0; i < 400; i++) {
            reference_set(base, size, i, special_word(size, i / 20));
            reference_set(tuned, size, i, special_word(size, i % 20));
        }
        check_both(size, base, tuned, 400);
    }
}

/* Every byte against every byte; every 16-bit word against a few. */
static void test_every_word(void **state)
{
    static unsigned char base[65536 * 2], tuned[65536 * 2];

    (void)state;
    for (size_t i = 0; i < 65536; i++) {
        base[i] = (unsigned char)(i >> 8);
        tuned[i] = (unsigned char)i;
    }
    check_both(1, base, tuned, 65536);
    for (size_t k = 0; k < 20; k++) {
        for (size_t i = 0; i < 65536; i++) {
            reference_set(base, 2, i, special_word(2, k));
            reference_set(tuned, 2, i, i);
        }
        check_both(2, base, tuned, 65536);
        check_both(2, tuned, base, 65536);
    }
}

/* What docs/format.md promises of d. */
static void test_neighbours(void **state)
{
    static const struct {
        uint32_t base, tuned;
        unsigned char z[4];
    } cases[] = {
        {0x3f800000, 0x3f800001, {2, 0, 0, 0}}, /* away from zero: d = 1 */
        {0xbf800000, 0xbf800001, {2, 0, 0, 0}},
        {0x3f800000, 0x3f7fffff, {3, 0, 0, 0}}, /* toward it: -1 */
        {0xbf800000, 0xbf7fffff, {3, 0, 0, 0}},
        {0x00000000, 0x80000000, {3, 0, 0, 0}}, /* 0 to -0 */
        {0x80000000, 0x00000000, {3, 0, 0, 0}},
        {0x00000000, 0x80000001, {5, 0, 0, 0}},
        {0x3f800000, 0x3f810000, {0, 0, 2, 0}},
        {0x3f800000, 0x3f7f0000, {1, 0, 2, 0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        unsigned char planes[4];

        tm_planes_difference(4, true, &cases[i].base, &cases[i].tuned, 1,
                             planes);
        assert_memory_equal(planes, cases[i].z, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_special_words),
        cmocka_unit_test(test_every_word),
        cmocka_unit_test(test_neighbours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
