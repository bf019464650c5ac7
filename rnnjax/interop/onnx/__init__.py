"""Interchange with the RNN, LSTM and GRU nodes of ONNX models, both ways."""

from rnnjax.interop.onnx.activations import OnnxActivation
from rnnjax.interop.onnx.cells import OnnxGRU, OnnxGRUResetBefore, OnnxLSTM, OnnxRNN
from rnnjax.interop.onnx.load import from_onnx
from rnnjax.interop.onnx.recurrence import OnnxRecurrence
from rnnjax.interop.onnx.save import to_onnx

__all__ = [
    "OnnxActivation",
    "OnnxGRU",
    "OnnxGRUResetBefore",
    "OnnxLSTM",
    "OnnxRNN",
    "OnnxRecurrence",
    "from_onnx",
    "to_onnx",
]
