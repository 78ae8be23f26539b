/* SPDX-License-Identifier: Apache-2.0 */
/* resume: see resume.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/resume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/head.h"
#include "src/kept.h"

/* What is known of a kept run so far. */
struct resuming {
    const struct tm_plan *plan;
    struct tm_staging *staging;
    struct tm_results *results;
    struct tm_start *start;
    struct tm_kept kept;
    /* The journal behind the last good record. */
    uint64_t end;
    uint64_t number;
    struct tm_digest chain;
};

void tm_start_free(struct tm_start *start)
{
    free(start->stream);
    *start = (struct tm_start){0};
}

static void note_end(struct resuming *r)
{
    r->end = r->kept.journal.end;
    r->number = r->kept.journal.number;
    r->chain = r->kept.journal.chain;
}

/* A mark whose files are right: takes over what it says. */
static enum tm_status take_mark(struct resuming *r, struct tm_unpack *body)
{
    struct tm_unpack stream;
    unsigned char *copy;

    if (!tm_mark_take(body, r->plan, &r->start->place, &r->kept.place,
                      r->results, &stream))
        return tm_error(TM_CANT_CREATE,
                        "%s: a mark does not fit what is to be made "
                        "(--restart throws it away)",
                        r->kept.journal.file.path);
    copy = malloc(stream.left + 1);
    if (copy == NULL)
        return tm_no_memory();
    memcpy(copy, stream.at, stream.left);
    free(r->start->stream);
    r->start->stream = copy;
    r->start->stream_length = stream.left;
    r->start->place = r->kept.place;
    r->start->is_resumed = true;
    r->staging->num_marks++;
    r->staging->bytes_kept = r->kept.place.bytes_done;
    note_end(r);
    return TM_OK;
}

/* Goes through the marks as long as they are good. */
static enum tm_status take_marks(struct resuming *r)
{
    enum tm_status status = TM_OK;
    bool more = true;

    note_end(r);
    while (status == TM_OK && more) {
        struct tm_unpack body;
        uint64_t num_files;
        bool good = false;

        status = tm_kept_next(&r->kept, &body, &num_files, &more);
        if (status != TM_OK || !more)
            break;
        status = tm_kept_check(&r->kept, &body, num_files, &good);
        if (status == TM_OK && good)
            status = take_mark(r, &body);
        else if (status == TM_OK && r->kept.bad != NULL)
            tm_warning("%s/%s: %s: what comes after is made again",
                       r->kept.output, r->kept.bad->name, r->kept.why_bad);
        more = good;
    }
    return status;
}

/* --- what is kept of the files -------------------------------------------*/

/* Whether file number `number` has anything before the mark. */
static bool has_begun(const struct resuming *r, size_t number)
{
    const struct tm_mark_place *place = &r->start->place;

    if (r->plan->num_outputs == 0)
        return number < place->shard ||
               (number == place->shard && place->position > 0);
    for (size_t i = 0; i < r->results->num_made; i++) {
        const struct tm_made *made = &r->results->made[i];

        if (number < made->output->num_shards)
            return made->shards[number].marked > 0;
        number -= made->output->num_shards;
    }
    return false;
}

static enum tm_status remove_others(struct resuming *r)
{
    const size_t count = tm_mark_num_files(r->plan);
    const char **names = calloc(count + 1, sizeof(*names));
    size_t kept = 0;
    enum tm_status status;

    if (names == NULL)
        return tm_no_memory();
    for (size_t i = 0; i < count; i++)
        if (has_begun(r, i))
            names[kept++] = r->kept.files[i].name;
    status = tm_staging_keep_only(r->staging, names, kept);
    free(names);
    return status;
}

/* The journal goes on behind the last good mark. */
static enum tm_status continue_journal(struct resuming *r)
{
    struct tm_staging *staging = r->staging;

    staging->journal = r->kept.journal;
    r->kept.journal = (struct tm_journal){.file = {.fd = -1}};
    staging->journal.end = r->end;
    staging->journal.number = r->number;
    staging->journal.chain = r->chain;
    return tm_journal_continue(&staging->journal, staging->disk,
                               staging->own_fd, TM_STAGING_JOURNAL,
                               staging->journal_path);
}

static void tell(const struct resuming *r)
{
    char bytes[TM_SIZE_TEXT];

    tm_info("%s: going on at %u %%: %s that were kept are as they were written",
            r->staging->out,
            r->staging->num_marks > 0
                ? (unsigned)((double)r->start->place.bytes_done * 100 /
                             (double)(r->kept.bytes_total + 1))
                : 0,
            tm_size_text(r->kept.bytes_checked, bytes));
}

static enum tm_status go_on(struct resuming *r, const struct tm_text *head)
{
    struct tm_staging *staging = r->staging;
    enum tm_status status =
        tm_kept_open(&r->kept, staging->disk, staging->path);

    if (status == TM_OK && r->kept.head == NULL)
        status = tm_error(TM_CANT_CREATE, "%s: cannot be read any more",
                          staging->journal_path);
    if (status == TM_OK)
        status = tm_head_compare(staging->path, r->kept.head, head);
    if (status == TM_OK)
        status = take_marks(r);
    if (status == TM_OK)
        status = remove_others(r);
    if (status == TM_OK)
        status = continue_journal(r);
    if (status == TM_OK)
        tell(r);
    tm_kept_close(&r->kept);
    return status;
}

enum tm_status tm_resume_published(const struct tm_plan *plan,
                                   const struct tm_settings *settings,
                                   const struct tm_staging *staging)
{
    struct tm_text head = {0};
    struct tm_kept kept;
    enum tm_status status = tm_kept_open(&kept, staging->disk, staging->path);

    if (status == TM_OK)
        status = tm_head_make(plan, settings, 0, &head);
    if (status == TM_OK)
        status = tm_head_compare(staging->path, kept.head, &head);
    tm_kept_close(&kept);
    free(head.bytes);
    return status;
}

/* --- a run that begins ---------------------------------------------------*/

static enum tm_status begin(struct tm_staging *staging,
                            const struct tm_text *head)
{
    struct tm_journal *journal = &staging->journal;
    enum tm_status status =
        tm_journal_create(journal, staging->disk, staging->own_fd,
                          TM_STAGING_JOURNAL, staging->journal_path);

    if (status != TM_OK)
        return status;
    tm_journal_begin(journal, TM_JOURNAL_HEAD);
    tm_journal_put(journal, head->bytes, head->length);
    return tm_journal_write_now(journal, staging->disk);
}

enum tm_status tm_resume(const struct tm_plan *plan,
                         const struct tm_settings *settings,
                         struct tm_staging *staging, struct tm_results *results,
                         struct tm_start *start)
{
    struct resuming resuming = {
        .plan = plan, .staging = staging, .results = results, .start = start};
    struct tm_text head = {0};
    struct stat st;
    enum tm_status status;

    if (staging->resumes && !staging->is_kept)
        tm_info("%s: nothing is kept to go on with: beginning anew",
                staging->out);
    if (!staging->is_kept && settings->journal < 0)
        return TM_OK;
    if (fstat(staging->fd, &st) != 0)
        return tm_error(TM_CANT_CREATE, "%s: cannot look at it: %s",
                        staging->output, strerror(errno));
    status = tm_head_make(plan, settings, (uint64_t)st.st_ino, &head);
    if (status == TM_OK)
        status =
            staging->is_kept ? go_on(&resuming, &head) : begin(staging, &head);
    free(head.bytes);
    return status;
}
