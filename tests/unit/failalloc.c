/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failalloc: makes allocations fail, for tests/test_torture.py. Preloaded
 * (LD_PRELOAD) into the program; the environment says which:
 *
 *     FAILALLOC=K         the K-th call fails
 *     FAILALLOC_EVER=1    and so do all calls after it
 *     FAILALLOC_LOG=1     print the number of calls at exit
 *
 * Calls are those of malloc, calloc, realloc, aligned_alloc, posix_memalign,
 * mmap of anonymous memory, and pthread_create, by the program itself, by the
 * libraries it hands data to, and by the C library on its behalf. Other
 * callers are served: the OpenMP runtime and the dynamic linker end the
 * process where they get nothing, and no program can change that.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* What stands behind the calls: glibc's, under names of its own. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

typedef int create_thread(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*run)(void *), void *argument);
typedef void *map_memory(void *at, size_t length, int protection, int flags,
                         int fd, off_t offset);

static create_thread *real_create;
static map_memory *real_mmap;

/* --- whose calls count ---------------------------------------------------*/

static const char *const counted[] = {"/libjansson.", "/libxxhash.",
                                      "/liburing.", "/libyaml", "/libc."};

static struct {
    uintptr_t begin;
    uintptr_t end;
} ranges[64];

static size_t num_ranges;

static bool is_counted(const char *name)
{
    if (name[0] == '\0') /* the program */
        return true;
    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++)
        if (strstr(name, counted[i]) != NULL)
            return true;
    return false;
}

static int note_object(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    (void)context;
    if (!is_counted(info->dlpi_name))
        return 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X) ||
            num_ranges == sizeof(ranges) / sizeof(ranges[0]))
            continue;
        ranges[num_ranges].begin = info->dlpi_addr + part->p_vaddr;
        ranges[num_ranges].end = ranges[num_ranges].begin + part->p_memsz;
        num_ranges++;
    }
    return 0;
}

/* --- which of them fail --------------------------------------------------*/

static atomic_ulong calls;
static unsigned long failing; /* 0: none */
static bool ever;
static bool log_calls;

static bool fails(const void *caller)
{
    const uintptr_t address = (uintptr_t)caller;

    for (size_t i = 0; i < num_ranges; i++)
        if (address >= ranges[i].begin && address < ranges[i].end) {
            const unsigned long call = atomic_fetch_add(&calls, 1) + 1;

            return failing > 0 && (ever ? call >= failing : call == failing);
        }
    return false;
}

/* Until this has run, nothing counts. */
__attribute__((constructor)) static void start(void)
{
    const char *which = getenv("FAILALLOC");

    *(void **)&real_create = dlsym(RTLD_NEXT, "pthread_create");
    *(void **)&real_mmap = dlsym(RTLD_NEXT, "mmap");
    failing = which != NULL ? strtoul(which, NULL, 10) : 0;
    ever = getenv("FAILALLOC_EVER") != NULL;
    log_calls = getenv("FAILALLOC_LOG") != NULL;
    dl_iterate_phdr(note_object, NULL);
}

__attribute__((destructor)) static void report(void)
{
    if (log_calls)
        dprintf(STDERR_FILENO, "failalloc: %lu calls\n", atomic_load(&calls));
}

/* --- the calls -----------------------------------------------------------*/

#define FAILS() fails(__builtin_return_address(0))

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

EXPORT void *malloc(size_t size)
{
    return FAILS() ? no_memory() : __libc_malloc(size);
}

EXPORT void *calloc(size_t count, size_t size)
{
    return FAILS() ? no_memory() : __libc_calloc(count, size);
}

EXPORT void *realloc(void *old, size_t size)
{
    return FAILS() ? no_memory() : __libc_realloc(old, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return FAILS() ? no_memory() : __libc_memalign(alignment, size);
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t size)
{
    void *memory;

    if (FAILS())
        return ENOMEM;
    memory = __libc_memalign(alignment, size);
    if (memory == NULL)
        return ENOMEM;
    *result = memory;
    return 0;
}

EXPORT void *mmap(void *at, size_t length, int protection, int flags, int fd,
                  off_t offset)
{
    if ((flags & MAP_ANONYMOUS) && FAILS()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return real_mmap(at, length, protection, flags, fd, offset);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*run)(void *), void *argument)
{
    if (FAILS())
        return EAGAIN;
    return real_create(thread, attr, run, argument);
}
