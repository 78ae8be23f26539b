/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_file: a model's config.json, or another small JSON file of one,
 * changed in single values; every other byte stays as it is.
 *
 *     read; { find; put } ...; free
 */
#ifndef TM_SRC_CONFIG_FILE_H
#define TM_SRC_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/transfer.h"

struct tm_config {
    const char *path; /* for messages; the caller's */
    char *text;       /* an object; no NUL behind it */
    size_t length;
};

/* Where a value is in the text. */
struct tm_config_place {
    size_t begin;
    size_t length;
};

/*
 * Reads the file and checks that it is a JSON object. Errors, reported:
 * TM_BAD_DATA, those of reading; tm_config_free must be called in any case.
 */
enum tm_status tm_config_read(struct tm_disk *disk, const char *path,
                              struct tm_config *config);

/* The same with a text instead of a file, which is copied. */
enum tm_status tm_config_of(const char *path, const char *text, size_t length,
                            struct tm_config *config);

/*
 * The value of the member `key`, or with `section` of the member `key` of the
 * object that is the member `section`. Keys written with escapes are not
 * found. False: there is none.
 */
bool tm_config_find(const struct tm_config *config, const char *section,
                    const char *key, struct tm_config_place *place);

/* Puts `value`, which is JSON, in that place. Errors: no memory, reported. */
enum tm_status tm_config_put(struct tm_config *config,
                             const struct tm_config_place *place,
                             const char *value);

/* The number of layers that it names first; false: it names none. */
bool tm_config_layers(const struct tm_config *config, uint64_t *layers);

/*
 * Puts another number of layers wherever it names one. Errors, reported:
 * TM_BAD_DATA where it does not.
 */
enum tm_status tm_config_set_layers(struct tm_config *config, uint64_t layers);

void tm_config_free(struct tm_config *config);

#endif
