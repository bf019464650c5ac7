"""A cell over time, all steps at once, by Newton's method: `evaluate`."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from rnnjax.cells.base import Cell, output_dtype
from rnnjax.compose.base import Composite
from rnnjax.kernels.base import select
from rnnjax.kernels.deer import Convergence, Deer, solve
from rnnjax.scan import prepare, prepare_resets

Params = TypeVar("Params", bound=tuple[Any, ...])
Carry = TypeVar("Carry", bound=tuple[Any, ...])


def evaluate(
    cell: Cell[Params, Carry],
    params: Params,
    xs: Float[Array, "time *batch features"],
    carry: Carry | None = None,
    *,
    lengths: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "time *batch"] | None = None,
    resets: Bool[ArrayLike, "time *batch"] | None = None,
    settings: Deer = Deer(),
) -> tuple[Carry, Float[Array, "time *batch output_size"], Convergence]:
    """`rnnjax.unroll`, with the steps of a nonlinear cell computed all at once (`rnnjax.kernels.deer`).

    Equals `unroll`, gradients included, to within the tolerance of the settings: where Newton's method does not
    converge, the steps are run one after the other. That costs both.

    Args:
        cell: the cell, static under jit. Those of a composition are run one by one.
        params: its parameters, from `cell.init`.
        xs: the inputs, `[time, batch, features]` or `[time, features]`.
        carry: the carry before the first step; `cell.start` if None.
        lengths: the number of real steps of every sequence, as for `unroll`.
        mask: True for real steps, as for `unroll`.
        resets: True where a new sequence begins, as for `unroll`.
        settings: how Newton's method runs, static under jit.

    Returns:
        The final carry, the outputs `[time, batch, output_size]`, and a report on the convergence.

    Raises:
        TypeError, ValueError: as `unroll`; a composition, or a cell that draws random numbers.
    """
    name = type(cell).__name__
    if isinstance(cell, Composite):
        raise ValueError(f"cell must make its own steps, and {name} is made of cells: evaluate these one by one")
    if cell.is_random:
        raise ValueError(f"cell must not draw random numbers, and {name} does: use unroll")
    xs, carry, valid = prepare(cell, params, xs, carry, lengths, mask)
    fresh, resets = prepare_resets(cell, params, xs, carry, lengths, resets)
    zs = cell.project(params, xs)
    carries, report = solve(cell, params, zs, carry, fresh, valid, resets, settings)
    ys = cell.output(params, carries, zs).astype(output_dtype(params, xs))
    ys = select(valid, ys, jnp.zeros_like(ys))
    return jax.tree.map(lambda leaf: leaf[-1], carries), ys, report
