"""The figures of translate and caption, from records."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.figures import COLOURS
from benchmarks.results import Record, pick


def loss_against_epoch(records: Sequence[Record], cells: Sequence[str], title: str) -> Figure:
    """Training and validation loss of every cell."""
    figure = Figure(figsize=(7, 4.2))
    axes = figure.subplots()
    for index, cell in enumerate(cells):
        epochs = pick(records, cell=cell, kind="epoch")
        for quantity, line, split in (("loss", "--", "train"), ("valid_loss", "-", "validation")):
            axes.plot(
                [record["epoch"] for record in epochs],
                [float(record[quantity]) for record in epochs],
                line,
                color=COLOURS[index % len(COLOURS)],
                marker="o",
                markersize=3.5,
                label=f"{cell}, {split}",
            )
    axes.set(title=title, xlabel="epoch", ylabel="loss (nats a token)", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def gradient_flow(records: Sequence[Record], cells: Sequence[str], title: str) -> Figure:
    """Gradient norms of the trained models against the step, a panel each for encoder and decoder."""
    flows = {record["cell"]: record["norms"] for record in pick(records, kind="flow")}
    parts = [side for side in ("encoder", "decoder") if any(p.startswith(side) for n in flows.values() for p in n)]
    figure = Figure(figsize=(4.5 * len(parts) + 1, 4))
    panels = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
    lines = ("-", "--", ":", "-.")
    for side, axes in zip(parts, panels, strict=True):
        for index, cell in enumerate(cells):
            own = {part: norms for part, norms in flows.get(cell, {}).items() if part.startswith(side)}
            for number, (part, norms) in enumerate(own.items()):
                axes.plot(
                    10.0 ** np.array(norms, float),
                    lines[number % len(lines)],
                    color=COLOURS[index % len(COLOURS)],
                    label=f"{cell}{part.removeprefix(side)}",
                )
        axes.set(title=side, xlabel="step", yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    panels[0].set_ylabel(r"$\|\partial L / \partial h_t\|$")
    figure.suptitle(title)
    return figure
