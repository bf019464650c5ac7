"""Gradient clipping by global norm that tells what it did."""

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
    if not isinstance(max_norm, jax.core.Tracer) and not np.all(np.asarray(max_norm) > 0):
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    clip = optax.clip_by_global_norm(max_norm)

    def init(params: optax.Params) -> ClippingState:
        return ClippingState(jnp.zeros(()), jnp.zeros(()))

    def update(
        updates: optax.Updates, state: ClippingState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ClippingState]:
        clipped, _ = clip.update(updates, clip.init(params), params)
        return clipped, ClippingState(optax.tree.norm(updates), optax.tree.norm(clipped))

    return optax.GradientTransformation(init, update)


def clipped_adam(learning_rate: ArrayLike, max_norm: ArrayLike) -> optax.GradientTransformation:
    """The chain that the benchmarks train with: `clip_by_global_norm`, then Adam."""
    return optax.chain(clip_by_global_norm(max_norm), optax.adam(learning_rate))


def clipping_norms(state: optax.OptState) -> ClippingState:
    """The global norm before and after clipping in the last update, from the state of any chain that clips."""
    before, after = optax.tree.get(state, "norm_before"), optax.tree.get(state, "norm_after")
    if before is None or after is None:
        raise ValueError("state is not of a chain with rnnjax.train.clip_by_global_norm")
    return ClippingState(before, after)
