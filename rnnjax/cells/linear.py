"""Linear recurrences over time, all steps at once: what cells that run in parallel are written with."""

import abc
from typing import Any, TypeVar

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Inexact

from rnnjax.cells.base import Cell

Params = TypeVar("Params")
Carry = TypeVar("Carry")


class ParallelCell(Cell[Params, Carry]):
    """A cell whose carry is linear in the carry before, so that all of its steps can be computed at once."""

    @abc.abstractmethod
    def carries(self, params: Params, zs: Any, carry: Carry, valid: Bool[Array, "time *batch 1"] | None) -> Carry:
        """The carries after every step, `[time, ...]`, from the projected inputs and the carry before the first step.

        Steps that are not `valid` leave the carry as it is; None: all are.
        """


def linear_scan(
    a: Inexact[Array, "time *n"],
    b: Inexact[Array, "time *n"],
    start: Inexact[Array, "*n"],
    valid: Bool[Array, "time *m"] | None,
) -> Inexact[Array, "time *n"]:
    """x_t = a_t x_(t-1) + b_t for all t, in a number of parallel steps that grows with log(time)."""
    if valid is not None:
        a, b = jnp.where(valid, a, 1), jnp.where(valid, b, 0)

    def join(early: tuple[Array, Array], late: tuple[Array, Array]) -> tuple[Array, Array]:
        return early[0] * late[0], late[0] * early[1] + late[1]

    factors, sums = lax.associative_scan(join, (a, b))
    return factors * start + sums


def log_linear_scan(
    log_a: Float[Array, "time *n"],
    log_b: Float[Array, "time *n"],
    start: Float[Array, "*n"],
    valid: Bool[Array, "time *m"] | None,
) -> Float[Array, "time *n"]:
    """`linear_scan` for positive a and b, from their logarithms: products over long times do not underflow."""
    if valid is not None:
        log_a, log_b = jnp.where(valid, log_a, 0), jnp.where(valid, log_b, -jnp.inf)

    def join(early: tuple[Array, Array], late: tuple[Array, Array]) -> tuple[Array, Array]:
        return early[0] + late[0], jnp.logaddexp(late[0] + early[1], late[1])

    log_factors, log_sums = lax.associative_scan(join, (log_a, log_b))
    return jnp.exp(log_factors) * start + jnp.exp(log_sums)
