"""Layer normalisation of a cell's outputs."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell, carry_dtype
from rnnjax.cells.layer_norm import layer_norm
from rnnjax.compose.base import Composite, Run


class LayerNormOutputParams(NamedTuple):
    """The parameters of the cell, and gain and bias of its normalised outputs."""

    cell: Any
    b: Float[Array, "output_size"]
    gain: Float[Array, "output_size"]


@dataclass(frozen=True)
class LayerNorm(Composite[LayerNormOutputParams, Any], Around[LayerNormOutputParams, Any]):
    """Layer normalisation of what a cell gives out, between the layers of a stack:

        carry_t, y'_t = step(params, carry_(t-1), x_t),    y_t = gain * norm(y'_t) + b
        norm(y) = (y - mean(y)) / sqrt(var(y) + 1e-5)

    The carry is not normalised: for norms inside the recurrence see `LayerNormLSTM` and its like.

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016 (arXiv:1607.06450).
    """

    cell: Cell[Any, Any]

    def inner(self, params: LayerNormOutputParams) -> Any:
        return params.cell

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LayerNormOutputParams:
        size = self.output_size
        return LayerNormOutputParams(
            self.cell.init(key, input_size, dtype), jnp.zeros(size, dtype), jnp.ones(size, dtype)
        )

    def compose(self, params: LayerNormOutputParams, xs: Array, carry: Any, noise: Any, run: Run) -> tuple[Any, Array]:
        carry, ys = run(self.cell, params.cell, xs, carry, noise)
        return carry, params.gain * layer_norm(ys.astype(carry_dtype(ys.dtype)), 1) + params.b
