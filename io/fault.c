/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault: breaks another engine on purpose; see io/fault.h for what and how.
 *
 * Every op that comes in gets a shadow, a copy that the inner engine works on
 * in its stead. The shadow is where an op can be given another buffer, have
 * its result changed and wait its turn, without touching what is the caller's.
 *
 *     op -> shadow -> inner engine -> held -> op
 *                 `---- fails -------^
 *
 * An op that fails goes straight to `held`, which the next wait empties. With
 * shuffle=SEED the wait goes on until nothing is left in the inner engine (or
 * its time is up), puts what it holds in the order of submission, and draws
 * from that: the order in which ops were really done does not matter then.
 *
 * Short transfers are whole ones of which only a part is owned up to. So the
 * kernel never sees a length that direct I/O would refuse. What a write has
 * moved beyond that part, the caller must write again anyway. Direct I/O comes
 * up short by whole blocks only, as it does in life: the rest of a block can
 * only be had by asking for all of it again.
 *
 * A call that fails is not made, but for close: on Linux a descriptor is gone
 * after close, whatever that returns.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/checked.h"
#include "io/fault.h"
#include "io/fault_spec.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* No direct I/O needs buffers, offsets or lengths rounder than this. */
#define BLOCK ((uint64_t)4096)

/* What op=NAME can name. */
enum target {
    TARGET_ANY,
    TARGET_READ,
    TARGET_WRITE,
    TARGET_SYNC,
    TARGET_OPEN,
    TARGET_CLOSE,
    TARGET_ALLOCATE,
    TARGET_TRUNCATE,
    TARGET_MKDIR,
    TARGET_RENAME,
    TARGET_UNLINK,
};

static const char *const target_names[] = {
    [TARGET_ANY] = "any",           [TARGET_READ] = "read",
    [TARGET_WRITE] = "write",       [TARGET_SYNC] = "sync",
    [TARGET_OPEN] = "open",         [TARGET_CLOSE] = "close",
    [TARGET_ALLOCATE] = "allocate", [TARGET_TRUNCATE] = "truncate",
    [TARGET_MKDIR] = "mkdir",       [TARGET_RENAME] = "rename",
    [TARGET_UNLINK] = "unlink",
};

static const enum target target_of_op[] = {
    [TM_OP_READ] = TARGET_READ,
    [TM_OP_WRITE] = TARGET_WRITE,
    [TM_OP_SYNC] = TARGET_SYNC,
};

static const enum target target_of_call[TM_NUM_CALLS] = {
    [TM_CALL_OPEN] = TARGET_OPEN,         [TM_CALL_CLOSE] = TARGET_CLOSE,
    [TM_CALL_ALLOCATE] = TARGET_ALLOCATE, [TM_CALL_TRUNCATE] = TARGET_TRUNCATE,
    [TM_CALL_MKDIR] = TARGET_MKDIR,       [TM_CALL_RENAME] = TARGET_RENAME,
    [TM_CALL_UNLINK] = TARGET_UNLINK,     [TM_CALL_SYNC] = TARGET_SYNC,
};

static const struct {
    const char *name;
    int value;
} errors[] = {
    {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EINTR", EINTR},
    {"EAGAIN", EAGAIN}, {"EINVAL", EINVAL}, {"EDQUOT", EDQUOT},
    {"EROFS", EROFS},   {"EACCES", EACCES}, {"EMFILE", EMFILE},
    {"ENOMEM", ENOMEM},
};

struct settings {
    enum target target;
    uint64_t k;
    int error;
    bool ever;
    bool shorten;
    bool flip;
    bool late;
    bool shuffle;
    uint64_t seed;
    bool log;
};

/* What stands in for an op; the inner engine sees only `op`. */
struct shadow {
    struct tm_op op; /* the first member, so that one leads to the other */
    struct tm_op *original;
    uint64_t number; /* in the order of submission */
    bool shorten;
    bool direct; /* the file is open for direct I/O */
    bool flip;
    void *copy;          /* of the data of a write, with the flipped bit */
    struct shadow *next; /* in `held` */
};

struct fault {
    struct tm_engine base;
    struct tm_engine *inner;
    struct settings set;
    uint64_t count;       /* operations of the chosen kind so far */
    uint64_t submitted;   /* ops of any kind so far */
    uint64_t random;      /* the generator's state */
    unsigned in_inner;    /* ops that the inner engine has */
    struct shadow *held;  /* done, not yet handed over */
    unsigned num_held;    /* how many those are */
    struct tm_op *failed; /* ops for which there was no memory */
    struct shadow *late;  /* not begun yet */
    unsigned idle;        /* waits since the inner engine had anything */
};

/* --- the settings ------------------------------------------------------- */

static bool parse_op(void *settings, const char *value)
{
    struct settings *set = settings;
    size_t choice = TARGET_ANY;
    bool good =
        tm_fault_choice(value, target_names, COUNT(target_names), &choice);

    set->target = (enum target)choice;
    return good;
}

static bool parse_k(void *settings, const char *value)
{
    return tm_fault_number(value, &((struct settings *)settings)->k);
}

static bool parse_errno(void *settings, const char *value)
{
    struct settings *set = settings;
    size_t i;

    for (i = 0; i < COUNT(errors); i++)
        if (strcmp(value, errors[i].name) == 0) {
            set->error = errors[i].value;
            return true;
        }
    return false;
}

static bool parse_for(void *settings, const char *value)
{
    struct settings *set = settings;

    set->ever = strcmp(value, "ever") == 0;
    return set->ever || strcmp(value, "once") == 0;
}

static bool parse_short(void *settings, const char *value)
{
    return tm_fault_one(value, &((struct settings *)settings)->shorten);
}

static bool parse_flip(void *settings, const char *value)
{
    return tm_fault_one(value, &((struct settings *)settings)->flip);
}

static bool parse_late(void *settings, const char *value)
{
    return tm_fault_one(value, &((struct settings *)settings)->late);
}

static bool parse_shuffle(void *settings, const char *value)
{
    struct settings *set = settings;

    set->shuffle = true;
    return tm_fault_number(value, &set->seed);
}

static bool parse_log(void *settings, const char *value)
{
    return tm_fault_one(value, &((struct settings *)settings)->log);
}

static const struct tm_fault_key keys[] = {
    {"op", parse_op},       {"k", parse_k},
    {"errno", parse_errno}, {"for", parse_for},
    {"short", parse_short}, {"flip", parse_flip},
    {"log", parse_log},     {"shuffle", parse_shuffle},
    {"late", parse_late},
};

/* An empty spec breaks nothing. */
static bool parse_spec(struct settings *set, const char *spec)
{
    *set = (struct settings){.target = TARGET_ANY, .error = EIO};
    return tm_fault_parse(spec, keys, COUNT(keys), set);
}

/* --- ops ---------------------------------------------------------------- */

/* Counts an operation. Returns whether it is one to break. */
static bool is_hit(struct fault *fault, enum target target)
{
    const struct settings *set = &fault->set;

    if (set->target != TARGET_ANY && set->target != target)
        return false;
    fault->count++;
    if (set->k == 0)
        return set->shorten;
    return set->ever ? fault->count >= set->k : fault->count == set->k;
}

/*
 * Where in `len` bytes the bit is flipped: in the first half, so that a short
 * transfer does not leave it out.
 */
static void flip_bit(void *data, uint64_t len)
{
    ((unsigned char *)data)[len / 4] ^= 0x10;
}

/* Puts a flipped copy in the place of the data of a write. */
static bool flip_write(struct shadow *shadow)
{
    uint64_t room;

    if (!tm_round_up(shadow->op.len, BLOCK, &room))
        return false;
    shadow->copy = aligned_alloc(BLOCK, room);
    if (!shadow->copy)
        return false;
    memcpy(shadow->copy, shadow->op.buf, shadow->op.len);
    flip_bit(shadow->copy, shadow->op.len);
    shadow->op.buf = shadow->copy;
    return true;
}

static bool is_direct(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && (flags & O_DIRECT) != 0;
}

/* A shadow for `op`, or NULL if memory ran out. */
static struct shadow *make_shadow(struct fault *fault, struct tm_op *op,
                                  bool hit)
{
    const struct settings *set = &fault->set;
    bool moves = op->kind == TM_OP_READ || op->kind == TM_OP_WRITE;
    struct shadow *shadow = calloc(1, sizeof(*shadow));

    if (!shadow)
        return NULL;
    shadow->op = *op;
    shadow->op.next = NULL;
    shadow->original = op;
    shadow->number = fault->submitted++;
    shadow->shorten = hit && set->shorten && moves;
    shadow->direct = shadow->shorten && is_direct(op->fd);
    shadow->flip = hit && set->flip && set->k > 0 && moves && op->len > 0;
    if (shadow->flip && op->kind == TM_OP_WRITE && !flip_write(shadow)) {
        free(shadow);
        return NULL;
    }
    return shadow;
}

/* Puts a done op with the others: by number if they are to be shuffled. */
static void hold(struct fault *fault, struct shadow *shadow)
{
    struct shadow **place = &fault->held;

    while (*place && (!fault->set.shuffle || (*place)->number < shadow->number))
        place = &(*place)->next;
    shadow->next = *place;
    *place = shadow;
    fault->num_held++;
}

/* What `op` becomes in the inner engine, or NULL if it does not get there. */
static struct tm_op *let_in(struct fault *fault, struct tm_op *op)
{
    const struct settings *set = &fault->set;
    bool hit = is_hit(fault, target_of_op[op->kind]);
    struct shadow *shadow = make_shadow(fault, op, hit);

    if (!shadow) {
        op->result = -ENOMEM;
        op->next = fault->failed;
        fault->failed = op;
        return NULL;
    }
    if (hit && set->late) {
        shadow->next = fault->late;
        fault->late = shadow;
        return NULL;
    }
    if (hit && !set->shorten && !set->flip) {
        shadow->op.result = -set->error;
        hold(fault, shadow);
        return NULL;
    }
    fault->in_inner++;
    return &shadow->op;
}

static void fault_submit(struct tm_engine *engine, struct tm_op *list)
{
    struct fault *fault = (struct fault *)engine;
    struct tm_op *inside = NULL;
    struct tm_op **tail = &inside;
    struct tm_op *next;

    for (; list; list = next) {
        next = list->next;
        *tail = let_in(fault, list);
        if (*tail)
            tail = &(*tail)->next;
    }
    if (inside)
        fault->inner->ops->submit(fault->inner, inside);
}

/* Takes over what the inner engine has done. */
static void take_back(struct fault *fault, struct tm_op *done)
{
    struct tm_op *next;

    for (; done; done = next) {
        next = done->next;
        fault->in_inner--;
        hold(fault, (struct shadow *)done);
    }
}

/* About half of what was moved, and not nothing. */
static int64_t some_of(int64_t moved, bool direct)
{
    int64_t half = moved - moved / 2;

    if (direct)
        half = (half + (int64_t)BLOCK - 1) & -(int64_t)BLOCK;
    return half < moved ? half : moved;
}

/* Ends a shadow. Returns its op, done. */
static struct tm_op *finish(struct shadow *shadow)
{
    struct tm_op *op = shadow->original;
    int64_t result = shadow->op.result;

    if (shadow->flip && op->kind == TM_OP_READ && result > 0)
        flip_bit(op->buf, (uint64_t)result);
    if (shadow->shorten && result > 0)
        result = some_of(result, shadow->direct);
    op->result = result;
    free(shadow->copy);
    free(shadow);
    return op;
}

/* Takes one op out of those that are held. */
static struct shadow *pick(struct fault *fault)
{
    struct shadow **place = &fault->held;
    struct shadow *shadow;
    uint64_t i = fault->set.shuffle
                     ? tm_fault_draw(&fault->random) % fault->num_held
                     : 0;

    while (i-- > 0)
        place = &(*place)->next;
    shadow = *place;
    *place = shadow->next;
    fault->num_held--;
    return shadow;
}

/* All that is done, as a list. */
static struct tm_op *hand_over(struct fault *fault)
{
    struct tm_op *list = fault->failed;
    struct tm_op **tail = &list;

    fault->failed = NULL;
    while (*tail)
        tail = &(*tail)->next;
    while (fault->held) {
        *tail = finish(pick(fault));
        tail = &(*tail)->next;
    }
    *tail = NULL;
    return list;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* How much of `timeout_ms`, counted from `start`, is left. */
static int time_left(int timeout_ms, int64_t start)
{
    int64_t left;

    if (timeout_ms <= 0)
        return timeout_ms;
    left = start + timeout_ms - now_ms();
    return left > 0 ? (int)left : 0;
}

/* Waits that an op is late by, in which nothing else is under way. */
#define LATE 3

/* Begins one that is late, if its time has come. Returns whether any is left.
 */
static bool begin_late(struct fault *fault)
{
    struct shadow *shadow = fault->late;

    fault->idle = fault->in_inner > 0 ? 0 : fault->idle + 1;
    if (shadow && fault->idle >= LATE) {
        fault->late = shadow->next;
        fault->in_inner++;
        fault->inner->ops->submit(fault->inner, &shadow->op);
    }
    return fault->late != NULL && fault->in_inner == 0;
}

static struct tm_op *fault_wait(struct tm_engine *engine, int timeout_ms)
{
    struct fault *fault = (struct fault *)engine;
    struct tm_engine *inner = fault->inner;
    int64_t start = now_ms();
    bool collect = fault->set.shuffle && fault->in_inner > 0;
    struct tm_op *done;

    /* What has failed is ready: then only look whether there is more. */
    if ((fault->held || fault->failed) && !collect)
        timeout_ms = 0;
    if (begin_late(fault))
        timeout_ms = 0; /* there may be more of them */
    do {
        done = inner->ops->wait(inner, time_left(timeout_ms, start));
        take_back(fault, done);
    } while (done && fault->set.shuffle && fault->in_inner > 0);
    return hand_over(fault);
}

/* --- the rest ----------------------------------------------------------- */

static void fault_wake(struct tm_engine *engine)
{
    struct fault *fault = (struct fault *)engine;

    fault->inner->ops->wake(fault->inner);
}

static int fault_call(struct tm_engine *engine, const struct tm_call *call)
{
    struct fault *fault = (struct fault *)engine;
    const struct settings *set = &fault->set;
    bool hit = is_hit(fault, target_of_call[call->kind]);
    bool fails = hit && !set->shorten && !set->flip && !set->late;
    int rc = 0;

    if (!fails || call->kind == TM_CALL_CLOSE)
        rc = fault->inner->ops->call(fault->inner, call);
    return fails ? -set->error : rc;
}

static int fault_renew(struct tm_engine *engine)
{
    const struct fault *fault = (struct fault *)engine;
    const struct tm_engine_ops *ops = fault->inner->ops;

    return ops->renew != NULL ? ops->renew(fault->inner) : 0;
}

static void fault_destroy(struct tm_engine *engine)
{
    struct fault *fault = (struct fault *)engine;

    if (fault->set.log)
        fprintf(stderr, "fault: %" PRIu64 " operations\n", fault->count);
    fault->inner->ops->destroy(fault->inner);
    free(fault);
}

static const struct tm_engine_ops fault_ops = {
    .name = "fault",
    .submit = fault_submit,
    .wait = fault_wait,
    .wake = fault_wake,
    .call = fault_call,
    .renew = fault_renew,
    .destroy = fault_destroy,
};

struct tm_engine *tm_engine_fault(struct tm_engine *inner, const char *spec)
{
    struct fault *fault = calloc(1, sizeof(*fault));

    if (!fault)
        return NULL;
    if (!parse_spec(&fault->set, spec)) {
        free(fault);
        return NULL;
    }
    fault->base.ops = &fault_ops;
    fault->inner = inner;
    fault->random = fault->set.seed;
    return &fault->base;
}
