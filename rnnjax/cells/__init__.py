"""Recurrent cells, and their registry: a new cell is one file here and one line in `CELLS`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell, HiddenCarry, PointwiseCell
from rnnjax.cells.conv_lstm import ConvLSTM, ConvLSTMParams, SpatialBroadcast, conv_lstm_on_vectors
from rnnjax.cells.elman import Elman, ElmanParams
from rnnjax.cells.gru import GRU, GRUParams, GRUResetBefore, GRUResetBeforeParams
from rnnjax.cells.layer_norm import LayerNormElman, LayerNormGRU, LayerNormLSTM, LayerNormLSTMParams, LayerNormParams
from rnnjax.cells.linear import ParallelCell
from rnnjax.cells.lru import LRU, LRUCarry, LRUParams
from rnnjax.cells.lstm import LSTM, LSTMCarry, LSTMParams
from rnnjax.cells.lstm_1997 import LSTM1997, LSTM1997Carry, LSTM1997Params
from rnnjax.cells.lstm_coupled import CoupledLSTM, CoupledLSTMParams
from rnnjax.cells.lstm_peephole import PeepholeLSTM, PeepholeLSTMParams
from rnnjax.cells.lstm_projected import ProjectedLSTM, ProjectedLSTMParams
from rnnjax.cells.mgu import MGU, MGUParams
from rnnjax.cells.minimal import MinGRU, MinimalParams, MinLSTM
from rnnjax.cells.slstm import SLSTM, SLSTMCarry
from rnnjax.initializers import Identity
from rnnjax.registry import Registry

CELLS: Registry[Callable[..., Cell[Any, Any]]] = Registry(
    "cell",
    {
        "rnn": Elman,
        "rnn-relu": partial(Elman, activation="relu"),
        "rnn-identity": partial(Elman, activation="identity"),
        "rnn-logistic": partial(Elman, activation="logistic"),
        "rnn-layer-norm": LayerNormElman,
        "irnn": partial(Elman, activation="relu", recurrent_init=Identity()),
        "lstm": LSTM,
        "lstm-1997": LSTM1997,
        "lstm-peephole": PeepholeLSTM,
        "lstm-coupled": CoupledLSTM,
        "lstm-projected": ProjectedLSTM,
        "lstm-layer-norm": LayerNormLSTM,
        "lstm-conv": conv_lstm_on_vectors,
        "slstm": SLSTM,
        "gru": GRU,
        "gru-reset-before": GRUResetBefore,
        "gru-layer-norm": LayerNormGRU,
        "mgu": MGU,
        "min-gru": MinGRU,
        "min-lstm": MinLSTM,
        "lru": LRU,
    },
)

__all__ = [
    "CELLS",
    "GRU",
    "LRU",
    "LSTM",
    "LSTM1997",
    "MGU",
    "SLSTM",
    "Around",
    "Cell",
    "ConvLSTM",
    "ConvLSTMParams",
    "CoupledLSTM",
    "CoupledLSTMParams",
    "Elman",
    "ElmanParams",
    "GRUParams",
    "GRUResetBefore",
    "GRUResetBeforeParams",
    "HiddenCarry",
    "LRUCarry",
    "LRUParams",
    "LSTM1997Carry",
    "LSTM1997Params",
    "LSTMCarry",
    "LSTMParams",
    "LayerNormElman",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LayerNormLSTMParams",
    "LayerNormParams",
    "MGUParams",
    "MinGRU",
    "MinLSTM",
    "MinimalParams",
    "ParallelCell",
    "PeepholeLSTM",
    "PeepholeLSTMParams",
    "PointwiseCell",
    "ProjectedLSTM",
    "ProjectedLSTMParams",
    "SLSTMCarry",
    "SpatialBroadcast",
]
