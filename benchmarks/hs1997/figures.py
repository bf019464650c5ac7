"""The figure of the benchmark of 1997, from records."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures import COLOURS, in_style, save
from benchmarks.hs1997.records import shown_rows, summarise
from benchmarks.results import Record, pick


def draw(records: Sequence[Record], folder: Path) -> Path:
    """Writes hs1997.png and hs1997.svg into a folder."""
    with in_style():
        return save(trials(records), folder, "hs1997")


def trials(records: Sequence[Record]) -> Figure:
    """Sequences until success: every trial of every row, those given up at their cap, and the published numbers."""
    names = shown_rows(records)
    figure = Figure(figsize=(9, 1.6 + 0.28 * len(names)))
    axes = figure.subplots()
    groups: dict[str, list[tuple[float, int]]] = {"solved": [], "unsolved": [], "diverged": []}
    published, medians = [], []
    for place, name in enumerate(names):
        summary = summarise(records, name)
        for status, points in groups.items():
            points += [(record["sequences"], place) for record in pick(summary.records, status=status)]
        given_up = [record["sequences"] for record in pick(summary.records, status="unsolved")]
        if given_up:
            axes.annotate(f"{len(given_up)}", (max(given_up), place), (6, 0), textcoords="offset points", va="center")
        if summary.row.published.sequences:
            published.append((summary.row.published.sequences, place))
        if len(summary.sequences):
            medians.append((np.median(summary.sequences), place))
    looks = {
        "solved": ("o", COLOURS[1], "a trial of ours"),
        "unsolved": ("x", COLOURS[7], "not solved when given up"),
        "diverged": ("X", COLOURS[0], "diverged"),
    }
    for status, (marker, colour, label) in looks.items():
        if groups[status]:
            axes.plot(*zip(*groups[status], strict=True), marker, color=colour, label=label, markersize=4, alpha=0.6)
    for points, marker, label in (medians, "|", "our median"), (published, "D", "published"):
        if points:
            colour = COLOURS[6] if marker == "|" else COLOURS[4]
            size = 14 if marker == "|" else 6
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=label, markersize=size)
    axes.set(xscale="log", xlabel="training sequences", ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names)
    if names:
        figure.legend(loc="outside lower center", ncols=5)
    return figure
