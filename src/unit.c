/* SPDX-License-Identifier: Apache-2.0 */
/* unit: see unit.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/unit.h"

#include <stdlib.h>

#include "io/checked.h"

/* What one tile needs of one source. */
struct tm_range {
    uint64_t begin;
    uint64_t end;
    uint32_t file;
    uint32_t tile;
};

static size_t max_places(const struct tm_plan *plan,
                         const struct tm_unit_limits *limits)
{
    return limits->tiles * plan->width;
}

uint64_t tm_unit_memory(const struct tm_plan *plan,
                        const struct tm_unit_limits *limits)
{
    return limits->tiles * sizeof(struct tm_tile) +
           limits->reads * sizeof(struct tm_read) +
           max_places(plan, limits) * sizeof(uint64_t);
}

bool tm_unit_init(struct tm_unit *unit, const struct tm_plan *plan,
                  const struct tm_unit_limits *limits)
{
    *unit = (struct tm_unit){
        .tiles = malloc(limits->tiles * sizeof(*unit->tiles)),
        .reads = malloc(limits->reads * sizeof(*unit->reads)),
        .places = malloc(max_places(plan, limits) * sizeof(*unit->places)),
    };
    if (unit->tiles != NULL && unit->reads != NULL && unit->places != NULL)
        return true;
    tm_unit_free(unit);
    return false;
}

void tm_unit_free(struct tm_unit *unit)
{
    free(unit->tiles);
    free(unit->reads);
    free(unit->places);
    *unit = (struct tm_unit){0};
}

bool tm_cutter_init(struct tm_cutter *cutter, const struct tm_plan *plan,
                    const struct tm_unit_limits *limits)
{
    *cutter = (struct tm_cutter){
        .plan = plan,
        .ranges = malloc(limits->tiles * sizeof(*cutter->ranges)),
    };
    return cutter->ranges != NULL;
}

void tm_cutter_free(struct tm_cutter *cutter)
{
    free(cutter->ranges);
    *cutter = (struct tm_cutter){0};
}

/* --- tiles ---------------------------------------------------------------*/

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The tile of `tensor` in the span, which it is known to reach into. */
static struct tm_tile tile_of(const struct tm_plan *plan, size_t number,
                              const struct tm_unit *unit)
{
    const struct tm_plan_tensor *tensor = &plan->tensors[number];
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);
    const uint64_t from = max_u64(unit->begin, tensor->offset) - tensor->offset;
    const uint64_t to =
        min_u64(unit->end, tensor->offset + tensor->bytes) - tensor->offset;
    const uint64_t first = from / size;

    return (struct tm_tile){
        .tensor = number,
        .first = first,
        .count = (to + size - 1) / size - first,
        .shared_head = from % size != 0,
    };
}

/*
 * Lists the tiles of the span. Where there are more than fit, the span ends
 * at the block in which the first one left out begins; false if that is the
 * span's first.
 */
static bool list_tiles(const struct tm_cutter *cutter,
                       const struct tm_unit_limits *limits,
                       struct tm_unit *unit)
{
    const struct tm_plan *plan = cutter->plan;
    const struct tm_plan_shard *shard = &plan->shards[unit->shard];
    const size_t last = shard->first + shard->count;

    unit->num_tiles = 0;
    if (unit->begin < shard->data_start) {
        unit->end = min_u64(unit->end, shard->data_start);
        unit->tiles[unit->num_tiles++] = (struct tm_tile){
            .tensor = TM_HEADER_TILE,
            .first = unit->begin,
            .count = unit->end - unit->begin,
        };
        return true;
    }
    for (size_t t = cutter->tensor;
         t < last && plan->tensors[t].offset < unit->end; t++) {
        if (plan->tensors[t].bytes == 0)
            continue;
        if (unit->num_tiles == limits->tiles) {
            unit->end = tm_round_down(plan->tensors[t].offset, TM_BLOCK);
            /* What begins behind the new end is not in the unit. */
            while (
                unit->num_tiles > 0 &&
                plan->tensors[unit->tiles[unit->num_tiles - 1].tensor].offset >=
                    unit->end)
                unit->num_tiles--;
            break;
        }
        unit->tiles[unit->num_tiles++].tensor = t;
    }
    for (size_t i = 0; i < unit->num_tiles; i++)
        unit->tiles[i] = tile_of(plan, unit->tiles[i].tensor, unit);
    return unit->end > unit->begin;
}

/* --- reads ---------------------------------------------------------------*/

static int compare_ranges(const void *a, const void *b)
{
    const struct tm_range *x = a, *y = b;

    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return 0;
}

/* What the tiles need of the source `column`; sorted. Returns how many. */
static size_t list_ranges(const struct tm_cutter *cutter, struct tm_unit *unit,
                          size_t column)
{
    const struct tm_plan *plan = cutter->plan;
    struct tm_range *ranges = cutter->ranges;
    size_t count = 0;
    bool sorted = true;

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_source *source =
            &tm_plan_sources(plan, tile->tensor)[column];
        uint64_t size;

        if (source->file == TM_NO_FILE)
            continue;
        size = tm_plan_unit(&plan->tensors[tile->tensor],
                            (enum tm_dtype)source->dtype);
        ranges[count] = (struct tm_range){
            .begin = source->offset + tile->first * size,
            .end = source->offset + (tile->first + tile->count) * size,
            .file = source->file,
            .tile = (uint32_t)i,
        };
        if (count > 0 && compare_ranges(&ranges[count - 1], &ranges[count]) > 0)
            sorted = false;
        unit->input_bytes += (tile->count - tile->shared_head) * size;
        count++;
    }
    if (!sorted)
        qsort(ranges, count, sizeof(*ranges), compare_ranges);
    return count;
}

static uint64_t block_end(uint64_t position)
{
    return tm_round_down(position + TM_BLOCK - 1, TM_BLOCK);
}

/* Appends the reads of one source to the unit and places its tiles. */
static bool list_reads(const struct tm_cutter *cutter,
                       const struct tm_unit_limits *limits,
                       struct tm_unit *unit, size_t column)
{
    const size_t width = cutter->plan->width;
    const size_t count = list_ranges(cutter, unit, column);
    struct tm_read *read = NULL;

    for (size_t i = 0; i < count; i++) {
        const struct tm_range *range = &cutter->ranges[i];
        const uint64_t begin = tm_round_down(range->begin, TM_BLOCK);

        if (read == NULL || read->file != range->file ||
            begin > read->offset + read->len) {
            if (read != NULL)
                unit->slot_bytes += read->len;
            if (unit->num_reads == limits->reads)
                return false;
            read = &unit->reads[unit->num_reads++];
            *read = (struct tm_read){
                .offset = begin,
                .place = unit->slot_bytes,
                .file = range->file,
                .tensor = unit->tiles[range->tile].tensor,
            };
        }
        read->need = max_u64(read->need, range->end - read->offset);
        read->len = block_end(read->need);
        unit->places[range->tile * width + column] =
            read->place + (range->begin - read->offset);
    }
    if (read != NULL)
        unit->slot_bytes += read->len;
    return true;
}

/* Lays out the whole unit; false if it needs more than the limits. */
static bool lay_out(const struct tm_cutter *cutter,
                    const struct tm_unit_limits *limits, struct tm_unit *unit)
{
    unit->num_reads = 0;
    unit->input_bytes = 0;
    unit->slot_bytes = block_end(unit->end - unit->begin);
    if (unit->tiles[0].tensor == TM_HEADER_TILE)
        return unit->slot_bytes <= limits->slot_bytes;
    for (size_t column = 0; column < cutter->plan->width; column++)
        if (!list_reads(cutter, limits, unit, column))
            return false;
    return unit->slot_bytes <= limits->slot_bytes;
}

/* Moves the cutter behind `unit`. */
static void advance(struct tm_cutter *cutter, const struct tm_unit *unit)
{
    const struct tm_plan *plan = cutter->plan;
    const struct tm_plan_shard *shard = &plan->shards[unit->shard];
    const size_t last = shard->first + shard->count;

    cutter->position = unit->end;
    while (cutter->tensor < last &&
           plan->tensors[cutter->tensor].offset +
                   plan->tensors[cutter->tensor].bytes <=
               unit->end)
        cutter->tensor++;
}

enum tm_cut tm_cutter_next(struct tm_cutter *cutter,
                           const struct tm_unit_limits *limits,
                           struct tm_unit *unit)
{
    const struct tm_plan *plan = cutter->plan;
    uint64_t span = limits->span;

    while (cutter->shard < plan->num_shards &&
           cutter->position == plan->shards[cutter->shard].size) {
        cutter->shard++;
        cutter->position = 0;
    }
    if (cutter->shard == plan->num_shards)
        return TM_CUT_END;
    if (cutter->position == 0)
        cutter->tensor = plan->shards[cutter->shard].first;
    unit->shard = cutter->shard;
    unit->begin = cutter->position;
    for (;;) {
        unit->end = min_u64(unit->begin + span, plan->shards[unit->shard].size);
        if (!list_tiles(cutter, limits, unit))
            return TM_CUT_SLOT;
        if (lay_out(cutter, limits, unit))
            break;
        if (span == TM_BLOCK)
            return TM_CUT_SLOT;
        span = max_u64(
            tm_round_down(min_u64(span, unit->end - unit->begin) / 2, TM_BLOCK),
            TM_BLOCK);
    }
    advance(cutter, unit);
    return TM_CUT_UNIT;
}
