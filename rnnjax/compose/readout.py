"""A linear readout of a cell's outputs: with it, a network is one cell."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell
from rnnjax.checks import check_size
from rnnjax.compose.base import Composite, Run
from rnnjax.initializers import Glorot, Initializer


class ReadoutParams(NamedTuple):
    """Weights of `Readout`: those of the cell, the linear map after it, and the one from the inputs if there is one."""

    cell: Any
    w: Float[Array, "cell_outputs size"]
    b: Float[Array, "size"]
    w_x: Float[Array, "input_size size"] | None = None


@dataclass(frozen=True)
class Readout(Composite[ReadoutParams, Any], Around[ReadoutParams, Any]):
    """A cell and a linear map of its outputs to `size` features, the smallest model:

        carry_t, y'_t = step(params.cell, carry_(t-1), x_t),    y_t = y'_t w + b

    With `direct` the inputs go to the outputs as well, past the cell: + x_t w_x. It starts with weights by
    `output_init` and no bias.

    Source: J. L. Elman, "Finding structure in time", Cognitive Science 14(2), 1990: the output units.
    """

    cell: Cell[Any, Any]
    size: int
    output_init: Initializer = Glorot()
    direct: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "size", check_size("size", self.size))

    @property
    def output_size(self) -> int:
        return self.size

    def inner(self, params: ReadoutParams) -> Any:
        return params.cell

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> ReadoutParams:
        key_cell, key_w = jax.random.split(key)
        w = self.output_init(key_w, (self.cell.output_size, self.size), dtype)
        w_x = self.output_init(jax.random.fold_in(key, 2), (input_size, self.size), dtype) if self.direct else None
        return ReadoutParams(self.cell.init(key_cell, input_size, dtype), w, jnp.zeros(self.size, dtype), w_x)

    def compose(self, params: ReadoutParams, xs: Array, carry: Any, noise: Any, run: Run) -> tuple[Any, Array]:
        carry, ys = run(self.cell, params.cell, xs, carry, noise)
        ys = self.read(params, ys)
        return carry, ys if params.w_x is None else ys + xs @ params.w_x

    def read(self, params: ReadoutParams, ys: Float[Array, "*batch cell_outputs"]) -> Float[Array, "*batch size"]:
        """The readout alone, of outputs of the cell."""
        return ys @ params.w + params.b
