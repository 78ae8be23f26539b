/* SPDX-License-Identifier: Apache-2.0 */
/* record: see record.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/infile.h"
#include "io/json.h"
#include "io/path.h"
#include "src/manifest.h"

/* Larger ones are damage, or somebody's joke. */
#define SUMS_MAX     ((uint64_t)1 << 30)
#define MANIFEST_MAX ((uint64_t)8 << 30)

/* Where the companions of `path` are. */
struct places {
    const char *directory; /* that the listed names are relative to */
    const char *manifest;
    const char *sums;
};

static const char *with_ending(struct tm_arena *arena, const char *path,
                               const char *ending)
{
    const size_t length = strlen(path);
    char *text = tm_arena_alloc(arena, length + strlen(ending) + 1);

    if (text == NULL)
        return NULL;
    memcpy(text, path, length);
    memcpy(text + length, ending, strlen(ending) + 1);
    return text;
}

static bool find_places(struct tm_arena *arena, const char *path,
                        struct places *places)
{
    const char *name = tm_path_last(path);
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        places->directory = path;
        places->manifest = tm_path_join(arena, path, TM_MANIFEST_NAME);
        places->sums = tm_path_join(arena, path, TM_SUMS_NAME);
    } else {
        places->directory = tm_arena_copy(arena, path, (size_t)(name - path));
        places->manifest = with_ending(arena, path, ".json");
        places->sums = with_ending(arena, path, ".xxh128");
    }
    return places->directory != NULL && places->manifest != NULL &&
           places->sums != NULL;
}

bool tm_record_exists(const char *path)
{
    struct tm_arena arena = {0};
    struct places places;
    const bool exists = find_places(&arena, path, &places) &&
                        access(places.sums, F_OK) == 0 &&
                        access(places.manifest, F_OK) == 0;

    tm_arena_free(&arena);
    return exists;
}

/* Room for one more in an array that doubles; NULL: reported. */
static void *room(void *array, size_t count, size_t *capacity, size_t size)
{
    void *more = array;

    if (count == *capacity) {
        *capacity = *capacity > 0 ? 2 * *capacity : 64;
        more = realloc(array, *capacity * size);
        if (more == NULL)
            tm_no_memory();
    }
    return more;
}

/* --- taumerge.xxh128 -----------------------------------------------------*/

/* A name that stays in the directory: relative, and nowhere "..". */
static bool stays_inside(const char *name)
{
    for (const char *part = name;; part++) {
        const size_t length = strcspn(part, "/");

        if (length == 0 || (length == 2 && memcmp(part, "..", 2) == 0))
            return false;
        part += length;
        if (*part == '\0')
            return true;
    }
}

/* One line: 32 digits, two spaces, the name. */
static enum tm_status take_line(struct tm_record *record,
                                const struct places *places, char *line)
{
    struct tm_recorded_file *files =
        room(record->files, record->num_files, &record->file_capacity,
             sizeof(*files));
    struct tm_recorded_file *file;
    const size_t length = strlen(line);

    if (files == NULL)
        return TM_SYSTEM;
    record->files = files;
    file = &files[record->num_files];
    if (length < TM_DIGEST_CHARS + 3 ||
        memcmp(line + TM_DIGEST_CHARS, "  ", 2) != 0)
        return tm_error(TM_BAD_DATA, "%s: line %zu: not a digest and a name",
                        places->sums, record->num_files + 1);
    line[TM_DIGEST_CHARS] = '\0';
    file->name = line + TM_DIGEST_CHARS + 2;
    if (!tm_digest_parse(line, &file->digest) || !stays_inside(file->name))
        return tm_error(TM_BAD_DATA, "%s: line %zu: not a digest and a name",
                        places->sums, record->num_files + 1);
    file->path = tm_path_join(&record->arena, places->directory, file->name);
    if (file->path == NULL)
        return tm_no_memory();
    record->num_files++;
    return TM_OK;
}

static enum tm_status read_sums(struct tm_disk *disk, struct tm_record *record,
                                const struct places *places)
{
    char *bytes, *text, *end;
    size_t length;
    enum tm_status status =
        tm_infile_read(disk, places->sums, SUMS_MAX, &bytes, &length);

    text =
        status == TM_OK ? tm_arena_copy(&record->arena, bytes, length) : NULL;
    free(bytes);
    if (status != TM_OK)
        return status;
    if (text == NULL)
        return tm_no_memory();
    if (strlen(text) != length)
        return tm_error(TM_BAD_DATA, "%s: has a zero byte in it", places->sums);
    for (; *text != '\0' && status == TM_OK; text = end + 1) {
        end = strchr(text, '\n');
        if (end == NULL)
            return tm_error(TM_BAD_DATA, "%s: its last line is not whole",
                            places->sums);
        *end = '\0';
        status = take_line(record, places, text);
    }
    return status;
}

/* --- taumerge.json -------------------------------------------------------*/

static const char *copy_string(struct tm_record *record, const json_t *value)
{
    const char *text = json_string_value(value);

    return text != NULL ? tm_arena_copy(&record->arena, text, strlen(text))
                        : NULL;
}

static bool get_size(const json_t *value, uint64_t *size)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *size = (uint64_t)json_integer_value(value);
    return true;
}

static enum tm_status take_tensor(void *context, const char *key,
                                  struct tm_json_text *text)
{
    struct tm_record *record = context;
    struct tm_recorded_tensor *tensors =
        room(record->tensors, record->num_tensors, &record->tensor_capacity,
             sizeof(*tensors));
    json_t *value = tensors != NULL ? tm_json_value(text) : NULL;
    struct tm_recorded_tensor *tensor;
    const char *digest = json_string_value(json_object_get(value, "xxh128"));
    bool is_good;

    if (tensors == NULL)
        return TM_SYSTEM;
    record->tensors = tensors;
    if (value == NULL)
        return text->status;
    tensor = &tensors[record->num_tensors];
    tensor->name = tm_arena_copy(&record->arena, key, strlen(key));
    tensor->file = copy_string(record, json_object_get(value, "file"));
    is_good = tensor->name != NULL && tensor->file != NULL &&
              get_size(json_object_get(value, "offset"), &tensor->offset) &&
              get_size(json_object_get(value, "bytes"), &tensor->bytes) &&
              tensor->offset <= INT64_MAX && tensor->bytes <= INT64_MAX &&
              digest != NULL && tm_digest_parse(digest, &tensor->digest);
    json_decref(value);
    if (!is_good)
        return tm_error(TM_BAD_DATA, "%s: tensor '%s': its entry is damaged",
                        text->path, key);
    record->num_tensors++;
    return TM_OK;
}

/* Whether the checksum file lists `name`. Both list in the same order. */
static bool is_listed(struct tm_record *record, const char *name)
{
    for (size_t i = 0; i < record->num_files; i++) {
        const size_t k = (record->next_file + i) % record->num_files;

        if (strcmp(record->files[k].name, name) == 0) {
            record->next_file = k + 1;
            return true;
        }
    }
    return false;
}

static enum tm_status take_file(void *context, const char *key,
                                struct tm_json_text *text)
{
    if (!is_listed(context, key))
        return tm_error(TM_BAD_DATA, "%s: lists '%s', %s does not", text->path,
                        key, TM_SUMS_NAME);
    return tm_json_skip(text);
}

static enum tm_status take_member(void *context, const char *key,
                                  struct tm_json_text *text)
{
    if (strcmp(key, "files") == 0)
        return tm_json_members(text, take_file, context);
    if (strcmp(key, "tensors") == 0)
        return tm_json_members(text, take_tensor, context);
    return tm_json_skip(text);
}

static int compare_tensors(const void *a, const void *b)
{
    const struct tm_recorded_tensor *x = a, *y = b;
    const int files = strcmp(x->file, y->file);

    if (files != 0)
        return files;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static enum tm_status read_manifest(struct tm_disk *disk,
                                    struct tm_record *record,
                                    const struct places *places)
{
    struct tm_json_text text = {.path = places->manifest};
    char *bytes;
    enum tm_status status = tm_infile_read(disk, places->manifest, MANIFEST_MAX,
                                           &bytes, &text.length);

    text.text = bytes;
    if (status == TM_OK && !is_listed(record, tm_path_last(places->manifest)))
        status = tm_error(TM_BAD_DATA, "%s: does not list %s", places->sums,
                          tm_path_last(places->manifest));
    if (status == TM_OK)
        status = tm_json_members(&text, take_member, record);
    if (status == TM_OK)
        status = tm_json_end(&text);
    free(bytes);
    if (status == TM_OK && record->num_tensors > 0)
        qsort(record->tensors, record->num_tensors, sizeof(*record->tensors),
              compare_tensors);
    return status;
}

enum tm_status tm_record_read(struct tm_disk *disk, const char *path,
                              struct tm_record *record)
{
    struct places places;
    enum tm_status status;

    *record = (struct tm_record){0};
    if (!find_places(&record->arena, path, &places))
        return tm_no_memory();
    if (access(path, F_OK) != 0)
        return tm_error(TM_NO_INPUT, "%s: cannot open: %s", path,
                        strerror(errno));
    if (access(places.sums, F_OK) != 0)
        return tm_error(TM_NO_INPUT,
                        "%s: has no checksums (%s) to verify it against", path,
                        places.sums);
    status = read_sums(disk, record, &places);
    if (status == TM_OK)
        status = read_manifest(disk, record, &places);
    return status;
}

void tm_record_free(struct tm_record *record)
{
    free(record->files);
    free(record->tensors);
    tm_arena_free(&record->arena);
    *record = (struct tm_record){0};
}
