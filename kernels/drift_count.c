/* SPDX-License-Identifier: Apache-2.0 */
/* drift_count: see drift_count.h. */
#include "kernels/drift_count.h"

#include <string.h>

#include "kernels/drift.h"

/* So few that clearing and adding up would cost more than waiting. */
#define FEW (TM_DRIFT_BLOCK - 1)

/* The exponent and the mantissa that a bin has of an f32. */
#define BIN_SHIFT 16

/* A counter gets fewer than a quarter of all, see add_spread(). */
_Static_assert(TM_DRIFT_MOST / (TM_DRIFT_SPARES + 1) <= UINT16_MAX + 1,
               "spare counters cannot overflow");

void tm_drift_counters_begin(struct tm_drift_counters *c, uint32_t *counts,
                             size_t n)
{
    c->counts = counts;
    c->spread = n > FEW;
    if (c->spread)
        memset(c->spare, 0, sizeof(c->spare));
}

static void add_directly(uint32_t *counts, const uint32_t *magnitudes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        counts[magnitudes[i] >> BIN_SHIFT]++;
}

/* The last one to four go directly, whence "fewer" above. */
static void add_spread(struct tm_drift_counters *c, const uint32_t *m, size_t n)
{
    uint32_t *counts = c->counts;
    size_t i;

    for (i = 0; i + 4 < n; i += 4) {
        counts[m[i] >> BIN_SHIFT]++;
        c->spare[0][m[i + 1] >> BIN_SHIFT]++;
        c->spare[1][m[i + 2] >> BIN_SHIFT]++;
        c->spare[2][m[i + 3] >> BIN_SHIFT]++;
    }
    add_directly(counts, m + i, n - i);
}

void tm_drift_counters_add(struct tm_drift_counters *c,
                           const uint32_t *magnitudes, size_t n, uint32_t peak)
{
    if (c->spread && peak >> BIN_SHIFT < TM_DRIFT_SPARE_BINS)
        add_spread(c, magnitudes, n);
    else
        add_directly(c->counts, magnitudes, n);
}

/* Whether one of the four bins from `bin` on has been used. */
static bool used(const struct tm_drift_counters *c, size_t bin)
{
    uint64_t a, b, d;

    memcpy(&a, &c->spare[0][bin], sizeof(a));
    memcpy(&b, &c->spare[1][bin], sizeof(b));
    memcpy(&d, &c->spare[2][bin], sizeof(d));
    return (a | b | d) != 0;
}

void tm_drift_counters_end(struct tm_drift_counters *c)
{
    if (!c->spread)
        return;
    for (size_t i = 0; i < TM_DRIFT_SPARE_BINS; i += 4) {
        if (!used(c, i))
            continue;
        for (size_t k = i; k < i + 4; k++)
            c->counts[k] +=
                (uint32_t)c->spare[0][k] + c->spare[1][k] + c->spare[2][k];
    }
}
