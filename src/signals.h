/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals: what the outside world asks of a run.
 *
 * The handlers only take note. Whoever waits for the disk asks after each
 * wait, a few times a second at least.
 */
#ifndef TM_SRC_SIGNALS_H
#define TM_SRC_SIGNALS_H

#include <stdbool.h>

#include "io/message.h"

/*
 * From now on SIGINT, SIGTERM and SIGHUP end the program at once, with
 * TM_INTERRUPTED and a word: nothing has been begun yet. The rest is as
 * tm_signals_catch has it, which ends this.
 */
void tm_signals_leave(void);

/*
 * From now on SIGINT, SIGTERM and SIGHUP ask for an end, and SIGUSR1 for a
 * line of progress; SIGPIPE is ignored and SIGXFSZ becomes an error of the
 * write. A second of the same ends the program at once. What the parent
 * ignores stays ignored.
 */
void tm_signals_catch(void);

/* The signal that asked for an end, or 0. */
int tm_signals_end(void);

/* TM_INTERRUPTED, reported, if one has; else TM_OK. */
enum tm_status tm_signals_check(void);

/* Whether SIGUSR1 came since the last call. */
bool tm_signals_report(void);

#endif
