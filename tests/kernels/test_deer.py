"""Nonlinear recurrences, all steps at once by Newton's method, against one step after the other."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.kernels.deer import Deer
from rnnjax.newton import evaluate
from tests.support import init, normal_like, relative_error, slow_unless, unroll

TIME, LENGTHS = 9, np.array([9, 0, 4, 1])

newton = jax.jit(evaluate, static_argnames=("cell", "settings"))


def draw(name, dtype="float64", time=TIME, scale=0.5, hidden=5):
    cell = rnnjax.CELLS[name](hidden)
    params = normal_like(init(cell, 3, dtype), 0, scale)
    xs = normal_like(jax.ShapeDtypeStruct((time, 4, 3), dtype), 1)
    return cell, params, xs, normal_like(jax.eval_shape(lambda: cell.initial_carry((4,), dtype)), 2)


def by_scan(cell, params, xs, carry, **steps):
    return rnnjax.unroll(cell, params, xs, carry, kernel="scan", **steps)


def by_newton(cell, params, xs, carry, settings=Deer(), **steps):
    return evaluate(cell, params, xs, carry, settings=settings, **steps)[:2]


def loss_of(results):
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(results))


@partial(jax.jit, static_argnums=(0, 1, 2))
def outcome(run, cell, settings, params, xs, carry, mask, resets):
    """Final carry, outputs and all gradients, with steps that must not be seen and borders; the report of Newton."""

    def loss(params, xs, carry):
        steps = {"lengths": LENGTHS, "mask": mask, "resets": resets}
        if run == "scan":
            results, report = rnnjax.unroll(cell, params, xs, carry, kernel="scan", **steps), None
        else:
            *results, report = evaluate(cell, params, xs, carry, settings=settings, **steps)
        return loss_of(results), (tuple(results), report)

    (_, (results, report)), gradients = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, xs, carry)
    return (results, gradients), report


def check(cell, settings, params, xs, carry, rtol=1e-11, atol=1e-12):
    random = np.random.RandomState(0)
    mask, resets = random.rand(TIME, 4) < 0.8, random.rand(TIME, 4) < 0.2
    xs = np.where(mask[..., None] & (np.arange(TIME)[:, None] < LENGTHS)[..., None], xs, np.nan)
    point = params, xs, carry, mask, resets
    got, report = outcome("newton", cell, settings, *point)
    want, _ = outcome("scan", cell, settings, *point)
    chex.assert_trees_all_close(got, want, rtol=rtol, atol=atol)
    return report


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "name", slow_unless(("lstm",), ["rnn", "lstm", "lstm-1997", "slstm", "gru-reset-before", "lru", "lstm-conv"])
)
def test_newton_is_sequential(name):
    cell, params, xs, carry = draw(name)
    report = check(cell, Deer(), params, xs, carry)
    assert np.all(report.converged)
    assert not report.fell_back
    assert report.iterations <= TIME


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("settings", [Deer(jacobian="diagonal"), Deer(damping=0.5), Deer(damping=1.0)], ids=repr)
@pytest.mark.parametrize("name", ["lstm", "gru-reset-before"])
def test_gradients_are_exact_with_any_jacobian(name, settings):
    report = check(rnnjax.CELLS[name](5), settings, *draw(name)[1:])
    assert not report.fell_back


@pytest.mark.usefixtures("x64")
def test_a_linear_recurrence_takes_one_iteration():
    cell, params, xs, carry = draw("rnn-identity")
    _, ys, report = newton(cell, params, xs, carry)
    assert report.iterations == 1
    np.testing.assert_allclose(ys, unroll(cell, params, xs, carry)[1], rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_the_error_is_squared():
    """Residuals of a contractive network after 2, 3, ... iterations, down to rounding."""
    cell, params, xs, carry = draw("rnn", time=12, scale=0.3)
    residuals = []
    for iterations in range(2, 6):
        settings = Deer(tolerance=np.inf, max_iterations=iterations, stop_early=False)
        report = newton(cell, params, xs, carry, settings=settings)[2]
        assert report.iterations == iterations
        residuals.append(np.max(report.residual))
    assert residuals[0] > 1e-2
    assert residuals[-1] < 1e-14
    for before, after in itertools.pairwise(residuals):
        assert after < before**2 + 1e-14


@pytest.mark.usefixtures("x64")
def test_chaos_falls_back():
    cell, params, xs, carry = draw("rnn", time=40)
    params = params._replace(w_h=5 * params.w_h)
    settings = Deer(max_iterations=3)
    _, ys, report = newton(cell, params, xs, carry, settings=settings)
    assert report.fell_back
    assert report.iterations == 3
    assert not np.any(report.converged)
    assert np.all(report.residual > 1e-3)
    np.testing.assert_allclose(ys, unroll(cell, params, xs, carry, kernel="scan")[1], rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_gradients_where_it_falls_back():
    cell, params, xs, carry = draw("rnn")
    report = check(cell, Deer(max_iterations=1), params._replace(w_h=5 * params.w_h), xs, carry, rtol=1e-8)
    assert report.fell_back


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("jacobian", ["full", "diagonal"])
def test_as_many_iterations_as_steps_are_always_enough(jacobian):
    """The first k steps are exact after k iterations, whatever A_t is: here in chaos."""
    cell, params, xs, carry = draw("rnn", time=12)
    params = params._replace(w_h=5 * params.w_h)
    settings = Deer(max_iterations=12, jacobian=jacobian, damping=0.9)
    _, ys, report = newton(cell, params, xs, carry, settings=settings)
    assert not report.fell_back
    np.testing.assert_allclose(ys, unroll(cell, params, xs, carry, kernel="scan")[1], rtol=0, atol=1e-9)


@pytest.mark.usefixtures("x64")
def test_what_is_not_finite_falls_back():
    """And not even a NaN crosses a border."""
    cell, params, xs, carry = draw("gru")
    carry = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), carry)
    resets = np.zeros((TIME, 4), bool)
    resets[3, 1:] = True
    _, ys, report = newton(cell, params, xs, carry, resets=resets)
    assert report.fell_back
    assert np.all(np.isnan(report.residual))
    np.testing.assert_allclose(ys[3:, 1:], unroll(cell, params, xs[3:, 1:])[1], rtol=1e-12)
    assert np.all(np.isnan(ys[:, 0]))


@pytest.mark.slow
def test_half_precision():
    """Against the float64 run of the same weights; the carry is in float32."""
    cell, params, xs, _ = draw("lstm", "bfloat16", time=30)
    carry, ys, report = newton(cell, params, xs)
    assert not report.fell_back
    assert ys.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in carry)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs))
        exact, _ = unroll(cell, *wide)
    assert relative_error(carry, exact) < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_single_precision_over_a_long_time(name):
    cell, params, xs, _ = draw(name, "float32", time=1000, scale=0.3)

    @partial(jax.jit, static_argnums=0)
    def gradient(run, params, xs):
        results, pull = jax.vjp(lambda params: run(cell, params, xs, None)[1], params)
        return results, pull(jnp.cos(results))

    got = gradient(by_newton, params, xs)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs))
        want = gradient(by_scan, *wide)
    assert relative_error(got[0], want[0]) < 1e-6
    assert relative_error(got[1], want[1]) < 1e-5
    assert not newton(cell, params, xs)[2].fell_back


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_forward_mode():
    """A directional derivative against finite differences."""
    cell, params, xs, carry = draw("gru", time=5, hidden=3)
    direction = normal_like(params, 3)

    @jax.jit
    def slope(params):
        return jax.jvp(lambda params: loss_of(by_newton(cell, params, xs, carry)), (params,), (direction,))

    step = 1e-5
    nearby = [jax.tree.map(lambda p, d, sign=sign: p + sign * step * d, params, direction) for sign in (1, -1)]
    difference = np.subtract(*(slope(point)[0] for point in nearby)) / (2 * step)
    np.testing.assert_allclose(slope(params)[1], difference, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_second_derivatives():
    """The Hessian times a vector, reverse over reverse and forward over reverse."""
    cell, params, xs, carry = draw("gru", time=5, hidden=3)
    direction = normal_like(params, 3)

    @partial(jax.jit, static_argnums=0)
    def products(run, params):
        gradient = jax.grad(lambda params: loss_of(run(cell, params, xs, carry)))
        _, pull = jax.vjp(gradient, params)
        return pull(direction)[0], jax.jvp(gradient, (params,), (direction,))[1]

    chex.assert_trees_all_close(products(by_newton, params), products(by_scan, params), rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("x64")
def test_seeds_converge_by_themselves():
    """One of two networks is chaotic; without a batch axis."""
    cell, params, xs, _ = draw("rnn", time=40)
    both = jax.tree.map(lambda leaf: np.stack([0.5 * leaf, leaf]), params)
    both = both._replace(w_h=both.w_h * np.array([1.0, 5.0])[:, None, None])
    settings = Deer(max_iterations=6)
    _, ys, report = jax.jit(jax.vmap(lambda params: evaluate(cell, params, xs[:, 0], settings=settings)))(both)
    assert report.fell_back.tolist() == [False, True]
    assert report.converged.tolist() == [True, False]
    for seed in range(2):
        alone = jax.tree.map(lambda leaf, seed=seed: leaf[seed], both)
        want = unroll(cell, alone, xs[:, 0], kernel="scan")[1]
        np.testing.assert_allclose(ys[seed], want, rtol=0, atol=1e-8)


@pytest.mark.slow
def test_batch_over_devices():
    cell, params, xs, _ = draw("gru", "float32")
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec

    spread = jax.shard_map(
        lambda params, xs: evaluate(cell, params, xs)[1],
        mesh=mesh,
        in_specs=(spec(), spec(None, "batch")),
        out_specs=spec(None, "batch"),
    )

    @partial(jax.jit, static_argnums=0)
    def gradient(run, params):
        return jax.value_and_grad(lambda params: loss_of(run(params, xs)))(params)

    got, want = gradient(spread, params), gradient(lambda params, xs: by_scan(cell, params, xs, None)[1], params)
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_guess_that_is_far_off():
    """A long memory: products of its Jacobians overflow at once, those of their diagonals do not."""
    cell = rnnjax.LSTM(8, forget_bias=6.0)
    params, xs = init(cell, 3), normal_like(jax.ShapeDtypeStruct((2000, 2, 3), "float32"), 1)
    want = unroll(cell, params, xs)[1]
    _, ys, report = newton(cell, params, xs)
    assert report.fell_back
    assert report.iterations < 5
    assert relative_error(ys, want) < 1e-6
    _, ys, report = newton(cell, params, xs, settings=Deer(jacobian="diagonal", max_iterations=100))
    assert not report.fell_back
    assert relative_error(ys, want) < 1e-5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": 0.0}, r"^tolerance must be a number above 0, or None, got 0.0$"),
        ({"tolerance": float("nan")}, r"^tolerance must be a number above 0, or None, got nan$"),
        ({"max_iterations": 0}, r"^max_iterations must be an integer of at least 1, got 0$"),
        ({"jacobian": "none"}, r"^jacobian must be one of full, diagonal, got 'none'$"),
        ({"damping": 1.5}, r"^damping must be a number from 0 to 1, got 1.5$"),
    ],
)
def test_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Deer(**settings)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (rnnjax.Stack((rnnjax.GRU(4),)), r"^cell must make its own steps, and Stack is made of cells: evaluate these"),
        (rnnjax.Zoneout(rnnjax.GRU(4)), r"^cell must not draw random numbers, and Zoneout does: use unroll$"),
    ],
    ids=["composition", "random"],
)
def test_cells_that_cannot(cell, message):
    with pytest.raises(ValueError, match=message):
        evaluate(cell, None, np.zeros((5, 3), np.float32))
