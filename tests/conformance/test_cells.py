"""One battery over every registered cell and composition; new ones have it once `tests/references.py` knows them."""

import math
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

import rnnjax
from benchmarks.readme import described, parameter_formula
from rnnjax import compose, flow
from rnnjax.kernels.base import select
from tests import references
from tests.support import normal_like, relative_error, slow_unless

TIME, BATCH, INPUTS, HIDDEN = 7, 4, 3, 5
LENGTHS = np.array([0, 1, 4, 6])  # no sequence fills the batch

COMPOSED = {
    "stack": lambda size: compose.Stack((rnnjax.LSTM(size), rnnjax.Elman(4))),
    "residual": lambda size: compose.Stack((rnnjax.Elman(size), compose.Residual(rnnjax.GRU(size)))),
    "layer-norm": lambda size: compose.LayerNorm(rnnjax.LSTM(size)),
    "dropout": lambda size: compose.Dropout(rnnjax.GRU(size), 0.2, 0.5),
    "recurrent-dropout": lambda size: compose.RecurrentDropout(rnnjax.LSTM(size)),
    "weight-drop": lambda size: compose.WeightDrop(rnnjax.LSTM(size)),
    "zoneout": lambda size: compose.Zoneout(rnnjax.LSTM(size), (0.2, 0.5)),
    "dilated": lambda size: compose.Dilated(rnnjax.LSTM(size), 3),
    "learned-carry": lambda size: compose.LearnedCarry(rnnjax.LSTM(size)),
    "readout": lambda size: compose.Readout(rnnjax.LSTM(size), 2),
    "bidirectional": lambda size: compose.Bidirectional(rnnjax.LSTM(size), rnnjax.Elman(4)),
}
"""An example of every composition, as in evaluation."""

STEPS = {name: known.step for name, known in references.REFERENCES.items()} | {
    "stack": references.stack(references.lstm, references.elman(np.tanh)),
    "residual": references.stack(references.elman(np.tanh), references.residual(references.gru)),
    "layer-norm": references.layer_norm(references.lstm),
    "dropout": references.gru,
    "recurrent-dropout": references.lstm,
    "weight-drop": references.lstm,
    "zoneout": references.zoneout(references.lstm, (0.2, 0.5)),
    "dilated": references.dilated(references.lstm),
    "learned-carry": references.learned_carry(references.lstm),
    "readout": references.readout(references.lstm),
}

every_registered_cell = pytest.mark.parametrize("name", rnnjax.CELLS)
every_cell = pytest.mark.parametrize(
    "name", slow_unless([*rnnjax.CELLS, "stack", "zoneout"], [*rnnjax.CELLS, *COMPOSED])
)
# What takes long is done in the fast tests for one cell of each way to write it.
FAST = ("lstm",)
SAME = {"rnn-relu", "rnn-identity", "rnn-logistic", "dropout", "recurrent-dropout", "weight-drop"}
"""Only other activations of a cell, and what is the cell itself in evaluation: not put through everything again."""
KINDS = (*FAST, "gru-reset-before", "slstm", "lru", "lstm-conv", "stack", "bidirectional", "dilated", "learned-carry")
"""One of each kind of carry, for what does not depend on the equations of a cell."""
every_cell_if_slow = pytest.mark.parametrize(
    "name", slow_unless(FAST, [name for name in [*rnnjax.CELLS, *COMPOSED] if name not in SAME])
)
every_cell_with_a_step_if_slow = pytest.mark.parametrize(
    "name", slow_unless(FAST, [name for name in STEPS if name not in SAME])
)
every_cell_with_lengths_if_slow = pytest.mark.parametrize(
    ("name", "lengths"),
    [pytest.param(name, None, id=f"{name}-whole", marks=pytest.mark.slow) for name in FAST]
    + [
        pytest.param(name, LENGTHS, id=f"{name}-lengths", marks=() if name in FAST else pytest.mark.slow)
        for name in KINDS
        if name in STEPS
    ],
)
every_kind_if_slow = pytest.mark.parametrize("name", slow_unless(FAST, KINDS))


def both_ways(names):
    """Some cells in both directions, the others in one or the other."""
    others = [name for name in names if name not in (*SAME, *FAST)]
    cases = [pytest.param(name, way, id=f"{name}-{way}") for name in FAST for way in (False, True)]
    cases += [pytest.param(name, index % 2 == 0, id=name, marks=pytest.mark.slow) for index, name in enumerate(others)]
    return pytest.mark.parametrize(("name", "reverse"), cases)


def make(name, size=HIDDEN):
    return rnnjax.CELLS[name](size) if name in rnnjax.CELLS else COMPOSED[name](size)


class Case(NamedTuple):
    cell: Any
    params: Any
    xs: Any
    carry: Any


def shapes(cell, inputs, dtype=jnp.float32):
    """The parameters of a cell without their values, which need no compilation."""
    return jax.eval_shape(lambda key: cell.init(key, inputs, dtype), jax.random.key(0))


def draw(name, dtype=jnp.float64, seed=0, batch_shape=(BATCH,)):
    """A cell with every parameter, input and carry component drawn at random."""
    cell = make(name)
    carry = normal_like(jax.eval_shape(lambda: cell.initial_carry(batch_shape, dtype)), seed + 2)
    if name in references.REFERENCES:
        positive = references.REFERENCES[name].positive
        carry = carry._replace(**{component: 0.5 + abs(getattr(carry, component)) for component in positive})
    return Case(
        cell,
        normal_like(shapes(cell, INPUTS, dtype), seed, 0.5),
        normal_like(jax.ShapeDtypeStruct((TIME, *batch_shape, INPUTS), dtype), seed + 1),
        carry,
    )


def run(cell, params, xs, carry=None, lengths=None, reverse=False):
    return rnnjax.unroll(cell, params, xs, carry, lengths=lengths, reverse=reverse, deterministic=True)


compiled = jax.jit(run, static_argnames=("cell", "reverse"))


def jitted(*args, **options):
    return jax.device_get(compiled(*args, **options))


def reference(name, case, **options):
    params, xs, carry = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), case[1:])
    if name == "bidirectional":
        return references.bidirectional(references.lstm, references.elman(np.tanh), params, xs, carry, **options)
    return references.unroll(STEPS[name], params, xs, carry, **options)


@every_registered_cell
def test_cell_has_a_reference(name):
    assert name in references.REFERENCES, f"cell {name!r} has no reference in tests/references.py"


def test_every_composition_has_a_case():
    assert {*COMPOSED} == {*compose.COMPOSITIONS}
    assert {*STEPS} == {*rnnjax.CELLS, *COMPOSED} - {"bidirectional"}


@every_registered_cell
def test_parameter_count(name):
    for inputs, hidden in (1, 1), (3, 5):
        cell = rnnjax.CELLS[name](hidden)
        count = sum(leaf.size for leaf in jax.tree.leaves(shapes(cell, inputs)))
        assert count == references.REFERENCES[name].parameters(inputs, hidden)
        cell = described(cell)
        sizes = vars(cell) | {"input_size": inputs, "projection_size": cell.output_size, "prod": math.prod}
        assert count == eval(parameter_formula(type(cell)), sizes)


@every_cell
def test_cell_is_a_printable_value(name):
    cell = make(name)
    assert cell == make(name)
    assert hash(cell) == hash(make(name))
    assert cell != make(name, HIDDEN + 1)
    assert eval(repr(cell), {**vars(rnnjax), **vars(rnnjax.initializers)}) == cell


@every_cell
@pytest.mark.usefixtures("x64")
def test_unroll_is_the_numpy_loop(name):
    check_against_the_numpy_loop(name, reverse=False)


@every_cell_if_slow
@pytest.mark.usefixtures("x64")
def test_reversed_unroll_is_the_reversed_numpy_loop(name):
    check_against_the_numpy_loop(name, reverse=True)


def check_against_the_numpy_loop(name, reverse):
    case = draw(name)
    start = jax.device_get(case.cell.start(case.params, (BATCH,), jnp.float64))
    got = jitted(*case[:3], reverse=reverse)
    assert relative_error(got, reference(name, case._replace(carry=start), reverse=reverse)) < 1e-13
    final, ys = got = jitted(*case, LENGTHS, reverse)
    assert relative_error(got, reference(name, case, lengths=LENGTHS, reverse=reverse)) < 1e-13
    for leaf, before in zip(*map(jax.tree.leaves, (final, case.carry)), strict=True):
        np.testing.assert_array_equal(leaf[0], before[0])  # length 0: the carry as it came
    for example, length in enumerate(LENGTHS):
        assert not np.any(ys[length:, example])


@both_ways(STEPS)
@pytest.mark.usefixtures("x64")
def test_mask_and_resets_are_the_numpy_loop(name, reverse):
    """Steps passed over anywhere, whatever they hold, and borders that nothing crosses in either direction."""
    case = draw(name)
    random = np.random.RandomState(0)
    mask, resets = random.rand(TIME, BATCH) < 0.7, random.rand(TIME, BATCH) < 0.3
    xs = np.where(mask[..., None], case.xs, np.nan)
    lengths = np.array([TIME, 0, 4, 6])
    start = jax.device_get(case.cell.start(case.params, (), jnp.float64))

    @jax.jit
    def outcome(xs):
        def loss(xs):
            got = rnnjax.unroll(
                case.cell,
                case.params,
                xs,
                case.carry,
                lengths=lengths,
                mask=mask,
                resets=resets,
                reverse=reverse,
                deterministic=True,
            )
            return jnp.square(got[1]).sum(), got

        return jax.value_and_grad(loss, has_aux=True)(xs)

    (_, got), g_xs = outcome(xs)
    real = mask & (np.arange(TIME)[:, None] < lengths)
    assert np.all(np.isfinite(g_xs))
    assert not np.any(g_xs[~real])
    for example in range(BATCH):
        state = jax.tree.map(itemgetter(example), case.carry)
        ys = np.zeros((TIME, case.cell.output_size))
        for t in reversed(range(lengths[example])) if reverse else range(lengths[example]):
            border = t + 1 if reverse else t
            if border < lengths[example] and resets[border, example]:
                state = start
            if mask[t, example]:
                state, ys[t] = STEPS[name](case.params, state, xs[t, example])
        mine = jax.tree.map(itemgetter(example), got[0]), got[1][:, example]
        chex.assert_trees_all_close(mine, (state, ys), rtol=1e-12, atol=1e-13)


@every_cell_with_a_step_if_slow
@pytest.mark.usefixtures("x64")
def test_ways_to_run_agree(name):
    """Step by step, without jit, in chunks with the carry handed on, and several steps an iteration."""
    cell, params, xs, carry = draw(name)
    want = jitted(cell, params, xs, carry)

    step, state, ys = jax.jit(cell.step), carry, []
    for x in xs:
        state, y = step(params, state, x)
        ys.append(y)
    chex.assert_trees_all_close((state, jnp.stack(ys)), want, rtol=1e-13, atol=1e-13)

    with jax.disable_jit():
        chex.assert_trees_all_close(run(cell, params, xs, carry), want, rtol=1e-13, atol=1e-13)

    middle, head = jitted(cell, params, xs[:1], carry)
    final, tail = jitted(cell, params, xs[1:], middle)
    chex.assert_trees_all_close((final, np.concatenate([head, tail])), want, rtol=1e-13, atol=1e-13)

    got = jax.jit(partial(rnnjax.unroll, cell, unroll=3, deterministic=True))(params, xs, carry)
    chex.assert_trees_all_close(got, want, rtol=1e-13, atol=1e-13)


@every_kind_if_slow
@pytest.mark.usefixtures("x64")
def test_vmap_over_seeds_is_a_loop(name):
    cases = [draw(name, seed=seed) for seed in (0, 10)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(case[1:] for case in cases))
    got = jax.vmap(lambda params, xs, carry: jitted(cases[0].cell, params, xs, carry))(*stacked)
    want = jax.tree.map(lambda *leaves: np.stack(leaves), *(jitted(*case) for case in cases))
    chex.assert_trees_all_close(got, want, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["rnn", "lstm-layer-norm", "gru-layer-norm", "lru", "stack"])
def test_batch_of_none(name):
    cell = make(name)
    xs = jax.ShapeDtypeStruct((TIME, 0, INPUTS), jnp.float32)
    assert jax.eval_shape(partial(run, cell), shapes(cell, INPUTS), xs)[1].shape == (TIME, 0, cell.output_size)


@every_kind_if_slow
@pytest.mark.usefixtures("x64")
def test_any_batch_shape(name):
    case = draw(name)
    final, ys = jitted(*case, LENGTHS)

    def square(tree):
        return jax.tree.map(lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:]), tree)

    xs = case.xs.reshape(TIME, 2, 2, INPUTS)
    got = jitted(case.cell, case.params, xs, square(case.carry), LENGTHS.reshape(2, 2))
    chex.assert_trees_all_close(got, (square(final), ys.reshape(TIME, 2, 2, -1)), rtol=1e-13, atol=1e-13)

    alone = jax.tree.map(lambda leaf: leaf[2], case.carry)
    got = jitted(case.cell, case.params, case.xs[:, 2], alone, LENGTHS[2])
    want = (jax.tree.map(lambda leaf: leaf[2], final), ys[:, 2])
    chex.assert_trees_all_close(got, want, rtol=1e-13, atol=1e-13)


@both_ways([*rnnjax.CELLS, *COMPOSED])
def test_nothing_in_the_padding_reaches_a_result_or_a_gradient(name, reverse):
    cell, params, xs, carry = draw(name, jnp.float32)
    padding = np.arange(TIME)[:, None] >= LENGTHS

    @jax.jit
    def outcome(params, xs, carry):
        def loss(params, xs, carry):
            final, ys = run(cell, params, xs, carry, LENGTHS, reverse)
            return optax.tree.norm((final, ys), squared=True), (final, ys)

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, xs, carry)

    clean = outcome(params, xs, carry)
    soiled = outcome(params, np.where(padding[..., None], np.float32("nan"), xs), carry)
    chex.assert_tree_all_finite(clean)
    chex.assert_trees_all_equal(clean, soiled)
    (_, (_, ys)), (_, g_xs, _) = soiled
    assert not np.any(ys[padding])
    assert not np.any(g_xs[padding])
    assert np.all(np.any(g_xs[~padding], -1)) or name in ("rnn-relu", "irnn")  # a dead unit passes nothing on


@every_kind_if_slow
@pytest.mark.parametrize(
    ("params_dtype", "xs_dtype", "carry_dtype", "output_dtype", "tolerance"),
    [
        ("float64", "float64", "float64", "float64", 1e-13),
        ("float32", "float32", "float32", "float32", 1e-6),
        ("float32", "bfloat16", "float32", "float32", 1e-6),
        ("bfloat16", "bfloat16", "float32", "bfloat16", 1e-2),
        ("bfloat16", "float32", "float32", "float32", 1e-2),
    ],
)
def test_dtypes(name, params_dtype, xs_dtype, carry_dtype, output_dtype, tolerance):
    with jax.enable_x64(params_dtype == "float64"):
        case = draw(name, params_dtype)
        case = case._replace(xs=case.xs.astype(xs_dtype))
        final, ys = jitted(*case)
        chex.assert_trees_all_equal_shapes_and_dtypes(final, case.carry)
        leaves = jax.tree.leaves(final)
        chex.assert_type([*leaves, ys], [carry_dtype] * len(leaves) + [output_dtype])
        assert relative_error((final, ys), reference(name, case)) < tolerance
        if case.cell.has_step:
            stepped = jax.eval_shape(case.cell.step, case.params, case.carry, case.xs[0])
            chex.assert_trees_all_equal_shapes_and_dtypes(stepped, (final, ys[0]))
        # A carry of another precision is cast to the declared one; lax.scan alone would refuse it.
        other = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), case.carry)
        got = jax.eval_shape(partial(run, case.cell), case.params, case.xs, other)
        chex.assert_trees_all_equal_shapes_and_dtypes(got, (final, ys))


@every_kind_if_slow
@pytest.mark.usefixtures("x64")
def test_derivatives_are_finite_differences(name):
    """Along a random direction: grad, jvp, jvp of grad and grad of grad all run under jit and are right."""
    cell, *point = draw(name, batch_shape=(2,))
    weights = normal_like(jax.eval_shape(partial(run, cell), *point), 5)
    along = normal_like(point, 6)

    def loss(point):
        return jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, run(cell, *point), weights))

    def slope(point):
        return optax.tree.vdot(jax.grad(loss)(point), along)

    @jax.jit
    def derivatives(shift):
        here = jax.tree.map(lambda at, direction: at + shift * direction, point, along)
        (value, by_jvp), (by_grad, curvature) = (jax.jvp(f, (here,), (along,)) for f in (loss, slope))
        return value, by_jvp, by_grad, curvature, optax.tree.vdot(jax.grad(slope)(here), along)

    _, by_jvp, by_grad, by_jvp_of_grad, by_grad_of_grad = derivatives(0.0)
    ahead, behind = derivatives(1e-5), derivatives(-1e-5)
    first, second = ((ahead[i] - behind[i]) / 2e-5 for i in (0, 2))
    np.testing.assert_allclose([by_jvp, by_grad], first, rtol=1e-6)
    np.testing.assert_allclose([by_jvp_of_grad, by_grad_of_grad], second, rtol=1e-6, atol=1e-6)


@every_kind_if_slow
def test_one_trace_a_shape(name):
    traces = []

    def counted(cell, params, xs, carry, lengths):
        traces.append(xs.shape)
        return run(cell, params, xs, carry, lengths)

    counted = jax.jit(counted, static_argnums=0)
    for seed in 0, 1, 2:  # a cell, values and lengths of their own each time
        counted(*draw(name, jnp.float32, seed), np.array([seed] * BATCH))
    assert len(traces) == 1
    _, params, xs, carry = draw(name, jnp.float32)
    counted(make(name), params, xs[1:], carry, np.array([1] * BATCH))
    assert len(traces) == 2


# --- gradient flow, against automatic differentiation of a plain Python loop ------------------------------------------


@partial(jax.jit, static_argnums=0)  # a step is compiled once; the loop over it stays in Python
def perturbed_step(cell, params, x, lengths, shifts, state, t):
    own, shift = jax.tree.map(lambda leaf: leaf[t], params), jax.tree.map(lambda leaf: leaf[t + 1], shifts)
    real = t < lengths
    z = cell.project(own, x)
    new = select(real, cell.advance(own, state, z), state)
    state = jax.tree.map(jnp.add, new, shift)
    return state, jnp.where(real[..., None], cell.output(own, state, z), 0)


def perturbed(cell, params, xs, carry, lengths, shifts):
    """A Python loop over time with parameters of its own for every step, and a shift added to every carry.

    The gradient with respect to the shift of carry_t is dL/dcarry_t, that with respect to a step's parameters is the
    step's own contribution. `params`: `[time, ...]`; `shifts`: a carry of `[time + 1, batch, hidden_size]`.
    """
    state, ys = jax.tree.map(lambda leaf, shift: leaf + shift[0], carry, shifts), []
    for t, x in enumerate(xs):
        state, y = perturbed_step(cell, params, x, lengths, shifts, state, t)
        ys.append(y)
    return state, jnp.stack(ys)


def no_shifts(carry):
    return jax.tree.map(lambda leaf: np.zeros((TIME + 1, *leaf.shape), leaf.dtype), carry)


def over_time(tree, copies):
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (copies, *leaf.shape)), tree)


@every_cell_with_lengths_if_slow
@pytest.mark.usefixtures("x64")
def test_gradient_norms_are_those_of_a_python_loop(name, lengths):
    cell, params, xs, carry = draw(name)
    final, ys = jax.eval_shape(partial(run, cell), params, xs, carry)
    weights = normal_like((final, jax.ShapeDtypeStruct((BATCH, TIME, ys.shape[-1]), ys.dtype)), 5)

    def example_losses(final, ys):
        terms = jax.tree.map(lambda out, w: out * w + out**2, (final, ys.swapaxes(0, 1)), weights)
        return sum(leaf.reshape(BATCH, -1).sum(1) for leaf in jax.tree.leaves(terms))

    @jax.jit
    def total_loss(final, ys):
        return example_losses(final, ys).sum()

    ends = np.full(BATCH, TIME) if lengths is None else lengths
    shifts = no_shifts(carry)
    g_params, g_carry = jax.grad(
        lambda params, shifts: total_loss(*perturbed(cell, params, xs, carry, ends, shifts)), argnums=(0, 1)
    )(over_time(params, TIME), shifts)

    # A scalar loss and one value an example, in turn: the sum over the examples has the same gradients.
    loss, other = (total_loss, example_losses) if lengths is None else (example_losses, total_loss)

    @jax.jit
    def norms(params, xs, carry):
        of_carry = flow.gradient_norms(cell, params, xs, loss, carry, lengths=lengths)
        of_params = flow.parameter_gradient_norms(cell, params, xs, other, carry, lengths=lengths)
        return jax.tree.map(jnp.exp, (of_carry.per_example, of_carry.mean, of_params))

    per_example, mean, of_params = norms(params, xs, carry)
    want = jax.tree.map(lambda g: np.linalg.norm(g.reshape(*g.shape[:2], -1), axis=-1), g_carry)
    chex.assert_trees_all_close(per_example, want, rtol=1e-10)
    chex.assert_trees_all_close(mean, jax.tree.map(lambda norm: norm.mean(1), want), rtol=1e-10)
    want = jax.tree.map(lambda g: np.linalg.norm(g.reshape(TIME, -1), axis=-1), g_params)
    chex.assert_trees_all_close(of_params, want, rtol=1e-10)


@every_cell_with_lengths_if_slow
@pytest.mark.usefixtures("x64")
def test_jacobian_norms_are_those_of_a_python_loop(name, lengths):
    cell, params, xs, carry = draw(name)

    def by_hand(xs, carry, length):
        shifts = no_shifts(carry)
        jacobian = jax.jacobian(lambda s: perturbed(cell, over_time(params, TIME), xs, carry, length, s)[0])(shifts)

        def rows(leaf, of_leaf):
            blocks = [
                jnp.moveaxis(block, leaf.ndim, 0).reshape(TIME + 1, leaf.size, -1) for block in jax.tree.leaves(of_leaf)
            ]
            return jnp.concatenate(blocks, -1).swapaxes(0, 1)

        return jax.tree.map(rows, carry, jacobian)

    # A component: [batch, rows, time + 1, columns].
    ends = np.full(BATCH, TIME) if lengths is None else lengths
    components = jax.vmap(by_hand)(xs.swapaxes(0, 1), carry, jnp.asarray(ends))
    lags = [1, 3, 7]
    for of in (None, *carry._fields[1:]):  # with one component, the whole carry is that component
        rows = np.concatenate(jax.tree.leaves(components if of is None else getattr(components, of)), 1)
        jacobians = rows.swapaxes(1, 2)[:, TIME - np.array(lags)].swapaxes(0, 1)  # [lags, batch, rows, columns]
        values = np.linalg.svd(jacobians, compute_uv=False)
        got = jax.jit(partial(flow.jacobian_norms, cell, lengths=lengths, lags=lags, of=of, singular_values=True))(
            params, xs, carry
        )
        np.testing.assert_array_equal(got.lags, lags)
        np.testing.assert_allclose(np.exp(got.log_spectral), values[..., 0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(
            np.exp(got.log_frobenius), np.linalg.norm(jacobians, axis=(-2, -1)), rtol=1e-10, atol=1e-12
        )
        np.testing.assert_allclose(np.exp(got.log_singular_values), values, rtol=1e-8, atol=1e-12)


WHOLE, FIRST, SECOND = PartitionSpec(), PartitionSpec("batch"), PartitionSpec(None, "batch")


def check_spread(function, arguments, in_specs, out_specs):
    """Inside jax.shard_map, each of two devices with its part of the batch: the results of one device."""
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    got, want = jax.jit(spread)(*arguments), jax.jit(function)(*arguments)
    chex.assert_trees_all_close(got, want, rtol=1e-11, atol=1e-12)


@every_kind_if_slow
@pytest.mark.usefixtures("x64")
def test_batch_spread_over_devices(name):
    cell, params, xs, carry = draw(name)

    def gradient(params, xs, carry, lengths):
        return jax.grad(lambda params: jnp.square(run(cell, params, xs, carry, lengths)[1]).sum())(params)

    in_specs = WHOLE, SECOND, FIRST, FIRST
    check_spread(partial(run, cell), (params, xs, carry, LENGTHS), in_specs, (FIRST, SECOND))
    check_spread(gradient, (params, xs, carry, LENGTHS), in_specs, WHOLE)


# Where JAX cannot tell how the result of a reshape lies on the devices, and neither can a convolution over space.
SPATIAL = ("lstm-conv",)


@pytest.mark.parametrize("name", slow_unless(FAST, [name for name in KINDS if name not in SPATIAL]))
@pytest.mark.usefixtures("x64")
def test_inputs_spread_over_an_explicit_mesh(name):
    """Carries of zeros, lengths and resets lie where the inputs do; with explicit axes that is part of a type."""
    cell, params, xs, _ = draw(name)
    resets = np.random.RandomState(0).rand(TIME, BATCH) < 0.3 if name in STEPS else None

    def gradient(params, xs):
        ys = rnnjax.unroll(cell, params, xs, lengths=LENGTHS, resets=resets, deterministic=True)[1]
        return jnp.square(ys).sum()

    want = jax.jit(jax.value_and_grad(gradient))(params, xs)
    with jax.set_mesh(jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Explicit,))):
        placed = jax.device_put(params, WHOLE), jax.device_put(xs, SECOND)
        got = jax.jit(jax.value_and_grad(gradient))(*placed)
    chex.assert_trees_all_close(jax.device_get(got), want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", slow_unless(FAST, [name for name in KINDS if name in STEPS]))
@pytest.mark.usefixtures("x64")
def test_gradient_flow_spread_over_devices(name):
    cell, params, xs, _ = draw(name)

    def norms(params, xs, lengths):
        of_carry = flow.gradient_norms(cell, params, xs, lambda carry, ys: ys[-1].sum(-1), lengths=lengths)
        jacobians = flow.jacobian_norms(cell, params, xs, lags=[2], singular_values=True)
        return jax.tree.map(jnp.exp, (of_carry.per_example, jacobians[1:]))

    check_spread(norms, (params, xs, LENGTHS), (WHOLE, SECOND, FIRST), SECOND)
