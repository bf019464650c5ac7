"""Weights of the recurrent cells of flax, linen and nnx, as nested dictionaries; flax itself is not needed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnnjax.cells import GRU, LSTM, Cell, Elman
from rnnjax.interop.base import Layout, from_arrays, named, to_arrays
from rnnjax.registry import Registry


class Kind(NamedTuple):
    """A cell of flax: which of ours it is, and where its weights lie."""

    cell: type[Cell[Any, Any]]
    layout: Layout


def _lstm(forget: str) -> Layout:
    """A kernel for every gate; `forget` is the name of f's, since `if` is a word of Python."""
    inputs = {"i": "ii", "f": forget, "g": "ig", "o": "io"}
    return {
        **{f"{name}.kernel": f"w_x:{gate}" for gate, name in inputs.items()},
        **{f"h{gate}.kernel": f"w_h:{gate}" for gate in "ifgo"},
        **{f"h{gate}.bias": f"b:{gate}" for gate in "ifgo"},
    }


_LINEN_GRU = {
    **{f"i{gate}.kernel": f"w_x:{gate}" for gate in "rzn"},
    **{f"i{gate}.bias": f"b:{gate}" for gate in "rzn"},
    **{f"h{gate}.kernel": f"w_h:{gate}" for gate in "rzn"},
    "hn.bias": "b_h:n",
}

KINDS: Registry[Kind] = Registry(
    "kind of flax cell",
    {
        "linen.SimpleCell": Kind(Elman, {"i.kernel": "w_x:h", "h.kernel": "w_h:h", "i.bias": "b:h"}),
        "linen.LSTMCell": Kind(LSTM, _lstm("if")),
        "linen.OptimizedLSTMCell": Kind(LSTM, _lstm("if")),
        "linen.GRUCell": Kind(GRU, _LINEN_GRU),
        "nnx.SimpleCell": Kind(Elman, {"dense_i.kernel": "w_x:h", "dense_h.kernel": "w_h:h", "dense_i.bias": "b:h"}),
        "nnx.LSTMCell": Kind(LSTM, _lstm("if_")),
        "nnx.OptimizedLSTMCell": Kind(
            LSTM, {"dense_i.kernel": "w_x:ifgo", "dense_h.kernel": "w_h:ifgo", "dense_h.bias": "b:ifgo"}
        ),
        # No recurrent bias of the candidate: https://github.com/google/flax/issues/5594
        "nnx.GRUCell": Kind(GRU, {"dense_i.kernel": "w_x:rzn", "dense_h.kernel": "w_h:rzn", "dense_i.bias": "b:rzn"}),
    },
)


def from_flax(cell: Cell[Any, Any], weights: Mapping[str, Any], kind: str) -> Any:
    """The parameters of `cell` from those of a recurrent cell of flax.

    Gates are called as ours, so only their grouping differs. flax names the weights of single cells and not of deep or
    bidirectional networks: convert these cell by cell, and put the results into `StackParams` or `BidirectionalParams`.

    Args:
        cell: an `Elman` (with the activation of the `SimpleCell`), `LSTM` or `GRU`.
        weights: the nested dictionary of the cell: `variables["params"]` of linen, or
            `nnx.to_pure_dict(nnx.state(module, nnx.Param))`.
        kind: "linen" or "nnx", and the class: "linen.SimpleCell", "linen.LSTMCell", "linen.OptimizedLSTMCell",
            "linen.GRUCell", and the same of nnx; there is none for the others of flax. "nnx.GRUCell" has no recurrent
            bias of the candidate: `b_h` is zero.

    Returns:
        Parameters like those of `cell.init`, in the weights' dtype.

    Raises:
        ValueError: an unknown kind, or one of another cell; a missing, unexpected or misshapen weight, by name.
        TypeError: a weight that is not floating point, or is float64 while JAX is set to 32 bits, by name.
    """
    return from_arrays(cell, named(weights), [_layout(cell, kind)], transposed=False)


def to_flax(cell: Cell[Any, Any], params: Any, kind: str) -> dict[str, dict[str, np.ndarray]]:
    """The weights of the recurrent cell of flax that goes with `cell`, see `from_flax`.

    linen takes them as `{"params": ...}`; nnx by `nnx.replace_by_pure_dict(state, ...)` and `nnx.update`.

    Args:
        cell: the cell that the parameters are of.
        params: its parameters.
        kind: as for `from_flax`.

    Raises:
        ValueError: an unknown kind, or one of another cell; parameters of another cell; a `b_h` that is not zero for
            "nnx.GRUCell", which would lose it.
        TypeError: a weight that is not floating point, by name.
    """
    nested: dict[str, dict[str, np.ndarray]] = {}
    for name, array in to_arrays(cell, params, [_layout(cell, kind)], transposed=False, target=kind).items():
        module, weight = name.split(".")
        nested.setdefault(module, {})[weight] = array
    return nested


def _layout(cell: Cell[Any, Any], kind: str) -> Layout:
    ours, layout = KINDS[kind]
    if type(cell) is not ours:
        raise ValueError(f"{kind} goes with a single {ours.__name__}, got {type(cell).__name__}")
    return layout
