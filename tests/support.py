"""What several tests are written with.

Compiling takes most of a test's time: it is done once for each shape, not at all for plain data, which numpy draws, and
without optimisation for samplers and initialisers (random bits take seconds to optimise and no time to run).
"""

import socket
from functools import partial

import jax
import numpy as np
import pytest

import rnnjax
from rnnjax import flow

sampler = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@partial(sampler, static_argnums=(0, 1, 2))
def init(cell, inputs, dtype="float32"):
    """The parameters of a cell, by its own initialisers."""
    return cell.init(jax.random.key(0), inputs, dtype)


def declared(cell, inputs, dtype="float32"):
    """The shapes and dtypes of the parameters of a cell."""
    return jax.eval_shape(lambda: cell.init(jax.random.key(0), inputs, dtype))


def normal_like(tree, seed, scale=1.0):
    """A pytree of the same shapes and dtypes with every leaf drawn at random: bugs hide behind zero biases.

    Drawn by numpy, so that the values are the same in every dtype.
    """
    random = np.random.RandomState(seed)
    return jax.tree.map(lambda leaf: (scale * random.standard_normal(leaf.shape)).astype(leaf.dtype), tree)


def relative_error(got, want):
    """The norm of the difference over that of what was wanted, over all leaves; never passes a NaN."""
    got, want = (np.concatenate([np.ravel(x).astype(np.float64) for x in jax.tree.leaves(t)]) for t in (got, want))
    assert got.shape == want.shape
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def slow_unless(fast, names):
    """Parameters for pytest: all `names`, or tuples of values, of which the fast tests take those in `fast`."""
    cases = [(name, name if isinstance(name, tuple) else (name,)) for name in names]
    return [pytest.param(*values, marks=() if name in fast else pytest.mark.slow) for name, values in cases]


def go_offline(monkeypatch, cache):
    """No name is resolved, as without a network: what fetches data runs down to there; its cache is `cache`."""
    pooch = pytest.importorskip("pooch")

    def getaddrinfo(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(pooch, "os_cache", lambda name: cache)
    monkeypatch.delenv("RNNJAX_DATA", raising=False)


unroll = jax.jit(
    rnnjax.unroll, static_argnames=("cell", "reverse", "batch_major", "deterministic", "unroll", "remat", "kernel")
)
gradient_norms = jax.jit(flow.gradient_norms, static_argnames=("cell", "loss"))
parameter_gradient_norms = jax.jit(flow.parameter_gradient_norms, static_argnames=("cell", "loss"))
jacobian_norms = jax.jit(flow.jacobian_norms, static_argnames=("cell", "lags", "of", "singular_values"))
