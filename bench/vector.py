#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What stored vectors take: bench/vector.py NAME --help; see
bench/README.md."""

import filecmp
import json
import math
import os
import shlex
from pathlib import Path

import fio
import models
from common import (
    GIBI,
    GIGA,
    MEBI,
    TOP,
    Benchmarks,
    Report,
    Spread,
    Trouble,
    chill,
    do_rounds,
    listed,
    load_into_cache,
    mebi,
    merge_command,
    need_space,
    parse_budget,
    parse_size,
    program,
    remove,
    run,
    run_well,
    say,
    settings,
    size_argument,
    size_text,
)

# --- vectors ---------------------------------------------------------------


def diff_command(base, tuned, vector, *more):
    return [program(), "diff", "-q", base, tuned, "-o", vector, *more]


def apply_command(base, vector, out, *more):
    return [program(), "apply", "-q", base, vector, "-o", out, *more]


def files_below(directory):
    return sorted(f for f in Path(directory).rglob("*") if f.is_file())


def stored_files(vector):
    """All of a vector but the side files of the fine-tune."""
    return [f for f in files_below(vector)
            if f.relative_to(vector).parts[0] != "files"]  # fmt: skip


def count_bytes(files):
    return sum(f.stat().st_size for f in files)


def make_vectors(family, args):
    """The fine-tunes of a family as vectors, made by the program that is
    measured."""
    vectors = []
    for i, tuned in enumerate(family.vectors):
        vector = family.path / f"vector-{i}"
        remove(vector)
        say(f"making {vector}")
        run_well(*diff_command(family.base, tuned, vector,
                               *shlex.split(args.options)))  # fmt: skip
        vectors.append(vector)
    return vectors


def drifted_family(args, size, tuned):
    """Llama-shaped models whose fine-tunes moved as real ones do."""
    return models.whole_family(args.dir, size, tuned, "drift",
                               models.drifted_block)  # fmt: skip


def bench_codec(base, tuned, *more):
    path = TOP / "bench" / "codec"
    if not os.access(path, os.X_OK):
        raise Trouble(f"{path} is not there: run make bench")
    return json.loads(run_well(path, base, tuned, "--json", *more).out)


# --- sizes -----------------------------------------------------------------

# What a vector may take, as a multiple of the conditional entropy.
OVER_ENTROPY = 1.03


def find_pairs(directory):
    """(base, tuned) of a directory that has x-base, x-this and x-that."""
    pairs = [
        (base, tuned)
        for base in sorted(directory.glob("*-base"))
        for tuned in sorted(directory.glob(base.name[:-4] + "*"))
        if tuned != base
    ]
    if not pairs:
        raise Trouble(f"{directory}: no x-base beside x-something there")
    return pairs


def same_files(a, b):
    names = [f.relative_to(a) for f in files_below(a)]
    if names != [f.relative_to(b) for f in files_below(b)]:
        return False
    return filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


def store(args, base, tuned, scratch):
    """Stores one pair and restores it; what the vector takes."""
    remove(scratch)
    for model in (base, tuned):
        models.copy_without(model, args.without, scratch / model.name)
    base, tuned = scratch / base.name, scratch / tuned.name
    more = shlex.split(args.options)
    run_well(*diff_command(base, tuned, scratch / "vector", *more))
    run_well(*apply_command(base, scratch / "vector", scratch / "restored"))
    if not same_files(tuned, scratch / "restored"):
        raise Trouble(f"{tuned} is restored as something else")
    codec = bench_codec(base, tuned, "--seconds", 1)
    files = stored_files(scratch / "vector")
    shards = [f for f in files if f.suffix == ".safetensors"]
    found = {
        "tensors": codec["bytes"],
        "stored": count_bytes(files),
        "shards": count_bytes(shards),
        "chunks": codec["codecs"]["ours"]["bytes"],
        "codecs": {k: c["bytes"] for k, c in codec["codecs"].items()},
    }
    remove(scratch)
    return found


def sizes(args):
    """Whole vectors of real fine-tunes and of a made one against entropy
    and peers."""
    report = Report("sizes", args.dir, settings(args))
    scratch = args.dir / "sizes"
    rows, found = [], {}
    pairs = find_pairs(args.models) if args.models else []
    named = [(tuned.name, base, tuned) for base, tuned in pairs]
    if args.size > 0:
        family = drifted_family(args, args.size, 1).make()
        named.append(("made", family.base, family.vectors[0]))
    for name, base, tuned in named:
        say(f"{name}: {base}, {tuned}")
        s = store(args, base, tuned, scratch)
        entropy, tensorx = s["codecs"]["conditional"], s["codecs"]["tensorx"]
        found[name] = s
        rows.append(
            [name, s["tensors"], s["stored"],
             f"{s['stored'] / s['tensors']:.4f}",
             f"{s['stored'] / entropy:.4f}", f"{s['chunks'] / entropy:.4f}",
             f"{s['shards'] / entropy:.4f}",
             f"{s['stored'] / tensorx:.3f}",
             f"{s['stored'] / s['codecs']['bitx']:.3f}"]
        )  # fmt: skip
    report.table(
        "Every byte of a vector but its files/",
        ["", "tensors", "stored", "ratio", "/ H", "chunks / H", "shards / H",
         "/ TensorX", "/ BitX"], rows,
    )  # fmt: skip
    report.note("pairs", found)
    report.line("")
    for what, title in (("chunks", "chunks / H"), ("stored", "stored / H")):
        worst = max(s[what] / s["codecs"]["conditional"]
                    for s in found.values())  # fmt: skip
        report.target(f"most {title}", worst, OVER_ENTROPY, 4)
    return report


# --- merge -----------------------------------------------------------------

DECODING = "bench/codec --threads"


def whole_copies(files, directory):
    """Copies that fio can read to the last byte: filled up with zeros."""
    directory.mkdir()
    copies = []
    for i, path in enumerate(files):
        data = path.read_bytes()
        copy = directory / f"{i}"
        copy.write_bytes(data + bytes(-len(data) % models.WHOLE))
        copies.append(copy)
    return copies


def decode_seconds(family):
    """What decoding all vectors takes if it is as fast as bench/codec, on
    all cores."""
    data = bench_codec(family.base, family.vectors[0], "--threads",
                       "--mib", 64, "--seconds", 1)  # fmt: skip
    rate = data["threads"][-1]["decode"]["gbs"] * GIGA
    return family.file_bytes * family.tuned / rate


def merge(args):
    """A cold merge of stored vectors against one of checkpoints, and both
    against fio moving the same bytes."""
    fio.check()
    family = drifted_family(args, args.size, args.vectors)
    need_space(args.dir, family.bytes * 3 // 2 + 2 * family.file_bytes,
               [family.path])  # fmt: skip
    family.make()
    out, fio_out = family.path / "out", family.path / "fio-out"
    copies = family.path / "whole"
    remove(copies)
    vectors = make_vectors(family, args)
    stored = [f for v in vectors for f in stored_files(v)]
    shards = [f for f in stored if f.suffix == ".safetensors"]
    whole = whole_copies(shards, copies)
    bases = family.files[:1]
    inputs = {"checkpoints": family.vectors, "vectors": vectors}
    moved = {"checkpoints": family.files, "vectors": bases + whole}
    runs = {what: [] for what in inputs}

    def one_merge(what):
        def go():
            done = run_well(
                *merge_command(family.base, inputs[what], out,
                               *shlex.split(args.options))
            )  # fmt: skip
            remove(out)
            runs[what].append(done)
            return done.seconds

        return go

    def one_fio(what, setting):
        return lambda: fio.move(
            moved[what], fio_out, family.file_bytes, setting
        )

    contenders = {DECODING: lambda: decode_seconds(family)}
    for what in inputs:
        contenders[f"merge of {what}"] = one_merge(what)
        for s in args.fio:
            name = f"{fio.setting_text(s)}, {what}"
            contenders[name] = one_fio(what, s)
    try:
        seconds = do_rounds(
            args.rounds, contenders,
            lambda: chill(family.files + stored + whole),
        )  # fmt: skip
    finally:
        for path in (out, fio_out, copies):
            remove(path)
    report = Report("merge", args.dir, settings(args))
    compare(report, args, family, count_bytes(stored), runs, seconds)
    for vector in vectors:
        remove(vector)
    return report


def compare(report, args, family, stored, runs, seconds):
    """Adds both merges to the report."""
    rows, found = [], {}
    decode = Spread(seconds[DECODING])
    for what, done in runs.items():
        mine = Spread(seconds[f"merge of {what}"])
        fios = [f"{fio.setting_text(s)}, {what}" for s in args.fio]
        disk = min(Spread(seconds[f]).median for f in fios)
        bound = max(disk, decode.median) if what == "vectors" else disk
        read = Spread([r.read for r in done]).median
        cpu = Spread([r.cpu for r in done])
        rows.append(
            [what, f"{read / GIGA:.2f}", mine.text(), f"{disk:.2f}",
             f"{mine.median / disk:.3f}", f"{mine.median / bound:.3f}",
             cpu.text()]
        )  # fmt: skip
        found[what] = {
            "seconds": mine.data(), "fio": disk, "read_bytes": read,
            "core_seconds": cpu.data(), "x_fio": mine.median / disk,
            "x_bound": mine.median / bound,
        }  # fmt: skip
    report.table(
        f"{family.tuned} vectors of {size_text(family.file_bytes)}, stored "
        f"in {size_text(stored)}, cold, {args.rounds} rounds",
        ["merge of", "GB read", "seconds", "fio", "x fio",
         "x fio or decoding", "core-s"], rows,
    )  # fmt: skip
    ratio = Spread(
        [v / c for v, c in zip(seconds["merge of vectors"],
                               seconds["merge of checkpoints"])]
    )  # fmt: skip
    report.line(f"decoding all vectors, by bench/codec on all cores: "
                f"{decode.text()} s")
    report.line(f"vectors / checkpoints, seconds: {ratio.text(3)}")
    report.note("merges", found)
    report.note("stored", stored)
    report.note("decode_seconds", decode.data())
    report.note("vectors_over_checkpoints", ratio.data())


# --- memory ----------------------------------------------------------------

OVER = 16 * MEBI  # what a command may take beyond --memory


def linked(vector, count, directory):
    """One vector under `count` names: the program cannot tell, and the disk
    holds it once."""
    links = []
    for i in range(count):
        link = directory / f"v{i:03}"
        for f in files_below(vector):
            name = link / f.relative_to(vector)
            name.parent.mkdir(parents=True, exist_ok=True)
            os.link(f, name)
        links.append(link)
    return links


def memory(args):
    """Peak memory of diff, apply and merge against --memory."""
    drifted = {"prefix": "drift-even", "tune": models.drifted_block}
    # Name, family, how many vectors are merged.
    cases = [
        (size_text(args.size), drifted_family(args, args.size, 1), [1, 16]),
        (f"a tensor of {args.tensor_size / GIBI:g} GiB",
         models.even_family(args.dir, args.tensor_size, 1, 1, **drifted),
         [2]),
        (f"{args.tensors} tensors",
         models.even_family(args.dir, args.size, args.tensors, 1, **drifted),
         [1, 4]),
    ]  # fmt: skip
    families = [family for _, family, _ in cases]
    wanted = sum(f.bytes for f in families)
    wanted += 2 * max(f.file_bytes for f in families)
    need_space(args.dir, wanted, [f.path for f in families])
    report = Report("memory", args.dir, settings(args))
    rows, found = [], []
    for name, family, counts in cases:
        family.make()
        for command, argv in commands(family, counts, args).items():
            peaks = [peak_memory(args, family, argv, budget)
                     for budget in args.memory]  # fmt: skip
            rows.append([f"{command}, {name}"])
            for budget, (peak, why) in zip(args.memory, peaks):
                entry = {"case": name, "command": command, "memory": budget}
                if peak is None:
                    rows[-1].append("refused")
                    entry["refused"] = why
                    say(f"{rows[-1][0]}, --memory {budget}: {why}")
                else:
                    over = peak - parse_budget(budget)
                    rows[-1].append(f"{mebi(peak):.1f} ({mebi(over):+.1f})")
                    entry.update(peak=peak, over=over)
                found.append(entry)
        remove(family.path / "vector-0")
        remove(family.path / "links")
    report.table(
        "Peak resident memory in MiB (beyond --memory)",
        ["", *args.memory], rows,
    )  # fmt: skip
    report.note("cases", found)
    report.line("")
    worst = max((e["over"] for e in found if "over" in e), default=-math.inf)
    report.target("most beyond --memory, MiB", mebi(worst), mebi(OVER), 1)
    return report


def commands(family, counts, args):
    """What is run on a family, by name."""
    (vector,) = make_vectors(family, args)
    out, links = family.path / "out", family.path / "links"
    remove(links)
    vectors = linked(vector, max(counts), links)
    found = {
        "diff": diff_command(family.base, family.vectors[0], out),
        "apply": apply_command(family.base, vector, out),
    }
    for n in counts:
        found[f"merge of {n}"] = merge_command(family.base, vectors[:n], out)
    return found


def peak_memory(args, family, argv, budget):
    """The largest peak of some runs; or why it refused."""
    peaks = []
    for _ in range(args.rounds):
        done = run(*argv, "--memory", budget, *shlex.split(args.options))
        remove(family.path / "out")
        if done.status != 0:
            return None, done.err.strip().splitlines()[0]
        peaks.append(done.peak)
    return max(peaks), None


# --- threads ---------------------------------------------------------------


def threads(args):
    """Time of diff and apply by --threads, the inputs in the page cache.

    On a tmpfs (--dir) the processor is all that is left.
    """
    family = drifted_family(args, args.size, 1)
    need_space(args.dir, family.bytes + 2 * family.file_bytes,
               [family.path])  # fmt: skip
    family.make()
    (vector,) = make_vectors(family, args)
    out = family.path / "out"
    argvs = {
        "diff": diff_command(family.base, family.vectors[0], out),
        "apply": apply_command(family.base, vector, out),
    }
    counts = args.threads or list(range(1, len(os.sched_getaffinity(0)) + 1))

    def one(argv, n):
        def go():
            try:
                return run_well(*argv, "--threads", n,
                                *shlex.split(args.options)).seconds
            finally:
                remove(out)

        return go  # fmt: skip

    contenders = {
        f"{command} --threads {n}": one(argv, n)
        for command, argv in argvs.items()
        for n in counts
    }
    warm = family.files + files_below(vector)
    seconds = do_rounds(
        args.rounds, contenders, lambda: load_into_cache(warm)
    )
    remove(vector)
    report = Report("threads", args.dir, settings(args))
    rows, found = [], {}
    for name, values in seconds.items():
        command, n = name.split()[0], int(name.split()[-1])
        one = seconds[f"{command} --threads {counts[0]}"]
        linear = Spread(
            [a * counts[0] / (b * n) for a, b in zip(one, values)]
        )
        mine = Spread(values)
        rate = family.file_bytes / mine.median / GIGA
        rows.append([name, mine.text(), f"{rate:.2f}", linear.text()])
        found[name] = {"seconds": mine.data(), "of_linear": linear.data()}
    report.table(
        f"{size_text(family.file_bytes)} of tuned, in the page cache, "
        f"{args.rounds} rounds",
        ["", "seconds", "GB/s", "of linear"], rows,
    )  # fmt: skip
    report.note("runs", found)
    return report


# --- the command line ------------------------------------------------------


def command_line():
    benchmarks = Benchmarks("bench/vector.py", __doc__)

    p = benchmarks.command(sizes, 1)
    p.add_argument("--models", type=Path, default=None, metavar="DIR",
                   help="fine-tunes x-this, x-that of models x-base")
    size_argument(p, "256M", "of the made model, or 0")
    p.add_argument("--without", type=listed(), default=["embeddings.*"],
                   metavar="PATTERN,...",
                   help="tensors to leave out (embeddings.*)")  # fmt: skip

    p = benchmarks.command(merge, 5)
    size_argument(p, "4G", "of the base and of each fine-tune")
    p.add_argument("--vectors", type=int, default=4,
                   help="to merge (%(default)s)")
    p.add_argument("--fio", type=listed(fio.parse_setting),
                   default=listed(fio.parse_setting)("1M:16,4M:4"),
                   metavar="BLOCK:DEPTH,...",
                   help="settings of fio (1M:16,4M:4)")  # fmt: skip

    p = benchmarks.command(memory, 1)
    size_argument(p, "1G", "of each model")
    p.add_argument("--memory", type=listed(), default=["64M", "128M", "512M"],
                   help="budgets of taumerge (64M,128M,512M)")
    p.add_argument("--tensor-size", type=parse_size, default=2 * GIBI,
                   metavar="SIZE", help="of the large tensor (2Gi)")
    p.add_argument("--tensors", type=int, default=100_000,
                   help="where they are many (%(default)s)")  # fmt: skip

    p = benchmarks.command(threads, 5)
    size_argument(p, "1G", "of the base and of the fine-tune")
    p.add_argument("--threads", type=listed(int), default=None,
                   metavar="N,...", help="(1 to all)")  # fmt: skip
    return benchmarks


if __name__ == "__main__":
    command_line().main(models.remove_used)
