"""From trials to records, and from records to what the table and the figure show.

A record is one trial of a row. Everything shown of a run is made from records.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.hs1997.config import Config
from benchmarks.hs1997.experiment import TEST, Outcome
from benchmarks.hs1997.rows import ROWS, Effort, FreshSet, Recent, Row, Strings
from benchmarks.results import Record, pick
from rnnjax.models import RecurrentCascade


def make_record(config: Config, name: str, effort: Effort, outcome: Outcome, environment: Record) -> Record:
    row = ROWS[name]
    return {
        "benchmark": "hs1997",
        "row": name,
        "experiment": row.experiment,
        "method": row.method,
        "weights": row.counted,
        **effort._asdict(),
        **outcome._asdict(),
        "config": dataclasses.asdict(config),
        "environment": environment,
    }


def missing(records: Sequence[Record], efforts: Mapping[str, Effort]) -> dict[str, list[int]]:
    """The trials that a run still has to do, by row; one that failed is tried again."""
    done = {(record["row"], record["trial"]) for record in records if record["status"] != "failed"}
    left = {name: [i for i in range(effort.trials) if (name, i) not in done] for name, effort in efforts.items()}
    return {name: trials for name, trials in left.items() if trials}


def shown_rows(records: Sequence[Record]) -> list[str]:
    """The rows that have records, in the order of the paper: those that end first come first in the records."""
    found = {record["row"] for record in records}
    return [name for name in ROWS if name in found]


class Summary(NamedTuple):
    """A row of the table."""

    row: Row
    records: list[Record]
    trials: int
    """All that were to be run: those that an interruption or an error cut off may have been the slow ones."""
    solved: float | None
    """Per cent of them; None where none has ended."""
    sequences: np.ndarray
    """Until success, of our trials that were solved, in order."""
    ratio: float | None
    """Our median over the published number."""
    first_stop: float | None
    """The median of those of our trials that came to it."""
    wrong: float | None
    """The mean share of the test sequences."""


def summarise(records: Sequence[Record], name: str) -> Summary:
    row = ROWS[name]
    mine = [record for record in pick(records, row=name) if record["status"] != "failed"]
    solved = pick(mine, status="solved")
    sequences = np.sort([record["sequences"] for record in solved])
    published = row.published.sequences
    trials = mine[0]["trials"] if mine else 0
    stops = [record["first_stop"] for record in mine if record["first_stop"] is not None]
    tests = [record["wrong"] for record in solved if record["wrong"] is not None]
    return Summary(
        row=row,
        records=mine,
        trials=trials,
        solved=100 * len(solved) / trials if mine else None,
        sequences=sequences,
        ratio=float(np.median(sequences)) / published if published and solved else None,
        first_stop=float(np.median(stops)) if stops else None,
        wrong=float(np.mean(tests)) / TEST if tests else None,
    )


def remarks(summary: Summary) -> str:
    """Why a row has no number, or not the numbers of all trials, and what the paper leaves open."""
    row, mine = summary.row, summary.records
    if not mine:
        return "not run" if row.default else "not run: for --full"
    found = []
    unfinished = summary.trials - len(mine)
    if unfinished > 0:
        found.append(f"{unfinished} cut off before the end")
    for status, text in ("unsolved", "not solved within {} sequences"), ("diverged", "diverged after {} sequences"):
        seen = sorted({record["sequences"] for record in pick(mine, status=status)})
        if seen:
            span = f"{seen[0]:,}" if len(seen) == 1 else f"{seen[0]:,} to {seen[-1]:,}"
            found.append(f"{len(pick(mine, status=status))} {text.format(span)}{_shortfall(row, mine, status)}")
    if isinstance(row.criterion, FreshSet | Strings) and not isinstance(row.network, RecurrentCascade):
        found.append(f"looked at every {row.criterion.every} sequences")
    return "; ".join([*found, *([row.note] if row.note else [])])


def _shortfall(row: Row, mine: Sequence[Record], status: str) -> str:
    """How far trials were from the criterion when they were given up: medians."""
    records = pick(mine, status=status)
    if isinstance(row.network, RecurrentCascade):
        is_full = all(record["sequences"] < record["cap"] for record in records)
        return f", with all its {row.network.max_units} units" if is_full else ""
    if not isinstance(row.criterion, Recent):
        return ""
    given_up = [record for record in records if record["recent_wrong"] is not None]
    if not given_up:
        return f", fewer than the {row.criterion.size:,} that the criterion looks at" if status == "unsolved" else ""
    wrong, error = (np.median([record[name] for record in given_up]) for name in ("recent_wrong", "recent_error"))
    size = row.criterion.size
    return f": {100 * wrong / size:.3g} % of the last {size:,} wrong, error {error:.2g}"
