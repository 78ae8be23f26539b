"""Recipes that make no sense: an answer that names the place, at once, and
nothing is written."""

import os
import shutil
import time

import pytest

import checkpoints
import llama
from program import (
    DATA,
    NO_INPUT,
    SANITIZED,
    SUITE,
    USAGE,
    assert_refused,
    errors,
    run,
    run_measured,
    scaled,
)

LAYERS = 3
NAMES = ["base", "one", "two", "three"]
pytestmark = pytest.mark.skipif(
    SUITE == "tsan", reason="one thread reads recipes"
)

SECONDS = scaled(10, 120)
LIMITS = None if SANITIZED else {"AS": 2 << 30}

GOOD = """\
merge_method: ties
base_model: base
models:
  - model: one
    parameters: {weight: 0.4, density: 0.5}
  - model: two
    parameters: {weight: 1}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    llama.family(path, NAMES, LAYERS)
    llama.family(path, ["wide"], LAYERS, words=llama.WORDS + 1)
    (path / "hollow").mkdir()
    (path / "pickled").mkdir()
    (path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    (path / "text.safetensors").write_text("hello")
    before = checkpoints.tree_hash(path)
    yield path
    assert checkpoints.tree_hash(path) == before, "inputs were written to"


def refuse(place, tmp_path, text, status=USAGE, *words, options=()):
    """Refused, with messages that a screen can show; returns the errors."""
    made = tmp_path / "r.yaml"
    made.write_bytes(text if isinstance(text, bytes) else text.encode())
    out = tmp_path / "out"
    for args in (["merge", made, "-o", out], ["plan", made]):
        result = run(*args, *options, cwd=place, limits=LIMITS, timeout=SECONDS)
        assert_refused(result, status, out, words)
        assert not result.out
        assert all(len(line) < 1000 for line in result.err.splitlines())
    assert os.listdir(tmp_path) == ["r.yaml"]
    return errors(result)


def accept(place, tmp_path, text, *options):
    made, out = tmp_path / "r.yaml", tmp_path / "out"
    made.write_bytes(text if isinstance(text, bytes) else text.encode())
    shutil.rmtree(out, ignore_errors=True)
    result = run("merge", made, "-o", out, *options, cwd=place)
    assert result.status == 0, result.err
    return result, checkpoints.load(out)


# What is no YAML, or no recipe

NOT_YAML = {
    "text": ("hello", "1:1: the recipe is no mapping"),
    "list": ("- a\n- b\n", "1:1: the recipe is no mapping"),
    "nothing": ("", ": there is no recipe"),
    "comment": ("# nothing\n", ": there is no recipe"),
    "empty documents": ("---\n---\n", ": there is no recipe"),
    "latin 1": (b"# \xe9\n", ": not UTF-8"),
    "surrogate": (b"# \xed\xa0\x80\n", ": not UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), ": not UTF-8"),
    "weights": (b"\x08\0\0\0\0\0\0\0{}      \xff\xfe", ": not UTF-8"),
    "control": ("x: \0\n", "1:4: not valid YAML: control characters"),
    "escape": ("x: \x1b[31m\n", "1:4: not valid YAML: control characters"),
    "written NUL": ('x: "\\0"\n', "1:4: text with a NUL character"),
    "tab": ("a: 1\n\tb: 2\n", "2:1: not valid YAML: a tab where only spaces"),
    "tab in a list": ("models:\n\t- a: one\n", "2:1: not valid YAML: a tab"),
    "tab further down": (GOOD.replace("  - model: two", "\t- model: two"),
                         "6:1: not valid YAML: a tab where only spaces may be"),
    "not closed": ("models: [a, b", "not valid YAML: did not find expected"),
    "quote": ("a: 'b\n", "not valid YAML: "),
    "indentation": (GOOD.replace("  - model: one", "    - model: one"),
                    "5:5: not valid YAML: did not find expected '-'"),
    "two colons": ("merge_method: a: b\n", "1:16: not valid YAML: mapping"),
    "a key twice": (GOOD + "base_model: one\n",
                    "8:1: duplicate key 'base_model', first in line 2"),
    "a key twice below": (GOOD.replace("density", "weight"),
                          "5:31: duplicate key 'weight', first in line 5"),
    "no such anchor": (GOOD + "dtype: *x\n", "8:8: no anchor 'x' before"),
    "anchor in itself": ("models: &a [*a]\n", "1:13: 'a' would contain itself"),
    "tag": ("models: !!python/object:os.system x\n", "1:9: tag "),
    "key": ("[a, b]: 1\n", "1:1: a key that is no scalar"),
    "brackets": ("a: " + "[" * 100000, "1:67: nested more than 64 deep"),
    "steps": ("".join(" " * i + "a:\n" for i in range(2000)),
              "nested more than 64 deep"),
    "long": ("# " + "x" * (16 << 20), ": longer than 16 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_YAML)
def test_what_is_no_recipe(place, tmp_path, name):
    text, words = NOT_YAML[name]
    told = refuse(place, tmp_path, text)
    assert len(told) == 1 and words in told[0], told
    if words[0].isdigit():
        assert f"r.yaml:{words}" in told[0]


def laughs(item):
    lines = [f"a0: &a0 {item}"]
    for i in range(1, 40):
        lines.append(f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]")
    return "\n".join(lines) + "\n"


def merge_keys():
    lines = ["a0: &a0 {x: 1}"]
    for i in range(1, 40):
        many = ", ".join([f"*a{i - 1}"] * 9)
        lines.append(f"a{i}: &a{i} {{<<: [{many}], k{i}: *a{i - 1}}}")
    return "\n".join(lines) + "\n"


BOMBS = {
    "laughs": laughs("lol"),
    "empty laughs": laughs("[]"),
    "merge keys": merge_keys(),
    "values": "models:\n" + "- model: a\n" * 400000,
    "flat": "a: [" + "1," * 1100000 + "1]\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(place, tmp_path, name):
    """In no time, and no memory to speak of."""
    (told,) = refuse(place, tmp_path, BOMBS[name])
    assert "more than 1000000 values, aliases written out" in told
    result = run_measured(tmp_path, "plan", tmp_path / "r.yaml")
    assert result.status == USAGE and result.seconds < scaled(5, 60)
    if not SANITIZED:
        assert result.peak < 400 << 20


LARGE = {
    "comments": GOOD + "# a comment\n" * 830000,
    "gradient": GOOD.replace("0.4", "[" + "0.4, " * 900000 + "0.4]"),
    "one line": GOOD + "chat_template: '{{" + "x" * 10**7 + "}}'\n",
}


@pytest.mark.parametrize("name", LARGE)
def test_ten_megabytes_are_read(place, tmp_path, name):
    began = time.monotonic()
    accept(place, tmp_path, LARGE[name])
    assert time.monotonic() - began < scaled(20, 200)


def test_ten_megabytes_of_keys_that_nobody_knows(place, tmp_path):
    told = refuse(place, tmp_path, "".join(f"k{i}: 1\n" for i in range(200000)))
    assert len(told) == 21 and "r.yaml:20:1: unknown key 'k19'" in told[19]
    assert told[20].endswith("r.yaml: after 20 mistakes the rest was not read")


@pytest.mark.parametrize("models", [10000, 100000])
def test_many_models_that_are_not_there(place, tmp_path, models):
    text = "merge_method: linear\nparameters: {weight: 1}\nmodels:\n"
    text += "".join(f"- model: none/of{i}\n" for i in range(models))
    told = refuse(place, tmp_path, text, NO_INPUT)
    assert len(told) == 21
    assert "r.yaml:4:10: model 'none/of0'" in told[0]
    assert "(to download it: hf download none/of0)" in told[0]


def test_many_references_to_one_model(place, tmp_path):
    """A stack of thousands of layers is no reason to wait."""
    layers = scaled(10000, 1000)
    one = "- sources: [{model: one, layer_range: [0, 1]}]\n"
    text = "merge_method: passthrough\nslices:\n" + one * layers
    began = time.monotonic()
    result = run("plan", "-", cwd=place, stdin=None, input=text.encode())
    assert result.status == 0, result.err
    assert time.monotonic() - began < SECONDS
    assert f"{9 * layers + 3}: 0 to merge" in result.out


# Keys


KEYS = {
    "top": ("paramters: {}\n", "8:1", "paramters", "parameters"),
    "capitals": ("DType: float16\n", "8:1", "DType", "dtype"),
    "too high": ("density: 0.5\n", "8:1", "density", "belongs under"),
    "nothing like it": ("frobnicate: 1\n", "8:1", "frobnicate", ""),
    "tokenizer": ("tokenizer: {source: base, tokns: 1}\n", "8:27", "tokns",
                  "tokens"),
    "of the merge": ("parameters: {normalise: 1}\n", "8:14", "normalise",
                     "normalize"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_unknown_keys(place, tmp_path, name):
    line, at, key, near = KEYS[name]
    (told,) = refuse(place, tmp_path, GOOD + line)
    assert f"r.yaml:{at}: unknown key '{key}'" in told and near in told
    result, _ = accept(place, tmp_path, GOOD + line, "--lax")
    assert "taumerge: warning: " in result.err and f"'{key}'" in result.err
    got = checkpoints.load(tmp_path / "out")
    assert accept(place, tmp_path, GOOD)[1] == got


INNER_KEYS = [
    ("parameters: {weight: 1}", "parmeters: {weight: 1}", "7:5", "parameters"),
    ("weight: 1", "weight: 1, wieght: 1", "7:29", "weight"),
    ("weight: 1", "weight: [{filtre: mlp, value: 1}]", "7:28", "filter"),
    ("weight: 1", "weight: [{filter: mlp, vlaue: 1}]", "7:41", "value"),
    ("model: one", "model: {model: {path: one, revison: x}}", "4:32",
     "revision"),
    ("model: one", "model: {modle: one}", "4:13", "model"),
    ("model: one", "model: one\n    weight: 1", "5:5", "belongs under"),
]  # fmt: skip


@pytest.mark.parametrize("old, new, at, near", INNER_KEYS)
def test_unknown_keys_further_in(place, tmp_path, old, new, at, near):
    told = refuse(place, tmp_path, GOOD.replace(old, new, 1))
    (found,) = [t for t in told if f"r.yaml:{at}: unknown key" in t]
    assert near in found


SLICED = """\
merge_method: linear
slices:
  - sources:
      - {model: one, layer_range: [0, 3]}
      - {model: two, layer_range: [0, 3]}
    parameters: {weight: 1}
"""

MODULE = """\
merge_method: linear
modules:
  default:
    models: [{model: one}, {model: two}]
    parameters: {weight: 1}
"""


@pytest.mark.parametrize(
    "text, at, near",
    [
        (SLICED.replace("sources", "sorces"), "3:5", "sources"),
        (SLICED.replace("layer_range", "layer_rang", 1), "4:22", "layer_range"),
        (SLICED.replace("    param", "    param: 1\n    param"), "6:5", ""),
        (MODULE.replace("models:", "modles:"), "4:5", "models"),
        (MODULE.replace("parameters", "parametres"), "5:5", "parameters"),
    ],
)
def test_unknown_keys_of_slices_and_modules(place, tmp_path, text, at, near):
    told = refuse(place, tmp_path, text)
    (found,) = [t for t in told if f"r.yaml:{at}: unknown key" in t]
    assert near in found
    assert run("plan", "-", cwd=place, stdin=None,
               input=SLICED.encode()).status == 0  # fmt: skip
    assert run("plan", "-", cwd=place, stdin=None,
               input=MODULE.encode()).status == 0  # fmt: skip


@pytest.mark.parametrize(
    "name, near",
    [("tiess", "'ties'"), ("TIES", "'ties'"), ("dare-ties", "'dare_ties'"),
     ("daer_linear", "'dare_linear'"), ("frobnicate", "taumerge methods"),
     ("[ties]", "'merge_method' is no text"), ("~", "no 'merge_method'")],
)  # fmt: skip
def test_unknown_methods(place, tmp_path, name, near):
    text = GOOD.replace("merge_method: ties", f"merge_method: {name}")
    (told,) = refuse(place, tmp_path, text)
    assert near in told and "r.yaml:1:" in told


# Values

VALUES = [
    ("weight", "heavy", "'weight' is 'heavy', not a number"),
    ("weight", "~", "'weight' has no value"),
    ("weight", "''", "'weight' is '', not a number"),
    ("weight", ".nan", "'weight' is .nan, not a finite number"),
    ("weight", "-.inf", "'weight' is -.inf, not a finite number"),
    ("weight", "1e999", "'weight' is 1e999, not a finite number"),
    ("weight", "1e39", "'weight' is 1e39, which is too large"),
    ("weight", "1,5", "unknown key '5'"),
    ("weight", "0x", "'weight' is '0x', not a number"),
    ("weight", "[]", "'weight' is an empty list"),
    ("weight", "[{value: []}]", "'weight' is an empty list"),
    ("weight", "[1, ~]", "'weight' has no value"),
    ("weight", "[1, x]", "'weight' is 'x', not a number"),
    ("weight", "[[1, 2], 3]", "has a list or mapping where a value belongs"),
    ("weight", "[1, {value: 2}]", "values and entries with 'value' in one"),
    ("weight", "[{value: 2}, 1]", "values and entries with 'value' in one"),
    ("weight", "[{filter: mlp}]", "'weight' has no value"),
    ("weight", "[{filter: [mlp], value: 1}]", "'filter' is no text"),
    ("weight", "{a: 1}", "unknown key 'a'"),
    ("density", "1.5", "'density' is 1.5, it must be from 0 to 1"),
    ("density", "-0.1", "'density' is -0.1, it must be from 0 to 1"),
    ("density", "[0.5, 1.01]", "'density' is 1.01, it must be from 0 to 1"),
    ("normalize", "2", "'normalize' is '2', not true or false"),
    ("normalize", "maybe", "'normalize' is 'maybe', not true or false"),
    ("scope", "modle", "'scope' is 'modle', it must be 'tensor' or 'model'"),
    ("scope", "1", "'scope' is '1', it must be 'tensor' or 'model'"),
]


@pytest.mark.parametrize("key, value, words", VALUES)
def test_values(place, tmp_path, key, value, words):
    if key == "weight":
        line, text = 7, GOOD.replace("weight: 1", f"weight: {value}")
    elif key == "density":
        line, text = 7, GOOD.replace("weight: 1", f"weight: 1, {key}: {value}")
    else:
        line, text = 8, GOOD + f"parameters: {{{key}: {value}}}\n"
    told = refuse(place, tmp_path, text)
    assert f"r.yaml:{line}:" in told[0] and words in told[0], told


@pytest.mark.parametrize(
    "method, key, value, words",
    [
        ("karcher", "max_iter", "2.5", "'max_iter' is 2.5, not a whole number"),
        ("karcher", "max_iter", "-1", "'max_iter' is -1, it must be from 0 to"),
        ("karcher", "tol", "2", "'tol' is 2, it must be from 0 to 1"),
        ("linear", "normalize", "[]", "'normalize' is an empty list"),
    ],
)
def test_values_of_other_methods(place, tmp_path, method, key, value, words):
    text = f"merge_method: {method}\nmodels: [{{model: one}}, {{model: two}}]"
    text += f"\nparameters: {{weight: 1, {key}: {value}}}\n"
    told = refuse(place, tmp_path, text)
    assert len(told) == 1 and words in told[0] and "r.yaml:3:" in told[0]


@pytest.mark.parametrize(
    "line, words",
    [
        ("dtype: int8", "'dtype' is 'int8', which is none of bfloat16"),
        ("dtype: fp16", "'dtype' is 'fp16', which is none of bfloat16"),
        ("out_dtype: [float16]", "'out_dtype' is no text"),
        ("parameters: [normalize]", "'parameters' is no mapping"),
        ("parameters: yes", "'parameters' is no mapping"),
        ("slices: []", "only one of 'models', 'slices' and 'modules'"),
        ("tokenizer: 3", "'tokenizer' is no mapping"),
        ("tokenizer_source: union", "tokenizers cannot be united yet"),
        ("tokenizer: {source: union}", "tokenizers cannot be united yet"),
        ("tokenizer: {}", "'tokenizer' without 'source' unites tokenizers"),
        ("tokenizer: {source: base, tokens: {}}", "'tokens' is not supported"),
        ("chat_template: auto", "chat template 'auto' is not supported yet"),
        ("chat_template: [a]", "'chat_template' is no text"),
        ("name: [a]", "'name' is no text"),
    ],
)
def test_lines_of_the_top_level(place, tmp_path, line, words):
    (told,) = refuse(place, tmp_path, GOOD + line + "\n")
    assert "r.yaml:8:" in told and words in told


def test_required_parameters(place, tmp_path):
    (told,) = refuse(place, tmp_path, GOOD.replace("weight: 1", ""))
    assert "r.yaml:6:12: model 'two' has no 'weight', which ties needs" in told
    text = "merge_method: slerp\nbase_model: base\nmodels: [{model: one}]\n"
    (told,) = refuse(place, tmp_path, text)
    assert "r.yaml:3:9: slerp needs a parameter 't'" in told


def test_filters(place, tmp_path):
    """One that fits nothing is warned of; where none fits, and there is no
    value for the rest, is said for a tensor."""
    plain = accept(place, tmp_path, GOOD)[1]
    text = GOOD.replace(
        "weight: 1", "weight: [{filter: mpl, value: 9}, {value: 1}]"
    )
    result, got = accept(place, tmp_path, text)
    assert f"{tmp_path}/r.yaml:7:" in result.err and got == plain
    assert "filter 'mpl' fits no tensor" in result.err
    shutil.rmtree(tmp_path / "out")
    text = GOOD.replace("weight: 1", "weight: [{filter: mlp, value: 9}]")
    told = refuse(place, tmp_path, text)
    assert "r.yaml:7:26: tensor 'model.embed_tokens.weight'" in told[0]
    assert "no filter fits (an entry without 'filter' holds" in told[0]


# Layers

RANGES = [
    ("[0, 4]", "[0, 4]", "has 3 layers, 0 to 2"),
    ("[0, 999999999]", "[0, 999999999]", "has 3 layers, 0 to 2"),
    ("[2, 1]", "[2, 1]", "'layer_range' ends before it begins"),
    ("[-1, 2]", "[-1, 2]", "'layer_range' is not a whole number from 0 on"),
    ("[0, 1.5]", "[0, 1]", "'layer_range' is not a whole number from 0 on"),
    ("[0, a]", "[0, 1]", "'layer_range' is not a whole number from 0 on"),
    ("[0, 1e18]", "[0, 1]", "'layer_range' is not a whole number from 0 on"),
    ("[0, 3]", "[0, 2]", "2 layers, where the first source of the slice has 3"),
    ("[0]", "[0]", "'layer_range' is not of the form [BEGIN, END]"),
    ("[0, 1, 2]", "[0, 1]", "'layer_range' is not of the form [BEGIN, END]"),
    ("3", "[0, 3]", "'layer_range' is not of the form [BEGIN, END]"),
    ("~", "[0, 3]", "there is no 'layer_range'"),
    ("[3, 3]", "[3, 3]", "the slices have no layers"),
]


@pytest.mark.parametrize("first, second, words", RANGES)
def test_layer_ranges(place, tmp_path, first, second, words):
    text = SLICED.replace("[0, 3]", "BEFORE", 1).replace("[0, 3]", second)
    told = refuse(place, tmp_path, text.replace("BEFORE", first))
    assert words in told[0] and "r.yaml:" in told[0], told


# Models

COUNTS = [
    ("slerp", "base", 2, "takes one model beside the base, two are given"),
    ("slerp", "base", 0, "takes one model beside the base, none are given"),
    ("slerp", None, 1, "slerp needs a 'base_model'"),
    ("ties", None, 2, "ties needs a 'base_model'"),
    ("model_stock", "base", 1, "takes at least two models beside the base"),
    ("passthrough", None, 2, "passthrough takes one model, two are given"),
    ("nuslerp", None, 3, "nuslerp takes two models, three are given"),
    ("linear", None, 0, "linear takes at least one model, none are given"),
]


@pytest.mark.parametrize("method, base, count, words", COUNTS)
def test_numbers_of_models(place, tmp_path, method, base, count, words):
    listed = ", ".join(f"{{model: {n}}}" for n in NAMES[1 : count + 1])
    text = f"merge_method: {method}\nparameters: {{t: 0.5, weight: 1}}\n"
    text += f"models: [{listed}]\n"
    text += f"base_model: {base}\n" if base else ""
    (told,) = refuse(place, tmp_path, text)
    assert f"r.yaml:3:9: {words}" in told or words in told


@pytest.mark.parametrize(
    "model, status, words",
    [
        ("nowhere/at/all", NO_INPUT, "r.yaml:4:12: model 'nowhere/at/all': no"),
        ("./nowhere", NO_INPUT, "r.yaml:4:12: model './nowhere': no such path"),
        ("org/name@v1", NO_INPUT, "hf download org/name --revision v1"),
        ("one+lora", USAGE, "r.yaml:4:12: LoRA adapters are not merged"),
        ("{model: one, lora: x}", USAGE, "LoRA adapters are not merged"),
        ("[one]", USAGE, "r.yaml:4:12: no model"),
        ("~", USAGE, "r.yaml:4:5: there is no 'model'"),
        ("hollow", (DATA, NO_INPUT), "hollow: has no .safetensors files"),
        ("pickled", (DATA, NO_INPUT), "save the model as safetensors first"),
        ("text.safetensors", DATA, "text.safetensors: not a safetensors file"),
        ("/dev/zero", (DATA, NO_INPUT), "/dev/zero: not a regular file"),
        ("two", USAGE, "model 'two' is listed twice"),
        ("wide", DATA, "wide/model-00001-of-00002.safetensors: tensor "
                       "'model.embed_tokens.weight': has shape [51, 24], the "
                       "base [50, 24]"),
    ],
)  # fmt: skip
def test_models(place, tmp_path, model, status, words):
    text = GOOD.replace("model: one", f"model: {model}")
    assert any(words in t for t in refuse(place, tmp_path, text, status))


def test_other_vocabularies_are_explained(place, tmp_path):
    text = GOOD.replace("model: one", "model: wide")
    for told in refuse(place, tmp_path, text, DATA):
        assert "`tokenizer: union`" in told


def test_a_fifo_is_not_waited_for(place, tmp_path):
    fifo = tmp_path / "more" / "fifo"
    (fifo.parent / "folder").mkdir(parents=True)
    os.mkfifo(fifo)
    os.mkfifo(fifo.parent / "folder" / "model.safetensors")
    for model in (fifo, fifo.parent / "folder"):
        for old in ("base_model: base", "model: one"):
            text = GOOD.replace(old, old.split()[0] + f" {model}")
            result = run("plan", "-", cwd=place, stdin=None,
                         input=text.encode(), timeout=SECONDS)  # fmt: skip
            assert_refused(result, (DATA, NO_INPUT), None, [fifo.parent])
            assert "not a regular file" in result.err


def changed(place, path, **tensors):
    """A model like one, with other tensors (None: without)."""
    model = checkpoints.load(place / "one")
    for name, t in tensors.items():
        if t is None:
            del model[name]
        else:
            model[name] = t
    return llama.write(path, model, LAYERS)


NORM = "model.norm.weight"


def refuse_pair(place, tmp_path, base, tuned, method="ties", *options):
    """A merge of these two; returns the errors."""
    made, out = tmp_path / "r.yaml", tmp_path / "out"
    made.write_text(
        f"merge_method: {method}\nbase_model: {base}\n"
        f"models: [{{model: {tuned}}}]\n"
        "parameters: {weight: 1, density: 0.5, t: 0.5}\n"
    )
    result = run("merge", made, "-o", out, *options, cwd=place)
    assert_refused(result, DATA, out)
    return errors(result)


def test_checkpoints_that_do_not_fit(place, tmp_path):
    ids, other = (checkpoints.raw(bytes([1, 2, n]), "U8") for n in (3, 4))
    square = checkpoints.tensor([0.5] * 24, "BF16", [4, 6])
    a = changed(place, tmp_path / "a", ids=ids)
    b = changed(place, tmp_path / "b", ids=other)
    (told,) = refuse_pair(place, tmp_path, a, b)
    assert "'ids'" in told and str(b) in told and "U8" in told
    c = changed(place, tmp_path / "c", **{NORM: None})
    (told,) = refuse_pair(place, tmp_path, "base", c)
    assert f"'{NORM}'" in told and str(c) in told and "--allow-missing" in told
    (told,) = refuse_pair(place, tmp_path, c, "one")
    assert f"'{NORM}'" in told and "one/" in told and "--allow-extra" in told
    d = changed(place, tmp_path / "d", **{NORM: square})
    (told,) = refuse_pair(place, tmp_path, "base", d, "ties", "--allow-missing")
    assert f"'{NORM}'" in told and str(d) in told
    assert "[4, 6]" in told and "[24]" in told


@pytest.mark.parametrize("method", ["ties", "slerp", "breadcrumbs", "della"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_cannot_be_ranked(place, tmp_path, method, value):
    bad = checkpoints.tensor([0.5] * 23 + [float(value)], "BF16")
    path = changed(place, tmp_path / "bad", **{NORM: bad})
    (told,) = refuse_pair(place, tmp_path, "base", path, method)
    assert f"tensor '{NORM}'" in told and "NaN or an infinity" in told


# --set and documents

SETS = [
    (["models.1=3"], "--set models.1: the model is no mapping"),
    (["models=3"], "--set models: 'models' is no list"),
    (["models.9.weight=3"],
     "--set models.9.weight: the recipe has no 'models.9'"),
    (["models.x.weight=3"], "the recipe has no 'models.x'"),
    (["models.-1.weight=3"], "the recipe has no 'models.-1'"),
    (["models.99999999999999999999.weight=3"], "the recipe has no 'models.9"),
    (["foo.bar=3"], "the recipe has no 'foo'"),
    (["weigth=3"], "unknown key 'weigth' (did you mean 'weight'?)"),
    (["lambda=1", "lambda=abc"], "--set lambda: 'lambda' is 'abc', not a"),
    (["lambda="], "'lambda' has no value"),
    (["lambda"], "--set: 'lambda' is not of the form NAME=VALUE"),
    (["=3"], "--set: '=3' is not of the form NAME=VALUE"),
    (["a..b=3"], "--set a..b: no path of keys and positions"),
    (["lambda=[1"], "not valid YAML"),
    (["lambda=*a"], "no anchor 'a' before this alias"),
    (["lambda=" + "[" * 100], "nested more than 64 deep"),
    (["lambda=\udcff"], "--set lambda: not UTF-8"),
    (["parameters=3"], "'parameters' is no mapping"),
    (["merge_method=foo"], "unknown merge method 'foo'"),
    (["models.1.model=one"], "model 'one' is listed twice"),
    (["models.0.density=2"], "'density' is 2, it must be from 0 to 1"),
    (["models.0.parameters.weight.x=2"], "the recipe has no"),
]  # fmt: skip


@pytest.mark.parametrize("words, message", SETS)
def test_set(place, tmp_path, words, message):
    options = [o for word in words for o in ("--set", word)]
    made, out = tmp_path / "r.yaml", tmp_path / "out"
    made.write_text(GOOD)
    result = run("merge", made, "-o", out, *options, cwd=place)
    assert_refused(result, USAGE, out, [message])


def test_the_last_set_counts(place, tmp_path):
    twice = accept(place, tmp_path, GOOD, "--set", "lambda=3", "--set",
                   "lambda=1e-1")[1]  # fmt: skip
    assert accept(place, tmp_path, GOOD, "--set", "lambda=0.1")[1] == twice
    assert accept(place, tmp_path, GOOD)[1] != twice


def test_line_ends_and_marks(place, tmp_path):
    plain = accept(place, tmp_path, GOOD)[1]
    for text in (GOOD.replace("\n", "\r\n"), GOOD.replace("\n", "\r"),
                 "\ufeff" + GOOD, "\ufeff---\r\n" + GOOD, GOOD.strip(),
                 "%YAML 1.1\n---\n" + GOOD + "...\n"):  # fmt: skip
        assert accept(place, tmp_path, text)[1] == plain
    shutil.rmtree(tmp_path / "out")
    (told,) = refuse(place, tmp_path, "\ufeffdype: 1\r\n" + GOOD)
    assert "r.yaml:1:1: unknown key 'dype'" in told


DOCUMENTS = [
    ([GOOD, GOOD], [], "r.yaml:9:1: a second document without a name"),
    (["name: a\n" + GOOD, "name: b\n" + GOOD], [],
     "each document has a name, choose one with --document: a, b"),
    (["name: a\n" + GOOD, "name: b\n" + GOOD], ["--document", "c"],
     "no document is named 'c' (there is: a, b)"),
    ([GOOD], ["--document", "c"], "named 'c' (there is: none has a name)"),
    (["name: a\n" + GOOD] * 2, ["--document", "a"],
     "r.yaml:10:1: a second document named 'a'"),
    (["name: a\n" + GOOD.replace("one", "b"), "name: b\n" + GOOD.replace(
        "one", "a")], ["--document", "a"], "document 'b' needs itself"),
    ([GOOD.replace("one", "../x"), "name: ../x\n" + GOOD], [],
     "document '../x': no file can have that name"),
]  # fmt: skip


@pytest.mark.parametrize("documents, options, words", DOCUMENTS)
def test_documents(place, tmp_path, documents, options, words):
    made, out = tmp_path / "r.yaml", tmp_path / "out"
    made.write_text("---\n".join(documents))
    result = run("merge", made, "-o", out, *options, cwd=place)
    assert_refused(result, USAGE, out, [words])
    assert os.listdir(tmp_path) == ["r.yaml"]


def test_recipes_come_through_pipes(place, tmp_path):
    """Also one whose documents need each other: it is read once."""
    text = "name: first\n" + GOOD + "---\n" + GOOD.replace("two", "first")
    wanted = accept(place, tmp_path, text)[1]
    result = run("merge", "-", "-o", tmp_path / "stdin", cwd=place, stdin=None,
                 input=text.encode())  # fmt: skip
    assert result.status == 0, result.err
    assert "document first: " in result.err and ".taumerge" not in result.err
    assert checkpoints.load(tmp_path / "stdin") == wanted
    end, other = os.pipe()
    os.write(other, text.encode())
    os.close(other)
    result = run("merge", f"/dev/fd/{end}", "-o", tmp_path / "pipe", cwd=place,
                 pass_fds=[end])  # fmt: skip
    os.close(end)
    assert result.status == 0, result.err
    assert checkpoints.load(tmp_path / "pipe") == wanted
    text = "dype: 1\n" + text
    result = run("merge", "-", "-o", tmp_path / "no", cwd=place, stdin=None,
                 input=text.encode())  # fmt: skip
    words = ["standard input:1:1: unknown key 'dype'"]
    assert_refused(result, USAGE, tmp_path / "no", words)


@pytest.mark.parametrize(
    "path, status, words",
    [("base", USAGE, "base: cannot be read"),
     ("", NO_INPUT, "cannot be opened"),
     ("none.yaml", NO_INPUT, "none.yaml: cannot be opened"),
     ("/dev/zero", USAGE, "/dev/zero: longer than 16 MiB"),
     ("/dev/null", USAGE, "/dev/null: there is no recipe"),
     ("base/config.json", USAGE, "there is no 'merge_method'"),
     ("one/model.safetensors", USAGE, "one/model.safetensors: not UTF-8")],
)  # fmt: skip
def test_files_that_are_no_recipes(place, tmp_path, path, status, words):
    out = tmp_path / "out"
    result = run("merge", path, "-o", out, cwd=place, timeout=SECONDS)
    assert_refused(result, status, out, [words])
