"""Copy memory: repeat symbols after a long delay."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.checks import check_size
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


class VariableCopy(ClassificationTask):
    """As `CopyMemory`, with a delay of its own for each sequence: t - 1 zeros before the delimiter, t = U[1, T].

    The loss is the mean over the t + 20 steps of a sequence.

    Source: M. Henaff, A. Szlam, Y. LeCun, "Recurrent Orthogonal Networks and Long-Memory Tasks", ICML 2016
    (arXiv:1602.06662), where the delay varies up to T.
    """

    min_length: ClassVar[int] = 1
    input_size: ClassVar[int] = 10
    output_size: ClassVar[int] = 9

    @property
    def max_length(self) -> int:
        return self.length + 20

    @property
    def baseline(self) -> float:
        """The mean of 10 ln 8 / (t + 20) over t = 1 ... T."""
        return 10 * math.log(8) * sum(1 / (t + 20) for t in range(1, self.length + 1)) / self.length

    def sample(self, key: Array, batch_size: int) -> Batch:
        key_digits, key_delay = jax.random.split(key)
        digits = jax.random.randint(key_digits, (10, batch_size), 1, 9)
        lengths = 20 + jax.random.randint(key_delay, (batch_size,), 1, self.length + 1)
        each, steps = jnp.arange(batch_size), jnp.arange(self.max_length)[:, None]
        blank = jnp.zeros((self.max_length, batch_size), int)
        symbols = blank.at[:10].set(digits).at[lengths - 11, each].set(9)
        real = steps < lengths
        return Batch(
            inputs=jnp.where(real[..., None], jax.nn.one_hot(symbols, self.input_size), 0),
            targets=blank.at[lengths - 10 + jnp.arange(10)[:, None], each].set(digits),
            weights=jnp.where(real, 1 / lengths, 0),
            lengths=lengths,
        )


@dataclass(frozen=True)
class SelectiveCopying(ClassificationTask):
    """16 tokens of 1 ... 14 at random places among T - 16 blanks, then 16 markers, at which they are due in order.

    Inputs are one-hot over 16 symbols: the blank 0, the tokens and the marker 15. What has to be kept is told by the
    contents, not by the time. `tokens` is how many there are.

    Source: A. Gu, T. Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023 (arXiv:2312.00752),
    section 4.1.1, with T = 4096; after L. Jing et al., "Gated Orthogonal Recurrent Units", 2019.
    """

    tokens: int = 16

    min_length: ClassVar[int] = 16
    input_size: ClassVar[int] = 16
    output_size: ClassVar[int] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "tokens", check_size("tokens", self.tokens))
        if self.tokens > self.length:
            raise ValueError(f"tokens must be at most length, {self.length}, got {self.tokens}")

    @property
    def max_length(self) -> int:
        return self.length + self.tokens

    @property
    def baseline(self) -> float:
        """ln 14: the tokens are guessed."""
        return math.log(14)

    def sample(self, key: Array, batch_size: int) -> Batch:
        key_token, key_place = jax.random.split(key)
        tokens = jax.random.randint(key_token, (self.tokens, batch_size), 1, 15)
        order = jax.random.uniform(key_place, (self.length, batch_size)).argsort(0)
        places = jnp.sort(order[: self.tokens], axis=0)
        blank = jnp.zeros((self.length, batch_size), int)
        markers = jnp.full(tokens.shape, 15)
        symbols = jnp.concatenate([blank.at[places, jnp.arange(batch_size)].set(tokens), markers])
        due = jnp.arange(self.max_length)[:, None] >= self.length
        return Batch(
            inputs=jax.nn.one_hot(symbols, self.input_size),
            targets=jnp.concatenate([blank, tokens]),
            weights=jnp.broadcast_to(due / self.tokens, symbols.shape),
            lengths=jnp.full((batch_size,), self.max_length),
        )
