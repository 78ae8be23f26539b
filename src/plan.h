/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan: what will be read, computed and written, in order.
 *
 * A plan is data: a pure function of the recipe and of the headers of its
 * checkpoints. Everything that can be refused is refused while it is made,
 * all problems of one kind together. The engine (src/run.h) executes a plan
 * and knows neither recipes nor methods.
 *
 *     checkpoints -> plan.c         a merge: opens the base, joins the rest
 *                    layers.c       which number in a name is a layer's
 *                    plan_list.c    the output's tensors, by the recipe
 *                    plan_regions.c which modules, slices and stacks they
 *                                   are of
 *                    plan_apply.c   a stored vector put back on its base
 *                    plan_diff.c    fine-tunes to be stored as vectors
 *                    plan_layout.c  output shards and their headers
 *                    plan_bind.c    opens the other models
 *                    plan_match.c   which of their tensors go with which
 *                    vocabulary.c   whether their tokens have equal numbers
 *                    plan_terms.c   what each tensor's method has to go by
 *                    bind_base.c    what a stored vector was made against
 *                    plan_output.c  the vectors that are made
 *                    side_files.c   what else belongs to the model
 *                    plan_beside.c  and what of it is changed
 *                    budget.c       how the memory is divided
 *                    plan_print.c   the plan as text and as JSON
 *
 * Where later work goes: a part of a plan, for one of many machines, is a
 * range of its shards.
 */
#ifndef TM_SRC_PLAN_H
#define TM_SRC_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/arena.h"
#include "io/checkpoint.h"
#include "io/chunk.h"
#include "io/file.h"
#include "io/transfer.h"
#include "io/vector.h"
#include "kernels/dtype.h"
#include "src/recipe.h"

/* How a tensor of the output comes about. */
enum tm_operation {
    TM_COPY,  /* the bytes of one source; other ones must equal them */
    TM_MERGE, /* what the method makes of the tensor's terms */
    TM_TAKE,  /* each vector's own words: one to write, or all to encode */
};

/* What a run makes. */
enum tm_product {
    TM_MODEL,        /* output shards, as they are computed */
    TM_CHECK,        /* the same, looked at and not written */
    TM_MODEL_VECTOR, /* the same, stored as one vector against the base */
    TM_VECTORS,      /* every input but the base, stored as a vector */
};

struct tm_input_file {
    const char *path;
    struct tm_identity identity;
    struct tm_digest header_digest; /* zeros: of a stored vector's shard */
};

#define TM_NO_FILE UINT32_MAX

/* Where one input of a tensor is: in a file, as it is or coded. */
struct tm_source {
    uint64_t offset; /* in the file; of a coded one: its number in `coded` */
    uint32_t file;   /* TM_NO_FILE: this vector has no part in the tensor */
    uint8_t dtype;
    bool is_coded;
    bool only_decodes; /* no input: what a coded source was made against */
};

/* A tensor of a stored vector that is an input. */
struct tm_coded_source {
    const struct tm_coded *coded;
    const uint32_t *lengths; /* of its chunks */
    const char *vector;      /* the path, for messages */
};

#define TM_NO_TARGET UINT32_MAX

/* Where one tensor of a stored vector that is made belongs. */
struct tm_target {
    uint32_t shard;  /* of the vector; TM_NO_TARGET: it has no such tensor */
    uint32_t record; /* in the index of that shard */
};

struct tm_plan_tensor {
    const char *name;
    const char *dtype_name; /* of the output */
    const char *why;        /* a copy is one; NULL for sums */
    const uint64_t *shape;
    uint64_t elements;      /* TM_TAKE: words */
    uint64_t base_elements; /* of those, how many the base has */
    uint64_t bytes;         /* of the output */
    uint64_t offset;        /* in the output shard */
    uint64_t row;           /* elements; as src/method.h has them */
    uint64_t plane;
    const struct tm_terms *terms; /* TM_MERGE; else NULL */
    uint32_t shard;
    uint32_t like; /* the base's tensor whose shape and place it has */
    uint32_t from; /* TM_COPY: the column that is copied */
    uint8_t ndim;
    uint8_t dtype; /* of the output */
    uint8_t operation;
    /* Of TM_MERGE: */
    uint8_t phases; /* how often it is measured; the first time with the whole
                       model, where plan->measures_model */
    bool is_sum;    /* it ends as a weighted sum of its terms */
    bool in_strips; /* its method measures, or applies, strips */
    bool by_row;    /* of one row each */
    bool is_swept;  /* it is read for each phase, since it does not fit */
    uint32_t units; /* that it is a group of; 0: it is none */
};

struct tm_plan_shard {
    const char *name;
    char *header;        /* the first data_start bytes of the file */
    uint64_t data_start; /* a multiple of TM_BLOCK */
    uint64_t size;
    size_t first; /* its tensors: tensors[first] ... in file order */
    size_t count;
};

/* A tensor of a vector that is to be made. */
struct tm_output_record {
    const char *name;
    uint64_t words;
    uint64_t base_words; /* 0 where it has no base */
    uint64_t first;      /* of its chunks, among all of the vector */
    uint64_t count;
    uint8_t base_code;
    bool has_base;
    bool is_like_base; /* type and shape are: it may turn out the same */
    bool is_measured;  /* its differences are numbers */
};

/* A shard of the tuned checkpoint that a vector is to be made of. */
struct tm_output_shard {
    const char *name;       /* of the vector's file */
    const char *tuned_name; /* of the tuned one */
    uint64_t tuned_bytes;
    const char *start_path; /* file that begins as the tuned one; NULL: the
                               plan's own shard of this number */
    uint64_t start_bytes;   /* up to its data */
    size_t first;           /* of its records */
    size_t count;
};

/* A vector that is to be made. */
struct tm_output {
    const char *directory; /* in OUT, with a slash at its end; or "" */
    const char *tuned_path;
    bool single_file;
    struct tm_output_shard *shards;
    size_t num_shards;
    struct tm_output_record *records; /* in the order of the index */
    size_t num_records;
    uint64_t num_chunks;
    uint64_t tuned_bytes; /* of all shards */
    struct tm_side_file *side_files;
};

/* A file beside the weights that is copied, or one that is not. */
struct tm_side_file {
    const char *name; /* relative to the checkpoint's directory */
    const char *path;
    const char *why_not; /* NULL: it is copied */
    const char *content; /* of the output's, where it is another */
    uint64_t size;       /* in the output */
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
    uint64_t total;     /* --memory */
    uint64_t fixed;     /* plan, digests and what the run keeps beside slots */
    uint64_t span;      /* output bytes of a unit, at most */
    uint64_t slot;      /* buffers of a unit: its reads and its output */
    uint64_t decoded;   /* bytes of a chunk of all coded sources */
    uint64_t converted; /* bytes of the base words of a chunk */
    size_t slots;       /* units in flight, at most */
    size_t tiles;       /* of one unit, at most */
    size_t requests;    /* of one unit, at most */
    uint64_t keeps_all; /* about what --memory would sweep no tensor */
    size_t groups;      /* tensors of several units that are worked on */
    uint64_t strip;     /* elements that a method works on at once, at most */
    struct tm_work_sizes work; /* of any tensor, at most */
    size_t terms;              /* of any tensor, at most */
    size_t unit_sums;          /* that measuring one unit gives, at most */
    size_t pieces; /* chunks that are encoded of one unit, at most */
    size_t checks; /* and decoded */
    unsigned workers;
    uint64_t units; /* in all */
};

struct tm_plan {
    const struct tm_recipe *recipe;
    struct tm_checkpoint base;
    bool single_file;       /* the output is one file and no directory */
    bool has_manifest;      /* and is described by taumerge.json */
    const char *index_name; /* NULL: no index is written */

    struct tm_plan_shard *shards;
    size_t num_shards;
    struct tm_plan_tensor *tensors; /* in output order */
    size_t num_tensors;

    /* sources[t * width + i]: of tensor t, the base (i = 0) and vector i-1 */
    struct tm_source *sources;
    size_t width;
    struct tm_coded_source *coded;
    size_t num_coded;
    struct tm_vector_stored *stored; /* opened, for as long as the plan */
    size_t num_stored;
    struct tm_checkpoint *tuned; /* to be stored: as many as outputs */
    size_t num_tuned;

    enum tm_product product;
    enum tm_codec codec; /* of the vectors that are made */
    /* targets[t * num_outputs + i]: of tensor t, in the vector i */
    struct tm_target *targets;
    struct tm_output *outputs; /* vectors that are made */
    size_t num_outputs;

    struct tm_input_file *files;
    size_t num_files;
    size_t files_capacity;

    struct tm_side_file *side_files;
    struct tm_extra *extras;

    bool measures_model;    /* everything is measured before the first tensor
                               is made (tm_method.is_whole) */
    bool model_is_known;    /* but no sweep is needed: src/recorded.h */
    uint64_t bytes_read;    /* tensor bytes, each as often as it is read */
    uint64_t bytes_swept;   /* of those, what is read not for the first time */
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

/*
 * The plan for storing the recipe's vectors against its base; one is made as
 * OUT, several in it, each named as its own path ends.
 */
enum tm_status tm_plan_diff(struct tm_disk *disk,
                            const struct tm_recipe *recipe,
                            const struct tm_settings *settings,
                            struct tm_plan *plan);

/*
 * The plan for putting the recipe's one vector, a stored one, back on its
 * base; with `product` TM_CHECK for seeing whether that would work.
 */
enum tm_status tm_plan_apply(struct tm_disk *disk,
                             const struct tm_recipe *recipe,
                             const struct tm_settings *settings,
                             enum tm_product product, const char *out,
                             struct tm_plan *plan);

void tm_plan_free(struct tm_plan *plan);

static inline const struct tm_source *
tm_plan_sources(const struct tm_plan *plan, size_t tensor)
{
    return &plan->sources[tensor * plan->width];
}

/* Whether tensors are worked on chunk by chunk (io/chunk.h). */
static inline bool tm_plan_is_chunked(const struct tm_plan *plan)
{
    return plan->num_coded > 0 || plan->product != TM_MODEL;
}

/* Bytes of one element as the kernels see it: 1 in copies. */
static inline uint64_t tm_plan_unit(const struct tm_plan_tensor *tensor,
                                    enum tm_dtype dtype)
{
    if (tensor->operation == TM_TAKE)
        return tm_word_bytes(dtype);
    return tensor->operation == TM_COPY ? 1 : tm_dtype_bits(dtype) / 8;
}

/* Elements, as the kernels see them, of one chunk. */
static inline uint64_t tm_plan_chunk(const struct tm_plan_tensor *tensor)
{
    const uint64_t size = tensor->operation == TM_COPY
                              ? tm_word_bytes((enum tm_dtype)tensor->dtype)
                              : 1;

    return size * TM_CHUNK_WORDS;
}

/* Whether its method works on strips (src/strips.h), not on sums. */
static inline bool tm_plan_wants_tiles(const struct tm_plan_tensor *tensor)
{
    return tensor->operation == TM_MERGE && tensor->in_strips;
}

/* The first phase that the tensor is measured in for itself. */
static inline unsigned tm_plan_first_phase(const struct tm_plan *plan,
                                           const struct tm_plan_tensor *tensor)
{
    return plan->measures_model && tensor->phases > 0 ? 1 : 0;
}

/*
 * Elements whose sums are made before they are added to others, of a tensor
 * that is merged: TM_BLOCK_ELEMENTS, or as many whole rows as are nearest.
 */
static inline uint64_t tm_plan_sum_block(const struct tm_plan_tensor *tensor)
{
    if (!tensor->by_row)
        return TM_BLOCK_ELEMENTS;
    return tensor->row >= TM_BLOCK_ELEMENTS
               ? tensor->row
               : TM_BLOCK_ELEMENTS / tensor->row * tensor->row;
}

/* All elements of `tensor` as the kernels see them. */
static inline uint64_t tm_plan_count(const struct tm_plan_tensor *tensor)
{
    return tensor->operation == TM_COPY ? tensor->bytes : tensor->elements;
}

/* Bytes of all output shards, as the plan has them. */
uint64_t tm_plan_shard_bytes(const struct tm_plan *plan);

/* Bytes that are read of source `column` of tensor number `tensor`. */
uint64_t tm_plan_source_bytes(const struct tm_plan *plan, size_t tensor,
                              size_t column);

/* Elements of the input `column` of `tensor`: the base may have fewer. */
static inline uint64_t tm_plan_source_count(const struct tm_plan_tensor *tensor,
                                            size_t column)
{
    return column == 0 && tensor->operation == TM_TAKE ? tensor->base_elements
                                                       : tm_plan_count(tensor);
}

/* Where `tensor` is, of a checkpoint whose files begin at `first`. */
static inline struct tm_source tm_plan_raw(const struct tm_tensor *tensor,
                                           uint32_t first)
{
    return (struct tm_source){
        .offset = tensor->offset,
        .file = first + tensor->shard,
        .dtype = tensor->dtype,
    };
}

/* Opens the recipe's base, which must be a checkpoint. */
enum tm_status tm_plan_open_base(struct tm_plan *plan, struct tm_disk *disk);

/* Bytes to read, to write and to keep, once all else is known. */
void tm_plan_sum_up(struct tm_plan *plan);

/*
 * Adds a stored vector, opened in plan->stored, to the coded sources; they are
 * numbered as its tensors, from *first on.
 */
enum tm_status tm_plan_add_coded(struct tm_plan *plan,
                                 const struct tm_vector_stored *vector,
                                 uint64_t *first);

/* plan_output.c: the vectors that are made. */

bool tm_same_shape(const struct tm_tensor *a, const struct tm_tensor *b);

/* Whether `own` may be stored against `base` (docs/format.md). */
bool tm_can_be_delta(const struct tm_tensor *base, const struct tm_tensor *own);

/* What the record of `own` says; `base` is the tensor of that name or NULL. */
struct tm_output_record tm_output_record_of(const struct tm_tensor *base,
                                            const struct tm_tensor *own);

/* Allocates so many shards, named, and records. */
enum tm_status tm_output_allocate(struct tm_plan *plan,
                                  struct tm_output *output, size_t shards,
                                  size_t records);

/* Numbers the records' chunks and checks their names; `path` for messages. */
enum tm_status tm_output_number(struct tm_output *output, const char *path);

/* The parts of making a plan; see the table above. */
struct tm_listing; /* src/plan_list.h */
enum tm_status tm_plan_bind(struct tm_plan *plan, struct tm_disk *disk,
                            const struct tm_settings *settings,
                            struct tm_listing *listing);
enum tm_status tm_plan_terms(struct tm_plan *plan, struct tm_listing *listing);
enum tm_status tm_plan_layout(struct tm_plan *plan,
                              const struct tm_listing *listing,
                              const char *out);
enum tm_status tm_plan_headers(struct tm_plan *plan,
                               const struct tm_listing *listing);

/* plan_beside.c: what differs beside the weights from what the base has. */
enum tm_status tm_plan_beside(struct tm_plan *plan, struct tm_disk *disk,
                              const struct tm_listing *listing);

/*
 * Lists what is beside the weights of a checkpoint, by name, and what of it
 * is left out: weights in other formats, unless it is taken as a whole.
 */
enum tm_status tm_side_files(struct tm_arena *arena,
                             const struct tm_checkpoint *checkpoint,
                             bool is_whole, struct tm_side_file **files);

/* Bytes of those that are copied. */
uint64_t tm_side_file_bytes(const struct tm_side_file *files);

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
