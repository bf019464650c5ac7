"""PyTorch's layers with random biases, deep, bidirectional, projected: outputs, final states and all gradients."""

import chex
import numpy as np
import pytest

import rnnjax
from rnnjax.interop import from_torch, to_torch
from tests.interop.parity import check, draw

record = pytest.importorskip("tests.interop.record", reason="make peers installs PyTorch and Keras")
torch, run_torch = record.torch, record.run_torch

pytestmark = pytest.mark.peers

INPUTS, HIDDEN, TIME, BATCH = 3, 4, 7, 3

KINDS = {
    "rnn": (rnnjax.Elman(HIDDEN), torch.nn.RNN, {}),
    "rnn-relu": (rnnjax.Elman(HIDDEN, activation="relu"), torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (rnnjax.LSTM(HIDDEN), torch.nn.LSTM, {}),
    "gru": (rnnjax.GRU(HIDDEN), torch.nn.GRU, {}),
    "lstm-projected": (rnnjax.ProjectedLSTM(HIDDEN, projection_size=2), torch.nn.LSTM, {"proj_size": 2}),
}


def pair(kind, layers=1, bidirectional=False, **options):
    """A cell, and the layer of PyTorch that goes with it."""
    cell, layer, settings = KINDS[kind]
    if bidirectional:
        cell = rnnjax.Bidirectional(cell)
    if layers > 1:
        cell = rnnjax.Stack((cell,) * layers)
    return cell, layer(INPUTS, HIDDEN, num_layers=layers, bidirectional=bidirectional, **settings, **options)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_float64(kind, layers, bidirectional):
    cell, layer = pair(kind, layers, bidirectional)
    check(cell, from_torch, run_torch(layer, time=TIME, batch=BATCH), 1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_lengths_are_those_of_packed_sequences(kind):
    cell, layer = pair(kind, 2, True)
    lengths = [4, 7, 1]
    check(cell, from_torch, run_torch(layer, lengths, time=TIME, batch=BATCH), 1e-12, lengths=np.array(lengths))


# PyTorch says that one of its libraries lacks the projection in float32.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_float32(kind):
    cell, layer = pair(kind)
    check(cell, from_torch, run_torch(layer, dtype=torch.float32, time=TIME, batch=BATCH), 1e-5, "float32")


@pytest.mark.usefixtures("x64")
def test_without_biases():
    cell, layer = pair("gru", 2, bias=False)

    def load(cell, weights):
        return from_torch(cell, weights, bias=False)

    check(cell, load, run_torch(layer, time=TIME, batch=BATCH), 1e-12)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_loads_what_is_exported(kind, bidirectional):
    """Names and shapes are all there (PyTorch's loading is strict), in its order; its parameters come back exactly."""
    cell, layer = pair(kind, 2, bidirectional)
    params = draw(cell, INPUTS)
    exported = to_torch(cell, params)
    assert list(exported) == list(layer.state_dict())
    layer.load_state_dict({name: torch.tensor(array) for name, array in exported.items()})
    # Not the state_dict: these require gradients.
    chex.assert_trees_all_equal(from_torch(cell, dict(layer.named_parameters())), params, strict=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_precision_is_kept(dtype):
    cell, layer = pair("gru", dtype=getattr(torch, dtype))
    params = from_torch(cell, layer.state_dict())
    assert params.w_x.dtype == dtype
    want = layer.weight_ih_l0.detach().T.float().numpy()
    np.testing.assert_array_equal(np.asarray(params.w_x, np.float32), want)
