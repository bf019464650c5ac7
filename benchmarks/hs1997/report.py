"""The table in the terminal, its rows for the README, and report.html."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.hs1997.experiment import TEST
from benchmarks.hs1997.records import Summary, remarks, shown_rows, summarise
from benchmarks.hs1997.rows import ROWS, Row
from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record, pick
from rnnjax.learn import WeightGuessing
from rnnjax.models import RecurrentCascade

HEADINGS = (
    "row",
    "method",
    "weights",
    "paper: solved",
    "paper: sequences",
    "ours: solved",
    "ours: sequences, median (range)",
    "ratio",
    "paper: wrong of 2560",
    "ours: wrong",
    "remarks",
)


def table_rows(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """Headings, and all rows of the paper: those that were not run too."""
    return [HEADINGS, *(_texts(name, summarise(records, name)) for name in ROWS)]


def print_table(console: Console, records: Sequence[Record]) -> None:
    """The rows that were run, what to know of them, and what was not run."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("row", "solved", "sequences, median (range)", "published", "ratio"):
        table.add_column(heading, no_wrap=heading == "row", justify="left" if heading == "row" else "right")
    names = shown_rows(records)
    lines = []
    for name in names:
        summary = summarise(records, name)
        table.add_row(
            name,
            _solved(summary),
            _number(*_spread(summary.sequences)) + _first(summary.row, summary.first_stop),
            _published(summary),
            _ratio(summary),
        )
        text = remarks(summary)
        lines += [f"{name}: {text}"] if text else []
        failed = {record["reason"] for record in pick(records, row=name, status="failed")}
        lines += [f"{name} failed: {reason}" for reason in failed]
    console.print(table)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Not run: {', '.join(name for name in ROWS if name not in names) or 'none'}.", highlight=False)


def write_report(folder: Path, records: Sequence[Record], figure: Path) -> Path:
    """report.html, one file that needs no other."""
    page = Page(
        title="The experiments of the LSTM paper, repeated",
        summary='S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997: every row of '
        "its Tables 1 to 9, trained on-line as published.",
        how_to_read=(
            "Solved: the share of trials that met the published criterion before they were given up at a cap; those "
            "that an interruption cut off count as not solved.",
            "Sequences: until then, the median and the range over the trials that did.",
            "Ratio: our median over the published number of sequences. A dash: not published, or not run.",
        ),
        figures=[(figure, "Sequences until success, of every trial, beside the published means.")],
        tables=[PageTable("All rows of the paper", table_rows(records), text_columns=(0, 1, 10))],
    )
    return write_page(folder, page)


def _texts(name: str, summary: Summary) -> tuple[str, ...]:
    row, published = summary.row, summary.row.published
    has_rate = not isinstance(row.network, RecurrentCascade) and not isinstance(row.algorithm, WeightGuessing)
    return (
        name,
        row.method + (f", rate {row.rate:g}" if has_rate else ""),
        _weights(row),
        _published_share(summary) or "-",
        _published_sequences(summary, with_spread=True) or "-",
        _solved(summary),
        _number(*_spread(summary.sequences)) + _first(row, summary.first_stop),
        _ratio(summary),
        "-" if published.wrong is None else f"{published.wrong * TEST:.1f}",
        "-" if summary.wrong is None else f"{summary.wrong * TEST:.1f}",
        remarks(summary),
    )


def _solved(summary: Summary) -> str:
    return "-" if summary.solved is None else f"{summary.solved:.0f} % of {summary.trials}"


def _published(summary: Summary) -> str:
    texts = _published_share(summary), _published_sequences(summary, with_spread=False)
    return " ".join(filter(None, texts)) or "-"


def _published_share(summary: Summary) -> str:
    solved = summary.row.published.solved
    return solved or "" if isinstance(solved, str | None) else f"{solved:g} %"


def _published_sequences(summary: Summary, with_spread: bool) -> str:
    row, published = summary.row, summary.row.published
    if published.more_than:
        return f">{published.more_than:,}"
    if published.sequences is None:
        return ""
    if not with_spread:
        return f"{published.sequences:,.0f}"
    return _number(published.sequences, *(published.spread or (None, None))) + _first(row, published.first_stop)


def _weights(row: Row) -> str:
    if isinstance(row.network, RecurrentCascade):
        return f"{row.network.weights(row.task.input_size, row.network.max_units)} at most"
    return f"{row.counted or row.weights or '-'}"


def _ratio(summary: Summary) -> str:
    return "-" if summary.ratio is None else f"{summary.ratio:.2f}"


def _spread(sequences: np.ndarray) -> tuple[float | None, float | None, float | None]:
    if not len(sequences):
        return None, None, None
    return float(np.median(sequences)), float(sequences[0]), float(sequences[-1])


def _number(middle: float | None, low: float | None, high: float | None) -> str:
    if middle is None:
        return "-"
    return f"{middle:,.0f}" + ("" if low is None else f" ({low:,.0f}-{high:,.0f})")


def _first(row: Row, first_stop: float | None) -> str:
    return "" if first_stop is None else f", {row.first_stop} {first_stop:,.0f}"
