"""The tables of README.md, from committed records and the registry of cells: `python -m benchmarks.readme` writes them.

A table stands between `<!-- table: KIND ARGUMENTS -->` and `<!-- end of table -->`, with a kind of `TABLES`.
"""

import inspect
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.classify import records as classify_records
from benchmarks.forecast import report as forecast_report
from benchmarks.gradients import compare, report
from benchmarks.gradients.config import Config
from benchmarks.hs1997 import report as hs1997_report
from benchmarks.lags import report as lags_report
from benchmarks.lags.config import Config as LagsConfig
from benchmarks.language import compare as language_compare
from benchmarks.language import report as language_report
from benchmarks.results import pick, read_records
from benchmarks.speed import report as speed_report
from benchmarks.speed.config import Config as SpeedConfig
from benchmarks.speed.config import Shape
from benchmarks.speed.profile import PURPOSES
from benchmarks.writing import records as writing_records
from rnnjax import CELLS, COMPOSITIONS, Around, Cell, ParallelCell

README = Path(__file__).parents[1] / "README.md"


def gradients(path: str, lag: str) -> Sequence[Sequence[str]]:
    """The table of a run of the gradient benchmark, at one lag."""
    records = read_records(README.parent / path)
    return report.table_rows(records, Config(**records[0]["config"]), int(lag))


def comparison(path: str) -> Sequence[Sequence[str]]:
    """Seconds of PyTorch and of rnnjax."""
    return [("cell", "PyTorch (s)", "rnnjax (s)", "ratio"), *compare.table_rows(read_records(README.parent / path))]


def speed(path: str, quantity: str, devices: str) -> Sequence[Sequence[str]]:
    """A table of a run of the speed benchmark on a number of devices: "step", "forward", "compile" or "memory"."""
    records = read_records(README.parent / path)
    return speed_report.table_rows(records, SpeedConfig(**records[0]["config"]), quantity, int(devices))


def per_step(path: str) -> Sequence[Sequence[str]]:
    """Microseconds of a time step in the first column of a run of the speed benchmark, forward and in training."""
    records = read_records(README.parent / path)
    config = SpeedConfig(**records[0]["config"])
    mine = pick(records, column=records[0]["column"], status="ok")
    found = {(record["cell"], record["shape"]): record for record in mine}
    routines = {"forward": "forward", "training": "step"}

    def text(cell: str, shape: Shape, routine: str) -> str:
        if (cell, str(shape)) not in found:
            return "-"
        microseconds = 1e6 * found[cell, str(shape)][routine]["median"] / shape.time
        return f"{float(f'{microseconds:.3g}'):g}"  # three digits, but no powers of ten

    places = list(itertools.product(config.cells, routines))
    rows = [(str(shape), *(text(cell, shape, routines[name]) for cell, name in places)) for shape in config.sizes]
    return [("shape", *(f"{cell} {name} (µs)" for cell, name in places)), *rows]


def profile(path: str) -> Sequence[Sequence[str]]:
    """Milliseconds of a training step by what its instructions are for, and how fast its products are by themselves."""
    rows = []
    for record in read_records(README.parent / path):
        spent = (f"{1e3 * record['seconds'][purpose]:.3g}" for purpose in PURPOSES)
        rates = (" / ".join(f"{rate:.0f}" for rate in way.values()) for way in record["gflops"].values())
        rows.append((record["cell"], record["shape"], *spent, *rates))
    ways = (f"{way} (GFLOP/s)" for way in ("forward", "backward"))
    return [("cell", "shape", *(f"{purpose} (ms)" for purpose in PURPOSES), *ways), *rows]


def language(path: str) -> Sequence[Sequence[str]]:
    """What several runs of the language benchmark reached."""
    return language_report.summary_rows(read_records(README.parent / path))


def language_comparison(path: str) -> Sequence[Sequence[str]]:
    """Tokens a second of PyTorch and of rnnjax in training."""
    rows = language_compare.table_rows(read_records(README.parent / path))
    return [("model", "PyTorch (tokens/s)", "rnnjax (tokens/s)", "ratio"), *rows]


def forecast(path: str) -> Sequence[Sequence[str]]:
    """What several runs of the forecasting benchmark reached, beside the numbers of the book."""
    return forecast_report.table_rows(read_records(README.parent / path))


def classify(path: str) -> Sequence[Sequence[str]]:
    """What several runs of the classification benchmark reached."""
    return classify_records.table_rows(read_records(README.parent / path))


def writing(path: str, *columns: str) -> Sequence[Sequence[str]]:
    """What several runs of translate, or of caption, reached, with some of their settings as columns."""
    return writing_records.summary_rows(read_records(README.parent / path), columns)


def lags(path: str) -> Sequence[Sequence[str]]:
    """The table of the benchmark of long time lags, of one run or of several of other cells: what was learned."""
    records = read_records(README.parent / path)
    cells = dict.fromkeys(record["cell"] for record in records)
    return lags_report.table_rows(records, LagsConfig(**{**records[0]["config"], "cells": tuple(cells)}))


def prediction(path: str) -> Sequence[Sequence[str]]:
    """Whether the half-life at initialisation predicts the lags that such a run learned."""
    records = read_records(README.parent / path)
    return lags_report.correlation_rows(records, LagsConfig(**records[0]["config"]))


def arms(path: str, lag: str) -> Sequence[Sequence[str]]:
    """The same by optimiser and threshold of clipping, at one lag."""
    records = read_records(README.parent / path)
    return lags_report.arm_rows(records, LagsConfig(**records[0]["config"]), int(lag))


def hs1997(path: str) -> Sequence[Sequence[str]]:
    """The rows of the paper of 1997, those of a run with its numbers."""
    return hs1997_report.table_rows(read_records(README.parent / path))


def cells() -> Sequence[Sequence[str]]:
    """One row a class: its registered names, and what its docstring says."""
    names: dict[type, list[str]] = {}
    for name, make in CELLS.items():
        names.setdefault(type(described(make(hidden_size=1))), []).append(name)
    headings = ("names", "cell", "equations", "parameters", "parallel over time", "source")
    return [headings, *(_cell(kind, registered) for kind, registered in names.items())]


def compositions() -> Sequence[Sequence[str]]:
    """One row a composition: its registered name, and what its docstring says."""
    rows = [
        (f"`{name}`", f"`{kind.__name__}`", _equations(kind), _after("Source:", kind))
        for name, kind in COMPOSITIONS.items()
    ]
    return [("name", "composition", "equations", "source"), *rows]


TABLES: dict[str, Callable[..., Sequence[Sequence[str]]]] = {
    "gradients": gradients,
    "comparison": comparison,
    "speed": speed,
    "per-step": per_step,
    "profile": profile,
    "language": language,
    "language-comparison": language_comparison,
    "forecast": forecast,
    "classify": classify,
    "writing": writing,
    "lags": lags,
    "prediction": prediction,
    "arms": arms,
    "hs1997": hs1997,
    "cells": cells,
    "compositions": compositions,
}


def render(text: str) -> str:
    """The text with all of its tables made anew."""

    def table(found: re.Match[str]) -> str:
        kind, *arguments = found[1].split()
        headings, *rows = TABLES[kind](*arguments)
        lines = [headings, ["---"] * len(headings), *rows]
        return f"<!-- table: {found[1]} -->\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + found[2]

    return re.sub(r"<!-- table: (.*?) -->\n.*?(<!-- end of table -->)", table, text, flags=re.DOTALL)


def described(cell: Cell[Any, Any]) -> Cell[Any, Any]:
    """What a row is about: the cell itself, or the one inside."""
    return described(cell.cell) if isinstance(cell, Around) else cell


def parameter_formula(kind: type) -> str:
    """The number of parameters of a cell, as its docstring says: an expression in its sizes."""
    return _after("Parameters:", kind)


def _cell(kind: type, names: Sequence[str]) -> tuple[str, ...]:
    return (
        "<br>".join(f"`{name}`" for name in names),
        f"`{kind.__name__}`",
        _equations(kind),
        f"`{parameter_formula(kind)}`",
        "yes" if issubclass(kind, ParallelCell) else "no",
        _after("Source:", kind),
    )


def _equations(kind: type) -> str:
    """The indented lines of a docstring, each as code."""
    lines = re.findall(r"^    (.*)$", inspect.getdoc(kind) or "", re.MULTILINE)
    return "<br>".join(f"`{' '.join(line.split())}`".replace("|", "\\|") for line in lines)


def _after(start: str, kind: type) -> str:
    """What follows `start` in a docstring to the end of its paragraph, on one line, without a full stop."""
    text = inspect.getdoc(kind) or ""
    found = re.search(rf"{start}\s+(.*?)(?:\n\n|\Z)", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no paragraph with {start!r} in: {text}")
    return " ".join(found[1].split()).removesuffix(".")


if __name__ == "__main__":
    README.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
