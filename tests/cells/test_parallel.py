"""Linear recurrences, all steps at once against one after the other."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from tests.support import init, normal_like, relative_error, slow_unless

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
@pytest.mark.parametrize(
    "reverse", [pytest.param(False, id="forward"), pytest.param(True, id="reverse", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", slow_unless(("min-lstm",), PARALLEL))
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"), [("min-lstm", "bfloat16", 2e-2), *((name, "float32", 1e-5) for name in PARALLEL)]
)
def test_parallel_over_a_long_time(name, dtype, tolerance):
    """3000 steps, carry, outputs and gradients: no underflow, no NaN, no drift."""
    cell, params, xs, _ = draw(name, dtype, time=3000)

    @partial(jax.jit, static_argnums=0)
    def outcome(kernel, params, xs):
        def loss(params):
            final, ys = rnnjax.unroll(cell, params, xs, kernel=kernel)
            return jnp.mean(jnp.sin(ys.astype(jnp.promote_types(ys.dtype, jnp.float32)))), (final, ys)

        return jax.grad(loss, has_aux=True)(params)

    gradient, got = outcome("parallel", params, xs)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs))
        exact_gradient, exact = outcome("scan", *wide)
    assert relative_error(got, exact) < tolerance
    assert relative_error(gradient, exact_gradient) < 3 * tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", PARALLEL)
def test_gradients_of_zero_inputs(name):
    """Where the candidate changes its form."""
    cell = rnnjax.CELLS[name](4)
    params, xs = init(cell, 3), np.zeros((5, 3), np.float32)

    def loss(params, kernel):
        return rnnjax.unroll(cell, params, xs, kernel=kernel)[1].sum()

    parallel, sequential = (jax.grad(loss)(params, kernel) for kernel in ("parallel", "scan"))
    chex.assert_trees_all_close(parallel, sequential, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", ["scan", "parallel"])
@pytest.mark.parametrize("name", slow_unless(("lru",), PARALLEL))
def test_not_even_a_nan_crosses_a_border(name, kernel):
    cell, params, xs, carry = draw(name, "float32")
    carry = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), carry)
    resets = np.zeros((TIME, 4), bool)
    resets[3] = True
    xs[:3] = np.nan

    _, ys = rnnjax.unroll(cell, params, xs, carry, resets=resets, kernel=kernel)
    _, alone = rnnjax.unroll(cell, params, xs[3:])
    np.testing.assert_allclose(ys[3:], alone, rtol=1e-5, atol=1e-6)
    assert not np.any(np.isfinite(ys[:3]))


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False), ("tpu", False)])
@pytest.mark.parametrize("name", ["lru", "gru"])
def test_the_kernel_of_a_platform(name, platform, loops):
    """Which is that of the platform compiled for, not of the one that this runs on."""
    cell, params, xs, carry = draw(name, "float32")
    program = jax.jit(lambda *inputs: rnnjax.unroll(cell, *inputs))
    text = jax.export.export(program, platforms=[platform])(params, xs, carry).mlir_module()
    assert ("stablehlo.while" in text) == (loops or name == "gru")


def test_a_cell_that_is_not_linear():
    cell = rnnjax.LSTM(4)
    with pytest.raises(
        ValueError, match=r'^kernel "parallel" needs a linear recurrence, and LSTM is none: use "scan"$'
    ):
        rnnjax.unroll(cell, init(cell, 3), np.zeros((5, 3), np.float32), kernel="parallel")
    with pytest.raises(
        ValueError,
        match=r"^unknown kernel 'paralel': did you mean 'parallel'\? Known: auto, scan, blocked, fused, cudnn,",
    ):
        rnnjax.unroll(cell, init(cell, 3), np.zeros((5, 3), np.float32), kernel="paralel")


def test_lru_starts_in_its_ring():
    cell = rnnjax.LRU(200, r_min=0.8, r_max=0.95, max_phase=0.5)
    params = jax.device_get(init(cell, 3))
    size, angle = np.exp(-np.exp(params.log_nu)), np.exp(params.log_theta)
    assert 0.8 <= size.min() < 0.81
    assert 0.94 < size.max() <= 0.95
    assert 0.4 < angle.max() <= 0.5
    np.testing.assert_allclose(np.exp(params.log_gamma), np.sqrt(1 - size**2), rtol=1e-4)
    for matrix, variance in ((params.c_re, 1 / 200), (params.c_im, 1 / 200), (params.b_re, 1 / 6), (params.d, 1 / 3)):
        np.testing.assert_allclose(np.var(matrix), variance, rtol=0.2)
    near = jax.device_get(init(rnnjax.LRU(200, r_min=0.9999), 3))
    assert np.all(np.isfinite(near.log_nu))


@pytest.mark.parametrize(("r_min", "r_max"), [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.1)])
def test_lru_ring(r_min, r_max):
    with pytest.raises(ValueError, match=r"^r_min and r_max must be 0 <= r_min < r_max <= 1, got"):
        rnnjax.LRU(4, r_min, r_max)
