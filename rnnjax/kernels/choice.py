"""What "auto" takes: by cell, time, batch and precision, and by what was measured on the platform.

measured.json holds the times of training steps, `python -m benchmarks.speed.table` writes it from the records of the
speed benchmark. A row speaks for all cells of as many gates, in its precision, at every size near its own, on devices
of its kind; the nearest is followed. Without one all platforms do alike, and none takes "fused".
"""

import json
import math
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.sharding import AxisType

from rnnjax.cells.base import Cell, NotPointwise, PointwiseCell
from rnnjax.cells.linear import ParallelCell
from rnnjax.kernels import blocked, fused
from rnnjax.kernels.base import Stretch, product_precision

PLATFORMS = ("cpu", "cuda", "tpu", "other")
MEASURED = Path(__file__).with_name("measured.json")
NEAR = 3.0
"""How many doublings of time, batch and units together a shape may be away from one that was measured."""
MARGIN = 1.1
"""How many times as fast as the usual kernel another has to be: less is the noise of the measurement."""


class Choice(NamedTuple):
    """The kernel for one cell on one platform."""

    platform: str
    cell: str
    steps: int
    """Of the sequence, or of its segment with `remat`."""
    kernel: str
    why: str

    def __str__(self) -> str:
        return f"{self.platform}: {self.kernel!r} for {self.cell} over {self.steps} steps: {self.why}"


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
    found = {platform: _on(platform, cell, params, xs, noise, carry, stretch) for platform in PLATFORMS}
    heard = listener.get()
    if heard is not None:
        heard.extend(Choice(platform, type(cell).__name__, len(xs), *each) for platform, each in found.items())
    return {platform: kernel for platform, (kernel, _) in found.items()}


def _on(
    platform: str, cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, stretch: Stretch
) -> tuple[str, str]:
    """The kernel on a platform, and why: as measured there, else the usual one."""
    if isinstance(cell, ParallelCell):
        return _linear(platform, stretch)
    try:
        core = cell.pointwise_core(noise)
    except NotPointwise:
        return "scan", "not one recurrent product and then arithmetic (a PointwiseCell)"
    usual = _usual(xs)
    rows = near(platform, core, params, xs)
    if not rows:
        return usual[0], f"{usual[1]}; nothing near it is measured on this platform"
    kinds = {device.device_kind for device in devices_here(platform)}
    row = next((row for row in rows if row.device in kinds), None)
    if row is None:
        return usual[0], f"{usual[1]}; what is measured near it is on {rows[0].device}, which is not here"
    if product_precision() != "default":
        return usual[0], f"{usual[1]}; nothing is measured with products in precision {product_precision()!r}"
    return _fastest(row, usual, partial(_obstacle, row, cell, params, xs, noise, carry, stretch))


def _linear(platform: str, stretch: Stretch) -> tuple[str, str]:
    """The kernel for a linear recurrence, and why."""
    if platform == "cpu":
        return "scan", "a linear recurrence, but all steps at once are slower on a CPU, save for the smallest cells"
    if stretch.perturbations is not None:
        return "scan", "a linear recurrence, but perturbations need the steps one by one"
    return "parallel", "a linear recurrence, all steps at once; not measured yet"


def _usual(xs: Array) -> tuple[str, str]:
    """The kernel on a CPU, and where nothing is measured, and why."""
    if blocked.pays(xs):
        return "blocked", "one product a step in the backward loop, where the scan has two"
    return "scan", FEW_STEPS


FEW_STEPS = '"blocked" takes longer to compile than so few steps can make up for'


def _obstacle(
    row: Measured, cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, stretch: Stretch, kernel: str
) -> str | None:
    """Why "auto" does not take a kernel that was measured; None if it may."""
    if kernel == "blocked":
        return None if blocked.pays(xs) else FEW_STEPS
    if kernel != "fused":
        return None
    if stretch.perturbations is not None:
        return "perturbations need the steps one by one"
    if may_be_spread(row.platform):
        return "several devices are here, and only jax.shard_map spreads it over them"
    if cell.pointwise_core(noise).hidden_size > row.hidden:
        return "with fewer units it may have been another kernel, whose weights fit the chip"
    return fused.obstacle(row.platform, cell, params, xs, noise, carry)


def _fastest(row: Measured, usual: tuple[str, str], obstacle: Callable[[str], str | None]) -> tuple[str, str]:
    """The kernel that took the least time, of those that have no obstacle, and why."""
    times, passed_over = row.milliseconds, ""
    for kernel in sorted(times, key=lambda name: times[name]):
        why = obstacle(kernel)
        if why is None:
            break
        passed_over += f"; not {kernel!r}: {why}"
    else:
        return usual[0], usual[1] + passed_over
    if kernel != usual[0] and times.get(usual[0], math.inf) < MARGIN * times[kernel]:
        passed_over += f"; {kernel!r} has less than {MARGIN:g} times its speed, which may be noise"
        kernel = usual[0]
    others = ", ".join(f"{times[name]:.3g} by {name!r}" for name in times if name != kernel)
    at = f"{row.time}x{row.batch}x{row.hidden} in {row.dtype} on {row.device}"
    return kernel, f"{times[kernel]:.3g} ms a training step, {others}, measured at {at}{passed_over}"


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


def devices_here(platform: str) -> list[jax.Device]:
    """The devices of a platform that JAX runs on here: on another kind, a kernel may not fit."""
    try:
        return jax.devices(platform)
    except RuntimeError:
        return []


def may_be_spread(platform: str) -> bool:
    """Whether the compiler may be about to share out the work over devices, as it cannot a kernel of Pallas.

    Inside `jax.shard_map` over all axes each device has work of its own.
    """
    mesh = jax.sharding.get_abstract_mesh()
    shared = [kind for kind, size in zip(mesh.axis_types, mesh.axis_sizes, strict=True) if size > 1]
    inside = AxisType.Manual in mesh.axis_types and all(kind == AxisType.Manual for kind in shared)
    return len(devices_here(platform)) > 1 and not inside


@cache
def measured() -> tuple[Measured, ...]:
    return tuple(Measured(**row) for row in json.loads(MEASURED.read_text(encoding="utf-8")))
