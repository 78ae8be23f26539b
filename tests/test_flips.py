"""Bit flips: in a stored vector each is found by verify, and apply and merge
refuse it or give the right bytes all the same; bits that flip on the way from
or to the disk (failures B10, B11, F3).
"""

import re
import shutil
from collections import Counter

import pytest

import checkpoints
import flipping
import program
import vectors
from flipping import bits_of, commands, random_flips
from program import DATA, run, scaled


def flip_all(*args):
    if not flipping.DRIVER.exists():
        pytest.skip(f"{flipping.DRIVER.name} is not built")
    return flipping.flip_all(*args)


def assert_found(outcomes):
    assert outcomes
    missed = [o for o in outcomes if o.status != DATA]
    assert not missed, (len(missed), missed[:10])


def assert_refused_or_right(outcomes):
    """The driver has looked at what was made; says how many were refused."""
    refused = Counter(o.status for o in outcomes if not o.harmless)
    assert set(refused) == {DATA}, refused
    return refused[DATA]


# Small: every bit


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("flips")
    return vectors.made_of(path, *flipping.family_of_all_kinds())


def test_the_small_vector_has_every_coding(small):
    (shard,) = vectors.shards_of(small.vector)
    wanted = {vectors.RANS, vectors.ZSTD, vectors.SOLO, vectors.RAW}
    assert set(shard.codings()) >= wanted, shard.codings()
    states = {record[0] for record in shard.records.values()}
    assert states == {vectors.DELTA, vectors.ALONE, vectors.SAME}
    assert len(bits_of(small.vector)) < 8 * 7000


@pytest.mark.parametrize("which, step", [("verify", 1), ("verify --base", 5)])
def test_verify_finds_every_single_bit(small, shm_path, which, step):
    """--base adds to what is looked at; bench/flips.py has all bits of all
    commands."""
    flips = bits_of(small.vector)[:: scaled(step, 41)]
    assert_found(flip_all(small, shm_path, which, flips))


@pytest.mark.parametrize("which, step", [("apply", 3), ("merge", 5)])
def test_every_single_bit_is_refused_or_does_no_harm(
    small, shm_path, which, step
):
    """Both read a vector with the same code. Each third bit, each fifth: all of
    them are for bench/flips.py."""
    flips = bits_of(small.vector)[:: scaled(step, 97)]
    outcomes = flip_all(small, shm_path, which, flips)
    refused = assert_refused_or_right(outcomes)
    # Most are; what a command does not use it does not look at.
    assert refused > len(flips) * 0.8, refused


def test_the_harmless_bits_are_those_that_are_not_used(small, shm_path):
    """Of a merge: the side files, and the tensor that has no part in it."""
    flips = [f for f in bits_of(small.vector) if f.file.parts[0] == "files"]
    outcomes = flip_all(small, shm_path, "merge", flips)
    assert all(o.harmless for o in outcomes)
    outcomes = flip_all(small, shm_path, "apply", flips)
    assert_found(outcomes)


# Large: bits at random


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large")
    return vectors.made_of(path, *flipping.family_of_large_tensors(), 2)


def test_verify_finds_random_bits_of_a_large_vector(large, shm_path):
    assert vectors.size_of(large.vector) > 2 << 20
    flips = random_flips(large.vector, scaled(10_000, 60), 1)
    assert_found(flip_all(large, shm_path, "verify", flips))


@pytest.mark.parametrize("which", ["apply", "merge", "verify --base"])
def test_random_bits_are_refused_or_do_no_harm(large, shm_path, which):
    flips = random_flips(large.vector, scaled(200, 16), 2)
    outcomes = flip_all(large, shm_path, which, flips)
    if which == "verify --base":
        assert_found(outcomes)
    else:
        assert_refused_or_right(outcomes)


# Bits that flip on the way


def count(kind, args):
    """The operations of a kind that a command makes."""
    result = run(*args, env={"TAUMERGE_FAULT": f"op={kind},log=1"})
    assert result.status == 0, result.err
    return int(re.search(r"fault: (\d+) op", result.err)[1])


def with_flips(kind, args, out):
    """Runs the command once for each of its operations, with a bit of what
    that moves flipped; yields what came of it, and takes `out` away."""
    operations = count(kind, args)
    shutil.rmtree(out, ignore_errors=True)
    for k in range(1, operations + 1, scaled(1, max(1, operations // 5))):
        env = {"TAUMERGE_FAULT": f"op={kind},k={k},flip=1"}
        yield k, run(*args, env=env)
        shutil.rmtree(out, ignore_errors=True)


@pytest.fixture(params=["small", "large"])
def either(request):
    return request.getfixturevalue(request.param)


def assert_wrong_only_in(out, wanted, names):
    """What differs is a copy of a file that nobody has a digest of; what the
    program says of its own output is about what it wrote."""
    got, wanted = checkpoints.tree(out), checkpoints.tree(wanted)
    assert got.keys() == wanted.keys()
    differ = {name for name in got if got[name] != wanted[name]}
    assert differ <= {*names, "taumerge.json", "taumerge.xxh128"}, differ


SIDE_FILES = ["config.json", "model.safetensors.index.json"]


@pytest.mark.parametrize("which", ["apply", "merge"])
def test_bits_that_flip_while_a_vector_is_read(either, tmp_path, which):
    """Those of the base too, as far as the vector knows its digests."""
    out, wanted = tmp_path / "out", tmp_path / "wanted"
    args, _ = commands(either, either.vector, out)[which]
    assert run(*args).status == 0
    out.rename(wanted)
    refused = 0
    for k, result in with_flips("read", args, out):
        if result.status == 0:
            names = SIDE_FILES if which == "merge" else []
            assert_wrong_only_in(out, wanted, names)
        else:
            program.assert_refused(result, DATA, out)
            refused += 1
    assert refused


@pytest.mark.parametrize("which", ["verify", "verify --base"])
def test_bits_that_flip_while_verify_reads(either, tmp_path, which):
    """Found, but where nothing of the file is: a block that is read whole."""
    args, _ = commands(either, either.vector, None)[which]
    statuses = [r.status for _, r in with_flips("read", args, tmp_path / "x")]
    assert set(statuses) <= {0, DATA}
    assert DATA in statuses


def test_bits_that_flip_while_a_vector_is_written(either, tmp_path):
    """verify finds them afterwards."""
    out = tmp_path / "out"
    args = ["diff", either.base, either.tuned, "-o", out]
    wanted, found = checkpoints.tree_hash(either.vector), 0
    for k, result in with_flips("write", args, out):
        if result.status != 0:
            program.assert_refused(result, DATA, out)
            continue
        same = checkpoints.tree_hash(out) == wanted
        assert run("verify", out).status == (0 if same else DATA), k
        found += not same
    assert found
