"""Makes, writes and reads checkpoints for the tests.

Files are written byte by byte here, because the tests need layouts that the
official package never writes; they are read with the official package.
"""

import json
import os
import struct
from collections import namedtuple

import numpy as np
import safetensors
import xxhash

import reference

Tensor = namedtuple("Tensor", "dtype shape data")

SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
    "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip


def tensor(values, dtype, shape=None):
    """Numbers as a tensor of a floating-point type, rounded once."""
    values = np.asarray(values, np.float64)
    shape = list(values.shape if shape is None else shape)
    bits = reference.narrow(values.reshape(-1).view(np.uint64), "F64", dtype)
    return Tensor(dtype, shape, bits.tobytes())


def raw(data, dtype, shape=None):
    """Bytes (or an array of bits) as a tensor of any type."""
    data = data if isinstance(data, bytes) else np.asarray(data).tobytes()
    if shape is None:
        shape = [len(data) // SIZES[dtype]]
    return Tensor(dtype, list(shape), data)


def base_values(rng, count):
    return rng.normal(0, 0.05, count)


def tuned_values(rng, values):
    """As fine-tuning does it: small steps, and many elements unchanged."""
    step = rng.normal(0, 2e-3, len(values))
    return values + np.where(rng.random(len(values)) < 0.4, 0, step)


def family(shapes, dtypes, seed=0):
    """A base and fine-tunes of it, as dictionaries of tensors.

    `shapes` is {name: shape}; `dtypes` one type per checkpoint, or a
    {name: type} per checkpoint.
    """
    rng = np.random.default_rng(seed)
    models = [{} for _ in dtypes]
    for name, shape in shapes.items():
        count = int(np.prod(shape, dtype=np.int64))
        values = base_values(rng, count)
        for i, (model, dtype) in enumerate(zip(models, dtypes)):
            of = dtype if isinstance(dtype, str) else dtype[name]
            now = values if i == 0 else tuned_values(rng, values)
            model[name] = tensor(now, of, shape)
    return models


SHAPES = {
    "embed.weight": [61, 33],
    "layers.0.attn.weight": [33, 33],
    "layers.0.norm.weight": [33],
    "layers.1.attn.weight": [33, 33],
    "layers.1.norm.weight": [33],
    "scale": [],
    "empty": [0, 5],
    "lm_head.weight": [61, 33],
}


def small(count, dtype="BF16", seed=0):
    """A base and `count` fine-tunes of a few thousand parameters."""
    return family(SHAPES, [dtype] * (count + 1), seed)


def encode(tensors, metadata=None, pad=None, order=None):
    """A safetensors file as bytes.

    Data lies in the order of `tensors`; `order` lists the names in the order
    of the header. `pad` spaces follow the header (default: to 8 bytes).
    """
    at, entries = 0, {}
    for name, t in tensors.items():
        end = at + len(t.data)
        entries[name] = {
            "dtype": t.dtype, "shape": t.shape, "data_offsets": [at, end],
        }  # fmt: skip
        at = end
    head = {} if metadata is None else {"__metadata__": metadata}
    head.update((name, entries[name]) for name in order or entries)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 if pad is None else pad)
    data = b"".join(t.data for t in tensors.values())
    return struct.pack("<Q", len(text)) + text + data


def write_file(path, tensors, metadata=None, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(tensors, metadata, **how))
    return path


def split(tensors, count):
    """Deals tensors out to `count` shards, in runs."""
    names = list(tensors)
    bounds = [len(names) * i // count for i in range(count + 1)]
    return [
        {n: tensors[n] for n in names[a:b]}
        for a, b in zip(bounds, bounds[1:])
    ]


def shard_name(i, count):
    return f"model-{i + 1:05}-of-{count:05}.safetensors"


def write_shards(path, shards, metadata=None, side_files=True, **how):
    """A checkpoint directory as transformers saves it."""
    path.mkdir(parents=True, exist_ok=True)
    if len(shards) == 1:
        write_file(path / "model.safetensors", shards[0], metadata, **how)
    else:
        where = {}
        for i, shard in enumerate(shards):
            name = shard_name(i, len(shards))
            write_file(path / name, shard, metadata, **how)
            where.update(dict.fromkeys(shard, name))
        write_index(path, where, sum(map(size_of, shards)))
    if side_files:
        (path / "config.json").write_text('{"model_type": "test"}\n')
    return path


def write_index(path, weight_map, total_size=None, **extra):
    metadata = {} if total_size is None else {"total_size": total_size}
    metadata.update(extra)
    index = {"metadata": metadata, "weight_map": weight_map}
    text = json.dumps(index, indent=2) + "\n"
    (path / "model.safetensors.index.json").write_text(text)


def write_sparse(path, tensors):
    """A file of zeros that takes no space; `tensors` is {name: (dtype,
    shape)}. Returns where its data begins."""
    at, head = 0, {}
    for name, (dtype, shape) in tensors.items():
        end = at + SIZES[dtype] * int(np.prod(shape, dtype=np.int64))
        head[name] = {
            "dtype": dtype, "shape": shape, "data_offsets": [at, end],
        }  # fmt: skip
        at = end
    text = json.dumps(head).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)
    return 8 + len(text)


def size_of(tensors):
    return sum(len(t.data) for t in tensors.values())


def read_file(path):
    """The tensors of a file, in the order of their data, as the official
    package reads them."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    entries.pop("__metadata__", None)
    found = {
        name: Tensor(t["dtype"], list(t["shape"]), bytes(t["data"]))
        for name, t in safetensors.deserialize(data)
    }
    assert set(found) == set(entries)
    return {n: found[n] for n in by_offset(entries)}


def by_offset(entries):
    """Names in the order of their data; ties (empty ones) as they come."""
    return sorted(entries, key=lambda n: entries[n]["data_offsets"])


def header_of(path):
    """The length and the entries of a file's header, raw."""
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        return length, json.loads(f.read(length))


def files_of(path):
    """The weight files of a checkpoint, in order."""
    if path.is_file():
        return [path]
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return sorted(path.glob("*.safetensors"))
    names = json.loads(index.read_text())["weight_map"].values()
    return [path / n for n in sorted(set(names))]


def load(path):
    """All tensors of a checkpoint."""
    tensors = {}
    for file in files_of(path):
        for name, t in read_file(file).items():
            assert name not in tensors, f"{name} is in two shards"
            tensors[name] = t
    return tensors


def expected(base, vectors, dtype=None):
    """What merging must give: {name: tensor}. `vectors` is a list of
    (tensors, weight)."""
    merged = {}
    for name, b in base.items():
        if b.dtype not in reference.FLOATS:
            merged[name] = b
            continue
        inputs = [
            (v[name][::2], w) for v, w in vectors if name in v
        ]
        data, _ = reference.merge(b[::2], inputs, dtype)
        merged[name] = Tensor(dtype or b.dtype, b.shape, data)
    return merged


def digest(data):
    return xxhash.xxh3_128_hexdigest(data)


def tree(path):
    """{relative name: content} of everything below a path."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in sorted(path.rglob("*"))
        if not p.is_dir()
    }


def tree_hash(path):
    """One hash of all names and bytes below a path."""
    h = xxhash.xxh3_128()
    for name, data in tree(path).items():
        h.update(f"{name}\0{len(data)}\0".encode())
        h.update(data)
    return h.hexdigest()


def link_like_a_hub_cache(path, store):
    """Moves every file into `store` and leaves relative symbolic links, as
    the cache of the hub has them."""
    store.mkdir(parents=True, exist_ok=True)
    for i, file in enumerate(sorted(path.rglob("*"))):
        if file.is_file():
            blob = store / f"blob{i}"
            file.rename(blob)
            file.symlink_to(os.path.relpath(blob, file.parent))
