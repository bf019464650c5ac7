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
    def carries(self, params: Params, zs: Any, carry: Carry, valid: Flags, resets: Flags) -> Carry:
        """The carries after every step, `[time, ...]`, from the projected inputs and the carry before the first step.

        Steps that are not `valid` leave the carry as it is; those that are `resets` find it zero. None: all, none.
        """


def linear_scan(
    a: Inexact[Array, "time *n"],
    b: Inexact[Array, "time *n"],
    start: Inexact[Array, "*n"],
    valid: Flags,
    resets: Flags,
) -> Inexact[Array, "time *n"]:
    """x_t = a_t x_(t-1) + b_t for all t, in a number of parallel steps that grows with log(time)."""
    if valid is not None:
        a, b = jnp.where(valid, a, 1), jnp.where(valid, b, 0)
    if resets is not None:
        a = jnp.where(resets, 0, a)

    def join(early: tuple[Array, Array], late: tuple[Array, Array]) -> tuple[Array, Array]:
        return early[0] * late[0], late[0] * early[1] + late[1]

    factors, sums = lax.associative_scan(join, (a, b))
    return factors * start + sums


def log_linear_scan(
    log_a: Float[Array, "time *n"],
    log_b: Float[Array, "time *n"],
    start: Float[Array, "*n"],
    valid: Flags,
    resets: Flags,
) -> Float[Array, "time *n"]:
    """`linear_scan` for positive a and b, from their logarithms: products over long times do not underflow."""
    if valid is not None:
        log_a, log_b = jnp.where(valid, log_a, 0), jnp.where(valid, log_b, -jnp.inf)
    if resets is not None:
        log_a = jnp.where(resets, -jnp.inf, log_a)

    def join(early: tuple[Array, Array], late: tuple[Array, Array]) -> tuple[Array, Array]:
        return early[0] + late[0], log_add_exp(late[0] + early[1], late[1])

    log_factors, log_sums = lax.associative_scan(join, (log_a, log_b))
    return jnp.exp(log_factors) * start + jnp.exp(log_sums)


def log_add_exp(x: Array, y: Array) -> Array:
    """ln(e^x + e^y); unlike that of `jnp.logaddexp`, its gradient is not NaN where both are minus infinity."""
    top = lax.stop_gradient(jnp.maximum(x, y))
    exists = top > -jnp.inf
    shift = jnp.where(exists, top, 0)
    total = jnp.exp(x - shift) + jnp.exp(y - shift)
    return jnp.where(exists, shift + jnp.log(jnp.where(exists, total, 1)), -jnp.inf)
