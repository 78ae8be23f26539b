/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe: what the user asked for, valid on its own terms; and settings: how
 * to go about it. Neither knows what is in any file of a model. A recipe is
 * filled in by the command line (src/options.h) or read from a file
 * (src/recipe/recipe_file.h); what its values are for a tensor is asked with
 * src/recipe/evaluate.h.
 */
#ifndef TM_SRC_RECIPE_H
#define TM_SRC_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/chunk.h"
#include "io/file.h"
#include "io/message.h"
#include "io/transfer.h"
#include "kernels/cpu.h"
#include "kernels/dtype.h"
#include "src/method.h"

/* Where in a recipe's file something stands; line 0: it came otherwise. */
struct tm_place {
    unsigned line;
    unsigned column;
};

/* --- parameters ----------------------------------------------------------*/

/* A value, or several that make a gradient, for the tensors it is meant for. */
struct tm_entry {
    const char *filter; /* a part of the name; NULL: every tensor */
    const double *values;
    size_t count;   /* at least 1 */
    bool *was_used; /* set when a tensor was found that it fits */
};

/* What is said about one parameter in one place. */
struct tm_setting {
    size_t parameter;         /* of the method's */
    struct tm_entry *entries; /* the first that fits holds */
    size_t count;
    struct tm_place place;
};

/* All that is said in one place; a setting at most once. */
struct tm_level {
    struct tm_setting *settings;
    size_t count;
};

/* --- models --------------------------------------------------------------*/

/* An input beside the base. */
struct tm_vector {
    const char *path;
    const char *name; /* as the user wrote it */
    struct tm_place place;
};

#define TM_NO_MODEL UINT32_MAX

/* A model's part of a slice. */
struct tm_part_source {
    uint32_t model; /* column: 0 the recipe's base, i + 1 its vectors[i] */
    bool has_range;
    uint64_t begin; /* layers [begin, end), if there is a range */
    uint64_t end;
    struct tm_level level;
    struct tm_place place;
};

/* Some layers of the output, or all there are. */
struct tm_slice {
    struct tm_part_source *sources; /* in recipe order */
    size_t num_sources;
    uint32_t base; /* column, TM_NO_MODEL: the recipe's */
    struct tm_level level;
    struct tm_place place;
};

/* A part of the model with a stack of layers of its own. */
struct tm_module {
    const char *name; /* NULL: the whole model */
    struct tm_slice *slices;
    size_t num_slices;
    bool is_sliced; /* written with `slices:`, else it is one of all layers */
    struct tm_level level;
    struct tm_place place;
};

/* --- the recipe ----------------------------------------------------------*/

struct tm_recipe {
    const char *path; /* of the file; NULL: command line */
    const char *name; /* of the document; may be NULL */
    const char *text; /* the document's text; may be NULL */
    const struct tm_method *method;
    /*
     * Column 0: the base where there is one (has_base), else the model that
     * comes first, whose layout and side files the output gets.
     */
    const char *base;
    const char *base_name;
    struct tm_place base_place;
    bool has_base;
    struct tm_vector *vectors;
    size_t num_vectors;
    struct tm_module *modules; /* at least one */
    size_t num_modules;
    struct tm_level level;

    bool keeps_dtypes;     /* every tensor keeps the base's type, not the type
                              that its inputs have in common */
    bool has_dtype;        /* else the above */
    enum tm_dtype dtype;   /* of the output */
    const char *tokenizer; /* path of the model whose tokenizer it gets; NULL:
                              the base's */
    const char *chat_template; /* Jinja text; NULL: nothing is said */
    uint64_t shard_size;       /* 0: the base's layout */
    uint64_t seed;             /* of random masks */
    bool allow_missing;    /* a vector may lack tensors: they are unchanged */
    bool allow_extra;      /* and have tensors that the base lacks */
    struct tm_arena arena; /* of what was read from a file */
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
    bool resume;        /* go on with what an interrupted run has kept */
    bool restart;       /* or throw it away */
    bool keeps_journal; /* when OUT is complete: it is a step on the way */
    double journal; /* seconds between marks (src/keeper.h); negative: none */
    const char *command; /* what the user typed, with --resume */
    bool json;
    bool lax;                 /* unknown keys are warnings */
    bool print_recipe;        /* plan: print the recipe and no more */
    const char *only_tensors; /* plan: print what is done with these */
    bool digest;              /* inspect: compute digests */
    const char *fault;        /* io/fault.h; NULL: none */
};

#endif
