"""The table in report.html: how far back a loss has to go."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record, pick, values
from benchmarks.truncation.config import Config
from rnnjax.learn import Agreement


def table_rows(records: Sequence[Record], config: Config) -> list[tuple[str, ...]]:
    """Headings, and a row a cell, lag and k2: medians over seeds."""
    rows: list[tuple[str, ...]] = [("cell", "lag", "k2", "cosine", "relative norm", "relative error")]
    for cell in config.cells:
        for lag in sorted(config.lags):
            for k2 in sorted({record["k2"] for record in pick(records, cell=cell, lag=lag)}):
                mine = pick(records, cell=cell, lag=lag, k2=k2)
                failure = next((record["status"] for record in mine if record["status"] != "ok"), None)
                medians = (f"{np.median(values(mine, quantity)):.3g}" for quantity in Agreement._fields)
                rows.append((cell, str(lag), str(k2), *((failure, "", "") if failure else medians)))
    return rows


def write_report(folder: Path, records: Sequence[Record], config: Config, figure: Path) -> Path:
    """report.html, one file that needs no other."""
    page = Page(
        title="The bias of truncated backpropagation through time",
        summary=f"The gradient of truncated BPTT(1, k2) beside that of full BPTT, at initialisation, on the task "
        f"{config.task}: {config.seeds} seeds, {config.hidden_size} hidden units.",
        how_to_read=(
            "A cosine of 1 is the right direction, one of 0 says nothing of it.",
            "The relative norm is that of the truncated gradient over that of the exact one.",
        ),
        figures=[(figure, "Cosine and relative norm against k2: medians over seeds with their 95 % bands.")],
        tables=[PageTable("All lags", table_rows(records, config), "Medians over seeds.")],
    )
    return write_page(folder, page)
