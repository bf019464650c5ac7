"""A cell and its parameters, written as an ONNX model."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnjax.cells.base import Cell
from rnnjax.checks import check_params
from rnnjax.compose.bidirectional import Bidirectional
from rnnjax.compose.stack import Stack
from rnnjax.interop.onnx.activations import OnnxActivation
from rnnjax.interop.onnx.directions import OPERATORS, Settings, Weights, direction_of, is_plain
from rnnjax.interop.onnx.load import require_onnx

OPSET, IR_VERSION = 22, 10
"""The newest version of the three operators, with bfloat16, and the file format of its time."""


def to_onnx(
    cell: Cell[Any, Any],
    params: Any,
    *,
    reverse: bool = False,
    batch_major: bool = False,
    lengths: bool = False,
    carry: bool = False,
) -> Any:
    """Writes a cell and its parameters as an ONNX model, which `onnx.save` puts into a file.

        unroll(cell, params, xs, reverse=reverse, batch_major=batch_major)

    becomes one node of RNN, LSTM or GRU, and a `Stack` one for every layer, named layer_0, layer_1 and so on. The model
    takes X and gives Y, Y_h, and for an LSTM Y_c, in the shapes of the standard. In a stack the names of what belongs
    to layer k end in _k, but for the X of the first and the Y of the last. ONNX keeps the numbers of the settings, such
    as `clip`, in float32.

    Args:
        cell: `Elman`, `LSTM`, `PeepholeLSTM`, `CoupledLSTM`, `GRU`, `GRUResetBefore`, one of the ONNX cells, a
            `Bidirectional` of two that one node can hold, or a `Stack` of these.
        params: its parameters.
        reverse: run from the last step to the first: direction "reverse".
        batch_major: batch before time: layout 1, which onnxruntime does not run.
        lengths: whether the model takes sequence_lens `[batch]`, int32.
        carry: whether the model takes initial_h, and for an LSTM initial_c, `[directions, batch, hidden_size]`. They
            are zeros otherwise.

    Returns:
        An `onnx.ModelProto`, checked by `onnx.checker`.

    Raises:
        ImportError: the package `onnx` is not installed.
        ValueError: a cell that ONNX has no node for; parameters of another cell.

    Source: ONNX operators RNN, GRU and LSTM, version 22.
    """
    onnx = require_onnx()
    check_params(cell, params)
    layers = _layers(cell, params, reverse)
    given = {"X", *(["sequence_lens"] if lengths else []), *(["initial_h", "initial_c"] if carry else [])}
    arrays = {layer.name(role): array for layer in layers for role, array in layer.weights.items()}
    arrays |= {"merged": np.array([0, 0, -1])} if len(layers) > 1 else {}
    graph = onnx.helper.make_graph(
        [node for layer in layers for node in _nodes(onnx, layer, given, batch_major)],
        "rnnjax",
        *_interface(onnx, layers, given, batch_major),
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, producer_name="rnnjax", ir_version=IR_VERSION, opset_imports=opsets)
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass(frozen=True)
class _Layer:
    """One recurrent node: its operator, attributes and weights, and its place among the others."""

    op: str
    attributes: dict[str, Any]
    weights: dict[str, np.ndarray]
    index: int
    count: int | None
    """How many layers the stack has, None for a cell by itself."""

    @property
    def states(self) -> list[str]:
        return [role for role in OPERATORS[self.op].inputs if role.startswith("initial")]

    def name(self, role: str) -> str:
        """The name of the tensor that is an input or output of this node."""
        if self.count is None or (role, self.index) in (("X", 0), ("Y", self.count - 1)) or role == "sequence_lens":
            return role
        return f"{role}_{self.index}"


def _layers(cell: Cell[Any, Any], params: Any, reverse: bool) -> list[_Layer]:
    if not isinstance(cell, Stack):
        return [_Layer(*_describe(cell, params, reverse), 0, None)]
    each = enumerate(zip(cell.layers, params.layers, strict=True))
    return [_Layer(*_describe(*layer, reverse), index, len(cell.layers)) for index, layer in each]


def _interface(onnx: Any, layers: list[_Layer], given: set[str], batch_major: bool) -> tuple[list[Any], list[Any]]:
    """The inputs and outputs of the graph: names, precisions and shapes."""
    weights = layers[0].weights["W"]
    kind = onnx.helper.np_dtype_to_tensor_dtype(weights.dtype)

    def describe(name: str, shape: list[str | int]) -> Any:
        return onnx.helper.make_tensor_value_info(name, kind, shape)

    def shape(layer: _Layer, *leading: str) -> list[str | int]:
        """That of the states of a layer, or with time in front that of its outputs."""
        directions, _, size = layer.weights["R"].shape
        return ["batch", *leading, directions, size] if batch_major else [*leading, directions, "batch", size]

    inputs = [describe("X", [*(("batch", "time") if batch_major else ("time", "batch")), weights.shape[-1]])]
    if "sequence_lens" in given:
        inputs.append(onnx.helper.make_tensor_value_info("sequence_lens", onnx.TensorProto.INT32, ["batch"]))
    outputs = [describe("Y", shape(layers[-1], "time"))]
    for layer in layers:
        inputs += [describe(layer.name(role), shape(layer)) for role in layer.states if role in given]
        outputs += [describe(layer.name(f"Y_{role[-1]}"), shape(layer)) for role in layer.states]
    return inputs, outputs


def _nodes(onnx: Any, layer: _Layer, given: set[str], batch_major: bool) -> list[Any]:
    """The recurrent node, and those that make its outputs the inputs of the next: the directions side by side."""
    make = onnx.helper.make_node
    inputs = [layer.name(role) if role in given or role in layer.weights else "" for role in OPERATORS[layer.op].inputs]
    y, *finals = (layer.name(role) for role in ("Y", *(f"Y_{role[-1]}" for role in layer.states)))
    layout = {"layout": 1} if batch_major else {}
    nodes = [make(layer.op, inputs, [y, *finals], name=f"layer_{layer.index}", **layer.attributes, **layout)]
    if layer.count is None or layer.index == layer.count - 1:
        return nodes
    if not batch_major:
        nodes.append(make("Transpose", [y], [f"{y}_batch"], perm=[0, 2, 1, 3]))
    return [*nodes, make("Reshape", [nodes[-1].output[0], "merged"], [f"X_{layer.index + 1}"])]


def _describe(cell: Cell[Any, Any], params: Any, reverse: bool) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """The operator, the attributes and the weights of the node that computes a cell."""
    if not isinstance(cell, Bidirectional):
        parts = [direction_of(cell, params)]
    elif reverse or cell.merge != "concat":
        what = "in reverse" if reverse else f"with merge {cell.merge!r}"
        raise ValueError(f'no ONNX node computes a Bidirectional {what}, only forward and with merge "concat"')
    else:
        parts = [direction_of(each, own) for each, own in zip(cell.cells, params, strict=True)]
        _check_alike(*cell.cells, *parts)
    settings, weights = zip(*parts, strict=True)
    direction = "reverse" if reverse else "bidirectional" if len(parts) == 2 else "forward"
    fields = zip(Weights._fields, zip(*weights, strict=True), strict=True)
    arrays = {role: np.stack(arrays) for role, arrays in fields if arrays[0] is not None}
    return settings[0].op, _attributes(settings, arrays["R"].shape[-1], direction), arrays


def _check_alike(
    forward: Cell[Any, Any],
    backward: Cell[Any, Any],
    one: tuple[Settings, Weights],
    other: tuple[Settings, Weights],
) -> None:
    """Whether two cells can be the directions of one node: only their activations and values may differ."""

    def common(settings: Settings, weights: Weights) -> tuple[Any, ...]:
        shapes = (None if array is None else (array.shape, array.dtype) for array in weights)
        return settings._replace(activations=()), *shapes

    if common(*one) != common(*other):
        raise ValueError(f"the directions of one ONNX node differ in activations only, got {forward} and {backward}")


def _attributes(settings: tuple[Settings, ...], size: int, direction: str) -> dict[str, Any]:
    """The attributes of a node; those that are not needed are left out."""
    first = settings[0]
    attributes: dict[str, Any] = {"hidden_size": size, "direction": direction}
    activations: list[OnnxActivation] = [each for one in settings for each in one.activations]
    if not all(is_plain(one._replace(clip=None)) for one in settings):
        attributes["activations"] = [each.name for each in activations]
        for name in ("alpha", "beta"):
            values = [getattr(each, name) for each in activations if getattr(each, name) is not None]
            attributes |= {f"activation_{name}": values} if values else {}
    if first.clip is not None:
        attributes["clip"] = float(first.clip)
    if first.flag:
        attributes[str(OPERATORS[first.op].flag)] = 1
    return attributes
