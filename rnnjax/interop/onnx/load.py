"""A recurrent node of an ONNX model, read as a cell and its parameters. Nothing in a file is executed."""

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rnnjax.compose.bidirectional import Bidirectional, BidirectionalParams
from rnnjax.interop.onnx.activations import KINDS, OnnxActivation
from rnnjax.interop.onnx.directions import OPERATORS, Settings, Weights, cell_of
from rnnjax.interop.onnx.recurrence import OnnxRecurrence

DIRECTIONS = ("forward", "reverse", "bidirectional")


def from_onnx(model: Any, name: str | None = None, *, weights: Mapping[str, ArrayLike] | None = None) -> OnnxRecurrence:
    """Reads an RNN, LSTM or GRU node of an ONNX model: its cell, its parameters, and how it is run.

        recurrence = from_onnx("model.onnx")
        Y, Y_h, Y_c = recurrence(xs)

    A node whose attributes are the defaults becomes `Elman`, `LSTM`, `PeepholeLSTM`, `GRU` (linear_before_reset = 1) or
    `GRUResetBefore`, and one with input_forget, no peepholes and else defaults `CoupledLSTM`, without the weights of
    the forget gate, which such a node does not read; all others become an `OnnxRNN`, `OnnxLSTM`, `OnnxGRU` or
    `OnnxGRUResetBefore`. Two directions become a `Bidirectional`. Two biases that only ever appear as a sum are added.

    Only data is read: initialisers and Constant nodes. What other nodes of the graph compute, initial states and
    lengths too, is for the caller to give.

    Args:
        model: an `onnx.ModelProto`, `GraphProto` or `NodeProto`, or the path of a model file.
        name: which node, where there are several: its name, or the name of its first output if it has none.
        weights: arrays for inputs of the node that the model does not hold, by the names that the node has for them;
            they come before what it holds.

    Raises:
        ImportError: the package `onnx` is not installed.
        ValueError: no such node, or several; a weight that is missing, misshapen, of another precision or that the node
            does not read; an attribute or activation that is not in the standard.

    Source: ONNX operators RNN, GRU and LSTM, version 22.
    """
    onnx = require_onnx()
    if isinstance(model, str | os.PathLike):
        model = onnx.load(os.fspath(model), load_external_data=False)
    graph = model.graph if isinstance(model, onnx.ModelProto) else model
    if isinstance(graph, onnx.GraphProto):
        node, stored = _find(graph.node, name), _stored(graph)
    elif isinstance(graph, onnx.NodeProto):
        node, stored = _find([graph], name), {}
    else:
        raise TypeError(f"model must be an onnx ModelProto, GraphProto or NodeProto, or a path, got {type(model)}")
    return _read(node, stored, dict(weights or {}))


def require_onnx() -> Any:
    try:
        return importlib.import_module("onnx")
    except ImportError as error:
        raise ImportError("from_onnx and to_onnx need the package onnx: pip install 'rnnjax[onnx]'") from error


# --- the graph --------------------------------------------------------------------------------------------------------


def label(node: Any) -> str:
    """The name of a node, or of its first output: names of nodes may be empty, those of tensors are unique."""
    return node.name or next((output for output in node.output if output), "")


def _find(nodes: Any, name: str | None) -> Any:
    """The recurrent node called `name`, or the only one."""
    recurrent = [node for node in nodes if node.op_type in OPERATORS and node.domain in ("", "ai.onnx")]
    if not recurrent:
        kinds = ", ".join(sorted({node.op_type for node in nodes})) or "no nodes"
        raise ValueError(f"the model has no RNN, LSTM or GRU node, only {kinds}")
    found = [node for node in recurrent if name in (None, label(node))]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{label(node)!r} ({node.op_type})" for node in recurrent)
    if name is None:
        raise ValueError(f"the model has {len(recurrent)} recurrent nodes, name one: {known}")
    raise ValueError(f"the model has {len(found) or 'no'} recurrent nodes {name!r}; it has {known}")


def _stored(graph: Any) -> dict[str, Any]:
    """The tensors that a graph holds as data, by name."""
    constants = {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    return constants | {tensor.name: tensor for tensor in graph.initializer}


# --- the node ---------------------------------------------------------------------------------------------------------


def _read(node: Any, stored: dict[str, Any], given: dict[str, ArrayLike]) -> OnnxRecurrence:
    where = f"{node.op_type} node {label(node)!r}"
    attributes = _attributes(node, where)
    both = attributes["direction"] == "bidirectional"
    arrays = _arrays(node, stored, given, where)
    settings = _settings(node.op_type, attributes, 1 + both, where)
    weights = _weights(node.op_type, arrays, attributes["hidden_size"], 1 + both, where)
    cells, params = zip(*map(cell_of, settings, weights), strict=True)
    return OnnxRecurrence(
        Bidirectional(cells[0], None if cells[0] == cells[1] else cells[1]) if both else cells[0],
        BidirectionalParams(*params) if both else params[0],
        reverse=attributes["direction"] == "reverse",
        batch_major=attributes["layout"] == 1,
        lengths=arrays.get("sequence_lens"),
        initial_h=arrays.get("initial_h"),
        initial_c=arrays.get("initial_c"),
    )


def _attributes(node: Any, where: str) -> dict[str, Any]:
    """The attributes of a node, all that the operator has."""
    flag = OPERATORS[node.op_type].flag
    values = DEFAULTS | ({flag: 0} if flag else {})
    for attribute in node.attribute:
        if attribute.name not in values:
            raise ValueError(f"{where} has the attribute {attribute.name!r}, but the operator has {', '.join(values)}")
        values[attribute.name] = require_onnx().helper.get_attribute_value(attribute)
    values["direction"] = values["direction"].decode()
    for name, known in (("direction", DIRECTIONS), ("layout", (0, 1))):
        if values[name] not in known:
            raise ValueError(f"{where} has {name} {values[name]!r}, expected one of {', '.join(map(str, known))}")
    return values


DEFAULTS: dict[str, Any] = {
    "hidden_size": None,
    "direction": b"forward",
    "layout": 0,
    "clip": None,
    "activations": (),
    "activation_alpha": (),
    "activation_beta": (),
}


def _settings(op: str, attributes: dict[str, Any], directions: int, where: str) -> list[Settings]:
    """What the attributes say, direction by direction."""
    operator = OPERATORS[op]
    names = [name.decode() for name in attributes["activations"]] or list(operator.activations * directions)
    count = len(operator.activations)
    if len(names) != count * directions:
        raise ValueError(f"{where} has {len(names)} activations, expected {count * directions}")
    # onnxruntime reads the names in any case, so such files exist.
    names = [{known.lower(): known for known in KINDS}.get(name.lower(), name) for name in names]
    alphas, betas = (
        _spread(names, index, attributes[name], f"{name} of {where}")
        for index, name in enumerate(("activation_alpha", "activation_beta"))
    )
    activations = tuple(map(OnnxActivation, names, alphas, betas))
    clip = None if attributes["clip"] is None else _shortest(attributes["clip"])
    flag = bool(operator.flag and attributes[operator.flag])
    return [
        Settings(op, activations[first : first + count], clip, flag) for first in range(0, count * directions, count)
    ]


def _spread(names: list[str], index: int, values: Sequence[float], what: str) -> list[float | None]:
    """The alpha (`index` 0) or beta (1) of every activation: those that take one consume the values in their order."""
    takes = [index < len(KINDS[name].defaults) for name in names]
    count = sum(takes)
    # A list with one value for every activation is read too, where both readings agree.
    aligned = [value for value, taken in zip(values, takes, strict=False) if taken]
    if len(values) > count and (len(values) != len(names) or aligned != list(values[:count])):
        raise ValueError(f"{what} has {len(values)} values, but {count} of the activations {', '.join(names)} take one")
    left = iter(values)
    return [_shortest(value) if taken and (value := next(left, None)) is not None else None for taken in takes]


def _shortest(value: float) -> float:
    """The shortest decimal that a float32 attribute stands for: 0.01, not 0.009999999776482582."""
    return float(str(np.float32(value)))


# --- its arrays -------------------------------------------------------------------------------------------------------


def _arrays(node: Any, stored: dict[str, Any], given: dict[str, ArrayLike], where: str) -> dict[str, Any]:
    """The inputs of a node that are given or stored, by their names in the standard."""
    roles = OPERATORS[node.op_type].inputs
    if len(node.input) > len(roles):
        raise ValueError(f"{where} has {len(node.input)} inputs, but the operator has {', '.join(roles)}")
    tensors = {role: tensor for role, tensor in zip(roles, node.input, strict=False) if tensor and role != "X"}
    if extra := given.keys() - set(tensors.values()):
        raise ValueError(f"weights has {', '.join(sorted(extra))}, but {where} reads {', '.join(tensors.values())}")
    arrays = {}
    for role, tensor in tensors.items():
        if tensor in given:
            arrays[role] = np.asarray(given[tensor])
        elif tensor in stored:
            arrays[role] = _load(stored[tensor], f"{role} of {where}")
        elif role in Weights._fields:
            raise ValueError(f"weight {role} of {where} is missing: {tensor!r} is not in the model, nor in weights")
    return arrays


def _load(tensor: Any, what: str) -> np.ndarray:
    onnx = require_onnx()
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError(f"{what} is kept in another file: read the model by onnx.load, and give that")
    return onnx.numpy_helper.to_array(tensor)


def _weights(op: str, arrays: dict[str, Any], hidden_size: int | None, directions: int, where: str) -> list[Weights]:
    """The weights, checked, direction by direction."""
    gates = OPERATORS[op].gates
    for role in ("W", "R"):
        if role not in arrays:
            raise ValueError(f"weight {role} of {where} is missing: the node has no such input")
    size = hidden_size or sum(arrays["R"].shape[-1:])
    shapes = {
        "R": (directions, gates * size, size),
        "W": (directions, gates * size, sum(arrays["W"].shape[-1:])),
        "B": (directions, 2 * gates * size),
        "P": (directions, 3 * size),
    }
    for role, shape in shapes.items():
        if role in arrays:
            _check_weight(f"weight {role} of {where}", arrays[role], shape, arrays["R"].dtype, size)
    arrays = {"B": np.zeros(shapes["B"], arrays["W"].dtype)} | arrays
    return [
        Weights(**{role: arrays[role][index] if role in arrays else None for role in shapes})
        for index in range(directions)
    ]


def _check_weight(what: str, array: np.ndarray, shape: tuple[int, ...], dtype: Any, size: int) -> None:
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}, expected {shape} for hidden_size {size}")
    if not jnp.issubdtype(array.dtype, jnp.floating) or array.dtype != dtype:
        raise ValueError(f"{what} is {array.dtype}, expected floating point of one kind, as R, {dtype}")
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ValueError(f"{what} is {array.dtype}, which JAX would round to float32: enable jax_enable_x64")
