/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/codec: how small and how fast taumerge's codec is, beside its peers
 * (bench/codec_kinds.h) and memcpy.
 *
 * All take turns on pieces of a few MiB, in another order each time, so that
 * a noisy machine disturbs them alike. A round is the whole pair; a rate is
 * the median of the rounds, a ratio the median of the rounds' ratios.
 *
 * Everything is cold: before each turn its input and its output are flushed
 * out of all caches. That is what a codec finds in a merge, where the disk
 * put the bytes into memory, and it does not depend on how large the caches
 * are: behind models of 4 MB and in caches of 500 MB, copies of the model
 * would have to fill gigabytes.
 */
#define _DEFAULT_SOURCE
#include <getopt.h>
#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <zstd.h>

#include "bench/codec_kinds.h"
#include "bench/codec_pair.h"
#include "bench/codec_sizes.h"

#define MAX_ROUNDS   999
#define MIN_ROUNDS   5
#define MAX_PATTERNS 16
#define MAX_THREADS  1024
#define MAX_COUNTS   12 /* of threads that are tried */

/* Bytes that codecs take turns on, at least, where the pair has them. */
#define PIECE_BYTES ((size_t)4 << 20)

/*
 * Bytes a thread gets of --threads, at least: 64 chunks of 16-bit words, so
 * that waiting for the last one is a hundredth of the time.
 */
#define THREAD_BYTES ((size_t)32 << 20)

static const char usage[] =
    "usage: bench/codec BASE TUNED [--without PATTERN]... [--threads]\n"
    "                   [--seconds S] [--mib N] [--json]\n"
    "\n"
    "Print how small taumerge's codec and its peers make TUNED given BASE\n"
    "(two checkpoints), and how many GB/s of TUNED they code and decode in "
    "one\n"
    "thread with cold inputs.\n"
    "\n"
    "  --without PATTERN  leave out tensors with such names, as 'embed*'\n"
    "  --threads          taumerge's codec by number of threads instead\n"
    "  --seconds S        measure for about so long, 5 rounds at least\n"
    "                     (default 20)\n"
    "  --mib N            take so much of TUNED at most (default 256)\n"
    "  --json             print JSON instead of a table\n";

struct options {
    const char *base, *tuned;
    const char *patterns[MAX_PATTERNS + 1];
    int num_patterns, seconds;
    size_t limit;
    bool threads, json;
};

/* --- numbers ------------------------------------------------------------*/

/* One value a round. */
struct series {
    double values[MAX_ROUNDS];
    int n;
};

static void append(struct series *s, double value)
{
    s->values[s->n++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The value that the share `q` of the rounds is below. */
static double quantile(const struct series *s, double q)
{
    static double sorted[MAX_ROUNDS];

    memcpy(sorted, s->values, (size_t)s->n * sizeof(double));
    qsort(sorted, (size_t)s->n, sizeof(double), compare);
    return sorted[(int)(q * (s->n - 1) + 0.5)];
}

static double median(const struct series *s)
{
    return quantile(s, 0.5);
}

static double median_ratio(const struct series *a, const struct series *b)
{
    struct series ratios = {.n = 0};

    for (int i = 0; i < a->n; i++)
        append(&ratios, a->values[i] / b->values[i]);
    return median(&ratios);
}

static bool more_rounds(const struct series *s, double end)
{
    return s->n < MIN_ROUNDS || (s->n < MAX_ROUNDS && omp_get_wtime() < end);
}

/* --- measuring ----------------------------------------------------------*/

enum direction { ENCODE, DECODE, NUM_DIRECTIONS };

static const char *const direction_name[] = {"encode", "decode"};

struct bench {
    struct pair pair;
    struct coders *coders;
    unsigned char *coded, *decoded;            /* of one piece */
    size_t size[NUM_KINDS];                    /* of everything, coded */
    double seconds[NUM_KINDS][NUM_DIRECTIONS]; /* of this round */
    struct series rate[NUM_KINDS][NUM_DIRECTIONS];
};

/* Where the piece that begins with a part ends. */
static size_t piece_end(const struct pair *pair, size_t first)
{
    size_t i = first, bytes = 0;

    while (i < pair->num_parts && bytes < PIECE_BYTES)
        bytes += pair->parts[i++].bytes;
    return i;
}

#define PIECE_MOST (PIECE_BYTES + PART_BYTES)

static void chill(struct bench *b, size_t first, size_t last)
{
    size_t bytes = 0;

    for (size_t i = first; i < last; i++) {
        make_cold(b->pair.parts[i].base, b->pair.parts[i].bytes);
        make_cold(b->pair.parts[i].tuned, b->pair.parts[i].bytes);
        bytes += b->pair.parts[i].bytes;
    }
    make_cold(b->coded, coded_bound(bytes));
    make_cold(b->decoded, bytes);
}

static size_t encode_piece(struct bench *b, enum kind kind, size_t first,
                           size_t last)
{
    size_t used = 0;

    for (size_t i = first; i < last; i++)
        used +=
            kind_encode(b->coders, kind, &b->pair.parts[i], b->coded + used);
    return used;
}

static bool decode_piece(struct bench *b, enum kind kind, size_t first,
                         size_t last)
{
    size_t used = 0, made = 0;

    for (size_t i = first; i < last; i++) {
        size_t n = kind_decode(b->coders, kind, &b->pair.parts[i],
                               b->coded + used, b->decoded + made);

        if (n == 0)
            return false;
        used += n;
        made += b->pair.parts[i].bytes;
    }
    return true;
}

/*
 * Time that this thread had a core. Where others want it too, a clock on the
 * wall counts their turns, but hardly ever within a turn as short as memcpy's.
 */
static double seconds_here(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0)
        die("clock");
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void turn(struct bench *b, enum kind kind, size_t first, size_t last)
{
    double start;

    chill(b, first, last);
    start = seconds_here();
    encode_piece(b, kind, first, last);
    b->seconds[kind][ENCODE] += seconds_here() - start;
    chill(b, first, last);
    start = seconds_here();
    decode_piece(b, kind, first, last);
    b->seconds[kind][DECODE] += seconds_here() - start;
}

static void do_round(struct bench *b)
{
    size_t first = 0, turns = (size_t)b->rate[0][0].n;

    memset(b->seconds, 0, sizeof(b->seconds));
    for (; first < b->pair.num_parts; turns++) {
        size_t last = piece_end(&b->pair, first);

        for (size_t i = 0; i < NUM_KINDS; i++)
            turn(b, (enum kind)((turns + i) % NUM_KINDS), first, last);
        first = last;
    }
    for (int k = 0; k < NUM_KINDS; k++)
        for (int d = 0; d < NUM_DIRECTIONS; d++)
            append(&b->rate[k][d],
                   (double)b->pair.bytes / b->seconds[k][d] / 1e9);
}

/* Codes everything once, counts the bytes and compares what comes back. */
static void check(struct bench *b, enum kind kind)
{
    size_t first = 0, last;

    for (; first < b->pair.num_parts; first = last) {
        const unsigned char *at = b->decoded;

        last = piece_end(&b->pair, first);
        memset(b->decoded, 0, PIECE_MOST);
        b->size[kind] += encode_piece(b, kind, first, last);
        if (!decode_piece(b, kind, first, last))
            abort();
        for (size_t i = first; i < last; i++) {
            if (memcmp(at, b->pair.parts[i].tuned, b->pair.parts[i].bytes) != 0)
                abort();
            at += b->pair.parts[i].bytes;
        }
    }
}

static void measure(struct bench *b, enum tm_isa isa, int seconds)
{
    double end;

    b->coders = coders_new(isa);
    b->coded = new_memory(coded_bound(PIECE_MOST));
    b->decoded = new_memory(PIECE_MOST);
    for (int k = 0; k < NUM_KINDS; k++)
        check(b, (enum kind)k);
    end = omp_get_wtime() + seconds;
    while (more_rounds(&b->rate[0][0], end))
        do_round(b);
    coders_free(b->coders);
}

/* Sizes that no codec here has. */
static const struct {
    const char *name, *key;
    double (*bytes)(const struct pair *);
} ideals[] = {
    {"FM-Delta, entropy", "fm_delta", fm_delta_bytes},
    {"H(d | base exponent)", "conditional", conditional_bytes},
};

#define NUM_IDEALS ((int)(sizeof(ideals) / sizeof(*ideals)))

/* --- printing -----------------------------------------------------------*/

static double ratio(const struct bench *b, double bytes)
{
    return bytes / (double)b->pair.bytes;
}

static void print_head(const struct options *o, const struct pair *pair,
                       enum tm_isa isa)
{
    printf("%s\n%s\n%zu tensors, %.2f MB (%zu left out), %s, zstd %s%s\n\n",
           o->base, o->tuned, pair->tensors, (double)pair->bytes / 1e6,
           pair->left_out, tm_isa_name(isa), ZSTD_versionString(),
           make_cold(pair, 1) ? "" : ", WARM: no way to flush caches here");
}

static void print_table(const struct bench *b, const double *sizes)
{
    printf("%-20s  %6s", "", "");
    for (int d = 0; d < NUM_DIRECTIONS; d++)
        printf("   %6s %7s %8s", direction_name[d], "x", "x");
    printf("\n%-20s  %6s", "", "ratio");
    for (int d = 0; d < NUM_DIRECTIONS; d++)
        printf("   %6s %7s %8s", "GB/s", "memcpy", "TensorX");
    putchar('\n');
    for (int k = 0; k < NUM_KINDS; k++) {
        printf("%-20s  %6.4f", kind_name((enum kind)k),
               ratio(b, (double)b->size[k]));
        for (int d = 0; d < NUM_DIRECTIONS; d++)
            printf("   %6.3f %7.3f %8.2f", median(&b->rate[k][d]),
                   median_ratio(&b->rate[k][d], &b->rate[MEMCPY][d]),
                   median_ratio(&b->rate[k][d], &b->rate[TENSORX][d]));
        putchar('\n');
    }
    for (int i = 0; i < NUM_IDEALS; i++)
        printf("%-20s  %6.4f\n", ideals[i].name, ratio(b, sizes[i]));
    printf("\n%d rounds\n", b->rate[0][0].n);
}

static json_t *rate_json(const struct bench *b, int kind, int direction)
{
    const struct series *s = &b->rate[kind][direction];

    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "gbs", median(s), "gbs_25",
                     quantile(s, 0.25), "gbs_75", quantile(s, 0.75), "x_memcpy",
                     median_ratio(s, &b->rate[MEMCPY][direction]), "x_tensorx",
                     median_ratio(s, &b->rate[TENSORX][direction]));
}

static json_t *head_json(const struct options *o, const struct pair *pair,
                         enum tm_isa isa)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:b}", "base",
                     o->base, "tuned", o->tuned, "tensors",
                     (json_int_t)pair->tensors, "left_out",
                     (json_int_t)pair->left_out, "bytes",
                     (json_int_t)pair->bytes, "cpu", tm_isa_name(isa), "zstd",
                     ZSTD_versionString(), "cold", make_cold(pair, 1));
}

static void print_json(json_t *root)
{
    if (root == NULL || json_dumpf(root, stdout, JSON_INDENT(2)) != 0)
        die("output");
    putchar('\n');
    json_decref(root);
}

static json_t *table_json(const struct bench *b, const double *sizes)
{
    json_t *codecs = json_object();

    for (int k = 0; k < NUM_KINDS; k++)
        json_object_set_new(
            codecs, kind_key((enum kind)k),
            json_pack("{s:I, s:f, s:o, s:o}", "bytes", (json_int_t)b->size[k],
                      "ratio", ratio(b, (double)b->size[k]),
                      direction_name[ENCODE], rate_json(b, k, ENCODE),
                      direction_name[DECODE], rate_json(b, k, DECODE)));
    for (int i = 0; i < NUM_IDEALS; i++)
        json_object_set_new(codecs, ideals[i].key,
                            json_pack("{s:f, s:f}", "bytes", sizes[i], "ratio",
                                      ratio(b, sizes[i])));
    return codecs;
}

static void run(const struct options *o, struct bench *b, enum tm_isa isa)
{
    double sizes[NUM_IDEALS];
    json_t *root;

    measure(b, isa, o->seconds);
    for (int i = 0; i < NUM_IDEALS; i++)
        sizes[i] = ideals[i].bytes(&b->pair);
    if (!o->json) {
        print_head(o, &b->pair, isa);
        print_table(b, sizes);
        return;
    }
    root = head_json(o, &b->pair, isa);
    json_object_set_new(root, "rounds", json_integer(b->rate[0][0].n));
    json_object_set_new(root, "codecs", table_json(b, sizes));
    print_json(root);
}

/* --- threads ------------------------------------------------------------*/

enum job { JOB_ENCODE, JOB_DECODE, JOB_MEMCPY, NUM_JOBS };

static const char *const job_name[] = {"encode", "decode", "memcpy"};

struct crowd {
    struct pair pair;               /* a chunk a part */
    unsigned char *coded, *decoded; /* of all */
    size_t coded_step, decoded_step;
    struct coders *coders[MAX_THREADS];
    int counts[MAX_COUNTS]; /* of threads; the first is 1 */
    int num_counts;
    struct series rate[NUM_JOBS][MAX_COUNTS];
};

static void do_chunk(struct crowd *c, enum job job, size_t i)
{
    const struct part *part = &c->pair.parts[i];
    struct coders *coders = c->coders[omp_get_thread_num()];
    unsigned char *coded = c->coded + i * c->coded_step;
    unsigned char *decoded = c->decoded + i * c->decoded_step;

    if (job == JOB_ENCODE)
        kind_encode(coders, OURS, part, coded);
    else if (job == JOB_MEMCPY)
        memcpy(decoded, part->tuned, part->bytes);
    else if (kind_decode(coders, OURS, part, coded, decoded) == 0)
        abort();
}

static void chill_chunk(const struct crowd *c, size_t i)
{
    const struct part *part = &c->pair.parts[i];

    make_cold(part->base, part->bytes);
    make_cold(part->tuned, part->bytes);
    make_cold(c->coded + i * c->coded_step, c->coded_step);
    make_cold(c->decoded + i * c->decoded_step, part->bytes);
}

/* GB/s of one turn. */
static double crowd_turn(struct crowd *c, enum job job, int threads)
{
    double start;

#pragma omp parallel for
    for (size_t i = 0; i < c->pair.num_parts; i++)
        chill_chunk(c, i);
    start = omp_get_wtime();
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (size_t i = 0; i < c->pair.num_parts; i++)
        do_chunk(c, job, i);
    return (double)c->pair.bytes / (omp_get_wtime() - start) / 1e9;
}

/* 1, 2, 4 ... and all. */
static void choose_counts(struct crowd *c, int all)
{
    for (int n = 1; n < all && c->num_counts < MAX_COUNTS - 1; n *= 2)
        c->counts[c->num_counts++] = n;
    c->counts[c->num_counts++] = all;
}

static void set_up_crowd(struct crowd *c, const struct pair *pair,
                         enum tm_isa isa)
{
    int all = omp_get_max_threads();

    if (all > MAX_THREADS)
        all = MAX_THREADS;
    choose_counts(c, all);
    pair_spread(pair, THREAD_BYTES * (size_t)all, &c->pair);
    for (size_t i = 0; i < c->pair.num_parts; i++)
        if (c->pair.parts[i].bytes > c->decoded_step)
            c->decoded_step = c->pair.parts[i].bytes;
    c->coded_step = coded_bound(c->decoded_step);
    c->coded = new_memory(c->pair.num_parts * c->coded_step);
    c->decoded = new_memory(c->pair.num_parts * c->decoded_step);
    for (int i = 0; i < all; i++)
        c->coders[i] = coders_new(isa);
}

static void crowd_round(struct crowd *c)
{
    int turns = c->rate[0][0].n;

    for (int i = 0; i < c->num_counts; i++) {
        int which = (turns + i) % c->num_counts;

        for (int j = 0; j < NUM_JOBS; j++)
            append(&c->rate[j][which],
                   crowd_turn(c, (enum job)j, c->counts[which]));
    }
}

/* How much of `threads` times one thread's rate is reached. */
static double of_linear(const struct crowd *c, int job, int which)
{
    return median_ratio(&c->rate[job][which], &c->rate[job][0]) /
           c->counts[which];
}

static void print_crowd(const struct crowd *c)
{
    printf("%7s", "threads");
    for (int j = 0; j < NUM_JOBS; j++)
        printf("   %6s %9s", job_name[j], "of linear");
    printf("\n%7s   %6s %19s %19s\n", "", "GB/s", "GB/s", "GB/s");
    for (int i = 0; i < c->num_counts; i++) {
        printf("%7d", c->counts[i]);
        for (int j = 0; j < NUM_JOBS; j++)
            printf("   %6.3f %9.3f", median(&c->rate[j][i]),
                   of_linear(c, j, i));
        putchar('\n');
    }
    printf("\n%d rounds of %.0f MB\n", c->rate[0][0].n,
           (double)c->pair.bytes / 1e6);
}

static json_t *crowd_json(const struct crowd *c)
{
    json_t *list = json_array();

    for (int i = 0; i < c->num_counts; i++) {
        json_t *row = json_pack("{s:i}", "threads", c->counts[i]);

        for (int j = 0; j < NUM_JOBS; j++)
            json_object_set_new(row, job_name[j],
                                json_pack("{s:f, s:f}", "gbs",
                                          median(&c->rate[j][i]), "of_linear",
                                          of_linear(c, j, i)));
        json_array_append_new(list, row);
    }
    return list;
}

static void run_threads(const struct options *o, const struct pair *pair,
                        enum tm_isa isa)
{
    static struct crowd c;
    json_t *root;
    double end;

    set_up_crowd(&c, pair, isa);
    for (int j = 0; j < NUM_JOBS; j++) /* warm up */
        crowd_turn(&c, (enum job)j, omp_get_max_threads());
    end = omp_get_wtime() + o->seconds;
    while (more_rounds(&c.rate[0][0], end))
        crowd_round(&c);
    if (!o->json) {
        print_head(o, pair, isa);
        print_crowd(&c);
        return;
    }
    root = head_json(o, pair, isa);
    json_object_set_new(root, "rounds", json_integer(c.rate[0][0].n));
    json_object_set_new(root, "threads", crowd_json(&c));
    print_json(root);
}

/* --- the command line ---------------------------------------------------*/

static int number(const char *text, int max)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || value < 1 || value > max) {
        fprintf(stderr, "bench/codec: '%s': not a number from 1 to %d\n", text,
                max);
        exit(EX_USAGE);
    }
    return (int)value;
}

_Noreturn static void say_usage(int status)
{
    fputs(usage, status == 0 ? stdout : stderr);
    exit(status);
}

static void add_pattern(struct options *o, const char *pattern)
{
    if (o->num_patterns == MAX_PATTERNS)
        say_usage(EX_USAGE);
    o->patterns[o->num_patterns++] = pattern;
}

static void parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"without", required_argument, NULL, 'w'},
        {"threads", no_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'},
        {"mib", required_argument, NULL, 'm'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        if (c == 'w')
            add_pattern(o, optarg);
        else if (c == 't')
            o->threads = true;
        else if (c == 's')
            o->seconds = number(optarg, 100000);
        else if (c == 'm')
            o->limit = (size_t)number(optarg, 1 << 20) << 20;
        else if (c == 'j')
            o->json = true;
        else
            say_usage(c == 'h' ? 0 : EX_USAGE);
    }
    if (argc - optind != 2)
        say_usage(EX_USAGE);
    o->base = argv[optind];
    o->tuned = argv[optind + 1];
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct options o = {.seconds = 20, .limit = (size_t)256 << 20};
    enum tm_isa isa;

    parse(argc, argv, &o);
    if (!tm_isa_choose(getenv("TAUMERGE_CPU"), &isa)) {
        fputs("bench/codec: TAUMERGE_CPU: not available here\n", stderr);
        return EX_USAGE;
    }
    pair_read(o.base, o.tuned, o.patterns, o.limit, &b.pair);
    if (b.pair.num_parts == 0) {
        fputs("bench/codec: no tensor of these is BF16, F16 or F32 and has "
              "the same shape\nin both\n",
              stderr);
        return EX_DATAERR;
    }
    if (o.threads)
        run_threads(&o, &b.pair, isa);
    else
        run(&o, &b, isa);
    return 0;
}
