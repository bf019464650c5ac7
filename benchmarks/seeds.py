"""What the benchmarks on long time lags share: the weights and batches of all seeds, and the gradient's curve."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec
from jaxtyping import Float

from rnnjax import Readout, flow
from rnnjax.tasks import Batch, Task

# Drawing is compiled once for all cells of a lag, or all lags of a cell. It goes over seeds and steps in loops: the
# random bits of a vectorised draw are recomputed in every fusion, and take four times as long to compile.


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def draw_params(model: Readout, input_size: int, dtype: str, seeds: int) -> Any:
    return lax.map(lambda seed: model.init(jax.random.key(seed), input_size, dtype), jnp.arange(seeds))


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def draw_batches(
    task: Task, batch_size: int, dtype: str, steps: int, seeds: int, data_seed: int, first_step: int
) -> Batch:
    """Batches `[seeds, steps, ...]`, each of a key of its own."""

    def draw(seed: Array, step: Array) -> Batch:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(data_seed), seed), step)
        batch = task.sample(key, batch_size)
        return batch._replace(inputs=batch.inputs.astype(dtype))

    every_step = first_step + jnp.arange(steps)
    return lax.map(lambda seed: lax.map(partial(draw, seed), every_step), jnp.arange(seeds))


_SEQUENCES: Any = PartitionSpec("seeds", None, None, "batch")
_LENGTHS: Any = PartitionSpec("seeds", None, "batch")
BATCHES = Batch(inputs=_SEQUENCES, targets=_SEQUENCES, weights=_SEQUENCES, lengths=_LENGTHS)
"""For `over_seeds`: where the axes of seeds and batch are in what `draw_batches` gives."""
_OF_A_SEED: Any = PartitionSpec(None, "batch")
_LENGTHS_OF_A_SEED: Any = PartitionSpec("batch")
BATCH = Batch(inputs=_OF_A_SEED, targets=_OF_A_SEED, weights=_OF_A_SEED, lengths=_LENGTHS_OF_A_SEED)
"""For `lax.with_sharding_constraint`, inside `over_seeds`: where the axis of a batch that is drawn there is."""


def curves_of_end(model: Readout, task: Task, params: Any, batch: Batch) -> Any:
    """ln ||dL/dcarry|| against the lags 0 ... length, L the error at the end alone: for each component of the carry.

    Where every step has a target, the error of a step itself would hide what comes back to it.
    """
    is_last = jnp.arange(task.max_length)[:, None] == batch.lengths - 1
    batch = batch._replace(weights=jnp.where(is_last, batch.weights, 0))

    def loss(carry: Any, ys: Array) -> Array:
        return task.loss(model.read(params, ys), batch)

    norms = flow.gradient_norms(model.cell, params.cell, batch.inputs, loss, lengths=batch.lengths)
    lags = jnp.arange(task.length + 1)
    return jax.tree.map(lambda leaf: flow.log_mean(flow.by_lag(leaf, batch.lengths, lags)), norms.per_example)


def whole_carry(curves: Any) -> Float[Array, "lags"]:
    """The curve of the norm of the whole carry, from those of its components."""
    return 0.5 * jax.nn.logsumexp(2 * jnp.stack(jax.tree.leaves(curves)), axis=0)
