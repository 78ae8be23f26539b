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

/* Parameters of the made-up method, which does nothing but have them. */
enum { PHASES, BY_ROW, IS_WHOLE, SUMS, IN_STRIPS };

/* A tensor's terms, of which there is one. */
union made_up_terms {
    struct tm_terms terms;
    unsigned char room[sizeof(struct tm_terms) + sizeof(struct tm_term)];
};

/* A plan and the memory that it points to. */
struct sample {
    struct tm_plan plan;
    struct tm_recipe recipe;
    union made_up_terms terms[MAX_TENSORS];
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
    bool has_phases;   /* tensors may be measured before they are made */
    bool has_whole;    /* and the whole model */
};

static inline unsigned made_up_phases(const struct tm_terms *terms)
{
    return (unsigned)terms->values[PHASES];
}

static inline bool made_up_is_whole(const struct tm_terms *terms)
{
    return terms->values[IS_WHOLE] != 0;
}

static inline bool made_up_is_sum(const struct tm_terms *terms)
{
    return terms->values[IN_STRIPS] == 0;
}

static inline enum tm_scope made_up_scope(const struct tm_terms *terms)
{
    return terms->values[BY_ROW] != 0 ? TM_BY_ROW : TM_BY_ELEMENT;
}

static inline struct tm_work_sizes made_up_sizes(const struct tm_terms *terms,
                                                 uint64_t row, uint64_t plane)
{
    (void)row;
    (void)plane;
    return (struct tm_work_sizes){.sums = (size_t)terms->values[SUMS]};
}

static inline void made_up_apply(const struct tm_work *work,
                                 const struct tm_strip *strip, float *out)
{
    (void)work;
    (void)strip;
    (void)out;
}

static const struct tm_method made_up = {
    .name = "made up",
    .phases = made_up_phases,
    .is_whole = made_up_is_whole,
    .scope = made_up_scope,
    .sizes = made_up_sizes,
    .apply = made_up_apply,
    .is_sum = made_up_is_sum,
};

/* Anything is possible after this. */
static inline void begin_sample(struct sample *s, uint64_t number)
{
    seed = number;
    *s = (struct sample){.num_files = 0};
    s->recipe.method = &made_up;
    s->plan.recipe = &s->recipe;
    s->plan.shards = s->shards;
    s->plan.tensors = s->tensors;
    s->plan.sources = s->sources;
    s->plan.coded = s->coded;
    s->plan.targets = s->targets;
    s->plan.outputs = s->outputs;
}

/* Elements of a row: few, many, or more than are added up at once. */
static inline uint64_t random_row(void)
{
    static const uint64_t rows[] = {1, 3, 64, 1000, 4096, 70000};

    return rows[below(one_in(4) ? 6 : 5)];
}

/* What the made-up method does with a tensor that is merged. */
static inline void give_method(struct sample *s, struct tm_plan_tensor *tensor,
                               struct tm_terms *terms)
{
    tensor->terms = terms;
    terms->count = 1;
    if (!s->has_phases)
        return;
    terms->values[PHASES] = (double)below(4);
    terms->values[BY_ROW] = one_in(2);
    terms->values[IS_WHOLE] = s->has_whole;
    terms->values[SUMS] = (double)below(4);
    terms->values[IN_STRIPS] = one_in(2);
    tensor->row = one_in(3) ? tensor->elements : random_row();
    if (tensor->row > 0)
        tensor->elements = tensor->elements / tensor->row * tensor->row;
    tensor->bytes =
        tensor->elements * (tm_dtype_bits((enum tm_dtype)tensor->dtype) / 8);
    tensor->phases = (uint8_t)made_up_phases(terms);
    tensor->by_row = made_up_scope(terms) == TM_BY_ROW;
    tensor->is_sum = made_up_is_sum(terms);
    tensor->in_strips = tensor->phases > 0 || !tensor->is_sum;
    tensor->is_swept = tensor->phases > s->has_whole && one_in(2);
    s->plan.measures_model |=
        s->has_whole && tensor->phases > 0 && tensor->bytes > 0;
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
        if (tensor->operation == TM_MERGE)
            give_method(s, tensor, &s->terms[shard->first + i].terms);
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
static inline uint64_t chunk_of(const struct sample *s, size_t tensor)
{
    return tm_plan_is_chunked(&s->plan) ? tm_plan_chunk(&s->tensors[tensor])
                                        : 1;
}

/* Elements whose sums are made before they are added to others. */
static inline uint64_t sum_block_of(const struct tm_plan_tensor *tensor)
{
    if (!tensor->by_row)
        return 65536;
    return tensor->row < 65536 ? 65536 - 65536 % tensor->row : tensor->row;
}

/* The smallest multiple of both; small numbers, so that none is too large. */
static inline uint64_t multiple_of_both(uint64_t a, uint64_t b)
{
    uint64_t gcd = a, rest = b;

    while (rest != 0) {
        const uint64_t next = gcd % rest;

        gcd = rest;
        rest = next;
    }
    return a / gcd * b;
}

/* Elements between which the tensor may be cut: chunks, rows and blocks. */
static inline uint64_t step_of(const struct sample *s, size_t number)
{
    const struct tm_plan_tensor *tensor = &s->tensors[number];
    uint64_t step = chunk_of(s, number);

    if (tensor->operation != TM_MERGE || tensor->elements == 0)
        return step;
    if (tensor->by_row)
        step = multiple_of_both(step, tensor->row);
    if (tensor->phases > 0)
        step = multiple_of_both(step, sum_block_of(tensor));
    assert_int_equal(tm_plan_step(&s->plan, tensor), step);
    return step;
}

/* Whether the tensor is measured for itself, not only with the model. */
static inline bool is_measured(const struct sample *s, size_t number)
{
    return s->tensors[number].phases > (s->plan.measures_model ? 1 : 0);
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

/* A walk from the first shard's beginning to the last one's end. */
struct pass {
    size_t shard;
    uint64_t position;
    uint64_t owned[MAX_TENSORS]; /* elements that had their unit */
};

/* Cutting, so far. */
struct progress {
    struct pass output;
    struct pass model; /* the sweep of the whole model */
    uint64_t model_units;
    bool model_is_over;
    /* The sweep of one tensor, or its output: */
    unsigned phase; /* that the next unit of it is of */
    uint64_t number;
    uint64_t position;
    uint64_t input_bytes;
};

static inline bool is_header(const struct sample *s, const struct tm_unit *unit)
{
    return unit->begin < s->shards[unit->shard].data_start;
}

/* More than the span is only taken where a single step is more. */
static inline void check_length(const struct sample *s,
                                const struct tm_unit *unit, uint64_t span)
{
    const struct tm_tile *tile = &unit->tiles[0];

    if (unit->end - unit->begin <= span)
        return;
    assert_false(is_header(s, unit));
    assert_int_equal(unit->num_tiles, 1);
    assert_true(step_of(s, tile->tensor) > 1);
    assert_true(tile->count <= step_of(s, tile->tensor));
}

/* Where a pass begins in a shard. */
static inline uint64_t first_byte(const struct sample *s,
                                  const struct tm_unit *unit)
{
    return unit->aim == TM_AIM_MODEL ? s->shards[unit->shard].data_start : 0;
}

/* The unit is the pass's next, which goes on behind it. */
static inline void check_pass(const struct sample *s,
                              const struct tm_unit *unit, struct pass *pass)
{
    if (pass->position == 0)
        pass->position = first_byte(s, unit);
    while (pass->shard < unit->shard) {
        const struct tm_plan_shard *shard = &s->shards[pass->shard++];

        assert_true(
            pass->position == shard->size ||
            (unit->aim == TM_AIM_MODEL && shard->size == shard->data_start));
        pass->position = first_byte(s, unit);
    }
    assert_int_equal(unit->shard, pass->shard);
    assert_int_equal(unit->begin, pass->position);
    pass->position = unit->end;
}

static inline void check_span(const struct sample *s,
                              const struct tm_unit *unit,
                              const struct tm_unit_limits *limits)
{
    assert_int_equal(unit->output, unit->begin % TM_BLOCK);
    assert_true(unit->end > unit->begin);
    assert_true(unit->end <= s->shards[unit->shard].size);
    assert_true(unit->num_tiles > 0 && unit->num_tiles <= limits->tiles);
    assert_true(unit->num_reads <= limits->reads);
    assert_true(unit->slot_bytes <= limits->slot_bytes);
    check_length(s, unit, limits->span);
}

/* --- units of groups, and of the whole model -----------------------------*/

static inline bool is_of_model(const struct tm_unit *unit)
{
    return unit->aim == TM_AIM_MODEL;
}

/*
 * A tensor that is measured for itself is in one unit, or in several that hold
 * nothing else.
 */
static inline void check_group(const struct sample *s,
                               const struct tm_unit *unit,
                               const struct tm_unit_limits *limits)
{
    size_t group = TM_NO_GROUP;

    for (size_t i = 0; i < unit->num_tiles && !is_header(s, unit); i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];

        if (is_of_model(unit) || !is_measured(s, tile->tensor))
            continue;
        if (tensor->bytes > limits->span) {
            group = tile->tensor;
            assert_int_equal(unit->num_tiles, 1);
        } else {
            assert_int_equal(tile->first, 0);
            assert_int_equal(tile->count, tensor->elements);
        }
    }
    assert_true(unit->group == group);
}

/* The whole model is measured before all else, and in one go. */
static inline void check_model(const struct sample *s,
                               const struct tm_unit *unit, struct progress *p)
{
    const bool sweeps = s->plan.measures_model && !s->plan.model_is_known;

    assert_true(is_of_model(unit) == (sweeps && !p->model_is_over));
    if (!is_of_model(unit))
        return;
    assert_false(is_header(s, unit));
    assert_int_equal(unit->phase, 0);
    assert_int_equal(unit->number, p->model_units);
    p->model_units++;
    p->model_is_over = unit->is_last;
}

/* The model's sweep has had all elements. */
static inline void check_model_end(const struct sample *s,
                                   const struct tm_unit *unit,
                                   const struct progress *p)
{
    if (!is_of_model(unit) || !unit->is_last)
        return;
    for (size_t t = 0; t < s->plan.num_tensors; t++)
        assert_int_equal(p->model.owned[t], tm_plan_count(&s->tensors[t]));
}

/* The phase that a unit of a group is of. */
static inline void check_phase(const struct sample *s,
                               const struct tm_unit *unit,
                               const struct progress *p)
{
    const struct tm_plan_tensor *tensor = &s->tensors[unit->group];
    const unsigned first = s->plan.measures_model ? 1 : 0;
    const unsigned now = p->phase > first ? p->phase : first;

    assert_int_equal(unit->phase, now);
    assert_true((unit->aim == TM_AIM_SWEEP) ==
                (tensor->is_swept && now < tensor->phases));
}

/*
 * The units of a group follow each other from its first element to its last,
 * once for each phase that it is swept in and once more.
 */
static inline void check_sweep(const struct sample *s,
                               const struct tm_unit *unit, struct progress *p)
{
    const struct tm_plan_tensor *tensor;

    if (is_of_model(unit))
        return;
    if (unit->group == TM_NO_GROUP) {
        assert_int_equal(unit->aim, TM_AIM_OUTPUT);
        assert_false(unit->is_last);
        assert_int_equal(p->number, 0);
        return;
    }
    tensor = &s->tensors[unit->group];
    check_phase(s, unit, p);
    assert_int_equal(unit->number, p->number);
    assert_int_equal(unit->begin, p->number > 0 ? p->position : tensor->offset);
    assert_true(unit->is_last == (unit->end == tensor->offset + tensor->bytes));
    p->position = unit->end;
    p->number = unit->is_last ? 0 : p->number + 1;
    if (!unit->is_last)
        return;
    p->phase = unit->aim == TM_AIM_SWEEP ? unit->phase + 1 : 0;
}

/* Blocks of sums: all that are added up one by one, else those of a tile. */
static inline void check_sums(const struct sample *s,
                              const struct tm_unit *unit)
{
    const bool adds = is_of_model(unit) || unit->group != TM_NO_GROUP;
    size_t all_blocks = 0, all = 0, most = 0;

    for (size_t i = 0; i < unit->num_tiles && !is_header(s, unit); i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
        size_t blocks, sums;

        if (tensor->phases == 0)
            continue;
        assert_int_equal(tile->first % sum_block_of(tensor), 0);
        blocks =
            (tile->count + sum_block_of(tensor) - 1) / sum_block_of(tensor);
        sums = blocks * (size_t)tensor->terms->values[SUMS];
        all_blocks += blocks;
        all += sums;
        if (most < sums)
            most = sums;
    }
    assert_int_equal(unit->num_blocks, all_blocks);
    assert_int_equal(unit->num_sums, adds ? all : most);
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
                               const struct tm_unit *unit, uint64_t *owned)
{
    uint64_t covered = unit->begin;

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
        const uint64_t size = output_size(tensor);

        assert_true(tile->tensor < s->plan.num_tensors);
        assert_true(tile->count > 0);
        assert_int_equal(tensor->shard, unit->shard);
        assert_int_equal(tile->first,
                         unit->aim == TM_AIM_SWEEP && unit->number == 0
                             ? 0
                             : owned[tile->tensor]);
        assert_int_equal(tensor->offset + tile->first * size, covered);
        owned[tile->tensor] = tile->first + tile->count;
        covered += tile->count * size;
        assert_true(owned[tile->tensor] <= tm_plan_count(tensor));
        if (unit->aim == TM_AIM_SWEEP && unit->is_last)
            owned[tile->tensor] = 0; /* once more from its beginning */
    }
    assert_int_equal(covered, unit->end);
}

/*
 * Steps are whole. Without them a tensor is cut at the last element that ends
 * with or before a block, if that is not less than one element.
 */
static inline void check_cuts(const struct sample *s,
                              const struct tm_unit *unit)
{
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
        assert_true(step > 1 || tile->count == 1 ||
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

/* Elements of a tensor that go into a unit together. */
static inline uint64_t together(const struct sample *s,
                                const struct tm_unit *unit, size_t number,
                                uint64_t span)
{
    const struct tm_plan_tensor *tensor = &s->tensors[number];

    if (!is_of_model(unit) && is_measured(s, number) && tensor->bytes <= span)
        return tensor->elements;
    return step_of(s, number);
}

/* Whether a unit has to end before this tensor, if that is not its own. */
static inline bool begins_anew(const struct sample *s,
                               const struct tm_unit *unit, size_t next,
                               uint64_t span)
{
    if (next == s->shards[unit->shard].first + s->shards[unit->shard].count ||
        !are_together(s, unit->tiles[0].tensor, next))
        return true;
    if (next == unit->group)
        return false;
    return unit->group != TM_NO_GROUP ||
           (!is_of_model(unit) && is_measured(s, next) &&
            s->tensors[next].bytes > span);
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
    if (begins_anew(s, unit, next, limits->span))
        return;
    left = s->tensors[next].offset + s->tensors[next].bytes - unit->end;
    step = together(s, unit, next, limits->span);
    if (step == 1)
        limit = tm_round_down(limit, TM_BLOCK);
    step *= output_size(&s->tensors[next]);
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
        const uint64_t step = chunk_of(s, tile->tensor);

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
 * Coded sources that a method wants as a whole have their places behind
 * `end`, one after the other. Returns the end of the last.
 */
static inline uint64_t check_decoded(const struct sample *s,
                                     const struct tm_unit *unit, uint64_t end)
{
    const size_t width = s->plan.width;

    for (size_t i = 0; i < unit->num_tiles * width; i++) {
        const struct tm_tile *tile = &unit->tiles[i / width];
        const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
        const struct tm_source *source =
            &tm_plan_sources(&s->plan, tile->tensor)[i % width];

        if (s->plan.num_coded == 0)
            continue;
        if (source->file == TM_NO_FILE || !source->is_coded ||
            tensor->operation != TM_MERGE || !tensor->in_strips) {
            assert_int_equal(unit->decoded[i], 0);
            continue;
        }
        assert_int_equal(unit->decoded[i], end);
        end = block_end(end + tile->count * source_size(tensor, source));
    }
    return end;
}

/*
 * The slot holds the output, the reads, what is decoded of them, and the
 * areas, one behind the other, and no more. In an area, a block comes before
 * what is encoded.
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
    if (!is_header(s, unit))
        end = check_decoded(s, unit, end);
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
    const uint64_t step = chunk_of(s, tile->tensor);
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
                                    const struct tm_unit *unit,
                                    const struct tm_tile *tile, size_t column)
{
    const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
    const struct tm_source *source =
        &tm_plan_sources(&s->plan, tile->tensor)[column];
    const uint64_t size = source_size(tensor, source);
    uint64_t count = tile->count;

    if (source->file == TM_NO_FILE ||
        (is_of_model(unit) && tensor->phases == 0))
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
    const struct stretch stretch = needed(s, unit, tile, column);
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
    uint64_t blocks = first;
    unsigned char *used;

    for (size_t i = 0; i < unit->num_reads; i++)
        blocks += unit->reads[i].len / TM_BLOCK;
    used = allocate(blocks);
    memset(used, 0, blocks);
    memset(used, 1, first);
    for (size_t i = 0; i < unit->num_tiles * s->plan.width; i++)
        check_place(s, unit, i, used, p);
    assert_true(blocks == 0 || memchr(used, 0, blocks) == NULL);
    assert_int_equal(unit->input_bytes, p->input_bytes - before);
    free(used);
}

/* Every chunk that is decoded has a place for its digest. */
static inline void check_checks(const struct sample *s,
                                const struct tm_unit *unit)
{
    size_t least = 0;

    for (size_t i = 0; i < unit->num_tiles * s->plan.width; i++) {
        const struct tm_tile *tile = &unit->tiles[i / s->plan.width];
        const uint64_t step = chunk_of(s, tile->tensor);
        const struct tm_source *source =
            &tm_plan_sources(&s->plan, tile->tensor)[i % s->plan.width];

        if (source->is_coded)
            least += (tile->count + step - 1) / step;
    }
    assert_int_equal(unit->num_checks, least);
}

static inline void check_unit(const struct sample *s,
                              const struct tm_unit *unit,
                              const struct tm_unit_limits *limits,
                              struct progress *p)
{
    struct pass *pass = is_of_model(unit) ? &p->model : &p->output;

    check_span(s, unit, limits);
    check_slot(s, unit);
    check_model(s, unit, p);
    check_group(s, unit, limits);
    check_sweep(s, unit, p);
    check_sums(s, unit);
    if (unit->aim != TM_AIM_SWEEP)
        check_pass(s, unit, pass);
    if (is_ample(s, limits))
        check_is_full(s, unit, limits);
    if (is_header(s, unit)) {
        check_header(s, unit);
        return;
    }
    check_tiles(s, unit, pass->owned);
    check_model_end(s, unit, p);
    check_checks(s, unit);
    check_cuts(s, unit);
    check_targets(s, unit);
    check_places(s, unit, p);
}

/* How often the tensor is read. */
static inline uint64_t times_read(const struct sample *s, size_t number,
                                  uint64_t span)
{
    const struct tm_plan_tensor *tensor = &s->tensors[number];
    uint64_t times = 1;

    if (s->plan.measures_model && !s->plan.model_is_known)
        times += tensor->phases > 0;
    if (tensor->is_swept && is_measured(s, number) && tensor->bytes > span)
        times += tensor->phases - (s->plan.measures_model ? 1 : 0);
    return times;
}

/* All shards are cut to their ends; bytes are read as often as they must. */
static inline void check_end(const struct sample *s,
                             const struct tm_unit_limits *limits,
                             const struct progress *p)
{
    uint64_t bytes = 0;

    for (size_t t = 0; t < s->plan.num_tensors; t++) {
        assert_int_equal(p->output.owned[t], tm_plan_count(&s->tensors[t]));
        for (size_t i = 0; i < s->plan.width; i++)
            bytes += times_read(s, t, limits->span) *
                     tm_plan_source_bytes(&s->plan, t, i);
    }
    assert_int_equal(p->input_bytes, bytes);
    assert_int_equal(p->number, 0);
    for (size_t i = p->output.shard + 1; i < s->plan.num_shards; i++)
        assert_int_equal(s->shards[i].size, 0);
    assert_int_equal(p->output.position, s->shards[p->output.shard].size);
}

/* --- the walk ------------------------------------------------------------*/

/* What the units of a plan have needed. */
struct need {
    uint64_t units;
    uint64_t slot_bytes;
    size_t tiles;
    size_t reads;
    size_t pieces;
    size_t checks;
    size_t sums;
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
    if (need->checks < unit->num_checks)
        need->checks = unit->num_checks;
    if (need->sums < unit->num_sums)
        need->sums = unit->num_sums;
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
        check_end(walk->sample, limits, &walk->progress);
    }
    return cut;
}

#endif
