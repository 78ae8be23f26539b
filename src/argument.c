/* SPDX-License-Identifier: Apache-2.0 */
/* argument: see argument.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/argument.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/checked.h"

/* The digits at the beginning; *end is what follows. */
static bool leading_digits(const char *text, char **end, uint64_t *number)
{
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *number = strtoull(text, end, 10);
    return errno == 0;
}

bool tm_argument_size(const char *text, uint64_t *size)
{
    static const char letters[] = "KMGT";
    uint64_t number, scale = 1;
    char *end;
    const char *letter;

    if (!leading_digits(text, &end, &number))
        return false;
    letter = *end != '\0' ? strchr(letters, *end & ~0x20) : NULL;
    if (letter != NULL) {
        const uint64_t step = strcasecmp(end + 1, "b") == 0 ? 1000 : 1024;

        for (const char *l = letters; l <= letter; l++)
            scale *= step;
        end += step == 1000 ? 2 : 1;
    }
    return *end == '\0' && tm_mul(number, scale, size);
}

bool tm_argument_whole(const char *text, uint64_t *number)
{
    char *end;

    return leading_digits(text, &end, number) && *end == '\0';
}

bool tm_argument_number(const char *text, double *number)
{
    static locale_t c_locale;
    char *end;

    if (c_locale == (locale_t)0)
        c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0 || text[0] == '\0' ||
        strpbrk(text, " \t\n\v\f\rxX") != NULL)
        return false;
    *number = strtod_l(text, &end, c_locale);
    return *end == '\0' && isfinite((float)*number);
}

bool tm_argument_choice(const char *text, const char *const *names,
                        unsigned count, unsigned *choice)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) {
            *choice = i;
            return true;
        }
    return false;
}
