"""What the algorithms share that go forward in time, and keep what the past did to the carry instead of the past.

Each is a rule for one step of one example; here it is run over time and batch.
"""

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from rnnjax.cells.base import Cell, output_dtype
from rnnjax.kernels.base import cast, own_key, widen
from rnnjax.learn.base import Algorithm, Learned, StepLoss, Steps, nothing, score, transition


class ForwardCarry(NamedTuple):
    """What a `ForwardAlgorithm` goes on from."""

    carry: Any
    memory: Any
    """What it keeps of the influence of the parameters on the carry, for every example."""


class Stepped(NamedTuple):
    """What a rule gives for one step of one example."""

    carry: Any
    memory: Any
    loss: Float[Array, ""]
    gradients: Any


class ForwardAlgorithm(Algorithm):
    """An algorithm whose memory does not grow with the time, and whose gradients are known at every step."""

    @abc.abstractmethod
    def memory(self, cell: Cell[Any, Any], params: Any, dtype: Any) -> Any:
        """What one example starts with."""

    @abc.abstractmethod
    def rule(
        self, cell: Cell[Any, Any], params: Any, carry: Any, memory: Any, step: Steps, loss: StepLoss, noise: Any
    ) -> Stepped:
        """One step of one example: arrays have no batch axes."""

    def noise(self, key: Array, cell: Cell[Any, Any], params: Any, shape: tuple[int, ...]) -> Any:
        """Random numbers for every step; `shape` is that of time and batch."""
        return None

    def start(self, cell: Cell[Any, Any], params: Any, xs: Float[Array, "time *batch features"]) -> ForwardCarry:
        batch_shape, dtype = cell.leading_shape(xs)[1:], output_dtype(params, xs)
        memory = self.memory(cell, params, dtype)
        memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*batch_shape, *leaf.shape)), memory)
        return ForwardCarry(cell.start(params, batch_shape, dtype), memory)

    def learn(
        self, cell: Cell[Any, Any], params: Any, carry: ForwardCarry, steps: Steps, loss: StepLoss, key: Array | None
    ) -> Learned:
        wide, dtypes = widen(params)  # gradients add up over time in float32 or wider

        def example(carry: Any, memory: Any, step: Steps, noise: Any) -> Stepped:
            stepped = self.rule(cell, params, carry, memory, step, loss, noise)
            return stepped._replace(carry=cast(stepped.carry, jax.tree.map(lambda leaf: leaf.dtype, carry)))

        batched: Any = example
        for _ in range(steps.weights.ndim - 1):
            batched = jax.vmap(batched)

        def body(state: Learned, inputs: tuple[Steps, Any]) -> tuple[Learned, None]:
            stepped = batched(*state.carry, *inputs)
            gradients = jax.tree.map(
                lambda total, new: total + new.reshape(-1, *total.shape).sum(0).astype(total.dtype),
                state.gradients,
                stepped.gradients,
            )
            after = ForwardCarry(stepped.carry, stepped.memory)
            return Learned(state.loss + stepped.loss.sum(), gradients, after), None

        noise = None if key is None else self.noise(own_key(key, steps.xs), cell, params, steps.weights.shape)
        result, _ = lax.scan(body, nothing(wide, carry, steps), (steps, noise))
        return result._replace(gradients=cast(result.gradients, dtypes))


def step_loss(
    cell: Cell[Any, Any], params: Any, carry: Any, step: Steps, loss: StepLoss
) -> tuple[Float[Array, ""], Any]:
    """The loss of one step, and the carry after it."""
    after, y = transition(cell, params, carry, step)
    return score(loss, y, step.targets, step.weights), after
