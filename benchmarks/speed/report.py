"""The tables in the terminal, their rows for the README, and report.html."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record, pick
from benchmarks.speed.config import Config
from benchmarks.speed.records import QUANTITIES, Grid, Row, failures, spread, tabulate

SHAPES = "Shapes: time steps x batch x hidden units, with as many inputs as hidden units."


def print_tables(console: Console, records: Sequence[Record], config: Config) -> None:
    """A table for each quantity that anything is known of, how to read them, and what is missing."""
    for devices, quantity in itertools.product(config.devices, QUANTITIES):
        grid = tabulate(records, config, quantity, devices)
        if any(value is not None for row in grid.rows for value in (row.base, *row.others)):
            console.print(_table(grid, quantity))
    lines = [SHAPES]
    if len(config.columns) > len(config.devices):
        lines.append("Right of the first column: how many times as much it takes, below 1 (red) less.")
    if max(config.devices) > 1:
        lines.append("xN: the batch spread over N devices.")
    for line in [*lines, *_spread(records)]:
        console.print(line, highlight=False)
    missing = failures(records)
    if missing:
        console.print("Not measured:")
    for line in missing:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def table_rows(records: Sequence[Record], config: Config, quantity: str, devices: int) -> list[tuple[str, ...]]:
    """Headings and rows."""
    grid = tabulate(records, config, quantity, devices)
    return [_headings(grid, quantity), *(_texts(row, quantity) for row in grid.rows)]


def write_report(folder: Path, records: Sequence[Record], config: Config, figures: Mapping[str, Path]) -> Path:
    """report.html, one file that needs no other."""
    page = Page(
        title="Speed of recurrent networks",
        summary="Forward pass and training step, the gradient of the mean of the squared outputs for weights and "
        "inputs, after every library has shown that its outputs and gradients are those of rnnjax.",
        how_to_read=(
            SHAPES,
            "Right of the first column: how many times as much it takes, below 1 less.",
            *_spread(records),
        ),
        figures=[(svg, caption) for caption, svg in figures.items()],
        tables=[
            PageTable(QUANTITIES[quantity].title, table_rows(records, config, quantity, devices), text_columns=(0, 1))
            for devices, quantity in itertools.product(config.devices, QUANTITIES)
        ],
    )
    return write_page(folder, page)


def _table(grid: Grid, quantity: str) -> Table:
    table = Table(title=QUANTITIES[quantity].title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for heading in _headings(grid, quantity):
        table.add_column(heading, justify="left" if heading in ("cell", "shape") else "right")
    last = {row.cell: row for row in grid.rows}
    for row in grid.rows:
        less = [row.base is not None and value is not None and value < row.base for value in row.others]
        styles = [""] * 3 + ["red" if is_less else "" for is_less in less]
        table.add_row(*map(Text, _texts(row, quantity), styles), end_section=row == last[row.cell])
    return table


def _headings(grid: Grid, quantity: str) -> tuple[str, ...]:
    base, *others = grid.columns
    return ("cell", "shape", f"{base} ({QUANTITIES[quantity].unit})", *others)


def _texts(row: Row, quantity: str) -> tuple[str, ...]:
    """Multiples of the first column; where that has no number, the numbers themselves."""

    def text(value: float | None) -> str:
        if value is None:
            return "-"
        return f"{value:.3g} {QUANTITIES[quantity].unit}" if row.base is None else f"{value / row.base:.2f}"

    return (row.cell, row.shape, "-" if row.base is None else f"{row.base:.3g}", *map(text, row.others))


def _spread(records: Sequence[Record]) -> list[str]:
    """How far apart samples are."""
    shares = {
        f"{record['column']}, {record['cell']} {record['shape']}, {routine}": spread(record, routine)
        for record in pick(records, status="ok")
        for routine in ("step", "forward")
    }
    if not shares:
        return []
    worst = max(shares, key=lambda where: shares[where])
    usual = statistics.median(shares.values())
    return [
        f"Times are medians; the middle half of the samples spans {usual:.0%} of them in the median, "
        f"{shares[worst]:.0%} at worst ({worst})."
    ]
