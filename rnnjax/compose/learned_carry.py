"""A learned initial carry."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell
from rnnjax.compose.base import Composite, Run


class LearnedCarryParams(NamedTuple):
    """The parameters of the cell, and the carry that every sequence starts from."""

    cell: Any
    carry: Any


@dataclass(frozen=True)
class LearnedCarry(Composite[LearnedCarryParams, Any], Around[LearnedCarryParams, Any]):
    """A cell whose initial carry is a parameter, the same for all sequences:

        carry_0 = params.carry,    carry_t, y_t = step(params.cell, carry_(t-1), x_t)

    It begins at zero. `unroll` starts from it when no carry is given, and after every reset.

    Source: M. L. Forcada, R. C. Carrasco, "Learning the Initial State of a Second-Order Recurrent Neural Network during
    Regular-Language Inference", Neural Computation 7(5), 1995.
    """

    cell: Cell[Any, Any]

    def inner(self, params: LearnedCarryParams) -> Any:
        return params.cell

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> LearnedCarryParams:
        params = self.cell.init(key, input_size, dtype)
        carry = self.cell.start(params, (), dtype)
        return LearnedCarryParams(params, jax.tree.map(lambda leaf: leaf.astype(dtype), carry))

    def start(self, params: LearnedCarryParams, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> Any:
        zeros = self.initial_carry(batch_shape, dtype)
        return jax.tree.map(
            lambda leaf, zero: jnp.broadcast_to(leaf, zero.shape).astype(zero.dtype), params.carry, zeros
        )

    def compose(self, params: LearnedCarryParams, xs: Array, carry: Any, noise: Any, run: Run) -> tuple[Any, Array]:
        return run(self.cell, params.cell, xs, carry, noise)
