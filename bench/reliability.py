#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What being killed costs, and what being safe from it costs:
bench/reliability.py NAME --help; see bench/README.md."""

import collections
import hashlib
import json
import os
import random
import re
import shlex
import signal
import subprocess
import threading
from pathlib import Path

import fio
import models
from common import (
    GIGA,
    Benchmarks,
    Report,
    Spread,
    Trouble,
    chill,
    clock,
    do_rounds,
    listed,
    load_into_cache,
    merge_command,
    need_space,
    parse_size,
    program,
    read_all,
    remove,
    rotated,
    run_well,
    say,
    settings,
    size_argument,
    size_text,
)

INTERRUPTED, CANNOT_CREATE = 75, 73

# What a run that goes on says that it keeps, as a size; see kept_bytes.
KEPT = re.compile(
    r"^.*\b(?:keep|keeps|kept|intact|goes on|going on)\b.*$", re.M | re.I
)
SIZE = re.compile(r"\d+(?:\.\d+)? ?(?:[kMGT]B|B)\b")


# --- a run that is watched -------------------------------------------------


class Watched:
    """A run whose progress is read while it goes on."""

    def __init__(self, argv, journal=None):
        env = dict(os.environ, LC_ALL="C")
        env.pop("TAUMERGE_JOURNAL", None)
        if journal is not None:
            env["TAUMERGE_JOURNAL"] = journal
        self.started = clock()
        self.process = subprocess.Popen(
            [str(arg) for arg in argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=env, text=True,
            # Also where a shell has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        self.lines = []  # (seconds, line)
        self.progress = []  # (seconds, {...})
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            at = clock() - self.started
            with self.news:
                if line.startswith("{"):
                    self.progress.append((at, json.loads(line)))
                else:
                    self.lines.append((at, line))
                self.news.notify_all()
        with self.news:
            self.news.notify_all()

    def wait_until(self, condition, seconds):
        """Waits for news that make it true, or for the end of the run."""
        with self.news:
            self.news.wait_for(
                lambda: condition() or not self.reader.is_alive()
                or self.process.poll() is not None, seconds,
            )  # fmt: skip
            return condition()

    def wait_share(self, share):
        """Waits until so much of the output is written."""
        return self.wait_until(lambda: self.share() >= share, 600)

    def share(self):
        if not self.progress:
            return 0.0
        last = self.progress[-1][1]
        total = last["bytes_to_write"] or last["bytes_to_read"]
        done = "bytes_written" if last["bytes_to_write"] else "bytes_read"
        return last[done] / total if total else 0.0

    def signal(self, number):
        """Sends a signal; seconds until the run had ended."""
        start = clock()
        self.process.send_signal(number)
        return self.end() - start

    def end(self):
        """Waits for the end; when it was."""
        self.process.wait()
        ended = clock()
        self.reader.join()
        return ended

    @property
    def status(self):
        return self.process.returncode

    def err(self):
        return "".join(line for _, line in self.lines)

    def errors(self):
        return f"status {self.status}: {self.err()[-2000:].strip()}"

    def written(self):
        """Bytes of output when it was last said, and their rate."""
        if not self.progress:
            return 0, 0.0
        last = self.progress[-1][1]
        seconds = max(last["seconds"], 1e-3)
        return last["bytes_written"], last["bytes_written"] / seconds

    def resumed_at(self):
        """When it said what it keeps; None: it did not."""
        for at, line in self.lines:
            if KEPT.search(line):
                return at
        return None


def kept_bytes(text):
    """The size in a line that says what is kept; None: there is none."""
    line = KEPT.search(text)
    sizes = SIZE.findall(line[0]) if line else []
    return parse_size(sizes[0]) if sizes else None


def sibling(out):
    return out.parent / f".{out.name}.taumerge"


def clear(out):
    remove(out)
    remove(sibling(out))


def tree_hash(path):
    """Of all names and bytes."""
    h = hashlib.blake2b()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        h.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        with open(file, "rb") as f:
            while block := f.read(4 << 20):
                h.update(block)
    return h.hexdigest()


# --- works -----------------------------------------------------------------


def watched_command(work, family, out, options):
    """The command line of a run that says how far it is."""
    said = ["--progress", "json", *options]
    if work == "merge":
        argv = merge_command(family.base, family.vectors, out)
        argv.remove("-q")
    elif work == "diff":
        argv = [program(), "diff", family.base, family.vectors[0], "-o", out]
    elif work == "as-vector":
        argv = merge_command(family.base, family.vectors, out, "--as-vector")
        argv.remove("-q")
    else:
        raise Trouble(f"no work of that name: {work}")
    return [*argv, *said]


def output_bytes(path):
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


# --- kills -----------------------------------------------------------------


class Chains:
    """Kill, go on, kill again, until it is complete; for one work."""

    def __init__(self, args, family, work):
        self.work, self.args = work, args
        self.out = family.path / f"out-{work}"
        self.argv = watched_command(
            work, family, self.out, shlex.split(args.options)
        )
        self.rng = random.Random(f"{args.seed} {work}")
        self.counts = collections.Counter()
        self.again = []  # (seconds, share of the output, bytes)
        clear(self.out)
        run = Watched(self.argv, "off")
        self.seconds = run.end() - run.started
        if run.status != 0:
            raise Trouble(f"{work}: {run.errors()}")
        self.expected = tree_hash(self.out)
        self.bytes = output_bytes(self.out)
        clear(self.out)

    def go(self, kills):
        """So many kills more."""
        enough = self.counts["kills"] + kills
        while (left := enough - self.counts["kills"]) > 0:
            self.chain(min(left, self.rng.randint(1, 6)))

    def chain(self, most):
        clear(self.out)
        before = None  # what was written when the last kill came
        for kills in range(most):
            run = Watched(
                self.argv + (["--resume"] if kills else []), self.args.journal
            )
            moment = self.rng.random() * 1.05 * self.seconds
            run.wait_until(lambda: False, moment)
            if run.process.poll() is None:
                run.process.kill()
            run.end()
            self.counts["resumes"] += bool(kills)
            self.note_repeated(run, before)
            if run.status != -signal.SIGKILL:
                self.completed(run)
                return
            self.counts["kills"] += 1
            self.counts["with marks"] += (
                sibling(self.out) / "journal"
            ).exists()
            before = run.written()
            if self.out.exists():
                break
        run = Watched([*self.argv, "--resume"], self.args.journal)
        run.end()
        self.counts["resumes"] += 1
        if self.out.exists() and run.status == CANNOT_CREATE:
            self.counts["already complete"] += 1
        else:
            self.note_repeated(run, before)
        self.completed(run, (0, CANNOT_CREATE))

    def completed(self, run, good=(0,)):
        """OUT must be right and alone."""
        self.counts["completions"] += 1
        if run.status not in good:
            self.counts["failures"] += 1
            say(f"{self.work}: {run.errors()}")
        elif tree_hash(self.out) != self.expected:
            self.counts["mismatches"] += 1
            say(f"{self.work}: other bytes")
        if sibling(self.out).exists():
            self.counts["leftovers"] += 1
            say(f"{self.work}: {sibling(self.out)} is left")

    def note_repeated(self, run, before):
        """What had been written at the kill and was not kept."""
        if before is None:
            return
        written, rate = before
        kept = kept_bytes(run.err())
        if kept is None:
            # Nothing was kept, or the kill came before it was said.
            if run.status == -signal.SIGKILL and not run.progress:
                return
            self.counts["nothing kept"] += 1
            kept = 0
        again = max(0, written - kept)
        if rate > 0:
            self.again.append((again / rate, again / self.bytes, again))

    def row(self):
        c = self.counts
        seconds = max((a[0] for a in self.again), default=0.0)
        share = max((a[1] for a in self.again), default=0.0)
        return [
            self.work, c["kills"], c["with marks"], c["resumes"],
            c["completions"], c["failures"], c["mismatches"],
            c["leftovers"], f"{seconds:.2f}", f"{100 * share:.0f}",
        ]  # fmt: skip


def kills(args):
    """Runs killed at random moments, gone on with, and compared."""
    family = models.whole_family(args.dir, args.size, 2)
    need_space(args.dir, family.bytes + 2 * family.file_bytes, [family.path])
    family.make()
    load_into_cache(family.files)
    report = Report("kills", args.dir, settings(args))
    works = [Chains(args, family, work) for work in args.works]
    # In turns: what goes on elsewhere on the machine falls on all.
    total = 0
    while total < args.count:
        for work in works:
            left = max(0, args.count - total)
            work.go(min(10, -(-left // len(works))))
        total = sum(w.counts["kills"] for w in works)
        say(f"{total}/{args.count} kills")
    for work in works:
        clear(work.out)
    report.table(
        f"Kills, {size_text(family.file_bytes)} a model, a run of "
        + ", ".join(f"{w.seconds:.1f} s" for w in works),
        ["", "kills", "with marks", "resumes", "complete", "failed",
         "other bytes", "left over", "again s", "again %"],
        [w.row() for w in works],
    )  # fmt: skip
    report.line("")
    for name in ("failures", "mismatches", "leftovers"):
        report.target(name, sum(w.counts[name] for w in works), 0, 0)
    again = [a for w in works for a in w.again]
    report.target(
        "most written again, seconds", max((a[0] for a in again), default=0), 2
    )
    report.note("works", {
        w.work: {"counts": w.counts, "again": w.again, "seconds": w.seconds}
        for w in works
    })  # fmt: skip
    return report


# --- cost ------------------------------------------------------------------


def cost(args):
    """A cold merge with the journal against the same without."""
    family = models.whole_family(args.dir, args.size, args.vectors)
    need_space(args.dir, family.bytes + family.file_bytes, [family.path])
    family.make()
    out = family.path / "out"
    report = Report("cost", args.dir, settings(args))

    def one(journal):
        def merge():
            clear(out)
            env = {"TAUMERGE_JOURNAL": journal}
            argv = merge_command(
                family.base, family.vectors, out, *shlex.split(args.options)
            )
            chill(family.files)
            try:
                return run_well(*argv, env=env).seconds
            finally:
                clear(out)

        return merge

    base = "no journal"
    names = {"journal": args.journal, base: "off"}
    for journal in args.also:
        names[f"TAUMERGE_JOURNAL={journal}"] = journal
    contenders = {name: one(value) for name, value in names.items()}
    do_rounds(1, contenders, lambda: None)  # does not count
    seconds = do_rounds(args.rounds, contenders, lambda: None)
    without = Spread(seconds[base])
    rows, found = [], {}
    for name in contenders:
        mine = Spread(seconds[name])
        within = Spread(
            [a / b for a, b in zip(mine.values, without.values)]
        )
        found[name] = {
            "seconds": mine.data(),
            "ratio_of_medians": mine.median / without.median,
            "ratio_of_best": mine.min / without.min,
            "ratio_in_rounds": within.data(),
        }  # fmt: skip
        rows.append([
            name, mine.text(3), f"{mine.median / without.median:.3f}",
            f"{mine.min / without.min:.3f}", within.text(3),
        ])  # fmt: skip
    report.table(
        f"Merges of {len(family.files)} x {size_text(family.file_bytes)}, "
        f"cold, {args.rounds} rounds",
        ["", "seconds", "x medians", "x best", "x in rounds"], rows,
    )  # fmt: skip
    report.line("")
    mine = found["journal"]
    report.target("medians, with / without", mine["ratio_of_medians"],
                  1.02, 3)  # fmt: skip
    report.target("best, with / without", mine["ratio_of_best"], 1.02, 3)
    report.note("merges", found)
    return report


# --- interrupt -------------------------------------------------------------


def interrupt(args):
    """Seconds from Ctrl-C to the end of a run."""
    family = models.whole_family(args.dir, args.size, 2)
    need_space(args.dir, family.bytes + 2 * family.file_bytes, [family.path])
    family.make()
    report = Report("interrupt", args.dir, settings(args))
    variants = [
        (work, engine, direct)
        for work in args.works
        for engine in args.io
        for direct in ("on", "off")
    ]
    waits = {v: [] for v in variants}
    late = collections.Counter()
    rng = random.Random(args.seed)
    for r in range(args.count):
        for variant in rotated(variants, r):
            took = one_interrupt(args, family, variant, rng)
            if took is None:
                late[variant] += 1
                continue
            waits[variant].append(took)
            say(f"{r + 1}/{args.count}  {took:6.3f} s  {' '.join(variant)}")
    rows = [
        ["{}, --io {}, --direct {}".format(*v), len(w), late[v],
         *([f"{Spread(w).median:.3f}", f"{max(w):.3f}"] if w else ["", ""])]
        for v, w in waits.items()
    ]  # fmt: skip
    report.table(
        f"SIGINT at random moments, models of {size_text(family.file_bytes)}",
        ["", "runs", "over before", "median s", "largest s"], rows,
    )  # fmt: skip
    report.line("")
    every = [w for found in waits.values() for w in found]
    report.target("longest until the end, seconds", max(every, default=0), 2)
    report.note("seconds", {" ".join(v): w for v, w in waits.items()})
    return report


def one_interrupt(args, family, variant, rng):
    """Seconds that a run took to end; None: it was over before."""
    work, engine, direct = variant
    out = family.path / f"out-{work}"
    clear(out)
    options = ["--io", engine, "--direct", direct]
    chill(family.files)
    run = Watched(
        watched_command(
            work, family, out, [*options, *shlex.split(args.options)]
        )
    )
    started = run.wait_until(lambda: run.progress, 60)
    share = rng.random() * 0.95
    if started:
        # What is read says more of a diff, whose output has no known size.
        run.wait_share(share)
    took = run.signal(signal.SIGINT)
    clear(out)
    if run.status == 0:
        return None
    if run.status != INTERRUPTED:
        raise Trouble(f"{' '.join(variant)}: {run.errors()}")
    return took


# --- check -----------------------------------------------------------------


def check(args):
    """How fast --resume looks at what is kept, against reading it."""
    fio.check()
    family = models.whole_family(args.dir, args.size, 2)
    need_space(args.dir, family.bytes + family.file_bytes, [family.path])
    family.make()
    out = family.path / "out-check"
    options = shlex.split(args.options)
    argv = watched_command("merge", family, out, options)
    report = Report("check", args.dir, settings(args))
    clear(out)
    run = Watched(argv)
    run.wait_share(args.share)
    run.signal(signal.SIGINT)
    if run.status != INTERRUPTED:
        raise Trouble(f"not interrupted in time: {run.errors()}")
    files = kept_files(out)
    # What there is, but not what was only made room for.
    size = kept_bytes(run.err())
    if size is None:
        size = int(output_bytes(sibling(out) / "output") * args.share)
        say("how much is kept was not said: a guess")
    (largest,) = files

    def resume():
        again = Watched([*argv, "--resume"])
        again.wait_until(lambda: again.resumed_at() is not None, 600)
        seconds = again.resumed_at()
        again.signal(signal.SIGINT)
        if seconds is None:
            raise Trouble(f"did not say what is kept: {again.errors()}")
        if again.status != INTERRUPTED:
            raise Trouble(f"{again.errors()}")
        return seconds

    def verify():
        return run_well(program(), "verify", "-q", sibling(out)).seconds

    def cat():
        start = clock()
        read_all(largest)
        return clock() - start

    def by_fio(setting):
        whole = size // models.WHOLE * models.WHOLE
        return lambda: fio.move([largest], None, 0, setting,
                                read_bytes=whole)  # fmt: skip

    contenders = {"--resume": resume, "verify": verify, "cat": cat}
    for setting in args.fio:
        contenders[fio.setting_text(setting)] = by_fio(setting)
    seconds = do_rounds(args.rounds, contenders, lambda: chill(files))
    clear(out)
    spreads = {name: Spread(values) for name, values in seconds.items()}
    best = min(
        spreads[fio.setting_text(s)].median for s in args.fio
    )
    report.table(
        f"Reading what is kept, {size_text(size)}, cold, "
        f"{args.rounds} rounds",
        ["", "seconds", "GB/s", "x fio"],
        [[name, s.text(3), f"{size / s.median / GIGA:.2f}",
          f"{s.median / best:.3f}"] for name, s in spreads.items()],
    )  # fmt: skip
    report.line("")
    report.target("--resume / fio", spreads["--resume"].median / best, 1.1, 3)
    report.note("kept", size)
    report.note("seconds", seconds)
    return report


def kept_files(out):
    """The weights that are kept: one file, as the models have one."""
    return sorted((sibling(out) / "output").rglob("*.safetensors"))


# --- the command line ------------------------------------------------------


def command_line():
    benchmarks = Benchmarks("bench/reliability.py", __doc__)
    command, size = benchmarks.command, size_argument

    def works(p, default):
        p.add_argument("--works", type=listed(),
                       default=listed()(default), metavar="WORK,...",
                       help=f"of merge, diff, as-vector ({default})")
        p.add_argument("--seed", type=int, default=1,
                       help="of the moments (%(default)s)")  # fmt: skip

    p = command(kills, 1)
    size(p, "500M", "of the base and of each of two fine-tunes")
    works(p, "merge,diff,as-vector")
    p.add_argument("--count", type=int, default=1000,
                   help="of kills, together (%(default)s)")
    p.add_argument("--journal", default=None, metavar="SECONDS",
                   help="TAUMERGE_JOURNAL (as by default)")  # fmt: skip

    p = command(cost, 7)
    size(p, "2G", "of the base and of each fine-tune")
    p.add_argument("--vectors", type=int, default=2,
                   help="fine-tunes (%(default)s)")
    p.add_argument("--journal", default="1", metavar="SECONDS",
                   help="TAUMERGE_JOURNAL that is measured (%(default)s)")
    p.add_argument("--also", type=listed(), default=[], metavar="SECONDS,...",
                   help="others, for comparison")  # fmt: skip

    p = command(interrupt, 1)
    size(p, "4G", "of the base and of each of two fine-tunes")
    works(p, "merge,diff")
    p.add_argument("--count", type=int, default=20,
                   help="of interruptions of each kind (%(default)s)")
    p.add_argument("--io", type=listed(), default=["uring", "threads"],
                   help="engines of taumerge (uring,threads)")  # fmt: skip

    p = command(check, 5)
    size(p, "4G", "of the base and of each of two fine-tunes")
    p.add_argument("--share", type=float, default=0.9,
                   help="of the output that is kept (%(default)s)")
    p.add_argument("--fio", type=listed(fio.parse_setting),
                   default=listed(fio.parse_setting)("1M:16,4M:4"),
                   metavar="BLOCK:DEPTH,...",
                   help="settings of fio (1M:16,4M:4)")  # fmt: skip
    return benchmarks


if __name__ == "__main__":
    command_line().main(models.remove_used)
