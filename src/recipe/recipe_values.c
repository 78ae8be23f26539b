/* SPDX-License-Identifier: Apache-2.0 */
/* recipe_values: parameters of a recipe; see recipe_reader.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "src/recipe/recipe_reader.h"

/* --- one value -----------------------------------------------------------*/

/* The words mergekit takes for truth values, beside YAML's. */
static bool read_flag(const struct tm_yaml_node *node, double *value)
{
    static const char *const words[2][7] = {
        {"0", "f", "false", "n", "no", "off", NULL},
        {"1", "t", "true", "y", "yes", "on", NULL},
    };

    if (tm_yaml_number(node, value))
        return *value == 0 || *value == 1;
    for (int truth = 0; truth < 2; truth++)
        for (size_t i = 0; words[truth][i] != NULL; i++)
            if (strcasecmp(node->text, words[truth][i]) == 0) {
                *value = truth;
                return true;
            }
    return false;
}

static bool read_choice(struct tm_reader *reader,
                        const struct tm_parameter *parameter,
                        const struct tm_yaml_node *node, double *value)
{
    char words[80] = "";
    size_t length = 0;

    for (size_t i = 0; parameter->choices[i] != NULL; i++) {
        if (strcmp(node->text, parameter->choices[i]) == 0) {
            *value = (double)i;
            return true;
        }
        if (length < sizeof(words))
            length += (size_t)snprintf(words + length, sizeof(words) - length,
                                       "%s'%s'", i > 0 ? " or " : "",
                                       parameter->choices[i]);
    }
    tm_reader_error(reader, node->place, "'%s' is '%s', it must be %s",
                    parameter->name, node->text, words);
    return false;
}

static bool is_in_range(struct tm_reader *reader,
                        const struct tm_parameter *parameter,
                        const struct tm_yaml_node *node, double value)
{
    const bool has_least = parameter->least > -3.3e38;
    const bool has_most = parameter->most < 3.3e38;

    if (value >= parameter->least && value <= parameter->most)
        return true;
    if (has_least && has_most)
        tm_reader_error(reader, node->place,
                        "'%s' is %s, it must be from %g to %g", parameter->name,
                        node->text, parameter->least, parameter->most);
    else if (has_least && value < parameter->least)
        tm_reader_error(reader, node->place,
                        "'%s' is %s, it must be at least %g", parameter->name,
                        node->text, parameter->least);
    else if (has_most && value > parameter->most)
        tm_reader_error(reader, node->place,
                        "'%s' is %s, it must be at most %g", parameter->name,
                        node->text, parameter->most);
    else
        tm_reader_error(reader, node->place, "'%s' is %s, which is too large",
                        parameter->name, node->text);
    return false;
}

static bool read_number(struct tm_reader *reader,
                        const struct tm_parameter *parameter,
                        const struct tm_yaml_node *node, double *value)
{
    const char *wrong = NULL;

    if (!tm_yaml_number(node, value)) {
        tm_reader_error(reader, node->place, "'%s' is '%s', not a number",
                        parameter->name, node->text);
        return false;
    }
    if (!isfinite(*value))
        wrong = "not a finite number";
    else if (parameter->kind == TM_WHOLE && *value != floor(*value))
        wrong = "not a whole number";
    if (wrong == NULL)
        return is_in_range(reader, parameter, node, *value);
    tm_reader_error(reader, node->place, "'%s' is %s, %s", parameter->name,
                    node->text, wrong);
    return false;
}

static bool read_value(struct tm_reader *reader,
                       const struct tm_parameter *parameter,
                       const struct tm_yaml_node *node, double *value)
{
    if (node->kind != TM_YAML_SCALAR)
        tm_reader_error(reader, node->place,
                        "'%s' has a list or mapping where a value belongs",
                        parameter->name);
    else if (tm_yaml_is_null(node))
        tm_reader_error(reader, node->place, "'%s' has no value",
                        parameter->name);
    else if (parameter->kind == TM_CHOICE)
        return read_choice(reader, parameter, node, value);
    else if (parameter->kind != TM_FLAG)
        return read_number(reader, parameter, node, value);
    else if (read_flag(node, value))
        return true;
    else
        tm_reader_error(reader, node->place, "'%s' is '%s', not true or false",
                        parameter->name, node->text);
    return false;
}

bool tm_reader_whole(struct tm_reader *reader, const struct tm_yaml_node *node,
                     const char *what, uint64_t *number)
{
    double value;

    if (node->kind != TM_YAML_SCALAR || !tm_yaml_number(node, &value) ||
        !(value >= 0 && value <= 1e9) || value != floor(value)) {
        tm_reader_error(reader, node->place,
                        "%s is not a whole number from 0 on", what);
        return false;
    }
    *number = (uint64_t)value;
    return true;
}

/* --- entries -------------------------------------------------------------*/

/* A value, or a list of values, a gradient. */
static bool read_values(struct tm_reader *reader,
                        const struct tm_parameter *parameter,
                        const struct tm_yaml_node *node, struct tm_entry *entry)
{
    const bool is_list = node->kind == TM_YAML_LIST;
    const size_t count = is_list ? node->count : 1;
    double *values;
    bool is_good = true;

    if (count == 0) {
        tm_reader_error(reader, node->place, "'%s' is an empty list",
                        parameter->name);
        return false;
    }
    values = tm_reader_alloc(reader, count, sizeof(*values));
    if (values == NULL)
        return false;
    entry->values = values;
    entry->count = count;
    if (!is_list)
        return read_value(reader, parameter, node, values);
    for (const struct tm_yaml_item *item = node->first; item != NULL;
         item = item->next)
        is_good &= read_value(reader, parameter, item->value, values++);
    return is_good;
}

/* {filter?, value} */
static void read_entry(struct tm_reader *reader,
                       const struct tm_parameter *parameter,
                       const struct tm_yaml_node *node, struct tm_entry *entry)
{
    const struct tm_yaml_node *filter = NULL, *value = NULL;
    const struct tm_reader_key keys[] = {{"filter", &filter},
                                         {"value", &value}};

    if (!tm_reader_map(reader, node, "an entry", keys, 2))
        return;
    if (value == NULL)
        tm_reader_error(reader, node->place, "'%s' has no value",
                        parameter->name);
    else
        read_values(reader, parameter, value, entry);
    if (filter == NULL)
        return;
    entry->filter = tm_reader_text(reader, filter, "'filter'");
    if (entry->filter == NULL)
        return;
    /* What fits every name is no filter. */
    if (entry->filter[0] == '\0' || strcmp(entry->filter, "*") == 0)
        entry->filter = NULL;
    else
        entry->filter = tm_reader_copy(reader, entry->filter);
}

/* Room for the entries of a setting; false: reported. */
static bool make_entries(struct tm_reader *reader, struct tm_setting *setting,
                         size_t count)
{
    bool *marks = tm_reader_alloc(reader, count, sizeof(*marks));

    setting->entries = tm_reader_alloc(reader, count, sizeof(struct tm_entry));
    if (marks == NULL || setting->entries == NULL)
        return false;
    setting->count = count;
    for (size_t i = 0; i < count; i++)
        setting->entries[i].was_used = &marks[i];
    return true;
}

/* A list whose members must all be mappings. */
static void read_entries(struct tm_reader *reader,
                         const struct tm_parameter *parameter,
                         const struct tm_yaml_node *list,
                         struct tm_setting *setting)
{
    struct tm_entry *entry;
    bool is_closed = false;

    if (!make_entries(reader, setting, list->count))
        return;
    entry = setting->entries;
    for (const struct tm_yaml_item *item = list->first; item != NULL;
         item = item->next, entry++) {
        if (item->value->kind != TM_YAML_MAP) {
            tm_reader_error(reader, item->value->place,
                            "'%s' has values and entries with 'value' in one "
                            "list",
                            parameter->name);
            return;
        }
        read_entry(reader, parameter, item->value, entry);
        if (is_closed)
            tm_reader_warning(reader, item->value->place,
                              "'%s': an entry before this one fits every "
                              "tensor",
                              parameter->name);
        is_closed |= entry->filter == NULL;
    }
}

static bool has_map(const struct tm_yaml_node *list)
{
    const struct tm_yaml_item *item = list->first;

    while (item != NULL && item->value->kind != TM_YAML_MAP)
        item = item->next;
    return item != NULL;
}

static void read_setting(struct tm_reader *reader,
                         const struct tm_parameter *parameter,
                         const struct tm_yaml_node *node,
                         struct tm_setting *setting)
{
    if (node->kind == TM_YAML_LIST && node->first != NULL &&
        node->first->value->kind == TM_YAML_MAP)
        read_entries(reader, parameter, node, setting);
    else if (!make_entries(reader, setting, 1))
        return;
    else if (node->kind == TM_YAML_MAP)
        read_entry(reader, parameter, node, setting->entries);
    else if (node->kind == TM_YAML_LIST && has_map(node))
        tm_reader_error(reader, node->place,
                        "'%s' has values and entries with 'value' in one list",
                        parameter->name);
    else
        read_values(reader, parameter, node, setting->entries);
}

/* --- levels --------------------------------------------------------------*/

/* Warns of a parameter without effect, once for each name. */
static void ignore(struct tm_reader *reader, const struct tm_yaml_node *key,
                   const char *why)
{
    const size_t before = reader->ignored.count;

    if (tm_names_add(&reader->ignored, key->text) == TM_NAMES_NONE)
        tm_reader_fail(reader, TM_SYSTEM);
    else if (reader->ignored.count > before)
        tm_reader_warning(reader, key->place, "'%s' has no effect %s%s",
                          key->text, why, reader->recipe->method->name);
}

/* A name that is none of the method's parameters. */
static void read_other(struct tm_reader *reader, const struct tm_yaml_node *key)
{
    const struct tm_method *method = reader->recipe->method;
    struct tm_nearest nearest = {.word = key->text};

    for (const char *const *known = tm_known_parameters; *known != NULL;
         known++) {
        if (strcmp(*known, key->text) == 0) {
            ignore(reader, key, "on ");
            return;
        }
    }
    for (size_t i = 0; i < method->num_parameters; i++)
        tm_nearest_try(&nearest, method->parameters[i].name);
    tm_reader_unknown(reader, key, &nearest);
}

static const struct tm_parameter *find_parameter(const struct tm_method *method,
                                                 const char *name)
{
    for (size_t i = 0; i < method->num_parameters; i++)
        if (strcmp(method->parameters[i].name, name) == 0)
            return &method->parameters[i];
    return NULL;
}

void tm_reader_level(struct tm_reader *reader, const struct tm_yaml_node *node,
                     bool is_model, struct tm_level *level)
{
    const struct tm_method *method = reader->recipe->method;

    if (node == NULL || method == NULL)
        return;
    if (node->kind != TM_YAML_MAP) {
        tm_reader_error(reader, node->place, "'parameters' is no mapping");
        return;
    }
    /* More than there is use for, where some have no effect. */
    level->settings =
        tm_reader_alloc(reader, node->count, sizeof(struct tm_setting));
    if (level->settings == NULL)
        return;
    for (const struct tm_yaml_item *item = node->first;
         item != NULL && tm_reader_goes_on(reader); item = item->next) {
        const struct tm_parameter *parameter =
            find_parameter(method, item->key->text);
        struct tm_setting *setting = &level->settings[level->count];

        if (parameter == NULL) {
            read_other(reader, item->key);
        } else if (is_model && !parameter->is_own) {
            ignore(reader, item->key,
                   "below a model: it is not of each input of ");
        } else {
            setting->parameter = (size_t)(parameter - method->parameters);
            setting->place = item->value->place;
            level->count++;
            read_setting(reader, parameter, item->value, setting);
        }
    }
}
