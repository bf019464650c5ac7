"""The figures of the benchmark of long time lags, from records."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.figures import COLOURS, in_style, save
from benchmarks.lags.config import Config
from benchmarks.lags.records import Row, first_arm, make_row, remembered
from benchmarks.results import Record

MARKERS = "os^Dvp*X"


def draw_all(records: Sequence[Record], config: Config, folder: Path) -> dict[str, Path]:
    """Writes every figure as PNG and SVG into a folder; returns the SVG files by name."""
    arms = len(config.optimizers) * len(config.clip) > 1
    chosen = FIGURES | ({"arms": optimizers_and_clipping} if arms else {})
    paths = {}
    for name, draw in chosen.items():
        with in_style():
            paths[name] = save(draw(records, config), folder, name)
    return paths


def phase_diagram(records: Sequence[Record], config: Config) -> Figure:
    """Success rate of every cell at every lag, one panel a task."""
    lags = sorted(config.lags)
    figure = Figure(figsize=(2.2 + 1.1 * len(lags) * len(config.tasks), 1.4 + 0.42 * len(config.learners)))
    panels = figure.subplots(1, len(config.tasks), sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, config.tasks, strict=True):
        rows = [
            [make_row(records, task=task, lag=lag, **each, **first_arm(config)) for lag in lags]
            for each in config.learners.values()
        ]
        _heat_map(axes, rows, list(config.learners), [str(lag) for lag in lags])
        axes.set(title=task, xlabel="lag (steps)")
    figure.colorbar(panels[0].images[0], ax=panels, label="share of seeds that succeed")
    return figure


def success_against_lag(records: Sequence[Record], config: Config) -> Figure:
    """Success rate, and updates to success, against the lag."""
    lags = sorted(config.lags)
    figure = Figure(figsize=(1.2 + 3.8 * len(config.tasks), 6.4))
    panels = figure.subplots(2, len(config.tasks), sharex=True, sharey="row", squeeze=False)
    for column, task in zip(panels.T, config.tasks, strict=True):
        for index, ((colour, marker), (name, each)) in enumerate(zip(_styles(), config.learners.items(), strict=False)):
            beside = 1.03 ** (index - (len(config.learners) - 1) / 2)  # where several have the same value, all show
            rows = [make_row(records, task=task, lag=lag, **each, **first_arm(config)) for lag in lags]
            style = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.4, "label": name}
            places = [beside * lag for lag in lags]
            column[0].plot(places, [row.success for row in rows], **style)
            updates = [np.median(row.updates) if row.solved else math.nan for row in rows]
            column[1].plot(places, updates, **style)
        column[0].set(title=task, xscale="log", ylim=(-0.05, 1.05))
        column[1].set(xlabel="lag (steps)", ylim=(0, 1.05 * config.updates))
        column[1].set_xticks(lags, [str(lag) for lag in lags], minor=False)
        column[1].minorticks_off()
    panels[0, 0].set_ylabel("share of seeds that succeed")
    panels[1, 0].set_ylabel("updates to success (median)")
    _legend(figure, panels[0, 0])
    return figure


def half_life_and_lag(records: Sequence[Record], config: Config) -> Figure:
    """The longest lag that is learned against the gradient's half-life at initialisation, one point a cell."""
    places = [0, *sorted(config.lags)]
    figure = Figure(figsize=(1.2 + 3.8 * len(config.tasks), 4.2))
    panels = figure.subplots(1, len(config.tasks), sharex=True, sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, config.tasks, strict=True):
        found = remembered(records, config, task)
        longest = max([life for life in found.half_lives if math.isfinite(life)], default=1.0)
        points = zip(_styles(), config.learners, found.half_lives, found.lags, strict=False)
        for (colour, marker), name, life, lag in points:
            # An infinite half-life stands right of the others, and says so.
            style = {"color": colour, "markersize": 8, "label": name, "alpha": 0.85}
            place = min(life, 3 * longest), places.index(lag)
            axes.plot(*place, marker, **style)
            if math.isinf(life):
                axes.annotate("∞", place, (0, 7), textcoords="offset points", ha="center", color=colour)
        axes.set(title=f"{task}\nrank correlation {found}", xlabel="half-life at initialisation (steps)", xscale="log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(range(len(places)), ["none", *map(str, places[1:])])
    panels[0].set_ylabel("longest lag learned by half of the seeds")
    _legend(figure, panels[0])
    return figure


def optimizers_and_clipping(records: Sequence[Record], config: Config) -> Figure:
    """Success rate of cells with optimisers against the threshold, one panel a task and lag; +: diverged."""
    lags = sorted(config.lags)
    kinds = {
        f"{name} {optimizer}": {**each, "optimizer": optimizer}
        for name, each in config.learners.items()
        for optimizer in config.optimizers
    }
    figure = Figure(figsize=(3 + 1.3 * len(config.clip) * len(lags), 1.6 + 0.4 * len(kinds) * len(config.tasks)))
    panels = figure.subplots(len(config.tasks), len(lags), sharex=True, sharey=True, squeeze=False)
    for line, task in zip(panels, config.tasks, strict=True):
        for axes, lag in zip(line, lags, strict=True):
            rows = [
                [make_row(records, task=task, lag=lag, max_norm=max_norm, **kind) for max_norm in config.clip]
                for kind in kinds.values()
            ]
            _heat_map(axes, rows, list(kinds), [f"{max_norm:g}" for max_norm in config.clip])
            axes.set(title=f"{task}, lag {lag}", xlabel="clipped to")
    figure.colorbar(panels[0, 0].images[0], ax=panels, label="share of seeds that succeed (+ share that diverges)")
    return figure


FIGURES: dict[str, Callable[[Sequence[Record], Config], Figure]] = {
    "phase": phase_diagram,
    "success": success_against_lag,
    "half_life": half_life_and_lag,
}


def _heat_map(axes: Axes, rows: Sequence[Sequence[Row]], names: Sequence[str], labels: Sequence[str]) -> None:
    success = np.array([[row.success for row in line] for line in rows])
    axes.imshow(success, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor("lightgrey")  # not run, or failed
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    for (line, column), share in np.ndenumerate(success):
        row = rows[line][column]
        text = row.failure or f"{share:.0%}" + (f" +{row.diverged / row.runs:.0%}" if row.diverged else "")
        colour = "white" if share <= 0.5 else "black"
        axes.text(column, line, text, ha="center", va="center", color=colour, fontsize=8)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 8))


def _styles() -> Iterator[tuple[str, str]]:
    """A colour and a marker for each of any number of cells."""
    number = 0
    while True:
        yield COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        number += 1
