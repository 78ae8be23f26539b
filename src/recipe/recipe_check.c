/* SPDX-License-Identifier: Apache-2.0 */
/* recipe_check: what a method asks of a slice; see recipe_reader.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>

#include "src/recipe/recipe_reader.h"

uint32_t tm_reader_base(const struct tm_recipe *recipe,
                        const struct tm_slice *slice)
{
    if (slice->base != TM_NO_MODEL)
        return slice->base;
    return recipe->has_base ? 0 : TM_NO_MODEL;
}

/* --- numbers of models ---------------------------------------------------*/

/* A number in words, while it is small. */
static void count_in_words(char *text, size_t size, size_t count)
{
    static const char *const words[] = {"none",  "one",  "two",
                                        "three", "four", "five"};

    if (count < sizeof(words) / sizeof(words[0]))
        snprintf(text, size, "%s", words[count]);
    else
        snprintf(text, size, "%zu", count);
}

/* "one model", "at least two models" */
static void allowed_in_words(char *text, size_t size,
                             const struct tm_method *method)
{
    const bool is_low = method->least == method->most;
    const size_t number = method->least;
    char least[24], most[24];

    count_in_words(least, sizeof(least), number);
    count_in_words(most, sizeof(most), method->most);
    if (is_low)
        snprintf(text, size, "%s model%s", least, number == 1 ? "" : "s");
    else if (method->most > 1000000)
        snprintf(text, size, "at least %s model%s", least,
                 number == 1 ? "" : "s");
    else
        snprintf(text, size, "from %s to %s models", least, most);
}

static void check_count(struct tm_reader *reader, const struct tm_slice *slice,
                        size_t count, bool has_base)
{
    const struct tm_method *method = reader->recipe->method;
    char allowed[80], given[24];

    if (count >= method->least && count <= method->most)
        return;
    allowed_in_words(allowed, sizeof(allowed), method);
    count_in_words(given, sizeof(given), count);
    tm_reader_error(reader, slice->place, "%s takes %s%s, %s %s given",
                    method->name, allowed, has_base ? " beside the base" : "",
                    given, count == 1 ? "is" : "are");
}

/* --- required parameters -------------------------------------------------*/

static bool has_setting(const struct tm_level *level, size_t parameter)
{
    for (size_t i = 0; i < level->count; i++)
        if (level->settings[i].parameter == parameter)
            return true;
    return false;
}

static bool is_given(const struct tm_reader *reader,
                     const struct tm_module *module,
                     const struct tm_slice *slice, size_t parameter)
{
    return has_setting(&slice->level, parameter) ||
           has_setting(&module->level, parameter) ||
           has_setting(&reader->recipe->level, parameter);
}

/* A source that is an input has nothing to say about a parameter. */
static void report_source(struct tm_reader *reader,
                          const struct tm_part_source *source,
                          const char *parameter)
{
    const struct tm_recipe *recipe = reader->recipe;
    const char *name = reader->columns[source->model].name;

    if (recipe->has_base && source->model == 0)
        tm_reader_error(reader, source->place,
                        "model '%s' has no '%s' (the base is an input of %s)",
                        name, parameter, recipe->method->name);
    else
        tm_reader_error(reader, source->place,
                        "model '%s' has no '%s', which %s needs", name,
                        parameter, recipe->method->name);
}

static void check_required(struct tm_reader *reader,
                           const struct tm_module *module,
                           const struct tm_slice *slice, uint32_t base)
{
    const struct tm_method *method = reader->recipe->method;

    for (size_t p = 0; p < method->num_parameters; p++) {
        const struct tm_parameter *parameter = &method->parameters[p];

        if (!parameter->is_required || is_given(reader, module, slice, p))
            continue;
        if (!parameter->is_own) {
            tm_reader_error(reader, slice->place, "%s needs a parameter '%s'",
                            method->name, parameter->name);
            continue;
        }
        for (size_t i = 0; i < slice->num_sources; i++)
            if (slice->sources[i].model != base &&
                !has_setting(&slice->sources[i].level, p))
                report_source(reader, &slice->sources[i], parameter->name);
    }
}

/* --- the base ------------------------------------------------------------*/

/* How many sources are inputs; false: the base is not as it should be. */
static bool count_inputs(struct tm_reader *reader,
                         const struct tm_module *module,
                         const struct tm_slice *slice, uint32_t base,
                         size_t *count)
{
    const struct tm_method *method = reader->recipe->method;

    *count = 0;
    for (size_t i = 0; i < slice->num_sources; i++)
        *count += slice->sources[i].model != base;
    if (base == TM_NO_MODEL) {
        if (method->base != TM_BASE_NEEDED)
            return true;
        tm_reader_error(reader, slice->place, "%s needs a 'base_model'",
                        method->name);
        return false;
    }
    if (!module->is_sliced || *count < slice->num_sources)
        return true;
    tm_reader_error(reader, slice->place,
                    "the base '%s' is none of the slice's sources, so its "
                    "layers are not known",
                    reader->columns[base].name);
    return false;
}

void tm_reader_check(struct tm_reader *reader, const struct tm_module *module,
                     const struct tm_slice *slice)
{
    const struct tm_method *method = reader->recipe->method;
    uint32_t base;
    size_t count;

    /* Where something is wrong already, more would be said in vain. */
    if (method == NULL || slice->sources == NULL || reader->status != TM_OK)
        return;
    base = method->base == TM_BASE_IS_INPUT
               ? TM_NO_MODEL
               : tm_reader_base(reader->recipe, slice);
    if (!count_inputs(reader, module, slice, base, &count))
        return;
    check_count(reader, slice, count, base != TM_NO_MODEL);
    check_required(reader, module, slice, base);
}
