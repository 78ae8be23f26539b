/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_unit: cutting a plan into units.
 *
 * Plans are made up at random, without any file: tensors of all sizes and
 * types, at odd offsets, in any order in their source files, with sources
 * missing or shared. Each is cut under many limits. Every unit must keep what
 * src/unit.h promises, and a merge that moves bytes just as the units say must
 * make the same shards under all limits as one that knows no units.
 */
#include "tests/unit/unit.h"

#include "io/checked.h"
#include "src/unit.h"

#define MAX_SHARDS  3
#define MAX_TENSORS 64
#define MAX_WIDTH   5
#define MAX_FILES   (2 * MAX_WIDTH)
#define POISON      0xa5

/* --- random plans --------------------------------------------------------*/

static uint64_t seed;

static uint64_t next_random(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t below(uint64_t n)
{
    return next_random() % n;
}

static bool one_in(uint64_t n)
{
    return below(n) == 0;
}

/* A plan and the memory that it points to. */
struct sample {
    struct tm_plan plan;
    struct tm_plan_shard shards[MAX_SHARDS];
    struct tm_plan_tensor tensors[MAX_TENSORS];
    struct tm_source sources[MAX_TENSORS * MAX_WIDTH];
    uint64_t file_sizes[MAX_FILES];
    size_t num_files;
    bool shares_files; /* two sources of a tensor may be in one file */
};

static uint64_t random_elements(void)
{
    switch (below(6)) {
    case 0:
        return below(3);
    case 1:
    case 2:
        return below(40);
    case 3:
    case 4:
        return below(3000);
    default:
        return below(30000);
    }
}

static void make_tensor(struct tm_plan_tensor *tensor)
{
    static const uint8_t operations[] = {TM_SUM, TM_SUM, TM_TAKE, TM_COPY};

    *tensor = (struct tm_plan_tensor){
        .name = "tensor",
        .operation = operations[below(4)],
        .dtype = (uint8_t)below(TM_NUM_FLOATS),
        .elements = random_elements(),
    };
    tensor->base_elements =
        one_in(2) ? tensor->elements : below(tensor->elements + 1);
    tensor->bytes =
        tensor->elements * tm_dtype_bits((enum tm_dtype)tensor->dtype) / 8;
    /* Types of less than a byte are only copied: bytes of any number. */
    if (tensor->operation == TM_COPY && one_in(2)) {
        tensor->dtype = TM_OPAQUE;
        tensor->bytes = tensor->elements;
    }
}

static void make_shard(struct sample *s, size_t number)
{
    struct tm_plan_shard *shard = &s->shards[number];
    const size_t room = MAX_TENSORS / MAX_SHARDS;
    uint64_t end;

    *shard = (struct tm_plan_shard){
        .name = "shard",
        .data_start = one_in(3) ? 8 + below(9000) : (1 + below(3)) * TM_BLOCK,
        .first = s->plan.num_tensors,
        .count = one_in(8) ? below(2) : below(room + 1),
    };
    end = shard->data_start;
    for (size_t i = 0; i < shard->count; i++) {
        struct tm_plan_tensor *tensor = &s->tensors[shard->first + i];

        make_tensor(tensor);
        tensor->shard = (uint32_t)number;
        tensor->offset = end;
        end += tensor->bytes;
    }
    shard->size = end;
    s->plan.num_tensors += shard->count;
}

static uint64_t source_size(const struct tm_plan_tensor *tensor,
                            const struct tm_source *source)
{
    return tm_plan_unit(tensor, (enum tm_dtype)source->dtype);
}

/* Places the tensors of one source in two files, in any order. */
static void place_source(struct sample *s, size_t column, bool at_random)
{
    const size_t count = s->plan.num_tensors, width = s->plan.width;
    const uint32_t file = (uint32_t)s->num_files;
    size_t order[MAX_TENSORS];

    s->num_files += 2;
    for (size_t i = 0; i < 2; i++)
        s->file_sizes[file + i] = 8 + below(2 * TM_BLOCK);
    for (size_t i = 0; i < count; i++) {
        const size_t j = at_random ? below(i + 1) : i;

        order[i] = order[j];
        order[j] = i;
    }
    for (size_t i = 0; i < count; i++) {
        const struct tm_plan_tensor *tensor = &s->tensors[order[i]];
        struct tm_source *source = &s->sources[order[i] * width + column];

        source->dtype = tensor->dtype;
        if (tensor->operation == TM_SUM ||
            (tensor->operation == TM_TAKE && column == 0))
            source->dtype = (uint8_t)below(TM_NUM_FLOATS);
        source->file = file + (i < count / 2 ? 0 : 1);
        source->offset = s->file_sizes[source->file];
        /* A base that is shorter has more in its file that is not used. */
        s->file_sizes[source->file] +=
            tm_plan_count(tensor) * source_size(tensor, source);
        if (column > 0 && one_in(8))
            source->file = TM_NO_FILE;
    }
}

/* A checkpoint that is named twice. */
static void repeat_source(struct sample *s, size_t column)
{
    const size_t from = below(column);

    for (size_t t = 0; t < s->plan.num_tensors; t++)
        s->sources[t * s->plan.width + column] =
            s->sources[t * s->plan.width + from];
    s->shares_files = true;
}

static void make_sample(struct sample *s, uint64_t number)
{
    seed = number;
    *s = (struct sample){.plan = {.num_shards = 1 + below(MAX_SHARDS),
                                  .width = 1 + below(MAX_WIDTH)}};
    s->plan.shards = s->shards;
    s->plan.tensors = s->tensors;
    s->plan.sources = s->sources;
    for (size_t i = 0; i < s->plan.num_shards; i++)
        make_shard(s, i);
    for (size_t i = 0; i < s->plan.width; i++)
        if (i > 0 && one_in(5))
            repeat_source(s, i);
        else
            place_source(s, i, !one_in(3));
}

static struct tm_unit_limits ample(const struct sample *s, uint64_t blocks)
{
    const size_t tiles = MAX_TENSORS + 1;

    return (struct tm_unit_limits){
        .span = blocks * TM_BLOCK,
        .slot_bytes = UINT64_MAX,
        .tiles = tiles,
        .reads = tiles * s->plan.width,
    };
}

/* --- a merge without files -----------------------------------------------*/

/* What the files hold: any bytes, different everywhere. */
static unsigned char file_byte(uint32_t file, uint64_t offset)
{
    uint64_t z = offset * UINT64_C(0x9e3779b97f4a7c15) + file;

    z = (z ^ (z >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
    return (unsigned char)(z >> 56);
}

static unsigned char header_byte(size_t shard, uint64_t offset)
{
    return (unsigned char)(offset * 7 + shard);
}

/*
 * The output's element from what its sources have: any function of all their
 * bytes. `element[i]` is NULL where source i has no part.
 */
static void combine(const struct sample *s, size_t number,
                    const unsigned char *const *element, unsigned char *out)
{
    const struct tm_plan_tensor *tensor = &s->tensors[number];
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);
    uint64_t z = 1;

    for (size_t i = 0; i < s->plan.width; i++) {
        const struct tm_source *source = &tm_plan_sources(&s->plan, number)[i];

        z = z * 31 + i;
        for (uint64_t b = 0;
             element[i] != NULL && b < source_size(tensor, source); b++)
            z = (z ^ element[i][b]) * UINT64_C(0x100000001b3);
    }
    for (uint64_t b = 0; b < size; b++)
        out[b] = (unsigned char)(z >> (8 * b));
}

/* One tensor, straight from the files, to its place in `shard`. */
static void merge_tensor(const struct sample *s, size_t number,
                         unsigned char *shard)
{
    const struct tm_plan_tensor *tensor = &s->tensors[number];
    const struct tm_source *sources = tm_plan_sources(&s->plan, number);
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);

    for (uint64_t e = 0; e < tensor->bytes / size; e++) {
        const unsigned char *element[MAX_WIDTH] = {NULL};
        unsigned char bytes[MAX_WIDTH][8];

        for (size_t i = 0; i < s->plan.width; i++) {
            const uint64_t from = source_size(tensor, &sources[i]);

            if (sources[i].file == TM_NO_FILE ||
                e >= tm_plan_source_count(tensor, i))
                continue;
            for (uint64_t b = 0; b < from; b++)
                bytes[i][b] = file_byte(sources[i].file,
                                        sources[i].offset + e * from + b);
            element[i] = bytes[i];
        }
        combine(s, number, element, shard + tensor->offset + e * size);
    }
}

static unsigned char *allocate(uint64_t size)
{
    unsigned char *memory = malloc(size > 0 ? size : 1);

    assert_true(memory != NULL);
    return memory;
}

/* The shard as it has to be. */
static unsigned char *merge_shard(const struct sample *s, size_t number)
{
    const struct tm_plan_shard *shard = &s->shards[number];
    unsigned char *bytes = allocate(shard->size);

    for (uint64_t i = 0; i < shard->data_start; i++)
        bytes[i] = header_byte(number, i);
    for (size_t t = shard->first; t < shard->first + shard->count; t++)
        merge_tensor(s, t, bytes);
    return bytes;
}

/* Reads into a slot: just what is needed, poison elsewhere. */
static unsigned char *fill_slot(const struct tm_unit *unit)
{
    unsigned char *slot = allocate(unit->slot_bytes);

    memset(slot, POISON, unit->slot_bytes);
    for (size_t i = 0; i < unit->num_reads; i++)
        for (uint64_t b = 0; b < unit->reads[i].need; b++)
            slot[unit->reads[i].place + b] =
                file_byte(unit->reads[i].file, unit->reads[i].offset + b);
    return slot;
}

/* Computes one tile in the slot. */
static void run_tile(const struct sample *s, const struct tm_unit *unit,
                     size_t number, unsigned char *slot)
{
    const struct tm_tile *tile = &unit->tiles[number];
    const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
    const struct tm_source *sources = tm_plan_sources(&s->plan, tile->tensor);
    const uint64_t size = tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);

    for (uint64_t e = 0; e < tile->count; e++) {
        const unsigned char *element[MAX_WIDTH] = {NULL};
        const uint64_t at = tensor->offset + (tile->first + e) * size;

        for (size_t i = 0; i < s->plan.width; i++)
            if (sources[i].file != TM_NO_FILE &&
                e < tm_tile_count(&s->plan, tile, i))
                element[i] = slot + unit->places[number * s->plan.width + i] +
                             e * source_size(tensor, &sources[i]);
        combine(s, tile->tensor, element,
                slot + unit->output + (at - unit->begin));
    }
}

/* What was made of the shards so far. */
struct made {
    unsigned char *shards[MAX_SHARDS];
    unsigned char block[TM_BLOCK]; /* that the next unit goes on with */
};

/* Writes whole blocks, as the ordered stage does (src/hash.c). */
static void write_unit(const struct sample *s, const struct tm_unit *unit,
                       unsigned char *slot, struct made *made)
{
    const bool is_end = unit->end == s->shards[unit->shard].size;
    const uint64_t begin = unit->begin - unit->output;
    const uint64_t whole = tm_round_down(unit->end, TM_BLOCK);
    unsigned char *shard = made->shards[unit->shard];

    memcpy(slot, made->block, unit->output);
    memcpy(shard + begin, slot, (is_end ? unit->end : whole) - begin);
    memset(made->block, POISON, TM_BLOCK);
    if (!is_end)
        memcpy(made->block, slot + (whole - begin), unit->end - whole);
}

static void run_unit(const struct sample *s, const struct tm_unit *unit,
                     struct made *made)
{
    unsigned char *slot = fill_slot(unit);

    for (size_t i = 0; i < unit->num_tiles; i++)
        if (unit->tiles[i].tensor != TM_HEADER_TILE)
            run_tile(s, unit, i, slot);
        else
            for (uint64_t b = unit->begin; b < unit->end; b++)
                slot[unit->output + (b - unit->begin)] =
                    header_byte(unit->shard, b);
    write_unit(s, unit, slot, made);
    free(slot);
}

/* --- what a unit promises ------------------------------------------------*/

/* Cutting, so far. */
struct progress {
    size_t shard;
    uint64_t position;
    uint64_t owned[MAX_TENSORS]; /* elements that had their owner */
    struct made made;
};

static void check_span(const struct sample *s, const struct tm_unit *unit,
                       const struct tm_unit_limits *limits, struct progress *p)
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
    assert_true(unit->end - unit->begin <= limits->span);
    assert_true(unit->end <= s->shards[unit->shard].size);
    assert_true(unit->num_tiles > 0 && unit->num_tiles <= limits->tiles);
    assert_true(unit->num_reads <= limits->reads);
    assert_true(unit->slot_bytes <= limits->slot_bytes);
    p->position = unit->end;
}

/* The header's tile is alone in its unit, and needs no reads. */
static bool check_header(const struct sample *s, const struct tm_unit *unit)
{
    const struct tm_tile *tile = &unit->tiles[0];

    if (unit->begin >= s->shards[unit->shard].data_start)
        return false;
    assert_int_equal(unit->num_tiles, 1);
    assert_int_equal(unit->num_reads, 0);
    assert_true(tile->tensor == TM_HEADER_TILE);
    assert_int_equal(tile->first, unit->begin);
    assert_int_equal(tile->count, unit->end - unit->begin);
    assert_true(unit->end <= s->shards[unit->shard].data_start);
    return true;
}

/* The tiles cover the span in order; each element is owned by one unit. */
static void check_tiles(const struct sample *s, const struct tm_unit *unit,
                        struct progress *p)
{
    uint64_t covered = unit->begin;

    for (size_t i = 0; i < unit->num_tiles; i++) {
        const struct tm_tile *tile = &unit->tiles[i];
        const struct tm_plan_tensor *tensor = &s->tensors[tile->tensor];
        const uint64_t size =
            tm_plan_unit(tensor, (enum tm_dtype)tensor->dtype);
        const uint64_t begin = tensor->offset + tile->first * size;
        const uint64_t end = begin + tile->count * size;

        assert_true(tile->tensor < s->plan.num_tensors);
        assert_true(tile->count > 0);
        assert_true(end <= tensor->offset + tensor->bytes);
        assert_int_equal(begin, covered);
        assert_int_equal(p->owned[tile->tensor], tile->first);
        p->owned[tile->tensor] = tile->first + tile->count;
        covered = end;
    }
    assert_int_equal(covered, unit->end);
}

/* Blocks of the slot that the output span lies in. */
static uint64_t output_blocks(const struct tm_unit *unit)
{
    const uint64_t bytes = unit->output + (unit->end - unit->begin);

    return (bytes + TM_BLOCK - 1) / TM_BLOCK;
}

/* Reads are whole blocks, one behind the other, and end with the slot. */
static void check_reads(const struct sample *s, const struct tm_unit *unit)
{
    uint64_t end = output_blocks(unit) * TM_BLOCK;

    for (size_t i = 0; i < unit->num_reads; i++) {
        const struct tm_read *read = &unit->reads[i];

        assert_int_equal(read->offset % TM_BLOCK, 0);
        assert_int_equal(read->len % TM_BLOCK, 0);
        assert_true(read->need > 0 && read->need <= read->len);
        assert_true(read->need > read->len - TM_BLOCK);
        assert_int_equal(read->place, end);
        assert_true(read->file < s->num_files);
        assert_true(read->offset + read->need <= s->file_sizes[read->file]);
        assert_true(read->tensor < s->plan.num_tensors);
        end += read->len;
        /* No block is read twice for one source. */
        for (size_t j = 0; j < i && !s->shares_files; j++)
            assert_true(unit->reads[j].file != read->file ||
                        unit->reads[j].offset + unit->reads[j].len <
                            read->offset);
    }
    assert_int_equal(end, unit->slot_bytes);
}

static const struct tm_read *find_read(const struct tm_unit *unit,
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
static void note_blocks(unsigned char *used, uint64_t place, uint64_t bytes)
{
    const uint64_t last = (place + bytes - 1) / TM_BLOCK;

    for (uint64_t block = place / TM_BLOCK; block <= last; block++)
        used[block] = 1;
}

/*
 * The bytes of each tile are read, and lie where `places` says. No block is
 * read that no tile needs.
 */
static void check_places(const struct sample *s, const struct tm_unit *unit)
{
    const uint64_t blocks = unit->slot_bytes / TM_BLOCK;
    unsigned char *used = allocate(blocks);

    memset(used, 0, blocks);
    note_blocks(used, unit->output, unit->end - unit->begin);
    for (size_t i = 0; i < unit->num_tiles * s->plan.width; i++) {
        const struct tm_tile *tile = &unit->tiles[i / s->plan.width];
        const struct tm_source *source =
            &tm_plan_sources(&s->plan, tile->tensor)[i % s->plan.width];
        const uint64_t size = source_size(&s->tensors[tile->tensor], source);
        const uint64_t bytes =
            size * tm_tile_count(&s->plan, tile, i % s->plan.width);
        const struct tm_read *read;
        uint64_t skipped;

        if (source->file == TM_NO_FILE || bytes == 0)
            continue;
        read = find_read(unit, unit->places[i]);
        skipped = unit->places[i] - read->place;
        assert_int_equal(read->file, source->file);
        assert_int_equal(read->offset + skipped,
                         source->offset + tile->first * size);
        assert_true(skipped + bytes <= read->need);
        note_blocks(used, unit->places[i], bytes);
    }
    assert_true(memchr(used, 0, blocks) == NULL);
    free(used);
}

static void check_unit(const struct sample *s, const struct tm_unit *unit,
                       const struct tm_unit_limits *limits, struct progress *p)
{
    check_span(s, unit, limits, p);
    if (!check_header(s, unit)) {
        check_tiles(s, unit, p);
        check_reads(s, unit);
        check_places(s, unit);
    }
    run_unit(s, unit, &p->made);
}

/* All shards are cut to their ends, and have the right bytes. */
static void check_whole(const struct sample *s, struct progress *p)
{
    for (size_t t = 0; t < s->plan.num_tensors; t++) {
        assert_int_equal(p->owned[t], tm_plan_count(&s->tensors[t]));
    }
    assert_int_equal(p->shard, s->plan.num_shards - 1);
    assert_int_equal(p->position, s->shards[p->shard].size);
    for (size_t i = 0; i < s->plan.num_shards; i++) {
        unsigned char *expected = merge_shard(s, i);

        assert_memory_equal(p->made.shards[i], expected, s->shards[i].size);
        free(expected);
    }
}

/* What cutting a whole plan has needed. */
struct need {
    uint64_t units;
    uint64_t slot_bytes;
    size_t tiles;
    size_t reads;
};

/*
 * Cuts the plan and checks all of it. Where the limits are too small, says so
 * in *refused: then only the units before that are checked.
 */
static struct need cut(const struct sample *s,
                       const struct tm_unit_limits *limits, bool *refused)
{
    struct progress progress = {.shard = 0};
    struct need need = {.units = 0};
    struct tm_cutter cutter;
    struct tm_unit unit;
    enum tm_cut result;

    assert_true(tm_cutter_init(&cutter, &s->plan, limits));
    assert_true(tm_unit_init(&unit, &s->plan, limits));
    for (size_t i = 0; i < s->plan.num_shards; i++)
        progress.made.shards[i] = allocate(s->shards[i].size);
    while ((result = tm_cutter_next(&cutter, limits, &unit)) == TM_CUT_UNIT) {
        check_unit(s, &unit, limits, &progress);
        need.units++;
        if (need.slot_bytes < unit.slot_bytes)
            need.slot_bytes = unit.slot_bytes;
        if (need.tiles < unit.num_tiles)
            need.tiles = unit.num_tiles;
        if (need.reads < unit.num_reads)
            need.reads = unit.num_reads;
    }
    *refused = result == TM_CUT_SLOT;
    if (result == TM_CUT_END)
        check_whole(s, &progress);
    for (size_t i = 0; i < s->plan.num_shards; i++)
        free(progress.made.shards[i]);
    tm_unit_free(&unit);
    tm_cutter_free(&cutter);
    return need;
}

/* --- tests ---------------------------------------------------------------*/

#define SAMPLES 40

static struct sample sample;

/* With room for everything, only the span limits a unit. */
static void test_spans(void **state)
{
    static const uint64_t blocks[] = {1, 2, 7, 64, 100000};

    (void)state;
    for (uint64_t number = 0; number < SAMPLES; number++) {
        make_sample(&sample, number);
        for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
            const struct tm_unit_limits limits = ample(&sample, blocks[i]);
            bool refused;

            cut(&sample, &limits, &refused);
            assert_false(refused);
        }
    }
}

/* What the plan was found to need is enough, and no less is. */
static void test_least_limits(void **state)
{
    (void)state;
    for (uint64_t number = 0; number < SAMPLES; number++) {
        struct tm_unit_limits limits;
        struct need least, again;
        bool refused;

        make_sample(&sample, number);
        limits = ample(&sample, 1);
        least = cut(&sample, &limits, &refused);
        assert_false(refused);
        limits.slot_bytes = least.slot_bytes;
        limits.reads = least.reads > 0 ? least.reads : 1;
        limits.tiles = least.tiles;
        again = cut(&sample, &limits, &refused);
        assert_false(refused);
        assert_memory_equal(&again, &least, sizeof(least));
        if (least.slot_bytes > 2 * TM_BLOCK) {
            limits.slot_bytes = least.slot_bytes - TM_BLOCK;
            cut(&sample, &limits, &refused);
            assert_true(refused);
        }
    }
}

/* Any limits: a right merge, or a refusal. */
static void test_random_limits(void **state)
{
    unsigned refusals = 0, merges = 0;

    (void)state;
    for (uint64_t number = 0; number < 4 * SAMPLES; number++) {
        struct tm_unit_limits limits;
        bool refused;

        make_sample(&sample, 1000 + number);
        limits = ample(&sample, 1 + below(40));
        if (one_in(2))
            limits.slot_bytes = (1 + below(60)) * TM_BLOCK;
        if (one_in(2))
            limits.tiles = 1 + below(12);
        limits.reads = limits.tiles * sample.plan.width;
        if (one_in(2))
            limits.reads = 1 + below(limits.reads);
        cut(&sample, &limits, &refused);
        if (refused)
            refusals++;
        else
            merges++;
    }
    assert_true(refusals > SAMPLES / 4 && merges > SAMPLES / 4);
}

/* A refusal says how large the slot has to be; with that it goes on. */
static void test_refusal_says_what_fits(void **state)
{
    (void)state;
    for (uint64_t number = 0; number < SAMPLES; number++) {
        struct tm_unit_limits limits;
        struct progress progress = {.shard = 0};
        struct tm_cutter cutter;
        struct tm_unit unit;
        enum tm_cut result;

        make_sample(&sample, number);
        limits = ample(&sample, 16);
        assert_true(tm_cutter_init(&cutter, &sample.plan, &limits));
        assert_true(tm_unit_init(&unit, &sample.plan, &limits));
        for (size_t i = 0; i < sample.plan.num_shards; i++)
            progress.made.shards[i] = allocate(sample.shards[i].size);
        limits.slot_bytes = TM_BLOCK;
        while ((result = tm_cutter_next(&cutter, &limits, &unit)) !=
               TM_CUT_END) {
            if (result == TM_CUT_SLOT) {
                assert_true(unit.slot_bytes > limits.slot_bytes);
                limits.slot_bytes = unit.slot_bytes;
                result = tm_cutter_next(&cutter, &limits, &unit);
                assert_int_equal(result, TM_CUT_UNIT);
                assert_int_equal(unit.slot_bytes, limits.slot_bytes);
            }
            check_unit(&sample, &unit, &limits, &progress);
        }
        check_whole(&sample, &progress);
        for (size_t i = 0; i < sample.plan.num_shards; i++)
            free(progress.made.shards[i]);
        tm_unit_free(&unit);
        tm_cutter_free(&cutter);
    }
}

/* Tensors that lie together in their file become one read of each source. */
static void test_small_tensors_are_joined(void **state)
{
    struct tm_unit_limits limits;
    struct need need;
    bool refused;

    (void)state;
    sample = (struct sample){
        .plan = {.num_shards = 1, .num_tensors = MAX_TENSORS, .width = 3}};
    sample.plan.shards = sample.shards;
    sample.plan.tensors = sample.tensors;
    sample.plan.sources = sample.sources;
    sample.shards[0] = (struct tm_plan_shard){
        .data_start = TM_BLOCK, .size = TM_BLOCK, .count = MAX_TENSORS};
    for (size_t t = 0; t < MAX_TENSORS; t++) {
        sample.tensors[t] = (struct tm_plan_tensor){
            .name = "tensor",
            .operation = TM_SUM,
            .dtype = TM_F32,
            .elements = 101,
            .bytes = 404,
            .offset = sample.shards[0].size,
        };
        sample.shards[0].size += 404;
    }
    seed = 7;
    for (size_t i = 0; i < 3; i++)
        place_source(&sample, i, true);
    for (size_t t = 0; t < MAX_TENSORS; t++)
        for (size_t i = 0; i < 3; i++)
            if (sample.sources[t * 3 + i].file == TM_NO_FILE)
                sample.sources[t * 3 + i] = sample.sources[t * 3];
    sample.shares_files = true;
    limits = ample(&sample, 1000);
    need = cut(&sample, &limits, &refused);
    assert_false(refused);
    assert_int_equal(need.units, 2); /* the header, and all the rest */
    assert_int_equal(need.tiles, MAX_TENSORS);
    /* Two files a source; a few more where it lacks a stretch of a file. */
    assert_true(need.reads >= 6 && need.reads <= 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_least_limits),
        cmocka_unit_test(test_random_limits),
        cmocka_unit_test(test_refusal_says_what_fits),
        cmocka_unit_test(test_small_tensors_are_joined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
