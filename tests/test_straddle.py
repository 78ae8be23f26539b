"""Elements that lie across two units of work, and inputs that change while
they are read: what happens once in a large merge, here in a small one."""

import json
import os
import struct
import time

import numpy as np
import pytest
import xxhash

import program

ELEMENTS = 10_000


def write(path, values):
    """A byte, then floats: each fourth block ends inside a float."""
    data = b"\x07" + values.astype("<f4").tobytes()
    header = {
        "flag": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "w": {
            "dtype": "F32",
            "shape": [len(values)],
            "data_offsets": [1, len(data)],
        },
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return data[1:]


@pytest.mark.parametrize("memory", ["smallest", "512M"])
def test_elements_across_units_are_right_and_counted_once(tmp_path, memory):
    base = np.arange(ELEMENTS, dtype=np.float32)
    tuned = np.full(ELEMENTS, np.inf, dtype=np.float32)
    raw = [
        write(tmp_path / "base.safetensors", base),
        write(tmp_path / "tuned.safetensors", tuned),
    ]
    out = tmp_path / "out.safetensors"
    vectors = [(tmp_path / "tuned.safetensors", 0.5)]
    args = program.merge_args(tmp_path / "base.safetensors", vectors, out)
    if memory == "smallest":
        memory = program.smallest_memory(args)
    result = program.run(*args, "--memory", memory)
    assert result.status == 0, result.err
    manifest = json.loads((tmp_path / "out.safetensors.json").read_text())
    entry = manifest["tensors"]["w"]
    written = out.read_bytes()[entry["offset"] :]
    assert np.all(np.isposinf(np.frombuffer(written, "<f4")))
    assert entry["xxh128"] == xxhash.xxh3_128_hexdigest(written)
    for given, recorded in zip(raw, manifest["inputs"]):
        assert recorded["tensors"]["w"] == xxhash.xxh3_128_hexdigest(given)
    assert entry["nonfinite_inputs"] == ELEMENTS
    assert entry["nonfinite_outputs"] == ELEMENTS
    assert "overflows" not in entry


def test_an_input_that_is_touched_while_it_is_read(big_tmp):
    """Its size is the same and no read fails: only its time tells."""
    size = program.scaled(3 << 30, 256 << 20)
    header = {
        "w": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}
    }
    text = json.dumps(header).encode()
    paths = [big_tmp / f"{name}.safetensors" for name in "bt"]
    for path in paths:
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        os.truncate(path, 8 + len(text) + size)
    out = big_tmp / "out"
    args = program.merge_args(paths[0], [(paths[1], 0.5)], out)
    running = program.start(*args, env={"TAUMERGE_JOURNAL": "0.05"})
    assert program.wait_for(program.sibling(out).exists)
    time.sleep(0.1)  # all files are open by now: the last look has to see it
    os.utime(paths[1], (1, 1))
    _, err = running.communicate(timeout=program.PATIENCE)
    assert running.returncode == program.IO_ERROR, err
    assert str(paths[1]) in err and "changed" in err
    assert not out.exists()
    # What is kept was made of the file as it was, and must stay unfinished.
    assert program.sibling(out).exists()
    result = program.run(*args, "--resume")
    assert result.status == program.CANNOT_CREATE, result.err
    assert f"{paths[1]} has changed since" in result.err
    assert not out.exists()
