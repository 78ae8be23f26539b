"""diff, apply, verify and inspect: what they say, refuse, and need."""

import json
import os
import shutil

import numpy as np
import pytest

import checkpoints
import program
from checkpoints import raw, tensor, write_file, write_shards
from program import CANNOT_CREATE, DATA, NO_INPUT, USAGE, assert_refused, run
from vectors import apply, assert_same_tree, diff


def test_usage(tmp_path, family, stored):
    b, t = family.base_path, family.tuned_paths[0]
    out = tmp_path / "out"
    for args, mentions in (
        (["diff"], []),
        (["diff", b], []),
        (["diff", b, t], ["-o"]),
        (["diff", b, "-o", out], []),
        (["diff", b, t, "-o", out, "--codec", "gzip"], ["gzip"]),
        (["diff", b, t, "-o", out, "--frobnicate"], ["--frobnicate"]),
        (["diff", b, t, "-o", out, "--threads", "0"], ["0"]),
        (["diff", b, t, "-o", out, "--memory", "1"], ["--memory"]),
        (["diff", b, t, "-o", ""], ["-o"]),
        (["apply"], []),
        (["apply", b], []),
        (["apply", b, stored[0]], ["-o"]),
        (["apply", b, *stored, "-o", out], []),
        (["apply", b, stored[0], "-o", out, "--codec", "zstd"], ["--codec"]),
        (["apply", b, stored[0], "-o", out, "--memory", "1"], ["--memory"]),
        (["apply", b, stored[0], "-o", out, "-w", "1"], ["-w"]),
        (["verify", "--base", b], []),
        (["verify", "--base"], []),
    ):
        result = run(*args)
        assert_refused(result, USAGE, out, mentions)
        assert not result.out
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_help(command):
    result = run(command, "--help")
    assert result.status == 0 and not result.err
    assert f"taumerge {command}" in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines())
    for option in ("--memory", "--threads", "--io", "--direct", "--force"):
        assert option in result.out
    assert command in run("--help").out


def test_vectors_of_one_name_are_refused(tmp_path, family):
    for i in range(2):
        shutil.copytree(family.tuned_paths[i], tmp_path / str(i) / "tuned")
    out = tmp_path / "out"
    paths = [tmp_path / "0" / "tuned", tmp_path / "1" / "tuned"]
    for args in (paths, [paths[0], f"{paths[1]}/"], [paths[0]] * 2):
        result = run("diff", family.base_path, *args, "-o", out)
        assert_refused(result, USAGE, out, ["tuned"])


def test_more_vectors_all_or_none(tmp_path, family):
    """One of several cannot be stored: none is."""
    bad = tmp_path / "bad"
    write_shards(bad, [{"__taumerge__": tensor([1.0], "F32")}])
    out = tmp_path / "out"
    args = ["diff", family.base_path, *family.tuned_paths, bad, "-o", out]
    assert_refused(run(*args), DATA, out, ["bad"])


@pytest.mark.parametrize(
    "kind", ["folder", "full", "file", "link", "dangling"]
)
@pytest.mark.parametrize("command", ["diff", "apply"])
def test_an_output_that_exists(tmp_path, family, stored, command, kind):
    out = tmp_path / kind
    if kind == "file":
        out.write_text("precious")
    elif kind in ("link", "dangling"):
        (tmp_path / "there").mkdir()
        out.symlink_to(tmp_path / ("there" if kind == "link" else "no"))
    else:
        out.mkdir()
        if kind == "full":
            (out / "precious").write_text("precious")
    given = family.tuned_paths if command == "diff" else stored
    args = [command, family.base_path, given[0], "-o", out]
    before = os.lstat(out).st_ino
    result = run(*args)
    assert result.status == CANNOT_CREATE, result.err
    assert result.err.startswith("taumerge: ") and out.name in result.err
    assert os.lstat(out).st_ino == before
    assert not program.sibling(out).exists()
    if kind in ("full", "folder"):
        result = run(*args, "-f")
        assert result.status == 0, result.err
        assert os.listdir(tmp_path) == [kind]
        assert not (out / "precious").exists()
        if command == "apply":
            assert_same_tree(out, family.tuned_paths[0])
        else:
            assert run("verify", out).status == 0


def test_force_leaves_the_old_one_if_it_fails(tmp_path, family, stored):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    env = {"TAUMERGE_FAULT": "op=write,k=1,errno=EIO,for=ever"}
    for command, given in (("diff", family.tuned_paths), ("apply", stored)):
        result = run(
            command, family.base_path, given[0], "-o", out, "-f", env=env
        )
        assert result.status == program.IO_ERROR, result.err
        assert (out / "old").read_text() == "old"
        assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("option", [[], ["-f"]])
def test_an_output_that_is_an_input(tmp_path, family, option):
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    shutil.copytree(family.base_path, base)
    shutil.copytree(family.tuned_paths[0], tuned)
    vector = tmp_path / "vector"
    diff(base, tuned, vector)
    before = checkpoints.tree(tmp_path)
    for args in (
        ["diff", base, tuned, "-o", base], ["diff", base, tuned, "-o", tuned],
        ["apply", base, vector, "-o", base],
        ["apply", base, vector, "-o", vector],
        ["diff", base, tuned, "-o", tmp_path],
        ["apply", base, vector, "-o", tmp_path],
        [*program.merge_args(base, [(vector, 1.0)], vector)],
    ):  # fmt: skip
        result = run(*args, *option)
        assert result.status in (CANNOT_CREATE, USAGE), (args, result.err)
        assert checkpoints.tree(tmp_path) == before


def test_inputs_that_do_not_exist(tmp_path, family, stored):
    gone, out = tmp_path / "gone", tmp_path / "out"
    b = family.base_path
    for args in (
        ["diff", gone, family.tuned_paths[0], "-o", out],
        ["diff", b, gone, "-o", out],
        ["diff", b, family.tuned_paths[0], gone, "-o", out],
        ["apply", gone, stored[0], "-o", out],
        ["apply", b, gone, "-o", out],
        ["verify", gone], ["verify", "--base", gone, stored[0]],
    ):  # fmt: skip
        assert_refused(run(*args), NO_INPUT, out, ["gone"])


def test_what_is_no_vector(tmp_path, family, stored):
    """Checkpoints where a vector is wanted, and vectors where a base is."""
    out = tmp_path / "out"
    b, t = family.base_path, family.tuned_paths[0]
    file = write_file(tmp_path / "t.safetensors", family.tuned[0])
    for args in (
        ["apply", b, t, "-o", out], ["apply", b, file, "-o", out],
        ["apply", stored[0], stored[0], "-o", out],
        ["diff", stored[0], t, "-o", out],
        program.merge_args(stored[0], [(t, 1.0)], out),
    ):  # fmt: skip
        assert_refused(run(*args), {DATA, NO_INPUT, USAGE}, out)


def test_a_vector_of_a_vector_is_that_of_its_fine_tune_or_none(
    tmp_path, family, stored
):
    out = tmp_path / "out"
    result = run("diff", family.base_path, stored[0], "-o", out)
    if result.status == 0:
        apply(family.base_path, out, tmp_path / "back")
        assert_same_tree(tmp_path / "back", family.tuned_paths[0])
    else:
        assert_refused(result, {DATA, USAGE, NO_INPUT}, out)


def test_a_tensor_with_the_name_of_the_index(tmp_path, family):
    tuned = {**family.tuned[0], "__taumerge__": raw(bytes(8), "U8")}
    path = write_shards(tmp_path / "tuned", [tuned])
    out = tmp_path / "out"
    result = run("diff", family.base_path, path, "-o", out)
    assert_refused(result, DATA, out, ["'__taumerge__'", "tuned"])


def test_single_file_tuned_to_a_single_file_only(tmp_path, family):
    """A name that is no file's, for one file."""
    t = write_file(tmp_path / "t.safetensors", family.tuned[0])
    vector, out = tmp_path / "vector", tmp_path / "out"
    diff(family.base_path, t, vector)
    result = run("apply", family.base_path, vector, "-o", out)
    if result.status == 0:
        restored = out if out.is_file() else out / "t.safetensors"
        assert_same_tree(restored, t)
    else:
        assert_refused(result, {USAGE, CANNOT_CREATE}, out)


@pytest.mark.parametrize("quiet", ["-q", "-v", None])
def test_reports(tmp_path, family, quiet):
    options = [quiet] if quiet else []
    vector, out = tmp_path / "vector", tmp_path / "out"
    made = diff(family.base_path, family.tuned_paths[0], vector, *options)
    back = apply(family.base_path, vector, out, *options)
    for result in (made, back):
        said = result.out + result.err
        assert bool(said) == (quiet != "-q"), said
        assert quiet == "-q" or "vector" in said or "out" in said
    assert_same_tree(out, family.tuned_paths[0])


def test_inspect(family, stored):
    text = run("inspect", stored[0])
    assert text.status == 0 and not text.err, text.err
    assert "stored vector" in text.out or "vector" in text.out
    listed = run("inspect", "--json", stored[0])
    assert listed.status == 0 and not listed.err
    json.loads(listed.out)
    for name in family.tuned[0]:
        assert name in listed.out
    both = run("inspect", stored[0], family.base_path)
    assert both.status == 0, both.err


def test_verify_says_what_it_did(stored, family):
    result = run("verify", stored[0])
    assert result.status == 0 and str(stored[0]) in result.out
    result = run("verify", "--json", *stored, family.base_path)
    assert result.status != 0 or json.loads(result.out)
    result = run("verify", "--json", stored[0])
    assert result.status == 0 and json.loads(result.out)


def test_memory_is_what_it_says(tmp_path, big_tmp):
    """Their peak memory, far under the size of a tensor."""
    if program.SANITIZED:
        pytest.skip("a sanitizer's memory is no measure")
    size = 96 << 20
    rng = np.random.default_rng(0)
    paths = []
    block = rng.normal(0, 0.05, 1 << 20).astype(np.float32)
    for i, name in enumerate(("base", "tuned")):
        bits = (block * (1 + 0.01 * i)).view(np.uint32) >> 16
        data = bits.astype(np.uint16).tobytes() * (size >> 21)
        path = big_tmp / f"{name}.safetensors"
        write_file(path, {"w": raw(data, "BF16")})
        paths.append(path)
    vector, out = big_tmp / "vector", big_tmp / "out.safetensors"
    for args in (
        ["diff", *paths, "-o", vector],
        ["apply", paths[0], vector, "-o", out],
        program.merge_args(paths[0], [(vector, 0.5)], big_tmp / "m"),
    ):
        result = program.run_measured(tmp_path, *args, "--memory", "64M")
        assert result.status == 0, result.err
        assert result.peak < 64 << 20, args[0]
    assert_same_tree(out, paths[1])
