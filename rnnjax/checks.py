"""What the public functions check of their arguments: shapes and dtypes always, values where they are concrete.

Every message names the argument, what came and what is allowed.
"""

import functools
import operator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

T = TypeVar("T")


def check_size(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int, if it is an integer of at least `least`."""
    if not isinstance(value, bool):
        try:
            size = operator.index(value)
        except TypeError:
            pass
        else:
            if size >= least:
                return size
    raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_positive(name: str, value: Any) -> float:
    """`value` as a float, if it is a number above zero."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0 < value < np.inf:
        return float(value)
    raise ValueError(f"{name} must be a number above 0, got {value!r}")


def check_floating(name: str, dtype: Any, hint: str = "") -> None:
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, got {jnp.dtype(dtype)}{hint}")


def check_like(name: str, tree: T, declared: T, source: str) -> None:
    """Whether a pytree has the structure and shapes of another, and floating-point leaves; `source` says of which."""
    structure: Any = jax.tree.structure(tree)
    wanted: Any = jax.tree.structure(declared)
    if structure != wanted:
        raise ValueError(f"{name} must be like {source}, {wanted}, got {structure}")
    for (path, want), got in zip(jax.tree_util.tree_leaves_with_path(declared), jax.tree.leaves(tree), strict=True):
        leaf = name + jax.tree_util.keystr(path)
        if jnp.shape(got) != want.shape:
            raise ValueError(f"{leaf} has shape {jnp.shape(got)}, but {source} has {want.shape}")
        check_floating(leaf, jnp.result_type(got))


@functools.lru_cache(maxsize=256)
def declared_params(cell: Any, input_size: int) -> Any:
    """The shapes and dtypes of the parameters that `cell.init` gives."""
    return jax.eval_shape(lambda key: cell.init(key, input_size), jax.random.key(0))


def check_params(cell: Any, params: Any) -> None:
    """Whether parameters are those of this cell."""
    try:
        input_size = cell.input_size(params)
    except (AttributeError, IndexError, TypeError):
        got: Any = jax.tree.structure(params)
        raise ValueError(f"params must be what {type(cell).__name__}.init returns, got {got}") from None
    check_like("params", params, declared_params(cell, input_size), f"{type(cell).__name__}.init(key, {input_size})")


def check_inputs(cell: Any, params: Any, xs: Array, name: str) -> None:
    """Whether inputs `[..., features]` are floating point and have the features that the parameters are for."""
    check_floating(name, xs.dtype, ": one-hot encode or embed integers first")
    wanted = cell.input_shape(params)
    got = xs.shape[max(0, xs.ndim - len(wanted)) :]
    if got != wanted:
        had, known = (f"{got[-1]} features", wanted[-1]) if len(wanted) == 1 else (f"features of shape {got}", wanted)
        raise ValueError(f"{name} has {had}, but params were initialised for {known}")


def check_carry(cell: Any, carry: T, batch_shape: tuple[int, ...], dtype: Any) -> T:
    """`carry`, cast to its declared dtypes, if it is one of this cell and batch."""
    declared: Any = jax.eval_shape(lambda: cell.initial_carry(batch_shape, dtype))
    check_like("carry", carry, declared, f"cell.initial_carry({batch_shape})")
    return jax.tree.map(lambda got, want: jnp.asarray(got, want.dtype), carry, declared)


def check_lengths(lengths: ArrayLike, time: int, batch_shape: tuple[int, ...]) -> ArrayLike:
    """`lengths` as an array, if they are integers from 0 to `time`, one a sequence."""
    lengths = lengths if isinstance(lengths, Array) else np.asarray(lengths)
    if not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        raise TypeError(f"lengths must be integers, got {jnp.result_type(lengths)}")
    if jnp.shape(lengths) != batch_shape:
        raise ValueError(f"lengths has shape {jnp.shape(lengths)}, but the batch of xs has shape {batch_shape}")
    if not isinstance(lengths, jax.core.Tracer) and np.size(lengths):
        low, high = np.min(np.asarray(lengths)), np.max(np.asarray(lengths))
        if low < 0 or high > time:
            raise ValueError(f"lengths must be from 0 to {time}, the time steps of xs, got {low} to {high}")
    return lengths


def check_flags(name: str, flags: ArrayLike | None, shape: tuple[int, ...]) -> Array | None:
    """`flags` as an array, if they are booleans, one a step of every sequence: `shape` is that of time and batch."""
    if flags is None:
        return None
    flags = jnp.asarray(flags)
    if flags.dtype != bool:
        raise TypeError(f"{name} must be booleans, got {flags.dtype}")
    if flags.shape != shape:
        raise ValueError(f"{name} has shape {flags.shape}, but time and batch of xs have shape {shape}")
    return flags
