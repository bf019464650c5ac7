"""Gradient flow where it is known exactly: shared/anchors/1997-long-lag.md, "Exact gradient-flow facts"."""

import jax
import numpy as np
import pytest

import rnnjax
from tests.support import gradient_norms, init, jacobian_norms, normal_like, parameter_gradient_norms, slow_unless

pytestmark = pytest.mark.usefixtures("x64")


def last(carry, ys):
    return ys[-1].sum(-1)


def linear(w_h, inputs=1):
    """A linear network with the recurrent matrix `w_h`, and its parameters."""
    w_h = np.asarray(w_h)
    cell = rnnjax.Elman(len(w_h), activation="identity")
    return cell, rnnjax.ElmanParams(np.zeros((inputs, len(w_h))), w_h, np.zeros(len(w_h)))


def spectral_norms(cell, params, time, carry=None, of=None):
    """||dcarry_T/dcarry_0|| for every lag from 1 to `time`, without inputs."""
    xs = np.zeros((time, cell.input_size(params)))
    return np.exp(jacobian_norms(cell, params, xs, carry, of=of).log_spectral)


@pytest.mark.parametrize(("w", "published"), [(1.1, 13780.6123), (0.9, 2.65614e-5), (0.99, 0.366032)])
def test_scalar_linear_network_has_powers_of_its_weight(w, published):
    cell, params = linear([[w]])
    norms = gradient_norms(cell, params, np.zeros((100, 1)), last).per_example.h
    np.testing.assert_allclose(norms, (100 - np.arange(101)) * np.log(w), rtol=1e-12)
    np.testing.assert_allclose(np.exp(norms[0]), published, rtol=1e-6)
    np.testing.assert_allclose(spectral_norms(cell, params, 100)[-1], published, rtol=1e-6)


@pytest.mark.parametrize("scale", slow_unless((1.3,), (0.8, 1.0, 1.3)))
def test_scaled_orthogonal_matrix_has_equal_singular_values(scale):
    """dh_T/dh_t = (s Q)^lag: every singular value is s^lag, so is the norm of any gradient."""
    cell = rnnjax.Elman(6, activation="identity", recurrent_init=rnnjax.initializers.Orthogonal(scale))
    params = init(cell, 2, "float64")
    xs = normal_like(jax.ShapeDtypeStruct((40, 2), np.float64), 0)
    lags = np.arange(1, 41)
    got = jacobian_norms(cell, params, xs, singular_values=True)
    want = np.broadcast_to(lags[:, None] * np.log(scale), (40, 6))
    np.testing.assert_allclose(got.log_singular_values, want, atol=1e-12)
    np.testing.assert_allclose(got.log_frobenius, want[:, 0] + 0.5 * np.log(6), atol=1e-12)
    norms = gradient_norms(cell, params, xs, last).per_example.h
    np.testing.assert_allclose(norms[:-1], want[::-1, 0] + 0.5 * np.log(6), atol=1e-12)


def test_figure_of_deep_learning_from_scratch_2():
    """dh = ones((2, 3)), dh <- dh Wh^T, norm sqrt(sum dh^2) / 2, with Wh drawn by RandomState(3).

    A singular value above 1 (1.33, with Wh halved) does not make the gradient explode: the spectral radius decides.
    """
    w_h = np.random.RandomState(3).randn(3, 3)
    np.testing.assert_allclose(np.linalg.norm(w_h, 2), 2.65943, rtol=1e-5)
    for scale, published in (
        (1.0, {1: 2.4684068, 2: 3.3357050, 10: 25.6889728, 20: 249.4956154}),
        (0.5, {1: 1.2342034, 20: 2.3793756e-4}),
    ):
        cell, params = linear(scale * w_h)
        per_example = gradient_norms(cell, params, np.zeros((20, 2, 1)), last).per_example.h
        norms = np.sqrt(np.square(np.exp(per_example)).sum(1)) / 2
        for step, norm in published.items():
            np.testing.assert_allclose(norms[20 - step], norm, rtol=1e-7)
        np.testing.assert_allclose(norms[0] / norms[1], scale * 1.25519, rtol=1e-5)


def test_norms_of_powers_approach_the_spectral_radius():
    """||W^k||^(1/k) -> spectral radius, from above."""
    w_h = np.random.RandomState(3).randn(3, 3)
    radius = np.abs(np.linalg.eigvals(w_h)).max()
    cell, params = linear(w_h)
    log_norms = jacobian_norms(cell, params, np.zeros((2000, 1)), lags=(1, 2000)).log_spectral
    assert np.exp(log_norms[0]) > 2 * radius
    np.testing.assert_allclose(np.exp(log_norms[1] / 2000), radius, rtol=1e-3)
    assert np.exp(log_norms[1] / 2000) > radius


@pytest.mark.parametrize(("activation", "gamma"), [("tanh", 1.0), ("logistic", 0.25), ("identity", 1.0)])
def test_jacobian_at_rest_is_the_recurrent_matrix_times_the_slope_at_zero(activation, gamma):
    """tanh at net 0: W; logistic at net 0: W / 4. For the logistic the bias cancels what h = 1/2 sends back."""
    w_h = np.asarray(np.random.RandomState(0).randn(5, 5))
    cell = rnnjax.Elman(5, activation=activation)
    rest = 0.5 if activation == "logistic" else 0.0
    params = rnnjax.ElmanParams(np.zeros((1, 5)), w_h, -rest * w_h.sum(0))
    carry = rnnjax.HiddenCarry(np.full(5, rest))
    got = jacobian_norms(cell, params, np.zeros((8, 1)), carry, lags=(1, 8), singular_values=True)
    for lag, values in zip((1, 8), got.log_singular_values, strict=True):
        want = np.linalg.svd(np.linalg.matrix_power(gamma * w_h, lag), compute_uv=False)
        np.testing.assert_allclose(np.exp(values[:2]), want[:2], rtol=1e-9)
        np.testing.assert_allclose(np.exp(values), want, atol=1e-9 * want[0])


@pytest.mark.parametrize(("activation", "gamma"), [("tanh", 1.0), ("logistic", 0.25)])
def test_vanishing_is_certain_below_the_inverse_slope(activation, gamma):
    """s_max < 1 / gamma: the norm is below (gamma s_max)^lag, whatever the inputs."""
    s_max = 0.95 / gamma
    cell = rnnjax.Elman(5, activation=activation, recurrent_init=rnnjax.initializers.Orthogonal(s_max))
    params = normal_like(init(cell, 3, "float64"), 1)._replace(w_h=init(cell, 3, "float64").w_h)
    xs = normal_like(jax.ShapeDtypeStruct((60, 2, 3), np.float64), 2)
    log_norms = jacobian_norms(cell, params, xs).log_spectral
    assert np.all(log_norms < np.log(0.95) * np.arange(1, 61)[:, None])


def gated(cell, gates, inputs=2):
    """Parameters of a cell without recurrent weights, with a constant bias a gate, and random input weights for n/g."""
    params = init(cell, inputs, "float64")
    return params._replace(
        w_x=np.zeros_like(params.w_x), w_h=np.zeros_like(params.w_h), b=np.repeat(np.asarray(gates), 3)
    )


@pytest.mark.parametrize(("bias", "published"), [(0, 7.889e-31), (1, 2.484e-14), (2, 3.073e-6), (5, 0.51092)])
def test_lstm_without_recurrent_weights_has_the_product_of_its_forget_gates(bias, published):
    cell = rnnjax.LSTM(3)
    params = gated(cell, [0.3, bias, -0.7, 0.1])
    norms = spectral_norms(cell, params, 100, of="c")
    np.testing.assert_allclose(norms[-1], published, rtol=1e-3)
    np.testing.assert_allclose(norms, (1 / (1 + np.exp(-bias))) ** np.arange(1, 101.0), rtol=1e-10)


@pytest.mark.parametrize("name", ["gru", "gru-reset-before"])
def test_gru_without_recurrent_weights_has_the_product_of_z(name):
    """h = z h_prev + (1 - z) n, with gates that change over time."""
    cell = rnnjax.CELLS[name](3)
    params = normal_like(init(cell, 2, "float64"), 0)
    params = params._replace(w_h=np.zeros_like(params.w_h))
    xs = normal_like(jax.ShapeDtypeStruct((50, 2), np.float64), 1)
    z = 1 / (1 + np.exp(-(xs @ params.w_x + params.b)[:, 3:6]))
    products = np.cumprod(z[::-1], 0)  # [lag, unit]
    got = jacobian_norms(cell, params, xs, singular_values=True)
    np.testing.assert_allclose(got.log_singular_values, np.log(-np.sort(-products, 1)), rtol=1e-10)


@pytest.mark.parametrize("lag", [*(pytest.param(lag, marks=pytest.mark.slow) for lag in (1, 10)), 500])
def test_constant_error_carousel(lag):
    """With f = 1 the error in the cell state stays what it is, over any lag: dc_(t+1)/dc_t = 1.

    The error from the output at the end to the input of the cell at t, under the truncated rule (nothing flows back
    through h), is then the same whatever the lag is.
    """
    cell = rnnjax.LSTM(3)
    params = gated(cell, [0.3, 50.0, 0.0, 0.1])
    np.testing.assert_allclose(spectral_norms(cell, params, lag, of="c"), 1, rtol=1e-12)
    xs = np.zeros((lag + 1, 2))
    norms = gradient_norms(cell, params, xs, last).per_example.c
    np.testing.assert_allclose(norms[:-1], norms[0], rtol=0, atol=1e-12)
    assert np.isneginf(norms[-1])  # the last output is h_T's: nothing of it goes through c_T by itself
    # At g = 0 the step's own part dc_t/db_g = i is constant too.
    own = parameter_gradient_norms(cell, params, xs, last).b
    np.testing.assert_allclose(own[1], own[0], rtol=1e-10)


@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_irnn_has_powers_on_active_units(scale):
    """relu, W = aI, no bias, no input, h0 > 0: a^k on active units; a unit that is at zero passes nothing."""
    cell = rnnjax.Elman(4, activation="relu", recurrent_init=rnnjax.initializers.Identity(scale))
    params = init(cell, 1, "float64")
    carry = rnnjax.HiddenCarry(np.array([0.5, 1.0, -1.0, 2.0]))
    got = jacobian_norms(cell, params, np.zeros((30, 1)), carry, singular_values=True)
    powers = np.log(scale) * np.arange(1, 31)
    np.testing.assert_allclose(got.log_singular_values[:, :3], np.tile(powers[:, None], 3), atol=1e-12)
    assert np.all(np.isneginf(got.log_singular_values[:, 3]))
