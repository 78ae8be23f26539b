/* SPDX-License-Identifier: Apache-2.0 */
/* inputs: see inputs.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/inputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

/*
 * Descriptors for everything else: standard ones, the ring and its eventfd,
 * open output shards, directories, and what libraries open.
 */
#define RESERVED 32

size_t tm_inputs_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0 &&
            getrlimit(RLIMIT_NOFILE, &limit) != 0)
            return 0;
    }
    return limit.rlim_cur > RESERVED ? (size_t)limit.rlim_cur - RESERVED : 0;
}

enum tm_status tm_inputs_init(struct tm_inputs *inputs, struct tm_disk *disk,
                              const struct tm_plan *plan, enum tm_direct direct)
{
    *inputs = (struct tm_inputs){
        .disk = disk,
        .plan = plan,
        .direct = direct,
        .inputs = calloc(plan->num_files + 1, sizeof(*inputs->inputs)),
        .most_open = tm_inputs_limit(),
    };
    if (inputs->inputs == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < plan->num_files; i++)
        inputs->inputs[i].file.fd = -1;
    return TM_OK;
}

static void close_input(struct tm_inputs *inputs, struct tm_input *input)
{
    if (input->file.fd < 0)
        return;
    tm_file_close(inputs->disk->engine, &input->file);
    inputs->num_open--;
}

void tm_inputs_free(struct tm_inputs *inputs)
{
    if (inputs->inputs == NULL)
        return;
    for (size_t i = 0; i < inputs->plan->num_files; i++)
        close_input(inputs, &inputs->inputs[i]);
    free(inputs->inputs);
    inputs->inputs = NULL;
}

/* Closes the file that was used least recently; false if all are in use. */
static bool make_room(struct tm_inputs *inputs)
{
    struct tm_input *oldest = NULL;

    for (size_t i = 0; i < inputs->plan->num_files; i++) {
        struct tm_input *input = &inputs->inputs[i];

        if (input->file.fd >= 0 && input->users == 0 &&
            (oldest == NULL || input->last_used < oldest->last_used))
            oldest = input;
    }
    if (oldest == NULL)
        return false;
    close_input(inputs, oldest);
    return true;
}

static enum tm_status has_changed(const struct tm_input_file *planned)
{
    return tm_error(TM_IO_ERROR, "%s: was changed while it was being merged",
                    planned->path);
}

static enum tm_status open_input(struct tm_inputs *inputs, uint32_t number)
{
    const struct tm_input_file *planned = &inputs->plan->files[number];
    struct tm_input *input = &inputs->inputs[number];
    struct tm_identity identity;
    const enum tm_status status =
        tm_file_open(inputs->disk->engine, planned->path, inputs->direct,
                     &input->file, &identity);

    if (status != TM_OK)
        return status;
    inputs->num_open++;
    if (input->file.direct)
        inputs->num_direct++;
    else
        inputs->num_buffered++;
    if (!tm_identity_equal(&identity, &planned->identity))
        return has_changed(planned);
    return TM_OK;
}

enum tm_status tm_inputs_acquire(struct tm_inputs *inputs, uint32_t number,
                                 struct tm_file **file)
{
    struct tm_input *input = &inputs->inputs[number];
    enum tm_status status = TM_OK;

    *file = NULL;
    if (input->file.fd < 0) {
        if (inputs->num_open >= inputs->most_open && !make_room(inputs))
            return TM_OK;
        status = open_input(inputs, number);
    }
    if (status != TM_OK)
        return status;
    input->users++;
    input->last_used = ++inputs->clock;
    *file = &input->file;
    return TM_OK;
}

void tm_inputs_release(struct tm_inputs *inputs, uint32_t number)
{
    inputs->inputs[number].users--;
}

enum tm_status tm_inputs_check(const struct tm_plan *plan)
{
    for (size_t i = 0; i < plan->num_files; i++) {
        const struct tm_input_file *planned = &plan->files[i];
        struct stat st;

        if (stat(planned->path, &st) != 0)
            return tm_error(TM_IO_ERROR, "%s: cannot look again: %s",
                            planned->path, strerror(errno));
        const struct tm_identity now = tm_identity_from(&st);
        if (!tm_identity_equal(&now, &planned->identity))
            return has_changed(planned);
    }
    return TM_OK;
}
