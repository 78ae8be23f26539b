/* SPDX-License-Identifier: Apache-2.0 */
/* rans_choice: by trying. */
#include "kernels/rans_choice.h"

#include <string.h>

/* Costs are in units of 2^-10 bit. */
#define COST_BITS 10

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
        r = 2 * r + (m >> 31 != 0);
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

/* Makes the tables of a context, and says what it costs with them. */
static uint64_t make_context(const struct chooser *c,
                             const uint32_t counts[TM_RANS_TOKENS],
                             struct tm_rans_context *context)
{
    uint64_t cost = 1 << COST_BITS;

    context->there = false;
    for (unsigned i = 0; i < TM_RANS_TOKENS && !context->there; i++)
        context->there = counts[i] != 0;
    if (!context->there)
        return cost;
    tm_rans_masses(c->alphabet, counts, &context->masses);
    tm_rans_frequencies(c->alphabet, &context->masses, context->f);
    cost += (uint64_t)tm_rans_mass_bits(&context->masses) << COST_BITS;
    for (unsigned i = 0; i < TM_RANS_TOKENS; i++)
        cost += (uint64_t)counts[i] * c->costs->of[context->f[i]];
    return cost;
}

static void add(uint32_t *to, const uint32_t *from)
{
    for (unsigned i = 0; i < TM_RANS_TOKENS; i++)
        to[i] += from[i];
}

/*
 * What the classes cost of which the last takes all that follow: the cost of
 * c of them in costs[c].
 */
static void cost_of_classes(const struct chooser *c,
                            uint32_t counts[TM_RANS_CLASSES][TM_RANS_TOKENS],
                            uint64_t costs[TM_RANS_CLASSES + 1])
{
    uint32_t tail[TM_RANS_TOKENS] = {0};
    struct tm_rans_context context;
    uint64_t before = 0;

    costs[0] = 0;
    for (unsigned i = TM_RANS_CLASSES; i-- > 0;) {
        add(tail, counts[i]);
        costs[i + 1] = make_context(c, tail, &context);
    }
    for (unsigned i = 0; i < TM_RANS_CLASSES; i++) {
        costs[i + 1] += before;
        before += make_context(c, counts[i], &context);
    }
}

static unsigned cheapest(const uint64_t costs[TM_RANS_CLASSES + 1])
{
    unsigned best = 1;

    for (unsigned i = 2; i <= TM_RANS_CLASSES; i++)
        if (costs[i] < costs[best])
            best = i;
    return best;
}

/* The chosen contexts of one side of the counts. */
static void make_contexts(const struct chooser *c, unsigned classes,
                          uint32_t counts[TM_RANS_CLASSES][TM_RANS_TOKENS],
                          struct tm_rans_context *contexts)
{
    for (unsigned i = classes; i < TM_RANS_CLASSES; i++)
        add(counts[classes - 1], counts[i]);
    for (unsigned i = 0; i < classes; i++)
        make_context(c, counts[i], &contexts[i]);
}

static bool any_after_zero(tm_rans_counts counts)
{
    for (unsigned i = 0; i < TM_RANS_CLASSES; i++)
        for (unsigned j = 0; j < TM_RANS_TOKENS; j++)
            if (counts[1][i][j] != 0)
                return true;
    return false;
}

void tm_rans_choose(const struct tm_rans_alphabet *alphabet,
                    const struct tm_rans_costs *costs, tm_rans_counts counts,
                    struct tm_rans_choice *choice)
{
    struct chooser c = {alphabet, costs};
    uint64_t with[TM_RANS_CLASSES + 1], zero[TM_RANS_CLASSES + 1];
    uint64_t without[TM_RANS_CLASSES + 1];
    uint32_t all[TM_RANS_CLASSES][TM_RANS_TOKENS];
    bool any = any_after_zero(counts);

    memcpy(all, counts[0], sizeof(all));
    if (any) {
        cost_of_classes(&c, counts[0], with);
        cost_of_classes(&c, counts[1], zero);
        for (unsigned i = 0; i <= TM_RANS_CLASSES; i++)
            with[i] += zero[i];
        for (unsigned i = 0; i < TM_RANS_CLASSES; i++)
            add(all[i], counts[1][i]);
    }
    cost_of_classes(&c, all, without);
    choice->classes = cheapest(without);
    choice->has_zero = any && with[cheapest(with)] < without[choice->classes];
    if (!choice->has_zero) {
        make_contexts(&c, choice->classes, all, choice->contexts);
        return;
    }
    choice->classes = cheapest(with);
    make_contexts(&c, choice->classes, counts[0], choice->contexts);
    make_contexts(&c, choice->classes, counts[1],
                  choice->contexts + choice->classes);
}
