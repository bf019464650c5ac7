"""From epochs to records, and from records to the table in the terminal.

A record is one epoch of one cell, or, with "kind" "result", what came of it.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.language.config import Config
from benchmarks.results import Record
from rnnjax.train import bits, perplexity


def make_records(
    config: Config, cell: str, history: Sequence[Mapping[str, float]], result: Record | None, environment: Record
) -> Iterator[Record]:
    """One record an epoch, and one of the result if it is there."""
    about = {"config": dataclasses.asdict(config), "environment": environment}
    for entry in history:
        losses = {"train_perplexity": perplexity(entry["loss"]), "valid_perplexity": perplexity(entry["valid_loss"])}
        yield {"benchmark": "language", "cell": cell, "kind": "epoch", **entry, **losses, **about}
    if result is not None:
        losses = {f"{name}_perplexity": perplexity(result[f"{name}_loss"]) for name in ("valid", "test")}
        yield {"benchmark": "language", "cell": cell, "kind": "result", **result, **losses, **about}


def pick(records: Sequence[Record], **wanted: str) -> list[Record]:
    """The records whose fields have the given values."""
    return [record for record in records if all(record[name] == value for name, value in wanted.items())]


def table_rows(records: Sequence[Record], config: Config) -> list[tuple[str, ...]]:
    """Headings, and a row a cell: what came of it."""
    headings: tuple[str, ...] = ("cell", "parameters", "best epoch", "validation", "test")
    headings += ("bits a character",) if config.unit == "characters" else ()
    rows = []
    for result in pick(records, kind="result"):
        cell = result["cell"] if result["status"] == "ok" else f"{result['cell']} ({result['status']})"
        row: tuple[Any, ...] = (cell, f"{result['parameters']:,}", str(result["epoch"]))
        row += tuple(f"{float(result[f'{split}_perplexity']):.4g}" for split in ("valid", "test"))
        row += (f"{bits(float(result['test_loss'])):.3f}",) if config.unit == "characters" else ()
        epochs = pick(records, cell=result["cell"], kind="epoch")
        rows.append((*row, f"{sum(epoch['work_per_second'] for epoch in epochs) / len(epochs):,.0f}"))
    return [(*headings, "tokens a second"), *rows]


def print_table(console: Console, records: Sequence[Record], config: Config) -> None:
    headings, *rows = table_rows(records, config)
    table = Table(title=f"Perplexity: {config.model} on {config.data}", box=SIMPLE_HEAD, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "cell" else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
