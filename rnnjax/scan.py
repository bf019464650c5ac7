"""A cell over time: `unroll`, by `lax.scan`.

Every forward pass over a cell is made here. `unroll` is what users call; `trajectory` also gives the intermediate
values that the backward passes of `rnnjax.flow` start from.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from rnnjax.cells.base import Cell, output_dtype
from rnnjax.cells.linear import ParallelCell
from rnnjax.checks import check_carry, check_flags, check_inputs, check_lengths, check_params

Params = TypeVar("Params", bound=tuple[Any, ...])
Carry = TypeVar("Carry", bound=tuple[Any, ...])
T = TypeVar("T")


def unroll(
    cell: Cell[Params, Carry],
    params: Params,
    xs: Float[Array, "time *batch features"],
    carry: Carry | None = None,
    *,
    lengths: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "time *batch"] | None = None,
    resets: Bool[ArrayLike, "time *batch"] | None = None,
    reverse: bool = False,
    unroll: int = 1,
    kernel: Literal["scan", "parallel"] = "scan",
) -> tuple[Carry, Float[Array, "time *batch output_size"]]:
    """Runs a cell over a sequence, and equals this loop (with `reverse`, over `t` from the last step to the first):

        for t in range(time):
            carry, ys[t] = cell.step(params, carry, xs[t])

    Args:
        cell: the cell, static under jit.
        params: its parameters, from `cell.init`.
        xs: the inputs, time-major, `[time, batch, features]`; `[time, features]` and more batch axes work too.
        carry: the carry before the first step; `cell.initial_carry` if None. Cast to the carry's declared dtype.
        lengths: the number of real steps of every sequence, 0 to time. Past it the carry stays as it is and outputs are
            zero, whatever the padding holds (NaN included); with `reverse`, the padding comes first and is passed over.
        mask: True for real steps, False for those to pass over, anywhere in the sequence, as `lengths` does at its end;
            with both, a step has to be real by both.
        resets: True where a new sequence begins. The step starts from `cell.initial_carry`, and nothing crosses the
            border between it and the step before, with `reverse` neither. A step that `mask` passes over still begins
            a sequence; one past `lengths` does not.
        reverse: run from the last step to the first; outputs stay at the time of their inputs.
        unroll: how many steps one iteration of the compiled loop holds, as in `lax.scan`.
        kernel: "scan" runs step after step; "parallel" runs all steps at once by an associative scan, for cells whose
            recurrence is linear (a `ParallelCell`: minGRU, minLSTM, LRU).

    Returns:
        The final carry, and the outputs `[time, batch, output_size]`.

    Raises:
        TypeError: `xs`, `lengths`, `mask` or `resets` of the wrong kind (integer inputs want one-hot encoding or an
            embedding first).
        ValueError: parameters of another cell, shapes that do not fit them, an empty sequence, lengths out of range, a
            kernel that does not exist or cannot run this cell.
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
    xs, carry, valid = prepare(cell, params, xs, carry, lengths, mask)
    resets = check_flags("resets", resets, len(xs), xs.shape[1:-1])
    if resets is not None and lengths is not None:
        resets = resets & within(xs, lengths)
    if resets is not None and reverse:  # in reverse, the step before the border is the one that comes after it
        resets = jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])
    fresh = cell.initial_carry(xs.shape[1:-1], output_dtype(params, xs))
    zs = cell.project(params, xs)
    if kernel == "parallel":
        return _in_parallel(cell, params, xs, zs, carry, fresh, valid, resets, reverse)
    step = masked_step(cell, params, output_dtype(params, xs))

    def body(carry: Carry, inputs: tuple[Any, Any, Any]) -> tuple[Carry, Array]:
        z, valid, reset = inputs
        if reset is not None:
            carry = select(reset, fresh, carry)
        return step(carry, (z, valid))

    # A scan whose one iteration holds the whole sequence is inlined: no loop at all for a single step.
    return lax.scan(
        body, carry, (zs, valid, resets), reverse=reverse, unroll=min(unroll, len(xs)) if len(xs) > 1 else True
    )


KERNELS = ("scan", "parallel")


def _in_parallel(
    cell: Cell[Params, Carry],
    params: Params,
    xs: Array,
    zs: Any,
    carry: Carry,
    fresh: Carry,
    valid: Any,
    resets: Any,
    reverse: bool,
) -> tuple[Carry, Array]:
    if not isinstance(cell, ParallelCell):
        raise ValueError(f'kernel "parallel" needs a linear recurrence, and {type(cell).__name__} is none: use "scan"')
    if reverse:
        zs, valid, resets = jax.tree.map(lambda leaf: leaf[::-1], (zs, valid, resets))
    columns = jax.tree.map(lambda flags: flags[..., None], (valid, resets))
    carries = cell.carries(params, zs, carry, fresh, *columns)
    ys = cell.output(params, carries, zs).astype(output_dtype(params, xs))
    ys = select(valid, ys, jnp.zeros_like(ys))
    return jax.tree.map(lambda leaf: leaf[-1], carries), ys[::-1] if reverse else ys


class Trajectory(NamedTuple):
    """What a forward pass met on its way, for time steps t = 1 ... T."""

    xs: Float[Array, "time *batch features"]
    """The inputs, zeros for padding."""
    zs: Any
    """The projected inputs."""
    before: Any
    """carry_(t-1), the carry that step t began with."""
    valid: Bool[Array, "time *batch"] | None
    """Whether a step is real, None if all are."""


def trajectory(
    cell: Cell[Params, Carry],
    params: Params,
    xs: Float[Array, "time *batch features"],
    carry: Carry | None = None,
    *,
    lengths: Int[ArrayLike, "*batch"] | None = None,
) -> tuple[Carry, Float[Array, "time *batch output_size"], Trajectory]:
    """`unroll`, and beside the final carry and the outputs the intermediate values of every step."""
    xs, carry, valid = prepare(cell, params, xs, carry, lengths)
    zs = cell.project(params, xs)
    step = masked_step(cell, params, output_dtype(params, xs))

    def body(carry: Carry, inputs: tuple[Any, Any]) -> tuple[Carry, tuple[Carry, Array]]:
        new, y = step(carry, inputs)
        return new, (carry, y)

    final, (before, ys) = lax.scan(body, carry, (zs, valid))
    return final, ys, Trajectory(xs, zs, before, valid)


def masked_step(
    cell: Cell[Params, Carry], params: Params, dtype: Any
) -> Callable[[Carry, tuple[Any, Any]], tuple[Carry, Array]]:
    """The step that a scan makes, `(carry, (z, valid)) -> (carry, y)`: padding leaves the carry and gives zeros."""

    def step(carry: Carry, inputs: tuple[Any, Any]) -> tuple[Carry, Array]:
        z, valid = inputs
        new = cell.advance(params, carry, z)
        y = cell.output(params, new, z).astype(dtype)
        return select(valid, new, carry), select(valid, y, jnp.zeros_like(y))

    return step


def select(valid: Bool[Array, "*batch"] | None, new: Any, old: Any) -> Any:
    """`new` where a step is real and `old` where it is padding, leaf by leaf; None: all are real."""
    if valid is None:
        return new

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(valid.reshape(valid.shape + (1,) * (new.ndim - valid.ndim)), new, old)

    return jax.tree.map(choose, new, old)


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


# --- the public edge --------------------------------------------------------------------------------------------------


def prepare(
    cell: Cell[Params, Carry],
    params: Params,
    xs: Array,
    carry: Carry | None,
    lengths: ArrayLike | None,
    mask: ArrayLike | None = None,
) -> tuple[Array, Carry, Bool[Array, "time *batch"] | None]:
    """Checks a sequence against the cell; returns the inputs, the carry to start from and the mask of real steps.

    Padding is replaced by zeros, so that nothing in it (NaN) can reach a result or a gradient.
    """
    check_params(cell, params)
    xs = jnp.asarray(xs)
    if xs.ndim < 2:
        raise ValueError(f"xs must be [time, batch, features] or [time, features], got shape {xs.shape}")
    if xs.shape[0] == 0:
        raise ValueError(f"xs must have at least one time step, got shape {xs.shape}")
    check_inputs(cell, params, xs, "xs")
    batch_shape, dtype = xs.shape[1:-1], output_dtype(params, xs)
    carry = cell.initial_carry(batch_shape, dtype) if carry is None else check_carry(cell, carry, batch_shape, dtype)
    valid = check_flags("mask", mask, len(xs), batch_shape)
    if lengths is not None:
        valid = within(xs, lengths) if valid is None else within(xs, lengths) & valid
    return select(valid, xs, jnp.zeros_like(xs)), vary_with(carry, (params, xs, valid)), valid


def within(xs: Array, lengths: ArrayLike) -> Bool[Array, "time *batch"]:
    """Whether a step comes before the end of its sequence."""
    batch_shape = xs.shape[1:-1]
    steps = jnp.arange(len(xs)).reshape((-1,) + (1,) * len(batch_shape))
    return steps < jnp.asarray(check_lengths(lengths, len(xs), batch_shape))
