"""Deep networks: cells on top of each other."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.cells.around import check_cell, check_space
from rnnjax.cells.base import Cell
from rnnjax.compose.base import Composite, Run


class StackParams(NamedTuple):
    """The parameters of each layer of a `Stack`, the lowest first."""

    layers: tuple[Any, ...]


class StackCarry(NamedTuple):
    """The carry of each layer of a `Stack`, the lowest first."""

    layers: tuple[Any, ...]


@dataclass(frozen=True)
class Stack(Composite[StackParams, StackCarry]):
    """A deep network, each cell fed by the outputs of the one below:

        carry_t^k, y_t^k = step^k(params^k, carry_(t-1)^k, y_t^(k-1)),    y_t^0 = x_t,    y_t = y_t^K

    Layers are any cells, of different kinds and sizes. `unroll` runs one after the other over the whole sequence.

    Source: A. Graves, A. Mohamed, G. Hinton, "Speech Recognition with Deep Recurrent Neural Networks", 2013
    (arXiv:1303.5778).
    """

    layers: tuple[Cell[Any, Any], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.layers, list | tuple) or not self.layers:
            raise ValueError(f"layers must be a tuple of one cell or more, got {self.layers!r}")
        object.__setattr__(self, "layers", tuple(self.layers))
        for index, layer in enumerate(self.layers):
            check_cell(f"layers[{index}]", layer)
            check_space(f"layers[{index}]", layer, self.layers[0])

    @property
    def output_size(self) -> int:
        return self.layers[-1].output_size

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> StackParams:
        sizes = [input_size, *(layer.output_size for layer in self.layers)]
        keys = jax.random.split(key, len(self.layers))
        return StackParams(
            tuple(layer.init(key, size, dtype) for layer, key, size in zip(self.layers, keys, sizes[:-1], strict=True))
        )

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> StackCarry:
        return StackCarry(tuple(layer.initial_carry(batch_shape, dtype) for layer in self.layers))

    def input_size(self, params: StackParams) -> int:
        return self.layers[0].input_size(params.layers[0])

    def compose(
        self, params: StackParams, xs: Array, carry: StackCarry, noise: Any, run: Run
    ) -> tuple[StackCarry, Array]:
        carries = []
        noises = noise or (None,) * len(self.layers)
        for layer, own, before, drawn in zip(self.layers, params.layers, carry.layers, noises, strict=True):
            after, xs = run(layer, own, xs, before, drawn)
            carries.append(after)
        return StackCarry(tuple(carries)), xs

    def start(self, params: StackParams, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> StackCarry:
        each = zip(self.layers, params.layers, strict=True)
        return StackCarry(tuple(layer.start(own, batch_shape, dtype) for layer, own in each))

    def feature_shape(self, size: int) -> tuple[int, ...]:
        return self.layers[0].feature_shape(size)

    @property
    def has_step(self) -> bool:
        return all(layer.has_step for layer in self.layers)

    @property
    def has_separate_units(self) -> bool:
        return all(layer.has_separate_units for layer in self.layers)

    @property
    def is_random(self) -> bool:
        return any(layer.is_random for layer in self.layers)

    def perturb(self, key: Array, params: StackParams, shape: tuple[int, ...]) -> tuple[StackParams, Any]:
        each = zip(self.layers, jax.random.split(key, len(self.layers)), params.layers, strict=True)
        perturbed = [layer.perturb(key, own, shape) for layer, key, own in each]
        return StackParams(tuple(own for own, _ in perturbed)), tuple(noise for _, noise in perturbed)
