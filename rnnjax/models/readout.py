"""The smallest model: one cell and a linear readout of its outputs."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rnnjax.cells.base import Cell
from rnnjax.checks import check_size
from rnnjax.scan import unroll


class ReadoutParams(NamedTuple):
    """Weights of `Readout`: those of the cell, and the linear map after it."""

    cell: Any
    w: Float[Array, "cell_outputs outputs"]
    b: Float[Array, "outputs"]


@dataclass(frozen=True)
class Readout:
    """out_t = y_t w + b, with y_t the outputs of a cell: pure functions of a NamedTuple of parameters, as cells are.

    The readout starts with Glorot's uniform weights and no bias.
    """

    cell: Cell[Any, Any]
    output_size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_size", check_size("output_size", self.output_size))

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> ReadoutParams:
        key_cell, key_w = jax.random.split(key)
        w = jax.nn.initializers.glorot_uniform()(key_w, (self.cell.output_size, self.output_size), dtype)
        return ReadoutParams(self.cell.init(key_cell, input_size, dtype), w, jnp.zeros(self.output_size, dtype))

    def read(self, params: ReadoutParams, ys: Float[Array, "*batch cell_outputs"]) -> Float[Array, "*batch outputs"]:
        """The readout alone, of outputs of the cell."""
        return ys @ params.w + params.b

    def apply(
        self,
        params: ReadoutParams,
        xs: Float[Array, "time *batch features"],
        lengths: Int[ArrayLike, "*batch"] | None = None,
        **options: Any,
    ) -> Float[Array, "time *batch outputs"]:
        """From inputs to outputs, over time; `options` are those of `unroll`, such as `mask` and `key`."""
        _, ys = unroll(self.cell, params.cell, xs, lengths=lengths, **options)
        return self.read(params, ys)
