"""flax linen: `nn.RNN`, time-major, over its cells; of the two LSTMs the optimised one."""

from typing import Any

import numpy as np
from flax import linen
from jax import Array

from benchmarks.peers.program import JaxNetwork, cell_of
from rnnjax.interop import from_flax, to_flax

PACKAGE = "flax"
CELLS: dict[str, Any] = {"rnn": linen.SimpleCell, "lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell}
LACKS: dict[str, str] = {}


def make(name: str, params: Any, xs: np.ndarray) -> JaxNetwork:
    cell, kind = cell_of(name, params), f"linen.{CELLS[name].__name__}"
    # The carry takes its dtype from `param_dtype`.
    module = linen.RNN(CELLS[name](cell.output_size, param_dtype=xs.dtype), time_major=True)

    def apply(weights: Any, xs: Array) -> Array:
        ys: Any = module.apply({"params": weights}, xs)
        return ys

    return JaxNetwork(
        apply,
        {"cell": to_flax(cell, params, kind)},
        lambda gradients: from_flax(cell, gradients["cell"], kind),
    )
