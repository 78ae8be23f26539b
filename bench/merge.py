#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a merge takes: bench/merge.py NAME --help; see bench/README.md."""

import math
import os
import shlex
from pathlib import Path

import fio
import models
import peers
from common import (
    GIBI,
    GIGA,
    MEBI,
    Benchmarks,
    Report,
    Spread,
    Trouble,
    chill,
    do_rounds,
    file_system,
    listed,
    load_into_cache,
    mebi,
    merge_command,
    need_space,
    parse_budget,
    parse_size,
    program,
    remove,
    resident,
    run,
    run_well,
    say,
    settings,
    size_argument,
    size_text,
)

# --- what disk, cached and cpu share ---------------------------------------


class Merges:
    """The merges under test: one family, several ways to run."""

    def __init__(self, args, family):
        self.family = family
        self.out = family.path / "out"
        self.fio_out = family.path / "fio-out"
        self.options = shlex.split(args.options)
        self.variants = [
            (engine, memory) for engine in args.io for memory in args.memory
        ]
        self.runs = {v: [] for v in self.variants}
        self.moved = 0

    @staticmethod
    def name(variant):
        return "taumerge --io {} --memory {}".format(*variant)

    def command(self, variant):
        engine, memory = variant
        return merge_command(
            self.family.base, self.family.vectors, self.out,
            "--io", engine, "--memory", memory, *self.options,
        )  # fmt: skip

    def merge(self, variant):
        """One run; its output is measured and removed."""
        done = run_well(*self.command(variant))
        written = sum(
            f.stat().st_size for f in self.out.rglob("*.safetensors")
        )
        self.moved = self.family.bytes + written
        remove(self.out)
        self.runs[variant].append(done)
        return done.seconds

    def cpu(self, variant):
        """Core-seconds per GB moved."""
        return Spread(
            [r.cpu / (self.moved / GIGA) for r in self.runs[variant]]
        )

    def clean(self):
        remove(self.out)
        remove(self.fio_out)


def compare(report, name, seconds, baselines, merges, baseline_of,
            limit=1.05):  # fmt: skip
    """Adds a merge's ratios to the report.

    `baselines` is what the merge is measured against as a list of
    alternatives, each with its seconds a round; the best counts: the best
    median for the ratio of medians, and the best of each round for the
    ratios within rounds.
    """
    best = min(baselines, key=lambda b: Spread(baselines[b]).median)
    fastest = Spread(baselines[best]).median
    each = [min(column) for column in zip(*baselines.values())]
    rows, found = [], {}
    for variant in merges.variants:
        mine = Spread(seconds[merges.name(variant)])
        ratio = mine.median / fastest
        within = Spread([m / b for m, b in zip(mine.values, each)])
        cpu = merges.cpu(variant)
        rows.append(
            [merges.name(variant), mine.text(),
             f"{merges.moved / mine.median / GIGA:.2f}", f"{ratio:.3f}",
             within.text(3), cpu.text(3)]
        )  # fmt: skip
        found[merges.name(variant)] = {
            "seconds": mine.data(), "ratio_of_medians": ratio,
            "ratio_in_rounds": within.data(),
            "core_seconds_per_gb": cpu.data(),
        }  # fmt: skip
    for label, values in baselines.items():
        spread = Spread(values)
        rows.append(
            [label + ("  (best)" if label == best else ""), spread.text(),
             f"{merges.moved / spread.median / GIGA:.2f}",
             f"{spread.median / fastest:.3f}", "", ""]
        )  # fmt: skip
    report.note("seconds", seconds)
    report.note("best_baseline", best)
    report.note("merges", found)
    report.table(
        name,
        ["", "seconds", "GB/s", "x best", "x best of its round",
         "core-s/GB"], rows,
    )  # fmt: skip
    report.line("")
    for variant in merges.variants:
        label = merges.name(variant)
        ratio = found[label]["ratio_of_medians"]
        report.target(f"{label} / {baseline_of}", ratio, limit, 3)


def two_vectors(args, copies):
    """The family of the disk benchmarks, in space for `copies` outputs."""
    family = models.whole_family(args.dir, args.size, 2)
    need_space(args.dir, family.bytes + copies * family.file_bytes,
               [family.path])  # fmt: skip
    return family.make()


# --- disk ------------------------------------------------------------------


def disk(args):
    """A cold merge against fio moving the same bytes."""
    fio.check()
    family = two_vectors(args, copies=2)
    merges = Merges(args, family)
    report = Report("disk", args.dir, settings(args))

    def one_fio(setting):
        return lambda: fio.move(
            family.files, merges.fio_out, family.file_bytes, setting,
            args.fio_engine,
        )  # fmt: skip

    baselines = {fio.setting_text(s): one_fio(s) for s in args.fio}
    contenders = dict(baselines)
    for v in merges.variants:
        contenders[merges.name(v)] = lambda v=v: merges.merge(v)
    try:
        seconds = do_rounds(
            args.rounds, contenders, lambda: chill(family.files)
        )
    finally:
        merges.clean()
    compare(
        report,
        f"2 vectors, {len(family.files)} x {size_text(family.file_bytes)} "
        f"in, one out, cold, {args.rounds} rounds",
        seconds, {b: seconds[b] for b in baselines}, merges, "best fio",
    )  # fmt: skip
    return report


# --- cached ----------------------------------------------------------------


def available_memory():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise Trouble("/proc/meminfo has no MemAvailable")


def cached(args):
    """A merge with its inputs in the page cache against reading them with
    cat and writing as many bytes."""
    fio.check()
    family = two_vectors(args, copies=2)
    if family.bytes > 0.8 * available_memory():
        raise Trouble(
            f"the page cache has no room for {size_text(family.bytes)}: "
            f"see --size"
        )
    merges = Merges(args, family)
    report = Report("cached", args.dir, settings(args))
    shares = []

    def warm():
        os.sync()
        share = min(map(resident, family.files))
        if share < 0.9999:
            share = load_into_cache(family.files)
        shares.append(share)

    def cat():
        # Its output must be no pipe: to one, cat would have to write.
        done = run_well("sh", "-c", 'exec cat "$@" >/dev/null', "cat",
                        *family.files)  # fmt: skip
        return done.seconds

    def dd():
        remove(merges.fio_out)
        blocks = family.file_bytes // models.WHOLE
        done = run_well(
            "dd", "if=/dev/zero", f"of={merges.fio_out}",
            f"bs={models.WHOLE}", f"count={blocks}", "oflag=direct",
            "conv=fsync", "status=none",
        )  # fmt: skip
        remove(merges.fio_out)
        return done.seconds

    def one_fio(setting):
        return lambda: fio.move(
            [], merges.fio_out, family.file_bytes, setting, args.fio_engine
        )

    writers = {fio.setting_text(s): one_fio(s) for s in args.fio}
    writers["dd 4 MiB direct"] = dd
    contenders = {"cat": cat, **writers}
    for v in merges.variants:
        contenders[merges.name(v)] = lambda v=v: merges.merge(v)
    try:
        seconds = do_rounds(args.rounds, contenders, warm)
    finally:
        merges.clean()
    baselines = {
        f"cat, then {w}": [
            c + s for c, s in zip(seconds["cat"], seconds[w])
        ]
        for w in writers
    }
    compare(
        report,
        f"2 vectors, {len(family.files)} x {size_text(family.file_bytes)} "
        f"in the page cache, one out, {args.rounds} rounds",
        seconds, baselines, merges, "cat and write",
    )  # fmt: skip
    report.line(
        f"cat alone: {Spread(seconds['cat']).text()} s; in the page cache "
        f"before each run: at least {100 * min(shares):.2f} % of each file"
    )
    report.note("resident", min(shares))
    return report


# --- cpu -------------------------------------------------------------------


def cpu(args):
    """Core-seconds per GB moved, cold."""
    family = two_vectors(args, copies=1)
    merges = Merges(args, family)
    report = Report("cpu", args.dir, settings(args))
    contenders = {
        merges.name(v): lambda v=v: merges.merge(v) for v in merges.variants
    }
    try:
        do_rounds(args.rounds, contenders, lambda: chill(family.files))
    finally:
        merges.clean()
    rows = []
    for v in merges.variants:
        runs = merges.runs[v]
        rows.append(
            [merges.name(v), Spread([r.seconds for r in runs]).text(),
             Spread([r.cpu for r in runs]).text(),
             f"{merges.moved / GIGA:.2f}", merges.cpu(v).text(3)]
        )  # fmt: skip
    report.table(
        f"K = 2, cold, {args.rounds} rounds",
        ["", "seconds", "core-s", "GB moved", "core-s/GB"], rows,
    )  # fmt: skip
    report.line("")
    for v in merges.variants:
        report.target(f"{merges.name(v)}, core-seconds a GB",
                      merges.cpu(v).median, 0.25, 3)  # fmt: skip
        report.note(merges.name(v), merges.cpu(v).data())
    return report


# --- memory ----------------------------------------------------------------

OVER = 16 * MEBI  # what a merge may take beyond --memory


def linked(family, count):
    """`count` vectors that are the fine-tunes of a family under many names:
    the program cannot tell, and the disk holds them once."""
    directory = family.path / f"links-{count}"
    remove(directory)
    links = []
    for i in range(count):
        link = directory / f"v{i:03}"
        link.mkdir(parents=True)
        source = family.files[1 + i % family.tuned]
        os.link(source, link / "model.safetensors")
        links.append(link)
    return directory, links


def memory(args):
    """Peak memory against --memory."""
    small = args.size // 4
    # Name, family, number of vectors. Small models where vectors are many:
    # what counts is that all of them together exceed the largest budget.
    cases = [
        ("K = 2", models.whole_family(args.dir, args.size, 2), 2),
        ("K = 64", models.whole_family(args.dir, small, 2), 64),
        ("K = 256", models.whole_family(args.dir, small // 2, 2), 256),
        (f"K = 2, one tensor of {args.tensor_size / GIBI:g} GiB",
         models.sparse_family(args.dir, args.tensor_size, 2), 2),
        (f"K = 2, {args.tensors} tensors",
         models.even_family(args.dir, args.size, args.tensors, 2), 2),
        (f"K = 16, {args.tensors} tensors",
         models.even_family(args.dir, args.size, args.tensors, 2), 16),
    ]  # fmt: skip
    families = {c[1].path: c[1] for c in cases}
    wanted = sum(f.bytes for f in families.values())
    wanted += max(c[1].file_bytes for c in cases)
    need_space(args.dir, wanted, families)
    report = Report("memory", args.dir, settings(args))
    rows, found, worst = [], [], -math.inf
    for name, family, count in cases:
        family.make()
        directory, vectors = linked(family, count)
        out = family.path / "out"
        cells = [name, size_text((count + 2) * family.file_bytes)]
        try:
            for budget in args.memory:
                peak, seconds, why = peak_memory(
                    args, family, vectors, out, budget
                )
                entry = {"case": name, "memory": budget}
                if peak is None:
                    cells.append("refused")
                    entry["refused"] = why
                    say(f"{name}, --memory {budget}: {why}")
                else:
                    over = peak - parse_budget(budget)
                    worst = max(worst, over)
                    cells.append(f"{mebi(peak):.1f} ({mebi(over):+.1f})")
                    entry.update(peak=peak, over=over, seconds=seconds)
                    say(f"{name}, --memory {budget}: {seconds:.2f} s")
                found.append(entry)
        finally:
            remove(directory)
            remove(out)
        rows.append(cells)
    report.table(
        "Peak resident memory in MiB (beyond --memory)",
        ["", "moved", *args.memory], rows,
    )  # fmt: skip
    report.note("cases", found)
    report.line("")
    report.target("most beyond --memory, MiB", mebi(worst), mebi(OVER), 1)
    return report


def peak_memory(args, family, vectors, out, budget):
    """Peak and seconds of the largest of some runs; or why it refused."""
    peaks = []
    for _ in range(args.rounds):
        remove(out)
        done = run(
            *merge_command(
                family.base, vectors, out, "--memory", budget,
                *shlex.split(args.options),
            )
        )  # fmt: skip
        if done.status != 0:
            return None, None, done.err.strip().splitlines()[0]
        peaks.append((done.peak, done.seconds))
    return (*max(peaks), None)


# --- growth ----------------------------------------------------------------


def straight_line(points):
    """Least squares: intercept, slope, and the largest distance from the
    line as a share of the value there."""
    n = len(points)
    mx = sum(x for x, _ in points) / n
    my = sum(y for _, y in points) / n
    square = sum((x - mx) ** 2 for x, _ in points)
    slope = sum((x - mx) * (y - my) for x, y in points) / square
    start = my - slope * mx
    off = max(abs(y - start - slope * x) / y for x, y in points)
    return start, slope, off


def growth(args):
    """Wall time against bytes and against the number of tensors."""
    vectors = 2
    parts = vectors + 2
    by_bytes = [
        (moved, models.even_family(args.dir, moved // parts, 100, vectors))
        for moved in args.sizes
    ]
    by_count = [
        (n, models.even_family(args.dir, args.total // parts, n, vectors))
        for n in args.counts
    ]
    planned = models.even_family(
        args.dir, args.plan_tensors * 16, args.plan_tensors,
        args.plan_vectors,
    )  # fmt: skip
    report = Report("growth", args.dir, settings(args))
    on_tmpfs = file_system(args.dir) == "tmpfs"
    if not args.skip_bytes:
        growth_in_bytes(args, report, by_bytes, on_tmpfs)
    if not args.skip_counts:
        growth_in_tensors(args, report, by_count, on_tmpfs)
    if not args.skip_plan:
        planning(args, report, planned)
    return report


def time_merges(args, cases, on_tmpfs, what):
    """Seconds of each case, a list per label, all cases in each round."""
    families = [f for _, f in cases]
    wanted = sum(f.bytes for f in families)
    wanted += max(f.file_bytes for f in families)
    need_space(args.dir, wanted, [f.path for f in families])
    for family in families:
        family.make()

    def one(family):
        def merge():
            out = family.path / "out"
            if args.cache == "cold" and not on_tmpfs:
                chill(family.files)
            elif not on_tmpfs:
                load_into_cache(family.files)
            try:
                return run_well(
                    *merge_command(
                        family.base, family.vectors, out,
                        *shlex.split(args.options),
                    )
                ).seconds  # fmt: skip
            finally:
                remove(out)

        return merge

    # A first run of each that does not count: it finds the processor awake
    # and, on tmpfs, the memory mapped.
    contenders = {f"{n} {what}": one(family) for n, family in cases}
    do_rounds(1, contenders, lambda: None)
    found = do_rounds(args.rounds, contenders, lambda: None)
    found = {n: found[f"{n} {what}"] for n, _ in cases}
    if on_tmpfs:  # memory is short
        for family in families:
            remove(family.path)
    return found


def growth_in_bytes(args, report, cases, on_tmpfs):
    seconds = time_merges(args, cases, on_tmpfs, "bytes")
    spreads = {moved: Spread(seconds[moved]) for moved, _ in cases}
    points = [(moved / GIGA, s.median) for moved, s in spreads.items()]
    start, slope, off = straight_line(points)
    rows = [
        [size_text(moved), s.text(3), f"{s.median / (moved / GIGA):.3f}",
         f"{s.median / (start + slope * moved / GIGA):.3f}"]
        for moved, s in spreads.items()
    ]  # fmt: skip
    report.table(
        f"Wall time against bytes moved, K = 2, 100 tensors, "
        f"{args.rounds} rounds",
        ["moved", "seconds", "s/GB", "x the straight line"], rows,
    )  # fmt: skip
    report.line(f"the line: {start:.3f} s + {slope:.3f} s a GB")
    report.target("farthest from the line, share", off, 0.1, 3)
    report.note(
        "bytes",
        {"seconds": {m: s.data() for m, s in spreads.items()},
         "start": start, "seconds_per_gb": slope, "off": off},
    )  # fmt: skip


def growth_in_tensors(args, report, cases, on_tmpfs):
    seconds = time_merges(args, cases, on_tmpfs, "tensors")
    first = Spread(seconds[cases[0][0]]).median
    rows, found = [], {}
    for count, _ in cases:
        s = Spread(seconds[count])
        within = Spread(
            [a / b for a, b in zip(s.values, seconds[cases[0][0]])]
        )
        rows.append([count, s.text(3), f"{s.median / first:.3f}",
                     within.text(3)])  # fmt: skip
        found[count] = {"seconds": s.data(), "ratio": s.median / first}
    report.table(
        f"Wall time against tensors, {size_text(args.total)} moved, K = 2, "
        f"{args.rounds} rounds",
        ["tensors", "seconds", f"x {cases[0][0]} tensors", "in rounds"], rows,
    )  # fmt: skip
    report.line("")
    worst = max(f["ratio"] for f in found.values())
    report.target(f"most / {cases[0][0]} tensors", worst, 1.1, 3)
    report.note("tensors", found)


def planning(args, report, family):
    """`taumerge plan`, with headers only to read.

    The weights are so few that its probe of the disk has a few megabytes to
    move at most, which takes milliseconds.
    """
    need_space(args.dir, family.bytes, [family.path])
    family.make()
    argv = [program(), "plan", "-b", family.base]
    for vector in family.vectors:
        argv += ["-t", vector]
    argv += ["-o", family.path / "out"]
    run_well(*argv)
    runs = [run_well(*argv) for _ in range(args.rounds)]
    spread = Spread([r.seconds for r in runs])
    rows = [[f"{args.plan_tensors} x {args.plan_vectors} vectors",
             spread.text(3), Spread([r.cpu for r in runs]).text(3),
             f"{mebi(max(r.peak for r in runs)):.0f}"]]  # fmt: skip
    report.table(
        f"Planning, {args.rounds} rounds",
        ["tensors", "seconds", "core-s", "peak MiB"], rows,
    )  # fmt: skip
    report.line("")
    report.target("planning, seconds", spread.median, 2)
    report.note("plan", spread.data())


# --- the command line ------------------------------------------------------


def command_line():
    benchmarks = Benchmarks("bench/merge.py", __doc__)
    command, size = benchmarks.command, size_argument

    def variants(p, engines):
        p.add_argument("--io", type=listed(), default=engines,
                       help=f"engines of taumerge ({','.join(engines)})")
        p.add_argument("--memory", type=listed(), default=["512M"],
                       help="budgets of taumerge (512M)")  # fmt: skip

    def fio_settings(p, default):
        p.add_argument("--fio", type=listed(fio.parse_setting),
                       default=listed(fio.parse_setting)(default),
                       metavar="BLOCK:DEPTH,...",
                       help=f"settings of fio ({default})")
        p.add_argument("--fio-engine", default="io_uring",
                       help="fio's I/O engine (%(default)s)")  # fmt: skip

    p = command(disk, 7)
    size(p, "4G", "of the base and of each fine-tune")
    variants(p, ["auto"])
    fio_settings(p, "1M:4,1M:16,4M:4,4M:16")

    p = command(cached, 7)
    size(p, "4G", "of the base and of each fine-tune")
    variants(p, ["uring", "threads"])
    fio_settings(p, "1M:16,4M:4,4M:16")

    p = command(cpu, 5)
    size(p, "4G", "of the base and of each fine-tune")
    variants(p, ["uring", "threads"])

    p = command(memory, 1)
    size(p, "1G", "of each model at K = 2; a quarter of it at K = 64, "
         "an eighth at K = 256")  # fmt: skip
    p.add_argument("--memory", type=listed(),
                   default=["64M", "128M", "256M", "512M"],
                   help="budgets of taumerge (64M,128M,256M,512M)")
    p.add_argument("--tensor-size", type=parse_size, default=2 * GIBI,
                   metavar="SIZE", help="of the large tensor (2Gi)")
    p.add_argument("--tensors", type=int, default=100_000,
                   help="where they are many (%(default)s)")  # fmt: skip

    p = command(growth, 5)
    p.add_argument("--sizes", type=listed(parse_size),
                   default=listed(parse_size)("0.5G,1G,2G,4G"),
                   help="bytes to move (0.5G,1G,2G,4G)")
    p.add_argument("--counts", type=listed(int),
                   default=[10, 100, 1000, 10_000, 100_000],
                   help="of tensors (10,100,1000,10000,100000)")
    p.add_argument("--total", type=parse_size, default=4 * GIGA,
                   help="bytes to move in so many tensors (4G)")
    p.add_argument("--cache", choices=["cold", "warm"], default="cold",
                   help="the inputs, unless --dir is a tmpfs (%(default)s)")
    p.add_argument("--plan-tensors", type=int, default=100_000)
    p.add_argument("--plan-vectors", type=int, default=16)
    for part in ("bytes", "counts", "plan"):
        p.add_argument(f"--skip-{part}", action="store_true")  # fmt: skip

    p = command(peers.mergekit, 3, "mergekit")
    size(p, "2G", "of the base and of each fine-tune")
    p.add_argument("--on", type=listed(), default=["disk", "tmpfs"],
                   help="where the files are: disk,tmpfs")
    p.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"),
                   help="a tmpfs to work in (%(default)s)")
    p.add_argument("--venv", type=Path, default=None,
                   help="where mergekit is or comes (DIR/venv-mergekit)")
    p.add_argument("--dtypes", type=listed(),
                   default=["bfloat16", "float32"],
                   help="that mergekit computes in (bfloat16,float32)")
    p.add_argument("--fio", type=listed(fio.parse_setting),
                   default=listed(fio.parse_setting)("1M:16,4M:4"),
                   metavar="BLOCK:DEPTH,...",
                   help="settings of fio (1M:16,4M:4)")  # fmt: skip
    return benchmarks


if __name__ == "__main__":
    command_line().main(models.remove_used)
