/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz: what a harness defines, and how it says that a promise is broken.
 */
#ifndef TM_TESTS_FUZZ_H
#define TM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Called by libFuzzer, or by replay.c, with each input; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where this fails, libFuzzer keeps the input and replay.c ends. */
#define FUZZ_REQUIRE(ok)                                                       \
    do {                                                                       \
        if (!(ok)) {                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #ok);   \
            abort();                                                           \
        }                                                                      \
    } while (0)

#endif
