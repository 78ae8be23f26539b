/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate: see evaluate.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/evaluate.h"

#include <math.h>
#include <string.h>

#include "src/recipe/place.h"

/* The levels that may say something, the nearest first. */
struct levels {
    const struct tm_level *levels[4];
    size_t count;
};

/* --- one parameter -------------------------------------------------------*/

static const struct tm_setting *find_setting(const struct tm_level *level,
                                             size_t parameter)
{
    for (size_t i = 0; i < level->count; i++)
        if (level->settings[i].parameter == parameter)
            return &level->settings[i];
    return NULL;
}

/* The first entry that fits. All that fit are marked. */
static const struct tm_entry *find_entry(const struct tm_setting *setting,
                                         const char *name)
{
    const struct tm_entry *found = NULL;

    for (size_t i = 0; i < setting->count; i++) {
        const struct tm_entry *entry = &setting->entries[i];

        if (entry->filter != NULL && strstr(name, entry->filter) == NULL)
            continue;
        if (entry->was_used != NULL)
            *entry->was_used = true;
        if (found == NULL)
            found = entry;
    }
    return found;
}

/*
 * The value of a gradient at `position`. Whole numbers stay whole, and there
 * is nothing between a truth value and the next.
 */
static double value_at(const struct tm_parameter *parameter,
                       const struct tm_entry *entry, double position)
{
    const double *v = entry->values;
    const size_t last = entry->count - 1;
    double s, value;
    size_t i;

    if (!(position > 0))
        position = 0;
    if (position > 1)
        position = 1;
    s = position * (double)last;
    i = (size_t)s;
    if (i >= last || parameter->kind == TM_FLAG || parameter->kind == TM_CHOICE)
        return v[i];
    s -= (double)i;
    value = (1 - s) * v[i] + s * v[i + 1];
    return parameter->kind == TM_WHOLE ? floor(value + 0.5) : value;
}

static bool is_in_range(const struct tm_parameter *parameter, double value)
{
    if (parameter->kind == TM_FLAG || parameter->kind == TM_CHOICE)
        return true;
    return value >= parameter->least && value <= parameter->most;
}

/* Where the value of a required parameter was to be found. */
static enum tm_status report(const struct tm_question *question,
                             const struct tm_parameter *parameter,
                             struct tm_place place, const char *name,
                             const char *cause)
{
    return tm_place_error(TM_USAGE, question->recipe->path, place,
                          "tensor '%s': '%s' %s", name, parameter->name, cause);
}

/* `place`: of what the parameter belongs to. */
static enum tm_status find_value(const struct tm_question *question,
                                 const struct levels *levels, size_t p,
                                 struct tm_place place, const char *name,
                                 double *value)
{
    const struct tm_parameter *parameter =
        &question->recipe->method->parameters[p];
    const struct tm_entry *found = NULL;

    for (size_t i = 0; i < levels->count; i++) {
        const struct tm_setting *setting = find_setting(levels->levels[i], p);
        const struct tm_entry *entry;

        if (setting == NULL)
            continue;
        /* Also where a nearer level has decided: filters are marked. */
        entry = find_entry(setting, name);
        if (found == NULL) {
            place = setting->place;
            found = entry;
        }
    }
    if (found == NULL && parameter->is_required)
        return report(question, parameter, place, name,
                      "has no value: no filter fits (an entry without "
                      "'filter' holds for the rest)");
    *value = found != NULL ? value_at(parameter, found, question->position)
                           : parameter->standard;
    if (found != NULL && !is_in_range(parameter, *value))
        return report(question, parameter, place, name, "is out of range");
    return TM_OK;
}

/* --- all of them ---------------------------------------------------------*/

static void add_outer(const struct tm_question *question, struct levels *levels)
{
    levels->levels[levels->count++] = &question->slice->level;
    levels->levels[levels->count++] = &question->module->level;
    levels->levels[levels->count++] = &question->recipe->level;
}

static enum tm_status find_values(const struct tm_question *question,
                                  const struct levels *levels, bool is_own,
                                  struct tm_place place, const char *name,
                                  double *values)
{
    const struct tm_method *method = question->recipe->method;

    for (size_t p = 0; p < method->num_parameters; p++) {
        enum tm_status status;

        if (method->parameters[p].is_own != is_own)
            continue;
        status = find_value(question, levels, p, place, name, &values[p]);
        if (status != TM_OK)
            return status;
    }
    return TM_OK;
}

enum tm_status tm_evaluate(const struct tm_question *question, double *values)
{
    struct levels levels = {.count = 0};

    add_outer(question, &levels);
    return find_values(question, &levels, false, question->slice->place,
                       question->name, values);
}

enum tm_status tm_evaluate_own(const struct tm_question *question,
                               const struct tm_part_source *source,
                               const char *name, double *values)
{
    struct levels levels = {.levels = {&source->level}, .count = 1};

    add_outer(question, &levels);
    return find_values(question, &levels, true, source->place, name, values);
}

/* --- filters that fit nothing --------------------------------------------*/

static void warn_of(const struct tm_recipe *recipe,
                    const struct tm_level *level)
{
    for (size_t i = 0; i < level->count; i++) {
        const struct tm_setting *setting = &level->settings[i];

        for (size_t k = 0; k < setting->count; k++) {
            const struct tm_entry *entry = &setting->entries[k];

            if (entry->filter != NULL && entry->was_used != NULL &&
                !*entry->was_used)
                tm_place_warning(recipe->path, setting->place,
                                 "filter '%s' fits no tensor", entry->filter);
        }
    }
}

static void warn_of_slice(const struct tm_recipe *recipe,
                          const struct tm_slice *slice)
{
    warn_of(recipe, &slice->level);
    for (size_t i = 0; i < slice->num_sources; i++)
        warn_of(recipe, &slice->sources[i].level);
}

void tm_evaluate_warn_unused(const struct tm_recipe *recipe)
{
    warn_of(recipe, &recipe->level);
    for (size_t m = 0; m < recipe->num_modules; m++) {
        const struct tm_module *module = &recipe->modules[m];

        warn_of(recipe, &module->level);
        for (size_t s = 0; s < module->num_slices; s++)
            warn_of_slice(recipe, &module->slices[s]);
    }
}
