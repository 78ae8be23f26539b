/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_sample: plans without any file, made up at random, and a walk through
 * the units that they are cut into: each must keep what src/unit.h promises.
 */
#ifndef TM_TESTS_UNIT_SAMPLE_H
#define TM_TESTS_UNIT_SAMPLE_H

#include "tests/unit/unit.h"

#include "io/checked.h"
#include "src/unit.h"

#define MAX_SHARDS  3
#define MAX_TENSORS 64
#define MAX_WIDTH   5
#define MAX_FILES   (2 * MAX_WIDTH)
#define MAX_CODED   (MAX_TENSORS * MAX_WIDTH)
#define MAX_CHUNKS  6

/* --- random numbers ------------------------------------------------------*/

static uint64_t seed;

static inline uint64_t next_random(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint64_t below(uint64_t n)
{
    return next_random() % n;
}

static inline bool one_in(uint64_t n)
{
    return below(n) == 0;
}

/* --- plans ---------------------------------------------------------------*/

/* A plan and the memory that it points to. */
struct sample {
    struct tm_plan plan;
    struct tm_plan_shard shards[MAX_SHARDS];
    struct tm_plan_tensor tensors[MAX_TENSORS];
    struct tm_source sources[MAX_TENSORS * MAX_WIDTH];
    struct tm_coded_source coded[MAX_CODED];
    struct tm_coded records[MAX_CODED]; /* that `coded` points to */
    uint32_t lengths[MAX_CODED * MAX_CHUNKS];
    struct tm_target targets[MAX_TENSORS * MAX_WIDTH];
    struct tm_output outputs[MAX_WIDTH];
    uint64_t file_sizes[MAX_FILES];
    size_t num_files;
    bool shares_files; /* two sources of a tensor may be in one file */
};

/* Anything is possible after this. */
static inline void begin_sample(struct sample *s, uint64_t number)
{
    seed = number;
    *s = (struct sample){.num_files = 0};
    s->plan.shards = s->shards;
    s->plan.tensors = s->tensors;
    s->plan.sources = s->sources;
    s->plan.coded = s->coded;
    s->plan.targets = s->targets;
    s->plan.outputs = s->outputs;
}

typedef void make_tensor(struct tm_plan_tensor *tensor);

/* Adds a shard of `count` tensors behind a header of so many bytes. */
static inline void add_shard(struct sample *s, uint64_t data_start,
                             size_t count, make_tensor *make)
{
    const size_t number = s->plan.num_shards++;
    struct tm_plan_shard *shard = &s->shards[number];

    *shard = (struct tm_plan_shard){
        .name = "shard",
        .data_start = data_start,
        .size = data_start,
        .first = s->plan.num_tensors,
        .count = count,
    };
    for (size_t i = 0; i < count; i++) {
        struct tm_plan_tensor *tensor = &s->tensors[shard->first + i];

        make(tensor);
        tensor->shard = (uint32_t)number;
        tensor->offset = shard->size;
        shard->size += tensor->bytes;
    }
    s->plan.num_tensors += count;
}

static inline uint64_t source_size(const struct tm_plan_tensor *tensor,
                                   const struct tm_source *source)
{
    return tm_plan_unit(tensor, (enum tm_dtype)source->dtype);
}

/* Takes the next `bytes` of a file. */
static inline uint64_t take_bytes(struct sample *s, uint32_t file,
                                  uint64_t bytes)
{
    const uint64_t offset = s->file_sizes[file];

    s->file_sizes[file] += bytes;
    return offset;
}

/* Two new files, with something in front. */
static inline uint32_t add_files(struct sample *s)
{
    const uint32_t file = (uint32_t)s->num_files;

    s->num_files += 2;
    for (size_t i = 0; i < 2; i++)
        s->file_sizes[file + i] = 8 + below(2 * TM_BLOCK);
    return file;
}

/* Numbers all tensors, in order or not. */
static inline void shuffle(const struct sample *s, bool at_random,
                           size_t *order)
{
    for (size_t i = 0; i < s->plan.num_tensors; i++) {
        const size_t j = at_random ? below(i + 1) : i;

        order[i] = order[j];
        order[j] = i;
    }
}

/* Any type that a source can have, the tensor being what it is. */
static inline uint8_t source_dtype(const struct tm_plan_tensor *tensor,
                                   size_t column)
{
    if (tensor->operation == TM_COPY ||
        (tensor->operation == TM_TAKE && column > 0) || one_in(2))
        return tensor->dtype;
    return (uint8_t)below(TM_NUM_FLOATS);
}

/* Places the tensors of one source in two files, in any order. */
static inline void place_source(struct sample *s, size_t column, bool at_random)
{
    const size_t count = s->plan.num_tensors, width = s->plan.width;
    const uint32_t file = add_files(s);
    size_t order[MAX_TENSORS];

    shuffle(s, at_random, order);
    for (size_t i = 0; i < count; i++) {
        const struct tm_plan_tensor *tensor = &s->tensors[order[i]];
        struct tm_source *source = &s->sources[order[i] * width + column];

        source->dtype = source_dtype(tensor, column);
        source->file = file + (i < count / 2 ? 0 : 1);
        /* A base that counts as shorter has the rest in its file as well. */
        source->offset =
            take_bytes(s, source->file,
                       tm_plan_count(tensor) * source_size(tensor, source));
        if (column > 0 && one_in(8))
            source->file = TM_NO_FILE;
    }
}

static inline uint64_t block_end(uint64_t position)
{
    return (position + TM_BLOCK - 1) / TM_BLOCK * TM_BLOCK;
}

/* Limits of which only the span is one. */
static inline struct tm_unit_limits ample(const struct sample *s,
                                          uint64_t blocks)
{
    const size_t tiles = MAX_TENSORS + 1;

    return (struct tm_unit_limits){
        .span = blocks * TM_BLOCK,
        .slot_bytes = UINT64_MAX,
        .tiles = tiles,
        .reads = tiles * s->plan.width,
    };
}

static inline bool is_ample(const struct sample *s,
                            const struct tm_unit_limits *limits)
{
    return limits->slot_bytes == UINT64_MAX && limits->tiles > MAX_TENSORS &&
           limits->reads >= limits->tiles * s->plan.width;
}

/* Elements of a chunk; 1 where there are none. */
static inline uint64_t step_of(const struct sample *s, size_t tensor)
{
    return tm_plan_is_chunked(&s->plan) ? tm_plan_chunk(&s->tensors[tensor])
                                        : 1;
}

static inline uint64_t output_size(const struct tm_plan_tensor *tensor)
{
    return tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);
}

static inline unsigned char *allocate(uint64_t size)
{
    unsigned char *memory = malloc(size > 0 ? size : 1);

    assert_true(memory != NULL);
    return memory;
}

/* --- what a unit promises ------------------------------------------------*/

/* Cutting, so far. */
struct progress {
    size_t shard;
    uint64_t position;
    uint64_t owned[MAX_TENSORS]; /* elements that had their unit */
    uint64_t input_bytes;
};

static inline bool is_header(const struct sample *s, const struct tm_unit *unit)
{
    return unit->begin < s->shards[unit->shard].data_start;
}

/* More than the span is only taken where a single chunk is more. */
static inline void check_length(const struct sample *s,
                                const struct tm_unit *unit, uint64_t span)
{
    const struct tm_tile *tile = &unit->tiles[0];

    if (unit->end - unit->begin <= span)
        return;
    assert_false(is_header(s, unit));
    assert_int_equal(unit->num_tiles, 1);
    assert_true(tm_plan_is_chunked(&s->plan));
    assert_true(tile->count <= step_of(s, tile->tensor));
}

static inline void check_span(const struct sample *s,
                              const struct tm_unit *unit,
                              const struct tm_unit_limits *limits,
                              struct progress *p)
{
    while (p->shard < unit->shard) {
        assert_int_equal(p->position, s->shards[p->shard].size);
        p->shard++;
        p->position = 0;
    }
    assert_int_equal(unit->shard, p->shard);
    assert_int_equal(unit->begin, p->position);
    assert_int_equal(unit->output, unit->begin % TM_BLOCK);
    assert_true(unit->end > unit->begin);
    assert_true(unit->end <= s->shards[unit->shard].size);
    assert_true(unit->num_tiles > 0 && unit->num_tiles <= limits->tiles);
    assert_true(unit->num_reads <= limits->reads);
    assert_true(unit->slot_bytes <= limits->slot_bytes);
    check_length(s, unit, limits->span);
    p->position = unit->end;
}

/* The header's tile is alone in its unit, and needs no reads. */
static inline void check_header(const struct sample *s,
                                const struct tm_unit *unit)
{
    const struct tm_tile *tile = &unit->tiles[0];

    assert_int_equal(unit->num_tiles, 1);
    assert_int_equal(unit->num_reads, 0);
    assert_int_equal(unit->num_pieces, 0);
    assert_int_equal(unit->input_bytes, 0);
    assert_true(tile->tensor == TM_HEADER_TILE);
    assert_int_equal(tile->first, unit->begin);
    assert_int_equal(tile->count, unit->end - unit->begin);
    assert_true(unit->end <= s->shards[unit->shard].data_start);
}

/* The tiles cover the span in order; each element is in one unit only. */
static inline void check_tiles(const struct sample *s,
                               const struct tm_unit *unit, struct progress *p)
{
    uint64_t covered = unit->begin;

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
        const uint64_t size = output_size(tensor);

        assert_true(tile->tensor < s->plan.num_tensors);
        assert_true(tile->count > 0);
        assert_int_equal(tensor->shard, unit->shard);
        assert_int_equal(tile->first, p->owned[tile->tensor]);
        assert_int_equal(tensor->offset + tile->first * size, covered);
        p->owned[tile->tensor] = tile->first + tile->count;
        covered += tile->count * size;
        assert_true(p->owned[tile->tensor] <= tm_plan_count(tensor));
    }
    assert_int_equal(covered, unit->end);
}

/*
 * Chunks are whole. Without them a tensor is cut at the last element that ends
 * with or before a block, if that is not less than one element.
 */
static inline void check_cuts(const struct sample *s,
                              const struct tm_unit *unit)
{
    const bool is_chunked = tm_plan_is_chunked(&s->plan);

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
        const uint64_t step = step_of(s, tile->tensor);
        const uint64_t end = tile->first + tile->count;

        assert_int_equal(tile->first % step, 0);
        if (end == tm_plan_count(tensor))
            continue;
        assert_int_equal(end % step, 0);
        assert_int_equal(i + 1, unit->num_tiles);
        assert_true(is_chunked || tile->count == 1 ||
                    unit->end + output_size(tensor) > block_end(unit->end));
    }
}

/* Whether what is made of two tensors goes to the same files. */
static inline bool are_together(const struct sample *s, size_t a, size_t b)
{
    const size_t count = s->plan.num_outputs;

    for (size_t i = 0; i < count; i++)
        if (s->targets[a * count + i].shard != s->targets[b * count + i].shard)
            return false;
    return true;
}

static inline void check_targets(const struct sample *s,
                                 const struct tm_unit *unit)
{
    for (size_t i = 1; i < unit->num_tiles; i++)
        assert_true(
            are_together(s, unit->tiles[0].tensor, unit->tiles[i].tensor));
}

/* Where only the span limits a unit, one more step would not have fitted. */
static inline void check_is_full(const struct sample *s,
                                 const struct tm_unit *unit,
                                 const struct tm_unit_limits *limits)
{
    const struct tm_plan_shard *shard = &s->shards[unit->shard];
    uint64_t limit = unit->begin + limits->span;
    size_t next = unit->tiles[unit->num_tiles - 1].tensor;
    uint64_t left, step;

    if (is_header(s, unit)) {
        assert_true(unit->end == shard->data_start || unit->end == limit);
        return;
    }
    while (next < shard->first + shard->count &&
           s->tensors[next].offset + s->tensors[next].bytes <= unit->end)
        next++;
    if (next == shard->first + shard->count ||
        !are_together(s, unit->tiles[0].tensor, next))
        return;
    left = s->tensors[next].offset + s->tensors[next].bytes - unit->end;
    step = step_of(s, next) * output_size(&s->tensors[next]);
    if (!tm_plan_is_chunked(&s->plan))
        limit = tm_round_down(limit, TM_BLOCK);
    assert_true(unit->end + (left < step ? left : step) > limit);
}

/* Bytes of the slot before the first read. */
static inline uint64_t output_bytes(const struct sample *s,
                                    const struct tm_unit *unit)
{
    return s->plan.product == TM_VECTORS
               ? 0
               : block_end(unit->output + (unit->end - unit->begin));
}

/* One read: whole blocks that are there; `end` is where the one before ends. */
static inline void check_read(const struct sample *s,
                              const struct tm_unit *unit, size_t number,
                              uint64_t end)
{
    const struct tm_read *read = &unit->reads[number];

    assert_int_equal(read->offset % TM_BLOCK, 0);
    assert_int_equal(read->len % TM_BLOCK, 0);
    assert_true(read->need > 0 && read->need <= read->len);
    assert_true(read->need > read->len - TM_BLOCK);
    assert_int_equal(read->place, end);
    assert_true(read->file < s->num_files);
    assert_true(read->offset + read->need <= s->file_sizes[read->file]);
    assert_true(read->tensor < s->plan.num_tensors);
    /* No block is read twice for one source. */
    for (size_t j = 0; j < number && !s->shares_files; j++)
        assert_true(unit->reads[j].file != read->file ||
                    unit->reads[j].offset + unit->reads[j].len < read->offset);
}

/* What a vector that is made needs of the unit at most. */
struct worst {
    uint64_t bytes;
    size_t pieces;
};

static inline struct worst worst_of(const struct sample *s,
                                    const struct tm_unit *unit, size_t output)
{
    struct worst worst = {0, 0};

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
        const uint64_t step = step_of(s, tile->tensor);

        if (s->targets[tile->tensor * s->plan.num_outputs + output].shard ==
            TM_NO_TARGET)
            continue;
        for (uint64_t done = 0; done < tile->count; done += step) {
            const uint64_t left = tile->count - done;

            worst.bytes += tm_chunk_bound((left < step ? left : step) *
                                          output_size(tensor));
            worst.pieces++;
        }
    }
    return worst;
}

/*
 * The slot holds the output, the reads and the areas, one behind the other,
 * and no more. In an area, a block comes before what is encoded.
 */
static inline void check_slot(const struct sample *s,
                              const struct tm_unit *unit)
{
    uint64_t end = output_bytes(s, unit);
    size_t pieces = 0;

    for (size_t i = 0; i < unit->num_reads; i++) {
        check_read(s, unit, i, end);
        end += unit->reads[i].len;
    }
    for (size_t i = 0; i < s->plan.num_outputs && !is_header(s, unit); i++) {
        const struct worst worst = worst_of(s, unit, i);

        assert_int_equal(unit->areas[i], end);
        end = block_end(end + TM_BLOCK + worst.bytes);
        pieces += worst.pieces;
    }
    assert_int_equal(unit->slot_bytes, end);
    assert_int_equal(unit->num_pieces, pieces);
}

/* --- what is read --------------------------------------------------------*/

/* Bytes of one file. */
struct stretch {
    uint64_t begin;
    uint64_t bytes;
};

/* Bytes of one chunk of a coded source. */
static inline uint64_t chunk_bytes(const struct sample *s,
                                   const struct tm_source *source,
                                   uint64_t chunk)
{
    const struct tm_coded_source *coded = &s->coded[source->offset];

    return chunk < coded->coded->count ? coded->lengths[chunk] : 0;
}

static inline struct stretch coded_stretch(const struct sample *s,
                                           const struct tm_tile *tile,
                                           const struct tm_source *source)
{
    const uint64_t step = step_of(s, tile->tensor);
    struct stretch stretch = {s->coded[source->offset].coded->offset, 0};

    for (uint64_t c = 0; c * step < tile->first + tile->count; c++)
        if (c * step < tile->first)
            stretch.begin += chunk_bytes(s, source, c);
        else
            stretch.bytes += chunk_bytes(s, source, c);
    return stretch;
}

/* What a tile needs of one of its sources. */
static inline struct stretch needed(const struct sample *s,
                                    const struct tm_tile *tile, size_t column)
{
    const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
    const struct tm_source *source =
        &tm_plan_sources(&s->plan, tile->tensor)[column];
    const uint64_t size = source_size(tensor, source);
    uint64_t count = tile->count;

    if (source->file == TM_NO_FILE)
        return (struct stretch){0, 0};
    if (source->is_coded)
        return coded_stretch(s, tile, source);
    if (tensor->operation == TM_TAKE && column == 0 &&
        tile->first + count > tensor->base_elements)
        count = tensor->base_elements > tile->first
                    ? tensor->base_elements - tile->first
                    : 0;
    assert_int_equal(tm_tile_count(&s->plan, tile, column), count);
    return (struct stretch){source->offset + tile->first * size, count * size};
}

static inline const struct tm_read *find_read(const struct tm_unit *unit,
                                              uint64_t place)
{
    for (size_t i = 0; i < unit->num_reads; i++)
        if (place >= unit->reads[i].place &&
            place < unit->reads[i].place + unit->reads[i].len)
            return &unit->reads[i];
    fail_msg("no read covers place %llu\n", (unsigned long long)place);
    return NULL;
}

/* Notes the blocks of the slot that `bytes` from `place` on lie in. */
static inline void note_blocks(unsigned char *used, uint64_t place,
                               uint64_t bytes)
{
    const uint64_t last = (place + bytes - 1) / TM_BLOCK;

    for (uint64_t block = place / TM_BLOCK; block <= last; block++)
        used[block] = 1;
}

/* What is needed for one place is read, and lies there. */
static inline void check_place(const struct sample *s,
                               const struct tm_unit *unit, size_t number,
                               unsigned char *used, struct progress *p)
{
    const size_t column = number % s->plan.width;
    const struct tm_tile *tile = &unit->tiles[number / s->plan.width];
    const struct stretch stretch = needed(s, tile, column);
    const struct tm_read *read;
    uint64_t skipped;

    assert_true(unit->places[number] <= unit->slot_bytes);
    if (stretch.bytes == 0)
        return; /* a place all the same, so that pointers can be made of it */
    read = find_read(unit, unit->places[number]);
    skipped = unit->places[number] - read->place;
    assert_int_equal(read->file,
                     tm_plan_sources(&s->plan, tile->tensor)[column].file);
    assert_int_equal(read->offset + skipped, stretch.begin);
    assert_true(skipped + stretch.bytes <= read->need);
    note_blocks(used, unit->places[number], stretch.bytes);
    p->input_bytes += stretch.bytes;
}

/* All that the tiles need is read, and no block that none of them needs. */
static inline void check_places(const struct sample *s,
                                const struct tm_unit *unit, struct progress *p)
{
    const uint64_t first = output_bytes(s, unit) / TM_BLOCK;
    const uint64_t before = p->input_bytes;
    const uint64_t blocks = s->plan.num_outputs > 0
                                ? unit->areas[0] / TM_BLOCK
                                : unit->slot_bytes / TM_BLOCK;
    unsigned char *used = allocate(blocks);

    memset(used, 0, blocks);
    memset(used, 1, first);
    for (size_t i = 0; i < unit->num_tiles * s->plan.width; i++)
        check_place(s, unit, i, used, p);
    assert_true(blocks == 0 || memchr(used, 0, blocks) == NULL);
    assert_int_equal(unit->input_bytes, p->input_bytes - before);
    free(used);
}

static inline void check_unit(const struct sample *s,
                              const struct tm_unit *unit,
                              const struct tm_unit_limits *limits,
                              struct progress *p)
{
    check_span(s, unit, limits, p);
    check_slot(s, unit);
    if (is_ample(s, limits))
        check_is_full(s, unit, limits);
    if (is_header(s, unit)) {
        check_header(s, unit);
        return;
    }
    check_tiles(s, unit, p);
    check_cuts(s, unit);
    check_targets(s, unit);
    check_places(s, unit, p);
}

/* All shards are cut to their ends, and every byte was read once. */
static inline void check_end(const struct sample *s, const struct progress *p)
{
    uint64_t bytes = 0;

    for (size_t t = 0; t < s->plan.num_tensors; t++) {
        assert_int_equal(p->owned[t], tm_plan_count(&s->tensors[t]));
        for (size_t i = 0; i < s->plan.width; i++)
            bytes += tm_plan_source_bytes(&s->plan, t, i);
    }
    assert_int_equal(p->input_bytes, bytes);
    for (size_t i = p->shard + 1; i < s->plan.num_shards; i++)
        assert_int_equal(s->shards[i].size, 0);
    assert_int_equal(p->position, s->shards[p->shard].size);
}

/* --- the walk ------------------------------------------------------------*/

/* What the units of a plan have needed. */
struct need {
    uint64_t units;
    uint64_t slot_bytes;
    size_t tiles;
    size_t reads;
    size_t pieces;
};

struct walk {
    const struct sample *sample;
    struct tm_cutter cutter;
    struct tm_unit unit;
    struct progress progress;
    struct need need;
};

static inline void begin_walk(struct walk *walk, const struct sample *s,
                              const struct tm_unit_limits *limits)
{
    *walk = (struct walk){.sample = s};
    assert_true(tm_cutter_init(&walk->cutter, &s->plan, limits));
    assert_true(tm_unit_init(&walk->unit, &s->plan, limits));
}

static inline void end_walk(struct walk *walk)
{
    tm_unit_free(&walk->unit);
    tm_cutter_free(&walk->cutter);
}

static inline void note_need(struct need *need, const struct tm_unit *unit)
{
    need->units++;
    if (need->slot_bytes < unit->slot_bytes)
        need->slot_bytes = unit->slot_bytes;
    if (need->tiles < unit->num_tiles)
        need->tiles = unit->num_tiles;
    if (need->reads < unit->num_reads)
        need->reads = unit->num_reads;
    if (need->pieces < unit->num_pieces)
        need->pieces = unit->num_pieces;
}

/* Cuts the next unit and checks it, or that there is none left. */
static inline enum tm_cut next_unit(struct walk *walk,
                                    const struct tm_unit_limits *limits)
{
    const enum tm_cut cut = tm_cutter_next(&walk->cutter, limits, &walk->unit);

    if (cut == TM_CUT_UNIT) {
        check_unit(walk->sample, &walk->unit, limits, &walk->progress);
        note_need(&walk->need, &walk->unit);
    } else if (cut == TM_CUT_END) {
        check_end(walk->sample, &walk->progress);
    }
    return cut;
}

#endif
