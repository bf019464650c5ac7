"""Half and single precision over a long time, against the float64 run of the same weights and inputs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from tests.conformance.test_cells import make
from tests.support import init, normal_like, relative_error

TIME, BATCH, INPUTS, HIDDEN = 1000, 4, 8, 32
# Where nothing wears an error off, the roundings of all steps add up, to time * 2**-24 in float32 at worst.
TOLERANCES = {"float32": TIME * 2**-24, "bfloat16": 2e-2}
CASES = [("lstm", "bfloat16")]
CASES += [
    pytest.param(name, dtype, marks=pytest.mark.slow)
    for dtype, names in {
        "float32": ("lstm", "rnn-relu", "gru", "lstm-1997", "slstm", "lru"),
        "bfloat16": [name for name in [*rnnjax.CELLS, "stack", "bidirectional", "zoneout"] if name != "lstm"],
    }.items()
    for name in names
]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_outputs_and_gradients_after_1000_steps(name, dtype):
    cell = make(name, HIDDEN)
    params = init(cell, INPUTS, dtype)
    xs = normal_like(jax.ShapeDtypeStruct((TIME, BATCH, INPUTS), dtype), 1)

    # Of an output of 60, which has no damping, the sine would turn half a bit of bfloat16 into another sign.
    cotangent = np.random.RandomState(2).standard_normal((TIME, BATCH, cell.output_size)).astype("float32")

    @partial(jax.jit, static_argnums=0)
    def outcome(width, params, xs):
        params, xs = jax.tree.map(lambda leaf: leaf.astype(width), (params, xs))

        def loss(params, xs):
            final, ys = rnnjax.unroll(cell, params, xs, deterministic=True)
            return jnp.mean(ys * cotangent), (final, ys)

        gradients, results = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, xs)
        return *results, gradients

    got = outcome(dtype, params, xs)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(got[0]))
    with jax.enable_x64(True):
        want = outcome("float64", params, xs)
    for part, other in zip(got, want, strict=True):
        assert relative_error(part, other) < TOLERANCES[dtype]
