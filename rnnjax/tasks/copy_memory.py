"""Copy memory: repeat ten digits after a long delay."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.tasks.base import Batch, ClassificationTask


class CopyMemory(ClassificationTask):
    """Ten digits of 1 ... 8, T - 1 zeros, the delimiter 9, ten zeros; target: T + 10 zeros, then the ten digits.

    Inputs are one-hot over the symbols 0 ... 9, outputs over 0 ... 8; the loss is the mean over all T + 20 steps. Every
    digit has to be kept for T + 10 steps.

    Source: Hochreiter & Schmidhuber 1997 in spirit; this form: Arjovsky, Shah & Bengio, "Unitary evolution recurrent
    neural networks", 2016.
    """

    min_length: ClassVar[int] = 1
    input_size: ClassVar[int] = 10
    output_size: ClassVar[int] = 9

    @property
    def max_length(self) -> int:
        return self.length + 20

    @property
    def baseline(self) -> float:
        """10 ln 8 / (T + 20): zeros are known, and the digits are guessed."""
        return 10 * math.log(8) / (self.length + 20)

    def sample(self, key: Array, batch_size: int) -> Batch:
        digits = jax.random.randint(key, (10, batch_size), 1, 9)
        blank = jnp.zeros((self.length + 10, batch_size), int)
        symbols = jnp.concatenate([digits, blank]).at[self.length + 9].set(9)
        return Batch(
            inputs=jax.nn.one_hot(symbols, self.input_size),
            targets=jnp.concatenate([blank, digits]),
            weights=jnp.full(symbols.shape, 1 / self.max_length),
            lengths=jnp.full((batch_size,), self.max_length),
        )
