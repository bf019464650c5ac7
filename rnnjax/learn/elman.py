"""Elman's one-step truncation."""

from dataclasses import dataclass
from typing import Any

import jax
from jax import Array, lax

from rnnjax.cells.base import Cell
from rnnjax.learn.base import Algorithm, Learned, StepLoss, Steps, score_all, transition


@dataclass(frozen=True)
class OneStep(Algorithm):
    """Elman's way: the carry of the step before is taken as one more input, and no error goes into the past:

        gradient = sum over t of dL_t/dparams, with carry_(t-1) constant

    It is truncated BPTT with k1 = k2 = 1, with the steps going back all at once.

    Source: J. L. Elman, "Finding structure in time", Cognitive Science 14(2), 1990.
    """

    def learn(
        self, cell: Cell[Any, Any], params: Any, carry: Any, steps: Steps, loss: StepLoss, key: Array | None
    ) -> Learned:
        def body(carry: Any, step: Steps) -> tuple[Any, Any]:
            after, _ = transition(cell, params, carry, step)
            return jax.tree.map(lambda new, old: new.astype(old.dtype), after, carry), carry

        final, before = lax.scan(body, carry, steps)

        def total(params: Any) -> Array:
            _, ys = jax.vmap(lambda carry, step: transition(cell, params, carry, step))(before, steps)
            return score_all(loss, ys, steps)

        value, gradients = jax.value_and_grad(total)(params)
        return Learned(value, gradients, final)
