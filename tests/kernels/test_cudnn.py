"""cuDNN's LSTM, by the reference that `jax.experimental.rnn` has for it and that runs everywhere."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

import rnnjax
from rnnjax.kernels import cudnn
from tests.kernels.test_blocked import draw
from tests.support import declared, normal_like


@pytest.fixture
def reference(monkeypatch):
    """In cuDNN's place."""

    def lstm(x, h, c, weights, lengths, **sizes):
        arguments = {**sizes, "dropout": 0.0, "bidirectional": False}
        unpacked = rnn.unpack_lstm_weights(weights, sizes["input_size"], sizes["hidden_size"], 1, False)
        return rnn.lstm_ref(x, h, c, *unpacked, lengths, *arguments.values())

    monkeypatch.setattr(rnn, "lstm", lstm)


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(
    ("lengths", "reverse"), [([11, 0, 7, 1], False), pytest.param(None, True, marks=pytest.mark.slow)]
)
def test_is_the_scan(lengths, reverse):
    """A sequence of no step among them."""
    cell, params, xs, carry = draw("lstm", dtype="float32")
    lengths = None if lengths is None else np.array(lengths)
    valid = None if lengths is None else np.arange(11)[:, None] < lengths
    want = rnnjax.unroll(cell, params, xs, carry, lengths=lengths, reverse=reverse, kernel="scan")
    got = jax.jit(cudnn.lstm, static_argnames="reverse")(params, xs, carry, valid, reverse=reverse)
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("reference")
def test_is_differentiated_once():
    """In reverse, as the scan; a second derivative, and many seeds at once, are errors of one line."""
    cell, params, xs, carry = draw("lstm", dtype="float32")

    def loss(run, xs):
        return jnp.square(run(xs)[1]).sum()

    gradient = jax.grad(partial(loss, lambda xs: cudnn.lstm(params, xs, carry, None, reverse=False)))
    want = jax.grad(partial(loss, lambda xs: rnnjax.unroll(cell, params, xs, carry, kernel="scan")))(xs)
    chex.assert_trees_all_close(jax.jit(gradient)(xs), want, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r'^kernel "cudnn" is differentiated once, in reverse: use kernel "auto"'):
        jax.eval_shape(jax.grad(lambda xs: jnp.square(gradient(xs)).sum()), xs)
    with pytest.raises(ValueError, match=r'^kernel "cudnn" does not work under jax\.vmap: use kernel "auto"'):
        jax.eval_shape(jax.vmap(gradient), jnp.stack([xs, xs]))


@pytest.mark.parametrize(
    ("cell", "dtype", "options", "why"),
    [
        (rnnjax.GRU(4), "float32", {}, "has an LSTM alone, and GRU is none"),
        (rnnjax.LSTM(4), "bfloat16", {}, "computes in float32, not in bfloat16"),
        (rnnjax.LSTM(4), "float32", {"resets": np.zeros((5, 2), bool)}, "takes no resets"),
        (rnnjax.LSTM(4), "float32", {"mask": np.ones((5, 2), bool)}, "takes lengths, but no mask"),
        (rnnjax.LSTM(4), "float32", {"lengths": [5, 2], "reverse": True}, "takes no lengths in reverse"),
        pytest.param(
            rnnjax.LSTM(4),
            "float32",
            {"lengths": [5, 2]},
            "needs an NVIDIA GPU",
            marks=pytest.mark.skipif(jax.default_backend() == "gpu", reason="it has one here"),
        ),
    ],
    ids=["cell", "dtype", "resets", "mask", "reverse", "platform"],
)
def test_what_it_cannot_run_is_one_line(cell, dtype, options, why):
    xs = np.zeros((5, 2, 3), jax.numpy.dtype(dtype))
    with pytest.raises(ValueError, match=rf'^kernel "cudnn" {why}: "auto" finds another$'):
        rnnjax.unroll(cell, normal_like(declared(cell, 3, dtype), 0), xs, kernel="cudnn", **options)
