"""Cells made of cells, and their registry: a new composition is one file here and one line in `COMPOSITIONS`."""

from typing import Any

from rnnjax.cells.base import Cell
from rnnjax.compose.base import Composite
from rnnjax.compose.bidirectional import Bidirectional, BidirectionalCarry, BidirectionalParams
from rnnjax.compose.dilated import Dilated, DilatedCarry
from rnnjax.compose.dropout import Dropout, RecurrentDropout, WeightDrop
from rnnjax.compose.layer_norm import LayerNorm, LayerNormOutputParams
from rnnjax.compose.learned_carry import LearnedCarry, LearnedCarryParams
from rnnjax.compose.readout import Readout, ReadoutParams
from rnnjax.compose.residual import Residual
from rnnjax.compose.stack import Stack, StackCarry, StackParams
from rnnjax.compose.zoneout import Zoneout
from rnnjax.registry import Registry

COMPOSITIONS: Registry[type[Cell[Any, Any]]] = Registry(
    "composition",
    {
        "stack": Stack,
        "bidirectional": Bidirectional,
        "residual": Residual,
        "layer-norm": LayerNorm,
        "dropout": Dropout,
        "recurrent-dropout": RecurrentDropout,
        "weight-drop": WeightDrop,
        "zoneout": Zoneout,
        "dilated": Dilated,
        "learned-carry": LearnedCarry,
        "readout": Readout,
    },
)

__all__ = [
    "COMPOSITIONS",
    "Bidirectional",
    "BidirectionalCarry",
    "BidirectionalParams",
    "Composite",
    "Dilated",
    "DilatedCarry",
    "Dropout",
    "LayerNorm",
    "LayerNormOutputParams",
    "LearnedCarry",
    "LearnedCarryParams",
    "Readout",
    "ReadoutParams",
    "RecurrentDropout",
    "Residual",
    "Stack",
    "StackCarry",
    "StackParams",
    "WeightDrop",
    "Zoneout",
]
