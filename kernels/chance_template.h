/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chance_template: the kernels of chance_kernels.h, once for all instruction
 * sets.
 *
 * chance_<isa>.c includes a vector layer (vec_<isa>.h), defines what is below,
 * and then includes this, which leaves the table TM_CHANCE_TABLE behind.
 *
 *     vi_equal         which lanes are equal, lane j as bit j
 *     vf_below         x where a < b, +0 elsewhere
 *     vf_list          stores first + j, and `value`, for each lane j in which
 *                      a is from `least` up to `most`, in order, to two arrays
 *                      that have room for a vector; returns how many
 *
 * A random number below the smallest chance, or above the largest, decides
 * without a rank. For the others, which are listed, all elements are counted in
 * bins by their magnitudes, and it mostly decides in which ranks an element's
 * bin is. What is left has magnitudes that many elements have (zero, or one
 * unit in the last place); for each of those the row is gone through once.
 */
#include <string.h>

#include "kernels/chance_kernels.h"

#define FLOAT_ABS 0x7fffffffu

/*
 * Bins are of the magnitudes of sixteen powers of two up to the largest, and
 * what is smaller is in the first. The more elements, the more bins: so that
 * few elements are in one, and counters cost little beside elements.
 */
#define CHANCE_POWERS 16u
#define CHANCE_MOST   2048u
#define CHANCE_TABLES 4

/*
 * A sort takes as long as so many searches for a magnitude. In vectors of one
 * element the few that it mostly takes would cost more.
 */
#define CHANCE_SEARCHES (VEC_LANES > 1 ? 5 * VEC_LANES / 2 : 0)

/* Elements of a search's steps. Padding is a multiple of that. */
#define CHANCE_STEP ((size_t)64)

_Static_assert(CHANCE_STEP % VEC_LANES == 0, "a step is vectors");

#if defined(__clang__)
#define CHANCE_UNROLL _Pragma("clang loop unroll_count(8)")
#else
#define CHANCE_UNROLL _Pragma("GCC unroll 8")
#endif

VEC_INLINE vi vec_magnitude(const float *x)
{
    return vi_and(vi_of(vf_load(x)), vi_set(FLOAT_ABS));
}

static uint32_t chance_magnitude(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits & FLOAT_ABS;
}

/* --- bins ----------------------------------------------------------------*/

struct bins {
    size_t count;
    uint16_t *of; /* each element's */
    /* Elements are counted in turns in four tables (see select.c); then
     * table[0] has the rank of the first one in each bin. */
    uint32_t table[CHANCE_TABLES][CHANCE_MOST + 1];
};

static uint32_t chance_peak(const float *x, size_t n)
{
    uint32_t lanes[VEC_LANES], peak = 0;
    vi most = vi_set(0);
    size_t i;

    for (i = 0; i + VEC_LANES <= n; i += VEC_LANES)
        most = vi_max(most, vec_magnitude(x + i));
    vf_store(lanes, vf_of(most));
    for (int j = 0; j < VEC_LANES; j++)
        peak = lanes[j] > peak ? lanes[j] : peak;
    for (; i < n; i++)
        peak = chance_magnitude(x[i]) > peak ? chance_magnitude(x[i]) : peak;
    return peak;
}

/* Of each element (magnitude >> shift) - start, 0 if that is negative. */
#define DEFINE_BINS(shift)                                                     \
    static void find_bins_##shift(const float *x, size_t n, uint32_t start,    \
                                  uint16_t *out)                               \
    {                                                                          \
        const vi least = vi_set(start), minus = vi_set(0u - start);            \
                                                                               \
        for (size_t i = 0; i < n; i += VEC_LANES) {                            \
            vi upper = VEC_SHR(vec_magnitude(x + i), shift);                   \
                                                                               \
            vi_store16(out + i, vi_add(vi_max(upper, least), minus));          \
        }                                                                      \
    }

DEFINE_BINS(16)
DEFINE_BINS(17)
DEFINE_BINS(18)

static void find_bins(struct bins *bins, const float *x, size_t n)
{
    const unsigned shift = n < 4096 ? 18 : n < 16384 ? 17 : 16;
    uint32_t start = chance_peak(x, n) >> shift;

    bins->count = CHANCE_POWERS << (23 - shift);
    start = start < bins->count ? 0 : start - (uint32_t)bins->count + 1;
    if (shift == 18)
        find_bins_18(x, n, start, bins->of);
    else if (shift == 17)
        find_bins_17(x, n, start, bins->of);
    else
        find_bins_16(x, n, start, bins->of);
}

static void count_bins(struct bins *bins, size_t n)
{
    size_t i;

    for (int t = 0; t < CHANCE_TABLES; t++)
        memset(bins->table[t], 0, bins->count * sizeof(uint32_t));
    for (i = 0; i + 4 <= n; i += 4) {
        uint64_t four;

        memcpy(&four, bins->of + i, sizeof(four));
        bins->table[0][four & 0xffff]++;
        bins->table[1][four >> 16 & 0xffff]++;
        bins->table[2][four >> 32 & 0xffff]++;
        bins->table[3][four >> 48]++;
    }
    for (; i < n; i++)
        bins->table[0][bins->of[i]]++;
}

/* From how many there are in each bin to how many there are before it. */
static void add_up_bins(struct bins *bins)
{
    uint32_t *all = bins->table[0], before = 0;

    for (size_t i = 0; i < bins->count; i += VEC_LANES) {
        vi sum = vi_of(vf_load(all + i));

        for (int t = 1; t < CHANCE_TABLES; t++)
            sum = vi_add(sum, vi_of(vf_load(bins->table[t] + i)));
        vf_store(all + i, vf_of(sum));
    }
    for (size_t i = 0; i < bins->count; i++) {
        uint32_t count = all[i];

        all[i] = before;
        before += count;
    }
    all[bins->count] = before;
}

/* --- what needs a rank ---------------------------------------------------*/

/*
 * Lists the elements whose rank decides, and about which rank would be the
 * least that is kept: (number - least) / step, as a float's bits.
 */
static size_t list_open(const struct tm_chance_row *row, uint32_t *about)
{
    const float factor = (float)(1 / row->chance.step);
    const vf least = vf_set(row->least), most = vf_set(row->most);
    size_t count = 0, i;

    for (i = 0; i + VEC_LANES <= row->n; i += VEC_LANES) {
        vf number = vf_load(row->number + i);

        count += vf_list(row->list + count, about + count, (uint32_t)i,
                         vf_sub(number, least) * vf_set(factor), number, least,
                         most);
    }
    for (; i < row->n; i++) {
        const float rank = (row->number[i] - row->least) * factor;

        row->list[count] = (uint32_t)i;
        memcpy(about + count, &rank, sizeof(rank));
        count += row->number[i] >= row->least && row->number[i] < row->most;
    }
    return count;
}

/*
 * How far the least rank may be from what list_open() said: one that it was
 * rounded down, one that it is itself not kept, and what floats near 1, each
 * under 2^-24 off, and products, each under 2^-23 of n off, add up to.
 */
static int32_t chance_margin(const struct tm_chance_row *row)
{
    const double n = (double)row->n;
    const double margin = 3 + 0x1p-22 / row->chance.step + 0x1p-21 * n;

    return (int32_t)(margin < n ? margin : n);
}

/* From the bits of a float. */
VEC_INLINE int32_t chance_rank(uint32_t bits)
{
    float rank;

    memcpy(&rank, &bits, sizeof(rank));
    return (int32_t)rank;
}

/*
 * Keeps elements by the ranks that their bin has. Lists those of which that
 * does not say whether they are kept. Without branches, which would go either
 * way at random.
 */
static size_t settle_by_bin(const struct tm_chance_row *row,
                            const struct bins *bins, const uint32_t *about,
                            size_t count)
{
    const uint32_t *start = bins->table[0];
    const uint16_t *of = bins->of;
    const int32_t margin = chance_margin(row);
    uint32_t *list = row->list;
    float *number = row->number;
    size_t left = 0;

    for (size_t k = 0; k < count; k++) {
        const uint32_t i = list[k], bin = of[i];
        const int32_t rank = chance_rank(about[k]);
        const bool is_kept = (int32_t)start[bin] >= rank + margin;
        const bool is_open = (int32_t)start[bin + 1] > rank - margin;

        tm_chance_keep(&number[i], is_kept);
        list[left] = i;
        left += is_open & !is_kept;
    }
    return left;
}

/* --- searches ------------------------------------------------------------*/

/* Where a magnitude is found: of 64 elements each, and how many before them. */
struct found {
    uint64_t which;
    uint64_t before;
};

/* Returns the rank of the first. */
static uint32_t search(const struct tm_chance_row *row, uint32_t bits,
                       struct found *found)
{
    const vi wanted = vi_set(bits), one = vi_set(1), zero = vi_set(0);
    const size_t whole = row->n / CHANCE_STEP * CHANCE_STEP;
    uint32_t lanes[VEC_LANES], below = 0;
    struct found f = {0, 0};
    vi less = zero;

    for (size_t i = 0; i < whole; i += CHANCE_STEP) {
        f.which = 0;
        CHANCE_UNROLL
        for (unsigned j = 0; j < CHANCE_STEP; j += VEC_LANES) {
            vi v = vec_magnitude(row->x + i + j);

            less = vi_add(less, vi_if_less(v, wanted, one, zero));
            f.which |= (uint64_t)vi_equal(v, wanted) << j;
        }
        *found++ = f;
        f.before += (uint64_t)__builtin_popcountll(f.which);
    }
    f.which = 0;
    for (size_t i = whole; i < row->n; i++) {
        uint32_t v = chance_magnitude(row->x[i]);

        below += v < bits;
        f.which |= (uint64_t)(v == bits) << (i - whole);
    }
    *found = f;
    vf_store(lanes, vf_of(less));
    for (int j = 0; j < VEC_LANES; j++)
        below += lanes[j];
    return below;
}

/*
 * Moves the elements of that magnitude to another list, which returns its
 * length in *moved. Without branches, as settle_by_bin().
 */
static size_t pick(const struct tm_chance_row *row, uint32_t bits, size_t count,
                   uint32_t *to, size_t *moved)
{
    const float *x = row->x;
    uint32_t *list = row->list;
    size_t left = 0, taken = 0;

    for (size_t k = 0; k < count; k++) {
        const uint32_t i = list[k];
        const bool is = chance_magnitude(x[i]) == bits;

        list[left] = i;
        to[taken] = i;
        left += !is;
        taken += is;
    }
    *moved = taken;
    return left;
}

/* Settles the first on the list and those like it; lists the others. */
static size_t settle_first(const struct tm_chance_row *row, size_t count,
                           struct found *found, uint32_t *like)
{
    const uint32_t bits = chance_magnitude(row->x[row->list[0]]);
    const uint32_t rank = search(row, bits, found);
    const struct tm_chance chance = row->chance;
    float *number = row->number;
    size_t moved, left = pick(row, bits, count, like, &moved);

    for (size_t k = 0; k < moved; k++) {
        const uint32_t i = like[k];
        const struct found f = found[i / CHANCE_STEP];
        const uint64_t ahead = f.which & ((UINT64_C(1) << i % CHANCE_STEP) - 1);
        const uint32_t order =
            (uint32_t)f.before + (uint32_t)__builtin_popcountll(ahead);

        tm_chance_keep(&number[i],
                       tm_chance_keeps(chance, rank + order, number[i]));
    }
    return left;
}

static bool settle(const struct tm_chance_row *row)
{
    const size_t length = row->n / CHANCE_STEP + 1;
    struct found *found = (void *)row->scratch;
    uint32_t *about = (void *)(found + length);
    struct bins bins; /* large: not to be cleared as a whole */
    size_t left;

    if (CHANCE_SEARCHES == 0)
        return false;
    bins.of = (void *)(about + length * CHANCE_STEP);
    find_bins(&bins, row->x, row->n);
    count_bins(&bins, row->n);
    add_up_bins(&bins);
    left = settle_by_bin(row, &bins, about, list_open(row, about));
    for (int k = 0; k < CHANCE_SEARCHES && left > 0; k++)
        left = settle_first(row, left, found, about);
    return left == 0;
}

/* --- the end -------------------------------------------------------------*/

static void drop(float *x, size_t n, const float *number, float least)
{
    const vf end = vf_set(least);

    for (size_t i = 0; i < n; i += VEC_LANES)
        vf_store(x + i, vf_below(vf_load(number + i), end, vf_load(x + i)));
}

const struct tm_chance_kernels TM_CHANCE_TABLE = {
    .settle = settle,
    .drop = drop,
};
