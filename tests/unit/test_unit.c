/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_unit: cutting a plan into units.
 *
 * Plans are made up at random, without any file: tensors of all sizes and
 * types, at odd offsets, in any order in their source files, with sources
 * missing or shared. Each is cut under many limits. Every unit must keep what
 * src/unit.h promises, and a merge that moves bytes just as the units say must
 * make the same shards under all limits as one that knows no units. Some
 * tensors are measured first, by a method that is made up.
 */
#include "tests/unit/unit_sample.h"

#define POISON 0xa5

/* --- random plans --------------------------------------------------------*/

static unsigned large_left; /* tensors of several blocks of sums */

static uint64_t random_elements(void)
{
    if (large_left > 0 && one_in(8)) {
        large_left--;
        return 65536 + below(2 * 65536);
    }
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

static void make_any(struct tm_plan_tensor *tensor)
{
    static const uint8_t operations[] = {TM_MERGE, TM_MERGE, TM_TAKE, TM_COPY};

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
    const size_t room = MAX_TENSORS / MAX_SHARDS;
    size_t shards;

    begin_sample(s, number);
    s->has_phases = one_in(2);
    s->has_whole = one_in(3);
    large_left = s->has_phases && one_in(3);
    shards = 1 + below(MAX_SHARDS);
    s->plan.width = 1 + below(MAX_WIDTH);
    for (size_t i = 0; i < shards; i++)
        add_shard(s, one_in(3) ? 8 + below(9000) : (1 + below(3)) * TM_BLOCK,
                  one_in(8) ? below(2) : below(room + 1), make_any);
    for (size_t i = 0; i < s->plan.width; i++)
        if (i > 0 && one_in(5))
            repeat_source(s, i);
        else
            place_source(s, i, !one_in(3));
    s->plan.model_is_known = s->plan.measures_model && one_in(3);
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
    const uint64_t size = output_size(tensor);
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
    const uint64_t size = output_size(tensor);

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
    const uint64_t size = output_size(tensor);

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

static void begin_made(const struct sample *s, struct made *made)
{
    for (size_t i = 0; i < s->plan.num_shards; i++)
        made->shards[i] = allocate(s->shards[i].size);
}

/* Compares the shards that were made, if all of each was. */
static void end_made(const struct sample *s, struct made *made, bool is_whole)
{
    for (size_t i = 0; i < s->plan.num_shards; i++) {
        unsigned char *expected = is_whole ? merge_shard(s, i) : NULL;

        if (is_whole)
            assert_memory_equal(made->shards[i], expected, s->shards[i].size);
        free(expected);
        free(made->shards[i]);
    }
}

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
    unsigned char *slot;

    if (unit->aim != TM_AIM_OUTPUT)
        return; /* it is only measured */
    slot = fill_slot(unit);

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

/*
 * Cuts the plan, checks and makes all of it. Where the limits are too small,
 * says so in *refused: then only the units before that are checked.
 */
static struct need cut(const struct sample *s,
                       const struct tm_unit_limits *limits, bool *refused)
{
    struct walk walk;
    struct made made;
    enum tm_cut result;

    begin_made(s, &made);
    begin_walk(&walk, s, limits);
    while ((result = next_unit(&walk, limits)) == TM_CUT_UNIT)
        run_unit(s, &walk.unit, &made);
    *refused = result == TM_CUT_SLOT;
    end_made(s, &made, result == TM_CUT_END);
    end_walk(&walk);
    return walk.need;
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

/* What cutting the plan was found to need is enough, and no less is. */
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
        struct walk walk;
        struct made made;
        enum tm_cut result;

        make_sample(&sample, number);
        limits = ample(&sample, 16);
        begin_walk(&walk, &sample, &limits);
        begin_made(&sample, &made);
        limits.slot_bytes = TM_BLOCK;
        while ((result = next_unit(&walk, &limits)) != TM_CUT_END) {
            if (result == TM_CUT_SLOT) {
                assert_true(walk.unit.slot_bytes > limits.slot_bytes);
                limits.slot_bytes = walk.unit.slot_bytes;
                assert_int_equal(next_unit(&walk, &limits), TM_CUT_UNIT);
                assert_int_equal(walk.unit.slot_bytes, limits.slot_bytes);
            }
            run_unit(&sample, &walk.unit, &made);
        }
        end_made(&sample, &made, true);
        end_walk(&walk);
    }
}

static void make_large(struct tm_plan_tensor *tensor)
{
    *tensor = (struct tm_plan_tensor){
        .name = "tensor",
        .operation = TM_MERGE,
        .dtype = TM_F32,
        .elements = 128 * TM_BLOCK / 4,
        .bytes = 128 * TM_BLOCK,
    };
}

/* Where the span does not fit, half of it is tried, and so on to a block. */
static void test_small_slots_halve_the_span(void **state)
{
    (void)state;
    begin_sample(&sample, 9);
    sample.plan.width = 2;
    add_shard(&sample, TM_BLOCK, 1, make_large);
    for (size_t i = 0; i < 2; i++)
        sample.sources[i] = (struct tm_source){
            .offset = 1000, .file = add_files(&sample), .dtype = TM_F32};
    for (size_t i = 0; i < 2; i++)
        sample.file_sizes[sample.sources[i].file] = 1000 + 128 * TM_BLOCK;
    for (uint64_t blocks = 64; blocks >= 1; blocks /= 2) {
        struct tm_unit_limits limits = ample(&sample, 64);
        bool refused;

        limits.slot_bytes = (blocks + 2 * (blocks + 1)) * TM_BLOCK;
        assert_int_equal(cut(&sample, &limits, &refused).units,
                         1 + 128 / blocks);
        assert_false(refused);
    }
}

static void make_small(struct tm_plan_tensor *tensor)
{
    *tensor = (struct tm_plan_tensor){
        .name = "tensor",
        .operation = TM_MERGE,
        .dtype = TM_F32,
        .elements = 101,
        .bytes = 404,
    };
}

/* Tensors that lie together in their file become one read of each source. */
static void test_small_tensors_are_joined(void **state)
{
    struct tm_unit_limits limits;
    struct need need;
    bool refused;

    (void)state;
    begin_sample(&sample, 7);
    sample.plan.width = 3;
    add_shard(&sample, TM_BLOCK, MAX_TENSORS, make_small);
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
        cmocka_unit_test(test_small_slots_halve_the_span),
        cmocka_unit_test(test_small_tensors_are_joined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
