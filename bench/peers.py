# SPDX-License-Identifier: Apache-2.0
"""Other programs that do the same."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import fio
import models
import recipes
from common import (
    GIBI,
    GIGA,
    Report,
    Spread,
    Trouble,
    clock,
    drop_caches,
    merge_command,
    need_space,
    program,
    recipe_command,
    remove,
    rotated,
    run_well,
    say,
    size_text,
)

MERGEKIT = "mergekit==0.1.5"
# First and by itself: where a wheel for processors alone is to be had, this
# finds it, and mergekit then takes what is there.
TORCH = "torch==2.13.0"


# --- mergekit --------------------------------------------------------------


def install(venv):
    """A virtual environment with mergekit; its program."""
    tool = venv / "bin" / "mergekit-yaml"
    if tool.exists():
        return tool
    say(f"installing {MERGEKIT} into {venv}: minutes")
    steps = [
        [sys.executable, "-m", "venv", venv],
        [venv / "bin" / "pip", "install", "-q", TORCH],
        [venv / "bin" / "pip", "install", "-q", MERGEKIT],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode != 0:
            tail = (done.stderr.strip() or "no message").splitlines()[-1]
            raise Trouble(f"skipped: {MERGEKIT} cannot be installed: {tail}")
    return tool


class Mergekit:
    """mergekit-yaml with one recipe."""

    def __init__(self, tool, recipe, out, name, *options):
        self.tool, self.recipe, self.out = tool, recipe, out
        self.name, self.options = name, options
        # Nothing is fetched from anywhere, not even asked for. Its sets of
        # models have the same order in every run.
        self.env = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
                    "PYTHONHASHSEED": "0"}  # fmt: skip

    def before(self):
        # Its libraries are in the page cache, as those of a program in use
        # are: half a gigabyte of them would be read otherwise.
        run_well(self.tool, "--help", env=self.env)

    def run(self):
        """What it took, and the seconds until the output is on the disk:
        mergekit leaves it in the page cache."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "recipe.yml"
            path.write_text(self.recipe)
            done = run_well(
                self.tool, path, self.out, "--no-copy-tokenizer", "--quiet",
                *self.options, sample=True, env=self.env,
            )  # fmt: skip
        start = clock()
        for file in self.out.rglob("*.safetensors"):
            with open(file, "rb") as f:
                os.fsync(f.fileno())
        return done, done.seconds + clock() - start


class Taumerge:
    """The program under test, with -b and -t or with a recipe."""

    def __init__(self, args, family, out, recipe=None, name="taumerge"):
        self.family, self.out, self.recipe = family, out, recipe
        self.name, self.options = name, shlex.split(args.options)

    def before(self):
        run_well(program(), "--version")

    def run(self):
        with tempfile.TemporaryDirectory() as scratch:
            if self.recipe is None:
                argv = merge_command(
                    self.family.base, self.family.vectors, self.out,
                    *self.options, weights=recipes.WEIGHTS,
                )  # fmt: skip
            else:
                path = Path(scratch) / "recipe.yml"
                path.write_text(self.recipe)
                argv = recipe_command(path, self.out, *self.options)
            done = run_well(*argv, sample=True)
        return done, done.seconds


class Fio:
    """Reads and writes the bytes and does nothing else."""

    def __init__(self, setting, family, out):
        self.setting, self.family, self.out = setting, family, out
        self.name = fio.setting_text(setting)

    def before(self):
        pass

    def run(self):
        size = self.family.file_bytes
        # Whole blocks, as they go past the page cache; the few bytes after
        # them take no time.
        size -= size % models.WHOLE
        seconds = fio.move(
            self.family.files, self.out, size, self.setting, read_bytes=size
        )
        return None, seconds


# --- comparing -------------------------------------------------------------


def tensors_of(directory):
    """{name: elements} of the weights in a directory, mapped."""
    found = {}
    for path in sorted(directory.glob("*.safetensors")):
        data = np.memmap(path, np.uint8, "r")
        length = int(data[:8].view(np.uint64)[0])
        entries = json.loads(bytes(data[8 : 8 + length]))
        entries.pop("__metadata__", None)
        for name, entry in entries.items():
            a, b = (8 + length + x for x in entry["data_offsets"])
            found[name] = data[a:b]
    return found


def same_share(one, other):
    """The share of weights that are the same in two outputs."""
    a, b = tensors_of(one), tensors_of(other)
    if a.keys() != b.keys():
        raise Trouble(f"{one} and {other} have different tensors")
    same = total = 0
    for name in a:
        # Pairs of bytes, compared as bytes: offsets may be odd.
        pairs = (a[name] == b[name]).reshape(-1, 2).all(axis=1)
        same += int(np.count_nonzero(pairs))
        total += len(pairs)
    return same / total


def places(args):
    """Where files are to be, as --on says: (name, directory) of each."""
    found = {"disk": args.dir, "tmpfs": args.tmpfs / "taumerge-bench"}
    for place in args.on:
        if place not in found:
            raise Trouble(f"--on {place}: disk or tmpfs")
    return [(place, found[place]) for place in args.on]


def venv_of(args):
    return (args.venv or args.dir / "venv-mergekit").resolve()


def mergekit(args):
    """Against mergekit: base and three fine-tunes, from disk and tmpfs."""
    tool = install(venv_of(args))
    report = Report("mergekit", args.dir, {
        "size": args.size, "rounds": args.rounds, "dtypes": args.dtypes,
        "options": args.options, "peer": MERGEKIT,
    })  # fmt: skip
    for place, directory in places(args):
        compare(args, report, tool, directory, place)
    return report


def take_turns(contenders, rounds, place, cold=(), keep=True):
    """What each run of each contender took, a list per name.

    `cold` are the files that are out of memory before each run. With `keep`
    the outputs of the last round stay.
    """
    runs = {c.name: [] for c in contenders}
    for r in range(rounds):
        for c in rotated(contenders, r):
            remove(c.out)
            if cold:
                drop_caches(cold)
            c.before()
            runs[c.name].append(c.run())
            say(f"{place}: round {r + 1}/{rounds}  "
                f"{runs[c.name][-1][1]:8.2f} s  {c.name}")  # fmt: skip
            # Memory is what tmpfs has least of.
            if not keep or r + 1 < rounds:
                remove(c.out)
    return runs


def leave(directory, family, outputs, on_disk):
    """Removes what a comparison made, on tmpfs the models too."""
    for out in outputs:
        remove(out)
    if not on_disk:
        remove(family.path)
    if not on_disk and not any(directory.iterdir()):
        directory.rmdir()


def compare(args, report, tool, directory, place):
    family = models.llama_family(directory, args.size, len(recipes.WEIGHTS))
    on_disk = place == "disk"
    outputs = 1 + len(args.dtypes)
    need_space(directory, family.bytes + outputs * family.file_bytes,
               [family.path])  # fmt: skip
    mine = Taumerge(args, family, family.path / "out")
    # With float32 it computes as taumerge does; with bfloat16, which most
    # recipes have, every step of the sum is rounded.
    peers = [
        Mergekit(
            tool, recipes.of_family("task_arithmetic", family, d),
            family.path / f"out-{d}", f"mergekit, {d}",
        )
        for d in args.dtypes
    ]  # fmt: skip
    disks = []
    if on_disk:
        fio.check()
        disks = [Fio(s, family, family.path / "fio-out") for s in args.fio]
    contenders = [mine, *peers, *disks]
    try:
        family.make()
        runs = take_turns(contenders, args.rounds, place,
                          family.files if on_disk else ())  # fmt: skip
        same = {p.name: same_share(mine.out, p.out) for p in peers}
    finally:
        leave(directory, family, [c.out for c in contenders], on_disk)
    tell(args, report, place, family, mine, peers, disks, runs, same)


def tell(args, report, place, family, mine, peers, disks, runs, same):
    seconds = {
        name: Spread([done.seconds if done else until
                      for done, until in found])
        for name, found in runs.items()
    }  # fmt: skip
    stored = {n: Spread([u for _, u in f]) for n, f in runs.items()}
    moved = (len(family.files) + 1) * family.file_bytes
    raw = min((seconds[d.name].median for d in disks), default=None)
    rows, found = [], {}
    for c in [mine, *peers, *disks]:
        s = seconds[c.name]
        entry = {"seconds": s.data(), "until_stored": stored[c.name].data()}
        row = [c.name, s.text(), stored[c.name].text(),
               f"{s.median / seconds[mine.name].median:.2f}"]  # fmt: skip
        row.append("" if raw is None else f"{s.median / raw:.2f}")
        if c in disks:
            row += ["", "", "", ""]
        else:
            done = [d for d, _ in runs[c.name]]
            peak = Spread([d.peak / GIBI for d in done])
            own = Spread([d.own / GIBI for d in done])
            cpu = Spread([d.cpu / (moved / GIGA) for d in done])
            share = "" if c is mine else f"{100 * same[c.name]:.2f} %"
            row += [peak.text(), own.text(), cpu.text(), share]
            entry.update(peak_gib=peak.data(), own_gib=own.data(),
                         core_seconds_per_gb=cpu.data(),
                         same=same.get(c.name))  # fmt: skip
        rows.append(row)
        found[c.name] = entry
    report.table(
        f"Base and {len(recipes.WEIGHTS)} fine-tunes of "
        f"{size_text(family.file_bytes)}, {place}"
        + (", cold" if disks else "") + f", {args.rounds} rounds",
        ["", "seconds", "until stored", "x taumerge", "x raw I/O",
         "peak GiB", "own GiB", "core-s/GB", "same weights"], rows,
    )  # fmt: skip
    report.note(place, found)
    report.line(
        "peak: mapped files too, as the system counts it; own: without them"
    )
    for p in peers:
        faster = seconds[p.name].median / seconds[mine.name].median
        # From disk the disk decides, so there is no number to reach.
        report.target(f"{place}: times faster than {p.name}", faster,
                      1 if disks else 15, at_least=True)  # fmt: skip
        less = (found[p.name]["peak_gib"]["median"]
                / found[mine.name]["peak_gib"]["median"])  # fmt: skip
        report.target(f"{place}: times less memory than {p.name}", less, 20,
                      at_least=True)  # fmt: skip
