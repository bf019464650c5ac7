import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import flow
from tests.support import gradient_norms, init, normal_like, parameter_gradient_norms

TIME, LENGTHS = 9, np.array([9, 0, 3, 1])


@pytest.fixture
def lstm(x64):
    cell = rnnjax.LSTM(4)
    params = normal_like(init(cell, 2, "float64"), 0, 0.5)
    return cell, params, normal_like(jax.ShapeDtypeStruct((TIME, 4, 2), jnp.float64), 1)


def last_of(carry, ys):
    return carry.h.sum(-1)


def test_by_lag_lines_up_the_ends(lstm):
    """A sequence alone, without padding, has at each lag what `by_lag` reads from the padded batch."""
    cell, params, xs = lstm
    lags = [0, 1, 2, 3, 9]
    padded = gradient_norms(cell, params, xs, last_of, lengths=LENGTHS).per_example
    whole = gradient_norms(cell, params, xs[:3, 2:3], last_of).per_example
    for component in "hc":
        lined_up = flow.by_lag(getattr(padded, component), LENGTHS, lags)
        assert lined_up.shape == (5, 4)
        np.testing.assert_allclose(lined_up[:4, 2], getattr(whole, component)[::-1, 0], rtol=1e-12)
        np.testing.assert_array_equal(lined_up[:, 0], getattr(padded, component)[9 - np.array(lags), 0])
        np.testing.assert_allclose(lined_up[0], np.log(2.0) if component == "h" else -np.inf)
        np.testing.assert_array_equal(np.isnan(lined_up), np.array(lags)[:, None] > LENGTHS)


def test_by_lag_of_one_sequence():
    np.testing.assert_array_equal(flow.by_lag(jnp.arange(6.0), 4, [0, 4, 5]), [4, 0, np.nan])


def test_norms_after_the_end_are_those_of_the_final_carry(lstm):
    cell, params, xs = lstm
    norms = gradient_norms(cell, params, xs, last_of, lengths=LENGTHS).per_example.h
    for example, length in enumerate(LENGTHS):
        np.testing.assert_allclose(norms[length:, example], np.log(2.0), rtol=1e-12)


def test_a_scalar_loss_has_the_gradients_of_the_sum(lstm):
    cell, params, xs = lstm
    each, total, mean = (
        gradient_norms(cell, params, xs, loss).per_example
        for loss in (
            lambda carry, ys: (ys**2).sum((0, 2)),
            lambda carry, ys: (ys**2).sum(),
            lambda carry, ys: (ys**2).sum((0, 2)).mean(),
        )
    )
    chex.assert_trees_all_close(each, total, rtol=1e-12)
    chex.assert_trees_all_close(each, jax.tree.map(lambda norm: norm + np.log(4), mean), rtol=1e-12)


def test_mean_is_the_mean_of_norms_not_of_logarithms():
    norms = jnp.log(jnp.array([[[1.0, 3.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    np.testing.assert_allclose(flow.log_mean(norms), [np.log(2.0), -np.inf], rtol=1e-6)


@pytest.mark.slow
def test_vmap_over_seeds_is_a_loop(lstm):
    cell, params, xs = lstm

    @jax.jit
    def instruments(params):
        return (
            flow.gradient_norms(cell, params, xs, last_of).per_example,
            flow.parameter_gradient_norms(cell, params, xs, last_of),
            flow.jacobian_norms(cell, params, xs, lags=[1, 5]).log_spectral,
        )

    seeds = [params, jax.tree.map(lambda leaf: 0.5 * leaf, params)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *seeds)
    want = jax.tree.map(lambda *leaves: np.stack(leaves), *(instruments(seed) for seed in seeds))
    chex.assert_trees_all_close(jax.vmap(instruments)(stacked), want, rtol=1e-10)


def test_summed_contributions_are_the_gradient_of_a_weight(lstm):
    """With a single step, a step's own contribution is the whole gradient."""
    cell, params, xs = lstm
    got = parameter_gradient_norms(cell, params, xs[:1], last_of)
    gradient = jax.jit(jax.grad(lambda params: rnnjax.unroll(cell, params, xs[:1])[0].h.sum()))(params)
    assert np.all(np.isneginf(got.w_h))  # the initial carry is zero
    for name in ("w_x", "b"):
        np.testing.assert_allclose(np.exp(getattr(got, name)), [np.linalg.norm(getattr(gradient, name))], rtol=1e-12)


@pytest.mark.slow
def test_lags_in_any_order(lstm):
    """Every row is that of its own lag, whatever the order, and a lag that is asked for twice."""
    cell, params, xs = lstm
    some = flow.jacobian_norms(cell, params, xs, lags=[3, 1, 3], singular_values=True)
    every = flow.jacobian_norms(cell, params, xs, singular_values=True)
    rows = np.array([3, 1, 3]) - 1
    chex.assert_trees_all_close(some, jax.tree.map(lambda leaf: leaf[rows], every), rtol=1e-10)
