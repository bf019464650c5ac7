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
class Normal:
    """N(0, std^2); without a standard deviation 1/sqrt(inputs), the number of rows (LeCun et al. 1998)."""

    std: float | None = None

    def __call__(self, key: Array, shape: Sequence[int], dtype: Any) -> Array:
        if self.std is None:
            _check_matrix(self, shape)
        std = 1 / math.sqrt(shape[0]) if self.std is None else self.std
        return jax.nn.initializers.normal(std)(key, shape, dtype)


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


@dataclass(frozen=True)
class Rotations:
    """Block-diagonal of 2 x 2 rotations by angles from U[-pi, pi]: a random diagonal unitary matrix, in real numbers.

    Every eigenvalue has magnitude 1 and an angle of its own. (Arjovsky et al. 2016; Henaff et al. 2016.)
    """

    def __call__(self, key: Array, shape: Sequence[int], dtype: Any) -> Array:
        _check_matrix(self, shape)
        size = shape[0]
        if shape[1] != size:
            raise ValueError(f"Rotations is for square matrices, got shape {tuple(shape)}")
        angle = jnp.repeat(jax.random.uniform(key, (-(-size // 2),), dtype, -math.pi, math.pi), 2)[:size]
        even = jnp.arange(size) % 2 == 0
        # An odd size leaves one unit over, which keeps its value.
        alone = jnp.arange(size) == size - 1 if size % 2 else jnp.zeros(size, bool)
        cosine, sine = jnp.where(alone, 1, jnp.cos(angle)), jnp.where(alone, 0, jnp.sin(angle))
        above = jnp.where(even, sine, 0)[: size - 1]
        return jnp.diag(cosine) + jnp.diag(above, 1) - jnp.diag(above, -1)


@dataclass(frozen=True)
class Chrono:
    """ln U[1, max_lag - 1], the bias of a gate that keeps its state over lags up to `max_lag`.

    An LSTM takes it as its `forget_bias` and gives its input gate the negative; a GRU as its `update_bias`.

    Source: C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?", 2018 (arXiv:1804.11188), equation 16.
    """

    max_lag: float

    def __post_init__(self) -> None:
        if not self.max_lag >= 2:
            raise ValueError(f"max_lag must be at least 2, got {self.max_lag}")

    def __call__(self, key: Array, shape: Sequence[int], dtype: Any) -> Array:
        return jnp.log(jax.random.uniform(key, shape, dtype, 1, self.max_lag - 1))


def _check_matrix(initializer: Initializer, shape: Sequence[int]) -> None:
    if len(shape) != 2:
        raise ValueError(f"{type(initializer).__name__} is for matrices, got shape {tuple(shape)}: not for biases")
