"""One battery over every registered algorithm."""

import jax
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

import rnnjax
from rnnjax import learn as algorithms
from tests.learn.support import BATCH, TIME, Case, call, draw_params, learn, network, squares
from tests.support import relative_error, slow_unless

SETTINGS = {"tbptt": (2, 3), "bptt-clipped": (0.05, 0.1)}
DETERMINISTIC = [name for name in rnnjax.learn.ALGORITHMS if name not in ("uoro", "guessing")]


def make(name):
    return rnnjax.learn.ALGORITHMS[name](*SETTINGS.get(name, ()))


@pytest.fixture
def case():
    return Case(network(rnnjax.LSTM(3)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", slow_unless(("truncated-1997", "tbptt", "bptt-clipped"), DETERMINISTIC))
def test_padding_and_borders_keep_sequences_apart(name, case):
    """A batch with NaN in its padding and a border inside is the mean of its sequences, each by itself."""
    algorithm, padded = make(name), case.replace(xs=case.xs.copy(), targets=case.targets.copy())
    padded.xs[5:, 0] = padded.targets[5:, 0] = padded.xs[:, 1] = padded.targets[:, 1] = np.nan
    resets = np.zeros((TIME, BATCH), bool)
    resets[4, 2] = True
    if name == "tbptt":  # pieces have to line up with the border
        algorithm = rnnjax.learn.TruncatedBPTT(2, 2)
    together = learn(algorithm, padded, lengths=[5, 0, TIME], resets=resets)

    alone = []
    for example, start, end in (0, 0, 5), (2, 0, 4), (2, 4, TIME):
        arrays = {}
        for key in "xs", "targets", "weights":
            array = np.zeros_like(getattr(case, key))
            array[: end - start, 0] = getattr(case, key)[start:end, example]
            arrays[key] = array
        alone.append(learn(algorithm, case.replace(**arrays), lengths=[end - start, 0, 0])[:2])
    want = jax.tree.map(lambda *parts: sum(parts), *alone)
    assert relative_error(together[:2], want) < 1e-12


@pytest.mark.parametrize("name", slow_unless(("tbptt", "rtrl", "uoro"), rnnjax.learn.ALGORITHMS))
def test_one_signature(name, case):
    """In float32 under one optimiser; the carry of a call goes into the next, and has kept its types."""
    single = jax.tree.map(np.float32, (case.params, case.xs, case.targets, case.weights))
    params, xs, targets, weights = single
    assert eval(repr(make(name)), vars(algorithms)) == make(name)
    data = xs, targets, weights, np.full(BATCH, TIME), np.zeros((TIME, BATCH), bool), jax.random.key(0)
    optimizer = optax.adam(0.01)
    updates = jax.eval_shape(
        lambda params: optimizer.update(
            call(make(name), case.cell, params, None, *data).gradients, optimizer.init(params), params
        )[0],
        params,
    )
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), updates) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), params
    )
    carry = jax.eval_shape(lambda: call(make(name), case.cell, params, None, *data).carry)
    again = jax.eval_shape(lambda carry: call(make(name), case.cell, params, carry, *data).carry, carry)
    assert carry == again


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", slow_unless(("bptt",), DETERMINISTIC))
def test_batch_spread_over_devices(name):
    """Inside jax.shard_map each of two devices learns from its part; together that is the whole."""
    case = Case(network(rnnjax.LSTM(3)), batch=4)
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    whole, parts = PartitionSpec(), PartitionSpec(None, "batch")

    def run(params, xs, targets):
        return make(name)(case.cell, params, None, xs, squares, targets=targets)[:2]

    def spread(*arguments):
        return jax.lax.pmean(run(*arguments), "batch")

    arguments = case.params, case.xs, case.targets
    got = jax.jit(jax.shard_map(spread, mesh=mesh, in_specs=(whole, parts, parts), out_specs=whole))(*arguments)
    assert relative_error(got, jax.jit(run)(*arguments)) < 1e-12


@pytest.mark.slow
def test_clipping_of_a_batch_spread_over_devices():
    """The errors are those of each example's own loss, however the batch is spread."""
    case = Case(network(rnnjax.LSTM(3)), batch=4)
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    whole, parts = PartitionSpec(), PartitionSpec(None, "batch")

    def run(params, xs, targets):
        return make("bptt-clipped").clipping(case.cell, params, None, xs, squares, targets=targets)[1]

    arguments = case.params, case.xs, case.targets
    got = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(whole, parts, parts), out_specs=parts))(*arguments)
    want = jax.jit(run)(*arguments)
    assert relative_error(got.norm, want.norm) < 1e-6
    assert np.array_equal(got.clipped, want.clipped)
    assert want.clipped.any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tbptt", "bptt-clipped", "rtrl", "snap-1", "uoro"])
def test_half_precision_seeds_and_batches_of_any_rank(name):
    """bfloat16 weights, vmapped over seeds, with two batch axes."""
    cell, algorithm = network(rnnjax.LSTM(3)), make(name)
    params = jax.vmap(lambda key: cell.init(key, 2, "bfloat16"))(jax.random.split(jax.random.key(0), 2))
    xs = targets = np.ones((4, 2, 3, 2), np.float32)
    run = jax.vmap(lambda p: algorithm(cell, p, None, xs, squares, targets=targets, key=jax.random.key(1)))
    loss, gradients, _ = jax.jit(run)(params)
    assert loss.shape == (2,)
    assert all(g.dtype == "bfloat16" and np.all(np.isfinite(np.float32(g))) for g in jax.tree.leaves(gradients))


# --- what is refused --------------------------------------------------------------------------------------------------

CELL = rnnjax.Readout(rnnjax.LSTM(3), 2)
PARAMS = jax.tree.map(np.float32, draw_params(CELL))
XS = np.zeros((5, 4, 2), np.float32)


def mean_square(y, target):
    return (y**2).mean()


@pytest.mark.parametrize(
    ("error", "message", "arguments", "options"),
    [
        (ValueError, r"xs has 3 features, but params were initialised for 2", {"xs": XS[..., [0] * 3]}, {}),
        (ValueError, r"weights has shape \(5,\), but time and batch of xs have .*", {}, {"weights": np.ones(5)}),
        (TypeError, r"weights must be floating point, got bool", {}, {"weights": np.ones((5, 4), bool)}),
        (ValueError, r"targets\['a'\] must be \[5, 4\] and more, got .*", {}, {"targets": {"a": np.ones((4, 5))}}),
        (ValueError, r"lengths must be from 0 to 5, .*", {}, {"lengths": [1, 2, 3, 6]}),
        (ValueError, r"carry must be what RTRL returned for sequences like these, .*", {"carry": PARAMS}, {}),
        (ValueError, r"loss must return one floating-point value an example, .*", {"loss": mean_square}, {}),
        (ValueError, r"UORO draws random numbers: give key=...", {"algorithm": algorithms.UORO()}, {}),
        (
            ValueError,
            r"RTRL learns cells without random numbers, but Dropout.*",
            {"cell": rnnjax.Dropout(rnnjax.LSTM(3), 0.5)},
            {},
        ),
        (ValueError, r"RTRL goes step by step, .*", {"cell": rnnjax.Bidirectional(rnnjax.LSTM(3))}, {}),
    ],
)
def test_bad_calls(error, message, arguments, options):
    given = {"algorithm": algorithms.RTRL(), "cell": CELL, "carry": None, "xs": XS, "loss": squares} | arguments
    options = {"targets": np.zeros((5, 4, 2))} | options
    with pytest.raises(error, match=f"^{message}$"):
        given["algorithm"](given["cell"], PARAMS, given["carry"], given["xs"], given["loss"], **options)


def test_truncated_1997_is_for_two_cells():
    cell = rnnjax.Readout(rnnjax.GRU(3), 2)
    params = jax.tree.map(np.float32, draw_params(cell))
    with pytest.raises(ValueError, match=r"^Truncated1997 is for LSTM1997 and LSTM, .*, got Readout\(cell=GRU.*$"):
        algorithms.Truncated1997()(cell, params, None, XS, squares, targets=np.zeros((5, 4, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: algorithms.TruncatedBPTT(0, 3), "k1 must be an integer of at least 1, got 0"),
        (lambda: algorithms.TruncatedBPTT(3, 2), "k2 must be an integer of at least 3, got 2"),
        (algorithms.ClippedBPTT, "ClippedBPTT needs max_value, max_norm or both"),
        (lambda: algorithms.ClippedBPTT(max_norm=0), "max_norm must be a number above 0, got 0"),
        (lambda: algorithms.WeightGuessing(float("nan")), "bound must be a number above 0, got nan"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
