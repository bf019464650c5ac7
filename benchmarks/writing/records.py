"""From epochs to records, and from records to tables: of a run in the terminal, of several runs in README.md.

A record is one epoch of one cell, or, with "kind" "result", what came of it, or "flow", its gradient norms.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.results import Record, pick
from benchmarks.training import entitled
from benchmarks.writing.config import WritingConfig

SCORES = {
    "exact": ("exact", "{:.1%}"),
    "error": ("error rate", "{:.1%}"),
    **{f"bleu-{order}": (f"BLEU-{order}", "{:.1f}") for order in range(1, 5)},
}
"""What a column is called, and how its numbers are written."""


def make_records(
    benchmark: str,
    config: WritingConfig,
    cell: str,
    history: Sequence[Mapping[str, float]],
    result: Record | None,
    environment: Record,
) -> Iterator[Record]:
    """One record an epoch, and one of the result if it is there."""
    about = {"config": dataclasses.asdict(config), "environment": environment}
    for entry in history:
        yield {"benchmark": benchmark, "cell": cell, "kind": "epoch", **entry, **about}
    if result is not None:
        nothing = {"test_loss": math.nan, "scores": {}, "samples": []}  # of a model that diverged at once
        yield {"benchmark": benchmark, "cell": cell, "kind": "result", **nothing, **result, **about}


def table_rows(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """Headings, and a row a cell: what came of it on the test split, at its best epoch."""
    results = pick(records, kind="result")
    scores = [name for name in SCORES if any(name in result["scores"] for result in results)]
    rows = []
    for result in results:
        epochs = _epochs(records, result)
        row: tuple[Any, ...] = (entitled(result), f"{result['parameters']:,}", str(result["epoch"]), _minutes(epochs))
        rows.append((*row, f"{float(result['test_loss']):.3f}", *_scores(result, scores)))
    headings = ("cell", "weights", "epoch", "minutes", "loss")
    return [(*headings, *(SCORES[name][0] for name in scores)), *rows]


def summary_rows(records: Sequence[Record], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Headings, and a row a model of several runs: what it is, what it took, and its test scores.

    `columns` are settings of the run. Minutes are those of training.
    """
    results = pick(records, kind="result")
    scores = [name for name in SCORES if any(name in result["scores"] for result in results)]
    rows = []
    for result in results:
        epochs = _epochs(records, result)
        about = (_setting(result["config"][name]) for name in columns)
        size = f"{result['parameters']:,}", str(len(epochs)), _minutes(epochs)
        rows.append((*about, result["cell"], *size, *_scores(result, scores)))
    names = (name.replace("_", " ") for name in columns)
    headings = (*names, "cell", "parameters", "epochs", "minutes", *(SCORES[name][0] for name in scores))
    return [headings, *rows]


def _epochs(records: Sequence[Record], result: Record) -> list[Record]:
    """The epochs of the same run."""
    return pick(records, cell=result["cell"], kind="epoch", config=result["config"])


def _minutes(epochs: Sequence[Record]) -> str:
    return f"{sum(epoch['seconds'] for epoch in epochs) / 60:.1f}"


def _scores(result: Record, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        value = result["scores"].get(name)
        yield "-" if value is None else SCORES[name][1].format(value)


def _setting(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def print_table(console: Console, records: Sequence[Record], title: str) -> None:
    headings, *rows = table_rows(records)
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "cell" else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
