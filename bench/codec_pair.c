/* SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE /* madvise */
#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "bench/codec_pair.h"
#include "io/checkpoint.h"
#include "io/chunk.h"

#define LINE ((size_t)64)

void die(const char *what)
{
    fprintf(stderr, "bench/codec: %s: %s\n", what, strerror(errno));
    exit(EX_OSERR);
}

void *new_memory(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        die("memory");
    madvise(at, bytes, MADV_HUGEPAGE);
    memset(at, 0, bytes);
    return at;
}

#if defined(__x86_64__)
/* clflush waits for each line, which takes 20 times as long. */
__attribute__((target("clflushopt"))) static bool flush(const char *at,
                                                        size_t bytes)
{
    unsigned a, b = 0, c, d;

    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    if ((b & bit_CLFLUSHOPT) != 0)
        for (size_t i = 0; i < bytes; i += LINE)
            _mm_clflushopt((void *)(uintptr_t)(at + i));
    else
        for (size_t i = 0; i < bytes; i += LINE)
            _mm_clflush(at + i);
    _mm_mfence();
    return true;
}
#elif defined(__aarch64__)
static bool flush(const char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += LINE)
        __asm__ volatile("dc civac, %0" ::"r"(at + i) : "memory");
    __asm__ volatile("dsb ish" ::: "memory");
    return true;
}
#else
static bool flush(const char *at, size_t bytes)
{
    (void)at;
    (void)bytes;
    return false;
}
#endif

bool make_cold(const void *at, size_t bytes)
{
    return flush(at, bytes);
}

static size_t whole_lines(size_t bytes)
{
    return (bytes + LINE - 1) / LINE * LINE;
}

static void add_part(struct pair *pair, const struct part *part)
{
    if (pair->num_parts == pair->capacity) {
        pair->capacity = pair->capacity * 2 + 64;
        pair->parts =
            realloc(pair->parts, pair->capacity * sizeof(*pair->parts));
        if (pair->parts == NULL)
            die("memory");
    }
    pair->parts[pair->num_parts++] = *part;
    pair->bytes += part->bytes;
}

/* --- reading ------------------------------------------------------------*/

static bool is_coded(enum tm_dtype dtype)
{
    return dtype == TM_BF16 || dtype == TM_F16 || dtype == TM_F32;
}

static bool fits(const struct tm_tensor *base, const struct tm_tensor *tuned,
                 const char *const *patterns)
{
    if (base == NULL || tuned->bytes == 0 || !is_coded(tuned->dtype) ||
        base->dtype != tuned->dtype || base->ndim != tuned->ndim)
        return false;
    for (unsigned i = 0; i < tuned->ndim; i++)
        if (base->shape[i] != tuned->shape[i])
            return false;
    for (; *patterns != NULL; patterns++)
        if (fnmatch(*patterns, tuned->name, 0) == 0)
            return false;
    return true;
}

static void read_some(const struct tm_checkpoint *from,
                      const struct tm_tensor *tensor, size_t bytes, void *to)
{
    const char *path = from->shards[tensor->shard].path;
    FILE *f = fopen(path, "rb");

    if (f == NULL || fseeko(f, (off_t)tensor->offset, SEEK_SET) != 0 ||
        fread(to, 1, bytes, f) != bytes)
        die(path);
    fclose(f);
}

static void read_tensor(const struct tm_checkpoint *bases,
                        const struct tm_tensor *base,
                        const struct tm_checkpoint *tuneds,
                        const struct tm_tensor *tuned, size_t bytes,
                        struct pair *pair)
{
    unsigned char *to = new_memory(2 * whole_lines(bytes));
    struct part part = {.dtype = (enum tm_dtype)tuned->dtype,
                        .tensor = pair->tensors++};

    read_some(bases, base, bytes, to);
    read_some(tuneds, tuned, bytes, to + whole_lines(bytes));
    for (size_t i = 0; i < bytes; i += PART_BYTES) {
        part.base = to + i;
        part.tuned = to + whole_lines(bytes) + i;
        part.bytes = bytes - i < PART_BYTES ? bytes - i : PART_BYTES;
        add_part(pair, &part);
    }
}

static void open_checkpoint(struct tm_disk *disk, const char *path,
                            struct tm_checkpoint *checkpoint)
{
    enum tm_status status = tm_checkpoint_open(disk, path, checkpoint);

    if (status != TM_OK)
        exit((int)status);
}

void pair_read(const char *base, const char *tuned, const char *const *patterns,
               size_t limit, struct pair *pair)
{
    struct tm_checkpoint bases = {0}, tuneds = {0};
    struct tm_disk disk = {0};

    if (tm_disk_open(TM_IO_THREADS, NULL, &disk) != TM_OK)
        exit(EX_OSERR);
    open_checkpoint(&disk, base, &bases);
    open_checkpoint(&disk, tuned, &tuneds);
    *pair = (struct pair){0};
    for (size_t i = 0; i < tuneds.num_tensors; i++) {
        const struct tm_tensor *t = &tuneds.tensors[i];
        const struct tm_tensor *b = tm_checkpoint_get(&bases, t->name);
        size_t room = limit - pair->bytes;

        if (fits(b, t, patterns) && room > 0)
            read_tensor(&bases, b, &tuneds, t,
                        t->bytes < room ? (size_t)t->bytes : room, pair);
        else
            pair->left_out++;
    }
    tm_checkpoint_close(&bases);
    tm_checkpoint_close(&tuneds);
    tm_disk_close(&disk);
}

/* --- copies -------------------------------------------------------------*/

static size_t chunk_bytes(enum tm_dtype dtype)
{
    return TM_CHUNK_WORDS * tm_word_bytes(dtype);
}

/* Adds the chunks of a part, which lie at `base` and `tuned`. */
static void add_chunks(struct pair *pair, const struct part *part,
                       const unsigned char *base, const unsigned char *tuned)
{
    size_t step = chunk_bytes(part->dtype);
    struct part chunk = *part;

    for (size_t i = 0; i < part->bytes; i += step) {
        chunk.base = base + i;
        chunk.tuned = tuned + i;
        chunk.bytes = part->bytes - i < step ? part->bytes - i : step;
        add_part(pair, &chunk);
    }
}

void pair_spread(const struct pair *from, size_t bytes, struct pair *to)
{
    size_t copies = (bytes + from->bytes - 1) / from->bytes, one = 0;
    unsigned char *at;

    for (size_t i = 0; i < from->num_parts; i++)
        one += 2 * whole_lines(from->parts[i].bytes);
    at = new_memory(copies * one);
    *to = (struct pair){.tensors = from->tensors, .left_out = from->left_out};
    for (size_t i = 0; i < copies * from->num_parts; i++) {
        const struct part *part = &from->parts[i % from->num_parts];
        size_t room = whole_lines(part->bytes);

        memcpy(at, part->base, part->bytes);
        memcpy(at + room, part->tuned, part->bytes);
        add_chunks(to, part, at, at + room);
        at += 2 * room;
    }
}
