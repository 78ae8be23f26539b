# SPDX-License-Identifier: Apache-2.0
"""Makes checkpoints to measure with: the same bytes every time, and fast."""

import fnmatch
import json
import math
import os
import shutil
import struct
from pathlib import Path

import numpy as np

from common import MEBI, remove, say

# Files that are a multiple of this can be moved by fio to the last byte,
# with any block size and past the page cache.
WHOLE = 4 * MEBI

# Random numbers are dear, so one block of them is written again and again.
# It begins elsewhere each time: no two pages of a disk are alike, and what
# compresses or shares equal pages finds none.
BLOCK = 8 << 20  # elements
STEP = 4099

BF16 = 2  # bytes


def base_block():
    """Weights as a model has them: normal, a few hundredths wide, bfloat16."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal(BLOCK, np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def tuned_block(base, seed):
    """The base after fine-tuning: six in ten move by a few of their last
    places."""
    rng = np.random.default_rng(100 + seed)
    moved = rng.integers(0, 8, BLOCK, np.uint16)
    moved[rng.random(BLOCK, np.float32) < 0.4] = 0
    return base ^ moved


# How far a fine-tune moves a weight, as a share of the weights' width: four
# in ten bfloat16 weights then stay as they are, as after a few hundred steps.
DRIFT = 0.004


def drifted_block(base, seed):
    """The base after fine-tuning as it is done: every weight moves by about
    as much, so the small ones by more of their last places. What a codec
    makes of it is like what it makes of a real fine-tune."""
    rng = np.random.default_rng(200 + seed)
    values = (base.astype(np.uint32) << 16).view(np.float32)
    width = np.float32(0.02 * DRIFT)
    values += rng.standard_normal(BLOCK, np.float32) * width
    bits = values.view(np.uint32)
    # To the nearest bfloat16, ties to even.
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


# --- shapes ----------------------------------------------------------------


def count_bytes(shapes):
    return BF16 * sum(map(math.prod, shapes.values()))


def llama_config(size):
    """A Llama whose weights take about `size` bytes."""
    hidden = 2048 if size >= 10**9 else 512
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": 1,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 64,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    one = count_bytes(llama_shapes(config))
    config["num_hidden_layers"] = 2
    layer = count_bytes(llama_shapes(config)) - one
    layers = max(1, round((size - one) / layer) + 1)
    config["num_hidden_layers"] = layers
    return config


def llama_shapes(config):
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    vocabulary = config["vocab_size"]
    shapes = {"model.embed_tokens.weight": [vocabulary, hidden]}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for which in "qkvo":
            shapes[f"{layer}self_attn.{which}_proj.weight"] = [hidden, hidden]
        shapes[layer + "mlp.gate_proj.weight"] = [wide, hidden]
        shapes[layer + "mlp.up_proj.weight"] = [wide, hidden]
        shapes[layer + "mlp.down_proj.weight"] = [hidden, wide]
        shapes[layer + "input_layernorm.weight"] = [hidden]
        shapes[layer + "post_attention_layernorm.weight"] = [hidden]
    shapes["model.norm.weight"] = [hidden]
    shapes["lm_head.weight"] = [vocabulary, hidden]
    return shapes


def even_shapes(size, count):
    """`count` tensors that take `size` bytes together."""
    elements = size // BF16
    bounds = [elements * i // count for i in range(count + 1)]
    return {
        f"model.layers.{i}.self_attn.q_proj.weight": [b - a]
        for i, (a, b) in enumerate(zip(bounds, bounds[1:]))
    }


# --- files -----------------------------------------------------------------


def header(shapes):
    """The first bytes of a file, padded as the official package does it."""
    at, entries = 0, {"__metadata__": {"format": "pt"}}
    for name, shape in shapes.items():
        end = at + BF16 * math.prod(shape)
        entries[name] = {
            "dtype": "BF16", "shape": shape, "data_offsets": [at, end],
        }  # fmt: skip
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def rest_shapes(elements, row):
    """One tensor of so many, or, if rows have a length, a matrix and what it
    leaves."""
    if row is None:
        return {"rest.weight": [elements]}
    return {"rest.weight": [elements // row, row],
            "rest.bias": [elements % row]}  # fmt: skip


def filled_up(shapes, size, row=None):
    """The shapes and a rest, so that the file has exactly `size` bytes."""
    missing = 0
    for _ in range(8):
        with_rest = {**shapes, **rest_shapes(missing // BF16, row)}
        total = len(header(with_rest)) + count_bytes(with_rest)
        if total == size:
            return with_rest
        missing += size - total
        if missing < 0:
            break
    raise ValueError(f"no file of {size} bytes with these tensors")


def write_file(path, shapes, block):
    data = np.concatenate([block, block])
    left, at = sum(map(math.prod, shapes.values())), 0
    with open(path, "wb", buffering=0) as f:
        write_all(f, header(shapes))
        while left > 0:
            count = min(left, BLOCK)
            write_all(f, memoryview(data[at : at + count]).cast("B"))
            left -= count
            at = (at + STEP) % BLOCK
        os.fsync(f.fileno())


def write_all(f, data):
    data = memoryview(data)
    while data:
        data = data[f.write(data) :]


def write_sparse(path, shapes):
    """A file of zeros that takes no space."""
    head = header(shapes)
    with open(path, "wb") as f:
        f.write(head)
        f.truncate(len(head) + count_bytes(shapes))


# Directories of this run, whether made or found.
used = set()


def remove_used():
    for path in used:
        remove(path)


class Family:
    """A base and fine-tunes of it in one directory, made when missing."""

    def __init__(self, directory, name, shapes, tuned, config=None,
                 sparse=False, tune=tuned_block):  # fmt: skip
        self.path = Path(directory) / name
        self.tune = tune
        self.shapes, self.tuned, self.config = shapes, tuned, config
        self.sparse = sparse
        self.base = self.path / "base"
        self.vectors = [self.path / f"tuned-{i}" for i in range(tuned)]
        self.models = [self.base, *self.vectors]
        self.files = [m / "model.safetensors" for m in self.models]
        self.file_bytes = len(header(shapes)) + count_bytes(shapes)
        self.bytes = 0 if sparse else self.file_bytes * len(self.files)

    def description(self):
        first = next(iter(self.shapes.items()))
        return {
            "version": 1, "tensors": len(self.shapes), "first": list(first),
            "file_bytes": self.file_bytes, "tuned": self.tuned,
        }  # fmt: skip

    def made(self):
        try:
            text = (self.path / "made.json").read_text()
        except OSError:
            return False
        return json.loads(text) == self.description()

    def make(self):
        """Makes what is not there; returns itself."""
        used.add(self.path)
        if self.made():
            return self
        say(f"making {self.path}")
        remove(self.path)
        base = base_block()
        for i, model in enumerate(self.models):
            model.mkdir(parents=True)
            if self.config is not None:
                text = json.dumps(self.config, indent=2) + "\n"
                (model / "config.json").write_text(text)
            if self.sparse:
                write_sparse(model / "model.safetensors", self.shapes)
                continue
            block = base if i == 0 else self.tune(base, i)
            write_file(model / "model.safetensors", self.shapes, block)
        # Last, so that what was broken off is made anew.
        text = json.dumps(self.description(), indent=2) + "\n"
        (self.path / "made.json").write_text(text)
        return self


def whole_family(directory, size, tuned, prefix="llama", tune=tuned_block,
                 row=None):  # fmt: skip
    """Llama-shaped models in files that are whole multiples of WHOLE; no row
    is much longer than a Llama's if `row` is the length of the rest's."""
    # The rest takes what is left over, so the layers stay below.
    target = max(size // WHOLE, 1) * WHOLE
    shapes = None
    for below in range(0, 100):
        config = llama_config(target * (100 - below) // 100)
        try:
            shapes = filled_up(llama_shapes(config), target, row)
            break
        except ValueError:
            continue
    if shapes is None:  # smaller than the smallest Llama
        shapes = filled_up(even_shapes(target // 2, 8), target, row)
    name = f"{prefix}-{target}-{tuned}"
    return Family(directory, name, shapes, tuned, tune=tune)


def llama_family(directory, size, tuned):
    """Models that mergekit takes for Llamas."""
    config = llama_config(size)
    shapes = llama_shapes(config)
    name = f"hub-{count_bytes(shapes)}-{tuned}"
    return Family(directory, name, shapes, tuned, config)


def even_family(directory, size, count, tuned, prefix="even",
                tune=tuned_block):  # fmt: skip
    """`count` tensors of one size."""
    name = f"{prefix}-{size}-{count}-{tuned}"
    shapes = even_shapes(size, count)
    return Family(directory, name, shapes, tuned, tune=tune)


def sparse_family(directory, size, tuned):
    """One tensor of `size` bytes, all zero."""
    shapes = {"model.embed_tokens.weight": [size // BF16]}
    return Family(directory, f"sparse-{size}-{tuned}", shapes, tuned,
                  sparse=True)  # fmt: skip


# --- checkpoints that are there --------------------------------------------


def read_header(path):
    """The entries of a safetensors file and where its data begins."""
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        return json.loads(f.read(length)), 8 + length


def weight_files(model):
    """The shards of a checkpoint, which is a directory or one file."""
    model = Path(model)
    return sorted(model.glob("*.safetensors")) if model.is_dir() else [model]


def tensors(model):
    """(name, entry, bytes) of each tensor, in the order of the files."""
    for path in weight_files(model):
        entries, start = read_header(path)
        entries.pop("__metadata__", None)
        with open(path, "rb") as f:
            for name, entry in sorted(
                entries.items(), key=lambda e: e[1]["data_offsets"]
            ):
                begin, end = entry["data_offsets"]
                f.seek(start + begin)
                yield name, entry, f.read(end - begin)


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, p) for p in patterns)


def copy_without(model, patterns, out):
    """A copy of a checkpoint in a directory, in one file, without the tensors
    that have such names."""
    out = Path(out)
    out.mkdir(parents=True)
    kept = [t for t in tensors(model) if not matches(t[0], patterns)]
    entries, at = {"__metadata__": {"format": "pt"}}, 0
    for name, entry, data in kept:
        entries[name] = {**entry, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(out / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in kept:
            f.write(data)
    for side in Path(model).glob("*.json"):
        if not side.name.endswith(".index.json"):
            shutil.copy(side, out)
