"""What is measured: one cell on one shape, all libraries in turn, after each has shown that it computes the same."""

import functools
import importlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import rnnjax
from benchmarks.errors import is_out_of_memory, one_line
from benchmarks.peers import PEERS
from benchmarks.peers.program import JaxNetwork, Program, Results, Routine, Unsupported, clock
from benchmarks.speed.config import Column, Config, Shape

ROUTINES = ("forward", "step")
SAMPLE_SECONDS = 0.02
"""The least that a sample takes: shorter calls are made several times."""


@dataclass
class Outcome:
    """What becomes of one column."""

    status: str = "ok"
    reason: str | None = None
    """Why there are no times."""
    routines: dict[str, Routine] = field(default_factory=dict)
    """What is timed, nothing after a failure."""
    differences: dict[str, float] = field(default_factory=dict)
    """Of outputs and gradients from those of rnnjax's scan in float64, by relative norm."""
    calls: dict[str, int] = field(default_factory=dict)
    """Calls that make a sample."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Of one call, a number a sample."""

    def prepare(self, make: Callable[[], Program], reference: Callable[[], Results], allowed: float) -> None:
        """Compiles, compares, warms up and finds out how many calls make a sample."""
        program = make()
        self.differences = differences(program.results(), reference())
        for what, difference in self.differences.items():
            if not difference < allowed:
                return self.fail("different", f"{what} apart by {difference:.2g} of their norm, over {allowed:g}")
        self.routines = {name: getattr(program, name) for name in ROUTINES}
        for name, routine in self.routines.items():
            fastest = min(clock(routine) for _ in range(2))
            self.calls[name] = max(1, math.ceil(SAMPLE_SECONDS / fastest))

    def sample(self) -> None:
        for name, routine in self.routines.items():
            self.seconds.setdefault(name, []).append(clock(routine, self.calls[name]))

    def attempt(self, work: Callable[[], None]) -> None:
        """Does it; whatever a library raises ends its own column and no other."""
        try:
            work()
        except ImportError as error:
            self.fail("not installed", one_line(error))
        except Unsupported as error:
            self.fail("unsupported", one_line(error))
        except Exception as error:
            status = "out of memory" if is_out_of_memory(error) else "failed"
            self.fail(status, f"{type(error).__name__}: {one_line(error)}")

    def fail(self, status: str, reason: str) -> None:
        self.status, self.reason, self.routines = status, reason, {}


def measure(config: Config, name: str, shape: Shape, advance: Callable[[], None]) -> dict[str, Outcome]:
    """Times every column; `advance` is called when one is prepared, and after every round."""
    params, xs = draw(name, shape, config.dtype)
    reference = functools.cache(partial(reference_results, name, params, xs))
    outcomes = {column: Outcome() for column in config.columns}
    for column, outcome in outcomes.items():
        make = partial(make_program, config.columns[column], name, params, xs)
        outcome.attempt(partial(outcome.prepare, make, reference, tolerance(config.dtype)))
        advance()
    for number in range(config.repeats):
        # In another order every time: what one library leaves behind (spinning threads, cold caches) meets them all.
        for outcome in random.Random(number).sample([*outcomes.values()], len(outcomes)):
            outcome.attempt(outcome.sample)
        advance()
    return outcomes


# --- programs ---------------------------------------------------------------------------------------------------------


def make_program(column: Column, name: str, params: Any, xs: np.ndarray) -> Program:
    """The program of a column."""
    batch = xs.shape[1]
    if batch % column.devices:
        raise Unsupported(f"a batch of {batch} does not spread over {column.devices} devices")
    if column.library == "rnnjax":
        return ours(column, name, params, xs)
    adapter = load(column.library)
    if name not in adapter.CELLS:
        raise Unsupported(adapter.LACKS.get(name, "has no such cell"))
    made: Program | JaxNetwork = adapter.make(name, params, xs)
    return made.program(name, xs, column.devices) if isinstance(made, JaxNetwork) else made


def ours(column: Column, name: str, params: Any, xs: np.ndarray) -> Program:
    """The program of rnnjax."""
    cell = rnnjax.CELLS[name](xs.shape[-1])

    def apply(params: Any, xs: Array) -> Array:
        return rnnjax.unroll(cell, params, xs, kernel=column.kernel, remat=column.remat)[1]

    try:
        return JaxNetwork(apply, params, lambda gradients: gradients).program(name, xs, column.devices)
    except ValueError as error:  # a kernel that cannot run this cell
        raise Unsupported(str(error)) from None


def load(library: str) -> ModuleType:
    """The adapter of another library; raises `ImportError` where that is not installed."""
    return importlib.import_module(PEERS[library])


def peer_versions(config: Config) -> dict[str, str]:
    """The versions of the other libraries that are there."""
    found = {}
    for library in config.libraries:
        if library in PEERS:
            try:
                package = load(library).PACKAGE
            except ImportError:
                continue
            found[package] = version(package)
    return found


def draw(name: str, shape: Shape, dtype: str) -> tuple[Any, np.ndarray]:
    """Parameters, as PyTorch initialises them, and normal inputs, `[time, batch, hidden]`.

    A GRU's recurrent bias of the candidate is zero, since flax nnx has none; all other biases are not.
    """
    random_state, bound = np.random.RandomState(0), shape.hidden**-0.5
    cell = rnnjax.CELLS[name](shape.hidden)
    params = jax.tree.map(
        lambda leaf: random_state.uniform(-bound, bound, leaf.shape).astype(jnp.dtype(dtype)),
        jax.eval_shape(lambda: cell.init(jax.random.key(0), shape.hidden)),
    )
    if name == "gru":
        params = params._replace(b_h=np.zeros_like(params.b_h))
    xs = random_state.standard_normal((shape.time, shape.batch, shape.hidden))
    return params, xs.astype(jnp.dtype(dtype))


# --- equality ---------------------------------------------------------------------------------------------------------


def reference_results(name: str, params: Any, xs: np.ndarray) -> Results:
    """Outputs and gradients of rnnjax's scan in float64; on a TPU, which has none, in the most that it has."""
    dtype = "float32" if jax.default_backend() == "tpu" else "float64"
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), (params, xs))
        return ours(Column(kernel="scan", remat="sqrt"), name, *wide).results()  # in the memory of the columns


def tolerance(dtype: str) -> float:
    """How far results may be apart. Accelerators multiply float32 in fewer bits: GPUs keep 10 (TF32), TPUs 7."""
    platform = jax.default_backend()
    if dtype == "bfloat16" or platform == "tpu":
        return 5e-2
    return 1e-2 if platform == "gpu" else 1e-4


def differences(got: Results, want: Results) -> dict[str, float]:
    """The norm of the difference over that of what is wanted, of outputs and of each gradient."""

    def apart(got: np.ndarray, want: np.ndarray) -> float:
        if got.shape != want.shape:
            return math.inf
        return float(np.linalg.norm(np.float64(got) - want) / np.linalg.norm(np.float64(want)))

    return {what: apart(getattr(got, what), getattr(want, what)) for what in Results._fields}
