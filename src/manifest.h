/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest: everything in OUT beside the shards.
 *
 *     the index            for loaders, where there are several shards
 *     side files           copies of the base's
 *     taumerge.json        the manifest: how the output was made, with the
 *                          digest of every tensor of it and of its inputs
 *     taumerge.xxh128      one line a file, for xxhsum -c
 *
 * No time, host or user is written: the same merge gives the same bytes.
 */
#ifndef TM_SRC_MANIFEST_H
#define TM_SRC_MANIFEST_H

#include "src/plan.h"
#include "src/products.h"
#include "src/results.h"

#define TM_MANIFEST_NAME "taumerge.json"
#define TM_SUMS_NAME     "taumerge.xxh128"

/* Version of the manifest's own format, and of docs/numerics.md. */
#define TM_MANIFEST_FORMAT  1
#define TM_NUMERICS_VERSION 1

/*
 * Writes all of them, synced; they are added to `products`, which begins
 * with the shards.
 */
enum tm_status tm_manifest_write(const struct tm_plan *plan,
                                 const struct tm_results *results,
                                 struct tm_products *products);

#endif
