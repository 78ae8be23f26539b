/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rans_tables: masses, frequencies, slots.
 *
 * What the format defines in integers is computed in doubles where that is
 * exact and faster; how it is exact is said where it happens.
 */
#include "kernels/rans_tables.h"

#include <math.h>
#include <string.h>

/* Lengths of masses, the first predicted one, bits of G. */
#define MAX_LENGTH   14
#define FIRST_LENGTH 12
#define GROUP_BITS   6

/* Group 0 is the octave 0, groups 2k - 1 and 2k are the halves of k. */
void tm_rans_alphabet_init(struct tm_rans_alphabet *alphabet, unsigned bits,
                           unsigned direct, unsigned sub)
{
    alphabet->num_groups = 2 * bits - 1;
    alphabet->widths[0] = 1;
    for (unsigned g = 0; g < alphabet->num_groups; g++) {
        struct tm_rans_group *r = &alphabet->groups[g];
        unsigned k = (g + 1) / 2, buckets = 1u << (k < direct ? k : sub);
        unsigned first = 1u << (k < direct ? k : direct);

        if (k > direct)
            first += (k - direct) << sub;
        r->upper = g > 0 && g % 2 == 0;
        r->width = (uint8_t)(g > 0 ? buckets / 2 : buckets);
        r->first = (uint8_t)(r->upper ? first + r->width : first);
        alphabet->widths[2 * g + 1] = alphabet->widths[2 * g + 2] = r->width;
    }
}

/* --- from masses to frequencies ------------------------------------------ */

/* The largest of f - least, the first of those. */
static unsigned largest(const uint16_t *f, const uint8_t *least, unsigned n)
{
    unsigned best = 0;

    for (unsigned i = 1; i < n; i++)
        if (f[i] - least[i] > f[best] - least[best])
            best = i;
    return best;
}

/* Scales masses to frequencies f of them, which add up to T. */
static void scale(const struct tm_rans_alphabet *a,
                  const struct tm_rans_masses *m, uint16_t *f)
{
    static const uint8_t zeros[TM_RANS_MASSES];
    uint8_t least[TM_RANS_MASSES];
    unsigned n = 1 + 2 * m->groups, sum = 0, total = 0;

    for (unsigned i = 0; i < n; i++)
        total += m->q[i];
    for (unsigned i = 0; i < n; i++) {
        unsigned share = m->q[i] * TM_RANS_SCALE / total;

        least[i] = m->q[i] == 0 ? 0 : a->widths[i];
        f[i] = (uint16_t)(share > least[i] ? share : least[i]);
        sum += f[i];
    }
    if (sum < TM_RANS_SCALE)
        f[largest(f, zeros, n)] += TM_RANS_SCALE - sum;
    while (sum > TM_RANS_SCALE) {
        unsigned i = largest(f, least, n), spare = f[i] - least[i];
        unsigned less = sum - TM_RANS_SCALE;

        less = less < spare ? less : spare;
        f[i] -= less;
        sum -= less;
    }
}

/* The integer square root of x < 2^52, whatever the processor rounds to. */
static uint64_t isqrt(uint64_t x)
{
    uint64_t r = (uint64_t)sqrt((double)x);

    return r - (r * r > x);
}

/*
 * Deals f out over w tokens of f[0], f[2] ..., the heights of the edges being
 * left and right: below 2^26, so that v < 2^30 and (f - w) v < 2^41.
 *
 * The sum of v is w^2 (left + right) < 2^33. A quotient that is not whole is
 * at least 2^-33 off the next number, and below 2^11: with the half that is
 * added a product in doubles cannot reach it, nor fall short of a whole one.
 */
static void deal_out(uint16_t *to, unsigned w, unsigned f, uint64_t left,
                     uint64_t right)
{
    double inverse = 1.0 / (double)(w * w * (left + right));
    unsigned given = 0;

    for (unsigned x = 0; x < w; x++) {
        uint64_t v = left * (2 * (w - x) - 1) + right * (2 * x + 1);
        double share = ((double)((f - w) * v) + 0.5) * inverse;

        to[2 * x] = (uint16_t)(1 + (unsigned)share);
        given += to[2 * x];
    }
    to[0] += f - given;
}

/*
 * Group g of one sign, of which m[2 * g] is the frequency. Bucket x has the
 * tokens 2 x - 1 and 2 x.
 */
static void deal_group(const struct tm_rans_alphabet *a, unsigned g,
                       unsigned groups, bool negative, const uint16_t *m,
                       uint16_t *f)
{
    const struct tm_rans_group *r = &a->groups[g];
    uint64_t own = (uint64_t)m[2 * g] << 14, before = own, after = own / 4;
    uint16_t *to = f + 2 * r->first - negative;

    if (r->width == 1)
        to[0] = m[2 * g];
    if (r->width == 1 || own == 0)
        return;
    if (m[2 * g - 2] != 0)
        before = (uint64_t)m[2 * g - 2] << (r->upper ? 14 : 15);
    if (g + 1 < groups && m[2 * g + 2] != 0)
        after = (uint64_t)m[2 * g + 2] << (r->upper ? 13 : 14);
    deal_out(to, r->width, m[2 * g], isqrt(before * own), isqrt(own * after));
}

void tm_rans_frequencies(const struct tm_rans_alphabet *alphabet,
                         const struct tm_rans_masses *masses,
                         uint16_t f[TM_RANS_TOKENS])
{
    uint16_t m[TM_RANS_MASSES];

    memset(f, 0, TM_RANS_TOKENS * sizeof(*f));
    scale(alphabet, masses, m);
    f[0] = m[0];
    for (unsigned g = 0; g < masses->groups; g++) {
        deal_group(alphabet, g, masses->groups, true, m + 1, f);
        deal_group(alphabet, g, masses->groups, false, m + 2, f);
    }
}

/* --- reading ------------------------------------------------------------- */

/* Behind the end there are zeros, which `missing` counts. */
struct reader {
    const unsigned char *next, *end;
    uint64_t bits;
    unsigned count, missing;
};

/* So that there are at least 32 bits. */
static void fill(struct reader *r)
{
    while (r->count < 32) {
        if (r->next < r->end)
            r->bits |= (uint64_t)*r->next++ << r->count;
        else
            r->missing += 8;
        r->count += 8;
    }
}

static unsigned take(struct reader *r, unsigned count)
{
    unsigned value = (unsigned)(r->bits & ((1u << count) - 1));

    r->bits >>= count;
    r->count -= count;
    return value;
}

static bool is_behind_end(const struct reader *r)
{
    return r->missing > r->count;
}

/* The next mass, given the length of the one before. */
static bool read_mass(struct reader *r, unsigned *length, uint16_t *q)
{
    unsigned zeros, u, l, low;

    fill(r);
    zeros = (unsigned)__builtin_ctz((unsigned)r->bits | 1u << 5);
    if (zeros > 4) /* u + 1 is at most 2 x 14 + 1 */
        return false;
    take(r, zeros + 1);
    u = (1u << zeros | take(r, zeros)) - 1;
    l = u % 2 == 0 ? *length + u / 2 : *length - u / 2 - 1;
    if (l > MAX_LENGTH) /* or below 0 */
        return false;
    *length = l;
    low = l > 3 ? 2 : l > 1 ? l - 1 : 0;
    *q = 0;
    if (l > 0)
        *q = (uint16_t)((1u << low | take(r, low)) << (l - 1 - low));
    return true;
}

static bool read_masses(const struct tm_rans_alphabet *alphabet,
                        struct reader *r, struct tm_rans_masses *m)
{
    unsigned length = FIRST_LENGTH, any = 0;

    m->groups = take(r, GROUP_BITS);
    if (m->groups > alphabet->num_groups)
        return false;
    for (unsigned i = 0; i < 1 + 2 * m->groups; i++) {
        if (!read_mass(r, &length, &m->q[i]))
            return false;
        any |= m->q[i];
    }
    return any != 0;
}

/* A token's slots; those behind them, to the end of a run, are overwritten. */
static void fill_token(uint32_t *slots, unsigned token, unsigned f)
{
    uint32_t first = tm_rans_slot(token, 0, f);

    for (unsigned i = 0; i < f; i += TM_RANS_RUN)
        for (unsigned k = 0; k < TM_RANS_RUN; k++)
            slots[i + k] = first + i + k;
}

static void fill_slots(const uint16_t f[TM_RANS_TOKENS], uint32_t *slots)
{
    for (unsigned token = 0; token < TM_RANS_TOKENS; token++) {
        if (f[token] == 0)
            continue;
        fill_token(slots, token, f[token]);
        slots += f[token];
    }
}

bool tm_rans_read_tables(const struct tm_rans_alphabet *alphabet,
                         const unsigned char *in, size_t length,
                         unsigned contexts, struct tm_rans_slots *slots)
{
    struct reader r = {in, in + length, 0, 0, 0};
    uint16_t f[TM_RANS_TOKENS];
    struct tm_rans_masses m;

    for (unsigned c = 0; c < contexts; c++) {
        fill(&r);
        if (take(&r, 1) == 0) {
            fill_token(slots->of[c], TM_RANS_ABSENT, TM_RANS_SCALE);
            continue;
        }
        if (!read_masses(alphabet, &r, &m))
            return false;
        tm_rans_frequencies(alphabet, &m, f);
        fill_slots(f, slots->of[c]);
    }
    if (is_behind_end(&r) || r.bits != 0)
        return false;
    while (r.next < r.end)
        if (*r.next++ != 0)
            return false;
    return true;
}

/* --- writing ------------------------------------------------------------- */

static unsigned bit_length(unsigned v)
{
    return v == 0 ? 0 : 32 - (unsigned)__builtin_clz(v);
}

/* Bits below the top one of a mass of length l that are coded. */
static unsigned low_bits(unsigned l)
{
    return l > 3 ? 2 : l > 1 ? l - 1 : 0;
}

/* To three significant bits. */
static uint16_t round_mass(uint32_t q)
{
    unsigned cut = bit_length(q) > 3 ? bit_length(q) - 3 : 0;

    if (cut > 0)
        q = (q + (1u << (cut - 1))) >> cut << cut;
    return (uint16_t)q;
}

/*
 * The share of a count, in units of 1 / (4 T): four times as fine as
 * frequencies, so that what is rounded here is lost in what scale() cuts off.
 * A mass that is needed must not be 0. The product is as good as a division
 * of integers, for the reasons of deal_out(): nothing above 2^32.
 */
static uint16_t mass_of(uint32_t count, uint32_t total, double inverse)
{
    uint64_t share = (uint64_t)count * (4 * TM_RANS_SCALE) + total / 2;
    uint32_t q = (uint32_t)(((double)share + 0.5) * inverse);

    return count == 0 ? 0 : q == 0 ? 1 : round_mass(q);
}

/* The counts of the tokens of group g of one sign. */
static uint32_t count_group(const struct tm_rans_group *r, bool negative,
                            const uint32_t counts[TM_RANS_TOKENS])
{
    const uint32_t *from = counts + 2 * r->first - negative;
    uint32_t sum = 0;

    for (unsigned x = 0; x < r->width; x++)
        sum += from[2 * x];
    return sum;
}

void tm_rans_masses(const struct tm_rans_alphabet *alphabet,
                    const uint32_t counts[TM_RANS_TOKENS],
                    struct tm_rans_masses *masses)
{
    uint32_t sums[TM_RANS_MASSES], total = counts[0];

    sums[0] = counts[0];
    masses->groups = 0;
    for (unsigned g = 0; g < alphabet->num_groups; g++) {
        const struct tm_rans_group *r = &alphabet->groups[g];
        uint32_t *to = sums + 1 + 2 * g;

        to[0] = count_group(r, true, counts);
        to[1] = count_group(r, false, counts);
        total += to[0] + to[1];
        if (to[0] + to[1] > 0)
            masses->groups = g + 1;
    }
    for (unsigned i = 0; i < 1 + 2 * masses->groups; i++)
        masses->q[i] = mass_of(sums[i], total, 1.0 / total);
}

/* u + 1 of the format, which is written as an Elias gamma code. */
static unsigned gamma_value(unsigned length, unsigned before)
{
    return length >= before ? 2 * (length - before) + 1 : 2 * (before - length);
}

unsigned tm_rans_mass_bits(const struct tm_rans_masses *masses)
{
    unsigned before = FIRST_LENGTH, bits = GROUP_BITS;

    for (unsigned i = 0; i < 1 + 2 * masses->groups; i++) {
        unsigned l = bit_length(masses->q[i]);

        bits += 2 * bit_length(gamma_value(l, before)) - 1 + low_bits(l);
        before = l;
    }
    return bits;
}

static void write_bits(struct tm_rans_writer *w, unsigned value, unsigned count)
{
    w->bits |= (uint64_t)value << w->count;
    w->count += count;
    while (w->count >= 8) {
        *w->next++ = (unsigned char)w->bits;
        w->bits >>= 8;
        w->count -= 8;
    }
}

static void write_mass(struct tm_rans_writer *w, unsigned q, unsigned before)
{
    unsigned l = bit_length(q), v = gamma_value(l, before);
    unsigned k = bit_length(v) - 1, low = low_bits(l);

    write_bits(w, 1u << k, k + 1);
    write_bits(w, v & ((1u << k) - 1), k);
    if (low > 0)
        write_bits(w, q >> (l - 1 - low) & ((1u << low) - 1), low);
}

void tm_rans_write_masses(struct tm_rans_writer *writer,
                          const struct tm_rans_masses *masses)
{
    unsigned before = FIRST_LENGTH;

    write_bits(writer, masses != NULL, 1);
    if (masses == NULL)
        return;
    write_bits(writer, masses->groups, GROUP_BITS);
    for (unsigned i = 0; i < 1 + 2 * masses->groups; i++) {
        write_mass(writer, masses->q[i], before);
        before = bit_length(masses->q[i]);
    }
}

void tm_rans_write_end(struct tm_rans_writer *writer)
{
    if (writer->count > 0)
        write_bits(writer, 0, 8 - writer->count);
}
