"""The figures of the classification benchmark, from records."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.classify.config import Config
from benchmarks.classify.flow import DIRECTIONS
from benchmarks.classify.records import median, tested
from benchmarks.figures import COLOURS, in_style, median_band, save
from benchmarks.results import Record, pick, values

FEW = 10
"""Classes whose counts there is room for."""


def draw_all(records: Sequence[Record], config: Config, folder: Path) -> dict[str, Path]:
    """Writes every figure as PNG and SVG into a folder; returns the SVG files by name."""
    figures = {"loss": loss_against_epoch}
    if tested(records):
        figures = {"confusion": confusion, **figures}
    if pick(records, kind="flow"):
        figures["flow"] = norm_against_steps
    paths = {}
    for name, draw in figures.items():
        with in_style():
            paths[name] = save(draw(records, config), folder, name)
    return paths


def confusion(records: Sequence[Record], config: Config) -> Figure:
    """What the examples of every class were taken for, one panel a cell: the model in the middle of its seeds."""
    models = [median(found) for cell in config.cell if (found := tested(records, cell=cell))]
    classes = models[0]["classes"]
    size = 1.6 + 0.36 * len(classes)
    figure = Figure(figsize=(size * len(models) + 1.2, size + 0.6))
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for axes, result in zip(panels, models, strict=True):
        counts = np.array(result["confusion"])
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
        axes.grid(visible=False)
        axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 2 else 0)
        axes.set_yticks(range(len(classes)), classes)
        if len(classes) <= FEW:
            for (line, column), count in np.ndenumerate(counts):
                colour = "white" if shares[line, column] <= 0.5 else "black"
                axes.text(column, line, str(count), ha="center", va="center", color=colour, fontsize=8)
        share = result["correct"] / result["examples"]
        axes.set(title=f"{result['cell']}, seed {result['seed']}: {share:.1%}", xlabel="taken for")
    panels[0].set_ylabel("class")
    figure.colorbar(panels[0].images[0], ax=panels, label="share of the class")
    return figure


def loss_against_epoch(records: Sequence[Record], config: Config) -> Figure:
    """Training and validation loss of every model, a colour a cell."""
    figure = Figure(figsize=(7, 4.4))
    axes = figure.subplots()
    for run, (cell, seed) in config.runs.items():
        epochs = pick(records, run=run, kind="epoch")
        for quantity, line, split in (("loss", "--", "train"), ("valid_loss", "-", "validation")):
            axes.plot(
                values(epochs, "epoch"),
                values(epochs, quantity),
                line,
                color=COLOURS[config.cell.index(cell) % len(COLOURS)],
                linewidth=1.2,
                label=f"{cell}, {split}" if seed == config.seed else None,
            )
    axes.set(title=config.data, xlabel="epoch", ylabel="cross-entropy (nats)", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def norm_against_steps(records: Sequence[Record], config: Config) -> Figure:
    """||dL/dh_t|| against the steps to the direction's end, one panel a cell: median over seeds and 95 % band."""
    figure = Figure(figsize=(1.2 + 4.2 * len(config.cell), 4))
    panels = figure.subplots(1, len(config.cell), sharey=True, squeeze=False)[0]
    for axes, cell in zip(panels, config.cell, strict=True):
        for layer in range(1, config.layers + 1):
            for direction, line in zip(DIRECTIONS[: config.directions], ("-", "--"), strict=False):
                found = pick(records, kind="flow", cell=cell, layer=layer, direction=direction)
                if not found:
                    continue
                lags, colour = found[0]["lags"], COLOURS[(layer - 1) % len(COLOURS)]
                band = median_band(values(found, "log10_norm"))
                axes.plot(lags, band.value, line, color=colour, label=f"layer {layer}, {direction}")
                axes.fill_between(lags, band.low, band.high, color=colour, alpha=0.2, linewidth=0)
        axes.set(title=f"{cell} on {config.data}, {config.pooling} pooling", xlabel="steps to the direction's last one")
        axes.legend()
    panels[0].set_ylabel(r"$\log_{10}$ of the mean of $\|\partial L/\partial h_t\|$")
    return figure
