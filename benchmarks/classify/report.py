"""The table in the terminal, and report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.classify.config import Config
from benchmarks.classify.records import table_rows
from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record

NOTE = (
    "Accuracy on the test split, of the model in the middle of its seeds at the epoch with the least validation loss, "
    "with Wilson's interval for so many test examples; seeds: how many, and their range. Majority: the accuracy of "
    "naming the most frequent class of training."
)
HOW_TO_READ = (
    "The validation split chose the epoch; the test split is looked at once, at the end of a run.",
    "The interval says how far chance in the choice of test examples may move the accuracy, the range over seeds how "
    "far chance in training does.",
    "A row of the confusion matrix has the test examples of a class: what is off the diagonal was taken for another.",
)
CAPTIONS = {
    "confusion": "Confusion matrix of each cell's model in the middle of its seeds: share of the class, and counts.",
    "loss": "Cross-entropy against the epoch; dashed: of training, with dropout.",
    "flow": "Norm of the loss's gradient with respect to the hidden state of the trained models, against the steps "
    "from there to where the direction ends: the last step of a sequence, or on the way back the first one. Mean over "
    "test examples, median over seeds with its 95 % band. Reading the last state alone, the model learns from early "
    "steps only what arrives there; mean and max read every step.",
}


def print_table(console: Console, records: Sequence[Record], config: Config) -> None:
    (_, *headings), *rows = table_rows(records)
    table = Table(title=f"Accuracy: {config.data}", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "cell" else "right", overflow="fold")
    for _, *texts in rows:
        table.add_row(*texts)
    console.print(table)


def write_report(folder: Path, records: Sequence[Record], config: Config, figures: Mapping[str, Path]) -> Path:
    """report.html, one file that needs no other."""
    page = Page(
        title=f"Classification: {config.data}",
        summary=f"{', '.join(config.cell)}: {config.layers} layers of {config.hidden_size} units, {config.pooling} "
        f"pooling, {config.seeds} seeds.",
        how_to_read=HOW_TO_READ,
        figures=[(svg, CAPTIONS[name]) for name, svg in figures.items()],
        tables=[PageTable("Accuracy", table_rows(records), NOTE, text_columns=(0, 1))],
    )
    return write_page(folder, page)
