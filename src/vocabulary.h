/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vocabulary: whether the models of a merge have one, so that row i of every
 * embedding is of the same token.
 */
#ifndef TM_SRC_VOCABULARY_H
#define TM_SRC_VOCABULARY_H

#include "src/plan.h"

/*
 * Where the recipe names a tokenizer: compares the tokens of all models, by
 * tokenizer.json, with those of that one. Errors, reported: TM_USAGE: they
 * differ, and rows would have to be put in another order; TM_BAD_DATA and
 * those of reading.
 */
enum tm_status tm_vocabulary_check(const struct tm_plan *plan,
                                   struct tm_disk *disk);

/*
 * The side files of the tokenizer of the model at `path`: each of them that
 * there is, in the arena, as a list.
 */
enum tm_status tm_vocabulary_files(struct tm_arena *arena, const char *path,
                                   struct tm_side_file **files);

/* Whether a side file of that name belongs to the tokenizer. */
bool tm_vocabulary_owns(const char *name);

#endif
