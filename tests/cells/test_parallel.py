"""Linear recurrences, all steps at once against one after the other."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from tests.support import init, normal_like, relative_error

PARALLEL = [name for name in rnnjax.CELLS if isinstance(rnnjax.CELLS[name](1), rnnjax.ParallelCell)]
TIME, LENGTHS = 9, np.array([9, 0, 4, 1])


def test_there_are_some():
    assert {"min-gru", "min-lstm", "lru"} <= set(PARALLEL)


def draw(name, dtype="float64", time=TIME):
    cell = rnnjax.CELLS[name](5)
    params = normal_like(init(cell, 3, dtype), 0, 0.5)
    xs = normal_like(jax.ShapeDtypeStruct((time, 4, 3), dtype), 1)
    return cell, params, xs, normal_like(jax.eval_shape(lambda: cell.initial_carry((4,), dtype)), 2)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", PARALLEL)
def test_parallel_is_sequential(name, reverse):
    """Carry, outputs and all gradients, with steps that must not be seen, borders, and a carry of any sign."""
    cell, params, xs, carry = draw(name)
    random = np.random.RandomState(0)
    mask, resets = random.rand(TIME, 4) < 0.8, random.rand(TIME, 4) < 0.2
    xs = np.where(mask[..., None] & (np.arange(TIME)[:, None] < LENGTHS)[..., None], xs, np.nan)

    @partial(jax.jit, static_argnums=0)
    def outcome(kernel, *point):
        def loss(params, xs, carry):
            final, ys = rnnjax.unroll(
                cell, params, xs, carry, lengths=LENGTHS, mask=mask, resets=resets, reverse=reverse, kernel=kernel
            )
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in (*final, ys)), (final, ys)

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(*point)

    chex.assert_trees_all_close(
        outcome("parallel", params, xs, carry), outcome("scan", params, xs, carry), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("name", PARALLEL)
def test_parallel_over_a_long_time(name):
    """5000 steps in float32, from an empty state: no underflow, no NaN, no drift; in bfloat16 as good as its inputs."""
    with jax.enable_x64(True):
        cell, params, xs, _ = draw(name, time=5000)
        want = jax.jit(partial(rnnjax.unroll, cell, kernel="scan"))(params, xs)
    for dtype, tolerance in (("float32", 1e-5), ("bfloat16", 2e-2)):
        low = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), (params, xs))  # noqa: B023
        with jax.enable_x64(True):
            exact = jax.jit(partial(rnnjax.unroll, cell, kernel="scan"))(
                *jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), low)
            )
        got = jax.jit(partial(rnnjax.unroll, cell, kernel="parallel"))(*low)
        assert relative_error(got, exact) < tolerance
    chex.assert_tree_all_finite(want)


def test_a_cell_that_is_not_linear():
    cell = rnnjax.LSTM(4)
    with pytest.raises(
        ValueError, match=r'^kernel "parallel" needs a linear recurrence, and LSTM is none: use "scan"$'
    ):
        rnnjax.unroll(cell, init(cell, 3), np.zeros((5, 3), np.float32), kernel="parallel")
    with pytest.raises(ValueError, match=r"^kernel must be one of auto, scan, parallel, got 'fast'$"):
        rnnjax.unroll(cell, init(cell, 3), np.zeros((5, 3), np.float32), kernel="fast")


def test_lru_starts_in_its_ring():
    cell = rnnjax.LRU(200, r_min=0.8, r_max=0.95, max_phase=0.5)
    params = jax.device_get(init(cell, 3))
    size, angle = np.exp(-np.exp(params.log_nu)), np.exp(params.log_theta)
    assert 0.8 <= size.min() < 0.81
    assert 0.94 < size.max() <= 0.95
    assert 0.4 < angle.max() <= 0.5
    np.testing.assert_allclose(np.exp(params.log_gamma), np.sqrt(1 - size**2), rtol=1e-4)


@pytest.mark.parametrize(("r_min", "r_max"), [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.1)])
def test_lru_ring(r_min, r_max):
    with pytest.raises(ValueError, match=r"^r_min and r_max must be 0 <= r_min < r_max <= 1, got"):
        rnnjax.LRU(4, r_min, r_max)
