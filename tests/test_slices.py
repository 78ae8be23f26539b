"""Recipes about parts of models: which tensor goes with which, what is beside
them, and what is refused because it does not fit."""

import json
import re

import numpy as np
import pytest

import checkpoints
import llama
import vectors
from checkpoints import expected, raw, tensor, write_shards
from llama import models, recipe
from program import DATA, USAGE, assert_refused, errors, run

LAYERS = 4
NAMES = ["base", "one", "two"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a base, two fine-tunes and their vectors."""
    path = tmp_path_factory.mktemp("slices")
    found = Place(path)
    found.tensors = llama.family(path, NAMES, LAYERS)
    for name in NAMES[1:]:
        vectors.diff(path / "base", path / name, path / f"stored-{name}")
    before = checkpoints.tree_hash(path)
    yield found
    assert checkpoints.tree_hash(path) == before, "inputs were written to"


@pytest.fixture
def here(tmp_path):
    """An empty folder for models of a test's own."""
    return Place(tmp_path / "models")


class Place:
    """Models, and recipes that name them as they are called here."""

    def __init__(self, path):
        path.mkdir(exist_ok=True)
        self.path = path
        self.tensors = {}

    def add(self, name, tensors, config=None, shards=1):
        path = self.path / name
        write_shards(path, checkpoints.split(tensors, shards),
                     side_files=False)  # fmt: skip
        if config is not None:
            (path / "config.json").write_text(config)
        self.tensors[name] = tensors
        return path

    def run(self, out, *more, **said):
        made = recipe(out.parent / "r.yaml", **said)
        return run("merge", made, "-o", out, "-q", *more, cwd=self.path)

    def merge(self, out, *more, **said):
        result = self.run(out, *more, **said)
        assert result.status == 0, result.err
        return checkpoints.load(out)

    def refuse(self, out, status, mentions, *more, **said):
        result = self.run(out, *more, **said)
        assert_refused(result, status, out, mentions)
        return result


def slices(*all_of_them, **more):
    """Each a list of (model, begin, end) or of those with parameters."""
    return [
        {"sources": [
            {"model": m, "layer_range": [a, b],
             **({"parameters": p[0]} if p else {})}
            for m, a, b, *p in one
        ], **more}
        for one in all_of_them
    ]  # fmt: skip


def taken(model, layers, first=None, last=None):
    """The layers of a model under new numbers; what is in none of them from
    two others."""
    found = {}
    first, last = first or model, last or model
    found["model.embed_tokens.weight"] = first["model.embed_tokens.weight"]
    for to, layer in enumerate(layers):
        for name in llama.BLOCK:
            tensor = model[f"model.layers.{layer}.{name}.weight"]
            found[f"model.layers.{to}.{name}.weight"] = tensor
    for name in ("model.norm.weight", "lm_head.weight"):
        found[name] = last[name]
    return found


def assert_equal(got, wanted):
    assert sorted(got) == sorted(wanted)
    for name, t in wanted.items():
        assert got[name] == t, name


# Which layer goes where


def test_a_sum_of_layers_of_other_numbers(place, tmp_path):
    """Layers 0 and 1 with those two further up, then layer 3 alone."""
    got = place.merge(
        tmp_path / "out", merge_method="task_arithmetic", base_model="base",
        dtype="bfloat16",
        slices=slices(
            [("base", 0, 2), ("one", 2, 4, {"weight": 0.5})],
            [("base", 3, 4), ("two", 3, 4, {"weight": -1.5})],
        ),
    )  # fmt: skip
    base, one, two = (place.tensors[n] for n in NAMES)
    low = expected(taken(base, [0, 1]), [(taken(one, [2, 3]), 0.5)])
    high = expected(taken(base, [3]), [(taken(two, [3]), -1.5)])
    wanted = taken(low, [0, 1], low, high)
    wanted.update({
        f"model.layers.2.{name}.weight": high[f"model.layers.0.{name}.weight"]
        for name in llama.BLOCK
    })  # fmt: skip
    assert_equal(got, wanted)
    order = list(got)
    assert order[0] == "model.embed_tokens.weight"
    assert set(order[-2:]) == {"model.norm.weight", "lm_head.weight"}
    numbers = [int(n.split(".")[2]) for n in order[1:-2]]
    assert numbers == sorted(numbers)


def test_a_model_with_more_layers_than_the_first(here, tmp_path):
    """What is beyond the first model's last layer is called as its last."""
    llama.family(here.path, ["deep"], 6)
    llama.family(here.path, ["flat"], 2, seed=1)
    deep, flat = (checkpoints.load(here.path / n) for n in ("deep", "flat"))
    got = here.merge(
        tmp_path / "out", merge_method="passthrough",
        slices=slices([("flat", 0, 1)], [("deep", 3, 6)], [("flat", 1, 2)]),
    )  # fmt: skip
    layers = [(flat, 0), (deep, 3), (deep, 4), (deep, 5), (flat, 1)]
    wanted = taken(flat, [])
    for to, (model, layer) in enumerate(layers):
        for name in llama.BLOCK:
            source = model[f"model.layers.{layer}.{name}.weight"]
            wanted[f"model.layers.{to}.{name}.weight"] = source
    assert_equal(got, wanted)
    assert (tmp_path / "out" / "config.json").read_text() == llama.config(5)


def test_shapes_are_those_of_the_slice(here, tmp_path):
    """Not those of a model that has no part in it."""
    narrow, wide = (
        {f"h.{i}.w": tensor(np.full((size, 3), i + size), "F32")
         for i in range(2)}
        for size in (4, 9)
    )  # fmt: skip
    config = '{"n_layer":2}'
    here.add("narrow", narrow, config)
    here.add("wide", wide, config)
    here.add("other", wide, config)
    got = here.merge(
        tmp_path / "out", merge_method="linear",
        parameters={"weight": 1},
        slices=slices(
            [("narrow", 0, 1)], [("wide", 0, 2), ("other", 0, 2)]
        ),
    )  # fmt: skip
    assert [t.shape for t in got.values()] == [[4, 3], [9, 3], [9, 3]]
    assert_equal(got, {
        "h.0.w": narrow["h.0.w"], "h.1.w": wide["h.0.w"],
        "h.2.w": wide["h.1.w"],
    })  # fmt: skip
    text = (tmp_path / "out" / "config.json").read_text()
    assert text == '{"n_layer":3}'
    here.refuse(
        tmp_path / "no", DATA, ["'h.0.w'", "[9, 3]", "[4, 3]"],
        merge_method="linear", parameters={"weight": 1},
        slices=slices([("narrow", 0, 2), ("wide", 0, 2)]),
    )  # fmt: skip


def test_ranges_beyond_the_last_layer(place, tmp_path):
    """Each of them is named, with the model and its number of layers."""
    result = place.refuse(
        tmp_path / "no", USAGE, ["layers 0 to 8", "base has 4 layers"],
        merge_method="passthrough",
        slices=slices([("base", 0, 9)], [("base", 0, 1)], [("base", 2, 5)]),
    )  # fmt: skip
    assert len(errors(result)) == 2
    result = place.refuse(
        tmp_path / "no", USAGE, ["one has 4 layers", "two has 4 layers"],
        merge_method="passthrough",
        slices=slices([("base", 0, 1)], [("one", 4, 5)], [("two", 3, 6)]),
    )  # fmt: skip
    for line in errors(result):
        assert re.search(r"r\.yaml:\d+:\d+: ", line), line


def test_shards_of_a_size(place, tmp_path):
    """Tensors of slices are dealt out anew, here to many shards."""
    said = {
        "merge_method": "passthrough",
        "slices": slices([("one", 0, 3)], [("base", 2, 4)]),
    }
    whole = place.merge(tmp_path / "whole", **said)
    cut = place.merge(tmp_path / "cut", "--shard-size", "5000", **said)
    assert cut == whole
    assert len(list((tmp_path / "whole").glob("*.safetensors"))) == 1
    assert len(list((tmp_path / "cut").glob("*.safetensors"))) > 5
    assert run("verify", tmp_path / "cut").status == 0


# Tensors that some models have and others lack


def test_layers_that_are_not_used_are_no_extras(here, tmp_path):
    llama.family(here.path, ["deep"], 5)
    llama.family(here.path, ["flat"], 2)
    here.merge(
        tmp_path / "out", merge_method="linear", parameters={"weight": 1},
        slices=slices([("flat", 0, 2), ("deep", 1, 3)]),
    )  # fmt: skip
    result = here.refuse(
        tmp_path / "no", DATA, ["layers.2.", "--allow-extra"],
        merge_method="linear",
        models=models("flat", "deep", weight=[1, 1]),
    )  # fmt: skip
    assert "layers.1." not in result.err


def test_what_a_used_layer_has_besides_is_an_extra(place, here, tmp_path):
    more = dict(place.tensors["one"])
    more["model.layers.1.self_attn.q_norm.weight"] = tensor([1.0], "F32")
    more["model.layers.3.self_attn.q_norm.weight"] = tensor([1.0], "F32")
    more["score.weight"] = tensor([1.0], "F32")
    here.add("base", place.tensors["base"], llama.config(LAYERS))
    here.add("more", more)
    said = {
        "merge_method": "linear", "parameters": {"weight": 1},
        "slices": slices([("base", 0, 2), ("more", 0, 2)]),
    }  # fmt: skip
    result = here.refuse(
        tmp_path / "no", DATA, ["layers.1.self_attn.q_norm", "'score.weight'"],
        **said,
    )  # fmt: skip
    assert "layers.3." not in result.err
    here.merge(tmp_path / "out", "--allow-extra", **said)


def test_a_missing_tensor_has_the_number_that_it_has_there(
    place, here, tmp_path
):
    less = dict(place.tensors["one"])
    del less["model.layers.3.mlp.up_proj.weight"]
    here.add("base", place.tensors["base"], llama.config(LAYERS))
    here.add("less", less)
    said = {
        "merge_method": "task_arithmetic", "base_model": "base",
        "parameters": {"weight": 1}, "dtype": "bfloat16",
        "slices": slices([("base", 1, 2), ("less", 3, 4)]),
    }  # fmt: skip
    here.refuse(
        tmp_path / "no", DATA,
        ["'model.layers.3.mlp.up_proj.weight'", "less", "--allow-missing"],
        **said,
    )  # fmt: skip
    got = here.merge(tmp_path / "out", "--allow-missing", **said)
    base = place.tensors["base"]
    assert (
        got["model.layers.0.mlp.up_proj.weight"]
        == base["model.layers.1.mlp.up_proj.weight"]
    )
    assert (
        got["model.layers.0.mlp.down_proj.weight"]
        != base["model.layers.1.mlp.down_proj.weight"]
    )


# Heads that are an embedding


def tied(model):
    return {n: t for n, t in model.items() if n != "lm_head.weight"}


@pytest.mark.parametrize("sliced", [False, True])
@pytest.mark.parametrize("lacking", [("base",), ("one",), ("base", "two")])
def test_an_embedding_stands_in_for_a_head(place, here, tmp_path, lacking,
                                           sliced):  # fmt: skip
    """Wherever it is lacking; the head is then the last tensor."""
    seen = {}
    for name in NAMES:
        model = place.tensors[name]
        here.add(name, tied(model) if name in lacking else model,
                 '{"num_hidden_layers": 4, "tie_word_embeddings": true}')
        seen[name] = dict(model)
        if name in lacking:
            embedding = model["model.embed_tokens.weight"]
            seen[name]["lm_head.weight"] = embedding
    if sliced:
        parts = {"slices": slices([("base", 0, 4), ("one", 0, 4),
                                   ("two", 0, 4)])}  # fmt: skip
    else:
        parts = {"models": models("one", "two")}
    got = here.merge(
        tmp_path / "out", merge_method="task_arithmetic", base_model="base",
        parameters={"weight": 0.5}, dtype="bfloat16", **parts,
    )  # fmt: skip
    both = [(seen["one"], 0.5), (seen["two"], 0.5)]
    assert_equal(got, expected(seen["base"], both))
    assert "base" not in lacking or list(got)[-1] == "lm_head.weight"
    text = (tmp_path / "out" / "config.json").read_text()
    assert ("true" in text) == ("base" not in lacking)


def test_no_head_where_nobody_has_one(place, here, tmp_path):
    for name in NAMES:
        here.add(name, tied(place.tensors[name]))
    got = here.merge(
        tmp_path / "out", merge_method="linear",
        models=models(*NAMES, weight=[1, 1, 1]),
    )  # fmt: skip
    assert sorted(got) == sorted(tied(place.tensors["base"]))


def test_no_head_where_nobody_of_the_last_slice_has_one(place, here, tmp_path):
    here.add("one", place.tensors["one"], llama.config(4))
    here.add("two", tied(place.tensors["two"]), llama.config(4))
    got = here.merge(
        tmp_path / "out", merge_method="passthrough",
        slices=slices([("one", 0, 2)], [("two", 2, 4)]),
    )  # fmt: skip
    assert "lm_head.weight" not in got
    got = here.merge(
        tmp_path / "other", merge_method="passthrough",
        slices=slices([("two", 0, 2)], [("one", 2, 4)]),
    )  # fmt: skip
    assert got["lm_head.weight"] == place.tensors["one"]["lm_head.weight"]


def test_a_head_of_another_size_is_no_embedding(place, here, tmp_path):
    more = dict(tied(place.tensors["one"]))
    more["lm_head.weight"] = tensor(np.zeros((7, llama.HIDDEN)), "BF16")
    here.add("base", tied(place.tensors["base"]))
    here.add("more", more)
    here.refuse(
        tmp_path / "no", DATA, ["'lm_head.weight'", "--allow-extra"],
        merge_method="task_arithmetic", base_model="base",
        models=models("more", weight=[1]),
    )  # fmt: skip


# Stored vectors


def test_slices_of_stored_vectors(place, tmp_path):
    said = {
        "merge_method": "task_arithmetic", "base_model": "base",
        "parameters": {"weight": 0.7},
    }  # fmt: skip
    ranges = [("base", 1, 3), ("%sone", 1, 3)], [("base", 0, 4), ("%stwo", 0, 4)]
    made = [
        place.merge(tmp_path / f"out{i}", **said, slices=slices(*[
            [(m % how if "%" in m else m, a, b) for m, a, b in one]
            for one in ranges
        ]))
        for i, how in enumerate(("", "stored-"))
    ]  # fmt: skip
    assert made[0] == made[1]


def test_a_stored_vector_that_is_taken_as_it_is(place, tmp_path):
    """The base is read to decode it and for nothing else."""
    got = place.merge(
        tmp_path / "out", merge_method="passthrough", base_model="base",
        slices=slices([("stored-one", 2, 4)], [("base", 0, 1)],
                      [("stored-two", 3, 4)]),
    )  # fmt: skip
    base, one, two = (place.tensors[n] for n in NAMES)
    wanted = taken(one, [2, 3], one, two)
    for to, (model, layer) in {2: (base, 0), 3: (two, 3)}.items():
        for name in llama.BLOCK:
            source = model[f"model.layers.{layer}.{name}.weight"]
            wanted[f"model.layers.{to}.{name}.weight"] = source
    assert_equal(got, wanted)


def test_a_base_that_counts_nothing_still_decodes(place, tmp_path):
    outs = []
    for kind in ("", "stored-"):
        out = tmp_path / f"out{kind}"
        outs.append(place.merge(
            out, merge_method="linear", base_model="base",
            models=models("base", f"{kind}one", f"{kind}two",
                          weight=[0, 0.25, 0.75]),
        ))  # fmt: skip
    assert outs[0] == outs[1]


def test_stored_layers_beside_others_are_refused(place, tmp_path):
    result = place.refuse(
        tmp_path / "no", USAGE, ["stored-one", "taumerge apply"],
        merge_method="task_arithmetic", base_model="base",
        parameters={"weight": 1},
        slices=slices([("base", 0, 2), ("stored-one", 2, 4)]),
    )  # fmt: skip
    assert len(errors(result)) <= 21
    place.refuse(
        tmp_path / "no", USAGE, ["taumerge apply"],
        merge_method="linear", base_model="base", parameters={"weight": 1},
        slices=slices([("stored-two", 0, 2), ("stored-one", 2, 4)]),
    )  # fmt: skip


@pytest.mark.parametrize("names", [("one", "stored-two"), ("stored-two", "one")])
def test_stored_vectors_need_a_base(place, tmp_path, names):
    place.refuse(
        tmp_path / "no", {USAGE, DATA}, ["stored-two", "base_model"],
        merge_method="linear", models=models(*names, weight=[1, 1]),
    )  # fmt: skip


def test_no_vector_is_made_of_slices_or_without_a_base(place, tmp_path):
    place.refuse(
        tmp_path / "no", USAGE, ["--as-vector"], "--as-vector",
        merge_method="passthrough", base_model="base",
        slices=slices([("base", 0, 2)]),
    )  # fmt: skip
    place.refuse(
        tmp_path / "no", USAGE, ["--as-vector"], "--as-vector",
        merge_method="linear", models=models("one", "two", weight=[1, 1]),
    )  # fmt: skip


# Types


@pytest.mark.parametrize("kinds, common", [
    (("BF16", "BF16"), "BF16"), (("BF16", "F16"), "F32"),
    (("F16", "BF16"), "F32"), (("F16", "F32"), "F32"),
    (("F64", "BF16"), "F64"), (("F8_E4M3", "BF16"), "BF16"),
    (("F16", "F8_E5M2"), "F16"), (("F8_E5M2", "F8_E4M3"), "BF16"),
    (("F8_E4M3", "F8_E4M3"), "F8_E4M3"),
])  # fmt: skip
def test_the_type_that_inputs_have_in_common(here, tmp_path, kinds, common):
    made = checkpoints.family({"a": [50], "b": [3, 4]}, list(kinds))
    for name, model in zip(("base", "one"), made):
        here.add(name, model)
    for weight in (0.5, 0):
        out = tmp_path / f"out{weight}"
        got = here.merge(
            out, merge_method="task_arithmetic", base_model="base",
            models=models("one", weight=[weight]),
        )  # fmt: skip
        assert {t.dtype for t in got.values()} == {common}
        wanted = expected(made[0], [(made[1], weight)], common)
        assert_equal(got, wanted)
    given = here.merge(
        tmp_path / "given", merge_method="task_arithmetic",
        base_model="base", models=models("one", weight=[0.5]),
        dtype="float16",
    )  # fmt: skip
    assert_equal(given, expected(made[0], [(made[1], 0.5)], "F16"))


@pytest.mark.parametrize("method", [
    "ties", "dare_linear", "dare_ties", "della", "breadcrumbs", "linear",
])  # fmt: skip
def test_weights_of_zero_are_not_read(place, tmp_path, method):
    """In the base's type they leave a copy; in another one it is cast."""
    for dtype in ("bfloat16", "float32"):
        got = place.merge(
            tmp_path / dtype, merge_method=method, base_model="base",
            dtype=dtype, models=[
                *(models("base", weight=[1]) if method == "linear" else []),
                *models("one", "two", weight=[0, 0]),
            ],
        )  # fmt: skip
        kind = {"bfloat16": "BF16", "float32": "F32"}[dtype]
        assert_equal(got, expected(place.tensors["base"], [], kind))
        record = json.loads((tmp_path / dtype / "taumerge.json").read_text())
        read = [i["path"] for i in record["inputs"] if i["tensors"]]
        assert len(read) == 1, read


def test_integers_in_slices(here, tmp_path):
    """They are copied from an input of the slice, and equal in all."""
    def model(value):
        return {
            "h.0.ids": raw(bytes([value] * 8), "U8"),
            "h.1.ids": raw(bytes([value + 1] * 8), "U8"),
            "top": raw(bytes([value] * 8), "I64"),
        }  # fmt: skip

    for name, value in (("one", 1), ("two", 5), ("twin", 5)):
        here.add(name, model(value), '{"num_layers": 2}')
    said = {"merge_method": "linear", "parameters": {"weight": 1}}
    got = here.merge(
        tmp_path / "out", **said,
        slices=slices([("one", 1, 2)], [("two", 0, 2), ("twin", 0, 2)]),
    )  # fmt: skip
    assert [t.data[0] for t in got.values()] == [2, 5, 6, 5]
    result = here.run(
        tmp_path / "no", **said,
        slices=slices([("one", 0, 1)], [("two", 0, 1), ("one", 0, 1)]),
    )  # fmt: skip
    assert_refused(result, DATA, tmp_path / "no", ["'h.1.ids'"])


# Modules and stacks


def two_stacks(seed=0):
    names = {f"language_model.model.layers.{i}.w": [3] for i in range(3)}
    names |= {f"vision_tower.encoder.layers.{i}.w": [3] for i in range(5)}
    names |= {
        "vision_tower.patch_embedding.weight": [2, 3],
        "vision_tower.post_norm.weight": [3],
        "multi_modal_projector.weight": [4],
        "language_model.model.embed_tokens.weight": [6, 3],
        "language_model.norm.weight": [3],
    }
    return checkpoints.family(names, ["F32"], seed)[0]


CONFIG = (
    '{"text_config": {"num_hidden_layers": 3}, '
    '"vision_config": {"num_hidden_layers": 5}}'
)


@pytest.fixture
def seeing(here):
    here.add("one", two_stacks(1), CONFIG)
    here.add("two", two_stacks(2), CONFIG)
    return here


def test_the_stack_that_the_configuration_counts_is_sliced(seeing, tmp_path):
    """Though the other one is deeper, and stays whole."""
    got = seeing.merge(
        tmp_path / "out", merge_method="passthrough",
        slices=slices([("one", 0, 1)], [("two", 1, 3)], [("one", 2, 3)]),
    )  # fmt: skip
    one, two = (seeing.tensors[n] for n in ("one", "two"))
    wanted = {n: t for n, t in one.items() if ".layers." not in n}
    wanted |= {n: t for n, t in one.items() if "encoder" in n}
    for to, (model, layer) in enumerate([(one, 0), (two, 1), (two, 2),
                                         (one, 2)]):  # fmt: skip
        name = "language_model.model.layers.{}.w"
        wanted[name.format(to)] = model[name.format(layer)]
    assert_equal(got, wanted)
    text = (tmp_path / "out" / "config.json").read_text()
    assert text == CONFIG.replace("_layers\": 3", "_layers\": 4")


def test_modules_have_recipes_of_their_own(seeing, tmp_path):
    got = seeing.merge(
        tmp_path / "out", merge_method="linear", dtype="float32",
        modules={
            "vision_tower": {"models": models("one", weight=[1])},
            "multi_modal_projector": {"models": models("two", weight=[1])},
            "text_decoder": {
                "slices": slices([("two", 0, 2, {"weight": 1})],
                                 [("one", 0, 1, {"weight": 1})]),
            },
        },
    )  # fmt: skip
    one, two = (seeing.tensors[n] for n in ("one", "two"))
    wanted = {n: t for n, t in one.items() if n.startswith("vision_tower.")}
    name = "language_model.model.layers.{}.w"
    wanted |= {
        name.format(0): two[name.format(0)],
        name.format(1): two[name.format(1)],
        name.format(2): one[name.format(0)],
        "multi_modal_projector.weight": two["multi_modal_projector.weight"],
        "language_model.model.embed_tokens.weight":
            two["language_model.model.embed_tokens.weight"],
        "language_model.norm.weight": one["language_model.norm.weight"],
    }  # fmt: skip
    assert_equal(got, wanted)
    assert (tmp_path / "out" / "config.json").read_text() == CONFIG


def test_modules_that_leave_something_or_take_nothing(seeing, tmp_path):
    take_one = {"models": models("one", weight=[1])}
    seeing.refuse(
        tmp_path / "no", USAGE, ["'multi_modal_projector.weight'", "default"],
        merge_method="linear",
        modules={"vision_tower": take_one, "language_model": take_one},
    )  # fmt: skip
    result = seeing.refuse(
        tmp_path / "no", USAGE, ["'vision'", "vision_tower", "default"],
        merge_method="linear",
        modules={"vision": take_one, "default": take_one},
    )  # fmt: skip
    assert len(errors(result)) == 1


# Tokenizers


def tokenizer(words, added=()):
    vocab = {w: i for i, w in enumerate(words)}
    return json.dumps({
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
        "added_tokens": [{"id": i, "content": w} for i, w in added],
    })  # fmt: skip


def test_the_tokenizer_of_another_model(place, here, tmp_path):
    """Its files are taken where its tokens have the same numbers."""
    same = tokenizer(["a", "b", "c"])
    other = tokenizer(["a", "b"], [(2, "c")])
    for name, text in (("base", same), ("one", other), ("two", same)):
        path = here.add(name, place.tensors[name])
        (path / "tokenizer.json").write_text(text)
        (path / f"{name}.txt").write_text(name)
    (here.path / "base" / "merges.txt").write_text("base's")
    (here.path / "one" / "special_tokens_map.json").write_text("{}")
    said = {
        "merge_method": "linear", "base_model": "base",
        "models": models("base", "one", "two", weight=[1, 1, 1]),
    }  # fmt: skip
    out = tmp_path / "out"
    here.merge(out, **said, tokenizer_source="one")
    assert (out / "tokenizer.json").read_text() == other
    assert (out / "special_tokens_map.json").read_text() == "{}"
    assert not (out / "merges.txt").exists()
    manifest = (out / "taumerge.json").read_text()
    assert "another tokenizer: the output has that of one" in manifest
    assert (out / "base.txt").exists() and not (out / "one.txt").exists()
    assert run("verify", out).status == 0
    here.merge(tmp_path / "plain", **said)
    assert (tmp_path / "plain" / "tokenizer.json").read_text() == same
    two = here.path / "two" / "tokenizer.json"
    two.write_text(tokenizer(["b", "a", "c"]))
    here.refuse(
        tmp_path / "no", USAGE, ["two", "tokens"], **said,
        tokenizer_source="one",
    )  # fmt: skip
    two.unlink()
    here.refuse(
        tmp_path / "no", USAGE, ["two", "tokenizer.json"], **said,
        tokenizer_source="one",
    )  # fmt: skip
    two.write_text('{"model": {"vocab": {"a": "b"}}}')
    here.refuse(
        tmp_path / "no", DATA, ["tokenizer.json"], **said,
        tokenizer_source="one",
    )  # fmt: skip


def test_a_list_of_tokens(place, here, tmp_path):
    """As unigram tokenizers have it: a token's number is its place."""
    def unigram(*words):
        vocab = [[w, -1.5] for w in words]
        return json.dumps({"model": {"vocab": vocab}, "added_tokens": []})

    for name in ("base", "one"):
        path = here.add(name, place.tensors[name])
        (path / "tokenizer.json").write_text(unigram("a", "b"))
    said = {
        "merge_method": "task_arithmetic", "base_model": "base",
        "models": models("one", weight=[1]), "tokenizer_source": "one",
    }  # fmt: skip
    here.merge(tmp_path / "out", **said)
    (here.path / "one" / "tokenizer.json").write_text(unigram("b", "a"))
    here.refuse(tmp_path / "no", USAGE, ["base", "tokens"], **said)


def test_the_template_in_the_tokenizers_configuration(place, here, tmp_path):
    """Is replaced where there is one; the rest of it stays as it is."""
    path = here.add("base", place.tensors["base"])
    here.add("one", place.tensors["one"])
    file = path / "tokenizer_config.json"
    text = "{% if a %}\n\"quoted\\\"{{ b }}{% endif %}"
    said = {
        "merge_method": "task_arithmetic", "base_model": "base",
        "models": models("one", weight=[1]), "chat_template": text,
    }  # fmt: skip
    file.write_text('{"x":1 , "chat_template": "{{ old }}","y" : [2]}\n')
    here.merge(tmp_path / "out", **said)
    made = (tmp_path / "out" / "tokenizer_config.json").read_text()
    assert made.startswith('{"x":1 , "chat_template": "')
    assert made.endswith('","y" : [2]}\n')
    assert json.loads(made)["chat_template"] == text
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == text
    file.write_text('{"x":1 }')
    here.merge(tmp_path / "none", **said)
    assert (tmp_path / "none" / "tokenizer_config.json").read_text() == (
        '{"x":1 }'
    )
    assert run("verify", tmp_path / "out").status == 0
