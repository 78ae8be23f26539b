/* SPDX-License-Identifier: Apache-2.0 */
/* rans_choice: by making the tables and adding up what they cost. */
#include "kernels/rans_choice.h"

#include <string.h>

/* Costs are in units of 2^-10 bit. */
#define COST_BITS 10

/*
 * With fewer groups of zeros than these a second set of tables is not looked
 * at: it would save a bit a word at the very most, and takes hundreds.
 */
#define FEW_ZEROS 16

/*
 * log2 by squaring: what the square of a number from 1 to 2 has before the
 * point is the next bit. 30 bits behind the point are more than enough for 10.
 */
static unsigned log2_of(unsigned v)
{
    unsigned k = 31 - (unsigned)__builtin_clz(v), r = k;
    uint64_t m = (uint64_t)v << 30 >> k;

    for (int i = 0; i < COST_BITS; i++) {
        m = m * m >> 30;
        r = 2 * r + (unsigned)(m >> 31);
        m >>= m >> 31;
    }
    return r;
}

void tm_rans_costs_init(struct tm_rans_costs *costs)
{
    costs->of[0] = 0;
    for (unsigned f = 1; f <= TM_RANS_SCALE; f++)
        costs->of[f] =
            (uint16_t)((TM_RANS_SCALE_BITS << COST_BITS) - log2_of(f));
}

struct chooser {
    const struct tm_rans_alphabet *alphabet;
    const struct tm_rans_costs *costs;
};

static bool is_zero(const uint32_t counts[TM_RANS_TOKENS])
{
    uint32_t any = 0;

    for (unsigned i = 0; i < TM_RANS_TOKENS; i++)
        any |= counts[i];
    return any == 0;
}

static void make_context(const struct chooser *c,
                         const uint32_t counts[TM_RANS_TOKENS],
                         struct tm_rans_context *context)
{
    unsigned bits = 1;

    context->there = !is_zero(counts);
    context->cost = 0;
    if (context->there) {
        tm_rans_masses(c->alphabet, counts, &context->masses);
        tm_rans_frequencies(c->alphabet, &context->masses, context->f);
        bits += tm_rans_mass_bits(&context->masses);
        for (unsigned i = 0; i < TM_RANS_TOKENS; i++)
            context->cost += (uint64_t)counts[i] * c->costs->of[context->f[i]];
    }
    context->cost += (uint64_t)bits << COST_BITS;
}

static void add(uint32_t *to, const uint32_t *from)
{
    for (unsigned i = 0; i < TM_RANS_TOKENS; i++)
        to[i] += from[i];
}

/*
 * Makes the last two classes one, on both sides of the counts, if that is not
 * dearer; returns whether it did.
 */
static bool merge_last(const struct chooser *c, tm_rans_counts *counts,
                       struct tm_rans_choice *choice)
{
    unsigned last = choice->classes - 1, sides = choice->has_zero ? 2 : 1;
    struct tm_rans_context merged[2];
    uint64_t before = 0, after = 0;

    for (unsigned z = 0; z < sides; z++) {
        uint32_t both[TM_RANS_TOKENS];

        memcpy(both, counts[z][last], sizeof(both));
        add(both, counts[z][last - 1]);
        make_context(c, both, &merged[z]);
        after += merged[z].cost;
        before += choice->contexts[z][last - 1].cost;
        before += choice->contexts[z][last].cost;
    }
    if (after > before)
        return false;
    for (unsigned z = 0; z < sides; z++) {
        add(counts[z][last - 1], counts[z][last]);
        choice->contexts[z][last - 1] = merged[z];
    }
    choice->classes--;
    return true;
}

/* Fills in `choice`, whose has_zero is given; returns what it costs. */
static uint64_t choose_classes(const struct chooser *c, tm_rans_counts *counts,
                               struct tm_rans_choice *choice)
{
    unsigned sides = choice->has_zero ? 2 : 1;
    uint64_t cost = 0;

    choice->classes = TM_RANS_CLASSES;
    for (unsigned z = 0; z < sides; z++)
        for (unsigned i = 0; i < TM_RANS_CLASSES; i++)
            make_context(c, counts[z][i], &choice->contexts[z][i]);
    while (choice->classes > 1 && merge_last(c, counts, choice))
        ;
    for (unsigned z = 0; z < sides; z++)
        for (unsigned i = 0; i < choice->classes; i++)
            cost += choice->contexts[z][i].cost;
    return cost;
}

void tm_rans_choose(const struct tm_rans_alphabet *alphabet,
                    const struct tm_rans_costs *costs, tm_rans_counts counts[2],
                    size_t zeros, struct tm_rans_choice *choice)
{
    struct chooser c = {alphabet, costs};
    struct tm_rans_choice with = {.has_zero = true};
    tm_rans_counts all;
    uint64_t cost;

    memcpy(all, counts[0], sizeof(all));
    for (unsigned i = 0; i < TM_RANS_CLASSES; i++)
        add(all[i], counts[1][i]);
    choice->has_zero = false;
    cost = choose_classes(&c, &all, choice);
    if (zeros >= FEW_ZEROS && choose_classes(&c, counts, &with) < cost)
        *choice = with;
}
