"""What all tests share: a base and fine-tunes of it, made once."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

import checkpoints
import program
import vectors


def pytest_report_header():
    return f"taumerge: {program.PROGRAM} (suite {program.SUITE})"


def pytest_sessionstart(session):
    if not os.access(program.PROGRAM, os.X_OK):
        pytest.exit(f"no program at {program.PROGRAM}: build it first", 2)


# Of these a sanitizer runs a share: many tests of one kind, each with several
# runs of the program.
MANY = {
    "test_bad", "test_faults", "test_flips", "test_hostile", "test_kills",
    "test_power", "test_real_faults", "test_recipe_cli", "test_recipe_faults",
    "test_torture", "test_vector_damage", "test_vector_faults",
}  # fmt: skip


def pytest_collection_modifyitems(config, items):
    if not program.SANITIZED:
        return
    many = [item for item in items if item.module.__name__ in MANY]
    kept = set(map(id, program.some(many)))
    left_out = [item for item in many if id(item) not in kept]
    out = set(map(id, left_out))
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if id(item) not in out]


class Family:
    """A base of two shards and two fine-tunes, on disk and in memory."""

    def __init__(self, path):
        self.base, *self.tuned = checkpoints.small(2)
        self.base_path = checkpoints.write_shards(
            path / "base", checkpoints.split(self.base, 2), {"format": "pt"}
        )
        self.tuned_paths = [
            checkpoints.write_shards(path / f"tuned{i}", [t])
            for i, t in enumerate(self.tuned)
        ]
        self.vectors = list(zip(self.tuned_paths, (0.4, -1.0)))
        self.expected = checkpoints.expected(
            self.base, list(zip(self.tuned, (0.4, -1.0)))
        )

    def args(self, out):
        return program.merge_args(self.base_path, self.vectors, out)


@pytest.fixture(scope="session")
def family(tmp_path_factory):
    """Shared by all tests of a run: nobody may change it."""
    made = Family(tmp_path_factory.mktemp("family"))
    before = [checkpoints.tree_hash(made.base_path)]
    before += [checkpoints.tree_hash(p) for p in made.tuned_paths]
    yield made
    after = [checkpoints.tree_hash(made.base_path)]
    after += [checkpoints.tree_hash(p) for p in made.tuned_paths]
    assert after == before, "the program wrote to its inputs"


@pytest.fixture(scope="session")
def merged(family, tmp_path_factory):
    """A merge of the family, done once: (path, result)."""
    out = tmp_path_factory.mktemp("merged") / "out"
    result = program.merge(family.base_path, family.vectors, out)
    return out, result


@pytest.fixture(scope="session")
def stored(family, tmp_path_factory):
    """The family's fine-tunes as vectors."""
    path = tmp_path_factory.mktemp("stored")
    made = [path / f"vector{i}" for i in range(len(family.tuned_paths))]
    for tuned, vector in zip(family.tuned_paths, made):
        vectors.diff(family.base_path, tuned, vector)
    before = [checkpoints.tree_hash(p) for p in made]
    yield made
    after = [checkpoints.tree_hash(p) for p in made]
    assert after == before, "the program wrote to its inputs"


@pytest.fixture(scope="session")
def small_pair(tmp_path_factory):
    """A vector of about three kilobytes with a tensor of every kind."""
    base, tuned = checkpoints.family(
        {"near": [300], "wide": [70], "same": [20], "none": [0]},
        [{"near": "BF16", "wide": "F32", "same": "F16", "none": "F32"}] * 2,
    )
    tuned["same"] = base["same"]
    tuned["new"] = checkpoints.tensor([i / 30 for i in range(30)], "BF16")
    return vectors.made_of(tmp_path_factory.mktemp("small"), base, tuned)


@pytest.fixture
def big_tmp(tmp_path):
    """For large files: they go as soon as the test is over."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def shm_path():
    """A folder in memory: no direct I/O, and no disk to wait for."""
    if not os.path.ismount("/dev/shm") or not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm")
    path = tempfile.mkdtemp(dir="/dev/shm", prefix="taumerge-test-")
    yield Path(path)
    shutil.rmtree(path, ignore_errors=True)
