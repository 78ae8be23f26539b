"""Runs that are killed, interrupted and gone on with: the bytes of a run that
nobody disturbed, or a clean refusal. Never other bytes, and nothing left over.

Moments are drawn at random, from a seed, out of the time that a run takes.
TAUMERGE_KILLS multiplies the number of kills.
"""

import collections
import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import checkpoints
import program
from llama import models, recipe
from program import (
    CANNOT_CREATE,
    DATA,
    INTERRUPTED,
    assert_refused,
    run,
    scaled,
    sibling,
    smallest_memory,
    some,
)

# A refusal to go on: anything but success, a crash and being interrupted.
REFUSED = set(range(64, 75)) - {program.INTERNAL}

KILLS = scaled(3, 2) * int(os.environ.get("TAUMERGE_KILLS") or 1)

# After every unit, often, as by default, never.
EVERY, OFTEN, DEFAULT, NEVER = "0", "0.02", None, "off"

HAVE_SHM = os.path.ismount("/dev/shm") and os.access("/dev/shm", os.W_OK)


# What is merged


def shapes():
    rows = scaled(1024, 256)
    found = {}
    for i in range(6):
        found[f"model.layers.{i}.mlp.up_proj.weight"] = [rows, 1200]
        found[f"model.layers.{i}.input_layernorm.weight"] = [1200]
    found["lm_head.weight"] = [rows, 1800]
    found["scale"] = []
    return found


def large_family(count):
    """A base and fine-tunes of it. Numbers are dear: the same block again and
    again, but each tensor begins elsewhere in it."""
    (block, *tuned) = checkpoints.family(
        {"block": [200_003]}, ["BF16"] * (count + 1)
    )
    found = []
    for one in (block, *tuned):
        bits = np.frombuffer(one["block"].data, np.uint16)
        tensors = {}
        for i, (name, shape) in enumerate(shapes().items()):
            size = int(np.prod(shape, dtype=np.int64))
            data = np.resize(np.roll(bits, -4099 * i), size)
            tensors[name] = checkpoints.raw(data, "BF16", shape)
        found.append(tensors)
    return found


class Inputs:
    """In several shards each: two fine-tunes, one of them as a vector, too,
    and the base, also as one file."""

    def __init__(self, path):
        self.path = path
        base, *tuned = large_family(2)
        parts = checkpoints.split(base, 3)
        self.base = checkpoints.write_shards(path / "base", parts)
        self.one, self.two = [
            checkpoints.write_shards(
                path / name, checkpoints.split(tensors, shards)
            )
            for name, tensors, shards in zip(("one", "two"), tuned, (2, 1))
        ]
        self.file = checkpoints.write_file(path / "b.safetensors", base)
        self.tuned = checkpoints.write_file(path / "t.safetensors", tuned[0])
        self.vector = path / "vector"
        self.of_file = path / "of-file"
        for b, t, v in (
            (self.base, self.one, self.vector),
            (self.file, self.tuned, self.of_file),
        ):
            made = run("diff", b, t, "-o", v)
            assert made.status == 0, made.err
        self.ties = self.recipe("ties", {"density": [0.4, 0.6]}, {})
        self.whole = self.recipe(
            "ties", {"density": [0.4, 0.6]}, {"scope": "model"}
        )

    def recipe(self, method, own, parameters):
        name = "-".join([method, *map(str, parameters.values())])
        return recipe(
            self.path / f"{name}.yaml", merge_method=method,
            base_model=str(self.base), parameters=parameters,
            models=models(self.one, self.two, weight=[0.4, -0.7], **own),
        )  # fmt: skip

    def command(self, name, out):
        """The arguments of a run, by a name."""
        both = ["-t", self.one, "-w", "0.4", "-t", self.two, "-w", "-1"]
        mixed = ["-t", self.vector, "-w", "0.4", "-t", self.two]
        return {
            "merge": ["merge", "-b", self.base, *both],
            "merge, other shards": [
                "merge", "-b", self.base, *both, "--shard-size", "2M",
                "--dtype", "float32",
            ],
            "merge of vectors": ["merge", "-b", self.base, *mixed],
            "merge of files": [
                "merge", "-b", self.file, "-t", self.tuned, "-w", "0.5"
            ],
            "ties": ["merge", self.ties],
            "ties of the model": ["merge", self.whole],
            "as vector": ["merge", "-b", self.base, *both, "--as-vector"],
            "diff": ["diff", self.base, self.one],
            "diff of two": ["diff", self.base, self.one, self.two],
            "diff of files": ["diff", self.file, self.tuned],
            "apply": ["apply", self.base, self.vector],
            "apply to a file": ["apply", self.file, self.of_file],
        }[name] + ["-o", out]  # fmt: skip


# Those whose OUT is one file.
FILES = {"merge of files", "apply to a file"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    path = tmp_path_factory.mktemp("inputs")
    made = Inputs(path)
    before = checkpoints.tree_hash(path)
    yield made
    assert checkpoints.tree_hash(path) == before, "inputs were written to"
    shutil.rmtree(path)


# What is run


class Work:
    """A run that can be killed, and what it must end with."""

    def __init__(self, inputs, name, folder, *options):
        self.folder = folder
        suffix = ".safetensors" if name in FILES else ""
        self.out = folder / f"out{suffix}"
        self.kept = sibling(self.out)
        self.journal = self.kept / "journal"
        self.args = [*inputs.command(name, self.out), *options]
        if "--memory" not in options:
            least = smallest_memory(self.args)
            self.args += ["--memory", str(least), "--threads", "1"]
        result = self.run(often=NEVER)
        assert result.status == 0, result.err
        self.expected = self.found()
        self.clear()
        self.seconds, self.longest = self.watched()
        self.check()
        self.clear()

    def watched(self):
        """Seconds of a run that marks every unit, and how long its journal
        is in the end."""
        start, longest = time.monotonic(), 0
        running = self.start(often=EVERY)
        while running.poll() is None:
            longest = max(longest, self.length())
            time.sleep(0.001)
        _, err = running.communicate()
        assert running.returncode == 0, err
        return time.monotonic() - start, longest

    def length(self):
        """Of the journal."""
        try:
            return self.journal.stat().st_size
        except OSError:
            return 0

    def found(self):
        """All that there is beside the inputs: OUT, its companions, and what
        must not be there."""
        return checkpoints.tree_hash(self.folder)

    def clear(self):
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def run(self, *more, often=DEFAULT, **how):
        env = {"TAUMERGE_JOURNAL": often}
        return run(*self.args, *more, env=env, **how)

    def start(self, *more, often=DEFAULT):
        env = {"TAUMERGE_JOURNAL": often}
        return program.start(*self.args, *more, env=env)

    def has_begun(self, running):
        """Waits until the run makes OUT, or is over."""
        program.wait_for(
            lambda: self.kept.exists() or running.poll() is not None,
            program.PATIENCE,
        )

    def marks(self):
        """Records of the journal behind its head."""
        try:
            data = self.journal.read_bytes()
        except OSError:
            return 0
        begins = range(0, len(data), 4096)
        return sum(data[i : i + 8] == b"TMJRNL1\n" for i in begins) - 1

    def has_marks(self, running, share=0):
        """Waits until the journal has such a share of its length and a mark,
        or the run is over."""
        program.wait_for(
            lambda: (self.length() > share * self.longest and self.marks() > 0)
            or running.poll() is not None,
            program.PATIENCE,
        )

    def killed(self, rng, *more, often=DEFAULT, marks=None):
        """Kills a run at some moment, or when its journal has such a share of
        its length. Whether it was not over before."""
        running = self.start(*more, often=often)
        if marks is None:
            time.sleep(rng.random() * 1.1 * self.seconds)
        else:
            self.has_marks(running, marks)
            # Not always right behind a mark.
            time.sleep(rng.random() * 0.1 * self.seconds)
        running.kill()
        _, err = running.communicate()
        program.check_sanitizers(err)
        assert running.returncode in (-signal.SIGKILL, 0), err
        return running.returncode != 0

    def check(self):
        """OUT is right, and nothing else is there."""
        names = sorted(p.name for p in self.folder.iterdir())
        assert self.kept.name not in names, names
        assert self.found() == self.expected, names

    def ends(self, *more, often=DEFAULT):
        """Goes on to the end."""
        result = self.run("--resume", *more, often=often)
        assert result.status == 0, result.err
        self.check()
        return result

    def is_complete(self):
        """OUT is there although the run was killed: it is complete, and what
        else is there goes with --resume."""
        result = self.run("--resume")
        assert result.status in (0, CANNOT_CREATE), result.err
        assert result.status == 0 or "exists" in result.err, result.err
        self.check()


@contextlib.contextmanager
def somewhere(in_memory):
    """A new directory; in memory a sync takes no time."""
    place = "/dev/shm" if in_memory and HAVE_SHM else None
    path = tempfile.mkdtemp(dir=place, prefix="taumerge-test-")
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def folder(request):
    """Where nothing but OUT is made; every other one is in memory."""
    with somewhere(len(request.node.name) % 2) as path:
        yield path


# Killed at any moment

WORKS = [
    ("merge", "uring"),
    ("merge", "threads"),
    ("merge, other shards", "uring"),
    ("merge of vectors", "threads"),
    ("merge of files", "uring"),
    ("ties", "uring"),
    ("ties", "threads"),
    ("ties of the model", "uring"),
    ("as vector", "uring"),
    ("as vector", "threads"),
    ("diff", "uring"),
    ("diff", "threads"),
    ("diff of two", "uring"),
    ("diff of files", "threads"),
    ("apply", "uring"),
    ("apply", "threads"),
    ("apply to a file", "uring"),
]

counted = collections.Counter()


def chain(work, rng, most):
    """Kills, goes on, kills again, until it is complete. How many kills."""
    work.clear()
    for kills in range(most):
        # A run that found nothing to go on with may be started anew.
        more = ["--resume"]
        if not work.journal.exists() and rng.random() < 0.5:
            more = []
        often = rng.choice([EVERY, EVERY, OFTEN, DEFAULT])
        marks = rng.random() * 0.9 if rng.random() < 0.5 else None
        if kills == 0:
            more, often, marks = [], EVERY, rng.random() * 0.5
        if not work.killed(rng, *more, often=often, marks=marks):
            work.check()
            counted["in time"] += 1
            return kills
        counted["kills"] += 1
        counted["with marks"] += work.journal.exists()
        if work.out.exists():
            counted["complete"] += 1
            work.is_complete()
            return kills + 1
    work.ends(often=rng.choice([EVERY, DEFAULT, NEVER]))
    return most


@pytest.mark.parametrize("name, io", some(WORKS))
def test_killed_at_any_moment(inputs, folder, name, io):
    rng = random.Random(f"{name} {io}")
    work = Work(inputs, name, folder, "--io", io)
    kills = 0
    for _ in range(3 * KILLS):
        kills += chain(work, rng, 4)
        if kills >= KILLS:
            break


def test_kills_came_at_moments_that_tell():
    """Else the tests above would prove little."""
    if counted["kills"] < 3 * KILLS:
        pytest.skip("they were not run")
    assert counted["with marks"] * 3 >= counted["kills"], counted


def test_killed_with_an_out_to_replace(inputs, folder):
    """Until the new one is complete, the old one is there."""
    rng = random.Random(1)
    work = Work(inputs, "merge", folder, "--force")
    for _ in range(scaled(8, 2)):
        work.clear()
        work.out.mkdir()
        (work.out / "old").write_text("old")
        old = checkpoints.tree_hash(work.out)
        marks = rng.choice([None, None, 0.3, 0.9])
        if work.killed(rng, often=EVERY, marks=marks):
            is_old = checkpoints.tree_hash(work.out) == old
            has_old = (work.out / "old").exists()
            assert is_old == has_old
            work.ends()
        work.check()


def test_killed_when_marks_come_by_the_clock(inputs, folder):
    """As they do by default: a run is stopped for a second, then killed."""
    rng = random.Random(2)
    work = Work(inputs, "merge", folder)
    for _ in range(scaled(3, 1)):
        work.clear()
        running = work.start()
        work.has_begun(running)
        running.send_signal(signal.SIGSTOP)
        time.sleep(1.1)
        running.send_signal(signal.SIGCONT)
        work.has_marks(running)
        time.sleep(rng.random() * 0.1)
        running.kill()
        running.communicate()
        finish(work)


def test_a_file_is_not_closed_while_it_is_synced(inputs, folder):
    """Neither at the end of its shard nor by a mark, however late a sync is
    begun."""
    work = Work(inputs, "merge, other shards", folder)
    for k in some(range(1, 25, 2)):
        work.clear()
        env = {
            "TAUMERGE_JOURNAL": "0.02",
            "TAUMERGE_FAULT": f"op=sync,k={k},late=1",
        }
        result = run(*work.args, "--io", ["uring", "threads"][k // 2 % 2], env=env)
        assert result.status == 0, result.err
        work.check()


def test_a_mark_behind_chunks_that_are_the_base_s(folder):
    """They add no byte to the vector, but their digests are in it."""
    words = np.resize(np.arange(1, 60_000, dtype=np.uint16), 4 << 20)
    tuned = words.copy()
    tuned[len(words) // 2 :] ^= 1
    paths = [
        checkpoints.write_file(
            folder / name, {"w": checkpoints.raw(bits, "BF16")}
        )
        for name, bits in (("b.safetensors", words), ("t.safetensors", tuned))
    ]
    args = ["diff", *paths, "--memory", "64M", "-o", folder / "out"]
    assert run(*args).status == 0
    wanted = checkpoints.tree_hash(folder / "out")
    for k in some([6, 8, 10, 12, 14]):
        shutil.rmtree(folder / "out")
        env = {"TAUMERGE_JOURNAL": "0", "TAUMERGE_FAULT": f"crash={k}"}
        assert run(*args, env=env).status == 99
        result = run(*args, "--resume")
        assert result.status == 0, result.err
        assert checkpoints.tree_hash(folder / "out") == wanted, k


def test_without_a_journal_there_are_no_marks(inputs, folder):
    work = Work(inputs, "merge", folder)
    running = work.start(often=NEVER)
    work.has_begun(running)
    while running.poll() is None:
        assert not work.journal.exists()
        time.sleep(0.001)
    running.communicate()
    work.check()


# What a killed run left


class Kept:
    """What a run left that was killed in the middle, to be put back."""

    def __init__(self, work, path):
        self.work, self.path = work, path
        rng = random.Random(3)
        for _ in range(5):
            work.clear()
            work.killed(rng, often=EVERY, marks=0.5)
            if work.journal.exists() and not work.out.exists():
                break
        assert work.journal.exists() and not work.out.exists()
        shutil.copytree(work.kept, path, symlinks=True)

    def put_back(self):
        self.work.clear()
        shutil.copytree(self.path, self.work.kept, symlinks=True)
        return self.work

    def untouched(self):
        now = checkpoints.tree_hash(self.work.kept)
        return now == checkpoints.tree_hash(self.path)

    def files(self):
        """What is to become OUT, in order."""
        there = sorted((self.path / "output").rglob("*"))
        return [
            f.relative_to(self.path)
            for f in there
            if f.is_file() and f.stat().st_size
        ]


@contextlib.contextmanager
def left(inputs, name):
    with somewhere(in_memory=True) as path:
        (path / "folder").mkdir()
        work = Work(inputs, name, path / "folder")
        yield Kept(work, path / "kept")


@pytest.fixture(scope="module")
def kept_merge(inputs):
    with left(inputs, "merge") as kept:
        yield kept


@pytest.fixture(scope="module")
def kept_diff(inputs):
    with left(inputs, "diff of two") as kept:
        yield kept


@pytest.fixture(scope="module")
def kept_ties(inputs):
    with left(inputs, "ties") as kept:
        yield kept


@pytest.fixture(params=["merge", "diff", "ties"])
def kept(request):
    return request.getfixturevalue(f"kept_{request.param}")


def test_going_on_with_it(kept):
    work = kept.put_back()
    work.ends()


def test_what_is_kept_is_not_made_again(inputs, kept_merge):
    """The first weights are gone from the base, which looks as before. Whoever
    needs them again makes something else."""
    work = kept_merge.put_back()
    shard = sorted(inputs.base.glob("*.safetensors"))[0]
    before, times = shard.read_bytes(), shard.stat()
    start = 8 + checkpoints.header_of(shard)[0]
    try:
        with open(shard, "r+b") as f:
            f.seek(start)
            f.write(bytes(1024))
        os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
        work.ends()
    finally:
        shard.write_bytes(before)
        os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    "more",
    some(
        [
            ["--memory", "256M"],
            ["--threads", "2"],
            ["--io", "uring"],
            ["--io", "threads", "--threads", "2", "--memory", "64M"],
            ["--direct", "off"],
            ["--direct", "on"],
        ]
    ),
)
def test_gone_on_with_in_another_way(kept, more):
    """Memory, threads and engine are not in the bytes, and so not in what is
    kept: also not when they change back."""
    work = kept.put_back()
    was = work.args
    try:
        work.args = with_options(was, more)
        work.killed(random.Random(5), "--resume", often=EVERY, marks=0.7)
    finally:
        work.args = was
    finish(work)


def with_options(args, options):
    """The arguments with these values of options, each given once."""
    args = list(args)
    for option, value in zip(options[::2], options[1::2]):
        if option in args:
            args[args.index(option) + 1] = value
        else:
            args += [option, value]
    return args


def finish(work):
    """Goes on after a kill, if there is something left to do."""
    if not work.out.exists():
        work.ends()
    elif work.kept.exists():
        work.is_complete()
    else:
        work.check()


def test_without_resume_it_is_refused(kept):
    work = kept.put_back()
    for more in ([], ["--force"]):
        result = work.run(*more)
        if more and result.status == 0:
            work.check()  # --force may mean it
            continue
        assert result.status == CANNOT_CREATE, result.err
        assert not work.out.exists() and kept.untouched()
        for word in ("--resume", "--restart"):
            assert word in result.err, result.err
        assert re.search(r"\d.*(%|[kMG]?B)", result.err), result.err


def test_restarted(kept):
    work = kept.put_back()
    (work.kept / "output" / "strange").write_text("x")
    result = work.run("--restart")
    assert result.status == 0, result.err
    work.check()


@pytest.mark.parametrize("option", ["--resume", "--restart"])
def test_with_nothing_kept(inputs, folder, option):
    """There is nothing to go on with or to throw away: it begins."""
    work = Work(inputs, "merge", folder)
    result = work.run(option)
    assert result.status == 0, result.err
    work.check()


def test_resume_and_restart_exclude_each_other(inputs, folder):
    work = Work(inputs, "diff", folder)
    result = work.run("--resume", "--restart")
    assert_refused(result, program.USAGE, work.out)


def test_another_run_is_making_it(inputs, folder):
    work = Work(inputs, "merge", folder)
    first = work.start(often=EVERY)
    work.has_marks(first)
    first.send_signal(signal.SIGSTOP)
    try:
        for more in ([], ["--resume"], ["--restart"], ["--force"]):
            result = work.run(*more)
            assert result.status == CANNOT_CREATE, (more, result.err)
            assert "another run" in result.err, (more, result.err)
    finally:
        first.send_signal(signal.SIGCONT)
        _, err = first.communicate(timeout=program.PATIENCE)
    assert first.returncode == 0, err
    work.check()


# Something else than what was killed


def replaced(args, old, new):
    at = len(args) - 1 - args[::-1].index(old)
    return [*args[:at], new, *args[at + 1 :]]


CHANGES = {
    "weight": lambda i, a: replaced(a, "-1", "-0.5"),
    "fewer": lambda i, a: a[:3] + a[7:],
    "order": lambda i, a: replaced(replaced(a, i.one, i.two), i.two, i.one),
    "input": lambda i, a: replaced(a, i.one, i.vector),
    "base": lambda i, a: replaced(a, i.base, i.one),
    "dtype": lambda i, a: [*a, "--dtype", "float32"],
    "shards": lambda i, a: [*a, "--shard-size", "5M"],
    "vector": lambda i, a: [*a, "--as-vector", "--memory", "64M"],
    "recipe": lambda i, a: ["merge", i.ties, *a[a.index("-o") :]],
    "command": lambda i, a: ["diff", i.base, i.one, *a[a.index("-o") :]],
}


@pytest.mark.parametrize("change", CHANGES)
def test_something_else_does_not_go_on(inputs, kept_merge, change):
    work = kept_merge.put_back()
    args = CHANGES[change](inputs, work.args)
    if change == "command":
        args = [*args[: args.index("-o") + 2], "--memory", "64M"]
    result = run(*args, "--resume")
    assert result.status in REFUSED, (result.status, result.err)
    assert result.err.startswith("taumerge: "), result.err
    assert not work.out.exists() and kept_merge.untouched(), change
    work.ends()


def test_a_recipe_that_was_edited_does_not_go_on(inputs, kept_ties):
    work = kept_ties.put_back()
    text = inputs.ties.read_text()
    times = inputs.ties.stat()
    said = json.loads(text)
    said["models"][0]["parameters"]["density"] = 0.5
    try:
        inputs.ties.write_text(json.dumps(said))
        result = work.run("--resume")
        assert result.status in REFUSED, (result.status, result.err)
        assert kept_ties.untouched()
    finally:
        inputs.ties.write_text(text)
        os.utime(inputs.ties, ns=(times.st_atime_ns, times.st_mtime_ns))
    work.ends()


def touch(path):
    times = path.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 10**9))


def grow(path):
    """By a byte, as if at the same time."""
    times = path.stat()
    with open(path, "ab") as f:
        f.write(b" ")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("how", [touch, grow])
@pytest.mark.parametrize("which", ["base", "one", "two"])
def test_an_input_that_changed(inputs, kept, which, how):
    work = kept.put_back()
    shard = sorted(getattr(inputs, which).glob("*.safetensors"))[-1]
    data, times = shard.read_bytes(), shard.stat()
    try:
        how(shard)
        result = work.run("--resume")
        assert result.status in REFUSED, (result.status, result.err)
        assert shard.name in result.err, result.err
        assert not work.out.exists() and kept.untouched()
    finally:
        shard.write_bytes(data)
        os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    work.ends()


def test_a_side_file_that_changed(inputs, kept_merge):
    """Refused, or copied as it is now."""
    work = kept_merge.put_back()
    config = inputs.base / "config.json"
    text, times = config.read_text(), config.stat()
    try:
        config.write_text('{"model_type": "other", "more": 1}\n')
        result = work.run("--resume")
        if result.status == 0:
            resumed = work.found()
            work.clear()
            assert work.run().status == 0
            assert work.found() == resumed
            return
        assert result.status in REFUSED, (result.status, result.err)
        assert kept_merge.untouched()
    finally:
        config.write_text(text)
        os.utime(config, ns=(times.st_atime_ns, times.st_mtime_ns))


# Damage to what is kept


def flip(path, at, bit=4):
    with open(path, "r+b") as f:
        f.seek(at)
        (byte,) = f.read(1)
        f.seek(at)
        f.write(bytes([byte ^ 1 << bit]))


def early(kept):
    """A byte that was kept for sure, of the file that was made first."""
    file = kept.files()[0]
    size = (kept.path / file).stat().st_size
    return file, min(70_000, size // 4)


def test_verify_looks_at_what_is_kept(kept):
    work = kept.put_back()
    result = run("verify", work.kept)
    assert result.status == 0, result.err
    assert re.search(r"\d.*(%|[kMG]?B)", result.out + result.err), result
    file, at = early(kept)
    flip(work.kept / file, at)
    result = run("verify", work.kept)
    assert result.status == DATA, result
    assert file.name in result.err, result.err


def test_a_flipped_bit_is_found_and_made_anew(kept):
    work = kept.put_back()
    file, at = early(kept)
    flip(work.kept / file, at)
    result = work.ends()
    assert "warning: " in result.err, result.err
    assert file.name in result.err, result.err


def never_wrong(work, what):
    """Goes on to the right bytes, or refuses and can be started anew."""
    result = work.run("--resume")
    if result.status != 0:
        assert result.status in REFUSED, (what, result.status, result.err)
        assert result.err.startswith("taumerge: "), (what, result.err)
        assert not work.out.exists(), what
        result = work.run("--restart")
        assert result.status == 0, (what, result.err)
    work.check()


def test_flipped_bits_anywhere(kept):
    rng = random.Random(4)
    for file in kept.files():
        size = (kept.path / file).stat().st_size
        at = rng.choice([0, size - 1, *(rng.randrange(size) for _ in "1234")])
        work = kept.put_back()
        flip(work.kept / file, at, rng.randrange(8))
        checked = run("verify", work.kept)
        assert checked.status in (0, DATA), checked
        never_wrong(work, (file, at))


def test_files_that_are_not_as_they_were_left(kept):
    def longer(path):
        with open(path, "ab") as f:
            f.write(b"more" * 2000)

    def shorter(path):
        os.truncate(path, path.stat().st_size // 3)

    def empty(path):
        os.truncate(path, 0)

    def linked(path):
        other = path.parent.parent / "elsewhere"
        path.rename(other)
        path.symlink_to(other)

    def directory(path):
        path.unlink()
        path.mkdir()

    first = kept.files()[0]
    for change in some([longer, shorter, empty, Path.unlink, linked,
                        directory]):  # fmt: skip
        work = kept.put_back()
        change(work.kept / first)
        never_wrong(work, (change, first))


def test_a_stranger_in_the_output(kept):
    work = kept.put_back()
    (work.kept / "output" / "stranger.safetensors").write_text("x")
    (work.kept / "output" / "empty").mkdir()
    never_wrong(work, "a file that no run made")


@pytest.mark.parametrize("change", ["cut", "flip", "zeros", "more"])
def test_a_damaged_journal(kept, change):
    rng = random.Random(change)
    size = (kept.path / "journal").stat().st_size
    places = [0, size - 1, *(rng.randrange(size) for _ in "12")]
    for at in some(places):
        work = kept.put_back()
        with open(work.journal, "r+b") as f:
            f.seek(at)
            if change == "cut":
                f.truncate(at)
            elif change == "zeros":
                f.write(bytes(min(4096, size - at)))
            elif change == "more":
                f.seek(size)
                f.write(rng.randbytes(at))
        if change == "flip":
            flip(work.journal, at, rng.randrange(8))
        checked = run("verify", work.kept)
        assert checked.status in {0, *REFUSED}, checked
        never_wrong(work, (change, at))


def test_a_journal_of_another_run(kept_merge, kept_diff, kept_ties):
    """It does not fit, even where the names of the files do."""
    for other in (kept_diff, kept_ties):
        work = kept_merge.put_back()
        shutil.copy(other.path / "journal", work.journal)
        never_wrong(work, "another run's journal")


def test_an_older_journal_fits(kept_merge):
    """More was written after the last mark than is known: it is made anew."""
    work = kept_merge.put_back()
    size = work.journal.stat().st_size
    os.truncate(work.journal, size // 2)
    work.killed(random.Random(6), "--resume", often=EVERY, marks=0.6)
    finish(work)


# Signals that ask to stop


def interrupted(work, number, *more):
    """A run that is asked to stop after its first mark: its process, which
    stands still, and is to be continued with SIGCONT."""
    work.clear()
    running = work.start(*more, often=EVERY)
    work.has_marks(running)
    running.send_signal(signal.SIGSTOP)
    running.send_signal(number)
    return running


def command_in(err):
    """The command that goes on, as it is said."""
    line = re.search(r"^.*--resume.*$", err, re.M)
    assert line, err
    words = shlex.split(re.search(r"\S*taumerge'? .*$", strip(line[0]))[0])
    assert "--resume" in words, err
    return words


def strip(line):
    """Without what stands before every message."""
    line = line.removeprefix("taumerge: ")
    return line.strip().rstrip(".").strip("`")


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(
    "name", ["merge", "ties", "as vector", "diff of two", "apply"]
)
def test_asked_to_stop(inputs, folder, name, number):
    """What is kept is said, and the command that goes on."""
    path = folder / "it's \N{LATIN SMALL LETTER A WITH DIAERESIS} folder"
    path.mkdir()
    work = Work(inputs, name, path)
    for _ in range(5):
        running = interrupted(work, getattr(signal, number))
        start = time.monotonic()
        running.send_signal(signal.SIGCONT)
        _, err = running.communicate(timeout=program.PATIENCE)
        took = time.monotonic() - start
        program.check_sanitizers(err)
        if running.returncode != 0:
            break
        work.check()  # it was complete
    assert running.returncode == INTERRUPTED, err
    assert took < scaled(5, 30)
    assert not work.out.exists() and work.journal.exists()
    assert run("verify", work.kept).status == 0
    words = command_in(err)
    result = run(*words[1:])
    assert result.status == 0, result.err
    work.check()


def test_asked_to_stop_before_anything_is_kept(inputs, folder):
    work = Work(inputs, "merge", folder)
    running = work.start()
    work.has_begun(running)
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=program.PATIENCE)
    program.check_sanitizers(err)
    assert running.returncode in (0, INTERRUPTED), err
    if running.returncode:
        assert not work.out.exists()
        work.ends()
    work.check()


def test_asked_twice_ends_at_once(inputs, folder):
    """And still leaves something to go on with."""
    work = Work(inputs, "merge", folder)
    for number in (signal.SIGINT, signal.SIGTERM):
        running = interrupted(work, number)
        running.send_signal(signal.SIGCONT)
        time.sleep(0.001)
        running.send_signal(number)
        _, err = running.communicate(timeout=scaled(5, 30))
        assert running.returncode in (0, INTERRUPTED, -number), err
        finish(work)


def test_stopped_and_gone_on_with_many_times(inputs, folder):
    """Each time a little further."""
    work = Work(inputs, "merge", folder)
    more = []
    for _ in range(scaled(8, 3)):
        running = work.start(*more, often=EVERY)
        time.sleep(work.seconds * 0.3)
        running.terminate()
        _, err = running.communicate(timeout=program.PATIENCE)
        program.check_sanitizers(err)
        codes = (0, INTERRUPTED, -signal.SIGTERM)  # before it listened
        assert running.returncode in codes, err
        if running.returncode == 0:
            work.check()
            return
        assert not work.out.exists()
        more = ["--resume"]
    work.ends()
