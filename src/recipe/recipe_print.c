/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe_print: a recipe as YAML; see recipe_file.h. What is printed reads
 * back as the same recipe, and means the same to mergekit.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "src/recipe/recipe_file.h"
#include "src/recipe/yaml.h"

/* A document in the making; after a failure the rest does nothing. */
struct printer {
    yaml_emitter_t emitter;
    const struct tm_recipe *recipe;
    bool failed;
    bool is_odd; /* it failed since a text is not UTF-8 */
};

/* --- events --------------------------------------------------------------*/

/* `made`: whether the event could be made. */
static void emit(struct printer *printer, yaml_event_t *event, int made)
{
    if (!made || printer->failed) {
        if (made)
            yaml_event_delete(event);
        printer->failed = true;
    } else if (!yaml_emitter_emit(&printer->emitter, event)) {
        printer->failed = true;
    }
}

static void put_scalar(struct printer *printer, const char *text,
                       yaml_scalar_style_t style)
{
    const size_t length = strlen(text);
    yaml_event_t event;

    printer->is_odd |= !tm_utf8_is_valid(text, length);
    emit(printer, &event,
         yaml_scalar_event_initialize(&event, NULL, NULL,
                                      (const yaml_char_t *)text, (int)length, 1,
                                      1, style));
}

/* Printable characters only: other styles than one have rules for the rest. */
static bool is_ascii(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

/* Text that must not be taken for anything else. */
static void put_text(struct printer *printer, const char *text)
{
    const struct tm_yaml_node node = {
        .kind = TM_YAML_SCALAR, .text = text, .is_plain = true};
    double number;
    const bool is_safe = tm_yaml_type(&node, &number) == TM_YAML_TEXT &&
                         !tm_yaml_number(&node, &number);

    if (!is_ascii(text) || strlen(text) > 60)
        put_scalar(printer, text, YAML_DOUBLE_QUOTED_SCALAR_STYLE);
    else
        put_scalar(printer, text,
                   is_safe ? YAML_ANY_SCALAR_STYLE
                           : YAML_SINGLE_QUOTED_SCALAR_STYLE);
}

static void begin_map(struct printer *printer)
{
    yaml_event_t event;

    emit(printer, &event,
         yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                             YAML_BLOCK_MAPPING_STYLE));
}

static void end_map(struct printer *printer)
{
    yaml_event_t event;

    emit(printer, &event, yaml_mapping_end_event_initialize(&event));
}

/* `is_flow`: in brackets, on one line. */
static void begin_list(struct printer *printer, bool is_flow)
{
    yaml_event_t event;

    emit(printer, &event,
         yaml_sequence_start_event_initialize(
             &event, NULL, NULL, 1,
             is_flow ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE));
}

static void end_list(struct printer *printer)
{
    yaml_event_t event;

    emit(printer, &event, yaml_sequence_end_event_initialize(&event));
}

static void put_pair(struct printer *printer, const char *key,
                     const char *value)
{
    put_text(printer, key);
    put_text(printer, value);
}

/* --- numbers -------------------------------------------------------------*/

/*
 * The shortest text that gives the same number, and that YAML 1.1 takes for
 * one: with a point before an exponent.
 */
static void put_number(struct printer *printer, double number)
{
    char text[40], *exponent;

    for (int digits = 6; digits <= 17; digits += digits == 6 ? 9 : 1) {
        snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    exponent = strchr(text, 'e');
    if (exponent != NULL && strchr(text, '.') == NULL) {
        memmove(exponent + 2, exponent, strlen(exponent) + 1);
        memcpy(exponent, ".0", 2);
    }
    put_scalar(printer, text, YAML_PLAIN_SCALAR_STYLE);
}

static void put_value(struct printer *printer,
                      const struct tm_parameter *parameter, double value)
{
    if (parameter->kind == TM_FLAG)
        put_scalar(printer, value != 0 ? "true" : "false",
                   YAML_PLAIN_SCALAR_STYLE);
    else if (parameter->kind == TM_CHOICE)
        put_text(printer, parameter->choices[(size_t)value]);
    else
        put_number(printer, value);
}

/* --- parameters ----------------------------------------------------------*/

static void put_values(struct printer *printer,
                       const struct tm_parameter *parameter,
                       const struct tm_entry *entry)
{
    if (entry->count == 1) {
        put_value(printer, parameter, entry->values[0]);
        return;
    }
    begin_list(printer, true);
    for (size_t i = 0; i < entry->count; i++)
        put_value(printer, parameter, entry->values[i]);
    end_list(printer);
}

static void put_entry(struct printer *printer,
                      const struct tm_parameter *parameter,
                      const struct tm_entry *entry)
{
    begin_map(printer);
    if (entry->filter != NULL)
        put_pair(printer, "filter", entry->filter);
    put_text(printer, "value");
    put_values(printer, parameter, entry);
    end_map(printer);
}

static void put_setting(struct printer *printer,
                        const struct tm_setting *setting)
{
    const struct tm_parameter *parameter =
        &printer->recipe->method->parameters[setting->parameter];

    put_text(printer, parameter->name);
    if (setting->count == 1 && setting->entries[0].filter == NULL) {
        put_values(printer, parameter, setting->entries);
        return;
    }
    begin_list(printer, false);
    for (size_t i = 0; i < setting->count; i++)
        put_entry(printer, parameter, &setting->entries[i]);
    end_list(printer);
}

static void put_level(struct printer *printer, const struct tm_level *level)
{
    if (level->count == 0)
        return;
    put_text(printer, "parameters");
    begin_map(printer);
    for (size_t i = 0; i < level->count; i++)
        put_setting(printer, &level->settings[i]);
    end_map(printer);
}

/* --- models --------------------------------------------------------------*/

/* A path with '@' or '+' is not to be taken apart when it is read. */
static void put_model(struct printer *printer, const char *name,
                      const char *path)
{
    const bool is_path = name == NULL || strcmp(name, path) == 0;

    if (!is_path || strpbrk(path, "@+") == NULL) {
        put_text(printer, name != NULL ? name : path);
        return;
    }
    begin_map(printer);
    put_text(printer, "model");
    begin_map(printer);
    put_pair(printer, "path", path);
    end_map(printer);
    end_map(printer);
}

static void put_column(struct printer *printer, const char *key,
                       uint32_t column)
{
    const struct tm_recipe *recipe = printer->recipe;

    put_text(printer, key);
    if (column == 0)
        put_model(printer, recipe->base_name, recipe->base);
    else
        put_model(printer, recipe->vectors[column - 1].name,
                  recipe->vectors[column - 1].path);
}

static void put_source(struct printer *printer,
                       const struct tm_part_source *source)
{
    begin_map(printer);
    put_column(printer, "model", source->model);
    if (source->has_range) {
        put_text(printer, "layer_range");
        begin_list(printer, true);
        put_number(printer, (double)source->begin);
        put_number(printer, (double)source->end);
        end_list(printer);
    }
    put_level(printer, &source->level);
    end_map(printer);
}

static void put_sources(struct printer *printer, const char *key,
                        const struct tm_slice *slice)
{
    put_text(printer, key);
    begin_list(printer, false);
    for (size_t i = 0; i < slice->num_sources; i++)
        put_source(printer, &slice->sources[i]);
    end_list(printer);
}

static void put_slice(struct printer *printer, const struct tm_slice *slice)
{
    begin_map(printer);
    if (slice->base != TM_NO_MODEL)
        put_column(printer, "base_model", slice->base);
    put_sources(printer, "sources", slice);
    put_level(printer, &slice->level);
    end_map(printer);
}

/* The one slice of `models` has nothing of its own. */
static void put_slices(struct printer *printer, const struct tm_module *module)
{
    if (!module->is_sliced) {
        put_sources(printer, "models", module->slices);
        return;
    }
    put_text(printer, "slices");
    begin_list(printer, false);
    for (size_t i = 0; i < module->num_slices; i++)
        put_slice(printer, &module->slices[i]);
    end_list(printer);
}

static void put_modules(struct printer *printer)
{
    const struct tm_recipe *recipe = printer->recipe;

    if (recipe->modules[0].name == NULL) {
        put_slices(printer, &recipe->modules[0]);
        return;
    }
    put_text(printer, "modules");
    begin_map(printer);
    for (size_t i = 0; i < recipe->num_modules; i++) {
        put_text(printer, recipe->modules[i].name);
        begin_map(printer);
        put_slices(printer, &recipe->modules[i]);
        put_level(printer, &recipe->modules[i].level);
        end_map(printer);
    }
    end_map(printer);
}

/* --- the recipe ----------------------------------------------------------*/

/*
 * mergekit computes in `dtype`, this program always as exactly as it can: so
 * for 16 bits it is told to compute in more.
 */
static void put_dtype(struct printer *printer)
{
    static const char *const names[] = {
        [TM_BF16] = "bfloat16",
        [TM_F16] = "float16",
        [TM_F32] = "float32",
        [TM_F64] = "float64",
    };
    const struct tm_recipe *recipe = printer->recipe;
    const char *name;

    if (!recipe->has_dtype || recipe->dtype < TM_BF16 || recipe->dtype > TM_F64)
        return;
    name = names[recipe->dtype];
    put_pair(printer, "dtype",
             tm_dtype_bits(recipe->dtype) == 16 ? "float32" : name);
    if (tm_dtype_bits(recipe->dtype) == 16)
        put_pair(printer, "out_dtype", name);
}

static void put_recipe(struct printer *printer)
{
    const struct tm_recipe *recipe = printer->recipe;

    begin_map(printer);
    if (recipe->name != NULL)
        put_pair(printer, "name", recipe->name);
    put_pair(printer, "merge_method", recipe->method->name);
    if (recipe->has_base)
        put_column(printer, "base_model", 0);
    put_modules(printer);
    put_level(printer, &recipe->level);
    put_dtype(printer);
    if (recipe->tokenizer != NULL) {
        put_text(printer, "tokenizer_source");
        put_model(printer, NULL, recipe->tokenizer);
    }
    if (recipe->chat_template != NULL) {
        put_text(printer, "chat_template");
        put_scalar(printer, recipe->chat_template,
                   YAML_DOUBLE_QUOTED_SCALAR_STYLE);
    }
    end_map(printer);
}

/* A sink for the emitter: the text is the context. */
static int take_bytes(void *context, unsigned char *bytes, size_t length)
{
    return tm_text_append(context, (const char *)bytes, length);
}

static void put_stream(struct printer *printer)
{
    yaml_event_t event;

    emit(printer, &event,
         yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    emit(printer, &event,
         yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1));
    put_recipe(printer);
    emit(printer, &event, yaml_document_end_event_initialize(&event, 1));
    emit(printer, &event, yaml_stream_end_event_initialize(&event));
}

enum tm_status tm_recipe_write(const struct tm_recipe *recipe,
                               struct tm_text *text)
{
    struct printer printer = {.recipe = recipe};

    if (!yaml_emitter_initialize(&printer.emitter))
        return tm_no_memory();
    yaml_emitter_set_output(&printer.emitter, take_bytes, text);
    yaml_emitter_set_unicode(&printer.emitter, 1);
    yaml_emitter_set_width(&printer.emitter, -1);
    put_stream(&printer);
    yaml_emitter_delete(&printer.emitter);
    /* Paths given on the command line may be anything. */
    if (printer.is_odd)
        return tm_error(TM_USAGE, "the recipe cannot be written as YAML: a "
                                  "name in it is not UTF-8");
    if (printer.failed)
        return tm_no_memory();
    return TM_OK;
}

enum tm_status tm_recipe_print(const struct tm_recipe *recipe)
{
    struct tm_text text = {0};
    enum tm_status status = tm_recipe_write(recipe, &text);

    if (status == TM_OK &&
        (fwrite(text.bytes, 1, text.length, stdout) != text.length ||
         fflush(stdout) != 0))
        status = tm_error(TM_IO_ERROR, "standard output: cannot be written");
    free(text.bytes);
    return status;
}
