"""Settings of `unroll` that change how a result is computed, and not the result; the battery has the rest."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from tests.support import init, normal_like, slow_unless

CELLS = {
    "lstm": rnnjax.LSTM(5),
    "gru-reset-before": rnnjax.GRUResetBefore(5),
    "lru": rnnjax.LRU(5),
    "stack": rnnjax.Stack((rnnjax.Bidirectional(rnnjax.GRU(4)), rnnjax.Dropout(rnnjax.Elman(5), 0.5))),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("reverse", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", slow_unless(("gru-reset-before",), CELLS))
def test_remat_changes_nothing(name, reverse):
    """Results and gradients, with dropout, gaps and borders, in segments that fit and that do not."""
    cell, random = CELLS[name], np.random.RandomState(0)
    params, xs = normal_like(init(cell, 3, "float64"), 0, 0.5), random.randn(35, 2, 3)
    mask, resets = random.rand(35, 2) < 0.8, random.rand(35, 2) < 0.2

    @partial(jax.jit, static_argnums=0)
    def outcome(remat, params, xs):
        def loss(params, xs):
            key = jax.random.key(0)
            carry, ys = rnnjax.unroll(cell, params, xs, mask=mask, resets=resets, reverse=reverse, key=key, remat=remat)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((carry, ys))), (carry, ys)

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, xs)

    for remat in (7, "sqrt", 50):
        chex.assert_trees_all_close(outcome(remat, params, xs), outcome(None, params, xs), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kernel", ["auto", "scan"])
def test_memory_grows_with_the_root_of_time(kernel):
    """What the backward pass keeps beside inputs, outputs and their gradients."""
    cell = rnnjax.LSTM(64)
    params = init(cell, 1)

    def kept(time, remat):
        def loss(params, xs):
            return jnp.mean(rnnjax.unroll(cell, params, xs, remat=remat, kernel=kernel)[0].h)

        xs = jax.ShapeDtypeStruct((time, 8, 1), jnp.float32)
        return jax.jit(jax.grad(loss)).lower(params, xs).compile().memory_analysis().temp_size_in_bytes

    short, long = kept(400, "sqrt"), kept(6400, "sqrt")
    outputs = 6000 * 8 * 64 * 4
    assert long < 5 * short + 2 * outputs  # the root of 16 is 4
    assert long < kept(6400, None) / 4


@pytest.mark.parametrize("remat", [0, -1, 2.5, "root"])
def test_bad_remat(remat):
    cell = rnnjax.LSTM(4)
    with pytest.raises((TypeError, ValueError), match=r"^remat must be an integer of at least 1, got"):
        rnnjax.unroll(cell, init(cell, 3), np.zeros((5, 3), np.float32), remat=remat)
