"""Time in blocks with a derivative of its own, against the scan."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.cells.base import PointwiseCell
from rnnjax.kernels import blocked
from tests.support import init, normal_like, relative_error, slow_unless

POINTWISE = [name for name in rnnjax.CELLS if isinstance(rnnjax.CELLS[name](1), PointwiseCell)]
LENGTHS = np.array([11, 0, 7, 1])


def draw(name, time=11, dtype="float64"):
    cell = rnnjax.CELLS[name](5)
    params = normal_like(init(cell, 3, dtype), 0, 0.5)
    xs = normal_like(jax.ShapeDtypeStruct((time, 4, 3), dtype), 1)
    return cell, params, xs, normal_like(jax.eval_shape(lambda: cell.initial_carry((4,), dtype)), 2)


def loss(cell, kernel, params, xs, carry, **sequences):
    final, ys = rnnjax.unroll(cell, params, xs, carry, kernel=kernel, **sequences)
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in (*final, ys)), (final, ys)


@pytest.fixture(autouse=True)
def steps_a_block(monkeypatch):
    """Two blocks of the 11 steps, and a shorter one."""
    monkeypatch.setattr(blocked, "block_size", lambda time: 4)


def test_there_are_some():
    assert {"rnn", "lstm", "gru", "lstm-peephole", "lstm-layer-norm", "slstm", "lstm-1997"} <= set(POINTWISE)


@pytest.mark.parametrize(
    ("time", "size"), [(1, 1), (7, 7), (16, 16), (31, 31), (34, 34), (70, 35), (100, 25), (67, 32), (1000, 40)]
)
def test_block_size(time, size, monkeypatch):
    monkeypatch.undo()
    assert blocked.block_size(time) == size


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "large"),
    [("gru", 4), *(pytest.param(name, 5, marks=pytest.mark.slow) for name in POINTWISE)],
)
def test_blocks_are_the_scan(name, large, monkeypatch):
    """Carry, outputs and all gradients, with padding of NaN, gaps, borders, and a carry of any sign, both ways.

    `large` is where batches begin to be large; the one here is of 4.
    """
    monkeypatch.setattr(blocked, "LARGE_BATCH", large)
    cell, params, xs, carry = draw(name)
    random = np.random.RandomState(0)
    mask, resets = random.rand(11, 4) < 0.8, random.rand(11, 4) < 0.2
    xs = np.where(mask[..., None] & (np.arange(11)[:, None] < LENGTHS)[..., None], xs, np.nan)

    def outcome(kernel):
        def both_ways(*point):
            sequences = {"lengths": LENGTHS, "mask": mask, "resets": resets}
            forward, backward = (loss(cell, kernel, *point, reverse=way, **sequences) for way in (False, True))
            return forward[0] + 3 * backward[0], (forward, backward)

        return jax.jit(jax.value_and_grad(both_ways, argnums=(0, 1, 2), has_aux=True))(params, xs, carry)

    chex.assert_trees_all_close(outcome("blocked"), outcome("scan"), rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn", "gru"])
def test_other_derivatives(name):
    """Forward mode, gradients of gradients both ways, and many seeds at once."""
    cell, params, xs, carry = draw(name)
    point = params, xs, carry
    direction = normal_like(point, 3)

    def along(function):
        return lambda point: jax.jvp(function, (point,), (direction,))[1]

    def check(derivative):
        blocked, scan = (derivative(lambda point, k=k: loss(cell, k, *point)[0]) for k in ("blocked", "scan"))
        chex.assert_trees_all_close(jax.jit(blocked)(point), jax.jit(scan)(point), rtol=1e-10, atol=1e-11)

    check(along)
    check(lambda function: along(jax.grad(function)))
    check(lambda function: jax.grad(lambda point: squares(jax.grad(function)(point))))
    points = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), point)
    many, one = (jax.jit(batch(jax.grad(lambda point: loss(cell, "blocked", *point)[0]))) for batch in (jax.vmap, each))
    chex.assert_trees_all_close(many(points), one(points), rtol=1e-11, atol=1e-12)


def squares(tree):
    return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree))


def each(function):
    return lambda points: jax.lax.map(function, points)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "slstm"])
def test_half_precision(name):
    """Gradients of bfloat16 weights add up in float32: they are as good as the scan's."""
    cell, params, xs, carry = draw(name, dtype="bfloat16")

    def gradient(kernel, params, xs, carry):
        return jax.jit(jax.grad(lambda *point: loss(cell, kernel, *point)[0]))(params, xs, carry)

    got, scan = (gradient(kernel, params, xs, carry) for kernel in ("blocked", "scan"))
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype("bfloat16")}
    with jax.enable_x64(True):
        exact = gradient("scan", *jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs, carry)))
    assert relative_error(got, exact) < 1.5 * relative_error(scan, exact) + 4e-3


@pytest.mark.parametrize("name", slow_unless(["rnn"], ["rnn", "gru", "lstm-peephole"]))
def test_half_precision_over_many_steps(name):
    """A gradient that grows with the time is not rounded once a block, nor once a step."""
    cell, params, xs, _ = draw(name, time=2000, dtype="bfloat16")

    def gradient(kernel, params, xs):
        return jax.jit(jax.grad(lambda params: rnnjax.unroll(cell, params, xs, kernel=kernel)[1].sum()))(params)

    got, scan = (gradient(kernel, params, xs[:, 0]) for kernel in ("blocked", "scan"))
    with jax.enable_x64(True):
        exact = gradient("scan", *jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs[:, 0])))
    for name in params._fields:
        apart = [relative_error(getattr(each, name), getattr(exact, name)) for each in (got, scan)]
        assert apart[0] < 1.5 * apart[1] + 1e-3, name


def test_a_cell_that_is_not_pointwise():
    cell = rnnjax.GRUResetBefore(4)
    with pytest.raises(
        ValueError, match=r'^kernel "blocked" needs a PointwiseCell, and GRUResetBefore is none: use "scan"$'
    ):
        rnnjax.unroll(cell, init(cell, 3), np.zeros((5, 3), np.float32), kernel="blocked")
