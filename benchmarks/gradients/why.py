"""Why gradients vanish or explode, in numbers that the package computes."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnjax import Elman, ElmanParams, flow
from rnnjax.cells.elman import ACTIVATIONS


@dataclass(frozen=True)
class Recurrence:
    """A linear recurrence h_t = h_(t-1) W: what its matrix promises, and what its gradient does."""

    spectral_radius: float
    largest_singular_value: float
    norm_after_20: float
    """Norm of the gradient 20 steps back, of a gradient of ones over a batch of 2 (divided by 2)."""
    factor: float
    """What the last of these steps multiplied the norm by."""


@dataclass(frozen=True)
class Gate:
    """A gate that keeps the same share of the state at every step."""

    bias: float
    opening: float
    """logistic(bias)."""
    half_life: float
    """In steps."""


@dataclass(frozen=True)
class Why:
    """The numbers of the explanation."""

    growing: float
    """1.1^100."""
    shrinking: float
    """0.9^100."""
    tanh_slope: float
    """The largest derivative of tanh."""
    logistic_slope: float
    """The largest derivative of the logistic function."""
    matrix: Recurrence
    """A random 3 x 3 matrix (numpy's RandomState(3))."""
    halved: Recurrence
    """Half of it: its largest singular value is above 1, its spectral radius below, and the gradient vanishes."""
    gates: tuple[Gate, ...]
    """Forget gates of an LSTM with no input but their bias, of 1 and of 5."""


def explain() -> Why:
    matrix = np.random.RandomState(3).randn(3, 3)
    return Why(
        **{name: float(number) for name, number in _scalars().items()},
        matrix=_recurrence(matrix),
        halved=_recurrence(0.5 * matrix),
        gates=tuple(_gate(bias) for bias in (1.0, 5.0)),
    )


def _linear(w_h: Array) -> tuple[Elman, ElmanParams]:
    """A network of linear units with the given recurrent weights and an input that it ignores."""
    size = len(w_h)
    return Elman(size, activation="identity"), ElmanParams(jnp.zeros((1, size)), w_h, jnp.zeros(size))


@jax.jit
def _scalars() -> dict[str, Array]:
    def power(w: float, lag: int) -> Array:
        cell, params = _linear(jnp.array([[w]]))
        return jnp.exp(flow.jacobian_norms(cell, params, jnp.zeros((lag, 1)), lags=[lag]).log_spectral[0])

    def largest_slope(activation: str) -> Array:
        slope = jax.grad(lambda x: ACTIVATIONS[activation](x[None])[0])
        return jax.vmap(slope)(jnp.linspace(-5, 5, 1001)).max()

    return {
        "growing": power(1.1, 100),
        "shrinking": power(0.9, 100),
        "tanh_slope": largest_slope("tanh"),
        "logistic_slope": largest_slope("logistic"),
    }


@jax.jit
def _log_norms(w_h: Array) -> Array:
    """ln of the norm of the gradient at every step, of ones at the end of 20 steps and a batch of 2."""
    cell, params = _linear(w_h)
    norms = flow.gradient_norms(cell, params, jnp.zeros((20, 2, 1)), lambda carry, ys: carry.h.sum())
    return 0.5 * jax.nn.logsumexp(2 * norms.per_example.h, axis=1)


LONG = 4096
"""Steps after which only the largest eigenvalue counts."""


@jax.jit
def _log_spectral_norms(w_h: Array) -> Array:
    """ln of the largest singular value of W, of its power LONG, and of its power 2 LONG."""
    cell, params = _linear(w_h)
    return flow.jacobian_norms(cell, params, jnp.zeros((2 * LONG, 1)), lags=[1, LONG, 2 * LONG]).log_spectral


def _recurrence(matrix: np.ndarray) -> Recurrence:
    w_h = jnp.asarray(matrix, jnp.float32)
    log_norms, (one, long, twice) = np.asarray(_log_norms(w_h)), np.asarray(_log_spectral_norms(w_h))
    return Recurrence(
        spectral_radius=math.exp((twice - long) / LONG),  # Gelfand's formula
        largest_singular_value=math.exp(one),
        norm_after_20=math.exp(log_norms[0]) / 2,
        factor=math.exp(log_norms[0] - log_norms[1]),
    )


def _gate(bias: float) -> Gate:
    opening = jax.nn.sigmoid(bias)
    return Gate(bias, float(opening), float(flow.half_life(-jnp.log(opening))))
