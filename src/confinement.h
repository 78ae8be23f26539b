/* SPDX-License-Identifier: Apache-2.0 */
/* confinement: what a task needs from now on, and giving up the rest. */
#ifndef TM_SRC_CONFINEMENT_H
#define TM_SRC_CONFINEMENT_H

#include "src/task.h"

/*
 * Leaves the process, for good, only the inputs of the plan to read and the
 * place of the output to write (io/confine.h). The staging directory is there,
 * nothing is in flight, no parallel region is open. Says in -v what came of
 * it; that it cannot be done is no error. Errors: TM_SYSTEM, if the I/O
 * engine cannot start its threads again.
 */
enum tm_status tm_confinement(struct tm_task *task);

#endif
