/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash: an engine that wraps another one and cuts the power, so that the
 * tests can run the program again on what a power cut leaves on the disk.
 *
 * At a chosen sync the process ends at once, with _exit(TM_CRASH_EXIT), after
 * what was not durable has been lost, torn or reordered. What is durable is
 * what POSIX promises, and no more:
 *
 *     contents   the writes and the size that were done when a sync of that
 *                file was submitted, once that sync is done
 *     names      the files and directories made, renamed and removed before a
 *                sync of the directory that they are in; a rename between two
 *                directories takes a sync of both. A sync of the file itself
 *                does not make its name durable.
 *
 * Ops in flight when the power goes are done first, and then treated as any
 * that is not durable; syncs among them have no effect.
 *
 * Settings, separated by commas, for example "crash=3,lose=some,seed=7":
 *
 *     crash=K              the power goes at the K-th sync (from 1; TM_OP_SYNC
 *                          and TM_CALL_SYNC, as they are submitted); 0, the
 *                          default: never
 *     when=before|after    that sync has not (default) or has taken effect
 *     lose=all|none|some   which writes and sizes that are not durable are
 *                          lost: all (default), none, or drawn for each
 *     tear=0|512|4096      with lose=some: drawn for each sector of this size
 *                          of each write; 0, the default: for whole writes.
 *                          Sizes are never torn.
 *     names=lose|keep|some the same for names that are not durable; default
 *                          lose. A rename is drawn as a whole. A directory
 *                          that is lost takes with it all that is in it.
 *     seed=N               what is drawn: the same seed and the same order of
 *                          submissions give the same draws
 *     end=1                the power goes when the engine is destroyed: what
 *                          the program took for done, was it?
 *     log=1                prints to standard error at the end how many syncs
 *                          there were: "crash: N syncs"
 *
 * With lose=some and names=some later changes may stay while earlier ones are
 * lost, but never so that a name that stays rests on one that is lost.
 *
 * It is for tests with small files: every write that is not durable, and the
 * durable content of the file it went to, is held in memory, and every file
 * and directory that was changed is held open. Only what goes through the
 * engine is known, and only regular files and directories. /proc is needed.
 */
#ifndef TM_IO_CRASH_H
#define TM_IO_CRASH_H

#include "io/engine.h"

#define TM_CRASH_EXIT 99

/* Instead: the simulation could not go on; standard error says why. */
#define TM_CRASH_BROKEN 98

/*
 * Wraps `inner`, which it owns from then on. Returns NULL if `spec` is not
 * understood or memory ran out (`inner` is then still the caller's).
 */
struct tm_engine *tm_engine_crash(struct tm_engine *inner, const char *spec);

#endif
