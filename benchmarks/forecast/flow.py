"""How much of the error of a forecast reaches the steps before it, in steps of the input."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from benchmarks.results import Record, digits
from rnnjax import flow
from rnnjax.models import Forecaster, Recurrent


def gradient_curves(
    build: Callable[..., Forecaster], parts: tuple[Any, Any], stretches: np.ndarray, window: int
) -> Record:
    """`log_norms` of every member, for a record, with the lags that they stand at; `parts`: parameters and state."""

    def measure(params: Any, state: Any) -> Array:
        model = build(params, state)
        model.eval()
        return log_norms(model, jnp.asarray(stretches), window)

    curves = jax.jit(jax.vmap(measure))(*parts)
    one = build(*jax.tree.map(lambda leaf: leaf[0], parts))
    return {
        "of": "the carries" if recurrent(one) else "the input",
        "lags": lags(one, window).tolist(),
        "log_norms": digits(np.asarray(curves)),
    }


def recurrent(model: Forecaster) -> bool:
    return any(isinstance(layer, Recurrent) for layer in model.layers)


def lags(model: Forecaster, window: int) -> np.ndarray:
    """How many steps of the input each step of the layers lies before the last one."""
    places = np.arange(window) if model.front is None else model.front.places(window)
    return window - 1 - places


def log_norms(
    model: Forecaster, stretches: Float[Array, "batch steps variables"], window: int
) -> Float[Array, "places"]:
    """ln ||dL/dh_t|| at every step, h_t all carries of all layers, of the squared error L of the last forecast.

    The mean of the norms over the examples. Of a network without carries, ln ||dL/dx_t||.
    """
    values = jnp.swapaxes(stretches, 0, 1)
    targets = jnp.swapaxes(values[window : window + model.horizon], 0, 1)[..., : model.outputs]
    xs = values[:window] if model.front is None else model.front(values[:window])

    def loss(first: int, _: Any, ys: Array) -> Array:
        """Of every example, from the outputs of the layer before `first`."""
        return jnp.square(model.read(model.run(ys, first))[-1] - targets).mean((1, 2))

    if not recurrent(model):
        gradient = jax.grad(lambda xs: loss(0, None, xs).sum())(xs)
        return flow.log_mean(jnp.log(jnp.linalg.norm(gradient, axis=-1)))
    norms: list[Array] = []
    for number, layer in enumerate(model.layers):
        if isinstance(layer, Recurrent):
            found = flow.gradient_norms(layer.cell, layer.params, xs, partial(loss, number + 1))
            norms += jax.tree.leaves(found.per_example)
        xs = model.run(xs, number, number + 1)
    whole = 0.5 * jax.nn.logsumexp(2 * jnp.stack(norms), axis=0)
    return flow.log_mean(whole)[1:]
