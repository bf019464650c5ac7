"""Weights to and from other libraries and formats."""

from rnnjax.interop.onnx import (
    OnnxActivation,
    OnnxGRU,
    OnnxGRUResetBefore,
    OnnxLSTM,
    OnnxRecurrence,
    OnnxRNN,
    from_onnx,
    to_onnx,
)

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
