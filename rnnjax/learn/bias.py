"""How far approximate gradients are from exact ones."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from rnnjax.cells.base import Cell
from rnnjax.learn.base import StepLoss
from rnnjax.learn.bptt import BPTT
from rnnjax.learn.truncated import TruncatedBPTT


class Agreement(NamedTuple):
    """An approximate gradient g beside the exact one G, over all parameters."""

    cosine: Float[Array, ""]
    """g . G / (||g|| ||G||): 1 for the same direction, 0 where either is zero."""
    relative_norm: Float[Array, ""]
    """||g|| / ||G||."""
    relative_error: Float[Array, ""]
    """||g - G|| / ||G||."""


def agreement(gradients: Any, exact: Any) -> Agreement:
    """How well gradients agree with exact ones, such as those of `BPTT`; pytrees of the same structure."""
    norm, whole = optax.tree.norm(gradients), optax.tree.norm(exact)
    product = norm * whole
    cosine = jnp.where(product == 0, 0, optax.tree.vdot(gradients, exact) / jnp.where(product == 0, 1, product))
    return Agreement(cosine, norm / whole, optax.tree.norm(optax.tree.sub(gradients, exact)) / whole)


class TruncationBias(NamedTuple):
    """What `truncation_bias` returns: arrays `[k2s]`."""

    k2: Int[Array, "k2s"]
    agreement: Agreement


def truncation_bias(
    cell: Cell[Any, Any],
    params: Any,
    xs: Float[Array, "time *batch features"],
    loss: StepLoss,
    k2: Sequence[int],
    *,
    k1: int = 1,
    **options: Any,
) -> TruncationBias:
    """The gradient of truncated BPTT(k1, k2) beside that of full BPTT, on the same sequences, for each k2.

    With k1 = 1 every loss goes back exactly k2 steps: what is missing is what comes from further away. For the bias
    against the lag of a task, call it with the task's sequences of each length.

    Args:
        cell: the network.
        params: its parameters.
        xs: the inputs.
        loss: of one step.
        k2: how many steps to go back, each at least k1.
        k1: how many steps go back together.
        options: `targets`, `weights`, `lengths`, `resets`, as for any algorithm.

    Returns:
        `TruncationBias`, with one value for each k2.
    """
    exact = BPTT()(cell, params, None, xs, loss, **options).gradients
    each = [
        agreement(TruncatedBPTT(k1, steps)(cell, params, None, xs, loss, **options).gradients, exact) for steps in k2
    ]
    return TruncationBias(jnp.asarray(k2), jax.tree.map(lambda *values: jnp.stack(values), *each))
