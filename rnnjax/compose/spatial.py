"""Cells over space, on vectors."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from rnnjax.cells.base import Cell
from rnnjax.compose.base import Around, Composite, Run


@dataclass(frozen=True)
class SpatialBroadcast(Composite[Any, Any], Around[Any, Any]):
    """A cell over space (`ConvLSTM`) on vectors:

        carry_t, Y_t = step(params, carry_(t-1), X_t) with X_t = x_t at every position,    y_t = all of Y_t in one axis

    Positions differ by where the border is. So a cell over space takes part wherever vectors come in and go out.

    Source: N. Watters et al., "Spatial Broadcast Decoder", 2019 (arXiv:1901.07017), for the inputs.
    """

    cell: Cell[Any, Any]

    @property
    def output_size(self) -> int:
        return math.prod(self.cell.feature_shape(self.cell.output_size))

    def feature_shape(self, size: int) -> tuple[int, ...]:
        return (size,)

    def compose(self, params: Any, xs: Array, carry: Any, noise: Any, run: Run) -> tuple[Any, Array]:
        *leading, size = xs.shape
        space = self.cell.feature_shape(size)
        xs = jnp.broadcast_to(xs.reshape(*leading, *(1 for _ in space[1:]), size), (*leading, *space))
        carry, ys = run(self.cell, params, xs, carry, noise)
        return carry, ys.reshape(*leading, self.output_size)
