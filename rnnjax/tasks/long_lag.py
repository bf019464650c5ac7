"""Long lags: one symbol at the beginning says what comes at the end, and everything in between does not matter."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.checks import check_size
from rnnjax.tasks.base import Batch, ClassificationTask, sequences

TAIL = 87
"""More distractors than that come with a probability of 0.9^88, below 1e-4, and are left out."""


class _TwoSequences(ClassificationTask):
    """p + 1 symbols a1 ... a(p-1), x, y, one-hot; the first is x or y, and so is the last, which has to be told."""

    min_length: ClassVar[int] = 2

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """p + 1."""
        return self.length + 1

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """p + 1."""
        return self.length + 1


class LongLag2a(_TwoSequences):
    """The two sequences (x, a1, ..., a(p-1), x) and (y, a1, ..., a(p-1), y), each next symbol to be told.

    `length` is p, the lag and the number of steps. The loss is the mean over all p predictions, by cross-entropy, and
    right is the largest output (the paper: squared errors of p + 1 logistic outputs, right if all are below 0.25).

    Source: Hochreiter & Schmidhuber 1997, experiment 2a.
    """

    @property
    def baseline(self) -> float:
        """ln 2 / p: all is known but the last symbol."""
        return math.log(2) / self.length

    def sample(self, key: Array, batch_size: int) -> Batch:
        first = jax.random.randint(key, (1, batch_size), self.length - 1, self.length + 1)
        between = jnp.broadcast_to(jnp.arange(self.length - 1)[:, None], (self.length - 1, batch_size))
        lengths = jnp.full((batch_size,), self.length)
        batch = sequences(jnp.concatenate([first, between]), self.input_size, first, lengths)
        targets = jnp.concatenate([between, first])
        return batch._replace(targets=targets, weights=jnp.full(targets.shape, 1 / self.length))


class LongLag2b(_TwoSequences):
    """As 2a, with p - 1 symbols drawn at random from a1 ... a(p-1) in between; only the last is to be told.

    The loss is the cross-entropy at the last of p steps.

    Source: Hochreiter & Schmidhuber 1997, experiment 2b.
    """

    @property
    def baseline(self) -> float:
        """ln 2: one of two symbols."""
        return math.log(2)

    def sample(self, key: Array, batch_size: int) -> Batch:
        key_first, key_noise = jax.random.split(key)
        first = jax.random.randint(key_first, (1, batch_size), self.length - 1, self.length + 1)
        between = jax.random.randint(key_noise, (self.length - 1, batch_size), 0, self.length - 1)
        lengths = jnp.full((batch_size,), self.length)
        return sequences(jnp.concatenate([first, between]), self.input_size, first, lengths)


@dataclass(frozen=True)
class LongLag2c(ClassificationTask):
    """Very long noisy lags: b, then x or y, q distractors, then with 9/10 one more or with 1/10 e, and x or y again.

    `length` is q, so that the lag is at least q + 1; `distractors` is p, how many symbols a1 ... ap there are. Inputs
    are one-hot over a1 ... ap, e, b, x, y, and at e the class x or y is due, by cross-entropy; right is the larger
    output (the paper: squared errors of two logistic outputs, right if both are below 0.2). More than q + 87
    distractors are left out (1e-4).

    Source: Hochreiter & Schmidhuber 1997, experiment 2c.
    """

    distractors: int = 50

    min_length: ClassVar[int] = 1
    output_size: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "distractors", check_size("distractors", self.distractors))

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """p + 4."""
        return self.distractors + 4

    @property
    def max_length(self) -> int:
        return self.length + TAIL + 3

    @property
    def baseline(self) -> float:
        """ln 2: one of two symbols."""
        return math.log(2)

    def sample(self, key: Array, batch_size: int) -> Batch:
        key_class, key_noise, key_more = jax.random.split(key, 3)
        label = jax.random.randint(key_class, (batch_size,), 0, 2)
        share = jax.random.uniform(key_more, (batch_size,), maxval=1 - 0.9 ** (TAIL + 1))
        more = jnp.floor(jnp.log1p(-share) / math.log(0.9)).astype(int)  # P(more >= k) = 0.9^k
        lengths = self.length + 3 + jnp.clip(more, 0, TAIL)
        symbols = jax.random.randint(key_noise, (self.max_length, batch_size), 0, self.distractors)
        end, begin, x = self.distractors, self.distractors + 1, self.distractors + 2
        symbols = symbols.at[0].set(begin).at[1].set(x + label).at[lengths - 1, jnp.arange(batch_size)].set(end)
        return sequences(symbols, self.input_size, label, lengths)


class RandomPermutation(ClassificationTask):
    """Symbols 1 ... 100, one-hot: the first is 1 or 2, T - 1 are drawn from 3 ... 100, then the first is to be told.

    The loss is the cross-entropy at the last step.

    Source: J. Martens, I. Sutskever, "Learning Recurrent Neural Networks with Hessian-Free Optimization", ICML 2011,
    after experiment 2b of 1997.
    """

    min_length: ClassVar[int] = 2
    input_size: ClassVar[int] = 100
    output_size: ClassVar[int] = 100

    @property
    def baseline(self) -> float:
        """ln 2: one of two symbols."""
        return math.log(2)

    def sample(self, key: Array, batch_size: int) -> Batch:
        key_first, key_noise = jax.random.split(key)
        first = jax.random.randint(key_first, (1, batch_size), 0, 2)
        others = jax.random.randint(key_noise, (self.length - 1, batch_size), 2, 100)
        lengths = jnp.full((batch_size,), self.length)
        return sequences(jnp.concatenate([first, others]), self.input_size, first, lengths)
