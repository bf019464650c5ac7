"""What "auto" takes: by cell, time, batch and precision, and by what was measured on the platform.

measured.json holds the times of training steps on accelerators, `python -m benchmarks.speed.table` writes it from the
records of the speed benchmark. Where it has none that are close, of the kind of device that is here, an accelerator
does as a CPU does: "fused" is never taken where it was not seen to run. Nothing has been measured on an accelerator
yet.
"""

import json
import math
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import Array

from rnnjax.cells.base import Cell, PointwiseCell
from rnnjax.cells.linear import ParallelCell
from rnnjax.kernels import blocked, fused
from rnnjax.kernels.base import Stretch, product_precision

PLATFORMS = ("cpu", "cuda", "tpu", "other")
MEASURED = Path(__file__).with_name("measured.json")
NEAR = 3.0
"""How many doublings of time, batch and units together a shape may be away from one that was measured."""


class Choice(NamedTuple):
    """The kernel for one cell on one platform."""

    platform: str
    cell: str
    kernel: str
    why: str

    def __str__(self) -> str:
        return f"{self.platform}: {self.kernel!r} for {self.cell}: {self.why}"


class Measured(NamedTuple):
    """The times of one training step by several kernels."""

    platform: str
    device: str
    dtype: str
    gates: int
    """Of the recurrent weights: 1 of a simple RNN, 4 of an LSTM, 3 of a GRU."""
    time: int
    batch: int
    hidden: int
    milliseconds: dict[str, float]
    """A number a kernel."""


listener: ContextVar[list[Choice] | None] = ContextVar("listener", default=None)
"""Where all choices are written down, while someone asks."""


def decide(
    cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, fresh: Any, stretch: Stretch
) -> dict[str, str]:
    """The name of a kernel for every platform."""
    usual = _usual(cell, xs)
    choices = [Choice("cpu", type(cell).__name__, *usual)]
    for platform in PLATFORMS[1:]:
        if stretch.perturbations is None:
            found = _elsewhere(platform, cell, params, xs, carry, usual)
        else:
            found = usual[0], f"{usual[1]}; perturbations need the steps one by one"
        choices.append(Choice(platform, type(cell).__name__, *found))
    heard = listener.get()
    if heard is not None:
        heard.extend(choices)
    return {choice.platform: choice.kernel for choice in choices}


def _usual(cell: Cell[Any, Any], xs: Array) -> tuple[str, str]:
    """The kernel on a CPU, and why."""
    if isinstance(cell, ParallelCell):
        return "scan", "a linear recurrence, but all steps at once are slower on a CPU"
    if not isinstance(cell, PointwiseCell):
        return "scan", "not one recurrent product and then arithmetic (a PointwiseCell)"
    if blocked.pays(cell, xs):
        return "blocked", "its training step is faster than the scan's, as measured on a CPU"
    return "scan", '"blocked" does not pay for so few steps, as measured on a CPU'


def _elsewhere(
    platform: str, cell: Cell[Any, Any], params: Any, xs: Array, carry: Any, usual: tuple[str, str]
) -> tuple[str, str]:
    """The kernel on another platform: as measured there, else the usual one."""
    if isinstance(cell, ParallelCell):
        return "parallel", "a linear recurrence, all steps at once; not measured yet"
    if not isinstance(cell, PointwiseCell):
        return usual
    rows = near(platform, cell, params, xs)
    if not rows:
        return usual[0], f"{usual[1]}; nothing near it is measured on this platform"
    kinds = kinds_here(platform)
    row = next((row for row in rows if row.device in kinds), None)
    if row is None:
        return usual[0], f"{usual[1]}; what is measured near it is on {rows[0].device}, which is not here"
    if product_precision() != "default":
        return usual[0], f"{usual[1]}; nothing is measured with products in precision {product_precision()!r}"
    times = row.milliseconds
    for kernel in sorted(times, key=lambda name: times[name]):
        if kernel != "fused" or fused.obstacle(platform, cell, params, xs, carry) is None:
            others = ", ".join(f"{times[name]:.3g} by {name!r}" for name in times if name != kernel)
            at = f"{row.time}x{row.batch}x{row.hidden} in {row.dtype} on {row.device}"
            return kernel, f"{times[kernel]:.3g} ms a training step, {others}, measured at {at}"
    return usual


def near(platform: str, cell: PointwiseCell[Any, Any], params: Any, xs: Array) -> list[Measured]:
    """What was measured near a shape, the nearest first."""
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves((params, xs))}
    shape = len(xs), max(1, math.prod(cell.leading_shape(xs)[1:])), cell.hidden_size

    def distance(row: Measured) -> float:
        return sum(abs(math.log2(size / other)) for size, other in zip(shape, row[4:7], strict=True))

    rows = [row for row in measured() if row.platform == platform and {row.dtype} == dtypes]
    rows = [row for row in rows if row.gates == gates(cell, params) and distance(row) <= NEAR]
    return sorted(rows, key=distance)


def gates(cell: PointwiseCell[Any, Any], params: Any) -> int:
    """The size of the recurrent weights, in square matrices of the hidden size."""
    return int(params.w_h.size // cell.hidden_size**2)


def kinds_here(platform: str) -> set[str]:
    """The devices of a platform that JAX runs on here: on another kind, a kernel may not fit."""
    try:
        return {device.device_kind for device in jax.devices(platform)}
    except RuntimeError:
        return set()


@cache
def measured() -> tuple[Measured, ...]:
    return tuple(Measured(**row) for row in json.loads(MEASURED.read_text(encoding="utf-8")))
