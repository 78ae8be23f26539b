#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the methods of recipes take: bench/methods.py NAME --help; see
bench/README.md."""

import json
import shlex
from pathlib import Path

import exact
import fio
import merge
import models
import peers
import recipes
from common import (
    GIBI,
    GIGA,
    Benchmarks,
    Report,
    Spread,
    Trouble,
    chill,
    do_rounds,
    listed,
    mebi,
    merge_command,
    need_space,
    parse_budget,
    program,
    recipe_command,
    remove,
    run_well,
    settings,
    size_argument,
    size_text,
)

OPTIONS = "task_arithmetic with -b -t -w"
OF_MODEL = "ties of the whole model"


def planned(recipe, *options):
    """What `taumerge plan` says of a recipe."""
    done = run_well(program(), "plan", "--json", recipe, *options)
    return json.loads(done.out)


def drifted_family(args, tuned):
    """Llama-shaped models whose fine-tunes moved as real ones do. Nothing is
    one long row, which would be sorted as a whole."""
    return models.whole_family(args.dir, args.size, tuned, "methods",
                               models.drifted_block, row=512)  # fmt: skip


# --- disk ------------------------------------------------------------------


class Methods(merge.Merges):
    """The merges under test: one family, several methods."""

    def __init__(self, args, family, names):
        self.family = family
        self.out = family.path / "out"
        self.fio_out = family.path / "fio-out"
        self.options = ["--memory", args.memory, *shlex.split(args.options)]
        self.variants = names
        self.runs = {v: [] for v in names}
        self.moved = 0
        self.recipes = {v: self.recipe(v) for v in names if v != OPTIONS}

    def recipe(self, name):
        path = self.family.path / f"{name}.yml"
        path.write_text(recipes.of_family(name, self.family))
        return path

    @staticmethod
    def name(variant):
        return variant

    def command(self, variant):
        if variant == OPTIONS:
            return merge_command(
                self.family.base, self.family.vectors, self.out,
                *self.options, weights=recipes.WEIGHTS,
            )  # fmt: skip
        return recipe_command(
            self.recipes[variant], self.out, *self.options
        )

    def clean(self):
        super().clean()
        for path in self.recipes.values():
            remove(path)


def readings(report, merges, plans):
    """What is read how often: as planned, and as the disk saw it."""
    rows, found = [], {}
    for name in merges.variants:
        runs = merges.runs[name]
        plan = plans.get(name, {})
        read = Spread([r.read / GIGA for r in runs])
        peak = Spread([mebi(r.peak) for r in runs])
        rows.append(
            [name, planned_text(plan, "read_bytes"),
             planned_text(plan, "read_again_bytes"), read.text(),
             peak.text(0)]
        )  # fmt: skip
        found[name] = {
            "read_again_bytes": plan.get("read_again_bytes"),
            "gb_read": read.data(), "peak_mib": peak.data(),
        }  # fmt: skip
    report.table(
        "What is read",
        ["", "GB planned", "of that again", "GB from the disk", "peak MiB"],
        rows,
    )  # fmt: skip
    report.note("readings", found)
    return found


def planned_text(plan, key):
    return f"{plan[key] / GIGA:.2f}" if key in plan else ""


def check_names(names, among):
    for name in names:
        if name not in among:
            raise Trouble(f"{name} is none of {', '.join(among)}")


def disk(args):
    """Cold merges by method against fio moving the same bytes."""
    fio.check()
    # All read the same: the base and three fine-tunes.
    whole = [n for n, m in recipes.METHODS.items() if m.models == 3]
    check_names(args.methods, whole)
    family = drifted_family(args, 3)
    need_space(args.dir, family.bytes + 2 * family.file_bytes,
               [family.path])  # fmt: skip
    family.make()
    names = list(args.methods)
    if "task_arithmetic" in names:
        names.insert(names.index("task_arithmetic") + 1, OPTIONS)
    merges = Methods(args, family, names)
    report = Report("disk", args.dir, settings(args))
    contenders = {
        fio.setting_text(s): lambda s=s: fio.move(
            family.files, merges.fio_out, family.file_bytes, s,
            args.fio_engine,
        )
        for s in args.fio
    }  # fmt: skip
    baselines = list(contenders)
    for v in merges.variants:
        contenders[v] = lambda v=v: merges.merge(v)
    try:
        plans = {v: planned(path, *merges.options)
                 for v, path in merges.recipes.items()}  # fmt: skip
        seconds = do_rounds(
            args.rounds, contenders, lambda: chill(family.files)
        )
    finally:
        merges.clean()
    merge.compare(
        report,
        f"Base and 3 fine-tunes of {size_text(family.file_bytes)}, one out, "
        f"--memory {args.memory}, cold, {args.rounds} rounds",
        seconds, {b: seconds[b] for b in baselines}, merges, "best fio",
        1.15,
    )  # fmt: skip
    readings(report, merges, plans)
    return report


# --- whole -----------------------------------------------------------------


class Whole(Methods):
    """One pass, and ties measured over the whole model, of checkpoints and
    of stored vectors."""

    def __init__(self, args, family, vectors):
        inputs = {"checkpoints": family.vectors, "vectors": vectors}
        self.inputs = {
            f"{method}, {what}": (method, these)
            for method in ("task_arithmetic", OF_MODEL)
            for what, these in inputs.items()
        }
        super().__init__(args, family, list(self.inputs))

    def recipe(self, name):
        method, vectors = self.inputs[name]
        path = self.family.path / f"{list(self.inputs).index(name)}.yml"
        if method == OF_MODEL:
            text = recipes.text("ties", self.family.base, vectors,
                                scope="model")  # fmt: skip
        else:
            text = recipes.text(method, self.family.base, vectors)
        path.write_text(text)
        return path


def stored(args, family):
    """The fine-tunes as vectors, made by the program that is measured."""
    vectors = []
    for i, tuned in enumerate(family.vectors):
        vector = family.path / f"vector-{i}"
        remove(vector)
        run_well(program(), "diff", "-q", family.base, tuned, "-o", vector)
        vectors.append(vector)
    return vectors


def whole(args):
    """Ties over the whole model against one pass of the same inputs."""
    family = drifted_family(args, 3)
    need_space(args.dir, 2 * family.bytes + family.file_bytes,
               [family.path])  # fmt: skip
    family.make()
    vectors = stored(args, family)
    files = family.files + [
        f for v in vectors for f in sorted(v.glob("*.safetensors"))
    ]
    merges = Whole(args, family, vectors)
    report = Report("whole", args.dir, settings(args))
    contenders = {
        v: lambda v=v: merges.merge(v) for v in merges.variants
    }
    try:
        plans = {v: planned(path, *merges.options)
                 for v, path in merges.recipes.items()}  # fmt: skip
        seconds = do_rounds(args.rounds, contenders, lambda: chill(files))
    finally:
        merges.clean()
        for vector in vectors:
            remove(vector)
    tell_whole(report, args, family, merges, seconds)
    readings(report, merges, plans)
    return report


def tell_whole(report, args, family, merges, seconds):
    rows, ratios = [], {}
    for name, (_, these) in merges.inputs.items():
        what = name.split(", ")[1]
        one = seconds[f"task_arithmetic, {what}"]
        within = Spread([a / b for a, b in zip(seconds[name], one)])
        ratio = Spread(seconds[name]).median / Spread(one).median
        cpu = Spread([r.cpu for r in merges.runs[name]])
        rows.append([name, Spread(seconds[name]).text(), f"{ratio:.3f}",
                     within.text(3), cpu.text()])  # fmt: skip
        if name.startswith(OF_MODEL):
            ratios[what] = ratio
    report.table(
        f"3 vectors of {size_text(family.file_bytes)}, cold, "
        f"--memory {args.memory}, {args.rounds} rounds",
        ["", "seconds", "x one pass", "x one pass of its round", "core-s"],
        rows,
    )  # fmt: skip
    report.note("seconds", seconds)
    report.note("ratios", ratios)
    report.line("")
    for what, ratio in ratios.items():
        report.target(f"{OF_MODEL} / one pass, {what}", ratio, 2.1, 3)


# --- mergekit --------------------------------------------------------------

PEERS_METHODS = [
    "task_arithmetic", "linear", "ties", "dare_ties", "della", "breadcrumbs",
    "slerp", "model_stock", "karcher",
]  # fmt: skip


def mergekit(args):
    """Against mergekit, method by method, from disk and tmpfs."""
    check_names(args.methods, recipes.METHODS)
    tool = peers.install(peers.venv_of(args))
    report = Report("mergekit", args.dir,
                    {**settings(args), "peer": peers.MERGEKIT})  # fmt: skip
    for place, directory in peers.places(args):
        compare(args, report, tool, directory, place)
    return report


def compare(args, report, tool, directory, place):
    family = models.llama_family(directory, args.size, 3)
    on_disk = place == "disk"
    need_space(directory, family.bytes + 2 * family.file_bytes,
               [family.path])  # fmt: skip
    out = family.path / "out"
    contenders, pairs = [], {}
    for name in args.methods:
        for dtype in args.dtypes:
            recipe = recipes.of_family(name, family, dtype)
            mine = peers.Taumerge(args, family, out, recipe,
                                  f"taumerge, {name}, {dtype}")  # fmt: skip
            peer = peers.Mergekit(tool, recipe, out,
                                  f"mergekit, {name}, {dtype}",
                                  "--random-seed", 1)  # fmt: skip
            contenders += [mine, peer]
            pairs[name, dtype] = mine, peer
    try:
        family.make()
        runs = peers.take_turns(
            contenders, args.rounds, place,
            family.files if on_disk else (), keep=False,
        )  # fmt: skip
    finally:
        peers.leave(directory, family, [out], on_disk)
    tell(args, report, place, family, pairs, runs)


def tell(args, report, place, family, pairs, runs):
    rows, found = [], {}
    for (name, dtype), (mine, peer) in pairs.items():
        entry = {}
        for who, c in (("taumerge", mine), ("mergekit", peer)):
            done = [d for d, _ in runs[c.name]]
            entry[who] = {
                "seconds": Spread([d.seconds for d in done]),
                "peak_gib": Spread([d.peak / GIBI for d in done]),
                "own_gib": Spread([d.own / GIBI for d in done]),
            }
        ours, theirs = entry["taumerge"], entry["mergekit"]

        def times(what, than="peak_gib", ours=ours, theirs=theirs):
            return theirs[what].median / max(ours[than].median, 1e-9)

        faster = times("seconds", "seconds")
        less, less_own = times("peak_gib"), times("own_gib")
        rows.append(
            [name, dtype, ours["seconds"].text(), theirs["seconds"].text(),
             f"{faster:.1f}", ours["peak_gib"].text(),
             theirs["peak_gib"].text(), f"{less:.0f}",
             theirs["own_gib"].text(), f"{less_own:.0f}"]
        )  # fmt: skip
        found[f"{name}, {dtype}"] = {
            "faster": faster, "less": less, "less_own": less_own,
            **{who: {k: s.data() for k, s in e.items()}
               for who, e in entry.items()},
        }  # fmt: skip
    report.table(
        f"Base and fine-tunes of {size_text(family.file_bytes)}, {place}"
        + (", cold" if place == "disk" else "") + f", {args.rounds} rounds",
        ["", "dtype", "taumerge s", "mergekit s", "x faster", "peak GiB",
         "mergekit", "x less", "its own", "x less"], rows,
    )  # fmt: skip
    report.note(place, found)
    report.line(
        "mergekit: with the files it maps, as the system counts; its own: "
        "without"
    )
    targets(args, report, place, found)


# How many times faster: by family of methods and place.
FASTER = {
    ("threshold", "disk"): 12, ("threshold", "tmpfs"): 40,
    ("others", "tmpfs"): 15,
}  # fmt: skip


def targets(args, report, place, found):
    """The least of each group of methods."""
    for dtype in args.dtypes:
        for group in ("threshold", "others"):
            names = [
                n for n in args.methods
                if (recipes.METHODS[n].family == "threshold")
                == (group == "threshold")
            ]  # fmt: skip
            if not names:
                continue

            def of(name, what, dtype=dtype):
                return found[f"{name}, {dtype}"][what]

            if (group, place) in FASTER:
                worst = min(names, key=lambda n: of(n, "faster"))
                report.target(
                    f"{place}, {dtype}, {group}: times faster, least "
                    f"({worst})", of(worst, "faster"),
                    FASTER[group, place], 1, at_least=True,
                )  # fmt: skip
            worst = min(names, key=lambda n: of(n, "less"))
            report.target(
                f"{place}, {dtype}, {group}: times less memory, least "
                f"({worst})", of(worst, "less"), 20, 1, at_least=True,
            )  # fmt: skip


# --- the command line ------------------------------------------------------


def budget(text):
    parse_budget(text)  # refuses what is none
    return text


def command_line():
    benchmarks = Benchmarks("bench/methods.py", __doc__)
    command = benchmarks.command

    def methods(p, names):
        p.add_argument("--methods", type=listed(), default=names,
                       help=f"of recipes ({','.join(names)})")  # fmt: skip

    def memory(p):
        p.add_argument("--memory", type=budget, default="2G",
                       help="budget of taumerge (%(default)s)")  # fmt: skip

    def venv(p):
        p.add_argument("--venv", type=Path, default=None,
                       help="where mergekit is or comes (DIR/venv-mergekit)")
        p.add_argument("--dtypes", type=listed(),
                       default=["bfloat16", "float32"],
                       help="of the recipes (bfloat16,float32)")  # fmt: skip

    p = command(disk, 5)
    size_argument(p, "2G", "of the base and of each fine-tune")
    memory(p)
    methods(p, [n for n, m in recipes.METHODS.items()
                if m.models == 3 and n != "linear"])  # fmt: skip
    p.add_argument("--fio", type=listed(fio.parse_setting),
                   default=listed(fio.parse_setting)("1M:4,1M:16,4M:4"),
                   metavar="BLOCK:DEPTH,...",
                   help="settings of fio (1M:4,1M:16,4M:4)")
    p.add_argument("--fio-engine", default="io_uring",
                   help="fio's I/O engine (%(default)s)")  # fmt: skip

    p = command(whole, 5)
    size_argument(p, "2G", "of the base and of each fine-tune")
    memory(p)

    p = command(mergekit, 2)
    size_argument(p, "2G", "of the base and of each fine-tune")
    p.add_argument("--on", type=listed(), default=["disk", "tmpfs"],
                   help="where the files are: disk,tmpfs")
    p.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"),
                   help="a tmpfs to work in (%(default)s)")  # fmt: skip
    venv(p)
    methods(p, PEERS_METHODS)

    p = command(exact.exact, 1)
    venv(p)
    methods(p, list(recipes.METHODS))
    p.add_argument("--width", type=int, default=2048,
                   help="of the square tensors (%(default)s)")
    p.add_argument("--tensors", type=listed(), default=exact.TENSORS,
                   help=f"that are compared ({','.join(exact.TENSORS)})")
    p.add_argument("--skip-mergekit", action="store_true",
                   help="ours alone")  # fmt: skip
    return benchmarks


if __name__ == "__main__":
    command_line().main(models.remove_used)
