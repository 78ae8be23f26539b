/* SPDX-License-Identifier: Apache-2.0 */
/* table: see table.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/message.h"

static void widen(struct tm_column *column, const char *text)
{
    int length = (int)strlen(text);

    if (column->widest > 0 && length > column->widest)
        length = column->widest;
    if (length > column->width)
        column->width = length;
}

void tm_table_measure(struct tm_column *columns, size_t count,
                      const char *const *cells)
{
    for (size_t i = 0; i < count; i++) {
        widen(&columns[i], columns[i].title);
        widen(&columns[i], cells[i]);
    }
}

/* Whether `text` can be printed as it is: most cells can. */
static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

static void print_cell(const struct tm_column *column, bool is_last,
                       const char *text)
{
    const int width = column->is_number || !is_last ? column->width : 0;

    printf("%*s", column->is_number ? width : -width, text);
}

static void print_masked(const struct tm_column *column, bool is_last,
                         const char *text)
{
    char *masked = strdup(text);

    if (masked != NULL)
        tm_mask(masked);
    print_cell(column, is_last, masked != NULL ? masked : "?");
    free(masked);
}

void tm_table_print(const struct tm_column *columns, size_t count, unsigned gap,
                    const char *const *cells)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = cells != NULL ? cells[i] : columns[i].title;

        printf("%*s", i > 0 ? (int)gap : 0, "");
        if (is_plain(text))
            print_cell(&columns[i], i + 1 == count, text);
        else
            print_masked(&columns[i], i + 1 == count, text);
    }
    putchar('\n');
}
