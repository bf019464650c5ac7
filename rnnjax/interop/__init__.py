"""Weights to and from other libraries, as pure functions: arrays in, arrays out, and a cell that says what they are.

A format is one file here (or one folder), and its functions in this list. Where another library's arrays only hold our
weights in another arrangement, the file is a table of layouts (`rnnjax.interop.base`) and two functions.
"""

from rnnjax.interop.flax import from_flax, to_flax
from rnnjax.interop.keras import from_keras, to_keras
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
from rnnjax.interop.pytorch import from_torch, to_torch
from rnnjax.interop.safetensors import load_safetensors, save_safetensors

__all__ = [
    "OnnxActivation",
    "OnnxGRU",
    "OnnxGRUResetBefore",
    "OnnxLSTM",
    "OnnxRNN",
    "OnnxRecurrence",
    "from_flax",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load_safetensors",
    "save_safetensors",
    "to_flax",
    "to_keras",
    "to_onnx",
    "to_torch",
]
