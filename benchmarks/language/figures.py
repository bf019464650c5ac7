"""The figure of the language benchmark, from records."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from benchmarks.figures import COLOURS, in_style, save
from benchmarks.language.config import Config, published
from benchmarks.results import Record, pick

SPLITS = (("train_perplexity", "--", "train"), ("valid_perplexity", "-", "validation"))


def draw(records: Sequence[Record], config: Config, folder: Path) -> Path:
    """Writes perplexity.png and perplexity.svg into a folder."""
    with in_style():
        return save(perplexity_against_epoch(records, config), folder, "perplexity")


def perplexity_against_epoch(records: Sequence[Record], config: Config) -> Figure:
    """Train and validation of every cell, with the published value as a line."""
    figure = Figure(figsize=(7, 5.4))
    axes = figure.subplots()
    for index, cell in enumerate(config.cell):
        epochs = pick(records, cell=cell, kind="epoch")
        for quantity, line, split in SPLITS:
            axes.plot(
                [record["epoch"] for record in epochs],
                [float(record[quantity]) for record in epochs],
                line,
                color=COLOURS[index % len(COLOURS)],
                marker="o",
                markersize=3.5,
                label=f"{cell}, {split}",
            )
    beside = published(config)
    if beside is not None:
        label = f"published, {beside.split}: {beside.perplexity:.4g}\n({beside.source})"
        axes.axhline(beside.perplexity, color="black", linewidth=1, label=label)
    axes.set(title=f"{config.model} on {config.data}", xlabel="epoch", ylabel=f"perplexity a {config.token}")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if high < 30 * low else (1, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
