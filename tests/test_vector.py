"""Stored vectors: what comes back is what went in, byte for byte."""

import json
import shutil

import numpy as np
import pytest

import checkpoints
import program
import vectors
from checkpoints import Tensor, raw, tensor, write_file, write_shards
from program import run, scaled
from vectors import (
    BITS,
    any_bits,
    apply,
    assert_same_tree,
    check_files,
    cut,
    diff,
    near,
    round_trip,
)

CHUNK = 1 << 18
REAL = program.TOP / "tests" / "data"


def test_a_fine_tune_comes_back(tmp_path, family):
    vector = round_trip(tmp_path, family.base_path, family.tuned_paths[0])
    manifest = vectors.manifest_of(vector)
    assert manifest["format"] == "taumerge-vector"
    assert manifest["version"] == 1
    assert manifest["left_out"] == []
    assert manifest["tuned"]["single_file"] is False


@pytest.mark.parametrize("tuned", ["tuned1", "tuned2"])
def test_real_weights(tmp_path, tuned):
    """Rows of a real encoder, and it is small: that is what it is for."""
    base, tuned = REAL / "base.safetensors", REAL / f"{tuned}.safetensors"
    vector = round_trip(tmp_path, base, tuned)
    assert vectors.size_of(vector) < 0.3 * tuned.stat().st_size
    plain = tmp_path / "zstd"
    diff(base, tuned, plain, "--codec", "zstd")
    assert vectors.size_of(vector) < vectors.size_of(plain)


@pytest.mark.parametrize("base", ["BF16", "F16", "F32"])
def test_codec_zstd_leaves_rans_out(tmp_path, base):
    models = checkpoints.family({"a": [5000], "b": [300, 7]}, [base] * 2)
    auto = check_files(tmp_path, *models)
    (tmp_path / "zstd").mkdir()
    plain = check_files(tmp_path / "zstd", *models, "--codec", "zstd")
    assert vectors.RANS in vectors.Shard(*auto.glob("*.saf*")).codings()
    codings = vectors.Shard(*plain.glob("*.safetensors")).codings()
    assert codings and vectors.RANS not in codings


def test_odd_headers_and_an_odd_index(tmp_path, family):
    """Nothing of them can be made again from the tensors."""
    tuned = tmp_path / "tuned"
    names = list(family.tuned[0])
    metadata = {"zz": "é\"\\\n\u2028", "format": "pt", "": ""}
    where = {}
    for i in range(3):
        shard = {n: family.tuned[0][n] for n in names[i::3]}
        order = sorted(shard, reverse=True)
        file = tuned / f"odd-{i}.safetensors"
        write_file(file, shard, metadata, pad=5 * i, order=order)
        where.update(dict.fromkeys(shard, file.name))
    # Spelled as nobody would: escapes, spaces, numbers, members.
    text = json.dumps({"extra": [1.50], "weight_map": where}, indent=7)
    text = text.replace("1.5", "1.500E0").replace("layers", "\\u006cayers")
    (tuned / "odd.safetensors.index.json").write_text(text + "\t\n\n")
    vector = round_trip(tmp_path, family.base_path, tuned)
    names = [s["name"] for s in vectors.manifest_of(vector)["shards"]]
    assert names == [f"odd-{i}.safetensors" for i in range(3)]


def test_headers_spelled_oddly(tmp_path):
    base, tuned = checkpoints.family({"a": [4], "é/b": [3]}, ["F32"] * 2)
    b = write_file(tmp_path / "base.safetensors", base)
    text = (
        '{"\\u00e9\\/b" :{"data_offsets":[ 16,28],\n"shape":[3 ]'
        ',"dtype":"F32"}, "__metadata__":{},\t"a":{"shape":[4],'
        '"dtype":"F32","data_offsets":[0,16]}}   \n'
    ).encode()
    data = tuned["a"].data + tuned["é/b"].data
    t = tmp_path / "tuned.safetensors"
    t.write_bytes(len(text).to_bytes(8, "little") + text + data)
    round_trip(tmp_path, b, t)


FOREIGN = ["pytorch_model.bin", "q4.gguf", "other.safetensors"]


@pytest.fixture
def with_side_files(tmp_path, family):
    """A fine-tune with all that people keep beside weights."""
    tuned = tmp_path / "tuned"
    shutil.copytree(family.tuned_paths[0], tuned)
    (tuned / "empty.txt").touch()
    (tuned / "original" / "deep").mkdir(parents=True)
    (tuned / "original" / "params.json").write_text("{}")
    (tuned / "original" / "deep" / "er.txt").write_text("deeper\n")
    (tuned / "original" / "deep" / "none").touch()
    (tuned / "big.json").write_bytes(bytes(range(256)) * scaled(20000, 2000))
    (tuned / "run.sh").write_text("#!/bin/sh\n")
    (tuned / "run.sh").chmod(0o755)
    (tuned / "private.txt").write_text("private\n")
    (tuned / "private.txt").chmod(0o600)
    (tuned / "vector.json.txt").write_text("not the manifest")
    (tuned / ".hidden").write_text("hidden")
    for name in ("sp ace.txt", "ü😀.txt", "-dash.txt", 'q"uote\\.txt'):
        (tuned / name).write_text(name)
    blob = tmp_path / "blob"
    blob.write_text("linked\n")
    (tuned / "linked.txt").symlink_to(blob)
    return tuned


def test_side_files_of_every_kind(tmp_path, family, with_side_files):
    path = tmp_path / "trip"
    path.mkdir()
    vector = round_trip(path, family.base_path, with_side_files)
    assert not (path / "out" / "linked.txt").is_symlink()
    files = vectors.manifest_of(vector)["files"]
    there = checkpoints.tree(vector / "files")
    assert set(files) == set(there)
    for name, data in there.items():
        digest = checkpoints.digest(data)
        assert files[name] == {"bytes": len(data), "xxh128": digest}


def test_what_is_left_out_is_listed(tmp_path, family, with_side_files):
    """Weights in other formats: the rest comes back, and they are named."""
    for name in FOREIGN:
        (with_side_files / name).write_bytes(b"weights")
    vector, out = tmp_path / "vector", tmp_path / "out"
    result = diff(family.base_path, with_side_files, vector)
    left = {e["name"]: e for e in vectors.manifest_of(vector)["left_out"]}
    for name, entry in left.items():
        assert entry["why"]
        assert name in result.out + result.err
        (with_side_files / name).unlink()
    assert set(left) <= set(FOREIGN)
    apply(family.base_path, vector, out)
    assert_same_tree(out, with_side_files)


def test_a_checkpoint_of_the_hub_cache(tmp_path, family):
    """There every file is a link."""
    tuned = tmp_path / "tuned"
    shutil.copytree(family.tuned_paths[0], tuned)
    checkpoints.link_like_a_hub_cache(tuned, tmp_path / "store")
    round_trip(tmp_path, family.base_path, tuned)


@pytest.mark.parametrize("kind", ["base", "tuned", "both", "neither"])
def test_single_files_and_directories(tmp_path, family, kind):
    b, t = family.base_path, family.tuned_paths[0]
    if kind in ("base", "both"):
        b = write_file(tmp_path / "base.safetensors", family.base)
    if kind in ("tuned", "both"):
        t = write_file(tmp_path / "t.safetensors", family.tuned[0], {"k": "v"})
    vector = round_trip(tmp_path, b, t)
    single = vectors.manifest_of(vector)["tuned"]["single_file"]
    assert single is t.is_file()


def test_a_merged_checkpoint_with_its_reports(tmp_path, family, merged):
    """taumerge.json and taumerge.xxh128 are files of it like others."""
    round_trip(tmp_path, family.base_path, merged[0])
    assert (tmp_path / "out" / "taumerge.json").exists()
    assert run("verify", tmp_path / "out").status == 0


def test_the_base_itself(tmp_path, family):
    vector = round_trip(tmp_path, family.base_path, family.base_path)
    shards = vectors.shards_of(vector)
    states = {r[0] for s in shards for r in s.records.values()}
    assert states == {vectors.SAME}


@pytest.mark.parametrize("dtype", [*BITS, "F7_NEW"])
def test_every_type(tmp_path, dtype):
    rng = np.random.default_rng(sum(dtype.encode()))
    if dtype == "F7_NEW":
        base = {
            name: Tensor(dtype, [3], rng.bytes(24))
            for name in ("same", "near", "gone", "grown")
        }
        tuned = {"same": base["same"], "near": near(rng, base["near"])}
        tuned["new"] = Tensor(dtype, [5], rng.bytes(33))
        tuned["grown"] = Tensor(dtype, [3], rng.bytes(25))
        check_files(tmp_path, base, tuned)
        return
    names = (
        "same", "near", "rare", "far", "zeroed", "longer", "shorter", "wider",
        "flat", "gone", "odd",
    )  # fmt: skip
    base = {n: any_bits(rng, dtype, [40, 24]) for n in names}
    base["odd"] = any_bits(rng, dtype, [331, 8])
    tuned = {
        "same": base["same"],
        "near": near(rng, base["near"]),
        "rare": near(rng, base["rare"], 0.002),
        "far": any_bits(rng, dtype, [40, 24]),
        "zeroed": raw(bytes(len(base["zeroed"].data)), dtype, [40, 24]),
        "longer": near(rng, any_bits(rng, dtype, [47, 24])),
        "shorter": near(rng, cut(base["shorter"], 31)),
        "wider": any_bits(rng, dtype, [40, 32]),
        "flat": Tensor(dtype, [40 * 24], near(rng, base["flat"]).data),
        "odd": near(rng, base["odd"]),
        "new": any_bits(rng, dtype, [8]),
        "empty": Tensor(dtype, [0, 8], b""),
    }
    check_files(tmp_path, base, tuned)


def test_tensors_of_one_side_only(tmp_path, family):
    tuned = dict(family.tuned[0])
    del tuned["embed.weight"], tuned["scale"]
    tuned["score.weight"] = tensor([1.0, -2.0], "F32")
    tuned["ids"] = raw(bytes(range(80)), "I64")
    path = write_shards(tmp_path / "tuned", checkpoints.split(tuned, 2))
    vector = round_trip(tmp_path, family.base_path, path)
    records = {n: r for s in vectors.shards_of(vector) for n, r in
               s.records.items()}  # fmt: skip
    for name in ("score.weight", "ids"):
        assert records[name][:2] + records[name][3:6] == [
            vectors.ALONE, 0, 0, 0, bytes(16)
        ]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 60, 62, 128])
def test_a_vocabulary_of_another_size(tmp_path, rows):
    """The first dimension: what both have costs little."""
    base, tuned = checkpoints.family({"e": [200, 512]}, ["BF16"] * 2)
    base = {"e": cut(base["e"], 61)}
    tuned = {"e": cut(tuned["e"], rows)}
    vector = check_files(tmp_path, base, tuned)
    (record,) = vectors.Shard(*vector.glob("*.saf*")).records.values()
    assert record[0] == vectors.DELTA and record[3] == 61 * 512


def test_the_same_rows_of_a_larger_base(tmp_path):
    """Another shape is another tensor, if not another byte."""
    base, _ = checkpoints.family({"e": [200, 512]}, ["BF16"] * 2)
    vector = check_files(tmp_path, base, {"e": cut(base["e"], 100)})
    assert vectors.size_of(vector) < 10000


FLOATS = ["BF16", "F16", "F32", "F64"]


@pytest.mark.parametrize("of_tuned", FLOATS)
@pytest.mark.parametrize("of_base", FLOATS)
def test_fine_tunes_of_another_type(tmp_path, of_base, of_tuned):
    """Any bits, and those of a fine-tune: subnormals, NaN, overflow."""
    base, tuned = checkpoints.family(
        {"w": [3000], "few": [5], "none": [0], "one": []}, [of_base, of_tuned]
    )
    rng = np.random.default_rng(1)
    for name, scale in (("tiny", 1e-40), ("small", 1e-7), ("huge", 1e36)):
        values = rng.normal(0, scale, 1000)
        base[name] = tensor(values, of_base)
        tuned[name] = tensor(values * rng.normal(1, 0.01, 1000), of_tuned)
    base["bits"] = any_bits(rng, of_base, [20000])
    tuned["bits"] = any_bits(rng, of_tuned, [20000])
    base["rounded"] = any_bits(rng, of_base, [30000])
    tuned["rounded"] = converted(base["rounded"], of_tuned)
    base["grown"] = cut(base["rounded"], 7000)
    tuned["grown"] = cut(tuned["rounded"], 9000)
    vector = check_files(tmp_path, base, tuned)
    shard = vectors.Shard(*vector.glob("*.safetensors"))
    if of_base != of_tuned:
        # Converted by value the base is the fine-tune: nothing is left.
        assert shard.lengths["rounded"] == [0]
    else:
        assert shard.records["rounded"][0] == vectors.SAME


def converted(t, dtype):
    """By value, as docs/format.md has it."""
    if t.dtype == dtype:
        return t
    bits = checkpoints.reference.bits_of(t.data, t.dtype)
    wide = checkpoints.reference.widen(bits, t.dtype, "F64")
    bits = checkpoints.reference.narrow(wide, "F64", dtype)
    return raw(bits, dtype, t.shape)


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_every_16_bit_pattern(tmp_path, dtype):
    """NaN payloads, -0 and infinities are numbers like any other."""
    bits = np.arange(1 << 16).astype(np.uint16)
    rng = np.random.default_rng(2)
    base, tuned = {}, {}
    for i, step in enumerate((0, 1, 3, 0x7FFF, 0x8000, 0x8001, -1)):
        base[f"step{i}"] = raw(bits, dtype)
        tuned[f"step{i}"] = raw(bits + np.uint16(step & 0xFFFF), dtype)
    for i in range(3):
        base[f"any{i}"] = raw(bits, dtype)
        tuned[f"any{i}"] = raw(rng.permutation(bits), dtype)
    few = (rng.integers(0, 3, 1 << 16) - 1).astype(np.uint16)
    base["few"], tuned["few"] = raw(bits, dtype), raw(bits + few, dtype)
    check_files(tmp_path, base, tuned)


@pytest.mark.parametrize("dtype", ["F32", "F64", "F8_E4M3", "F8_E5M2", "C64"])
def test_special_values(tmp_path, dtype):
    word = {"C64": "F32"}.get(dtype, dtype)
    kind, exp, man = checkpoints.reference.FLOATS[word]
    inf, top = ((1 << exp) - 1) << man, 1 << (exp + man)
    few = [0, 1, 2, 1 << man, inf - 1, inf, inf | 1, inf | 1 << (man - 1)]
    few = np.array([x | sign for sign in (0, top) for x in few], kind)
    grid = np.stack(np.meshgrid(few, few), -1).reshape(-1, 2)
    base, tuned = raw(grid[:, 0].copy(), word), raw(grid[:, 1].copy(), word)
    shape = [len(base.data) * 8 // BITS[dtype]]
    base, tuned = (Tensor(dtype, shape, t.data) for t in (base, tuned))
    check_files(tmp_path, {"a": base}, {"a": tuned})


@pytest.mark.parametrize(
    "length",
    [0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 65, CHUNK - 1, CHUNK, CHUNK + 1,
     CHUNK + 33, 2 * CHUNK + 4077],
)  # fmt: skip
def test_length_of_a_tensor(tmp_path, length):
    types = {"bf16": "BF16", "f16": "F16", "f32": "F32"}
    shapes = dict.fromkeys(types, [length])
    base, tuned = checkpoints.family(shapes, [types] * 2)
    rng = np.random.default_rng(length)
    base["u8"] = any_bits(rng, "U8", [length])
    tuned["u8"] = near(rng, base["u8"], 0.01)
    base["still"] = tuned["still"] = any_bits(rng, "F16", [length])
    tuned["new"] = any_bits(rng, "BF16", [length])
    if length:  # one word of the last chunk
        data = base["still"].data
        tuned["still"] = raw(data[:-1] + bytes([data[-1] ^ 1]), "F16")
    vector = check_files(tmp_path, base, tuned)
    shard = vectors.Shard(*vector.glob("*.safetensors"))
    count = -(-length // CHUNK)
    for name in tuned:
        assert len(shard.lengths[name]) in (0, count)
    if length > CHUNK:
        lengths = shard.lengths["still"]
        assert lengths[:-1] == [0] * (count - 1) and lengths[-1] > 0


def test_scalars_and_empty_tensors(tmp_path):
    shapes = {"e0": [0], "s": [], "e1": [3, 0, 2], "one": [1], "e2": [0, 9]}
    base, tuned = checkpoints.family(shapes, ["F32", "BF16"])
    base["was"], tuned["was"] = tensor([1.0], "F16"), tensor([], "F16", [0])
    base["is"], tuned["is"] = tensor([], "F16", [0]), tensor([1.0], "F16")
    check_files(tmp_path, base, tuned)


def test_nothing_but_empty_tensors_and_no_tensors(tmp_path):
    base, tuned = checkpoints.family({"a": [0], "b": [0, 4]}, ["F32"] * 2)
    check_files(tmp_path, base, tuned)
    (tmp_path / "none").mkdir()
    check_files(tmp_path / "none", base, {})
    (tmp_path / "less").mkdir()
    check_files(tmp_path / "less", {}, tuned)


def test_many_shards_and_empty_tensors_between(tmp_path):
    base, tuned = checkpoints.family(
        {f"t{i:03}": [i % 7 * 11] for i in range(120)}, ["BF16"] * 2
    )
    b = write_shards(tmp_path / "b", checkpoints.split(base, 7))
    t = write_shards(tmp_path / "t", checkpoints.split(tuned, 40), pad=1)
    round_trip(tmp_path, b, t)


def test_an_identical_tensor_costs_next_to_nothing(tmp_path):
    """64 bytes beside its entry in the header."""
    sizes = []
    for count in (100, 1100):
        names = [f"layers.{i}.weight" for i in range(count)]
        base, tuned = checkpoints.family(
            {**dict.fromkeys(names, [50]), "moves": [50]}, ["BF16"] * 2
        )
        tuned = {**base, "moves": tuned["moves"]}
        path = tmp_path / str(count)
        path.mkdir()
        vector = check_files(path, base, tuned)
        (file,) = vector.glob("*.safetensors")
        sizes.append(file.stat().st_size - checkpoints.header_of(file)[0])
    assert sizes[1] - sizes[0] <= 64 * 1000


def test_unrelated_weights_hardly_grow(tmp_path):
    rng = np.random.default_rng(5)
    size = 3 * CHUNK + 5
    base = {"a": any_bits(rng, "BF16", [size])}
    base["b"] = any_bits(rng, "F32", [999])
    tuned = {n: any_bits(rng, t.dtype, t.shape) for n, t in base.items()}
    vector = check_files(tmp_path, base, tuned)
    plain = (tmp_path / "tuned.safetensors").stat().st_size
    assert vectors.size_of(vector) < plain + 8192


def test_a_vector_is_listed_by_the_official_package(stored, family):
    (file,) = stored[0].glob("*.safetensors")
    found = checkpoints.read_file(file)
    assert set(found) == {*family.tuned[0], "__taumerge__"}
    for t in found.values():
        assert (t.dtype, t.shape) == ("U8", [len(t.data)])
    _, header = checkpoints.header_of(file)
    assert header["__metadata__"] == {"format": "taumerge-vector"}


def test_statistics(tmp_path):
    """docs/format.md, but for the order of the sums."""
    types = [dict(a="BF16", b="F32", c="F16", d="F32", e="BF16", same="F32"),
             dict(a="BF16", b="F32", c="BF16", d="F64", e="BF16", same="F32")]
    sizes = {"a": [70001], "b": [40, 25], "c": [999], "d": [500], "e": [9, 9]}
    base, tuned = checkpoints.family({**sizes, "same": [50]}, types)
    base["e"] = cut(base["e"], 8)
    tuned["same"] = base["same"]
    bits = np.frombuffer(tuned["b"].data, "<u4").copy()
    bits[:3] = 0x7F800000, 0x7FC00001, 0xFF800000
    tuned["b"] = raw(bits, "F32", sizes["b"])
    vector = check_files(tmp_path, base, tuned)
    statistics = vectors.manifest_of(vector)["statistics"]
    assert set(statistics["tensors"]) == {"a", "b", "c", "d"}
    everything = []
    for name, got in statistics["tensors"].items():
        b, x = (numbers(t[name]) for t in (base, tuned))
        work = np.float64 if "F64" in (types[1][name]) else np.float32
        t = (x.astype(work) - b.astype(work)).astype(np.float64)
        t = t[np.isfinite(t)]
        wanted = [
            np.count_nonzero(t), t.sum(), np.abs(t).sum(), (t * t).sum(),
            np.abs(t).max(),
        ]  # fmt: skip
        assert got == pytest.approx(wanted, rel=1e-9, abs=1e-12), name
        assert got[0] == wanted[0] and got[4] == wanted[4]
        everything.append(np.abs(t[t != 0]))
    histogram = statistics["histogram"]
    t = np.concatenate(everything)
    down = t.astype(np.float32)
    down = np.where(down > t, np.nextafter(down, np.float32(0)), down)
    bins = down.view(np.uint32) >> (23 - histogram["mantissa_bits"])
    counts = np.bincount(bins)[histogram["first"] :]
    assert bins.min() == histogram["first"]
    assert counts.tolist() == histogram["counts"]


def numbers(t):
    bits = checkpoints.reference.bits_of(t.data, t.dtype)
    wide = checkpoints.reference.widen(bits, t.dtype, "F64")
    return wide.view(np.float64)
