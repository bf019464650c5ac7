"""Recurrent neural networks in JAX, as pure functions, and instruments that show what they remember."""

from rnnjax import cells, compose, flow, initializers, interop, learn, models, tasks, train
from rnnjax.cells import *  # noqa: F403 - all of its __all__: a new cell has no third place here
from rnnjax.compose import *  # noqa: F403 - the same for compositions
from rnnjax.explain import explain_kernel
from rnnjax.scan import unroll

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "cells",
    "compose",
    "explain_kernel",
    "flow",
    "initializers",
    "interop",
    "learn",
    "models",
    "tasks",
    "train",
    "unroll",
    *cells.__all__,
    *compose.__all__,
]
