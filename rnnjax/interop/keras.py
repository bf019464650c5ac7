"""Weights of the recurrent layers of Keras 3, as the list of `layer.get_weights()`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnjax.cells import GRU, LSTM, Cell, Elman, GRUResetBefore
from rnnjax.interop.base import Layout, entry, from_arrays, single_cells, to_arrays

LAYOUTS: dict[type[Cell[Any, Any]], Layout] = {
    Elman: {"kernel": "w_x:h", "recurrent_kernel": "w_h:h", "bias": "b:h"},
    LSTM: {"kernel": "w_x:ifgo", "recurrent_kernel": "w_h:ifgo", "bias": "b:ifgo"},
    GRU: {"kernel": "w_x:zrn", "recurrent_kernel": "w_h:zrn", "bias": "b:zrn / b:zr b_h:n"},
    GRUResetBefore: {"kernel": "w_x:zrn", "recurrent_kernel": "w_h:zrn", "bias": "b:zrn"},
}


def from_keras(cell: Cell[Any, Any], weights: Sequence[Any], *, bias: bool = True) -> Any:
    """The parameters of `cell` from the `get_weights()` of a layer of Keras 3.

    Each layer has a kernel, a recurrent kernel and a bias, `[in, gates*units]`, with the gates of an LSTM as ours and
    those of a GRU in the order z, r, n. A GRU with reset_after has a bias `[2, 3*units]`: the first row and the share
    of z and r in the second add up to `b`, and the share of n in the second is `b_h`. The layer that goes with a cell,
    all with recurrent_activation="sigmoid" and no dropout:

        Elman(H), Elman(H, activation="relu")        SimpleRNN(H), SimpleRNN(H, activation="relu"); "linear" for
                                                     "identity", "sigmoid" for "logistic"
        LSTM(H), GRU(H)                              LSTM(H), GRU(H)
        GRUResetBefore(H)                            GRU(H, reset_after=False)
        Bidirectional(LSTM(H), merge="concat")       Bidirectional(LSTM(H), merge_mode="concat"), or "sum" for "sum"
        Stack((LSTM(H), LSTM(H)))                    the weights of one layer after the other in a single list

    Args:
        cell: the cell to load.
        weights: NumPy, JAX or PyTorch arrays in the order of Keras: layers from the lowest, forward before backward.
        bias: False for layers built with use_bias=False; the biases of the cell are then zeros.

    Returns:
        Parameters like those of `cell.init`, in the weights' dtype.

    Raises:
        ValueError: a cell that is no layer of Keras; too few or too many weights; a misshapen weight, by name.
        TypeError: a weight that is not floating point, or is float64 while JAX is set to 32 bits, by name.
    """
    layouts = _layouts(cell, bias)
    names = [name for layout in layouts for name in layout]
    if len(weights) != len(names):
        raise ValueError(f"{type(cell).__name__} has {len(names)} weights ({', '.join(names)}), got {len(weights)}")
    return from_arrays(cell, dict(zip(names, weights, strict=True)), layouts, transposed=False)


def to_keras(cell: Cell[Any, Any], params: Any, *, bias: bool = True) -> list[np.ndarray]:
    """The list that `set_weights` of the layer that goes with `cell` takes, see `from_keras`.

    Args:
        cell: the cell that the parameters are of.
        params: its parameters.
        bias: False for layers built with use_bias=False.

    Raises:
        ValueError: a cell that is no layer of Keras; parameters of another cell; with bias=False, a bias that is not
            zero, by name.
        TypeError: a weight that is not floating point, by name.
    """
    target = "a layer with use_bias=False"
    return list(to_arrays(cell, params, _layouts(cell, bias), transposed=False, target=target).values())


def _layouts(cell: Cell[Any, Any], bias: bool) -> list[Layout]:
    """The layout of every single cell, by names such as "layers.0.forward.kernel"."""
    return [
        {place + name: held for name, held in entry(LAYOUTS, single, "Keras").items() if bias or name != "bias"}
        for place, single in single_cells(cell)
    ]
