"""The interface of a kernel, and what kernels are written with.

A kernel is a function `run(cell, params, xs, noise, carry, fresh, stretch) -> (carry, ys)`, whose arguments have been
checked, and whose results are those of the loop in the docstring of `rnnjax.unroll`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Bool

from rnnjax.cells.base import Cell, NotPointwise, PointwiseCell, carry_dtype, output_dtype

T = TypeVar("T")
Kernel = Callable[..., tuple[Any, Array]]


class Stretch(NamedTuple):
    """The stretch of time that a kernel runs over."""

    valid: Bool[Array, "time *batch"] | None
    """Whether a step is real, None if all are."""
    borders: Bool[Array, "time *batch"] | None
    """Whether a step, in the order of the run, begins anew from `fresh`; None if none does."""
    reverse: bool
    """From the last step to the first."""
    unroll: int
    """How many steps one iteration of the compiled loop holds."""
    gaps: bool = False
    """Whether steps that are not real may come before real ones (a `mask`), and not behind them alone (`lengths`)."""
    perturbations: Any = None
    """A carry of arrays `[time, *batch, ...]`: what is added to the carry after every step. None: nothing."""


def core_for(kernel: str, cell: Cell[Any, Any], noise: Any) -> PointwiseCell[Any, Any]:
    """The `pointwise_core` that a kernel runs; an error in one line where there is none."""
    try:
        return cell.pointwise_core(noise)
    except NotPointwise as why:
        raise ValueError(f'kernel "{kernel}" needs a PointwiseCell, and {why}: use "scan"') from None


def select(valid: Bool[Array, "*batch"] | None, new: Any, old: Any) -> Any:
    """`new` where a step is real and `old` where it is padding, leaf by leaf; None: all are real."""
    if valid is None:
        return new

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(valid.reshape(valid.shape + (1,) * (old.ndim - valid.ndim)), new, old)

    return jax.tree.map(choose, new, old)


def perturb(carry: T, perturbation: Any) -> T:
    """The carry with a step's perturbation, in its own dtype."""
    if perturbation is None:
        return carry
    return jax.tree.map(lambda leaf, added: leaf + added.astype(leaf.dtype), carry, perturbation)


def all_at_once(
    carries: Callable[[Any, Any, Any], Any], cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, stretch: Stretch
) -> tuple[Any, Array]:
    """A kernel from `carries(zs, valid, borders)`, which gives the carries after every step, first to last."""
    inputs = cell.project_with(params, xs, noise), stretch.valid, stretch.borders
    zs, valid, borders = jax.tree.map(lambda leaf: leaf[::-1], inputs) if stretch.reverse else inputs
    after = carries(zs, valid, borders)
    ys = cell.output(params, after, zs).astype(output_dtype(params, xs))
    ys = select(valid, ys, jnp.zeros_like(ys))
    return jax.tree.map(lambda leaf: leaf[-1], after), ys[::-1] if stretch.reverse else ys


def widen(params: T) -> tuple[T, Any]:
    """The parameters in float32 or wider, and the dtypes to `cast` them back to inside a loop.

    The gradients of what a loop closes over add up in the dtype that it has outside.
    """
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, params)
    return cast(params, jax.tree.map(carry_dtype, dtypes)), dtypes


def cast(params: T, dtypes: Any) -> T:
    """Every leaf in its dtype."""
    return jax.tree.map(lambda leaf, dtype: leaf.astype(dtype), params, dtypes)


def over_blocks(
    body: Callable[[Any, tuple[Any, Any]], tuple[Any, Any]],
    carry: Any,
    inputs: Any,
    size: int,
    *,
    reverse: bool,
    starts: Any = None,
) -> tuple[Any, Any]:
    """`lax.scan` of `body` over blocks of steps: it gets `size` steps of the inputs and one entry of `starts` a call.

    The last block is shorter if need be. Results are as of a scan over the steps.
    """
    time = len(jax.tree.leaves(inputs)[0])
    count, rest = divmod(time, size)
    blocks = jax.tree.map(lambda leaf: leaf[: time - rest].reshape(count, size, *leaf.shape[1:]), inputs)

    def equal(carry: Any) -> tuple[Any, Any]:
        some = jax.tree.map(lambda leaf: leaf[:count], starts)
        carry, ys = lax.scan(body, carry, (blocks, some), reverse=reverse, unroll=True if count == 1 else 1)
        return carry, jax.tree.map(lambda leaf: leaf.reshape(time - rest, *leaf.shape[2:]), ys)

    def shorter(carry: Any) -> tuple[Any, Any]:
        tail = jax.tree.map(lambda leaf: leaf[time - rest :], inputs)
        return body(carry, (tail, jax.tree.map(lambda leaf: leaf[-1], starts)))

    if rest == 0:
        return equal(carry)
    if count == 0:
        return shorter(carry)
    first, second = (shorter, equal) if reverse else (equal, shorter)
    carry, one = first(carry)
    carry, other = second(carry)
    parts = (other, one) if reverse else (one, other)
    return carry, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def product_precision() -> str:
    """The precision of products of matrices that `jax.default_matmul_precision` asks for."""
    found: str | None = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return found or "default"


def vary_with(tree: T, like: Any) -> T:
    """Inside `jax.shard_map`, `tree` as varying over every mesh axis that `like` varies over; elsewhere `tree` itself.

    A scan inside shard_map wants the carry that it starts from (zeros, the same on all devices) to vary as it will.
    """

    def axes(leaf: Array) -> frozenset[Any]:
        return jax.typeof(leaf).manual_axis_type.varying

    wanted = frozenset().union(*(axes(leaf) for leaf in jax.tree.leaves(like)))

    def vary(leaf: Array) -> Array:
        missing = tuple(wanted - axes(leaf))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, tree)


def own_key(key: Array, like: Array) -> Array:
    """Inside `jax.shard_map`, a key of each device's own, for every mesh axis that `like` varies over."""
    for axis in sorted(jax.typeof(like).manual_axis_type.varying):
        key = jax.random.fold_in(key, lax.axis_index(axis))
    return key


def spread_as(xs: Array, axes: slice, tree: T) -> T:
    """Arrays that begin with these axes of the inputs (time and batch), laid on the devices as the inputs are.

    JAX does that by itself, but for the axes of a mesh that are explicit, where it is part of an array's type.
    """
    sharding = jax.typeof(xs).sharding
    if AxisType.Explicit not in sharding.mesh.axis_types:
        return tree
    return jax.tree.map(lambda leaf: jax.sharding.reshard(leaf, PartitionSpec(*sharding.spec[axes])), tree)


def refused(why: str, like: T) -> T:
    """What stands in a program for results that a platform cannot give: a `ValueError` if it is compiled for that."""
    return jax.tree.map(lambda leaf: _refused.bind(jnp.zeros(leaf.shape, leaf.dtype), why=why), like)


def _refuse(*_: Any, why: str) -> Any:
    raise ValueError(why)


_refused = Primitive("refused")
_refused.def_abstract_eval(lambda aval, *, why: aval)
_refused.def_impl(_refuse)
mlir.register_lowering(_refused, _refuse)
