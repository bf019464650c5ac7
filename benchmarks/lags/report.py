"""The tables, and report.html: which lags are learned, and what optimisers and clipping have to do with it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.lags.config import Config
from benchmarks.lags.records import Row, half_life, make_row
from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record

HOW_TO_READ = (
    "succeeded/seeds, and the median update of success; else the loss over the trivial predictor's (1: nothing "
    "learned); half-life: of the gradient at initialisation, in steps, at the largest lag; clipped: share of updates"
)

ARMS = "solved, diverged; share of updates at which clipping engaged"
CAPTIONS = {
    "phase": "Share of the seeds that succeed, by cell and lag.",
    "success": "Share of the seeds that succeed, and the updates that they took, against the lag.",
    "half_life": "Does the half-life of the gradient at initialisation predict the lag that is learned?",
    "arms": "Share of the seeds that succeed, by optimiser and threshold of clipping.",
}


def table_rows(records: Sequence[Record], config: Config) -> list[tuple[str, ...]]:
    """Headings and rows: every task and cell against the lags, with the first optimiser and threshold."""
    lags = sorted(config.lags)
    rows = [("task", "cell", "half-life", *(f"lag {lag}" for lag in lags), "clipped")]
    for task in config.tasks:
        for cell in config.cells:
            found = [make_row(records, task=task, cell=cell, lag=lag, **first_arm(config)) for lag in lags]
            texts = (_outcome(row) for row in found)
            life = half_life(records, lags, task=task, cell=cell, **first_arm(config))
            clipped = float(np.mean([row.clipped for row in found if row.failure is None] or [math.nan]))
            rows.append((task, cell, _number(life, ".1f"), *texts, _number(clipped, ".0%")))
    return rows


def arm_rows(records: Sequence[Record], config: Config, lag: int) -> list[tuple[str, ...]]:
    """Headings and rows: every task, cell and optimiser against the thresholds of clipping, at one lag."""
    rows = [("task", "cell", "optimizer", *map(threshold, config.clip))]
    for task in config.tasks:
        for cell in config.cells:
            for optimizer in config.optimizers:
                found = [
                    make_row(records, task=task, cell=cell, lag=lag, optimizer=optimizer, max_norm=max_norm)
                    for max_norm in config.clip
                ]
                rows.append((task, cell, optimizer, *map(_arm, found)))
    return rows


def print_tables(console: Console, records: Sequence[Record], config: Config) -> None:
    _print(console, f"Lags that are learned: {_arm_name(config)}", table_rows(records, config))
    console.print(HOW_TO_READ, highlight=False)
    if len(config.optimizers) * len(config.clip) > 1:
        for lag in sorted(config.lags):
            _print(console, f"Optimisers and clipping at lag {lag}", arm_rows(records, config, lag))
        console.print(ARMS, highlight=False)


def write_report(folder: Path, records: Sequence[Record], config: Config, figures: Mapping[str, Path]) -> Path:
    """report.html, one file that needs no other."""
    tables = [
        PageTable(f"Lags that are learned: {_arm_name(config)}", table_rows(records, config), HOW_TO_READ, (0, 1))
    ]
    if len(config.optimizers) * len(config.clip) > 1:
        tables += [
            PageTable(f"Optimisers and clipping at lag {lag}", arm_rows(records, config, lag), ARMS, (0, 1, 2))
            for lag in sorted(config.lags)
        ]
    page = Page(
        title="Long time lags, learned",
        summary=f"{', '.join(config.cells)} with {config.hidden_size} units on {', '.join(config.tasks)}, trained with "
        f"the same budget of {config.updates} updates, {config.seeds} seeds each.",
        how_to_read=(
            "A run succeeds when its loss on held-out sequences falls below the task's mark, and stops there.",
            "The half-life of the gradient at initialisation says over how many steps an error halves on its way back.",
        ),
        figures=[(svg, CAPTIONS[name]) for name, svg in figures.items()],
        tables=tables,
    )
    return write_page(folder, page)


def first_arm(config: Config) -> dict[str, str | float]:
    """The optimiser and the threshold that tables and figures against the lag are of."""
    return {"optimizer": config.optimizers[0], "max_norm": config.clip[0]}


def _arm_name(config: Config) -> str:
    optimizer, max_norm = config.optimizers[0], config.clip[0]
    return f"{optimizer} {config.rate(optimizer):g}, {threshold(max_norm)}, {config.updates} updates"


def threshold(max_norm: float) -> str:
    return "not clipped" if max_norm == np.inf else f"clipped to {max_norm:g}"


def _number(value: float, digits: str) -> str:
    return "" if math.isnan(value) else f"{value:{digits}}"


def _outcome(row: Row) -> str:
    if row.failure is not None:
        return row.failure
    diverged = f", {row.diverged} diverged" if row.diverged else ""
    if row.solved:
        return f"{row.solved}/{row.runs} in {np.median(row.updates):.0f}{diverged}"
    return f"0/{row.runs}, loss {row.loss:.2f}{diverged}"


def _arm(row: Row) -> str:
    if row.failure is not None:
        return row.failure
    return f"{row.success:.0%}, {row.diverged / row.runs:.0%}; {row.clipped:.0%}"


def _print(console: Console, title: str, rows: Sequence[Sequence[str]]) -> None:
    headings, *body = rows
    table = Table(*headings, title=title, box=SIMPLE_HEAD, padding=0, show_edge=False)
    for row in body:
        table.add_row(*row)
    console.print(table)
