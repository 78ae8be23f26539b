/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_layers: the numbers of layers in names, the stacks that they make, and
 * numbers changed in configurations, which otherwise stay as they are.
 */
#include "io/json.h"
#include "io/message.h"
#include "src/config_file.h"
#include "src/layers.h"
#include "tests/unit/unit.h"

/* --- names ---------------------------------------------------------------*/

static void layer_is(const char *name, uint64_t number, const char *renamed)
{
    struct tm_arena arena = {0};
    struct tm_layer layer;

    assert_true(tm_layer_find(name, &layer));
    assert_int_equal(layer.number, number);
    assert_string_equal(tm_layer_rename(&arena, name, &layer, 1234567),
                        renamed);
    tm_arena_free(&arena);
}

static void finds_the_first_number_between_dots(void **state)
{
    (void)state;
    layer_is("model.layers.3.mlp.up_proj.weight", 3,
             "model.layers.1234567.mlp.up_proj.weight");
    layer_is("model.layers.12.mlp.experts.5.w1.weight", 12,
             "model.layers.1234567.mlp.experts.5.w1.weight");
    layer_is("h.0.attn.c_attn.weight", 0, "h.1234567.attn.c_attn.weight");
    layer_is("7.weight", 7, "1234567.weight");
    layer_is("blocks.0012.w", 12, "blocks.1234567.w");
    layer_is("a.999999999.b", 999999999, "a.1234567.b");
    layer_is("a.1x.2.b", 2, "a.1x.1234567.b");
    layer_is(".4.", 4, ".1234567.");
}

static void finds_none_where_there_is_none(void **state)
{
    static const char *const names[] = {
        "",
        "5",
        "model.norm.weight",
        "lm_head.weight",
        "a.b5.c",
        "a.5",
        "a.5b.c",
        "a..b",
        "a.-5.b",
        "a. 5.b",
        "a.1234567890.b",
        "layers.0",
        "a.99999999999999999999999999.b",
    };
    struct tm_layer layer;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (tm_layer_find(names[i], &layer))
            fail_msg("'%s' has no layer", names[i]);
}

static void prints_only_where_there_is_room(void **state)
{
    const char name[] = "layers.9.w";
    char buffer[sizeof(name) + TM_LAYER_ROOM];
    struct tm_layer layer;

    (void)state;
    assert_true(tm_layer_find(name, &layer));
    assert_true(
        tm_layer_print(buffer, sizeof(buffer), name, &layer, UINT64_MAX));
    assert_string_equal(buffer, "layers.18446744073709551615.w");
    assert_true(tm_layer_print(buffer, 12, name, &layer, 10));
    assert_string_equal(buffer, "layers.10.w");
    assert_false(tm_layer_print(buffer, 11, name, &layer, 10));
}

/* --- stacks --------------------------------------------------------------*/

/* A checkpoint of tensors without elements, with these names. */
static void make_checkpoint(const char *const *names, size_t count,
                            struct tm_checkpoint *checkpoint)
{
    char text[8192] = "{";

    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(text);

        snprintf(text + length, sizeof(text) - length,
                 "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[0],"
                 "\"data_offsets\":[0,0]}",
                 i > 0 ? "," : "", names[i]);
    }
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "}");
    assert_int_equal(
        tm_checkpoint_from_header(text, strlen(text), 0, checkpoint), TM_OK);
}

static void finds_all_stacks(void **state)
{
    static const char *const names[] = {
        "embed",
        "text.layers.0.a",
        "text.layers.2.a",
        "vision.0.a",
        "text.layers.1.b",
        "vision.5.a",
        "3.a",
        "norm",
    };
    struct tm_checkpoint checkpoint = {0};
    struct tm_stacks stacks;
    struct tm_layer layer;
    uint64_t depths[3] = {0};

    (void)state;
    make_checkpoint(names, 8, &checkpoint);
    assert_int_equal(tm_stacks_find(&checkpoint, &stacks), TM_OK);
    assert_int_equal(stacks.count, 3);
    for (size_t t = 0; t < checkpoint.num_tensors; t++) {
        const char *name = checkpoint.tensors[t].name;
        const bool has_one = tm_layer_find(name, &layer);

        assert_int_equal(has_one, stacks.of[t] != TM_NO_STACK);
        if (!has_one)
            continue;
        assert_true(tm_stack_has(&stacks.stacks[stacks.of[t]], name, &layer));
        depths[name[0] == 't'   ? 0
               : name[0] == 'v' ? 1
                                : 2] = stacks.stacks[stacks.of[t]].depth;
    }
    assert_int_equal(depths[0], 3);
    assert_int_equal(depths[1], 6);
    assert_int_equal(depths[2], 4);
    for (size_t i = 0; i < stacks.count; i++)
        assert_int_equal(tm_stack_depth(&stacks.stacks[i], &checkpoint),
                         stacks.stacks[i].depth);
    tm_stacks_free(&stacks);
    tm_checkpoint_close(&checkpoint);
}

static void the_depth_in_another_model(void **state)
{
    static const char *const here[] = {"layers.0.a", "layers.1.a"};
    static const char *const there[] = {"layers.0.a", "layers.6.a", "x.9.a"};
    static const char *const none[] = {"h.0.a", "layer.3.a"};
    struct tm_checkpoint own = {0}, other = {0}, third = {0};
    struct tm_stacks stacks;

    (void)state;
    make_checkpoint(here, 2, &own);
    make_checkpoint(there, 3, &other);
    make_checkpoint(none, 2, &third);
    assert_int_equal(tm_stacks_find(&own, &stacks), TM_OK);
    assert_int_equal(tm_stack_depth(&stacks.stacks[0], &other), 7);
    assert_int_equal(tm_stack_depth(&stacks.stacks[0], &third), 0);
    tm_stacks_free(&stacks);
    tm_checkpoint_close(&own);
    tm_checkpoint_close(&other);
    tm_checkpoint_close(&third);
}

/* --- configurations ------------------------------------------------------*/

static void open_config(const char *text, struct tm_config *config)
{
    assert_int_equal(tm_config_of("config.json", text, strlen(text), config),
                     TM_OK);
}

static void becomes(const char *text, const char *wanted)
{
    struct tm_config config;

    open_config(text, &config);
    assert_int_equal(tm_config_set_layers(&config, 48), TM_OK);
    assert_int_equal(config.length, strlen(wanted));
    assert_memory_equal(config.text, wanted, strlen(wanted));
    tm_config_free(&config);
}

static void changes_the_number_and_nothing_else(void **state)
{
    (void)state;
    becomes("{\"num_hidden_layers\": 4}", "{\"num_hidden_layers\": 48}");
    becomes("{\n  \"a\" : [1, {\"num_hidden_layers\": 3}],\r\n"
            "\t\"n_layer\":  128 ,\"b\": 1e-05}\n",
            "{\n  \"a\" : [1, {\"num_hidden_layers\": 3}],\r\n"
            "\t\"n_layer\":  48 ,\"b\": 1e-05}\n");
    becomes("{\"text_config\": {\"num_hidden_layers\": 26, \"x\": {}}, "
            "\"vision_config\": {\"num_hidden_layers\": 27}}",
            "{\"text_config\": {\"num_hidden_layers\": 48, \"x\": {}}, "
            "\"vision_config\": {\"num_hidden_layers\": 27}}");
    becomes("{\"num_layers\":1,\"text_config\":{\"num_hidden_layers\":1}}",
            "{\"num_layers\":48,\"text_config\":{\"num_hidden_layers\":48}}");
    becomes("{\"s\": \"\\\"num_hidden_layers\\\": 9, }{][\", "
            "\"\\\\\": \"\\\\\", \"num_hidden_layers\": 4 }",
            "{\"s\": \"\\\"num_hidden_layers\\\": 9, }{][\", "
            "\"\\\\\": \"\\\\\", \"num_hidden_layers\": 48 }");
    becomes("{\"num_layers\": null, \"n_layer\": 0}",
            "{\"num_layers\": null, \"n_layer\": 48}");
}

static void refuses_what_names_no_number(void **state)
{
    static const char *const texts[] = {
        "{}",
        "{\"num_hidden_layers\": \"4\"}",
        "{\"num_hidden_layers\": 4.5}",
        "{\"num_hidden_layers\": -4}",
        "{\"num_hidden_layers\": 1234567890}",
        "{\"x\": {\"num_hidden_layers\": 4}}",
        "{\"text_config\": [{\"num_hidden_layers\": 4}]}",
        "{\"text_config\": 5}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct tm_config config;
        uint64_t layers;

        open_config(texts[i], &config);
        assert_false(tm_config_layers(&config, &layers));
        assert_int_equal(tm_config_set_layers(&config, 48), TM_BAD_DATA);
        assert_int_equal(config.length, strlen(texts[i]));
        tm_config_free(&config);
    }
}

static void refuses_what_is_no_object(void **state)
{
    static const char *const texts[] = {
        "", "[]", "4", "{", "{\"a\": 1,}", "{\"a\": 1} 2", "{\"a\":1,\"a\":2}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct tm_config config;

        assert_int_equal(
            tm_config_of("config.json", texts[i], strlen(texts[i]), &config),
            TM_BAD_DATA);
        tm_config_free(&config);
    }
}

static void value_is(const char *text, const char *section, const char *key,
                     const char *wanted)
{
    struct tm_config_place place;
    struct tm_config config;

    open_config(text, &config);
    assert_int_equal(tm_config_find(&config, section, key, &place),
                     wanted != NULL);
    if (wanted != NULL) {
        assert_int_equal(place.length, strlen(wanted));
        assert_memory_equal(config.text + place.begin, wanted, place.length);
    }
    tm_config_free(&config);
}

static void finds_values_of_every_kind(void **state)
{
    static const char text[] =
        " { \"a\" : \"x, } \\\" y\" , \"b\":[1,[2,{\"c\":3}]]\n,"
        "\"c\":{\"a\":true,\"e\":{}} , \"d\" : -1.5e3 } ";

    (void)state;
    value_is(text, NULL, "a", "\"x, } \\\" y\"");
    value_is(text, NULL, "b", "[1,[2,{\"c\":3}]]");
    value_is(text, NULL, "c", "{\"a\":true,\"e\":{}}");
    value_is(text, NULL, "d", "-1.5e3");
    value_is(text, "c", "a", "true");
    value_is(text, "c", "e", "{}");
    value_is(text, "c", "d", NULL);
    value_is(text, "b", "c", NULL);
    value_is(text, "a", "x", NULL);
    value_is(text, NULL, "e", NULL);
    value_is(text, NULL, "", NULL);
    value_is("{}", NULL, "a", NULL);
    value_is("{\"\": 1}", NULL, "", "1");
}

static void puts_longer_and_shorter_values(void **state)
{
    struct tm_config_place place;
    struct tm_config config;

    (void)state;
    open_config("{\"a\": \"old\", \"b\": 2}", &config);
    assert_true(tm_config_find(&config, NULL, "a", &place));
    assert_int_equal(tm_config_put(&config, &place, "\"much \\\" longer\""),
                     TM_OK);
    assert_true(tm_config_find(&config, NULL, "b", &place));
    assert_int_equal(tm_config_put(&config, &place, "{}"), TM_OK);
    assert_true(tm_config_find(&config, NULL, "a", &place));
    assert_int_equal(tm_config_put(&config, &place, "0"), TM_OK);
    assert_int_equal(config.length, 17);
    assert_memory_equal(config.text, "{\"a\": 0, \"b\": {}}", 17);
    tm_config_free(&config);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_first_number_between_dots),
        cmocka_unit_test(finds_none_where_there_is_none),
        cmocka_unit_test(prints_only_where_there_is_room),
        cmocka_unit_test(finds_all_stacks),
        cmocka_unit_test(the_depth_in_another_model),
        cmocka_unit_test(changes_the_number_and_nothing_else),
        cmocka_unit_test(refuses_what_names_no_number),
        cmocka_unit_test(refuses_what_is_no_object),
        cmocka_unit_test(finds_values_of_every_kind),
        cmocka_unit_test(puts_longer_and_shorter_values),
    };

    tm_message_silence();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
