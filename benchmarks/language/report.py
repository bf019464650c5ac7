"""From records to tables, in the terminal, in README.md (of several runs) and in report.html."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.language.config import Config, published
from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record, pick
from benchmarks.training import entitled, from_saved
from rnnjax.train import bits


def table_rows(records: Sequence[Record], config: Config) -> list[tuple[str, ...]]:
    """Headings, and a row a cell: what came of it."""
    headings: tuple[str, ...] = ("cell", "parameters", "best epoch", "validation", "test")
    headings += ("bits a character",) if config.unit == "characters" else ()
    rows = []
    for result in pick(records, kind="result"):
        row: tuple[Any, ...] = (entitled(result), f"{result['parameters']:,}", str(result["epoch"]))
        row += tuple(f"{float(result[f'{split}_perplexity']):.4g}" for split in ("valid", "test"))
        row += (f"{bits(float(result['test_loss'])):.3f}",) if config.unit == "characters" else ()
        epochs = pick(records, cell=result["cell"], kind="epoch")
        rows.append((*row, f"{sum(epoch['work_per_second'] for epoch in epochs) / len(epochs):,.0f}"))
    return [(*headings, "tokens a second"), *rows]


def summary_rows(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """Headings, and a row a model of several runs: what it is, what it took, what was reached, and what is published.

    Perplexity of words; of characters, as they are published, nats, and bits. Minutes are those of training. A run
    without a result was interrupted: its validation value is the best so far.
    """
    runs: list[tuple[Record, str]] = []
    for record in records:
        if (record["config"], record["cell"]) not in runs:
            runs.append((record["config"], record["cell"]))
    headings = ("model", "text", "cell", "parameters", "epochs", "minutes", "validation", "test", "published")
    return [headings, *(_summary_row(pick(records, config=config, cell=cell)) for config, cell in runs)]


def _summary_row(records: Sequence[Record]) -> tuple[str, ...]:
    """Of the records of one model."""
    config, cell = records[0]["config"], records[0]["cell"]
    epochs, results = pick(records, kind="epoch"), pick(records, kind="result")

    def quoted(perplexity: Any) -> str:
        number = float(perplexity)
        if config["unit"] == "words":
            return f"{number:.1f}"
        nats = math.log(number)
        return f"{nats:.3f} nats ({bits(nats):.3f} bits)"

    if results:
        size = f"{results[0]['parameters']:,}"
        reached = tuple(quoted(results[0][f"{split}_perplexity"]) for split in ("valid", "test"))
    else:
        size, cell = "-", f"{cell} (interrupted)"
        reached = quoted(min(float(epoch["valid_perplexity"]) for epoch in epochs)), "-"
    minutes = sum(epoch["seconds"] for epoch in epochs) / 60
    beside = published(from_saved(config, Config))
    about = config["model"], config["data"], cell, size, str(len(epochs)), f"{minutes:.1f}"
    return (*about, *reached, "-" if beside is None else quoted(beside.perplexity))


def print_table(console: Console, records: Sequence[Record], config: Config) -> None:
    headings, *rows = table_rows(records, config)
    table = Table(title=f"Perplexity: {config.model} on {config.data}", box=SIMPLE_HEAD, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "cell" else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def write_report(folder: Path, records: Sequence[Record], config: Config, figure: Path) -> Path:
    """report.html, one file that needs no other."""
    page = Page(
        title=f"Language models: {config.model} on {config.data}",
        summary=f"{', '.join(config.cell)}, {config.layers} x {config.hidden_size} units, trained for up to "
        f"{config.epochs} epochs; the weights of the epoch with the best validation loss are those that are tested.",
        how_to_read=(
            f"Perplexity is e to the mean loss in nats a {config.token}: as uncertain as a fair choice among so many.",
            "Validation well above training is overfitting: dropout is for that.",
        ),
        figures=[(figure, "Perplexity after every epoch.")],
        tables=[PageTable("Result", table_rows(records, config))],
    )
    return write_page(folder, page)
