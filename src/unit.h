/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit: the work that one credit of the pool pays for.
 *
 * A unit is a span of one output shard, from block boundary to block boundary
 * (or the end), with everything that makes it: the tiles whose output lies in
 * the span, and the reads that bring their inputs. All its buffers lie in one
 * slot of the pool, taken before the first read is submitted, so that units
 * cannot wait for each other's memory.
 *
 *     slot:  | output span | read | read | ...     each a whole number of
 *                                                   blocks, aligned
 *
 * The ranges that the tiles need of one source are sorted and joined where
 * the blocks around them touch: small tensors that lie together in their file
 * become one read, whatever their order.
 *
 * An element that straddles two spans is computed by both units, and each
 * writes its part; the unit in which it begins counts it and hashes its
 * inputs.
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
    bool shared_head; /* the first element began in the unit before */
};

#define TM_HEADER_TILE SIZE_MAX

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
    uint64_t begin; /* of the span in the shard: a multiple of TM_BLOCK */
    uint64_t end;
    struct tm_tile *tiles;
    size_t num_tiles;
    struct tm_read *reads;
    size_t num_reads;
    /* places[tile * width + source]: of its first element, in the slot */
    uint64_t *places;
    uint64_t slot_bytes;  /* used of the slot */
    uint64_t input_bytes; /* of elements that begin in the span */
};

/* Where the next unit begins. */
struct tm_cutter {
    const struct tm_plan *plan;
    size_t shard;
    uint64_t position;
    size_t tensor; /* the first one that may reach behind the position */
    struct tm_range *ranges; /* scratch */
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

enum tm_cut {
    TM_CUT_UNIT, /* `unit` is the next one */
    TM_CUT_END,  /* there are no more */
    TM_CUT_SLOT, /* not even one block fits: unit->slot_bytes says what does */
};

/* Cuts the next unit: as much of `limits` as it can use. */
enum tm_cut tm_cutter_next(struct tm_cutter *cutter,
                           const struct tm_unit_limits *limits,
                           struct tm_unit *unit);

#endif
