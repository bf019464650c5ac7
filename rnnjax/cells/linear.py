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
    factors, sums, begun = _since_the_last_border(a, b, valid, resets, jnp.multiply, jnp.add, 1, 0)
    return factors * jnp.where(begun, fresh, start) + sums


def log_linear_scan(
    log_a: Float[Array, "time *n"],
    log_b: Float[Array, "time *n"],
    start: Float[Array, "*n"],
    fresh: Float[Array, "*n"],
    valid: Flags = None,
    resets: Flags = None,
) -> Float[Array, "time *n"]:
    """`linear_scan` for positive a and b, from their logarithms: products over long times do not underflow."""
    factors, sums, begun = _since_the_last_border(log_a, log_b, valid, resets, jnp.add, log_add_exp, 0, -jnp.inf)
    return jnp.exp(factors) * jnp.where(begun, fresh, start) + jnp.exp(sums)


def _since_the_last_border(
    a: Array, b: Array, valid: Flags, resets: Flags, times: Any, plus: Any, one: float, zero: float
) -> tuple[Array, Array, Array]:
    """Factor and sum of all steps up to each one, from the last reset on, and whether there was one.

    What lies before a reset is not multiplied by zero but not looked at: not even NaN gets past it.
    """
    if valid is not None:
        a, b = jnp.where(valid, a, one), jnp.where(valid, b, zero)
    begins = jnp.zeros(a.shape, bool) if resets is None else jnp.broadcast_to(resets, a.shape)

    def join(early: tuple[Array, ...], late: tuple[Array, ...]) -> tuple[Array, ...]:
        a, b, begun = early
        late_a, late_b, late_begun = late
        a, b = jnp.where(late_begun, one, a), jnp.where(late_begun, zero, b)
        return times(late_a, a), plus(times(late_a, b), late_b), begun | late_begun

    return lax.associative_scan(join, (a, b, begins))


def log_add_exp(x: Array, y: Array) -> Array:
    """ln(e^x + e^y); unlike that of `jnp.logaddexp`, its gradient is not NaN where both are minus infinity."""
    top = lax.stop_gradient(jnp.maximum(x, y))
    exists = top > -jnp.inf
    shift = jnp.where(exists, top, 0)
    total = jnp.exp(x - shift) + jnp.exp(y - shift)
    return jnp.where(exists, shift + jnp.log(jnp.where(exists, total, 1)), -jnp.inf)
