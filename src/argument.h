/* SPDX-License-Identifier: Apache-2.0 */
/* argument: what options are given, as text that becomes a value. */
#ifndef TM_SRC_ARGUMENT_H
#define TM_SRC_ARGUMENT_H

#include <stdbool.h>
#include <stdint.h>

/* Digits with K M G T (powers of 1024) or KB ... (powers of 1000). */
bool tm_argument_size(const char *text, uint64_t *size);

/* Digits. */
bool tm_argument_whole(const char *text, uint64_t *number);

/*
 * A number that is finite as a float too, since most tensors are computed
 * with; with a decimal point in any locale.
 */
bool tm_argument_number(const char *text, double *number);

/* One of `count` names: its position. */
bool tm_argument_choice(const char *text, const char *const *names,
                        unsigned count, unsigned *choice);

#endif
