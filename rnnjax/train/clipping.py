"""Gradient clipping that tells what it did."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float


class ClippingState(NamedTuple):
    """What the last update met; read it with `clipping_norms`."""

    norm_before: Float[Array, ""]
    norm_after: Float[Array, ""]


def clip_by_global_norm(max_norm: ArrayLike) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`, with the global norm before and after clipping in its state:

        g <- g * min(1, max_norm / ||g||),    ||g|| over all leaves

    `max_norm` may be traced, so that thresholds can be vmapped; infinity never clips.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    _check_positive("max_norm", max_norm)
    return _telling(optax.clip_by_global_norm(max_norm))


def clip(max_value: ArrayLike) -> optax.GradientTransformation:
    """`optax.clip`, every entry by itself, with the global norm before and after clipping in its state:

    g <- min(max(g, -max_value), max_value)
    """
    _check_positive("max_value", max_value)
    return _telling(optax.clip(max_value))


def clipped_adam(learning_rate: ArrayLike, max_norm: ArrayLike) -> optax.GradientTransformation:
    """The chain that the benchmarks train with: `clip_by_global_norm`, then Adam."""
    return optax.chain(clip_by_global_norm(max_norm), optax.adam(learning_rate))


def clipping_norms(state: optax.OptState) -> ClippingState:
    """The global norm before and after clipping in the last update, from the state of any chain that clips."""
    before, after = optax.tree.get(state, "norm_before"), optax.tree.get(state, "norm_after")
    if before is None or after is None:
        raise ValueError("state is not of a chain with rnnjax.train.clip_by_global_norm or rnnjax.train.clip")
    return ClippingState(before, after)


def _telling(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    def init(params: optax.Params) -> ClippingState:
        return ClippingState(jnp.zeros(()), jnp.zeros(()))

    def update(
        updates: optax.Updates, state: ClippingState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ClippingState]:
        clipped, _ = inner.update(updates, inner.init(params), params)
        return clipped, ClippingState(optax.tree.norm(updates), optax.tree.norm(clipped))

    return optax.GradientTransformation(init, update)


def _check_positive(name: str, value: ArrayLike) -> None:
    if not isinstance(value, jax.core.Tracer) and not np.all(np.asarray(value) > 0):
        raise ValueError(f"{name} must be positive, got {value}")
