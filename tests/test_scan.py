"""Settings of `unroll` that change how a result is computed, and not the result; the battery has the rest."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from tests.support import init, normal_like, slow_unless

CELLS = {
    "lstm": rnnjax.LSTM(5),
    "gru-reset-before": rnnjax.GRUResetBefore(5),
    "lru": rnnjax.LRU(5),
    "stack": rnnjax.Stack((rnnjax.Bidirectional(rnnjax.GRU(4)), rnnjax.Dropout(rnnjax.Elman(5), 0.5))),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", slow_unless(("gru-reset-before",), CELLS))
def test_remat_changes_nothing(name):
    """Results and gradients, with dropout, gaps and borders, in segments that fit and that do not."""
    cell, random, reverse = CELLS[name], np.random.RandomState(0), name in ("lru", "stack")
    params, xs = normal_like(init(cell, 3, "float64"), 0, 0.5), random.randn(35, 2, 3)
    mask, resets = random.rand(35, 2) < 0.8, random.rand(35, 2) < 0.2

    @partial(jax.jit, static_argnums=0)
    def outcome(remat, params, xs):
        def loss(params, xs):
            key = jax.random.key(0)
            carry, ys = rnnjax.unroll(cell, params, xs, mask=mask, resets=resets, reverse=reverse, key=key, remat=remat)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((carry, ys))), (carry, ys)

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, xs)

    for remat in (7, "sqrt", 50):
        chex.assert_trees_all_close(outcome(remat, params, xs), outcome(None, params, xs), rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kernel", slow_unless(("scan",), ("scan", "blocked")))
def test_remat_has_forward_mode(kernel):
    """In segments that do not fit: the derivative along a direction, by `jax.jvp`, is that of the whole."""
    cell = rnnjax.Elman(4)
    point = normal_like(init(cell, 3, "float64"), 0, 0.5), np.random.RandomState(0).randn(11, 2, 3)

    def along(remat):
        def outcome(*point):
            return rnnjax.unroll(cell, *point, kernel=kernel, remat=remat)

        return jax.jit(lambda *direction: jax.jvp(outcome, point, direction))(*normal_like(point, 1))

    chex.assert_trees_all_close(along(4), along(None), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kernel", slow_unless(("auto",), ("auto", "scan")))
def test_memory_grows_with_the_root_of_time(kernel):
    """What the backward pass keeps beside inputs, outputs and their gradients."""
    cell = rnnjax.LSTM(64)
    params = init(cell, 1)

    def kept(time, remat):
        def loss(params, xs):
            return jnp.mean(rnnjax.unroll(cell, params, xs, remat=remat, kernel=kernel)[0].h)

        xs = jax.ShapeDtypeStruct((time, 8, 1), jnp.float32)
        return jax.jit(jax.grad(loss)).lower(params, xs).compile().memory_analysis().temp_size_in_bytes

    short, long = kept(400, "sqrt"), kept(6400, "sqrt")
    outputs = 6000 * 8 * 64 * 4
    assert long < 5 * short + 2 * outputs  # the root of 16 is 4
    assert long < kept(6400, None) / 4


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["blocked", "scan"])
@pytest.mark.parametrize("cell", [rnnjax.LSTM(5), rnnjax.GRU(5)])
def test_gradient_by_perturbations_is_that_by_the_carry(cell, kernel):
    """At every step, as by the backward pass that flow has for itself; and other gradients stay what they are."""
    lengths, time = np.array([19, 0, 7]), 19
    params, xs = normal_like(init(cell, 3, "float64"), 0, 0.5), np.random.RandomState(0).randn(time, 3, 3)

    def loss(carry, ys):
        return jnp.sum(jnp.sin(ys), (0, 2)) + sum(jnp.sum(leaf**2, -1) for leaf in carry)

    def whole(params, perturbations, remat=None):
        options = {"lengths": lengths, "kernel": kernel, "remat": remat, "perturbations": perturbations}
        return loss(*rnnjax.unroll(cell, params, xs, **options)).sum()

    zeros = jax.tree.map(lambda leaf: jnp.zeros((time, 3, *leaf.shape)), cell.initial_carry())
    got = jax.jit(jax.grad(whole, argnums=(0, 1)))(params, zeros)
    norms = rnnjax.flow.gradient_norms(cell, params, xs, loss, lengths=lengths).per_example
    real = np.arange(time)[:, None] < lengths
    for gradient, expected in zip(got[1], norms, strict=True):
        np.testing.assert_allclose(jnp.linalg.norm(gradient, axis=-1), real * np.exp(expected[1:]), rtol=1e-10)
    chex.assert_trees_all_close(got[0], jax.grad(whole)(params, None), rtol=1e-11)
    chex.assert_trees_all_close(got, jax.grad(whole, argnums=(0, 1))(params, zeros, 4), rtol=1e-11)

    # They are added, not only differentiated by.
    direction = normal_like(zeros, 3)
    shifted = [whole(params, jax.tree.map(lambda leaf, sign=sign: 1e-5 * sign * leaf, direction)) for sign in (1, -1)]
    slope = sum(jnp.vdot(*leaves) for leaves in zip(got[1], direction, strict=True))
    np.testing.assert_allclose((shifted[0] - shifted[1]) / 2e-5, slope, rtol=1e-7)


def test_perturbations_that_cannot_be():
    lstm, stack, lru = rnnjax.LSTM(4), rnnjax.Stack((rnnjax.LSTM(4),)), rnnjax.LRU(4)
    xs, zeros = np.zeros((5, 3), np.float32), np.zeros((5, 4), np.float32)
    with pytest.raises(ValueError, match=r"must have the shapes LSTMCarry\(h=\(5, 4\), c=\(5, 4\)\), got LSTMCarry\(h"):
        rnnjax.unroll(lstm, init(lstm, 3), xs, perturbations=rnnjax.LSTMCarry(zeros[1:], zeros))
    with pytest.raises(ValueError, match="perturbations are for one cell over time, and Stack is made of others"):
        rnnjax.unroll(stack, init(stack, 3), xs, perturbations=(rnnjax.LSTMCarry(zeros, zeros),))
    perturbations = jax.tree.map(lambda leaf: np.zeros((5, *leaf.shape), np.float32), lru.initial_carry())
    with pytest.raises(ValueError, match="perturbations need the steps one by one"):
        rnnjax.unroll(lru, init(lru, 3), xs, perturbations=perturbations, kernel="parallel")


@pytest.mark.parametrize("remat", [0, -1, 2.5, "squrt"])
def test_bad_remat(remat):
    cell = rnnjax.LSTM(4)
    with pytest.raises(
        (TypeError, ValueError), match=r'^remat, if not None or "sqrt", must be an integer of at least 1, got'
    ):
        rnnjax.unroll(cell, init(cell, 3), np.zeros((5, 3), np.float32), remat=remat)
