"""Every registered cell in every model that takes the name of one: shapes alone, without a number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rnnjax import CELLS
from rnnjax.models import FORECASTERS, Classifier, Encoded, Sentences, captioner, make_forecaster, seq2seq
from tests.support import slow_unless

TOKENS, LENGTHS = jnp.ones((4, 3), int), jnp.ones(3, int)
FAST = ("lstm-projected", "lstm-conv")  # whose outputs, or carries, have other shapes than the hidden units
KINDS = [kind for kind, design in FORECASTERS.items() if design.cell is not None]


def every(settings, one):
    """Those cells with every setting, and all others with one of them, in the slow tests."""
    fast = [(setting, cell) for setting in settings for cell in FAST]
    others = [(one, cell) for cell in CELLS if cell not in FAST]
    return slow_unless(fast, fast + others)


def shape(function):
    """That of what a function of a model's random numbers gives."""
    return nnx.eval_shape(lambda: function(nnx.Rngs(0))).shape


@pytest.mark.parametrize(("kind", "cell"), every(KINDS, "deep"))
def test_forecaster(kind, cell):
    def run(rngs):
        model = make_forecaster(f"{kind}:{cell}", 2, 3, hidden_size=4, rngs=rngs)
        return model(jnp.ones((12, 5, 2)))[-1]

    if kind == "units" and cell in FAST:
        with pytest.raises(ValueError, match="without a readout needs a cell with as many outputs as units"):
            shape(run)
    else:
        assert shape(run) == (5, 3, 2)


@pytest.mark.parametrize(("attention", "cell"), every([None, "additive", "multiplicative"], "additive"))
def test_seq2seq(attention, cell):
    def run(rngs):
        model = seq2seq(7, 8, cell=cell, hidden_size=4, bidirectional=True, attention=attention, rngs=rngs)
        return model.loss(Sentences(TOKENS, LENGTHS), TOKENS, LENGTHS)

    assert shape(run) == ()


@pytest.mark.parametrize("cell", slow_unless(FAST, CELLS))
def test_captioner(cell):
    def run(rngs):
        return captioner((6,), 8, cell=cell, hidden_size=4, rngs=rngs).loss(jnp.ones((3, 6)), TOKENS, LENGTHS)

    assert shape(run) == ()


def test_bridge_fills_a_carry_over_space():
    """Its numbers, leaf after leaf, whatever shape a leaf has."""

    @jax.jit
    def carry_and_numbers():
        decoder = captioner((6,), 8, cell="lstm-conv", hidden_size=4, rngs=nnx.Rngs(0)).decoder
        summary = jnp.linspace(-1, 1, 12).reshape(3, 4)
        return decoder.start(Encoded(summary)).carry, jnp.tanh(summary @ decoder.w_bridge[...])

    carry, numbers = carry_and_numbers()
    leaves = [leaf.reshape(3, -1) for leaf in jax.tree.leaves(carry)]
    np.testing.assert_allclose(np.concatenate(leaves, -1), numbers, rtol=1e-6)


@pytest.mark.parametrize("cell", slow_unless(FAST, CELLS))
def test_classifier(cell):
    def run(rngs):
        return Classifier([CELLS[cell](4)] * 2, 9, 3, bidirectional=True, rngs=rngs)(jnp.ones((4, 3, 9)))

    assert shape(run) == (3, 3)
