"""What the formats share: layouts, which say where our weights lie in another library's arrays, and their checks.

A layout maps the name of an array to what it holds, gate by gate in the order of its last axis: "w_x:ifgo" is our `w_x`
with its gates in our order, "b:rz b_h:n" two gates of `b` and then `b_h`; "/" begins a new row. Where several arrays
hold the same gate of the same weight, their sum is ours: it is written to the first, and zeros to the others. A weight
without a place reads as zeros, and is only written if it is zero.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnjax.cells import GRU, LSTM, Around, Cell, Elman, GRUResetBefore, ProjectedLSTM
from rnnjax.checks import check_floating, check_params, declared_params
from rnnjax.compose import Bidirectional, Stack

Layout = Mapping[str, str]
Cells = tuple[Cell[Any, Any], ...]
T = TypeVar("T")

_LSTM = {"w_x": "ifgo", "w_h": "ifgo", "b": "ifgo"}
_GRU = {"w_x": "rzn", "w_h": "rzn", "b": "rzn"}

# The gates of our own weights, in their order.
GATES: dict[type[Cell[Any, Any]], Layout] = {
    Elman: {"w_x": "h", "w_h": "h", "b": "h"},
    LSTM: _LSTM,
    ProjectedLSTM: {**_LSTM, "w_p": "p"},
    GRU: {**_GRU, "b_h": "n"},
    GRUResetBefore: _GRU,
}


# --- cells inside a network -------------------------------------------------------------------------------------------


def directions(cell: Cell[Any, Any]) -> Cells:
    """Both cells of a bidirectional one, or the cell itself."""
    if isinstance(cell, Bidirectional):
        return cell.cells
    return (cell,)


def single_cells(cell: Cell[Any, Any], place: str = "") -> Iterator[tuple[str, Cell[Any, Any]]]:
    """The cells that a network is made of by `Stack` and `Bidirectional`, in the order of their parameters.

    Each with its place, such as "layers.0.forward."; a single cell has the place "".
    """
    if isinstance(cell, Stack):
        for index, layer in enumerate(cell.layers):
            yield from single_cells(layer, f"{place}layers.{index}.")
    elif isinstance(cell, Bidirectional):
        for name, direction in zip(("forward", "backward"), directions(cell), strict=True):
            yield from single_cells(direction, f"{place}{name}.")
    else:
        yield place, cell


def entry(table: Mapping[type[Cell[Any, Any]], T], cell: Cell[Any, Any], library: str) -> T:
    """What a table by type of cell has for this one; `library` says whose table it is."""
    if type(cell) not in table:
        known = ", ".join(kind.__name__ for kind in table)
        hint = ": give the cell inside, and its parameters" if isinstance(cell, Around) else ""
        raise ValueError(f"{library} has no layer like {type(cell).__name__}, only like {known}{hint}")
    return table[type(cell)]


# --- both directions --------------------------------------------------------------------------------------------------


def from_arrays(cell: Cell[Any, Any], arrays: Mapping[str, Any], layouts: Sequence[Layout], transposed: bool) -> Any:
    """The parameters of `cell` from another library's arrays.

    `layouts`: one for each of `single_cells(cell)`; `transposed`: whether matrices are `[out, in]`.
    """
    names = {name: None for layout in layouts for name in layout}
    check_names(arrays, names, type(cell).__name__)
    found = {name: as_array(name, arrays[name]) for name in names}
    name = next(name for name, held in layouts[0].items() if held.startswith("w_x"))
    # Where there is no input size, in a vector or an empty matrix, any will do: the shape is refused by its name.
    input_size = (found[name].shape[-1 if transposed else 0] if found[name].ndim == 2 else 1) or 1
    want = declared_params(cell, input_size)
    shapes = jax.eval_shape(lambda params: _write(cell, params, layouts, transposed), want)
    check_shapes(found, shapes, f"{type(cell).__name__} of {input_size} inputs")
    singles, structure = _split(want)
    read = [
        _read(GATES[type(single)], layout, like, found, transposed)
        for (_, single), layout, like in zip(single_cells(cell), layouts, singles, strict=True)
    ]
    return jax.tree.unflatten(structure, read)


def to_arrays(
    cell: Cell[Any, Any], params: Any, layouts: Sequence[Layout], transposed: bool, target: str
) -> dict[str, np.ndarray]:
    """Another library's arrays from the parameters of `cell`; `target` is what has no place for a weight left over."""
    check_params(cell, params)
    params = jax.tree_util.tree_map_with_path(lambda path, leaf: as_array(f"params.{dotted(path)}", leaf), params)
    for (place, _), layout, single in zip(single_cells(cell), layouts, _split(params)[0], strict=True):
        homes = {field for held in layout.values() for field, _ in _gates(held)}
        for field, weight in single._asdict().items():
            if field not in homes and np.any(np.asarray(weight) != 0):
                raise ValueError(f"params.{place}{field} is not zero, and {target} has no place for it")
    # Copies, since NumPy's views of JAX arrays cannot be written to, of which PyTorch would warn.
    return {name: np.array(array) for name, array in _write(cell, params, layouts, transposed).items()}


def _split(params: Any) -> tuple[list[Any], Any]:
    """The parameters of each of `single_cells`, and the structure around them."""
    return jax.tree.flatten(params, is_leaf=lambda node: hasattr(node, "w_x"))


def _gates(held: str) -> list[tuple[str, str]]:
    """What an array holds, as (weight, gate): "b:rz b_h:n" is b r, b z, b_h n."""
    fields = (part.split(":") for part in held.replace("/", " ").split())
    return [(field, gate) for field, gates in fields for gate in gates]


def _read(own: Layout, layout: Layout, like: Any, arrays: Mapping[str, Array], transposed: bool) -> Any:
    """The parameters of one cell, shaped `like` these."""
    blocks: dict[tuple[str, str], Array] = {}
    for name, held in layout.items():
        array = arrays[name].T if transposed else arrays[name]
        gates = _gates(held)
        for gate, block in zip(gates, jnp.split(array.ravel() if "/" in held else array, len(gates), -1), strict=True):
            blocks[gate] = blocks[gate] + block if gate in blocks else block
    dtype = next(iter(blocks.values())).dtype

    def join(field: str) -> Array:
        parts = [blocks[field, gate] for gate in own[field] if (field, gate) in blocks]
        return jnp.concatenate(parts, -1) if parts else jnp.zeros(getattr(like, field).shape, dtype)

    return like._replace(**{field: join(field) for field in own})


def _write(cell: Cell[Any, Any], params: Any, layouts: Sequence[Layout], transposed: bool) -> dict[str, Array]:
    """The arrays of all single cells of a network."""
    arrays: dict[str, Array] = {}
    for (_, single), layout, own in zip(single_cells(cell), layouts, _split(params)[0], strict=True):
        arrays.update(_write_single(GATES[type(single)], layout, own, transposed))
    return arrays


def _write_single(own: Layout, layout: Layout, params: Any, transposed: bool) -> dict[str, Array]:
    blocks = {
        (field, gate): block
        for field, gates in own.items()
        for gate, block in zip(gates, jnp.split(getattr(params, field), len(gates), -1), strict=True)
    }
    written: set[tuple[str, str]] = set()

    def take(gate: tuple[str, str]) -> Array:
        block = jnp.zeros_like(blocks[gate]) if gate in written else blocks[gate]
        written.add(gate)
        return block

    arrays = {name: jnp.concatenate([take(gate) for gate in _gates(held)], -1) for name, held in layout.items()}
    rows = {name: held.count("/") + 1 for name, held in layout.items()}
    arrays = {name: array if rows[name] == 1 else array.reshape(rows[name], -1) for name, array in arrays.items()}
    return {name: array.T if transposed else array for name, array in arrays.items()}


# --- checks -----------------------------------------------------------------------------------------------------------


def dotted(path: Any) -> str:
    """A leaf's path in its pytree, such as "layers.0.w_x"."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their dotted paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = {dotted(path): leaf for path, leaf in leaves}
    if len(names) < len(leaves):
        raise ValueError(f"no two weights may have one path, got {', '.join(dotted(path) for path, _ in leaves)}")
    return names


def check_names(got: Mapping[str, Any], want: Mapping[str, Any], source: str) -> None:
    """Whether nothing is missing and nothing is left over; `source` says whose names are wanted."""
    missing, extra = [name for name in want if name not in got], [name for name in got if name not in want]
    if missing or extra:
        which = [f"{kind} {', '.join(names)}" for kind, names in (("missing", missing), ("unexpected", extra)) if names]
        raise ValueError(
            f"weights {' and '.join(which)}: {source} has {', '.join(want)}, got {', '.join(got) or 'none'}"
        )


def check_shapes(got: Mapping[str, Any], want: Mapping[str, Any], source: str) -> None:
    """Whether every array has the shape of its namesake; `source` says whose shapes are wanted."""
    for name, array in got.items():
        if array.shape != want[name].shape:
            raise ValueError(f"{name} has shape {array.shape}, but {source} has {want[name].shape}")


def as_array(name: str, weight: Any) -> Array:
    """A copy of `weight` (of NumPy, JAX or PyTorch) as an array of its own dtype, which must be floating point."""
    if hasattr(weight, "detach"):
        weight = weight.detach().cpu()
        # NumPy has no bfloat16 of its own, and PyTorch gives it none; by way of float32 nothing is lost.
        half = str(weight.dtype) == "torch.bfloat16"
        weight = weight.float().numpy().astype(jnp.bfloat16) if half else weight.numpy()
    weight = weight if isinstance(weight, Array) else np.asarray(weight)
    check_floating(name, weight.dtype)
    kept = jax.dtypes.canonicalize_dtype(weight.dtype)
    if kept != weight.dtype:
        raise TypeError(f"{name} is {weight.dtype}, which JAX would round to {kept}: convert it, or set jax_enable_x64")
    return jnp.array(weight)
