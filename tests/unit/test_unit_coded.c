/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_unit_coded: cutting plans that are worked on chunk by chunk: those that
 * read stored vectors, and those that make them.
 *
 * As in test_unit.c plans are made up at random, here with tensors of several
 * chunks. No byte is moved: where each chunk would be found is compared with
 * where it is. What the budget was told that units need must be enough for
 * the run. Some tensors are measured first, by a method that is made up.
 */
#include "tests/unit/unit_sample.h"

#include <fcntl.h>
#include <unistd.h>

#include "src/budget.h"

#define WORDS TM_CHUNK_WORDS

/* --- random plans --------------------------------------------------------*/

/* Enough for at most MAX_CHUNKS - 1 chunks. */
static uint64_t random_words(void)
{
    switch (below(8)) {
    case 0:
        return below(3);
    case 1:
    case 2:
    case 3:
        return below(3000);
    case 4:
        return below(5) * WORDS + below(3);
    case 5:
        return (1 + below(4)) * WORDS - 1 - below(3);
    default:
        return below(5 * WORDS);
    }
}

static void make_words(struct tm_plan_tensor *tensor, uint8_t operation,
                       uint8_t dtype, uint64_t words)
{
    *tensor = (struct tm_plan_tensor){
        .name = "tensor",
        .operation = operation,
        .dtype = dtype,
        .elements = words,
        .bytes = words * tm_word_bytes((enum tm_dtype)dtype),
    };
}

static void make_merged(struct tm_plan_tensor *tensor)
{
    if (one_in(4))
        make_words(tensor, TM_COPY, (uint8_t)below(TM_NUM_DTYPES),
                   random_words());
    else
        make_words(tensor, TM_MERGE, (uint8_t)below(TM_NUM_FLOATS),
                   random_words());
}

static void make_taken(struct tm_plan_tensor *tensor)
{
    make_words(tensor, TM_TAKE, (uint8_t)below(TM_NUM_DTYPES), random_words());
    switch (below(4)) {
    case 0:
        tensor->base_elements = below(tensor->elements + 1);
        break;
    case 1:
        tensor->base_elements = below(tensor->elements / WORDS + 1) * WORDS;
        break;
    default:
        tensor->base_elements = tensor->elements;
    }
}

/* Bytes of a chunk: few, any number, or the most that there can be. */
static uint32_t random_length(const struct tm_coded *coded, size_t bytes)
{
    if (coded->state == TM_DELTA && one_in(3))
        return 0;
    switch (below(3)) {
    case 0:
        return (uint32_t)tm_chunk_bound(bytes);
    case 1:
        return (uint32_t)(TM_CHUNK_HEAD + 1 + below(bytes));
    default:
        return (uint32_t)(TM_CHUNK_HEAD + 1 + below(bytes < 90 ? bytes : 90));
    }
}

/* Makes the source a tensor of a stored vector. */
static void encode_source(struct sample *s, size_t number, size_t column,
                          uint8_t state)
{
    const struct tm_plan_tensor *tensor = &s->tensors[number];
    struct tm_source *source = &s->sources[number * s->plan.width + column];
    const size_t coded = s->plan.num_coded++;
    const uint64_t size = source_size(tensor, source);
    const uint64_t step = tm_plan_chunk(tensor);
    uint32_t *lengths = &s->lengths[coded * MAX_CHUNKS];
    struct tm_coded *record = &s->records[coded];

    memset(lengths, 0x7f, MAX_CHUNKS * sizeof(*lengths)); /* not its own */
    *record = (struct tm_coded){.state = state};
    if (state != TM_UNCHANGED)
        record->count = (tm_plan_count(tensor) + step - 1) / step;
    assert_true(record->count <= MAX_CHUNKS);
    for (uint64_t c = 0; c < record->count; c++) {
        const uint64_t left = tm_plan_count(tensor) - c * step;

        lengths[c] = random_length(record, (left < step ? left : step) * size);
        record->bytes += lengths[c];
    }
    record->offset = take_bytes(s, source->file, record->bytes);
    s->coded[coded] = (struct tm_coded_source){
        .coded = record, .lengths = lengths, .vector = "vector"};
    source->is_coded = true;
    source->offset = coded;
}

/* A stored vector: two shards with tensors in any order. */
static void place_coded(struct sample *s, size_t column, bool lacks_some)
{
    const uint32_t file = add_files(s);
    const size_t count = s->plan.num_tensors;
    size_t order[MAX_TENSORS];

    shuffle(s, !one_in(3), order);
    for (size_t i = 0; i < count; i++) {
        struct tm_source *source =
            &s->sources[order[i] * s->plan.width + column];

        source->dtype = source_dtype(&s->tensors[order[i]], column);
        source->file = file + (i < count / 2 ? 0 : 1);
        encode_source(s, order[i], column, (uint8_t)below(3));
        if (lacks_some && one_in(8))
            source->file = TM_NO_FILE;
    }
}

static void add_shards(struct sample *s, make_tensor *make, bool aligned)
{
    const size_t shards = 1 + below(MAX_SHARDS);

    for (size_t i = 0; i < shards; i++)
        add_shard(s, aligned ? (1 + below(2)) * TM_BLOCK : 8 + below(9000),
                  below(12), make);
}

/* Vectors, stored and other, that are merged with a base. */
static void make_merge(struct sample *s)
{
    s->plan.width = 2 + below(MAX_WIDTH - 1);
    add_shards(s, make_merged, true);
    place_source(s, 0, !one_in(3));
    place_coded(s, 1, true);
    for (size_t i = 2; i < s->plan.width; i++)
        if (one_in(3))
            place_source(s, i, true);
        else
            place_coded(s, i, true);
}

/* The same, and the result is stored. */
static void make_stored_merge(struct sample *s)
{
    s->plan.width = 1 + below(MAX_WIDTH);
    s->plan.product = TM_MODEL_VECTOR;
    s->plan.num_outputs = 1;
    add_shards(s, make_merged, true);
    for (size_t i = 0; i < s->plan.width; i++)
        if (i == 0 || one_in(2))
            place_source(s, i, true);
        else
            place_coded(s, i, true);
    for (size_t t = 0; t < s->plan.num_tensors; t++)
        s->targets[t].shard = s->tensors[t].shard;
}

/* A stored vector that is put back on its base. */
static void make_apply(struct sample *s)
{
    s->plan.width = 2;
    s->plan.product = one_in(3) ? TM_CHECK : TM_MODEL;
    add_shards(s, make_taken, one_in(3));
    place_source(s, 0, true);
    place_coded(s, 1, false);
    for (size_t t = 0; t < s->plan.num_tensors; t++)
        if (s->coded[s->sources[2 * t + 1].offset].coded->state == TM_ALONE)
            s->sources[2 * t].file = TM_NO_FILE;
}

/* Fine-tunes whose tensors differ in shape may have one base tensor. */
static void share_bases(struct sample *s)
{
    for (size_t t = 1; t < s->plan.num_tensors; t++) {
        const uint64_t room = s->tensors[t - 1].elements;
        struct tm_plan_tensor *tensor = &s->tensors[t];

        if (!one_in(4))
            continue;
        s->sources[t * s->plan.width] = s->sources[(t - 1) * s->plan.width];
        s->sources[(t - 1) * s->plan.width + 1].file = TM_NO_FILE;
        if (tensor->base_elements > room)
            tensor->base_elements = room;
        t++; /* so that the next one has its own */
    }
}

/* Fine-tunes that are stored, each in two shards. */
static void make_vectors(struct sample *s)
{
    s->plan.width = 2 + below(MAX_WIDTH - 1);
    s->plan.product = TM_VECTORS;
    s->plan.num_outputs = s->plan.width - 1;
    add_shard(s, 0, below(30), make_taken);
    for (size_t i = 0; i < s->plan.width; i++)
        place_source(s, i, one_in(2));
    share_bases(s);
    for (size_t t = 0; t < s->plan.num_tensors; t++)
        for (size_t i = 0; i < s->plan.num_outputs; i++) {
            const struct tm_source *source =
                &s->sources[t * s->plan.width + i + 1];

            s->targets[t * s->plan.num_outputs + i].shard =
                source->file == TM_NO_FILE ? TM_NO_TARGET : source->file % 2;
        }
}

#define KINDS 4

static void make_sample(struct sample *s, uint64_t number)
{
    begin_sample(s, number);
    s->has_phases = one_in(2);
    s->has_whole = one_in(3);
    switch (number % KINDS) {
    case 0:
        make_merge(s);
        break;
    case 1:
        make_stored_merge(s);
        break;
    case 2:
        make_apply(s);
        break;
    default:
        make_vectors(s);
    }
    s->plan.model_is_known = s->plan.measures_model && one_in(3);
}

/* --- what was stored -----------------------------------------------------*/

/* How many units had each chunk. */
struct found {
    unsigned char times[MAX_CODED * MAX_CHUNKS];
};

/* A chunk lies where src/sources.c looks for it. */
static void find_chunk(const struct sample *s, const struct tm_unit *unit,
                       const struct tm_source *source, uint64_t chunk,
                       uint64_t place)
{
    const struct tm_coded_source *coded = &s->coded[source->offset];
    const struct tm_read *read = find_read(unit, place);
    uint64_t offset = coded->coded->offset;

    for (uint64_t c = 0; c < chunk; c++)
        offset += coded->lengths[c];
    assert_int_equal(read->file, source->file);
    assert_int_equal(read->offset + (place - read->place), offset);
    assert_true(place - read->place + coded->lengths[chunk] <= read->need);
}

/* Looks for all chunks of one tile. */
static void find_chunks(const struct sample *s, const struct tm_unit *unit,
                        size_t number, size_t column, struct found *found)
{
    const struct tm_tile *tile = &unit->tiles[number];
    const struct tm_source *source =
        &tm_plan_sources(&s->plan, tile->tensor)[column];
    const uint64_t step = chunk_of(s, tile->tensor);
    uint64_t place = unit->places[number * s->plan.width + column];

    if (source->file == TM_NO_FILE || !source->is_coded ||
        (is_of_model(unit) && s->tensors[tile->tensor].phases == 0))
        return;
    for (uint64_t c = tile->first / step; c * step < tile->first + tile->count;
         c++) {
        const uint64_t bytes = chunk_bytes(s, source, c);

        if (bytes == 0)
            continue;
        find_chunk(s, unit, source, c, place);
        found->times[source->offset * MAX_CHUNKS + c] +=
            unit->aim == TM_AIM_OUTPUT;
        place += bytes;
    }
}

/* Every chunk that has bytes was in one unit whose output is made. */
static void check_found(const struct sample *s, const struct found *found)
{
    for (size_t i = 0; i < s->plan.num_tensors * s->plan.width; i++) {
        const struct tm_source *source = &s->sources[i];

        for (uint64_t c = 0; source->is_coded && c < MAX_CHUNKS; c++)
            assert_int_equal(found->times[source->offset * MAX_CHUNKS + c],
                             source->file != TM_NO_FILE &&
                                 chunk_bytes(s, source, c) > 0);
    }
}

/*
 * Cuts the plan and checks all of it. Where the limits are too small, says so
 * in *refused: then only the units before that are checked.
 */
static struct need cut(const struct sample *s,
                       const struct tm_unit_limits *limits, bool *refused)
{
    static struct found found;
    struct walk walk;
    enum tm_cut result;

    memset(&found, 0, sizeof(found));
    begin_walk(&walk, s, limits);
    while ((result = next_unit(&walk, limits)) == TM_CUT_UNIT)
        for (size_t i = 0; i < walk.unit.num_tiles; i++)
            for (size_t c = 0; c < s->plan.width && !is_header(s, &walk.unit);
                 c++)
                find_chunks(s, &walk.unit, i, c, &found);
    *refused = result == TM_CUT_SLOT;
    if (result == TM_CUT_END)
        check_found(s, &found);
    end_walk(&walk);
    return walk.need;
}

/* --- tests ---------------------------------------------------------------*/

#define SAMPLES 2000

static struct sample sample;

/* With room for everything, only the span limits a unit. */
static void test_spans(void **state)
{
    static const uint64_t blocks[] = {1, 7, 128, 1024, 1000000};

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

/* What cutting the plan was found to need is enough. */
static void test_least_limits(void **state)
{
    (void)state;
    for (uint64_t number = 0; number < SAMPLES; number++) {
        struct tm_unit_limits limits;
        struct need least, again;
        bool refused;

        make_sample(&sample, number);
        limits = ample(&sample, 1 + below(one_in(2) ? 8 : 2000));
        least = cut(&sample, &limits, &refused);
        limits.slot_bytes = least.slot_bytes;
        limits.reads = least.reads > 0 ? least.reads : 1;
        limits.tiles = least.tiles > 0 ? least.tiles : 1;
        again = cut(&sample, &limits, &refused);
        assert_false(refused);
        assert_memory_equal(&again, &least, sizeof(least));
    }
}

/* Any limits: all of the plan, or a refusal. */
static void test_random_limits(void **state)
{
    unsigned refusals = 0, wholes = 0;

    (void)state;
    for (uint64_t number = 0; number < 2 * SAMPLES; number++) {
        struct tm_unit_limits limits;
        struct need need;
        bool refused;

        make_sample(&sample, 1000 + number);
        limits = ample(&sample, 1 + below(2000));
        need = cut(&sample, &limits, &refused);
        if (one_in(2))
            limits.slot_bytes = 1 + below(need.slot_bytes + TM_BLOCK);
        if (one_in(2))
            limits.tiles = 1 + below(12);
        limits.reads = limits.tiles * sample.plan.width;
        if (one_in(2))
            limits.reads = 1 + below(limits.reads);
        cut(&sample, &limits, &refused);
        if (refused)
            refusals++;
        else
            wholes++;
    }
    assert_true(refusals > SAMPLES / 8 && wholes > SAMPLES / 8);
}

/* A refusal says how large the slot has to be; with that it goes on. */
static void test_refusal_says_what_fits(void **state)
{
    (void)state;
    for (uint64_t number = 0; number < SAMPLES; number++) {
        struct tm_unit_limits limits;
        struct walk walk;
        enum tm_cut result;

        make_sample(&sample, number);
        limits = ample(&sample, 1024);
        begin_walk(&walk, &sample, &limits);
        limits.slot_bytes = TM_BLOCK;
        while ((result = next_unit(&walk, &limits)) != TM_CUT_END) {
            if (result != TM_CUT_SLOT)
                continue;
            assert_true(walk.unit.slot_bytes > limits.slot_bytes);
            limits.slot_bytes = walk.unit.slot_bytes;
            assert_int_equal(next_unit(&walk, &limits), TM_CUT_UNIT);
            assert_int_equal(walk.unit.slot_bytes, limits.slot_bytes);
        }
        end_walk(&walk);
    }
}

/* --- the budget ----------------------------------------------------------*/

/* Tensors of several units that were kept, and such that were not. */
static unsigned times_kept, times_swept;

/* Requests of what the ordered stage writes of the unit (src/hash.c). */
static size_t write_requests(const struct sample *s, const struct tm_unit *unit)
{
    const uint64_t begin = tm_round_down(unit->begin, TM_BLOCK);
    const uint64_t end = unit->end == s->shards[unit->shard].size
                             ? block_end(unit->end)
                             : tm_round_down(unit->end, TM_BLOCK);
    size_t requests = 0;

    if (s->plan.product == TM_MODEL)
        return end > begin ? tm_requests(end - begin) : 0;
    for (size_t i = 0; i < s->plan.num_outputs && !is_header(s, unit); i++)
        requests += tm_requests(worst_of(s, unit, i).bytes + TM_BLOCK);
    return requests;
}

/*
 * What is kept from phase to phase has a slot for each of its units: else they
 * would wait for each other. What is read again was counted.
 */
static void check_room(const struct sample *s, const struct progress *p)
{
    const struct tm_budget *budget = &s->plan.budget;
    uint64_t once = 0;

    assert_true(budget->fixed + budget->slots * budget->slot <= budget->total);
    assert_true(budget->workers <= budget->slots);
    for (size_t t = 0; t < s->plan.num_tensors; t++) {
        const struct tm_plan_tensor *tensor = &s->tensors[t];

        assert_true((tensor->units > 0) ==
                    (is_measured(s, t) && tensor->bytes > budget->span));
        assert_true(tensor->is_swept ? tensor->units > 0
                                     : tensor->units <= budget->slots);
        for (size_t i = 0; i < s->plan.width; i++)
            once += tm_plan_source_bytes(&s->plan, t, i);
        times_swept += tensor->is_swept;
        times_kept += tensor->units > 1 && !tensor->is_swept;
    }
    assert_int_equal(p->input_bytes, once + s->plan.bytes_swept);
}

/* As the run does: a unit needs no more than the budget has. */
static void cut_as_planned(const struct sample *s)
{
    const struct tm_budget *budget = &s->plan.budget;
    const struct tm_unit_limits limits = {
        .span = budget->span,
        .slot_bytes = budget->slot,
        .tiles = budget->tiles,
        .reads = budget->requests,
    };
    struct walk walk;
    enum tm_cut result;

    begin_walk(&walk, s, &limits);
    while ((result = next_unit(&walk, &limits)) == TM_CUT_UNIT) {
        size_t reads = 0;

        for (size_t i = 0; i < walk.unit.num_reads; i++)
            reads += tm_requests(walk.unit.reads[i].len);
        assert_true(reads <= budget->requests);
        assert_true(write_requests(s, &walk.unit) <= budget->requests);
    }
    assert_int_equal(result, TM_CUT_END);
    assert_int_equal(walk.need.units, budget->units);
    assert_int_equal(walk.need.slot_bytes, budget->slot);
    assert_int_equal(walk.need.tiles, budget->tiles);
    assert_int_equal(walk.need.pieces, budget->pieces);
    assert_int_equal(walk.need.checks, budget->checks);
    assert_int_equal(walk.need.sums, budget->unit_sums);
    check_room(s, &walk.progress);
    end_walk(&walk);
}

/* Divides the memory, if that is enough, and says nothing if not. */
static bool divide_memory(struct sample *s, uint64_t memory, unsigned threads)
{
    const struct tm_settings settings = {.memory = memory, .threads = threads};
    const int err = dup(STDERR_FILENO);
    const int nowhere = open("/dev/null", O_WRONLY);
    enum tm_status status;

    assert_true(err >= 0 && nowhere >= 0);
    assert_true(dup2(nowhere, STDERR_FILENO) >= 0);
    status = tm_plan_budget(&s->plan, &settings);
    assert_true(dup2(err, STDERR_FILENO) >= 0);
    close(err);
    close(nowhere);
    return status == TM_OK;
}

/* What is found to be needed when the plan is made is enough in the run. */
static void test_budget(void **state)
{
    (void)state;
    times_kept = times_swept = 0;
    for (uint64_t number = 0; number < SAMPLES; number++) {
        uint64_t memory;

        make_sample(&sample, 5000 + number);
        for (size_t t = 0; t < sample.plan.num_tensors; t++)
            sample.tensors[t].is_swept = false; /* nobody knows yet */
        memory = (one_in(2) ? 24 + below(60) : 256 + below(2048)) << 20;
        if (divide_memory(&sample, memory, 1 + (unsigned)below(40)))
            cut_as_planned(&sample);
        else
            assert_true(memory < (uint64_t)84 << 20);
    }
    assert_true(times_kept > 100 && times_swept > 100);
}

/* --- plans of one tensor -------------------------------------------------*/

static uint64_t words_wanted;

static void make_wanted(struct tm_plan_tensor *tensor)
{
    make_words(tensor, TM_TAKE, TM_BF16, words_wanted);
    tensor->base_elements = words_wanted;
}

/* A stored vector of one tensor, put back. */
static void make_one(uint64_t words, uint8_t state)
{
    begin_sample(&sample, words);
    words_wanted = words;
    sample.plan.width = 2;
    add_shard(&sample, 1000, 1, make_wanted);
    place_source(&sample, 0, false);
    sample.sources[0].dtype = TM_BF16;
    sample.sources[1].file = add_files(&sample);
    sample.sources[1].dtype = TM_BF16;
    encode_source(&sample, 0, 1, state);
}

/* What is stored of it is little. */
static void make_compressible(uint64_t words)
{
    make_one(words, TM_ALONE);
    sample.sources[0].file = TM_NO_FILE;
    sample.records[0].bytes = 0;
    for (uint64_t c = 0; c < sample.records[0].count; c++) {
        sample.lengths[c] = TM_CHUNK_HEAD + 1;
        sample.records[0].bytes += sample.lengths[c];
    }
}

/* The block that two units share may make a request more of a write. */
static void test_budget_of_shared_blocks(void **state)
{
    const struct tm_settings settings = {.memory = (uint64_t)512 << 20,
                                         .threads = 1};
    const uint64_t middle = (TM_REQUEST + TM_REQUEST / 2) / 2;

    (void)state;
    for (uint64_t words = middle - 5000; words < middle + 5000; words += 99) {
        make_compressible(words);
        assert_int_equal(tm_plan_budget(&sample.plan, &settings), TM_OK);
        cut_as_planned(&sample);
    }
}

/* Shorter spans than a chunk make units of one chunk. */
static void test_units_are_chunks(void **state)
{
    bool refused;

    (void)state;
    for (uint64_t blocks = 1; blocks <= 128; blocks *= 2) {
        struct tm_unit_limits limits;

        make_one(4 * WORDS + 77, TM_DELTA);
        limits = ample(&sample, blocks);
        assert_int_equal(cut(&sample, &limits, &refused).units, 1 + 5);
        assert_false(refused);
    }
}

/* A span of several chunks holds as many as fit. */
static void test_spans_of_chunks(void **state)
{
    struct tm_unit_limits limits;
    bool refused;

    (void)state;
    make_one(4 * WORDS + 77, TM_DELTA);
    limits = ample(&sample, 2 * WORDS * 2 / TM_BLOCK);
    assert_int_equal(cut(&sample, &limits, &refused).units, 1 + 3);
    limits.span -= TM_BLOCK; /* the last, short one goes with another */
    assert_int_equal(cut(&sample, &limits, &refused).units, 1 + 4);
    limits.span = (4 * WORDS + 77) * 2 / TM_BLOCK * TM_BLOCK + TM_BLOCK;
    assert_int_equal(cut(&sample, &limits, &refused).units, 1 + 1);
}

/* Cuts sample chunk by chunk; the reads that each had, in digits. */
static uint64_t reads_by_unit(void)
{
    const struct tm_unit_limits limits = ample(&sample, 1);
    struct walk walk;
    uint64_t digits = 0;

    begin_walk(&walk, &sample, &limits);
    while (next_unit(&walk, &limits) == TM_CUT_UNIT)
        if (!is_header(&sample, &walk.unit))
            digits = digits * 10 + walk.unit.num_reads;
    end_walk(&walk);
    return digits;
}

/* Chunks that are the same are not read, and the base only while it lasts. */
static void test_reads_only_what_there_is(void **state)
{
    (void)state;
    make_one(3 * WORDS + 9, TM_UNCHANGED);
    assert_int_equal(reads_by_unit(), 1111);
    make_one(3 * WORDS + 9, TM_ALONE);
    assert_int_equal(reads_by_unit(), 2222);
    sample.tensors[0].base_elements = WORDS + 1;
    assert_int_equal(reads_by_unit(), 2211);
    sample.tensors[0].base_elements = WORDS;
    assert_int_equal(reads_by_unit(), 2111);
    sample.tensors[0].base_elements = 0;
    assert_int_equal(reads_by_unit(), 1111);
    sample.sources[0].file = TM_NO_FILE;
    assert_int_equal(reads_by_unit(), 1111);
    sample.records[0].bytes -= sample.lengths[1];
    sample.lengths[1] = 0;
    assert_int_equal(reads_by_unit(), 1011);
}

/* A unit ends where what is made goes on in another file. */
static void test_units_have_one_target(void **state)
{
    static const uint32_t shards[] = {0, 0, 1, 1, TM_NO_TARGET, 1, 0, 0};
    const size_t count = sizeof(shards) / sizeof(shards[0]);
    struct tm_unit_limits limits;
    bool refused;

    (void)state;
    begin_sample(&sample, 3);
    words_wanted = 1000;
    sample.plan.width = 2;
    sample.plan.product = TM_VECTORS;
    sample.plan.num_outputs = 1;
    add_shard(&sample, 0, count, make_wanted);
    place_source(&sample, 0, false);
    place_source(&sample, 1, false);
    for (size_t i = 0; i < count; i++)
        sample.targets[i].shard = shards[i];
    limits = ample(&sample, 1000);
    assert_int_equal(cut(&sample, &limits, &refused).units, 5);
    assert_false(refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_least_limits),
        cmocka_unit_test(test_random_limits),
        cmocka_unit_test(test_refusal_says_what_fits),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_budget_of_shared_blocks),
        cmocka_unit_test(test_units_are_chunks),
        cmocka_unit_test(test_spans_of_chunks),
        cmocka_unit_test(test_reads_only_what_there_is),
        cmocka_unit_test(test_units_have_one_target),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
