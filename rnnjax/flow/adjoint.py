"""The one backward pass behind the gradient-flow instruments.

A gradient that has come a long way is smaller, or larger, than any float: 0.6^1000 is 1e-222. So the backward pass
carries for every example a gradient of ordinary size and the logarithm of what it has to be multiplied by, and puts
them right at every step. Norms are known as natural logarithms, over any lag and in the dtype of the computation;
minus infinity means exactly zero, never underflow.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rnnjax.cells.base import Cell
from rnnjax.kernels.base import select, vary_with
from rnnjax.scan import trajectory

Loss = Callable[[Any, Array], Array]


class Scaled(NamedTuple):
    """`exp(log_scale)` times a pytree of arrays whose leading axes are those of `log_scale`, the batch."""

    tree: Any
    log_scale: Array


def normalize(x: Scaled) -> Scaled:
    """The same value with the largest magnitude of every example moved into the scale; the scale of zero is -inf."""
    peaks = [jnp.max(jnp.abs(leaf), _axes(leaf, x.log_scale)) for leaf in jax.tree.leaves(x.tree)]
    peak = jnp.stack(peaks).max(0).astype(x.log_scale.dtype)
    divisor = jnp.where(peak == 0, 1, peak)  # not its inverse, which is subnormal for the largest of floats
    return Scaled(jax.tree.map(lambda leaf: leaf / _expand(divisor, leaf), x.tree), x.log_scale + log(peak))


def add(a: Scaled, b: Scaled) -> Scaled:
    """The sum, on the larger of the two scales."""
    top = jnp.maximum(a.log_scale, b.log_scale)
    top = jnp.where(jnp.isneginf(top), 0, top)

    def summand(x: Scaled) -> Any:
        factor = jnp.exp(x.log_scale - top)
        return jax.tree.map(lambda leaf: leaf * _expand(factor, leaf), x.tree)

    return Scaled(jax.tree.map(jnp.add, summand(a), summand(b)), top)


def log(x: Array) -> Array:
    """The natural logarithm; minus infinity at zero, with a derivative of zero, so that no gradient becomes NaN."""
    return jnp.where(x == 0, -jnp.inf, jnp.log(jnp.where(x == 0, 1, x)))


def log_norms(x: Scaled) -> Any:
    """The natural logarithm of the Euclidean norm of every leaf, for every example."""

    def log_norm(leaf: Array) -> Array:
        # By itself: next to a far larger leaf the squares of this one would be zero.
        (leaf,), log_scale = normalize(Scaled([leaf], x.log_scale))
        return log_scale + 0.5 * log(jnp.sum(jnp.square(leaf), _axes(leaf, log_scale)))

    return jax.tree.map(log_norm, x.tree)


def _axes(leaf: Array, scale: Array) -> tuple[int, ...]:
    return tuple(range(scale.ndim, leaf.ndim))


def _expand(scale: Array, leaf: Array) -> Array:
    return jnp.expand_dims(scale, _axes(leaf, scale)).astype(leaf.dtype)


class Step(NamedTuple):
    """What a visitor of the backward pass sees of time step t."""

    total: Scaled
    """dL/dcarry_t of every example, normalised."""
    direct: Scaled
    """dL/dy_t, normalised."""
    before: Any
    """carry_(t-1)."""
    x: Array
    """x_t."""
    valid: Array | None
    """Whether the step is real, for every example."""


def backward(
    cell: Cell[Any, Any],
    params: Any,
    xs: Array,
    loss: Loss,
    carry: Any,
    lengths: Any,
    visit: Callable[[Step], Any],
) -> tuple[Any, Scaled]:
    """One forward and one backward pass over time.

    Returns what `visit` gave for t = 1 ... T, stacked, and dL/dcarry_0 of every example.
    """
    params = vary_with(params, (xs, carry))  # each device sums over its own batch, on its own scale
    final, ys, path = trajectory(cell, params, xs, carry, lengths=lengths)
    value, pull_loss = jax.vjp(loss, final, ys)
    time, *batch_shape = cell.leading_shape(path.xs)
    check_loss(value, tuple(batch_shape))
    g_final, g_ys = pull_loss(jnp.ones_like(value))
    scale_dtype = jnp.result_type(*jax.tree.leaves(final))
    direct = normalize(
        Scaled(select(path.valid, g_ys, jnp.zeros_like(g_ys)), jnp.zeros((time, *batch_shape), scale_dtype))
    )

    def body(through: Scaled, inputs: tuple[Scaled, Any]) -> tuple[Scaled, Any]:
        direct, (x, z, before, valid) = inputs
        # The gradient that reached carry_t through later steps, and what reaches it at once, through its own output.
        after, pull = jax.vjp(lambda before: cell.advance(params, before, z), before)
        y, pull_output = jax.vjp(lambda after: cell.output(params, after, z), after)
        (g_after,) = pull_output(direct.tree.astype(y.dtype))
        total = normalize(add(through, Scaled(g_after, direct.log_scale)))
        (g_before,) = pull(total.tree)
        seen = visit(Step(total, direct, before, x, valid))
        return Scaled(select(valid, g_before, total.tree), total.log_scale), seen

    at_end = vary_with(Scaled(g_final, jnp.zeros(batch_shape, scale_dtype)), (final, g_ys))
    at_start, seen = lax.scan(body, at_end, (direct, path), reverse=True)
    return seen, normalize(at_start)


def check_loss(value: Any, batch_shape: tuple[int, ...]) -> None:
    if not isinstance(value, Array) or not jnp.issubdtype(value.dtype, jnp.floating):
        got = value.dtype if isinstance(value, Array) else type(value).__name__
        raise TypeError(f"loss must return a floating-point array, got {got}")
    if value.shape not in ((), batch_shape):
        raise ValueError(
            f"loss must return a scalar or one value an example, shape {batch_shape}, got shape {value.shape}"
        )
