/* SPDX-License-Identifier: Apache-2.0 */
/* verify_kept: see verify_kept.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/verify_kept.h"

#include <stdio.h>
#include <string.h>

#include "io/path.h"
#include "src/kept.h"
#include "src/staging.h"

static void tick(void *context, uint64_t bytes_checked)
{
    (void)bytes_checked;
    tm_check_tick(context);
}

/* Notes the file that the mark at hand does not fit. */
static enum tm_status note_damage(struct tm_check *check,
                                  const struct tm_kept *kept)
{
    struct tm_recorded_file file = {.name = TM_STAGING_JOURNAL,
                                    .path = kept->journal.file.path};

    if (kept->bad == NULL)
        return tm_check_note(check, &file, NULL, "has a mark that is none");
    file.name = kept->bad->name;
    file.path = tm_path_join(&check->arena, kept->output, file.name);
    if (file.path == NULL)
        return tm_no_memory();
    return tm_check_note(check, &file, NULL, kept->why_bad);
}

static enum tm_status check_marks(struct tm_check *check, struct tm_kept *kept)
{
    enum tm_status status = TM_OK;
    bool more = true, good = true;

    while (status == TM_OK && more) {
        struct tm_unpack body;
        uint64_t num_files;

        status = tm_kept_next(kept, &body, &num_files, &more);
        if (status != TM_OK || !more)
            break;
        status = tm_kept_check(kept, &body, num_files, &good);
        if (status == TM_OK && !good)
            status = note_damage(check, kept);
        more = good;
    }
    return status;
}

static enum tm_status describe(struct tm_check *check,
                               const struct tm_kept *kept)
{
    char text[40];

    snprintf(text, sizeof(text), "as far as it goes, %u %%",
             kept->num_marks > 0 ? tm_kept_percent(kept) : 0);
    check->so_far = tm_arena_copy(&check->arena, text, strlen(text));
    return check->so_far != NULL ? TM_OK : tm_no_memory();
}

enum tm_status tm_verify_kept(struct tm_check *check)
{
    struct tm_kept kept;
    const struct tm_recorded_file journal = {.name = TM_STAGING_JOURNAL,
                                             .path = check->path};
    enum tm_status status = tm_kept_open(&kept, check->disk, check->path);

    kept.tick = tick;
    kept.context = check;
    tm_check_start(check, kept.bytes_total);
    if (status == TM_OK && kept.head == NULL)
        status = tm_check_note(check, &journal, NULL,
                               "its journal has no head that is whole");
    if (status == TM_OK)
        status = check_marks(check, &kept);
    tm_check_finish(check);
    check->files = kept.num_files;
    check->bytes = kept.bytes_checked;
    if (status == TM_OK)
        status = describe(check, &kept);
    tm_kept_close(&kept);
    return status;
}
