"""Linear recurrences over time, all steps at once: what cells that run in parallel are written with."""

import abc
from typing import Any, TypeVar

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Inexact

from rnnjax.cells.base import Cell

Params = TypeVar("Params")
Carry = TypeVar("Carry")

Flags = Bool[Array, "time *batch 1"] | None


class ParallelCell(Cell[Params, Carry]):
    """A cell whose carry is linear in the carry before, so that all of its steps can be computed at once."""

    @abc.abstractmethod
    def carries(self, params: Params, zs: Any, carry: Carry, fresh: Carry, valid: Flags, resets: Flags) -> Carry:
        """The carries after every step, `[time, ...]`, from the projected inputs and the carry before the first step.

        Steps that are not `valid` leave the carry as it is; those that are `resets` find `fresh`. None: all, none.
        """


def linear_scan(
    a: Inexact[Array, "time *n"],
    b: Inexact[Array, "time *n"],
    start: Inexact[Array, "*n"],
    fresh: Inexact[Array, "*n"],
    valid: Flags = None,
    resets: Flags = None,
) -> Inexact[Array, "time *n"]:
    """x_t = a_t x_(t-1) + b_t for all t, in a number of parallel steps that grows with log(time).

    x_0 is `start`; a step that is a reset takes `fresh` for x_(t-1), one that is not valid gives x_t = x_(t-1).
    """
    if valid is not None:
        a, b = jnp.where(valid, a, 1), jnp.where(valid, b, 0)

    def join(early: Any, late: Any) -> Any:
        (a, b), (late_a, late_b) = _unless(late, early, (1, 0)), late[:2]
        return late_a * a, late_a * b + late_b, *_either(early, late)

    factors, sums, *since = lax.associative_scan(join, (a, b, *_flags(resets, a)))
    return factors * _base(start, fresh, since) + sums


def log_linear_scan(
    log_a: Float[Array, "time *n"],
    log_b: Float[Array, "time *n"],
    start: Float[Array, "*n"],
    fresh: Float[Array, "*n"],
    valid: Flags = None,
    resets: Flags = None,
) -> Float[Array, "time *n"]:
    """`linear_scan` for positive a and b, from their logarithms: products over long times do not underflow."""
    if valid is not None:
        log_a, log_b = jnp.where(valid, log_a, 0), jnp.where(valid, log_b, -jnp.inf)

    def join(early: Any, late: Any) -> Any:
        (log_a, log_b), (late_a, late_b) = _unless(late, early, (0, -jnp.inf)), late[:2]
        return log_a + late_a, log_add_exp(late_a + log_b, late_b), *_either(early, late)

    log_factors, log_sums, *since = lax.associative_scan(join, (log_a, log_b, *_flags(resets, log_a)))
    return jnp.exp(log_factors) * _base(start, fresh, since) + jnp.exp(log_sums)


# An element of a scan is (factor, sum) of a stretch of steps, and where there are resets whether it holds one: the
# factor and the sum then begin with the last of them, and nothing before it is looked at, NaN included.


def _flags(resets: Flags, like: Array) -> tuple[Array, ...]:
    return () if resets is None else (jnp.broadcast_to(resets, like.shape),)


def _unless(late: Any, early: Any, neutral: tuple[float, float]) -> tuple[Array, Array]:
    """Factor and sum of the early stretch, or neutral ones where the late stretch holds a reset."""
    if len(late) == 2:
        return early
    return jnp.where(late[2], neutral[0], early[0]), jnp.where(late[2], neutral[1], early[1])


def _either(early: Any, late: Any) -> tuple[Array, ...]:
    return (early[2] | late[2],) if len(late) > 2 else ()


def _base(start: Array, fresh: Array, since: Any) -> Array:
    return jnp.where(since[0], fresh, start) if since else start


def log_add_exp(x: Array, y: Array) -> Array:
    """ln(e^x + e^y); unlike that of `jnp.logaddexp`, its gradient is not NaN where both are minus infinity."""
    top = lax.stop_gradient(jnp.maximum(x, y))
    exists = top > -jnp.inf
    shift = jnp.where(exists, top, 0)
    total = jnp.exp(x - shift) + jnp.exp(y - shift)
    return jnp.where(exists, shift + jnp.log(jnp.where(exists, total, 1)), -jnp.inf)
