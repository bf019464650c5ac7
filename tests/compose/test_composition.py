"""Compositions against closed forms, and the ways that unroll runs them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import GRU, LRU, LSTM, Dilated, LayerNorm, LearnedCarry, MinGRU, Residual, Stack, flow
from tests.support import init, normal_like, unroll

TIME, BATCH, INPUTS = 12, 3, 4


def draw(cell, seed=0):
    params = normal_like(init(cell, INPUTS, "float64"), seed, 0.5)
    return params, normal_like(jax.ShapeDtypeStruct((TIME, BATCH, INPUTS), jnp.float64), seed + 1)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_dilated_is_interleaved_sequences():
    cell = Dilated(LSTM(5), 3)
    params, xs = draw(cell)
    _, ys = unroll(cell, params, xs)
    for phase in range(3):
        _, own = unroll(cell.cell, params, xs[phase::3])
        np.testing.assert_allclose(ys[phase::3], own, rtol=1e-13, atol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_dilation_stretches_the_lag_that_gradients_reach():
    """An error halves every step of the recurrence: with dilation 4, every four steps of time."""
    cell = rnnjax.Elman(1, activation="identity")
    params = rnnjax.ElmanParams(jnp.ones((1, 1)), jnp.full((1, 1), 0.5), jnp.zeros(1))
    for dilation in (1, 4):
        wide = Dilated(cell, dilation)
        norms = flow.gradient_norms(wide, params, jnp.zeros((8 * dilation, 1)), lambda carry, ys: ys[-1].sum())
        np.testing.assert_allclose(np.exp(norms.per_example.past.h[0]), 0.5**8, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_layer_norm_has_gain_and_bias_for_its_statistics():
    cell = LayerNorm(LSTM(50))
    params, xs = draw(cell)
    _, ys = unroll(cell, params._replace(gain=3 * jnp.ones(50), b=jnp.full(50, 2.0)), 10 * xs)
    np.testing.assert_allclose(ys.mean(-1), 2.0, rtol=1e-6)
    np.testing.assert_allclose(ys.std(-1), 3.0, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_learned_carry_is_learned():
    """Its gradient is that of a carry given by hand, summed over the batch; one after each reset counts too."""
    cell = LearnedCarry(Stack((GRU(4), LSTM(3))))
    params, xs = draw(cell)
    resets = np.zeros((TIME, BATCH), bool)
    resets[5, 1] = True

    def loss(ys):
        return jnp.square(ys).sum()

    learned = jax.grad(lambda params: loss(unroll(cell, params, xs, resets=resets)[1]))(params).carry

    pieces = [xs[:, 0], xs[:5, 1], xs[5:, 1], xs[:, 2]]

    def by_hand(carry):
        return sum(loss(unroll(cell.cell, params.cell, piece, carry)[1]) for piece in pieces)

    want = jax.grad(by_hand)(params.carry)
    chex.assert_trees_all_close(learned, want, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_a_stack_of_linear_recurrences_runs_in_parallel():
    cell = Stack((LRU(5), Residual(MinGRU(5)), LayerNorm(LRU(3)), LearnedCarry(MinGRU(4))))
    params, xs = draw(cell)
    got, want = (unroll(cell, params, xs, kernel=kernel) for kernel in ("parallel", "scan"))
    chex.assert_trees_all_close(got, want, rtol=1e-11, atol=1e-12)
    with pytest.raises(ValueError, match='kernel "parallel" needs a linear recurrence, and GRU is none: use "scan"'):
        unroll(Stack((LRU(5), GRU(2))), init(Stack((LRU(5), GRU(2))), INPUTS), xs, kernel="parallel")


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("batch", [(BATCH,), *(pytest.param(batch, marks=pytest.mark.slow) for batch in [(), (2, 2)])])
def test_batch_major_is_a_matter_of_axes(batch):
    cell = Stack((LSTM(5), GRU(4)))
    params, _ = draw(cell)
    xs = normal_like(jax.ShapeDtypeStruct((TIME, *batch, INPUTS), jnp.float64), 3)
    random = np.random.RandomState(0)
    mask, resets = random.rand(TIME, *batch) < 0.8, random.rand(TIME, *batch) < 0.2
    lengths = random.randint(0, TIME + 1, batch)
    final, ys = unroll(cell, params, xs, lengths=lengths, mask=mask, resets=resets)
    axis = len(batch)
    mine = (np.moveaxis(leaf, 0, axis) for leaf in (xs, mask, resets))
    xs, mask, resets = mine
    got = unroll(cell, params, xs, lengths=lengths, mask=mask, resets=resets, batch_major=True)
    chex.assert_trees_all_equal(got, (final, jnp.moveaxis(ys, 0, axis)))


def test_batch_major_costs_two_transposes_a_stack():
    cell = Stack((LSTM(5), LSTM(5), LSTM(5)))
    params, xs = init(cell, INPUTS), jnp.zeros((BATCH, TIME, INPUTS))
    program = str(jax.make_jaxpr(lambda xs: rnnjax.unroll(cell, params, xs, batch_major=True))(xs))
    assert program.count("transpose[permutation=(1, 0, 2)]") == program.count("transpose[") == 2
    with pytest.raises(ValueError, match=r"mask has shape \(3,\), but time and batch of xs have shape \(3, 12\)"):
        rnnjax.unroll(cell, params, xs, mask=np.ones(BATCH, bool), batch_major=True)


def test_layers_of_a_stack_have_their_inputs_multiplied_at_once():
    """One matrix product a layer outside of the loop, and one a step inside."""
    cell = Stack((LSTM(5), LSTM(5)))
    params = init(cell, INPUTS)
    program = str(jax.make_jaxpr(lambda xs: unroll(cell, params, xs))(jnp.zeros((TIME, BATCH, INPUTS))))
    assert program.count("dot_general") == 4
    assert program.count(f"f32[{TIME},{BATCH},20] = dot_general") == 2
