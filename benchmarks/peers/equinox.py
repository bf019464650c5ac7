"""Equinox: its cells, which take one sequence, under `jax.vmap`, in a `jax.lax.scan` as its documentation shows."""

from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.peers.program import JaxNetwork

PACKAGE = "equinox"
CELLS: dict[str, Any] = {"lstm": equinox.nn.LSTMCell, "gru": equinox.nn.GRUCell}
LACKS = {"rnn": "has no simple RNN cell"}


def make(name: str, params: Any, xs: np.ndarray) -> JaxNetwork:
    size = params.w_h.shape[0]
    cell = CELLS[name](xs.shape[-1], size, key=jax.random.key(0))
    # Gates are in our order.
    weights = {"weight_ih": params.w_x.T, "weight_hh": params.w_h.T, "bias": params.b}
    if name == "gru":
        weights["bias_n"] = params.b_h
    cell = equinox.tree_at(lambda cell: [getattr(cell, field) for field in weights], cell, list(weights.values()))

    def apply(cell: Any, xs: Array) -> Array:
        def body(carry: Any, x: Array) -> tuple[Any, Array]:
            carry = jax.vmap(cell)(x, carry)
            return carry, carry[0] if name == "lstm" else carry

        zeros = jnp.zeros((xs.shape[1], size), xs.dtype)
        return jax.lax.scan(body, (zeros, zeros) if name == "lstm" else zeros, xs)[1]

    return JaxNetwork(apply, cell, lambda cell: params._replace(w_x=cell.weight_ih.T, w_h=cell.weight_hh.T))
