/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report: what a merge says at its end, or a plan instead of one.
 */
#ifndef TM_SRC_REPORT_H
#define TM_SRC_REPORT_H

#include "src/plan.h"
#include "src/results.h"

/* The final report of a merge into `out`. */
void tm_report(const struct tm_plan *plan, const struct tm_results *results,
               const char *out);

/* The same for vectors that were made, each with a table. */
void tm_report_vectors(const struct tm_plan *plan,
                       const struct tm_results *results, const char *out);

/* And for a vector that was put back. */
void tm_report_restored(const struct tm_plan *plan,
                        const struct tm_results *results, const char *out);

/* Speeds that a probe of the disk found, in bytes a second; 0: unknown. */
struct tm_speed {
    double read;
    double write;
};

/* The plan on stdout, as text or as JSON, of all tensors or of some. */
enum tm_status tm_plan_print(const struct tm_plan *plan,
                             const struct tm_settings *settings, uint64_t space,
                             const struct tm_speed *speed);

#endif
