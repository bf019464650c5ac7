"""What several tests are written with."""

import jax
import numpy as np


def normal_like(tree, seed, scale=1.0):
    """A pytree of the same shapes and dtypes with every leaf drawn at random: bugs hide behind zero biases.

    Drawn by numpy, so that the values are the same in every dtype.
    """
    random = np.random.RandomState(seed)
    return jax.tree.map(lambda leaf: jax.numpy.asarray(scale * random.standard_normal(leaf.shape), leaf.dtype), tree)


def relative_error(got, want):
    """The norm of the difference over that of what was wanted, over all leaves; never passes a NaN."""
    got, want = (np.concatenate([np.ravel(x).astype(np.float64) for x in jax.tree.leaves(t)]) for t in (got, want))
    assert got.shape == want.shape
    return np.linalg.norm(got - want) / np.linalg.norm(want)
