"""What an adapter makes: a forward pass and a training step that can be timed and compared, whatever the library.

The training step is the gradient of the mean of the squared outputs, in float32, for weights and inputs.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import rnnjax


class Unsupported(Exception):
    """A library cannot do this work, by no fault of its installation: one line that says why."""


class Routine(NamedTuple):
    """Something to time."""

    call: Callable[[], Any]
    """Runs it and waits until it is done; returns what the library returns."""
    compile_seconds: float | None = None
    """How long tracing and compiling took, None for a library that does neither."""
    memory_bytes: int | None = None
    """Temporaries and results of the compiled program, None where that is not known."""
    threads: int | None = None
    """How many threads it was found to run best on, None for a library that is not asked."""


class Results(NamedTuple):
    """Outputs and gradients, with the names and the layout of rnnjax."""

    ys: np.ndarray
    w_x: np.ndarray
    w_h: np.ndarray
    xs: np.ndarray


class Program(NamedTuple):
    """One cell of one library, on one shape."""

    forward: Routine
    step: Routine
    read: Callable[[Any, Any], Results]
    """The results, from what `forward` and `step` return."""

    def results(self) -> Results:
        return self.read(self.forward.call(), self.step.call())


def clock(routine: Routine, calls: int = 1) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    for _ in range(calls):
        routine.call()
    return (time.perf_counter() - started) / calls


def cell_of(name: str, params: Any) -> rnnjax.Cell[Any, Any]:
    """Our cell that goes with the parameters."""
    return rnnjax.CELLS[name](params.w_h.shape[0])


def jax_program(
    apply: Callable[[Any, Array], Array],
    weights: Any,
    xs: np.ndarray,
    to_ours: Callable[[Any], Any],
    *,
    batch_major: bool = False,
) -> Program:
    """The program of a library on JAX: `apply(weights, xs)` gives all outputs.

    `to_ours` finds `w_x` and `w_h` in a pytree like `weights`. With `batch_major`, inputs and outputs are
    `[batch, time, ...]`, put so before the clock runs.
    """

    def order(array: Any) -> Any:
        return array.swapaxes(0, 1) if batch_major else array

    def loss(weights: Any, xs: Array) -> Array:
        return jnp.square(apply(weights, xs).astype(jnp.float32)).mean()

    def read(ys: Array, gradients: tuple[Any, Array]) -> Results:
        ours = to_ours(gradients[0])
        return Results(*(np.asarray(leaf, np.float32) for leaf in (order(ys), ours.w_x, ours.w_h, order(gradients[1]))))

    arguments = jax.tree.map(jnp.asarray, (weights, order(xs)))
    return Program(_compile(apply, arguments), _compile(jax.grad(loss, argnums=(0, 1)), arguments), read)


def _compile(function: Callable[..., Any], arguments: tuple[Any, Array]) -> Routine:
    started = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - started
    memory = program.memory_analysis()
    size = None if memory is None else memory.temp_size_in_bytes + memory.output_size_in_bytes
    return Routine(lambda: jax.block_until_ready(program(*arguments)), seconds, size)
