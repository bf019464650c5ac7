"""Backpropagation through time."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
from jax import Array

from rnnjax.cells.base import Cell
from rnnjax.learn.base import Algorithm, Learned, StepLoss, Steps, score_all
from rnnjax.scan import unroll


@dataclass(frozen=True)
class BPTT(Algorithm):
    """Backpropagation through time, the exact gradient over the steps of a call:

        dL/dparams by reverse differentiation of `unroll`

    Memory grows with the time. Between calls the carry goes on and its gradient does not: with pieces of k steps this
    is the truncated algorithm of most libraries.

    Args:
        remat: how many steps at a time the backward pass computes anew, or "sqrt", as in `rnnjax.unroll`: memory for
            one more forward pass. None keeps all.
        kernel: how the steps are run, as in `rnnjax.unroll`; the gradients are the same.

    Source: P. J. Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the IEEE 78(10),
    1990.
    """

    remat: int | Literal["sqrt"] | None = None
    kernel: str = "auto"

    def learn(
        self, cell: Cell[Any, Any], params: Any, carry: Any, steps: Steps, loss: StepLoss, key: Array | None
    ) -> Learned:
        def total(params: Any) -> tuple[Array, Any]:
            final, ys = unroll(
                cell,
                params,
                steps.xs,
                carry,
                mask=steps.valid,
                resets=steps.resets,
                remat=self.remat,
                kernel=self.kernel,
            )
            return score_all(loss, ys, steps), final

        (value, final), gradients = jax.value_and_grad(total, has_aux=True)(params)
        return Learned(value, gradients, final)
