"""What an adapter makes: a forward pass and a training step that can be timed and compared, whatever the library.

The training step is the gradient of the mean of the squared outputs, in float32, for weights and inputs.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import rnnjax

SHARED_CELLS = ("rnn", "lstm", "gru")
"""The cells that other libraries have too."""


class Unsupported(Exception):
    """A library cannot do this work, by no fault of its installation: one line that says why."""


class Routine(NamedTuple):
    """Something to time."""

    call: Callable[[], Any]
    """Runs it and waits until it is done; returns what the library returns."""
    compile_seconds: float | None = None
    """How long tracing and compiling took, None for a library that does neither."""
    memory_bytes: int | None = None
    """The most that is held at once beside the arguments, None where that is not known: of a compiled program its
    temporaries, which are allocated together, and results."""
    threads: int | None = None
    """How many threads it was found to run best on, None for a library that is not asked."""


class Results(NamedTuple):
    """Outputs and gradients, with the names and the layout of rnnjax."""

    ys: np.ndarray
    weights: np.ndarray
    """The gradients of the weights, one after the other: `compared` says of which."""
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


def compared(name: str, gradients: Any) -> np.ndarray:
    """Of a cell that other libraries have, those of the matrices: biases are not the same everywhere. Else of all."""
    leaves = (gradients.w_x, gradients.w_h) if name in SHARED_CELLS else jax.tree.leaves(gradients)
    return np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in leaves])


def cell_of(name: str, params: Any) -> rnnjax.Cell[Any, Any]:
    """Our cell that goes with the parameters."""
    return rnnjax.CELLS[name](params.w_h.shape[0])


class JaxNetwork(NamedTuple):
    """The network of a library on JAX, whose program is the same for all of them."""

    apply: Callable[[Any, Array], Array]
    """All outputs, from the weights and the inputs."""
    weights: Any
    to_ours: Callable[[Any], Any]
    """Our parameters from a pytree like the weights; of other libraries' at least `w_x` and `w_h`."""
    batch_major: bool = False
    """Inputs and outputs are `[batch, time, ...]`, put so before the clock runs."""

    def program(self, name: str, xs: np.ndarray, devices: int = 1) -> Program:
        """Spread over several devices, each has a part of the batch, and the gradients of the weights are summed."""

        def order(array: Any) -> Any:
            return array.swapaxes(0, 1) if self.batch_major else array

        def loss(weights: Any, xs: Array) -> Array:
            return jnp.square(self.apply(weights, xs).astype(jnp.float32)).mean() / devices

        def step(weights: Any, xs: Array) -> tuple[Any, Array]:
            g_weights, g_xs = jax.grad(loss, argnums=(0, 1))(weights, xs)
            return (lax.psum(g_weights, "batch"), g_xs) if devices > 1 else (g_weights, g_xs)

        def read(ys: Array, gradients: tuple[Any, Array]) -> Results:
            outputs, g_xs = (np.asarray(order(array), np.float32) for array in (ys, gradients[1]))
            return Results(outputs, compared(name, self.to_ours(gradients[0])), g_xs)

        local = jax.local_devices()[:devices]
        mesh = jax.make_mesh((devices,), ("batch",), devices=local, axis_types=(AxisType.Auto,))
        whole, part = PartitionSpec(), PartitionSpec("batch") if self.batch_major else PartitionSpec(None, "batch")

        def spread(function: Callable[..., Any], out_specs: Any) -> Callable[..., Any]:
            if devices == 1:
                return function
            return jax.shard_map(function, mesh=mesh, in_specs=(whole, part), out_specs=out_specs, check_vma=False)

        weights = jax.device_put(self.weights, NamedSharding(mesh, whole))
        arguments = weights, jax.device_put(order(xs), NamedSharding(mesh, part))
        forward, training = spread(self.apply, part), spread(step, (whole, part))
        return Program(_compile(forward, arguments), _compile(training, arguments), read)


def _compile(function: Callable[..., Any], arguments: tuple[Any, Array]) -> Routine:
    started = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - started
    memory = program.memory_analysis()
    size = None if memory is None else memory.temp_size_in_bytes + memory.output_size_in_bytes
    return Routine(lambda: jax.block_until_ready(program(*arguments)), seconds, size)
