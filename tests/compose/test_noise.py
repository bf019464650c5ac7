"""Dropout and the like: what is drawn, where it acts, and that evaluation has none of it."""

from operator import itemgetter

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import rnnjax
from rnnjax import (
    GRU,
    LSTM,
    Bidirectional,
    Dilated,
    Dropout,
    Elman,
    LayerNorm,
    LearnedCarry,
    RecurrentDropout,
    Residual,
    Stack,
    WeightDrop,
    Zoneout,
)
from tests.support import init, normal_like, slow_unless, unroll

TIME, BATCH, INPUTS, SIZE = 5, 3, 4, 6
KEY = jax.random.key(7)

RANDOM = {
    "dropout": Dropout(LSTM(SIZE), 0.3, 0.5),
    "variational dropout": Dropout(GRU(SIZE), 0.3, 0.5, variational=True),
    "recurrent dropout": RecurrentDropout(LSTM(SIZE), 0.4),
    "recurrent dropout, per step": RecurrentDropout(GRU(SIZE), 0.4, variational=False),
    "weight drop": WeightDrop(LSTM(SIZE), 0.5, ("w_x", "w_h")),
    "zoneout": Zoneout(LSTM(SIZE), (0.3, 0.6)),
    "all": Stack(
        (
            Dropout(WeightDrop(RecurrentDropout(LSTM(SIZE))), 0.2),
            Residual(Zoneout(Stack((Dropout(GRU(SIZE), 0.2), WeightDrop(Elman(SIZE)))))),
            LayerNorm(Dilated(Zoneout(GRU(SIZE), 0.3))),
            LearnedCarry(Dropout(Elman(SIZE), output_rate=0.1)),
        )
    ),
}


def draw(cell, dtype=jnp.float64):
    params = normal_like(init(cell, INPUTS, dtype), 0, 0.5)
    return params, normal_like(jax.ShapeDtypeStruct((TIME, BATCH, INPUTS), dtype), 1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", slow_unless(("zoneout",), RANDOM))
def test_training_is_a_loop_over_steps_with_their_noise(name):
    """All of the randomness is drawn before the loop: a loop over single steps with it is the same run."""
    cell = RANDOM[name]
    params, xs = draw(cell)
    got = jax.jit(lambda params, xs: unroll(cell, params, xs, key=KEY))(params, xs)
    params, noise = cell.perturb(KEY, params, (TIME, BATCH))
    carry, ys = cell.start(params, (BATCH,), jnp.float64), []
    for t, x in enumerate(xs):
        z = cell.project_with(params, x, jax.tree.map(itemgetter(t), noise))
        carry = cell.advance(params, carry, z)
        ys.append(cell.output(params, carry, z))
    chex.assert_trees_all_close(got, (carry, jnp.stack(ys)), rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", slow_unless(("zoneout",), RANDOM))
def test_training_on_an_explicit_mesh(name):
    """Masks lie where the inputs do, which is part of their type there, and are those of one device."""
    cell = RANDOM[name]
    params, xs = draw(cell)
    xs = jnp.concatenate([xs, -xs], axis=1)  # for two devices

    def gradients(params, xs):
        return jax.grad(lambda params: jnp.square(unroll(cell, params, xs, key=KEY)[1]).sum())(params)

    want = jax.jit(gradients)(params, xs)
    with jax.set_mesh(jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Explicit,))):
        placed = jax.device_put(params, PartitionSpec()), jax.device_put(xs, PartitionSpec(None, "batch"))
        got = jax.jit(gradients)(*placed)
    chex.assert_trees_all_close(jax.device_get(got), want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", slow_unless(("recurrent dropout",), RANDOM))
def test_keys(name):
    """No key is an error, the same key the same result, another key another one; evaluation needs none."""
    cell = RANDOM[name]
    params, xs = draw(cell, jnp.float32)
    with pytest.raises(ValueError, match=r"give key=\.\.\. to train, or deterministic=True to evaluate"):
        unroll(cell, params, xs)

    @jax.jit
    def train(key):
        return unroll(cell, params, xs, key=key)[1]

    np.testing.assert_array_equal(train(KEY), train(KEY))
    assert not np.allclose(train(KEY), train(jax.random.key(8)))
    evaluated = unroll(cell, params, xs, deterministic=True)[1]
    np.testing.assert_array_equal(evaluated, unroll(cell, params, xs, deterministic=True, key=KEY)[1])
    assert not np.allclose(train(KEY), evaluated)


@pytest.mark.slow
def test_a_cell_without_noise_needs_no_key():
    for cell in (LSTM(3), Stack((Dropout(LSTM(3)), Zoneout(GRU(3), 0.0), RecurrentDropout(GRU(3), 0.0)))):
        params = init(cell, INPUTS)
        assert not cell.is_random
        unroll(cell, params, jnp.zeros((2, INPUTS)))


# --- where the masks act, on cells whose outputs show them ------------------------------------------------------------


def masks(xs, cell, params, seed=0):
    """Outputs of a run in training, of many sequences."""
    return np.asarray(unroll(cell, params, xs, key=jax.random.key(seed))[1])


def copying(size):
    """A network without recurrence that gives out its input, and its parameters."""
    cell = Elman(size, activation="identity")
    return cell, rnnjax.ElmanParams(jnp.eye(size), jnp.zeros((size, size)), jnp.zeros(size))


@pytest.mark.parametrize("where", ["input_rate", "output_rate"])
@pytest.mark.parametrize("variational", [False, True])
def test_dropout_is_bernoulli_per_step_or_per_sequence(where, variational):
    cell, params = copying(32)
    rate, xs = 0.3, jnp.ones((20, 200, 32))
    ys = masks(xs, Dropout(cell, **{where: rate}, variational=variational), params)
    np.testing.assert_allclose(np.unique(ys), [0, 1 / (1 - rate)], rtol=1e-6)
    kept = ys > 0
    draws = kept[0] if variational else kept
    # Five standard deviations of the mean of as many draws.
    assert abs(draws.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / draws.size)
    assert variational == np.all(kept == kept[0])
    # Neither two sequences of a batch nor two units share their masks.
    for other in (np.roll(kept, 1, axis=1), np.roll(kept, 1, axis=2)):
        agree = np.mean((kept == other)[0] if variational else kept == other)
        assert abs(agree - (rate**2 + (1 - rate) ** 2)) < 0.03


def test_devices_do_not_share_masks():
    """Inside jax.shard_map one key serves all devices, and each part of the batch has masks of its own."""
    cell, params = copying(16)
    cell = Dropout(cell, output_rate=0.5)
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(
        lambda xs, key: rnnjax.unroll(cell, params, xs, key=key)[1],
        mesh=mesh,
        in_specs=(PartitionSpec(None, "batch"), PartitionSpec()),
        out_specs=PartitionSpec(None, "batch"),
    )
    ys = np.asarray(jax.jit(spread)(jnp.ones((5, 40, 16)), KEY))
    first, second = np.split(ys, 2, axis=1)
    assert abs(np.mean((first > 0) == (second > 0)) - 0.5) < 0.05


@pytest.mark.slow
def test_devices_share_the_weights_that_are_left():
    """Inside jax.shard_map a dropped weight is dropped on every device: outputs and gradients of one device."""
    cell = WeightDrop(LSTM(SIZE))
    params, xs = draw(cell, jnp.float32)
    xs = np.concatenate([xs, xs + 1], axis=1)

    def outcome(params, xs):
        def loss(params):
            ys = rnnjax.unroll(cell, params, xs, key=KEY)[1]
            return jnp.square(ys).sum(), ys

        gradient, ys = jax.grad(loss, has_aux=True)(params)
        return ys, gradient

    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    whole, second = PartitionSpec(), PartitionSpec(None, "batch")
    spread = jax.shard_map(outcome, mesh=mesh, in_specs=(whole, second), out_specs=(second, whole))
    got, want = jax.jit(spread)(params, xs), jax.jit(outcome)(params, xs)
    chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_whole_numbers_are_rates_and_rate_zero_draws_nothing():
    cell = Zoneout(Dropout(LSTM(SIZE), np.float32(0.5)), (0, 0.5))
    assert cell.rates == (0.0, 0.5)
    params, xs = draw(cell, jnp.float32)
    _, noise = cell.perturb(KEY, params, (TIME, BATCH))
    assert noise.own[0] is None
    assert noise.cell.own[1] is None
    chex.assert_tree_all_finite(unroll(cell, params, xs, key=KEY))


def test_dropout_keeps_what_goes_through_time():
    """An accumulator with its outputs dropped: the carry at the end is the whole sum."""
    size = 16
    cell = Dropout(Elman(size, activation="identity"), output_rate=0.5)
    params = rnnjax.ElmanParams(jnp.eye(size), jnp.eye(size), jnp.zeros(size))
    final, ys = unroll(cell, params, jnp.ones((9, 4, size)), key=KEY)
    np.testing.assert_allclose(final.h, 9.0)
    assert set(np.unique(ys[-1])) == {0.0, 18.0}


@pytest.mark.parametrize("variational", [False, True])
def test_recurrent_dropout_drops_what_the_weights_multiply(variational):
    """With h = [1, h_(t-1) dropped] shifted along a line of units, each step shows the mask of the step before."""
    size, rate = 24, 0.25
    cell = RecurrentDropout(Elman(size, activation="identity"), rate, variational=variational)
    params = rnnjax.ElmanParams(jnp.zeros((1, size)), jnp.eye(size), jnp.zeros(size))
    start = rnnjax.HiddenCarry(jnp.ones((500, size)))
    _, ys = unroll(cell, params, jnp.zeros((3, 500, 1)), start, key=KEY)
    scaled = np.asarray(ys) * (1 - rate) ** np.arange(1, 4)[:, None, None]  # products of the masks so far
    np.testing.assert_allclose(scaled, np.round(scaled), atol=1e-6)
    share = 1 - rate if variational else (1 - rate) ** 3
    assert abs(np.mean(scaled[2]) - share) < 0.02
    assert variational == np.array_equal(np.round(scaled[0]), np.round(scaled[2]))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "cell", [LSTM(SIZE), pytest.param(rnnjax.LSTM1997(SIZE, block_size=3), marks=pytest.mark.slow)]
)
def test_recurrent_dropout_has_a_mask_for_every_gate(cell):
    """Each gate's product sees a mask of its own, and no two of them are alike."""
    rate, batch = 0.25, 400
    dropped = RecurrentDropout(cell, rate)
    params = normal_like(init(cell, INPUTS, "float64"), 0)
    start = normal_like(cell.initial_carry((batch,), "float64"), 1)
    xs = np.random.RandomState(2).standard_normal((1, batch, INPUTS))
    got, _ = unroll(dropped, params, xs, start, key=KEY)

    kept = np.asarray(dropped.perturb(KEY, params, (1, batch))[1][0])
    sizes = cell.gate_sizes(params)
    assert kept.shape[1] == len(sizes)
    seen = np.asarray(cell.recurrent_input(start))[:, None] * kept / (1 - rate)
    ends = np.cumsum(sizes)
    zh = [seen[:, k] @ params.w_h[:, end - size : end] for k, (size, end) in enumerate(zip(sizes, ends, strict=True))]
    want = cell.pointwise(params, cell.project(params, xs[0]), np.concatenate(zh, 1), start)
    chex.assert_trees_all_close(got, want, rtol=1e-12, atol=1e-13)

    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    agree = np.mean(kept == np.roll(kept, 1, axis=1))
    assert abs(agree - (rate**2 + (1 - rate) ** 2)) < 0.03


def test_recurrent_dropout_leaves_the_additive_path_alone():
    """A GRU whose update gate is shut keeps its whole state, an LSTM whose forget gate is open its c."""
    gru = RecurrentDropout(GRU(8), 0.5)
    params = jax.tree.map(jnp.zeros_like, init(gru, 1))
    params = params._replace(b=params.b.at[8:16].set(50.0))
    start = rnnjax.HiddenCarry(jnp.arange(8.0))
    final, _ = unroll(gru, params, jnp.zeros((30, 1)), start, key=KEY)
    np.testing.assert_allclose(final.h, start.h, rtol=1e-6)

    lstm = RecurrentDropout(LSTM(8), 0.5)
    params = jax.tree.map(jnp.zeros_like, init(lstm, 1))
    params = params._replace(b=params.b.at[8:16].set(50.0))
    final, _ = unroll(lstm, params, jnp.zeros((30, 1)), rnnjax.LSTMCarry(start.h, start.h), key=KEY)
    np.testing.assert_allclose(final.c, start.h, rtol=1e-6)


def test_weight_drop_is_one_mask_for_all_steps_and_sequences():
    size, rate = 40, 0.4
    cell = WeightDrop(Elman(size, activation="identity"), rate, ("w_x",))
    params = rnnjax.ElmanParams(jnp.ones((size, size)), jnp.zeros((size, size)), jnp.zeros(size))
    xs = jnp.broadcast_to(jnp.eye(size)[None], (3, size, size))  # sequence k shows row k of the weights
    ys = masks(xs, cell, params)
    np.testing.assert_allclose(np.unique(ys), [0, 1 / (1 - rate)], rtol=1e-6)
    np.testing.assert_array_equal(ys, np.broadcast_to(ys[0], ys.shape))
    assert abs(np.mean(ys[0] > 0) - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / size**2)


def test_zoneout_keeps_or_takes_unit_by_unit_and_its_mean_is_the_evaluation():
    size, rate = 50, 0.3
    inner = Elman(size, activation="identity")
    cell = Zoneout(inner, rate)
    params = rnnjax.ElmanParams(jnp.ones((1, size)), jnp.zeros((size, size)), jnp.zeros(size))
    xs = jnp.arange(1.0, 5.0)[:, None, None] * jnp.ones((1, 400, 1))  # at step t every unit would become t
    ys = masks(xs, cell, params)
    # Each unit shows the last step that it was not kept at.
    shares = [np.mean(ys[3] == value) for value in range(5)]
    np.testing.assert_allclose(shares, [rate**4, *((1 - rate) * rate ** (4 - t) for t in range(1, 5))], atol=0.01)
    evaluated = unroll(cell, params, xs, deterministic=True)[1]
    np.testing.assert_allclose(ys.mean((1, 2)), np.mean(evaluated, (1, 2)), rtol=0.02)


def test_gradients_of_dropped_weights_are_zero():
    cell = WeightDrop(LSTM(SIZE), 0.5)
    params, xs = draw(cell, jnp.float32)
    gradient = jax.grad(lambda params: unroll(cell, params, xs, key=KEY)[1].sum())(params)
    dropped = cell.perturb(KEY, params, ())[0].w_h == 0
    np.testing.assert_array_equal(gradient.w_h == 0, dropped)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dropout(LSTM(2), 1.0), "input_rate must be a number of at least 0 and below 1, got 1.0"),
        (
            lambda: Dropout(LSTM(2), output_rate=-0.1),
            "output_rate must be a number of at least 0 and below 1, got",
        ),
        (lambda: Dropout(LSTM), "cell must be a cell, got <class .*LSTM'>: give it a size"),
        (lambda: RecurrentDropout(rnnjax.MGU(2)), "recurrent dropout needs a cell with one recurrent product"),
        (lambda: RecurrentDropout(WeightDrop(LSTM(2))), "WeightDrop is none: put it directly around the cell"),
        (lambda: Dropout(LSTM(2), False), "input_rate must be a number of at least 0 and below 1, got False"),
        (lambda: Zoneout(rnnjax.SLSTM(2)), "zoneout keeps units of the carry one by one, which those of SLSTM do not"),
        (lambda: Zoneout(Stack((LSTM(2), rnnjax.LRU(2)))), "one by one, which those of Stack do not bear"),
        (lambda: Zoneout(Dilated(LSTM(2))), "one by one, which those of Dilated do not bear"),
        (lambda: Zoneout(Bidirectional(LSTM(2))), "sees the whole sequence: it cannot be run step by step"),
        (lambda: Dilated(Stack((Bidirectional(LSTM(2)),))), "sees the whole sequence: it cannot be run step by step"),
        (lambda: Zoneout(LSTM(2), (0.1,)), "rate must be one number or 2, one a component, got"),
        (lambda: WeightDrop(LSTM(2), 0.5, ("w_q",)).init(KEY, 1), "LSTMParams has no 'w_q', only w_x, w_h, b"),
        (lambda: WeightDrop(LSTM(2), 0.5, "w_h"), "weights must be a tuple of names, got 'w_h'"),
        (lambda: WeightDrop(Stack((LSTM(2),))).init(KEY, 1), "has no 'w_h', being made of others: put it around the"),
        (lambda: Stack(()), r"layers must be a tuple of one cell or more, got \(\)"),
        (lambda: Stack(LSTM), "layers must be a tuple of one cell or more, got <class"),
        (
            lambda: Stack((rnnjax.ConvLSTM(2, (3, 3)), LSTM(2))),
            r"layers\[1\] is over space of shape \(\), but",
        ),
        (lambda: Bidirectional(LSTM(2), rnnjax.ConvLSTM(2, (3,))), r"backward is over space of shape \(3,\), but"),
        (lambda: Stack((LSTM(2), 3)), r"layers\[1\] must be a cell, got 3"),
        (lambda: Stack(LSTM(2)), "layers must be a tuple of one cell or more, got LSTM"),
        (lambda: Dilated(LSTM(2), 0), "dilation must be an integer of at least 1, got 0"),
        (lambda: Bidirectional(LSTM(2), 3), "backward must be a cell, got 3"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
