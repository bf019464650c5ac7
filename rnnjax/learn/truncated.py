"""Truncated backpropagation through time."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from rnnjax.cells.base import Cell, output_dtype
from rnnjax.checks import check_size
from rnnjax.kernels.base import cast, over_blocks, widen
from rnnjax.learn.base import Algorithm, Learned, StepLoss, Steps, nothing, score_all
from rnnjax.scan import unroll


class TruncatedCarry(NamedTuple):
    """What `TruncatedBPTT` goes on from: the carry now, and the last k2 - k1 steps, which are run again."""

    carry: Any
    before: Any
    """The carry before those steps."""
    xs: Float[Array, "k2-k1 *batch features"]
    valid: Bool[Array, "k2-k1 *batch"]
    resets: Bool[Array, "k2-k1 *batch"]


@dataclass(frozen=True)
class TruncatedBPTT(Algorithm):
    """Truncated backpropagation through time: every k1 steps, the losses of these steps go back k2 steps.

        gradient = sum over n of d (loss_(n k1 + 1) + ... + loss_((n + 1) k1)) / dparams,
                   with carry_((n + 1) k1 - k2) taken as constant

    k1 = k2 is the usual form, with the gradient stopped at the edges of pieces; k1 = 1 gives every loss k2 steps. Each
    step runs k2 / k1 times. The last piece of a call is shorter if need be, and the steps to go back to are kept
    between calls, so that a call may be a single piece, with an update after it.

    Source: R. J. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories", Neural Computation 2(4), 1990: BPTT(h; h').
    """

    k1: int
    k2: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "k1", check_size("k1", self.k1))
        object.__setattr__(self, "k2", check_size("k2", self.k2, self.k1))

    def start(self, cell: Cell[Any, Any], params: Any, xs: Float[Array, "time *batch features"]) -> TruncatedCarry:
        batch_shape = cell.leading_shape(xs)[1:]
        carry = cell.start(params, batch_shape, output_dtype(params, xs))
        again = self.k2 - self.k1
        never = jnp.zeros((again, *batch_shape), bool)
        return TruncatedCarry(carry, carry, jnp.zeros((again, *xs.shape[1:]), xs.dtype), never, never)

    def learn(
        self,
        cell: Cell[Any, Any],
        params: Any,
        carry: TruncatedCarry,
        steps: Steps,
        loss: StepLoss,
        key: Array | None,
    ) -> Learned:
        again = self.k2 - self.k1
        wide, dtypes = widen(params)  # the gradients of the pieces add up in float32 or wider
        shape = steps.weights.shape
        valid = jnp.ones(shape, bool) if steps.valid is None else steps.valid
        resets = jnp.zeros(shape, bool) if steps.resets is None else steps.resets

        def piece(state: Learned, inputs: tuple[Steps, None]) -> tuple[Learned, None]:
            (sum_before, gradients, past), (new, _) = state, inputs
            size = len(new.xs)
            window = jax.tree.map(
                lambda old, new: jnp.concatenate([old, new]),
                (past.xs, past.valid, past.resets),
                (new.xs, new.valid, new.resets),
            )

            def run(params: Any, carry: Any, part: slice) -> tuple[Any, Array]:
                xs, valid, resets = (array[part] for array in window)
                return unroll(cell, params, xs, carry, mask=valid, resets=resets)

            def total(wide: Any) -> tuple[Array, tuple[Any, Any]]:
                params = cast(wide, dtypes)
                before, ys = run(params, past.before, slice(size))
                after = before
                if again:
                    after, rest = run(params, before, slice(size, None))
                    ys = jnp.concatenate([ys, rest])
                return score_all(loss, ys[again:], new), (after, before)

            (value, (after, before)), gradient = jax.value_and_grad(total, has_aux=True)(wide)
            kept = (array[size:] for array in window)
            gradients = jax.tree.map(jnp.add, gradients, gradient)
            return Learned(sum_before + value, gradients, TruncatedCarry(after, before, *kept)), None

        inputs = steps._replace(valid=valid, resets=resets)
        result, _ = over_blocks(piece, nothing(wide, carry, inputs), inputs, self.k1, reverse=False)
        return result._replace(gradients=cast(result.gradients, dtypes))
