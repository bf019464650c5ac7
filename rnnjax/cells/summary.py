"""The table of all registered cells, read from their docstrings: `python -m rnnjax.cells.summary`."""

import inspect
import re
from collections.abc import Sequence

from rnnjax.cells import CELLS
from rnnjax.cells.linear import ParallelCell

HEADINGS = ("names", "cell", "equations", "parameters", "parallel over time", "source")


def markdown_table() -> str:
    """One row a class: its registered names, equations, number of parameters, whether it runs in parallel, source."""
    names: dict[type, list[str]] = {}
    for name, make in CELLS.items():
        names.setdefault(type(make(hidden_size=1)), []).append(name)
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(_row(kind, registered) for kind, registered in names.items())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(kind: type, names: Sequence[str]) -> tuple[str, ...]:
    text = inspect.getdoc(kind) or ""
    equations = [" ".join(line.split()) for line in re.findall(r"^    (.*)$", text, re.MULTILINE)]
    return (
        "<br>".join(f"`{name}`" for name in names),
        f"`{kind.__name__}`",
        "<br>".join(f"`{equation}`".replace("|", "\\|") for equation in equations),
        f"`{parameter_formula(kind)}`",
        "yes" if issubclass(kind, ParallelCell) else "no",
        _after("Source:", text),
    )


def parameter_formula(kind: type) -> str:
    """The number of parameters of a cell, as its docstring says: an expression in its sizes."""
    return _after("Parameters:", inspect.getdoc(kind) or "")


def _after(start: str, text: str) -> str:
    """What follows `start` to the end of its paragraph, on one line, without a full stop."""
    found = re.search(rf"{start}\s+(.*?)(?:\n\n|\Z)", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no paragraph with {start!r} in: {text}")
    return " ".join(found[1].split()).removesuffix(".")


if __name__ == "__main__":
    print(markdown_table(), end="")
