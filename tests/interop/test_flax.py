"""flax's recurrent cells, linen and nnx, with random biases: outputs, final states and all gradients."""

import chex
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from rnnjax.interop import from_flax, to_flax
from rnnjax.interop.flax import KINDS
from tests.interop.parity import draw
from tests.support import normal_like, relative_error, slow_unless

INPUTS, HIDDEN, TIME, BATCH = 3, 4, 3, 2

OPTIONS = {"dtype": "float64", "param_dtype": "float64"}


def linen_cell(name):
    """The weights of a cell of linen, and its step as a function of them."""
    module = getattr(flax.linen, name)(HIDDEN, **OPTIONS)
    carry = module.initialize_carry(jax.random.key(0), (BATCH, INPUTS))
    weights = jax.eval_shape(module.init, jax.random.key(0), carry, jnp.zeros((BATCH, INPUTS)))["params"]
    return weights, lambda weights, carry, x: module.apply({"params": weights}, carry, x)


def nnx_cell(name):
    """The same of nnx."""
    module = getattr(nnx, name)(INPUTS, HIDDEN, **OPTIONS, rngs=nnx.Rngs(0))
    graph, state = nnx.split(module, nnx.Param)

    def step(weights, carry, x):
        loaded = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(loaded, weights)
        return nnx.merge(graph, loaded)(carry, x)

    return nnx.to_pure_dict(state), step


def make(kind):
    library, name = kind.split(".")
    return {"linen": linen_cell, "nnx": nnx_cell}[library](name)


def half_square(arrays):
    return sum(jnp.sum(jnp.square(array)) for array in arrays) / 2


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", slow_unless(("linen.GRUCell", "nnx.OptimizedLSTMCell"), KINDS))
def test_outputs_states_and_gradients(kind):
    like, step = make(kind)
    cell = KINDS[kind].cell(HIDDEN)
    weights = normal_like(like, 0, 0.5)
    xs = np.random.RandomState(1).standard_normal((TIME, BATCH, INPUTS))
    zeros = jnp.zeros((BATCH, HIDDEN))

    def theirs(weights, xs):
        start = (zeros, zeros) if cell == rnnjax.LSTM(HIDDEN) else zeros
        carry, ys = jax.lax.scan(lambda carry, x: step(weights, carry, x), start, xs)
        finals = carry[::-1] if isinstance(carry, tuple) else (carry,)  # theirs is c, h
        return half_square([ys, *finals]), (ys, finals)

    def ours(weights, xs):
        carry, ys = rnnjax.unroll(cell, from_flax(cell, weights, kind), xs)
        return half_square([ys, *carry]), (ys, tuple(carry))

    want, got = (jax.jit(jax.grad(f, argnums=(0, 1), has_aux=True))(weights, xs) for f in (theirs, ours))
    for left, right in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        assert left.dtype == right.dtype == "float64"
        assert relative_error(left, right) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind):
    cell = KINDS[kind].cell(HIDDEN)
    params = draw(cell, INPUTS)
    if kind == "nnx.GRUCell":
        params = params._replace(b_h=jnp.zeros(HIDDEN))
    chex.assert_trees_all_equal(from_flax(cell, to_flax(cell, params, kind), kind), params, strict=True)


def test_gru_of_nnx_would_lose_a_bias():
    """https://github.com/google/flax/issues/5594; linen's has it."""
    params = draw(rnnjax.GRU(HIDDEN), INPUTS)
    with pytest.raises(ValueError, match=r"params\.b_h is not zero, and nnx\.GRUCell has no place for it"):
        to_flax(rnnjax.GRU(HIDDEN), params, "nnx.GRUCell")
    np.testing.assert_array_equal(to_flax(rnnjax.GRU(HIDDEN), params, "linen.GRUCell")["hn"]["bias"], params.b_h)
