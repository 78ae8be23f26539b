"""docs/methods.md says what `taumerge methods` says, and the other way
round: every method, its parameters, their ranges and defaults."""

import json
import re

import pytest

import program
from program import run

PAGE = (program.TOP / "docs" / "methods.md").read_text()


@pytest.fixture(scope="module")
def methods():
    result = run("methods", "--json")
    assert result.status == 0, result.err
    return {m["name"]: m for m in json.loads(result.out)}


def sections():
    """{method: the text below its heading}"""
    parts = re.split(r"(?m)^### (\w+)\n", PAGE)
    texts = [re.split(r"(?m)^## ", text)[0] for text in parts[2::2]]
    return dict(zip(parts[1::2], texts))


def rows(text):
    """The table of a section, without its heading."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines]


def facts(method):
    """The line that begins a section."""
    passes = str(method["passes"])
    if method["whole_model"]:
        passes += ", one over the whole model"
    base = {"needed": "needs a base", "optional": "with or without a base",
            "input": "a base is an input"}[method["base"]]  # fmt: skip
    models = str(method["least"])
    if method["most"] is None:
        models += " or more"
    elif method["most"] != method["least"]:
        models += f" to {method['most']}"
    return (
        f"Family: {method['family']}. Passes: {passes}.\n"
        f"Models: {models}, {base}.\nSource: {method['source']}."
    )


def number(value):
    return f"{value:g}"


def row(parameter):
    """What the table has to say about a parameter."""
    default, limits = parameter["default"], "any"
    if parameter["kind"] == "flag":
        limits = "true, false"
    elif parameter["kind"] == "choice":
        limits = ", ".join(parameter["choices"])
    else:
        least, most = parameter["least"], parameter["most"]
        whole = "whole, " if parameter["kind"] == "whole" else ""
        if least is not None and most is not None:
            limits = f"{whole}{number(least)} to {number(most)}"
        elif least is not None:
            limits = f"{whole}at least {number(least)}"
    if parameter["required"]:
        default = "required"
    elif isinstance(default, bool):
        default = str(default).lower()
    elif not isinstance(default, str):
        default = number(default)
    return [
        f"`{parameter['name']}`",
        "model" if parameter["per_model"] else "merge",
        default, limits, parameter["help"],
    ]  # fmt: skip


def test_every_method_has_a_section(methods):
    assert sorted(sections()) == sorted(methods)


def test_sections_say_what_the_program_says(methods):
    for name, text in sections().items():
        method = methods[name]
        assert text.strip().startswith(facts(method)), facts(method)
        assert rows(text) == [row(p) for p in method["parameters"]], name


def test_the_table_of_thinning_methods(methods):
    """Defaults that differ between them."""
    found = re.findall(
        r"(?m)^\| (\w+) \|.*\| (sum|vote) \| (\w+) \| (\w+) \|$", PAGE
    )
    assert len(found) == 7
    for name, _, *wanted in found:
        defaults = {
            p["name"]: p["default"] for p in methods[name]["parameters"]
        }
        got = [defaults["normalize"], defaults["rescale"]]
        assert [str(flag).lower() for flag in got] == wanted, name
