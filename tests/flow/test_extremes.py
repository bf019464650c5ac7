"""Gradients smaller and larger than any float: reported as such, never as zero, infinity or NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from tests.support import gradient_norms, init, jacobian_norms, parameter_gradient_norms, slow_unless


def scalar(w):
    """A linear network with one unit and recurrent weight `w`, in float32."""
    cell = rnnjax.Elman(1, activation="identity")
    return cell, rnnjax.ElmanParams(np.ones((1, 1), np.float32), np.array([[w]], np.float32), np.zeros(1, np.float32))


def last(carry, ys):
    return ys[-1].sum(-1)


def assert_logs_close(got, want, time):
    """To what adding up `time` logarithms in float32 can lose at worst: half a unit in the last place of each sum."""
    np.testing.assert_allclose(got, want, rtol=0, atol=time * 2.0**-24 * np.abs(want).max())


@pytest.mark.parametrize(
    ("w", "time"), slow_unless(((1e25, 200),), ((0.5, 5000), (1.5, 1000), (1e-25, 200), (1e25, 200)))
)
def test_powers_beyond_the_range_of_float32(w, time):
    cell, params = scalar(w)
    # The state itself must not overflow: it stays at zero.
    xs = np.zeros((time, 1), np.float32)
    want = (time - np.arange(time + 1)) * np.log(np.float64(np.float32(w)))
    norms = gradient_norms(cell, params, xs, last)
    assert_logs_close(norms.per_example.h, want, time)
    assert_logs_close(norms.mean.h, want, time)
    jacobians = jacobian_norms(cell, params, xs, singular_values=True)
    for got in (jacobians.log_spectral, jacobians.log_frobenius, jacobians.log_singular_values[:, 0]):
        assert_logs_close(got, want[::-1][1:], time)
    assert_logs_close(parameter_gradient_norms(cell, params, xs, last).b, want[1:], time)


def test_bfloat16_reaches_as_far():
    cell, params = scalar(0.5)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    norms = gradient_norms(cell, params, np.zeros((3000, 1), jnp.bfloat16), last).per_example.h
    assert_logs_close(norms, (3000 - np.arange(3001)) * np.log(0.5), 3000)


def test_exactly_zero_is_minus_infinity():
    cell, params = scalar(0.0)
    xs = np.zeros((5, 1), np.float32)
    norms = gradient_norms(cell, params, xs, last).per_example.h
    np.testing.assert_array_equal(norms, [-np.inf] * 5 + [0])
    np.testing.assert_array_equal(jacobian_norms(cell, params, xs).log_spectral, [-np.inf] * 5)
    own = parameter_gradient_norms(cell, params, xs, last)
    np.testing.assert_array_equal(own.b, [-np.inf] * 4 + [0])
    np.testing.assert_array_equal(own.w_x, [-np.inf] * 5)  # the inputs are zero too
    nothing = gradient_norms(cell, params, xs, lambda carry, ys: 0 * ys.sum()).per_example.h
    np.testing.assert_array_equal(nothing, [-np.inf] * 6)


def test_a_component_far_smaller_than_another_is_not_zero():
    """Recurrent weights of 1e-25 in an LSTM: dL/dh_t is 1e-25 of dL/dc_t, and its square no float32."""
    cell = rnnjax.LSTM(4)
    drawn = init(cell, 2)
    xs = jax.random.normal(jax.random.key(1), (6, 3, 2))
    small = gradient_norms(cell, drawn._replace(w_h=drawn.w_h * np.float32(1e-25)), xs, last).per_example.h
    tiny = gradient_norms(cell, drawn._replace(w_h=drawn.w_h * np.float32(1e-5)), xs, last).per_example.h
    # So weak a weight enters to first order only: its factor is the factor of the gradient.
    np.testing.assert_allclose(small[1:-1] - tiny[1:-1], -20 * np.log(10), rtol=1e-4)


def test_examples_keep_scales_of_their_own():
    """An example whose gradient is 1e40 times that of another: both are right, in float32."""
    cell, params = scalar(0.5)
    factors = jnp.array([1e-20, 1.0, 1e20])
    norms = gradient_norms(
        cell, params, np.zeros((300, 3, 1), np.float32), lambda carry, ys: factors * ys[-1].sum(-1)
    ).per_example.h
    want = (300 - np.arange(301))[:, None] * np.log(0.5) + np.log(np.float64(factors))
    assert_logs_close(norms, want, 300)


def test_a_direct_term_and_a_far_one_add_up():
    """A loss on every output of a growing network: dL/dh_t = 1 + w + ... + w^(T-t), past the largest float32."""
    cell, params = scalar(1.5)
    norms = gradient_norms(cell, params, np.zeros((600, 1), np.float32), lambda carry, ys: ys.sum()).per_example.h
    powers = np.arange(600, -1, -1)
    want = np.log(1.5) * powers + np.log((1.5 - 1.5 ** np.minimum(0.0, -powers)) / 0.5)
    want[0] = np.log(1.5) + want[1]  # nothing is read from the initial carry
    assert_logs_close(norms, want, 600)


def test_a_nan_is_not_hidden():
    cell, params = scalar(0.5)
    norms = gradient_norms(
        cell, params, np.zeros((5, 1), np.float32), lambda carry, ys: jnp.nan * ys[-1].sum()
    ).per_example.h
    assert np.all(np.isnan(norms[:-1]))


def test_the_largest_floats_are_not_zero():
    """The inverse of 1e38 is subnormal, which a CPU flushes to zero."""
    cell, params = scalar(0.5)
    norms = gradient_norms(cell, params, np.zeros((5, 1), np.float32), lambda carry, ys: 1e38 * ys[-1].sum())
    assert_logs_close(norms.per_example.h, np.log(1e38) + (5 - np.arange(6)) * np.log(0.5), 5)


def test_gradient_of_a_norm_next_to_zeros():
    """d ln||dL/dh_0|| / dw = T / w, though after the loss's own step every gradient is exactly zero."""
    cell, params = scalar(0.5)
    xs = np.zeros((6, 1), np.float32)

    def log_norm(w_h):
        norms = gradient_norms(cell, params._replace(w_h=w_h), xs, lambda carry, ys: ys[3].sum()).per_example.h
        return jnp.where(jnp.isneginf(norms), 0, norms).sum()

    # At t = 0 ... 4 stand 4, 3, 2, 1, 0 factors of w.
    np.testing.assert_allclose(jax.grad(log_norm)(params.w_h), [[10 / 0.5]], rtol=1e-5)
