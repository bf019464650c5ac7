"""Files of weights: any cell comes back exactly, and nothing else is taken for one."""

import os
import re
import struct
import sys

import chex
import jax
import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file

import rnnjax
from rnnjax.interop import load_safetensors, save_safetensors
from tests.interop.parity import draw

INPUTS = 3
STACK = rnnjax.Stack((rnnjax.Bidirectional(rnnjax.LSTM(4)), rnnjax.Residual(rnnjax.GRU(8)), rnnjax.LRU(5)))


@pytest.mark.parametrize("name", rnnjax.CELLS)
def test_every_cell_comes_back(name, tmp_path):
    cell = rnnjax.CELLS[name](4)
    params = draw(cell, INPUTS)
    save_safetensors(tmp_path / "weights", params)
    chex.assert_trees_all_equal(load_safetensors(tmp_path / "weights", cell), params, strict=True)


@pytest.mark.parametrize(
    ("cell", "inputs"),
    [
        (STACK, INPUTS),
        (rnnjax.LearnedCarry(rnnjax.LayerNorm(rnnjax.LSTM(4))), INPUTS),
        (rnnjax.Residual(rnnjax.LSTM(4)), 4),  # takes no other inputs
        (rnnjax.Zoneout(rnnjax.LSTM(4), 0.1), INPUTS),
    ],
    ids=["stack", "learned-carry", "residual", "zoneout"],
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_compositions_come_back_in_every_precision(cell, inputs, dtype, tmp_path):
    params = draw(cell, inputs, dtype)
    save_safetensors(tmp_path / "weights", params)
    chex.assert_trees_all_equal(load_safetensors(tmp_path / "weights", cell), params, strict=True)


def test_float64_is_not_rounded(tmp_path):
    with jax.enable_x64(True):
        params = draw(rnnjax.GRU(4), INPUTS, "float64")
        save_safetensors(tmp_path / "weights", params)
        chex.assert_trees_all_equal(load_safetensors(tmp_path / "weights", rnnjax.GRU(4)), params, strict=True)
    with pytest.raises(TypeError, match=r"w_x is float64, which JAX would round to float32: .*jax_enable_x64"):
        load_safetensors(tmp_path / "weights", rnnjax.GRU(4))


def test_the_file_as_the_library_reads_it(tmp_path):
    """Names are paths in the pytree, and metadata is text that anyone can read."""
    params = draw(STACK, INPUTS)
    save_safetensors(tmp_path / "weights", params, {"made by": "a test"})
    with safetensors.safe_open(tmp_path / "weights", framework="np") as file:
        assert file.metadata() == {"made by": "a test"}
        assert {"layers.0.forward.w_x", "layers.0.backward.b", "layers.1.b_h"} <= set(file.keys())
        np.testing.assert_array_equal(file.get_tensor("layers.0.backward.w_h"), params.layers[0].backward.w_h)


def test_arrays_of_any_memory_order(tmp_path):
    """Fortran's order and views too: the file holds values, not memory."""
    params = draw(rnnjax.Elman(4), INPUTS)
    odd = params._replace(w_x=np.asfortranarray(params.w_x), w_h=np.repeat(params.w_h, 2, axis=1)[:, ::2])
    save_safetensors(tmp_path / "weights", odd)
    chex.assert_trees_all_equal(load_safetensors(tmp_path / "weights", rnnjax.Elman(4)), params, strict=True)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    save_safetensors(path, draw(rnnjax.Elman(4), INPUTS))
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_safetensors(path, draw(rnnjax.Elman(5), INPUTS))
    assert [file.name for file in tmp_path.iterdir()] == ["weights"]
    assert path.read_bytes() == before


GOOD = {"w_x": (3, 4), "w_h": (4, 4), "b": (4,)}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"b": None}, ValueError, r"weights missing b: Elman has w_x, w_h, b, got w_h, w_x"),
        ({"c": (4,)}, ValueError, r"weights unexpected c: Elman has w_x, w_h, b, got b, c, w_h, w_x"),
        ({"w_h": (3, 4)}, ValueError, r"w_h has shape \(3, 4\), but Elman of 3 inputs has \(4, 4\)"),
        ({"w_x": (3, 5)}, ValueError, r"w_x has shape \(3, 5\), but Elman of 3 inputs has \(3, 4\)"),
        ({"w_x": ()}, ValueError, r"w_x has shape \(\), but Elman of \d inputs has \(\d, 4\)"),
        ({"b": np.zeros(4, np.int32)}, TypeError, r"b must be floating point, got int32"),
        ({"b": np.zeros(4, np.int8)}, TypeError, r"b must be floating point, got int8"),
    ],
)
def test_refusals(changes, error, message, tmp_path):
    shapes = {name: shape for name, shape in {**GOOD, **changes}.items() if shape is not None}
    arrays = {
        name: shape if isinstance(shape, np.ndarray) else np.ones(shape, np.float32) for name, shape in shapes.items()
    }
    save_file(arrays, tmp_path / "weights")
    with pytest.raises(error) as caught:
        load_safetensors(tmp_path / "weights", rnnjax.Elman(4))
    assert_line(caught, message)


@pytest.mark.parametrize("name", rnnjax.CELLS)
def test_every_misshapen_weight_is_named(name, tmp_path):
    cell = rnnjax.CELLS[name](4)
    leaves, structure = jax.tree.flatten(draw(cell, INPUTS))
    for index, leaf in enumerate(leaves):
        for wrong in (leaf[..., None], leaf.ravel()[0], leaf[..., :0]):
            params = jax.tree.unflatten(structure, [*leaves[:index], wrong, *leaves[index + 1 :]])
            save_safetensors(tmp_path / "weights", params)
            with pytest.raises(ValueError, match=r"^\S+ has shape \(.*\), but \w+ of \d+ inputs has \(.*\)$"):
                load_safetensors(tmp_path / "weights", cell)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", struct.pack("<Q", 1 << 60) + b"{}", b"cut"])
def test_other_files(content, tmp_path):
    path = tmp_path / "weights"
    save_safetensors(path, draw(rnnjax.Elman(4), INPUTS))
    path.write_bytes(path.read_bytes()[:-1] if content == b"cut" else content)
    with pytest.raises(ValueError, match="weights is not a whole safetensors file: ") as caught:
        load_safetensors(path, rnnjax.Elman(4))
    assert "\n" not in str(caught.value)


def test_only_weights_are_written(tmp_path):
    params = draw(rnnjax.Elman(4), INPUTS)
    for error, message, *arguments in [
        (
            TypeError,
            r"layers\.0\.b must be floating point, got int32",
            {"layers": (params._replace(b=np.arange(4, dtype="i4")),)},
        ),
        (TypeError, r"metadata must be text, got 3 for 'epoch'", params, {"epoch": 3}),
    ]:
        with pytest.raises(error) as caught:
            save_safetensors(tmp_path / "weights", *arguments)
        assert_line(caught, message)
    assert not list(tmp_path.iterdir())


def test_no_weight_is_written_over_another(tmp_path):
    with pytest.raises(ValueError, match=r"no two weights may have one path, got a\.b, a\.b"):
        save_safetensors(tmp_path / "weights", {"a": {"b": np.ones(1)}, "a.b": np.ones(1)})


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_safetensors(tmp_path / "nowhere", rnnjax.Elman(4))


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError) as caught:
        save_safetensors(tmp_path / "weights", draw(rnnjax.Elman(4), INPUTS))
    assert_line(caught, r'this needs the package safetensors: pip install "rnnjax\[interop\]"')


def assert_line(caught, message):
    assert re.fullmatch(message, str(caught.value)), str(caught.value)
