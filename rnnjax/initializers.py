"""Initialisers for the weights of cells: `init(key, shape, dtype) -> array`, the signature of `jax.nn.initializers`.

Any function of that signature can be given to a cell. Those here are frozen dataclasses around JAX's own: two cells
with equal settings compare equal and hash alike, so jit compiles them once, and a cell prints what it was made of.
Cells draw every gate's block by itself, with shape `[inputs, hidden_size]` (biases: `[hidden_size]`): an orthogonal
recurrent matrix is orthogonal in each gate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array


class Initializer(Protocol):
    """`(key, shape, dtype) -> array`."""

    def __call__(self, key: Array, shape: Sequence[int], dtype: Any, /) -> Array: ...


@dataclass(frozen=True)
class Zeros:
    """Zeros, the usual bias."""

    def __call__(self, key: Array, shape: Sequence[int], dtype: Any) -> Array:
        return jax.nn.initializers.zeros(key, shape, dtype)


@dataclass(frozen=True)
class Uniform:
    """U[-bound, bound]; without a bound 1/sqrt(hidden_size), as PyTorch draws every weight and bias of its RNNs."""

    bound: float | None = None

    def __call__(self, key: Array, shape: Sequence[int], dtype: Any) -> Array:
        bound = 1 / math.sqrt(shape[-1]) if self.bound is None else self.bound
        return jax.random.uniform(key, shape, dtype, -bound, bound)


@dataclass(frozen=True)
class Glorot:
    """U[-a, a] with a = sqrt(6 / (fan_in + fan_out)), for each gate (Glorot & Bengio 2010)."""

    def __call__(self, key: Array, shape: Sequence[int], dtype: Any) -> Array:
        _check_matrix(self, shape)
        return jax.nn.initializers.glorot_uniform()(key, shape, dtype)


@dataclass(frozen=True)
class Orthogonal:
    """`scale` times a uniformly drawn orthogonal matrix (Saxe et al. 2014): every singular value is `scale`."""

    scale: float = 1.0

    def __call__(self, key: Array, shape: Sequence[int], dtype: Any) -> Array:
        _check_matrix(self, shape)
        return jax.nn.initializers.orthogonal(self.scale)(key, shape, dtype)


@dataclass(frozen=True)
class Identity:
    """`scale` times the identity; with relu this is the IRNN (Le, Jaitly & Hinton 2015)."""

    scale: float = 1.0

    def __call__(self, key: Array, shape: Sequence[int], dtype: Any) -> Array:
        _check_matrix(self, shape)
        rows, columns = shape
        return self.scale * jnp.eye(rows, columns, dtype=dtype)


def _check_matrix(initializer: Initializer, shape: Sequence[int]) -> None:
    if len(shape) != 2:
        raise ValueError(f"{type(initializer).__name__} is for matrices, got shape {tuple(shape)}: not for biases")
