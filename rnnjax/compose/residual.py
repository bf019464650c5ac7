"""Residual connections."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell
from rnnjax.compose.base import Composite, Run


@dataclass(frozen=True)
class Residual(Composite[Any, Any], Around[Any, Any]):
    """A cell whose outputs are added to its inputs:

        carry_t, y_t' = step(params, carry_(t-1), x_t),    y_t = x_t + y_t'

    Source: K. He et al., "Deep Residual Learning for Image Recognition", 2015 (arXiv:1512.03385); between stacked
    LSTMs: Y. Wu et al., "Google's Neural Machine Translation System", 2016 (arXiv:1609.08144).
    """

    cell: Cell[Any, Any]

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> Any:
        if input_size != self.cell.output_size:
            raise ValueError(
                f"a residual cell needs inputs of the size of its outputs, {self.cell.output_size}, got {input_size}"
            )
        return self.cell.init(key, input_size, dtype)

    def compose(self, params: Any, xs: Array, carry: Any, noise: Any, run: Run) -> tuple[Any, Array]:
        carry, ys = run(self.cell, params, xs, carry, noise)
        return carry, xs + ys
