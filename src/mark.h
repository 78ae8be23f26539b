/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mark: how far an output has got, and all that is needed to go on from there.
 *
 * Units are cut in one order, shard by shard. A mark is a place in it, behind
 * a unit: everything before is in the files, and what was found out on the
 * way, digests half made included, is in the mark. It is made step by step,
 * since units are under way in several stages at once:
 *
 *     tm_mark_place_of   when the unit is cut
 *     tm_mark_note       by the worker that has just hashed the unit, while
 *                        the stream stands where the unit ends
 *     tm_mark_put        when all units up to that one are written and synced:
 *                        appends the results since the mark before, for the
 *                        journal (src/keeper.h)
 *
 * and read again in two: tm_mark_take gives the results back, and
 * tm_mark_resume a stream its state.
 *
 * What it says of files can be read without a plan, so that anybody can check
 * them (src/kept.h).
 *
 *     mark:  shard | position | tensor | is part | bytes done | bytes read
 *            | number of files | files | length | stream | results
 *     file:  number | from | to | digest 16 | length of the tail | tail
 *
 * A file's bytes [from, to) have that digest; the last of them, the tail, are
 * not in the file yet, since only whole blocks are written.
 */
#ifndef TM_SRC_MARK_H
#define TM_SRC_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "io/pack.h"
#include "src/plan.h"
#include "src/results.h"

struct tm_job;
struct tm_pipeline;
struct tm_stream;
struct tm_unit;

/* Behind which unit the mark is. */
struct tm_mark_place {
    uint64_t shard;    /* all before are complete */
    uint64_t position; /* bytes of this one, as the plan has it */
    uint64_t tensor;   /* the first that is not complete */
    bool is_part;      /* and whether it has begun */
    uint64_t bytes_done;
    uint64_t bytes_read;
};

/* A mark in the making. */
struct tm_mark {
    struct tm_mark_place place;
    unsigned generation; /* of counts (src/made.h) */
    struct tm_pack files;
    uint64_t num_files;
    struct tm_pack stream;
    struct tm_pack part; /* results of what is not complete */
};

/*
 * The number of a file among all that a plan makes: shards, or shards of
 * vectors, one vector after the other; and its name in the output.
 */
size_t tm_mark_num_files(const struct tm_plan *plan);

/* Its name, in the arena; NULL: no memory. */
const char *tm_mark_file_name(const struct tm_plan *plan,
                              struct tm_arena *arena, size_t number);

/* Where a mark behind the unit is. */
struct tm_mark_place tm_mark_place_of(const struct tm_plan *plan,
                                      const struct tm_unit *unit);

/*
 * Notes how things stand at mark->place, which the stream has just come to.
 * By who hashes the stream.
 */
void tm_mark_note(struct tm_mark *mark, const struct tm_pipeline *pipeline,
                  const struct tm_stream *stream);

/*
 * All units up to the mark are written: packs it, with the results since
 * `before`. False: no memory.
 */
bool tm_mark_put(struct tm_mark *mark, const struct tm_pipeline *pipeline,
                 const struct tm_mark_place *before, struct tm_pack *out);

void tm_mark_free(struct tm_mark *mark);

/* --- reading -------------------------------------------------------------*/

/* What a mark says of one file. */
struct tm_mark_file {
    uint64_t number;
    uint64_t from;
    uint64_t to;
    struct tm_digest digest;
    const unsigned char *tail;
    uint64_t tail_length; /* less than a block */
};

/* The first part of a mark: the place and how many files follow. */
bool tm_mark_get_place(struct tm_unpack *from, struct tm_mark_place *place,
                       uint64_t *num_files);

/* One of the files; false: that is no mark. */
bool tm_mark_get_file(struct tm_unpack *from, struct tm_mark_file *file);

/*
 * The rest of a mark, whose files have been read: fills in results, that of
 * the marks before being there, and makes *stream what tm_mark_resume needs,
 * a part of what `from` has. False: it does not fit the plan.
 */
bool tm_mark_take(struct tm_unpack *from, const struct tm_plan *plan,
                  const struct tm_mark_place *before,
                  const struct tm_mark_place *place, struct tm_results *results,
                  struct tm_unpack *stream);

/* Puts a stream, freshly reset, to where it was at the mark. */
bool tm_mark_resume(struct tm_unpack *from, const struct tm_plan *plan,
                    const struct tm_mark_place *place,
                    struct tm_stream *stream);

#endif
