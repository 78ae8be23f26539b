/* SPDX-License-Identifier: Apache-2.0 */
/* methods: the command that lists them, or tells all about one. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>

#include "src/commands.h"
#include "src/recipe/parameter.h"
#include "src/table.h"

/* Values of a float that stand for no limit (TM_ANY_NUMBER). */
#define UNLIMITED 3e38

static const char *const families[] = {
    [TM_LINEAR] = "linear",
    [TM_GRAM] = "gram",
    [TM_THRESHOLD] = "threshold",
};

static const char *const bases[] = {
    [TM_BASE_NEEDED] = "needed",
    [TM_BASE_OPTIONAL] = "optional",
    [TM_BASE_IS_INPUT] = "input",
};

/* The same in a sentence about the models that a method takes. */
static const char *const beside[] = {
    [TM_BASE_NEEDED] = "beside the base",
    [TM_BASE_OPTIONAL] = "beside the base, if there is one",
    [TM_BASE_IS_INPUT] = "the base, if there is one, being one of them",
};

static const char *const kinds[] = {
    [TM_NUMBER] = "number",
    [TM_WHOLE] = "whole",
    [TM_FLAG] = "flag",
    [TM_CHOICE] = "choice",
};

/* --- how often the inputs are read ---------------------------------------*/

struct passes {
    unsigned most; /* of a tensor that does not fit */
    bool is_whole; /* one of them over the whole model, before all else */
};

/* A share at its limit may need no measuring: one in the middle does. */
static double middle(const struct tm_parameter *parameter)
{
    const bool is_share = parameter->kind == TM_NUMBER &&
                          parameter->least == 0 && parameter->most == 1;

    return is_share ? 0.5 : parameter->standard;
}

/* What a method takes with the parameters it has when nothing is said. */
static enum tm_status count_passes(const struct tm_method *method,
                                   struct passes *passes)
{
    const size_t count = method->least > 2 ? method->least : 2;
    struct tm_terms *terms =
        calloc(1, sizeof(*terms) + count * sizeof(terms->terms[0]));

    if (terms == NULL)
        return tm_no_memory();
    terms->base = 0;
    terms->count = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        terms->terms[i].column = (uint32_t)i + 1;
    for (size_t p = 0; p < method->num_parameters; p++) {
        terms->values[p] = middle(&method->parameters[p]);
        for (size_t i = 0; i < count; i++)
            terms->terms[i].values[p] = terms->values[p];
    }
    passes->most = tm_method_phases(method, terms) + 1;
    passes->is_whole = tm_method_is_whole(method, terms);
    free(terms);
    return TM_OK;
}

#define PASSES_TEXT 48

static void passes_text(const struct passes *passes, char text[PASSES_TEXT])
{
    const unsigned least = passes->is_whole ? 2 : 1;
    int length = snprintf(text, PASSES_TEXT, "%u", least);

    if (passes->is_whole)
        length += snprintf(text + length, PASSES_TEXT - (size_t)length,
                           ", whole model first");
    if (passes->most > least)
        snprintf(text + length, PASSES_TEXT - (size_t)length,
                 ", large tensors %u", passes->most);
}

/* --- the list ------------------------------------------------------------*/

enum { LIST_COLUMNS = 4 };

static enum tm_status print_list(void)
{
    struct tm_column columns[LIST_COLUMNS] = {
        {.title = "method"},
        {.title = "family"},
        {.title = "passes"},
        {.title = "what it makes"},
    };
    enum tm_status status = TM_OK;

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; tm_methods[i] != NULL && status == TM_OK; i++) {
            const struct tm_method *method = tm_methods[i];
            char text[PASSES_TEXT];
            const char *const cells[LIST_COLUMNS] = {
                method->name, families[method->family], text, method->help};
            struct passes passes;

            status = count_passes(method, &passes);
            passes_text(&passes, text);
            if (round == 0)
                tm_table_measure(columns, LIST_COLUMNS, cells);
            else
                tm_table_print(columns, LIST_COLUMNS, 2, cells);
        }
        if (round == 0)
            tm_table_print(columns, LIST_COLUMNS, 2, NULL);
    }
    return status;
}

/* --- one of them ---------------------------------------------------------*/

#define RANGE_TEXT 256

static void choices_text(const struct tm_parameter *parameter,
                         char text[RANGE_TEXT])
{
    size_t length = 0;

    text[0] = '\0';
    for (size_t i = 0; parameter->choices[i] != NULL; i++) {
        const int more = snprintf(text + length, RANGE_TEXT - length, "%s%s",
                                  i > 0 ? ", " : "", parameter->choices[i]);

        if (more < 0 || (size_t)more >= RANGE_TEXT - length)
            return;
        length += (size_t)more;
    }
}

static void range_text(const struct tm_parameter *parameter,
                       char text[RANGE_TEXT])
{
    const bool has_least = parameter->least > -UNLIMITED;
    const bool has_most = parameter->most < UNLIMITED;
    char least[TM_NUMBER_TEXT], most[TM_NUMBER_TEXT];

    tm_number_text(parameter->least, least);
    tm_number_text(parameter->most, most);
    if (parameter->kind == TM_CHOICE)
        choices_text(parameter, text);
    else if (parameter->kind == TM_FLAG)
        snprintf(text, RANGE_TEXT, "true, false");
    else if (has_least && has_most)
        snprintf(text, RANGE_TEXT, "%s to %s", least, most);
    else if (has_least || has_most)
        snprintf(text, RANGE_TEXT, "at %s %s", has_least ? "least" : "most",
                 has_least ? least : most);
    else
        snprintf(text, RANGE_TEXT, "any");
}

enum { PARAMETER_COLUMNS = 6 };

/* A row of the table of parameters. */
static void parameter_row(const struct tm_parameter *parameter,
                          struct tm_column *columns, bool is_printed)
{
    char standard[TM_NUMBER_TEXT], range[RANGE_TEXT];
    const char *const cells[PARAMETER_COLUMNS] = {
        parameter->name,
        parameter->is_own ? "model" : "merge",
        kinds[parameter->kind],
        parameter->is_required
            ? "required"
            : tm_parameter_text(parameter, parameter->standard, standard),
        range,
        parameter->help};

    range_text(parameter, range);
    if (is_printed)
        tm_table_print(columns, PARAMETER_COLUMNS, 2, cells);
    else
        tm_table_measure(columns, PARAMETER_COLUMNS, cells);
}

static void print_parameters(const struct tm_method *method)
{
    struct tm_column columns[PARAMETER_COLUMNS] = {
        {.title = "parameter"}, {.title = "of the"}, {.title = "kind"},
        {.title = "default"},   {.title = "range"},  {.title = "what it is"},
    };

    if (method->num_parameters == 0)
        return;
    puts("");
    for (size_t p = 0; p < method->num_parameters; p++)
        parameter_row(&method->parameters[p], columns, false);
    tm_table_print(columns, PARAMETER_COLUMNS, 2, NULL);
    for (size_t p = 0; p < method->num_parameters; p++)
        parameter_row(&method->parameters[p], columns, true);
}

static enum tm_status print_one(const struct tm_method *method)
{
    char text[PASSES_TEXT];
    struct passes passes;
    const enum tm_status status = count_passes(method, &passes);

    if (status != TM_OK)
        return status;
    passes_text(&passes, text);
    printf("%s: %s\n", method->name, method->help);
    printf("source  %s\n", method->source != NULL ? method->source : "-");
    printf("family  %s\npasses  %s\n", families[method->family], text);
    if (method->least == method->most)
        printf("models  %zu", method->least);
    else if (method->most >= UINT32_MAX)
        printf("models  %zu or more", method->least);
    else
        printf("models  %zu to %zu", method->least, method->most);
    printf(", %s\n", beside[method->base]);
    print_parameters(method);
    return TM_OK;
}

/* --- JSON ----------------------------------------------------------------*/

static void put_limit(struct tm_json_writer *w, const char *key, double limit)
{
    if (limit > -UNLIMITED && limit < UNLIMITED)
        tm_json_real(w, key, limit);
    else
        tm_json_string(w, key, NULL);
}

static void put_parameter(struct tm_json_writer *w,
                          const struct tm_parameter *parameter)
{
    tm_json_begin(w, NULL, '{');
    tm_json_string(w, "name", parameter->name);
    tm_json_string(w, "kind", kinds[parameter->kind]);
    tm_json_string(w, "help", parameter->help);
    tm_json_boolean(w, "per_model", parameter->is_own);
    tm_json_boolean(w, "required", parameter->is_required);
    if (parameter->is_required)
        tm_json_string(w, "default", NULL);
    else
        tm_parameter_put(w, "default", parameter, parameter->standard);
    if (parameter->kind == TM_NUMBER || parameter->kind == TM_WHOLE) {
        put_limit(w, "least", parameter->least);
        put_limit(w, "most", parameter->most);
    }
    if (parameter->kind == TM_CHOICE) {
        tm_json_begin(w, "choices", '[');
        for (size_t i = 0; parameter->choices[i] != NULL; i++)
            tm_json_string(w, NULL, parameter->choices[i]);
        tm_json_finish(w, ']');
    }
    tm_json_finish(w, '}');
}

static enum tm_status put_method(struct tm_json_writer *w,
                                 const struct tm_method *method)
{
    struct passes passes;
    const enum tm_status status = count_passes(method, &passes);

    if (status != TM_OK)
        return status;
    tm_json_begin(w, NULL, '{');
    tm_json_string(w, "name", method->name);
    tm_json_string(w, "family", families[method->family]);
    tm_json_integer(w, "passes", passes.most);
    tm_json_boolean(w, "whole_model", passes.is_whole);
    tm_json_string(w, "source", method->source);
    tm_json_string(w, "help", method->help);
    tm_json_string(w, "base", bases[method->base]);
    tm_json_integer(w, "least", method->least);
    if (method->most >= UINT32_MAX)
        tm_json_string(w, "most", NULL);
    else
        tm_json_integer(w, "most", method->most);
    tm_json_boolean(w, "random", method->is_random);
    tm_json_begin(w, "parameters", '[');
    for (size_t p = 0; p < method->num_parameters; p++)
        put_parameter(w, &method->parameters[p]);
    tm_json_finish(w, ']');
    tm_json_finish(w, '}');
    return TM_OK;
}

/* All methods, or the one. */
static enum tm_status print_json(const struct tm_method *only)
{
    struct tm_json_writer w = {.sink = tm_json_to_file, .context = stdout};
    enum tm_status status = TM_OK;

    tm_json_begin(&w, NULL, '[');
    for (size_t i = 0; tm_methods[i] != NULL && status == TM_OK; i++)
        if (only == NULL || only == tm_methods[i])
            status = put_method(&w, tm_methods[i]);
    tm_json_finish(&w, ']');
    if (status == TM_OK && w.failed && !ferror(stdout))
        status = tm_no_memory();
    return status;
}

/* --- the command ---------------------------------------------------------*/

static enum tm_status no_such(const char *name)
{
    const char *nearest = tm_method_nearest(name);

    if (nearest != NULL)
        return tm_error(TM_USAGE, "%s: no such method (did you mean '%s'?)",
                        name, nearest);
    return tm_error(TM_USAGE,
                    "%s: no such method (taumerge methods lists them)", name);
}

static enum tm_status print_methods(const struct tm_options *options)
{
    const char *name = options->num_paths > 0 ? options->paths[0] : NULL;
    const struct tm_method *only = name != NULL ? tm_method_find(name) : NULL;

    if (options->num_paths > 1)
        return tm_error(TM_USAGE, "'%s': one method at a time",
                        options->paths[1]);
    if (name != NULL && only == NULL)
        return no_such(name);
    if (options->settings.json)
        return print_json(only);
    return only != NULL ? print_one(only) : print_list();
}

enum tm_status tm_command_methods(int argc, char **argv)
{
    struct tm_options options;
    enum tm_status flushed,
        status = tm_options_parse(argc, argv, TM_FOR_METHODS, &options);

    if (status == TM_OK && options.help)
        tm_command_help("methods [NAME]", TM_FOR_METHODS);
    else if (status == TM_OK)
        status = print_methods(&options);
    flushed = tm_flush_stdout();
    tm_options_free(&options);
    return status != TM_OK ? status : flushed;
}
