/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_scalar: what scalars mean, see yaml.h. The forms are those of YAML
 * 1.1's types as PyYAML knows them, then those of Python's float().
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/yaml.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Longer texts are no numbers. */
#define LONGEST 127

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* strtod with a decimal point in any locale. */
static double to_double(const char *text)
{
    static locale_t c_locale;

    if (c_locale == (locale_t)0)
        c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0)
        return strtod(text, NULL);
    return strtod_l(text, NULL, c_locale);
}

/* `text` without underscores; false if it is too long. */
static bool strip(const char *text, char bare[LONGEST + 1])
{
    size_t n = 0;

    for (; *text != '\0'; text++) {
        if (*text == '_')
            continue;
        if (n == LONGEST)
            return false;
        bare[n++] = *text;
    }
    bare[n] = '\0';
    return true;
}

/* --- YAML 1.1 ------------------------------------------------------------*/

#define DIGITS "0123456789"

/* Digits of a base, at least one, in `bare`; "0b" and the like are gone. */
static bool read_based(const char *bare, unsigned base, double *number)
{
    *number = 0;
    if (*bare == '\0')
        return false;
    for (; *bare != '\0'; bare++) {
        const char c = (char)(*bare | 0x20);
        unsigned digit = base;

        if (is_digit(*bare))
            digit = (unsigned)(*bare - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        if (digit >= base)
            return false;
        *number = *number * base + digit;
    }
    return true;
}

/*
 * 1:30 or 1:30.5, to the base 60: every part but the first is below it. A
 * whole one does not begin with 0.
 */
static bool read_sixties(const char *text, double *number)
{
    const char *part = text + strspn(text, DIGITS "_");
    char bare[LONGEST + 1];
    bool is_whole;

    if (!is_digit(text[0]) || *part != ':' || !strip(text, bare))
        return false;
    *number = to_double(bare);
    do {
        const size_t digits = strspn(++part, DIGITS);

        if (digits == 0 || digits > 2 || (digits == 2 && part[0] > '5'))
            return false;
        *number = *number * 60 + to_double(part);
        part += digits;
    } while (*part == ':');
    is_whole = *part == '\0';
    return is_whole
               ? text[0] != '0'
               : *part == '.' && part[1 + strspn(part + 1, DIGITS)] == '\0';
}

/* 12, 1.5, 1.5e+3, .5: where there is an exponent, a point and a sign. */
static bool is_decimal(const char *text)
{
    const size_t digits = strspn(text, DIGITS "_");

    if (digits > 0 && !is_digit(text[0]))
        return false;
    if (text[digits] == '\0') /* 08 is no number, and 07 is octal */
        return digits > 0 && (text[0] != '0' || digits == 1);
    text += digits;
    if (*text++ != '.')
        return false;
    if (digits == 0 && !is_digit(*text))
        return false;
    text += strspn(text, DIGITS "_");
    if (*text == '\0')
        return true;
    if ((*text | 0x20) != 'e' || (text[1] != '+' && text[1] != '-'))
        return false;
    text += 2;
    return is_digit(*text) && text[strspn(text, DIGITS)] == '\0';
}

/* A number without its sign. */
static bool read_unsigned(const char *text, double *number)
{
    static const char *const infinities[] = {".inf", ".Inf", ".INF", NULL};
    char bare[LONGEST + 1];

    if (is_one_of(text, infinities)) {
        *number = HUGE_VAL;
        return true;
    }
    if (read_sixties(text, number))
        return true;
    if (!strip(text, bare))
        return false;
    if (text[0] == '0' && text[1] == 'b')
        return read_based(bare + 2, 2, number);
    if (text[0] == '0' && text[1] == 'x')
        return read_based(bare + 2, 16, number);
    if (text[0] == '0' && text[1] != '\0' &&
        text[strspn(text, "01234567_")] == '\0')
        return read_based(bare, 8, number);
    if (!is_decimal(text))
        return false;
    *number = to_double(bare);
    return true;
}

static bool read_number(const char *text, double *number)
{
    static const char *const nans[] = {".nan", ".NaN", ".NAN", NULL};
    const bool is_negative = text[0] == '-';

    if (is_one_of(text, nans)) {
        *number = NAN;
        return true;
    }
    if (text[0] == '-' || text[0] == '+')
        text++;
    if (!read_unsigned(text, number))
        return false;
    if (is_negative)
        *number = -*number;
    return true;
}

enum tm_yaml_type tm_yaml_type(const struct tm_yaml_node *node, double *number)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const yes[] = {"yes",  "Yes", "YES", "true", "True",
                                      "TRUE", "on",  "On",  "ON",   NULL};
    static const char *const no[] = {"no",    "No",  "NO",  "false", "False",
                                     "FALSE", "off", "Off", "OFF",   NULL};

    if (node->kind != TM_YAML_SCALAR || !node->is_plain)
        return TM_YAML_TEXT;
    if (is_one_of(node->text, nulls))
        return TM_YAML_NULL;
    if (is_one_of(node->text, yes) || is_one_of(node->text, no)) {
        *number = is_one_of(node->text, yes);
        return TM_YAML_BOOL;
    }
    return read_number(node->text, number) ? TM_YAML_NUMBER : TM_YAML_TEXT;
}

bool tm_yaml_is_null(const struct tm_yaml_node *node)
{
    double number;

    return node == NULL || tm_yaml_type(node, &number) == TM_YAML_NULL;
}

/* --- Python's float() ----------------------------------------------------*/

/* Digits with single underscores between them; how many characters. */
static size_t digits_at(const char *text)
{
    size_t n = 0;

    while (is_digit(text[n]) ||
           (n > 0 && text[n] == '_' && is_digit(text[n - 1]) &&
            is_digit(text[n + 1])))
        n++;
    return n;
}

static bool is_float(const char *text)
{
    const size_t whole = digits_at(text);
    size_t part = 0;

    text += whole;
    if (*text == '.') {
        part = digits_at(++text);
        text += part;
    }
    if (whole + part == 0)
        return false;
    if ((*text | 0x20) == 'e') {
        text++;
        if (*text == '+' || *text == '-')
            text++;
        if (digits_at(text) == 0)
            return false;
        text += digits_at(text);
    }
    return *text == '\0';
}

static bool read_float(const char *text, double *number)
{
    const bool is_negative = text[0] == '-';
    char bare[LONGEST + 1];

    if (text[0] == '-' || text[0] == '+')
        text++;
    if (strcasecmp(text, "inf") == 0 || strcasecmp(text, "infinity") == 0)
        *number = HUGE_VAL;
    else if (strcasecmp(text, "nan") == 0)
        *number = NAN;
    else if (is_float(text) && strip(text, bare))
        *number = to_double(bare);
    else
        return false;
    if (is_negative)
        *number = -*number;
    return true;
}

bool tm_yaml_number(const struct tm_yaml_node *node, double *number)
{
    switch (tm_yaml_type(node, number)) {
    case TM_YAML_NUMBER:
    case TM_YAML_BOOL:
        return true;
    case TM_YAML_NULL:
        return false;
    default:
        return node->kind == TM_YAML_SCALAR && read_float(node->text, number);
    }
}
