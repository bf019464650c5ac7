"""The figure of the speed benchmark, from records."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.figures import COLOURS, in_style, save
from benchmarks.results import Record, pick
from benchmarks.speed.config import Config
from benchmarks.speed.records import QUANTITIES, tabulate

MARKERS = "osD^vPX*"
ROUTINES = ("step", "forward")
LENGTH_PANELS = {"memory": "memory of a training step (MiB)", "step": "time of a training step (ms)"}

LENGTH = "Memory and time of a training step against the length."


def draw(records: Sequence[Record], config: Config, folder: Path) -> dict[str, Path]:
    """Writes every figure as PNG and SVG: speed, speed-x2 on two devices, and length; the SVG files by caption."""
    paths = {}
    with in_style():
        for devices in config.devices:
            name = "speed" if devices == 1 else f"speed-x{devices}"
            caption = "Time relative to that of the first column, with quartiles" + f", on {devices} devices." * (
                devices > 1
            )
            paths[caption] = save(relative_times(records, config, devices), folder, name)
        if len({shape[1:] for shape in config.sizes}) == 1 and len(config.sizes) > 2:
            paths[LENGTH] = save(against_length(records, config), folder, "length")
    return paths


def relative_times(records: Sequence[Record], config: Config, devices: int) -> Figure:
    """The time of every column over that of the first, with its quartiles: one panel a cell and a routine."""
    base, *others = tabulate(records, config, "step", devices).columns
    figure = Figure(figsize=(12, 1.8 + len(ROUTINES) * (0.5 + 0.4 * len(config.shapes))))
    panels = figure.subplots(len(ROUTINES), len(config.cells), sharex=True, sharey=True, squeeze=False)
    for line, routine in zip(panels, ROUTINES, strict=True):
        for axes, cell in zip(line, config.cells, strict=True):
            _frame(axes, config)
            axes.set_title(f"{cell}: {QUANTITIES[routine].title.lower()}")
            for index, column in enumerate(others):
                below = ((index + 0.5) / len(others) - 0.5) * 0.8
                x, low, high = _relative(records, config, cell, routine, column, base)
                axes.errorbar(
                    x,
                    np.arange(len(x)) + below,
                    xerr=(x - low, high - x),
                    fmt=MARKERS[index % len(MARKERS)],
                    color=COLOURS[index % len(COLOURS)],
                    markersize=4.5,
                    linewidth=1,
                    label=column,
                )
    for axes in panels[-1]:
        axes.set_xlabel(f"time relative to {base} (right of 1: {base} is faster)")
    if others:
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(others))
    return figure


def against_length(records: Sequence[Record], config: Config) -> Figure:
    """Memory and time of a training step against the number of steps: one column of panels a cell."""
    figure = Figure(figsize=(1 + 3.6 * len(config.cells), 6))
    panels = figure.subplots(2, len(config.cells), sharex=True, sharey="row", squeeze=False)
    for line, (name, label) in zip(panels, LENGTH_PANELS.items(), strict=True):
        line[0].set_ylabel(label)
        for axes, cell in zip(line, config.cells, strict=True):
            axes.set(xscale="log", yscale="log", title=cell)
            for index, column in enumerate(config.columns):
                found = pick(records, cell=cell, column=column, status="ok")
                values = [QUANTITIES[name].value(record) for record in found]
                axes.plot(
                    [int(record["shape"].split("x")[0]) for record in found],
                    np.asarray(values, float),
                    marker=MARKERS[index % len(MARKERS)],
                    color=COLOURS[index % len(COLOURS)],
                    markersize=4.5,
                    label=column,
                )
    for axes in panels[-1]:
        axes.set_xlabel("time steps")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
    return figure


def _relative(
    records: Sequence[Record], config: Config, cell: str, routine: str, column: str, base: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median and quartiles over the median of `base` at every shape, NaN where there is no number."""

    def times(column: str, shape: str) -> list[float]:
        found = pick(records, cell=cell, shape=shape, column=column, status="ok")
        return [found[0][routine]["median"], *found[0][routine]["quartiles"]] if found else [np.nan] * 3

    ratios = [np.divide(times(column, shape), times(base, shape)[0]) for shape in config.shapes]
    median, low, high = np.transpose(ratios)
    return median, low, high


def _frame(axes: Axes, config: Config) -> None:
    """A row a shape, bands to tell rows apart, and the first column as a line at 1."""
    axes.set(xscale="log", ylim=(len(config.shapes) - 0.5, -0.5))
    axes.set_yticks(range(len(config.shapes)), config.shapes)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    for row in range(0, len(config.shapes), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="black", alpha=0.04, linewidth=0)
    axes.axvline(1, color="black", linewidth=1)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
