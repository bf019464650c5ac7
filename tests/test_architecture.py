"""Dependencies point one way: cells <- compose <- scan <- (flow, learn) <- models, train <- benchmarks, notebooks."""

import ast
import re
from pathlib import Path

import pytest

import rnnjax

ROOT = Path(rnnjax.__file__).parents[1]
MODULES = sorted((ROOT / "rnnjax").rglob("*.py"))

# A part of the package may import itself and the parts that it lists, and no others.
ALLOWED = {
    "registry": set(),
    "checks": set(),
    "initializers": set(),
    "cells": {"registry", "checks", "initializers"},
    "compose": {"registry", "cells", "checks", "initializers"},
    "kernels": {"cells", "checks"},
    "scan": {"registry", "cells", "checks", "compose", "kernels"},
    "explain": {"cells", "kernels", "scan"},
    "newton": {"cells", "compose", "kernels", "scan"},
    "flow": {"cells", "kernels", "scan"},
    "learn": {"registry", "cells", "checks", "compose", "kernels", "scan"},
    "tasks": {"registry", "checks"},
    "models": {"registry", "checks", "initializers", "cells", "compose", "scan", "flow", "learn"},
    "train": {"registry", "checks", "cells", "compose", "scan", "flow", "learn", "models"},
    "interop": {"registry", "checks", "initializers", "cells", "compose", "scan"},
}
WITHOUT_FLAX = set(ALLOWED) - {"models", "train"}


def imported(path):
    """The full names of everything that a module imports, wherever in the file."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def part_of(path):
    return path.relative_to(ROOT / "rnnjax").with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    names = list(imported(path))
    outside = {"benchmarks", "tests", "notebooks"} & {name.split(".")[0] for name in names}
    assert not outside, f"nothing in rnnjax imports {outside}"
    part = part_of(path)
    if part == "__init__":
        return
    assert part in ALLOWED, f"say in {__file__} what rnnjax.{part} may import"
    inner = {name.split(".")[1] for name in names if name.startswith("rnnjax.")}
    assert inner <= ALLOWED[part] | {part}
    if part in WITHOUT_FLAX:
        assert not [name for name in names if name.split(".")[0] == "flax"]


def test_arrows_have_no_circle():
    def reach(part, seen=()):
        assert part not in seen, f"a circle: {(*seen, part)}"
        for other in ALLOWED[part]:
            reach(other, (*seen, part))

    for part in ALLOWED:
        reach(part)


OTHER_LOOPS = {
    "models/beam.py",
    "models/cascade.py",
    "models/chunker.py",
    "models/cross_entropy.py",
    "models/decoder.py",
    "models/forecaster.py",
    "models/sampling.py",
    "train/loop.py",
    "train/language.py",
}
"""Over the steps and epochs of one unit, over the steps of a sequence with an update each, over chunks of tokens, over
tokens and forecasts that are made one from the other, over training steps, over stretches of text."""


def test_loops_over_time_are_in_few_places():
    """`lax.scan` appears in scan.py, kernels, flow and learn: a new loop over time belongs there."""
    users = {path for path in MODULES if re.search(r"\blax\.(scan|fori_loop|while_loop)\(", path.read_text())}
    others = {path for path in users if part_of(path) not in ("scan", "kernels", "flow", "learn")}
    assert {path.relative_to(ROOT / "rnnjax").as_posix() for path in others} == OTHER_LOOPS
