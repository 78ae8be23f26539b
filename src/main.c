/* SPDX-License-Identifier: Apache-2.0 */
/* taumerge: picks the command and runs it. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "io/digest.h"
#include "io/transfer.h"
#include "kernels/cpu.h"
#include "src/commands.h"
#include "src/options.h"

static const struct command {
    const char *name;
    enum tm_status (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"merge", tm_command_merge,
     "merge checkpoints, by a recipe or by -b and -t"},
    {"diff", tm_command_diff, "store fine-tunes as vectors against a base"},
    {"apply", tm_command_apply, "put a stored vector back on its base"},
    {"plan", tm_command_plan, "what a merge would read, write and take"},
    {"verify", tm_command_verify, "re-read an output and check its digests"},
    {"inspect", tm_command_inspect, "list the tensors of a checkpoint"},
    {"methods", tm_command_methods, "list the methods of merging"},
};

#define NUM_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(void)
{
    puts("usage: taumerge COMMAND [OPTIONS]\n"
         "\n"
         "Merges checkpoints larger than memory, by a recipe, or by adding\n"
         "weighted task vectors (a fine-tune minus its base) to a base.\n"
         "\n"
         "  taumerge merge RECIPE.yaml -o OUT\n"
         "  taumerge merge -b BASE -t TUNED -w 0.4 -t OTHER -w -1 -o OUT\n"
         "\n"
         "commands:");
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].help);
    puts("\n"
         "taumerge COMMAND --help lists the options of a command;\n"
         "taumerge --version tells how this machine will run it.");
}

static void print_isas(enum tm_isa chosen)
{
    printf("  kernels   %s (of", tm_isa_name(chosen));
    for (int isa = 0; isa < TM_NUM_ISAS; isa++)
        if (tm_isa_available((enum tm_isa)isa))
            printf(" %s", tm_isa_name((enum tm_isa)isa));
    puts(")");
}

static void print_engine(void)
{
    struct tm_disk disk;

    if (tm_disk_open(TM_IO_AUTO, NULL, &disk) != TM_OK)
        return;
    printf("  I/O       %s", disk.engine->ops->name);
    if (disk.why_not_uring != NULL)
        printf(" (no io_uring: %s)", disk.why_not_uring);
    puts("");
    tm_disk_close(&disk);
}

static enum tm_status print_version(void)
{
    const unsigned xxhash = XXH_versionNumber();
    enum tm_isa chosen;
    const enum tm_status status = tm_options_isa(&chosen);

    if (status != TM_OK)
        return status;
    puts("taumerge " PACKAGE_VERSION);
    print_isas(chosen);
    print_engine();
    printf("  libraries jansson %s, xxHash %u.%u.%u", JANSSON_VERSION,
           xxhash / 10000, xxhash / 100 % 100, xxhash % 100);
    printf(", zstd %s", ZSTD_versionString());
#ifdef HAVE_LIBURING
    printf(", liburing");
#endif
    puts("");
    return tm_flush_stdout();
}

/*
 * Opens what a careless parent has closed of the standard descriptors, so
 * that no data file can get their numbers. They stay unusable: writing to
 * a descriptor that is open for reading fails.
 */
static void occupy_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

static enum tm_status no_command(const char *name)
{
    if (name == NULL)
        return tm_error(TM_USAGE, "no command given (see taumerge --help)");
    return tm_error(TM_USAGE, "%s: no such command (see taumerge --help)",
                    name);
}

static bool is_one_of(const char *text, const char *a, const char *b)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

/*
 * Headers of many megabytes come and go while a plan is made. Mapped, they
 * give their memory back at once; glibc would map fewer and fewer of them.
 */
static void give_memory_back(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;

    occupy_standard_descriptors();
    give_memory_back();
    /* Where the order of a hash table is seen, it is always the same. */
    json_object_seed(1);
    if (name == NULL)
        return no_command(NULL);
    if (is_one_of(name, "--help", "-h") || strcmp(name, "help") == 0) {
        print_help();
        return tm_flush_stdout();
    }
    if (is_one_of(name, "--version", "-V"))
        return print_version();
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return no_command(name);
}
