"""Every documented error: its type, and one line that names the argument, what came and what is allowed."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import flow

CELL = rnnjax.LSTM(4)
PARAMS = CELL.init(jax.random.key(0), 3)
XS = jnp.zeros((5, 2, 3))
CARRY = CELL.initial_carry((2,))


def check(error, message, function, *args, **kwargs):
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert re.fullmatch(message, text), text


def run(xs=XS, carry=None, **options):
    return rnnjax.unroll(CELL, PARAMS, xs, carry, **options)


def last(carry, ys):
    return ys[-1].sum(-1)


def gradient_norms(xs=XS, carry=None, **options):
    return flow.gradient_norms(CELL, PARAMS, xs, last, carry, **options)


def parameter_norms(xs=XS, carry=None, **options):
    return flow.parameter_gradient_norms(CELL, PARAMS, xs, last, carry, **options)


def jacobians(xs=XS, carry=None, **options):
    return flow.jacobian_norms(CELL, PARAMS, xs, carry, **options)


@pytest.mark.parametrize("entry", [run, gradient_norms, parameter_norms, jacobians])
@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, r"xs has 7 features, but params were initialised for 3", {"xs": XS[..., [0] * 7]}),
        (ValueError, r"xs must be \[time, batch, features\] or .*, got shape \(5,\)", {"xs": XS[:, 0, 0]}),
        (ValueError, r"xs must have at least one time step, got shape \(0, 2, 3\)", {"xs": XS[:0]}),
        (TypeError, r"xs must be floating point, got int32: one-hot .*", {"xs": XS.astype(int)}),
        (TypeError, r"lengths must be integers, got float32", {"lengths": jnp.ones(2)}),
        (TypeError, r"lengths must be integers, got bool", {"lengths": jnp.ones(2, bool)}),
        (ValueError, r"lengths has shape \(3,\), but the batch of xs has shape \(2,\)", {"lengths": [1, 2, 3]}),
        (ValueError, r"lengths must be from 0 to 5, the time steps of xs, got 1 to 6", {"lengths": [1, 6]}),
        (ValueError, r"lengths must be from 0 to 5, the time steps of xs, got -1 to 5", {"lengths": np.array([5, -1])}),
        (ValueError, r"carry must be like cell.initial_carry\(\(2,\)\), .*LSTMCarry.*, got .*", {"carry": CARRY.h}),
        (
            ValueError,
            r"carry\.c has shape \(3, 4\), but the cell and the batch of xs want \(2, 4\)",
            {"carry": CARRY._replace(c=jnp.zeros((3, 4)))},
        ),
        (
            TypeError,
            r"carry\.h must be floating point, got int32",
            {"carry": CARRY._replace(h=jnp.zeros((2, 4), int))},
        ),
    ],
)
def test_sequences(entry, error, message, options):
    check(error, message, entry, **options)


def test_errors_come_before_tracing_too():
    check(ValueError, r"xs has 7 features, but .* 3", jax.jit(run), XS[..., [0] * 7])


@pytest.mark.parametrize("size", [0, -1, 2.0, "8", None])
@pytest.mark.parametrize("name", rnnjax.CELLS)
def test_sizes(name, size):
    check(ValueError, rf"hidden_size must be an integer of at least 1, got {size!r}", rnnjax.CELLS[name], size)
    cell = rnnjax.CELLS[name](4)
    check(ValueError, rf"input_size must be an integer of at least 1, got {size!r}", cell.init, jax.random.key(0), size)


def test_activation():
    check(
        ValueError,
        r"unknown activation 'tahn': did you mean 'tanh'\? Known: tanh, relu, identity, logistic",
        rnnjax.Elman,
        4,
        activation="tahn",
    )


@pytest.mark.parametrize("entry", [flow.gradient_norms, flow.parameter_gradient_norms])
@pytest.mark.parametrize(
    ("loss", "shape"),
    [(lambda carry, ys: ys.sum((1, 2)), r"\(5,\)"), (lambda carry, ys: ys[-1], r"\(2, 4\)")],
)
def test_loss_of_the_wrong_shape(entry, loss, shape):
    check(
        ValueError,
        rf"loss must return a scalar or one value an example, shape \(2,\), got shape {shape}",
        entry,
        CELL,
        PARAMS,
        XS,
        loss,
    )


@pytest.mark.parametrize("lags", [[0], [1, 6], [], [[1, 2]], [-1]])
def test_lags(lags):
    message = rf"lags must be integers from 1 to 5, the time steps of xs, got {re.escape(str(lags))}"
    check(ValueError, message, jacobians, lags=lags)


def test_component():
    check(ValueError, r"of must be a component of the carry, one of h, c, got 'cell'", jacobians, of="cell")
