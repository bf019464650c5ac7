"""The figure of the benchmark of truncation, from records."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures import COLOURS, in_style, median_band, save
from benchmarks.results import Record, pick, values
from benchmarks.truncation.config import Config

QUANTITIES = {"cosine": "cosine with the exact gradient", "relative_norm": "norm over that of the exact gradient"}


def draw(records: Sequence[Record], config: Config, folder: Path) -> Path:
    """Writes truncation.png and truncation.svg into a folder."""
    with in_style():
        return save(bias_against_k2(records, config), folder, "truncation")


def bias_against_k2(records: Sequence[Record], config: Config) -> Figure:
    """Cosine and relative norm against k2, one panel a lag: medians over seeds with their 95 % bands."""
    lags = sorted(config.lags)
    figure = Figure(figsize=(1 + 3.6 * len(lags), 6.2))
    panels = figure.subplots(2, len(lags), sharey="row", squeeze=False)
    for column, lag in zip(panels.T, lags, strict=True):
        for index, cell in enumerate(config.cells):
            mine = pick(records, cell=cell, lag=lag, status="ok")
            if not mine:  # failed, or an interruption came first
                continue
            k2 = sorted({record["k2"] for record in mine})
            for axes, quantity in zip(column, QUANTITIES, strict=True):
                samples = np.stack([values(pick(mine, k2=steps), quantity) for steps in k2], axis=1)
                low, middle, high = median_band(samples)
                colour = COLOURS[index % len(COLOURS)]
                axes.plot(k2, middle, "o-", color=colour, label=cell, markersize=4)
                axes.fill_between(k2, low, high, color=colour, alpha=0.18, linewidth=0)
        for axes in column:
            axes.axhline(1, color="grey", linewidth=0.8)
            axes.set(xscale="log")
        column[0].set_title(f"{config.task}, lag {lag}")
        column[1].set_xlabel("k2, steps that the error goes back")
    for axes, label in zip(panels[:, 0], QUANTITIES.values(), strict=True):
        axes.set_ylabel(label)
    labels = [axes.get_legend_handles_labels() for axes in panels[0]]
    figure.legend(*max(labels, key=lambda found: len(found[1])), loc="outside lower center", ncols=len(config.cells))
    return figure
