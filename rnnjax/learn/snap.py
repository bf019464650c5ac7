"""The sparse one-step approximation of RTRL."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Bool, Float, Int

from rnnjax.cells.base import Cell, carry_dtype, output_dtype
from rnnjax.kernels.base import vary_with
from rnnjax.learn.base import StepLoss, Steps, score, transition
from rnnjax.learn.forward import ForwardAlgorithm, Stepped

POINTS = 16
"""Random points at which the pattern is looked for: an entry of a relu is zero at half of them."""


@dataclass(frozen=True)
class SnAp1(ForwardAlgorithm):
    """Sparse n-step approximation of RTRL with n = 1: of the influence J only those entries are kept that a parameter
    reaches within one step, the pattern of I_t:

        J_t = pattern * (D_t J_(t-1) + I_t),    D_t = dcarry_t/dcarry_(t-1),    I_t = dcarry_t/dparams
        dL_t/dparams = dL_t/dcarry_t J_t + the part through the output of step t alone

    For the usual cells that is one entry a parameter for each component of the carry, so that a step costs what the
    Jacobian D costs, carry^3 in the worst case, and not carry^2 * parameters. It is exact where the units of the carry
    do not see each other (minGRU, minLSTM), and biased elsewhere: influence by way of other units is missing.

    Source: J. Menick et al., "A Practical Sparse Approximation for Real Time Recurrent Learning", ICLR 2021
    (arXiv:2006.07232).
    """

    def memory(self, cell: Cell[Any, Any], params: Any, dtype: Any) -> Float[Array, "params entries"]:
        return jnp.zeros(_pattern(cell, cell.input_size(params)).places.shape, carry_dtype(dtype))

    def rule(
        self,
        cell: Cell[Any, Any],
        params: Any,
        carry: Any,
        memory: Float[Array, "params entries"],
        step: Steps,
        loss: StepLoss,
        noise: None,
    ) -> Stepped:
        pattern = _pattern(cell, cell.input_size(params))
        flat, restore = ravel_pytree(carry)

        def advance(params: Any, flat: Array) -> Array:
            return ravel_pytree(transition(cell, params, restore(flat), step)[0])[0]

        def of_output(params: Any, after: Array) -> Float[Array, ""]:
            y = cell.output(params, restore(after), cell.project(params, step.xs))
            return score(loss, y.astype(output_dtype(params, step.xs)), step.targets, step.weights)

        # States whose parameters do not overlap are differentiated together: in one pass for an RNN, two for an LSTM.
        after, pull = jax.vjp(lambda params: advance(params, flat), params)
        together = jax.vmap(lambda group: ravel_pytree(pull(group)[0])[0])(
            vary_with(jnp.asarray(pattern.groups, flat.dtype), flat)
        )
        immediate = together[pattern.group_of[pattern.places], np.arange(len(memory), dtype=np.int32)[:, None]]
        jacobian = jax.jacrev(advance, argnums=1)(params, flat)
        kept = jacobian[pattern.places[:, :, None], pattern.places[:, None, :]]
        memory = jnp.where(pattern.real, jnp.einsum("pij,pj->pi", kept, memory) + immediate, 0)

        value, (direct, of_carry) = jax.value_and_grad(of_output, argnums=(0, 1))(params, after)
        own, restore_params = ravel_pytree(direct)
        gradients = restore_params(own + (memory * of_carry[pattern.places]).sum(1))
        return Stepped(restore(after), memory, value, gradients)


class Pattern(NamedTuple):
    """Where dcarry_t/dparams of a single step is not zero, in flattened carries and parameters."""

    places: Int[np.ndarray, "params entries"]
    """The numbers of the carry that a parameter reaches, filled up with 0."""
    real: Bool[np.ndarray, "params entries"]
    """False for what was filled up."""
    groups: Bool[np.ndarray, "groups carry"]
    """A partition of the carry into parts with no parameter in common."""
    group_of: Int[np.ndarray, "carry"]


@functools.lru_cache(maxsize=64)
def _pattern(cell: Cell[Any, Any], input_size: int) -> Pattern:
    """The pattern, from the Jacobian at random points."""
    with jax.ensure_compile_time_eval():
        nonzero = np.asarray(jax.jit(_nonzero, static_argnums=(0, 1))(cell, input_size))
    entries = max(1, nonzero.sum(0).max())
    real = np.arange(entries) < nonzero.sum(0)[:, None]
    places = np.where(real, np.argsort(~nonzero, axis=0, kind="stable")[:entries].T, 0)
    group_of = np.zeros(len(nonzero), np.int32)
    taken: list[np.ndarray] = []  # greedily: each state joins the first group it has nothing in common with
    for state, reached in enumerate(nonzero):
        free = (index for index, used in enumerate(taken) if not np.any(used & reached))
        group_of[state] = index = next(free, len(taken))
        if index == len(taken):
            taken.append(np.zeros_like(reached))
        taken[index] |= reached
    groups = group_of == np.arange(len(taken))[:, None]
    return Pattern(places.astype(np.int32), real, groups, group_of)


def _nonzero(cell: Cell[Any, Any], input_size: int) -> Bool[Array, "carry params"]:
    def jacobian(key: Array) -> Array:
        keys = jax.random.split(key, 3)
        shapes = jax.eval_shape(lambda: (cell.init(keys[0], input_size), cell.initial_carry()))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        flat, restore = ravel_pytree(zeros)
        params, carry = restore(jax.random.normal(keys[1], flat.shape))
        x = jax.random.normal(keys[2], cell.feature_shape(input_size))

        def advance(params: Any) -> Array:
            return ravel_pytree(cell.advance(params, carry, cell.project(params, x)))[0]

        return jax.vmap(lambda row: ravel_pytree(row)[0])(jax.jacrev(advance)(params))

    def more(found: Array, key: Array) -> tuple[Array, None]:
        return found | (jacobian(key) != 0), None

    keys = jax.random.split(jax.random.key(0), POINTS)
    none = jnp.zeros(jax.eval_shape(jacobian, keys[0]).shape, bool)
    found, _ = lax.scan(more, none, keys)
    return found
