"""Every documented error: its type, and one line that names the argument, what came and what is allowed."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
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
            r"carry\.c has shape \(3, 4\), but cell.initial_carry\(\(2,\)\) has \(2, 4\)",
            {"carry": CARRY._replace(c=jnp.zeros((3, 4)))},
        ),
        (
            TypeError,
            r"carry\.h must be floating point, got int32",
            {"carry": CARRY._replace(h=jnp.zeros((2, 4), int))},
        ),
        (
            TypeError,
            r"carry\.c must be floating point, got complex64",
            {"carry": CARRY._replace(c=jnp.zeros((2, 4), complex))},
        ),
    ],
)
def test_sequences(entry, error, message, options):
    check(error, message, entry, **options)


@pytest.mark.parametrize("name", ["mask", "resets"])
def test_flags(name):
    check(TypeError, f"{name} must be booleans, got int32", run, **{name: np.ones((5, 2), np.int32)})
    message = rf"{name} has shape \(5,\), but time and batch of xs have shape \(5, 2\)"
    check(ValueError, message, run, **{name: np.ones(5, bool)})


def test_errors_come_before_tracing_too():
    check(ValueError, r"xs has 7 features, but .* 3", jax.jit(run), XS[..., [0] * 7])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (rnnjax.LSTM(5), r"params\.w_x has shape \(3, 16\), but LSTM.init\(key, 3\) has \(3, 20\)"),
        (rnnjax.GRU(4), r"params must be like GRU.init\(key, 3\), .*GRUParams.*, got .*LSTMParams.*"),
        (rnnjax.LRU(4), r"params must be what LRU.init returns, got .*LSTMParams.*"),
    ],
)
def test_parameters_of_another_cell(cell, message):
    check(ValueError, message, rnnjax.unroll, cell, PARAMS, XS)
    check(ValueError, message, cell.step, PARAMS, CARRY, XS[0])


@pytest.mark.parametrize(
    ("error", "message", "carry", "x"),
    [
        (ValueError, r"x has 7 features, but params were initialised for 3", CARRY, XS[0][:, [0] * 7]),
        (TypeError, r"x must be floating point, got int32: one-hot .*", CARRY, XS[0].astype(int)),
        (ValueError, r"carry\.h has shape \(4,\), but .* has \(2, 4\)", CELL.initial_carry(), XS[0]),
    ],
)
def test_one_step(error, message, carry, x):
    check(error, message, CELL.step, PARAMS, carry, x)


@pytest.mark.parametrize("carry_dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_carry_is_cast_to_its_declared_dtype(dtype, carry_dtype):
    params = CELL.init(jax.random.key(0), 3, dtype)
    carry, y = CELL.step(params, CELL.initial_carry((2,), carry_dtype), XS[0].astype(dtype))
    assert (carry.h.dtype, carry.c.dtype, y.dtype) == (jnp.float32, jnp.float32, dtype)


def test_initialisation():
    check(TypeError, "dtype must be floating point, got int32", CELL.init, jax.random.key(0), 3, jnp.int32)
    for initializer in rnnjax.initializers.Glorot(), rnnjax.initializers.Identity():
        cell = rnnjax.LSTM(4, bias_init=initializer)
        check(ValueError, r".* is for matrices, got shape \(4,\): not for biases", cell.init, jax.random.key(0), 3)
    check(ValueError, "size must be an integer of at least 1, got 0", rnnjax.Readout, CELL, 0)


def test_clipping():
    check(ValueError, "max_norm must be positive, got -1.0", rnnjax.train.clip_by_global_norm, -1.0)
    state = optax.adam(0.1).init(PARAMS)
    check(ValueError, "state is not of a chain with .*_by_global_norm or .*clip", rnnjax.train.clipping_norms, state)


@pytest.mark.parametrize("size", [0, -1, 2.0, "8", None, True])
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


@pytest.mark.parametrize(
    ("loss", "got"), [(lambda carry, ys: 1.0, "float"), (lambda carry, ys: (ys.sum(), 0), "tuple")]
)
def test_loss_of_the_wrong_type(loss, got):
    message = f"loss must return a floating-point array, got {got}"
    check(TypeError, message, flow.gradient_norms, CELL, PARAMS, XS, loss)


@pytest.mark.parametrize("lags", [[0], [1, 6], [], [[1, 2]], [-1], [1.5]])
def test_lags(lags):
    message = rf"lags must be integers from 1 to 5, the time steps of xs, got {re.escape(str(lags))}"
    check(ValueError, message, jacobians, lags=lags)


def test_component():
    check(ValueError, r"of must be a component of the carry, one of h, c, got 'cell'", jacobians, of="cell")
