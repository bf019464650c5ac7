"""Backpropagation through time whose error is clipped on its way back."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from rnnjax.cells.base import Cell
from rnnjax.checks import check_positive
from rnnjax.kernels.base import cast, vary_with, widen
from rnnjax.learn.base import Algorithm, Learned, StepLoss, Steps, score_all, transition


class Clipping(NamedTuple):
    """What clipping met at the carry before every step, the first one first."""

    norm: Float[Array, "time *batch"]
    """||dL/dcarry_(t-1)|| of each example's own loss, before it is clipped there, and after all clipping later on."""
    clipped: Bool[Array, "time *batch"]
    """Whether it was clipped: `clipped.mean()` is how often, and `clipped[::-1]` is in the order of the lag."""


@dataclass(frozen=True)
class ClippedBPTT(Algorithm):
    """Backpropagation through time with the error clipped at every step, where clipping of gradients comes too late:

        e_(t-1) = clip(e_t dcarry_t/dcarry_(t-1)) + dL_(t-1)/dcarry_(t-1),    e_t = dL/dcarry_t, of each example
        by value: each number to [-max_value, max_value];    by norm: e * min(1, max_norm / ||e||), of the whole carry

    At least one of the two; values first. Only the backward pass is clipped, and not the gradients of the parameters:
    for these see `rnnjax.train.clip_by_global_norm`. The errors are those of each example's own loss, whatever the size
    of the batch. `clipping` tells where it engaged.

    Source: by value A. Graves, "Generating Sequences With Recurrent Neural Networks", 2013 (arXiv:1308.0850); by norm
    R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", 2013, at every step.
    """

    max_value: float | None = None
    max_norm: float | None = None

    def __post_init__(self) -> None:
        if self.max_value is None and self.max_norm is None:
            raise ValueError("ClippedBPTT needs max_value, max_norm or both")
        for name in ("max_value", "max_norm"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_positive(name, getattr(self, name)))

    def learn(
        self, cell: Cell[Any, Any], params: Any, carry: Any, steps: Steps, loss: StepLoss, key: Array | None
    ) -> Learned:
        return self._run(cell, params, carry, steps, loss)[0]

    def clipping(
        self, cell: Cell[Any, Any], params: Any, carry: Any, xs: Array, loss: StepLoss, **options: Any
    ) -> tuple[Learned, Clipping]:
        """A call, with the same arguments, and what was clipped in it."""
        carry, steps = self.prepare(cell, params, carry, xs, loss, **options)
        params, carry, steps = vary_with((params, carry, steps), (params, carry, steps))
        return self._run(cell, params, carry, steps, loss)

    def _run(
        self, cell: Cell[Any, Any], params: Any, carry: Any, steps: Steps, loss: StepLoss
    ) -> tuple[Learned, Clipping]:
        wide, dtypes = widen(params)
        examples = math.prod(steps.weights.shape[1:])

        def total(wide: Any, probes: Clipping) -> tuple[Array, Any]:
            params = cast(wide, dtypes)

            def body(carry: Any, inputs: tuple[Steps, Clipping]) -> tuple[Any, Array]:
                step, probe = inputs
                after, y = transition(cell, params, _clip(self, examples, carry, probe), step)
                return jax.tree.map(lambda new, old: new.astype(old.dtype), after, carry), y

            final, ys = lax.scan(body, carry, (steps, probes))
            return score_all(loss, ys, steps), final

        nothing = jnp.zeros_like(steps.weights)
        (value, final), (gradients, found) = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(
            wide, Clipping(nothing, nothing)
        )
        learned = Learned(value, cast(gradients, dtypes), lax.stop_gradient(final))
        return learned, Clipping(found.norm, found.clipped > 0)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _clip(limits: ClippedBPTT, examples: int, carry: Any, probe: Clipping) -> Any:
    """The carry itself; on the way back its cotangent is clipped, and what happened is the cotangent of the probe."""
    return carry


def _forward(limits: ClippedBPTT, examples: int, carry: Any, probe: Clipping) -> tuple[Any, Clipping]:
    return carry, probe


def _backward(limits: ClippedBPTT, examples: int, probe: Clipping, error: Any) -> tuple[Any, Clipping]:
    def norm_of(error: Any) -> Array:
        """Of every example; the loss was divided by their number."""
        batch_axes = probe.norm.ndim
        squares = [jnp.square(leaf).sum(range(batch_axes, leaf.ndim)) for leaf in jax.tree.leaves(error)]
        return jnp.sqrt(sum(squares[1:], squares[0])) * examples

    def scale(leaf: Array, factor: Array) -> Array:
        return leaf * jnp.expand_dims(factor, range(factor.ndim, leaf.ndim)).astype(leaf.dtype)

    norm, clipped = norm_of(error), error
    if limits.max_value is not None:
        bound = limits.max_value / examples
        clipped = jax.tree.map(lambda leaf: jnp.clip(leaf, -bound, bound), clipped)
    if limits.max_norm is not None:
        left = norm_of(clipped)
        factor = jnp.where(left > limits.max_norm, limits.max_norm / left, 1)
        clipped = jax.tree.map(lambda leaf: scale(leaf, factor), clipped)
    changed = [
        (old != new).any(range(probe.norm.ndim, old.ndim))
        for old, new in zip(jax.tree.leaves(error), jax.tree.leaves(clipped), strict=True)
    ]
    fired = jnp.stack(changed).any(0)
    return clipped, Clipping(norm.astype(probe.norm.dtype), fired.astype(probe.clipped.dtype))


_clip.defvjp(_forward, _backward)
