"""The files of the output: what other programs find when they open it."""

import json
import os
import shutil
import stat
import subprocess

import pytest
from safetensors import safe_open

import checkpoints
import program
from checkpoints import digest, write_file, write_shards

REPORTS = {"taumerge.json", "taumerge.xxh128"}


def manifest_of(out):
    return json.loads((out / "taumerge.json").read_text())


def modes(path):
    return {
        p.relative_to(path): stat.S_IMODE(p.stat().st_mode)
        for p in path.rglob("*")
    }


def test_the_official_package_opens_every_shard(family, merged):
    out, _ = merged
    seen = []
    for file in checkpoints.files_of(out):
        with safe_open(file, framework="numpy") as f:
            assert f.metadata() == {"format": "pt"}
            for name in f.keys():
                piece = f.get_slice(name)
                assert piece.get_dtype() == family.base[name].dtype
                assert piece.get_shape() == family.base[name].shape
                seen.append(name)
    assert sorted(seen) == sorted(family.base)


def test_shards_tensor_order_and_index_are_those_of_the_base(family, merged):
    out, _ = merged
    base_files = checkpoints.files_of(family.base_path)
    out_files = checkpoints.files_of(out)
    assert [p.name for p in out_files] == [p.name for p in base_files]
    for a, b in zip(base_files, out_files):
        before, after = (checkpoints.header_of(p)[1] for p in (a, b))
        before.pop("__metadata__"), after.pop("__metadata__")
        assert checkpoints.by_offset(after) == checkpoints.by_offset(before)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    base_index = json.loads(
        (family.base_path / "model.safetensors.index.json").read_text()
    )
    assert index == base_index


def test_data_starts_at_a_multiple_of_4096(merged):
    out, _ = merged
    for file in checkpoints.files_of(out):
        length, _ = checkpoints.header_of(file)
        assert (8 + length) % 4096 == 0
        assert file.read_bytes()[8:9] == b"{"


def test_no_file_is_longer_than_its_data(merged):
    out, _ = merged
    for file in checkpoints.files_of(out):
        length, entries = checkpoints.header_of(file)
        entries.pop("__metadata__", None)
        end = max(e["data_offsets"][1] for e in entries.values())
        assert file.stat().st_size == 8 + length + end


@pytest.mark.parametrize("total", [None, 12345])
def test_total_size_is_right_even_if_the_base_has_it_wrong(
    tmp_path, family, total
):
    base = tmp_path / "base"
    shutil.copytree(family.base_path, base)
    index = json.loads((base / "model.safetensors.index.json").read_text())
    checkpoints.write_index(base, index["weight_map"], total, note="kept")
    out = tmp_path / "out"
    program.merge(base, family.vectors, out)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == checkpoints.size_of(family.base)
    assert index["metadata"]["note"] == "kept"


def test_total_size_follows_the_output_type(tmp_path, family):
    out = tmp_path / "out"
    program.merge(family.base_path, family.vectors, out, "--dtype", "float32")
    index = json.loads((out / "model.safetensors.index.json").read_text())
    size = 2 * checkpoints.size_of(family.base)
    assert index["metadata"]["total_size"] == size


def greedy(tensors, limit):
    """Shards as huggingface_hub splits: in order, a large tensor alone."""
    shards, room = [], 0
    for name, t in tensors.items():
        if not shards or len(t.data) > room:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= len(t.data)
    return shards


@pytest.mark.parametrize(
    "size, limit",
    [("1", 1), ("5K", 5120), ("5KB", 5000), ("4026", 4026), ("1M", 1 << 20)],
)
def test_shard_size(tmp_path, family, size, limit):
    out = tmp_path / "out"
    program.merge(
        family.base_path, family.vectors, out, "--shard-size", size
    )
    assert checkpoints.load(out) == family.expected
    files = checkpoints.files_of(out)
    for file in files:
        tensors = checkpoints.read_file(file)
        full = [t for t in tensors.values() if t.data]
        assert checkpoints.size_of(tensors) <= limit or len(full) == 1
    count = len(files)
    # In the order of the base no shorter list of shards is possible.
    full = {n: t for n, t in family.expected.items() if t.data}
    assert count == len(greedy(full, limit))
    names = [checkpoints.shard_name(i, count) for i in range(count)]
    if count == 1:
        names = ["model.safetensors"]
    assert [p.name for p in files] == names
    assert {p.name for p in out.glob("*.safetensors")} == set(names)


def test_a_single_file_goes_to_a_single_file(tmp_path, family):
    base = write_file(
        tmp_path / "base.safetensors", family.base, {"format": "pt", "k": "ä"}
    )
    out = tmp_path / "merged.safetensors"
    program.merge(base, family.vectors, out)
    assert checkpoints.load(out) == family.expected
    with safe_open(out, framework="numpy") as f:
        assert f.metadata() == {"format": "pt", "k": "ä"}
    made = sorted(p.name for p in tmp_path.iterdir())
    assert made == [
        "base.safetensors", "merged.safetensors", "merged.safetensors.json",
        "merged.safetensors.xxh128",
    ]  # fmt: skip
    xxhsum(tmp_path, "merged.safetensors.xxh128")
    assert program.run("verify", out).status == 0


def test_a_single_file_goes_to_a_directory(tmp_path, family):
    base = write_file(tmp_path / "some.safetensors", family.base)
    out = tmp_path / "out"
    program.merge(base, family.vectors, out)
    assert checkpoints.load(out) == family.expected
    assert len(list(out.glob("*.safetensors"))) == 1
    assert REPORTS < {p.name for p in out.iterdir()}


def test_no_metadata_stays_no_metadata(tmp_path, family):
    base = write_file(tmp_path / "base.safetensors", family.base)
    out = tmp_path / "out.safetensors"
    program.merge(base, family.vectors, out)
    assert "__metadata__" not in checkpoints.header_of(out)[1]


def test_odd_metadata_and_names_survive(tmp_path):
    names = ['quote"', "back\\slash", "tab\t", "ü😀", "a/b", " ", "sp ace"]
    base, tuned = checkpoints.family(dict.fromkeys(names, [3]), ["F32"] * 2)
    metadata = {"é\"\\\n": "\u2028", "": ""}
    b = write_file(tmp_path / "b.safetensors", base, metadata)
    t = write_file(tmp_path / "t.safetensors", tuned)
    out = tmp_path / "out.safetensors"
    program.merge(b, [(t, 0.5)], out)
    assert checkpoints.load(out) == checkpoints.expected(
        base, [(tuned, 0.5)]
    )
    with safe_open(out, framework="numpy") as f:
        assert f.metadata() == metadata


@pytest.fixture
def with_side_files(tmp_path, family):
    """A base with all that people keep beside weights."""
    base = tmp_path / "base"
    shutil.copytree(family.base_path, base)
    (base / "tokenizer.json").write_bytes(b'{"x": 1}')
    (base / "empty.txt").touch()
    (base / "original").mkdir()
    (base / "original" / "params.json").write_text("{}")
    (base / "original" / "deep").mkdir()
    (base / "original" / "deep" / "er.txt").write_text("deeper\n")
    (base / "big.json").write_bytes(bytes(range(256)) * 20000)
    (base / "run.sh").write_text("#!/bin/sh\n")
    (base / "run.sh").chmod(0o755)
    (base / "private.txt").write_text("private\n")
    (base / "private.txt").chmod(0o600)
    target = tmp_path / "blob"
    target.write_text("linked\n")
    (base / "linked.txt").symlink_to(target)
    for name in FOREIGN:
        (base / name).write_bytes(b"weights")
    return base


FOREIGN = [
    "pytorch_model.bin", "consolidated.00.pth", "model.pt", "q4.gguf",
    "model.ckpt", "model.onnx", "tf_model.h5", "flax_model.msgpack",
    "other.safetensors",
]  # fmt: skip


def test_side_files_come_along(tmp_path, family, with_side_files):
    out = tmp_path / "out"
    program.merge(with_side_files, family.vectors, out)
    for name in (
        "tokenizer.json", "empty.txt", "original/params.json", "config.json",
        "original/deep/er.txt", "big.json", "run.sh", "linked.txt",
    ):  # fmt: skip
        before = (with_side_files / name).read_bytes()
        assert (out / name).read_bytes() == before, name
    assert not (out / "linked.txt").is_symlink()


def test_modes_are_sane_whatever_the_inputs_are(
    tmp_path, family, with_side_files
):
    out = tmp_path / "out"
    before = os.umask(0o027)
    try:
        program.merge(with_side_files, family.vectors, out)
    finally:
        os.umask(before)
    assert stat.S_IMODE(out.stat().st_mode) == 0o750
    for path, mode in modes(out).items():
        assert mode & ~0o110 == 0o640, (path, oct(mode))


def test_weights_in_other_formats_are_left_out_and_listed(
    tmp_path, family, with_side_files
):
    out = tmp_path / "out"
    result = program.merge(with_side_files, family.vectors, out)
    listed = {e["name"]: e["why"] for e in manifest_of(out)["left_out"]}
    report = result.out + result.err
    for name in FOREIGN:
        assert not (out / name).exists()
        assert listed[name]
        assert name in report
    assert set(listed) == set(FOREIGN)


def test_reports_of_an_earlier_merge_are_not_side_files(
    tmp_path, family, merged
):
    """A merged checkpoint is a base like any other."""
    out = tmp_path / "again"
    program.merge(merged[0], [(family.tuned_paths[0], 0.5)], out)
    assert manifest_of(out)["recipe"]["base"] == str(merged[0])
    xxhsum(out, "taumerge.xxh128")


def xxhsum(folder, name):
    """The stock tool agrees with the list of digests."""
    if shutil.which("xxhsum") is None:
        pytest.skip("xxhsum is not installed")
    done = subprocess.run(
        ["xxhsum", "--check", "--strict", name],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_xxhsum_checks_the_output(merged):
    out, _ = merged
    xxhsum(out, "taumerge.xxh128")
    lines = (out / "taumerge.xxh128").read_text().splitlines()
    listed = {line.split("  ", 1)[1] for line in lines}
    assert listed == set(checkpoints.tree(out)) - {"taumerge.xxh128"}


def test_xxhsum_checks_odd_names_and_subdirectories(
    tmp_path, family, with_side_files
):
    for name in ("sp ace.txt", "ü.txt", "-dash.txt"):
        (with_side_files / name).write_text(name)
    out = tmp_path / "out"
    program.merge(with_side_files, family.vectors, out)
    xxhsum(out, "taumerge.xxh128")


def test_digests_of_the_manifest(family, merged):
    out, _ = merged
    manifest = manifest_of(out)
    tensors = {}
    for file in checkpoints.files_of(out):
        for name, t in checkpoints.read_file(file).items():
            tensors[name] = (file.name, t)
    assert set(manifest["tensors"]) == set(tensors)
    for name, entry in manifest["tensors"].items():
        file, t = tensors[name]
        assert entry["file"] == file
        assert entry["dtype"] == t.dtype
        assert entry["shape"] == t.shape
        assert entry["bytes"] == len(t.data)
        assert entry["xxh128"] == digest(t.data)
        assert entry["how"] == "merged"
    for name, entry in manifest["files"].items():
        data = (out / name).read_bytes()
        assert entry == {"bytes": len(data), "xxh128": digest(data)}
    assert set(manifest["files"]) == set(checkpoints.tree(out)) - REPORTS


def test_manifest_tells_the_recipe_and_the_inputs(family, merged):
    manifest = manifest_of(merged[0])
    version = program.run("--version").out.split()[1]
    assert manifest["taumerge"] == version
    assert manifest["format"] == 1 and manifest["numerics"] == 1
    recipe = manifest["recipe"]
    assert recipe["base"] == str(family.base_path)
    assert recipe["vectors"] == [
        {"path": str(p), "weight": w} for p, w in family.vectors
    ]
    inputs = manifest["inputs"]
    assert [i["path"] for i in inputs] == [
        str(family.base_path), *map(str, family.tuned_paths)
    ]
    assert [i["role"] for i in inputs] == ["base", "vector", "vector"]
    for entry, model in zip(inputs, [family.base, *family.tuned]):
        assert entry["tensors"] == {
            name: digest(t.data) for name, t in model.items()
        }
    assert manifest["left_out"] == []


def test_no_trace_of_time_or_place(tmp_path, family, merged):
    """Another day, another umask, another output: the same bytes."""
    out = tmp_path / "elsewhere"
    program.merge(
        family.base_path, family.vectors, out, env={"TZ": "Asia/Tokyo"}
    )
    assert checkpoints.tree(out) == checkpoints.tree(merged[0])


def test_many_shards(tmp_path):
    base, tuned = checkpoints.family(
        {f"t{i:03}": [i] for i in range(200)}, ["BF16"] * 2
    )
    b = write_shards(tmp_path / "b", checkpoints.split(base, 100))
    t = write_shards(tmp_path / "t", checkpoints.split(tuned, 50))
    out = tmp_path / "out"
    program.merge(b, [(t, 0.5)], out)
    assert checkpoints.load(out) == checkpoints.expected(
        base, [(tuned, 0.5)]
    )
