/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget: how --memory is divided.
 *
 *     total = fixed + slots * (buffers of a unit + its bookkeeping)
 *
 * The span of a unit is the largest of which enough units fit that reading,
 * computing and writing can overlap. What a unit needs is not estimated: the
 * plan is cut as the run will cut it, and the largest unit counts.
 *
 * A tensor that is measured before it is made is read once if all of its
 * units fit in the pool together, however large that makes it; else it is
 * swept, once for each phase.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/budget.h"

#include "src/cpus.h"
#include "src/keeper.h"
#include "src/pipeline.h"
#include "src/recorded.h"
#include "src/work.h"

/* Largest span: four requests a stream are enough for any disk. */
#define SPAN_MAX ((uint64_t)4 << 20)

/* Units in flight that keep all stages busy: two in each of read, compute and
 * write, and two that change over. */
#define SLOTS_WANTED 8

/* One unit can be read while another is written. */
#define SLOTS_LEAST 2

/* More in flight only takes caches away. */
#define SLOTS_MOST 32
#define POOL_MOST  ((uint64_t)128 << 20)

/*
 * Tiles of a unit: small tensors are moved thousands at a time. Beyond 64 Ki
 * places the bookkeeping outgrows the data.
 */
#define TILES_LEAST   ((size_t)64)
#define PLACES_WANTED ((size_t)64 << 10)

/*
 * Tensors of several units that are worked on at a time: the one whose output
 * is made and the next, and more where they are small and their state takes
 * little of the budget.
 */
#define GROUPS_LEAST ((size_t)2)
#define GROUPS_MOST  ((size_t)8)
#define GROUPS_SHARE 16

/* Units in flight beside those of a tensor that is kept as a whole, so that
 * the next one is read meanwhile. */
#define SLOTS_BESIDE        2
#define SLOTS_BESIDE_WANTED 6

/* Open shards, their hashers, and file tables of the C library. */
#define FIXED_OVERHEAD ((uint64_t)1 << 20)

/* libxxhash's state (XXH3_state_t). */
#define HASHER_BYTES 640

/* What cutting the whole plan with some span needs. */
struct need {
    uint64_t slot;
    size_t tiles;
    size_t requests;
    size_t pieces;
    size_t checks;
    size_t sums;
    uint64_t units;
};

static size_t tiles_at_once(const struct tm_plan *plan)
{
    const size_t tiles = PLACES_WANTED / plan->width;

    return tiles > TILES_LEAST ? tiles : TILES_LEAST;
}

/* Requests of the unit's reads, or of its writes if they are more. */
static size_t requests_of(const struct tm_plan *plan,
                          const struct tm_unit *unit)
{
    size_t reads = 0;
    size_t writes =
        tm_requests(unit->output + (unit->end - unit->begin) + TM_BLOCK);

    for (size_t i = 0; i < unit->num_reads; i++)
        reads += tm_requests(unit->reads[i].len);
    if (plan->num_outputs > 0)
        writes = plan->num_outputs + tm_requests(unit->slot_bytes);
    return reads > writes ? reads : writes;
}

static void note_unit(struct tm_plan *plan, struct need *need,
                      const struct tm_unit *unit)
{
    const size_t requests = requests_of(plan, unit);

    need->units++;
    if (unit->slot_bytes > need->slot)
        need->slot = unit->slot_bytes;
    if (unit->num_tiles > need->tiles)
        need->tiles = unit->num_tiles;
    if (requests > need->requests)
        need->requests = requests;
    if (unit->num_pieces > need->pieces)
        need->pieces = unit->num_pieces;
    if (unit->num_checks > need->checks)
        need->checks = unit->num_checks;
    if (unit->num_sums > need->sums)
        need->sums = unit->num_sums;
    if (unit->group != TM_NO_GROUP && unit->is_last)
        plan->tensors[unit->group].units = (uint32_t)(unit->number + 1);
}

/* Cuts the plan with spans of `span` bytes, whatever memory that takes. */
static enum tm_status measure(struct tm_plan *plan, uint64_t span,
                              struct need *need)
{
    const struct tm_unit_limits limits = {
        .span = span,
        .slot_bytes = UINT64_MAX,
        .tiles = tiles_at_once(plan),
        .reads = tiles_at_once(plan) * plan->width,
    };
    struct tm_cutter cutter;
    struct tm_unit unit = {0};
    enum tm_status status = TM_OK;

    *need = (struct need){0};
    for (size_t t = 0; t < plan->num_tensors; t++)
        plan->tensors[t].units = 0;
    if (!tm_cutter_init(&cutter, plan, &limits) ||
        !tm_unit_init(&unit, plan, &limits))
        status = tm_no_memory();
    while (status == TM_OK &&
           tm_cutter_next(&cutter, &limits, &unit) == TM_CUT_UNIT)
        note_unit(plan, need, &unit);
    tm_unit_free(&unit);
    tm_cutter_free(&cutter);
    return status;
}

/* Memory of one unit in flight. */
static uint64_t unit_memory(const struct tm_plan *plan, const struct need *need)
{
    const struct tm_unit_limits limits = {
        .tiles = need->tiles,
        .reads = need->requests,
    };

    return need->slot + tm_unit_memory(plan, &limits) +
           need->requests * sizeof(struct tm_transfer) +
           need->pieces * sizeof(struct tm_piece) +
           need->checks * sizeof(uint64_t) +
           /* of the job, and of a worker that has it */
           2 * need->sums * sizeof(double) +
           plan->budget.work.selects * sizeof(uint64_t) +
           (plan->num_outputs + 1) * sizeof(struct tm_write);
}

/* The words of one chunk of a tensor, as many as it has. */
static uint64_t chunk_words(const struct tm_plan_tensor *tensor)
{
    const uint64_t words =
        tensor->operation == TM_COPY
            ? tensor->bytes / tm_word_bytes((enum tm_dtype)tensor->dtype)
            : tensor->elements;

    return words < TM_CHUNK_WORDS ? words : TM_CHUNK_WORDS;
}

/* The largest buffers that decoding and encoding a chunk takes. */
static void measure_chunks(struct tm_plan *plan)
{
    struct tm_budget *budget = &plan->budget;

    if (!tm_plan_is_chunked(plan))
        return;
    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_plan_tensor *tensor = &plan->tensors[t];
        const struct tm_source *sources = tm_plan_sources(plan, t);
        const uint64_t words = chunk_words(tensor);
        uint64_t converted =
            words * tm_word_bytes((enum tm_dtype)tensor->dtype);
        uint64_t decoded = 0;

        for (size_t i = 1; i < plan->width; i++) {
            const uint64_t bytes =
                words * tm_word_bytes((enum tm_dtype)sources[i].dtype);

            if (sources[i].file == TM_NO_FILE)
                continue;
            if (sources[i].is_coded)
                decoded += bytes;
            if (bytes > converted)
                converted = bytes;
        }
        if (decoded > budget->decoded)
            budget->decoded = decoded;
        if (converted > budget->converted)
            budget->converted = converted;
    }
}

static void at_least(size_t *most, size_t value)
{
    if (value > *most)
        *most = value;
}

/* Whether both have the same inputs, in the same order. */
static bool same_inputs(const struct tm_terms *a, const struct tm_terms *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (a->terms[i].column != b->terms[i].column)
            return false;
    return true;
}

/* What is measured of the model as a whole must have the same inputs. */
static enum tm_status check_model(const struct tm_plan *plan)
{
    const struct tm_plan_tensor *first = NULL;

    for (size_t t = 0; t < plan->num_tensors && plan->measures_model; t++) {
        const struct tm_plan_tensor *tensor = &plan->tensors[t];

        if (tensor->phases == 0)
            continue;
        if (first == NULL)
            first = tensor;
        if (!same_inputs(first->terms, tensor->terms))
            return tm_error(TM_BAD_DATA,
                            "tensor '%s': has other inputs than '%s', and %s "
                            "measures the model as a whole",
                            tensor->name, first->name,
                            plan->recipe->method->name);
    }
    return TM_OK;
}

/* What the method of each tensor does with it, and the memory that takes. */
static void measure_methods(struct tm_plan *plan)
{
    const struct tm_method *method = plan->recipe->method;
    struct tm_budget *budget = &plan->budget;
    bool has_some = false;
    size_t phased = 0;

    for (size_t t = 0; t < plan->num_tensors; t++) {
        struct tm_plan_tensor *tensor = &plan->tensors[t];
        struct tm_work_sizes sizes;

        if (tensor->operation != TM_MERGE)
            continue;
        if (tensor->terms->count > 0) {
            tensor->phases = (uint8_t)tm_method_phases(method, tensor->terms);
            tensor->by_row = tm_method_is_by_row(method, tensor->terms);
        }
        tensor->is_sum = tensor->terms->count == 0 ||
                         tm_method_is_sum(method, tensor->terms);
        tensor->in_strips = tensor->phases > 0 || !tensor->is_sum;
        sizes =
            tm_method_sizes(method, tensor->terms, tensor->row, tensor->plane);
        at_least(&budget->work.sums, sizes.sums);
        at_least(&budget->work.counts, sizes.counts);
        at_least(&budget->work.numbers, sizes.numbers);
        at_least(&budget->work.selects, sizes.selects);
        at_least(&budget->terms, tensor->terms->count);
        if (tensor->in_strips && budget->strip < TM_STRIP)
            budget->strip = TM_STRIP;
        if (tensor->in_strips && tensor->by_row && budget->strip < tensor->row)
            budget->strip = tensor->row;
        phased += tensor->phases > 0;
        has_some |= tensor->phases > 0 && tensor->bytes > 0;
    }
    plan->measures_model &= has_some; /* else no unit would ever do it */
    if (phased == 0)
        return;
    plan->model_is_known = plan->measures_model && tm_recorded_is_enough(plan);
    budget->groups =
        (size_t)(budget->total / GROUPS_SHARE / (tm_work_memory(plan) + 1));
    if (budget->groups > GROUPS_MOST)
        budget->groups = GROUPS_MOST;
    if (budget->groups < GROUPS_LEAST)
        budget->groups = GROUPS_LEAST;
    if (budget->groups > phased)
        budget->groups = phased;
}

/* Memory of what each worker works with. */
static uint64_t worker_memory(const struct tm_plan *plan)
{
    const uint64_t method = tm_strips_memory(plan) + tm_work_memory(plan);

    if (!tm_plan_is_chunked(plan))
        return method;
    return method + tm_coder_memory() + plan->budget.decoded +
           plan->budget.converted + TM_DRIFT_BINS * sizeof(uint32_t);
}

static uint64_t fixed_memory(const struct tm_plan *plan)
{
    const uint64_t hashers =
        (uint64_t)TM_OPEN_STREAMS * (plan->width + 2) * HASHER_BYTES;

    return plan->bytes_kept + plan->arena.bytes + tm_results_memory(plan) +
           hashers + plan->budget.workers * worker_memory(plan) +
           tm_groups_memory(plan) + tm_keeper_memory(plan) + FIXED_OVERHEAD;
}

/* The first span to try: of which SLOTS_WANTED would fit if all went well. */
static uint64_t first_span(const struct tm_plan *plan, uint64_t pool)
{
    const uint64_t share = pool / SLOTS_WANTED / (plan->width + 1);
    uint64_t span = SPAN_MAX;

    while (span > TM_BLOCK && span > share)
        span /= 2;
    return span;
}

static enum tm_status too_small(const struct tm_plan *plan, uint64_t fixed,
                                const struct need *need)
{
    const uint64_t least = fixed + SLOTS_LEAST * unit_memory(plan, need);

    return tm_error(TM_USAGE,
                    "--memory %llu is too small: this takes at "
                    "least %lluM",
                    (unsigned long long)plan->budget.total,
                    (unsigned long long)((least + (1 << 20) - 1) >> 20));
}

/*
 * Finds out which tensors are kept as a whole, of `most` slots, and returns
 * how many slots these want; 0 if there are none.
 */
static uint64_t keep_tensors(struct tm_plan *plan, uint64_t most)
{
    uint64_t wanted = 0;

    for (size_t t = 0; t < plan->num_tensors; t++) {
        struct tm_plan_tensor *tensor = &plan->tensors[t];

        tensor->is_swept =
            tensor->units > 0 && (uint64_t)tensor->units + SLOTS_BESIDE > most;
        if (tensor->units > 0 && !tensor->is_swept &&
            tensor->units + SLOTS_BESIDE_WANTED > wanted)
            wanted = tensor->units + SLOTS_BESIDE_WANTED;
    }
    return wanted < most ? wanted : most;
}

/*
 * About the --memory with which every tensor would be kept: groups, which are
 * more then, and rounding included.
 */
static uint64_t memory_to_keep(const struct tm_plan *plan, uint64_t each)
{
    const uint64_t step = (uint64_t)64 << 20;
    uint64_t units = 0, bytes;

    for (size_t t = 0; t < plan->num_tensors; t++)
        if (plan->tensors[t].units > units)
            units = plan->tensors[t].units;
    bytes = plan->budget.fixed + (units + SLOTS_BESIDE) * each +
            (GROUPS_MOST - plan->budget.groups) * tm_work_memory(plan);
    return (bytes / step + 1) * step;
}

/* Writes down how many units of `need` the pool holds. */
static void settle(struct tm_plan *plan, uint64_t span, uint64_t pool,
                   const struct need *need)
{
    struct tm_budget *budget = &plan->budget;
    const uint64_t each = unit_memory(plan, need);
    const uint64_t wanted = keep_tensors(plan, pool / each);
    uint64_t slots = (pool < POOL_MOST ? pool : POOL_MOST) / each;

    if (slots < SLOTS_LEAST)
        slots = SLOTS_LEAST;
    if (slots > SLOTS_MOST)
        slots = SLOTS_MOST;
    if (slots < wanted)
        slots = wanted;
    if (slots > need->units && need->units > 0)
        slots = need->units;
    if (budget->workers > slots)
        budget->workers = (unsigned)slots; /* the rest would have nothing */
    budget->keeps_all = memory_to_keep(plan, each);
    budget->span = span;
    budget->slot = need->slot;
    budget->slots = (size_t)slots;
    budget->tiles = need->tiles;
    budget->requests = need->requests;
    budget->pieces = need->pieces;
    budget->checks = need->checks;
    budget->unit_sums = need->sums;
    budget->units = need->units;
}

/* What is read of `tensor` each time. */
static uint64_t input_bytes(const struct tm_plan *plan, size_t tensor)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < plan->width; i++)
        bytes += tm_plan_source_bytes(plan, tensor, i);
    return bytes;
}

/* Adds what is read more than once. */
static void add_sweeps(struct tm_plan *plan)
{
    for (size_t t = 0; t < plan->num_tensors; t++) {
        const struct tm_plan_tensor *tensor = &plan->tensors[t];
        const unsigned first = tm_plan_first_phase(plan, tensor);
        unsigned sweeps = plan->model_is_known ? 0 : first;

        if (tensor->is_swept) {
            sweeps += tensor->phases - first;
            plan->budget.units +=
                (uint64_t)tensor->units * (tensor->phases - first);
        }
        plan->bytes_swept += sweeps * input_bytes(plan, t);
    }
    plan->bytes_read += plan->bytes_swept;
}

/* One worker and as few groups as there may be; false: that is so already. */
static bool do_with_less(struct tm_budget *budget)
{
    const bool has_more = budget->workers > 1 || budget->groups > GROUPS_LEAST;

    budget->workers = 1;
    if (budget->groups > GROUPS_LEAST)
        budget->groups = GROUPS_LEAST;
    return has_more;
}

/* Divides what there is among units; *fits: whether it is enough. */
static enum tm_status divide(struct tm_plan *plan, struct need *need,
                             bool *fits)
{
    const uint64_t total = plan->budget.total;
    const uint64_t fixed = fixed_memory(plan);
    const uint64_t pool = total > fixed ? total - fixed : 0;

    plan->budget.fixed = fixed;
    for (uint64_t span = first_span(plan, pool);; span /= 2) {
        const enum tm_status status = measure(plan, span, need);
        const uint64_t slots =
            need->slot > 0 ? pool / unit_memory(plan, need) : SLOTS_MOST;

        if (status != TM_OK)
            return status;
        *fits =
            slots >= SLOTS_WANTED || (span == TM_BLOCK && slots >= SLOTS_LEAST);
        if (*fits)
            settle(plan, span, pool, need);
        if (*fits || span == TM_BLOCK)
            return TM_OK;
    }
}

enum tm_status tm_plan_budget(struct tm_plan *plan,
                              const struct tm_settings *settings)
{
    enum tm_status status;
    bool fits = false;
    struct need need;

    plan->budget = (struct tm_budget){
        .total = settings->memory,
        .workers = tm_cpus_to_use(settings->threads),
    };
    measure_chunks(plan);
    measure_methods(plan);
    status = check_model(plan);
    if (status != TM_OK)
        return status;
    /* Half for what workers have, so that something is left to work on. */
    while (plan->budget.workers > 1 &&
           plan->budget.workers * worker_memory(plan) > settings->memory / 2)
        plan->budget.workers--;
    status = divide(plan, &need, &fits);
    if (status == TM_OK && !fits && do_with_less(&plan->budget))
        status = divide(plan, &need, &fits);
    if (status != TM_OK)
        return status;
    if (!fits)
        return too_small(plan, plan->budget.fixed, &need);
    add_sweeps(plan);
    return TM_OK;
}
