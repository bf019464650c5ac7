"""Weights of any cell in a safetensors file, which holds arrays and runs no code when it is read."""

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from rnnjax.cells import Cell
from rnnjax.checks import check_floating, declared_params
from rnnjax.interop.base import as_array, check_names, check_shapes, named


def save_safetensors(path: str | os.PathLike[str], params: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Writes the parameters of any cell, each array by its path in the pytree, such as `layers.0.w_x`.

    The file appears whole or not at all: it is written beside its place, and replaces what was there only when done.

    Args:
        path: the file.
        params: the parameters, of any floating-point dtypes.
        metadata: text to keep with them, which loading does not need.

    Raises:
        ImportError: without the package safetensors, of the extra `interop`.
        TypeError: a weight that is not floating point, by name; metadata that is not text.
    """
    library = _library()
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in named(params).items()}
    for name, array in arrays.items():
        check_floating(name, array.dtype)
    for key, text in (metadata or {}).items():
        if not isinstance(text, str):
            raise TypeError(f"metadata must be text, got {text!r} for {key!r}")
    path = Path(path)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(beside, "xb") as file:
            file.write(library.numpy.save(arrays, None if metadata is None else dict(metadata)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load_safetensors(path: str | os.PathLike[str], cell: Cell[Any, Any]) -> Any:
    """The parameters of `cell` from a file of `save_safetensors`, or any other with the same names and shapes.

    Args:
        path: the file.
        cell: the cell to load; the input size is that of the file.

    Returns:
        Parameters like those of `cell.init`, in the file's dtypes.

    Raises:
        ImportError: without the package safetensors, of the extra `interop`.
        ValueError: a file of another kind, or cut short; a missing, unexpected or misshapen weight, by name.
        TypeError: a weight that is not floating point, or is float64 while JAX is set to 32 bits, by name.
    """
    library = _library()
    try:
        with library.safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a file is no mapping
    except library.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from None
    like = _any_declared(cell, {size for array in arrays.values() for size in array.shape})
    check_names(arrays, named(like), type(cell).__name__)
    params = jax.tree.unflatten(jax.tree.structure(like), [as_array(name, arrays[name]) for name in named(like)])
    try:
        input_size = cell.input_size(params) or 1
    except IndexError:  # too few axes: any size will do to refuse the shape by its name
        input_size = cell.input_size(like)
    check_shapes(arrays, named(declared_params(cell, input_size)), f"{type(cell).__name__} of {input_size} inputs")
    return params


def _any_declared(cell: Cell[Any, Any], sizes: Iterable[int]) -> Any:
    """Parameters of the structure of `cell`, which does not depend on the input size: of any that the cell takes.

    Most take any; a residual cell takes only one, which is among the `sizes` in the file.
    """
    for size in sorted(sizes):
        try:
            return declared_params(cell, size)
        except ValueError:
            continue
    return declared_params(cell, 1)


def _library() -> ModuleType:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise ImportError('this needs the package safetensors: pip install "rnnjax[interop]"') from None
    return safetensors
