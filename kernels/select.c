/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select: counters, thresholds, and the last elements that fill no step; the
 * rest is select_template.h's.
 *
 * A fine-tune moves many weights by one unit in the last place, so a few
 * counters take most of the increments, and an increment has to wait for the
 * one before it of the same counter. As in drift_count.h three of four are
 * therefore counted elsewhere and added up at the end. But calls are of a
 * strip, and for one of those clearing counters for every bin would cost more
 * than waiting: so there are spare ones for a window only: sixteen powers of
 * two below the largest magnitude, where almost all others are.
 */
#include "kernels/select.h"

#include <math.h>
#include <string.h>

#include "kernels/select_kernels.h"

#define FLOAT_ABS 0x7fffffffu

/* Under this, waiting costs less than clearing and adding up. */
#define FEW ((size_t)512)

/* Bins that are left free above the first peak: two powers of two. */
#define ABOVE_PEAK 256u

/* So many of a slab outside the window say that it is in the wrong place. */
#define MANY (TM_SELECT_SLAB / 8)

/* A spare counter gets at most a quarter of so many. */
#define PIECE ((size_t)1 << 17)

_Static_assert(PIECE / (TM_SELECT_SPARES + 1) <= UINT16_MAX,
               "spare counters cannot overflow");
_Static_assert(TM_SELECT_SLAB % TM_SUM_STEP == 0, "a slab is steps");

static const struct tm_select_kernels *const tables[TM_NUM_ISAS] = {
    [TM_ISA_PORTABLE] = &tm_select_portable,
#if defined(__aarch64__)
    [TM_ISA_NEON] = &tm_select_neon,
#endif
#if defined(__x86_64__)
    [TM_ISA_AVX2] = &tm_select_avx2,
    [TM_ISA_AVX512] = &tm_select_avx512,
#endif
};

static uint32_t magnitude(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits & FLOAT_ABS;
}

static size_t steps(size_t n)
{
    return n - n % TM_SUM_STEP;
}

/* --- counting the upper bits ---------------------------------------------*/

static void open_window(struct tm_select_window *w, uint32_t peak)
{
    uint32_t end = (peak >> 16) + ABOVE_PEAK;

    if (end > TM_HIGH_BINS)
        end = (uint32_t)TM_HIGH_BINS;
    w->start = end > TM_SELECT_WINDOW ? end - TM_SELECT_WINDOW : 0;
    memset(w->spare, 0, sizeof(w->spare));
}

/*
 * n: a multiple of TM_SUM_STEP, at most PIECE. The window is where the first
 * elements that are not zero want it, and moves if others are elsewhere.
 */
static void count_high(const struct tm_select_kernels *kernels, const float *x,
                       size_t n, uint32_t *counts)
{
    struct tm_select_window w; /* large: not to be cleared as a whole */
    bool open = false;

    w.counts = counts;
    for (size_t i = 0; i < n; i += TM_SELECT_SLAB) {
        size_t slab = n - i < TM_SELECT_SLAB ? n - i : TM_SELECT_SLAB;
        uint32_t peak = open ? 0 : kernels->peak(x + i, slab);

        if (!open && peak == 0) {
            counts[0] += (uint32_t)slab;
            continue;
        }
        if (!open)
            open_window(&w, peak);
        open = kernels->high(&w, x + i, slab) <= MANY;
        if (!open)
            kernels->add_spares(&w);
    }
    if (open)
        kernels->add_spares(&w);
}

static void count_directly(const float *x, size_t n, uint32_t *counts)
{
    for (size_t i = 0; i < n; i++)
        counts[magnitude(x[i]) >> 16]++;
}

void tm_select_high(enum tm_isa isa, const float *x, size_t n, uint32_t *counts)
{
    size_t whole = n < FEW ? 0 : steps(n);

    for (size_t i = 0; i < whole; i += PIECE)
        count_high(tables[isa], x + i, whole - i < PIECE ? whole - i : PIECE,
                   counts);
    count_directly(x + whole, n - whole, counts);
}

/* --- counting the lower bits ---------------------------------------------*/

void tm_select_low(enum tm_isa isa, const float *x, size_t n, uint32_t high,
                   uint32_t *counts)
{
    size_t whole = steps(n);

    if (high >= TM_HIGH_BINS) /* nothing is selected */
        return;
    tables[isa]->low(x, whole, high, counts);
    for (size_t i = whole; i < n; i++)
        if (magnitude(x[i]) >> 16 == high)
            counts[magnitude(x[i]) & 0xffff]++;
}

/* --- thresholds ----------------------------------------------------------*/

static uint64_t total(const uint64_t *counts, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += counts[i];
    return sum;
}

/*
 * From the last of n bins down: the one that has the `wanted`-th, which is
 * there. *above: how many the bins behind it have.
 */
static uint32_t find(const uint64_t *counts, size_t n, uint64_t wanted,
                     uint64_t *above)
{
    size_t bin = n - 1;

    *above = 0;
    while (bin > 0 && counts[bin] < wanted - *above)
        *above += counts[bin--];
    return (uint32_t)bin;
}

void tm_select_find_high(const uint64_t *counts, struct tm_select *select)
{
    uint64_t all = total(counts, TM_HIGH_BINS);

    if (select->wanted == 0) {
        select->high = UINT32_MAX;
        select->above = 0;
    } else if (select->wanted >= all) {
        select->high = 0;
        select->above = all - counts[0];
    } else {
        select->high =
            find(counts, TM_HIGH_BINS, select->wanted, &select->above);
    }
}

/* Nothing is selected, so nothing is equal. */
static void find_nothing(struct tm_select *select)
{
    select->bits = UINT32_MAX;
    select->quota = 0;
    select->equal = 0;
}

void tm_select_find_low(const uint64_t *counts, struct tm_select *select)
{
    uint64_t wanted = select->wanted - select->above, above;
    uint32_t bin;

    if (select->wanted == 0) {
        find_nothing(select);
        return;
    }
    /* Everything: the threshold is zero even where no element is. */
    if (select->high == 0 && wanted >= total(counts, TM_LOW_BINS)) {
        select->bits = 0;
        select->quota = counts[0];
        select->equal = counts[0];
        return;
    }
    bin = find(counts, TM_LOW_BINS, wanted, &above);
    select->bits = select->high << 16 | bin;
    select->quota = wanted - above;
    select->equal = counts[bin];
}

float tm_select_value(const struct tm_select *select)
{
    float value;

    if (select->bits > TM_FINITE_BITS)
        return INFINITY;
    memcpy(&value, &select->bits, sizeof(value));
    return value;
}

/* --- applying ------------------------------------------------------------*/

uint64_t tm_select_equal(enum tm_isa isa, const float *x, size_t n,
                         const struct tm_select *select)
{
    size_t whole = steps(n);
    uint64_t count;

    if (select->bits > TM_FINITE_BITS)
        return 0;
    count = tables[isa]->equal(x, whole, select->bits);
    for (size_t i = whole; i < n; i++)
        count += magnitude(x[i]) == select->bits;
    return count;
}

void tm_select_cut_exact(const float *key, float *x, size_t n,
                         struct tm_select_cut *cut, bool keep)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = magnitude(key[i]);
        bool selected = bits > cut->bits;

        if (bits == cut->bits) {
            selected = cut->left > 0;
            cut->left -= selected;
            cut->met++;
        }
        if (selected != keep)
            x[i] = 0;
    }
}

void tm_select_apply(enum tm_isa isa, float *x, size_t n,
                     const struct tm_select *select, bool keep, uint64_t *ties)
{
    tm_select_apply_by(isa, x, x, n, select, keep, ties);
}

void tm_select_apply_by(enum tm_isa isa, const float *key, float *x, size_t n,
                        const struct tm_select *select, bool keep,
                        uint64_t *ties)
{
    size_t whole = steps(n);
    struct tm_select_cut cut = {
        .bits = select->bits,
        .left = select->quota > *ties ? select->quota - *ties : 0,
        .met = 0,
    };

    /* Above all that is finite; the kernels add 1 to it. */
    if (cut.bits > TM_FINITE_BITS)
        cut.bits = TM_FINITE_BITS + 1;
    tables[isa]->cut(key, x, whole, &cut, keep);
    tm_select_cut_exact(key + whole, x + whole, n - whole, &cut, keep);
    *ties += cut.met;
}
