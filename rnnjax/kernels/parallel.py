"""All steps at once by an associative scan, for cells whose recurrence is linear."""

from typing import Any

import jax
from jax import Array

from rnnjax.cells.base import Cell
from rnnjax.cells.linear import ParallelCell
from rnnjax.kernels.base import Stretch, all_at_once


def run(
    cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, fresh: Any, stretch: Stretch
) -> tuple[Any, Array]:
    """See `rnnjax.kernels.base`."""
    if not isinstance(cell, ParallelCell):
        raise ValueError(f'kernel "parallel" needs a linear recurrence, and {type(cell).__name__} is none: use "scan"')

    def carries(zs: Any, valid: Any, borders: Any) -> Any:
        columns = jax.tree.map(lambda flags: flags[..., None], (valid, borders))
        return cell.carries(params, zs, carry, fresh, *columns)

    return all_at_once(carries, cell, params, xs, noise, stretch)
