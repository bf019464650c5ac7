"""What the tests of the learning algorithms share: one compiled program an algorithm, network and shape."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from tests.support import normal_like

TIME, BATCH, INPUTS, OUTPUTS = 7, 3, 2, 2


def squares(y, target):
    return jnp.square(y - target).sum(-1)


@partial(jax.jit, static_argnums=(0, 1))
def call(algorithm, cell, params, carry, xs, targets, weights, lengths, resets, key):
    return algorithm(
        cell, params, carry, xs, squares, targets=targets, weights=weights, lengths=lengths, resets=resets, key=key
    )


def learn(algorithm, case, carry=None, lengths=None, resets=None, key=0):
    """All data are given, so that tests of an algorithm share its program."""
    time, batch, _ = case.xs.shape
    lengths = np.full(batch, time) if lengths is None else np.asarray(lengths)
    resets = np.zeros((time, batch), bool) if resets is None else resets
    arguments = case.cell, case.params, carry, case.xs, case.targets, case.weights, lengths, resets
    return jax.device_get(call(algorithm, *arguments, jax.random.key(key)))


def draw_params(cell, scale=0.5):
    shapes = jax.eval_shape(lambda key: cell.init(key, INPUTS), jax.random.key(0))
    return jax.tree.map(np.float64, normal_like(shapes, 0, scale))


class Case:
    """A network with every parameter, input, target and weight drawn at random, in float64."""

    def __init__(self, cell, time=TIME, batch=BATCH, scale=0.5):
        self.cell = cell
        self.params = draw_params(cell, scale)
        random = np.random.RandomState(1)
        self.xs = random.standard_normal((time, batch, INPUTS))
        self.targets = random.standard_normal((time, batch, cell.output_size))
        self.weights = np.random.RandomState(3).rand(time, batch)

    def replace(self, **arrays):
        other = object.__new__(Case)
        vars(other).update(vars(self) | arrays)
        return other


def network(core):
    return rnnjax.Readout(core, OUTPUTS)
