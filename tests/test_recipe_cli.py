"""Recipes at the command line: what a user types, reads and relies on."""

import json
import os
import re
from itertools import combinations, product

import numpy as np
import pytest

import checkpoints
import llama
import program
import vectors
from golden_check import values
from llama import models, recipe
from program import (
    DATA,
    NO_INPUT,
    USAGE,
    assert_refused,
    errors,
    run,
    scaled,
    smallest_memory,
    some,
)

LAYERS = 3
NAMES = ["base", "one", "two", "three"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a base, three fine-tunes of it and their vectors."""
    path = tmp_path_factory.mktemp("recipes")
    found = Place(path, llama.family(path, NAMES, LAYERS))
    for name in NAMES[1:]:
        vectors.diff(path / "base", path / name, path / f"stored-{name}")
    before = checkpoints.tree_hash(path)
    yield found
    assert checkpoints.tree_hash(path) == before, "inputs were written to"


class Place:
    def __init__(self, path, tensors):
        self.path = path
        self.tensors = tensors

    def run(self, *args, **how):
        return run(*args, cwd=self.path, **how)

    def merge(self, made, out, *more, **how):
        """Merges, and insists on success."""
        result = self.run("merge", made, "-o", out, *more, **how)
        assert result.status == 0, result.err
        assert not program.sibling(out).exists()
        return result


def weights(path):
    """{name: digest} of the weight files and their index."""
    files = list(path.glob("*.safetensors*"))
    assert files
    return {f.name: checkpoints.digest(f.read_bytes()) for f in files}


SUM = {
    "merge_method": "task_arithmetic",
    "base_model": "base",
    "models": models("one", "two", weight=[0.4, -1.0]),
}


@pytest.fixture
def two(tmp_path):
    return recipe(tmp_path / "two.yaml", **SUM)


# Merging


def test_a_recipe_is_what_the_options_say(place, two, tmp_path):
    """The same bytes, shards, index and side files, and the numbers of
    docs/numerics.md."""
    place.merge(two, tmp_path / "recipe")
    result = place.run(
        "merge", "-b", "base", "-t", "one", "-w", "0.4", "-t", "two", "-w",
        "-1", "-o", tmp_path / "options",
    )  # fmt: skip
    assert result.status == 0, result.err
    a, b = (checkpoints.tree(tmp_path / n) for n in ("recipe", "options"))
    for tree in (a, b):
        tree.pop("taumerge.json"), tree.pop("taumerge.xxh128")
    assert a == b
    given = [(place.tensors["one"], 0.4), (place.tensors["two"], -1.0)]
    wanted = checkpoints.expected(place.tensors["base"], given)
    assert checkpoints.load(tmp_path / "recipe") == wanted
    assert run("verify", tmp_path / "recipe").status == 0


def test_the_manifest_holds_the_recipe(place, two, tmp_path):
    place.merge(two, tmp_path / "out")
    text = (tmp_path / "out" / "taumerge.json").read_text()
    assert "task_arithmetic" in text and json.loads(text)


def test_comments_anchors_and_quotes(place, tmp_path):
    made = tmp_path / "r.yaml"
    made.write_text(
        "# as people write them\n"
        "base_model: &b 'base'\n"
        "models:\n"
        "- model: \"one\" # a comment\n"
        "  parameters: {weight: '0.4'}\n"
        "- model: *b\n"
        "- parameters:\n"
        "    weight: -1e0\n"
        "  model: two\n"
        "merge_method: task_arithmetic\n"
        "...\n"
    )
    place.merge(made, tmp_path / "out")
    place.merge(recipe(tmp_path / "two.yaml", **SUM), tmp_path / "wanted")
    assert weights(tmp_path / "out") == weights(tmp_path / "wanted")


def test_from_standard_input(place, two, tmp_path):
    place.merge(two, tmp_path / "wanted")
    with open(two) as f:
        place.merge("-", tmp_path / "out", stdin=f)
    assert weights(tmp_path / "out") == weights(tmp_path / "wanted")


@pytest.mark.parametrize(
    "options, changed",
    [
        (["lambda=0.7"], {"parameters": {"lambda": 0.7}}),
        (["models.1.weight=0.3"],
         {"models": models("one", "two", weight=[0.4, 0.3])}),
        (["models.1.parameters.weight=0.3"],
         {"models": models("one", "two", weight=[0.4, 0.3])}),
        (["models.0.weight=[0, 1]", "out_dtype=float32"],
         {"models": models("one", "two", weight=[[0, 1], -1.0]),
          "out_dtype": "float32"}),
        (["models.0.model=three"],
         {"models": models("three", "two", weight=[0.4, -1.0])}),
        (["merge_method=ties"], {"merge_method": "ties"}),
    ],
    ids=lambda v: "+".join(v) if isinstance(v, list) else "",
)  # fmt: skip
def test_set(place, two, tmp_path, options, changed):
    """Changes the recipe as if it were written so."""
    sets = [word for o in options for word in ("--set", o)]
    place.merge(two, tmp_path / "out", *sets)
    wanted = recipe(tmp_path / "wanted.yaml", **{**SUM, **changed})
    place.merge(wanted, tmp_path / "wanted")
    assert weights(tmp_path / "out") == weights(tmp_path / "wanted")
    place.merge(two, tmp_path / "plain")
    assert weights(tmp_path / "out") != weights(tmp_path / "plain")


@pytest.mark.parametrize(
    "word",
    ["lamda=1", "models.7.weight=1", "lambda", "=1", "lambda=heavy",
     "models.1.weight=.inf", "lambda=[1", "models.1.wieght=1"],
)  # fmt: skip
def test_set_what_makes_no_sense(place, two, tmp_path, word):
    out = tmp_path / "out"
    result = place.run("merge", two, "-o", out, "--set", word)
    assert_refused(result, USAGE, out)


def test_more_documents_in_a_file(place, tmp_path):
    """Each is chosen by its name."""
    both = tmp_path / "both.yaml"
    other = {**SUM, "models": models("three", weight=[1])}
    both.write_text(
        json.dumps({"name": "a", **SUM})
        + "\n---\n"
        + json.dumps({"name": "b", **other})
        + "\n"
    )
    for name, said in (("a", SUM), ("b", other)):
        out, wanted = tmp_path / f"{name}-out", tmp_path / f"{name}-wanted"
        place.merge(both, out, "--document", name)
        place.merge(recipe(tmp_path / f"{name}.yaml", **said), wanted)
        assert weights(out) == weights(wanted)
    out = tmp_path / "none"
    assert_refused(
        place.run("merge", both, "-o", out), USAGE, out, [both.name]
    )
    assert_refused(
        place.run("merge", both, "-o", out, "--document", "c"), USAGE, out,
        [both.name, "'c'"],
    )  # fmt: skip


# Seeing what would be done


def test_plan(place, two, tmp_path):
    result = place.run("plan", two)
    assert result.status == 0, result.err
    for name in ("base/model-00001-of-00002.safetensors", "one", "two"):
        line = rf"(?m)^ *read .* {name}"
        assert re.search(line, result.out), result.out
    told = place.run("plan", two, "--json")
    plan = json.loads(told.out)
    size = sum(
        f.stat().st_size
        for n in ("base", "one", "two")
        for f in (place.path / n).glob("*.safetensors")
    )
    assert plan["read_bytes"] == pytest.approx(size, rel=0.1)
    assert os.listdir(tmp_path) == ["two.yaml"]


def test_plan_of_tensors(place, tmp_path):
    """The method, the sources and their parameters, of those that fit."""
    weight = [{"filter": "mlp", "value": [0.25, 0.75]}, {"value": 0.5}]
    made = recipe(
        tmp_path / "r.yaml", merge_method="ties", base_model="base",
        models=models("one", "two", weight=[weight, 0.125],
                      density=[0.5, 0.625]),
        parameters={"lambda": 1.5},
    )  # fmt: skip
    result = place.run("plan", made, "--tensor", "model.layers.*.up_proj.*")
    assert result.status == 0, result.err
    for i, value in enumerate(("0.25", "0.5", "0.75")):
        name = f"model.layers.{i}.mlp.up_proj.weight"
        assert name in result.out
        part = result.out.split(name, 1)[1].split("model.layers", 1)[0]
        assert re.search(rf"(?<![\d.]){value}(?![\d])", part), part
        assert "0.125" in part and "0.625" in part
    assert "ties" in result.out and "1.5" in result.out
    assert "one" in result.out and "two" in result.out
    for other in ("q_proj", "model.norm", "lm_head"):
        assert other not in result.out
    none = place.run("plan", made, "--tensor", "nothing.like.this")
    assert "up_proj" not in none.out + none.err


def test_plan_prints_the_recipe(place, two, tmp_path):
    """With --set and everything; read back it is the same."""
    result = place.run("plan", two, "--print-recipe", "--set", "lambda=0.7")
    assert result.status == 0 and not result.err, result.err
    printed = tmp_path / "printed.yaml"
    printed.write_text(result.out)
    place.merge(printed, tmp_path / "out")
    place.merge(two, tmp_path / "wanted", "--set", "lambda=0.7")
    assert weights(tmp_path / "out") == weights(tmp_path / "wanted")
    again = place.run("plan", printed, "--print-recipe")
    assert again.out == result.out


def test_a_plan_of_options_printed_as_a_recipe(place, tmp_path):
    """From there it can be changed."""
    args = ["-b", "base", "-t", "one", "-w", "0.4", "-t", "two", "-w", "-1"]
    result = place.run("plan", *args, "--print-recipe")
    assert result.status == 0, result.err
    printed = tmp_path / "printed.yaml"
    printed.write_text(result.out)
    place.merge(printed, tmp_path / "out")
    place.merge(recipe(tmp_path / "two.yaml", **SUM), tmp_path / "wanted")
    assert weights(tmp_path / "out") == weights(tmp_path / "wanted")


def test_the_report_says_what_is_unchanged(place, tmp_path):
    """Where there is a base to compare with."""
    made = recipe(
        tmp_path / "r.yaml", merge_method="task_arithmetic", base_model="base",
        models=models("one", weight=[[{"filter": "mlp", "value": 1},
                                      {"value": 1e-30}]]),
    )  # fmt: skip
    result = place.merge(made, tmp_path / "out")
    count, changed = len(llama.shapes(LAYERS)), 3 * LAYERS
    assert (
        f"{count} tensors: {count} merged by task_arithmetic "
        f"({count - changed} of them unchanged), 0 copied" in result.err
    )
    made = recipe(
        tmp_path / "l.yaml", merge_method="linear",
        models=models("one", "two", weight=[1, 1]),
    )  # fmt: skip
    result = place.merge(made, tmp_path / "mean")
    assert f"{count} tensors: {count} merged by linear, 0 copied" in result.err


# What is wrong with it


RIGHT = """\
merge_method: ties
base_model: base
models:
  - model: one
    parameters:
      weight: 0.4
      density: 0.5
  - model: two
    parameters: {weight: 1}
parameters:
  lambda: 1
dtype: bfloat16
"""


@pytest.mark.parametrize(
    "old, new, at, words",
    [
        ("dtype:", "dype:", "12:1", ["'dype'", "'dtype'"]),
        ("density:", "densty:", "7:7", ["'densty'", "'density'"]),
        ("lambda:", "lamda:", "11:3", ["'lamda'", "'lambda'"]),
        ("ties", "tie", "1:15", ["'tie'", "'ties'"]),
        ("models:", "modles:", "3:1", ["'modles'", "'models'"]),
        ("weight: 0.4", "weight: heavy", "6:15", ["'heavy'"]),
        ("weight: 0.4", "weight: .nan", "6:15", ["weight"]),
        ("density: 0.5", "density: 1.5", "7:16", ["density", "1.5"]),
        ("bfloat16", "bfloat17", "12:8", ["'bfloat17'"]),
        ("lambda: 1", "lambda: ~", "11:11", ["lambda"]),
        ("model: two", "model: one", "8:12", ["one"]),
        ("  - model: two", "    - model: two", "8:", []),
        ("  - model: two", "\t- model: two", "8:", []),
    ],
)
def test_a_mistake_has_a_place(place, tmp_path, old, new, at, words):
    made = tmp_path / "r.yaml"
    made.write_text(RIGHT)
    assert place.run("plan", made).status == 0
    made.write_text(RIGHT.replace(old, new, 1))
    out = tmp_path / "out"
    result = place.run("merge", made, "-o", out)
    assert_refused(result, USAGE, out)
    found = "\n".join(e for e in errors(result) if f"{made}:{at}" in e)
    assert found, result.err
    assert all(word in found for word in words), result.err


def test_all_mistakes_are_told_at_once(place, tmp_path):
    made = recipe(
        tmp_path / "r.yaml", **{**SUM, "dype": 1, "normalise": 1, "dtype": 7}
    )
    result = place.run("merge", made, "-o", tmp_path / "out")
    assert_refused(result, USAGE, tmp_path / "out")
    told = "\n".join(errors(result))
    assert "'dype'" in told and "'normalise'" in told


def test_unknown_keys_and_lax(place, two, tmp_path):
    made = recipe(
        tmp_path / "r.yaml",
        **{**SUM, "dype": "float16", "parameters": {"softness": 3}},
    )
    out = tmp_path / "out"
    result = place.run("merge", made, "-o", out)
    assert_refused(result, USAGE, out, ["'dype'", "'softness'"])
    result = place.merge(made, out, "--lax")
    warnings = [t for t in result.err.splitlines() if "warning: " in t]
    assert any("'dype'" in w and f"{made}:" in w for w in warnings)
    assert any("'softness'" in w for w in warnings)
    place.merge(two, tmp_path / "wanted")
    assert weights(out) == weights(tmp_path / "wanted")


@pytest.mark.parametrize(
    "method, key, value",
    [
        ("ties", "int8_mask", True),
        ("task_arithmetic", "density", 0.5),
        ("model_stock", "weight", 0.5),
    ],
)
def test_known_keys_without_effect_are_warned_of(
    place, tmp_path, method, key, value
):
    said = {**SUM, "merge_method": method}
    if method == "model_stock":
        said["models"] = models("one", "two")
    plain = recipe(tmp_path / "plain.yaml", **said)
    made = recipe(tmp_path / "r.yaml", **said, parameters={key: value})
    result = place.merge(made, tmp_path / "out")
    warnings = [t for t in result.err.splitlines() if "warning: " in t]
    assert len(warnings) == 1, result.err
    assert f"'{key}'" in warnings[0] and f"{made}:" in warnings[0]
    assert "warning" not in place.merge(plain, tmp_path / "plain").err
    assert weights(tmp_path / "out") == weights(tmp_path / "plain")


def test_a_filter_that_fits_nothing_is_warned_of(place, tmp_path):
    weight = [{"filter": "mpl", "value": 2}, {"value": 0.5}]
    made = recipe(
        tmp_path / "r.yaml", **{**SUM, "models": models("one", weight=[weight])}
    )
    result = place.merge(made, tmp_path / "out")
    assert "warning: " in result.err and "'mpl'" in result.err


def test_no_such_recipe_or_model(place, tmp_path):
    out = tmp_path / "out"
    missing = tmp_path / "no.yaml"
    assert_refused(
        place.run("merge", missing, "-o", out), NO_INPUT, out, [missing]
    )
    made = recipe(tmp_path / "r.yaml", **{**SUM, "base_model": "nowhere"})
    assert_refused(
        place.run("merge", made, "-o", out), NO_INPUT, out, ["nowhere"]
    )


def test_recipe_and_options_do_not_mix(place, two, tmp_path):
    out = tmp_path / "out"
    for more in (["-b", "base"], ["-t", "one"], ["-w", "1"], [two]):
        result = place.run("merge", two, "-o", out, *more)
        assert_refused(result, USAGE, out)


def test_shapes_that_differ(place, tmp_path):
    llama.family(tmp_path, ["wide"], LAYERS, words=51)
    made = recipe(
        tmp_path / "r.yaml",
        **{**SUM, "models": models(tmp_path / "wide", weight=[1])},
    )
    result = place.run("merge", made, "-o", tmp_path / "out")
    assert_refused(
        result, DATA, tmp_path / "out", ["model.embed_tokens.weight"]
    )


# Beside the weights


def stacked(*ranges):
    return [
        {"sources": [{"model": name, "layer_range": list(layers)}]}
        for name, layers in ranges
    ]


def test_stacked_layers(place, tmp_path):
    """num_hidden_layers follows; every other byte of config.json stays."""
    made = recipe(
        tmp_path / "r.yaml", merge_method="passthrough",
        slices=stacked(("one", (0, 2)), ("two", (1, 3)), ("one", (2, 3))),
    )  # fmt: skip
    place.merge(made, tmp_path / "out")
    config = (tmp_path / "out" / "config.json").read_text()
    assert config == llama.config(5)
    got = checkpoints.load(tmp_path / "out")
    assert sorted(got) == sorted(llama.shapes(5))
    for to, (model, layer) in enumerate(
        [("one", 0), ("one", 1), ("two", 1), ("two", 2), ("one", 2)]
    ):
        for name in llama.BLOCK:
            source = place.tensors[model][f"model.layers.{layer}.{name}.weight"]
            assert got[f"model.layers.{to}.{name}.weight"] == source
    assert run("verify", tmp_path / "out").status == 0


def test_as_many_layers_as_before_leave_the_configuration(place, two, tmp_path):
    place.merge(two, tmp_path / "out")
    for name in ("config.json", "tokenizer.json"):
        wanted = (place.path / "base" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == wanted


def test_a_chat_template(place, tmp_path):
    text = "{% for m in messages %}{{ m['content'] }}\n\u00fc{% endfor %}"
    made = recipe(tmp_path / "r.yaml", **SUM, chat_template=text)
    place.merge(made, tmp_path / "out")
    got = (tmp_path / "out" / "chat_template.jinja").read_text()
    assert got == text
    made = recipe(tmp_path / "r.yaml", **SUM, chat_template="chatmel")
    result = place.run("merge", made, "-o", tmp_path / "no")
    assert_refused(result, USAGE, tmp_path / "no", ["'chatmel'"])


# Models of the local Hugging Face cache


def test_models_of_the_cache(place, two, tmp_path):
    """By the names they have there, as they are linked there."""
    hub = tmp_path / "hub"
    for name in ("base", "one", "two"):
        cached = hub / f"models--some--{name}"
        snapshot = cached / "snapshots" / ("0123456789" * 4)
        llama.write(snapshot, place.tensors[name], LAYERS)
        checkpoints.link_like_a_hub_cache(snapshot, cached / "blobs")
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("0123456789" * 4)
    said = {
        **SUM, "base_model": "some/base",
        "models": models("some/one", "some/two@main", weight=[0.4, -1.0]),
    }  # fmt: skip
    made = recipe(tmp_path / "r.yaml", **said)
    env = {"HF_HUB_CACHE": hub}
    place.merge(made, tmp_path / "out", env=env)
    place.merge(two, tmp_path / "wanted")
    got = checkpoints.load(tmp_path / "out")
    assert got == checkpoints.load(tmp_path / "wanted")
    none = place.run("merge", made, "-o", tmp_path / "no",
                     env={"HF_HUB_CACHE": tmp_path})  # fmt: skip
    assert_refused(none, NO_INPUT, tmp_path / "no", ["some/base"])


# One of each kind of method, on a tensor of several megabytes


PAIR = {"base_model": "base", "models": models("one")}
THREE = {"base_model": "base", "models": models("one", "two", "three")}
WEIGHED = {
    "base_model": "base",
    "models": models("one", "two", "three", weight=[0.5, -0.25, 1.0]),
}
DENSE = {
    "base_model": "base",
    "models": models("one", "two", "three", weight=[0.5, 0.25, 1.0],
                     density=[0.5, 0.6, 0.7]),
}  # fmt: skip

METHODS = {
    "task_arithmetic": WEIGHED,
    "linear": {"models": WEIGHED["models"]},
    "nearswap": {**PAIR, "parameters": {"t": 0.001}},
    "ram": THREE,
    "slerp": {**PAIR, "parameters": {"t": [0.2, 0.8]}},
    "nuslerp": {
        "base_model": "base", "models": models("one", "two", weight=[1, 3]),
        "parameters": {"nuslerp_flatten": False},
    },
    "multislerp": {**DENSE, "models": models("one", "two", weight=[1, 2])},
    "karcher": THREE,
    "model_stock": THREE,
    "metagpt": THREE,
    "ties": DENSE,
    "ties of the whole model": {**DENSE, "parameters": {"scope": "model"}},
    "breadcrumbs": DENSE,
    "dare_ties": DENSE,
    "della": DENSE,
    "sce": {**THREE, "parameters": {"select_topk": 0.4}},
    "arcee_fusion": PAIR,
}  # fmt: skip


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """As `place`, with an embedding of several megabytes, and what every
    method makes of it."""
    path = tmp_path_factory.mktemp("large")
    words = scaled(60000, 9000)
    place = Place(path, llama.family(path, NAMES, 1, words=words))
    for name in NAMES[1:]:
        vectors.diff(path / "base", path / name, path / f"stored-{name}")
    (path / "out").mkdir()
    for method, said in METHODS.items():
        made = recipe(
            path / f"{method}.yaml", merge_method=method.split()[0], **said
        )
        place.merge(made, path / "out" / method, "--threads", 1)
    return place


@pytest.mark.parametrize("memory", ["least", "512M"])
def test_sums_are_of_all_of_a_tensor(large, tmp_path, memory):
    """Model Stock in numbers, on tensors of many blocks, read once or twice."""
    said = {**METHODS["model_stock"], "dtype": "float32"}
    made = recipe(tmp_path / "r.yaml", merge_method="model_stock", **said)
    if memory == "least":
        memory = smallest_memory(
            ["merge", made, "-o", tmp_path / "out"], cwd=large.path
        )
    large.merge(made, tmp_path / "out", "--memory", memory)
    for name, t in checkpoints.load(tmp_path / "out").items():
        base, *tuned = (values(large.tensors[n][name]) for n in NAMES)
        d = [x - base for x in tuned]
        cosines = [
            (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
            for a, b in combinations(d, 2)
        ]
        c = np.mean(cosines)
        wanted = base + 3 * c / (1 + 2 * c) * sum(d) / 3
        assert np.abs(values(t) - wanted).max() <= 1e-6 * np.abs(base).max()


@pytest.mark.parametrize("method", METHODS)
def test_stored_vectors_give_the_same_bytes(large, tmp_path, method):
    """As the checkpoints that they were made of."""
    said = (large.path / f"{method}.yaml").read_text()
    made = tmp_path / "r.yaml"
    made.write_text(re.sub('"(one|two|three)"', r'"stored-\1"', said))
    if "base_model" not in said:
        made.write_text(made.read_text().replace(
            '{\n', '{\n "base_model": "base",\n', 1))  # fmt: skip
    result = large.run("merge", made, "-o", tmp_path / "out")
    if method == "linear":  # the base would be one of the inputs
        assert_refused(result, USAGE, tmp_path / "out")
        return
    assert result.status == 0, result.err
    wanted = weights(large.path / "out" / method)
    assert weights(tmp_path / "out") == wanted


WAYS = [
    ["--memory", "64M"], ["--memory", "least"], ["--threads", "2"],
    ["--threads", "3", "--direct", "on"], ["--io", "threads"],
    ["--io", "uring"], "cpu=portable", "cpu=avx2",
]  # fmt: skip


@pytest.mark.parametrize(
    "method, way",
    some(product(METHODS, WAYS)),
    ids=lambda w: w if isinstance(w, str) else "".join(w),
)
def test_however_the_work_is_done(large, tmp_path, method, way):
    env, options = {}, []
    if isinstance(way, str):
        env["TAUMERGE_CPU"] = way[4:]
        if way[4:] not in program.instruction_sets():
            pytest.skip(f"this machine has no {way[4:]}")
    else:
        options = list(way)
    made = large.path / f"{method}.yaml"
    args = ["merge", made, "-o", tmp_path / "out"]
    if "least" in options:
        options[1] = smallest_memory(args, cwd=large.path)
    large.merge(made, tmp_path / "out", *options, env=env)
    wanted = weights(large.path / "out" / method)
    assert weights(tmp_path / "out") == wanted


@pytest.mark.parametrize("method", METHODS)
def test_a_merge_as_a_vector(large, tmp_path, method):
    """Applied to the base it is what the merge would have written."""
    if method == "linear":
        pytest.skip("without a base there is nothing to store against")
    vector, out = tmp_path / "vector", tmp_path / "out"
    made = large.path / f"{method}.yaml"
    large.merge(made, vector, "--as-vector")
    vectors.apply(large.path / "base", vector, out)
    assert weights(out) == weights(large.path / "out" / method)


def test_weight_0_in_some_tensors_of_a_whole_model(place, tmp_path):
    """What counts for nothing in a tensor is the base there, and is ranked
    with the rest of its vector all the same."""
    made = {}
    for name, weight in {
        "all": 0.5,
        "some": [{"filter": "mlp", "value": 0.5}, {"value": 0}],
    }.items():
        said = recipe(
            tmp_path / f"{name}.yaml", merge_method="ties", base_model="base",
            models=models(
                "one", "two", weight=[weight] * 2, density=[0.3] * 2
            ),
            parameters={"scope": "model"},
        )  # fmt: skip
        place.merge(said, tmp_path / name)
        made[name] = checkpoints.load(tmp_path / name)
    for tensor, base in place.tensors["base"].items():
        wanted = made["all"][tensor] if "mlp" in tensor else base
        assert made["some"][tensor] == wanted, tensor
    assert made["all"] != made["some"]


@pytest.mark.parametrize("method", ["dare_ties", "della"])
def test_the_seed(large, tmp_path, method):
    """Another seed, another mask; the standard one is 0."""
    made = large.path / f"{method}.yaml"
    for seed in ("0", "1", "18446744073709551615"):
        large.merge(made, tmp_path / seed, "--seed", seed)
    found = [weights(p) for p in sorted(tmp_path.iterdir())]
    assert found[0] == weights(large.path / "out" / method)
    assert found[0] != found[1] != found[2] != found[0]
