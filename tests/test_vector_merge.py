"""Stored vectors in merges: the same bytes as with the checkpoints, however
the work is done."""

import json
import os

import numpy as np
import pytest

import checkpoints
import program
import vectors
from checkpoints import raw, tensor, write_file, write_shards
from program import DATA, assert_refused, run, scaled
from vectors import any_bits, apply, assert_same_tree, diff, near


# The same bytes, however the work is done


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base, two fine-tunes of other layouts and types, their vectors, and
    what merging the fine-tunes gives."""
    path = tmp_path_factory.mktemp("models")
    shapes = {
        "embed": [scaled(1500, 300), 1001], "a.weight": [777, 333],
        "a.bias": [333], "scale": [], "empty": [0], "b.weight": [333, 777],
        "double": [5003],
    }  # fmt: skip
    kinds = [
        dict.fromkeys(shapes, kind) | {"double": "F64"}
        for kind in ("BF16", "BF16", "F32")
    ]
    kinds[1]["b.weight"] = "F16"
    base, one, two = checkpoints.family(shapes, kinds)
    one["a.bias"] = base["a.bias"]
    return Models(path, base, one, two)


class Models:
    def __init__(self, path, base, one, two):
        self.path = path
        self.base = write_shards(path / "base", checkpoints.split(base, 2))
        names = sorted(two)
        self.tuned = [
            write_shards(path / "one", checkpoints.split(one, 3), pad=3),
            write_shards(path / "two", [{n: two[n] for n in names}], pad=0),
        ]
        self.vectors = [path / "vector-one", path / "vector-two"]
        for tuned, vector in zip(self.tuned, self.vectors):
            diff(self.base, tuned, vector, "--threads", 1, "--io", "threads")
        self.weights = (0.3, -1.1)
        self.merged = path / "merged"
        program.merge(self.base, self.of(self.tuned), self.merged)
        self.stored_as = [checkpoints.tree_hash(v) for v in self.vectors]

    def of(self, paths):
        return list(zip(paths, self.weights))


def assert_same_weights(got, wanted):
    """All files but the reports, which name the inputs."""
    trees = []
    for path in (got, wanted):
        tree = checkpoints.tree(path)
        tree.pop("taumerge.json"), tree.pop("taumerge.xxh128")
        trees.append({n: checkpoints.digest(d) for n, d in tree.items()})
    assert trees[0] == trees[1]


WAYS = [
    *(("--threads", n) for n in (1, 2, 3, 4)),
    *(("--io", io, "--direct", direct)
      for io in ("uring", "threads") for direct in ("on", "off")),
    *(("--memory", size) for size in ("least", "64M", "100M")),
    ("--memory", "least", "--threads", 4, "--io", "threads"),
    *(f"cpu={name}" for name in ("portable", "avx2", "avx512", "neon")),
    *(f"fault={what}" for what in (
        "short=1", "shuffle=1", "shuffle=2,short=1", "op=read,k=3,errno=EINTR",
        "op=write,k=2,errno=EAGAIN",
    )),
]  # fmt: skip


@pytest.fixture(params=WAYS, ids=lambda w: w if type(w) is str else "".join(
    map(str, w)))  # fmt: skip
def way(request):
    """Runs the program in some way: way(*args)."""
    how = request.param
    env, options = {}, []
    if isinstance(how, tuple):
        options = list(how)
    elif how.startswith("cpu="):
        env = {"TAUMERGE_CPU": how[4:]}
        if how[4:] not in program.instruction_sets():
            pytest.skip(f"this machine has no {how[4:]}")
    else:
        env = {"TAUMERGE_FAULT": how[6:]}

    def go(*args):
        now = list(options)
        if "least" in now:
            i = now.index("least")
            rest = now[: i - 1] + now[i + 1 :]
            now[i] = program.smallest_memory([*args, *rest])
        result = run(*args, *now, env=env)
        assert result.status == 0, result.err

    return go


def test_a_vector_does_not_depend_on_how_it_is_made(models, tmp_path, way):
    for tuned, stored_as in zip(models.tuned, models.stored_as):
        vector = tmp_path / tuned.name
        way("diff", models.base, tuned, "-o", vector)
        assert checkpoints.tree_hash(vector) == stored_as


def test_applying_does_not_depend_on_how_it_is_done(models, tmp_path, way):
    for tuned, vector in zip(models.tuned, models.vectors):
        out = tmp_path / tuned.name
        way("apply", models.base, vector, "-o", out)
        assert_same_tree(out, tuned)


def test_merging_vectors_is_merging_checkpoints(models, tmp_path, way):
    out = tmp_path / "out"
    way(*program.merge_args(models.base, models.of(models.vectors), out))
    assert_same_weights(out, models.merged)


def test_the_page_describes_what_the_program_writes(models, tmp_path):
    for tuned, vector in zip(models.tuned, models.vectors):
        out = tmp_path / tuned.name
        vectors.vector_decoder.restore(models.base, vector, out)
        assert_same_tree(out, tuned)


@pytest.mark.parametrize("stored", [(0,), (1,), (0, 1)])
def test_vectors_and_checkpoints_mixed(models, tmp_path, stored):
    paths = [
        (models.vectors if i in stored else models.tuned)[i] for i in range(2)
    ]
    out = tmp_path / "out"
    program.merge(models.base, models.of(paths), out)
    assert_same_weights(out, models.merged)
    assert run("verify", out).status == 0


def test_more_vectors_at_once(models, tmp_path):
    """In one pass; each of several stored vectors is the one made alone."""
    out = tmp_path / "many"
    result = run("diff", models.base, *models.tuned, "-o", out)
    assert result.status == 0, result.err
    assert sorted(os.listdir(out)) == ["one", "two"]
    for name, stored_as in zip(("one", "two"), models.stored_as):
        assert checkpoints.tree_hash(out / name) == stored_as


def test_a_vector_many_times(models, tmp_path):
    """Opposite weights cancel: stored and not, again and again."""
    one, stored = models.tuned[0], models.vectors[0]
    given = [(stored, 0.5), (one, -0.5), (stored, 0.25), (one, 0.25)]
    out, wanted = tmp_path / "out", tmp_path / "wanted"
    program.merge(models.base, given, out)
    program.merge(models.base, [(one, w) for _, w in given], wanted)
    assert_same_weights(out, wanted)


@pytest.mark.parametrize("dtype", ["float32", "float16", "F8_E5M2"])
def test_options_of_a_merge_with_vectors(models, tmp_path, dtype):
    options = ["--dtype", dtype, "--shard-size", "1M"]
    out, wanted = tmp_path / "out", tmp_path / "wanted"
    for paths, where in ((models.vectors, out), (models.tuned, wanted)):
        program.merge(models.base, models.of(paths), where, *options)
    assert_same_weights(out, wanted)


def test_a_plan_with_vectors(models, tmp_path):
    args = program.merge_args(
        models.base, models.of(models.vectors), tmp_path / "out"
    )
    result = run("plan", "--json", *args[1:])
    assert result.status == 0, result.err
    size = sum(vectors.size_of(p) for p in [models.base, *models.vectors])
    plan = json.loads(result.out)
    assert plan["read_bytes"] == pytest.approx(size, rel=0.1)
    assert os.listdir(tmp_path) == []


def test_vectors_of_integers_and_masks(tmp_path):
    base, tuned = checkpoints.small(1)
    base["ids"] = tuned["ids"] = raw(bytes(range(250)) * 4, "I64")
    base["mask"] = tuned["mask"] = tensor(
        np.triu(np.full((64, 64), -np.inf), 1), "F16"
    )
    merge_both_ways(tmp_path, base, tuned)


def test_vectors_with_nan_and_infinities(tmp_path):
    rng = np.random.default_rng(0)
    base = {"a": any_bits(rng, "BF16", [70000])}
    tuned = {"a": near(rng, base["a"], 0.5)}
    merge_both_ways(tmp_path, base, tuned)


def merge_both_ways(tmp_path, base, tuned, *more):
    """Merges a fine-tune, and the same one stored; returns both results."""
    b = write_file(tmp_path / "base.safetensors", base)
    t = write_shards(tmp_path / "tuned", checkpoints.split(tuned, 2))
    diff(b, t, tmp_path / "vector")
    results = []
    for name in ("tuned", "vector"):
        out = tmp_path / f"out-{name}"
        args = program.merge_args(b, [(tmp_path / name, -0.7)], out)
        results.append(run(*args, *more))
    a, b = results
    assert a.status == b.status, (a.err, b.err)
    if a.status == 0:
        assert_same_weights(tmp_path / "out-vector", tmp_path / "out-tuned")
    else:
        assert_refused(b, a.status, tmp_path / "out-vector")
    return results


@pytest.mark.parametrize("options", [[], ["--allow-missing"],
    ["--allow-extra"], ["--allow-extra", "--allow-missing"]])  # fmt: skip
def test_what_a_vector_lacks_and_has_more(tmp_path, options):
    base, tuned = checkpoints.small(1)
    del tuned["layers.1.norm.weight"]
    tuned["score.weight"] = tensor([1.0], "BF16")
    a, b = merge_both_ways(tmp_path, base, tuned, *options)
    assert (b.status == 0) == (len(options) == 2)
    for name, option in (("layers.1.norm.weight", "--allow-missing"),
                         ("score.weight", "--allow-extra")):  # fmt: skip
        if option not in options:
            assert name in b.err and option in b.err and "vector" in b.err


@pytest.mark.parametrize("rows", [60, 62])
def test_another_shape_is_not_merged(tmp_path, rows):
    base, tuned = checkpoints.small(1)
    name = "embed.weight"
    tuned[name] = tensor(np.zeros((rows, 33)), "BF16")
    results = merge_both_ways(tmp_path, base, tuned, "--allow-extra")
    assert results[1].status == DATA
    assert name in results[1].err


@pytest.mark.parametrize("dtype", ["I64", "U8"])
def test_integers_that_differ_are_not_merged(tmp_path, dtype):
    base, tuned = checkpoints.small(1)
    base["ids"] = raw(bytes(800), dtype)
    tuned["ids"] = raw(bytes(799) + b"\1", dtype)
    results = merge_both_ways(tmp_path, base, tuned)
    assert results[1].status == DATA and "'ids'" in results[1].err


# The result as a vector


def test_a_merge_as_a_vector(models, tmp_path, way):
    """Applied, it is what the merge would have written, reports included."""
    args = program.merge_args(models.base, models.of(models.tuned), tmp_path)
    vector, out = tmp_path / "vector", tmp_path / "out"
    way(*args[:-1], vector, "--as-vector")
    assert run("verify", "--base", models.base, vector).status == 0
    apply(models.base, vector, out)
    assert_same_tree(out, models.merged)
    assert run("verify", out).status == 0


def test_a_merge_as_a_vector_by_the_page(family, merged, tmp_path):
    vector = tmp_path / "vector"
    program.merge(family.base_path, family.vectors, vector, "--as-vector")
    vectors.vector_decoder.restore(family.base_path, vector, tmp_path / "out")
    assert_same_tree(tmp_path / "out", merged[0])


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_merge_as_a_vector_of_a_single_file(tmp_path, family, kind):
    base = write_file(tmp_path / "base.safetensors", family.base)
    vector, out = tmp_path / "vector", tmp_path / "out"
    program.merge(base, family.vectors, vector, "--as-vector")
    program.merge(base, family.vectors, out)
    apply(base, vector, tmp_path / "restored")
    assert_same_tree(tmp_path / "restored", out)


def test_a_merge_of_vectors_as_a_vector(models, tmp_path):
    """And that one merged again."""
    options = ["--as-vector", "--dtype", "float16"]
    vector, out = tmp_path / "vector", tmp_path / "out"
    program.merge(models.base, models.of(models.vectors), vector, *options)
    program.merge(models.base, models.of(models.vectors), out, *options[1:])
    apply(models.base, vector, tmp_path / "restored")
    assert_same_tree(tmp_path / "restored", out)
    again, wanted = tmp_path / "again", tmp_path / "wanted"
    program.merge(models.base, [(vector, 0.5)], again)
    program.merge(models.base, [(out, 0.5)], wanted)
    assert_same_weights(again, wanted)
