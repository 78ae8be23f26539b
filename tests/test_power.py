"""The power goes at every sync of a run, and what is left is gone on with: the
bytes of a run that nobody disturbed.

io/crash.h says what a power cut leaves: what was synced, and of the rest all,
some or nothing. There are marks after every unit, so a run has many syncs.
"""

import contextlib
import json
import os
import random
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

import checkpoints
import program
from llama import models, recipe
from program import CANNOT_CREATE, run, scaled, sibling, smallest_memory, some

CUT = 99

HAVE_SHM = os.path.ismount("/dev/shm") and os.access("/dev/shm", os.W_OK)

# Marks after every unit, or none.
EVERY, NONE = "0", "100000"

# What becomes of what is not durable.
LOST = "lose=all,names=lose"
KEPT = "lose=none,names=keep"
FATES = [
    f"{LOST},when=before",
    f"{LOST},when=after",
    KEPT,
    "lose=all,names=keep",
    "lose=none,names=lose",
]
DRAWN = [f"lose=some,names=some,tear={n}" for n in (0, 512, 4096)]


def fates_at(k):
    """Where all is lost or all kept, and one that is drawn, by the number of
    the sync."""
    when = ("before", "after")[k % 2]
    return [*FATES[:3], f"{DRAWN[k % 3]},when={when},seed={k}"]


def all_fates_at(k):
    """Those, two that mix what is lost and kept, and another that is drawn."""
    more = f"{DRAWN[(k + 1) % 3]},seed={k + 1000}"
    return [*fates_at(k), *FATES[3:], more]


# What is run


def shapes():
    found = {f"layers.{i}.weight": [100, 180] for i in range(2)}
    return {**found, "norm": [77], "scale": []}


class Inputs:
    """Small ones, of several files and of one; fine-tunes also as vectors."""

    def __init__(self, path):
        self.path = path
        base, *tuned = checkpoints.family(shapes(), ["BF16"] * 3)
        self.base = checkpoints.write_shards(
            path / "base", checkpoints.split(base, 2)
        )
        self.one, self.two = [
            checkpoints.write_shards(path / name, [tensors])
            for name, tensors in zip(("one", "two"), tuned)
        ]
        self.file = checkpoints.write_file(path / "b.safetensors", base)
        self.tuned = checkpoints.write_file(path / "t.safetensors", tuned[0])
        self.vector, self.of_file = path / "vector", path / "of-file"
        for b, t, v in (
            (self.base, self.one, self.vector),
            (self.file, self.tuned, self.of_file),
        ):
            made = run("diff", b, t, "-o", v)
            assert made.status == 0, made.err
        self.ties = recipe(
            path / "ties.yaml", merge_method="ties",
            base_model=str(self.base),
            models=models(
                self.one, self.two, weight=[0.4, -0.7], density=[0.4, 0.6]
            ),
        )  # fmt: skip

    def command(self, name, out):
        """The arguments of a run, by a name."""
        merge = [
            "merge", "-b", self.base, "-t", self.one, "-w", "0.4",
            "-t", self.two, "-w", "-1",
        ]
        file = ["merge", "-b", self.file, "-t", self.tuned, "-w", "0.5"]
        return {
            "merge": merge,
            "merge, other shards": [*merge, "--shard-size", "50K"],
            "merge over an old one": [*merge, "--force"],
            "merge of files": file,
            "merge of files over an old one": [*file, "--force"],
            "ties": ["merge", self.ties],
            "as vector": [*merge, "--as-vector"],
            "diff": ["diff", self.base, self.one],
            "diff of two": ["diff", self.base, self.one, self.two],
            "apply": ["apply", self.base, self.vector],
            "apply to a file": ["apply", self.file, self.of_file],
        }[name] + ["-o", out]  # fmt: skip


ENGINES = {
    "merge": "uring",
    "merge, other shards": "threads",
    "merge over an old one": "threads",
    "merge of files": "uring",
    "merge of files over an old one": "threads",
    "ties": "uring",
    "as vector": "uring",
    "diff": "threads",
    "diff of two": "uring",
    "apply": "threads",
    "apply to a file": "uring",
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    path = tmp_path_factory.mktemp("inputs")
    made = Inputs(path)
    before = checkpoints.tree_hash(path)
    yield made
    assert checkpoints.tree_hash(path) == before, "inputs were written to"


@contextlib.contextmanager
def somewhere():
    """A new directory, in memory if that can be: the cuts are not real."""
    place = "/dev/shm" if HAVE_SHM else None
    path = tempfile.mkdtemp(dir=place, prefix="taumerge-test-")
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def folder():
    """Where nothing but OUT is made."""
    with somewhere() as path:
        yield path


class Work:
    """A run whose power can be cut, and what it must end with."""

    def __init__(self, inputs, name, folder, often=EVERY):
        self.folder = folder
        self.often = often
        self.is_file = "file" in name
        self.out = folder / ("out.safetensors" if self.is_file else "out")
        self.kept = sibling(self.out)
        self.args = inputs.command(name, self.out)
        least = smallest_memory(self.args)
        self.args += ["--memory", str(least), "--threads", "1"]
        self.args += ["--io", ENGINES[name]]
        result = self.run()
        assert result.status == 0, result.err
        self.expected = checkpoints.tree(folder)
        self.old = None
        if "old" in name:
            self.make_old()
            self.old = checkpoints.tree(folder)

    def make_old(self):
        """An OUT that is to be replaced."""
        self.clear()
        if self.is_file:
            for name in self.expected:
                (self.folder / name).write_text(f"old {name}")
        else:
            self.out.mkdir()
            (self.out / "old").write_text("old")

    def clear(self):
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def begin(self):
        """All is as it was before the first run."""
        self.clear()
        if self.old is not None:
            self.make_old()

    def count(self):
        """The syncs of a run that nobody disturbs."""
        self.begin()
        result = self.run(fault="crash=0,log=1")
        assert result.status == 0, result.err
        return int(re.search(r"crash: (\d+) syncs", result.err)[1])

    def run(self, *more, fault=None):
        env = {"TAUMERGE_JOURNAL": self.often, "TAUMERGE_FAULT": fault}
        return run(*self.args, *more, env=env)

    def found(self):
        """All that there is, but for what is kept."""
        kept = self.kept.name + "/"
        return {
            name: data
            for name, data in checkpoints.tree(self.folder).items()
            if not name.startswith(kept)
        }

    def cut(self, fault, *more):
        """Whether the power went before the run was over; and OUT is whole."""
        result = self.run(*more, fault=fault)
        assert result.status in (0, CUT), (fault, result)
        if result.status == 0:
            self.check(fault)
            return False
        self.check_cut(fault)
        return True

    def is_complete(self):
        """OUT is there, and right."""
        name = self.out.name
        found, wanted = self.found(), self.expected
        if self.is_file:
            return found.get(name) == wanted[name]
        return found == wanted

    def check_cut(self, what):
        """OUT is not there, or it is complete, or the old one."""
        found = self.found()
        if self.is_file and self.old is not None:
            # Three files cannot be replaced at once: each of them is whole.
            for name in self.expected:
                both = self.old[name], self.expected[name]
                assert found[name] in both, (what, name)
        elif self.old is not None:
            assert found in (self.old, self.expected), (what, list(found))
        elif self.out.exists():
            assert found == self.expected, (what, list(found))
        elif not self.is_file:
            assert not found, (what, list(found))

    def check(self, what):
        """OUT is right, and nothing else is there."""
        assert not self.kept.exists(), what
        found = checkpoints.tree(self.folder)
        assert found == self.expected, (what, list(found))

    def forget_rubbish(self):
        """What was being removed when the power went: some names of it may
        be there again, but not the one that says whose it was."""
        if not (self.kept / "journal").exists():
            shutil.rmtree(self.kept, ignore_errors=True)

    def ends(self, what):
        """Goes on to the end. At how many percent it was."""
        result = self.run("--resume")
        if result.status == CANNOT_CREATE and self.old is None:
            # Nothing was left to do.
            assert "exists (--force" in result.err, (what, result.err)
        else:
            assert result.status == 0, (what, result.err)
        self.check(what)
        # Never has a mark been there before what it speaks of.
        assert "made again" not in result.err, (what, result.err)
        went_on = re.search(r"going on at (\d+) %", result.err)
        return int(went_on[1]) if went_on else 0


# Every sync

# Others have fewer fates: they share most of the code.
THOROUGH = {"merge", "merge of files", "as vector"}


def goes_up(percents):
    return percents == sorted(percents)


@pytest.mark.parametrize("name", ENGINES)
def test_cut_at_every_sync(inputs, folder, name):
    work = Work(inputs, name, folder)
    fates_of = all_fates_at if name in THOROUGH else fates_at
    percents = []
    for k in some(range(1, 1000)):
        for fate in fates_of(k):
            work.begin()
            what = f"crash={k},{fate}"
            was_cut = work.cut(what)
            if not was_cut:
                break
            was_complete = work.is_complete()
            percent = work.ends(what)
            if fate == FATES[0] and not was_complete:
                percents.append(percent)
        if not was_cut:
            break
    assert k > scaled(12, 1)
    # The more was synced, the more is kept of it.
    assert goes_up(percents), percents
    assert percents[-1] > scaled(90, 1), percents


def weights_written(work):
    """Bytes of the weights in what is kept. The files have their size from
    the start, and the weights are not zero anywhere for long."""
    blocks = 0
    for path in work.kept.glob("output/*.safetensors"):
        data = np.fromfile(path, np.uint8)
        padded = np.resize(data, -(-len(data) // 4096) * 4096)
        blocks += int(padded.reshape(-1, 4096).any(1).sum())
    return 4096 * blocks


def test_marks_keep_all_but_the_units_in_flight(inputs, folder):
    """With a mark after every unit, and nothing further started before it
    counts, at most a unit is made again, and a block of each file."""
    work = Work(inputs, "merge", folder)
    work.clear()
    plan = run("plan", *work.args[1:], "--json")
    assert plan.status == 0, plan.err
    plan = json.loads(plan.out)
    unit, total = plan["memory"]["span"], plan["write_bytes"]
    assert total > 4 * unit
    ahead = []
    for k in some(range(1, work.count() + 1)):
        work.begin()
        work.cut(f"crash={k},{KEPT}")
        written = weights_written(work)
        if work.is_complete():
            break
        kept = work.ends(k) * total // 100
        ahead.append(written - kept)
    most = unit + 2 * 4096 + total // 100
    assert max(ahead) <= most, (ahead, most)
    assert max(ahead) >= unit // 2, ahead


# The end

MARKS = pytest.mark.parametrize(
    "often", [EVERY, NONE], ids=["marks", "no marks"]
)


@MARKS
@pytest.mark.parametrize("name", ENGINES)
def test_cut_at_the_very_end(inputs, folder, name, often):
    """What the program took for done is done, and durable."""
    work = Work(inputs, name, folder, often)
    drawn = [f"{DRAWN[0]},seed={seed}" for seed in some(range(4))]
    for fate in (LOST, KEPT, *drawn):
        work.begin()
        what = f"crash=0,end=1,{fate}"
        assert work.cut(what), what
        assert work.is_complete(), what
        if fate in drawn:
            work.forget_rubbish()
        work.ends(what)


@MARKS
@pytest.mark.parametrize(
    "name", [n for n in ENGINES if "file" in n or n.startswith("merge")]
)
def test_cut_while_it_appears(inputs, folder, name, often):
    """When names are given, each may be lost alone."""
    work = Work(inputs, name, folder, often)
    last = work.count()
    fates = [f"lose=all,names=some,seed={seed}" for seed in range(6)]
    for fate in some([f"{LOST},when=after", *fates]):
        for k in range(last - 3, last + 1):
            work.begin()
            what = f"crash={k},{fate}"
            assert work.cut(what), what
            work.ends(what)


def test_what_is_cut_off_stays_off(inputs, folder):
    """A shard is complete, and somebody has put something behind its end."""
    work = Work(inputs, "merge", folder)
    last = work.count()
    work.begin()
    assert work.cut(f"crash={last - 4},{LOST}")
    shard = min(work.kept.glob("output/*.safetensors"))
    with open(shard, "ab") as f:
        f.write(b"x" * 5000)
    assert work.cut(f"crash=0,end=1,{LOST}", "--resume")
    assert work.is_complete()
    work.ends("what is behind the end")


# Cut again


@pytest.mark.parametrize("name", ["merge", "ties", "as vector", "diff of two"])
def test_cut_at_every_sync_of_a_run_that_goes_on(inputs, folder, name):
    work = Work(inputs, name, folder)
    first = f"crash={work.count() // 2},{LOST}"
    percents = []
    for k in some(range(1, 1000)):
        for fate in (fates_at(k)[0], fates_at(k)[-1]):
            work.begin()
            assert work.cut(first)
            what = f"{first}; crash={k},{fate}"
            was_cut = work.cut(f"crash={k},{fate}", "--resume")
            if not was_cut:
                break
            was_complete = work.is_complete()
            percent = work.ends(what)
            if fate == FATES[0] and not was_complete:
                percents.append(percent)
        if not was_cut:
            break
    assert percents[0] > 0, percents
    assert goes_up(percents), percents


@pytest.mark.parametrize("name", ENGINES)
def test_cut_again_and_again(inputs, folder, name):
    """Each time somewhere in what is left to do."""
    rng = random.Random(name)
    work = Work(inputs, name, folder)
    most = work.count()
    for _ in range(scaled(3, 1)):
        work.begin()
        more, what = [], ""
        while True:
            k = rng.randrange(1, most // 3)
            seed = rng.randrange(1 << 30)
            fate = rng.choice([*FATES, *DRAWN])
            fault = f"crash={k},{fate},seed={seed}"
            what = f"{what}; {fault}"
            if not work.cut(fault, *more):
                break
            more = ["--resume"]
            if work.is_complete() or what.count(";") > 12:
                work.ends(what)
                break


def test_syncs_are_what_is_counted(inputs, folder):
    """Else the tests here would prove little."""
    work = Work(inputs, "merge", folder)
    marks = work.count()
    work.often = NONE
    assert 20 < marks < 100
    assert 4 < work.count() < marks / 2
