/* SPDX-License-Identifier: Apache-2.0 */
/* fault_spec: see fault_spec.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/fault_spec.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool tm_fault_number(const char *text, uint64_t *number)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

bool tm_fault_one(const char *text, bool *on)
{
    *on = true;
    return strcmp(text, "1") == 0;
}

bool tm_fault_choice(const char *text, const char *const *names, size_t num,
                     size_t *choice)
{
    size_t i;

    for (i = 0; i < num; i++)
        if (strcmp(text, names[i]) == 0) {
            *choice = i;
            return true;
        }
    return false;
}

/* One "key=value"; `seen` has a bit for each key that came before. */
static bool parse_setting(char *text, const struct tm_fault_key *keys,
                          size_t num_keys, void *settings, uint32_t *seen)
{
    char *value = strchr(text, '=');
    size_t i;

    if (!value)
        return false;
    *value++ = '\0';
    for (i = 0; i < num_keys; i++) {
        if (strcmp(text, keys[i].name) != 0)
            continue;
        if (*seen & UINT32_C(1) << i)
            return false;
        *seen |= UINT32_C(1) << i;
        return keys[i].parse(settings, value);
    }
    return false;
}

bool tm_fault_parse(const char *spec, const struct tm_fault_key *keys,
                    size_t num_keys, void *settings)
{
    char *text = strdup(spec);
    char *rest = text;
    char *setting;
    uint32_t seen = 0;
    bool good = text != NULL;

    if (*spec == '\0')
        rest = NULL;
    while (good && (setting = strsep(&rest, ",")))
        good = parse_setting(setting, keys, num_keys, settings, &seen);
    free(text);
    return good;
}

/* splitmix64: a few lines, and the same everywhere. */
uint64_t tm_fault_draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
