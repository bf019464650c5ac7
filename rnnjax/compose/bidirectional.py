"""Bidirectional networks."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.cells.around import check_cell, check_space
from rnnjax.cells.base import Cell
from rnnjax.compose.base import Composite, Run

MERGES = ("concat", "sum")


class BidirectionalParams(NamedTuple):
    """The parameters of both directions."""

    forward: Any
    backward: Any


class BidirectionalCarry(NamedTuple):
    """The carries of both directions: the backward one starts at the end of a sequence and ends at its first step."""

    forward: Any
    backward: Any


@dataclass(frozen=True)
class Bidirectional(Composite[BidirectionalParams, BidirectionalCarry]):
    """Two cells on the same inputs, one forward and one backward in time:

        f_t = forward over x_1 ... x_t,    b_t = backward over x_T ... x_t,    y_t = [f_t, b_t]  or  f_t + b_t

    `merge` is "concat" or "sum". The backward cell is like the forward one if None, with parameters of its own. With
    `lengths` or a mask it starts at each sequence's own last step, whatever the padding.

    It sees the whole sequence: there is no single step, no gradient flow over time, and no going on from chunk to
    chunk, since the backward cell ends at the first step of a chunk and not where the next one has to start.

    Source: M. Schuster, K. K. Paliwal, "Bidirectional Recurrent Neural Networks", IEEE Transactions on Signal
    Processing 45(11), 1997.
    """

    forward: Cell[Any, Any]
    backward: Cell[Any, Any] | None = None
    merge: Literal["concat", "sum"] = "concat"

    def __post_init__(self) -> None:
        check_cell("forward", self.forward)
        if self.backward is not None:
            check_cell("backward", self.backward)
            check_space("backward", self.backward, self.forward)
        if self.merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(MERGES)}, got {self.merge!r}")
        sizes = tuple(cell.output_size for cell in self.cells)
        if self.merge == "sum" and sizes[0] != sizes[1]:
            raise ValueError(f'merge "sum" needs outputs of one size, got {sizes[0]} forward and {sizes[1]} backward')

    @property
    def cells(self) -> tuple[Cell[Any, Any], Cell[Any, Any]]:
        """The forward cell, and the backward one."""
        return self.forward, self.forward if self.backward is None else self.backward

    @property
    def output_size(self) -> int:
        forward, backward = self.cells
        return forward.output_size + (backward.output_size if self.merge == "concat" else 0)

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> BidirectionalParams:
        keys = jax.random.split(key)
        return BidirectionalParams(
            *(cell.init(key, input_size, dtype) for cell, key in zip(self.cells, keys, strict=True))
        )

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> BidirectionalCarry:
        return BidirectionalCarry(*(cell.initial_carry(batch_shape, dtype) for cell in self.cells))

    def input_size(self, params: BidirectionalParams) -> int:
        return self.forward.input_size(params.forward)

    def compose(
        self, params: BidirectionalParams, xs: Array, carry: BidirectionalCarry, noise: Any, run: Run
    ) -> tuple[BidirectionalCarry, Array]:
        noises = noise or (None, None)
        ahead, back = self.cells
        forward, ys = run(ahead, params.forward, xs, carry.forward, noises[0])
        backward, more = run(back, params.backward, xs, carry.backward, noises[1], reverse=True)
        merged = jnp.concatenate([ys, more], axis=-1) if self.merge == "concat" else ys + more
        return BidirectionalCarry(forward, backward), merged

    def start(
        self, params: BidirectionalParams, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32
    ) -> BidirectionalCarry:
        each = zip(self.cells, params, strict=True)
        return BidirectionalCarry(*(cell.start(own, batch_shape, dtype) for cell, own in each))

    def feature_shape(self, size: int) -> tuple[int, ...]:
        return self.forward.feature_shape(size)

    @property
    def has_step(self) -> bool:
        return False

    @property
    def is_random(self) -> bool:
        return any(cell.is_random for cell in self.cells)

    def perturb(
        self, key: Array, params: BidirectionalParams, shape: tuple[int, ...]
    ) -> tuple[BidirectionalParams, Any]:
        each = zip(self.cells, jax.random.split(key), params, strict=True)
        (forward, noise), (backward, more) = (cell.perturb(key, own, shape) for cell, key, own in each)
        return BidirectionalParams(forward, backward), (noise, more)
