"""Unbiased online recurrent optimisation."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from rnnjax.cells.base import Cell, carry_dtype
from rnnjax.learn.base import StepLoss, Steps, transition
from rnnjax.learn.forward import ForwardAlgorithm, Stepped, step_loss

EPSILON = 1e-7
"""Keeps the two factors apart from zero; any positive ratio leaves the estimate unbiased."""


class RankOne(NamedTuple):
    """The influence as the outer product of two vectors: J is the expectation of `carry` times `params`."""

    carry: Float[Array, "carry"]
    params: Float[Array, "params"]


@dataclass(frozen=True)
class UORO(ForwardAlgorithm):
    """Unbiased online recurrent optimisation: RTRL with its influence estimated by one outer product, s times w:

        s_t = r D_t s_(t-1) + q v,    w_t = w_(t-1) / r + v I_t / q,    v = -1 or 1 at random
        r = sqrt(||w_(t-1)|| / ||D_t s_(t-1)||),    q = sqrt(||v I_t|| / ||v||),    E[s_t w_t] = J_t

    It costs as much as a step back, and its memory is that of the parameters. The gradients are right on average, and
    noisy: the variance grows with the number of units.

    Source: C. Tallec, Y. Ollivier, "Unbiased Online Recurrent Optimization", ICLR 2018 (arXiv:1702.05043).
    """

    @property
    def is_random(self) -> bool:
        return True

    def memory(self, cell: Cell[Any, Any], params: Any, dtype: Any) -> RankOne:
        carry = jax.eval_shape(lambda: cell.initial_carry((), dtype))
        sizes = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (carry, params))
        return RankOne(*(jnp.zeros(size, carry_dtype(dtype)) for size in sizes))

    def noise(
        self, key: Array, cell: Cell[Any, Any], params: Any, shape: tuple[int, ...]
    ) -> Float[Array, "time *batch carry"]:
        size = self.memory(cell, params, jnp.float32).carry.size
        return jax.random.rademacher(key, (*shape, size), jnp.float32)

    def rule(
        self, cell: Cell[Any, Any], params: Any, carry: Any, memory: RankOne, step: Steps, loss: StepLoss, noise: Array
    ) -> Stepped:
        flat, restore = ravel_pytree(carry)
        (value, after), (direct, of_carry) = jax.value_and_grad(
            lambda params, flat: step_loss(cell, params, restore(flat), step, loss), argnums=(0, 1), has_aux=True
        )(params, flat)
        own, restore_params = ravel_pytree(direct)
        gradients = restore_params(own + jnp.vdot(of_carry, memory.carry) * memory.params)

        def advance(params: Any, flat: Array) -> Array:
            return ravel_pytree(transition(cell, params, restore(flat), step)[0])[0]

        signs = noise.astype(flat.dtype)
        _, moved = jax.jvp(lambda flat: advance(params, flat), (flat,), (memory.carry,))
        _, pull = jax.vjp(lambda params: advance(params, flat), params)
        immediate, _ = ravel_pytree(pull(signs)[0])
        r, q = _ratio(memory.params, moved), _ratio(immediate, signs)
        new = RankOne(r * moved + q * signs, memory.params / r + immediate / q)
        return Stepped(after, new, value, gradients)


def _ratio(a: Array, b: Array) -> Float[Array, ""]:
    return jnp.sqrt((jnp.linalg.norm(a) + EPSILON) / (jnp.linalg.norm(b) + EPSILON))
