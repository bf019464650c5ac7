"""What the comparisons with other libraries share: our side of them."""

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax import interop
from tests.support import normal_like, relative_error

# Keras multiplies matrices in float32 at most (`keras.backend.result_type`), whatever the layer's dtype; its LSTM and
# GRU pass that by where they call PyTorch's, in float64.
TOLERANCE = {("keras", "rnn"): 1e-6, ("keras", "gru-reset-before"): 1e-6}


def from_numbered(cell, weights):
    """`from_keras`, of weights whose names are their places in the list."""
    return interop.from_keras(cell, [weights[str(index)] for index in range(len(weights))])


LOAD = {"torch": interop.from_torch, "keras": from_numbered}

# The networks of recorded.json, by library and name.
CELLS = {
    "torch": {
        "rnn": rnnjax.Elman(2),
        "rnn-relu": rnnjax.Elman(2, activation="relu"),
        "lstm": rnnjax.LSTM(2),
        "gru": rnnjax.GRU(2),
        "lstm-projected": rnnjax.ProjectedLSTM(3, projection_size=2),
        "lstm-deep-bidirectional": rnnjax.Stack((rnnjax.Bidirectional(rnnjax.LSTM(2)),) * 2),
    },
    "keras": {
        "rnn": rnnjax.Elman(2),
        "lstm": rnnjax.LSTM(2),
        "gru": rnnjax.GRU(2),
        "gru-reset-before": rnnjax.GRUResetBefore(2),
        "gru-bidirectional": rnnjax.Bidirectional(rnnjax.GRU(2)),
    },
}


def check(cell, load, record, tolerance, dtype="float64", lengths=None):
    """Outputs, final states and all gradients of half the sum of their squares, as another library has them.

    `record`: `weights` by the library's names, `inputs` and `outputs` `[time, batch, features]`, `finals` the final
    states in the order of our carry's leaves, `weight_gradients` and `input_gradients`. Differentiating `load` too
    gives the gradients by the library's own names and shapes.
    """
    weights = {name: jnp.asarray(weight, dtype) for name, weight in record["weights"].items()}
    inputs = jnp.asarray(record["inputs"], dtype)

    @jax.jit
    def run(weights, inputs):
        def loss(weights, inputs):
            carry, ys = rnnjax.unroll(cell, load(cell, weights), inputs, lengths=lengths)
            got = [ys, *jax.tree.leaves(carry)]
            return sum(jnp.sum(jnp.square(array)) for array in got) / 2, got

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(weights, inputs)

    (weight_gradients, input_gradients), (ys, *finals) = run(weights, inputs)
    assert ys.dtype == dtype
    assert relative_error(ys, record["outputs"]) < tolerance
    for got, want in zip(finals, record["finals"], strict=True):
        assert relative_error(got, want) < tolerance
    assert relative_error(input_gradients, record["input_gradients"]) < tolerance
    for name, want in record["weight_gradients"].items():
        assert relative_error(weight_gradients[name], want) < tolerance, name


def draw(cell, inputs, dtype="float32"):
    """Parameters with every weight random, biases too."""
    like = jax.eval_shape(lambda key: cell.init(key, inputs, dtype), jax.random.key(0))
    return jax.tree.map(jnp.asarray, normal_like(like, 0))
