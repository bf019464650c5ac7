"""Training and evaluating models on a set of examples, a batch at a time.

The examples are a pytree of arrays with one entry an example along the leading axis, all of it on the device; a batch
is some of its entries. The carry of a run is what the model updates beside its parameters, such as the running averages
of batch normalisation.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

from rnnjax.checks import check_size
from rnnjax.models.split import split
from rnnjax.train.loop import Loss, Outcome, Plan


class BatchLoss(Protocol):
    """`(model, batch, key) -> (loss, work)`: the mean loss of a batch, and what it is a mean over."""

    def __call__(self, model: Any, batch: Any, key: Array, /) -> tuple[Array, Array | int]: ...


def shuffled(count: int, batch_size: int, seed: int) -> Callable[[int], Plan]:
    """The plan of every epoch: all examples in a random order of the epoch's own, in batches of `batch_size`.

    An item is the places of a batch's examples. What is left over at the end is not learned from in that epoch.

    Raises:
        ValueError: fewer examples than a batch takes.
    """
    steps = count // check_size("batch_size", batch_size)
    if steps == 0:
        raise ValueError(f"{count} examples are too few for a batch of {batch_size}")

    def plan(epoch: int) -> Plan:
        order = np.random.default_rng((seed, epoch)).permutation(count)[: steps * batch_size]
        return Plan(steps, jnp.asarray(order.reshape(steps, batch_size).astype(np.int32)))

    return plan


def example_loss(build: Callable[[Any, Any], nnx.Module], loss: BatchLoss) -> Loss:
    """The loss of a step, for `make_steps`; data are the examples, an item is the places of a batch.

    Args:
        build: of `rnnjax.models.split`; its state is the carry of the run.
        loss: of a model in training, on a batch.
    """

    def step(params: Any, state: Any, examples: Any, places: Array, key: Array) -> tuple[Array, Outcome]:
        model = build(params, state)
        value, work = loss(model, jax.tree.map(lambda leaf: leaf[places], examples), key)
        return value, Outcome(split(model).state, value, work)

    return step


def over_examples(function: Callable[[Any, Any], Any], examples: Any, batch_size: int) -> Callable[[Any], Any]:
    """`function(inputs, batch)` on all examples, batch after batch, as one compiled function of `inputs`.

    Its results have one entry an example; so have those of the whole. The last batch is filled up with the first
    example, which the results do not show.
    """
    count = len(jax.tree.leaves(examples)[0])
    batches = -(-count // check_size("batch_size", batch_size))
    places = jnp.pad(jnp.arange(count), (0, batches * batch_size - count)).reshape(batches, batch_size)

    @jax.jit
    def program(inputs: Any, examples: Any) -> Any:
        found = lax.map(lambda of: function(inputs, jax.tree.map(lambda leaf: leaf[of], examples)), places)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], found)

    return lambda inputs: program(inputs, examples)
