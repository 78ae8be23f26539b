/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress: what the user sees while bytes move.
 *
 * A bar on a terminal, JSON lines for programs, one line whenever SIGUSR1
 * comes. Knows numbers only; whoever moves bytes calls tm_progress_tick a few
 * times a second.
 */
#ifndef TM_SRC_PROGRESS_H
#define TM_SRC_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "src/recipe.h"

/* How often it wants to be called. */
#define TM_PROGRESS_MS 100

enum tm_stage { TM_STAGE_READ, TM_STAGE_COMPUTE, TM_STAGE_WRITE };

struct tm_progress {
    enum tm_progress_kind kind; /* never AUTO */
    uint64_t read_total;
    uint64_t write_total;
    double started;
    double shown; /* when it was last shown */
    /* Since then, for the rates of a moment. */
    uint64_t read_then, written_then;
    double read_rate, write_rate;
    double waits[3]; /* seconds that each stage held the others up */
    double ticked;
};

/* Seconds on a clock that only goes forward. */
double tm_clock(void);

void tm_progress_start(struct tm_progress *progress, enum tm_progress_kind kind,
                       uint64_t read_total, uint64_t write_total);

/* `stage` is what the run is waiting for now. */
void tm_progress_tick(struct tm_progress *progress, uint64_t read,
                      uint64_t written, enum tm_stage stage);

/* Takes the bar away, or writes the last JSON line. */
void tm_progress_finish(struct tm_progress *progress, uint64_t read,
                        uint64_t written);

/* The stage that most of the time went to. */
enum tm_stage tm_progress_limit(const struct tm_progress *progress);

/* "1.5 GB", powers of 1000. */
#define TM_SIZE_TEXT 32
const char *tm_size_text(uint64_t bytes, char text[TM_SIZE_TEXT]);

#endif
