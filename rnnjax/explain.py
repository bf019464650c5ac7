"""Why `unroll(kernel="auto")` runs a cell as it does."""

from typing import Any

import jax
from jax import Array

from rnnjax.cells.base import Cell
from rnnjax.kernels.choice import Choice, listener
from rnnjax.scan import unroll


def explain_kernel(
    cell: Cell[Any, Any], params: Any, xs: Array, *, kernel: str = "auto", **options: Any
) -> list[Choice]:
    """What `unroll(cell, params, xs, kernel="auto", **options)` takes on every platform, and why; nothing is computed.

    One `Choice` a cell of a composition and a platform ("cpu", "cuda", "tpu", "other"), each of which prints as a line;
    with `remat` one for segments of each length, of which the last may be shorter, and run by another kernel. `params`
    and `xs` may be `jax.ShapeDtypeStruct`.

    Raises:
        TypeError, ValueError: as `unroll`; another kernel than "auto", which leaves nothing to explain.
    """
    if kernel != "auto":
        raise ValueError(f'kernel must be "auto", whose choice is explained, got {kernel!r}')
    heard: list[Choice] = []
    token = listener.set(heard)
    try:
        jax.eval_shape(lambda params, xs: unroll(cell, params, xs, kernel="auto", **options), params, xs)
    finally:
        listener.reset(token)
    return list(dict.fromkeys(heard))
