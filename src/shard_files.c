/* SPDX-License-Identifier: Apache-2.0 */
/* shard_files: see shard_files.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/shard_files.h"

/* A shard that was begun: nothing may have been put behind its end. */
static enum tm_status cut_off(struct tm_staging *staging, const char *path,
                              const struct tm_plan_shard *shard)
{
    struct tm_disk *disk = staging->disk;
    struct tm_file file;
    struct tm_call call = {.kind = TM_CALL_TRUNCATE, .size = shard->size};
    enum tm_status closed,
        status = tm_file_reopen(disk->engine, staging->fd, shard->name, path,
                                TM_DIRECT_OFF, &file);

    if (status != TM_OK)
        return status;
    call.fd = file.fd;
    status = tm_disk_call(disk, &call, TM_IO_ERROR, path, "set the size");
    call.kind = TM_CALL_SYNC;
    if (status == TM_OK)
        status = tm_disk_call(disk, &call, TM_IO_ERROR, path, "sync");
    closed = tm_file_close(disk->engine, &file);
    return status != TM_OK ? status : closed;
}

static enum tm_status make(struct tm_staging *staging, const char *path,
                           const struct tm_plan_shard *shard,
                           enum tm_direct direct)
{
    struct tm_engine *engine = staging->disk->engine;
    struct tm_file file;
    const enum tm_status status = tm_file_create(
        engine, staging->fd, shard->name, path, shard->size, direct, &file);

    return status == TM_OK ? tm_file_close(engine, &file) : status;
}

enum tm_status tm_shard_files_make(const struct tm_plan *plan,
                                   const struct tm_settings *settings,
                                   struct tm_staging *staging,
                                   const struct tm_start *start)
{
    const struct tm_mark_place *place = &start->place;
    enum tm_status status = TM_OK;

    for (size_t i = 0; i < plan->num_shards && status == TM_OK; i++) {
        const struct tm_plan_shard *shard = &plan->shards[i];
        const char *path = tm_staging_path(staging, shard->name);
        const bool is_kept =
            i < place->shard || (i == place->shard && place->position > 0);

        if (path == NULL)
            status = tm_no_memory();
        else if (is_kept)
            status = cut_off(staging, path, shard);
        else
            status = make(staging, path, shard, settings->direct);
    }
    return status;
}

enum tm_status tm_shard_files_open(const struct tm_plan *plan,
                                   const struct tm_settings *settings,
                                   struct tm_staging *staging, size_t number,
                                   struct tm_file *file)
{
    const struct tm_plan_shard *shard = &plan->shards[number];
    const char *path = tm_staging_path(staging, shard->name);

    if (path == NULL)
        return tm_no_memory();
    return tm_file_reopen(staging->disk->engine, staging->fd, shard->name, path,
                          settings->direct, file);
}
