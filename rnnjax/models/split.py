"""A model as arrays and the function that makes it of them: what compiled loops work with."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from flax import nnx

M = TypeVar("M", bound=nnx.Module)


class Parts(NamedTuple, Generic[M]):
    """A model, taken apart."""

    params: Any
    """Its `nnx.Param`s, in a pytree."""
    state: Any
    """All else that it holds: running averages of batch normalisation, random streams."""
    build: Callable[..., M]
    """`build(params, state) -> model`; without a state, that from which it was taken apart."""


def split(model: M) -> Parts[M]:
    """The model's parts: `nnx.jit` walks its object graph in Python at every call, which small models feel."""
    graph, params, *(state,) = nnx.split(model, nnx.Param, ...)
    # A copy: variables of a state from outside a transformation may not be written inside it.
    return Parts(params, state, lambda params, state=state: nnx.merge(graph, params, state, copy=True))
