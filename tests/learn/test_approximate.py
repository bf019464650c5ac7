"""Algorithms whose gradients are not exact: what they leave out is what their definitions say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import rnnjax
from rnnjax.learn import (
    BPTT,
    UORO,
    ClippedBPTT,
    OneStep,
    SnAp1,
    Truncated1997,
    TruncatedBPTT,
    WeightGuessing,
    truncation_bias,
)
from tests.learn.support import BATCH, INPUTS, TIME, Case, draw_params, learn, network, squares
from tests.support import relative_error, slow_unless

pytestmark = pytest.mark.usefixtures("x64")


def cut(case, edge):
    """The gradient of Python loops, one for the loss of each step t, whose error goes back to step `edge(t)`."""

    def loss(params, t):
        carry = case.cell.initial_carry((BATCH,), "float64")
        for s in range(t + 1):
            carry, y = case.cell.step(params, lax.stop_gradient(carry) if s == edge(t) else carry, case.xs[s])
        return (case.weights[t] * squares(y, case.targets[t])).mean()

    return jax.jit(jax.value_and_grad(lambda params: sum(loss(params, t) for t in range(TIME))))(case.params)


@pytest.mark.parametrize(("k1", "k2"), [(2, 5), pytest.param(3, 3, marks=pytest.mark.slow)])
def test_truncated_bptt_stops_gradients_at_the_edges(k1, k2):
    """The last piece has one step alone, which goes back by itself and the k2 - k1 before."""
    case = Case(network(rnnjax.Elman(3)))
    want = cut(case, lambda t: max(0, t // k1 * k1 - (k2 - k1)))
    assert relative_error(learn(TruncatedBPTT(k1, k2), case)[:2], want) < 1e-12


@pytest.mark.slow
def test_truncated_bptt_goes_on_between_calls():
    algorithm, case = TruncatedBPTT(2, 5), Case(network(rnnjax.GRU(3)), time=6)
    carry, total = None, jax.tree.map(np.zeros_like, case.params)
    for start in range(0, 6, 2):
        piece = case.replace(**{name: getattr(case, name)[start : start + 2] for name in ("xs", "targets", "weights")})
        _, gradients, carry = learn(algorithm, piece, carry)
        total = jax.tree.map(np.add, total, gradients)
    assert relative_error(total, learn(algorithm, case).gradients) < 1e-12


@pytest.mark.slow
def test_one_step_is_truncated_after_one_step():
    case = Case(network(rnnjax.GRU(3)))
    assert relative_error(learn(OneStep(), case)[:2], cut(case, lambda t: t)) < 1e-12


# --- the truncated gradient of 1997 -----------------------------------------------------------------------------------

CORES = {
    "lstm-1997": lambda: rnnjax.LSTM1997(4, 2),
    "lstm-2a": lambda: rnnjax.LSTM1997(4, 2, output_gate=False, g="logistic", h="identity"),
    "lstm": lambda: rnnjax.LSTM(3),
}


@pytest.mark.parametrize("core", slow_unless(("lstm-1997",), CORES))
def test_truncated_1997_is_autodiff_through_stopped_net_inputs(core):
    cell = CORES[core]()
    case = Case(network(cell))

    @jax.jit
    @jax.value_and_grad
    def want(params):
        total, carry = 0.0, cell.initial_carry((BATCH,), "float64")
        for x, target, weights in zip(case.xs, case.targets, case.weights, strict=True):
            seen = lax.stop_gradient(cell.recurrent_input(carry))
            own = params.cell
            carry = cell.pointwise(own, x @ own.w_x + own.b, seen @ own.w_h, carry)
            total += (weights * squares(carry.h @ params.w + params.b, target)).mean()
        return total

    assert relative_error(learn(Truncated1997(), case)[:2], want(case.params)) < 1e-12


def test_the_error_of_the_carousel_does_not_depend_on_the_lag():
    """One event, at any step before the error: its weights into the cells have the same gradient, at lags 1 to 199."""
    cell, time = rnnjax.LSTM1997(2), 200
    params = draw_params(cell, 0.1)
    params = params._replace(w_h=0 * params.w_h)
    steps = np.arange(time)
    events = (steps[:, None] == time - 1 - np.array([1, 20, 199])).astype(float)
    xs = np.stack([events, np.full_like(events, 0.3)], -1)

    @jax.jit
    @jax.vmap
    def gradients(xs):
        weights = (steps == time - 1).astype(float)
        return Truncated1997()(cell, params, None, xs, lambda y, _: y.sum(), weights=weights).gradients.w_x[0, 2:4]

    each = gradients(xs.swapaxes(0, 1))
    assert np.all(np.abs(each) > 1e-5)
    np.testing.assert_allclose(each, np.broadcast_to(each[0], each.shape), rtol=1e-12)


# --- approximations of RTRL -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_snap_of_an_elman_network_keeps_each_unit_s_own_trace():
    """For a tanh unit i and its weight from source k: e' = (1 - h_i^2) (w_ii e + source_k), in NumPy."""
    cell = rnnjax.Elman(3)
    case = Case(cell, batch=1)
    params = jax.tree.map(np.asarray, case.params)
    h, trace, want = np.zeros(3), np.zeros((INPUTS + 3 + 1, 3)), 0
    for x, target, weight in zip(case.xs[:, 0], case.targets[:, 0], case.weights[:, 0], strict=True):
        sources = np.concatenate([x, h, [1]])
        h = np.tanh(x @ params.w_x + h @ params.w_h + params.b)
        trace = (1 - h**2) * (np.diag(params.w_h) * trace + sources[:, None])
        want += trace * 2 * weight * (h - target)
    got = learn(SnAp1(), case).gradients
    np.testing.assert_allclose(np.concatenate([got.w_x, got.w_h, got.b[None]]), want, rtol=1e-12)


def test_uoro_is_unbiased():
    """Over 20,000 keys every mean is within five standard errors, and their squares average to one."""
    case = Case(rnnjax.LSTM(1), time=4, batch=1)
    arguments = case.cell, case.params, None, case.xs, squares

    @jax.jit
    @jax.vmap
    def draw(key):
        return jax.flatten_util.ravel_pytree(UORO()(*arguments, targets=case.targets, key=key).gradients)[0]

    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    exact = learn(BPTT(), case.replace(weights=np.ones((4, 1)))).gradients
    exact = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(exact)])
    error = drawn.std(0) / np.sqrt(len(drawn))
    assert np.all(error > 1e-6)
    deviations = (drawn.mean(0) - exact) / error
    assert np.abs(deviations).max() < 5
    assert np.mean(deviations**2) < 3


# --- clipping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"max_norm": 3.0}, {"max_value": 3.0}], ids=str)
def test_clipping_in_the_backward_pass(limits):
    """h' = 2 h + x with the error at the end: it doubles until it is clipped at every step, whatever the batch."""
    cell = rnnjax.Elman(1, activation="identity")
    params = rnnjax.ElmanParams(np.ones((1, 1)), np.full((1, 1), 2.0), np.zeros(1))
    weights = np.zeros((6, 2))
    weights[-1] = 1
    xs = np.ones((6, 2, 1))

    def loss(y, scale):
        return scale * y[..., 0]

    targets = np.broadcast_to([1.0, 0.1], (6, 2))
    run = partial(ClippedBPTT(**limits).clipping, cell, loss=loss, targets=targets, weights=weights)
    learned, clipping = jax.jit(run)(params=params, carry=None, xs=xs)
    np.testing.assert_allclose(clipping.norm[::-1, 0], [2, 4, 6, 6, 6, 6])
    np.testing.assert_array_equal(clipping.clipped[::-1, 0], [False, True, True, True, True, True])
    np.testing.assert_allclose(clipping.norm[::-1, 1], [0.2, 0.4, 0.8, 1.6, 3.2, 6.0])
    np.testing.assert_array_equal(clipping.clipped[::-1, 1], [False, False, False, False, True, True])
    errors = np.array([[1, 2, 3, 3, 3, 3], [0.1, 0.2, 0.4, 0.8, 1.6, 3.0]]).mean(0)
    np.testing.assert_allclose(learned.gradients.b, [errors.sum()], rtol=1e-12)
    np.testing.assert_allclose(learned.gradients.w_h, [[errors @ [31, 15, 7, 3, 1, 0]]], rtol=1e-12)


# --- bias -------------------------------------------------------------------------------------------------------------


def test_bias_of_truncation_is_the_closed_form():
    """h' = w h + x, the error at the end: each weight's gradient is a sum over lags, cut off after k2 of them."""
    time, w = 6, 0.8
    cell = rnnjax.Elman(1, activation="identity")
    params = rnnjax.ElmanParams(np.ones((1, 1)), np.full((1, 1), w), np.zeros(1))
    xs = np.array([1.0, -0.5, 2.0, 0.3, -1.0, 0.7])
    h = np.array([sum(w ** (t - s) * xs[s] for s in range(t + 1)) for t in range(time)])
    weights = np.eye(time)[-1]
    bias = jax.jit(
        lambda params: truncation_bias(cell, params, xs[:, None], lambda y, _: y[..., 0], (1, 3, 6), weights=weights)
    )(params)

    def gradient(k2):
        lags = np.arange(k2)
        before = np.concatenate([[0], h])
        return np.array([w**lags @ xs[::-1][:k2], w**lags @ before[time - 1 - lags], (w**lags).sum()])

    exact = gradient(time)
    for place, k2 in enumerate((1, 3, 6)):
        got, agreement = gradient(k2), jax.tree.map(lambda leaf: leaf[place], bias.agreement)  # noqa: B023
        norms = np.linalg.norm([got, exact], axis=1)
        np.testing.assert_allclose(agreement.cosine, got @ exact / norms.prod(), rtol=1e-12)
        np.testing.assert_allclose(agreement.relative_norm, norms[0] / norms[1], rtol=1e-12)
        np.testing.assert_allclose(agreement.relative_error, np.linalg.norm(got - exact) / norms[1], atol=1e-12)
    np.testing.assert_array_equal(bias.k2, (1, 3, 6))


# --- guessing ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_step_of_gradient_descent_goes_to_the_guess():
    case = Case(network(rnnjax.Elman(50)))
    result = learn(WeightGuessing(2.0), case)
    guess = optax.apply_updates(case.params, jax.tree.map(jnp.negative, result.gradients))
    assert relative_error(result.loss, learn(BPTT(), case).loss) < 1e-12
    drawn = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(guess)])
    assert np.abs(drawn).max() <= 2
    assert abs(drawn.mean()) < 5 * 2 / np.sqrt(3 * drawn.size)
    np.testing.assert_allclose(drawn.var(), 4 / 3, rtol=0.1)  # of U[-2, 2]
