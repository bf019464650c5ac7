"""Biases of gates, and gates at their extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.initializers import Chrono, Rotations
from tests.support import init, normal_like, slow_unless

SIZE = 200


@pytest.mark.parametrize(
    "name", slow_unless(("lstm",), ["lstm", "lstm-peephole", "lstm-projected", "lstm-layer-norm", "slstm"])
)
def test_chrono_bias_of_an_lstm(name):
    """b_f = ln U[1, T - 1] and b_i = -b_f: the time constants 1 / (1 - f) are spread over 2 ... T."""
    b = np.asarray(init(rnnjax.CELLS[name](SIZE, forget_bias=Chrono(100)), 3).b)
    i, f, g, o = np.split(b, 4)
    np.testing.assert_array_equal(i, -f)
    assert not np.any(g)
    assert not np.any(o)
    check_time_constants(f)


@pytest.mark.parametrize("name", slow_unless(("gru",), ["gru", "gru-reset-before", "gru-layer-norm"]))
def test_chrono_bias_of_a_gru(name):
    r, z, n = np.split(np.asarray(init(rnnjax.CELLS[name](SIZE, update_bias=Chrono(100)), 3).b), 3)
    assert not np.any(r)
    assert not np.any(n)
    check_time_constants(z)


def check_time_constants(bias):
    """1 / (1 - gate), uniform over 2 ... 100."""
    constants = 1 / (1 - 1 / (1 + np.exp(-bias)))
    assert 2 <= constants.min() < 10
    assert 90 < constants.max() <= 100.01
    assert abs(constants.mean() - 51) < 4 * 98 / np.sqrt(12 * SIZE)


def test_chrono_bias_of_a_coupled_gate():
    f, g, o = np.split(np.asarray(init(rnnjax.CoupledLSTM(SIZE, forget_bias=Chrono(100)), 3).b), 3)
    assert not np.any(g)
    assert not np.any(o)
    check_time_constants(f)


def test_chrono_bias_of_min_lstm():
    i, f, n = np.split(np.asarray(init(rnnjax.MinLSTM(SIZE, forget_bias=Chrono(100)), 3).b), 3)
    np.testing.assert_array_equal(i, -f)
    assert not np.any(n)
    check_time_constants(f)


@pytest.mark.parametrize(
    "name", ["lstm", "lstm-peephole", "lstm-projected", "lstm-layer-norm", "slstm", "lstm-coupled"]
)
def test_forget_bias(name):
    b = np.split(np.asarray(init(rnnjax.CELLS[name](4, forget_bias=3.0), 3).b), 3 if name == "lstm-coupled" else 4)
    forget = 0 if name == "lstm-coupled" else 1
    for gate, values in enumerate(b):
        np.testing.assert_array_equal(values, 3.0 if gate == forget else 0.0)


def test_chrono_of_too_short_a_lag():
    with pytest.raises(ValueError, match=r"^max_lag must be at least 2, got 1$"):
        Chrono(1)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_rotations_have_eigenvalues_on_the_unit_circle(size):
    matrix = np.asarray(Rotations()(jax.random.key(0), (size, size), jnp.float32))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-6)
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(matrix)), 1, atol=1e-6)
    assert np.count_nonzero(np.abs(matrix) > 1e-6) <= 2 * size


@pytest.mark.usefixtures("x64")
def test_slstm_from_an_empty_state():
    """The derivatives at n = 0, where the stabiliser is that of the first input, are finite differences."""
    cell = rnnjax.SLSTM(1)
    drawn = init(cell, 1, "float64")
    params = drawn._replace(b=jnp.array([-3.0, 2.0, 0.5, 1.0]))
    zero = cell.initial_carry((), jnp.float64)

    def output(c, n):
        return cell.step(params, zero._replace(c=c, n=n), jnp.ones(1))[1][0]

    by_c, by_n = jax.grad(output, (0, 1))(zero.c, zero.n)
    step = jnp.full(1, 1e-7)
    base = output(zero.c, zero.n)
    np.testing.assert_allclose(by_n, (output(zero.c, step) - base) / 1e-7, rtol=1e-4)
    slope = (output(step, step) - output(zero.c, step)) / 1e-7
    np.testing.assert_allclose(by_c, slope, rtol=1e-4)


@pytest.mark.slow
def test_slstm_does_not_overflow():
    """Input gates of exp(500) and forget gates of exp(-500): h stays a weighted mean of the candidates."""
    cell = rnnjax.SLSTM(3)
    params = init(cell, 1)
    xs = np.ones((50, 1), np.float32)
    for bias_i, bias_f in ((500.0, 500.0), (500.0, -500.0), (-500.0, 500.0)):
        extreme = params._replace(b=jnp.repeat(jnp.array([bias_i, bias_f, 1.0, 1.0]), 3))

        def total(params):
            return rnnjax.unroll(cell, params, xs)[1].sum()

        value, gradient = jax.jit(jax.value_and_grad(total))(extreme)
        assert np.isfinite(value)
        assert all(np.all(np.isfinite(leaf)) for leaf in gradient)
        _, ys = rnnjax.unroll(cell, extreme, xs)
        assert np.all(np.abs(ys) <= 1)


def test_any_elementwise_activation():
    cell = rnnjax.Elman(3, activation=jnp.sin)
    params = init(cell, 2)
    x = np.array([0.5, -2.0], np.float32)
    _, y = cell.step(params, cell.initial_carry(), x)
    np.testing.assert_allclose(y, np.sin(x @ params.w_x), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "block", "bias"),
    [("gru", 1, 60), ("gru-reset-before", 1, 60), ("gru-layer-norm", 1, 60), ("mgu", 0, -200), ("min-gru", 0, -200)],
)
def test_a_shut_gate_keeps_the_state_to_the_last_bit(name, block, bias):
    """After 1000 steps in float32, whatever the inputs: rounding must not wear off what a gate keeps."""
    cell = rnnjax.CELLS[name](4)
    params = init(cell, 3)
    params = params._replace(b=params.b.at[4 * block : 4 * block + 4].set(bias))
    start = rnnjax.HiddenCarry(jnp.array([0.1, -0.3, 0.7, 0.9]))
    xs = normal_like(jax.ShapeDtypeStruct((1000, 3), jnp.float32), 0)
    final, _ = rnnjax.unroll(cell, params, xs, start)
    np.testing.assert_array_equal(final.h, start.h)
