"""One direction of an ONNX node, and the cell and parameters that it is: both ways, with no need of the package onnx.

ONNX keeps weights as [gates*hidden, in], gates in the order i, o, f, c for an LSTM and z, r, h for a GRU, and two
biases one after the other, of the input and of the recurrent product. Here weights are [in, gates*hidden], gates
i, f, g, o and r, z, n, and there is one bias wherever the two only ever appear as a sum.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rnnjax.cells.base import Cell
from rnnjax.cells.elman import Elman, ElmanParams
from rnnjax.cells.gru import GRU, GRUParams, GRUResetBefore, GRUResetBeforeParams
from rnnjax.cells.lstm import LSTM, LSTMParams
from rnnjax.cells.lstm_coupled import CoupledLSTM, CoupledLSTMParams
from rnnjax.cells.lstm_peephole import PeepholeLSTM, PeepholeLSTMParams
from rnnjax.interop.onnx.activations import OnnxActivation
from rnnjax.interop.onnx.cells import OnnxGRU, OnnxGRUResetBefore, OnnxLSTM, OnnxRNN, functions

Array = Any
"""NumPy's arrays, also in the parameters, which declare JAX's: `cell_of` converts them at its end."""


class Operator(NamedTuple):
    """What an ONNX operator has: its gates, its default activations, its inputs, and the attribute of its own."""

    gates: int
    activations: tuple[str, ...]
    inputs: tuple[str, ...]
    flag: str | None


INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")
OPERATORS = {
    "RNN": Operator(1, ("Tanh",), INPUTS, None),
    "LSTM": Operator(4, ("Sigmoid", "Tanh", "Tanh"), (*INPUTS, "initial_c", "P"), "input_forget"),
    "GRU": Operator(3, ("Sigmoid", "Tanh"), INPUTS, "linear_before_reset"),
}


class Settings(NamedTuple):
    """What the attributes of a node say of one direction; `flag`: input_forget or linear_before_reset."""

    op: str
    activations: tuple[OnnxActivation, ...]
    clip: float | None
    flag: bool


class Weights(NamedTuple):
    """The weights of one direction, as ONNX has them without the axis of directions."""

    W: Float[Array, "gates*hidden_size input_size"]
    R: Float[Array, "gates*hidden_size hidden_size"]
    B: Float[Array, "2*gates*hidden_size"]
    P: Float[Array, "3*hidden_size"] | None


# --- from ONNX --------------------------------------------------------------------------------------------------------


def cell_of(settings: Settings, weights: Weights) -> tuple[Cell[Any, Any], Any]:
    """The cell and the parameters that one direction of a node is: one of the package's own where there is one."""
    cell, params = _FROM[settings.op](settings, weights)
    return cell, jax.tree.map(jnp.asarray, params)


def is_plain(settings: Settings) -> bool:
    """Whether the activations are the operator's defaults, and nothing is clipped."""
    names = OPERATORS[settings.op].activations
    return settings.clip is None and settings.activations == tuple(OnnxActivation(name) for name in names)


def _from_rnn(settings: Settings, weights: Weights) -> tuple[Cell[Any, Any], Any]:
    size = weights.R.shape[-1]
    params = ElmanParams(weights.W.T, weights.R.T, _sum_biases(weights.B))
    (activation,) = settings.activations
    name = {activation: name for name, activation in ELMAN.items()}.get(activation)
    if name is None or settings.clip is not None:
        return OnnxRNN(size, settings.activations, settings.clip), params
    return Elman(size, name), params


def _from_lstm(settings: Settings, weights: Weights) -> tuple[Cell[Any, Any], Any]:
    size = weights.R.shape[-1]
    all_gates = weights.W.T, weights.R.T, _sum_biases(weights.B)
    if is_plain(settings) and settings.flag and weights.P is None:
        # i = logistic(z) and f = 1 - i are f = logistic(-z) and i = 1 - f: turning a sign is exact.
        i, o, _, g = zip(*map(_split, all_gates), strict=True)
        return CoupledLSTM(size), CoupledLSTMParams(*map(_join, zip(map(np.negative, i), g, o, strict=True)))
    w_x, w_h, b = (_reorder(w, (0, 2, 3, 1)) for w in all_gates)
    peepholes = None if weights.P is None else _reorder(weights.P, (0, 2, 1))
    params = LSTMParams(w_x, w_h, b) if peepholes is None else PeepholeLSTMParams(w_x, w_h, b, peepholes)
    if is_plain(settings) and not settings.flag:
        return (LSTM(size) if peepholes is None else PeepholeLSTM(size)), params
    return OnnxLSTM(size, settings.activations, settings.clip, settings.flag, peepholes is not None), params


def _from_gru(settings: Settings, weights: Weights) -> tuple[Cell[Any, Any], Any]:
    size = weights.R.shape[-1]
    w_x, w_h, b = (_reorder(w, (1, 0, 2)) for w in (weights.W.T, weights.R.T, _sum_biases(weights.B)))
    general = size, settings.activations, settings.clip
    if not settings.flag:
        before = GRUResetBefore(size) if is_plain(settings) else OnnxGRUResetBefore(*general)
        return before, GRUResetBeforeParams(w_x, w_h, b)
    # The two biases of n do not add up: the reset gate multiplies one of them.
    _, _, b_n, _, _, b_h = _split(weights.B, 6)
    after = GRU(size) if is_plain(settings) else OnnxGRU(*general)
    return after, GRUParams(w_x, w_h, _join([b[: 2 * size], b_n]), b_h)


_FROM: dict[str, Callable[[Settings, Weights], tuple[Cell[Any, Any], Any]]] = {
    "RNN": _from_rnn,
    "LSTM": _from_lstm,
    "GRU": _from_gru,
}


# --- to ONNX ----------------------------------------------------------------------------------------------------------


def direction_of(cell: Cell[Any, Any], params: Any) -> tuple[Settings, Weights]:
    """What one direction of a node has to be to compute this cell.

    Raises:
        ValueError: a cell that no ONNX node computes.
    """
    params = jax.tree.map(np.asarray, params)
    for kinds, convert in _TO.items():
        if isinstance(cell, kinds):
            return convert(cell, params)
    known = ", ".join(kind.__name__ for kinds in _TO for kind in kinds)
    raise ValueError(f"no ONNX node computes {type(cell).__name__}: there are nodes for {known}")


def _settings(cell: Any, op: str, flag: bool) -> Settings:
    """Of one of the package's own cells, whose activations are the operator's defaults, or of a general one."""
    if isinstance(cell, OnnxRNN | OnnxLSTM | OnnxGRU | OnnxGRUResetBefore):
        return Settings(op, functions(cell), cell.clip, flag)
    return Settings(op, tuple(OnnxActivation(name) for name in OPERATORS[op].activations), None, flag)


def _to_rnn(cell: Any, params: ElmanParams) -> tuple[Settings, Weights]:
    settings = _settings(cell, "RNN", False)
    if isinstance(cell, Elman):
        if cell.activation not in ELMAN:
            raise ValueError(f"no ONNX node has the activation {cell.activation!r} of Elman: use {', '.join(ELMAN)}")
        settings = settings._replace(activations=(ELMAN[cell.activation],))
    return settings, Weights(params.w_x.T, params.w_h.T, _two_biases(params.b), None)


def _to_lstm(cell: Any, params: Any) -> tuple[Settings, Weights]:
    flag = isinstance(cell, OnnxLSTM) and cell.input_forget
    w, r, b = (_reorder(w, (0, 3, 1, 2)) for w in params[:3])
    peephole = _reorder(params.peephole, (0, 2, 1)) if isinstance(params, PeepholeLSTMParams) else None
    return _settings(cell, "LSTM", flag), Weights(w.T, r.T, _two_biases(b), peephole)


def _to_coupled(cell: CoupledLSTM, params: CoupledLSTMParams) -> tuple[Settings, Weights]:
    blocks = (_split(w, 3) for w in params)
    w, r, b = (_join([-f, o, np.zeros_like(f), g]) for f, g, o in blocks)
    return _settings(cell, "LSTM", True), Weights(w.T, r.T, _two_biases(b), None)


def _to_gru(cell: Any, params: Any) -> tuple[Settings, Weights]:
    w, r, b = (_reorder(w, (1, 0, 2)) for w in params[:3])
    biases = _two_biases(b)
    if isinstance(params, GRUParams):
        biases[-cell.hidden_size :] = params.b_h
    return _settings(cell, "GRU", isinstance(params, GRUParams)), Weights(w.T, r.T, biases, None)


_TO: dict[tuple[type, ...], Callable[[Any, Any], tuple[Settings, Weights]]] = {
    (Elman, OnnxRNN): _to_rnn,
    (LSTM, PeepholeLSTM, OnnxLSTM): _to_lstm,
    (CoupledLSTM,): _to_coupled,
    (GRU, GRUResetBefore, OnnxGRU, OnnxGRUResetBefore): _to_gru,
}


# --- pieces -----------------------------------------------------------------------------------------------------------

ELMAN = {
    "tanh": OnnxActivation("Tanh"),
    "relu": OnnxActivation("Relu"),
    "identity": OnnxActivation("Affine", 1.0, 0.0),
    "logistic": OnnxActivation("Sigmoid"),
}
"""The activations of `Elman`, as ONNX has them."""


def _split(w: Array, count: int = 4) -> list[Array]:
    """`count` equal blocks of the last axis."""
    return np.split(w, count, axis=-1)


def _join(blocks: Iterable[Array]) -> Array:
    return np.concatenate(list(blocks), axis=-1)


def _reorder(w: Array, order: tuple[int, ...]) -> Array:
    """The blocks of the last axis, in another order."""
    blocks = _split(w, len(order))
    return _join(blocks[index] for index in order)


def _sum_biases(b: Array) -> Array:
    return np.add(*_split(b, 2))


def _two_biases(b: Array) -> Array:
    """The bias of the input, and zeros for that of the recurrent product."""
    return _join([b, np.zeros_like(b)])
