"""The rules of CONTRIBUTING.md that a program can check, and the kernels of
other processors under an emulator."""

import re
import shutil
import subprocess

import pytest

import program

FLOORS = ("kernels", "io", "src")

# What a floor may include from others.
ALLOWED = {
    "kernels": {"kernels"},
    "io": {"io", "kernels"},
    "src": {"src", "io", "kernels"},
}


def sources(*floors):
    for floor in floors:
        yield from sorted((program.TOP / floor).rglob("*.[ch]"))


def test_no_line_is_wider_than_80_columns():
    wide = [
        f"{path}:{number}"
        for path in sources(*FLOORS, "tests/unit", "tests/fuzz", "bench")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 80
    ]
    assert wide == []


def test_a_floor_knows_only_those_below_it():
    crossings = []
    for floor in FLOORS:
        for path in sources(floor):
            included = re.findall(r'#include "(\w+)/', path.read_text())
            crossings += [
                f"{path} includes {other}"
                for other in included
                if other not in ALLOWED[floor]
            ]
    assert crossings == []


def test_methods_know_nothing_of_the_engine():
    known = ("kernels/", "src/methods/", "src/method.h", "src/nearest.h")
    strange = [
        f"{path}: {name}"
        for path in sources("src/methods")
        for name in re.findall(r'#include "([^"]+)"', path.read_text())
        if not name.startswith((*known, "config.h"))
    ]
    assert strange == []


@pytest.mark.parametrize("name", ["taumerge", "io", "kernels"])
def test_every_exported_name_has_the_prefix(name):
    library = program.BUILD / f"lib{name}.a"
    if program.SANITIZED or shutil.which("nm") is None:
        pytest.skip("sanitizers add names of their own")
    listed = subprocess.run(
        ["nm", "--defined-only", "--extern-only", library],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = re.findall(r"^[0-9a-f]+ [A-Z] (\w+)$", listed, re.MULTILINE)
    assert names
    assert [n for n in names if not n.startswith("tm_")] == []


KERNELS = ["sum", "drift", "planes", "rans", "strip", "select", "mask", "row"]


FLAGS = ["-std=c11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-Wall"]
FLAGS += ["-Werror", f"-I{program.TOP}", "-DTM_NO_CMOCKA"]


@pytest.fixture(scope="module")
def aarch64(tmp_path_factory):
    """A compiler that knows the flags, an emulator, and the kernels as objects
    for the processor that both are for."""
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    emulator = shutil.which("qemu-aarch64") or shutil.which(
        "qemu-aarch64-static"
    )
    if program.SANITIZED or compiler is None or emulator is None:
        pytest.skip("no cross-compiler or emulator for aarch64")
    path = tmp_path_factory.mktemp("aarch64")
    sources = sorted((program.TOP / "kernels").glob("*.c"))
    subprocess.run([compiler, *FLAGS, "-c", *sources], cwd=path, check=True)
    return [compiler, *FLAGS], emulator, sorted(path.glob("*.o"))


@pytest.mark.parametrize("kernel", KERNELS)
def test_neon_kernels_give_the_same_bits(aarch64, tmp_path, kernel):
    compile_it, emulator, objects = aarch64
    test = tmp_path / f"test_{kernel}"
    source = program.TOP / f"tests/unit/test_{kernel}.c"
    subprocess.run(
        [*compile_it, "-static", "-o", test, source, *objects, "-lm"],
        check=True,
    )
    for cpu in ["max", "cortex-a72"]:
        subprocess.run([emulator, "-cpu", cpu, test], check=True)
