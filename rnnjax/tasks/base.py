"""A task: a pure sampler `key -> batch`, with the score of its trivial baseline.

A task is a frozen dataclass that holds its settings and no data. Sampling is a pure function of the key and runs on
the device, inside jit and vmap.
"""

import abc
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Bool, Float, Int

from rnnjax.checks import check_size


class Batch(NamedTuple):
    """Sequences, time-major, with their targets."""

    inputs: Float[Array, "time batch features"]
    targets: Array
    """`[time, batch]` class labels, or `[time, batch, outputs]` values."""
    weights: Float[Array, "time batch"]
    """How much every step counts in the loss: each column sums to 1, and is 0 where there is no target."""
    lengths: Int[Array, "batch"]
    """Real steps of every sequence; what comes after is padding."""


@dataclass(frozen=True)
class Task(abc.ABC):
    """The interface of every task.

    `length` is the T of the published task; sequences may be longer, up to `max_length`.
    """

    length: int

    min_length: ClassVar[int]
    """The smallest `length` for which the task is defined."""
    input_size: ClassVar[int]
    output_size: ClassVar[int]

    def __post_init__(self) -> None:
        length = check_size(f"length of {type(self).__name__}", self.length, self.min_length)
        object.__setattr__(self, "length", length)

    @property
    def max_length(self) -> int:
        """Time steps of a batch."""
        return self.length

    @property
    @abc.abstractmethod
    def baseline(self) -> float:
        """The expected loss of the trivial predictor, which does not remember anything."""

    @abc.abstractmethod
    def sample(self, key: Array, batch_size: int) -> Batch:
        """Draws `batch_size` sequences."""

    @abc.abstractmethod
    def correct(self, outputs: Float[Array, "time batch outputs"], batch: Batch) -> Bool[Array, "batch"]:
        """Whether every sequence is answered right: at all steps that have a target.

        By regression that is an error below a tolerance, in classification the largest output, also where the paper has
        another loss and with it another mark; the docstring of such a task says so.
        """

    @abc.abstractmethod
    def step_loss(self, outputs: Float[Array, "*batch outputs"], targets: Array) -> Float[Array, "*batch"]:
        """The loss of single steps, one or many."""

    def loss(self, outputs: Float[Array, "time batch outputs"], batch: Batch) -> Float[Array, "batch"]:
        """The loss of every sequence: that of its steps, weighted."""
        return (batch.weights * self.step_loss(outputs, batch.targets)).sum(0)


class RegressionTask(Task):
    """A task scored by the mean of squared errors; right is what is nearer than `tolerance`."""

    tolerance: ClassVar[float]

    def correct(self, outputs: Float[Array, "time batch outputs"], batch: Batch) -> Bool[Array, "batch"]:
        """All errors |output - target| below `tolerance`."""
        near = (jnp.abs(outputs - batch.targets) < self.tolerance).all(-1)
        return (near | (batch.weights == 0)).all(0)

    def step_loss(self, outputs: Float[Array, "*batch outputs"], targets: Array) -> Float[Array, "*batch"]:
        """(output - target)^2, the mean over the outputs."""
        return jnp.square(outputs - targets).mean(-1)


class ClassificationTask(Task):
    """A task scored by cross-entropy, in nats; right is the class with the largest output."""

    def correct(self, outputs: Float[Array, "time batch outputs"], batch: Batch) -> Bool[Array, "batch"]:
        """The largest output is that of the target."""
        return ((outputs.argmax(-1) == batch.targets) | (batch.weights == 0)).all(0)

    def step_loss(self, outputs: Float[Array, "*batch outputs"], targets: Array) -> Float[Array, "*batch"]:
        """-ln softmax(outputs)[target]."""
        losses: Array = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return losses


def at_end(lengths: Int[Array, "batch"], time: int) -> Float[Array, "time batch"]:
    """Weights of 1 at the last real step of every sequence."""
    return (jnp.arange(time)[:, None] == lengths - 1).astype(jnp.float32)


def sequences(
    symbols: Int[Array, "time batch"], classes: int, targets: Int[Array, "*time batch"], lengths: Int[Array, "batch"]
) -> Batch:
    """Symbols one-hot over `classes`, with one class a sequence due at its last step."""
    time = len(symbols)
    real = jnp.arange(time)[:, None] < lengths
    inputs = jnp.where(real[..., None], jax.nn.one_hot(symbols, classes), 0)
    return Batch(inputs, jnp.broadcast_to(targets, symbols.shape), at_end(lengths, time), lengths)
