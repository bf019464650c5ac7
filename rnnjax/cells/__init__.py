"""Recurrent cells, and their registry: a new cell is one file here and one line in `CELLS`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rnnjax.cells.base import Cell, HiddenCarry, PointwiseCell
from rnnjax.cells.elman import Elman, ElmanParams
from rnnjax.cells.gru import GRU, GRUParams, GRUResetBefore, GRUResetBeforeParams
from rnnjax.cells.lstm import LSTM, LSTMCarry, LSTMParams
from rnnjax.registry import Registry

CELLS: Registry[Callable[..., Cell[Any, Any]]] = Registry(
    "cell",
    {
        "rnn": Elman,
        "rnn-relu": partial(Elman, activation="relu"),
        "rnn-identity": partial(Elman, activation="identity"),
        "rnn-logistic": partial(Elman, activation="logistic"),
        "lstm": LSTM,
        "gru": GRU,
        "gru-reset-before": GRUResetBefore,
    },
)

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "Cell",
    "Elman",
    "ElmanParams",
    "GRUParams",
    "GRUResetBefore",
    "GRUResetBeforeParams",
    "HiddenCarry",
    "LSTMCarry",
    "LSTMParams",
    "PointwiseCell",
]
