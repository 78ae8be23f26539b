/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_json: JSON texts read member by member and written as they are made.
 *
 * Texts are parsed in buffers of just their size, with nothing behind them
 * that could end a number or a string by chance.
 */
#include "tests/unit/unit.h"

#include <math.h>

#include "io/json.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* --- texts ---------------------------------------------------------------*/

static struct tm_json_text open_bytes(const char *bytes, size_t length)
{
    char *copy = malloc(length > 0 ? length : 1);

    assert_true(copy != NULL);
    memcpy(copy, bytes, length);
    return (struct tm_json_text){
        .path = "text", .text = copy, .length = length};
}

static struct tm_json_text open_text(const char *text)
{
    return open_bytes(text, strlen(text));
}

static void close_text(struct tm_json_text *text)
{
    assert_true(text->position <= text->length);
    free((char *)(uintptr_t)text->text);
}

/* What a walk has seen, as text: "key=value;". */
struct walk {
    char seen[512];
    size_t length;
};

static void note(struct walk *walk, const char *text)
{
    const size_t length = strlen(text);

    assert_true(walk->length + length < sizeof(walk->seen));
    memcpy(walk->seen + walk->length, text, length + 1);
    walk->length += length;
}

/* Notes the member and its value; goes into objects whose key is "in". */
static enum tm_status note_member(void *context, const char *key,
                                  struct tm_json_text *text)
{
    struct walk *walk = context;
    enum tm_status status;
    json_t *value;
    char *dump;

    note(walk, key);
    note(walk, "=");
    if (strcmp(key, "in") == 0) {
        note(walk, "<");
        status = tm_json_members(text, note_member, walk);
        note(walk, ">");
        return status;
    }
    if (strcmp(key, "skip") == 0) {
        note(walk, ";");
        return tm_json_skip(text);
    }
    value = tm_json_value(text);
    if (value == NULL)
        return TM_BAD_DATA;
    dump = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_true(dump != NULL);
    note(walk, dump);
    note(walk, ";");
    free(dump);
    json_decref(value);
    return TM_OK;
}

static enum tm_status walk_bytes(const char *bytes, size_t length,
                                 struct walk *walk)
{
    struct tm_json_text text = open_bytes(bytes, length);
    enum tm_status status;

    *walk = (struct walk){.length = 0};
    status = tm_json_members(&text, note_member, walk);
    if (status == TM_OK)
        status = tm_json_end(&text);
    if (status == TM_OK)
        assert_int_equal(text.position, text.length);
    close_text(&text);
    return status;
}

static enum tm_status walk_text(const char *text, struct walk *walk)
{
    return walk_bytes(text, strlen(text), walk);
}

/* --- reading -------------------------------------------------------------*/

static void test_members(void **state)
{
    static const struct {
        const char *text;
        const char *seen;
    } cases[] = {
        {"{}", ""},
        {" \t\r\n{ \t\r\n} \t\r\n", ""},
        {"{\"a\":1}", "a=1;"},
        {"{\"b\":1,\"a\":2}", "b=1;a=2;"},
        {" { \"a\" : 1 , \"b\" : [ 2 ] } ", "a=1;b=[2];"},
        {"{\"a\":1,\"a\":2,\"\\u0061\":3}", "a=1;a=2;a=3;"},
        {"{\"\":null}", "=null;"},
        {"{\"in\":{}}", "in=<>"},
        {"{\"in\":{\"in\":{\"x\":1}},\"y\":2}", "in=<in=<x=1;>>y=2;"},
        {"{\"skip\":{\"a\":[1,{}]},\"b\":1.5}", "skip=;b=1.5;"},
        {"{\"a\":{\"b\":[],\"c\":{}}}", "a={\"b\":[],\"c\":{}};"},
    };
    struct walk walk;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(walk_text(cases[i].text, &walk), TM_OK);
        assert_string_equal(walk.seen, cases[i].seen);
    }
}

static void test_values(void **state)
{
    static const struct {
        const char *text;
        const char *dump;
        size_t position; /* behind the value */
    } cases[] = {
        {"null", "null", 4},
        {"true,", "true", 4},
        {" false]", "false", 6},
        {"0", "0", 1},
        {"-12 ", "-12", 3},
        {"9223372036854775807}", "9223372036854775807", 19},
        {"1.5,2", "1.5", 3},
        {"2e3\n", "2000.0", 3},
        {"\"\"x", "\"\"", 2},
        {"\"a\\n\\\"\\u00e9\\ud83d\\ude00\"",
         "\"a\\n\\\"\xc3\xa9"
         "\xf0\x9f\x98\x80\"",
         25},
        {"[]]", "[]", 2},
        {"[1, [2]] [3]", "[1,[2]]", 8},
        {"{\"a\":{}} {", "{\"a\":{}}", 8},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tm_json_text text = open_text(cases[i].text);
        json_t *value = tm_json_value(&text);
        char *dump;

        assert_true(value != NULL);
        assert_int_equal(text.position, cases[i].position);
        dump = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        assert_true(dump != NULL);
        assert_string_equal(dump, cases[i].dump);
        free(dump);
        json_decref(value);
        text.position = 0;
        assert_int_equal(tm_json_skip(&text), TM_OK);
        assert_int_equal(text.position, cases[i].position);
        close_text(&text);
    }
}

static void test_bad_values(void **state)
{
    static const char *const cases[] = {
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "+1",
        "-",
        "01",
        "1.",
        ".5",
        "1e",
        "1e400",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999999999999999999999999",
        "\"",
        "\"a",
        "\"a\\\"",
        "\"\\x\"",
        "\"\n\"",
        "\"\\u00\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "'a'",
        "[",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"\\u0061\":1}",
        "[{\"b\":{\"a\":1,\"a\":1}}]",
        "/* */ 1",
        "\xef\xbb\xbf{}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tm_json_text text = open_text(cases[i]);
        enum tm_status status = tm_json_skip(&text);

        /* Some begin with a value: then the rest is what is wrong. */
        if (status == TM_OK)
            status = tm_json_end(&text);
        if (status != TM_BAD_DATA)
            fail_msg("accepted: %s\n", cases[i]);
        close_text(&text);
    }
}

static void test_bad_members(void **state)
{
    static const char *const cases[] = {
        "",           " ",           "[]",           "1",
        "{",          "{\"a\"",      "{\"a\":",      "{\"a\":1",
        "{\"a\":1,",  "{\"a\":1,}",  "{,}",          "{\"a\" 1}",
        "{a:1}",      "{1:1}",       "{null:1}",     "{\"a\":1 \"b\":2}",
        "{}}",        "{} x",        "{}{}",         "{\"a\":1}]",
        "{\"a\":]}",  "{\"in\":[]}", "{\"in\":{}",   "{\"in\":{]}",
        "{\"a\":1;}", "{\"a\"::1}",  "{\"\xff\":1}", "{\"a\\u0000\":1}",
    };
    struct walk walk;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        if (walk_text(cases[i], &walk) != TM_BAD_DATA)
            fail_msg("accepted: %s\n", cases[i]);
}

static const char document[] =
    " {\"a\" : [1, -2.5e3, true, null],\n"
    "  \"in\": {\"\\u00e9\": \"x\\\\\\\"y\", \"in\": {}},\n"
    "  \"skip\": {\"z\": [[], {}, \"\xf0\x9f\x98\x80\"]}, \"\": 12}";

#define DOCUMENT_LENGTH (sizeof(document) - 1)

static void test_cut_anywhere(void **state)
{
    struct walk walk;

    (void)state;
    assert_int_equal(walk_text(document, &walk), TM_OK);
    assert_string_equal(walk.seen, "a=[1,-2500.0,true,null];"
                                   "in=<\xc3\xa9=\"x\\\\\\\"y\";in=<>>"
                                   "skip=;=12;");
    for (size_t length = 0; length < DOCUMENT_LENGTH; length++)
        assert_int_equal(walk_bytes(document, length, &walk), TM_BAD_DATA);
}

/* Every byte replaced by every other: accepted or refused, and no harm. */
static void test_changed_anywhere(void **state)
{
    char changed[sizeof(document)];
    size_t refused = 0;
    struct walk walk;

    (void)state;
    memcpy(changed, document, sizeof(document));
    for (size_t i = 0; i < DOCUMENT_LENGTH; i++) {
        for (int byte = 0; byte < 256; byte++) {
            enum tm_status status;

            changed[i] = (char)byte;
            status = walk_bytes(changed, DOCUMENT_LENGTH, &walk);
            assert_true(status == TM_OK || status == TM_BAD_DATA);
            refused += status != TM_OK;
        }
        changed[i] = document[i];
    }
    assert_true(refused > DOCUMENT_LENGTH * 256 / 2);
}

/* `count` times `open`, then as often `close`. */
static struct tm_json_text nested(size_t count, char open, char close)
{
    struct tm_json_text text;
    char *bytes = malloc(2 * count);

    assert_true(bytes != NULL);
    memset(bytes, open, count);
    memset(bytes + count, close, count);
    text = open_bytes(bytes, 2 * count);
    free(bytes);
    return text;
}

/* Nesting is bounded: it cannot use up the stack. */
static void test_depth(void **state)
{
    static const struct {
        size_t depth;
        enum tm_status status;
    } cases[] = {
        {1, TM_OK},
        {1000, TM_OK},
        {10000, TM_BAD_DATA},
        {1000000, TM_BAD_DATA},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tm_json_text text = nested(cases[i].depth, '[', ']');

        assert_int_equal(tm_json_skip(&text), cases[i].status);
        close_text(&text);
    }
}

static enum tm_status refuse_second(void *context, const char *key,
                                    struct tm_json_text *text)
{
    unsigned *calls = context;

    (void)key;
    if (++*calls == 2)
        return TM_USAGE;
    return tm_json_skip(text);
}

/* What the member function returns comes back, and ends the walk. */
static void test_refused_by_caller(void **state)
{
    struct tm_json_text text = open_text("{\"a\":1,\"b\":2,\"c\":3}");
    unsigned calls = 0;

    (void)state;
    assert_int_equal(tm_json_members(&text, refuse_second, &calls), TM_USAGE);
    assert_int_equal(calls, 2);
    close_text(&text);
}

/* The caller may begin in the middle, and go on behind what it has read. */
static void test_positions(void **state)
{
    struct tm_json_text text = open_text("[1][2] {\"a\":3}  4 ");
    struct walk walk = {.length = 0};

    (void)state;
    text.position = 3;
    assert_int_equal(tm_json_skip(&text), TM_OK);
    assert_int_equal(text.position, 6);
    assert_int_equal(tm_json_end(&text), TM_BAD_DATA);
    assert_int_equal(tm_json_members(&text, note_member, &walk), TM_OK);
    assert_string_equal(walk.seen, "a=3;");
    assert_int_equal(text.position, 14);
    assert_int_equal(tm_json_skip(&text), TM_OK);
    assert_int_equal(tm_json_end(&text), TM_OK);
    close_text(&text);
}

/* --- writing -------------------------------------------------------------*/

#define PAPER 40000

/* A sink that takes `room` bytes and then no more. */
struct paper {
    char text[PAPER];
    size_t length;
    size_t room;
    unsigned refusals;
};

static bool write_down(void *context, const char *text, size_t length)
{
    struct paper *paper = context;

    assert_true(paper->room < sizeof(paper->text));
    if (paper->length + length > paper->room) {
        paper->refusals++;
        return false;
    }
    memcpy(paper->text + paper->length, text, length);
    paper->length += length;
    paper->text[paper->length] = '\0';
    return true;
}

static struct tm_json_writer begin_writing(struct paper *paper, size_t room,
                                           bool compact)
{
    *paper = (struct paper){.room = room};
    return (struct tm_json_writer){
        .sink = write_down, .context = paper, .compact = compact};
}

static void write_document(struct tm_json_writer *w)
{
    tm_json_begin(w, NULL, '{');
    tm_json_string(w, "text", "a\"\\\n\x01\xc3\xa9");
    tm_json_string(w, "none", NULL);
    tm_json_integer(w, "largest", UINT64_MAX);
    tm_json_boolean(w, "yes", true);
    tm_json_boolean(w, "no", false);
    tm_json_real(w, "real", -0.4);
    tm_json_raw(w, "raw", "{\"x\":[]}");
    tm_json_begin(w, "empty", '[');
    tm_json_finish(w, ']');
    tm_json_begin(w, "nested", '{');
    tm_json_begin(w, "list", '[');
    tm_json_integer(w, NULL, 0);
    tm_json_string(w, NULL, "");
    tm_json_begin(w, NULL, '{');
    tm_json_finish(w, '}');
    tm_json_finish(w, ']');
    tm_json_finish(w, '}');
    tm_json_string(w, "k\"\n", "last");
    tm_json_finish(w, '}');
}

static const char compact[] =
    "{\"text\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\",\"none\":null,"
    "\"largest\":18446744073709551615,\"yes\":true,\"no\":false,"
    "\"real\":-0.40000000000000002,\"raw\":{\"x\":[]},\"empty\":[],"
    "\"nested\":{\"list\":[0,\"\",{}]},\"k\\\"\\n\":\"last\"}";

static const char indented[] = "{\n"
                               "  \"text\": \"a\\\"\\\\\\n\\u0001\xc3\xa9\",\n"
                               "  \"none\": null,\n"
                               "  \"largest\": 18446744073709551615,\n"
                               "  \"yes\": true,\n"
                               "  \"no\": false,\n"
                               "  \"real\": -0.40000000000000002,\n"
                               "  \"raw\": {\"x\":[]},\n"
                               "  \"empty\": [],\n"
                               "  \"nested\": {\n"
                               "    \"list\": [\n"
                               "      0,\n"
                               "      \"\",\n"
                               "      {}\n"
                               "    ]\n"
                               "  },\n"
                               "  \"k\\\"\\n\": \"last\"\n"
                               "}\n";

static void test_writing(void **state)
{
    struct paper paper;
    struct tm_json_writer writer = begin_writing(&paper, 1000, true);

    (void)state;
    write_document(&writer);
    assert_false(writer.failed);
    assert_string_equal(paper.text, compact);

    writer = begin_writing(&paper, 1000, false);
    write_document(&writer);
    assert_false(writer.failed);
    assert_string_equal(paper.text, indented);
}

static void test_writing_one_value(void **state)
{
    struct paper paper;
    struct tm_json_writer writer = begin_writing(&paper, 1000, false);

    (void)state;
    tm_json_begin(&writer, NULL, '{');
    tm_json_finish(&writer, '}');
    assert_string_equal(paper.text, "{}\n");
}

/* More than any buffer inside, in pieces small and large. */
static void write_much(struct tm_json_writer *w)
{
    static char large[9000];

    memset(large, '7', sizeof(large) - 1);
    tm_json_begin(w, NULL, '[');
    for (unsigned i = 0; i < 3000; i++)
        tm_json_integer(w, NULL, i);
    tm_json_raw(w, NULL, large);
    tm_json_string(w, NULL, large);
    tm_json_finish(w, ']');
}

static void test_writing_much(void **state)
{
    struct paper *paper = malloc(sizeof(*paper));
    struct tm_json_writer writer;
    char *whole = malloc(PAPER), *end = whole;
    size_t length;

    (void)state;
    assert_true(paper != NULL && whole != NULL);
    *end++ = '[';
    for (unsigned i = 0; i < 3000; i++)
        end += snprintf(end, 8, "%u,", i);
    memset(end, '7', 8999);
    memcpy(end + 8999, ",\"", 2);
    memset(end + 9001, '7', 8999);
    memcpy(end + 18000, "\"]", 3);
    length = strlen(whole);

    writer = begin_writing(paper, PAPER - 1, true);
    write_much(&writer);
    assert_false(writer.failed);
    assert_string_equal(paper->text, whole);
    for (size_t room = 0; room < length; room += 997) {
        writer = begin_writing(paper, room, true);
        write_much(&writer);
        assert_true(writer.failed);
        assert_int_equal(paper->refusals, 1);
        assert_memory_equal(paper->text, whole, paper->length);
    }
    free(whole);
    free(paper);
}

/* What was written reads back as what was meant. */
static void test_written_is_read(void **state)
{
    struct paper paper;
    struct tm_json_writer writer;

    (void)state;
    for (int dense = 0; dense < 2; dense++) {
        json_t *value;

        writer = begin_writing(&paper, 1000, dense != 0);
        tm_json_begin(&writer, NULL, '{');
        tm_json_string(&writer, "text", "a\"\\\n\x01\xc3\xa9");
        tm_json_string(&writer, "k\"\n", "last");
        tm_json_integer(&writer, "largest", INT64_MAX);
        tm_json_real(&writer, "real", -0.4);
        tm_json_finish(&writer, '}');
        value = json_loads(paper.text, JSON_REJECT_DUPLICATES, NULL);
        assert_true(value != NULL);
        assert_int_equal(json_object_size(value), 4);
        assert_string_equal(json_string_value(json_object_get(value, "text")),
                            "a\"\\\n\x01\xc3\xa9");
        assert_string_equal(json_string_value(json_object_get(value, "k\"\n")),
                            "last");
        assert_int_equal(json_integer_value(json_object_get(value, "largest")),
                         INT64_MAX);
        assert_true(json_real_value(json_object_get(value, "real")) == -0.4);
        json_decref(value);
    }
}

/* A sink that is full is not called again, and the writer says so. */
static void test_full_sink(void **state)
{
    const size_t whole = sizeof(compact) - 1;

    (void)state;
    for (size_t room = 0; room <= whole; room++) {
        struct paper paper;
        struct tm_json_writer writer = begin_writing(&paper, room, true);

        write_document(&writer);
        assert_true(writer.failed == (room < whole));
        assert_int_equal(paper.refusals, room < whole ? 1 : 0);
        assert_memory_equal(paper.text, compact, paper.length);
    }
}

static void test_what_json_lacks(void **state)
{
    static const char *const strings[] = {"\xff", "a\xc3", "\xed\xa0\x80"};
    static const double reals[] = {HUGE_VAL, -HUGE_VAL};
    struct paper paper;

    (void)state;
    for (size_t i = 0; i < COUNT(strings); i++) {
        struct tm_json_writer writer = begin_writing(&paper, 1000, true);

        tm_json_string(&writer, NULL, strings[i]);
        assert_true(writer.failed);
        writer = begin_writing(&paper, 1000, true);
        tm_json_integer(&writer, strings[i], 1);
        assert_true(writer.failed);
    }
    for (size_t i = 0; i < COUNT(reals); i++) {
        struct tm_json_writer writer = begin_writing(&paper, 1000, true);

        tm_json_real(&writer, NULL, reals[i]);
        assert_true(writer.failed);
    }
}

static void test_writing_to_a_file(void **state)
{
    FILE *file = tmpfile();
    struct tm_json_writer writer = {
        .sink = tm_json_to_file, .context = file, .compact = true};
    char text[sizeof(compact)] = "";

    (void)state;
    assert_true(file != NULL);
    write_document(&writer);
    assert_false(writer.failed);
    rewind(file);
    assert_int_equal(fread(text, 1, sizeof(text), file), sizeof(compact) - 1);
    assert_string_equal(text, compact);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_bad_members),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_changed_anywhere),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_refused_by_caller),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_writing_one_value),
        cmocka_unit_test(test_writing_much),
        cmocka_unit_test(test_written_is_read),
        cmocka_unit_test(test_full_sink),
        cmocka_unit_test(test_what_json_lacks),
        cmocka_unit_test(test_writing_to_a_file),
    };

    tm_message_silence();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
