"""`jax.experimental.rnn`: the LSTM of cuDNN, called from JAX, batch-major, in float32."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import rnn

from benchmarks.peers.program import JaxNetwork, Unsupported, cell_of
from rnnjax.interop import from_torch
from rnnjax.kernels.cudnn import pack

PACKAGE = "jaxlib"
CELLS: dict[str, Any] = {"lstm": rnn.lstm}
LACKS = {"rnn": "has an LSTM alone", "gru": "has an LSTM alone"}

ORDER = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
"""How cuDNN packs weights into one vector, by their names in PyTorch, which has them in the same layout."""


def make(name: str, params: Any, xs: np.ndarray) -> JaxNetwork:
    if jax.default_backend() != "gpu":
        raise Unsupported("needs a GPU")
    if xs.dtype != np.float32:
        raise Unsupported(f"has no {xs.dtype}")
    features, size = xs.shape[-1], params.w_h.shape[0]

    def apply(weights: Array, xs: Array) -> Array:
        batch, time, _ = xs.shape
        zeros = jnp.zeros((1, batch, size))
        ys: Array = CELLS[name](
            xs,
            zeros,
            zeros,
            weights,
            jnp.full(batch, time, jnp.int32),
            input_size=features,
            hidden_size=size,
            num_layers=1,
            dropout=0.0,
            bidirectional=False,
        )[0]
        return ys

    return JaxNetwork(apply, pack(params), lambda gradient: unpack(name, params, gradient), batch_major=True)


def unpack(name: str, params: Any, vector: Array) -> Any:
    """Parameters like ours from a vector of weights."""
    parts = rnn.unpack_lstm_weights(vector, params.w_x.shape[0], params.w_h.shape[0], 1, False)
    return from_torch(cell_of(name, params), {key: part[0] for key, part in zip(ORDER, parts, strict=True)})
