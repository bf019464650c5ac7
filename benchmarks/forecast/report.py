"""The table in the terminal and in README.md, and report.html."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.forecast.config import OF_THE_BOOK, Config, published
from benchmarks.forecast.experiment import COVERAGE
from benchmarks.forecast.records import finite, mean
from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record, pick

NOTE = (
    "MSE of the forecast from the last step, on scaled values, with its standard deviation over the seeds; networks at "
    "the epoch with the smallest median over seeds in validation. All steps: the mean over the forecasts from every "
    f"step. Ensemble: the mean forecast of all seeds. Coverage: share of test values in its {COVERAGE:.0%} band."
)
CAPTIONS = {
    "forecasts": "Forecasts of the ensembles in the units of the series: grey what is read, black what followed, blue "
    f"the mean forecast with its {COVERAGE:.0%} band.",
    "by_step": "Error against the step ahead.",
    "learning": "Validation error in training; lines are simple forecasts.",
    "flow": "How much of the error of the last forecast reaches the carries before it.",
}
HOW_TO_READ = (
    "Naive repeats the last value, seasonal-naive the last season; linear is least squares on all the steps read.",
    "Forecasts are made at every step of the test split from the window of steps before it (walk forward); the "
    "networks are not trained anew. Mean and variance for the scaling are those of the training split alone.",
    "A band is that of an ensemble: the spread of its members, and their error in validation by the step ahead.",
)


def table_rows(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """Headings and rows: what came of every model of one run, or of several."""
    with_book = any(record["config"]["series"] == "waves" for record in records)
    headings: tuple[str, ...] = ("series", "steps", "model", "head", "parameters", "epoch", "validation")
    headings += ("book", "all steps", "book") if with_book else ()
    rows: list[tuple[str, ...]] = [(*headings, "test", "ensemble", "coverage", "minutes")]
    for record in pick(records, kind="result"):
        config = record["config"]
        last, every = published(config, record["model"], record["head"])
        about = config["series"], f"{config['window']}+{config['horizon']}", _name(record), record["head"]
        row: tuple[str, ...] = (
            *about,
            f"{record['parameters']:,}",
            str(record.get("epoch") or ""),
            _spread(record, "valid_mse"),
        )
        row += (last, _spread(record, "valid_all_steps_mse"), every) if with_book else ()
        ensemble = len(finite(record, "test_mse")) > 1
        rows.append(
            (
                *row,
                _spread(record, "test_mse"),
                _number(record["ensemble_mse"]) if ensemble else "",
                f"{record['coverage']:.0%}" if "coverage" in record else "",
                f"{record['seconds'] / 60:.1f}" if record["head"] else "",
            )
        )
    return rows


def print_table(console: Console, records: Sequence[Record], config: Config) -> None:
    headings, *rows = table_rows(records)
    title = f"MSE of forecasts of {config.series}: {config.horizon} steps from {config.window}, {config.seeds} seeds"
    table = Table(title=title, box=SIMPLE_HEAD, padding=0, show_edge=False)
    hidden = {"series", "steps"} | ({"head"} if len(config.heads) == 1 else set())
    kept = [
        place for place, heading in enumerate(headings) if heading not in hidden and any(row[place] for row in rows)
    ]
    for place in kept:
        table.add_column(headings[place], justify="left" if headings[place] in ("model", "head") else "right")
    for row in rows:
        table.add_row(*(row[place] for place in kept))
    console.print(table)
    console.print(note(config), highlight=False)


def note(config: Config) -> str:
    """What stands under the table."""
    return f"{NOTE} {OF_THE_BOOK}" if config.series == "waves" else NOTE


def write_report(folder: Path, records: Sequence[Record], config: Config, figures: Mapping[str, Path]) -> Path:
    """report.html, one file that needs no other."""
    page = Page(
        title=f"Forecasts of {config.series}",
        summary=f"{config.horizon} steps from the {config.window} before them, {config.seeds} seeds a network.",
        how_to_read=HOW_TO_READ,
        figures=[(svg, CAPTIONS[name]) for name, svg in figures.items()],
        tables=[PageTable("Errors", table_rows(records), note(config), text_columns=(0, 1, 2, 3))],
    )
    return write_page(folder, page)


def _name(record: Record) -> str:
    if record["status"] != "ok":
        return f"{record['model']} ({record['status']})"
    diverged = record.get("diverged", 0)
    return record["model"] + (f" ({diverged} diverged)" if diverged else "")


def _spread(record: Record, field: str) -> str:
    samples = finite(record, field)
    if not len(samples):
        return ""
    return _number(mean(record, field)) + (f" ± {samples.std(ddof=1):.1g}" if len(samples) > 1 else "")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
