"""The gradient's norm over the steps of a trained model: ||dL/dh_t|| of every layer and direction."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from benchmarks.classify.experiment import time_major
from benchmarks.results import Record, digits
from rnnjax import Bidirectional, flow, unroll
from rnnjax.flow import by_lag
from rnnjax.models import Classifier
from rnnjax.tasks.labelled import Examples

MEASURED = 256
"""Examples, of the test split."""
DIRECTIONS = ("forward", "backward")


def measure(model: Classifier, examples: Examples) -> Iterator[Record]:
    """log10 of the norm against the steps to the direction's end, one record a layer and direction.

    The loss is that of each example. The norm is the mean over the examples that are so long, up to the length that
    half of them have.
    """
    some = jax.tree.map(lambda leaf: jnp.asarray(leaf[:MEASURED]), examples)
    lags = np.arange(int(np.median(some.lengths)))
    for layer, recurrent in enumerate(model.layers, 1):
        both = isinstance(recurrent.cell, Bidirectional)
        for direction in DIRECTIONS[: 1 + both]:
            norms = jax.jit(lambda some, layer=layer, to=direction: layer_norms(model, some, layer, to, lags))(some)
            yield {"layer": layer, "direction": direction, "lags": lags.tolist(), "log10_norm": digits(norms)}


def layer_norms(model: Classifier, some: Examples, layer: int, direction: str, lags: np.ndarray) -> Array:
    """log10 of the mean norm of dL/dh_t at each lag."""
    lengths = some.lengths
    xs = model.embed(time_major(some.inputs))
    real = model.real(xs, lengths)
    for below in model.layers[: layer - 1]:
        _, xs = below(xs, lengths=lengths, deterministic=True)
    recurrent, *above = model.layers[layer - 1 :]
    cell, params, merge = recurrent.cell, recurrent.params, lambda ys: ys
    if isinstance(cell, Bidirectional):
        ahead, back = cell.cells
        if direction == "forward":
            _, other = unroll(back, params.backward, xs, lengths=lengths, reverse=True)
            cell, params, merge = ahead, params.forward, lambda ys: jnp.concatenate([ys, other], -1)
        else:
            _, other = unroll(ahead, params.forward, xs, lengths=lengths)
            cell, params = back, params.backward
            xs, merge = turned(xs, lengths), lambda ys: jnp.concatenate([other, turned(ys, lengths)], -1)

    def loss(carry: Any, ys: Array) -> Array:
        ys = merge(ys)
        for layer in above:
            _, ys = layer(ys, lengths=lengths, deterministic=True)
        return optax.softmax_cross_entropy_with_integer_labels(model.read(ys, real), some.labels)

    norms = flow.gradient_norms(cell, params, xs, loss, lengths=lengths).per_example
    hidden = by_lag(norms._asdict().get("h", norms[0]), lengths, lags)  # NaN before the first step
    long_enough = lags[:, None] <= lengths
    return (jax.nn.logsumexp(hidden, 1, where=long_enough) - jnp.log(long_enough.sum(1))) / math.log(10)


def turned(xs: Array, lengths: ArrayLike) -> Array:
    """Every sequence back to front, its padding still behind it."""
    steps = jnp.arange(len(xs))[:, None]
    places = jnp.where(steps < lengths, lengths - 1 - steps, steps)
    return jnp.take_along_axis(xs, places[..., None], axis=0)
