"""The numbers of a merge, bit for bit, for every way to give the inputs."""

import itertools
import json

import numpy as np
import pytest

import checkpoints
import program
import reference
from checkpoints import Tensor, raw, tensor, write_file, write_shards
from program import scaled

FLOATS = list(reference.FLOATS)
WEIGHTS = [0.3, -1.0, 0.0, 1.0, 2.5, -0.125, 1e-3, 0.7, -0.4]


def merge_and_check(tmp_path, base, vectors, *more, dtype=None):
    """Merges single files (given as tensors) and compares with the
    reference; returns the result of the run and the manifest."""
    base_path = write_file(tmp_path / "base.safetensors", base)
    paths = [
        (write_file(tmp_path / f"tuned{i}.safetensors", v), w)
        for i, (v, w) in enumerate(vectors)
    ]
    out = tmp_path / "out.safetensors"
    if dtype is not None:
        more = ["--dtype", dtype, *more]
    result = program.merge(base_path, paths, out, *more)
    assert_tensors(out, checkpoints.expected(base, vectors, dtype))
    return result, json.loads((tmp_path / "out.safetensors.json").read_text())


def assert_tensors(out, expected):
    """Names, types, shapes and every bit."""
    got = checkpoints.load(out)
    assert sorted(got) == sorted(expected)
    for name, want in expected.items():
        t = got[name]
        assert (t.dtype, t.shape) == (want.dtype, want.shape), name
        if t.data == want.data:
            continue
        a = reference.bits_of(t.data, t.dtype)
        b = reference.bits_of(want.data, want.dtype)
        i = int(np.flatnonzero(a != b)[0])
        pytest.fail(f"{name}[{i}]: {a[i]:#x}, should be {b[i]:#x}")


@pytest.mark.parametrize("dtype", [None, *FLOATS])
def test_every_mixture_of_types(tmp_path, dtype):
    names = {
        ".".join(kinds): kinds
        for kinds in itertools.product(FLOATS, FLOATS, FLOATS)
    }
    names = dict(itertools.islice(names.items(), 0, None, scaled(1, 5)))
    models = checkpoints.family(
        {name: [53] for name in names},
        [{n: kinds[i] for n, kinds in names.items()} for i in range(3)],
    )
    merge_and_check(
        tmp_path, models[0], list(zip(models[1:], (0.3, -1.7))), dtype=dtype
    )


@pytest.mark.parametrize(
    "name, dtype",
    [
        ("bfloat16", "BF16"),
        ("float16", "F16"),
        ("float32", "F32"),
        ("float64", "F64"),
        ("float8_e4m3fn", "F8_E4M3"),
        ("float8_e5m2", "F8_E5M2"),
        ("bf16", "BF16"),
    ],
)
def test_output_type_by_the_name_torch_gives_it(tmp_path, family, name, dtype):
    out = tmp_path / "out"
    program.merge(
        family.base_path, family.vectors, out, "--dtype", name
    )
    vectors = list(zip(family.tuned, (0.4, -1.0)))
    assert_tensors(out, checkpoints.expected(family.base, vectors, dtype))


@pytest.mark.parametrize("count", [*range(1, 10), 17, 64, 256])
def test_number_of_vectors(tmp_path, count):
    base, *tuned = checkpoints.family(
        {"a": [2100], "b": [7, 3], "c": []}, ["BF16"] * (count + 1)
    )
    weights = (WEIGHTS[i % len(WEIGHTS)] / (i // 9 + 1) for i in range(count))
    merge_and_check(
        tmp_path, base, list(zip(tuned, weights)), "--memory", "64M"
    )


@pytest.mark.parametrize("length", [*range(18), 2047, 2048, 2049, 70001])
def test_length_of_a_tensor(tmp_path, length):
    models = checkpoints.family(
        {"half": [length], "single": [length]},
        [{"half": "F16", "single": "F32"}] * 3,
    )
    merge_and_check(tmp_path, models[0], list(zip(models[1:], (0.5, 0.25))))


def test_adding_a_vector_gives_the_fine_tune(tmp_path):
    """Where the difference is exact, as in F32 from nearby F16 values."""
    base, tuned = checkpoints.family({"a": [5000]}, ["F16", "F16"])
    base = {"a": widened(base["a"])}
    tuned = {"a": widened(tuned["a"])}
    merge_and_check(tmp_path, base, [(tuned, 1.0)])
    out = checkpoints.load(tmp_path / "out.safetensors")
    assert out["a"].data == tuned["a"].data


def widened(t):
    bits = reference.bits_of(t.data, t.dtype)
    return raw(reference.widen(bits, t.dtype, "F32"), "F32", t.shape)


def test_a_vector_and_its_negation_leave_the_base(tmp_path):
    base, tuned = checkpoints.small(1)
    merge_and_check(tmp_path, base, [(tuned, 0.7), (tuned, -0.7)])
    out = checkpoints.load(tmp_path / "out.safetensors")
    assert out == base


def test_analogy(tmp_path):
    base, a, b, c = checkpoints.small(3, "F16")
    merge_and_check(tmp_path, base, [(c, 1.0), (b, 1.0), (a, -1.0)])


def test_weight_defaults_to_one(tmp_path, family):
    for out, weight in (("given", 1.0), ("default", None)):
        program.merge(
            family.base_path,
            [(family.tuned_paths[0], weight)],
            tmp_path / out,
        )
    assert checkpoints.load(tmp_path / "given") == checkpoints.load(
        tmp_path / "default"
    )


@pytest.mark.parametrize(
    "text, weight",
    [
        ("1e-3", 1e-3), ("-.5", -0.5), ("+2", 2.0),
        ("0.1000000000000000055511151231257827", 0.1), ("1e5", 1e5),
        ("1e30", 1e30), ("-0.0", 0.0),
    ],
)  # fmt: skip
def test_weights_as_people_write_them(tmp_path, family, text, weight):
    out = tmp_path / "out"
    result = program.run(
        "merge", "-b", family.base_path, "-t", family.tuned_paths[0],
        "-w", text, "-o", out,
    )  # fmt: skip
    assert result.status == 0, result.err
    vectors = [(family.tuned[0], weight)]
    assert_tensors(out, checkpoints.expected(family.base, vectors))


def test_zero_weight_touches_nothing_and_is_not_read(tmp_path):
    base, tuned = checkpoints.small(1)
    broken = {n: Tensor(t.dtype, t.shape, t.data) for n, t in tuned.items()}
    nan = np.full(33, 0x7FC0, np.uint16)
    broken["layers.0.norm.weight"] = raw(nan, "BF16")
    merge_and_check(tmp_path, base, [(broken, 0.0)])
    out = checkpoints.load(tmp_path / "out.safetensors")
    assert out == base
    plan = program.run(
        "plan", "--json", "-b", tmp_path / "base.safetensors", "-t",
        tmp_path / "tuned0.safetensors", "-w", "0", "-o", tmp_path / "new",
    )  # fmt: skip
    base_size = (tmp_path / "base.safetensors").stat().st_size
    assert json.loads(plan.out)["read_bytes"] < base_size + 8192


def specials(dtype):
    """The stored bits that are worth trying."""
    kind, exp, man = reference.FLOATS[dtype]
    inf = ((1 << exp) - 1) << man
    top = reference.sign_bit(dtype)
    one = ((1 << (exp - 1)) - 1) << man
    found = [0, 1, 2, (1 << man) - 1, 1 << man, one, one + 1, inf - 1]
    found += [inf, inf + 1, inf | 1 << (man - 1), (1 << top) - 1]
    found = list(dict.fromkeys(found))
    return np.array(found + [1 << top | b for b in found], kind)


@pytest.mark.parametrize("weights", [(1, -1), (0.5, 3), (1e30, -2.0)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values(tmp_path, dtype, weights):
    """Every triple of zeros, subnormals, extremes, infinities and NaNs."""
    few = specials(dtype)
    if dtype == "F64":
        few = few[::2]  # the reference is slow there
    grid = np.stack(np.meshgrid(few, few, few), -1).reshape(-1, 3)
    base, *tuned = ({"a": raw(grid[:, i].copy(), dtype)} for i in range(3))
    result, _ = merge_and_check(tmp_path, base, list(zip(tuned, weights)))
    inputs = [(t["a"][::2], w) for t, w in zip(tuned, weights)]
    _, counts = reference.merge(base["a"][::2], inputs)
    if counts["overflows"]:
        assert "overflow" in result.out + result.err
    assert str(counts["nonfinite_outputs"]) in result.out + result.err


@pytest.mark.parametrize("out", [None, "F32", "F8_E4M3", "F8_E5M2", "F16"])
@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_every_16_bit_pattern_in_the_base(tmp_path, dtype, out):
    bits = np.arange(1 << 16).astype(np.uint16)
    base = {"a": raw(bits, dtype), "b": raw(bits, dtype)}
    tuned = {"a": raw(bits, dtype), "b": raw(np.roll(bits, 1), dtype)}
    merge_and_check(tmp_path, base, [(tuned, 0.6)], dtype=out)


def test_attention_mask_of_infinities_survives(tmp_path):
    mask = np.triu(np.full((64, 64), -np.inf), 1)
    base, tuned = checkpoints.small(1, "F16")
    base["mask"] = tuned["mask"] = tensor(mask, "F16")
    merge_and_check(tmp_path, base, [(tuned, 0.5)])
    out = checkpoints.load(tmp_path / "out.safetensors")
    assert out["mask"] == base["mask"]


def test_nan_payload_and_negative_zero_of_the_base_survive(tmp_path):
    bits = np.array([0x7FC1, 0xFFAB, 0x8000, 0x0001] * 300, np.uint16)
    base = {"a": raw(bits, "BF16")}
    merge_and_check(tmp_path, base, [(base, 1.0), (base, -3.0)])
    assert checkpoints.load(tmp_path / "out.safetensors") == base


def test_overflow_is_counted_and_reported(tmp_path):
    base = {"deep.weight": tensor([60000.0] * 7 + [1.0], "F16")}
    tuned = {"deep.weight": tensor([65000.0] * 7 + [2.0], "F16")}
    result, _ = merge_and_check(tmp_path, base, [(tuned, 9.0)])
    report = result.out + result.err
    line = [t for t in report.splitlines() if "deep.weight" in t]
    assert line and "overflow" in line[0] and "7" in line[0], report


def test_scalars_and_empty_tensors(tmp_path):
    shapes = {"e0": [0], "s": [], "e1": [3, 0, 2], "one": [1], "e2": [0, 9]}
    base, tuned = checkpoints.family(shapes, ["F32", "BF16"])
    merge_and_check(tmp_path, base, [(tuned, 0.5)])


def test_nothing_but_empty_tensors(tmp_path):
    base, tuned = checkpoints.family({"a": [0], "b": [0, 4]}, ["F32"] * 2)
    merge_and_check(tmp_path, base, [(tuned, 0.5)])


@pytest.mark.parametrize("pad", [0, 1, 2, 3, 5, 7, 4093, 9001])
def test_data_at_odd_offsets(tmp_path, pad):
    """The header of any length, and odd bytes before what follows."""
    rng = np.random.default_rng(pad)
    base, tuned = checkpoints.family({"a": [3001], "b": [257]}, ["F32"] * 2)
    odd = raw(rng.bytes(pad % 8 + 1), "U8")
    base_path = write_file(
        tmp_path / "base.safetensors", {"odd": odd, **base}, pad=pad
    )
    tuned_path = write_file(
        tmp_path / "tuned.safetensors", {"odd": odd, **tuned}, pad=pad + 1
    )
    out = tmp_path / "out"
    program.merge(base_path, [(tuned_path, 0.5)], out)
    expected = checkpoints.expected({"odd": odd, **base}, [(tuned, 0.5)])
    assert_tensors(out, expected)


@pytest.mark.parametrize(
    "dtype", ["BOOL", "U8", "I16", "I32", "I64", "U16", "U64", "I8"]
)
def test_other_types_are_copied_where_they_agree(tmp_path, dtype):
    base, tuned = checkpoints.small(1)
    data = bytes(1000) if dtype == "BOOL" else bytes(range(250)) * 4
    base["ids"] = tuned["ids"] = raw(data, dtype)
    result, manifest = merge_and_check(tmp_path, base, [(tuned, 0.5)])
    entry = manifest["tensors"]["ids"]
    assert entry["how"] == "copied" and entry["why"]
    assert "ids" in result.out + result.err
    assert manifest["tensors"]["scale"]["how"] == "merged"


@pytest.mark.parametrize("dtype", ["I64", "BOOL", "U8"])
def test_other_types_are_refused_where_they_differ(tmp_path, dtype):
    base, tuned = checkpoints.small(1)
    base["ids"] = raw(bytes(800), dtype)
    tuned["ids"] = raw(bytes(799) + b"\1", dtype)
    b = write_file(tmp_path / "base.safetensors", base)
    t = write_file(tmp_path / "tuned.safetensors", tuned)
    out = tmp_path / "out"
    result = program.run(*program.merge_args(b, [(t, 0.5)], out))
    program.assert_refused(
        result, program.DATA, out, ["tuned.safetensors", "'ids'"]
    )


def test_a_type_unknown_to_this_version_is_copied(tmp_path):
    """Its offsets say where it lies; what it means does not matter."""
    base, tuned = checkpoints.small(1)
    new = Tensor("F7_NEW", [3], bytes(range(24)))
    base["new"] = tuned["new"] = new
    b = write_file(tmp_path / "base.safetensors", base)
    t = write_file(tmp_path / "tuned.safetensors", tuned)
    out = tmp_path / "out.safetensors"
    program.merge(b, [(t, 0.5)], out)
    length, entries = checkpoints.header_of(out)
    assert (entries["new"]["dtype"], entries["new"]["shape"]) == (
        "F7_NEW", [3],
    )  # fmt: skip
    start, end = entries["new"]["data_offsets"]
    assert out.read_bytes()[8 + length :][start:end] == new.data


def test_a_tensor_larger_than_the_budget(tmp_path):
    rng = np.random.default_rng(0)

    def model():
        bits = rng.integers(0x3000, 0x3C00, scaled(6 << 20, 3 << 20))
        return {"big": raw(bits.astype(np.uint16), "BF16")}

    base, tuned = model(), model()
    b = write_file(tmp_path / "base.safetensors", base)
    t = write_file(tmp_path / "tuned.safetensors", tuned)
    out = tmp_path / "out.safetensors"
    vectors = [(t, 0.5)]
    memory = program.smallest_memory(program.merge_args(b, vectors, out))
    assert scaled(memory, 0) < checkpoints.size_of(base)
    program.merge(b, vectors, out, "--memory", memory)
    assert_tensors(out, checkpoints.expected(base, [(tuned, 0.5)]))


@pytest.mark.parametrize("seed", range(scaled(12, 4)))
def test_layouts_of_every_kind(tmp_path, seed):
    """Each input sharded its own way, its tensors in any order."""
    rng = np.random.default_rng(seed)
    models = checkpoints.family(
        {f"layer.{i}": [int(rng.integers(0, 4000))] for i in range(14)},
        [str(rng.choice(["BF16", "F16", "F32"])) for _ in range(4)],
        seed,
    )
    paths = []
    for i, model in enumerate(models):
        names = list(model)
        rng.shuffle(names)
        shuffled = {n: model[n] for n in names}
        shards = checkpoints.split(shuffled, int(rng.integers(1, 7)))
        path = tmp_path / f"model{i}"
        write_shards(path, shards, pad=int(rng.integers(0, 9)))
        if rng.random() < 0.5:
            checkpoints.link_like_a_hub_cache(path, tmp_path / f"store{i}")
        paths.append(path)
    weights = (0.3, -0.2, 1.0)
    out = tmp_path / "out"
    program.merge(paths[0], list(zip(paths[1:], weights)), out)
    vectors = list(zip(models[1:], weights))
    assert_tensors(out, checkpoints.expected(models[0], vectors))
    written = [p.name for p in checkpoints.files_of(out)]
    assert written == [p.name for p in checkpoints.files_of(paths[0])]


def test_header_order_need_not_be_data_order(tmp_path):
    base, tuned = checkpoints.small(1)
    b = write_file(
        tmp_path / "base.safetensors", base, order=sorted(base, reverse=True)
    )
    t = write_file(tmp_path / "tuned.safetensors", tuned, order=sorted(tuned))
    program.merge(b, [(t, 0.5)], tmp_path / "out")
    expected = checkpoints.expected(base, [(tuned, 0.5)])
    assert_tensors(tmp_path / "out", expected)


def name_directory(path):
    return path


def name_index(path):
    return path / "model.safetensors.index.json"


def name_file(path):
    return path / "model.safetensors"


@pytest.mark.parametrize("name_base", [name_directory, name_index])
@pytest.mark.parametrize("name_tuned", [name_directory, name_file])
def test_a_checkpoint_by_directory_index_or_file(
    tmp_path, family, name_base, name_tuned
):
    out = tmp_path / "out"
    vectors = [(name_tuned(p), w) for p, w in family.vectors]
    program.merge(name_base(family.base_path), vectors, out)
    assert_tensors(out, family.expected)


def test_a_sharded_vector_by_its_index(tmp_path, family):
    tuned = write_shards(
        tmp_path / "tuned", checkpoints.split(family.tuned[0], 3)
    )
    out = tmp_path / "out"
    program.merge(family.base_path, [(name_index(tuned), 0.5)], out)
    vectors = [(family.tuned[0], 0.5)]
    assert_tensors(out, checkpoints.expected(family.base, vectors))


@pytest.mark.parametrize("index", ["none", "unusual"])
def test_a_directory_without_the_usual_names(tmp_path, family, index):
    """As pipelines save parts of a model: diffusion_pytorch_model..."""
    base = tmp_path / "base"
    where = {}
    for i, shard in enumerate(checkpoints.split(family.base, 3)):
        name = f"part-{i}.safetensors"
        write_file(base / name, shard)
        where.update(dict.fromkeys(shard, name))
    if index == "unusual":
        checkpoints.write_index(base, where)
        (base / "model.safetensors.index.json").rename(
            base / "part.safetensors.index.json"
        )
    out = tmp_path / "out"
    program.merge(base, family.vectors, out)
    for i in range(3):
        name = f"part-{i}.safetensors"
        before, after = (checkpoints.read_file(p / name) for p in (base, out))
        assert set(after) == set(before)
    indexes = [p.name for p in out.glob("*.index.json")]
    assert "part.safetensors.index.json" in indexes or index == "none"
    merged = {}
    for file in out.glob("*.safetensors"):
        merged.update(checkpoints.read_file(file))
    assert merged == family.expected


def test_one_weight_file_wins_over_an_index(tmp_path, family):
    """As in transformers: model.safetensors first, other shards left out."""
    base = tmp_path / "base"
    write_shards(base, checkpoints.split(family.base, 2))
    write_file(base / "model.safetensors", family.base)
    out = tmp_path / "out"
    program.merge(base, family.vectors, out)
    weights = [p.name for p in out.glob("*.safetensors*")]
    assert weights == ["model.safetensors"]
    assert checkpoints.load(out) == family.expected


def test_relative_names_and_trailing_slashes(tmp_path, family):
    (tmp_path / "b").symlink_to(family.base_path)
    (tmp_path / "t").symlink_to(family.tuned_paths[0])
    args = ["merge", "-b", "b/", "-t", "./t//", "-w", "0.5", "-o", "out/"]
    result = program.run(*args, cwd=tmp_path)
    assert result.status == 0, result.err
    vectors = [(family.tuned[0], 0.5)]
    expected = checkpoints.expected(family.base, vectors)
    assert_tensors(tmp_path / "out", expected)


def test_the_same_vector_twice_and_the_base_as_a_vector(tmp_path, family):
    tuned = family.tuned_paths[0]
    out = tmp_path / "out"
    vectors = [(tuned, 0.5), (family.base_path, 5.0), (tuned, 0.25)]
    program.merge(family.base_path, vectors, out)
    inputs = [(family.tuned[0], 0.5), (family.tuned[0], 0.25)]
    assert_tensors(out, checkpoints.expected(family.base, inputs))


def test_a_missing_tensor_counts_as_unchanged_if_allowed(tmp_path, family):
    less = dict(family.tuned[0])
    del less["layers.1.norm.weight"]
    path = write_shards(tmp_path / "less", [less])
    out = tmp_path / "out"
    vectors = [(path, 0.5), (family.tuned_paths[1], -0.5)]
    program.merge(family.base_path, vectors, out, "--allow-missing")
    inputs = [(less, 0.5), (family.tuned[1], -0.5)]
    assert_tensors(out, checkpoints.expected(family.base, inputs))


def test_an_extra_tensor_is_left_out_and_listed_if_allowed(tmp_path, family):
    more = dict(family.tuned[0], **{"score.weight": tensor([1.0], "F32")})
    path = write_shards(tmp_path / "more", [more])
    out = tmp_path / "out"
    result = program.merge(
        family.base_path, [(path, 0.5)], out, "--allow-extra"
    )
    vectors = [(family.tuned[0], 0.5)]
    assert_tensors(out, checkpoints.expected(family.base, vectors))
    assert "score.weight" in result.out + result.err
    left_out = json.loads((out / "taumerge.json").read_text())["left_out"]
    assert "score.weight" in [entry["name"] for entry in left_out]


def test_real_fine_tunes(tmp_path):
    """A few rows of a real encoder and two fine-tunes of it (tests/data)."""
    data = program.TOP / "tests" / "data"
    base, one, two = (
        data / f"{n}.safetensors" for n in ("base", "tuned1", "tuned2")
    )
    out = tmp_path / "out.safetensors"
    program.merge(base, [(one, 0.6), (two, -0.3)], out)
    vectors = [(checkpoints.load(one), 0.6), (checkpoints.load(two), -0.3)]
    assert_tensors(out, checkpoints.expected(checkpoints.load(base), vectors))
