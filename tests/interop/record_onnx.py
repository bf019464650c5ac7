"""Records what onnxruntime computes for random nodes: `python -m tests.interop.record_onnx` writes recorded_onnx.json.

The tests that need neither onnx nor onnxruntime compare with it.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tests.interop.onnx_spec import draw_node

RECORDED = Path(__file__).with_name("recorded_onnx.json")
SEEDS = {"RNN": (5, 7, 21), "LSTM": (5, 9, 10, 13, 14), "GRU": (5, 10, 11, 14, 21)}
"""Nodes with, between them, every input, both values of every attribute, all directions, and most activations."""


def record(op: str, seed: int) -> dict:
    from tests.interop import test_onnx as models  # here, since whoever collects the tests may not have onnx

    arrays, attributes = draw_node(op, seed, time=4, batch=2, features=2, size=3)
    feed = {name: array for name, array in arrays.items() if name not in models.WEIGHTS}
    outputs = models.runtime(models.make_model(op, arrays, attributes), feed)
    return {
        "op": op,
        "attributes": attributes,
        "inputs": {name: shortest(array) for name, array in arrays.items()},
        "outputs": [shortest(output) for output in outputs],
    }


def shortest(array: np.ndarray) -> list:
    """Nested lists, with the fewest digits that stand for the same float32."""
    return np.array([json.loads(str(value)) for value in np.ravel(array)], object).reshape(np.shape(array)).tolist()


if __name__ == "__main__":
    nodes = [record(op, seed) for op, seeds in SEEDS.items() for seed in seeds]
    versions = {name: version(name) for name in ("onnx", "onnxruntime")}
    RECORDED.write_text(json.dumps({"versions": versions, "nodes": nodes}) + "\n")
