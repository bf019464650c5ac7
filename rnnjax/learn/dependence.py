"""Which outputs of a function depend on which of its arguments: the sparsity of influence that holds for any values."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal


def depends(f: Callable[..., Any], *args: Any) -> list[list[bool]]:
    """Row i, column j: whether leaf i of `f(*args)` is computed from leaf j of `args`.

    Read off the traced program, an operation at a time: an operation that is itself a program counts as one.
    """
    program = jax.make_jaxpr(f)(*args).jaxpr
    sources = {variable: {j} for j, variable in enumerate(program.invars)}

    def of(variable: Any) -> set[int]:
        return set() if isinstance(variable, Literal) else sources.get(variable, set())

    for operation in program.eqns:
        reached = set().union(*map(of, operation.invars))
        sources.update((variable, reached) for variable in operation.outvars)
    return [[j in of(variable) for j in range(len(program.invars))] for variable in program.outvars]
