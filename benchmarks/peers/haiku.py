"""Haiku: `hk.dynamic_unroll`, time-major, over its LSTM."""

from typing import Any

import haiku
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.peers.program import JaxNetwork

PACKAGE = "dm-haiku"
CELLS: dict[str, Any] = {"lstm": haiku.LSTM}
LACKS = {
    "rnn": "computes something else: hk.VanillaRNN has a relu where others have a tanh",
    "gru": "computes something else: hk.GRU applies the reset gate before the recurrent product",
}


def make(name: str, params: Any, xs: np.ndarray) -> JaxNetwork:
    size = params.w_h.shape[0]

    def network(xs: Array) -> Array:
        core = CELLS[name](size)
        carry = jax.tree.map(lambda leaf: leaf.astype(xs.dtype), core.initial_state(xs.shape[1]))
        ys: Array = haiku.dynamic_unroll(core, xs, carry)[0]
        return ys

    transformed = haiku.without_apply_rng(haiku.transform(network))
    bias = params.b.copy()
    bias[size : 2 * size] -= 1  # which it adds to the forget gate by itself
    linear = {"w": _swap_gates(np.concatenate([params.w_x, params.w_h])), "b": _swap_gates(bias)}

    def to_ours(gradients: Any) -> Any:
        w = _swap_gates(gradients["lstm/linear"]["w"])
        return params._replace(w_x=w[: xs.shape[-1]], w_h=w[xs.shape[-1] :])

    return JaxNetwork(transformed.apply, {"lstm/linear": linear}, to_ours)


def _swap_gates(weights: Any) -> Any:
    """From our order i, f, g, o to its i, g, f, o, and back."""
    i, second, third, o = jnp.split(weights, 4, axis=-1)
    return jnp.concatenate([i, third, second, o], axis=-1)
