/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault: an engine that wraps another one and breaks it on purpose, so that
 * the tests can show what the program does when a disk fails.
 *
 * What to break is written as comma-separated settings, for example
 * "op=write,k=3,errno=EIO,for=ever":
 *
 *     op=NAME        any (default), read, write, sync, open, close, allocate,
 *                    truncate, mkdir, rename, unlink: which operations count
 *                    (sync counts both TM_OP_SYNC and TM_CALL_SYNC)
 *     k=N            the N-th of those (from 1) fails; 0, the default: none
 *     errno=NAME     with this error: EIO (default), ENOSPC, EINTR, EAGAIN,
 *                    EINVAL, EDQUOT, EROFS, EACCES, EMFILE, ENOMEM
 *     for=once|ever  only that one (default), or it and all later ones
 *     short=1        instead of failing, reads and writes move only part:
 *                    about half, down to one byte; with k=0 all of them do
 *     flip=1         instead of failing, one bit of the data that a read
 *                    delivers, or of what a write is given, is flipped. The
 *                    caller's buffer of a write is left as it was.
 *     late=1         instead of failing, reads, writes and syncs are begun when
 *                    nothing else has been under way for a while
 *     shuffle=SEED   done ops are held back and handed over in an order drawn
 *                    from SEED (a fixed generator: the same seed and the same
 *                    completions give the same order)
 *     log=1          prints to standard error at the end how many operations
 *                    of the chosen kind there were: "fault: N operations"
 */
#ifndef TM_IO_FAULT_H
#define TM_IO_FAULT_H

#include "io/engine.h"

/*
 * Wraps `inner`, which it owns from then on. Returns NULL if `spec` is not
 * understood or memory ran out (`inner` is then still the caller's).
 */
struct tm_engine *tm_engine_fault(struct tm_engine *inner, const char *spec);

#endif
