/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flip_bits: runs a command again and again, each time with one bit of a file
 * flipped. A process for each bit would take minutes; here the functions of
 * the commands are called one after another.
 *
 *     flip_bits FILE OUT COMMAND [ARGS...] < BITS
 *
 * BITS are numbers between spaces; bit n is bit n % 8 of byte n / 8. OUT is
 * what the command makes, "-" if it makes nothing. First the command is run
 * with the file as it is. Each run prints a line: the bit ("-" for the first
 * run), the exit status, and "left" if a run that failed left anything where
 * OUT should be or is built. What a run that worked made is moved to OUT.BIT;
 * the caller looks at it and takes it away.
 *
 * Exit status 0: all was done. The file is then as it was.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/message.h"
#include "src/commands.h"

typedef enum tm_status command(int argc, char **argv);

static const struct {
    const char *name;
    command *run;
} commands[] = {
    {"merge", tm_command_merge},
    {"apply", tm_command_apply},
    {"verify", tm_command_verify},
};

#define NUM_COMMANDS (sizeof(commands) / sizeof(commands[0]))
#define MOST_ARGS    64

struct job {
    command *run;
    int argc;
    char **argv;
    const char *out; /* NULL: there is none */
    char sibling[PATH_MAX];
    int file;
    FILE *results;
};

static bool fail(const char *what)
{
    fprintf(stderr, "flip_bits: %s: %s\n", what, strerror(errno));
    return false;
}

/* DIR/.NAME.taumerge, where DIR/NAME is built. */
static bool name_sibling(struct job *job)
{
    const char *slash = strrchr(job->out, '/');
    const int folder = slash != NULL ? (int)(slash - job->out) + 1 : 0;
    const int length =
        snprintf(job->sibling, sizeof(job->sibling), "%.*s.%s.taumerge", folder,
                 job->out, job->out + folder);

    errno = ENAMETOOLONG;
    return length < (int)sizeof(job->sibling) || fail(job->out);
}

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* Moves what was made out of the way of the next run. */
static bool keep(const struct job *job, const char *bit)
{
    char path[PATH_MAX];
    const int length = snprintf(path, sizeof(path), "%s.%s", job->out, bit);

    errno = ENAMETOOLONG;
    return (length < (int)sizeof(path) && rename(job->out, path) == 0) ||
           fail(job->out);
}

struct call {
    const struct job *job;
    enum tm_status status;
};

/* A command may put its arguments into another order. */
static void *call(void *context)
{
    struct call *c = context;
    char *argv[MOST_ARGS];

    memcpy(argv, c->job->argv, ((size_t)c->job->argc + 1) * sizeof(*argv));
    c->status = c->job->run(c->job->argc, argv);
    return NULL;
}

/* In a thread of its own: what a command gives away for good, as io/confine.h
 * does, is gone for that thread only. */
static bool call_in_thread(const struct job *job, enum tm_status *status)
{
    struct call c = {.job = job};
    pthread_t thread;

    errno = pthread_create(&thread, NULL, call, &c);
    if (errno == 0)
        errno = pthread_join(thread, NULL);
    *status = c.status;
    return errno == 0 || fail("a thread");
}

static bool run(const struct job *job, const char *bit)
{
    enum tm_status status;
    bool is_left = false;

    if (!call_in_thread(job, &status))
        return false;
    if (job->out != NULL && status == TM_OK && !keep(job, bit))
        return false;
    if (job->out != NULL)
        is_left = is_there(job->out) || is_there(job->sibling);
    fprintf(job->results, "%s %d%s\n", bit, (int)status,
            is_left ? " left" : "");
    return fflush(job->results) == 0 || fail("stdout");
}

static bool flip(const struct job *job, unsigned long long bit)
{
    const off_t at = (off_t)(bit / 8);
    unsigned char byte;

    errno = ERANGE;
    if (pread(job->file, &byte, 1, at) != 1)
        return fail("the bit is not in the file");
    byte ^= (unsigned char)(1 << bit % 8);
    return pwrite(job->file, &byte, 1, at) == 1 || fail("the file");
}

static bool run_all(const struct job *job)
{
    char text[32];
    unsigned long long bit;
    bool ok = run(job, "-");

    while (ok && scanf("%llu", &bit) == 1) {
        snprintf(text, sizeof(text), "%llu", bit);
        ok = flip(job, bit) && run(job, text) && flip(job, bit);
    }
    return ok;
}

/* Nothing but the results goes to what was standard output. */
static bool redirect(struct job *job)
{
    const int copy = dup(STDOUT_FILENO);

    if (copy < 0)
        return fail("stdout");
    job->results = fdopen(copy, "w");
    return (job->results != NULL && freopen("/dev/null", "w", stdout)) ||
           fail("stdout");
}

static command *find_command(const char *name)
{
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run;
    return NULL;
}

int main(int argc, char **argv)
{
    struct job job = {0};
    bool ok;

    if (argc >= 4 && argc < MOST_ARGS)
        job.run = find_command(argv[3]);
    if (job.run == NULL) {
        fputs("usage: flip_bits FILE OUT COMMAND [ARGS...] < BITS\n", stderr);
        return TM_USAGE;
    }
    job.argc = argc - 3;
    job.argv = argv + 3;
    job.out = strcmp(argv[2], "-") == 0 ? NULL : argv[2];
    job.file = open(argv[1], O_RDWR | O_CLOEXEC);
    /* As main() of the program does it. */
    json_object_seed(1);
    tm_message_silence();
    ok = job.file >= 0 || fail(argv[1]);
    ok = ok && (job.out == NULL || name_sibling(&job));
    ok = ok && redirect(&job) && run_all(&job);
    if (job.file >= 0)
        close(job.file);
    if (job.results != NULL && fclose(job.results) != 0)
        ok = fail("stdout");
    return ok ? 0 : 1;
}
