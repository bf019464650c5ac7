"""Temporal order: tell in which order two or three widely separated symbols came."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.tasks.base import Batch, ClassificationTask, sequences


class _TemporalOrder(ClassificationTask):
    """Symbols a b c d E B X Y, one-hot; a sequence starts with E, ends with B, and holds X or Y at the given places."""

    min_length: ClassVar[int] = 10
    input_size: ClassVar[int] = 8
    places: ClassVar[tuple[tuple[int, int], ...]]
    """Where X or Y stands, in per cent of T, both ends included."""

    @property
    def max_length(self) -> int:
        return self.length + self.length // 10

    @property
    def baseline(self) -> float:
        """ln 4 or ln 8: all orders are equally likely."""
        return len(self.places) * math.log(2)

    def sample(self, key: Array, batch_size: int) -> Batch:
        key_noise, key_length, key_symbol, key_place = jax.random.split(key, 4)
        time, batch = self.max_length, jnp.arange(batch_size)
        symbols = jax.random.randint(key_noise, (time, batch_size), 0, 4)
        lengths = jax.random.randint(key_length, (batch_size,), self.length, time + 1)
        symbols = symbols.at[0].set(4).at[lengths - 1, batch].set(5)
        relevant = jax.random.randint(key_symbol, (len(self.places), batch_size), 0, 2)
        low, high = jnp.array(self.places).T * self.length // 100
        places = jax.random.randint(key_place, relevant.shape, low[:, None], high[:, None] + 1)
        symbols = symbols.at[places, batch].set(6 + relevant)
        label = (relevant * 2 ** jnp.arange(len(self.places))[:, None]).sum(0)
        return sequences(symbols, self.input_size, label, lengths)


class TemporalOrder6a(_TemporalOrder):
    """Two symbols, 4 classes: X or Y at t1 in [T/10, T/5] and t2 in [T/2, 3T/5]; length U[T, 1.1 T], T = 100 published.

    The class is due at the last step, by cross-entropy; right is the largest output (the paper: squared errors of four
    logistic outputs, right if all are below 0.3).

    Source: Hochreiter & Schmidhuber 1997, experiment 6a.
    """

    output_size: ClassVar[int] = 4
    places: ClassVar[tuple[tuple[int, int], ...]] = ((10, 20), (50, 60))


class TemporalOrder6b(_TemporalOrder):
    """Three symbols, 8 classes: X or Y at 10-20, 33-43 and 66-76 per cent of T; length U[T, 1.1 T], T = 100 published.

    The class is due at the last step, by cross-entropy; right is the largest output (the paper: squared errors of eight
    logistic outputs, right if all are below 0.3).

    Source: Hochreiter & Schmidhuber 1997, experiment 6b.
    """

    output_size: ClassVar[int] = 8
    places: ClassVar[tuple[tuple[int, int], ...]] = ((10, 20), (33, 43), (66, 76))
