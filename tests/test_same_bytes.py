"""The same inputs give the same bytes, however the work is done."""

import pytest

import checkpoints
import program
from checkpoints import write_shards
from program import scaled

SHAPES = {
    "embed": [scaled(1500, 300), 1001],
    "a.weight": [777, 333],
    "a.bias": [333],
    "scale": [],
    "empty": [0],
    "b.weight": [333, 777],
    "double": [5003],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two shards and two vectors of other layouts, several megabytes, all
    types; and the hash that every merge of them must have."""
    path = tmp_path_factory.mktemp("same")
    kinds = [
        dict.fromkeys(SHAPES, kind) | {"double": "F64"}
        for kind in ("BF16", "F16", "F32")
    ]
    base, one, two = checkpoints.family(SHAPES, kinds)
    b = write_shards(path / "base", checkpoints.split(base, 2))
    t = write_shards(path / "one", checkpoints.split(one, 3), pad=3)
    names = sorted(two)
    u = write_shards(path / "two", [{n: two[n] for n in names}], pad=0)
    vectors = [(t, 0.3), (u, -1.1)]
    out = path / "reference"
    program.merge(b, vectors, out, "--threads", 1, "--io", "threads")
    assert checkpoints.load(out) == checkpoints.expected(
        base, [(one, 0.3), (two, -1.1)]
    )
    args = program.merge_args(b, vectors, path / "none")
    smallest = program.smallest_memory(args)
    return b, vectors, checkpoints.tree_hash(out), smallest


def check(models, tmp_path, *options, **how):
    base, vectors, expected, _ = models
    out = tmp_path / "out"
    result = program.merge(base, vectors, out, *options, **how)
    assert checkpoints.tree_hash(out) == expected
    return result


@pytest.mark.parametrize("direct", ["on", "off", "auto"])
@pytest.mark.parametrize("io", ["uring", "threads", "auto"])
def test_engine_and_direct(models, tmp_path, io, direct):
    check(models, tmp_path, "--io", io, "--direct", direct)


@pytest.mark.parametrize("threads", scaled(range(1, 9), (1, 2, 5)))
@pytest.mark.parametrize("io", ["uring", "threads"])
def test_threads(models, tmp_path, io, threads):
    check(models, tmp_path, "--io", io, "--threads", threads)


@pytest.mark.parametrize("more", [0, 1, 4096, 1 << 20, 5 << 20, 50 << 20])
@pytest.mark.parametrize("direct", ["on", "off"])
def test_memory(models, tmp_path, more, direct):
    memory = models[3] + more
    check(models, tmp_path, "--memory", memory, "--direct", direct)


def test_smallest_memory_with_many_threads(models, tmp_path):
    base, vectors, _, _ = models
    args = program.merge_args(base, vectors, tmp_path / "none")
    memory = program.smallest_memory([*args, "--threads", "8"])
    check(models, tmp_path, "--memory", memory, "--threads", 8)


@pytest.mark.parametrize("cpu", ["portable", "avx2", "avx512", "neon"])
def test_instruction_set(models, tmp_path, cpu):
    if cpu not in program.instruction_sets():
        pytest.skip(f"this machine has no {cpu}")
    check(models, tmp_path, env={"TAUMERGE_CPU": cpu})


MISCHIEF = [
    "short=1",
    "shuffle=1",
    "shuffle=2,short=1",
    "op=read,k=2,errno=EINTR",
    "op=read,k=5,errno=EAGAIN",
    "op=write,k=1,errno=EINTR",
    "op=write,k=3,errno=EAGAIN",
    "op=sync,k=1,errno=EINTR",
]


@pytest.mark.parametrize("fault", MISCHIEF)
@pytest.mark.parametrize("io", ["uring", "threads"])
def test_what_a_kernel_may_do(models, tmp_path, io, fault):
    """Short transfers, completions in any order, interruptions."""
    env = {"TAUMERGE_FAULT": fault}
    for direct in scaled(["on", "off"], ["on"]):
        inside = tmp_path / direct
        inside.mkdir()
        check(models, inside, "--io", io, "--direct", direct, env=env)


@pytest.mark.parametrize("seed", range(scaled(6, 2)))
def test_any_order_of_completions(models, tmp_path, seed):
    env = {"TAUMERGE_FAULT": f"shuffle={seed + 10}"}
    memory = models[3] + (1 << 20)
    check(models, tmp_path, "--memory", memory, "--threads", 3, env=env)


def test_on_a_file_system_without_direct_io(models, shm_path):
    for direct in ("on", "auto"):
        inside = shm_path / direct
        inside.mkdir()
        check(models, inside, "--direct", direct)


def test_reports_choose_nothing(models, tmp_path):
    for i, options in enumerate((["-q"], ["-v"], ["--progress", "json"])):
        (tmp_path / str(i)).mkdir()
        check(models, tmp_path / str(i), *options)
