"""How much of the error reaches every time step, and every weight from every time step."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rnnjax.cells.base import Cell
from rnnjax.flow.adjoint import Loss, Scaled, Step, add, backward, log_norms, normalize
from rnnjax.kernels.base import select


class GradientNorms(NamedTuple):
    """What `gradient_norms` returns; all logarithms are natural, minus infinity is exactly zero."""

    per_example: Any
    """ln ||dL/dcarry_t|| for every component of the carry (a carry of arrays `[time + 1, batch]`), t = 0 ... time."""

    @property
    def mean(self) -> Any:
        """The logarithm of the norm's mean over the batch: a carry of arrays `[time + 1]`."""
        return jax.tree.map(log_mean, self.per_example)


def log_mean(log_norms: Float[Array, "time *batch"]) -> Float[Array, "time"]:
    """The logarithm of the mean of norms over the batch, from their logarithms."""
    return jax.nn.logsumexp(log_norms, tuple(range(1, log_norms.ndim))) - math.log(log_norms[0].size)


def gradient_norms(
    cell: Cell[Any, Any],
    params: Any,
    xs: Float[Array, "time *batch features"],
    loss: Loss,
    carry: Any = None,
    *,
    lengths: Int[ArrayLike, "*batch"] | None = None,
) -> GradientNorms:
    """||dL/dcarry_t|| for every time step, carry component and example, in one backward pass.

    The carry's components are taken as separate coordinates, as in dcarry_T/dcarry_t: for an LSTM dL/dc_t is what
    flows from c_t into later steps, and dL/dh_t holds what enters through the output y_t = h_t and what flows on.
    At t = 0 stands the initial carry, so that the lag is `time - t`. In a stack the layers' carries are separate too:
    what a layer passes up within a step counts for the carries of the layers above it.

    Norms come as natural logarithms. The backward pass is rescaled at every step and for every example, so nothing
    underflows or overflows at any lag, whatever the dtype; -inf means that the gradient is exactly zero.

    >>> import jax, jax.numpy as jnp, rnnjax
    >>> cell = rnnjax.Elman(1, activation="identity")
    >>> params = cell.init(jax.random.key(0), 1)._replace(w_h=jnp.array([[0.5]]))
    >>> loss = lambda carry, ys: ys[-1].sum()
    >>> norms = rnnjax.flow.gradient_norms(cell, params, jnp.zeros((1000, 1)), loss)
    >>> print(jnp.round(norms.per_example.h[0] / jnp.log(2.0), 1))  # 2^-1000, far below the smallest float
    -1000.0

    Args:
        cell: the cell; one that draws random numbers is measured as in evaluation.
        params: its parameters.
        xs: the inputs, `[time, batch, features]` or `[time, features]`.
        loss: `loss(final_carry, ys)`, of what `unroll` returns: a scalar, or one value an example `[batch]`, which
            gives every example the gradient of its own loss.
        carry: the carry before the first step.
        lengths: real steps of every sequence; in the padding the norm is that at the sequence's end (`by_lag`).

    Returns:
        `GradientNorms`, with `per_example` `[time + 1, batch]` and `mean` `[time + 1]` for every carry component.
    """
    norms, at_start = backward(cell, params, xs, loss, carry, lengths, lambda step: log_norms(step.total))
    first = log_norms(at_start)
    return GradientNorms(jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), first, norms))


def by_lag(
    log_norms: Float[Array, "time+1 *batch"], lengths: Int[ArrayLike, "*batch"], lags: Int[ArrayLike, "lags"]
) -> Float[Array, "lags *batch"]:
    """Norms at given lags before the end of every sequence: row k is `log_norms` at t = lengths - lags[k].

    For sequences of different lengths, whose ends do not line up in time. Lags beyond a sequence's length give NaN.
    """
    lags = jnp.asarray(lags)
    steps = jnp.asarray(lengths) - lags.reshape((-1,) + (1,) * jnp.ndim(lengths))
    steps = jnp.broadcast_to(steps, (len(lags), *log_norms.shape[1:]))
    taken = jnp.take_along_axis(log_norms, jnp.maximum(steps, 0), axis=0)
    return jnp.where(steps >= 0, taken, jnp.nan)


def parameter_gradient_norms(
    cell: Cell[Any, Any],
    params: Any,
    xs: Float[Array, "time *batch features"],
    loss: Loss,
    carry: Any = None,
    *,
    lengths: Int[ArrayLike, "*batch"] | None = None,
) -> Any:
    """ln of the norm of each time step's own contribution to the gradient of each weight.

    The gradient of a weight is the sum over time of (dcarry_t/dweight)^T dL/dcarry_t, summed over the batch, where
    dcarry_t/dweight is through step t alone. These summands are what vanishes or explodes with the lag; their sum
    often hides it.

    Args: as for `gradient_norms`.

    Returns:
        A pytree like `params`, with an array `[time]` for every weight: the natural logarithm of the Frobenius norm
        of its gradient's summand from step t = 1 ... time.
    """

    def visit(step: Step) -> Any:
        # Examples have scales of their own; the sum over the batch is taken on the largest.
        top = jnp.max(jnp.maximum(step.total.log_scale, step.direct.log_scale))
        top = jnp.where(jnp.isneginf(top), 0, top)
        zero = Scaled(jax.tree.map(jnp.zeros_like, step.total.tree), jnp.broadcast_to(top, step.total.log_scale.shape))
        total = add(step.total, zero).tree
        direct = add(step.direct, Scaled(jnp.zeros_like(step.direct.tree), zero.log_scale)).tree

        def own_step(params: Any) -> tuple[Any, Array]:
            z = cell.project(params, step.x)
            after = select(step.valid, cell.advance(params, step.before, z), step.before)
            y = cell.output(params, lax.stop_gradient(after), z)
            return after, select(step.valid, y, jnp.zeros_like(y))

        (_, y), pull = jax.vjp(own_step, params)
        (summand,) = pull((total, direct.astype(y.dtype)))

        def log_norm(leaf: Array) -> Array:
            value = normalize(Scaled([leaf.astype(top.dtype)], top))
            return log_norms(value)[0]

        return jax.tree.map(log_norm, summand)

    norms, _ = backward(cell, params, xs, loss, carry, lengths, visit)
    return norms
