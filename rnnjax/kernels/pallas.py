"""What the kernels that are written in Pallas share: a loop over time, in one kernel or one a step.

Each backend is a file with the same names in the same order:

    NAME      of the platform, in words
    PLATFORM  as `jax.lax.platform_dependent` knows it
    lanes     how wide an array for a gate of some units is, padding included
    rows      how many examples of a batch one program works on
    scan      the outputs of a `Loop`; raises `Obstacle` where it cannot run
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rnnjax.cells.base import carry_dtype
from rnnjax.kernels.apart import Parts, clear


class Obstacle(Exception):
    """A loop is not one that the backend can run; says why."""


class Matrix(NamedTuple):
    """What a step multiplies by, inside the kernel."""

    shape: tuple[int, int]
    """In blocks, gates by gates."""
    dtype: Any
    block: Callable[[int, int], Array]
    """`[lanes, lanes]`, by its place."""


Rest = Callable[[Parts], tuple[list[Parts], list[Parts]]]
"""What a step does with its product: `product -> (carry, y)`."""
Body = Callable[[list[Parts], list[Parts], list[Parts], list[Parts]], tuple[Parts, Rest]]
"""One step, up to its product with the matrix: `(vectors, rows, carry, x) -> (what is multiplied, rest)`."""


class Loop(NamedTuple):
    """`lax.scan` of `step`, on arrays whose last axis is whole gates of `lanes`; of a flag it is of size one."""

    body: Body
    mixes: bool
    """Whether `body` sums over the units of a gate."""
    matrix: Array
    """`[gates * lanes, gates * lanes]`, zero where it multiplies padding."""
    vectors: list[Array]
    """The same for all steps and examples, `[1, gates * lanes]`."""
    rows: list[Array]
    """The same for all steps, `[batch, gates * lanes]`."""
    carry: list[Array]
    """Before the first step, `[batch, gates * lanes]`."""
    xs: list[Array]
    """The inputs, `[time, batch, gates * lanes]`."""
    ys: list[jax.ShapeDtypeStruct]
    """The outputs, likewise."""
    reverse: bool
    """From the last step to the first."""
    units: int
    """Of a gate."""
    lanes: int
    """Of a gate, those of padding included."""

    def step(
        self, matrix: Matrix, vectors: list[Parts], rows: list[Parts], carry: list[Parts], x: list[Parts]
    ) -> tuple[list[Parts], list[Parts]]:
        """`(carry, y)`, where one program has the whole matrix."""
        multiplied, rest = self.body(vectors, rows, carry, x)
        cleared = self.cleared(multiplied, self.units)

        def column(index: int) -> Array:
            return reduce(jnp.add, (product(part, matrix.block(row, index)) for row, part in enumerate(cleared)))

        return rest(tuple(map(column, range(matrix.shape[1]))))

    def cleared(self, parts: Parts, units: int | Array) -> Parts:
        """Parts as the matrix multiplies them: in its precision, with zeros from `units` on."""
        return tuple(clear(part, units).astype(self.matrix.dtype) for part in parts)

    def arrays(self) -> tuple[Array, ...]:
        return (self.matrix, *self.vectors, *self.rows, *self.carry, *self.xs)

    def at(self, number: Any) -> Any:
        """The place in time of a step, by its number in the order of the run."""
        return len(self.xs[0]) - 1 - number if self.reverse else number

    def apart(self, array: Array) -> Array:
        """An array with an axis of its own for the gates: `[..., gates, lanes]`."""
        return array.reshape(*array.shape[:-1], -1, min(array.shape[-1], self.lanes))

    def share(self, refs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The references of a kernel: to the matrix; lists of those to vectors, rows, carry, xs, ys; what is left."""
        found, rest = [], [*refs[1:]]
        for some in (self.vectors, self.rows, self.carry, self.xs, self.ys):
            found.append(rest[: len(some)])
            rest = rest[len(some) :]
        return (refs[0], *found, rest)

    def blocks(self, ref: Any) -> Matrix:
        """The matrix, read anew whenever it is used."""

        def block(row: int, column: int) -> Array:
            above, left = row * self.lanes, column * self.lanes
            return ref[above : above + self.lanes, left : left + self.lanes]

        return Matrix((ref.shape[0] // self.lanes, ref.shape[1] // self.lanes), ref.dtype, block)

    def read(self, refs: list[Any], *index: Any) -> list[Parts]:
        """The parts of what references hold, `[rows, gates * lanes]`, at an index of the axes in front."""

        def parts(ref: Any) -> Parts:
            size = min(ref.shape[-1], self.lanes)
            return tuple(ref[(*index, slice(None), slice(at, at + size))] for at in range(0, ref.shape[-1], size))

        return list(map(parts, refs))

    def write(self, refs: list[Any], values: list[Parts], *index: Any) -> None:
        for ref, parts in zip(refs, values, strict=True):
            for at, part in zip(range(0, ref.shape[-1], self.lanes), parts, strict=True):
                ref[(*index, slice(None), slice(at, at + self.lanes))] = part.astype(ref.dtype)


def product(part: Array, block: Array) -> Array:
    """Of two of one precision, added up in float32 or wider."""
    return lax.dot(part, block, preferred_element_type=carry_dtype(block.dtype))


def like(array: Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """The type of an array of another shape."""
    return jax.ShapeDtypeStruct(shape, array.dtype, manual_axis_type=jax.typeof(array).manual_axis_type)


def pad(x: Array, axis: int, size: int) -> Array:
    """Zeros behind the end of an axis, up to `size`."""
    widths = [(0, size - x.shape[axis] if index == axis else 0) for index in range(x.ndim)]
    return jnp.pad(x, widths) if size > x.shape[axis] else x


def widen(x: Array, axis: int, units: int, lanes: int) -> Array:
    """Every gate of an axis padded from `units` to `lanes`."""
    count = x.shape[axis] // units
    gates = x.reshape(*x.shape[:axis], count, units, *x.shape[axis + 1 :])
    return pad(gates, axis + 1, lanes).reshape(*x.shape[:axis], count * lanes, *x.shape[axis + 1 :])


def narrow(x: Array, units: int, lanes: int) -> Array:
    """That of the last axis undone."""
    count = x.shape[-1] // lanes
    return x.reshape(*x.shape[:-1], count, lanes)[..., :units].reshape(*x.shape[:-1], count * units)
