# SPDX-License-Identifier: Apache-2.0
"""Recipes of the methods that are measured, in mergekit's YAML."""

import json
from collections import namedtuple

# `based`: the first model is the base; else it is an input like the others.
# `models`: how many beside it. `shared` are parameters of the merge, `each`
# have a value for each model.
Method = namedtuple("Method", "family based models shared each")

WEIGHTS = [0.4, 0.3, -0.2]
# Where signs are counted or weights divided by: all of one sign.
SHARES = [0.4, 0.3, 0.2]

METHODS = {
    "task_arithmetic": Method("linear", True, 3, {}, {"weight": WEIGHTS}),
    "linear": Method("linear", False, 3, {}, {"weight": [*SHARES, 0.15]}),
    "slerp": Method("gram", True, 1, {"t": 0.3}, {}),
    "multislerp": Method("gram", True, 3, {}, {"weight": SHARES}),
    "karcher": Method("gram", False, 3, {}, {}),
    "model_stock": Method("gram", True, 3, {}, {}),
    "ties": Method("threshold", True, 3, {"density": 0.5},
                   {"weight": SHARES}),
    "dare_ties": Method("threshold", True, 3, {"density": 0.5},
                        {"weight": SHARES}),
    "della": Method("threshold", True, 3, {"density": 0.5, "epsilon": 0.15},
                    {"weight": SHARES}),
    "breadcrumbs": Method("threshold", True, 3,
                          {"density": 0.5, "gamma": 0.01},
                          {"weight": SHARES}),
    "sce": Method("threshold", True, 3, {"select_topk": 0.5}, {}),
}  # fmt: skip


def inputs(name, family):
    """The models that a method reads, the base first."""
    return family.models[: 1 + METHODS[name].models]


def input_files(name, family):
    return family.files[: 1 + METHODS[name].models]


def text(name, base, vectors, dtype=None, kind=None, **changes):
    """The recipe of a method.

    With dtype float32 or bfloat16, that is what mergekit computes in; the
    output is bfloat16 both times, or out_dtype. `kind` is another method
    that takes the same parameters; `changes` are other values of some.
    """
    method = METHODS[name]
    out_dtype = changes.pop("out_dtype", "bfloat16")
    lines = [f"merge_method: {kind or name}"]
    if dtype is not None:
        lines += [f"dtype: {dtype}", f"out_dtype: {out_dtype}"]
    listed = [*vectors[: method.models]]
    if method.based:
        lines += [f"base_model: {quoted(base)}"]
    else:
        listed.insert(0, base)
    values = {**method.shared, **method.each, **changes}
    shared = {k: v for k, v in values.items() if not isinstance(v, list)}
    if shared:
        lines += ["parameters:", *entries(shared, "  ")]
    lines += ["models:"]
    for i, model in enumerate(listed):
        lines += [f"  - model: {quoted(model)}"]
        own = {k: v[i] for k, v in values.items() if isinstance(v, list)}
        if own:
            lines += ["    parameters:", *entries(own, "      ")]
    return "\n".join(lines) + "\n"


def of_family(name, family, dtype=None, **changes):
    return text(name, family.base, family.vectors, dtype, **changes)


def quoted(path):
    return json.dumps(str(path))


def entries(values, indent):
    return [f"{indent}{k}: {json.dumps(v)}" for k, v in values.items()]
