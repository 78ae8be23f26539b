/* SPDX-License-Identifier: Apache-2.0 */
/* rans_tables: masses, frequencies, slots. Integers only. */
#include "kernels/rans_tables.h"

#include <math.h>
#include <string.h>

const struct tm_rans_alphabet tm_rans_alphabet16 = {5, 3, 31};
const struct tm_rans_alphabet tm_rans_alphabet32 = {3, 2, 63};

/* Lengths of masses, the first predicted one, bits of G. */
#define MAX_LENGTH   14
#define FIRST_LENGTH 12
#define GROUP_BITS   6

/* --- the shape of an alphabet -------------------------------------------- */

/* Group 0 is the octave 0, groups 2k - 1 and 2k are the halves of k. */
struct group {
    unsigned first, width; /* buckets */
    bool upper;
};

static struct group group_of(const struct tm_rans_alphabet *a, unsigned g)
{
    unsigned k = (g + 1) / 2;
    struct group r;

    r.upper = g > 0 && g % 2 == 0;
    if (k < a->direct) {
        r.first = 1u << k;
        r.width = 1u << k;
    } else {
        r.first = (1u << a->direct) + ((k - a->direct) << a->sub);
        r.width = 1u << a->sub;
    }
    if (k > 0)
        r.width /= 2;
    if (r.upper)
        r.first += r.width;
    return r;
}

/* Tokens of the mass number i. */
static unsigned mass_width(const struct tm_rans_alphabet *a, unsigned i)
{
    return i == 0 ? 1 : group_of(a, (i - 1) / 2).width;
}

/* --- from masses to frequencies ------------------------------------------ */

/* The integer square root of x < 2^52, whatever the processor rounds to. */
static uint64_t isqrt(uint64_t x)
{
    uint64_t r = (uint64_t)sqrt((double)x);

    return r * r > x ? r - 1 : (r + 1) * (r + 1) <= x ? r + 1 : r;
}

static unsigned largest(const uint16_t *f, const uint16_t *least, unsigned n)
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
    static const uint16_t zeros[TM_RANS_MASSES];
    uint16_t least[TM_RANS_MASSES];
    unsigned n = 1 + 2 * m->groups, sum = 0, total = 0;

    for (unsigned i = 0; i < n; i++)
        total += m->q[i];
    for (unsigned i = 0; i < n; i++) {
        unsigned share = m->q[i] * TM_RANS_SCALE / total;

        least[i] = m->q[i] == 0 ? 0 : (uint16_t)mass_width(a, i);
        f[i] = share > least[i] ? (uint16_t)share : least[i];
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

/* Where a group's tokens of one sign are: first, first + 2, ... */
struct deal {
    uint16_t *f;
    unsigned width;
    uint64_t left, right; /* heights of the edges */
};

static void deal_out(const struct deal *d, unsigned f)
{
    uint64_t total = d->width * d->width * (d->left + d->right);
    unsigned w = d->width, given = 0;

    for (unsigned x = 0; x < w; x++) {
        uint64_t v = d->left * (2 * (w - x) - 1) + d->right * (2 * x + 1);

        d->f[2 * x] = (uint16_t)(1 + (f - w) * v / total);
        given += d->f[2 * x];
    }
    d->f[0] += f - given;
}

/*
 * Group g of one sign; `m` are the masses' frequencies of that sign. Bucket x
 * has the tokens 2 x - 1 and 2 x.
 */
static void deal_group(const struct tm_rans_alphabet *a, unsigned g,
                       unsigned groups, bool negative, const uint16_t *m,
                       uint16_t *f)
{
    struct group r = group_of(a, g);
    struct deal d = {f + 2 * r.first - negative, r.width, 0, 0};
    uint64_t own = (uint64_t)m[2 * g] << 14, before = own, after = own / 4;

    if (r.width == 1) {
        d.f[0] = m[2 * g];
        return;
    }
    if (m[2 * g] == 0)
        return;
    if (m[2 * g - 2] != 0)
        before = (uint64_t)m[2 * g - 2] << (r.upper ? 14 : 15);
    if (g + 1 < groups && m[2 * g + 2] != 0)
        after = (uint64_t)m[2 * g + 2] << (r.upper ? 13 : 14);
    d.left = isqrt(before * own);
    d.right = isqrt(own * after);
    deal_out(&d, m[2 * g]);
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

struct reader {
    const unsigned char *in;
    size_t bits, at; /* at > bits: read behind the end */
};

static unsigned read_bits(struct reader *r, unsigned count)
{
    unsigned value = 0;

    for (unsigned i = 0; i < count; i++, r->at++)
        if (r->at < r->bits)
            value |= (unsigned)(r->in[r->at / 8] >> r->at % 8 & 1) << i;
    return value;
}

/* The next mass, given the length of the one before. */
static bool read_mass(struct reader *r, unsigned *length, uint16_t *q)
{
    unsigned zeros = 0, u, low;
    int next;

    while (read_bits(r, 1) == 0)
        if (++zeros > 4) /* u + 1 is at most 2 x 14 + 1 */
            return false;
    u = (1u << zeros | read_bits(r, zeros)) - 1;
    next = (int)*length + (u % 2 == 0 ? (int)(u / 2) : -(int)(u / 2) - 1);
    if (next < 0 || next > MAX_LENGTH)
        return false;
    *length = (unsigned)next;
    low = next > 3 ? 2 : next > 1 ? (unsigned)next - 1 : 0;
    *q = 0;
    if (next > 0)
        *q = (uint16_t)((1u << low | read_bits(r, low)) << (next - 1 - low));
    return r->at <= r->bits;
}

static bool read_masses(const struct tm_rans_alphabet *alphabet,
                        struct reader *r, struct tm_rans_masses *m)
{
    unsigned length = FIRST_LENGTH, any = 0;

    m->groups = read_bits(r, GROUP_BITS);
    if (m->groups > alphabet->groups)
        return false;
    for (unsigned i = 0; i < 1 + 2 * m->groups; i++) {
        if (!read_mass(r, &length, &m->q[i]))
            return false;
        any |= m->q[i];
    }
    return any != 0;
}

static void fill_slots(const uint16_t f[TM_RANS_TOKENS], uint32_t *slots)
{
    for (unsigned token = 0; token < TM_RANS_TOKENS; token++) {
        for (unsigned i = 0; i < f[token]; i++)
            slots[i] = TM_RANS_SLOT(token, i, f[token]);
        slots += f[token];
    }
}

static void fill_absent(uint32_t *slots)
{
    for (unsigned i = 0; i < TM_RANS_SCALE; i++)
        slots[i] = TM_RANS_SLOT(TM_RANS_ABSENT, i, TM_RANS_SCALE);
}

/* Bits behind the last table are zero. */
static bool rest_is_zero(struct reader *r)
{
    unsigned any = 0;

    while (r->at < r->bits)
        any |= read_bits(r, 1);
    return any == 0;
}

bool tm_rans_read_tables(const struct tm_rans_alphabet *alphabet,
                         const unsigned char *in, size_t length,
                         unsigned contexts, uint32_t slots[][TM_RANS_SCALE])
{
    struct reader r = {in, 8 * length, 0};
    uint16_t f[TM_RANS_TOKENS];
    struct tm_rans_masses m;

    for (unsigned c = 0; c < contexts; c++) {
        if (r.at == r.bits)
            return false;
        if (read_bits(&r, 1) == 0) {
            fill_absent(slots[c]);
            continue;
        }
        if (!read_masses(alphabet, &r, &m))
            return false;
        tm_rans_frequencies(alphabet, &m, f);
        fill_slots(f, slots[c]);
    }
    return rest_is_zero(&r);
}

/* --- writing ------------------------------------------------------------- */

static unsigned bit_length(unsigned v)
{
    return v == 0 ? 0 : 32 - (unsigned)__builtin_clz(v);
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
 * Four times as fine as T, so that rounding is lost in what scale() cuts off.
 * A count of 1 of a chunk rounds to 0, but a mass that is needed must be.
 */
static uint16_t mass_of(uint64_t count, uint64_t total)
{
    uint64_t q = (count * (4 * TM_RANS_SCALE) + total / 2) / total;

    return count == 0 ? 0 : q == 0 ? 1 : round_mass((uint32_t)q);
}

void tm_rans_masses(const struct tm_rans_alphabet *alphabet,
                    const uint32_t counts[TM_RANS_TOKENS],
                    struct tm_rans_masses *masses)
{
    uint32_t sums[TM_RANS_MASSES] = {counts[0]}, total = counts[0];

    masses->groups = 0;
    for (unsigned i = 1; i < 1 + 2 * alphabet->groups; i++) {
        unsigned g = (i - 1) / 2;
        struct group r = group_of(alphabet, g);
        const uint32_t *from = counts + 2 * r.first - i % 2;

        for (unsigned x = 0; x < r.width; x++)
            sums[i] += from[2 * x];
        total += sums[i];
        if (sums[i] > 0)
            masses->groups = g + 1;
    }
    for (unsigned i = 0; i < 1 + 2 * masses->groups; i++)
        masses->q[i] = mass_of(sums[i], total);
}

/* u + 1, which is written as an Elias gamma code. */
static unsigned gamma_value(unsigned length, unsigned before)
{
    return length >= before ? 2 * (length - before) + 1 : 2 * (before - length);
}

unsigned tm_rans_mass_bits(const struct tm_rans_masses *masses)
{
    unsigned before = FIRST_LENGTH, bits = GROUP_BITS;

    for (unsigned i = 0; i < 1 + 2 * masses->groups; i++) {
        unsigned l = bit_length(masses->q[i]);

        bits += 2 * bit_length(gamma_value(l, before)) - 1;
        bits += l > 3 ? 2 : l > 1 ? l - 1 : 0;
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
    unsigned k = bit_length(v) - 1, low = l > 3 ? 2 : l > 1 ? l - 1 : 0;

    write_bits(w, 1u << k, k + 1);
    write_bits(w, v & ((1u << k) - 1), k);
    if (l > 1)
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
