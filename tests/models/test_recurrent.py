"""Cells as flax.nnx modules, under the transformations of flax."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import rnnjax
from rnnjax import GRU, LSTM, Bidirectional, Dropout, Elman, LearnedCarry, Stack, Zoneout
from rnnjax.initializers import Uniform
from rnnjax.models import BatchNormStack, Recurrent, RecurrentCell
from tests.support import normal_like, relative_error, unroll

TIME, BATCH, INPUTS = 6, 4, 3
LENGTHS = np.array([1, 6, 3, 0])
DRAWN = {"input_init": Uniform(), "recurrent_init": Uniform()}  # an orthogonal matrix takes a second to compile
DEEP = Stack((Bidirectional(Elman(5, **DRAWN)), GRU(4, **DRAWN)))
NOISY = Stack((Dropout(Elman(5, **DRAWN), 0.2, 0.5), Zoneout(GRU(4, **DRAWN))))


def _is_variable(node):
    return isinstance(node, nnx.Variable)


@pytest.fixture
def xs():
    return normal_like(jax.ShapeDtypeStruct((TIME, BATCH, INPUTS), jnp.float32), 0)


def test_it_is_unroll(xs):
    layer = Recurrent(DEEP, INPUTS, rngs=nnx.Rngs(0))
    params = DEEP.init(nnx.Rngs(0).params(), INPUTS)
    mask = np.random.RandomState(0).rand(TIME, BATCH) < 0.8
    want = unroll(DEEP, params, xs, lengths=LENGTHS, mask=mask)
    run = nnx.jit(lambda layer, xs, mask: layer(xs, lengths=LENGTHS, mask=mask))
    chex.assert_trees_all_close(run(layer, xs, mask), want, rtol=1e-5, atol=1e-6)
    swapped = Recurrent(DEEP, INPUTS, batch_major=True, rngs=nnx.Rngs(0))
    final, ys = run(swapped, xs.swapaxes(0, 1), mask.T)
    chex.assert_trees_all_close((final, ys.swapaxes(0, 1)), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.weights.layers[0].backward.w_x[...], params.layers[0].backward.w_x)


@pytest.mark.slow
def test_randomness_comes_from_its_own_stream_and_stops_in_evaluation(xs):
    layer = Recurrent(NOISY, INPUTS, rngs=nnx.Rngs(0))
    twin = Recurrent(NOISY, INPUTS, rngs=nnx.Rngs(0))
    run = nnx.jit(lambda layer, xs: layer(xs)[1])
    first, second = run(layer, xs), run(layer, xs)
    assert not np.allclose(first, second)  # the stream moves on, under jit too
    np.testing.assert_array_equal((run(twin, xs), run(twin, xs)), (first, second))
    streams = [nnx.Rngs(dropout=5), nnx.Rngs(dropout=5).dropout, nnx.Rngs(dropout=5).dropout()]
    given = [layer(xs, rngs=stream)[1] for stream in streams]
    np.testing.assert_array_equal(given[0], given[1])
    np.testing.assert_array_equal(given[0], given[2])
    evaluated = run(nnx.view(layer, deterministic=True), xs)
    params = jax.tree.map(lambda param: param[...], layer.weights, is_leaf=_is_variable)
    np.testing.assert_allclose(unroll(NOISY, params, xs, deterministic=True)[1], evaluated, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer(xs, deterministic=True)[1], evaluated, rtol=1e-5, atol=1e-6)
    layer.eval()
    np.testing.assert_allclose(run(layer, xs), evaluated, rtol=1e-5, atol=1e-6)


def test_training_without_a_stream_for_dropout(xs):
    def traced():
        layer = Recurrent(NOISY, INPUTS, rngs=nnx.Rngs(params=0))
        with pytest.raises(ValueError, match="give rngs a stream `dropout`, or deterministic=True"):
            layer(xs)
        layer(xs, deterministic=True)
        assert layer.rngs is not None
        assert Recurrent(LSTM(2), INPUTS, rngs=nnx.Rngs(0)).rngs is None

    jax.eval_shape(traced)


def test_it_trains_under_nnx_jit_and_grad(xs):
    """Every parameter moves, a learned carry too, and one program serves all steps."""
    model = nnx.Sequential(Recurrent(LearnedCarry(Dropout(GRU(4, **DRAWN), 0.2)), INPUTS, rngs=nnx.Rngs(0)))
    optimizer = nnx.Optimizer(model, optax.adam(0.02), wrt=nnx.Param)
    traces = []

    @nnx.jit
    def train(model, optimizer):
        traces.append(1)

        def loss(model):
            return jnp.square(model(xs)[1] - 0.3).mean()

        value, gradient = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradient)
        return value

    before = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    losses = [train(model, optimizer) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert len(traces) == 1
    moved = jax.tree.map(lambda a, b: np.any(a != b), before, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    assert all(jax.tree.leaves(moved))


@pytest.mark.slow
def test_layers_under_nnx_scan_and_vmap(xs):
    """Layers of one shape made by vmap and run by scan are a stack of them."""

    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(rngs):
        return Recurrent(GRU(INPUTS), INPUTS, rngs=rngs)

    layers = make(nnx.Rngs(0))

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def run(xs, layer):
        return layer(xs)[1]

    params = jax.tree.map(lambda param: param[...], layers.weights, is_leaf=_is_variable)
    own = tuple(jax.tree.map(lambda leaf, index=index: leaf[index], params) for index in range(3))
    _, want = rnnjax.unroll(Stack((GRU(INPUTS),) * 3), rnnjax.StackParams(own), xs)
    np.testing.assert_allclose(run(xs, layers), want, rtol=1e-5, atol=1e-6)


def test_in_the_place_of_a_flax_cell(xs):
    """Under nnx.RNN and in a loop."""
    inner = Stack((Elman(5, **DRAWN), LearnedCarry(GRU(5, **DRAWN))))
    cell = RecurrentCell(inner, INPUTS, rngs=nnx.Rngs(0))
    layer = Recurrent(inner, INPUTS, rngs=nnx.Rngs(0))
    run = nnx.jit(lambda layer: layer(xs))
    ys = run(nnx.RNN(cell, time_major=True))
    np.testing.assert_allclose(ys, run(layer)[1], rtol=1e-5, atol=1e-6)
    carry = cell.initialize_carry(xs[0].shape, nnx.Rngs(0))
    carry, y = nnx.jit(lambda cell, carry: cell(carry, xs[0]))(cell, carry)
    np.testing.assert_allclose(y, ys[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="LearnedCarry"):
        cell.initialize_carry(xs[0].shape, nnx.Rngs(0), nnx.initializers.ones)


def test_random_cells_step_in_evaluation_alone(xs):
    def traced():
        cell = RecurrentCell(NOISY, INPUTS, rngs=nnx.Rngs(0))
        carry = cell.initialize_carry(xs[0].shape)
        with pytest.raises(ValueError, match="train it with Recurrent, or give deterministic=True"):
            cell(carry, xs[0])
        cell.eval()
        cell(carry, xs[0])

    jax.eval_shape(traced)


def test_linen_takes_it_through_flaxs_own_bridge(xs):
    module = nnx.bridge.to_linen(Recurrent, NOISY, INPUTS)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.jit(module.init)(keys, xs)
    run = jax.jit(lambda key: module.apply(variables, xs, rngs={"dropout": key})[1])
    ys = [run(jax.random.key(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(ys[0], ys[1])
    assert not np.allclose(ys[0], ys[2])
    assert variables["params"]["weights"]["layers"][0]["w_x"].shape == (INPUTS, 5)


@pytest.mark.slow
def test_batch_norm_over_space_and_without_a_real_step():
    """Channels are normalised over batch, time and space; a batch of empty sequences changes no average."""
    cells = rnnjax.ConvLSTM(2, (3, 4)), rnnjax.ConvLSTM(2, (3, 4))
    model = BatchNormStack(cells, 1, batch_major=True, rngs=nnx.Rngs(0))
    images = normal_like(jax.ShapeDtypeStruct((2, 5, 3, 4, 1), jnp.float32), 0)
    lengths = np.array([2, 5])
    _, ys = model(images, lengths=lengths)
    assert ys.shape == (2, 5, 3, 4, 2)
    assert not np.any(ys[0, 2:])
    first = jax.tree.map(lambda param: param[...], model.layers[0].weights, is_leaf=_is_variable)
    _, counted = unroll(cells[0], first, images, lengths=lengths, batch_major=True)
    counted = np.concatenate([counted[0, :2], counted[1]])
    np.testing.assert_allclose(model.norms[0].mean[...], 0.01 * counted.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    averages = model.norms[0].mean[...], model.norms[0].var[...]
    model(images, lengths=np.zeros(2, int))
    np.testing.assert_array_equal((model.norms[0].mean[...], model.norms[0].var[...]), averages)
    with pytest.raises(ValueError, match="cells must be one cell or more"):
        BatchNormStack((), 1, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("batch_major", [pytest.param(False, marks=pytest.mark.slow), True])
def test_batch_norm_between_layers(xs, batch_major):
    """Against the formula, with statistics of the real steps alone; running averages in evaluation."""
    cells = Elman(5, **DRAWN), GRU(4, **DRAWN)
    model = BatchNormStack(cells, INPUTS, momentum=0.9, batch_major=batch_major, rngs=nnx.Rngs(0))
    real = np.arange(TIME)[:, None] < LENGTHS
    soiled = np.where(real[..., None], xs, np.nan)
    first, second = (
        jax.tree.map(lambda param: param[...], layer.weights, is_leaf=_is_variable) for layer in model.layers
    )
    one, ys = unroll(cells[0], first, xs, lengths=LENGTHS)
    counted = np.asarray(ys)[real]
    mean, variance = counted.mean(0), counted.var(0)

    def rest(mean, variance):
        two, ys_of = unroll(cells[1], second, (ys - mean) / np.sqrt(variance + 1e-5), lengths=LENGTHS)
        return (one, two), ys_of

    def run(**options):
        inputs = soiled.swapaxes(0, 1) if batch_major else soiled
        finals, ys = nnx.jit(lambda model: model(inputs, lengths=LENGTHS, **options))(model)
        return finals, ys.swapaxes(0, 1) if batch_major else ys

    chex.assert_trees_all_close(run(), rest(mean, variance), rtol=1e-4, atol=1e-5)
    averages = 0.1 * mean, 0.9 + 0.1 * variance
    chex.assert_trees_all_close(run(deterministic=True), rest(*averages), rtol=1e-4, atol=1e-5)
    model.eval()
    chex.assert_trees_all_close(run(), rest(*averages), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_bfloat16_cells_that_flax_refuses(xs):
    """flax's cells raise on a bfloat16 dtype under RNN (flax 2384): the carry is float32 here and stays so."""
    layer = Recurrent(rnnjax.Elman(5), INPUTS, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    final, ys = layer(xs.astype(jnp.bfloat16))
    assert (final.h.dtype, ys.dtype) == (jnp.float32, jnp.bfloat16)
    wide = Recurrent(rnnjax.Elman(5), INPUTS, dtype=jnp.float64, rngs=nnx.Rngs(0))
    wide.weights = nnx.data(jax.tree.map(lambda leaf: leaf.astype(jnp.float64), layer.weights))
    assert relative_error(ys.astype(np.float64), wide(xs.astype(jnp.bfloat16).astype(np.float64))[1]) < 1e-2
