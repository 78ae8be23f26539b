/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/kernels: how fast tm_sum moves memory, beside memcpy.
 *
 * A merge reads a base and K inputs and writes an output. If the sum moves
 * bytes as fast as memcpy does, its arithmetic is free, and nothing but less
 * memory traffic could make it faster. It is compared with
 *
 *   tiles   memcpy, 1 MiB at a time: what a merge would do if it only copied.
 *           Like the sum, it leaves what it wrote in the cache, where it is
 *           hashed next.
 *   memcpy  memcpy of everything at once. A C library may then write around
 *           the cache, which saves it reading what it overwrites.
 *   loop    the streams of the sum, or-ed: its reads and writes without its
 *           arithmetic. (Or, so that the bits stay ordinary numbers.)
 *
 * All get the same memory, far larger than the caches, cut into K + 2 streams
 * or into two, and each thread its share of every stream. They take turns, so
 * that a noisy machine disturbs them alike; a ratio is the median of the
 * ratios of the turns.
 */
#define _DEFAULT_SOURCE /* madvise */
#include <errno.h>
#include <getopt.h>
#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>

#include "kernels/sum.h"

#define MAX_TURNS 101
#define MAX_K     8

static const char usage[] =
    "usage: bench/kernels [-c CPU] [-k K] [-m MIB] [-n TURNS] [-t DTYPE]\n"
    "                     [-T THREADS]\n"
    "\n"
    "Print how many GB/s (read and written, 10^9) tm_sum moves, for one "
    "thread\n"
    "and for all, beside memcpy of 1 MiB at a time (tiles), memcpy of "
    "everything\n"
    "at once, and a loop over the streams of the sum without its arithmetic.\n"
    "\n"
    "  -c CPU      portable, avx2, avx512 or neon (default: all there are)\n"
    "  -k K        number of inputs, at most 8 (default: 1 2 4 8)\n"
    "  -m MIB      memory to work on (default 2304)\n"
    "  -n TURNS    repetitions, an odd number (default 9)\n"
    "  -t DTYPE    type of all tensors (default: BF16 F16 F32 F8_E4M3)\n"
    "  -T THREADS  threads (default: 1, then all)\n"
    "\n"
    "With OMP_PROC_BIND=true threads cannot end up on one core together.\n";

struct arena {
    char *data;
    size_t size;
};

enum mover { SUM, TILES, WHOLE, LOOP, NUM_MOVERS };

/* What to measure; -1 and 0 mean all. */
struct options {
    int isa, dtype, k, threads, turns;
    size_t size;
};

static void die(const char *what)
{
    fprintf(stderr, "bench/kernels: %s: %s\n", what, strerror(errno));
    exit(EX_OSERR);
}

/*
 * Random words that are ordinary numbers in every type, so that one filling
 * serves them all: 0x3c00 with a random sign and a few bits of mantissa.
 */
static void fill(uint16_t *words, size_t n)
{
    uint64_t state = 1;

    for (size_t i = 0; i < n; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        words[i] = (uint16_t)(0x3c00 | (state >> 48 & 0x80bf));
    }
}

static struct arena make_arena(size_t size)
{
    struct arena a = {NULL, size};

    a.data = mmap(NULL, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a.data == MAP_FAILED)
        die("mmap");
    madvise(a.data, size, MADV_HUGEPAGE);
#pragma omp parallel for
    for (size_t i = 0; i < size >> 20; i++)
        fill((void *)(a.data + (i << 20)), (1 << 20) / 2);
    return a;
}

/* One thread's share of a stream of `n` elements, in whole cache lines. */
static size_t share(size_t n, int thread, int threads)
{
    return n / (size_t)threads / 64 * 64 * (size_t)thread;
}

static void sum_share(enum tm_isa isa, enum tm_dtype dtype, int k,
                      struct arena a, int thread, int threads)
{
    size_t bytes = tm_dtype_bits(dtype) / 8;
    size_t stream = a.size / (size_t)(k + 2) / 4096 * 4096;
    size_t first = share(stream / bytes, thread, threads);
    size_t last = share(stream / bytes, thread + 1, threads);
    char *data = a.data + first * bytes;
    struct tm_sum_stats stats = {0, 0, 0};
    struct tm_sum_input inputs[MAX_K];
    struct tm_sum_task task = {.base = data,
                               .base_dtype = dtype,
                               .inputs = inputs,
                               .num_inputs = (size_t)k,
                               .out = data + (size_t)(k + 1) * stream,
                               .out_dtype = dtype,
                               .n = last - first};

    for (int i = 0; i < k; i++)
        inputs[i] = (struct tm_sum_input){data + (size_t)(i + 1) * stream,
                                          dtype, i % 2 != 0 ? -0.25 : 0.5};
    tm_sum(isa, &task, &stats);
    if (stats.nonfinite_outputs != 0)
        abort(); /* would be a measurement of the exact code */
}

static void copy_share(struct arena a, size_t piece, int thread, int threads)
{
    size_t first = share(a.size / 2, thread, threads);
    size_t last = share(a.size / 2, thread + 1, threads);
    char *to = a.data + a.size / 2;

    for (size_t i = first; i < last; i += piece)
        memcpy(to + i, a.data + i, last - i < piece ? last - i : piece);
}

/* 64 bytes in the widest registers there are without asking. */
typedef uint64_t line __attribute__((vector_size(64), may_alias, aligned(8)));

static void loop_share(int k, struct arena a, int thread, int threads)
{
    size_t stream = a.size / (size_t)(k + 2) / 4096 * 4096;
    size_t first = share(stream, thread, threads);
    size_t last = share(stream, thread + 1, threads);
    char *out = a.data + (size_t)(k + 1) * stream;

    for (size_t i = first; i < last; i += 64) {
        line sum = *(const line *)(a.data + i);

        for (int j = 1; j <= k; j++)
            sum |= *(const line *)(a.data + (size_t)j * stream + i);
        *(line *)(out + i) = sum;
    }
}

/* GB/s of one turn. */
static double measure(enum mover mover, enum tm_isa isa, enum tm_dtype dtype,
                      int k, struct arena a, int threads)
{
    double start = omp_get_wtime();

#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();

        if (mover == SUM)
            sum_share(isa, dtype, k, a, thread, threads);
        else if (mover == LOOP)
            loop_share(k, a, thread, threads);
        else
            copy_share(a, mover == TILES ? 1 << 20 : a.size, thread, threads);
    }
    return (double)a.size / 1e9 / (omp_get_wtime() - start);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof(*values), compare);
    return values[n / 2];
}

static void run(enum tm_isa isa, enum tm_dtype dtype, int k, struct arena a,
                int threads, int turns)
{
    static double rate[NUM_MOVERS][MAX_TURNS], ratio[NUM_MOVERS][MAX_TURNS];

    for (int m = 0; m < NUM_MOVERS; m++) /* warm up */
        measure((enum mover)m, isa, dtype, k, a, threads);
    for (int i = 0; i < turns; i++) {
        for (int m = 0; m < NUM_MOVERS; m++) {
            rate[m][i] = measure((enum mover)m, isa, dtype, k, a, threads);
            ratio[m][i] = rate[SUM][i] / rate[m][i];
        }
    }
    printf("%-9s %-8s %d %7d %7.2f", tm_isa_name(isa), tm_dtype_name(dtype), k,
           threads, median(rate[SUM], turns));
    for (int m = TILES; m < NUM_MOVERS; m++)
        printf(" %7.2f %5.2f", median(rate[m], turns), median(ratio[m], turns));
    putchar('\n');
    fflush(stdout);
}

static void run_threads(enum tm_isa isa, enum tm_dtype dtype, int k,
                        struct arena a, const struct options *o)
{
    int all = omp_get_max_threads();

    if (o->threads > 0) {
        run(isa, dtype, k, a, o->threads, o->turns);
        return;
    }
    run(isa, dtype, k, a, 1, o->turns);
    if (all > 1)
        run(isa, dtype, k, a, all, o->turns);
}

static void run_dtype(enum tm_isa isa, enum tm_dtype dtype, struct arena a,
                      const struct options *o)
{
    for (int k = 1; k <= MAX_K; k *= 2)
        if (o->k == 0)
            run_threads(isa, dtype, k, a, o);
    if (o->k != 0)
        run_threads(isa, dtype, o->k, a, o);
}

static void run_all(struct arena a, const struct options *o)
{
    static const enum tm_dtype dtypes[] = {TM_BF16, TM_F16, TM_F32, TM_F8_E4M3};

    printf("%-9s %-8s K threads    GB/s   tiles ratio  memcpy ratio    loop"
           " ratio\n",
           "cpu", "dtype");
    for (int isa = TM_NUM_ISAS - 1; isa >= 0; isa--) {
        if (!tm_isa_available((enum tm_isa)isa) ||
            (o->isa >= 0 && o->isa != isa))
            continue;
        if (o->dtype >= 0)
            run_dtype((enum tm_isa)isa, (enum tm_dtype)o->dtype, a, o);
        for (int i = 0; i < 4 && o->dtype < 0; i++)
            run_dtype((enum tm_isa)isa, dtypes[i], a, o);
    }
}

static int number(const char *text, int min, int max)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || value < min || value > max) {
        fprintf(stderr, "bench/kernels: '%s': not a number from %d to %d\n",
                text, min, max);
        exit(EX_USAGE);
    }
    return (int)value;
}

static void parse_name(int option, const char *name, struct options *o)
{
    enum tm_isa isa = TM_ISA_PORTABLE;
    enum tm_dtype dtype = TM_BF16;

    if (option == 'c' ? !tm_isa_choose(name, &isa)
                      : !tm_dtype_from_user(name, &dtype)) {
        fprintf(stderr, "bench/kernels: '%s': no such %s here\n", name,
                option == 'c' ? "cpu" : "dtype");
        exit(EX_USAGE);
    }
    if (option == 'c')
        o->isa = (int)isa;
    else
        o->dtype = (int)dtype;
}

static void parse(int argc, char **argv, struct options *o)
{
    int c;

    while ((c = getopt(argc, argv, "c:k:m:n:t:T:h")) != -1) {
        if (c == 'c' || c == 't')
            parse_name(c, optarg, o);
        else if (c == 'k')
            o->k = number(optarg, 1, MAX_K);
        else if (c == 'm')
            o->size = (size_t)number(optarg, 1, 1 << 20) << 20;
        else if (c == 'n')
            o->turns = number(optarg, 1, MAX_TURNS);
        else if (c == 'T')
            o->threads = number(optarg, 1, 1024);
        else {
            fputs(usage, c == 'h' ? stdout : stderr);
            exit(c == 'h' ? 0 : EX_USAGE);
        }
    }
    if (optind != argc) {
        fputs(usage, stderr);
        exit(EX_USAGE);
    }
}

int main(int argc, char **argv)
{
    struct options o = {
        .isa = -1, .dtype = -1, .turns = 9, .size = (size_t)2304 << 20};

    parse(argc, argv, &o);
    run_all(make_arena(o.size), &o);
    return 0;
}
