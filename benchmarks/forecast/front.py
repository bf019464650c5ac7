"""The command `front`: how far back a gradient reaches, in steps of the input, behind a convolution with a stride.

A convolution that takes every k-th step leaves a recurrent network a k-th of the steps: an error halves over as many
steps of the network as before, which are k times as many of the input.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from cyclopts import Parameter
from flax import nnx
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import environment
from benchmarks.errors import UsageError
from benchmarks.figures import COLOURS, in_style, median_band, save
from benchmarks.forecast.figures import LINES
from benchmarks.forecast.flow import lags, log_norms
from benchmarks.options import Int, check_known, check_least, check_several
from benchmarks.results import Record, digits, pick
from benchmarks.run import open_results, progress_bar, saved_settings
from rnnjax import CELLS, flow
from rnnjax.models import Convolution, Forecaster, Recurrent, split
from rnnjax.tasks.forecasting import generate_waves
from rnnjax.train import members

HORIZON = 10


@dataclass(frozen=True)
class FrontConfig:
    """Settings of a run."""

    cells: tuple[str, ...] = ("rnn", "lstm", "gru")
    """Cells, by their names in rnnjax.CELLS."""
    strides: tuple[Int, ...] = (1, 2, 4, 8)
    """Strides of the convolution, which is over twice as many steps; 1: there is none."""
    window: Int = 200
    """Steps that are read."""
    hidden_size: Int = 20
    """Hidden units, and filters."""
    seeds: Int = 16
    """Number of seeds, each with its own weights."""
    batch_size: Int = 32
    """Series of `waves` that a norm is a mean over."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        check_several("--cells", self.cells)
        check_known("--cells", self.cells, CELLS)
        check_several("--strides", self.strides)
        check_least("--strides", min(self.strides), 1)
        for name in ("window", "hidden-size", "seeds", "batch-size"):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), 1)
        if self.window < 4 * max(self.strides):
            raise UsageError(
                f"--window {self.window}: a stride of {max(self.strides)} takes {4 * max(self.strides)} steps or more"
            )

    def make_model(self, cell: str, stride: int, seed: int) -> Forecaster:
        rngs, size = nnx.Rngs(seed), self.hidden_size
        front = None if stride == 1 else Convolution(1, size, kernel_size=2 * stride, stride=stride, rngs=rngs)
        layer = Recurrent(CELLS[cell](hidden_size=size), 1 if front is None else size, rngs=rngs)
        return Forecaster([layer], HORIZON, 1, size=layer.cell.output_size, front=front, rngs=rngs)


def defaults(resume: Path | None = None, **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run."""
    return {} if resume is None else saved_settings(resume, FrontConfig)


def command(
    *,
    config: Annotated[FrontConfig, Parameter(name="*")] = FrontConfig(),
    out: Path = Path("results"),
    resume: Path | None = None,
) -> None:
    """Measure how a convolution in front of a recurrent network moves the half-life of the gradient, before training.

    Writes records.jsonl, config.json, environment.json and a figure (PNG and SVG) to OUT/forecast-front/TIME/.

    Parameters
    ----------
    config
        Settings.
    out
        Folder that the results folder is made in.
    resume
        Results folder of an interrupted run to go on with; its settings are taken over.
    """
    console = Console()
    config.check()
    here = environment.describe()
    waves = generate_waves(np.random.RandomState(42), config.batch_size, config.window + HORIZON)
    pairs = [(cell, stride) for cell in config.cells for stride in config.strides]
    with (
        open_results(console, "forecast-front", config, here, out, resume, "forecast front") as results,
        progress_bar(console) as progress,
    ):
        bar = progress.add_task("", total=len(pairs))
        for cell, stride in pairs:
            progress.update(bar, description=f"{cell}, stride {stride}")
            if not pick(results.read(), cell=cell, stride=stride):
                results.append(measure(config, cell, stride, waves, here))
            progress.advance(bar)
    records = results.read()
    with in_style():
        figure = save(draw(records, config), results.folder, "front")
    for cell, stride in pairs:
        middle = np.median([float(record["half_life"]) for record in pick(records, cell=cell, stride=stride)])
        console.print(f"{cell}, stride {stride}: half-life {middle:.1f} steps of the input", highlight=False)
    console.print(f"Figure: {figure}", soft_wrap=True, highlight=False)


def measure(config: FrontConfig, cell: str, stride: int, waves: np.ndarray, here: Record) -> Iterator[Record]:
    """One record a seed: the half-life in steps of the input, and the norms it is of."""
    models = [config.make_model(cell, stride, seed) for seed in range(config.seeds)]
    parts = members([split(model) for model in models])
    steps = lags(models[0], config.window)
    curves = jax.jit(jax.vmap(lambda *own: log_norms(parts.build(*own), jnp.asarray(waves), config.window)))(
        parts.params, parts.state
    )
    lives = flow.half_life(flow.decay_rate(jnp.asarray(steps), curves.T))
    for seed, (curve, life) in enumerate(zip(np.asarray(curves), lives, strict=True)):
        yield {
            "benchmark": "forecast-front",
            "cell": cell,
            "stride": stride,
            "seed": seed,
            "half_life": float(life),
            "lags": steps.tolist(),
            "log_norms": digits(curve),
            "config": dataclasses.asdict(config),
            "environment": here,
        }


def draw(records: list[Record], config: FrontConfig) -> Figure:
    """Half-life against the stride, and the norms that it is of: medians over seeds with their 95 % bands."""
    figure = Figure(figsize=(10, 4.4))
    left, right = figure.subplots(1, 2)
    strides = sorted(config.strides)
    for index, cell in enumerate(config.cells):
        colour = COLOURS[index % len(COLOURS)]
        lives = [[float(record["half_life"]) for record in pick(records, cell=cell, stride=each)] for each in strides]
        low, middle, high = median_band(np.array(lives).T)
        left.plot(strides, middle, "o-", color=colour, label=cell)
        left.fill_between(strides, low, high, color=colour, alpha=0.18, linewidth=0)
        for place, stride in enumerate(strides):
            mine = pick(records, cell=cell, stride=stride)
            curve = np.median([record["log_norms"] for record in mine], axis=0)
            text = f"{cell}, stride {stride}"
            right.plot(
                -np.array(mine[0]["lags"]), np.exp(curve), LINES[place % 4], color=colour, linewidth=1, label=text
            )
    left.set(xlabel="stride of the convolution (1: none)", ylabel="half-life in steps of the input")
    left.set_xscale("log", base=2)
    left.set_yscale("log", base=2)
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter("{x:g}")
    left.legend()
    right.set(xlabel="steps of the input from the last", ylabel="||dL/dh||", yscale="log")
    right.legend(fontsize=7, ncols=len(config.cells), loc="lower right")
    figure.suptitle(f"Gradients behind a convolution, before training ({config.seeds} seeds)")
    return figure
