import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.initializers import Glorot, Identity, Normal, Orthogonal, Uniform, Zeros
from tests.support import init, slow_unless

KEY = jax.random.key(0)


SCALE, HIDDEN, INPUTS = 1.3, 32, 20
FAST = ("lstm", "gru", "lru")


def cells_with(setting, without=None):
    """The names of the cells that have a setting, in their order."""
    return [name for name in rnnjax.CELLS if setting in vars(rnnjax.CELLS[name](1)) and name != without]


def drawn(name, dtype="float32", **settings):
    return jax.device_get(init(rnnjax.CELLS[name](HIDDEN, **settings), INPUTS, dtype))


@pytest.mark.parametrize("name", slow_unless(FAST, cells_with("recurrent_init", without="lstm-1997")))
def test_recurrent_weights_are_orthogonal_gate_by_gate(name):
    w_h = drawn(name, recurrent_init=Orthogonal(SCALE)).w_h
    blocks = np.split(w_h, w_h.shape[1] // HIDDEN, 1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, SCALE**2 * np.eye(len(block)), atol=1e-5)
    for other in blocks[1:]:
        assert np.abs(blocks[0] - other).max() > 0.1  # each drawn by itself


@pytest.mark.parametrize("name", slow_unless(FAST, cells_with("input_init", without="lstm-1997")))
def test_input_weights_are_glorot_gate_by_gate_and_biases_zero(name):
    """The fans are those of one gate: over all gates at once the bound would be too small."""
    params = drawn(name)
    bound = np.sqrt(6 / (INPUTS + HIDDEN))
    for block in np.split(params.w_x, params.w_x.shape[1] // HIDDEN, 1):
        assert 0.98 * bound < np.abs(block).max() <= bound
        np.testing.assert_allclose(block.var(), bound**2 / 3, rtol=0.15)
    assert sorted(set(params.b.tolist())) == ([0, 1] if name in cells_with("forget_bias") else [0])


def test_weights_of_1997_are_uniform():
    params = drawn("lstm-1997")
    assert 0.099 < max(np.abs(leaf).max() for leaf in params) <= 0.1
    assert not np.any(params.b)


@pytest.mark.parametrize("name", slow_unless(FAST, rnnjax.CELLS))
def test_half_precision_weights_are_the_rounded_ones(name):
    """Drawn in float32 and rounded: orthogonal up to rounding, and the same weights whatever the precision."""
    for wide, narrow in zip(drawn(name), drawn(name, "bfloat16"), strict=True):
        assert narrow.dtype == jnp.bfloat16
        np.testing.assert_array_equal(wide.astype(jnp.bfloat16), narrow)


def test_forget_bias_is_added_to_the_drawn_bias_of_f_alone():
    drawn = init(rnnjax.LSTM(4, forget_bias=0.0, bias_init=Uniform(0.5)), 3).b
    shifted = init(rnnjax.LSTM(4, forget_bias=5.0, bias_init=Uniform(0.5)), 3).b
    assert np.all(np.abs(drawn) <= 0.5)
    assert len(set(drawn.tolist())) == 16
    np.testing.assert_allclose(shifted - drawn, [0] * 4 + [5] * 4 + [0] * 8, atol=1e-6)


def test_uniform_without_a_bound_is_that_of_pytorch():
    params = init(rnnjax.GRU(16, input_init=Uniform(), recurrent_init=Uniform(), bias_init=Uniform()), 50)
    assert all(np.abs(leaf).max() <= 0.25 and np.any(leaf) for leaf in params)
    assert np.abs(params.w_x).max() > 0.98 * 0.25
    np.testing.assert_allclose(np.var(params.w_x), 0.25**2 / 3, rtol=0.1)


def test_normal_without_a_deviation_is_that_of_lecun():
    """The variance of a weighted sum of independent inputs is that of one input: 1/sqrt(rows), not columns."""
    for initializer, deviation in ((Normal(0.03), 0.03), (Normal(), 1 / np.sqrt(400))):
        weights = np.asarray(initializer(KEY, (400, 100), jnp.float32))
        np.testing.assert_allclose(weights.std(), deviation, rtol=0.02)
        np.testing.assert_allclose(weights.mean(), 0, atol=0.02 * deviation)
        within = [(np.abs(weights) < k * deviation).mean() for k in (1, 2, 3)]
        np.testing.assert_allclose(within, [0.6827, 0.9545, 0.9973], atol=0.01)  # of the normal distribution
    with pytest.raises(ValueError, match=r"Normal is for matrices, got shape \(100,\): not for biases"):
        Normal()(KEY, (100,), jnp.float32)


@pytest.mark.parametrize("initializer", [Zeros(), Uniform(0.2), Normal(0.1), Glorot(), Orthogonal(0.5), Identity(0.9)])
def test_initializers_are_values(initializer):
    assert eval(repr(initializer)) == initializer
    assert hash(eval(repr(initializer))) == hash(initializer)
    weights = initializer(KEY, (3, 3), jnp.float32)
    assert weights.dtype == jnp.float32
    assert np.array_equal(weights, initializer(KEY, (3, 3), jnp.float32))


def test_identity_scales_the_unit_matrix():
    np.testing.assert_array_equal(Identity(0.5)(KEY, (2, 3), jnp.float32), [[0.5, 0, 0], [0, 0.5, 0]])


@pytest.mark.parametrize("name", slow_unless(FAST, cells_with("bias_init")))
def test_any_function_of_the_signature_serves(name):
    cell = rnnjax.CELLS[name](4, bias_init=jax.nn.initializers.constant(0.25))
    assert set(init(cell, 3).b.tolist()) == ({0.25, 1.25} if name in cells_with("forget_bias") else {0.25})
