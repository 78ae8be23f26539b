/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit: cmocka, or what these tests use of it where there is none (built with
 * -DTM_NO_CMOCKA: cross-compiled and run under an emulator).
 */
#ifndef TM_TESTS_UNIT_H
#define TM_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef TM_NO_CMOCKA

#include <cmocka.h>

#else

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

#define UNIT_REQUIRE(ok, text)                                                 \
    do {                                                                       \
        if (!(ok)) {                                                           \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, (text));        \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

#define cmocka_unit_test(f)                                                    \
    {                                                                          \
#f, f                                                                  \
    }
#define assert_true(c)  UNIT_REQUIRE(c, #c)
#define assert_false(c) UNIT_REQUIRE(!(c), "not: " #c)
#define assert_int_equal(a, b)                                                 \
    UNIT_REQUIRE((uintmax_t)(a) == (uintmax_t)(b), #a " == " #b)
#define assert_string_equal(a, b) UNIT_REQUIRE(!strcmp(a, b), #a " == " #b)
#define assert_memory_equal(a, b, n)                                           \
    UNIT_REQUIRE(!memcmp(a, b, n), #a " == " #b)
#define fail_msg(...)                                                          \
    do {                                                                       \
        fprintf(stderr, __VA_ARGS__);                                          \
        UNIT_REQUIRE(0, "failed");                                             \
    } while (0)

#define cmocka_run_group_tests(tests, setup, teardown)                         \
    unit_run(tests, sizeof(tests) / sizeof((tests)[0]))

static inline int unit_run(const struct CMUnitTest *tests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        tests[i].run(NULL);
        printf("ok %zu - %s\n", i + 1, tests[i].name);
    }
    return 0;
}

#endif
#endif
