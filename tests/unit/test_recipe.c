/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_recipe: recipes from files: what they are read as, what their values
 * are for a tensor, what is refused and with which words.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tests/unit/unit.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/recipe/evaluate.h"
#include "src/recipe/recipe_file.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- reading a text ------------------------------------------------------*/

struct reading {
    struct tm_recipe recipe;
    enum tm_status status;
    char said[8192]; /* on standard error */
};

static FILE *messages;
static int real_stderr;

static void begin_listening(void)
{
    messages = tmpfile();
    real_stderr = dup(STDERR_FILENO);
    assert_true(messages != NULL && real_stderr >= 0);
    assert_true(dup2(fileno(messages), STDERR_FILENO) >= 0);
}

static void end_listening(char *said, size_t size)
{
    size_t length;

    assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
    close(real_stderr);
    rewind(messages);
    length = fread(said, 1, size - 1, messages);
    said[length] = '\0';
    fclose(messages);
}

/* `how` may be NULL; its path need not be set. */
static void parse_bytes(struct reading *reading, const char *bytes,
                        size_t length, const struct tm_recipe_reading *how)
{
    struct tm_recipe_reading all = {0};

    if (how != NULL)
        all = *how;
    all.path = "r.yaml";
    all.finds_nothing = true;
    memset(reading, 0, sizeof(*reading));
    begin_listening();
    reading->status = tm_recipe_parse(&all, bytes, length, &reading->recipe);
    end_listening(reading->said, sizeof(reading->said));
}

static void parse(struct reading *reading, const char *text,
                  const struct tm_recipe_reading *how)
{
    parse_bytes(reading, text, strlen(text), how);
}

/* The text must be accepted without a word. */
static void accept(struct reading *reading, const char *text)
{
    parse(reading, text, NULL);
    assert_string_equal(reading->said, "");
    assert_int_equal(reading->status, TM_OK);
}

/* What is said must contain `words`, and the text must be refused. */
static void refuse(const char *text, const char *words)
{
    struct reading reading;

    parse(&reading, text, NULL);
    if (reading.status != TM_USAGE || strstr(reading.said, words) == NULL)
        fail_msg("%s\nis not refused with: %s\nbut: %s\n", text, words,
                 reading.said);
    tm_recipe_free(&reading.recipe);
}

/* --- values --------------------------------------------------------------*/

static size_t parameter_of(const struct tm_recipe *recipe, const char *name)
{
    size_t p = 0;

    while (strcmp(recipe->method->parameters[p].name, name) != 0)
        p++;
    return p;
}

/* The value of a parameter for a tensor of the first module. */
static double value_in(const struct tm_recipe *recipe, size_t slice,
                       size_t source, const char *parameter, const char *name,
                       double position)
{
    const struct tm_question question = {
        .recipe = recipe,
        .module = recipe->modules,
        .slice = &recipe->modules->slices[slice],
        .name = name,
        .position = position,
    };
    const size_t p = parameter_of(recipe, parameter);
    double values[TM_MAX_PARAMETERS];
    enum tm_status status;

    if (recipe->method->parameters[p].is_own)
        status = tm_evaluate_own(&question, &question.slice->sources[source],
                                 name, values);
    else
        status = tm_evaluate(&question, values);
    assert_int_equal(status, TM_OK);
    return values[p];
}

static double value(const struct tm_recipe *recipe, size_t source,
                    const char *parameter, const char *name, double position)
{
    return value_in(recipe, 0, source, parameter, name, position);
}

/* A recipe with `weight: TEXT`. */
static const char *with_weight(const char *text)
{
    static char recipe[2000];

    snprintf(recipe, sizeof(recipe),
             "merge_method: task_arithmetic\n"
             "base_model: base\n"
             "models:\n"
             "  - model: a\n"
             "    parameters:\n"
             "      weight: %s\n",
             text);
    return recipe;
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        double number;
    } cases[] = {
        {"1", 1},           {"-1", -1},
        {"+2", 2},          {"010", 8},
        {"-010", -8},       {"08", 8},
        {"0x1f", 31},       {"0b101", 5},
        {"1_000", 1000},    {"1_000.5", 1000.5},
        {"0.25", 0.25},     {".5", 0.5},
        {"-.5", -0.5},      {"1.", 1},
        {"1e-3", 1e-3},     {"1.5e3", 1500},
        {"1.5e+3", 1500},   {"1E2", 100},
        {"1_0e-1", 1},      {"'1e-1'", 0.1},
        {"\"0.25\"", 0.25}, {"'010'", 10},
        {"true", 1},        {"off", 0},
        {"Yes", 1},         {"1:30", 90},
        {"1:30.5", 90.5},   {"!!float 3", 3},
        {"[0.75]", 0.75},   {"0.1", 0.1},
        {"1e38", 1e38},     {"-3e38", -3e38},
        {"0", 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct reading reading;

        accept(&reading, with_weight(cases[i].text));
        if (value(&reading.recipe, 0, "weight", "x", 0) != cases[i].number)
            fail_msg("%s is not %g\n", cases[i].text, cases[i].number);
        tm_recipe_free(&reading.recipe);
    }
}

static void test_no_numbers(void **state)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"heavy", "r.yaml:6:15: 'weight' is 'heavy', not a number"},
        {"~", "r.yaml:6:15: 'weight' has no value"},
        {"null", "'weight' has no value"},
        {"", "'weight' has no value"},
        {".nan", "'weight' is .nan, not a finite number"},
        {"-.inf", "not a finite number"},
        {"inf", "not a finite number"},
        {"1e400", "not a finite number"},
        {"1e39", "'weight' is 1e39, which is too large"},
        {"0x", "not a number"},
        {"1__0e1", "not a number"},
        {"1e", "not a number"},
        {"_1", "not a number"},
        {"1:70", "not a number"},
        {"0b2", "not a number"},
        {"[]", "'weight' is an empty list"},
        {"[1, ~]", "r.yaml:6:19: 'weight' has no value"},
        {"[1, x]", "r.yaml:6:19: 'weight' is 'x', not a number"},
        {"[1, [2]]", "list or mapping where a value belongs"},
        {"[1, {value: 2}]", "has values and entries with 'value' in one list"},
        {"[{value: 2}, 1]", "has values and entries with 'value' in one list"},
        {"[{filter: x}]", "'weight' has no value"},
        {"[{filter: x, valeu: 1}]",
         "unknown key 'valeu' (did you mean 'value'?)"},
        {"{value: {value: 1}}", "list or mapping where a value belongs"},
        {"[{filter: [x], value: 1}]", "'filter' is no text"},
        {"!!python/object:x 1", "tag 'tag:yaml.org,2002:python/object:x'"},
        {"!x 1", "tag '!x' means nothing here"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        refuse(with_weight(cases[i].text), cases[i].words);
}

static void test_gradients(void **state)
{
    struct reading reading;
    const struct tm_recipe *recipe = &reading.recipe;

    (void)state;
    accept(&reading, "merge_method: ties\n"
                     "base_model: base\n"
                     "models:\n"
                     "- model: a\n"
                     "  parameters: {weight: [0, 1, 4], density: 0.5}\n"
                     "- {model: b, parameters: {weight: [3]}}\n"
                     "parameters:\n"
                     "  normalize: [true, no, 1]\n"
                     "  scope: [model, tensor]\n");
    assert_true(value(recipe, 0, "weight", "x", 0) == 0);
    assert_true(value(recipe, 0, "weight", "x", 0.25) == 0.5);
    assert_true(value(recipe, 0, "weight", "x", 0.5) == 1);
    assert_true(value(recipe, 0, "weight", "x", 0.75) == 2.5);
    assert_true(value(recipe, 0, "weight", "x", 1) == 4);
    assert_true(value(recipe, 0, "weight", "x", -1) == 0);
    assert_true(value(recipe, 0, "density", "x", 1) == 0.5);
    assert_true(value(recipe, 1, "weight", "x", 0.7) == 3);
    assert_true(value(recipe, 1, "density", "x", 0.7) == 1);
    assert_true(value(recipe, 0, "normalize", "x", 0.4) == 1);
    assert_true(value(recipe, 0, "normalize", "x", 0.5) == 0);
    assert_true(value(recipe, 0, "normalize", "x", 0.9) == 0);
    assert_true(value(recipe, 0, "normalize", "x", 1) == 1);
    assert_true(value(recipe, 0, "scope", "x", 0.9) == 1);
    assert_true(value(recipe, 0, "scope", "x", 1) == 0);
    tm_recipe_free(&reading.recipe);

    accept(&reading, "merge_method: karcher\n"
                     "models: [{model: a}, {model: b}]\n"
                     "parameters: {max_iter: [1, 4]}\n");
    assert_true(value(recipe, 0, "max_iter", "x", 0.5) == 3);
    tm_recipe_free(&reading.recipe);
}

static void test_flags(void **state)
{
    static const struct {
        const char *text;
        int value; /* -1: refused */
    } cases[] = {
        {"true", 1},  {"1", 1},      {"'t'", 1},   {"y", 1},   {"'Yes'", 1},
        {"on", 1},    {"1.0", 1},    {"'1'", 1},   {"0", 0},   {"F", 0},
        {"n", 0},     {"no", 0},     {"'off'", 0}, {"0.0", 0}, {"-0.0", 0},
        {"0.5", -1},  {"2", -1},     {"-1", -1},   {"~", -1},  {"maybe", -1},
        {".nan", -1}, {"'yep'", -1},
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct reading reading;

        snprintf(text, sizeof(text),
                 "merge_method: linear\n"
                 "models: [{model: a}]\n"
                 "parameters: {weight: 1, normalize: %s}\n",
                 cases[i].text);
        parse(&reading, text, NULL);
        if ((reading.status == TM_OK) != (cases[i].value >= 0))
            fail_msg("normalize: %s\n", cases[i].text);
        if (reading.status == TM_OK)
            assert_true(value(&reading.recipe, 0, "normalize", "x", 0) ==
                        cases[i].value);
        tm_recipe_free(&reading.recipe);
    }
}

/* --- filters and levels --------------------------------------------------*/

static const char levels[] =
    "merge_method: task_arithmetic\n"
    "base_model: base\n"
    "modules:\n"
    "  default:\n"
    "    parameters: {lambda: 3}\n"
    "    slices:\n"
    "    - sources:\n"
    "      - {model: base, layer_range: [0, 2], parameters: {weight: no}}\n"
    "      - model: a\n"
    "        layer_range: [0, 2]\n"
    "        parameters:\n"
    "          weight:\n"
    "          - {filter: mlp, value: [1, 2]}\n"
    "          - {filter: layers.1., value: 5}\n"
    "          - {filter: 'a.*b', value: 6}\n"
    "      - {model: b, layer_range: [2, 4]}\n"
    "      parameters:\n"
    "        weight: [{filter: norm, value: 7}]\n"
    "        lambda: {filter: mlp, value: 4}\n"
    "    - sources:\n"
    "      - {model: base, layer_range: [2, 2]}\n"
    "      - {model: b, layer_range: [4, 4]}\n"
    "parameters:\n"
    "  weight: [{filter: '*', value: 8}]\n"
    "  lambda: 2\n";

static void test_levels(void **state)
{
    struct reading reading;
    const struct tm_recipe *recipe = &reading.recipe;

    (void)state;
    accept(&reading, levels);
    assert_true(value(recipe, 1, "weight", "layers.1.mlp", 1) == 2);
    assert_true(value(recipe, 1, "weight", "layers.1.norm", 1) == 5);
    assert_true(value(recipe, 1, "weight", "layers.2.norm", 1) == 7);
    assert_true(value(recipe, 1, "weight", "a.b", 1) == 8);
    assert_true(value(recipe, 1, "weight", "MLP", 1) == 8);
    assert_true(value(recipe, 1, "weight", "a.*b", 1) == 6);
    assert_true(value(recipe, 2, "weight", "mlp", 0) == 8);
    assert_true(value(recipe, 2, "weight", "norm", 0) == 7);
    assert_true(value(recipe, 0, "lambda", "mlp", 0) == 4);
    assert_true(value(recipe, 0, "lambda", "norm", 0) == 3);
    assert_true(value(recipe, 0, "normalize", "norm", 0) == 0);
    assert_true(value_in(recipe, 1, 1, "weight", "norm", 0) == 8);
    tm_recipe_free(&reading.recipe);
}

/* Whatever level decides, a filter that fits some name has been of use. */
static void test_unused_filters(void **state)
{
    struct reading reading;
    char said[2000];

    (void)state;
    accept(&reading, "merge_method: task_arithmetic\n"
                     "base_model: base\n"
                     "models:\n"
                     "- model: a\n"
                     "  parameters:\n"
                     "    weight:\n"
                     "    - {filter: mpl, value: 1}\n"
                     "    - {filter: mlp, value: 1}\n"
                     "    - {filter: lp, value: 1}\n"
                     "parameters:\n"
                     "  weight: [{filter: ml, value: 2}, {value: 3}]\n");
    assert_true(value(&reading.recipe, 0, "weight", "mlp", 0) == 1);
    begin_listening();
    tm_evaluate_warn_unused(&reading.recipe);
    end_listening(said, sizeof(said));
    assert_string_equal(said, "taumerge: warning: r.yaml:7:5: filter 'mpl' "
                              "fits no tensor\n");
    tm_recipe_free(&reading.recipe);
}

/* A filter is no pattern: where none fits, a required value is missing. */
static void test_missing_value(void **state)
{
    struct tm_question question = {.name = "model.norm"};
    double values[TM_MAX_PARAMETERS];
    struct reading reading;
    char said[2000];

    (void)state;
    accept(&reading, with_weight("[{filter: 'm*m', value: 1}]"));
    question.recipe = &reading.recipe;
    question.module = reading.recipe.modules;
    question.slice = question.module->slices;
    begin_listening();
    assert_int_equal(tm_evaluate_own(&question, question.slice->sources,
                                     "model.norm", values),
                     TM_USAGE);
    end_listening(said, sizeof(said));
    assert_string_equal(said, "taumerge: r.yaml:6:15: tensor 'model.norm': "
                              "'weight' has no value: no filter fits (an "
                              "entry without 'filter' holds for the rest)\n");
    tm_recipe_free(&reading.recipe);
}

/* --- what a recipe becomes -----------------------------------------------*/

static void test_columns(void **state)
{
    struct reading reading;
    const struct tm_recipe *recipe = &reading.recipe;
    const struct tm_slice *slice;

    (void)state;
    accept(&reading, levels);
    assert_true(recipe->has_base);
    assert_string_equal(recipe->base, "base");
    assert_int_equal(recipe->num_vectors, 2);
    assert_string_equal(recipe->vectors[0].name, "a");
    assert_string_equal(recipe->vectors[1].name, "b");
    assert_string_equal(recipe->modules->name, "default");
    assert_true(recipe->modules->is_sliced);
    assert_int_equal(recipe->modules->num_slices, 2);
    slice = recipe->modules->slices;
    assert_int_equal(slice->num_sources, 3);
    assert_int_equal(slice->sources[0].model, 0);
    assert_int_equal(slice->sources[0].level.count, 0);
    assert_int_equal(slice->sources[2].model, 2);
    assert_int_equal(slice->sources[2].begin, 2);
    assert_int_equal(slice->sources[2].end, 4);
    assert_int_equal(slice[1].sources[1].model, 2);
    assert_int_equal(slice->base, TM_NO_MODEL);
    tm_recipe_free(&reading.recipe);
}

/* Differences are not taken of the base; sums may be. */
static void test_listed_base(void **state)
{
    static const char difference[] = "merge_method: task_arithmetic\n"
                                     "base_model: b\n"
                                     "parameters: {weight: 1}\n"
                                     "models:\n"
                                     "- model: a\n"
                                     "- {model: b, parameters: {weight: x}}\n";
    static const char sum[] = "merge_method: linear\n"
                              "base_model: b\n"
                              "parameters: {weight: 1}\n"
                              "models: [{model: a}, {model: c}]\n";
    struct reading reading;
    const struct tm_part_source *sources;

    (void)state;
    accept(&reading, difference);
    assert_int_equal(reading.recipe.num_vectors, 1);
    assert_int_equal(reading.recipe.modules->slices->num_sources, 1);
    tm_recipe_free(&reading.recipe);

    accept(&reading, sum);
    assert_int_equal(reading.recipe.modules->slices->num_sources, 3);
    sources = reading.recipe.modules->slices->sources;
    assert_int_equal(sources[0].model, 1);
    assert_int_equal(sources[1].model, 2);
    assert_int_equal(sources[2].model, 0);
    assert_false(sources[2].has_range);
    tm_recipe_free(&reading.recipe);
}

static void test_references(void **state)
{
    struct reading reading;
    const struct tm_recipe *recipe = &reading.recipe;

    (void)state;
    accept(&reading, "merge_method: linear\n"
                     "parameters: {weight: 1}\n"
                     "models:\n"
                     "- model: {model: {path: a}}\n"
                     "- model: org/b@v1\n"
                     "- model: {model: {path: org/c, revision: v2}}\n"
                     "- model: 010\n"
                     "- model: {model: {path: 'x+y@z'}}\n");
    assert_false(recipe->has_base);
    assert_string_equal(recipe->base_name, "a");
    assert_string_equal(recipe->vectors[0].name, "org/b@v1");
    assert_string_equal(recipe->vectors[0].path, "org/b");
    assert_string_equal(recipe->vectors[1].name, "org/c@v2");
    assert_string_equal(recipe->vectors[2].name, "010");
    assert_string_equal(recipe->vectors[3].path, "x+y@z");
    tm_recipe_free(&reading.recipe);
}

static void test_output(void **state)
{
    struct reading reading;
    const struct tm_recipe *recipe = &reading.recipe;
    char text[2400];

    (void)state;
    snprintf(text, sizeof(text), "%s%s", with_weight("1"),
             "dtype: float32\n"
             "out_dtype: torch.bfloat16\n"
             "tokenizer: {source: tok}\n"
             "chat_template: chatml\n");
    accept(&reading, text);
    assert_true(recipe->has_dtype && recipe->dtype == TM_BF16);
    assert_string_equal(recipe->tokenizer, "tok");
    assert_true(strstr(recipe->chat_template, "<|im_start|>") != NULL);
    assert_string_equal(recipe->text, text);
    tm_recipe_free(&reading.recipe);

    snprintf(text, sizeof(text), "%s%s", with_weight("1"),
             "dtype: F16\ntokenizer_source: base\n");
    accept(&reading, text);
    assert_true(recipe->has_dtype && recipe->dtype == TM_F16);
    assert_ptr_equal(recipe->tokenizer, recipe->base);
    assert_null(recipe->chat_template);
    tm_recipe_free(&reading.recipe);
}

static void test_refusals(void **state)
{
#define LINEAR "merge_method: linear\nparameters: {weight: 1}\n"
#define SLERP  "merge_method: slerp\nparameters: {t: 1}\n"
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"", "r.yaml: there is no recipe"},
        {"- a\n", "r.yaml:1:1: the recipe is no mapping"},
        {"models: [{model: a}]\n", "there is no 'merge_method'"},
        {"merge_method: linaer\n",
         "r.yaml:1:15: unknown merge method 'linaer' (did you mean 'linear'?)"},
        {LINEAR, "none of 'models', 'slices' and 'modules' is there"},
        {LINEAR "models: []\n", "linear takes at least one model, none are"},
        {LINEAR "models: 3\n", "r.yaml:3:9: 'models' is no list"},
        {LINEAR "models: [{model: a}]\nslices: []\n", "only one of 'models'"},
        {LINEAR "models: [{mode: a}]\n", "(did you mean 'model'?)"},
        {LINEAR "models: [{model: a}, {model: a}]\n",
         "r.yaml:3:30: model 'a' is listed twice"},
        {LINEAR "models: [{model: a+b}]\n", "merge the adapter into its base"},
        {LINEAR "models: [{model: {model: a, lora: b}}]\n",
         "merge the adapter"},
        {LINEAR "models: [{model: a@b@c}]\n", "not of the form PATH@REVISION"},
        {LINEAR "models: [{model: ''}]\n", "a model without a name"},
        {LINEAR "models: [{model: [a]}]\n", "no model"},
        {LINEAR "modules: {}\n", "'modules' is no mapping of modules"},
        {LINEAR "modules: {m: {}}\n", "module 'm' has not exactly one of"},
        {LINEAR "slices: [{sources: [{model: a}]}]\n",
         "r.yaml:3:21: there is no 'layer_range'"},
        {LINEAR "slices: [{sources: [{model: a, layer_range: [2, 1]}]}]\n",
         "r.yaml:3:45: 'layer_range' ends before it begins"},
        {LINEAR "slices: [{sources: [{model: a, layer_range: [0, -1]}]}]\n",
         "'layer_range' is not a whole number from 0 on"},
        {LINEAR "slices: [{sources: [{model: a, layer_range: [0]}]}]\n",
         "'layer_range' is not of the form [BEGIN, END]"},
        {LINEAR "slices:\n- sources:\n"
                "  - {model: a, layer_range: [0, 1]}\n"
                "  - {model: b, layer_range: [0, 2]}\n",
         "r.yaml:6:13: 2 layers, where the first source of the slice has 1"},
        {SLERP "models: [{model: a}]\n",
         "r.yaml:3:9: slerp needs a 'base_model'"},
        {SLERP "base_model: b\nmodels: [{model: a}, {model: c}, {model: d}]\n",
         "slerp takes one model beside the base, three are given"},
        {SLERP "base_model: b\n"
               "slices: [{sources: [{model: a, layer_range: [0, 1]}]}]\n",
         "the base 'b' is none of the slice's sources"},
        {"merge_method: slerp\nbase_model: b\nmodels: [{model: a}]\n",
         "slerp needs a parameter 't'"},
        {"merge_method: linear\nbase_model: b\n"
         "models: [{model: a, parameters: {weight: 1}}]\n",
         "r.yaml:2:13: model 'b' has no 'weight' (the base is an input of "},
        {LINEAR "models: [{model: a}]\ndtype: int64\n",
         "r.yaml:4:8: 'dtype' is 'int64', which is none of bfloat16"},
        {LINEAR "models: [{model: a}]\nout_dtype: float8_e4m3fn\n",
         "'out_dtype' is 'float8_e4m3fn'"},
        {LINEAR "models: [{model: a}]\ndype: float32\n",
         "r.yaml:4:1: unknown key 'dype' (did you mean 'dtype'?)"},
        {LINEAR "models: [{model: a}]\nnormalize: true\n",
         "unknown key 'normalize' (it belongs under 'parameters')"},
        {LINEAR "models: [{model: a, parameters: {wieght: 1}}]\n",
         "r.yaml:3:34: unknown key 'wieght' (did you mean 'weight'?)"},
        {LINEAR "models: [{model: a}]\ntokenizer_source: union\n",
         "tokenizers cannot be united yet"},
        {LINEAR "models: [{model: a}]\ntokenizer: {}\n", "without 'source'"},
        {LINEAR "models: [{model: a}]\n"
                "tokenizer: {source: base, tokens: {x: {source: b}}}\n",
         "'tokens' is not supported yet"},
        {LINEAR "models: [{model: a}]\n"
                "tokenizer: {source: base, pad_to_multiple_of: 8}\n",
         "'pad_to_multiple_of' is not supported yet"},
        {LINEAR "models: [{model: a}]\nchat_template: auto\n",
         "chat template 'auto' is not supported yet"},
        {LINEAR "models: [{model: a}]\nchat_template: chatlm\n",
         "(did you mean 'chatml'?)"},
        {LINEAR "tokenizer: {source: base}\ntokenizer_source: base\n"
                "models: [{model: a}]\n",
         "only one of 'tokenizer_source' and 'tokenizer'"},
        {"merge_method: ties\nbase_model: b\nmodels: [{model: a, parameters: "
         "{weight: 1, density: 1.5}}]\n",
         "'density' is 1.5, it must be from 0 to 1"},
        {"merge_method: ties\nbase_model: b\nmodels: [{model: a}]\n"
         "parameters: {weight: 1, scope: modle}\n",
         "'scope' is 'modle', it must be 'tensor' or 'model'"},
        {"merge_method: karcher\nmodels: [{model: a}]\n"
         "parameters: {max_iter: 4.5}\n",
         "'max_iter' is 4.5, not a whole number"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        refuse(cases[i].text, cases[i].words);
}

/* All that is wrong is told, and `lax` makes unknown keys warnings. */
static void test_several_errors(void **state)
{
    const struct tm_recipe_reading lax = {.lax = true};
    struct reading reading;
    char text[2400];

    (void)state;
    snprintf(text, sizeof(text), "%sdtype: x\nchat_template: y\nz: 1\n",
             with_weight("no_number"));
    parse(&reading, text, NULL);
    assert_int_equal(reading.status, TM_USAGE);
    assert_true(strstr(reading.said, "'dtype' is 'x'") != NULL);
    assert_true(strstr(reading.said, "template 'y'") != NULL);
    assert_true(strstr(reading.said, "key 'z'") != NULL);
    assert_true(strstr(reading.said, "'no_number'") != NULL);
    tm_recipe_free(&reading.recipe);

    snprintf(text, sizeof(text), "%sdype: x\nresidual: 1\n", with_weight("1"));
    parse(&reading, text, &lax);
    assert_int_equal(reading.status, TM_OK);
    assert_true(strstr(reading.said, "warning: r.yaml:7:1: unknown key "
                                     "'dype' (did you mean 'dtype'?)") != NULL);
    tm_recipe_free(&reading.recipe);
}

/* Known, but without effect here: one warning for each name. */
static void test_ignored(void **state)
{
    struct reading reading;

    (void)state;
    parse(&reading,
          "merge_method: task_arithmetic\n"
          "base_model: base\n"
          "models:\n"
          "- {model: a, parameters: {weight: 1, lambda: 2, density: 1}}\n"
          "- {model: b, parameters: {weight: 1, lambda: 2, density: 1}}\n",
          NULL);
    assert_int_equal(reading.status, TM_OK);
    assert_string_equal(
        reading.said,
        "taumerge: warning: r.yaml:4:38: 'lambda' has no effect below a model: "
        "it is not of each input of task_arithmetic\n"
        "taumerge: warning: r.yaml:4:49: 'density' has no effect on "
        "task_arithmetic\n");
    assert_true(value(&reading.recipe, 0, "lambda", "x", 0) == 1);
    tm_recipe_free(&reading.recipe);
}

/* --- YAML ----------------------------------------------------------------*/

static void test_bad_yaml(void **state)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"a: 1\nb:\n\t- c\n", "r.yaml:3:1: not valid YAML: a tab"},
        {"a: 1\n b: 2\n", "r.yaml:2:3: not valid YAML: "},
        {"a: [1\n", "r.yaml:2:1: not valid YAML: "},
        {"a: \xff\n", "r.yaml: not UTF-8"},
        {"a: 1\nb: \x01\n", "r.yaml:2:4: not valid YAML: control characters"},
        {"a: 1\nb: 2\na: 3\n",
         "r.yaml:3:1: duplicate key 'a', first in line 1"},
        {"a: *b\n", "r.yaml:1:4: no anchor 'b' before this alias"},
        {"a: &a [*a]\n", "r.yaml:1:8: 'a' would contain itself"},
        {"[1]: 2\n", "r.yaml:1:1: a key that is no scalar"},
        {"a: \"x\\0\"\n", "r.yaml:1:4: text with a NUL character"},
        {"a: {<<: 1}\n", "'<<' takes a mapping"},
        {"a: &a 1\n---\nb: *a\n", "no anchor 'a'"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        refuse(cases[i].text, cases[i].words);
}

/* Ten lists of ten of ten ... */
static void test_limits(void **state)
{
    char text[2000] = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";

    (void)state;
    for (int i = 1; i < 7; i++) {
        size_t at = strlen(text);

        at +=
            (size_t)snprintf(text + at, sizeof(text) - at, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "*a%d%s",
                                   i - 1, k < 9 ? ", " : "]\n");
    }
    refuse(text, "r.yaml:5:5: more than 1000000 values");
    memset(text, '[', 100);
    text[100] = '\0';
    refuse(text, "r.yaml:1:65: nested more than 64 deep");
}

static void test_merge_keys(void **state)
{
    struct reading reading;
    const struct tm_recipe *recipe = &reading.recipe;

    (void)state;
    accept(&reading,
           "merge_method: ties\n"
           "base_model: base\n"
           "models:\n"
           "- {model: a, parameters: &a {weight: 1, density: 0.5}}\n"
           "- {model: b, parameters: {<<: *a, weight: 2}}\n"
           "- {model: c, parameters: {weight: 3, <<: [{density: 0.25}, *a]}}\n"
           "- {model: d, parameters: *a}\n");
    assert_true(value(recipe, 0, "weight", "x", 0) == 1);
    assert_true(value(recipe, 1, "weight", "x", 0) == 2);
    assert_true(value(recipe, 1, "density", "x", 0) == 0.5);
    assert_true(value(recipe, 2, "weight", "x", 0) == 3);
    assert_true(value(recipe, 2, "density", "x", 0) == 0.25);
    assert_true(value(recipe, 3, "density", "x", 0) == 0.5);
    tm_recipe_free(&reading.recipe);
}

static void test_documents(void **state)
{
    static const char text[] =
        "\xef\xbb\xbf# \xc3\xa9\n"
        "name: one\n" LINEAR "models: [{model: a}]\n"
        "---\n"
        "# second \xc3\xa9\n" LINEAR "models: [{model: b}]\n"
        "---\n"
        "---\n"
        "name: two\n";
    static const struct {
        const char *document;
        const char *base;
    } cases[] = {{"one", "a"}, {NULL, "b"}, {"three", NULL}, {"two", NULL}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct tm_recipe_reading how = {.document = cases[i].document};
        struct reading reading;

        parse(&reading, text, &how);
        assert_int_equal(reading.status,
                         cases[i].base != NULL ? TM_OK : TM_USAGE);
        if (cases[i].base != NULL)
            assert_string_equal(reading.recipe.base, cases[i].base);
        if (i == 0)
            assert_true(strncmp(reading.recipe.text, text + 3, 50) == 0 &&
                        strstr(reading.recipe.text, "---") == NULL);
        if (i == 1)
            assert_true(strncmp(reading.recipe.text, "---\n# second", 12) == 0);
        tm_recipe_free(&reading.recipe);
    }
    refuse("name: a\nx: 1\n---\nname: b\n", "choose one with --document: a, b");
    refuse("x: 1\n---\ny: 1\n", "r.yaml:3:1: a second document without a name");
}

static void test_many_models(void **state)
{
    const size_t count = 10000, room = 64 * count;
    char *text = malloc(room), *end = text;
    struct reading reading;

    (void)state;
    assert_true(text != NULL);
    end += snprintf(end, room, "merge_method: linear\nmodels:\n");
    for (size_t i = 0; i < count; i++)
        end += snprintf(end, room - (size_t)(end - text),
                        "- {model: m%zu, parameters: {weight: %zu}}\n", i, i);
    accept(&reading, text);
    assert_int_equal(reading.recipe.num_vectors, count - 1);
    assert_string_equal(reading.recipe.vectors[count - 2].name, "m9999");
    assert_true(value(&reading.recipe, 9999, "weight", "x", 0) == 9999);
    tm_recipe_free(&reading.recipe);
    free(text);
}

/* --- --set ---------------------------------------------------------------*/

static void test_overrides(void **state)
{
    static const struct {
        struct tm_override override;
        const char *parameter; /* of source 0; NULL: refused with... */
        double value;
        const char *words;
    } cases[] = {
        {{"lambda", "0.5"}, "lambda", 0.5, NULL},
        {{"parameters.lambda", "0.5"}, "lambda", 0.5, NULL},
        {{"models.0.weight", "3"}, "weight", 3, NULL},
        {{"models.0.parameters.weight", "[4]"}, "weight", 4, NULL},
        {{"models.0.parameters.weight", "{value: 5}"}, "weight", 5, NULL},
        {{"models.0.parameters", "{weight: 6}"}, "weight", 6, NULL},
        {{"models.0.parameters", "~"}, NULL, 0, "model 'a' has no 'weight'"},
        {{"normalize", "yes"}, "normalize", 1, NULL},
        {{"models.1.weight", "3"},
         NULL,
         0,
         "--set models.1.weight: the recipe has no 'models.1'"},
        {{"models.x.weight", "3"}, NULL, 0, "no 'models.x'"},
        {{"models.0.weight.x", "3"}, NULL, 0, "no 'models.0.weight'"},
        {{"slices.0.t", "3"}, NULL, 0, "the recipe has no 'slices'"},
        {{"lamda", "3"},
         NULL,
         0,
         "--set lamda: unknown key 'lamda' (did you mean 'lambda'?)"},
        {{"lambda", "x"}, NULL, 0, "--set lambda: 'lambda' is 'x', not a num"},
        {{"lambda", "[1"}, NULL, 0, "--set lambda:2:1: not valid YAML"},
        {{"lambda", ""}, NULL, 0, "--set lambda: 'lambda' has no value"},
        {{"lambda", "1\n---\n2"}, NULL, 0, "--set lambda: more than one value"},
        {{"", "1"}, NULL, 0, "no path of keys and positions"},
        {{"a..b", "1"}, NULL, 0, "no path of keys and positions"},
        {{"merge_method", "nope"},
         NULL,
         0,
         "--set merge_method: unknown merge"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct tm_recipe_reading how = {.overrides = &cases[i].override,
                                              .num_overrides = 1};
        struct reading reading;

        parse(&reading, with_weight("1"), &how);
        if (cases[i].words != NULL) {
            if (reading.status != TM_USAGE ||
                strstr(reading.said, cases[i].words) == NULL)
                fail_msg("%s: %s\n", cases[i].override.path, reading.said);
        } else if (reading.status != TM_OK ||
                   value(&reading.recipe, 0, cases[i].parameter, "x", 0) !=
                       cases[i].value) {
            fail_msg("%s: %s\n", cases[i].override.path, reading.said);
        }
        tm_recipe_free(&reading.recipe);
    }
}

/* A value that two models share by an alias is changed for one of them. */
static void test_override_of_alias(void **state)
{
    static const struct tm_override overrides[] = {{"models.1.weight", "2"},
                                                   {"dtype", "float16"}};
    const struct tm_recipe_reading how = {.overrides = overrides,
                                          .num_overrides = 2};
    struct reading reading;

    (void)state;
    parse(&reading,
          "merge_method: linear\n"
          "models:\n"
          "- {model: a, parameters: &p {weight: 1}}\n"
          "- {model: b, parameters: *p}\n",
          &how);
    assert_string_equal(reading.said, "");
    assert_true(value(&reading.recipe, 0, "weight", "x", 0) == 1);
    assert_true(value(&reading.recipe, 1, "weight", "x", 0) == 2);
    assert_true(reading.recipe.has_dtype && reading.recipe.dtype == TM_F16);
    tm_recipe_free(&reading.recipe);
}

/* --- printing ------------------------------------------------------------*/

static void test_round_trip(void **state)
{
    static const char *const texts[] = {
        levels,
        "name: x\n" LINEAR "base_model: b\nmodels: [{model: a}]\n",
        "merge_method: ties\n"
        "base_model: {model: {path: 'a+b'}}\n"
        "models:\n"
        "- {model: 'yes', parameters: {density: [1e-3, 0.1], weight: 1e-30}}\n"
        "- {model: '1e3', parameters: {weight: [{filter: 'no', value: 1}]}}\n"
        "- {model: 'a: b #c', parameters: {weight: 0.30000000000000004}}\n"
        "parameters: {normalize: [1, 0], scope: model, weight: 123456789}\n"
        "dtype: float64\n"
        "tokenizer_source: o/p@q\n"
        "chat_template: \"a long template \\n of lines {{ x }}\\t\xc3\xa9\"\n",
        "merge_method: task_arithmetic\n"
        "slices:\n"
        "- base_model: c\n"
        "  sources:\n"
        "  - {model: d, layer_range: [1, 2], parameters: {weight: -0.1}}\n"
        "  - {model: c, layer_range: [3, 4]}\n"
        "  parameters: {lambda: {filter: x, value: [1, 2]}}\n"
        "out_dtype: bfloat16\n",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct tm_text first = {0}, second = {0};
        struct reading reading;

        accept(&reading, texts[i]);
        assert_int_equal(tm_recipe_write(&reading.recipe, &first), TM_OK);
        assert_true(tm_text_append(&first, "", 1));
        tm_recipe_free(&reading.recipe);
        accept(&reading, first.bytes);
        assert_int_equal(tm_recipe_write(&reading.recipe, &second), TM_OK);
        assert_true(tm_text_append(&second, "", 1));
        assert_string_equal(first.bytes, second.bytes);
        tm_recipe_free(&reading.recipe);
        free(first.bytes);
        free(second.bytes);
    }
}

/* What is printed has the values that were read. */
static void test_printed_values(void **state)
{
    struct tm_text text = {0};
    struct reading reading;

    (void)state;
    accept(&reading, levels);
    assert_int_equal(tm_recipe_write(&reading.recipe, &text), TM_OK);
    assert_true(tm_text_append(&text, "", 1));
    tm_recipe_free(&reading.recipe);
    accept(&reading, text.bytes);
    assert_true(value(&reading.recipe, 1, "weight", "mlp", 0.5) == 1.5);
    assert_true(value(&reading.recipe, 2, "weight", "norm", 0) == 7);
    assert_true(value(&reading.recipe, 0, "lambda", "norm", 0) == 3);
    assert_int_equal(reading.recipe.modules->slices[1].sources[1].begin, 4);
    tm_recipe_free(&reading.recipe);
    free(text.bytes);
}

/* Nothing that is text is printed so that YAML 1.1 takes it for else. */
static void test_quotes(void **state)
{
    struct tm_text text = {0};
    struct reading reading;

    (void)state;
    accept(&reading, "merge_method: linear\n"
                     "models: [{model: 'yes'}, {model: '010'}, {model: 1e3}]\n"
                     "parameters:\n"
                     "  weight: [{filter: 'null', value: 1e-30}]\n");
    assert_int_equal(tm_recipe_write(&reading.recipe, &text), TM_OK);
    assert_true(tm_text_append(&text, "", 1));
    assert_string_equal(text.bytes, "merge_method: linear\n"
                                    "models:\n"
                                    "- model: 'yes'\n"
                                    "- model: '010'\n"
                                    "- model: '1e3'\n"
                                    "parameters:\n"
                                    "  weight:\n"
                                    "  - filter: 'null'\n"
                                    "    value: 1.0e-30\n");
    tm_recipe_free(&reading.recipe);
    free(text.bytes);
}

/* A recipe that options made: no file, no places, no names. */
static void test_print_without_file(void **state)
{
    const double weight = -0.5;
    struct tm_entry entry = {.values = &weight, .count = 1};
    struct tm_setting setting = {.entries = &entry, .count = 1};
    struct tm_part_source source = {.model = 1, .level = {&setting, 1}};
    struct tm_slice slice = {
        .sources = &source, .num_sources = 1, .base = TM_NO_MODEL};
    struct tm_module module = {.slices = &slice, .num_slices = 1};
    struct tm_vector vector = {.path = "dir/t@1", .name = "dir/t@1"};
    struct tm_recipe recipe = {.method = tm_method_find("task_arithmetic"),
                               .base = "b",
                               .has_base = true,
                               .vectors = &vector,
                               .num_vectors = 1,
                               .modules = &module,
                               .num_modules = 1};
    struct tm_text text = {0};

    (void)state;
    setting.parameter = parameter_of(&recipe, "weight");
    assert_int_equal(tm_recipe_write(&recipe, &text), TM_OK);
    assert_true(tm_text_append(&text, "", 1));
    assert_string_equal(text.bytes, "merge_method: task_arithmetic\n"
                                    "base_model: b\n"
                                    "models:\n"
                                    "- model:\n"
                                    "    model:\n"
                                    "      path: dir/t@1\n"
                                    "  parameters:\n"
                                    "    weight: -0.5\n");
    free(text.bytes);
}

/* --- files ---------------------------------------------------------------*/

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_true(file != NULL);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_files(void **state)
{
    static const char *const directories[] = {
        "models--o--n", "models--o--n/refs", "models--o--n/snapshots",
        "models--o--n/snapshots/c0ffee"};
    char place[] = "/tmp/test_recipe.XXXXXX";
    char path[200], said[2000];
    struct tm_recipe_reading how = {.path = path};
    struct tm_recipe_names names;
    struct tm_recipe recipe = {.seed = 3};
    struct tm_text text;

    (void)state;
    assert_true(mkdtemp(place) != NULL);
    for (size_t i = 0; i < COUNT(directories); i++) {
        snprintf(path, sizeof(path), "%s/%s", place, directories[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    snprintf(path, sizeof(path), "%s/models--o--n/refs/main", place);
    write_file(path, "c0ffee\n");
    setenv("HF_HUB_CACHE", place, 1);
    snprintf(path, sizeof(path), "%s/r.yaml", place);
    write_file(path,
               LINEAR "models: [{model: o/n}, {model: .}]\n"
                      "---\nname: two\n" LINEAR "models: [{model: o/n@v1}]\n");
    assert_int_equal(tm_recipe_load(path, &text), TM_OK);
    assert_int_equal(tm_recipe_parse(&how, text.bytes, text.length, &recipe),
                     TM_OK);
    assert_string_equal(recipe.base_name, "o/n");
    assert_true(strstr(recipe.base, "/models--o--n/snapshots/c0ffee") != NULL);
    assert_string_equal(recipe.vectors[0].path, ".");
    assert_int_equal(recipe.seed, 3);
    tm_recipe_free(&recipe);

    how.document = "two";
    begin_listening();
    assert_int_equal(tm_recipe_parse(&how, text.bytes, text.length, &recipe),
                     TM_NO_INPUT);
    end_listening(said, sizeof(said));
    assert_true(strstr(said, "r.yaml:8:18: model 'o/n@v1': neither a path nor "
                             "in the Hugging Face cache (to download it: hf "
                             "download o/n --revision v1)\n") != NULL);
    tm_recipe_free(&recipe);

    assert_int_equal(tm_recipe_list(path, text.bytes, text.length, &names),
                     TM_OK);
    free(text.bytes);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.names[0], "");
    assert_string_equal(names.names[1], "two");
    tm_arena_free(&names.arena);

    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/models--o--n/refs/main", place);
    assert_int_equal(unlink(path), 0);
    for (size_t i = COUNT(directories); i-- > 0;) {
        snprintf(path, sizeof(path), "%s/%s", place, directories[i]);
        assert_int_equal(rmdir(path), 0);
    }
    begin_listening();
    assert_int_equal(tm_recipe_load(path, &text), TM_NO_INPUT);
    end_listening(said, sizeof(said));
    free(text.bytes);
    assert_int_equal(rmdir(place), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_no_numbers),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_unused_filters),
        cmocka_unit_test(test_missing_value),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_listed_base),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_several_errors),
        cmocka_unit_test(test_ignored),
        cmocka_unit_test(test_bad_yaml),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_merge_keys),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_many_models),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_override_of_alias),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_printed_values),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_print_without_file),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
