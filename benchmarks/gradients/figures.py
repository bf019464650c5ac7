"""The figures of the gradient benchmark, from records."""

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.figures import COLOURS, in_style, median_band, save
from benchmarks.gradients.config import Config
from benchmarks.gradients.records import MEASURED, PHASES
from benchmarks.results import Record, pick, values

LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))


def draw_all(records: Sequence[Record], config: Config, folder: Path) -> dict[str, Path]:
    """Writes every figure as PNG and SVG into a folder; returns the SVG files by name."""
    paths = {}
    for name, draw in FIGURES.items():
        with in_style():
            paths[name] = save(draw(records, config), folder, name)
    return paths


def curves(records: Sequence[Record], config: Config) -> Figure:
    """||dL/dh_t|| and ||dL/dc_t|| against t - T, at the largest lag."""
    lag = max(config.lags)
    figure = Figure(figsize=(12, 4.4))
    for axes, phase in zip(_panels(figure, len(PHASES)), PHASES, strict=True):
        for colour, cell in zip(_colours(config), config.cells, strict=True):
            mine = pick(records, cell=cell, phase=phase, lag=lag)
            steps = -np.array(mine[0]["curve_lags"])
            for line, component in zip(itertools.cycle(LINES), mine[0]["log10_norm"], strict=False):
                label = f"{cell}: {_norm(component)}"
                _band(axes, steps, values(mine, "log10_norm", component), colour, line, label)
        axes.set(title=_title(phase, config), xlabel="t - T (steps)")
        _powers_of_ten(axes)
    figure.axes[0].set_ylabel("gradient norm (median of seeds, 95 % band)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def norm_against_lag(records: Sequence[Record], config: Config) -> Figure:
    """The norm at the largest lag over the norm at the end, against the lag."""
    figure = Figure(figsize=(12, 4.4))
    for axes, phase in zip(_panels(figure, len(PHASES)), PHASES, strict=True):
        for colour, cell in zip(_colours(config), config.cells, strict=True):
            lags = sorted(config.lags)
            ratios = [values(pick(records, cell=cell, phase=phase, lag=lag), "log10_norm_ratio") for lag in lags]
            _band(axes, np.array(lags), np.stack(ratios, axis=1), colour, "-", cell, marker="o")
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set(title=_title(phase, config), xlabel="lag (steps)", xscale=_log_scale(records))
        _powers_of_ten(axes)
    figure.axes[0].set_ylabel("norm of the carry's gradient at the lag,\nrelative to the end of the sequence")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(config.cells))
    return figure


def training_norms(records: Sequence[Record], config: Config) -> Figure:
    """The global gradient norm during training, before and after clipping, at the largest lag."""
    lag = max(config.lags)
    figure = Figure(figsize=(12, 4.4))
    shown = (("clipped", "norm_before", "-"), ("clipped", "norm_after", "--"), ("unclipped", "norm_before", ":"))
    labels = ("clipped runs, before clipping", "clipped runs, after clipping", "unclipped runs")
    scale = _log_scale(records)
    for axes, colour, cell in zip(_panels(figure, len(config.cells)), _colours(config), config.cells, strict=True):
        for (phase, norm, line), label in zip(shown, labels, strict=True):
            samples = values(pick(records, cell=cell, phase=phase, lag=lag), "training", norm)
            _band(axes, np.arange(1, samples.shape[1] + 1), samples, colour, line, label)
        share = values(pick(records, cell=cell, phase="clipped", lag=lag), "training", "clipped_share").mean()
        axes.axhline(config.max_norm, color="grey", linewidth=0.8)
        axes.set(title=f"{cell}: clipped at {share:.0%} of steps", xlabel="training step", yscale=scale)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].set_ylabel(f"global gradient norm at lag {lag}")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


FIGURES: dict[str, Callable[[Sequence[Record], Config], Figure]] = {
    "curves": curves,
    "norm_against_lag": norm_against_lag,
    "training_norms": training_norms,
}


def _panels(figure: Figure, count: int) -> Sequence[Axes]:
    return figure.subplots(1, count, sharey=True, squeeze=False)[0]


def _colours(config: Config) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(config.cells))]


def _norm(component: str) -> str:
    """The norm of a component's gradient; `layers[1].h` is written as h of layer 2."""
    name = re.sub(r"layers\[(\d+)\]\.(.*)", lambda found: f"{found[2]}^{{({int(found[1]) + 1})}}", component)
    return rf"$\|\partial L/\partial {name}_t\|$"


def _title(phase: str, config: Config) -> str:
    depth = f"{config.layers} layers, " if config.layers > 1 else ""
    if phase == "initial":
        return f"{depth}at initialisation"
    return f"{depth}after {config.steps} steps, " + (
        f"clipped to {config.max_norm:g}" if phase == "clipped" else "not clipped"
    )


def _band(
    axes: Axes, x: np.ndarray, samples: np.ndarray, colour: str, line: Any, label: str, marker: str | None = None
) -> None:
    """The median over seeds with its bootstrap band; what is exactly zero, or not a number, leaves a gap."""
    low, middle, high = (np.where(np.isfinite(curve), curve, np.nan) for curve in median_band(samples))
    axes.plot(x, middle, line, color=colour, label=label, marker=marker, markersize=4, linewidth=1.6)
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def _log_scale(records: Sequence[Record]) -> str:
    """matplotlib refuses a log axis with nothing on it, which is what is left when every experiment failed."""
    return "log" if any(record["status"] in MEASURED for record in records) else "linear"


def _powers_of_ten(axes: Axes) -> None:
    """Ticks of an axis that shows log10: norms at long lags are too small for a float, and so for a log axis."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"$10^{{{value:.0f}}}$"))
