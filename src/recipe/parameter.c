/* SPDX-License-Identifier: Apache-2.0 */
/* parameter: see parameter.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "src/recipe/parameter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tm_number_text(double value, char text[TM_NUMBER_TEXT])
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, TM_NUMBER_TEXT, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return text;
}

/* The name of a choice; NULL where the value is none. */
static const char *choice_name(const struct tm_parameter *parameter,
                               double value)
{
    const size_t wanted = value >= 0 ? (size_t)value : SIZE_MAX;

    for (size_t i = 0; parameter->choices[i] != NULL; i++)
        if (i == wanted)
            return parameter->choices[i];
    return NULL;
}

const char *tm_parameter_text(const struct tm_parameter *parameter,
                              double value, char text[TM_NUMBER_TEXT])
{
    const char *name = NULL;

    if (parameter->kind == TM_FLAG)
        name = value != 0 ? "true" : "false";
    else if (parameter->kind == TM_CHOICE)
        name = choice_name(parameter, value);
    return name != NULL ? name : tm_number_text(value, text);
}

void tm_parameter_put(struct tm_json_writer *writer, const char *key,
                      const struct tm_parameter *parameter, double value)
{
    char text[TM_NUMBER_TEXT];

    if (parameter->kind == TM_FLAG)
        tm_json_boolean(writer, key, value != 0);
    else if (parameter->kind == TM_CHOICE)
        tm_json_string(writer, key, tm_parameter_text(parameter, value, text));
    else if (parameter->kind == TM_WHOLE && value >= 0 && value < 0x1p53)
        tm_json_integer(writer, key, (uint64_t)value);
    else
        tm_json_real(writer, key, value);
}

const struct tm_parameter *tm_parameter_find(const struct tm_method *method,
                                             const char *name)
{
    for (size_t p = 0; p < method->num_parameters; p++)
        if (strcmp(method->parameters[p].name, name) == 0)
            return &method->parameters[p];
    return NULL;
}

void tm_parameters_print(const char *lead, const struct tm_method *method,
                         const double *values, bool own)
{
    char text[TM_NUMBER_TEXT];

    for (size_t p = 0; p < method->num_parameters; p++) {
        const struct tm_parameter *parameter = &method->parameters[p];

        if (parameter->is_own != own)
            continue;
        printf("%s %s %s", lead, parameter->name,
               tm_parameter_text(parameter, values[p], text));
        lead = ",";
    }
}

void tm_parameters_put(struct tm_json_writer *writer, const char *key,
                       const struct tm_method *method, const double *values,
                       bool own)
{
    tm_json_begin(writer, key, '{');
    for (size_t p = 0; p < method->num_parameters; p++)
        if (method->parameters[p].is_own == own)
            tm_parameter_put(writer, method->parameters[p].name,
                             &method->parameters[p], values[p]);
    tm_json_finish(writer, '}');
}

/* --- as a recipe says them -----------------------------------------------*/

bool tm_setting_is_constant(const struct tm_setting *setting, double *value)
{
    if (setting->count != 1 || setting->entries[0].filter != NULL ||
        setting->entries[0].count != 1)
        return false;
    *value = setting->entries[0].values[0];
    return true;
}

const struct tm_setting *tm_level_find(const struct tm_level *level,
                                       const struct tm_method *method,
                                       const struct tm_parameter *parameter)
{
    for (size_t i = 0; i < level->count; i++)
        if (&method->parameters[level->settings[i].parameter] == parameter)
            return &level->settings[i];
    return NULL;
}

void tm_level_print(const char *lead, const struct tm_level *level,
                    const struct tm_method *method)
{
    for (size_t i = 0; i < level->count; i++) {
        const struct tm_setting *setting = &level->settings[i];
        const struct tm_parameter *parameter =
            &method->parameters[setting->parameter];
        char text[TM_NUMBER_TEXT];
        double value;

        printf("%s %s %s", i == 0 ? lead : ",", parameter->name,
               tm_setting_is_constant(setting, &value)
                   ? tm_parameter_text(parameter, value, text)
                   : "varies");
    }
}

/* The values of an entry: one, or a list. */
static void put_values(struct tm_json_writer *writer, const char *key,
                       const struct tm_parameter *parameter,
                       const struct tm_entry *entry)
{
    if (entry->count == 1) {
        tm_parameter_put(writer, key, parameter, entry->values[0]);
        return;
    }
    tm_json_begin(writer, key, '[');
    for (size_t i = 0; i < entry->count; i++)
        tm_parameter_put(writer, NULL, parameter, entry->values[i]);
    tm_json_finish(writer, ']');
}

static void put_setting(struct tm_json_writer *writer,
                        const struct tm_setting *setting,
                        const struct tm_parameter *parameter)
{
    if (setting->count == 1 && setting->entries[0].filter == NULL) {
        put_values(writer, parameter->name, parameter, &setting->entries[0]);
        return;
    }
    tm_json_begin(writer, parameter->name, '[');
    for (size_t i = 0; i < setting->count; i++) {
        const struct tm_entry *entry = &setting->entries[i];

        tm_json_begin(writer, NULL, '{');
        if (entry->filter != NULL)
            tm_json_string(writer, "filter", entry->filter);
        put_values(writer, "value", parameter, entry);
        tm_json_finish(writer, '}');
    }
    tm_json_finish(writer, ']');
}

void tm_level_put(struct tm_json_writer *writer, const char *key,
                  const struct tm_level *level, const struct tm_method *method)
{
    tm_json_begin(writer, key, '{');
    for (size_t i = 0; i < level->count; i++)
        put_setting(writer, &level->settings[i],
                    &method->parameters[level->settings[i].parameter]);
    tm_json_finish(writer, '}');
}
