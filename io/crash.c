/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash: cuts the power; see io/crash.h for when and how.
 *
 * Every op and call passes through to the inner engine, and is entered in the
 * crash log (io/crash_log.h) on the way. Every op gets a shadow, a copy that
 * the inner engine works on in its stead: it leads from the op that is done to
 * its entry in the log.
 *
 * When the power goes, the inner engine is emptied first: what is on its way
 * to a file must not arrive there after the file was put right.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/crash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/crash_log.h"
#include "io/fault_spec.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

struct settings {
    uint64_t k;
    bool after; /* the K-th sync */
    bool end;
    bool log;
    struct tm_crash_fates fates;
};

/* What stands in for an op; the inner engine sees only `op`. */
struct shadow {
    struct tm_op op; /* the first member, so that one leads to the other */
    struct tm_op *original;
    struct tm_crash_change *change; /* of a write */
    struct tm_crash_point point;    /* of a sync */
};

struct crash {
    struct tm_engine base;
    struct tm_engine *inner;
    struct settings set;
    struct tm_crash_log *log;
    uint64_t syncs;     /* so far */
    uint64_t in_flight; /* ops that the inner engine has */
};

/* --- the settings ------------------------------------------------------- */

static bool parse_crash(void *settings, const char *value)
{
    return tm_fault_number(value, &((struct settings *)settings)->k);
}

static bool parse_when(void *settings, const char *value)
{
    static const char *const names[] = {"before", "after"};
    size_t choice = 0;
    const bool good = tm_fault_choice(value, names, COUNT(names), &choice);

    ((struct settings *)settings)->after = choice == 1;
    return good;
}

static bool parse_fate(const char *value, const char *const *names,
                       enum tm_crash_fate *fate)
{
    size_t choice = 0;
    const bool good = tm_fault_choice(value, names, 3, &choice);

    *fate = (enum tm_crash_fate)choice;
    return good;
}

static bool parse_lose(void *settings, const char *value)
{
    static const char *const names[] = {[TM_CRASH_LOSE] = "all",
                                        [TM_CRASH_KEEP] = "none",
                                        [TM_CRASH_DRAW] = "some"};

    return parse_fate(value, names,
                      &((struct settings *)settings)->fates.contents);
}

static bool parse_names(void *settings, const char *value)
{
    static const char *const names[] = {[TM_CRASH_LOSE] = "lose",
                                        [TM_CRASH_KEEP] = "keep",
                                        [TM_CRASH_DRAW] = "some"};

    return parse_fate(value, names,
                      &((struct settings *)settings)->fates.names);
}

static bool parse_tear(void *settings, const char *value)
{
    static const char *const names[] = {"0", "512", "4096"};
    static const uint64_t sectors[] = {0, 512, 4096};
    size_t choice = 0;
    const bool good = tm_fault_choice(value, names, COUNT(names), &choice);

    ((struct settings *)settings)->fates.sector = sectors[choice];
    return good;
}

static bool parse_seed(void *settings, const char *value)
{
    return tm_fault_number(value, &((struct settings *)settings)->fates.random);
}

static bool parse_end(void *settings, const char *value)
{
    return tm_fault_one(value, &((struct settings *)settings)->end);
}

static bool parse_log(void *settings, const char *value)
{
    return tm_fault_one(value, &((struct settings *)settings)->log);
}

static const struct tm_fault_key keys[] = {
    {"crash", parse_crash}, {"when", parse_when},   {"lose", parse_lose},
    {"tear", parse_tear},   {"names", parse_names}, {"seed", parse_seed},
    {"end", parse_end},     {"log", parse_log},
};

/* --- the end ------------------------------------------------------------ */

/* The log has failed: a test must not go on as if nothing had happened. */
static void require(bool good)
{
    if (good)
        return;
    fprintf(stderr, "crash: cannot simulate a power cut: %s\n",
            strerror(errno));
    _exit(TM_CRASH_BROKEN);
}

static void print_syncs(const struct crash *crash)
{
    if (crash->set.log)
        fprintf(stderr, "crash: %" PRIu64 " syncs\n", crash->syncs);
}

/* Enters in the log what became of a write. */
static void settle_write(struct crash *crash, const struct shadow *shadow)
{
    tm_crash_done(crash->log, shadow->change, shadow->op.result);
}

static void settle_sync(struct crash *crash, const struct shadow *shadow)
{
    if (shadow->op.kind == TM_OP_SYNC && shadow->op.result >= 0)
        require(tm_crash_synced(crash->log, shadow->point));
}

/*
 * Empties the inner engine. A sync that nobody has heard of yet has no effect,
 * but for `last` (may be NULL).
 */
static void drain(struct crash *crash, const struct shadow *last)
{
    struct tm_engine *inner = crash->inner;
    struct tm_op *next;

    while (crash->in_flight > 0)
        for (struct tm_op *op = inner->ops->wait(inner, -1); op; op = next) {
            struct shadow *shadow = (struct shadow *)op;

            next = op->next;
            crash->in_flight--;
            settle_write(crash, shadow);
            if (shadow == last)
                settle_sync(crash, shadow);
            free(shadow);
        }
}

static _Noreturn void cut_power(struct crash *crash)
{
    require(tm_crash_power_cut(crash->log, &crash->set.fates));
    print_syncs(crash);
    _exit(TM_CRASH_EXIT);
}

/* Counts a sync. Returns whether it is the one at which the power goes. */
static bool is_last(struct crash *crash)
{
    return ++crash->syncs == crash->set.k;
}

/* --- ops ---------------------------------------------------------------- */

static struct shadow *make_shadow(struct crash *crash, struct tm_op *op)
{
    struct shadow *shadow = calloc(1, sizeof(*shadow));

    require(shadow != NULL);
    shadow->op = *op;
    shadow->op.next = NULL;
    shadow->original = op;
    if (op->kind == TM_OP_WRITE)
        require(tm_crash_write(crash->log, op->fd, op->offset, op->buf, op->len,
                               &shadow->change));
    else if (op->kind == TM_OP_SYNC)
        shadow->point = tm_crash_point(crash->log, op->fd);
    crash->in_flight++;
    return shadow;
}

static void pass_on(struct crash *crash, struct tm_op *list)
{
    if (list)
        crash->inner->ops->submit(crash->inner, list);
}

static void crash_submit(struct tm_engine *engine, struct tm_op *list)
{
    struct crash *crash = (struct crash *)engine;
    struct tm_op *inside = NULL;
    struct tm_op **tail = &inside;
    struct tm_op *next;

    for (; list; list = next) {
        const bool last = list->kind == TM_OP_SYNC && is_last(crash);
        struct shadow *shadow = NULL;

        next = list->next;
        if (!last || crash->set.after) {
            shadow = make_shadow(crash, list);
            *tail = &shadow->op;
            tail = &shadow->op.next;
        }
        if (last) {
            pass_on(crash, inside);
            drain(crash, shadow);
            cut_power(crash);
        }
    }
    pass_on(crash, inside);
}

static struct tm_op *crash_wait(struct tm_engine *engine, int timeout_ms)
{
    struct crash *crash = (struct crash *)engine;
    struct tm_op *inside = crash->inner->ops->wait(crash->inner, timeout_ms);
    struct tm_op *list = NULL;
    struct tm_op **tail = &list;

    while (inside) {
        struct shadow *shadow = (struct shadow *)inside;

        inside = inside->next;
        crash->in_flight--;
        settle_write(crash, shadow);
        settle_sync(crash, shadow);
        shadow->original->result = shadow->op.result;
        *tail = shadow->original;
        tail = &shadow->original->next;
        free(shadow);
    }
    *tail = NULL;
    return list;
}

static void crash_wake(struct tm_engine *engine)
{
    struct crash *crash = (struct crash *)engine;

    crash->inner->ops->wake(crash->inner);
}

/* --- calls -------------------------------------------------------------- */

static int pass_call(struct crash *crash, const struct tm_call *call)
{
    return crash->inner->ops->call(crash->inner, call);
}

static int call_sync(struct crash *crash, const struct tm_call *call)
{
    const bool last = is_last(crash);
    const struct tm_crash_point point = tm_crash_point(crash->log, call->fd);
    int result = 0;

    if (!last || crash->set.after) {
        result = pass_call(crash, call);
        if (result >= 0)
            require(tm_crash_synced(crash->log, point));
    }
    if (last) {
        drain(crash, NULL);
        cut_power(crash);
    }
    return result;
}

static int call_resize(struct crash *crash, const struct tm_call *call)
{
    struct tm_crash_change *change;
    int result;

    require(tm_crash_resize(crash->log, call->fd, call->size, &change));
    result = pass_call(crash, call);
    tm_crash_done(crash->log, change, result);
    return result;
}

static int call_names(struct crash *crash, const struct tm_call *call)
{
    struct tm_crash_name *name;
    int result;

    require(tm_crash_look(crash->log, call, &name));
    result = pass_call(crash, call);
    require(tm_crash_named(crash->log, name, result));
    return result;
}

/* O_TRUNC is done as a call of its own: the log must see the file before. */
static int call_open(struct crash *crash, const struct tm_call *call)
{
    struct tm_call open_it = *call;
    struct tm_call truncate_it = {.kind = TM_CALL_TRUNCATE};
    int result;

    open_it.flags &= ~O_TRUNC;
    result = call_names(crash, &open_it);
    if (result < 0 || !(call->flags & O_TRUNC))
        return result;
    truncate_it.fd = result;
    call_resize(crash, &truncate_it); /* a FIFO may refuse it */
    return result;
}

static int crash_call(struct tm_engine *engine, const struct tm_call *call)
{
    struct crash *crash = (struct crash *)engine;

    switch (call->kind) {
    case TM_CALL_SYNC:
        return call_sync(crash, call);
    case TM_CALL_ALLOCATE:
    case TM_CALL_TRUNCATE:
        return call_resize(crash, call);
    case TM_CALL_OPEN:
        return call_open(crash, call);
    case TM_CALL_MKDIR:
    case TM_CALL_RENAME:
    case TM_CALL_UNLINK:
        return call_names(crash, call);
    default:
        return pass_call(crash, call);
    }
}

/* --- the engine --------------------------------------------------------- */

static int crash_renew(struct tm_engine *engine)
{
    const struct crash *crash = (struct crash *)engine;
    const struct tm_engine_ops *ops = crash->inner->ops;

    return ops->renew != NULL ? ops->renew(crash->inner) : 0;
}

static void crash_destroy(struct tm_engine *engine)
{
    struct crash *crash = (struct crash *)engine;

    print_syncs(crash);
    if (crash->set.end)
        cut_power(crash);
    crash->inner->ops->destroy(crash->inner);
    tm_crash_log_free(crash->log);
    free(crash);
}

static const struct tm_engine_ops crash_ops = {
    .name = "crash",
    .submit = crash_submit,
    .wait = crash_wait,
    .wake = crash_wake,
    .call = crash_call,
    .renew = crash_renew,
    .destroy = crash_destroy,
};

struct tm_engine *tm_engine_crash(struct tm_engine *inner, const char *spec)
{
    struct crash *crash = calloc(1, sizeof(*crash));

    if (!crash)
        return NULL;
    crash->base.ops = &crash_ops;
    crash->inner = inner;
    if (tm_fault_parse(spec, keys, COUNT(keys), &crash->set))
        crash->log = tm_crash_log_new();
    if (!crash->log) {
        free(crash);
        return NULL;
    }
    return &crash->base;
}
