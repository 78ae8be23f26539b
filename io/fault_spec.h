/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_spec: what the engines that break others on purpose have in common:
 * settings such as "k=3,seed=7", and draws that are the same everywhere.
 */
#ifndef TM_IO_FAULT_SPEC_H
#define TM_IO_FAULT_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At most 32 of them. */
struct tm_fault_key {
    const char *name;
    /* Takes the value into `settings`; false if it is none. */
    bool (*parse)(void *settings, const char *value);
};

/*
 * Reads comma-separated settings, each key at most once; an empty `spec` sets
 * nothing. False if it is not understood or memory ran out; `settings` may be
 * half set then.
 */
bool tm_fault_parse(const char *spec, const struct tm_fault_key *keys,
                    size_t num_keys, void *settings);

/* A decimal number and nothing else. */
bool tm_fault_number(const char *text, uint64_t *number);

/* What can only be switched on: "1". */
bool tm_fault_one(const char *text, bool *on);

/* Which of `names` the text is; false if none. */
bool tm_fault_choice(const char *text, const char *const *names, size_t num,
                     size_t *choice);

/* The next number of a generator that began with *state = seed. */
uint64_t tm_fault_draw(uint64_t *state);

#endif
