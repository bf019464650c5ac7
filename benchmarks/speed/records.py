"""From measurements to records, and from records to what tables and figures show.

A record is one column (a library, or a kernel of rnnjax) on one cell and one shape. Everything shown is made from
records.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.results import Record, pick
from benchmarks.speed.config import Config, Shape
from benchmarks.speed.measure import Outcome


def make_records(
    config: Config, cell: str, shape: Shape, outcomes: Mapping[str, Outcome], environment: Record
) -> Iterator[Record]:
    """One record a column."""
    for column, outcome in outcomes.items():
        timed = config.columns[column]
        yield {
            "benchmark": "speed",
            "cell": cell,
            "shape": str(shape),
            "column": column,
            "library": timed.library,
            "kernel": timed.kernel if timed.library == "rnnjax" else None,
            "remat": timed.remat,
            "devices": timed.devices,
            "status": outcome.status,
            "reason": outcome.reason,
            "differences": outcome.differences,
            **{name: _timing(outcome, name) for name in ("forward", "step")},
            "config": dataclasses.asdict(config),
            "environment": environment,
        }


def _timing(outcome: Outcome, name: str) -> Record | None:
    if name not in outcome.routines:
        return None
    routine, seconds = outcome.routines[name], outcome.seconds[name]
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    return {
        "median": median,
        "quartiles": [low, high],
        "seconds": seconds,
        "calls": outcome.calls[name],
        "compile_seconds": routine.compile_seconds,
        "memory_bytes": routine.memory_bytes,
        "threads": routine.threads,
    }


def is_done(records: Sequence[Record], config: Config, cell: str, shape: Shape) -> bool:
    """Whether all columns of a cell and a shape are there."""
    return len(pick(records, cell=cell, shape=str(shape))) == len(config.columns)


class Quantity(NamedTuple):
    """Something that tables show."""

    title: str
    unit: str
    value: Callable[[Record], float | None]
    """Of a record that has times; None where it is not known."""


def _scaled(routine: str, name: str, scale: float) -> Callable[[Record], float | None]:
    def value(record: Record) -> float | None:
        found = record[routine][name]
        return None if found is None else found * scale

    return value


QUANTITIES: dict[str, Quantity] = {
    "step": Quantity("Training step", "ms", _scaled("step", "median", 1e3)),
    "forward": Quantity("Forward pass", "ms", _scaled("forward", "median", 1e3)),
    "compile": Quantity("Compiling the training step", "s", _scaled("step", "compile_seconds", 1)),
    "memory": Quantity(
        "Peak memory of the training step, beside inputs and weights", "MiB", _scaled("step", "memory_bytes", 2**-20)
    ),
}


class Row(NamedTuple):
    """One row of a table: a cell on a shape."""

    cell: str
    shape: str
    base: float | None
    """Of the first column, None if it has no number."""
    others: tuple[float | None, ...]
    """Of the other columns."""


class Grid(NamedTuple):
    """What a table shows."""

    columns: tuple[str, ...]
    """The first column of the run, and of the others those that have a number."""
    rows: tuple[Row, ...]


def tabulate(records: Sequence[Record], config: Config, quantity: str, devices: int) -> Grid:
    """All shapes of all cells, on a number of devices."""

    def value(cell: str, shape: str, column: str) -> float | None:
        found = pick(records, cell=cell, shape=shape, column=column, status="ok")
        return QUANTITIES[quantity].value(found[0]) if found else None

    places = [(cell, shape) for cell in config.cells for shape in config.shapes]
    first, *rest = config.columns_on(devices)
    others = [column for column in rest if any(value(*place, column) is not None for place in places)]
    rows = (Row(*place, value(*place, first), tuple(value(*place, column) for column in others)) for place in places)
    return Grid((first, *others), tuple(rows))


def spread(record: Record, routine: str) -> float:
    """The distance between the quartiles, relative to the median."""
    low, high = record[routine]["quartiles"]
    return float((high - low) / record[routine]["median"])


def failures(records: Sequence[Record]) -> list[str]:
    """What was not measured and why, one line for all the cells and shapes with the same reason."""
    lines = []
    columns = dict.fromkeys(record["column"] for record in records)
    for column in columns:
        mine = pick(records, column=column)
        for reason in dict.fromkeys(_reason(record) for record in mine if record["status"] != "ok"):
            affected = [record for record in mine if _reason(record) == reason]
            where = "" if len(affected) == len(mine) else f" ({', '.join(_places(affected, mine))})"
            lines.append(f"{column}{where}: {reason}")
    return lines


def _reason(record: Record) -> str:
    return f"{record['status']}: {record['reason']}"


def _places(affected: Sequence[Record], mine: Sequence[Record]) -> Iterator[str]:
    """Cells, each with its shapes unless all of them are meant."""
    for cell in dict.fromkeys(record["cell"] for record in affected):
        shapes = [record["shape"] for record in pick(affected, cell=cell)]
        yield cell if len(shapes) == len(pick(mine, cell=cell)) else f"{cell} {' '.join(shapes)}"
