"""flax nnx: `nnx.RNN`, time-major, over its cells, split once and run as a pure function under `jax.jit`."""

from typing import Any

import numpy as np
from flax import nnx
from jax import Array

from benchmarks.peers.program import JaxNetwork, cell_of
from rnnjax.interop import from_flax, to_flax

PACKAGE = "flax"
CELLS: dict[str, Any] = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
LACKS: dict[str, str] = {}


def make(name: str, params: Any, xs: np.ndarray) -> JaxNetwork:
    cell, kind = cell_of(name, params), f"nnx.{CELLS[name].__name__}"
    # The weights are replaced, and there is no orthogonal matrix in bfloat16.
    options = {"recurrent_kernel_init": nnx.initializers.zeros_init(), "dtype": xs.dtype, "param_dtype": xs.dtype}
    single = CELLS[name](xs.shape[-1], cell.output_size, **options, rngs=nnx.Rngs(0))
    graph, weights, *rest = nnx.split(nnx.RNN(single, time_major=True, rngs=nnx.Rngs(0)), nnx.Param, ...)
    nnx.replace_by_pure_dict(weights, {"cell": to_flax(cell, params, kind)})

    def apply(weights: Any, xs: Array) -> Array:
        ys: Array = nnx.merge(graph, weights, *rest, copy=True)(xs)
        return ys

    return JaxNetwork(apply, weights, lambda gradients: from_flax(cell, nnx.to_pure_dict(gradients)["cell"], kind))
