"""Writes recorded.json, what PyTorch and Keras make of small networks: `python -m tests.interop.record`.

Needs the extra `peers`. Keras runs on PyTorch here, so that nothing of JAX is on this side of a comparison.
"""

import json
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch

FILE = Path(__file__).with_name("recorded.json")
TIME, BATCH, INPUTS = 4, 2, 3

TORCH = {
    "rnn": lambda: torch.nn.RNN(INPUTS, 2),
    "rnn-relu": lambda: torch.nn.RNN(INPUTS, 2, nonlinearity="relu"),
    "lstm": lambda: torch.nn.LSTM(INPUTS, 2),
    "gru": lambda: torch.nn.GRU(INPUTS, 2),
    "lstm-projected": lambda: torch.nn.LSTM(INPUTS, 3, proj_size=2),
    "lstm-deep-bidirectional": lambda: torch.nn.LSTM(INPUTS, 2, num_layers=2, bidirectional=True),
}
KERAS = {
    "rnn": lambda: keras_layer("SimpleRNN", 2),
    "lstm": lambda: keras_layer("LSTM", 2),
    "gru": lambda: keras_layer("GRU", 2),
    "gru-reset-before": lambda: keras_layer("GRU", 2, reset_after=False),
    "gru-bidirectional": lambda: keras.layers.Bidirectional(keras_layer("GRU", 2), dtype="float64"),
}


def keras_layer(name, units, **options):
    options = {"dtype": "float64", "return_sequences": True, "return_state": True, **options}
    return getattr(keras.layers, name)(units, **options)


def draw(random, shape):
    """Random multiples of 1/64, short in a file and never zero: bugs hide behind zero biases."""
    return (2 * np.round(16 * random.standard_normal(shape)) + 1) / 64


def run_torch(layer, lengths=None, dtype=torch.float64, seed=0, time=TIME, batch=BATCH):
    """A layer of PyTorch with random weights and inputs: a record as `tests.interop.parity.check` wants it."""
    random = np.random.RandomState(seed)
    layer.to(dtype)
    weights = {name: draw(random, weight.shape) for name, weight in layer.state_dict().items()}
    layer.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})
    inputs = torch.tensor(draw(random, (time, batch, layer.input_size)), dtype=dtype, requires_grad=True)
    if lengths is None:
        ys, state = layer(inputs)
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, torch.tensor(lengths), enforce_sorted=False)
        ys, state = layer(packed)
        ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, total_length=time)
    states = state if isinstance(state, tuple) else (state,)
    # One after the other: h (and c) of the first layer and direction, then of the next.
    finals = [part[index] for index in range(len(states[0])) for part in states]
    half_square(ys, *finals).backward()
    gradients = {name: weight.grad for name, weight in layer.named_parameters()}
    return record(weights, inputs, ys, finals, gradients)


def run_keras(layers, seed=0):
    """Layers of Keras, one after the other, with random weights and inputs: a record like that of `run_torch`."""
    random = np.random.RandomState(seed)
    inputs = torch.tensor(draw(random, (TIME, BATCH, INPUTS)), requires_grad=True)
    size = INPUTS
    for layer in layers:
        layer.build((BATCH, TIME, size))
        size = layer.compute_output_shape((BATCH, TIME, size))[0][-1]
    weights = [[draw(random, weight.shape) for weight in layer.weights] for layer in layers]
    ys, finals = inputs.transpose(0, 1), []
    for layer, own in zip(layers, weights, strict=True):
        layer.set_weights(own)
        ys, *states = layer(ys)
        finals.extend(states)
    ys = ys.transpose(0, 1)
    half_square(ys, *finals).backward()
    gradients = [weight.value.grad for layer in layers for weight in layer.weights]
    return record(numbered([weight for own in weights for weight in own]), inputs, ys, finals, numbered(gradients))


def numbered(arrays):
    return {str(index): array for index, array in enumerate(arrays)}


def half_square(*tensors):
    return sum(tensor.square().sum() for tensor in tensors) / 2


def record(weights, inputs, ys, finals, gradients):
    return {
        "weights": weights,
        "inputs": inputs.detach().numpy(),
        "outputs": ys.detach().numpy(),
        "finals": [final.detach().numpy() for final in finals],
        "weight_gradients": {name: gradient.numpy() for name, gradient in gradients.items()},
        "input_gradients": inputs.grad.numpy(),
    }


def records():
    """The records of all networks, by library and name."""
    return {
        "versions": {"torch": torch.__version__.split("+")[0], "keras": keras.__version__},
        "torch": {name: run_torch(make()) for name, make in TORCH.items()},
        "keras": {name: run_keras([make()]) for name, make in KERAS.items()},
    }


def text(node, indent=0):
    """JSON with a line for every array."""
    pad = "  " * (indent + 1)
    if isinstance(node, dict):
        lines = (f"{pad}{json.dumps(key)}: {text(value, indent + 1)}" for key, value in node.items())
        return "{\n" + ",\n".join(lines) + "\n" + pad[2:] + "}"
    if isinstance(node, list):
        return "[\n" + ",\n".join(pad + text(value, indent + 1) for value in node) + "\n" + pad[2:] + "]"
    return json.dumps(node if isinstance(node, str) else np.asarray(node).tolist())


if __name__ == "__main__":
    FILE.write_text(text(records()) + "\n", encoding="utf-8")
