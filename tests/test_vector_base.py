"""A vector is bound to its base: by content, not by names or files."""

import os

import numpy as np
import pytest

import checkpoints
import program
from checkpoints import Tensor, raw, tensor, write_file, write_shards
from program import DATA, assert_refused, run
from vectors import apply, assert_same_tree, check_files, cut, diff

CHUNK = 1 << 18


def resharded(path, base, count=3):
    names = sorted(base, reverse=True)
    shards = checkpoints.split({n: base[n] for n in names}, count)
    return write_shards(path, shards, {"other": "metadata"}, pad=11)


def test_a_base_in_other_shards(tmp_path, family, stored):
    base = resharded(tmp_path / "base", family.base)
    apply(base, stored[0], tmp_path / "out")
    assert_same_tree(tmp_path / "out", family.tuned_paths[0])
    out = tmp_path / "merged"
    program.merge(base, list(zip(stored, (0.4, -1.0))), out)
    assert checkpoints.load(out) == family.expected


def renamed(tensors, prefix="model."):
    return {prefix + name: t for name, t in tensors.items()}


def test_a_base_with_other_names(tmp_path, family, stored):
    base = resharded(tmp_path / "base", renamed(family.base))
    apply(base, stored[0], tmp_path / "out")
    assert_same_tree(tmp_path / "out", family.tuned_paths[0])
    assert run("verify", "--base", base, stored[0]).status == 0
    out = tmp_path / "merged"
    program.merge(base, list(zip(stored, (0.4, -1.0))), out)
    assert checkpoints.load(out) == renamed(family.expected)


def test_other_names_and_equal_tensors(tmp_path):
    """Norms begin as ones in every layer: each has to find its own."""
    base, tuned = checkpoints.small(1)
    rng = np.random.default_rng(8)
    for i in range(12):
        name = f"norm.{i}.weight"
        base[name] = tensor(np.ones(40), "BF16")
        tuned[name] = tensor(1 + rng.normal(0, 0.1, 40), "BF16")
    b = write_file(tmp_path / "base.safetensors", base)
    t = write_file(tmp_path / "tuned.safetensors", tuned)
    diff(b, t, tmp_path / "vector")
    other = resharded(tmp_path / "other", renamed(base))
    apply(other, tmp_path / "vector", tmp_path / "out.safetensors")
    assert_same_tree(tmp_path / "out.safetensors", t)
    out = tmp_path / "merged"
    args = program.merge_args(other, [(tmp_path / "vector", 0.5)], out)
    result = run(*args)
    if result.status == 0:
        expected = checkpoints.expected(base, [(tuned, 0.5)])
        assert checkpoints.load(out) == renamed(expected)
    else:
        assert_refused(result, DATA, out)


def test_names_that_changed_places(tmp_path, family, stored):
    """The tensors are all there, each under the name of another one."""
    base = dict(family.base)
    a, b = "layers.0.attn.weight", "layers.1.attn.weight"
    base[a], base[b] = base[b], base[a]
    path = write_shards(tmp_path / "base", [base])
    apply(path, stored[0], tmp_path / "out")
    assert_same_tree(tmp_path / "out", family.tuned_paths[0])


def test_more_in_the_base_than_the_vector_uses(tmp_path, family, stored):
    base = {**family.base, "more": tensor([1.0], "F32")}
    path = write_shards(tmp_path / "base", [base])
    apply(path, stored[0], tmp_path / "out")
    assert_same_tree(tmp_path / "out", family.tuned_paths[0])


def test_rows_of_the_base_that_are_not_used_may_differ(tmp_path):
    base, tuned = checkpoints.family({"e": [90, 64]}, ["BF16"] * 2)
    tuned = {"e": cut(tuned["e"], 70)}
    vector = check_files(tmp_path, base, tuned)
    data = bytearray(base["e"].data)
    data[70 * 128 :] = bytes(20 * 128)
    other = {"e": raw(bytes(data), "BF16", [90, 64])}
    path = write_file(tmp_path / "other.safetensors", other)
    out = tmp_path / "new.safetensors"
    apply(path, vector, out)
    assert_same_tree(out, tmp_path / "tuned.safetensors")


NOTHING_MADE = {"TAUMERGE_FAULT": "op=mkdir,log=1"}


def assert_wrong_base(base, vector, out, name):
    """Refused by apply, merge and verify, before anything is written."""
    args = program.merge_args(base, [(vector, 0.5)], out)
    for command in (["apply", base, vector, "-o", out], args):
        result = run(*command, env=NOTHING_MADE)
        assert result.status == DATA, result.err
        assert "fault: 0 op" in result.err, result.err
        first = result.err.splitlines()[0]
        assert first.startswith("taumerge: ") and f"'{name}'" in first, first
        assert not os.path.lexists(out)
        assert not os.path.lexists(program.sibling(out))
    result = run("verify", "--base", base, vector)
    assert_refused(result, DATA, None, [f"'{name}'"])


def changed_at(t, at):
    data = bytearray(t.data)
    data[at] ^= 1
    return Tensor(t.dtype, t.shape, bytes(data))


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("name", ["layers.0.attn.weight", "scale"])
def test_another_base_is_refused(tmp_path, family, stored, name, where):
    t = family.base[name]
    at = {"first": 0, "middle": len(t.data) // 2, "last": -1}[where]
    base = {**family.base, name: changed_at(t, at)}
    path = write_shards(tmp_path / "base", [base])
    assert_wrong_base(path, stored[0], tmp_path / "out", name)


def test_another_base_is_refused_by_its_first_difference(tmp_path, family):
    """In the order of the vector's data."""
    vector = tmp_path / "vector"
    diff(family.base_path, family.tuned_paths[0], vector)
    names = [n for n, t in family.base.items() if t.data]
    base = dict(family.base)
    for name in names[1:]:
        base[name] = changed_at(base[name], 0)
    path = write_shards(tmp_path / "base", [base])
    assert_wrong_base(path, vector, tmp_path / "out", names[1])


def test_a_large_base_that_differs_far_from_its_middle(tmp_path):
    """Where no probe looks: found when it is read, and nothing is left."""
    base, tuned = checkpoints.family({"w": [3 * CHUNK]}, ["BF16"] * 2)
    vector = check_files(tmp_path, base, tuned)
    other = {"w": changed_at(base["w"], 2 * CHUNK - 7)}
    path = write_file(tmp_path / "other.safetensors", other)
    out = tmp_path / "new"
    for args in (
        ["apply", path, vector, "-o", out],
        program.merge_args(path, [(vector, 0.5)], out),
        ["verify", "--base", path, vector],
    ):
        assert_refused(run(*args), DATA, out, ["'w'"])


@pytest.mark.parametrize("how", ["missing", "type", "shape", "fewer"])
def test_a_base_that_does_not_fit(tmp_path, family, stored, how):
    base, name = dict(family.base), "embed.weight"
    t = base[name]
    if how == "missing":
        del base[name]
    elif how == "type":
        base[name] = Tensor("F16", t.shape, t.data)
    elif how == "shape":
        base[name] = Tensor("BF16", [60, 33], t.data[:-66])
    else:
        base[name] = cut(t, 1)
    path = write_shards(tmp_path / "base", [base])
    out = tmp_path / "out"
    result = run("apply", path, stored[0], "-o", out)
    assert_refused(result, DATA, out, [f"'{name}'"])


def test_the_fine_tune_is_not_the_base(family, stored, tmp_path):
    out = tmp_path / "out"
    result = run("apply", family.tuned_paths[0], stored[0], "-o", out)
    assert_refused(result, DATA, out)


def test_unchanged_tensors_are_looked_at_too(tmp_path):
    base, tuned = checkpoints.small(1)
    tuned["embed.weight"] = base["embed.weight"]
    b = write_shards(tmp_path / "base", [base])
    t = write_shards(tmp_path / "tuned", [tuned])
    diff(b, t, tmp_path / "vector")
    wrong = {**base, "embed.weight": changed_at(base["embed.weight"], 5)}
    path = write_shards(tmp_path / "wrong", [wrong])
    assert_wrong_base(
        path, tmp_path / "vector", tmp_path / "out", "embed.weight"
    )
