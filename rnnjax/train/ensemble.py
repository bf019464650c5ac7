"""Many members of one model at once, each with its own seed, on the same data: a leading axis of all that it learns.

parts = members([split(make(seed)) for seed in range(5)])
steps = make_steps(ensemble_loss(loss), ensemble_optimizer(optimizer))

Members never meet: each has its own gradient, clipping and moments, and one that diverges leaves the others as they
are.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from rnnjax.models.split import Parts
from rnnjax.train.loop import Loss, Outcome, Plan


def members(parts: Sequence[Parts[Any]]) -> Parts[Any]:
    """Models of the same structure as one: parameters and state get a leading axis, `build` makes one member."""
    params, state = (jax.tree.map(_stack, *(part[place] for part in parts)) for place in (0, 1))
    return Parts(params, state, parts[0].build)


def ensemble_loss(loss: Loss) -> Loss:
    """The loss of a step of all members, for `make_steps`: items have an axis of members too.

    What is differentiated is the sum over members, so that each gets its own gradient; what is reported is their
    `middle`. A `scale` of an `Outcome` is not for ensembles.
    """

    def step(params: Any, carry: Any, data: Any, item: Any, key: Array) -> tuple[Array, Outcome]:
        keys = jax.random.split(key, len(jax.tree.leaves(params)[0]))
        losses, outcome = jax.vmap(loss, in_axes=(0, 0, None, 0, 0))(params, carry, data, item, keys)
        return losses.sum(), Outcome(outcome.carry, middle(outcome.loss), jnp.sum(outcome.work))

    return step


def ensemble_optimizer(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser of every member by itself: gradients are clipped by the norm of one member."""
    return optax.GradientTransformation(jax.vmap(optimizer.init), jax.vmap(optimizer.update))


def ensemble_plan(plans: Sequence[Callable[[int], Plan]]) -> Callable[[int], Plan]:
    """The plans of the members side by side, each its own order; they have the same number of steps."""

    def plan(epoch: int) -> Plan:
        own = [plan(epoch) for plan in plans]
        return Plan(own[0].steps, jax.tree.map(partial(_stack, axis=1), *(each.items for each in own)))

    return plan


def middle(losses: Array) -> Array:
    """The median over members; the loss of one that has diverged is infinite."""
    return jnp.median(jnp.where(jnp.isfinite(losses), losses, jnp.inf))


def _stack(*leaves: Array, axis: int = 0) -> Array:
    return jnp.stack(leaves, axis)
