"""Weights of PyTorch's `nn.RNN`, `nn.LSTM` and `nn.GRU`, by the names of their `state_dict`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax.cells import GRU, LSTM, Cell, Elman, ProjectedLSTM
from rnnjax.compose import Bidirectional, Stack
from rnnjax.interop.base import Layout, directions, entry, from_arrays, to_arrays

_ELMAN = {"weight_ih": "w_x:h", "weight_hh": "w_h:h", "bias_ih": "b:h", "bias_hh": "b:h"}
_LSTM = {"weight_ih": "w_x:ifgo", "weight_hh": "w_h:ifgo", "bias_ih": "b:ifgo", "bias_hh": "b:ifgo"}
_GRU = {"weight_ih": "w_x:rzn", "weight_hh": "w_h:rzn", "bias_ih": "b:rzn", "bias_hh": "b:rz b_h:n"}

LAYOUTS: dict[type[Cell[Any, Any]], Layout] = {
    Elman: _ELMAN,
    LSTM: _LSTM,
    ProjectedLSTM: {**_LSTM, "weight_hr": "w_p:p"},
    GRU: _GRU,
}


def from_torch(cell: Cell[Any, Any], state_dict: Mapping[str, Any], *, bias: bool = True) -> Any:
    """The parameters of `cell` from the `state_dict` of an `nn.RNN`, `nn.LSTM` or `nn.GRU`.

        w_x = weight_ih^T,    w_h = weight_hh^T,    w_p = weight_hr^T,    b = bias_ih + bias_hh

    and for a GRU `b_h` the share of n in `bias_hh`, which is multiplied by r and is not added to `b`. The layer that
    goes with a cell:

        Elman(H)                                     nn.RNN(I, H), with nonlinearity="relu" for activation="relu"
        LSTM(H), GRU(H)                              nn.LSTM(I, H), nn.GRU(I, H)
        ProjectedLSTM(H, P)                          nn.LSTM(I, H, proj_size=P)
        Bidirectional(LSTM(H))                       nn.LSTM(I, H, bidirectional=True)
        Stack((LSTM(H), LSTM(H)))                    nn.LSTM(I, H, num_layers=2), and so for all of these

    Dropout has no weights: what is loaded for a cell is also right with dropout around it. The function can be
    differentiated, which gives gradients by PyTorch's names.

    Args:
        cell: the cell to load.
        state_dict: names like `weight_ih_l0` to PyTorch tensors, NumPy or JAX arrays; they are copied.
        bias: False for a layer built with bias=False; the biases of the cell are then zeros.

    Returns:
        Parameters like those of `cell.init`, in the weights' dtype.

    Raises:
        ValueError: a cell that is no layer of PyTorch; a missing, unexpected or misshapen weight, by name.
        TypeError: a weight that is not floating point, or is float64 while JAX is set to 32 bits, by name.
    """
    return from_arrays(cell, state_dict, _layouts(cell, bias), transposed=True)


def to_torch(cell: Cell[Any, Any], params: Any, *, bias: bool = True) -> dict[str, np.ndarray]:
    """The `state_dict` of the layer that goes with `cell`, see `from_torch`, as NumPy arrays.

    A layer takes it by `load_state_dict({name: torch.tensor(array) for name, array in to_torch(...).items()})`, after
    `astype(float32)` for bfloat16, which PyTorch does not take from NumPy. `bias_hh` is zero but for a GRU's `b_h`.

    Args:
        cell: the cell that the parameters are of.
        params: its parameters.
        bias: False for a layer built with bias=False.

    Raises:
        ValueError: a cell that is no layer of PyTorch; parameters of another cell; with bias=False, a bias that is not
            zero, by name.
        TypeError: a weight that is not floating point, by name.
    """
    return to_arrays(cell, params, _layouts(cell, bias), transposed=True, target="a layer with bias=False")


def _layouts(cell: Cell[Any, Any], bias: bool) -> list[Layout]:
    """The layout of every layer and direction, by full names."""
    layers = [(layer, directions(layer)) for layer in (cell.layers if isinstance(cell, Stack) else (cell,))]
    for layer, cells in layers:
        for single in cells:
            entry(LAYOUTS, single, "PyTorch")
            if isinstance(single, Elman) and single.activation not in ("tanh", "relu"):
                raise ValueError(f"nn.RNN has the activation tanh or relu, got {single.activation!r}")
        if isinstance(layer, Bidirectional) and layer.merge != "concat":
            raise ValueError(f'PyTorch has only the merge "concat" of both directions, got {layer.merge!r}')
    kinds = [(len(cells), _kind(single)) for _, cells in layers for single in cells]
    if len(set(kinds)) > 1:
        raise ValueError(f"PyTorch has only layers and directions that are alike, got {cell}")
    return [
        {f"{name}_l{layer}{suffix}": held for name, held in LAYOUTS[type(single)].items() if bias or "bias" not in name}
        for layer, (_, cells) in enumerate(layers)
        for suffix, single in zip(("", "_reverse"), cells, strict=False)
    ]


def _kind(cell: Any) -> tuple[Any, ...]:
    """All that makes two cells of the same layer, which is not how they are initialised."""
    return type(cell), cell.hidden_size, cell.output_size, getattr(cell, "activation", None)
