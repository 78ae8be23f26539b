"""The unit tests, one test here for each test of the cmocka programs."""

import os
import re
import subprocess
from functools import cache

import pytest

import program

PROGRAMS = sorted(
    path
    for path in (program.BUILD / "tests" / "unit").glob("test_*")
    if path.suffix == "" and os.access(path, os.X_OK)
)

LINE = re.compile(r"^\[ +(OK|FAILED|SKIPPED) +\] (?:\w+: )?(\w+)", re.M)


@cache
def outcome(path):
    """Runs a program: its status, its output, {test: OK or FAILED}."""
    done = subprocess.run(
        [path],
        cwd=program.BUILD,
        env=program.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=program.PATIENCE * 2,
    )
    text = done.stdout.decode(errors="replace")
    found = {}
    for result, test in LINE.findall(text):
        # A failed test is named again in the summary.
        if found.get(test) != "FAILED":
            found[test] = result
    return done.returncode, text, found


def pytest_generate_tests(metafunc):
    if "unit_test" in metafunc.fixturenames:
        tests = [(p, t) for p in PROGRAMS for t in outcome(p)[2]]
        ids = [f"{p.name}-{t}" for p, t in tests]
        metafunc.parametrize("unit_test", tests, ids=ids)


def test_unit(unit_test):
    path, test = unit_test
    _, text, found = outcome(path)
    if found[test] == "SKIPPED":
        pytest.skip("the program skipped it")
    assert found[test] == "OK", text


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_program(path):
    """The program as a whole, sanitizers at its exit included."""
    status, text, found = outcome(path)
    program.check_sanitizers(text)
    assert status == 0 and found, text
