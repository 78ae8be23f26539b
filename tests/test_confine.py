"""The process gives up what it does not need: merges, diffs and applies give
the same with and without, whatever way their paths go."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import checkpoints
import llama
import program
import vectors
from program import run

DONE = re.compile(
    r"^confined: writing to (.*), reading the inputs \(Landlock ABI \d+\)$",
    re.M,
)
NOT_DONE = re.compile(r"^not confined: (.*)$", re.M)

# Lets the kernel answer as one without Landlock does, by a filter for system
# calls, and then becomes the program: argv[1] is the errno, the rest it.
WITHOUT = """
import ctypes, os, struct, sys
LOAD, JUMP, RETURN, CALL = 0x20, 0x15, 0x06, 444
steps = [(LOAD, 0, 0, 0), (JUMP, 0, 1, CALL),
         (RETURN, 0, 0, 0x50000 | int(sys.argv[1])), (RETURN, 0, 0, 0x7fff0000)]
steps = b"".join(struct.pack("HBBI", *step) for step in steps)
buffer = ctypes.create_string_buffer(steps)
filter = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, filter, 0, 0):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[2], sys.argv[2:])
"""


def run_without(error, *args):
    """Runs the program where asking for Landlock gives this errno."""
    start = [sys.executable, "-I", "-S", "-c", WITHOUT, error]
    done = subprocess.run(
        [*map(str, start), *program.command(*args)],
        env=program.environment(),
        capture_output=True,
        text=True,
        timeout=program.PATIENCE,
    )
    program.check_sanitizers(done.stderr)
    return program.Result(done.returncode, done.stdout, done.stderr, 0, None)


@pytest.fixture(scope="module")
def confines(family, tmp_path_factory):
    """Leaves out what is pointless where nothing can be confined."""
    out = tmp_path_factory.mktemp("confines") / "out"
    result = run(*family.args(out), "-v")
    assert result.status == 0, result.err
    not_done = NOT_DONE.search(result.err)
    if not_done:
        pytest.skip(f"not confined: {not_done[1]}")


def assert_confined(result, out):
    """It succeeded, and could write to nothing but the output."""
    assert result.status == 0, result.err
    done = DONE.findall(result.err)
    assert done == [str(program.sibling(out))], result.err
    assert not NOT_DONE.search(result.err)
    assert not re.search(r"^taumerge: ", result.err, re.M), result.err
    # Read from /proc at the very end.
    assert re.search(r"peak memory [1-9]", result.err), result.err


@pytest.mark.parametrize("io", ["auto", "threads"])
@pytest.mark.parametrize("fault", [None, "op=read,k=1000000"])
def test_a_merge(family, merged, confines, tmp_path, io, fault):
    out = tmp_path / "out"
    env = {"TAUMERGE_FAULT": fault}
    result = run(*family.args(out), "-v", "--io", io, env=env)
    assert_confined(result, out)
    assert checkpoints.tree_hash(out) == checkpoints.tree_hash(merged[0])


def test_storing_and_restoring(family, confines, tmp_path):
    vector, out = tmp_path / "vector", tmp_path / "out"
    tuned = family.tuned_paths[0]
    result = run("diff", family.base_path, tuned, "-o", vector, "-v")
    assert_confined(result, vector)
    result = run("apply", family.base_path, vector, "-o", out, "-v")
    assert_confined(result, out)
    vectors.assert_same_tree(out, tuned)


def test_several_vectors_and_a_merge_as_one(family, confines, tmp_path):
    stored, out = tmp_path / "stored", tmp_path / "out"
    result = run(
        "diff", family.base_path, *family.tuned_paths, "-o", stored, "-v"
    )
    assert_confined(result, stored)
    pairs = [(stored / p.name, 0.5) for p in family.tuned_paths]
    args = program.merge_args(family.base_path, pairs, out)
    assert_confined(run(*args, "--as-vector", "-v"), out)
    assert run("verify", "--base", family.base_path, out).status == 0


def test_it_is_not_said_unasked(family, tmp_path):
    result = run(*family.args(tmp_path / "out"))
    assert result.status == 0
    assert "confined" not in result.err


@pytest.mark.parametrize("there", [False, True])
def test_replacing(family, merged, confines, tmp_path, there):
    """A directory with others in it; and one that is not there yet."""
    out = tmp_path / "out"
    if there:
        (out / "a" / "b").mkdir(parents=True)
        (out / "a" / "b" / "old").write_text("old")
    result = run(*family.args(out), "-v", "--force")
    assert_confined(result, out)
    assert checkpoints.tree_hash(out) == checkpoints.tree_hash(merged[0])
    assert os.listdir(tmp_path) == ["out"]


def test_replacing_a_link(family, merged, confines, tmp_path):
    """It is the link that is replaced, not what it leads to."""
    out, old = tmp_path / "out", tmp_path / "old"
    old.mkdir()
    (old / "file").write_text("old")
    out.symlink_to(old)
    result = run(*family.args(out), "-v", "--force")
    assert_confined(result, out)
    assert not out.is_symlink()
    assert checkpoints.tree_hash(out) == checkpoints.tree_hash(merged[0])
    assert (old / "file").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["old", "out"]


@pytest.mark.parametrize("there", [False, True])
def test_a_single_file(family, confines, tmp_path, there):
    """It comes out of its directory, two others with it."""
    base = checkpoints.write_file(tmp_path / "b.safetensors", family.base)
    out = tmp_path / "to" / "out.safetensors"
    out.parent.mkdir()
    beside = [out.with_name(out.name + end) for end in ("", ".json", ".xxh128")]
    if there:
        for path in beside:
            path.write_text("old")
    args = program.merge_args(base, family.vectors, out)
    assert_confined(run(*args, "-v", *(["-f"] if there else [])), out)
    assert checkpoints.load(out)
    assert sorted(out.parent.iterdir()) == beside


@pytest.mark.parametrize("relative", [True, False])
def test_paths_through_links(family, merged, confines, tmp_path, relative):
    """Inputs file by file through links, as hubs keep them; OUT's directory
    is one too."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    models = []
    for number, path in enumerate([family.base_path, *family.tuned_paths]):
        models.append(tmp_path / f"model{number}")
        models[-1].mkdir()
        for file in path.iterdir():
            (models[-1] / file.name).symlink_to(file)
    if relative:
        models = [os.path.relpath(model, tmp_path) for model in models]
    out = Path("link/out") if relative else tmp_path / "link" / "out"
    weights = [weight for _, weight in family.vectors]
    args = program.merge_args(models[0], list(zip(models[1:], weights)), out)
    result = run(*args, "-v", cwd=tmp_path)
    assert_confined(result, out)
    assert checkpoints.load(tmp_path / "real" / "out") == checkpoints.load(
        merged[0]
    )


def test_out_in_the_current_directory(family, confines, tmp_path):
    args = family.args(Path("out"))
    result = run(*args, "-v", cwd=tmp_path)
    assert_confined(result, Path("out"))
    assert os.listdir(tmp_path) == ["out"]


def average(*names, **more):
    models = llama.models(*names, weight=[1] * len(names))
    return json.dumps({"merge_method": "linear", "models": models, **more})


def test_only_the_last_of_a_series(confines, tmp_path):
    """The others' results are read, then removed."""
    llama.family(tmp_path, ["one", "two", "three"], 2)
    path = tmp_path / "series.yaml"
    path.write_text(
        average("half", "three")
        + "\n---\n"
        + average("one", "two", name="half")
    )
    out = tmp_path / "to" / "out"
    out.parent.mkdir()
    result = run("merge", path, "-o", out, "-v", cwd=tmp_path)
    assert_confined(result, out)
    assert os.listdir(out.parent) == ["out"]


def test_a_failure_leaves_nothing(family, confines, tmp_path):
    """What was made is removed by a confined process as well."""
    out = tmp_path / "out"
    env = {"TAUMERGE_FAULT": "op=write,k=2,errno=EIO"}
    result = run(*family.args(out), "-v", env=env)
    assert DONE.search(result.err)
    assert result.status == program.IO_ERROR, result.err
    assert os.listdir(tmp_path) == []


WITHOUT_IT = {
    errno.ENOSYS: "the kernel has no Landlock",
    errno.EOPNOTSUPP: "the kernel's Landlock is switched off",
    errno.EPERM: os.strerror(errno.EPERM),
}


@pytest.mark.parametrize("error", WITHOUT_IT, ids=errno.errorcode.get)
def test_kernels_without_it(family, merged, tmp_path, error):
    out = tmp_path / "out"
    result = run_without(error, *family.args(out), "-v")
    assert result.status == 0, result.err
    assert NOT_DONE.findall(result.err) == [WITHOUT_IT[error]]
    assert not DONE.search(result.err)
    assert checkpoints.tree_hash(out) == checkpoints.tree_hash(merged[0])
