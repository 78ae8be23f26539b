/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_log: what was done to files and directories and is not durable yet,
 * so that a power cut (io/crash.h) can take it back.
 *
 *     tm_crash_log_new
 *         { tm_crash_write, tm_crash_resize -> made -> tm_crash_done
 *           tm_crash_look                   -> made -> tm_crash_named
 *           tm_crash_point                  -> made -> tm_crash_synced }
 *     tm_crash_power_cut, tm_crash_log_free
 *
 * Functions that return a bool return false, with errno, when they could not
 * do their work: the log is of no use then. What the log does not keep track
 * of (no such file, a FIFO) is a NULL change or name, which all of them take.
 */
#ifndef TM_IO_CRASH_LOG_H
#define TM_IO_CRASH_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/engine.h"

struct tm_crash_log;
struct tm_crash_node;   /* a file or a directory */
struct tm_crash_change; /* a write to a file, or a new size */
struct tm_crash_name;   /* a name that was made, changed or removed */

/* A sync that was submitted: what was done by then becomes durable. */
struct tm_crash_point {
    struct tm_crash_node *node; /* NULL: it has nothing to make durable */
    uint64_t time;
};

enum tm_crash_fate { TM_CRASH_LOSE, TM_CRASH_KEEP, TM_CRASH_DRAW };

struct tm_crash_fates {
    enum tm_crash_fate contents;
    enum tm_crash_fate names;
    uint64_t sector; /* writes are drawn by sectors of this size; 0: whole */
    uint64_t random; /* the state of tm_fault_draw */
};

/* NULL: no memory, or no /proc. */
struct tm_crash_log *tm_crash_log_new(void);
void tm_crash_log_free(struct tm_crash_log *log);

/* Before a write is submitted: `data` is copied. */
bool tm_crash_write(struct tm_crash_log *log, int fd, uint64_t offset,
                    const void *data, size_t len,
                    struct tm_crash_change **change);

/* Before the size is set. */
bool tm_crash_resize(struct tm_crash_log *log, int fd, uint64_t size,
                     struct tm_crash_change **change);

/* It is done, `result` as of the op or call: one that failed is forgotten. */
void tm_crash_done(struct tm_crash_log *log, struct tm_crash_change *change,
                   int64_t result);

/* Before a TM_CALL_OPEN, MKDIR, RENAME or UNLINK: looks at what is there. */
bool tm_crash_look(struct tm_crash_log *log, const struct tm_call *call,
                   struct tm_crash_name **name);

/* The call was made; one that failed is forgotten. `name` is the log's now. */
bool tm_crash_named(struct tm_crash_log *log, struct tm_crash_name *name,
                    int result);

/* As a sync of `fd` is submitted. */
struct tm_crash_point tm_crash_point(struct tm_crash_log *log, int fd);

/* That sync has succeeded. */
bool tm_crash_synced(struct tm_crash_log *log, struct tm_crash_point point);

/*
 * Takes back what is not durable, as `fates` says. Every change is done; the
 * log can only be freed afterwards.
 */
bool tm_crash_power_cut(struct tm_crash_log *log, struct tm_crash_fates *fates);

#endif
