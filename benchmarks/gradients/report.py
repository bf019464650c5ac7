"""The table in the terminal, and report.html."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.gradients.config import Config
from benchmarks.gradients.records import EXPLODED, PHASES, VANISHED, Row, make_row
from benchmarks.gradients.why import explain
from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record
from rnnjax.flow import Band

HEADINGS = ("cell", "when", "half-life", "decay", "ratio", "vanished", "exploded", "clipped", "loss")
HOW_TO_READ = (
    "A curve shows how much of the error at the end of a sequence reaches a step before it: a straight line down is a "
    "gradient that shrinks by the same factor at every step.",
    "The half-life is the number of steps over which it halves; what lies much further back than that is not learned.",
    "The norm ratio compares the gradient at the largest lag with that at the end: "
    f"below 10^{VANISHED:.0f} it counts as vanished, above 10^{EXPLODED:.0f}, or not finite, as exploded.",
    "For an LSTM dL/dc_t is all that flows on from the cell state, through the forget gate and through what it makes "
    "the gates do later; dL/dh_t is what enters through the output and the gates of the next step.",
    "Clipping bounds the whole gradient's length and keeps its direction: it stops explosion, and it cannot bring back "
    "what has vanished.",
)
CAPTIONS = {
    "curves": "Norms of the gradient with respect to the carry against t - T, at the largest lag.",
    "norm_against_lag": "Norm of the whole carry's gradient at the lag, relative to the end of the sequence.",
    "training_norms": "Global norm of the gradient during training, before and after clipping; grey: the threshold.",
}


def print_table(console: Console, records: Sequence[Record], config: Config) -> None:
    """The table at the largest lag."""
    lag = max(config.lags)
    title = f"Gradient norms over a lag of {lag} steps: {config.task}, {config.seeds} seeds, medians"
    table = Table(title=title, box=SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("cell", "when") else "right", overflow="fold")
    for cell in config.cells:
        for phase in PHASES:
            texts = _texts(make_row(records, cell, phase, lag), with_bands=False)
            table.add_row(*texts, end_section=phase == PHASES[-1])
    console.print(table)
    console.print("half-life in steps; decay: factor a step; ratio: norm at the lag over norm at the end")


def table_rows(records: Sequence[Record], config: Config, lag: int) -> list[tuple[str, ...]]:
    """Headings and rows of the table at one lag."""
    rows = [make_row(records, cell, phase, lag) for cell in config.cells for phase in PHASES]
    return [HEADINGS, *(_texts(row, with_bands=False) for row in rows)]


def write_report(folder: Path, records: Sequence[Record], config: Config, figures: dict[str, Path]) -> Path:
    """report.html, one file that needs no other."""
    rows = [
        make_row(records, cell, phase, lag) for lag in sorted(config.lags) for cell in config.cells for phase in PHASES
    ]
    depth = f", {config.layers} layers each," if config.layers > 1 else ""
    lags = ", ".join(map(str, config.lags))
    page = Page(
        title="Gradient norms over long time lags",
        summary=f"{', '.join(config.cells)}{depth} on the task {config.task}, {config.seeds} seeds, lags {lags}; "
        f"measured at initialisation and after {config.steps} training steps.",
        how_to_read=HOW_TO_READ,
        figures=[(svg, CAPTIONS[name]) for name, svg in figures.items()],
        tables=[
            PageTable(
                "All lags",
                [("lag", *HEADINGS), *((str(row.lag), *_texts(row, with_bands=True)) for row in rows)],
                "Median over seeds, with its 95 % bootstrap interval. Clipped: share of training steps at which the "
                "gradient was clipped. Loss: median over the last tenth of training.",
                text_columns=(1, 2),
            )
        ],
    )
    return write_page(folder, page, Path("gradients/report.html.j2"), why=explain())


def _texts(row: Row, with_bands: bool) -> tuple[str, ...]:
    def text(band: Band, digits: str, base: str = "") -> str:
        value = f"{base}{float(band.value):{digits}}"
        return f"{value} [{float(band.low):{digits}}, {float(band.high):{digits}}]" if with_bands else value

    if row.failure is not None:
        return (row.cell, row.phase, row.failure, *[""] * 6)
    return (
        row.cell,
        row.phase,
        text(row.half_life, ".1f"),
        text(row.decay, ".3f"),
        text(row.log10_norm_ratio, ".1f", "10^"),
        f"{row.vanished:.0%}",
        f"{row.exploded:.0%}",
        "" if row.clipped is None else f"{row.clipped:.0%}",
        "" if row.loss is None else f"{row.loss:.3g}",
    )
