/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe: how fast the disks are, measured for less than a second each.
 */
#ifndef TM_SRC_PROBE_H
#define TM_SRC_PROBE_H

#include "src/plan.h"
#include "src/report.h"

/*
 * Reads a piece of the plan's largest input and writes a file without a name
 * in `directory`, where the output will be. What cannot be measured stays 0: a
 * plan is of use without it.
 */
void tm_probe(const struct tm_plan *plan, const struct tm_settings *settings,
              struct tm_disk *disk, const char *directory,
              struct tm_speed *speed);

#endif
