/* SPDX-License-Identifier: Apache-2.0 */
/* infile: see infile.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/infile.h"

#include <stdlib.h>

#include "io/checked.h"

enum tm_status tm_infile_start(struct tm_disk *disk, struct tm_file *file,
                               uint64_t *length, char **bytes)
{
    const uint64_t need = *length < file->size ? *length : file->size;
    uint64_t rounded;
    struct tm_transfer transfer;

    *bytes = NULL;
    if (!tm_round_up(need > 0 ? need : 1, TM_BLOCK, &rounded))
        return tm_no_memory();
    *bytes = aligned_alloc(TM_BLOCK, rounded);
    if (*bytes == NULL)
        return tm_no_memory();
    *length = need;
    if (need == 0)
        return TM_OK;
    transfer = (struct tm_transfer){
        .kind = TM_OP_READ,
        .file = file,
        .buf = *bytes,
        .len = rounded,
        .need = need,
    };
    return tm_transfer_now(disk, &transfer);
}

enum tm_status tm_infile_read(struct tm_disk *disk, const char *path,
                              uint64_t most, char **bytes, size_t *length)
{
    struct tm_file file;
    uint64_t size;
    enum tm_status status;

    *bytes = NULL;
    status = tm_file_open(disk->engine, path, TM_DIRECT_OFF, &file, NULL);
    if (status != TM_OK)
        return status;
    size = file.size;
    if (size > most)
        status = tm_error(TM_BAD_DATA, "%s: too large", path);
    else
        status = tm_infile_start(disk, &file, &size, bytes);
    tm_file_close(disk->engine, &file);
    *length = size;
    return status;
}
