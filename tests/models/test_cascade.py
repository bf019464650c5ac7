"""Recurrent Cascade-Correlation: its equations, what grows, and what stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.models import RecurrentCascade
from tests.references import logistic
from tests.support import normal_like

CASCADE = RecurrentCascade(2, max_units=3, candidates=4, epochs=40)
START = jax.device_get(CASCADE.init(jax.random.key(0), 2))
fit = jax.jit(CASCADE.fit_outputs)
grow = jax.jit(CASCADE.grow)


def latch(time=8, batch=16):
    """The first input, again at every step: nothing but a unit that sees itself can tell. And its negative."""
    bits = np.random.RandomState(0).randint(0, 2, batch)
    xs = np.zeros((time, batch, 2), np.float32)
    xs[0, np.arange(batch), bits] = 1
    targets = np.broadcast_to(np.eye(2, dtype=np.float32)[bits], (time, batch, 2))
    return xs, targets, np.ones((time, batch), bool)


def error(params, xs, targets):
    return float(np.square(jax.nn.sigmoid(CASCADE(params, xs)) - targets).mean())


def test_equations():
    """Unit by unit and step by step, in NumPy; the third unit is not there."""
    params = normal_like(START, 0)._replace(units=jnp.int32(2))
    xs = np.random.RandomState(1).standard_normal((5, 2)).astype(np.float32)
    values = np.zeros(2)
    for x, got in zip(xs, CASCADE(params, xs), strict=True):
        sources = np.concatenate([[1], x, np.zeros(3)])
        for unit in range(2):
            values[unit] = logistic(sources @ params.w[:, unit] + params.w_self[unit] * values[unit])
            sources[3 + unit] = values[unit]
        np.testing.assert_allclose(got, sources @ params.w_out, rtol=1e-4)


@pytest.mark.slow
def test_a_unit_is_added_that_remembers_and_the_others_are_frozen():
    data = latch()
    params = fit(START, *data)
    assert error(params, *data[:2]) > 0.2  # without memory 7 of 8 steps are guesses, of variance 1/4
    one = grow(jax.random.key(0), params, *data)
    trained = fit(one, *data)
    assert error(trained, *data[:2]) < 0.05
    two = grow(jax.random.key(1), trained, *data)
    assert (int(one.units), int(two.units)) == (1, 2)
    np.testing.assert_array_equal(two.w[:, 0], one.w[:, 0])
    assert two.w_self[0] == one.w_self[0]
    assert not np.any(one.w[3:, 0])  # no unit sees later ones, or itself but through w_self
    assert not np.any(two.w[4:, 1])
    assert np.any(two.w[3, 1])


@pytest.mark.slow
def test_whole_procedure():
    """As many units as are asked for, and what one of them remembers."""
    data = latch()
    params = jax.jit(CASCADE.fit, static_argnames="units")(jax.random.key(0), *data, units=1)
    assert params.units == 1
    assert not np.any(params.w[:, 1:])
    assert error(params, *data[:2]) < 0.05
    with pytest.raises(ValueError, match="units must be at most max_units, 3, got 4"):
        CASCADE.fit(jax.random.key(0), *data, units=4)


@pytest.mark.slow
def test_padding_does_not_count():
    xs, targets, real = latch()
    padded = np.full_like(xs[:2], 3), np.ones_like(targets[:2]), np.zeros_like(real[:2])
    longer = [np.concatenate(pair) for pair in zip((xs, targets, real), padded, strict=True)]
    short, long = fit(START, xs, targets, real), fit(START, *longer)
    np.testing.assert_allclose(error(long, xs, targets), error(short, xs, targets), rtol=1e-3)
    short, long = (grow(jax.random.key(0), short, *data) for data in ((xs, targets, real), longer))
    np.testing.assert_allclose(long.w_self[0], short.w_self[0], rtol=0.05)


def test_number_of_weights():
    """The range that was published for 7 to 9 units, 119 to 198, is of nets without a constant and direct weights."""
    assert CASCADE.weights(2, 0) == 3 * 2
    assert CASCADE.weights(2, 2) == (3 + 1) + (4 + 1) + 5 * 2


@pytest.mark.parametrize("name", ["outputs", "max_units", "candidates", "epochs"])
def test_bad_settings(name):
    with pytest.raises(ValueError, match=f"^{name} must be an integer of at least 1, got 0$"):
        RecurrentCascade(**{"outputs": 1} | {name: 0})
