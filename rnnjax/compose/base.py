"""What cells that are made of cells have in common.

There are two ways to put something around a cell. A `Composite` says how its cells follow each other, in one function
of whole arrays, `compose`: the same lines run each cell over the whole sequence, one after the other, under `unroll`,
and make a single step when they are stepped. A cell that is only `Around` another changes the step itself.
"""

import abc
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from rnnjax.cells.base import Cell, output_dtype

Params = TypeVar("Params")
Carry = TypeVar("Carry")


class Run(Protocol):
    """Runs one of the cells of a composite: `(cell, params, xs, carry, noise) -> (carry, ys)`.

    Over a whole sequence, or a single step where `xs` has no time axis. `reverse` turns the direction of time round.
    """

    def __call__(
        self, cell: Cell[Any, Any], params: Any, xs: Array, carry: Any, noise: Any, /, *, reverse: bool = False
    ) -> tuple[Any, Array]: ...


class CompositeInput(NamedTuple):
    """The projected input of a composite, which projects nothing: the input itself, and the noise of its steps."""

    x: Float[Array, "*batch features"]
    noise: Any


class Composite(Cell[Params, Carry]):
    """A cell made of cells that run one after the other, or beside each other."""

    @abc.abstractmethod
    def compose(
        self, params: Params, xs: Float[Array, "*time features"], carry: Carry, noise: Any, run: Run
    ) -> tuple[Carry, Float[Array, "*time output_size"]]:
        """The next carry and the outputs, by `run` of its cells and functions of one time step each."""

    def project(self, params: Params, xs: Float[Array, "*batch features"]) -> CompositeInput:
        return CompositeInput(xs, None)

    def project_with(self, params: Params, xs: Float[Array, "*batch features"], noise: Any) -> CompositeInput:
        return CompositeInput(xs, noise)

    def advance(self, params: Params, carry: Carry, z: CompositeInput) -> Carry:
        check_step(self)
        return self.compose(params, z.x, carry, z.noise, _advance)[0]

    def output(self, params: Params, carry: Carry, z: CompositeInput) -> Float[Array, "*batch output_size"]:
        return self.compose(params, z.x, carry, z.noise, _read)[1]


def _advance(
    cell: Cell[Any, Any], params: Any, xs: Array, carry: Any, noise: Any, *, reverse: bool = False
) -> tuple[Any, Array]:
    """One step, from the carry before it."""
    carry = cell.advance(params, carry, cell.project_with(params, xs, noise))
    return _read(cell, params, xs, carry, noise)


def _read(
    cell: Cell[Any, Any], params: Any, xs: Array, carry: Any, noise: Any, *, reverse: bool = False
) -> tuple[Any, Array]:
    """The output of one step, from the carry after it."""
    y = cell.output(params, carry, cell.project_with(params, xs, noise))
    return carry, y.astype(output_dtype(params, xs))


class WithNoise(NamedTuple):
    """What belongs to a cell itself, and what to the cell inside it: of noise, or of projected inputs with it."""

    own: Any
    cell: Any


# --- pieces that compositions are written with ------------------------------------------------------------------------


def check_step(cell: Cell[Any, Any]) -> None:
    if not cell.has_step:
        raise ValueError("a bidirectional cell sees the whole sequence: it cannot be run step by step")


def check_rate(name: str, rate: Any) -> float:
    """`rate` as a float, if it is a probability below 1."""
    if isinstance(rate, int | float | np.floating) and not isinstance(rate, bool) and 0 <= rate < 1:
        return float(rate)
    raise ValueError(f"{name} must be a number of at least 0 and below 1, got {rate!r}")


def draw_mask(
    key: Array, rate: float, time: tuple[int, ...], features: tuple[int, ...], per_sequence: bool
) -> Array | None:
    """True for what stays, None if all does: of every step by itself, or the same at all steps of a sequence.

    `time` is the shape of time and batch.
    """
    if rate == 0:
        return None
    if not per_sequence:
        return jax.random.bernoulli(key, 1 - rate, (*time, *features))
    mask = jax.random.bernoulli(key, 1 - rate, (*time[1:], *features))
    return jnp.broadcast_to(mask, (*time, *features))


def drop(x: Array, mask: Array | None, rate: float) -> Array:
    """Inverted dropout: what stays is divided by the probability to stay, so that evaluation has nothing to do."""
    return x if mask is None else jnp.where(mask, x / (1 - rate), 0)
