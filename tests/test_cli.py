"""The command line: what it says, what it refuses, and how it ends."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

import checkpoints
import program
from checkpoints import raw, write_file, write_sparse
from program import (
    CANNOT_CREATE,
    DATA,
    INTERRUPTED,
    SANITIZED,
    USAGE,
    assert_refused,
    run,
    scaled,
)

COMMANDS = ["merge", "plan", "diff", "apply", "verify", "inspect", "methods"]


# Texts


def test_help_and_version():
    for args in (["--help"], ["-h"], ["help"]):
        result = run(*args)
        if args == ["help"] and result.status == USAGE:
            continue
        assert result.status == 0 and not result.err
        for command in COMMANDS:
            assert command in result.out
    result = run("--version")
    assert result.status == 0 and not result.err
    assert re.match(r"taumerge \d+\.\d+", result.out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command):
    result = run(command, "--help")
    assert result.status == 0 and not result.err
    assert f"taumerge {command}" in result.out
    if command == "merge":
        for option in (
            "--memory", "--threads", "--io", "--direct", "--progress",
            "--force", "--dtype", "--shard-size", "--allow-missing",
            "--allow-extra", "--set", "--lax", "--document", "--seed",
        ):  # fmt: skip
            assert option in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_version_tells_what_runs():
    for name in program.instruction_sets():
        out = run("--version", env={"TAUMERGE_CPU": name}).out
        assert re.search(rf"^ *kernels +{name} ", out, re.M), out


def test_an_instruction_set_that_does_not_exist(family, tmp_path):
    out = tmp_path / "out"
    result = run(*family.args(out), env={"TAUMERGE_CPU": "mmx"})
    assert_refused(result, USAGE, out, ["mmx"])


# Usage


BASE, TUNED = ["-b", "BASE"], ["-t", "TUNED"]
OUT = ["-o", "OUT"]
WHOLE = ["merge", *BASE, *TUNED, *OUT]


@pytest.mark.parametrize(
    "args, mentions",
    [
        ([], []),
        (["frobnicate"], ["frobnicate"]),
        (["mrege", *WHOLE[1:]], ["mrege"]),
        (["--frobnicate"], ["--frobnicate"]),
        (["merge"], []),
        (["merge", *BASE, *TUNED], ["-o"]),
        (["merge", *BASE, *OUT], ["-t"]),
        (["merge", *TUNED, *OUT], ["-b"]),
        ([*WHOLE, "--frobnicate"], ["--frobnicate"]),
        ([*WHOLE, "-Z"], ["Z"]),
        ([*WHOLE, "extra"], ["extra"]),
        ([*WHOLE, "-b", "OTHER"], ["-b"]),
        ([*WHOLE, "-o", "OTHER"], ["-o"]),
        (["merge", *BASE, "-w", "1", *TUNED, *OUT], ["-w"]),
        ([*WHOLE, "-w", "1", "-w", "2"], ["-w"]),
        ([*WHOLE, "-o"], ["-o"]),
        (["merge", *BASE, *OUT, "-t"], ["-t"]),
        *(([*WHOLE, "-w", w], [w]) for w in (
            "nan", "-nan", "inf", "-inf", "1e999", "x", "1x", "1,5", "0.5.5",
            "1e", "--1",
        )),
        ([*WHOLE, "-w", ""], ["-w"]),
        ([*WHOLE, "-w", " "], ["-w"]),
        *(([*WHOLE, "--memory", m], [m]) for m in (
            "0", "-1", "1X", "M", "1.5.5M", "99999999999T", "1MM", "1 M",
            "0x10", "nan",
        )),
        ([*WHOLE, "--memory", ""], ["--memory"]),
        ([*WHOLE, "--memory=1Q"], ["1Q"]),
        *(([*WHOLE, "--threads", t], [t]) for t in (
            "0", "-1", "x", "1.5", "99999999999999999999",
        )),
        *(([*WHOLE, "--shard-size", s], [s]) for s in ("0", "-5G", "5Gb/s")),
        ([*WHOLE, "--io", "fast"], ["fast"]),
        ([*WHOLE, "--io", "fault"], ["fault"]),
        ([*WHOLE, "--direct", "maybe"], ["maybe"]),
        ([*WHOLE, "--progress", "loud"], ["loud"]),
        *(([*WHOLE, "--dtype", d], [d]) for d in (
            "int8", "I64", "floaty", "bfloat17",
        )),
        (["merge", *BASE, *TUNED, "-o", ""], ["-o"]),
        (["verify"], []),
        (["inspect"], []),
        (["verify", "--frobnicate", "x"], ["--frobnicate"]),
        (["inspect", "--frobnicate", "x"], ["--frobnicate"]),
        (["plan", *BASE, *OUT], ["-t"]),
        (["merge", "a.yaml", *BASE, *TUNED, *OUT], ["a.yaml", "-b BASE"]),
        (["merge", "a.yaml", *TUNED, *OUT], ["a.yaml", "-t TUNED"]),
        (["merge", "a.yaml", "b.yaml", *OUT], ["b.yaml"]),
        *(([*WHOLE, *o], [o[0]]) for o in (
            ["--set", "lambda=1"], ["--document", "one"], ["--lax"],
        )),
        *((["merge", "a.yaml", *OUT, "--set", s], [s]) for s in ("x", "=1")),
        *(([*WHOLE, "--seed", s], [s]) for s in (
            "-1", "x", "1.5", "18446744073709551616", "0x10",
        )),
        ([*WHOLE, "--tensor", "x"], ["--tensor"]),
    ],
    ids=lambda value: " ".join(value)[:60] if value else "nothing",
)  # fmt: skip
def test_arguments_that_make_no_sense(tmp_path, args, mentions):
    """Refused as such, before anything is looked for on the disk."""
    result = run(*args, cwd=tmp_path)
    assert_refused(result, USAGE, tmp_path / "OUT", mentions)
    assert not result.out
    assert os.listdir(tmp_path) == []


def test_an_option_nearly_right_gets_a_hint(tmp_path):
    result = run(*WHOLE, "--memroy", "1G", cwd=tmp_path)
    assert_refused(result, USAGE, tmp_path / "OUT", ["--memroy"])


@pytest.mark.parametrize(
    "size", ["200M", "200MB", "1G", "1GB", "1T", "209715200"]
)
def test_sizes(tmp_path, family, size):
    out = tmp_path / "out"
    program.merge(family.base_path, family.vectors, out, "--memory", size)


def test_options_in_any_order_and_spelling(tmp_path, family):
    out = tmp_path / "out"
    result = run(
        "merge", f"-o{out}", "--memory=256M", "-t", family.tuned_paths[0],
        "-w.4", "--threads=2", f"-b{family.base_path}",
        "-t", family.tuned_paths[1], "-w", "-1",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert checkpoints.load(out) == family.expected


def test_too_little_memory_names_the_least_that_works(tmp_path, family):
    out = tmp_path / "out"
    for size in ("1", "100K"):
        result = run(*family.args(out), "--memory", size)
        assert_refused(result, USAGE, out, ["--memory"])
    memory = program.smallest_memory(family.args(out))
    # It is said in whole megabytes.
    result = run(*family.args(out), "--memory", memory - (1 << 20))
    assert_refused(result, USAGE, out)
    program.merge(family.base_path, family.vectors, out, "--memory", memory)
    assert memory <= 64 << 20


@pytest.mark.parametrize("locale", ["de_DE.UTF-8", "tr_TR.UTF-8", "C.UTF-8"])
def test_numbers_do_not_depend_on_the_locale(tmp_path, family, locale):
    out = tmp_path / "out"
    env = {"LC_ALL": locale, "LANG": locale}
    program.merge(family.base_path, family.vectors, out, env=env)
    assert checkpoints.load(out) == family.expected
    manifest = json.loads((out / "taumerge.json").read_text())
    assert manifest["recipe"]["vectors"][0]["weight"] == 0.4


# Where the output goes


def test_an_output_that_exists_is_refused(tmp_path, family):
    for kind in ("folder", "full", "file", "link", "dangling"):
        out = tmp_path / kind
        if kind == "file":
            out.write_text("precious")
        elif kind in ("link", "dangling"):
            out.symlink_to(tmp_path / ("folder" if kind == "link" else "no"))
        else:
            out.mkdir()
        if kind == "full":
            (out / "precious").write_text("precious")
        before = os.lstat(out).st_ino
        result = run(*family.args(out))
        assert result.status == CANNOT_CREATE, result.err
        assert result.err.startswith("taumerge: ") and out.name in result.err
        assert os.lstat(out).st_ino == before
        assert not program.sibling(out).exists()
    assert (tmp_path / "file").read_text() == "precious"
    assert (tmp_path / "full" / "precious").read_text() == "precious"


def test_force_replaces_at_the_end(tmp_path, family, merged):
    out = tmp_path / "out"
    for option in ("-f", "--force"):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / "old").write_text("old")
        program.merge(family.base_path, family.vectors, out, option)
        assert checkpoints.tree(out) == checkpoints.tree(merged[0])
        assert os.listdir(tmp_path) == ["out"]


def test_force_replaces_a_file(tmp_path, family):
    base = write_file(tmp_path / "base.safetensors", family.base)
    out = tmp_path / "out.safetensors"
    out.write_text("old")
    program.merge(base, family.vectors, out, "-f")
    assert checkpoints.load(out) == family.expected


def test_force_leaves_the_old_one_if_the_merge_fails(tmp_path, family):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    env = {"TAUMERGE_FAULT": "op=write,k=1,errno=EIO,for=ever"}
    result = run(*family.args(out), "-f", env=env)
    assert result.status == program.IO_ERROR, result.err
    assert (out / "old").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def hard_link(path, link):
    os.link(path, link)


def soft_link(path, link):
    link.symlink_to(path)


@pytest.mark.parametrize("option", [[], ["-f"]])
@pytest.mark.parametrize("role", ["base", "vector"])
@pytest.mark.parametrize("alias", [None, hard_link, soft_link])
def test_an_output_that_is_an_input_is_refused(
    tmp_path, family, alias, role, option
):
    base = write_file(tmp_path / "base.safetensors", family.base)
    tuned = write_file(tmp_path / "tuned.safetensors", family.tuned[0])
    out = base if role == "base" else tuned
    if alias is not None:
        out, target = tmp_path / "alias.safetensors", out
        alias(target, out)
    before = base.read_bytes(), tuned.read_bytes()
    result = run(*program.merge_args(base, [(tuned, 1.0)], out), *option)
    assert result.status in (CANNOT_CREATE, USAGE), result.err
    assert out.name in result.err
    assert (base.read_bytes(), tuned.read_bytes()) == before
    assert not program.sibling(out).exists()


@pytest.mark.parametrize("spelling", ["{0}", "{0}/", "{0}/.", "{0}/../base"])
def test_a_directory_as_output_that_is_an_input(tmp_path, family, spelling):
    base = tmp_path / "base"
    shutil.copytree(family.base_path, base)
    before = checkpoints.tree(base)
    out = spelling.format(base)
    result = run(*program.merge_args(base, family.vectors, out), "-f")
    assert result.status in (CANNOT_CREATE, USAGE), result.err
    assert checkpoints.tree(base) == before


def test_an_output_inside_of_an_input_or_around_it(tmp_path, family):
    base = tmp_path / "models" / "base"
    shutil.copytree(family.base_path, base)
    before = checkpoints.tree(base)
    inside = program.merge_args(base, family.vectors, base / "out")
    result = run(*inside)
    if result.status == 0:
        shutil.rmtree(base / "out")
    assert checkpoints.tree(base) == before
    around = program.merge_args(base, family.vectors, tmp_path / "models")
    result = run(*around, "-f")
    assert result.status in (CANNOT_CREATE, USAGE), result.err
    assert checkpoints.tree(base) == before


@pytest.mark.parametrize("parent", ["gone/out", "gone/deep/out", "file/out"])
def test_an_output_whose_parent_does_not_exist(tmp_path, family, parent):
    (tmp_path / "file").touch()
    out = tmp_path / parent
    result = run(*family.args(out))
    assert result.status == CANNOT_CREATE, result.err
    assert result.err.startswith("taumerge: ")
    assert parent.split("/")[0] in result.err
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["n" * 255, "n" * 250, "n" * 300])
def test_an_output_with_a_long_name(tmp_path, family, name):
    """The sibling's name is longer still."""
    out = tmp_path / name
    result = run(*family.args(out))
    if result.status == 0:
        assert checkpoints.load(out) == family.expected
    else:
        assert result.status == CANNOT_CREATE, result.err
    assert set(os.listdir(tmp_path)) <= {name}


@pytest.mark.parametrize("name", [b"\xff\xfe", b"new\nline", b" "])
def test_an_output_with_an_odd_name(tmp_path, family, name):
    out = os.path.join(os.fsencode(tmp_path), name)
    args = [os.fsencode(str(a)) for a in program.command()]
    args += [os.fsencode(str(a)) for a in family.args("OUT")[:-1]] + [out]
    for status in (0, CANNOT_CREATE):
        done = subprocess.run(args, capture_output=True, timeout=60)
        assert done.returncode == status, done.stderr
        assert done.stderr.decode()  # masked: valid text whatever the name
    assert os.listdir(os.fsencode(tmp_path)) == [name]


@pytest.mark.parametrize("name", [b"\xff\xfe", b"new\nline", b" "])
def test_an_odd_name_is_kept_and_gone_on_with(tmp_path, family, name):
    out = os.path.join(os.fsencode(tmp_path), name)
    args = [os.fsencode(str(a)) for a in program.command()]
    args += [os.fsencode(str(a)) for a in family.args("OUT")[:-1]] + [out]
    fault = {"TAUMERGE_FAULT": "op=rename,k=1,errno=EROFS"}
    steps = [([], fault), ([], {}), (["--resume"], {})]
    statuses = []
    for option, env in steps:
        env = program.environment(TAUMERGE_JOURNAL=0, **env)
        done = subprocess.run(
            [*args, *option], env=env, capture_output=True, timeout=60
        )
        assert done.stderr.decode()
        statuses.append(done.returncode)
    assert statuses == [CANNOT_CREATE, CANNOT_CREATE, 0], done.stderr
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_what_an_interrupted_merge_left_behind(tmp_path, family):
    """What no journal vouches for is never mixed into a new one."""
    out = tmp_path / "out"
    sibling = program.sibling(out)
    sibling.mkdir()
    (sibling / "stale").write_text("stale")
    (sibling / "output").mkdir()
    (sibling / "output" / "stale").write_text("stale")
    result = run(*family.args(out))
    assert result.status == 0, result.err
    assert checkpoints.load(out) == family.expected
    assert not (out / "stale").exists() and not sibling.exists()


def test_two_merges_to_one_output(tmp_path, family):
    """One of them wins, and its output is whole."""
    out = tmp_path / "out"
    running = [program.start(*family.args(out)) for _ in range(6)]
    ended = [(p.communicate(timeout=60)[1], p.returncode) for p in running]
    statuses = sorted(status for _, status in ended)
    assert statuses[0] == 0, ended
    assert set(statuses[1:]) <= {CANNOT_CREATE}, ended
    assert checkpoints.load(out) == family.expected
    assert os.listdir(tmp_path) == ["out"]


# Streams


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_closed_stream_is_not_taken_for_a_data_file(
    tmp_path, family, stream
):
    out = tmp_path / "out"
    fd = ["stdin", "stdout", "stderr"].index(stream)
    how = {} if stream == "stdin" else {stream: None}
    shell = f'exec "$@" {fd}{"<" if fd == 0 else ">"}&-'
    args = ["sh", "-c", shell, "sh", *program.command(*family.args(out))]
    subprocess.run(
        args, env=program.environment(), timeout=60,
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **how},
    )  # fmt: skip
    if out.exists():
        assert checkpoints.load(out) == family.expected
        assert run("verify", out).status == 0


@pytest.mark.parametrize("command", ["inspect", "plan", "--help", "--version"])
def test_output_that_cannot_be_written_is_an_error(family, tmp_path, command):
    args = {
        "inspect": ["inspect", "--json", family.base_path],
        "plan": ["plan", *family.args(tmp_path / "out")[1:]],
    }.get(command, [command])
    with open("/dev/full", "w") as full:
        result = run(*args, stdout=full)
    assert result.status == program.IO_ERROR, result
    assert os.strerror(errno.ENOSPC) in result.err


def test_a_full_stderr_stops_nothing(tmp_path, family):
    out = tmp_path / "out"
    with open("/dev/full", "w") as full:
        result = run(*family.args(out), "--progress", "json", stderr=full)
    assert (result.status == 0) == out.exists()
    if out.exists():
        assert checkpoints.load(out) == family.expected


def test_a_reader_that_goes_away(family):
    """As in `taumerge inspect ... | head -1`: no noise, no crash."""
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -1', "sh",
         *program.command("inspect", *[family.base_path] * 200)],
        env=program.environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    program.check_sanitizers(done.stderr)
    assert len(done.stderr.splitlines()) <= 1


# Progress and reports


def test_quiet_is_quiet_and_the_report_is_on_stderr(tmp_path, family):
    loud = program.merge(family.base_path, family.vectors, tmp_path / "a")
    assert loud.err and not loud.out
    quiet = program.merge(
        family.base_path, family.vectors, tmp_path / "b", "-q"
    )
    assert not quiet.err and not quiet.out


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line[0] == "{"]


def test_progress_as_json_lines(tmp_path, family):
    result = program.merge(
        family.base_path, family.vectors, tmp_path / "out",
        "--progress", "json", "-q",
    )  # fmt: skip
    lines = result.err.splitlines()
    assert lines and len(json_lines(result.err)) == len(lines), result.err


def plan_of(args, *more):
    result = run("plan", *args[1:], "--json", *more)
    assert result.status == 0, result.err
    return json.loads(result.out)


def test_the_plan_says_what_the_merge_does(tmp_path, family):
    out = tmp_path / "out"
    plan = plan_of(family.args(out))
    assert not out.exists() and not program.sibling(out).exists()
    result = program.merge(
        family.base_path, family.vectors, out, "--progress", "json"
    )
    last = json_lines(result.err)[-1]
    assert last["bytes_to_read"] == plan["read_bytes"]
    assert last["bytes_to_write"] == plan["write_bytes"]
    shards = checkpoints.files_of(out)
    assert plan["write_bytes"] == sum(p.stat().st_size for p in shards)
    models = [family.base, *family.tuned]
    assert plan["read_bytes"] == sum(map(checkpoints.size_of, models))
    assert plan["read_bytes"] == sum(f["read_bytes"] for f in plan["inputs"])


def test_progress_ends_where_the_plan_ends(tmp_path, family):
    result = program.merge(
        family.base_path, family.vectors, tmp_path / "out",
        "--progress", "json",
    )  # fmt: skip
    last = json_lines(result.err)[-1]
    assert last["bytes_read"] == last["bytes_to_read"]
    assert last["bytes_written"] == last["bytes_to_write"]


def test_the_plan_as_text_has_the_numbers_of_the_plan_as_json(
    tmp_path, family
):
    args = family.args(tmp_path / "out")
    plan = plan_of(args)
    text = run("plan", *args[1:])
    assert text.status == 0 and text.out
    for file in checkpoints.files_of(family.base_path):
        assert file.name in text.out
    assert {"memory", "tensors", "outputs"} <= set(plan)


def test_the_plan_of_single_tensors(tmp_path, family):
    """Where each comes from, and what is done with it."""
    args = family.args(tmp_path / "out")
    whole = {t["name"]: t for t in plan_of(args)["tensors"]}
    glob = ["--tensor", "layers.?.attn.*"]
    found = plan_of(args, *glob)["tensors"]
    names = ["layers.0.attn.weight", "layers.1.attn.weight"]
    assert [t["name"] for t in found] == names
    for tensor in found:
        assert tensor["operation"] == "merge"
        assert tensor["method"] == "task_arithmetic"
        paths = [str(p) for p in (family.base_path, *family.tuned_paths)]
        assert [s["model"] for s in tensor["sources"]] == paths
        assert tensor["sources"][0]["name"] == tensor["name"]
        assert [t["model"] for t in tensor["terms"]] == paths[1:]
        weights = [t["parameters"]["weight"] for t in tensor["terms"]]
        assert weights == [0.4, -1.0]
        for source in tensor["sources"]:
            source.pop("name", None)
        assert tensor == whole[tensor["name"]]
    text = run("plan", *args[1:], *glob)
    assert text.status == 0
    assert all(name in text.out for name in names)
    assert "norm.weight" not in text.out and "weight -1" in text.out
    none = run("plan", *args[1:], "--tensor", "layers.?.atn.*")
    assert_refused(none, USAGE, mentions=["layers.?.atn.*"])
    assert not none.out


def test_the_plan_is_a_pure_function(tmp_path, family):
    args = family.args(tmp_path / "out")
    first, second = plan_of(args), plan_of(args)
    for plan in (first, second):
        for key in list(plan):
            if key.startswith(("free", "probe", "seconds")):
                del plan[key]  # what the disk says at the moment
    assert first == second


def test_a_plan_is_refused_like_the_merge(tmp_path, family):
    out = tmp_path / "out"
    out.mkdir()
    result = run("plan", *family.args(out)[1:])
    assert result.status == CANNOT_CREATE


# Signals


@pytest.fixture
def long_merge(big_tmp):
    """The arguments of a merge that takes a second or more, and its OUT."""
    size = scaled(3 << 30, 256 << 20)
    paths = [big_tmp / f"{name}.safetensors" for name in "bt"]
    for path in paths:
        write_sparse(path, {"a.weight": ("BF16", [size // 2])})
    out = big_tmp / "out"
    return program.merge_args(paths[0], [(paths[1], 0.5)], out), out


def test_a_hangup_that_the_parent_ignores_is_ignored(long_merge):
    """As under nohup."""
    args, out = long_merge
    running = subprocess.Popen(
        program.command(*args),
        env=program.environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert program.wait_for(program.sibling(out).exists)
    running.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert program.sibling(out).exists() or out.exists()
    running.terminate()
    running.communicate(timeout=program.PATIENCE)
    assert running.returncode in (0, program.INTERRUPTED)
    shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("io", ["uring", "threads"])
def test_interrupting_a_merge(long_merge, io, number):
    """At once; three tries, because a disk may be busy with other things.
    What is left is said, and how to go on with it."""
    args, out = long_merge
    waits = []
    while not waits or (min(waits) > scaled(2, 20) and len(waits) < 3):
        running = program.start(*args, "--restart", "--io", io)
        assert program.wait_for(program.sibling(out).exists)
        time.sleep(0.1)
        assert running.poll() is None, "too soon over to be interrupted"
        running.send_signal(number)
        start = time.monotonic()
        _, err = running.communicate(timeout=program.PATIENCE)
        waits.append(time.monotonic() - start)
        program.check_sanitizers(err)
        assert running.returncode == INTERRUPTED, err
        assert re.search(r"^taumerge: .*interrupted", err, re.M), err
        assert not out.exists()
        kept = f"kept in {program.sibling(out)}; " in err
        assert kept == program.sibling(out).exists(), err
        assert kept == (" merge --resume " in err), err
    assert min(waits) < scaled(2, 20)


def test_killing_a_merge_leaves_no_output(long_merge):
    args, out = long_merge
    running = program.start(*args)
    assert program.wait_for(program.sibling(out).exists)
    time.sleep(0.1)
    running.kill()
    running.communicate()
    assert not out.exists()


def test_a_signal_asks_how_far_it_is(long_merge):
    args, out = long_merge
    running = program.start(*args, "--progress", "none", "-q")
    assert program.wait_for(program.sibling(out).exists)
    time.sleep(0.1)
    running.send_signal(signal.SIGUSR1)
    time.sleep(0.3)
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=program.PATIENCE)
    program.check_sanitizers(err)
    assert re.search(r"GB/s|MB/s|%", err.splitlines()[0]), err


# verify


@pytest.fixture
def copy(tmp_path, merged):
    path = tmp_path / "copy"
    shutil.copytree(merged[0], path)
    return path


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def verify_json(path):
    result = run("verify", "--json", path)
    (entry,) = json.loads(result.out)["paths"]
    return result, entry


def test_verify_is_content_with_what_merge_wrote(merged):
    result = run("verify", merged[0])
    assert result.status == 0, result.err
    result, entry = verify_json(merged[0])
    assert entry["ok"] is True and entry["damage"] == []
    assert entry["path"] == str(merged[0])
    files = checkpoints.tree(merged[0])
    assert entry["files"] in (len(files), len(files) - 1)
    total = sum(map(len, files.values()))
    assert 0 <= total - entry["bytes"] <= len(files["taumerge.xxh128"])


def test_verify_names_the_file_of_a_flipped_bit(copy):
    for name, data in checkpoints.tree(copy).items():
        for at in {0, len(data) // 2, len(data) - 1}:
            flip(copy / name, at)
            result = run("verify", copy)
            assert result.status == DATA, (name, at)
            assert result.err.startswith("taumerge: ")
            assert name in result.err, (name, at, result.err)
            flip(copy / name, at)
    assert run("verify", copy).status == 0


def test_verify_names_the_tensor_of_a_flipped_bit(copy, family):
    for file in checkpoints.files_of(copy):
        length, entries = checkpoints.header_of(file)
        entries.pop("__metadata__")
        for name, e in entries.items():
            start, end = e["data_offsets"]
            if start == end:
                continue
            flip(file, 8 + length + end - 1)
            result, entry = verify_json(copy)
            assert result.status == DATA and entry["ok"] is False
            (damage,) = entry["damage"]
            assert (damage["file"], damage["tensor"]) == (file.name, name)
            assert damage["cause"]
            assert f"'{name}'" in run("verify", copy).err
            flip(file, 8 + length + end - 1)


def test_verify_finds_missing_longer_and_shorter_files(copy):
    for name, data in checkpoints.tree(copy).items():
        file = copy / name
        lines = data.splitlines(keepends=True)
        for bad in (None, data + b"x", data[:-1], b"".join(lines[:-1]), b""):
            file.unlink()
            if bad is not None:
                file.write_bytes(bad)
            result = run("verify", copy)
            assert result.status in (DATA, program.NO_INPUT), (name, bad)
            assert name in result.err
            file.write_bytes(data)


def test_verify_of_one_file_names_it_once(tmp_path, family):
    """It was shown as a file inside itself."""
    file = checkpoints.files_of(family.base_path)[0]
    out = tmp_path / "out.safetensors"
    program.merge(file, [(file, 0.5)], out)
    flip(out, out.stat().st_size - 1)
    result = run("verify", out)
    assert result.status == DATA
    assert result.err.startswith(f"taumerge: {out}: tensor '")


def test_verify_lists_all_damage(copy):
    files = checkpoints.files_of(copy)
    for file in files:
        flip(file, file.stat().st_size - 1)
    _, entry = verify_json(copy)
    assert {d["file"] for d in entry["damage"]} == {f.name for f in files}


def test_verify_of_several_paths(copy, merged):
    flip(copy / "config.json", 3)
    result = run("verify", "--json", merged[0], copy, merged[0])
    assert result.status == DATA
    paths = json.loads(result.out)["paths"]
    assert [p["ok"] for p in paths] == [True, False, True]


def test_verify_says_that_there_is_nothing_to_compare_with(family):
    result = run("verify", family.base_path)
    assert result.status in (DATA, program.NO_INPUT)
    assert str(family.base_path) in result.err


# inspect


def test_inspect_lists_every_tensor(family):
    result = run("inspect", family.base_path)
    assert result.status == 0, result.err
    for name, t in family.base.items():
        (line,) = [x for x in result.out.splitlines() if name in x.split()]
        assert t.dtype in line
        assert all(str(d) in line for d in t.shape)


def inspect_json(*args):
    result = run("inspect", "--json", *args)
    assert result.status == 0, result.err
    return json.loads(result.out)["checkpoints"]


def expected_listing(path, digests):
    return {
        name: {
            "name": name, "dtype": t.dtype, "shape": t.shape,
            "file": file.name, "bytes": len(t.data),
            "digest": checkpoints.digest(t.data) if digests else None,
        }
        for file in checkpoints.files_of(path)
        for name, t in checkpoints.read_file(file).items()
    }  # fmt: skip


def test_inspect_as_json(family, merged):
    """Digests come from the manifest, or are asked for."""
    paths = [family.base_path, family.tuned_paths[0], merged[0]]
    for options, digests in (
        ([], [False, False, True]),
        (["--digest"], [True, True, True]),
    ):
        listed = inspect_json(*options, *paths)
        assert [c["path"] for c in listed] == [str(p) for p in paths]
        for found, path, with_digests in zip(listed, paths, digests):
            by_name = {t["name"]: t for t in found["tensors"]}
            assert len(by_name) == len(found["tensors"])
            assert by_name == expected_listing(path, with_digests)


def test_inspect_one_file_of_a_checkpoint(family):
    file = checkpoints.files_of(family.base_path)[1]
    (found,) = inspect_json(file)
    names = [t["name"] for t in found["tensors"]]
    assert names == list(checkpoints.read_file(file))


# Memory


MARGIN = 16 << 20


def peak_within(tmp_path, args, budget):
    result = program.run_measured(tmp_path, *args, "--memory", budget)
    assert result.status == 0, result.err
    assert result.peak <= budget + MARGIN, f"{result.peak / (1 << 20):.1f} MiB"
    return result


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is no measure")
def test_peak_memory_with_a_tensor_of_2_gib(big_tmp):
    """More than 2^31 elements, too, and than one system call can move."""
    count = (1 << 31) + 4097
    paths = [big_tmp / f"{name}.safetensors" for name in "bt"]
    for path in paths:
        start = write_sparse(path, {"a.weight": ("F8_E5M2", [count])})
        with open(path, "r+b") as f:
            f.seek(start + count - 3)
            f.write(b"\x3c\x3c\x3c" if path is paths[1] else b"\x38\x38\x38")
    out = big_tmp / "out"
    args = program.merge_args(paths[0], [(paths[1], 1.0)], out)
    peak_within(big_tmp, args, 64 << 20)
    (file,) = checkpoints.files_of(out)
    with open(file, "rb") as f:
        f.seek(-4, os.SEEK_END)
        assert f.read() == b"\0\x3c\x3c\x3c"


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is no measure")
@pytest.mark.parametrize("count", [64, 256])
def test_peak_memory_with_many_vectors(big_tmp, count):
    base = big_tmp / "b.safetensors"
    write_sparse(base, {"a.weight": ("BF16", [4 << 20])})
    vectors = []
    for i in range(count):
        path = big_tmp / f"t{i}.safetensors"
        write_sparse(path, {"a.weight": ("BF16", [4 << 20])})
        vectors.append((path, 0.1))
    args = program.merge_args(base, vectors, big_tmp / "out")
    peak_within(big_tmp, args, 64 << 20)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is no measure")
def test_peak_memory_with_many_tensors(tmp_path):
    """The plan counts, too: 100,000 tensors and 4 vectors."""
    tensors = {
        f"model.layers.{i}.mlp.experts.weight": raw(b"\0\0", "BF16")
        for i in range(100000)
    }
    base = write_file(tmp_path / "b.safetensors", tensors)
    args = program.merge_args(base, [(base, 0.1)] * 4, tmp_path / "out")
    memory = program.smallest_memory(args)
    peak_within(tmp_path, args, max(memory, 64 << 20))
