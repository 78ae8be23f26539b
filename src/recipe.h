/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe: what the user asked for, valid on its own terms; and settings: how
 * to go about it. Neither knows what is in any file. The command line fills
 * them in (src/options.h); a recipe file will be another way to.
 */
#ifndef TM_SRC_RECIPE_H
#define TM_SRC_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/chunk.h"
#include "io/file.h"
#include "io/message.h"
#include "io/transfer.h"
#include "kernels/cpu.h"
#include "kernels/dtype.h"

struct tm_vector {
    const char *path;
    double weight; /* finite */
};

struct tm_recipe {
    const char *base;
    struct tm_vector *vectors; /* in the order of the sum */
    size_t num_vectors;
    bool has_dtype; /* else every tensor keeps the base's type */
    enum tm_dtype dtype;
    uint64_t shard_size; /* 0: the base's layout */
    bool allow_missing;  /* a vector may lack tensors: they are unchanged */
    bool allow_extra;    /* and have tensors that the base lacks */
};

enum tm_progress_kind {
    TM_PROGRESS_AUTO,
    TM_PROGRESS_BAR,
    TM_PROGRESS_JSON,
    TM_PROGRESS_NONE,
};

struct tm_settings {
    uint64_t memory;  /* the budget, in bytes */
    unsigned threads; /* 0: as many as there are CPUs */
    enum tm_io_choice io;
    enum tm_direct direct;
    enum tm_progress_kind progress;
    enum tm_verbosity verbosity;
    enum tm_isa isa;
    enum tm_codec codec; /* of stored vectors that are made */
    bool as_vector;      /* merge: store the result against the base */
    bool force;
    bool json;
    bool digest;       /* inspect: compute digests */
    const char *fault; /* io/fault.h; NULL: none */
};

#endif
