import jax
import numpy as np
import pytest

import rnnjax
from rnnjax.models import Readout
from tests import references
from tests.support import init, normal_like


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("lengths", [None, (5, 0, 2)])
def test_readout_is_a_linear_map_of_the_cell(lengths):
    model = Readout(rnnjax.LSTM(4), 2)
    params = normal_like(init(model, 3, "float64"), 0)
    xs = normal_like(jax.ShapeDtypeStruct((5, 3, 3), "float64"), 1)
    given = None if lengths is None else np.array(lengths)
    cell, w, b = jax.tree.map(np.asarray, params)
    zeros = rnnjax.LSTMCarry(np.zeros((3, 4)), np.zeros((3, 4)))
    _, ys = references.unroll(references.lstm, cell, np.asarray(xs), zeros, lengths=lengths)
    np.testing.assert_allclose(jax.jit(model.apply)(params, xs, given), ys @ w + b, rtol=1e-12)
    np.testing.assert_allclose(model.read(params, ys), ys @ w + b, rtol=1e-12)


def test_readout_starts_with_glorot_weights_and_no_bias():
    model = Readout(rnnjax.Elman(40), 20)
    params = init(model, 3)
    assert not np.any(params.b)
    bound = np.sqrt(6 / (40 + 20))
    assert 0.98 * bound < np.abs(params.w).max() <= bound
    np.testing.assert_allclose(np.var(params.w), bound**2 / 3, rtol=0.1)
    assert model == Readout(rnnjax.Elman(40), 20)
    assert hash(model) == hash(Readout(rnnjax.Elman(40), 20))


def test_options_of_unroll_go_through():
    model = Readout(rnnjax.Dropout(rnnjax.Elman(4), output_rate=0.5), 2)
    params, xs = init(model, 3), np.ones((5, 2, 3), np.float32)
    mask, key = np.arange(10).reshape(5, 2) % 3 > 0, jax.random.key(1)
    _, ys = rnnjax.unroll(model.cell, params.cell, xs, mask=mask, key=key)
    np.testing.assert_array_equal(model.apply(params, xs, mask=mask, key=key), model.read(params, ys))
