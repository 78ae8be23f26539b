/* SPDX-License-Identifier: Apache-2.0 */
/* nearest: see nearest.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/nearest.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* Longer words are not slips of anything. */
#define LONGEST 64

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* A small letter for a capital one is no slip at all. */
static int letter(char c)
{
    return tolower((unsigned char)c);
}

/*
 * How many characters must be put in, left out, changed, or swapped with
 * their neighbour to make `b` of `a`.
 */
static unsigned distance(const char *a, size_t a_length, const char *b,
                         size_t b_length)
{
    unsigned rows[3][LONGEST + 1];
    unsigned *before = rows[0], *last = rows[1], *now = rows[2];

    for (unsigned j = 0; j <= b_length; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        unsigned *const spare = before;

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            now[j] = least(last[j], now[j - 1]) + 1;
            now[j] = least(now[j], last[j - 1] +
                                       (letter(a[i - 1]) != letter(b[j - 1])));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        before = last;
        last = now;
        now = spare;
    }
    return last[b_length];
}

void tm_nearest_try(struct tm_nearest *nearest, const char *name)
{
    const size_t word_length = strlen(nearest->word);
    const size_t name_length = strlen(name);
    /* One slip in three characters, and never more than three. */
    const unsigned most = word_length < 9 ? (unsigned)word_length / 3 : 3;
    unsigned d;

    if (word_length > LONGEST || name_length > LONGEST)
        return;
    d = distance(nearest->word, word_length, name, name_length);
    if (d <= most && (nearest->name == NULL || d < nearest->distance)) {
        nearest->name = name;
        nearest->distance = d;
    }
}
