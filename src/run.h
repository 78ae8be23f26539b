/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run: executes a plan.
 *
 *     I/O thread     cut a unit -> read ...            -> write -> done
 *                                    |                     ^
 *     workers                        +-> compute -> hash --+
 *
 * One thread, the caller's, owns the disk: it cuts units while there are
 * slots, starts their reads, and sleeps until something completes. A unit
 * whose reads are done goes through a queue to the workers, one OpenMP team
 * for the whole run. A worker computes the tiles; then whoever completes the
 * unit that is next in its shard hashes it and those behind it that are
 * waiting, in file order. Hashed units go back to the I/O thread to be
 * written. A unit's slot is its credit: it holds all its buffers from before
 * its first read until after its last write.
 *
 * A failure anywhere stops the cutting; what is in flight is waited for, and
 * the run returns the status of the first failure, which has been reported.
 */
#ifndef TM_SRC_RUN_H
#define TM_SRC_RUN_H

#include "src/plan.h"
#include "src/results.h"
#include "src/resume.h"
#include "src/staging.h"

/*
 * Makes the output shards of `plan` in the staging directory, synced, from
 * `start` on. Fills in `results`, which the caller has initialised. On failure
 * staging->num_marks tells whether it can be gone on with.
 */
enum tm_status tm_run(const struct tm_plan *plan,
                      const struct tm_settings *settings, struct tm_disk *disk,
                      struct tm_staging *staging, const struct tm_start *start,
                      struct tm_results *results);

#endif
