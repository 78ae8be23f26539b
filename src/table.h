/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table: text in columns, on stdout.
 *
 * Rows are not kept. They are made twice: once to be measured, all of them,
 * and then to be printed.
 */
#ifndef TM_SRC_TABLE_H
#define TM_SRC_TABLE_H

#include <stdbool.h>
#include <stddef.h>

/* For `widest` of a column of names: very long ones are few. */
#define TM_TABLE_NAME 64

struct tm_column {
    const char *title;
    bool is_number; /* stands on the right */
    int width;      /* at least; measuring widens it */
    int widest;     /* longer cells push the rest aside; 0: none is too long */
};

/* Makes room for `cells`, one for each column. */
void tm_table_measure(struct tm_column *columns, size_t count,
                      const char *const *cells);

/*
 * Prints a row, with `gap` spaces between columns. Control characters are
 * masked: cells may come from files. NULL prints the titles.
 */
void tm_table_print(const struct tm_column *columns, size_t count, unsigned gap,
                    const char *const *cells);

#endif
