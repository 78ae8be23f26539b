/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan: what will be read, computed and written, in order.
 *
 * A plan is data: a pure function of the recipe and of the headers of its
 * checkpoints. Everything that can be refused is refused while it is made,
 * all problems of one kind together. The engine (src/run.h) executes a plan
 * and knows neither recipes nor methods.
 *
 *     checkpoints -> plan.c         opens the base, puts the rest together
 *                    plan_layout.c  output shards and their headers
 *                    plan_bind.c    where each vector's tensors are
 *                    side_files.c   what else belongs to the model
 *                    budget.c       how the memory is divided
 *                    plan_print.c   the plan as text and as JSON
 *
 * Where later work goes: a source that is coded (stored vectors) says so in
 * tm_source; a method with more phases than one adds them to tm_operation; a
 * part of a plan, for one of many machines, is a range of its shards.
 */
#ifndef TM_SRC_PLAN_H
#define TM_SRC_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "io/transfer.h"
#include "kernels/dtype.h"
#include "src/recipe.h"

/* How a tensor of the output comes about. */
enum tm_operation {
    TM_COPY, /* the base's bytes; what other sources there are must equal it */
    TM_SUM,  /* kernels/sum.h over the sources */
};

struct tm_input_file {
    const char *path;
    struct tm_identity identity;
};

#define TM_NO_FILE UINT32_MAX

/* Where one input of a tensor is: raw elements in a file. */
struct tm_source {
    uint64_t offset;
    uint32_t file; /* TM_NO_FILE: this vector has no part in the tensor */
    uint8_t dtype;
};

struct tm_plan_tensor {
    const char *name;
    const char *dtype_name; /* of the output */
    const char *why;        /* a copy is one; NULL for sums */
    const uint64_t *shape;
    uint64_t elements;
    uint64_t bytes;  /* of the output */
    uint64_t offset; /* in the output shard */
    uint32_t shard;
    uint8_t ndim;
    uint8_t dtype; /* of the output */
    uint8_t operation;
};

struct tm_plan_shard {
    const char *name;
    char *header;        /* the first data_start bytes of the file */
    uint64_t data_start; /* a multiple of TM_BLOCK */
    uint64_t size;
    size_t first; /* its tensors: tensors[first] ... in file order */
    size_t count;
};

/* A file beside the weights that is copied, or one that is not. */
struct tm_side_file {
    const char *name; /* relative to the checkpoint's directory */
    const char *path;
    const char *why_not; /* NULL: it is copied */
    uint64_t size;
    struct tm_side_file *next;
};

/* A tensor of a vector that the base lacks, allowed by --allow-extra. */
struct tm_extra {
    const char *name;
    size_t vector;
    struct tm_extra *next;
};

/* How --memory is divided; all in bytes. */
struct tm_budget {
    uint64_t total;  /* --memory */
    uint64_t fixed;  /* plan, digests and what the run keeps beside slots */
    uint64_t span;   /* output bytes of a unit, at most */
    uint64_t slot;   /* buffers of a unit: its reads and its output */
    size_t slots;    /* units in flight, at most */
    size_t tiles;    /* of one unit, at most */
    size_t requests; /* of one unit, at most */
    uint64_t units;  /* in all */
};

struct tm_plan {
    const struct tm_recipe *recipe;
    struct tm_checkpoint base;
    bool single_file;       /* the output is one file and no directory */
    const char *index_name; /* NULL: no index is written */

    struct tm_plan_shard *shards;
    size_t num_shards;
    struct tm_plan_tensor *tensors; /* in output order */
    size_t num_tensors;

    /* sources[t * width + i]: of tensor t, the base (i = 0) and vector i-1 */
    struct tm_source *sources;
    size_t width;

    struct tm_input_file *files;
    size_t num_files;
    size_t files_capacity;

    struct tm_side_file *side_files;
    struct tm_extra *extras;

    uint64_t bytes_read;    /* tensor bytes */
    uint64_t bytes_written; /* shards */
    uint64_t bytes_beside;  /* side files */
    struct tm_budget budget;
    struct tm_arena arena;
    uint64_t bytes_kept; /* memory of the above */
};

/*
 * Makes the plan for `recipe` (which must outlive it). `out` is where the
 * output will be: it decides between a file and a directory. On failure the
 * problems have been reported, and tm_plan_free must be called all the same.
 */
enum tm_status tm_plan_make(struct tm_disk *disk,
                            const struct tm_recipe *recipe,
                            const struct tm_settings *settings, const char *out,
                            struct tm_plan *plan);

void tm_plan_free(struct tm_plan *plan);

static inline const struct tm_source *
tm_plan_sources(const struct tm_plan *plan, size_t tensor)
{
    return &plan->sources[tensor * plan->width];
}

/* Bytes of one element as the kernels see it: 1 in copies. */
static inline uint64_t tm_plan_unit(const struct tm_plan_tensor *tensor,
                                    enum tm_dtype dtype)
{
    return tensor->operation == TM_COPY ? 1 : tm_dtype_bits(dtype) / 8;
}

/* Bytes of one input of `tensor`, whose type is `dtype`. */
static inline uint64_t tm_plan_source_bytes(const struct tm_plan_tensor *tensor,
                                            enum tm_dtype dtype)
{
    return tensor->operation == TM_COPY
               ? tensor->bytes
               : tensor->elements * (tm_dtype_bits(dtype) / 8);
}

/* The parts of making a plan; see the table above. */
enum tm_status tm_plan_layout(struct tm_plan *plan, const char *out);
enum tm_status tm_plan_headers(struct tm_plan *plan);
enum tm_status tm_plan_bind(struct tm_plan *plan, struct tm_disk *disk,
                            const struct tm_settings *settings);
enum tm_status tm_plan_side_files(struct tm_plan *plan);
enum tm_status tm_plan_budget(struct tm_plan *plan,
                              const struct tm_settings *settings);

/* Adds a checkpoint's shards to the input files; *first is the first's. */
enum tm_status tm_plan_add_files(struct tm_plan *plan,
                                 const struct tm_checkpoint *checkpoint,
                                 uint32_t *first);

/* Longest shape: 64 numbers of 20 digits with ", " between them, and "[]". */
#define TM_MAX_SHAPE_TEXT (64 * 22 + 3)

/* The shape as text, "[2, 3]", in the arena; "?" without memory. */
const char *tm_shape_text(struct tm_arena *arena, unsigned ndim,
                          const uint64_t *shape);

#endif
