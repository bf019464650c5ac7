"""ConvLSTM against flax's, in 1, 2 and 3 dimensions, and against the LSTM that it is at a single position."""

import chex
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import ConvLSTM, Residual, SpatialBroadcast, Stack, flow
from tests.support import init, normal_like, relative_error, unroll

TIME, BATCH, INPUTS, HIDDEN = 4, 2, 3, 2


def draw(cell, dtype="float64"):
    params = normal_like(init(cell, INPUTS, dtype), 0, 0.3)
    return params, normal_like(jax.ShapeDtypeStruct((TIME, BATCH, *cell.feature_shape(INPUTS)), dtype), 1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("space", "kernel"),
    [
        pytest.param((6,), 3, marks=pytest.mark.slow),
        pytest.param((4, 5), 3, marks=pytest.mark.slow),
        pytest.param((4, 5), (1, 4), marks=pytest.mark.slow),
        pytest.param((3, 2, 4), (3, 1, 2), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_flax(space, kernel):
    """Outputs and all gradients, with every bias at random; flax has its gates as i, g, f, o, and adds 1 to f."""
    cell = ConvLSTM(HIDDEN, space, kernel)
    params, xs = draw(cell)
    other = flax.linen.ConvLSTMCell(HIDDEN, cell.kernel_size, param_dtype=jnp.float64)

    def reorder(gates):
        i, f, g, o = jnp.split(gates, 4, -1)
        return jnp.concatenate([i, g, f, o], -1)

    def theirs(params, xs):
        ones = jnp.zeros(4 * HIDDEN).at[2 * HIDDEN : 3 * HIDDEN].set(1)
        variables = {
            "params": {
                "ih": {"kernel": reorder(params.w_x), "bias": reorder(params.b) - ones},
                "hh": {"kernel": reorder(params.w_h), "bias": jnp.zeros(4 * HIDDEN)},
            }
        }
        carry, ys = (jnp.zeros((BATCH, *space, HIDDEN)),) * 2, []
        for x in xs:
            carry, y = other.apply(variables, carry, x)
            ys.append(y)
        return jnp.stack(ys)

    outcomes = []
    for run in (theirs, lambda params, xs: unroll(cell, params, xs)[1]):
        outcomes.append(
            jax.value_and_grad(lambda *point, run=run: jnp.sin(run(*point)).sum(), argnums=(0, 1))(params, xs)
        )
    assert relative_error(outcomes[1], outcomes[0]) < 1e-13
    assert relative_error(unroll(cell, params, xs)[1], theirs(params, xs)) < 1e-13


@pytest.mark.usefixtures("x64")
def test_at_one_position_it_is_an_lstm():
    cell = SpatialBroadcast(ConvLSTM(HIDDEN, (1, 1), 1))
    params = normal_like(init(cell, INPUTS, "float64"), 0)
    xs = normal_like(jax.ShapeDtypeStruct((TIME, BATCH, INPUTS), "float64"), 1)
    lstm = rnnjax.LSTMParams(params.w_x[0, 0], params.w_h[0, 0], params.b)
    _, ys = unroll(cell, params, xs)
    np.testing.assert_allclose(ys, unroll(rnnjax.LSTM(HIDDEN), lstm, xs)[1], rtol=1e-13)
    assert vars(cell.cell)["hidden_size"] == HIDDEN


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_images_go_through_everything():
    """Stacks, lengths with NaN behind them, batch-major, single steps and gradient flow, with space in between."""
    cell = Stack((ConvLSTM(HIDDEN, (4, 3)), Residual(ConvLSTM(HIDDEN, (4, 3)))))
    params, xs = draw(cell)
    lengths = np.array([2, 4])
    padding = np.arange(TIME)[:, None] >= lengths
    final, ys = unroll(cell, params, np.where(padding[..., None, None, None], np.nan, xs), lengths=lengths)
    chex.assert_tree_all_finite((final, ys))
    assert not np.any(ys[padding])
    carry = cell.initial_carry((), jnp.float64)
    for t in range(2):
        carry, y = cell.step(params, carry, xs[t, 0])
        np.testing.assert_allclose(ys[t, 0], y, rtol=1e-13)
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[0], final), carry, rtol=1e-13)
    _, swapped = unroll(cell, params, xs.swapaxes(0, 1), lengths=lengths, batch_major=True)
    np.testing.assert_array_equal(swapped.swapaxes(0, 1), ys)

    single, xs = cell.layers[0], xs[:, :1]
    own = params.layers[0]
    norms = flow.gradient_norms(single, own, xs, lambda carry, ys: carry.c.sum())
    start = single.initial_carry((1,), jnp.float64)
    gradient = jax.grad(lambda carry: unroll(single, own, xs, carry)[0].c.sum())(start)
    np.testing.assert_allclose(np.exp(norms.per_example.c[0, 0]), np.linalg.norm(gradient.c), rtol=1e-12)
    jacobian = jax.jacobian(lambda carry: unroll(single, own, xs, carry)[0].c)(start).c.reshape(24, 24)
    log_norm = flow.jacobian_norms(single, own, xs, lags=[TIME], of="c").log_frobenius[0, 0]
    whole = jax.jacobian(lambda carry: unroll(single, own, xs, carry)[0].c)(start).h.reshape(24, 24)
    np.testing.assert_allclose(np.exp(log_norm), np.hypot(*map(np.linalg.norm, (jacobian, whole))), rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spatial_shape": (2, 2, 2, 2)}, "spatial_shape must be a tuple of 1 to 3 sizes"),
        ({"spatial_shape": 5}, "spatial_shape must be a tuple of 1 to 3 sizes, got 5"),
        ({"spatial_shape": (5, 0)}, "spatial_shape must be an integer of at least 1, got 0"),
        ({"spatial_shape": (5,), "kernel_size": (3, 3)}, "kernel_size must be one number, or one for each of 1 axes"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        ConvLSTM(2, **settings)


def test_other_features_are_named():
    cell = ConvLSTM(2, (4, 3))
    with pytest.raises(ValueError, match=r"xs has features of shape \(4, 3, 2\), but params were .* for \(4, 3, 3\)"):
        unroll(cell, init(cell, 3), jnp.zeros((5, 1, 4, 3, 2)))
