"""What cells around another cell have in common."""

from typing import Any, TypeVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import Cell

Params = TypeVar("Params")
Carry = TypeVar("Carry")


def check_cell(name: str, cell: Any) -> None:
    if not isinstance(cell, Cell):
        hint = ": give it a size, such as LSTM(128)" if isinstance(cell, type) else ""
        raise TypeError(f"{name} must be a cell, got {cell!r}{hint}")


def check_space(name: str, cell: Cell[Any, Any], other: Cell[Any, Any]) -> None:
    """Whether two cells have the same feature axes, so that one can take what the other takes or gives."""
    axes, others = cell.feature_shape(1)[:-1], other.feature_shape(1)[:-1]
    if axes != others:
        raise ValueError(
            f"{name} is over space of shape {axes}, but the cell before it over {others}: "
            "SpatialBroadcast(cell) is over none"
        )


class Around(Cell[Params, Carry]):
    """A cell around one other, `cell`, with its parameters, carry and sizes unless it says otherwise."""

    cell: Cell[Any, Any]

    def __post_init__(self) -> None:
        check_cell("cell", self.cell)

    def inner(self, params: Params) -> Any:
        """The parameters of the inner cell: all of them, or the field `cell`."""
        return params

    @property
    def output_size(self) -> int:
        return self.cell.output_size

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> Params:
        return self.cell.init(key, input_size, dtype)

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> Carry:
        return self.cell.initial_carry(batch_shape, dtype)

    def input_size(self, params: Params) -> int:
        return self.cell.input_size(self.inner(params))

    def project(self, params: Params, xs: Float[Array, "*batch features"]) -> Any:
        return self.project_with(params, xs, None)

    def project_with(self, params: Params, xs: Float[Array, "*batch features"], noise: Any) -> Any:
        return self.cell.project_with(self.inner(params), xs, noise)

    def output(self, params: Params, carry: Carry, z: Any) -> Float[Array, "*batch output_size"]:
        return self.cell.output(self.inner(params), carry, z)

    def start(self, params: Params, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> Carry:
        return self.cell.start(self.inner(params), batch_shape, dtype)

    def feature_shape(self, size: int) -> tuple[int, ...]:
        return self.cell.feature_shape(size)

    @property
    def has_step(self) -> bool:
        return self.cell.has_step

    @property
    def has_separate_units(self) -> bool:
        return self.cell.has_separate_units

    @property
    def is_random(self) -> bool:
        return self.cell.is_random

    def perturb(self, key: Array, params: Params, shape: tuple[int, ...]) -> tuple[Params, Any]:
        inner, noise = self.cell.perturb(key, self.inner(params), shape)
        outer: Any = params
        return inner if self.inner(params) is params else outer._replace(cell=inner), noise
