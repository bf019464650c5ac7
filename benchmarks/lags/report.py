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
from benchmarks.lags.records import Row, error_clipping, first_arm, make_row, remembered, seconds_per_update
from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record

PREDICTION = "Does the half-life at initialisation predict the lag that is learned?"
HOW_TO_READ = (
    "succeeded/seeds, and the median update of success; else the loss over the trivial predictor's (1: nothing "
    "learned); half-life: of the gradient at initialisation, in steps, at the longest lag, or the one in brackets; "
    "gradient clipped: share of updates"
)
COMPARED = "time: of an update, over that of the first algorithm, at the longest lag"
ERROR_CLIPPED = (
    "error clipped: share of the steps at the last test and the longest lag, and of the sequences so many steps before "
    "their end"
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
    headings = ["task", "cell", "half-life", *(f"lag {lag}" for lag in lags), "gradient clipped"]
    several, clips = len(config.algorithms) > 1, _clips_error(config)
    rows = [(*headings, *(["error clipped"] if clips else []), *(["time"] if several else []))]
    for task in config.tasks:
        for name, each in config.learners.items():
            wanted: dict[str, Any] = {"task": task, **each, **first_arm(config)}
            found = [make_row(records, lag=lag, **wanted) for lag in lags]
            texts = [_outcome(row, config) for row in found]
            clipped = float(np.mean([row.clipped for row in found if row.failure is None] or [math.nan]))
            texts.append(_number(clipped, ".0%"))
            if clips:
                texts.append(_error_clipped(records, wanted | {"lag": lags[-1]}))
            if several:
                texts.append(_number(_relative_time(records, config, wanted | {"lag": lags[-1]}), ".2g"))
            rows.append((task, name, _half_life(records, lags, wanted), *texts))
    return rows


def how_to_read(config: Config) -> str:
    """What is in the table of `table_rows`."""
    more = [ERROR_CLIPPED] if _clips_error(config) else []
    return "; ".join([HOW_TO_READ, *more, *([COMPARED] if len(config.algorithms) > 1 else [])])


def correlation_rows(records: Sequence[Record], config: Config) -> list[tuple[str, ...]]:
    """Headings, and a row a task: whether the half-life at initialisation predicts which lags are learned."""
    rows: list[tuple[str, ...]] = [("task", "rank correlation of half-life and longest lag learned")]
    for task in config.tasks:
        rows.append((task, str(remembered(records, config, task))))
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
    console.print(how_to_read(config), highlight=False)
    if len(config.learners) > 1:
        _print(console, PREDICTION, correlation_rows(records, config))
    if len(config.optimizers) * len(config.clip) > 1:
        for lag in sorted(config.lags):
            _print(console, f"Optimisers and clipping at lag {lag}", arm_rows(records, config, lag))
        console.print(ARMS, highlight=False)


def write_report(folder: Path, records: Sequence[Record], config: Config, figures: Mapping[str, Path]) -> Path:
    """report.html, one file that needs no other."""
    title = f"Lags that are learned: {_arm_name(records, config)}"
    tables = [PageTable(title, table_rows(records, config), how_to_read(config), (0, 1))]
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


def _clips_error(config: Config) -> bool:
    return "bptt-clipped" in config.algorithms


def _error_clipped(records: Sequence[Record], wanted: dict[str, Any]) -> str:
    """The share of all steps, and by lag, up to the first at which it is nothing."""
    found = error_clipping(records, **wanted)
    if found is None:
        return ""
    shares = {lag: f"{share:.0%}" for lag, share in found.by_lag.items()}
    last = next((lag for lag, share in shares.items() if share == "0%"), math.inf)
    return f"{found.share:.0%} ({', '.join(f'{lag}: {share}' for lag, share in shares.items() if lag <= last)})"


def _relative_time(records: Sequence[Record], config: Config, wanted: dict[str, Any]) -> float:
    """Of an update, over that of the first algorithm; runs of all thresholds are timed together."""
    experiment = {name: value for name, value in wanted.items() if name != "max_norm"}
    first = seconds_per_update(records, **experiment | {"algorithm": config.algorithms[0]})
    return seconds_per_update(records, **experiment) / first


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
