"""The tables: which lags are learned, and what optimisers and clipping have to do with it."""

import math
from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.lags.config import Config
from benchmarks.lags.records import Row, half_life, make_row
from benchmarks.results import Record

HOW_TO_READ = (
    "succeeded/seeds, and the median update of success; else the loss over the trivial predictor's (1: nothing "
    "learned); half-life: of the gradient at initialisation, in steps, at the largest lag; clipped: share of updates"
)


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
    optimizer, max_norm = config.optimizers[0], config.clip[0]
    arm = f"{optimizer} {config.rate(optimizer):g}, {threshold(max_norm)}, {config.updates} updates"
    _print(console, f"Lags that are learned: {arm}", table_rows(records, config))
    console.print(HOW_TO_READ, highlight=False)
    if len(config.optimizers) * len(config.clip) > 1:
        for lag in sorted(config.lags):
            _print(console, f"Optimisers and clipping at lag {lag}", arm_rows(records, config, lag))
        console.print("solved, diverged; share of updates at which clipping engaged", highlight=False)


def first_arm(config: Config) -> dict[str, str | float]:
    """The optimiser and the threshold that tables and figures against the lag are of."""
    return {"optimizer": config.optimizers[0], "max_norm": config.clip[0]}


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
