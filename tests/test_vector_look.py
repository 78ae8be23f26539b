"""verify and inspect of stored vectors."""

import json
import os
import shutil

import numpy as np
import pytest

import checkpoints
import program
import reference
import vectors
from program import DATA, NO_INPUT, SYSTEM, errors, run, scaled

CODINGS = ["same", "rans", "zstd", "solo", "raw"]
STATES = ["delta", "alone", "same"]

# More than two chunks of 2^18 words, and so little changed that one is the
# base's.
BIG, LONG = [700, 801], "long.weight"


def make_pair():
    """A base and a fine-tune with tensors of every state."""
    shapes = {**checkpoints.SHAPES, "big.weight": BIG, LONG: BIG}
    base, tuned = checkpoints.family(shapes, ["BF16", "BF16"], 5)
    tuned["layers.0.norm.weight"] = base["layers.0.norm.weight"]
    bits = np.frombuffer(base[LONG].data, np.uint16).copy()
    bits[[3, -3]] ^= 1
    tuned[LONG] = checkpoints.raw(bits, "BF16", BIG)
    single = checkpoints.family({"single": [40, 41]}, ["F32", "F32"], 6)
    base["single"], tuned["single"] = [m["single"] for m in single]
    tuned["new.weight"] = checkpoints.small(0, "F16", 7)[0]["embed.weight"]
    counts = np.arange(64, dtype=np.int64)
    base["counts"] = checkpoints.raw(counts, "I64")
    tuned["counts"] = checkpoints.raw(counts + (counts == 9), "I64")
    return base, tuned


class Stored:
    """A vector, and what it was made of."""

    def __init__(self, path):
        self.base, self.tuned = make_pair()
        self.base_path = checkpoints.write_shards(path / "base", [self.base])
        self.tuned_path = checkpoints.write_shards(
            path / "tuned", checkpoints.split(self.tuned, 3), {"format": "pt"}
        )
        (self.tuned_path / "more").mkdir()
        (self.tuned_path / "more" / "notes.txt").write_text("what it is\n")
        self.path = path / "vector"
        vectors.diff(self.base_path, self.tuned_path, self.path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    made = Stored(tmp_path_factory.mktemp("look"))
    before = checkpoints.tree_hash(made.path)
    yield made
    assert checkpoints.tree_hash(made.path) == before


@pytest.fixture
def copy(tmp_path, stored):
    path = tmp_path / "copy"
    shutil.copytree(stored.path, path)
    return path


def flip(path, *places, bit=0x10):
    data = bytearray(path.read_bytes())
    for at in places:
        data[at] ^= bit
    path.write_bytes(data)


def chunks_of(shard):
    """(tensor, number, offset in the file, length) of all with bytes."""
    length, entries = checkpoints.header_of(shard.path)
    for name in shard.blobs:
        at = 8 + length + entries[name]["data_offsets"][0]
        for i, size in enumerate(shard.lengths[name]):
            if size:
                yield name, i, at, size
            at += size


# verify


def verify(path, *options):
    """The result and what it says as JSON; both agree."""
    result = run("verify", "--json", path, *options)
    (entry,) = json.loads(result.out)["paths"]
    assert entry["path"] == str(path)
    assert entry["ok"] is (result.status == 0)
    for d in entry["damage"]:
        assert d["cause"] in result.err and d["file"] in result.err
    return result, entry


@pytest.mark.parametrize("io", ["uring", "threads"])
@pytest.mark.parametrize("direct", ["auto", "on", "off"])
def test_verify_is_content_with_what_diff_wrote(stored, io, direct):
    result, entry = verify(stored.path, "--io", io, "--direct", direct)
    assert result.status == 0 and not errors(result), result.err
    assert "warning" not in result.err
    files = checkpoints.tree(stored.path)
    del files["vector.json"]
    assert entry["damage"] == []
    assert entry["files"] == len(files)
    assert entry["tensors"] == len(stored.tuned)
    assert entry["bytes"] == sum(map(len, files.values()))
    text = run("verify", stored.path).out
    assert text.startswith(f"{stored.path}: OK: {len(files)} files, ")


def test_verify_reads_every_byte(stored):
    result = run("verify", "--progress", "json", stored.path)
    last = json.loads(result.err.splitlines()[-1])
    assert last["bytes_read"] >= last["bytes_to_read"]
    _, entry = verify(stored.path)
    assert last["bytes_to_read"] == entry["bytes"]


def test_verify_names_the_tensor_and_the_chunk_of_a_flipped_bit(copy):
    tried = set()
    for shard in vectors.shards_of(copy):
        for name, number, offset, length in chunks_of(shard):
            flip(shard.path, offset + length - 1)
            result, entry = verify(copy)
            assert result.status == DATA
            (damage,) = entry["damage"]
            assert damage["file"] == shard.path.name
            assert damage["tensor"] == name
            start = f"chunk {number} at byte {offset} is damaged"
            assert damage["cause"].startswith(start), damage
            (line,) = errors(result)
            assert line.startswith(f"{shard.path}: tensor '{name}': chunk ")
            assert not run("verify", copy).out
            flip(shard.path, offset + length - 1)
            tried.add((name, number))
    assert {("big.weight", n) for n in range(3)} < tried
    assert verify(copy)[0].status == 0


def test_verify_tells_how_many_chunks_are_damaged(copy):
    for shard in vectors.shards_of(copy):
        places = [
            at + size - 1
            for name, _, at, size in chunks_of(shard)
            if name == "big.weight"
        ]
        if places:
            flip(shard.path, *places)
    result, entry = verify(copy)
    (damage,) = entry["damage"]
    assert result.status == DATA and damage["tensor"] == "big.weight"
    assert damage["cause"].endswith(", and 2 more of its chunks"), damage


@pytest.mark.parametrize("order", [1, -1])
def test_chunks_that_are_read_in_pieces(tmp_path, order):
    """Files are read a MiB at a time, 16 ahead; a chunk may have two. And blobs
    may lie in any order."""
    rng = np.random.default_rng(9)
    base = {"a": checkpoints.raw(bytes(8), "U8")}
    words = {"U8": 3 << 17, "F32": 3 << 18, "I64": 9 << 18}
    tuned = {
        t: checkpoints.raw(rng.bytes(n * checkpoints.SIZES[t]), t)
        for t, n in words.items()
    }
    paths = [
        checkpoints.write_file(tmp_path / f"{n}.safetensors", tensors)
        for n, tensors in (("b", base), ("t", {**base, **tuned}))
    ]
    vectors.diff(*paths, tmp_path / "v")
    (shard,) = vectors.shards_of(tmp_path / "v")
    shard.blobs = dict(list(shard.blobs.items())[::order])
    shard.write()
    vectors.reseal(tmp_path / "v")
    assert verify(tmp_path / "v")[0].status == 0
    assert run("inspect", tmp_path / "v").status == 0
    chunks = list(chunks_of(shard))
    assert len({at >> 20 for _, _, at, _ in chunks}) < len(chunks) == 14
    for name, number, offset, length in chunks:
        at = offset + [16, length // 2, length - 1][number % 3]
        flip(shard.path, at)
        _, entry = verify(tmp_path / "v")
        (damage,) = entry["damage"]
        assert damage["tensor"] == name
        assert damage["cause"].startswith(f"chunk {number} at byte {offset}")
        flip(shard.path, at)


def test_verify_lists_all_damage(copy):
    expected = set()
    for shard in vectors.shards_of(copy):
        chunks = list(chunks_of(shard))
        flip(shard.path, *(at + size - 1 for _, _, at, size in chunks))
        expected |= {(shard.path.name, name) for name, *_ in chunks}
    flip(copy / "files" / "config.json", 3)
    expected.add(("files/config.json", None))
    _, entry = verify(copy)
    assert {(d["file"], d["tensor"]) for d in entry["damage"]} == expected
    assert len(entry["damage"]) == len(expected)


def test_verify_notices_a_chunk_s_checksum_of_its_words(copy):
    """Nothing but the base can prove it wrong, and the file's digest."""
    shard = vectors.shards_of(copy)[0]
    *_, (_, _, offset, _) = chunks_of(shard)
    flip(shard.path, offset + 9)
    result, entry = verify(copy)
    (damage,) = entry["damage"]
    assert result.status == DATA
    assert (damage["file"], damage["tensor"]) == (shard.path.name, None)
    assert "outside" in damage["cause"]


def test_verify_notices_a_coding_that_is_none(copy):
    shard = vectors.shards_of(copy)[-1]
    (name, _, offset, _), *_ = chunks_of(shard)
    flip(shard.path, offset)
    result, entry = verify(copy)
    (damage,) = entry["damage"]
    assert result.status == DATA and damage["tensor"] == name
    assert f" has coding {shard.path.read_bytes()[offset]}, " in damage["cause"]


def test_verify_notices_any_flipped_bit(copy):
    """In the manifest, headers, the index and side files, too."""
    for name, data in checkpoints.tree(copy).items():
        step = max(1, len(data) // scaled(40, 4))
        for at in [*range(0, min(len(data), 24), 5), *range(24, len(data), step)]:
            flip(copy / name, at, bit=1 << at % 8)
            result = run("verify", copy)
            assert result.status == DATA, (name, at, result.err)
            assert name in result.err, (name, at, result.err)
            flip(copy / name, at, bit=1 << at % 8)
    assert run("verify", copy).status == 0


def test_verify_finds_missing_longer_and_shorter_files(copy):
    for name, data in checkpoints.tree(copy).items():
        file = copy / name
        for bad in (None, data + b"x", data[:-1], b""):
            if name == "vector.json" and bad is None:
                continue  # it is no vector then
            file.unlink()
            if bad is not None:
                file.write_bytes(bad)
            result = run("verify", copy)
            assert result.status in (DATA, NO_INPUT), (name, bad)
            assert name in result.err
            file.write_bytes(data)


def test_verify_warns_of_files_that_are_not_listed(copy):
    (copy / "README.md").write_text("about it")
    (copy / "files" / "extra").write_text("")
    (copy / "files" / "more" / "extra").write_text("")
    (copy / "files" / "mor").write_text("")
    (copy / "old").mkdir()
    (copy / "old" / "vector.json").write_text("{}")
    result, entry = verify(copy)
    assert result.status == 0 and entry["damage"] == []
    warned = [
        line.removeprefix(f"taumerge: warning: {copy}/").split(": ")[0]
        for line in result.err.splitlines()
    ]
    assert sorted(warned) == [
        "README.md", "files/extra", "files/mor", "files/more/extra", "old",
    ]  # fmt: skip
    assert not run("verify", "-q", copy).err


def test_verify_of_vectors_and_outputs_together(copy, stored, merged):
    (file,) = {s.path for s in vectors.shards_of(copy) if LONG in s.blobs}
    flip(file, file.stat().st_size - 1)
    result = run("verify", "--json", stored.path, merged[0], copy)
    assert result.status == DATA
    paths = json.loads(result.out)["paths"]
    assert [p["ok"] for p in paths] == [True, True, False]
    assert {tuple(p) for p in paths} == {
        ("path", "ok", "files", "tensors", "bytes", "damage")
    }


# inspect


def inspect(*args):
    result = run("inspect", "--json", *args)
    assert result.status == 0, result.err
    return json.loads(result.out)["checkpoints"]


def test_inspect_lists_what_the_fine_tune_has(stored):
    """As inspect does for the fine-tune, and then what only a vector has."""
    (vector,) = inspect(stored.path)
    (tuned,) = inspect("--digest", stored.tuned_path)
    assert vector["tensors"] == tuned["tensors"]
    assert vector["path"] == str(stored.path)
    assert list(vector) == ["path", "tensors", "vector"]


def test_inspect_tells_where_it_comes_from(stored):
    manifest = vectors.manifest_of(stored.path)
    (entry,) = inspect(stored.path)
    found = entry["vector"]
    assert found["base"] == manifest["base"]["path"]
    assert found["written_by"] == (
        f"taumerge {manifest['taumerge']}, zstd {manifest['zstd']}"
    )
    assert found["single_file"] is False
    shards = checkpoints.files_of(stored.tuned_path)
    assert found["tuned_bytes"] == sum(f.stat().st_size for f in shards)
    assert found["stored_bytes"] == vectors.size_of(stored.path)
    files = {
        str(f.relative_to(stored.path / "files")): f.read_bytes()
        for f in (stored.path / "files").rglob("*")
        if f.is_file()
    }
    assert "more/notes.txt" in files
    assert found["files"] == [
        {
            "name": name, "bytes": len(files[name]),
            "digest": checkpoints.digest(files[name]),
        }
        for name in sorted(files)
    ]  # fmt: skip


def listed(entry):
    """The tensors of an entry, by name."""
    by_name = {t["name"]: t for t in entry["vector"]["tensors"]}
    assert len(by_name) == len(entry["vector"]["tensors"])
    return by_name


def test_inspect_tells_how_each_tensor_is_stored(stored):
    (entry,) = inspect(stored.path)
    found = listed(entry)
    assert list(found) == [t["name"] for t in entry["tensors"]]
    for shard in vectors.shards_of(stored.path):
        for name, blob in shard.blobs.items():
            t, tuned = found.pop(name), stored.tuned[name]
            kinds = [c[0] if c else 0 for c in shard.chunks(name)]
            assert t["state"] == STATES[shard.records[name][0]]
            assert t["stored"] == len(blob)
            assert t["codings"] == {
                coding: kinds.count(i) for i, coding in enumerate(CODINGS)
            }
            assert (t["dtype"], t["shape"]) == (tuned.dtype, tuned.shape)
            assert t["bytes"] == len(tuned.data)
            assert t["digest"] == checkpoints.digest(tuned.data)
    assert not found


def test_inspect_knows_the_states(stored):
    (entry,) = inspect(stored.path)
    found = listed(entry)
    assert found["layers.0.norm.weight"]["state"] == "same"
    assert found["new.weight"]["state"] == "alone"
    assert found["big.weight"]["state"] == "delta"
    assert found[LONG]["codings"]["same"] == 1


def difference(base, tuned):
    def values(t):
        return reference.widen(reference.bits_of(*t[::2][::-1]), t.dtype, "F32")

    assert base.shape == tuned.shape
    return values(tuned).view(np.float32) - values(base).view(np.float32)


def test_inspect_measures_the_difference(stored):
    (entry,) = inspect(stored.path)
    for name, t in listed(entry).items():
        b = stored.base.get(name)
        if name in ("new.weight", "counts"):
            assert [t[k] for k in ("changed", "norm", "largest")] == [None] * 3
            continue
        d = difference(b, stored.tuned[name]).astype(np.float64)
        assert t["changed"] == np.count_nonzero(d), name
        assert t["norm"] == pytest.approx(np.sqrt(np.sum(d * d)), 1e-12)
        assert t["largest"] == np.abs(d).max(initial=0)


def test_inspect_of_a_vector_without_statistics(copy):
    vectors.reseal(copy, lambda manifest: manifest.pop("statistics"))
    (entry,) = inspect(copy)
    found = listed(entry)
    assert found["big.weight"]["changed"] is None
    assert found["layers.0.norm.weight"]["changed"] == 0
    (line,) = [
        x for x in run("inspect", copy).out.splitlines() if "big.weight" in x
    ]
    assert line.split()[-3:] == ["-", "-", "-"]


def test_inspect_lists_what_was_left_out(copy):
    out = [{"name": "pytorch_model.bin", "why": "weights"}, {"name": "é"}]
    vectors.reseal(copy, lambda manifest: manifest.update(left_out=out))
    (entry,) = inspect(copy)
    out[1]["why"] = "?"
    assert entry["vector"]["left_out"] == out
    text = run("inspect", copy).out
    assert "\nleft out\n  pytorch_model.bin  weights\n" in text


def test_inspect_as_text(stored):
    result = run("inspect", stored.path)
    assert result.status == 0 and not result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert ["base", str(stored.base_path)] in lines
    (entry,) = inspect(stored.path)
    for name, t in listed(entry).items():
        (row,) = [x for x in lines if x[:1] == [name]]
        assert row[1] == t["dtype"] and t["state"] in row
    counts = {x[1]: int(x[2]) for x in lines if x[:1] == ["tensors"]}
    states = [t["state"] for t in listed(entry).values()]
    assert counts == {s: states.count(s) for s in states}
    counts = {x[1]: int(x[2]) for x in lines if x[:1] == ["chunks"]}
    for coding in CODINGS:
        chunks = sum(t["codings"][coding] for t in listed(entry).values())
        assert counts.get(coding, 0) == chunks
    assert ["config.json", "23", "B"] in lines


def test_inspect_fits_a_terminal(tmp_path):
    base, tuned = checkpoints.family({"a.weight": [512, 512]}, ["F32"] * 2)
    paths = [tmp_path / f"{n}.safetensors" for n in "bt"]
    for path, tensors in zip(paths, (base, tuned)):
        checkpoints.write_file(path, tensors)
    vectors.diff(*paths, tmp_path / "v")
    lines = run("inspect", "v", cwd=tmp_path).out.splitlines()
    table = lines[[x.split()[:1] for x in lines].index(["name"]) :]
    assert table[1].startswith("a.weight F32   [512, 512] delta 1.0 MB ")
    assert all(len(line) <= 80 for line in table)
    (entry,) = inspect(tmp_path / "v")
    assert entry["vector"]["single_file"] is True


def test_inspect_of_a_checkpoint_and_a_vector(stored, family):
    both = [family.base_path, stored.path]
    assert [c["path"] for c in inspect(*both)] == [str(p) for p in both]
    text = run("inspect", *both).out
    assert text.startswith(f"{both[0]}:\n")
    assert f"\n\n{both[1]}:\na stored vector, made by taumerge " in text


def test_inspect_shows_no_control_characters(copy):
    def change(manifest):
        manifest["base"]["path"] = "a\x1b[31m\nb"
        manifest["left_out"] = [{"name": "c\x07", "why": "\x1b"}]

    vectors.reseal(copy, change)
    text = run("inspect", copy).out
    assert "base    a?[31m?b\n" in text and "\n  c?  ?\n" in text
    assert inspect(copy)[0]["vector"]["base"] == "a\x1b[31m\nb"


@pytest.mark.parametrize("io", ["uring", "threads"])
def test_inspect_refuses_a_coding_that_it_does_not_know(copy, io):
    """Without a word of it in the index, whose digest is right."""
    shard = vectors.shards_of(copy)[-1]
    (name, number, offset, _), *_ = chunks_of(shard)
    flip(shard.path, offset)
    result = run("inspect", "--io", io, copy)
    assert result.status == DATA and not result.out
    coding = shard.path.read_bytes()[offset]
    assert errors(result) == [
        f"{shard.path}: tensor '{name}': chunk {number} has coding {coding}, "
        "which this version does not know"
    ]


def test_inspect_refuses_a_damaged_manifest(copy):
    flip(copy / "vector.json", 30)
    result = run("inspect", copy)
    assert result.status == DATA and "vector.json" in result.err


def test_many_small_chunks(tmp_path):
    """More than one run of them fits, and tensors without any between."""
    count = scaled(3000, 300)
    shapes = {f"t{i:05}": [i % 7 * 40] for i in range(count)}
    base, tuned = checkpoints.family(shapes, ["F16", "F16"], 8)
    for i in range(0, count, 5):
        tuned[f"t{i:05}"] = base[f"t{i:05}"]
    paths = [
        checkpoints.write_shards(tmp_path / n, [m])
        for n, m in (("b", base), ("t", tuned))
    ]
    path = tmp_path / "v"
    vectors.diff(*paths, path)
    (shard,) = vectors.shards_of(path)
    (entry,) = inspect(path)
    for name, t in listed(entry).items():
        (kind,) = [c[0] if c else 0 for c in shard.chunks(name)] or [None]
        expected = [int(i == kind) for i in range(len(CODINGS))]
        assert list(t["codings"].values()) == expected, name
    assert run("verify", path).status == 0


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_json_of_a_path_that_is_not_utf_8(copy, command):
    """It was half an object, and all seemed well."""
    path = copy.rename(os.fsdecode(os.fsencode(copy) + b"\xff"))
    assert run(command, path).status == 0
    result = run(command, "--json", path)
    assert result.status == SYSTEM and "UTF-8" in result.err
