"""Real-time recurrent learning."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnjax.cells.base import Cell, carry_dtype
from rnnjax.learn.base import StepLoss, Steps, transition
from rnnjax.learn.dependence import depends
from rnnjax.learn.forward import ForwardAlgorithm, Stepped, step_loss

Influence = list[list[Array | None]]
"""Row i, column j: d(carry leaf i)/d(parameter leaf j), None where it is always zero."""


@dataclass(frozen=True)
class RTRL(ForwardAlgorithm):
    """Real-time recurrent learning, the exact gradient without going back in time, for any cell:

        J_t = D_t J_(t-1) + I_t,    D_t = dcarry_t/dcarry_(t-1),    I_t = dcarry_t/dparams through step t alone
        dL_t/dparams = dL_t/dcarry_(t-1) J_(t-1) + the part through step t alone

    The influence J has one number for every number of the carry, every parameter and every example: memory does not
    grow with the time, and a step costs carry^2 * parameters. It is kept in blocks of a component of the carry and a
    weight; those that are zero by the structure of the cell (the upper layers' weights and the lower layers' carry, a
    readout's weights) are not there. With updates between calls J goes on as it is, as in all of RTRL.

    Source: R. J. Williams, D. Zipser, "A learning algorithm for continually running fully recurrent neural networks",
    Neural Computation 1(2), 1989.
    """

    def memory(self, cell: Cell[Any, Any], params: Any, dtype: Any) -> Influence:
        carry = jax.eval_shape(lambda: cell.initial_carry((), dtype))
        leaves, weights = jax.tree.leaves(carry), jax.tree.leaves(params)
        return [
            [
                jnp.zeros((*leaf.shape, *weight.shape), carry_dtype(leaf.dtype)) if nonzero else None
                for weight, nonzero in zip(weights, row, strict=True)
            ]
            for leaf, row in zip(leaves, _reached(cell, params, carry), strict=True)
        ]

    def rule(
        self,
        cell: Cell[Any, Any],
        params: Any,
        carry: Any,
        memory: Influence,
        step: Steps,
        loss: StepLoss,
        noise: None,
    ) -> Stepped:
        (value, after), (direct, of_carry) = jax.value_and_grad(
            lambda params, carry: step_loss(cell, params, carry, step, loss), argnums=(0, 1), has_aux=True
        )(params, carry)
        weights, structure = jax.tree.flatten(direct)
        errors = jax.tree.leaves(of_carry)
        for error, row in zip(errors, memory, strict=True):
            weights = [
                weight if influence is None else weight + jnp.tensordot(error, influence, error.ndim)
                for weight, influence in zip(weights, row, strict=True)
            ]

        through = jax.jacrev(lambda params, carry: transition(cell, params, carry, step)[0], argnums=(0, 1))
        by_component: Any = jax.tree.structure(carry)
        rows = by_component.flatten_up_to(through(params, carry))
        rows = [tuple(map(jax.tree.leaves, row)) for row in rows]
        new = [
            [
                None if old is None else _next(immediate[j], jacobians, [row[j] for row in memory], errors)
                for j, old in enumerate(kept)
            ]
            for (immediate, jacobians), kept in zip(rows, memory, strict=True)
        ]
        return Stepped(after, new, value, jax.tree.unflatten(structure, weights))


def _next(immediate: Array, jacobians: list[Array], before: list[Array | None], carry: list[Array]) -> Array:
    """One block of D J + I."""
    for jacobian, influence, leaf in zip(jacobians, before, carry, strict=True):
        if influence is not None:
            immediate = immediate + jnp.tensordot(jacobian, influence, leaf.ndim)
    return immediate


def _reached(cell: Cell[Any, Any], params: Any, carry: Any) -> list[list[bool]]:
    """Which components of the carry are influenced by which weights, sooner or later."""
    step = Steps(jnp.zeros(cell.input_shape(params)), None, jnp.ones(()), None, jnp.zeros((), bool))
    rows = np.array(depends(lambda params, carry: transition(cell, params, carry, step)[0], params, carry))
    reached, through = rows[:, : -len(rows)], rows[:, -len(rows) :]
    for _ in rows:  # by way of one more component each time
        reached = reached | (through @ reached)
    return reached.tolist()
