/* SPDX-License-Identifier: Apache-2.0 */
/* plan_print: the parts of tm_plan_print (report.h). */
#ifndef TM_SRC_PLAN_PRINT_H
#define TM_SRC_PLAN_PRINT_H

#include "src/plan.h"
#include "src/report.h"

/* What is printed, and what was found out for it. */
struct tm_plan_view {
    const struct tm_plan *plan;
    const char *glob; /* tensors that are shown; NULL: all */
    uint64_t *bytes;  /* that are read of each input file */
    uint64_t space;   /* free where the output goes */
    const struct tm_speed *speed;
    double seconds; /* at that speed; 0: unknown */
};

/* Whether the glob, if there is one, fits the tensor's name. */
bool tm_plan_view_shows(const struct tm_plan_view *view, size_t tensor);

/* The name of a source's tensor in its own file; NULL: not known. */
const char *tm_plan_own_name(const struct tm_plan *plan, size_t tensor,
                             size_t column);

/* The term of a merged tensor that is of `column`, or NULL. */
const struct tm_term *tm_plan_term(const struct tm_plan_tensor *tensor,
                                   size_t column);

/* Where the bytes of a source begin in its file. */
uint64_t tm_plan_source_offset(const struct tm_plan *plan,
                               const struct tm_source *source);

/* Tensors that are copied for one reason. */
struct tm_reason {
    const char *why;
    size_t count;
};

/* Reasons to copy that are told apart; there are fewer. */
#define TM_MAX_REASONS 8

/* Finds them, in the order of the tensors; returns how many there are. */
size_t tm_plan_reasons(const struct tm_plan *plan,
                       struct tm_reason reasons[TM_MAX_REASONS]);

/* plan_tensor.c: what is done with each tensor that is shown, as text. */
enum tm_status tm_plan_print_tensors(const struct tm_plan_view *view);

/* plan_json.c; false: no memory, or standard output failed. */
bool tm_plan_print_json(const struct tm_plan_view *view);

#endif
