"""Keras's layers with random biases: outputs, final states and all gradients."""

import chex
import numpy as np
import pytest

import rnnjax
from rnnjax.interop import from_keras, to_keras
from tests.interop.parity import check, draw, from_numbered

record = pytest.importorskip("tests.interop.record", reason="make peers installs PyTorch and Keras")
keras, keras_layer, run_keras, INPUTS = record.keras, record.keras_layer, record.run_keras, record.INPUTS

pytestmark = pytest.mark.peers


def bidirectional(*layer, merge="concat"):
    return keras.layers.Bidirectional(keras_layer(*layer), merge_mode=merge, dtype="float64")


# Our cell, the layers, and what their arithmetic allows (see `parity.TOLERANCE`).
NETWORKS = {
    "rnn": (rnnjax.Elman(3), lambda: [keras_layer("SimpleRNN", 3)], 1e-6),
    "rnn-relu": (rnnjax.Elman(3, "relu"), lambda: [keras_layer("SimpleRNN", 3, activation="relu")], 1e-6),
    "rnn-identity": (rnnjax.Elman(3, "identity"), lambda: [keras_layer("SimpleRNN", 3, activation="linear")], 1e-6),
    "rnn-logistic": (rnnjax.Elman(3, "logistic"), lambda: [keras_layer("SimpleRNN", 3, activation="sigmoid")], 1e-6),
    "lstm": (rnnjax.LSTM(3), lambda: [keras_layer("LSTM", 3)], 1e-12),
    "lstm-equations": (rnnjax.LSTM(3), lambda: [keras_layer("LSTM", 3, use_cudnn=False)], 1e-6),
    "gru": (rnnjax.GRU(3), lambda: [keras_layer("GRU", 3)], 1e-12),
    "gru-equations": (rnnjax.GRU(3), lambda: [keras_layer("GRU", 3, use_cudnn=False)], 1e-6),
    "gru-reset-before": (rnnjax.GRUResetBefore(3), lambda: [keras_layer("GRU", 3, reset_after=False)], 1e-6),
    "bidirectional": (rnnjax.Bidirectional(rnnjax.LSTM(3)), lambda: [bidirectional("LSTM", 3)], 1e-12),
    "bidirectional-sum": (
        rnnjax.Bidirectional(rnnjax.GRU(3), merge="sum"),
        lambda: [bidirectional("GRU", 3, merge="sum")],
        1e-12,
    ),
    "deep": (
        rnnjax.Stack((rnnjax.Bidirectional(rnnjax.LSTM(3)), rnnjax.LSTM(2))),
        lambda: [bidirectional("LSTM", 3), keras_layer("LSTM", 2)],
        1e-12,
    ),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NETWORKS)
def test_float64(name):
    cell, make, tolerance = NETWORKS[name]
    check(cell, from_numbered, run_keras(make()), tolerance)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru-reset-before"])
def test_float32(name):
    cell, make, _ = NETWORKS[name]
    check(cell, from_numbered, run_keras(make()), 1e-5, "float32")


# Keras's own `get_weights` on PyTorch does not follow NumPy 2 yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NETWORKS)
def test_layers_load_what_is_exported(name):
    """Shapes are all there, in Keras's order, which it is strict about; the parameters come back exactly."""
    cell, make, _ = NETWORKS[name]
    params = draw(cell, INPUTS, "float64")
    exported, size, weights = to_keras(cell, params), INPUTS, []
    for layer in make():
        layer.build((2, 4, size))
        size = layer.compute_output_shape((2, 4, size))[0][-1]
        own, exported = exported[: len(layer.weights)], exported[len(layer.weights) :]
        layer.set_weights(own)
        weights += layer.get_weights()
    assert not exported
    chex.assert_trees_all_equal(from_keras(cell, weights), params, strict=True)


def test_without_biases():
    layer = keras_layer("GRU", 3, use_bias=False)
    layer.build((2, 4, INPUTS))
    weights = [np.array(np.random.RandomState(0).standard_normal(weight.shape), np.float32) for weight in layer.weights]
    params = from_keras(rnnjax.GRU(3), weights, bias=False)
    assert not np.any(params.b)
    assert not np.any(params.b_h)
    chex.assert_trees_all_equal(to_keras(rnnjax.GRU(3), params, bias=False), weights)
