"""Dilated recurrence: connections that skip time steps."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell
from rnnjax.checks import check_size
from rnnjax.compose.base import check_step


class DilatedCarry(NamedTuple):
    """The last `dilation` carries of the cell, the oldest first, on an axis after those of the batch."""

    past: Any


@dataclass(frozen=True)
class Dilated(Around[Any, DilatedCarry]):
    """A cell whose recurrent connection skips time steps, from `dilation` steps ago to now:

        carry_t, y_t = step(params, carry_(t - dilation), x_t)

    It is `dilation` interleaved recurrences with the same parameters; an error reaches a given lag in `dilation` times
    fewer steps. Stacks of dilations 1, 2, 4, ... see every lag.

    Source: S. Chang et al., "Dilated Recurrent Neural Networks", 2017 (arXiv:1710.02224).
    """

    cell: Cell[Any, Any]
    dilation: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "dilation", check_size("dilation", self.dilation))
        check_step(self.cell)

    @property
    def has_separate_units(self) -> bool:
        return False

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> DilatedCarry:
        return DilatedCarry(self.cell.initial_carry((*batch_shape, self.dilation), dtype))

    def start(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> DilatedCarry:
        return DilatedCarry(self.cell.start(params, (*batch_shape, self.dilation), dtype))

    def advance(self, params: Any, carry: DilatedCarry, z: Any) -> DilatedCarry:
        new = self.cell.advance(params, self._carry(carry, 0), z)

        def shift(past: Array, new: Array, axis: int) -> Array:
            return jnp.concatenate(
                [jax.lax.slice_in_dim(past, 1, None, axis=axis), jnp.expand_dims(new, axis)], axis=axis
            )

        return DilatedCarry(jax.tree.map(shift, carry.past, new, self._axes()))

    def output(self, params: Any, carry: DilatedCarry, z: Any) -> Array:
        return self.cell.output(params, self._carry(carry, -1), z)

    def _carry(self, carry: DilatedCarry, index: int) -> Any:
        """The carry of one of the last steps."""
        return jax.tree.map(lambda past, axis: jnp.take(past, index, axis=axis), carry.past, self._axes())

    def _axes(self) -> Any:
        """The axis of every component that counts past steps, from the end."""
        return jax.tree.map(lambda leaf: -1 - leaf.ndim, jax.eval_shape(self.cell.initial_carry))
