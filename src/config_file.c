/* SPDX-License-Identifier: Apache-2.0 */
/* config_file: see config_file.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/config_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/infile.h"
#include "io/json.h"

/* Configurations are a few KB, tokenizers' ones with a template some 100. */
#define MAX_BYTES ((uint64_t)16 << 20)

/* Where the number of layers is, and under which names. */
static const char *const sections[] = {NULL, "text_config"};
static const char *const keys[] = {"num_hidden_layers", "n_layer",
                                   "num_layers"};

#define NUM_SECTIONS (sizeof(sections) / sizeof(*sections))
#define NUM_KEYS     (sizeof(keys) / sizeof(*keys))

/* Parsed once, so that the scan below may trust the text. */
static enum tm_status check(const struct tm_config *config)
{
    struct tm_json_text text = {
        .path = config->path, .text = config->text, .length = config->length};
    json_t *value = tm_json_value(&text);
    enum tm_status status = value != NULL ? TM_OK : text.status;

    if (status == TM_OK)
        status = tm_json_end(&text);
    if (status == TM_OK && !json_is_object(value))
        status = tm_error(TM_BAD_DATA, "%s: not a JSON object", config->path);
    json_decref(value);
    return status;
}

enum tm_status tm_config_read(struct tm_disk *disk, const char *path,
                              struct tm_config *config)
{
    enum tm_status status;

    *config = (struct tm_config){.path = path};
    status =
        tm_infile_read(disk, path, MAX_BYTES, &config->text, &config->length);
    return status == TM_OK ? check(config) : status;
}

enum tm_status tm_config_of(const char *path, const char *text, size_t length,
                            struct tm_config *config)
{
    *config = (struct tm_config){
        .path = path, .text = malloc(length + 1), .length = length};
    if (config->text == NULL)
        return tm_no_memory();
    memcpy(config->text, text, length);
    return check(config);
}

void tm_config_free(struct tm_config *config)
{
    free(config->text);
    *config = (struct tm_config){0};
}

/* --- the scan ------------------------------------------------------------*/

static size_t skip_space(const struct tm_config *c, size_t at)
{
    while (at < c->length && strchr(" \t\r\n", c->text[at]) != NULL)
        at++;
    return at;
}

/* Behind the string that begins at `at`. */
static size_t skip_string(const struct tm_config *c, size_t at)
{
    for (at++; at < c->length && c->text[at] != '"'; at++)
        if (c->text[at] == '\\')
            at++;
    return at + 1;
}

/* Behind the value that begins at `at`. */
static size_t skip_value(const struct tm_config *c, size_t at)
{
    size_t depth = 0;

    while (at < c->length) {
        const char ch = c->text[at];

        if (depth == 0 && (ch == ',' || ch == '}' || ch == ']'))
            break;
        if (ch == '"') {
            at = skip_string(c, at);
            continue;
        }
        if (ch == '{' || ch == '[')
            depth++;
        if (ch == '}' || ch == ']')
            depth--;
        at++;
    }
    return at < c->length ? at : c->length;
}

/* The value of `key` in the object that begins at `at`. */
static bool find_in(const struct tm_config *c, size_t at, const char *key,
                    struct tm_config_place *place)
{
    const size_t length = strlen(key);

    at = skip_space(c, at);
    if (at >= c->length || c->text[at] != '{')
        return false;
    at = skip_space(c, at + 1);
    while (at < c->length && c->text[at] == '"') {
        const size_t begin = at + 1, end = skip_string(c, at) - 1;
        size_t value = skip_space(c, skip_space(c, end + 1) + 1), behind;

        behind = skip_value(c, value);
        if (end - begin == length &&
            memcmp(c->text + begin, key, length) == 0) {
            while (behind > value &&
                   strchr(" \t\r\n", c->text[behind - 1]) != NULL)
                behind--;
            *place = (struct tm_config_place){value, behind - value};
            return true;
        }
        at = skip_space(c, skip_space(c, behind) + 1);
    }
    return false;
}

bool tm_config_find(const struct tm_config *config, const char *section,
                    const char *key, struct tm_config_place *place)
{
    struct tm_config_place inside = {0};

    if (section != NULL && !find_in(config, 0, section, &inside))
        return false;
    return find_in(config, inside.begin, key, place);
}

enum tm_status tm_config_put(struct tm_config *config,
                             const struct tm_config_place *place,
                             const char *value)
{
    const size_t length = strlen(value);
    const size_t behind = place->begin + place->length;
    char *text = malloc(config->length + length + 1);

    if (text == NULL)
        return tm_no_memory();
    memcpy(text, config->text, place->begin);
    memcpy(text + place->begin, value, length);
    memcpy(text + place->begin + length, config->text + behind,
           config->length - behind);
    free(config->text);
    config->text = text;
    config->length += length - place->length;
    return TM_OK;
}

/* --- the number of layers ------------------------------------------------*/

/* Whether what is there is a whole number, not null. */
static bool number_at(const struct tm_config *c,
                      const struct tm_config_place *place, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < place->length; i++) {
        const char digit = c->text[place->begin + i];

        if (digit < '0' || digit > '9' || i == 9)
            return false;
        *number = *number * 10 + (uint64_t)(digit - '0');
    }
    return place->length > 0;
}

bool tm_config_layers(const struct tm_config *config, uint64_t *layers)
{
    struct tm_config_place place;

    for (size_t s = 0; s < NUM_SECTIONS; s++)
        for (size_t k = 0; k < NUM_KEYS; k++)
            if (tm_config_find(config, sections[s], keys[k], &place) &&
                number_at(config, &place, layers))
                return true;
    return false;
}

enum tm_status tm_config_set_layers(struct tm_config *config, uint64_t layers)
{
    enum tm_status status = TM_OK;
    bool is_there = false;
    char value[24];

    snprintf(value, sizeof(value), "%llu", (unsigned long long)layers);
    for (size_t s = 0; s < NUM_SECTIONS; s++)
        for (size_t k = 0; k < NUM_KEYS && status == TM_OK; k++) {
            struct tm_config_place place;
            uint64_t ignored;

            if (!tm_config_find(config, sections[s], keys[k], &place) ||
                !number_at(config, &place, &ignored))
                continue;
            is_there = true;
            status = tm_config_put(config, &place, value);
        }
    if (status == TM_OK && !is_there)
        return tm_error(TM_BAD_DATA,
                        "%s: names no number of layers (num_hidden_layers) "
                        "that could be changed",
                        config->path);
    return status;
}
