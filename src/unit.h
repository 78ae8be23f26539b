/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit: the work that one credit of the pool pays for.
 *
 * A unit is a run of whole elements of one output shard, a span of its bytes,
 * with everything that makes it: the tiles, one for each tensor in the span,
 * and the reads that bring their inputs. All its buffers lie in one slot of
 * the pool, taken before the first read is submitted, so that units cannot
 * wait for each other's memory.
 *
 *     slot:  | output span | read | read | ... | decoded ... | area | ...
 *
 * The output span lies in the slot as it will in the file, relative to blocks;
 * the block that two units share is completed when the first of them has its
 * turn (src/hash.c). Where tensors are worked on chunk by chunk, units end
 * between chunks, so that each is read and decoded, or encoded, once; an area
 * then takes the chunks that are encoded for one of the vectors being made.
 * Where a method works on rows, or adds up blocks, they end between those.
 *
 * A tensor that is measured before it is made (src/method.h) lies in one unit
 * if it fits: then whoever has the unit has all of it. Else it is a group of
 * units that hold nothing else (src/group.h). These are cut once, if all of
 * them can be in flight together; if not, once for each phase and once more:
 * the tensor is swept. And all tensors are, first, where a method measures
 * the whole model.
 *
 * The ranges that the tiles need of one source are sorted and joined where
 * the blocks around them touch: small tensors that lie together in their file
 * become one read, whatever their order.
 *
 * Cutting is a pure function of plan and budget. It runs twice: when the plan
 * is made, to know what is needed, and during the run.
 */
#ifndef TM_SRC_UNIT_H
#define TM_SRC_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/plan.h"

/* Some elements of one tensor, or of a shard's header. */
struct tm_tile {
    size_t tensor;  /* TM_HEADER_TILE: no tensor but the header */
    uint64_t first; /* element (of size tm_plan_unit) */
    uint64_t count;
};

#define TM_HEADER_TILE SIZE_MAX

/* What a unit is read for. */
enum tm_aim {
    TM_AIM_OUTPUT, /* its output is made, after phases if it is of a group */
    TM_AIM_SWEEP,  /* one phase of a tensor that is swept */
    TM_AIM_MODEL,  /* the phase that is about the whole model */
};

#define TM_NO_GROUP SIZE_MAX

struct tm_read {
    uint64_t offset; /* in the file: a multiple of TM_BLOCK */
    uint64_t len;    /* a multiple of TM_BLOCK */
    uint64_t need;   /* bytes up to the last one that a tile uses */
    uint64_t place;  /* in the slot */
    uint32_t file;
    size_t tensor; /* one that it is for: to name in a message */
};

struct tm_unit {
    size_t shard;
    uint64_t begin; /* of the span in the shard */
    uint64_t end;
    uint64_t output; /* place of the span in the slot: begin % TM_BLOCK */
    enum tm_aim aim;
    unsigned phase;  /* TM_AIM_SWEEP: which; TM_AIM_OUTPUT of a tensor that
                        is swept: the last, else the first that is left */
    size_t group;    /* the tensor that it is a part of; TM_NO_GROUP */
    uint64_t number; /* of the unit in its group, or in the model */
    bool is_last;    /* of them */
    struct tm_tile *tiles;
    size_t num_tiles;
    struct tm_read *reads;
    size_t num_reads;
    /* places[tile * width + source]: of what was read for it, in the slot */
    uint64_t *places;
    /* decoded[tile * width + source]: place for it, where the tile is wanted
     * as a whole; 0 where it is not */
    uint64_t *decoded;
    uint64_t *areas;      /* places, one for each vector that is made */
    size_t num_blocks;    /* of sums that measuring its tiles gives */
    size_t num_sums;      /* in them; of a unit of no group, in its largest
                             tile */
    size_t num_pieces;    /* chunks that may be put into them, in all */
    size_t num_checks;    /* chunks of inputs that are decoded */
    uint64_t slot_bytes;  /* used of the slot */
    uint64_t input_bytes; /* of the inputs, without what is read around them */
};

/*
 * Elements, as the kernels see them, between which units of `tensor` may end:
 * multiples of this many.
 */
uint64_t tm_plan_step(const struct tm_plan *plan,
                      const struct tm_plan_tensor *tensor);

/* Where the search for a chunk of a coded source stopped. */
struct tm_cursor {
    uint64_t source; /* its number; UINT64_MAX: nowhere yet */
    uint64_t chunk;
    uint64_t offset; /* of that chunk in the blob */
};

/* Where the next unit begins. */
struct tm_cutter {
    const struct tm_plan *plan;
    size_t shard;
    uint64_t position;
    size_t first_shard; /* where output begins (tm_cutter_start) */
    uint64_t first_position;
    size_t tensor;             /* the first one that may reach behind it */
    bool measures_model;       /* still in the sweep of the whole model */
    unsigned phase;            /* of the tensor that is being swept */
    uint64_t number;           /* of the next unit in its group or model */
    struct tm_range *ranges;   /* scratch */
    struct tm_cursor *cursors; /* width of them */
};

/* What a unit's arrays must hold. */
struct tm_unit_limits {
    uint64_t span;
    uint64_t slot_bytes;
    size_t tiles;
    size_t reads; /* at most tiles * width are ever needed */
};

/* Allocates arrays for units within `limits`; false: no memory. */
bool tm_unit_init(struct tm_unit *unit, const struct tm_plan *plan,
                  const struct tm_unit_limits *limits);
void tm_unit_free(struct tm_unit *unit);

/* Memory that tm_unit_init takes. */
uint64_t tm_unit_memory(const struct tm_plan *plan,
                        const struct tm_unit_limits *limits);

bool tm_cutter_init(struct tm_cutter *cutter, const struct tm_plan *plan,
                    const struct tm_unit_limits *limits);
void tm_cutter_free(struct tm_cutter *cutter);

/*
 * Lets the cutter begin at a byte of an output shard where a unit has ended
 * that was of no group, or the last of one.
 */
void tm_cutter_start(struct tm_cutter *cutter, size_t shard, uint64_t position);

enum tm_cut {
    TM_CUT_UNIT, /* `unit` is the next one */
    TM_CUT_END,  /* there are no more */
    TM_CUT_SLOT, /* not even one block fits: unit->slot_bytes says what does */
};

/* Cuts the next unit: as much of `limits` as it can use. */
enum tm_cut tm_cutter_next(struct tm_cutter *cutter,
                           const struct tm_unit_limits *limits,
                           struct tm_unit *unit);

/*
 * Elements of the tile that its source `column` has: fewer than the tile's
 * where the base is shorter than the tensor.
 */
uint64_t tm_tile_count(const struct tm_plan *plan, const struct tm_tile *tile,
                       size_t column);

#endif
