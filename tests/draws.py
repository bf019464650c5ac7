"""Random inputs for tests, drawn by numpy, so that they are the same in every dtype."""

import jax
import numpy as np


def normal_like(tree, seed, scale=1.0):
    """A pytree of the same shapes and dtypes with every leaf drawn at random: bugs hide behind zero biases."""
    random = np.random.RandomState(seed)
    return jax.tree.map(lambda leaf: jax.numpy.asarray(scale * random.standard_normal(leaf.shape), leaf.dtype), tree)
