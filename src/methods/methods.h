/* SPDX-License-Identifier: Apache-2.0 */
/*
 * methods: the merge methods there are, one in each file (a few that differ
 * little share one). Only methods.c needs their names; everything else finds a
 * method with tm_method_find (src/method.h).
 */
#ifndef TM_SRC_METHODS_METHODS_H
#define TM_SRC_METHODS_METHODS_H

#include "src/method.h"

extern const struct tm_method tm_method_arcee_fusion;
extern const struct tm_method tm_method_breadcrumbs;
extern const struct tm_method tm_method_breadcrumbs_ties;
extern const struct tm_method tm_method_consensus;
extern const struct tm_method tm_method_dare_linear;
extern const struct tm_method tm_method_dare_ties;
extern const struct tm_method tm_method_della;
extern const struct tm_method tm_method_della_linear;
extern const struct tm_method tm_method_emr;
extern const struct tm_method tm_method_karcher;
extern const struct tm_method tm_method_linear;
extern const struct tm_method tm_method_lines;
extern const struct tm_method tm_method_metagpt;
extern const struct tm_method tm_method_model_stock;
extern const struct tm_method tm_method_multislerp;
extern const struct tm_method tm_method_nearswap;
extern const struct tm_method tm_method_nuslerp;
extern const struct tm_method tm_method_passthrough;
extern const struct tm_method tm_method_ram;
extern const struct tm_method tm_method_ramplus_tl;
extern const struct tm_method tm_method_sce;
extern const struct tm_method tm_method_slerp;
extern const struct tm_method tm_method_task_arithmetic;
extern const struct tm_method tm_method_ties;

/* Entries of a `parameters` table, for .parameters and .num_parameters. */
#define TM_PARAMETERS(table)                                                   \
    .parameters = (table), .num_parameters = sizeof(table) / sizeof((table)[0])

/* `phases` of what needs one, `conclude` of what nothing follows from. */
unsigned tm_methods_one_phase(const struct tm_terms *terms);
const char *tm_methods_no_conclusion(struct tm_work *work);

#endif
