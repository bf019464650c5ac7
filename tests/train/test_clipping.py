import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.train import clip_by_global_norm, clipped_adam, clipping_norms
from tests.support import normal_like

GRADIENTS = normal_like({"w": jnp.zeros((3, 4)), "b": jnp.zeros(4)}, 0)
NORM = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(GRADIENTS)))


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_clips_as_optax_does_and_tells_the_norms(share):
    clip = clip_by_global_norm(share * NORM)
    clipped, state = clip.update(GRADIENTS, clip.init(GRADIENTS))
    theirs = optax.clip_by_global_norm(share * NORM)
    want, _ = theirs.update(GRADIENTS, theirs.init(GRADIENTS))
    chex.assert_trees_all_equal(clipped, want)
    before, after = clipping_norms(state)
    np.testing.assert_allclose([before, after], [NORM, min(share, 1) * NORM], rtol=1e-6)


def test_infinity_never_clips():
    clip = clip_by_global_norm(jnp.inf)
    clipped, state = clip.update(GRADIENTS, clip.init(GRADIENTS))
    chex.assert_trees_all_equal(clipped, GRADIENTS)
    np.testing.assert_allclose(state, NORM, rtol=1e-6)


def test_thresholds_can_be_vmapped():
    thresholds = jnp.array([0.1, 1.0, jnp.inf])

    @jax.jit
    @jax.vmap
    def norms(max_norm):
        clip = clip_by_global_norm(max_norm)
        return clip.update(GRADIENTS, clip.init(GRADIENTS))[1]

    before, after = norms(thresholds)
    np.testing.assert_allclose(before, NORM, rtol=1e-6)
    np.testing.assert_allclose(after, [0.1, 1.0, NORM], rtol=1e-6)


def test_chain_is_clipping_then_adam_and_keeps_the_norms():
    chain = clipped_adam(0.01, 0.5 * NORM)
    theirs = optax.chain(optax.clip_by_global_norm(0.5 * NORM), optax.adam(0.01))
    state, their_state = chain.init(GRADIENTS), theirs.init(GRADIENTS)
    for factor in 1.0, 0.25:
        gradients = jax.tree.map(lambda leaf, factor=factor: factor * leaf, GRADIENTS)
        updates, state = chain.update(gradients, state, GRADIENTS)
        want, their_state = theirs.update(gradients, their_state, GRADIENTS)
        chex.assert_trees_all_close(updates, want, rtol=1e-6)
        np.testing.assert_allclose(clipping_norms(state), [factor * NORM, min(factor, 0.5) * NORM], rtol=1e-6)
