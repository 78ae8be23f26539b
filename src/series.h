/* SPDX-License-Identifier: Apache-2.0 */
/*
 * series: recipes of one file that are made one after another.
 *
 * The models of a document may be other documents, by name. These are made
 * first, each into a directory .OUT.NAME.taumerge beside OUT, which is what
 * the name then stands for, and which is removed in the end.
 *
 *     tm_series_name -> (the recipe is read) -> tm_series_make
 *                                          +--> tm_series_remove
 */
#ifndef TM_SRC_SERIES_H
#define TM_SRC_SERIES_H

#include "src/options.h"
#include "src/task.h"

/* Fills in options->aliases, where the recipe is one of several in a file. */
enum tm_status tm_series_name(struct tm_options *options);

/* The name of a document that the recipe needs; NULL: none. */
const char *tm_series_first(const struct tm_options *options);

/*
 * Makes, in the right order and with the functions of `kind`, the documents
 * that the recipe needs. TM_USAGE, reported: one needs itself.
 */
enum tm_status tm_series_make(const struct tm_options *options,
                              const struct tm_task_kind *kind);

/* Whether anything that tm_series_make has begun is worth keeping. */
bool tm_series_is_worth(const struct tm_options *options);

/* Removes what tm_series_make made. */
void tm_series_remove(const struct tm_options *options);

#endif
