/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine: the files and directories that the process may still open.
 *
 * Numbers from strangers' files are decoded by this process, so once it knows
 * what it needs it gives the rest away, for good: Landlock (Linux 5.19 or
 * later) refuses whatever is not listed here, TCP too. What is open already
 * stays open. Nobody has to be root for that, and where it cannot be had the
 * program works as well, only not confined.
 *
 *     tm_confine_begin -> tm_confine_allow ... -> tm_confine_apply
 *
 * A thread passes its confinement on to those that it starts, and to no
 * other: those that run already are the caller's to end beforehand, or to
 * start again (tm_disk_renew). Confinements only ever add up.
 */
#ifndef TM_IO_CONFINE_H
#define TM_IO_CONFINE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What is renamed may go from one directory to another, if it can be named in
 * both and no more can be done with it in the other.
 */
enum tm_confine_right {
    TM_MAY_READ,      /* a file, or all that is below a directory */
    TM_MAY_WRITE,     /* read, write, make, rename and remove, below it */
    TM_MAY_NAME_DIRS, /* make, rename and remove directories below it */
    TM_MAY_NAME,      /* and files too, without reading or writing them */
};

struct tm_confine {
    int ruleset;         /* a descriptor, or -1 */
    int abi;             /* of the kernel's Landlock, where there is any */
    uint64_t handled;    /* what is refused unless it is allowed */
    const char *why_not; /* it cannot be done; NULL: it can, or is done */
};

/* Begins a list of what is allowed, with nothing in it. */
void tm_confine_begin(struct tm_confine *confine);

/*
 * Allows `right` for `path`, seen from `dirfd` as openat does; a link at its
 * end is followed, but not to write. What is not there needs no right and is
 * passed over.
 */
void tm_confine_allow(struct tm_confine *confine, int dirfd, const char *path,
                      enum tm_confine_right right);

/* Gives up, because of `why_not`, unless that has happened already. */
void tm_confine_give_up(struct tm_confine *confine, const char *why_not);

/*
 * Confines this thread, and frees what the list holds. Returns whether it is
 * confined now; if not, why_not says why, and nothing has changed.
 */
bool tm_confine_apply(struct tm_confine *confine);

#endif
