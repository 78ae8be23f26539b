/* SPDX-License-Identifier: Apache-2.0 */
/* probe: see probe.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/probe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "src/progress.h"

/* Requests in flight, and how much is moved at most in how long. */
#define AHEAD   16
#define MOST    ((uint64_t)256 << 20)
#define SECONDS 0.5

/* Below this the clock says more about the start than about the disk. */
#define LEAST ((uint64_t)8 << 20)

struct probe {
    struct tm_disk *disk;
    struct tm_file *file;
    enum tm_op_kind kind;
    unsigned char *buffer;
    struct tm_transfer transfers[AHEAD];
    uint64_t next, end; /* offsets */
    uint64_t moved;
};

static void start(struct probe *probe, size_t number)
{
    probe->transfers[number] = (struct tm_transfer){
        .kind = probe->kind,
        .file = probe->file,
        .offset = probe->next,
        .buf = probe->buffer + number * TM_REQUEST,
        .len = TM_REQUEST,
        .need = TM_REQUEST,
    };
    probe->next += TM_REQUEST;
    tm_transfer_start(probe->disk, &probe->transfers[number]);
}

/* Moves from `begin` on; bytes a second, or 0. */
static double move(struct probe *probe, uint64_t begin, uint64_t end)
{
    const double started = tm_clock();
    bool is_good = true;

    probe->next = begin;
    probe->end = end < begin + MOST ? end : begin + MOST;
    for (size_t i = 0; i < AHEAD && probe->next < probe->end; i++)
        start(probe, i);
    while (probe->disk->in_flight > 0) {
        struct tm_transfer *done = tm_disk_wait(probe->disk, -1);

        while (done != NULL) {
            struct tm_transfer *next = done->next;

            is_good = is_good && done->status == TM_OK;
            probe->moved += TM_REQUEST;
            if (is_good && probe->next < probe->end &&
                tm_clock() - started < SECONDS)
                start(probe, (size_t)(done - probe->transfers));
            done = next;
        }
    }
    if (is_good && probe->kind == TM_OP_WRITE)
        is_good = probe->disk->engine->ops->call(
                      probe->disk->engine,
                      &(struct tm_call){.kind = TM_CALL_SYNC,
                                        .fd = probe->file->fd}) == 0;
    return is_good ? (double)probe->moved / (tm_clock() - started) : 0;
}

static const struct tm_input_file *largest_input(const struct tm_plan *plan)
{
    const struct tm_input_file *largest = &plan->files[0];

    for (size_t i = 1; i < plan->num_files; i++)
        if (plan->files[i].identity.size > largest->identity.size)
            largest = &plan->files[i];
    return largest;
}

static double probe_read(const struct tm_plan *plan,
                         const struct tm_settings *settings,
                         struct probe *probe)
{
    const struct tm_input_file *input = largest_input(plan);
    const uint64_t size = input->identity.size;
    const uint64_t whole = size / TM_REQUEST * TM_REQUEST;
    struct tm_file file;
    double speed;

    if (whole < LEAST || tm_file_open(probe->disk->engine, input->path,
                                      settings->direct, &file, NULL) != TM_OK)
        return 0;
    probe->file = &file;
    probe->kind = TM_OP_READ;
    /* From the middle: headers were read a moment ago. */
    speed = move(probe, whole / 2 / TM_REQUEST * TM_REQUEST, whole);
    tm_file_close(probe->disk->engine, &file);
    return speed;
}

static double probe_write(const struct tm_plan *plan,
                          const struct tm_settings *settings,
                          const char *directory, struct probe *probe)
{
    struct tm_file file = {.path = directory};
    double speed;

    if (plan->bytes_written < LEAST)
        return 0;
    file.fd = open(directory,
                   O_TMPFILE | O_WRONLY | O_CLOEXEC |
                       (settings->direct != TM_DIRECT_OFF ? O_DIRECT : 0),
                   0600);
    if (file.fd < 0)
        return 0;
    file.direct = settings->direct != TM_DIRECT_OFF;
    probe->file = &file;
    probe->kind = TM_OP_WRITE;
    probe->moved = 0;
    speed = move(probe, 0, plan->bytes_written / TM_REQUEST * TM_REQUEST);
    tm_file_close(probe->disk->engine, &file);
    return speed;
}

void tm_probe(const struct tm_plan *plan, const struct tm_settings *settings,
              struct tm_disk *disk, const char *directory,
              struct tm_speed *speed)
{
    struct probe probe = {.disk = disk};

    *speed = (struct tm_speed){0};
    probe.buffer = aligned_alloc(TM_BLOCK, AHEAD * TM_REQUEST);
    if (probe.buffer == NULL)
        return;
    memset(probe.buffer, 0x5a, AHEAD * TM_REQUEST);
    speed->read = probe_read(plan, settings, &probe);
    speed->write = probe_write(plan, settings, directory, &probe);
    free(probe.buffer);
}
