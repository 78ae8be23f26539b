"""Bad inputs: a message, an exit status, no output; never a crash.

The files are those of tests/bad, truncations, and models that do not fit
each other.
"""

import os
import re
import time

import numpy as np
import pytest

import checkpoints
import program
from bad import make
from checkpoints import (
    raw,
    tensor,
    write_file,
    write_shards,
    write_sparse,
)
from program import DATA, NO_INPUT, SANITIZED, USAGE, assert_refused, scaled

# A header may be large; that the program needs hundreds of megabytes for
# anything of this is a bug. Sanitizers need terabytes of addresses.
LIMITS = None if SANITIZED else {"AS": 2 << 30}
SECONDS = scaled(10, 120)

# Nothing there, or something else than a file: either is a fair answer.
STATUS = dict.fromkeys(
    [
        "fifo", "fifo-in-directory", "device", "dangling", "loop",
        "no-weights", "only-pickles", "index-missing-shard", "index-loop",
        "index-folder",
    ],
    {DATA, NO_INPUT},
)  # fmt: skip


def refuse(args, status, out=None, mentions=()):
    result = program.run(*args, limits=LIMITS, timeout=SECONDS)
    assert_refused(result, status, out, mentions)
    # Masked and shortened: a screen can show it.
    assert all(len(line) < 1000 for line in result.err.splitlines())
    return result


def test_the_list_in_the_readme_is_the_list_that_is_made():
    text = (program.TOP / "tests" / "bad" / "README.md").read_text()
    assert text.endswith("\n\n" + make.readme())


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good")
    file = path / "good.safetensors"
    file.write_bytes(make.GOOD_FILE)
    return file


@pytest.mark.parametrize("name", make.CASES)
def test_bad_input(tmp_path, good, name):
    case = make.CASES[name]
    folder = tmp_path / name
    folder.mkdir()
    bad = case.make(folder)
    status = STATUS.get(name, DATA)
    out = tmp_path / "out"
    named = bad.name if bad.is_dir() else "bad.safetensors"
    words = [named, *case.words]
    for args in (
        program.merge_args(bad, [(good, 0.5)], out),
        program.merge_args(good, [(bad, 0.5)], out),
        ["plan", *program.merge_args(good, [(bad, 0.5)], out)[1:]],
        ["inspect", bad],
    ):
        refuse(args, status, out, words)
    # Without digests beside it there is nothing to verify.
    refuse(["verify", bad], {DATA, NO_INPUT})
    assert set(os.listdir(tmp_path)) <= {name, "outside.safetensors"}


def test_all_bad_inputs_at_once_are_all_named(tmp_path, good):
    args = ["merge", "-b", good, "-o", tmp_path / "out"]
    names = ["trailing-byte", "hole", "n-max"]
    for name in names:
        (tmp_path / name).mkdir()
        args += ["-t", make.CASES[name].make(tmp_path / name)]
    result = refuse(args, DATA, tmp_path / "out")
    for name in names:
        assert f"{name}/bad.safetensors" in result.err


def test_truncated_in_the_header_at_every_byte(tmp_path, good):
    length, _ = checkpoints.header_of(good)
    bad = tmp_path / "bad.safetensors"
    out = tmp_path / "out"
    for cut in range(0, 8 + length, scaled(1, 13)):
        bad.write_bytes(make.GOOD_FILE[:cut])
        args = program.merge_args(good, [(bad, 1.0)], out)
        refuse(args, DATA, out, ["bad.safetensors"])


def test_truncated_in_the_data(tmp_path, family):
    whole = (family.tuned_paths[0] / "model.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    cuts = rng.integers(8 + length, len(whole), scaled(100, 8))
    bad = tmp_path / "bad.safetensors"
    out = tmp_path / "out"
    for cut in [8 + length, *cuts.tolist(), len(whole) - 1]:
        bad.write_bytes(whole[:cut])
        args = program.merge_args(family.base_path, [(bad, 1.0)], out)
        result = refuse(args, DATA, out, ["bad.safetensors", "tensor '"])
        there = {str(cut), str(cut - 8 - length)}  # of the file, of the data
        assert there & set(re.findall(r"\d+", result.err)), result.err


def test_every_byte_of_a_header_changed(tmp_path, good):
    """Whatever comes of it, it is an answer."""
    length, _ = checkpoints.header_of(good)
    bad = tmp_path / "bad.safetensors"
    rng = np.random.default_rng(1)
    for at in range(0, 8 + length, scaled(1, 9)):
        data = bytearray(make.GOOD_FILE)
        data[at] ^= int(rng.integers(1, 256))
        bad.write_bytes(data)
        result = program.run("inspect", bad, limits=LIMITS, timeout=SECONDS)
        assert result.status in (0, DATA), result.err


def test_checks_take_no_time_and_no_memory(tmp_path):
    """The largest headers: linear time, and memory like the header's."""
    for name in ("many-tensors", "large-metadata", "deep-objects"):
        (tmp_path / name).mkdir()
        bad = make.CASES[name].make(tmp_path / name)
        result = program.run_measured(tmp_path, "inspect", bad)
        assert result.status == DATA
        assert result.seconds < scaled(3, 60)
        if not SANITIZED:
            assert result.peak < 500 << 20


@pytest.mark.parametrize(
    "name", ["n-100000001", "n-2e63", "n-max", "sparse-header", "sparse"]
)
@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is no measure")
def test_no_length_is_believed_before_it_is_checked(tmp_path, name):
    bad = make.CASES[name].make(tmp_path)
    result = program.run_measured(tmp_path, "inspect", bad)
    assert result.status == DATA
    assert result.peak < 32 << 20


# Good files that look odd


def both_ways(tmp_path, file):
    out = tmp_path / "out.safetensors"
    program.merge(file, [(file, 0.5)], out)
    before, after = file.read_bytes(), out.read_bytes()
    (m, entries), (n, merged) = map(checkpoints.header_of, (file, out))
    assert after[8 + n :] == before[8 + m :]
    assert merged.pop("__metadata__", {}) == entries.pop("__metadata__", {})
    assert set(merged) == set(entries)
    for name, e in merged.items():
        assert all(entries[name][key] == e[key] for key in e)


@pytest.mark.parametrize(
    "before, after",
    [
        ("", " "), ("", "\n\t\r "), (" ", ""), ("\n\t\r ", "   "),
        ("", " " * 100000), (" " * 5000, ""),
    ],
    ids=["one-after", "kinds-after", "one-before", "both", "many-after",
         "many-before"],
)  # fmt: skip
def test_whitespace_around_the_header(tmp_path, before, after):
    file = tmp_path / "odd.safetensors"
    text = make.json.dumps(make.GOOD)
    file.write_bytes(make.file_of(before + text + after, make.DATA))
    both_ways(tmp_path, file)


@pytest.mark.parametrize(
    "text",
    [
        '{"e":{"dtype":"F32","shape":[0],"data_offsets":[8,8]},'
        '"a.weight":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]},'
        '"f":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]},'
        '"g":{"dtype":"U8","shape":[2,0],"data_offsets":[0,0]}}',
        '{"e":{"dtype":"F32","shape":[0],"data_offsets":[4,4]},'
        '"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},'
        '"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]}}',
        '{"a":{"data_offsets":[0,8],"shape":[],"dtype":"F64"}}',
        '{"a":{"dtype":"F32","shape":[1,1,2,1,1,1,1,1,1,1,1,1],'
        '"data_offsets":[0,8]}}',
        '{"__metadata__":{},"a":{"dtype":"F32","shape":[2],'
        '"data_offsets":[0,8]}}',
        r'{"\u0061\/\ud83d\ude00":{"dtype":"F32","shape":[2],'
        r'"data_offsets":[0,8]}}',
        '{"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F4","shape":[16],"data_offsets":[0,8]}}',
    ],
    ids=["empty-anywhere", "empty-between", "scalar",
         "dimensions", "empty-metadata", "escapes", "empty-name", "sub-byte"],
)  # fmt: skip
def test_odd_but_good_headers(tmp_path, text):
    file = tmp_path / "odd.safetensors"
    file.write_bytes(make.file_of(text, make.DATA))
    both_ways(tmp_path, file)


def test_a_name_of_a_megabyte_and_control_characters_in_names(tmp_path):
    names = ["n" * (1 << 20), "\x1b[31m", "a\u202eb", "line\nfeed"]
    base, tuned = checkpoints.family(dict.fromkeys(names, [4]), ["F32"] * 2)
    b = write_file(tmp_path / "b.safetensors", base)
    t = write_file(tmp_path / "t.safetensors", tuned)
    out = tmp_path / "out.safetensors"
    result = program.merge(b, [(t, 0.5)], out)
    assert "\x1b" not in result.err + result.out
    assert checkpoints.load(out) == checkpoints.expected(
        base, [(tuned, 0.5)]
    )
    shown = program.run("inspect", out)
    assert "\x1b" not in shown.out and "\u202e" not in shown.out


def test_a_file_without_tensors(tmp_path):
    file = tmp_path / "empty.safetensors"
    file.write_bytes(make.file_of({}))
    both_ways(tmp_path, file)


# Models that do not fit


def mismatch(tmp_path, family, changes, mentions, *options, status=DATA):
    """A merge with a vector in which tensors were changed (None: left out)
    must be refused, with these words."""
    model = dict(family.tuned[0])
    for name, t in changes.items():
        if t is None:
            del model[name]
        else:
            model[name] = t
    path = write_shards(tmp_path / "changed", [model])
    out = tmp_path / "out"
    vectors = [(family.tuned_paths[1], 1.0), (path, 0.5)]
    args = program.merge_args(family.base_path, vectors, out)
    return refuse([*args, *options], status, out, mentions)


def test_a_missing_tensor_is_named_with_the_option(tmp_path, family):
    name = "layers.1.norm.weight"
    mismatch(
        tmp_path, family, {name: None}, [name, "changed", "--allow-missing"]
    )


def test_an_extra_tensor_is_named_with_the_option(tmp_path, family):
    new = {"score.weight": tensor([1.0], "BF16")}
    mismatch(
        tmp_path, family, new, ["score.weight", "changed", "--allow-extra"]
    )


def test_allowing_one_difference_does_not_allow_the_other(tmp_path, family):
    new = {"score.weight": tensor([1.0], "BF16"), "scale": None}
    (tmp_path / "a").mkdir()
    a = mismatch(
        tmp_path / "a", family, new, ["'score.weight'"], "--allow-missing"
    )
    assert "'scale'" not in a.err
    (tmp_path / "b").mkdir()
    b = mismatch(tmp_path / "b", family, new, ["'scale'"], "--allow-extra")
    assert "'score.weight'" not in b.err


@pytest.mark.parametrize(
    "shape", [[33, 61], [61, 32], [62, 33], [61 * 33], [61, 33, 1], []]
)
def test_another_shape_is_refused_whatever_is_allowed(tmp_path, family, shape):
    name = "embed.weight"
    count = int(np.prod(shape, dtype=int))
    t = tensor(np.zeros(count), "BF16", shape)
    mismatch(
        tmp_path, family, {name: t}, [name, "changed", "61", "33"],
        "--allow-missing", "--allow-extra",
    )  # fmt: skip


def test_a_float_and_an_integer_of_one_name(tmp_path, family):
    t = raw(bytes(66), "I16")
    name = "layers.0.norm.weight"
    mismatch(tmp_path, family, {name: t}, [name, "changed", "I16", "BF16"])


def test_every_difference_is_listed(tmp_path, family):
    changes = {
        "embed.weight": tensor(np.zeros(4), "BF16"),
        "scale": None,
        "layers.1.norm.weight": None,
        "new.weight": tensor([1.0], "BF16"),
    }
    result = mismatch(tmp_path, family, changes, [])
    for name in changes:
        lines = [e for e in program.errors(result) if f"'{name}'" in e]
        assert len(lines) == 1 and "changed" in lines[0], result.err


def test_another_model_altogether_gives_a_readable_answer(tmp_path):
    ours = {f"a.{i}": tensor([1.0], "BF16") for i in range(3000)}
    theirs = {f"b.{i}": tensor([1.0], "BF16") for i in range(3000)}
    b = write_file(tmp_path / "b.safetensors", ours)
    t = write_file(tmp_path / "t.safetensors", theirs)
    out = tmp_path / "out"
    result = refuse(program.merge_args(b, [(t, 1.0)], out), DATA, out)
    assert "t.safetensors" in result.err


# What the command line names


@pytest.mark.parametrize("role", ["base", "vector"])
@pytest.mark.parametrize("name", ["gone", "gone.safetensors", "gone/x", ""])
def test_a_path_that_does_not_exist(tmp_path, good, role, name):
    gone = tmp_path / name if name else ""
    paths = (gone, good) if role == "base" else (good, gone)
    out = tmp_path / "out"
    args = program.merge_args(paths[0], [(paths[1], 1.0)], out)
    status = NO_INPUT if name else {NO_INPUT, USAGE}
    refuse(args, status, out, ["gone"] if name else [])


def test_every_path_that_does_not_exist_is_named(tmp_path, good):
    args = program.merge_args(
        tmp_path / "gone-1",
        [(tmp_path / "gone-2", 1.0), (good, 1.0), (tmp_path / "gone-3", 1.0)],
        tmp_path / "out",
    )
    mentions = ["gone-1", "gone-2", "gone-3"]
    refuse(args, NO_INPUT, tmp_path / "out", mentions)


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_the_other_commands_too(tmp_path, command):
    refuse([command, tmp_path / "gone"], NO_INPUT, None, ["gone"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path, good):
    closed = tmp_path / "closed.safetensors"
    closed.write_bytes(make.GOOD_FILE)
    closed.chmod(0)
    out = tmp_path / "out"
    args = program.merge_args(good, [(closed, 1.0)], out)
    refuse(args, NO_INPUT, out, ["closed.safetensors", "ermission denied"])


# Inputs that change under our hands


@pytest.mark.parametrize("change", ["truncate", "grow", "replace", "touch"])
def test_an_input_that_changes_during_the_merge(big_tmp, change):
    """Never a crash (SIGBUS), never a mixture passed off as a model."""
    size = scaled(512, 64) << 20
    paths = []
    for name in ("base", "tuned"):
        path = big_tmp / f"{name}.safetensors"
        length = write_sparse(path, {"a.weight": ("F32", [size // 4])})
        paths.append(path)
    out = big_tmp / "out"
    args = program.merge_args(paths[0], [(paths[1], 0.5)], out)
    running = program.start(*args)
    started = program.wait_for(program.sibling(out).exists)
    time.sleep(0.02)
    if change == "truncate":
        os.truncate(paths[1], length + size // 2)
    elif change == "grow":
        os.truncate(paths[1], length + size + 1)
    elif change == "touch":
        with open(paths[1], "r+b") as f:
            f.seek(length + size - 4096)
            f.write(b"changed")
    else:
        new = big_tmp / "new"
        write_sparse(new, {"a.weight": ("F32", [size // 4])})
        new.rename(paths[1])
    ran_on = running.poll() is None
    _, err = running.communicate(timeout=program.PATIENCE)
    program.check_sanitizers(err)
    if running.returncode == 0 and (change == "replace" or not ran_on):
        return  # the old file was read to its end, which is fine
    assert started
    assert running.returncode in (DATA, program.IO_ERROR), err
    assert re.search(r"^taumerge: .*tuned\.safetensors", err, re.M), err
    assert not out.exists()
