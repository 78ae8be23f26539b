/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget: the sizes that plan and run must agree on.
 */
#ifndef TM_SRC_BUDGET_H
#define TM_SRC_BUDGET_H

#include "io/transfer.h"
#include "src/plan.h"

/* Output shards that may have units in flight at the same time. */
#define TM_OPEN_STREAMS 4

/*
 * Requests that `len` bytes are moved with: as many of TM_REQUEST as are
 * nearest, so that a block more does not make a request of its own.
 */
static inline size_t tm_requests(uint64_t len)
{
    const uint64_t count = (len + TM_REQUEST / 2) / TM_REQUEST;

    return (size_t)(count > 0 ? count : 1);
}

/* Bytes of each of them but the last, which may have fewer. */
static inline uint64_t tm_request_size(uint64_t len)
{
    const uint64_t count = tm_requests(len);
    const uint64_t share = (len + count - 1) / count;

    return (share + TM_BLOCK - 1) / TM_BLOCK * TM_BLOCK;
}

#endif
