"""What the kernels that are written in Pallas share: a loop over time, all in one kernel.

Each backend is a file with the same names in the same order:

    NAME      of the platform, in words
    PLATFORM  as `jax.lax.platform_dependent` knows it
    lanes     how wide an array for a gate of some units is, padding included
    rows      how many examples of a batch one program works on
    scan      the outputs of a `Loop`; raises `Obstacle` where it cannot run
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnjax.kernels.apart import Parts


class Obstacle(Exception):
    """A loop is not one that the backend can run; says why."""


class Constant(NamedTuple):
    """Something that is the same for all steps and examples, inside the kernel."""

    shape: tuple[int, int]
    """In blocks: gates by gates for a matrix, one by gates for a vector."""
    dtype: Any
    block: Callable[[int, int], Array]
    """`[lanes, lanes]` of a matrix, `[1, lanes]` of a vector, by its place."""


Body = Callable[[list[Constant], list[Parts], list[Parts], list[Parts]], tuple[list[Parts], list[Parts]]]
"""One step: `(constants, rows, carry, x) -> (carry, y)`."""


class Loop(NamedTuple):
    """`lax.scan` of `body`, on arrays whose last axis is whole gates of `lanes`; of a flag it is of size one."""

    body: Body
    constants: list[Array]
    """`[gates * lanes, gates * lanes]` or `[1, gates * lanes]`."""
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
    lanes: int

    def arrays(self) -> tuple[Array, ...]:
        return (*self.constants, *self.rows, *self.carry, *self.xs)

    def share(self, refs: tuple[Any, ...]) -> list[list[Any]]:
        """The references of a kernel: to constants, rows, carry, inputs, outputs, and what is left."""
        found, rest = [], [*refs]
        for some in (self.constants, self.rows, self.carry, self.xs, self.ys):
            found.append(rest[: len(some)])
            rest = rest[len(some) :]
        return [*found, rest]

    def constant(self, ref: Any) -> Constant:
        """Read anew whenever it is used."""
        height, width = (min(size, self.lanes) for size in ref.shape)

        def block(row: int, column: int) -> Array:
            return ref[row * height : (row + 1) * height, column * width : (column + 1) * width]

        return Constant((ref.shape[0] // height, ref.shape[1] // width), ref.dtype, block)

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
