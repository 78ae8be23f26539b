#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Flips every bit of a small stored vector and random bits of a large one,
one at a time, and counts what becomes of them: verify has to find each, apply
and merge to refuse it or to give the right bytes all the same."""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from common import TOP, Report, Trouble, clock, program, say, settings

# The tests' own: they take the program from the environment.
os.environ.setdefault("TAUMERGE", program())
sys.path.insert(0, str(TOP / "tests"))

import flipping  # noqa: E402
import vectors  # noqa: E402

COMMANDS = ["verify", "verify --base", "apply", "merge"]
DATA = 65


def kind_of(outcome, which):
    """What became of a flip. What must not be has a name in capitals; wrong
    bytes and what is left behind end the run."""
    if outcome.status == DATA:
        return "found" if which.startswith("verify") else "refused"
    if outcome.status != 0:
        return "OTHER STATUS"
    return "MISSED" if which.startswith("verify") else "harmless"


def flip_in_parts(made, path, which, flips):
    """Some at a time, to say how far it is."""
    kinds, step = Counter(), 20_000
    for first in range(0, len(flips), step):
        part = flips[first : first + step]
        outcomes = flipping.flip_all(made, path, which, part)
        kinds.update(kind_of(o, which) for o in outcomes)
        say(f"{which}: {first + len(part)} of {len(flips)} flips")
    return kinds


def measure(report, title, made, path, flips):
    rows, total = [], Counter()
    for which in COMMANDS:
        start = clock()
        kinds = flip_in_parts(made, path, which, flips)
        total.update(kinds)
        wrong = kinds["MISSED"] + kinds["OTHER STATUS"]
        rows.append([which, len(flips), kinds["found"] + kinds["refused"],
                     kinds["harmless"], wrong, f"{clock() - start:.0f}"])
    report.table(
        title,
        ["command", "flips", "found or refused", "right bytes", "wrong",
         "seconds"],
        rows,
    )  # fmt: skip
    found = rows[0][2]
    report.line(f"{title}: {len(flips)} flips, {found} found by verify")
    report.note(title, {row[0]: row[1:5] for row in rows})
    return sum(row[4] for row in rows)  # fmt: skip


def stored(path, family, shards):
    path.mkdir()
    return vectors.made_of(path, *family, shards)


def run_all(args, scratch):
    report = Report("flips", args.dir, settings(args))
    small = stored(scratch / "small", flipping.family_of_all_kinds(), 1)
    flips = flipping.bits_of(small.vector)[:: args.step]
    wrong = measure(report, f"every bit of {len(flips) // 8} bytes" if
                    args.step == 1 else f"each {args.step}th bit",
                    small, scratch, flips)  # fmt: skip
    large = stored(scratch / "large", flipping.family_of_large_tensors(), 2)
    size = vectors.size_of(large.vector) / 1e6
    flips = flipping.random_flips(large.vector, args.random, args.seed)
    title = f"random bits of {size:.1f} MB"
    return report, wrong + measure(report, title, large, scratch, flips)


def arguments():
    p = argparse.ArgumentParser(prog="bench/flips.py", description=__doc__)
    p.add_argument("--step", type=int, default=1,
                   help="take each N-th bit of the small one (%(default)s)")
    p.add_argument("--random", type=int, default=10_000,
                   help="flips in the large one (%(default)s)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--dir", type=Path, default=Path("/dev/shm"),
                   help="where the vectors lie (%(default)s)")
    p.add_argument("--json", action="store_true", help="print JSON")
    return p.parse_args()  # fmt: skip


def main():
    args = arguments()
    try:
        if not flipping.DRIVER.exists():
            raise Trouble("tests/flip_bits is not there: make check-programs")
        with tempfile.TemporaryDirectory(dir=args.dir) as scratch:
            report, wrong = run_all(args, Path(scratch))
    except Trouble as trouble:
        sys.exit(f"bench/flips.py: {trouble}")
    except KeyboardInterrupt:
        sys.exit("bench/flips.py: interrupted")
    report.print(args.json)
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
