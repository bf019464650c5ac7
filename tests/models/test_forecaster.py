"""Forecasters: convolutions and readouts against loops, forecasts that see no later step, and learning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rnnjax.models import (
    FORECASTERS,
    CausalConvolution,
    Convolution,
    LeastSquares,
    forecast,
    full_name,
    make_forecaster,
    naive,
    split,
)
from rnnjax.tasks.forecasting import generate_waves
from rnnjax.train import example_loss, make_optimizer, make_steps, start
from tests.support import slow_unless

NAMES = ("deep:gru", "units", "batch-norm", "conv:rnn", "conv-pool", "wavenet")
XS = np.random.RandomState(0).standard_normal((13, 3, 2)).astype(np.float32)


def make(name, **options):
    """A small network whose every parameter is drawn at random."""
    model = make_forecaster(name, 2, 3, **{"hidden_size": 4, "layers": 1} | options, rngs=nnx.Rngs(0))
    params, state, build = split(model)
    random = np.random.RandomState(1)
    params = jax.tree.map(lambda leaf: (0.4 * random.standard_normal(leaf.shape)).astype(np.float32), params)
    model = build(params, state)
    model.eval()
    return model


def size(name, horizon, layers):
    """Parameters of a forecaster of one variable, without drawing them."""
    model = nnx.eval_shape(lambda: make_forecaster(name, 1, horizon, layers=layers, rngs=nnx.Rngs(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize(("time", "pool"), [(13, False), (12, False), (13, True), (12, True)])
def test_convolution_is_its_loop(time, pool):
    """No padding, and the last output sees the last step, whatever the length."""
    layer = Convolution(2, 5, kernel_size=4, stride=2, pool=pool, rngs=nnx.Rngs(0))
    kernel = np.asarray(layer.convolution.kernel[...])
    bias = np.random.RandomState(2).standard_normal(5).astype(np.float32)
    layer.convolution.bias[...] = bias
    xs = XS[:time]

    def at(t):
        return sum(xs[t - 3 + i] @ kernel[i] for i in range(4)) + bias

    places = layer.places(time)
    want = [np.maximum(at(t - 1), at(t)) if pool else at(t) for t in places]
    np.testing.assert_allclose(layer(jnp.asarray(xs)), want, rtol=1e-4, atol=1e-5)
    assert places[-1] == time - 1
    assert set(np.diff(places)) == {2}
    assert places[0] - layer.reach + 1 in (0, 1)


def test_convolution_needs_its_reach():
    layer = Convolution(2, 5, kernel_size=4, stride=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="xs has 3 steps, but the convolution takes 4"):
        layer.places(3)


def test_causal_convolution_is_its_loop():
    layer = CausalConvolution(2, 5, dilation=4, rngs=nnx.Rngs(0))
    w = np.asarray(layer.linear.kernel[...])
    want = [np.maximum(0, (XS[t - 4] if t >= 4 else 0 * XS[t]) @ w[:2] + XS[t] @ w[2:]) for t in range(13)]
    np.testing.assert_allclose(layer(jnp.asarray(XS)), want, rtol=1e-5, atol=1e-6)


def test_wavenet_is_that_of_the_book():
    """Eight convolutions of 20 filters over 2 steps with dilations 1, 2, 4, 8, and one of 10 over 1: Keras counts
    60 + 7 * 820 + 210 parameters. It sees 31 steps.
    """
    assert size("wavenet", 10, 2) == 60 + 7 * 820 + 210
    model = make_forecaster("wavenet", 1, 10, rngs=nnx.Rngs(0))
    waves = jnp.asarray(generate_waves(np.random.RandomState(0), 1, 50)[0][:, None])
    gradient = jax.jit(jax.grad(lambda xs: model(xs)[-1].sum()))(waves)
    assert np.flatnonzero(np.asarray(gradient)).min() == 50 - 31


# Keras's counts of the book's networks; batch normalisation has 2 trained parameters a unit.
COUNTS = {
    ("units", 1, 1): 3,
    ("units", 3, 1): 440 + 820 + 22,
    ("deep", 2, 1): 440 + 820 + 21,
    ("deep", 2, 10): 440 + 820 + 210,
    ("batch-norm", 2, 10): 440 + 820 + 210 + 2 * 40,
    ("deep:lstm", 2, 10): 4 * (440 + 820) + 210,
    ("conv", 2, 10): 100 + 2 * (3 * 820 + 20) + 210,
}


@pytest.mark.parametrize(("name", "layers", "horizon"), COUNTS)
def test_parameters_are_those_of_the_book(name, layers, horizon):
    """The GRU's recurrent bias is that of the candidate alone, where Keras's is of all three."""
    assert size(name, horizon, layers) == COUNTS[name, layers, horizon]


@pytest.mark.parametrize("name", slow_unless(("conv:rnn",), NAMES))
def test_forecasts_see_no_later_step(name):
    """Garbage from step 9 on leaves the forecasts at the steps before it as they are, and changes that at the last."""
    model = make(name)
    run = jax.jit(lambda xs: model(xs))
    before = np.flatnonzero(model.places(13) < 9)
    got, want = (np.asarray(run(jnp.asarray(xs))) for xs in (np.concatenate([XS[:9], 0 * XS[9:] + np.nan]), XS))
    assert want.shape == (len(model.places(13)), 3, 3, 2)
    assert len(before) >= 3
    np.testing.assert_array_equal(got[before], want[before])
    assert np.isnan(got[-1]).all()


@pytest.mark.parametrize("name", slow_unless(("conv:rnn",), ("deep:gru", "conv:rnn", "conv-pool")))
def test_errors_are_of_what_comes_next(name):
    """Against a loop over places, steps ahead and outputs; and of the last place alone in a vector forecaster."""
    model = make(name, outputs=1)
    stretches = np.moveaxis(XS, 1, 0)
    window = 10
    ys = np.asarray(model(jnp.asarray(XS[:window])))
    errors = [
        [np.square(ys[row, example, k, 0] - XS[place + 1 + k, example, 0]) for k in range(3)]
        for row, place in enumerate(model.places(window))
        for example in range(3)
    ]
    want = np.mean(np.reshape(errors, (-1, 3, 3)), axis=(0, 2))
    np.testing.assert_allclose(model.errors(jnp.asarray(stretches), window), want, rtol=1e-5)
    model.every_step = False
    assert list(model.places(window)) == [window - 1]
    want = np.reshape(errors, (-1, 3, 3))[-1].mean(1)
    np.testing.assert_allclose(model.errors(jnp.asarray(stretches), window), want, rtol=1e-5)


def test_iterated_forecast_reads_its_own():
    """A horizon of 3 read twice and cut at 5, against the loop of the book: a window that moves on."""
    model = make("deep")
    window, made = XS, []
    for _ in range(2):
        ys = np.asarray(model(jnp.asarray(window)))[-1]
        made.append(ys)
        window = np.concatenate([window[3:], np.swapaxes(ys, 0, 1)])
    want = np.concatenate(made, 1)[:, :5]
    np.testing.assert_allclose(jax.jit(lambda xs: forecast(model, xs, 5))(jnp.asarray(XS)), want, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="has to forecast all 2 variables, and forecasts 1"):
        forecast(make("deep", outputs=1), jnp.asarray(XS), 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_overfits_one_batch(name):
    """Four waves, to a tenth of the error of the naive forecast; batch normalisation as in training."""
    model = make_forecaster(name, 1, 2, hidden_size=12, layers=1, every_step=name != "units", rngs=nnx.Rngs(0))
    params, state, build = split(model)
    optimizer = make_optimizer("adam", 0.01)
    steps = make_steps(example_loss(build, lambda model, batch, key: (model.errors(batch, 20).mean(), 4)), optimizer)
    waves = jnp.asarray(generate_waves(np.random.RandomState(0), 4, 22))
    items = jnp.broadcast_to(jnp.arange(4), (300, 4))
    trained = steps(start(params, optimizer, jax.random.key(0), state), waves, items, 0, 300)
    learned = build(trained.params, trained.carry)
    learned.train()
    error = learned.errors(waves, 20).mean()
    assert error < 0.1 * np.square(naive(np.asarray(waves[:, :20]), 2, 1) - np.asarray(waves[:, 20:])).mean()


def test_least_squares_finds_a_linear_rule():
    random = np.random.RandomState(0)
    inputs = random.standard_normal((50, 4, 2))
    w = random.standard_normal((8, 6))
    targets = (inputs.reshape(50, 8) @ w + 3).reshape(50, 2, 3)
    fitted = LeastSquares.fit(inputs, targets)
    np.testing.assert_allclose(fitted.w, np.concatenate([w, np.full((1, 6), 3.0)]), atol=1e-10)
    np.testing.assert_allclose(fitted(inputs), targets)


def test_names():
    assert [full_name(name) for name in ("conv", "deep:lstm", "wavenet")] == ["conv:gru", "deep:lstm", "wavenet"]
    assert {full_name(name).partition(":")[0] for name in NAMES} == set(FORECASTERS)
    with pytest.raises(ValueError, match="unknown forecaster 'wavent': did you mean 'wavenet'"):
        full_name("wavent")
    with pytest.raises(ValueError, match="unknown cell 'ltsm': did you mean 'lstm'"):
        make_forecaster("deep:ltsm", 1, 1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="wavenet has no cells: leave out :gru"):
        full_name("wavenet:gru")
    with pytest.raises(ValueError, match="outputs must be at most 1, the variables of the inputs, got 2"):
        make_forecaster("deep", 1, 1, outputs=2, rngs=nnx.Rngs(0))
