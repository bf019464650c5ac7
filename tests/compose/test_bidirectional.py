"""Both directions at once, against one direction after the other over the real part of each sequence."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from rnnjax import GRU, LSTM, Bidirectional, Dropout, LearnedCarry, Residual, Stack
from rnnjax.models import RecurrentCell
from tests.support import init, normal_like, slow_unless, unroll

TIME, BATCH, INPUTS = 6, 4, 3
LENGTHS = np.array([0, 1, 4, 6])


def draw(cell, seed=0):
    params = normal_like(init(cell, INPUTS, "float64"), seed, 0.5)
    xs = normal_like(jax.ShapeDtypeStruct((TIME, BATCH, INPUTS), jnp.float64), seed + 1)
    return params, xs


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("merge", slow_unless(("concat",), ("concat", "sum")))
def test_each_direction_sees_the_real_part_of_each_sequence(merge):
    """Against the same cell on the reversed real steps alone, one sequence after the other; padding is NaN."""
    cell = Bidirectional(LSTM(5), merge=merge)
    params, xs = draw(cell)
    padding = np.arange(TIME)[:, None] >= LENGTHS
    (ahead, back), ys = unroll(cell, params, np.where(padding[..., None], np.nan, xs), lengths=LENGTHS)
    assert not np.any(ys[padding])
    for example, length in enumerate(LENGTHS):
        if length == 0:
            assert not np.any(jax.tree.leaves(jax.tree.map(lambda leaf: leaf[0], (ahead, back))))
            continue
        real = xs[:length, example]
        forward, first = unroll(cell.forward, params.forward, real)
        backward, second = unroll(cell.forward, params.backward, real[::-1])
        want = np.concatenate([first, second[::-1]], -1) if merge == "concat" else first + second[::-1]
        chex.assert_trees_all_close(ys[:length, example], want, rtol=1e-13, atol=1e-13)
        finals = jax.tree.map(lambda leaf, example=example: leaf[example], (ahead, back))
        chex.assert_trees_all_close(finals, (forward, backward), rtol=1e-13, atol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_masked_steps_are_as_if_they_were_not_there():
    """Gaps anywhere, in both directions, and gradients without a trace of what is in them."""
    cell = Stack((Bidirectional(GRU(4)), Bidirectional(LSTM(3), GRU(2))))
    params, xs = draw(cell)
    mask = np.array([1, 0, 1, 1, 0, 1], bool)
    flags = np.broadcast_to(mask[:, None], (TIME, BATCH))

    @jax.jit
    def outcome(xs):
        def loss(params, xs):
            final, ys = unroll(cell, params, xs, mask=flags)
            return jnp.square(ys).sum(), (final, ys)

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, xs)

    (_, (final, ys)), (g_params, g_xs) = outcome(np.where(flags[..., None], xs, np.nan))
    want = unroll(cell, params, xs[mask])
    chex.assert_trees_all_close((final, ys[mask]), want, rtol=1e-13, atol=1e-13)
    chex.assert_tree_all_finite((g_params, g_xs))
    assert not np.any(g_xs[~mask])
    assert not np.any(ys[~mask])


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_reversed_it_is_itself_on_the_reversed_sequence():
    cell = Bidirectional(LSTM(4), GRU(2))
    params, xs = draw(cell)
    final, ys = unroll(cell, params, xs, reverse=True)
    other, reversed_ys = unroll(cell, params, xs[::-1])
    chex.assert_trees_all_close((final, ys), (other, reversed_ys[::-1]), rtol=1e-13, atol=1e-13)


@pytest.mark.slow
def test_noise_and_learned_carry_go_to_both_directions():
    cell = Bidirectional(Dropout(LSTM(64), output_rate=0.5), LearnedCarry(LSTM(64)))
    params = init(cell, INPUTS)
    ones = jax.tree.map(jnp.ones_like, params.backward.carry)
    params = params._replace(backward=params.backward._replace(carry=ones))
    _, ys = unroll(cell, params, jnp.ones((2, 8, INPUTS)), key=jax.random.key(0))
    forward, backward = np.split(ys, 2, -1)
    assert 0.4 < np.mean(forward == 0) < 0.6
    assert np.all(backward != 0)
    want = unroll(LSTM(64), params.backward.cell, jnp.ones((2, 8, INPUTS)), ones_of(params, 8), reverse=True)[1]
    np.testing.assert_allclose(backward, want, rtol=1e-5)


def ones_of(params, batch):
    return jax.tree.map(lambda leaf: jnp.ones((batch, *leaf.shape)), params.backward.carry)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bidirectional(LSTM), "forward must be a cell"),
        (lambda: Bidirectional(LSTM(2), merge="product"), "merge must be one of concat, sum, got 'product'"),
        (lambda: Bidirectional(LSTM(2), LSTM(3), merge="sum"), "got 2 forward and 3 backward"),
        (lambda: RecurrentCell(Bidirectional(LSTM(2)), 3, rngs=nnx.Rngs(0)), "cannot be run step by step"),
        (lambda: Residual(Bidirectional(LSTM(2))).init(jax.random.key(0), 3), "size of its outputs, 4, got 3"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises((TypeError, ValueError)) as error:
        make()
    assert message in str(error.value)


@pytest.mark.slow
def test_there_is_no_single_step():
    cell = Bidirectional(LSTM(2))
    params = init(cell, INPUTS)
    for call in (
        lambda: cell.step(params, cell.initial_carry((1,)), jnp.zeros((1, INPUTS))),
        lambda: rnnjax.flow.gradient_norms(cell, params, jnp.zeros((2, 1, INPUTS)), lambda carry, ys: ys.sum()),
    ):
        with pytest.raises(ValueError, match="sees the whole sequence"):
            call()
