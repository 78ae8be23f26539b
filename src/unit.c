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
           (2 * max_places(plan, limits) + plan->num_outputs) *
               sizeof(uint64_t);
}

bool tm_unit_init(struct tm_unit *unit, const struct tm_plan *plan,
                  const struct tm_unit_limits *limits)
{
    *unit = (struct tm_unit){
        .tiles = malloc(limits->tiles * sizeof(*unit->tiles)),
        .reads = malloc(limits->reads * sizeof(*unit->reads)),
        .places = malloc(max_places(plan, limits) * sizeof(*unit->places)),
        .decoded = malloc(max_places(plan, limits) * sizeof(*unit->decoded)),
        .areas = malloc((plan->num_outputs + 1) * sizeof(*unit->areas)),
    };
    if (unit->tiles != NULL && unit->reads != NULL && unit->places != NULL &&
        unit->decoded != NULL && unit->areas != NULL)
        return true;
    tm_unit_free(unit);
    return false;
}

void tm_unit_free(struct tm_unit *unit)
{
    free(unit->tiles);
    free(unit->reads);
    free(unit->places);
    free(unit->decoded);
    free(unit->areas);
    *unit = (struct tm_unit){0};
}

bool tm_cutter_init(struct tm_cutter *cutter, const struct tm_plan *plan,
                    const struct tm_unit_limits *limits)
{
    *cutter = (struct tm_cutter){
        .plan = plan,
        .measures_model = plan->measures_model && !plan->model_is_known,
        .ranges = malloc(limits->tiles * sizeof(*cutter->ranges)),
        .cursors = malloc(plan->width * sizeof(*cutter->cursors)),
    };
    for (size_t i = 0; i < plan->width && cutter->cursors != NULL; i++)
        cutter->cursors[i].source = UINT64_MAX;
    return cutter->ranges != NULL && cutter->cursors != NULL;
}

void tm_cutter_free(struct tm_cutter *cutter)
{
    free(cutter->ranges);
    free(cutter->cursors);
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

uint64_t tm_tile_count(const struct tm_plan *plan, const struct tm_tile *tile,
                       size_t column)
{
    const uint64_t all =
        tm_plan_source_count(&plan->tensors[tile->tensor], column);

    return all > tile->first ? min_u64(tile->count, all - tile->first) : 0;
}

/* The least common multiple, or UINT64_MAX if that is too large. */
static uint64_t common_multiple(uint64_t a, uint64_t b)
{
    uint64_t x = a, y = b, product;

    while (y != 0) {
        const uint64_t rest = x % y;

        x = y;
        y = rest;
    }
    return tm_mul(a / x, b, &product) ? product : UINT64_MAX;
}

uint64_t tm_plan_step(const struct tm_plan *plan,
                      const struct tm_plan_tensor *tensor)
{
    uint64_t step = tm_plan_is_chunked(plan) ? tm_plan_chunk(tensor) : 1;

    if (tensor->operation == TM_MERGE && tensor->by_row)
        step = common_multiple(step, tensor->row);
    if (tensor->operation == TM_MERGE && tensor->phases > 0)
        step = common_multiple(step, tm_plan_sum_block(tensor));
    return step;
}

/* Whether what is encoded of both goes to the same shards of vectors. */
static bool same_targets(const struct tm_plan *plan, size_t a, size_t b)
{
    const size_t count = plan->num_outputs;

    for (size_t i = 0; i < count; i++)
        if (plan->targets[a * count + i].shard !=
            plan->targets[b * count + i].shard)
            return false;
    return true;
}

/*
 * Where a tile that begins at the element `first` and does not fit ends: as
 * far as the shard's byte `limit` if possible, on a block in the file, or
 * where its steps end. At least one element or step on.
 */
static uint64_t tile_end(const struct tm_plan *plan, size_t number,
                         uint64_t first, uint64_t limit)
{
    const struct tm_plan_tensor *tensor = &plan->tensors[number];
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);
    const uint64_t step = tm_plan_step(plan, tensor);
    const uint64_t block = step > 1 ? limit : tm_round_down(limit, TM_BLOCK);
    uint64_t end = block > tensor->offset ? (block - tensor->offset) / size : 0;

    if (step >= tm_plan_count(tensor))
        return tm_plan_count(tensor);
    end = max_u64(end / step * step, (first / step + 1) * step);
    return min_u64(end, tm_plan_count(tensor));
}

/* Whether `tensor` is still to be measured, for itself. */
static bool is_measured(const struct tm_cutter *cutter,
                        const struct tm_plan_tensor *tensor)
{
    return !cutter->measures_model &&
           tensor->phases > tm_plan_first_phase(cutter->plan, tensor);
}

/* Whether `tensor` is a group of units that hold nothing else. */
static bool is_group(const struct tm_cutter *cutter,
                     const struct tm_unit_limits *limits,
                     const struct tm_plan_tensor *tensor)
{
    return is_measured(cutter, tensor) && tensor->bytes > limits->span;
}

/* The header's part of the span. */
static void list_header(const struct tm_plan_shard *shard, uint64_t span,
                        struct tm_unit *unit)
{
    unit->end = min_u64(unit->begin + span, shard->data_start);
    unit->tiles[0] = (struct tm_tile){
        .tensor = TM_HEADER_TILE,
        .first = unit->begin,
        .count = unit->end - unit->begin,
    };
    unit->num_tiles = 1;
}

/*
 * Lists the tiles of the unit, of `span` bytes if there is no smaller limit,
 * and always at least one.
 */
static void list_tiles(const struct tm_cutter *cutter,
                       const struct tm_unit_limits *limits, uint64_t span,
                       struct tm_unit *unit)
{
    const struct tm_plan *plan = cutter->plan;
    const struct tm_plan_shard *shard = &plan->shards[unit->shard];
    const size_t last = shard->first + shard->count;
    const uint64_t limit = unit->begin + span;

    unit->num_tiles = 0;
    unit->group = TM_NO_GROUP;
    unit->end = unit->begin;
    if (unit->begin < shard->data_start) {
        list_header(shard, span, unit);
        return;
    }
    for (size_t t = cutter->tensor; t < last; t++) {
        const struct tm_plan_tensor *tensor = &plan->tensors[t];
        const uint64_t size =
            tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);
        const uint64_t first = (unit->end - tensor->offset) / size;
        uint64_t end = tm_plan_count(tensor);

        if (tensor->bytes == 0)
            continue;
        if (unit->num_tiles == limits->tiles ||
            (unit->num_tiles > 0 &&
             (unit->end >= limit || is_group(cutter, limits, tensor) ||
              !same_targets(plan, unit->tiles[0].tensor, t))))
            return;
        if (is_group(cutter, limits, tensor))
            unit->group = t;
        if (tensor->offset + tensor->bytes > limit &&
            (unit->group == t || !is_measured(cutter, tensor)))
            end = tile_end(plan, t, first, limit);
        if (unit->num_tiles > 0 && tensor->offset + end * size > limit)
            return; /* a chunk that would make the span too long */
        unit->tiles[unit->num_tiles++] =
            (struct tm_tile){.tensor = t, .first = first, .count = end - first};
        unit->end = tensor->offset + end * size;
        if (end < tm_plan_count(tensor) || unit->group == t)
            return;
    }
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

/* Chunks of a tile of a chunked plan. */
static uint64_t tile_chunks(const struct tm_plan *plan,
                            const struct tm_tile *tile)
{
    const uint64_t step = tm_plan_chunk(&plan->tensors[tile->tensor]);

    return (tile->count + step - 1) / step;
}

/* Moves the cursor to the chunk `chunk` of the coded source `number`. */
static uint64_t find_chunk(const struct tm_plan *plan, struct tm_cursor *cursor,
                           uint64_t number, uint64_t chunk)
{
    const struct tm_coded_source *source = &plan->coded[number];

    if (cursor->source != number || cursor->chunk > chunk)
        *cursor = (struct tm_cursor){.source = number};
    for (; cursor->chunk < min_u64(chunk, source->coded->count);
         cursor->chunk++)
        cursor->offset += source->lengths[cursor->chunk];
    return source->coded->offset + cursor->offset;
}

/* The bytes that the chunks of `tile` have in a coded source. */
static void coded_range(const struct tm_cutter *cutter,
                        const struct tm_tile *tile, size_t column,
                        struct tm_range *range)
{
    const struct tm_plan *plan = cutter->plan;
    const uint64_t number = tm_plan_sources(plan, tile->tensor)[column].offset;
    const struct tm_coded_source *source = &plan->coded[number];
    const uint64_t step = tm_plan_chunk(&plan->tensors[tile->tensor]);
    const uint64_t first = tile->first / step;
    const uint64_t last = (tile->first + tile->count + step - 1) / step;

    range->begin = range->end =
        find_chunk(plan, &cutter->cursors[column], number, first);
    for (uint64_t c = first; c < last && c < source->coded->count; c++)
        range->end += source->lengths[c];
}

/* The bytes that `tile` needs of the source `column`; may be none. */
static struct tm_range range_of(const struct tm_cutter *cutter,
                                const struct tm_tile *tile, size_t column)
{
    const struct tm_plan *plan = cutter->plan;
    const struct tm_source *source =
        &tm_plan_sources(plan, tile->tensor)[column];
    const uint64_t size = tm_plan_unit(&plan->tensors[tile->tensor],
                                       (enum tm_dtype)source->dtype);
    struct tm_range range = {.file = source->file};

    if (source->file == TM_NO_FILE ||
        (cutter->measures_model && plan->tensors[tile->tensor].phases == 0))
        return range;
    if (source->is_coded) {
        coded_range(cutter, tile, column, &range);
        return range;
    }
    range.begin = source->offset + tile->first * size;
    range.end = range.begin + tm_tile_count(plan, tile, column) * size;
    return range;
}

/* What the tiles need of the source `column`; sorted. Returns how many. */
static size_t list_ranges(const struct tm_cutter *cutter, struct tm_unit *unit,
                          size_t column)
{
    struct tm_range *ranges = cutter->ranges;
    size_t count = 0;
    bool sorted = true;

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];

        if (tm_plan_sources(cutter->plan, tile->tensor)[column].is_coded)
            unit->num_checks += tile_chunks(cutter->plan, tile);
        ranges[count] = range_of(cutter, tile, column);
        ranges[count].tile = (uint32_t)i;
        unit->places[i * cutter->plan->width + column] = 0; /* if none */
        if (ranges[count].begin == ranges[count].end)
            continue;
        if (count > 0 && compare_ranges(&ranges[count - 1], &ranges[count]) > 0)
            sorted = false;
        unit->input_bytes += ranges[count].end - ranges[count].begin;
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

/* Makes room for the coded sources of tiles that are wanted as a whole. */
static void lay_out_decoded(const struct tm_plan *plan, struct tm_unit *unit)
{
    const size_t width = plan->width;

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &plan->tensors[tile->tensor];
        const struct tm_source *sources = tm_plan_sources(plan, tile->tensor);

        for (size_t c = 0; c < width; c++) {
            unit->decoded[i * width + c] = 0;
            if (sources[c].file == TM_NO_FILE || !sources[c].is_coded ||
                !tm_plan_wants_tiles(tensor))
                continue;
            unit->decoded[i * width + c] = unit->slot_bytes;
            unit->slot_bytes += block_end(
                tile->count *
                tm_plan_unit(tensor, (enum tm_dtype)sources[c].dtype));
        }
    }
}

/* Blocks and sums that measuring the unit's tiles gives. */
static void count_sums(const struct tm_cutter *cutter, struct tm_unit *unit)
{
    const struct tm_plan *plan = cutter->plan;
    const bool adds = unit->group != TM_NO_GROUP || cutter->measures_model;

    unit->num_blocks = unit->num_sums = 0;
    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &plan->tensors[tile->tensor];
        size_t blocks, sums;

        if (tensor->operation != TM_MERGE || tensor->phases == 0)
            continue;
        blocks = (size_t)((tile->count - 1) / tm_plan_sum_block(tensor) + 1);
        sums = blocks * tm_method_sizes(plan->recipe->method, tensor->terms,
                                        tensor->row, tensor->plane)
                            .sums;
        unit->num_blocks += blocks;
        unit->num_sums =
            adds ? unit->num_sums + sums : max_u64(unit->num_sums, sums);
    }
}

/*
 * Makes room for what is encoded for the vector `output`, in the worst case,
 * with a block in front for moving it to its place in the file.
 */
static void lay_out_area(const struct tm_plan *plan, struct tm_unit *unit,
                         size_t output)
{
    uint64_t bytes = TM_BLOCK;

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &plan->tensors[tile->tensor];
        const uint64_t chunks = tile_chunks(plan, tile);

        if (plan->targets[tile->tensor * plan->num_outputs + output].shard ==
            TM_NO_TARGET)
            continue;
        bytes +=
            tile->count * tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype) +
            chunks * TM_CHUNK_HEAD;
        unit->num_pieces += chunks;
    }
    unit->areas[output] = unit->slot_bytes;
    unit->slot_bytes += block_end(bytes);
}

/* Lays out the whole unit; false if it needs more than the limits. */
static bool lay_out(const struct tm_cutter *cutter,
                    const struct tm_unit_limits *limits, struct tm_unit *unit)
{
    const struct tm_plan *plan = cutter->plan;

    unit->num_reads = 0;
    unit->num_pieces = 0;
    unit->num_checks = 0;
    unit->num_blocks = unit->num_sums = 0;
    unit->input_bytes = 0;
    unit->output = unit->begin % TM_BLOCK;
    unit->slot_bytes =
        plan->product == TM_VECTORS
            ? 0 /* nothing is computed */
            : block_end(unit->output + (unit->end - unit->begin));
    if (unit->tiles[0].tensor == TM_HEADER_TILE)
        return unit->slot_bytes <= limits->slot_bytes;
    for (size_t column = 0; column < plan->width; column++)
        if (!list_reads(cutter, limits, unit, column))
            return false;
    if (plan->num_coded > 0)
        lay_out_decoded(plan, unit);
    for (size_t output = 0; output < plan->num_outputs; output++)
        lay_out_area(plan, unit, output);
    count_sums(cutter, unit);
    return unit->slot_bytes <= limits->slot_bytes;
}

/* Moves the cutter to the byte `position` of its shard. */
static void go_to(struct tm_cutter *cutter, uint64_t position)
{
    const struct tm_plan *plan = cutter->plan;
    const struct tm_plan_shard *shard = &plan->shards[cutter->shard];
    const size_t last = shard->first + shard->count;

    if (position < cutter->position)
        cutter->tensor = shard->first;
    cutter->position = position;
    while (cutter->tensor < last &&
           plan->tensors[cutter->tensor].offset +
                   plan->tensors[cutter->tensor].bytes <=
               position)
        cutter->tensor++;
}

/* Moves the cutter to where output begins. */
static void go_to_first(struct tm_cutter *cutter)
{
    cutter->shard = cutter->first_shard;
    cutter->position = 0;
    cutter->tensor = cutter->plan->shards[cutter->shard].first;
    go_to(cutter, cutter->first_position);
}

void tm_cutter_start(struct tm_cutter *cutter, size_t shard, uint64_t position)
{
    cutter->first_shard = shard;
    cutter->first_position = position;
    if (!cutter->measures_model)
        go_to_first(cutter);
}

/*
 * Skips the ends of shards; and headers, while the model is measured. False
 * if there is no more.
 */
static bool skip_ends(struct tm_cutter *cutter)
{
    const struct tm_plan *plan = cutter->plan;

    for (;; cutter->shard++, cutter->position = 0) {
        if (cutter->shard == plan->num_shards)
            return false;
        if (cutter->position == 0) {
            cutter->tensor = plan->shards[cutter->shard].first;
            if (cutter->measures_model)
                cutter->position = plan->shards[cutter->shard].data_start;
        }
        if (cutter->position < plan->shards[cutter->shard].size)
            return true;
    }
}

/* Moves the cutter behind a unit of the model's sweep, or back to the start. */
static void advance_in_model(struct tm_cutter *cutter, struct tm_unit *unit)
{
    unit->aim = TM_AIM_MODEL;
    unit->phase = 0;
    unit->number = cutter->number++;
    go_to(cutter, unit->end);
    unit->is_last = !skip_ends(cutter);
    if (!unit->is_last)
        return;
    cutter->measures_model = false;
    cutter->number = 0;
    go_to_first(cutter);
}

/* Moves the cutter behind `unit`, or back to where its tensor begins. */
static void advance(struct tm_cutter *cutter, struct tm_unit *unit)
{
    const struct tm_plan_tensor *tensor;
    unsigned first;

    unit->aim = TM_AIM_OUTPUT;
    unit->is_last = false;
    if (unit->group == TM_NO_GROUP) {
        go_to(cutter, unit->end);
        return;
    }
    tensor = &cutter->plan->tensors[unit->group];
    first = tm_plan_first_phase(cutter->plan, tensor);
    if (cutter->phase < first)
        cutter->phase = first;
    unit->number = cutter->number++;
    unit->phase = cutter->phase;
    if (tensor->is_swept && cutter->phase < tensor->phases)
        unit->aim = TM_AIM_SWEEP;
    unit->is_last = unit->end == tensor->offset + tensor->bytes;
    if (!unit->is_last) {
        go_to(cutter, unit->end);
        return;
    }
    cutter->number = 0;
    if (unit->aim == TM_AIM_SWEEP) {
        cutter->phase++;
        go_to(cutter, tensor->offset);
    } else {
        cutter->phase = 0;
        go_to(cutter, unit->end);
    }
}

enum tm_cut tm_cutter_next(struct tm_cutter *cutter,
                           const struct tm_unit_limits *limits,
                           struct tm_unit *unit)
{
    uint64_t span = limits->span;

    if (!skip_ends(cutter))
        return TM_CUT_END;
    unit->shard = cutter->shard;
    unit->begin = cutter->position;
    for (;;) {
        list_tiles(cutter, limits, span, unit);
        if (lay_out(cutter, limits, unit))
            break;
        if (span == TM_BLOCK)
            return TM_CUT_SLOT;
        span = max_u64(tm_round_down(span / 2, TM_BLOCK), TM_BLOCK);
    }
    if (cutter->measures_model)
        advance_in_model(cutter, unit);
    else
        advance(cutter, unit);
    return TM_CUT_UNIT;
}
