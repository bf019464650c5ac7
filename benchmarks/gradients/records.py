"""From measurements to records, and from records to what tables and figures show.

A record is one seed in one phase (initial, clipped, unclipped) of one cell at one lag. Logarithms in records are to
base 10; minus infinity stands for a norm of exactly zero. Everything shown is made from records.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.figures import median_band
from benchmarks.gradients.experiment import Experiment, Phase
from benchmarks.results import Record, digits, pick, values
from rnnjax import flow

PHASES = ("initial", "clipped", "unclipped")
VANISHED, EXPLODED = -3.0, 3.0
"""log10 of the norm at the largest lag over that at the end, beyond which a gradient has vanished or exploded."""


MEASURED = ("ok", "diverged")
"""The statuses of a seed that has numbers; others say why there are none."""


def make_records(
    experiment: Experiment, phase: Phase, environment: Record, status: str | None = None
) -> Iterator[Record]:
    """One record a seed; `status` is that of an experiment that failed."""
    log10 = 1 / math.log(10)
    curves: Any = jax.tree.map(np.asarray, phase.curves)
    components = {
        jax.tree_util.keystr(path).removeprefix("."): curve
        for path, curve in jax.tree_util.tree_leaves_with_path(curves.components)
    }
    history: Any = jax.tree.map(np.asarray, phase.history)
    for seed in range(experiment.config.seeds):
        training = None
        if history is not None:
            before, after = history.norm_before[seed], history.norm_after[seed]
            training = {
                "loss": digits(history.loss[seed]),
                "norm_before": digits(before),
                "norm_after": digits(after),
                "clipped_share": float(np.mean(after < before)),
            }
        rate, ratio = float(curves.decay_rate[seed]), float(curves.log_norm_ratio[seed]) * log10
        yield {
            "benchmark": "gradients",
            "cell": experiment.cell_name,
            "lag": experiment.lag,
            "phase": phase.name,
            "seed": seed,
            "status": _status(curves, history, seed) if status is None else status,
            "curve_lags": experiment.curve_lags.tolist(),
            "log10_norm": {name: digits(curve[seed] * log10) for name, curve in components.items()},
            "decay_rate": digits(rate),
            "half_life": digits(float(flow.half_life(jnp.asarray(rate)))),
            "log10_norm_ratio": digits(ratio),
            "training": training,
            "config": dataclasses.asdict(experiment.config),
            "environment": environment,
        }


def _status(curves: Any, history: Any, seed: int) -> str:
    finite = history is None or np.isfinite([history.loss[seed], history.norm_before[seed]]).all()
    known = not any(np.isnan(curve[seed]).any() for curve in jax.tree.leaves(curves.components))
    return "ok" if finite and known else "diverged"


def is_done(records: Sequence[Record], experiment: Experiment) -> bool:
    """Whether all records of an experiment are there; one that failed is tried again."""
    mine = pick(records, cell=experiment.cell_name, lag=experiment.lag)
    return len(mine) == len(PHASES) * experiment.config.seeds and all(r["status"] in MEASURED for r in mine)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table: a cell in a phase, at one lag, over all seeds."""

    cell: str
    phase: str
    lag: int
    half_life: flow.Band
    decay: flow.Band
    """exp(-decay rate): the factor that one step back multiplies the norm by."""
    log10_norm_ratio: flow.Band
    vanished: float
    exploded: float
    """Share of the seeds; a seed that diverged counts as exploded."""
    clipped: float | None
    """Share of training steps at which clipping engaged."""
    loss: float | None
    """Median loss over the last tenth of training."""
    failure: str | None
    """Why there are no numbers, if the experiment failed."""


def make_row(records: Sequence[Record], cell: str, phase: str, lag: int) -> Row:
    mine = pick(records, cell=cell, phase=phase, lag=lag)
    ratio = values(mine, "log10_norm_ratio")
    statuses = [record["status"] for record in mine]
    ok = np.array([status == "ok" for status in statuses])
    clipped = loss = None
    if phase != "initial":
        clipped = float(values(mine, "training", "clipped_share").mean())
        losses = values(mine, "training", "loss")
        loss = float(np.median(losses[:, -max(1, losses.shape[1] // 10) :]))
    return Row(
        cell=cell,
        phase=phase,
        lag=lag,
        half_life=median_band(values(mine, "half_life")),
        decay=median_band(np.exp(-values(mine, "decay_rate"))),
        log10_norm_ratio=median_band(ratio),
        vanished=float(np.mean(ok & (ratio < VANISHED))),
        exploded=float(np.mean(~ok | (ratio > EXPLODED))),
        clipped=clipped,
        loss=loss,
        failure=next((status for status in statuses if status not in MEASURED), None),
    )
