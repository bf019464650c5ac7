"""The tables, and report.html: which lags are learned, and what optimisers and clipping have to do with it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.lags.config import Config
from benchmarks.lags.records import Row, first_arm, make_row, remembered
from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record

PREDICTION = "Does the half-life at initialisation predict the lag that is learned?"
HOW_TO_READ = (
    "succeeded/seeds, and the median update of success; else the loss over the trivial predictor's (1: nothing "
    "learned); half-life: of the gradient at initialisation, in steps, at the longest lag, or the one in brackets; "
    "clipped: share of updates"
)

ARMS = "solved, diverged; share of updates at which clipping engaged"
CAPTIONS = {
    "phase": "Share of the seeds that succeed, by cell and lag.",
    "success": "Share of the seeds that succeed, and the updates that they took, against the lag.",
    "half_life": PREDICTION,
    "arms": "Share of the seeds that succeed, by optimiser and threshold of clipping.",
}


def table_rows(records: Sequence[Record], config: Config) -> list[tuple[str, ...]]:
    """Headings and rows: every task and cell against the lags, with the first optimiser and threshold."""
    lags = sorted(config.lags)
    rows = [("task", "cell", "half-life", *(f"lag {lag}" for lag in lags), "clipped")]
    for task in config.tasks:
        for name, each in config.learners.items():
            wanted: dict[str, Any] = {"task": task, **each, **first_arm(config)}
            found = [make_row(records, lag=lag, **wanted) for lag in lags]
            texts = (_outcome(row, config) for row in found)
            clipped = float(np.mean([row.clipped for row in found if row.failure is None] or [math.nan]))
            rows.append((task, name, _half_life(records, lags, wanted), *texts, _number(clipped, ".0%")))
    return rows


def correlation_rows(records: Sequence[Record], config: Config) -> list[tuple[str, ...]]:
    """Headings, and a row a task: whether the half-life at initialisation predicts which lags are learned."""
    rows: list[tuple[str, ...]] = [("task", "rank correlation of half-life and longest lag learned")]
    for task in config.tasks:
        correlation = remembered(records, config, task).correlation
        rows.append((task, "none: all equal" if math.isnan(correlation) else f"{correlation:.2f}"))
    return rows


def arm_rows(records: Sequence[Record], config: Config, lag: int) -> list[tuple[str, ...]]:
    """Headings and rows: every task, cell and optimiser against the thresholds of clipping, at one lag."""
    rows = [("task", "cell", "optimizer", *map(threshold, config.clip))]
    for task in config.tasks:
        for name, each in config.learners.items():
            for optimizer in config.optimizers:
                found = [
                    make_row(records, task=task, lag=lag, optimizer=optimizer, max_norm=max_norm, **each)
                    for max_norm in config.clip
                ]
                rows.append((task, name, optimizer, *map(_arm, found)))
    return rows


def print_tables(console: Console, records: Sequence[Record], config: Config) -> None:
    _print(console, f"Lags that are learned: {_arm_name(records, config)}", table_rows(records, config))
    console.print(HOW_TO_READ, highlight=False)
    if len(config.learners) > 1:
        _print(console, PREDICTION, correlation_rows(records, config))
    if len(config.optimizers) * len(config.clip) > 1:
        for lag in sorted(config.lags):
            _print(console, f"Optimisers and clipping at lag {lag}", arm_rows(records, config, lag))
        console.print(ARMS, highlight=False)


def write_report(folder: Path, records: Sequence[Record], config: Config, figures: Mapping[str, Path]) -> Path:
    """report.html, one file that needs no other."""
    title = f"Lags that are learned: {_arm_name(records, config)}"
    tables = [PageTable(title, table_rows(records, config), HOW_TO_READ, (0, 1))]
    if len(config.learners) > 1:
        tables.append(PageTable(PREDICTION, correlation_rows(records, config)))
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


def _arm_name(records: Sequence[Record], config: Config) -> str:
    optimizer, max_norm = config.optimizers[0], config.clip[0]
    examples = sorted({record["examples"] for record in records} - {None})
    drawn = "".join(f", from {number:,} digits" for number in examples)
    return f"{optimizer} {config.rate(optimizer):g}, {threshold(max_norm)}, {config.updates} updates{drawn}"


def threshold(max_norm: float) -> str:
    return "not clipped" if max_norm == np.inf else f"clipped to {max_norm:g}"


def _number(value: float, digits: str) -> str:
    return "" if math.isnan(value) else f"{value:{digits}}"


def _half_life(records: Sequence[Record], lags: Sequence[int], wanted: dict[str, Any]) -> str:
    """At the longest lag that was run; which one that is, if it is not the longest of all."""
    for lag in sorted(lags, reverse=True):
        row = make_row(records, lag=lag, **wanted)
        if row.failure is None:
            return _number(row.half_life, ".1f") + ("" if lag == max(lags) else f" (lag {lag})")
    return ""


def _outcome(row: Row, config: Config) -> str:
    if row.failure is not None:
        return row.failure
    diverged = f", {row.diverged} diverged" if row.diverged else ""
    if config.success == 0:
        return f"{row.right:.1%} right, loss {row.loss:.2f}{diverged}"
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
