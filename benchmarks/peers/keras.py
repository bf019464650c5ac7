"""Keras 3 on JAX: its layers, called without state under `jax.jit`; on a GPU its LSTM calls cuDNN."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported for the first time

import keras
import numpy as np
from jax import Array

from benchmarks.peers.program import JaxNetwork, Unsupported, cell_of
from rnnjax.interop import from_keras, to_keras

PACKAGE = "keras"
CELLS: dict[str, Any] = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
LACKS: dict[str, str] = {}


def make(name: str, params: Any, xs: np.ndarray) -> JaxNetwork:
    if keras.backend.backend() != "jax":
        raise Unsupported(f"Keras was imported before, with the backend {keras.backend.backend()}")
    cell = cell_of(name, params)
    # The weights are replaced, and there is no orthogonal matrix in bfloat16.
    options = {"return_sequences": True, "recurrent_initializer": "zeros", "dtype": xs.dtype.name}
    layer = CELLS[name](cell.output_size, **options)
    layer.build(xs.swapaxes(0, 1).shape)
    layer.set_weights(to_keras(cell, params))
    rest = [variable.value for variable in layer.non_trainable_variables]

    def apply(weights: Any, xs: Array) -> Array:
        ys: Array = layer.stateless_call(weights, rest, xs)[0]
        return ys

    weights = [variable.value for variable in layer.trainable_variables]
    return JaxNetwork(apply, weights, lambda gradients: from_keras(cell, gradients), batch_major=True)
