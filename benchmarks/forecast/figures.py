"""The figures of the forecasting benchmark, from records."""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.figures import COLOURS, in_style, median_band, save
from benchmarks.forecast.config import Config
from benchmarks.results import Record, pick
from rnnjax import flow

LINES = ("-", "--", ":", "-.")


def draw_all(records: Sequence[Record], config: Config, folder: Path) -> dict[str, Path]:
    """Writes every figure that the records have something for as PNG and SVG into a folder; the SVG files by name."""
    figures = {
        "forecasts": forecasts,
        "by_step": errors_by_step,
        "learning": learning_curves,
        "flow": gradient_flow,
    }
    with in_style():
        drawn = {name: draw(records, config) for name, draw in figures.items()}
        return {name: save(figure, folder, name) for name, figure in drawn.items() if figure is not None}


def forecasts(records: Sequence[Record], config: Config) -> Figure | None:
    """What came before, what followed, and what each model forecast with its band: a row a model, three places."""
    results = [record for record in pick(records, kind="result") if "shown" in record]
    if not results:
        return None
    count = len(results[0]["shown"]["places"])
    figure = Figure(figsize=(3.6 * count, 0.6 + 1.5 * len(results)))
    panels = figure.subplots(len(results), count, sharex=True, sharey="col", squeeze=False)
    ahead = np.arange(1, config.horizon + 1)
    before = np.arange(1 - config.window, 1)
    for row, record in zip(panels, results, strict=True):
        shown = record["shown"]
        for number, axes in enumerate(row):
            axes.plot(before, shown["before"][number], color="grey", linewidth=1)
            axes.plot(ahead, shown["truth"][number], "o-", color="black", linewidth=1, markersize=2.5)
            axes.plot(ahead, shown["mean"][number], color=COLOURS[1], linewidth=1.5)
            axes.fill_between(
                ahead, shown["low"][number], shown["high"][number], color=COLOURS[1], alpha=0.2, linewidth=0
            )
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        row[0].set_ylabel(label(record).replace(", ", "\n"), fontsize=8)  # a row is too low for one line
    for place, axes in zip(results[0]["shown"]["places"], panels[0], strict=True):
        axes.set_title(f"test example {place + 1}", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("steps from the last that is known")
    return figure


def errors_by_step(records: Sequence[Record], config: Config) -> Figure:
    """Test MSE against the step ahead, the mean over the seeds that did not diverge."""
    figure = Figure(figsize=(7.4, 4.4))
    axes = figure.subplots()
    for index, record in enumerate(pick(records, kind="result")):
        samples = np.array(record.get("test_mse_by_step", []), float).reshape(-1, config.horizon)
        samples = samples[np.isfinite(samples).all(1)]
        if len(samples):
            ahead = np.arange(1, config.horizon + 1)
            axes.plot(
                ahead, samples.mean(0), LINES[index // len(COLOURS) % 4], color=colour(index), label=label(record)
            )
    axes.set(xlabel="step ahead", ylabel="test MSE (scaled series)", yscale="log", title=config.series)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def learning_curves(records: Sequence[Record], config: Config) -> Figure | None:
    """Validation MSE of the last step's forecast against the epoch, the median over seeds."""
    if not config.networks:
        return None
    figure = Figure(figsize=(7.4, 4.4))
    axes = figure.subplots()
    for index, record in enumerate(pick(records, kind="result")):
        epochs = pick(records, name=record["name"], kind="epoch")
        if epochs:
            losses = [float(epoch["valid_loss"]) for epoch in epochs]
            line = LINES[index // len(COLOURS) % 4]
            axes.plot([epoch["epoch"] for epoch in epochs], losses, line, color=colour(index), label=label(record))
        elif record["valid_mse"]:
            axes.axhline(float(record["valid_mse"][0]), color=colour(index), linewidth=0.8, label=label(record))
    axes.set(xlabel="epoch", ylabel="validation MSE (scaled series)", yscale="log", title=config.series)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def gradient_flow(records: Sequence[Record], config: Config) -> Figure | None:
    """||dL/dh_t|| against the lag in steps of the input, medians over seeds with their 95 % bands."""
    measured = pick(records, kind="flow")
    if not measured:
        return None
    figure = Figure(figsize=(8, 4.4))
    axes = figure.subplots()
    for index, record in enumerate(measured):
        lags = np.array(record["lags"])
        curves = np.array(record["log_norms"], float)
        curves = curves[~np.isnan(curves).any(1)]  # exactly zero, where a network does not look, is no failure
        if not len(curves):
            continue
        low, middle, high = median_band(curves)
        life = float(flow.half_life(flow.decay_rate(jnp.asarray(lags), jnp.asarray(middle))))
        of = "" if record["of"] == "the carries" else f", of {record['flow']['of']}"
        text = f"{label(record)}{of}: half-life {life:.1f}"
        axes.plot(-lags, np.exp(middle), LINES[index // len(COLOURS) % 4], color=colour(index), label=text)
        axes.fill_between(-lags, np.exp(low), np.exp(high), color=colour(index), alpha=0.15, linewidth=0)
    axes.set(xlabel="steps from the last that is read", ylabel="||dL/dh||", yscale="log")
    axes.set_title(f"{config.series}: gradients of the trained networks", fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def label(record: Record) -> str:
    return f"{record['model']}, {record['head']}" if record["head"] else record["model"]


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
