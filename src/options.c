/* SPDX-License-Identifier: Apache-2.0 */
/* options: see options.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/text.h"
#include "src/argument.h"

/* Enough for any disk; little on the machines this is for. */
#define DEFAULT_MEMORY ((uint64_t)512 << 20)

#define MAX_THREADS 1024

#define MERGING (TM_FOR_MERGE | TM_FOR_PLAN)
#define MAKING  (TM_FOR_MERGE | TM_FOR_DIFF | TM_FOR_APPLY)
#define WRITING (MERGING | TM_FOR_DIFF | TM_FOR_APPLY)
#define RUNNING (WRITING | TM_FOR_VERIFY)
#define MOVING  (RUNNING | TM_FOR_INSPECT)
#define ANY     (MOVING | TM_FOR_METHODS)
#define TELLING (TM_FOR_PLAN | TM_FOR_VERIFY | TM_FOR_INSPECT | TM_FOR_METHODS)

/* Long options without a letter. */
enum {
    OPT_MEMORY = 256,
    OPT_THREADS,
    OPT_IO,
    OPT_DIRECT,
    OPT_PROGRESS,
    OPT_DTYPE,
    OPT_SHARD_SIZE,
    OPT_ALLOW_MISSING,
    OPT_ALLOW_EXTRA,
    OPT_JSON,
    OPT_DIGEST,
    OPT_CODEC,
    OPT_AS_VECTOR,
    OPT_SET,
    OPT_LAX,
    OPT_DOCUMENT,
    OPT_SEED,
    OPT_TENSOR,
    OPT_PRINT_RECIPE,
    OPT_RESUME,
    OPT_RESTART,
};

static const struct option_line {
    const char *name;
    int code; /* the letter, if there is one */
    unsigned commands;
    const char *argument; /* NULL: takes none */
    const char *help;
} lines[] = {
    {"base", 'b', MERGING | TM_FOR_VERIFY, "BASE",
     "checkpoint the vectors are measured from"},
    {"vector", 't', MERGING, "VECTOR",
     "a fine-tuned checkpoint or a stored vector; repeat"},
    {"weight", 'w', MERGING, "WEIGHT", "of the vector before it (1)"},
    {"set", OPT_SET, MERGING, "NAME=VALUE",
     "in the recipe: models.1.parameters.weight=0.3"},
    {"document", OPT_DOCUMENT, MERGING, "NAME",
     "which of the recipes in the file to make"},
    {"lax", OPT_LAX, MERGING, NULL,
     "warn of keys in the recipe that nobody knows"},
    {"seed", OPT_SEED, MERGING, "N", "of random masks (0)"},
    {"output", 'o', WRITING, "OUT", "what to make"},
    {"force", 'f', WRITING, NULL, "replace OUT if it exists"},
    {"resume", OPT_RESUME, MAKING, NULL,
     "go on with what an interrupted run has kept"},
    {"restart", OPT_RESTART, MAKING, NULL, "or throw that away"},
    {"as-vector", OPT_AS_VECTOR, MERGING, NULL,
     "store the result as a vector against the base"},
    {"codec", OPT_CODEC, MERGING | TM_FOR_DIFF, "CODEC",
     "of vectors: auto, or zstd (no rans)"},
    {"dtype", OPT_DTYPE, MERGING, "TYPE",
     "of the output: bfloat16, float16, float32 ..."},
    {"shard-size", OPT_SHARD_SIZE, MERGING, "SIZE",
     "of the output; else the base's layout"},
    {"allow-missing", OPT_ALLOW_MISSING, MERGING, NULL,
     "a vector may lack tensors: they count as unchanged"},
    {"allow-extra", OPT_ALLOW_EXTRA, MERGING, NULL,
     "leave out tensors that the base lacks"},
    {"memory", OPT_MEMORY, RUNNING, "SIZE", "most memory to use (512M)"},
    {"threads", OPT_THREADS, RUNNING, "N", "most threads that compute"},
    {"io", OPT_IO, MOVING, "ENGINE", "auto, uring or threads"},
    {"direct", OPT_DIRECT, MOVING, "WHEN",
     "auto, on or off: bypass the page cache"},
    {"progress", OPT_PROGRESS, MOVING, "KIND", "auto, bar, json or none"},
    {"digest", OPT_DIGEST, TM_FOR_INSPECT, NULL,
     "compute digests where none are recorded"},
    {"tensor", OPT_TENSOR, TM_FOR_PLAN, "GLOB",
     "print what is done with the tensors so named"},
    {"print-recipe", OPT_PRINT_RECIPE, TM_FOR_PLAN, NULL,
     "print the recipe as it is understood, no more"},
    {"json", OPT_JSON, TELLING, NULL, "print JSON"},
    {"quiet", 'q', ANY, NULL, "print errors only"},
    {"verbose", 'v', ANY, NULL, "say more"},
    {"help", 'h', ANY, NULL, "print this"},
};

#define NUM_LINES (sizeof(lines) / sizeof(lines[0]))

/* --- the options one by one ----------------------------------------------*/

static enum tm_status bad_value(const char *option, const char *value,
                                const char *expected)
{
    return tm_error(TM_USAGE, "--%s: '%s' is not %s", option, value, expected);
}

static enum tm_status set_vector(struct tm_options *o, const char *path)
{
    o->weights[o->recipe.num_vectors] = 1;
    o->vectors[o->recipe.num_vectors++] =
        (struct tm_vector){.path = path, .name = path};
    return TM_OK;
}

static enum tm_status set_weight(struct tm_options *o, const char *text,
                                 bool *has_weight)
{
    if (o->recipe.num_vectors == 0)
        return tm_error(TM_USAGE, "-w %s: there is no -t before it", text);
    if (*has_weight)
        return tm_error(TM_USAGE, "-w %s: '%s' has a weight already", text,
                        o->vectors[o->recipe.num_vectors - 1].path);
    *has_weight = true;
    if (!tm_argument_number(text, &o->weights[o->recipe.num_vectors - 1]))
        return bad_value("weight", text, "a finite number");
    return TM_OK;
}

/* NAME=VALUE, of which NAME is kept apart in the arena. */
static enum tm_status set_override(struct tm_options *o, const char *text)
{
    const char *equals = strchr(text, '=');
    char *name;

    if (equals == NULL || equals == text)
        return bad_value("set", text, "of the form NAME=VALUE");
    name = tm_arena_copy(&o->arena, text, (size_t)(equals - text));
    if (name == NULL)
        return tm_no_memory();
    o->overrides[o->num_overrides++] =
        (struct tm_override){.path = name, .value = equals + 1};
    return TM_OK;
}

static enum tm_status set_seed(struct tm_options *o, const char *text)
{
    o->has_seed = true;
    if (!tm_argument_whole(text, &o->recipe.seed))
        return bad_value("seed", text, "a number from 0 to 2^64 - 1");
    return TM_OK;
}

static enum tm_status set_once(const char **target, const char *option,
                               const char *value)
{
    if (*target != NULL)
        return tm_error(TM_USAGE, "--%s is given twice", option);
    if (value[0] == '\0')
        return tm_error(TM_USAGE, "--%s: the name is empty", option);
    *target = value;
    return TM_OK;
}

static enum tm_status set_threads(struct tm_settings *s, const char *text)
{
    uint64_t value;

    if (!tm_argument_whole(text, &value) || value < 1 || value > MAX_THREADS)
        return bad_value("threads", text, "a number from 1 to 1024");
    s->threads = (unsigned)value;
    return TM_OK;
}

static enum tm_status set_size(uint64_t *target, const char *option,
                               const char *text)
{
    if (!tm_argument_size(text, target) || *target == 0)
        return bad_value(option, text, "a size like 512M or 5GB");
    return TM_OK;
}

static enum tm_status set_choices(struct tm_settings *s, int code,
                                  const char *text)
{
    static const char *const engines[] = {"auto", "uring", "threads"};
    static const char *const directs[] = {"auto", "on", "off"};
    static const char *const kinds[] = {"auto", "bar", "json", "none"};
    static const char *const codecs[] = {"auto", "zstd"};
    unsigned choice;

    if (code == OPT_IO) {
        if (!tm_argument_choice(text, engines, 3, &choice))
            return bad_value("io", text, "auto, uring or threads");
        s->io = (enum tm_io_choice)choice;
    } else if (code == OPT_DIRECT) {
        if (!tm_argument_choice(text, directs, 3, &choice))
            return bad_value("direct", text, "auto, on or off");
        s->direct = (enum tm_direct)choice;
    } else if (code == OPT_CODEC) {
        if (!tm_argument_choice(text, codecs, 2, &choice))
            return bad_value("codec", text, "auto or zstd");
        s->codec = (enum tm_codec)choice;
    } else {
        if (!tm_argument_choice(text, kinds, 4, &choice))
            return bad_value("progress", text, "auto, bar, json or none");
        s->progress = (enum tm_progress_kind)choice;
    }
    return TM_OK;
}

static enum tm_status set_dtype(struct tm_recipe *recipe, const char *text)
{
    recipe->has_dtype = true;
    if (!tm_dtype_from_user(text, &recipe->dtype))
        return bad_value("dtype", text,
                         "a type like bfloat16, float16 or float32");
    return TM_OK;
}

/* Sets what takes no argument. */
static void set_flag(struct tm_options *o, int code)
{
    switch (code) {
    case 'f':
        o->settings.force = true;
        break;
    case 'q':
        o->settings.verbosity = TM_QUIET;
        break;
    case 'v':
        o->settings.verbosity = TM_VERBOSE;
        break;
    case 'h':
        o->help = true;
        break;
    case OPT_JSON:
        o->settings.json = true;
        break;
    case OPT_DIGEST:
        o->settings.digest = true;
        break;
    case OPT_AS_VECTOR:
        o->settings.as_vector = true;
        break;
    case OPT_LAX:
        o->settings.lax = true;
        break;
    case OPT_PRINT_RECIPE:
        o->settings.print_recipe = true;
        break;
    case OPT_RESUME:
        o->settings.resume = true;
        break;
    case OPT_RESTART:
        o->settings.restart = true;
        break;
    case OPT_ALLOW_MISSING:
        o->recipe.allow_missing = true;
        break;
    case OPT_ALLOW_EXTRA:
        o->recipe.allow_extra = true;
        break;
    }
}

static enum tm_status set(struct tm_options *o, int code, const char *text,
                          bool *has_weight)
{
    switch (code) {
    case 'b':
        return set_once(&o->recipe.base, "base", text);
    case 't':
        *has_weight = false;
        return set_vector(o, text);
    case 'w':
        return set_weight(o, text, has_weight);
    case 'o':
        return set_once(&o->out, "output", text);
    case OPT_SET:
        return set_override(o, text);
    case OPT_DOCUMENT:
        return set_once(&o->document, "document", text);
    case OPT_SEED:
        return set_seed(o, text);
    case OPT_TENSOR:
        return set_once(&o->settings.only_tensors, "tensor", text);
    case OPT_DTYPE:
        return set_dtype(&o->recipe, text);
    case OPT_SHARD_SIZE:
        return set_size(&o->recipe.shard_size, "shard-size", text);
    case OPT_MEMORY:
        return set_size(&o->settings.memory, "memory", text);
    case OPT_THREADS:
        return set_threads(&o->settings, text);
    case OPT_IO:
    case OPT_DIRECT:
    case OPT_PROGRESS:
    case OPT_CODEC:
        return set_choices(&o->settings, code, text);
    default:
        set_flag(o, code);
        return TM_OK;
    }
}

/* --- the command line as a whole -----------------------------------------*/

/* The forms that getopt_long wants, of the options of one command. */
static void make_tables(unsigned command, struct option *longs, char *shorts)
{
    *shorts++ = ':'; /* tell a missing argument from an unknown option */
    for (size_t i = 0; i < NUM_LINES; i++) {
        const struct option_line *line = &lines[i];

        if (!(line->commands & command))
            continue;
        *longs++ = (struct option){
            .name = line->name,
            .has_arg = line->argument ? required_argument : no_argument,
            .val = line->code,
        };
        if (line->code < 256) {
            *shorts++ = (char)line->code;
            if (line->argument != NULL)
                *shorts++ = ':';
        }
    }
    *longs = (struct option){0};
    *shorts = '\0';
}

/* What getopt_long could make nothing of; `word` is where it stood. */
static enum tm_status bad_option(const char *command, const char *word)
{
    if (strncmp(word, "--", 2) != 0 && optopt != 0)
        return tm_error(TM_USAGE,
                        "-%c: no such option (see taumerge %s --help)", optopt,
                        command);
    if (optopt != 0)
        return tm_error(TM_USAGE, "%s: takes no argument", word);
    return tm_error(TM_USAGE, "%s: no such option (see taumerge %s --help)",
                    word, command);
}

enum tm_status tm_options_isa(enum tm_isa *isa)
{
    const char *cap = getenv("TAUMERGE_CPU");

    if (tm_isa_choose(cap, isa))
        return TM_OK;
    return tm_error(TM_USAGE,
                    "TAUMERGE_CPU: '%s' is no instruction set of this machine",
                    cap);
}

/*
 * Seconds between marks (src/keeper.h): often enough that little is lost, and
 * seldom enough that nobody notices what they cost (docs/reliability.md).
 */
#define INTERVAL 1.0

/* TAUMERGE_JOURNAL, for tests and measurements: seconds, or "off". */
static enum tm_status take_interval(struct tm_settings *settings)
{
    const char *text = getenv("TAUMERGE_JOURNAL");

    settings->journal = INTERVAL;
    if (text == NULL || text[0] == '\0')
        return TM_OK;
    if (strcmp(text, "off") == 0) {
        settings->journal = -1;
        return TM_OK;
    }
    if (tm_argument_number(text, &settings->journal) && settings->journal >= 0)
        return TM_OK;
    return tm_error(TM_USAGE,
                    "TAUMERGE_JOURNAL: '%s' is neither a number of seconds nor "
                    "off",
                    text);
}

/* Appends a word as a shell would have to be given it. */
static bool quote(struct tm_text *text, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789%+,-./:=@_";
    bool complete = true;

    if (word[0] != '\0' && word[strspn(word, plain)] == '\0')
        return tm_text_append(text, word, strlen(word));
    complete &= tm_text_append(text, "'", 1);
    for (; *word != '\0'; word++)
        complete &= *word == '\'' ? tm_text_append(text, "'\\''", 4)
                                  : tm_text_append(text, word, 1);
    complete &= tm_text_append(text, "'", 1);
    return complete;
}

/* The command that goes on with this one, for when it is interrupted. */
static enum tm_status tell_command(int argc, char **argv,
                                   struct tm_options *options)
{
    struct tm_text text = {0};
    bool complete = quote(&text, program_invocation_name);

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--restart") == 0 ||
            strcmp(argv[i], "--resume") == 0)
            continue;
        complete &= tm_text_append(&text, " ", 1);
        complete &= quote(&text, argv[i]);
        if (i == 0)
            complete &= tm_text_append(&text, " --resume", 9);
    }
    options->settings.command =
        complete ? tm_arena_copy(&options->arena, text.bytes, text.length)
                 : NULL;
    free(text.bytes);
    return options->settings.command != NULL ? TM_OK : tm_no_memory();
}

/* Room for as many values of repeated options as there are arguments. */
static enum tm_status make_room(struct tm_options *options, int argc)
{
    const size_t most = (size_t)argc + 1;

    options->vectors = calloc(most, sizeof(*options->vectors));
    options->weights = calloc(most, sizeof(*options->weights));
    options->overrides = calloc(most, sizeof(*options->overrides));
    options->recipe.vectors = options->vectors;
    if (options->vectors == NULL || options->weights == NULL ||
        options->overrides == NULL)
        return tm_no_memory();
    return TM_OK;
}

enum tm_status tm_options_parse(int argc, char **argv, unsigned command,
                                struct tm_options *options)
{
    struct option longs[NUM_LINES + 1];
    char shorts[2 * NUM_LINES + 2];
    bool has_weight = false;
    enum tm_status status;
    int code;

    *options = (struct tm_options){.settings = {.memory = DEFAULT_MEMORY}};
    if (make_room(options, argc) != TM_OK)
        return TM_SYSTEM;
    make_tables(command, longs, shorts);
    opterr = 0;
    optind = 0; /* start anew, also in a second call (fuzzing) */
    while ((code = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (code == ':')
            return tm_error(TM_USAGE, "%s: needs an argument",
                            argv[optind - 1]);
        if (code == '?')
            return bad_option(argv[0], argv[optind - 1]);
        status = set(options, code, optarg, &has_weight);
        if (status != TM_OK)
            return status;
    }
    options->paths = argv + optind;
    options->num_paths = (size_t)(argc - optind);
    options->settings.fault = getenv("TAUMERGE_FAULT");
    if (options->settings.resume && options->settings.restart)
        return tm_error(TM_USAGE, "--resume and --restart: which of them?");
    status = take_interval(&options->settings);
    if (status == TM_OK)
        status = tell_command(argc, argv, options);
    return status == TM_OK ? tm_options_isa(&options->settings.isa) : status;
}

void tm_options_free(struct tm_options *options)
{
    if (options->was_read)
        tm_recipe_free(&options->recipe);
    options->was_read = false;
    free(options->vectors);
    free(options->weights);
    free(options->overrides);
    tm_arena_free(&options->arena);
    options->vectors = NULL;
    options->weights = NULL;
    options->overrides = NULL;
}

void tm_options_print(unsigned command)
{
    for (size_t i = 0; i < NUM_LINES; i++) {
        const struct option_line *line = &lines[i];
        char left[64];
        const char *space = line->argument != NULL ? " " : "";
        const char *argument = line->argument != NULL ? line->argument : "";

        if (!(line->commands & command))
            continue;
        if (line->code < 256)
            snprintf(left, sizeof(left), "-%c, --%s%s%s", line->code,
                     line->name, space, argument);
        else
            snprintf(left, sizeof(left), "    --%s%s%s", line->name, space,
                     argument);
        printf("  %-26s %s\n", left, line->help);
    }
}
