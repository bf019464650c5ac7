"""Time in blocks, and a derivative that leaves in the loop over time only what has to be there.

Automatic differentiation of a scan adds up the gradients of the weights step by step, a product of small matrices and
a pass over all weights each. Here the derivative of the recurrence is a rule of its own (`jax.custom_jvp`): with A_t,
B_t and C_t the derivatives of `pointwise` by carry, zx and zh at step t, the tangents are

    dcarry_t = A_t dcarry_(t-1) + B_t dzx_t + C_t (dh_(t-1) w_h + h_(t-1) dw_h)

Over a block of steps all but the two terms with d(t-1) is computed at once: the derivatives (`jax.linearize` of
`pointwise`, mapped over the steps), and what the tangents of inputs and weights contribute. JAX transposes
the rule into the backward pass: one product a block for the gradient of each weight matrix, and a loop with one product
a step. Nothing is derived by hand, so every `PointwiseCell` has it, with jvp, vmap and derivatives of any order, and
what is such a cell at its core (`Cell.pointwise_core`).
"""

import math
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from rnnjax.cells.base import Cell, PointwiseCell, output_dtype
from rnnjax.kernels.base import Stretch, cast, core_for, over_blocks, perturb, select, vary_with, widen


def run(
    cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, fresh: Any, stretch: Stretch
) -> tuple[Any, Array]:
    """See `rnnjax.kernels.base`."""
    core = core_for("blocked", cell, noise)
    dtype = output_dtype(params, xs)
    wide, dtypes = widen(params)
    z, step_noise = jax.eval_shape(lambda: (core.project(params, xs[0]), jax.tree.map(itemgetter(0), noise)))
    sums = reads_only_the_sum(cell.pointwise_with, params, z, carry, step_noise)
    ahead = sums or math.prod(cell.leading_shape(xs)[1:]) < LARGE_BATCH
    plan = Plan(cell, core, stretch.reverse, stretch.unroll, block_size(len(xs)), sums, ahead, dtypes)
    wide, fresh = vary_with((wide, fresh), (xs, carry))
    every_step = xs, stretch.perturbations, noise, stretch.valid, stretch.borders
    carry, carries = recurrence(plan, wide, carry, fresh, *every_step)
    ys = cell.output(params, carries, cell.project_with(params, xs, noise)).astype(dtype)
    return carry, select(stretch.valid, ys, jnp.zeros_like(ys))


def pays(xs: Array) -> bool:
    """Whether "auto" takes it where nothing is measured: a few steps are run faster than the loop is compiled."""
    return len(xs) >= 16


LARGE_BATCH = 32
"""From here on the steps of a cell that does not add zx and zh project their inputs one by one."""


class Plan(NamedTuple):
    """What is known when the recurrence is compiled."""

    cell: Cell[Any, Any]
    core: PointwiseCell[Any, Any]
    """What it is with the noise of the run."""
    reverse: bool
    unroll: int
    block: int
    """Steps a block."""
    sums: bool
    """Whether zx + zh stands for both."""
    ahead: bool
    """Whether the inputs of a block are projected at once, and not each in its step.

    Faster on a CPU, but for a GRU and large batches, where the product of many steps with its three gates takes up to
    1.7 times as long (three products by themselves would not).
    """
    dtypes: Any
    """Those of the parameters, which arrive wider."""

    def pointwise(self, noise: Any, params: Any, products: tuple[Array, ...], carry: Any) -> Any:
        zx, zh = (*products, jnp.zeros_like(products[0])) if self.sums else products
        return self.cell.pointwise_with(params, zx, zh, carry, noise)


def reads_only_the_sum(pointwise: Callable[..., Any], params: Any, z: Any, carry: Any, noise: Any) -> bool:
    """Whether `pointwise` adds zx and zh and reads neither again, as the LSTM does: their sum can stand for both."""
    # By shapes and dtypes alone: how arrays lie on devices does not matter.
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (params, z, z, carry, noise))
    jaxpr = jax.make_jaxpr(pointwise)(*example).jaxpr
    first = len(jax.tree.leaves(params))
    zx, zh = jaxpr.invars[first : first + 2]
    uses = [(each.primitive.name, [*each.invars]) for each in jaxpr.eqns] + [("output", [*jaxpr.outvars])]
    readers = [(name, read) for name, read in uses if zx in read or zh in read]
    return readers in ([("add", [zx, zh])], [("add", [zh, zx])])


def block_size(time: int) -> int:
    """The largest divisor of `time` from 16 to 40, so that all blocks are alike; 32 if there is none."""
    return max((size for size in range(16, 41) if time % size == 0), default=min(time, 32))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def recurrence(
    plan: Plan, params: Any, carry: Any, fresh: Any, xs: Array, perturbations: Any, noise: Any, valid: Any, borders: Any
) -> tuple[Any, Any]:
    """The carry at the end of the run, and those after every step."""
    return forward(plan, params, carry, fresh, xs, perturbations, noise, valid, borders)[:2]


def forward(
    plan: Plan, params: Any, carry: Any, fresh: Any, xs: Array, perturbations: Any, noise: Any, valid: Any, borders: Any
) -> tuple[Any, Any, tuple[Array, ...]]:
    """The same, and zx and zh of every step, or their sum."""
    core, params = plan.core, cast(params, plan.dtypes)

    def block(carry: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        (x, *rest), _ = inputs
        zs = core.project(params, x) if plan.ahead else x

        def step(carry: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
            z, perturbation, noise, valid, border = inputs
            zx = z if plan.ahead else core.project(params, z)
            carry = carry if border is None else select(border, fresh, carry)
            zh = core.recur(params, carry)
            products = (zx + zh,) if plan.sums else (zx, zh)
            new = perturb(plan.pointwise(noise, params, products, carry), perturbation)
            carry = select(valid, new, carry)
            return carry, (carry, products)

        return lax.scan(step, carry, (zs, *rest), reverse=plan.reverse, unroll=plan.unroll)

    inputs = xs, perturbations, noise, valid, borders
    carry, (carries, products) = over_blocks(block, carry, inputs, plan.block, reverse=plan.reverse)
    return carry, carries, products


@partial(recurrence.defjvp, symbolic_zeros=True)
def tangents(plan: Plan, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """The rule in the module's docstring."""
    wide, carry, fresh, xs, _, noise, valid, borders = primals
    core, params = plan.core, cast(wide, plan.dtypes)
    final, carries, products = forward(plan, *primals)
    d_wide, d_carry, d_fresh = jax.tree.map(_instantiate, tangents[:3], (wide, carry, fresh))
    d_xs, d_added = map(_unless_zero, tangents[3:5], primals[3:5])

    # The backward pass keeps what is an argument of the checkpoint, and computes all else again. The tangents of the
    # parameters come wide into both loops: transposed, they are the gradients that add up there.
    @partial(jax.checkpoint, prevent_cse=False)
    def block(d_wide: Any, d_fresh: Any, d_carry: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        d_params = cast(d_wide, plan.dtypes)
        (x, d_x, d_added, carries, products, noise, valid, borders), start = inputs
        before = _before(plan, start, carries)
        before = before if borders is None else select(borders, fresh, before)
        if d_x is None:
            _, d_zx = jax.jvp(lambda params: core.project(params, x), (params,), (d_params,))
        else:
            _, d_zx = jax.jvp(core.project, (params, x), (d_params, d_x))

        def linear(noise: Any, *point: Any) -> Any:
            return jax.linearize(partial(plan.pointwise, noise), params, *point)[1]

        local = jax.vmap(linear)(noise, products, before)
        d_zh = core.multiply(d_params, core.recurrent_input(before))
        known = (d_zx + d_zh,) if plan.sums else (d_zx, d_zh)

        def step(d_carry: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
            local, known, d_perturbation, before, valid, border = inputs
            d_carry = d_carry if border is None else select(border, d_fresh, d_carry)
            _, d_h = jax.jvp(core.recurrent_input, (before,), (d_carry,))
            *first, last = known
            d_products = (*first, last + core.multiply(params, d_h))
            d_new = perturb(local(cast(d_wide, plan.dtypes), d_products, d_carry), d_perturbation)
            d_carry = select(valid, d_new, d_carry)
            return d_carry, d_carry

        steps = local, known, d_added, before, valid, borders
        return lax.scan(step, d_carry, steps, reverse=plan.reverse, unroll=plan.unroll)

    inputs = xs, d_xs, d_added, carries, products, noise, valid, borders
    starts = _starts(plan, carry, carries)
    body = partial(block, d_wide, d_fresh)
    d_final, d_carries = over_blocks(body, d_carry, inputs, plan.block, reverse=plan.reverse, starts=starts)
    return (final, carries), (d_final, d_carries)


def _starts(plan: Plan, carry: Any, carries: Any) -> Any:
    """The carry before the first step of every block."""
    if plan.reverse:
        return jax.tree.map(
            lambda leaf, all_: jnp.concatenate([all_[plan.block :: plan.block], leaf[None]]), carry, carries
        )
    return jax.tree.map(
        lambda leaf, all_: jnp.concatenate([leaf[None], all_[plan.block - 1 : -1 : plan.block]]), carry, carries
    )


def _before(plan: Plan, start: Any, carries: Any) -> Any:
    """The carry before every step of a block."""
    if plan.reverse:
        return jax.tree.map(lambda leaf, all_: jnp.concatenate([all_[1:], leaf[None]]), start, carries)
    return jax.tree.map(lambda leaf, all_: jnp.concatenate([leaf[None], all_[:-1]]), start, carries)


def _unless_zero(tangents: Any, primals: Any) -> Any:
    """None if all tangents are zero, and there is nothing to read."""
    if all(isinstance(leaf, SymbolicZero) for leaf in jax.tree.leaves(tangents)):
        return None
    return jax.tree.map(_instantiate, tangents, primals)


def _instantiate(tangent: Any, primal: Array) -> Array:
    """Zeros of their own are not known to a scan."""
    return vary_with(jnp.zeros_like(primal), primal) if isinstance(tangent, SymbolicZero) else tangent
