/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mark: where a run can be gone on with, and what it needs to know there.
 *
 * Plans are made up at random as in test_unit.c, with vectors that are made
 * and without. They are cut into units, at whose ends marks are made of
 * results that are made up too: what comes out of them again must be what was
 * known when they were noted, whatever has come since. A mark that is cut
 * short, changed, or of a place where no unit ends must do no harm.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/unit/unit_sample.h"

#include "src/mark.h"
#include "src/pipeline.h"

/* --- plans ---------------------------------------------------------------*/

static struct sample sample;
static struct tm_output_shard output_shards[MAX_WIDTH][MAX_SHARDS];
static struct tm_output_record output_records[MAX_WIDTH][MAX_TENSORS];

/* Words of a tensor of a plan that has chunks: few, or several chunks. */
static uint64_t random_words(void)
{
    switch (below(4)) {
    case 0:
        return below(3);
    case 1:
        return below(3000);
    case 2:
        return (1 + below(3)) * TM_CHUNK_WORDS + below(3);
    default:
        return below(4 * TM_CHUNK_WORDS);
    }
}

static void make_tensor_of(struct tm_plan_tensor *tensor, uint8_t operation,
                           uint64_t elements)
{
    const uint8_t dtype = (uint8_t)below(TM_NUM_FLOATS);

    *tensor = (struct tm_plan_tensor){
        .name = "tensor",
        .operation = operation,
        .dtype = dtype,
        .elements = elements,
        .base_elements = one_in(2) ? elements : below(elements + 1),
        .bytes = elements * tm_dtype_bits((enum tm_dtype)dtype) / 8,
    };
}

static void make_plain(struct tm_plan_tensor *tensor)
{
    static const uint8_t operations[] = {TM_MERGE, TM_MERGE, TM_TAKE, TM_COPY};

    make_tensor_of(tensor, operations[below(4)], below(one_in(2) ? 40 : 30000));
}

static void make_chunked(struct tm_plan_tensor *tensor)
{
    make_tensor_of(tensor, one_in(4) ? TM_COPY : TM_MERGE, random_words());
}

static void make_taken(struct tm_plan_tensor *tensor)
{
    make_tensor_of(tensor, TM_TAKE, random_words());
}

/* Chunks of a tensor. */
static uint64_t chunks_of(const struct sample *s, size_t tensor)
{
    const uint64_t step = tm_plan_chunk(&s->tensors[tensor]);

    return (tm_plan_count(&s->tensors[tensor]) + step - 1) / step;
}

/* Makes a source a stored vector's, with chunks of any length. */
static void encode_source(struct sample *s, size_t column)
{
    for (size_t t = 0; t < s->plan.num_tensors; t++) {
        const size_t number = s->plan.num_coded;
        struct tm_source *source = &s->sources[t * s->plan.width + column];
        struct tm_coded *record = &s->records[number];

        if (source->file == TM_NO_FILE)
            continue;
        s->plan.num_coded++;
        *record = (struct tm_coded){.count = chunks_of(s, t)};
        for (uint64_t c = 0; c < record->count; c++) {
            s->lengths[number * MAX_CHUNKS + c] = (uint32_t)below(9000);
            record->bytes += s->lengths[number * MAX_CHUNKS + c];
        }
        record->offset = take_bytes(s, source->file, record->bytes);
        s->coded[number] = (struct tm_coded_source){
            .coded = record, .lengths = &s->lengths[number * MAX_CHUNKS]};
        source->is_coded = true;
        source->offset = number;
    }
}

/* Which shard of the vector has the tensor. */
static uint32_t target_of(const struct sample *s, size_t tensor, size_t output)
{
    const struct tm_source *source =
        &s->sources[tensor * s->plan.width + output + 1];

    if (s->plan.product == TM_MODEL_VECTOR)
        return s->tensors[tensor].shard;
    return source->file == TM_NO_FILE ? TM_NO_TARGET : source->file % 2;
}

/* The records of one shard of a vector. */
static void fill_shard(struct sample *s, size_t number, size_t shard)
{
    struct tm_output *output = &s->outputs[number];

    output->shards[shard] =
        (struct tm_output_shard){.name = "file", .first = output->num_records};
    for (size_t t = 0; t < s->plan.num_tensors; t++) {
        struct tm_target *target =
            &s->targets[t * s->plan.num_outputs + number];

        if (target_of(s, t, number) != shard)
            continue;
        target->shard = (uint32_t)shard;
        target->record = (uint32_t)output->shards[shard].count++;
        output->records[output->num_records++] = (struct tm_output_record){
            .name = "tensor",
            .words = s->tensors[t].elements,
            .first = output->num_chunks,
            .count = chunks_of(s, t),
        };
        output->num_chunks += chunks_of(s, t);
    }
}

static void add_outputs(struct sample *s, size_t count)
{
    s->plan.num_outputs = count;
    for (size_t t = 0; t < s->plan.num_tensors * count; t++)
        s->targets[t].shard = TM_NO_TARGET;
    for (size_t i = 0; i < count; i++) {
        s->outputs[i] = (struct tm_output){
            .directory = "vector/",
            .shards = output_shards[i],
            .num_shards =
                s->plan.product == TM_MODEL_VECTOR ? s->plan.num_shards : 2,
            .records = output_records[i],
        };
        for (size_t k = 0; k < s->outputs[i].num_shards; k++)
            fill_shard(s, i, k);
    }
}

enum { PLAIN, CHUNKED, STORED, VECTORS, KINDS };

static void add_shards(struct sample *s, make_tensor *make, size_t most)
{
    const size_t shards = 1 + below(MAX_SHARDS);

    for (size_t i = 0; i < shards; i++)
        add_shard(s, one_in(3) ? 8 + below(9000) : TM_BLOCK, below(most + 1),
                  make);
}

/* At most so many tensors in a shard. */
static void make_sample(struct sample *s, uint64_t number, size_t most)
{
    const unsigned kind = number % KINDS;

    begin_sample(s, number);
    s->has_phases = one_in(2);
    s->has_whole = one_in(3);
    s->plan.width = 2 + below(MAX_WIDTH - 1);
    if (kind == VECTORS) {
        s->plan.product = TM_VECTORS;
        add_shard(s, 0, 1 + below(most), make_taken);
    } else {
        s->plan.product = kind == STORED ? TM_MODEL_VECTOR : TM_MODEL;
        add_shards(s, kind == PLAIN ? make_plain : make_chunked, most);
    }
    for (size_t i = 0; i < s->plan.width; i++)
        place_source(s, i, one_in(2));
    if (kind == CHUNKED)
        encode_source(s, 1);
    if (kind == STORED)
        add_outputs(s, 1);
    if (kind == VECTORS)
        add_outputs(s, s->plan.width - 1);
    s->plan.model_is_known = s->plan.measures_model && one_in(3);
}

/* Spans that give a few units, and many. */
static struct tm_unit_limits random_limits(const struct sample *s)
{
    const uint64_t most = tm_plan_is_chunked(&s->plan) ? 2000 : 30;
    struct tm_unit_limits limits = ample(s, 1 + below(one_in(2) ? most : 8));

    if (one_in(3))
        limits.tiles = 1 + below(6);
    return limits;
}

/* Whether a mark may come behind the unit. */
static bool is_markable(const struct tm_unit *unit)
{
    return unit->aim == TM_AIM_OUTPUT &&
           (unit->group == TM_NO_GROUP || unit->is_last);
}

/* --- going on ------------------------------------------------------------*/

/* The place says just what the units so far have covered. */
static void check_place_of(const struct walk *walk,
                           const struct tm_mark_place *place)
{
    const struct sample *s = walk->sample;
    const struct pass *pass = &walk->progress.output;
    uint64_t bytes = 0;

    assert_int_equal(place->shard, pass->shard);
    assert_int_equal(place->position, pass->position);
    for (size_t i = 0; i < place->shard; i++)
        bytes += s->shards[i].size;
    assert_int_equal(place->bytes_done, bytes + place->position);
    for (size_t t = 0; t < s->plan.num_tensors; t++) {
        const uint64_t count = tm_plan_count(&s->tensors[t]);

        if (t < place->tensor)
            assert_int_equal(pass->owned[t], count);
        else if (t == place->tensor && place->is_part)
            assert_true(pass->owned[t] > 0 && pass->owned[t] < count);
        else
            assert_int_equal(pass->owned[t], 0);
    }
}

/* A cutter that begins there, under other limits, makes all the rest. */
static void go_on(const struct walk *walk, const struct tm_mark_place *place)
{
    const struct sample *s = walk->sample;
    const struct tm_unit_limits limits = random_limits(s);
    const bool sweeps = s->plan.measures_model && !s->plan.model_is_known;
    struct progress *p;
    struct walk rest;
    enum tm_cut cut;

    begin_walk(&rest, s, &limits);
    p = &rest.progress;
    p->output = walk->progress.output;
    tm_cutter_start(&rest.cutter, (size_t)place->shard, place->position);
    while ((cut = tm_cutter_next(&rest.cutter, &limits, &rest.unit)) ==
           TM_CUT_UNIT)
        check_unit(s, &rest.unit, &limits, p);
    assert_int_equal(cut, TM_CUT_END);
    assert_true(p->model_is_over == sweeps);
    assert_int_equal(p->number, 0);
    for (size_t t = 0; t < s->plan.num_tensors; t++)
        assert_int_equal(p->output.owned[t], tm_plan_count(&s->tensors[t]));
    assert_int_equal(p->output.shard, s->plan.num_shards - 1);
    assert_int_equal(p->output.position, s->shards[p->output.shard].size);
    end_walk(&rest);
}

#define WALKS 400

static void test_going_on(void **state)
{
    unsigned places = 0, parts = 0, groups = 0, sweeps = 0;

    (void)state;
    for (uint64_t number = 0; number < WALKS; number++) {
        struct tm_unit_limits limits;
        struct walk walk;

        make_sample(&sample, number, 20);
        limits = random_limits(&sample);
        begin_walk(&walk, &sample, &limits);
        while (next_unit(&walk, &limits) == TM_CUT_UNIT) {
            struct tm_mark_place place;

            if (!is_markable(&walk.unit))
                continue;
            place = tm_mark_place_of(&sample.plan, &walk.unit);
            check_place_of(&walk, &place);
            if (!one_in(1 + walk.need.units / 4))
                continue;
            go_on(&walk, &place);
            places++;
            parts += place.is_part;
            groups += walk.unit.group != TM_NO_GROUP;
            sweeps += walk.progress.model_is_over;
        }
        end_walk(&walk);
    }
    assert_true(places > 1000 && parts > 200 && groups > 20 && sweeps > 20);
}

/* --- results that are made up --------------------------------------------*/

static void fill(void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((unsigned char *)bytes)[i] = (unsigned char)(next_random() >> 24);
}

/* Any number, and quiet ones that are none. */
static double random_real(void)
{
    const uint64_t nan = UINT64_C(0x7ff0000000000000);
    uint64_t bits = next_random();
    double value;

    if (one_in(8) || (bits & nan) == nan)
        bits |= nan | nan >> 1;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void add_some(struct tm_hasher *hasher)
{
    unsigned char bytes[600];
    const size_t length = below(sizeof(bytes));

    fill(bytes, length);
    tm_hasher_add(hasher, bytes, length);
}

static bool same_hashers(const struct tm_hasher *a, const struct tm_hasher *b)
{
    const struct tm_digest x = tm_hasher_digest(a), y = tm_hasher_digest(b);

    return memcmp(&x, &y, sizeof(x)) == 0;
}

/* A run: what it knows, and what the mark at hand should say of that. */
struct run {
    struct sample *s;
    struct tm_pipeline pipeline;
    struct tm_results results;
    struct tm_results expected;
    struct tm_results taken; /* of all marks so far */
    struct tm_stream stream;
    struct tm_stream marked; /* the stream as it was noted */
    struct tm_stream resumed;
    struct tm_mark mark;
    struct tm_mark_place before;
    size_t tensor;       /* the first that is not complete */
    unsigned generation; /* of counts */
};

static void begin_run(struct run *run, struct sample *s)
{
    const size_t width = s->plan.width;

    *run = (struct run){.s = s};
    run->pipeline.plan = &s->plan;
    run->pipeline.results = &run->results;
    assert_int_equal(tm_results_init(&run->results, &s->plan), TM_OK);
    assert_int_equal(tm_results_init(&run->expected, &s->plan), TM_OK);
    assert_int_equal(tm_results_init(&run->taken, &s->plan), TM_OK);
    assert_true(tm_stream_init(&run->stream, width));
    assert_true(tm_stream_init(&run->marked, width));
    assert_true(tm_stream_init(&run->resumed, width));
    /* As tm_made_create leaves it. */
    for (size_t i = 0; i < s->plan.num_outputs; i++)
        for (size_t k = 0; k < s->outputs[i].num_shards; k++) {
            struct tm_made_shard *shard = &run->results.made[i].shards[k];

            shard->header_bytes = 8 * (1 + below(1500));
            shard->position = shard->marked = shard->header_bytes;
        }
}

static void end_run(struct run *run)
{
    const size_t width = run->s->plan.width;

    tm_results_free(&run->results);
    tm_results_free(&run->expected);
    tm_results_free(&run->taken);
    tm_stream_free(&run->stream, width);
    tm_stream_free(&run->marked, width);
    tm_stream_free(&run->resumed, width);
    tm_mark_free(&run->mark);
}

static void change_stats(struct tm_sum_stats *stats)
{
    *stats = (struct tm_sum_stats){.nonfinite_inputs = next_random(),
                                   .nonfinite_outputs = next_random(),
                                   .overflows = next_random()};
}

/* The number of a vector's record of the tensor; false: it has none. */
static bool find_record(const struct sample *s, size_t output, size_t tensor,
                        size_t *record)
{
    const struct tm_target *target =
        &s->targets[tensor * s->plan.num_outputs + output];

    if (target->shard == TM_NO_TARGET)
        return false;
    *record = s->outputs[output].shards[target->shard].first + target->record;
    return true;
}

/* What may change of a tensor while its units come by. */
static void change_part(struct run *run, size_t tensor)
{
    change_stats(&run->results.stats[tensor]);
    for (size_t i = 0; i < run->s->plan.num_outputs; i++) {
        struct tm_made *made = &run->results.made[i];
        struct tm_coded *coded;
        size_t number;

        if (!find_record(run->s, i, tensor, &number))
            continue;
        coded = &made->records[number];
        coded->offset = next_random();
        coded->bytes = next_random();
        coded->count = below(made->output->records[number].count + 1);
        coded->base_probe = next_random();
        coded->state = (uint8_t)below(3);
        fill(&coded->base_digest, sizeof(coded->base_digest));
        fill(&coded->tuned_digest, sizeof(coded->tuned_digest));
        fill(coded->chunks_digest, sizeof(coded->chunks_digest));
        made->stats[number] = (struct tm_vector_stats){
            next_random(), random_real(), random_real(), random_real(),
            random_real()};
    }
}

static void change_lengths(struct run *run, size_t tensor)
{
    for (size_t i = 0; i < run->s->plan.num_outputs; i++) {
        const struct tm_output *output = &run->s->outputs[i];
        size_t number;

        if (find_record(run->s, i, tensor, &number))
            fill(run->results.made[i].lengths + output->records[number].first,
                 output->records[number].count * sizeof(uint32_t));
    }
}

/* Chunks come to a shard of a vector; it need not grow of them. */
static void grow(struct tm_made_shard *shard)
{
    add_some(&shard->chunks);
    shard->counts.tuned_bytes[below(TM_NUM_CODINGS)] += below(1000);
    shard->is_touched = true;
    if (one_in(2))
        return;
    shard->position += below(9000);
    shard->counts.stored_bytes[below(TM_NUM_CODINGS)] += below(1000);
    add_some(&shard->data);
    fill(shard->block, TM_BLOCK);
}

/* The shards of vectors that chunks of the stream's units may go to. */
static void grow_some(struct run *run)
{
    const struct tm_plan *plan = &run->s->plan;

    for (size_t i = 0; i < plan->num_outputs; i++)
        for (size_t k = 0; k < plan->outputs[i].num_shards; k++)
            if ((plan->product == TM_VECTORS || k == run->stream.shard) &&
                one_in(2))
                grow(&run->results.made[i].shards[k]);
}

static void change_stream(struct run *run)
{
    struct tm_stream *stream = &run->stream;

    add_some(&stream->whole);
    add_some(&stream->tensor);
    for (size_t i = 0; i < run->s->plan.width; i++)
        add_some(&stream->sources[i]);
    fill(stream->block, TM_BLOCK);
    fill(stream->middle, TM_PROBE_BYTES);
}

static void count_some(struct run *run)
{
    for (size_t i = 0; i < run->s->plan.num_outputs; i++)
        for (size_t k = below(4); k > 0; k--)
            run->results.made[i]
                .counts[run->generation][below(TM_DRIFT_BINS)] +=
                1 + below(1000);
}

/* What a unit does that ends at the place. */
static void run_unit(struct run *run, const struct tm_unit *unit,
                     const struct tm_mark_place *place)
{
    const struct sample *s = run->s;
    const size_t width = s->plan.width;

    if (unit->begin == 0)
        tm_stream_reset(&run->stream, width, unit->shard);
    for (; run->tensor < place->tensor; run->tensor++) {
        change_part(run, run->tensor);
        change_lengths(run, run->tensor);
        fill(&run->results.tensors[run->tensor], sizeof(struct tm_digest));
        fill(&run->results.sources[run->tensor * width],
             width * sizeof(struct tm_digest));
    }
    if (place->is_part) {
        change_part(run, (size_t)place->tensor);
        change_lengths(run, (size_t)place->tensor);
    }
    change_stream(run);
    grow_some(run);
    count_some(run);
    if (unit->end == s->shards[unit->shard].size)
        fill(&run->results.shards[unit->shard], sizeof(struct tm_digest));
}

/* --- what is expected ----------------------------------------------------*/

static void expect_record(struct run *run, size_t output, size_t tensor)
{
    const struct tm_made *from = &run->results.made[output];
    struct tm_made *to = &run->expected.made[output];
    size_t number;

    if (!find_record(run->s, output, tensor, &number))
        return;
    to->records[number] = from->records[number];
    to->stats[number] = from->stats[number];
}

static void expect_shard(struct run *run, size_t output, size_t number)
{
    const struct tm_made_shard *from =
        &run->results.made[output].shards[number];
    struct tm_made_shard *to = &run->expected.made[output].shards[number];

    if (from->marked == from->header_bytes && !from->is_touched &&
        to->marked == 0)
        return; /* nothing to say of it so far */
    to->position = to->marked = from->position;
    tm_hasher_copy(&to->data, &from->data);
    tm_hasher_copy(&to->chunks, &from->chunks);
    to->counts = from->counts;
    memcpy(to->block, from->block, TM_BLOCK);
}

/* Before the mark is noted: what goes on changing. */
static void expect_noted(struct run *run, const struct tm_mark_place *place)
{
    const struct tm_plan *plan = &run->s->plan;

    tm_hasher_copy(&run->marked.whole, &run->stream.whole);
    tm_hasher_copy(&run->marked.tensor, &run->stream.tensor);
    for (size_t i = 0; i < plan->width; i++)
        tm_hasher_copy(&run->marked.sources[i], &run->stream.sources[i]);
    memcpy(run->marked.block, run->stream.block, TM_BLOCK);
    memcpy(run->marked.middle, run->stream.middle, TM_PROBE_BYTES);
    for (size_t i = 0; i < plan->num_outputs; i++) {
        for (size_t k = 0; k < plan->outputs[i].num_shards; k++)
            if (plan->product == TM_VECTORS || k <= place->shard)
                expect_shard(run, i, k);
        if (place->is_part)
            expect_record(run, i, (size_t)place->tensor);
    }
    if (place->is_part)
        run->expected.stats[place->tensor] = run->results.stats[place->tensor];
}

/* Before it is put: what is complete. */
static void expect_put(struct run *run, const struct tm_mark_place *place)
{
    const struct tm_plan *plan = &run->s->plan;
    struct tm_results *to = &run->expected, *from = &run->results;
    const bool is_end = place->position == plan->shards[place->shard].size;
    const size_t tensors = (size_t)place->tensor;

    memcpy(to->shards, from->shards,
           (place->shard + is_end) * sizeof(*to->shards));
    memcpy(to->tensors, from->tensors, tensors * sizeof(*to->tensors));
    memcpy(to->sources, from->sources,
           tensors * plan->width * sizeof(*to->sources));
    memcpy(to->stats, from->stats, tensors * sizeof(*to->stats));
    for (size_t i = 0; i < plan->num_outputs; i++) {
        for (size_t t = 0; t < tensors; t++)
            expect_record(run, i, t);
        for (size_t t = 0; t < tensors + place->is_part; t++) {
            const struct tm_output_record *record;
            size_t number;

            if (!find_record(run->s, i, t, &number))
                continue;
            record = &plan->outputs[i].records[number];
            memcpy(to->made[i].lengths + record->first,
                   from->made[i].lengths + record->first,
                   record->count * sizeof(uint32_t));
        }
        memcpy(to->made[i].counts[0],
               from->made[i].counts[run->mark.generation],
               TM_DRIFT_BINS * sizeof(uint64_t));
    }
}

/* --- comparing -----------------------------------------------------------*/

static void compare_record(const struct tm_coded *a, const struct tm_coded *b)
{
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->first, b->first);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->base_words, b->base_words);
    assert_int_equal(a->base_probe, b->base_probe);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->base_code, b->base_code);
    assert_memory_equal(&a->base_digest, &b->base_digest,
                        sizeof(a->base_digest));
    assert_memory_equal(&a->tuned_digest, &b->tuned_digest,
                        sizeof(a->tuned_digest));
    assert_memory_equal(a->chunks_digest, b->chunks_digest,
                        sizeof(a->chunks_digest));
}

static void compare_shard(const struct tm_made_shard *a,
                          const struct tm_made_shard *b)
{
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->marked, b->marked);
    assert_true(same_hashers(&a->data, &b->data));
    assert_true(same_hashers(&a->chunks, &b->chunks));
    assert_memory_equal(&a->counts, &b->counts, sizeof(a->counts));
    assert_memory_equal(a->block, b->block, a->position % TM_BLOCK);
}

static void compare_made(const struct tm_made *a, const struct tm_made *b)
{
    for (size_t i = 0; i < a->output->num_records; i++)
        compare_record(&a->records[i], &b->records[i]);
    for (size_t i = 0; i < a->output->num_shards; i++)
        compare_shard(&a->shards[i], &b->shards[i]);
    assert_memory_equal(a->stats, b->stats,
                        a->output->num_records * sizeof(*a->stats));
    assert_memory_equal(a->lengths, b->lengths,
                        a->output->num_chunks * sizeof(*a->lengths));
    for (size_t i = 0; i < 2; i++)
        assert_memory_equal(a->counts[i], b->counts[i],
                            TM_DRIFT_BINS * sizeof(uint64_t));
}

/* All of it: what was not marked is as it was before the first unit. */
static void compare_results(const struct run *run)
{
    const struct tm_plan *plan = &run->s->plan;
    const struct tm_results *a = &run->expected, *b = &run->taken;

    assert_memory_equal(a->shards, b->shards,
                        plan->num_shards * sizeof(*a->shards));
    assert_memory_equal(a->tensors, b->tensors,
                        plan->num_tensors * sizeof(*a->tensors));
    assert_memory_equal(a->sources, b->sources,
                        plan->num_tensors * plan->width * sizeof(*a->sources));
    assert_memory_equal(a->stats, b->stats,
                        plan->num_tensors * sizeof(*a->stats));
    for (size_t i = 0; i < plan->num_outputs; i++)
        compare_made(&a->made[i], &b->made[i]);
}

static void compare_streams(const struct run *run,
                            const struct tm_mark_place *place)
{
    const struct tm_plan *plan = &run->s->plan;
    const struct tm_stream *a = &run->marked, *b = &run->resumed;

    assert_true(same_hashers(&a->whole, &b->whole));
    assert_true(same_hashers(&a->tensor, &b->tensor));
    for (size_t i = 0; i < plan->width; i++)
        assert_true(same_hashers(&a->sources[i], &b->sources[i]));
    if (plan->product == TM_MODEL)
        assert_memory_equal(a->block, b->block, place->position % TM_BLOCK);
    if (plan->num_outputs > 0)
        assert_memory_equal(a->middle, b->middle, TM_PROBE_BYTES);
}

/* --- files ---------------------------------------------------------------*/

/* What the mark says of a shard of the model. */
static void check_model_file(const struct run *run,
                             const struct tm_mark_file *file)
{
    const struct tm_mark_place *place = &run->mark.place;
    const uint64_t size = run->s->shards[file->number].size;
    const bool is_whole =
        file->number < place->shard || place->position == size;
    const struct tm_digest digest = is_whole
                                        ? run->expected.shards[file->number]
                                        : tm_hasher_digest(&run->marked.whole);

    assert_true(file->number >= run->before.shard);
    assert_true(file->number <= place->shard);
    assert_int_equal(file->from, 0);
    assert_int_equal(file->to, is_whole ? size : place->position);
    assert_int_equal(file->tail_length,
                     is_whole ? 0 : place->position % TM_BLOCK);
    assert_memory_equal(file->tail, run->marked.block, file->tail_length);
    assert_memory_equal(&file->digest, &digest, sizeof(digest));
}

/* And of a shard of a vector. */
static void check_made_file(const struct run *run,
                            const struct tm_mark_file *file)
{
    const struct tm_output *output = run->s->outputs;
    const struct tm_made *made = run->expected.made;
    const struct tm_made_shard *shard;
    struct tm_digest digest;
    uint64_t number = file->number, own, tail;

    for (; number >= output->num_shards; output++, made++)
        number -= output->num_shards;
    shard = &made->shards[number];
    digest = tm_hasher_digest(&shard->data);
    tail = shard->position % TM_BLOCK;
    own = file->to - file->from < tail ? file->to - file->from : tail;
    assert_int_equal(file->from, run->results.made[made - run->expected.made]
                                     .shards[number]
                                     .header_bytes);
    assert_int_equal(file->to, shard->position);
    assert_int_equal(file->tail_length, own);
    assert_memory_equal(file->tail, shard->block + (tail - own), own);
    assert_memory_equal(&file->digest, &digest, sizeof(digest));
}

static void check_files(const struct run *run, struct tm_unpack *body,
                        uint64_t num_files)
{
    bool seen[MAX_WIDTH * MAX_SHARDS] = {false};
    struct tm_arena arena = {0};

    for (uint64_t i = 0; i < num_files; i++) {
        struct tm_mark_file file;

        assert_true(tm_mark_get_file(body, &file));
        assert_true(file.number < tm_mark_num_files(&run->s->plan));
        assert_false(seen[file.number]);
        seen[file.number] = true;
        assert_string_equal(
            tm_mark_file_name(&run->s->plan, &arena, (size_t)file.number),
            run->s->plan.num_outputs > 0 ? "vector/file" : "shard");
        if (run->s->plan.num_outputs > 0)
            check_made_file(run, &file);
        else
            check_model_file(run, &file);
    }
    for (uint64_t k = run->before.shard;
         run->s->plan.num_outputs == 0 && k <= run->mark.place.shard; k++)
        assert_true(seen[k]);
    tm_arena_free(&arena);
}

/* --- marks ---------------------------------------------------------------*/

/* Makes a mark at the place; units go on until it is put. */
static void make_mark(struct run *run, const struct tm_mark_place *place,
                      struct tm_pack *pack)
{
    run->mark.place = *place;
    run->mark.place.bytes_read = next_random();
    run->mark.generation = run->generation;
    run->generation = 1 - run->generation;
    expect_noted(run, place);
    tm_mark_note(&run->mark, &run->pipeline, &run->stream);
    if (place->position < run->s->shards[place->shard].size) {
        change_stream(run);
        grow_some(run);
    }
    if (place->is_part)
        change_part(run, (size_t)place->tensor);
    count_some(run);
    expect_put(run, place);
    assert_true(tm_mark_put(&run->mark, &run->pipeline, &run->before, pack));
    for (size_t i = 0; i < run->s->plan.num_outputs; i++)
        tm_made_settle(&run->results.made[i], run->mark.generation);
}

/* Reads it into what was taken of the marks before. */
static void check_mark(struct run *run, const unsigned char *bytes,
                       size_t length)
{
    const struct tm_mark_place *right = &run->mark.place;
    struct tm_unpack body = {.at = bytes, .left = length}, stream;
    struct tm_mark_place place;
    uint64_t num_files;

    assert_true(tm_mark_get_place(&body, &place, &num_files));
    assert_int_equal(place.shard, right->shard);
    assert_int_equal(place.position, right->position);
    assert_int_equal(place.tensor, right->tensor);
    assert_true(place.is_part == right->is_part);
    assert_int_equal(place.bytes_done, right->bytes_done);
    assert_int_equal(place.bytes_read, right->bytes_read);
    check_files(run, &body, num_files);
    assert_true(tm_mark_take(&body, &run->s->plan, &run->before, &place,
                             &run->taken, &stream));
    tm_stream_reset(&run->resumed, run->s->plan.width, (size_t)place.shard);
    assert_true(tm_mark_resume(&stream, &run->s->plan, &place, &run->resumed));
    compare_results(run);
    compare_streams(run, &place);
    run->before = place;
}

/* Bytes of just the length, so that sanitizers see their end. */
static unsigned char *copy_of(const void *bytes, size_t length)
{
    unsigned char *copy = allocate(length);

    memcpy(copy, bytes, length);
    return copy;
}

/* What is done with each mark that a walk comes by. */
typedef void use_mark(struct run *run, const struct tm_pack *pack);

static void walk_and_mark(uint64_t number, size_t most, use_mark *use)
{
    struct run run;
    struct walk walk;
    struct tm_unit_limits limits;

    make_sample(&sample, number, most);
    limits = random_limits(&sample);
    begin_run(&run, &sample);
    begin_walk(&walk, &sample, &limits);
    while (tm_cutter_next(&walk.cutter, &limits, &walk.unit) == TM_CUT_UNIT) {
        struct tm_mark_place place;
        struct tm_pack pack = {0};

        if (walk.unit.aim != TM_AIM_OUTPUT)
            continue;
        place = tm_mark_place_of(&sample.plan, &walk.unit);
        run_unit(&run, &walk.unit, &place);
        if (!is_markable(&walk.unit) || !one_in(3))
            continue;
        make_mark(&run, &place, &pack);
        use(&run, &pack);
        tm_pack_free(&pack);
    }
    end_walk(&walk);
    end_run(&run);
}

static void check_round_trip(struct run *run, const struct tm_pack *pack)
{
    unsigned char *bytes = copy_of(pack->text.bytes, pack->text.length);

    check_mark(run, bytes, pack->text.length);
    free(bytes);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (uint64_t number = 0; number < 160; number++)
        walk_and_mark(10000 + number, number % 8 < 4 ? 4 : 20,
                      check_round_trip);
}

/* --- damage --------------------------------------------------------------*/

/* As whoever goes on reads it, into results that it has to itself. */
static bool read_mark(struct run *run, const unsigned char *bytes,
                      size_t length, struct tm_results *results)
{
    const struct tm_plan *plan = &run->s->plan;
    struct tm_unpack body = {.at = bytes, .left = length}, stream;
    struct tm_mark_place place;
    struct tm_mark_file file;
    uint64_t num_files;

    if (!tm_mark_get_place(&body, &place, &num_files))
        return false;
    for (uint64_t i = 0; i < num_files; i++)
        if (!tm_mark_get_file(&body, &file))
            return false;
    if (!tm_mark_take(&body, plan, &run->before, &place, results, &stream))
        return false;
    tm_stream_reset(&run->resumed, plan->width, (size_t)place.shard);
    return tm_mark_resume(&stream, plan, &place, &run->resumed);
}

/* What later goes by these numbers must not leave its arrays. */
static void check_bounds(const struct tm_results *results)
{
    for (size_t i = 0; i < results->num_made; i++) {
        const struct tm_made *made = &results->made[i];

        for (size_t k = 0; k < made->output->num_records; k++) {
            assert_true(made->records[k].state <= TM_UNCHANGED);
            assert_true(made->records[k].count <=
                        made->output->records[k].count);
        }
    }
}

static void flip(unsigned char *bytes, uint64_t bit)
{
    bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
}

static unsigned marks_left;

/* Marks that are long are only cut here and there. */
#define LONG ((size_t)16000)

static void check_damage(struct run *run, const struct tm_pack *pack)
{
    const size_t length = pack->text.length;
    unsigned char *bytes = copy_of(pack->text.bytes, length);
    struct tm_results results;

    if (marks_left > 0 && (run->mark.place.tensor > 0 || one_in(10))) {
        marks_left--;
        assert_int_equal(tm_results_init(&results, &run->s->plan), TM_OK);
        assert_true(read_mark(run, bytes, length, &results));
        for (size_t there = 0; there<length; there += length> LONG
                                   ? 1 + below(length / LONG * 2)
                                   : 1) {
            unsigned char *cut = copy_of(bytes, there);

            assert_false(read_mark(run, cut, there, &results));
            free(cut);
        }
        for (uint64_t i = 0; i < 10000; i++) {
            const uint64_t bit = i < 512 ? i : below(8 * length);

            flip(bytes, bit);
            if (read_mark(run, bytes, length, &results))
                check_bounds(&results);
            flip(bytes, bit);
        }
        assert_true(read_mark(run, bytes, length, &results));
        tm_results_free(&results);
    }
    free(bytes);
    check_round_trip(run, pack);
}

/* One or two marks of every kind of plan. */
static void test_damage(void **state)
{
    (void)state;
    for (uint64_t number = 20000; number < 20000 + KINDS; number++) {
        marks_left = 2;
        for (uint64_t i = 0; i < 50 && marks_left > 0; i++)
            walk_and_mark(number + i * KINDS, 4, check_damage);
        assert_int_equal(marks_left, 0);
    }
}

/* --- places --------------------------------------------------------------*/

/* Whether a unit that may be marked can end there. */
static bool can_end(const struct sample *s, const struct tm_mark_place *place)
{
    const struct tm_plan_shard *shard;
    const struct tm_plan_tensor *tensor;

    if (place->shard >= s->plan.num_shards)
        return false;
    shard = &s->shards[place->shard];
    if (place->position > shard->size || place->tensor < shard->first ||
        place->tensor > shard->first + shard->count ||
        (place->is_part && place->tensor == shard->first + shard->count))
        return false;
    for (size_t t = shard->first; t < shard->first + shard->count; t++) {
        tensor = &s->tensors[t];
        if (t < place->tensor ? tensor->offset + tensor->bytes > place->position
                              : tensor->offset < place->position &&
                                    !(t == place->tensor && place->is_part))
            return false;
    }
    if (!place->is_part)
        return true;
    tensor = &s->tensors[place->tensor];
    return tensor->offset < place->position &&
           place->position < tensor->offset + tensor->bytes &&
           (place->position - tensor->offset) %
                   (step_of(s, (size_t)place->tensor) * output_size(tensor)) ==
               0 &&
           !is_measured(s, (size_t)place->tensor);
}

/* A place in or around a tensor; often one where a unit can end. */
static struct tm_mark_place random_place(const struct sample *s)
{
    const size_t number = below(s->plan.num_tensors);
    const struct tm_plan_tensor *tensor = &s->tensors[number];
    const struct tm_plan_shard *shard = &s->shards[tensor->shard];
    const uint64_t step =
        tensor->bytes > 0 ? step_of(s, number) * output_size(tensor) : 1;
    const uint64_t near[] = {
        0,
        shard->data_start - below(2),
        shard->size + below(2),
        tensor->offset,
        tensor->offset + tensor->bytes,
        tensor->offset + below(tensor->bytes + 1),
        tensor->offset + below(tensor->bytes / step + 1) * step,
        tensor->offset + below(tensor->bytes / step + 1) * step,
        tensor->offset + below(tensor->bytes / step + 1) * step +
            output_size(tensor),
    };
    struct tm_mark_place place = {
        .shard = tensor->shard,
        .position = near[below(sizeof(near) / sizeof(near[0]))],
        .tensor = number + (one_in(4) ? below(3) : 0),
        .is_part = one_in(2),
    };

    if (one_in(8))
        place.shard += below(3) - 1; /* or before the first */
    if (one_in(8))
        place.tensor -= 1;
    if (one_in(8))
        place.tensor = one_in(2) ? UINT64_MAX : shard->first + shard->count;
    return place;
}

/* Where there are results for a mark to be made of. */
static bool can_be_put(const struct sample *s,
                       const struct tm_mark_place *place)
{
    return place->shard < s->plan.num_shards &&
           place->tensor <= s->plan.num_tensors &&
           place->tensor + place->is_part <= s->plan.num_tensors;
}

/* Makes a mark there, or of nothing, and takes it. */
static bool is_taken(struct run *run, const struct tm_mark_place *place)
{
    struct tm_pack pack = {0};
    struct tm_unpack body, stream;
    struct tm_mark_place own;
    struct tm_mark_file file;
    uint64_t num_files = 0;
    bool taken;

    run->mark.place = *place;
    if (can_be_put(run->s, place)) {
        run->stream.shard = (size_t)place->shard;
        tm_mark_note(&run->mark, &run->pipeline, &run->stream);
        assert_true(
            tm_mark_put(&run->mark, &run->pipeline, &run->before, &pack));
        body = (struct tm_unpack){.at = (const unsigned char *)pack.text.bytes,
                                  .left = pack.text.length};
        assert_true(tm_mark_get_place(&body, &own, &num_files));
        while (num_files-- > 0)
            tm_mark_get_file(&body, &file);
    } else {
        assert_true(tm_pack_room(&pack, 5000) != NULL);
        memset(pack.text.bytes, 0, 5000);
        body = (struct tm_unpack){.at = (const unsigned char *)pack.text.bytes,
                                  .left = 5000};
    }
    taken = tm_mark_take(&body, &run->s->plan, &run->before, place, &run->taken,
                         &stream);
    tm_pack_free(&pack);
    return taken;
}

/* A place is not before the one of the mark before. */
static bool is_behind(const struct tm_mark_place *place,
                      const struct tm_mark_place *before)
{
    return place->shard >= before->shard && place->tensor >= before->tensor &&
           (place->shard > before->shard ||
            place->position >= before->position);
}

static void test_places(void **state)
{
    unsigned taken = 0, parts = 0, refused = 0, early = 0;

    (void)state;
    for (uint64_t number = 0; number < 120; number++) {
        struct run run;

        make_sample(&sample, 30000 + number, 8);
        if (sample.plan.num_tensors == 0)
            continue;
        begin_run(&run, &sample);
        for (size_t i = 0; i < 200; i++) {
            const struct tm_mark_place place = random_place(&sample);
            const bool is_right = can_end(&sample, &place);
            const bool is_early = !is_behind(&place, &run.before);

            assert_true(is_taken(&run, &place) == (is_right && !is_early));
            taken += is_right && !is_early;
            parts += is_right && !is_early && place.is_part;
            refused += !is_right;
            early += is_right && is_early;
            if (is_right && one_in(4))
                run.before = place;
            else if (one_in(4))
                run.before = (struct tm_mark_place){0};
        }
        end_run(&run);
    }
    assert_true(taken > 2000 && parts > 300 && refused > 5000 && early > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_going_on),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
