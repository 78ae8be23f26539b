/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget: how --memory is divided.
 *
 *     total = fixed + slots * (buffers of a unit + its bookkeeping)
 *
 * The span of a unit is the largest of which enough units fit that reading,
 * computing and writing can overlap. What a unit needs is not estimated: the
 * plan is cut as the run will cut it, and the largest unit counts.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/budget.h"

#include "src/cpus.h"
#include "src/pipeline.h"

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

static void note_unit(const struct tm_plan *plan, struct need *need,
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
}

/* Cuts the plan with spans of `span` bytes, whatever memory that takes. */
static enum tm_status measure(const struct tm_plan *plan, uint64_t span,
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

/* Memory of what each worker works with. */
static uint64_t worker_memory(const struct tm_plan *plan)
{
    if (!tm_plan_is_chunked(plan))
        return 0;
    return tm_coder_memory() + plan->budget.decoded + plan->budget.converted +
           TM_DRIFT_BINS * sizeof(uint32_t);
}

static uint64_t fixed_memory(const struct tm_plan *plan)
{
    const uint64_t hashers =
        (uint64_t)TM_OPEN_STREAMS * (plan->width + 2) * HASHER_BYTES;

    return plan->bytes_kept + plan->arena.bytes + tm_results_memory(plan) +
           hashers + plan->budget.workers * worker_memory(plan) +
           FIXED_OVERHEAD;
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

/* Writes down how many units of `need` the pool holds. */
static void settle(struct tm_plan *plan, uint64_t span, uint64_t pool,
                   const struct need *need)
{
    struct tm_budget *budget = &plan->budget;
    const uint64_t each = unit_memory(plan, need);
    uint64_t slots = (pool < POOL_MOST ? pool : POOL_MOST) / each;

    if (slots < SLOTS_LEAST)
        slots = SLOTS_LEAST;
    if (slots > SLOTS_MOST)
        slots = SLOTS_MOST;
    if (slots > need->units && need->units > 0)
        slots = need->units;
    budget->span = span;
    budget->slot = need->slot;
    budget->slots = (size_t)slots;
    budget->tiles = need->tiles;
    budget->requests = need->requests;
    budget->pieces = need->pieces;
    budget->checks = need->checks;
    budget->units = need->units;
}

enum tm_status tm_plan_budget(struct tm_plan *plan,
                              const struct tm_settings *settings)
{
    uint64_t fixed, pool;
    struct need need;

    plan->budget = (struct tm_budget){
        .total = settings->memory,
        .workers = tm_cpus_to_use(settings->threads),
    };
    measure_chunks(plan);
    /* Half for what workers have, so that something is left to work on. */
    while (plan->budget.workers > 1 &&
           plan->budget.workers * worker_memory(plan) > settings->memory / 2)
        plan->budget.workers--;
    fixed = fixed_memory(plan);
    pool = settings->memory > fixed ? settings->memory - fixed : 0;
    plan->budget.fixed = fixed;
    for (uint64_t span = first_span(plan, pool);; span /= 2) {
        const enum tm_status status = measure(plan, span, &need);
        const uint64_t slots =
            need.slot > 0 ? pool / unit_memory(plan, &need) : SLOTS_MOST;

        if (status != TM_OK)
            return status;
        if (slots >= SLOTS_WANTED ||
            (span == TM_BLOCK && slots >= SLOTS_LEAST)) {
            settle(plan, span, pool, &need);
            return TM_OK;
        }
        if (span == TM_BLOCK)
            return too_small(plan, fixed, &need);
    }
}
