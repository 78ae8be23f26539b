#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/codec and ZipNN in one table; see bench/README.md."""

import argparse
import importlib
import importlib.metadata
import json
import os
import sys
import warnings

import numpy as np

import models
from common import (
    GIGA,
    TOP,
    Spread,
    Trouble,
    clock,
    run_well,
    say,
)

ROUNDS = 15

# What ZipNN calls the types that bench/codec takes.
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


# --- ZipNN -----------------------------------------------------------------


def load_zipnn():
    """The package, or None and why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("zipnn"), None
    except ImportError as error:
        return None, f"ZipNN is left out: {error} (pip install zipnn)"


def same_tensors(args):
    """The bytes of the tensors that bench/codec takes, by type: [base,
    tuned] of each. All tensors of a type in one piece: ZipNN's calls take
    longer than small tensors."""
    bases = {name: (e, data) for name, e, data in models.tensors(args.base)}
    found, limit = {}, args.mib << 20
    for name, entry, data in models.tensors(args.tuned):
        base, other = bases.get(name, ({}, b""))
        if (
            entry["dtype"] not in DTYPES
            or models.matches(name, args.without)
            or any(entry[k] != base.get(k) for k in ("dtype", "shape"))
        ):
            continue
        size = min(len(data), limit)
        limit -= size
        pieces = found.setdefault(entry["dtype"], ([], []))
        pieces[0].append(other[:size])
        pieces[1].append(data[:size])
    return {
        dtype: [np.frombuffer(b"".join(p), np.uint8) for p in pieces]
        for dtype, pieces in found.items()
    }


class Zipnn:
    """ZipNN on the tuned bytes, or, as its delta mode does, on their XOR
    with the base's."""

    def __init__(self, package, with_base):
        self.package, self.with_base = package, with_base
        self.coders = {}

    def coder(self, dtype):
        if dtype not in self.coders:
            self.coders[dtype] = self.package.ZipNN(
                input_format="byte", bytearray_dtype=DTYPES[dtype], threads=1
            )
        return self.coders[dtype]

    def turn(self, dtype, base, tuned):
        """Bytes coded and the seconds of both directions."""
        coder = self.coder(dtype)
        # It works in the bytes it is given.
        words = bytearray(tuned.tobytes())
        start = clock()
        if self.with_base:
            words = bytearray(base ^ np.frombuffer(words, np.uint8))
        coded = coder.compress(words)
        middle = clock()
        decoded = np.frombuffer(coder.decompress(coded), np.uint8)
        if self.with_base:
            decoded = decoded ^ base
        end = clock()
        if not np.array_equal(decoded, tuned):
            raise Trouble("ZipNN gives back other bytes")
        return len(coded), middle - start, end - middle

    def measure(self, pairs):
        total = sum(tuned.size for _, tuned in pairs.values())
        rounds = []
        for _ in range(ROUNDS):
            turns = [self.turn(d, *pair) for d, pair in pairs.items()]
            rounds.append([sum(column) for column in zip(*turns)])
        size, encode, decode = zip(*rounds)
        return {
            "bytes": size[0],
            "ratio": size[0] / total,
            "encode": {"gbs": Spread(total / s / GIGA for s in encode).median},
            "decode": {"gbs": Spread(total / s / GIGA for s in decode).median},
        }


# --- the table -------------------------------------------------------------


def bench_codec(args):
    path = TOP / "bench" / "codec"
    if not os.access(path, os.X_OK):
        raise Trouble(f"{path} is not there: run make bench")
    argv = [path, args.base, args.tuned, "--json", "--mib", args.mib]
    argv += ["--seconds", args.seconds]
    for pattern in args.without:
        argv += ["--without", pattern]
    return json.loads(run_well(*argv).out)


def print_table(data):
    print(f"{data['base']}\n{data['tuned']}")
    print(f"{data['tensors']} tensors, {data['bytes'] / 1e6:.2f} MB\n")
    print(f"{'':18}  {'ratio':>6}   {'encode':>6} {'decode':>6}  GB/s")
    for name, row in data["codecs"].items():
        cells = [
            f"{row[d]['gbs']:6.3f}" if d in row else ""
            for d in ("encode", "decode")
        ]
        line = f"{name:18}  {row['ratio']:6.4f}   {' '.join(cells)}"
        print(line.rstrip())


def main():
    parser = argparse.ArgumentParser(
        prog="bench/codec.py", description=__doc__
    )
    parser.add_argument("base")
    parser.add_argument("tuned")
    parser.add_argument("--without", action="append", default=[],
                        metavar="PATTERN",
                        help="leave out tensors with such names")
    parser.add_argument("--seconds", type=int, default=20,
                        help="of bench/codec (%(default)s)")
    parser.add_argument("--mib", type=int, default=256,
                        help="take so much of TUNED at most (%(default)s)")
    parser.add_argument("--json", action="store_true")  # fmt: skip
    args = parser.parse_args()
    try:
        data = bench_codec(args)
        package, why_not = load_zipnn()
        if package is None:
            say(why_not)
        else:
            pairs = same_tensors(args)
            data["zipnn"] = importlib.metadata.version("zipnn")
            for name, with_base in (("zipnn", False), ("zipnn_xor", True)):
                data["codecs"][name] = Zipnn(package, with_base).measure(pairs)
    except Trouble as trouble:
        sys.exit(f"bench/codec.py: {trouble}")
    if args.json:
        print(json.dumps(data, indent=2))
    else:
        print_table(data)


if __name__ == "__main__":
    main()
