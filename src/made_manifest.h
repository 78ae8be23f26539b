/* SPDX-License-Identifier: Apache-2.0 */
/*
 * made_manifest: what a stored vector is beside its shards: side files and
 * vector.json (docs/format.md).
 */
#ifndef TM_SRC_MADE_MANIFEST_H
#define TM_SRC_MADE_MANIFEST_H

#include "src/made.h"
#include "src/results.h"
#include "src/staging.h"

/* Writes them for every vector that was made, synced. */
enum tm_status tm_made_manifest_write(const struct tm_plan *plan,
                                      const struct tm_results *results,
                                      struct tm_staging *staging);

#endif
