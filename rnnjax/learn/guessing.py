"""Random weight guessing."""

from dataclasses import dataclass
from typing import Any

import jax
from jax import Array

from rnnjax.cells.base import Cell
from rnnjax.checks import check_positive
from rnnjax.learn.base import Algorithm, Learned, StepLoss, Steps, score_all
from rnnjax.scan import unroll


@dataclass(frozen=True)
class WeightGuessing(Algorithm):
    """Random weight guessing, the sanity check of a task: every call draws all parameters anew,

        params' ~ U[-bound, bound],    gradients = params - params'

    so that a step of `optax.sgd(1)` goes to the guess. A task that this solves says nothing about learning.

    Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, section 5; J.
    Schmidhuber, S. Hochreiter, "Guessing can outperform many long time lag algorithms", IDSIA-19-96, 1996.
    """

    bound: float = 100.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bound", check_positive("bound", self.bound))

    @property
    def is_random(self) -> bool:
        return True

    def learn(
        self, cell: Cell[Any, Any], params: Any, carry: Any, steps: Steps, loss: StepLoss, key: Array | None
    ) -> Learned:
        final, ys = unroll(cell, params, steps.xs, carry, mask=steps.valid, resets=steps.resets)
        leaves, structure = jax.tree.flatten(params)
        assert key is not None
        keys = jax.random.split(key, len(leaves))
        guess = [
            jax.random.uniform(key, leaf.shape, leaf.dtype, -self.bound, self.bound)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
        gradients = jax.tree.map(lambda old, new: old - new, params, jax.tree.unflatten(structure, guess))
        return Learned(score_all(loss, ys, steps), gradients, final)
