"""Parity: whether the number of ones is odd, where every step counts and no single one tells anything."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.tasks.base import Batch, ClassificationTask, at_end


class Parity(ClassificationTask):
    """T bits, -1 or 1 with equal probability; at the end it is due whether the number of ones is even or odd.

    Source: Y. Bengio, P. Simard, P. Frasconi, "Learning Long-Term Dependencies with Gradient Descent is Difficult",
    IEEE Transactions on Neural Networks 5(2), 1994, section VI.
    """

    min_length: ClassVar[int] = 1
    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 2

    @property
    def baseline(self) -> float:
        """ln 2: even and odd are equally likely, whatever part of the bits is known."""
        return math.log(2)

    def sample(self, key: Array, batch_size: int) -> Batch:
        bits = jax.random.randint(key, (self.length, batch_size), 0, 2)
        lengths = jnp.full((batch_size,), self.length)
        targets = jnp.broadcast_to(bits.sum(0) % 2, bits.shape)
        return Batch(2.0 * bits[..., None] - 1, targets, at_end(lengths, self.length), lengths)
