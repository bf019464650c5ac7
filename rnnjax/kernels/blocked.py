"""Time in blocks, and a derivative that leaves in the loop over time only what has to be there.

Automatic differentiation of a scan adds up the gradients of the weights step by step, a product of small matrices and
a pass over all weights each. Here the derivative of the recurrence is a rule of its own (`jax.custom_jvp`): with A_t,
B_t and C_t the derivatives of `pointwise` by carry, zx and zh at step t, the tangents are

    dcarry_t = A_t dcarry_(t-1) + B_t dzx_t + C_t (dh_(t-1) w_h + h_(t-1) dw_h)

Over a block of steps all but the two terms with d(t-1) is computed at once: the derivatives (`jax.linearize` of
`pointwise`, mapped over the steps), and what the tangents of inputs and weights contribute. JAX transposes
the rule into the backward pass: one product a block for the gradient of each weight matrix, and a loop with one product
a step. Nothing is derived by hand, so every `PointwiseCell` has it, with jvp, vmap and derivatives of any order.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from rnnjax.cells.base import Cell, PointwiseCell, output_dtype
from rnnjax.kernels.base import Stretch, cast, over_blocks, perturb, select, vary_with, widen


def run(
    cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, fresh: Any, stretch: Stretch
) -> tuple[Any, Array]:
    """See `rnnjax.kernels.base`."""
    if not isinstance(cell, PointwiseCell):
        raise ValueError(f'kernel "blocked" needs a PointwiseCell, and {type(cell).__name__} is none: use "scan"')
    dtype = output_dtype(params, xs)
    wide, dtypes = widen(params)
    sums = reads_only_the_sum(cell, params, jax.eval_shape(lambda: cell.project(params, xs[0])), carry)
    ahead = sums or math.prod(cell.leading_shape(xs)[1:]) < LARGE_BATCH
    plan = Plan(cell, stretch.reverse, stretch.unroll, block_size(len(xs)), sums, ahead, dtypes)
    wide, fresh = vary_with((wide, fresh), (xs, carry))
    every_step = xs, stretch.perturbations, stretch.valid, stretch.borders
    carry, carries = recurrence(plan, wide, carry, fresh, *every_step)
    ys = cell.output(params, carries, cell.project(params, xs)).astype(dtype)
    return carry, select(stretch.valid, ys, jnp.zeros_like(ys))


def pays(cell: Cell[Any, Any], xs: Array) -> bool:
    """Whether "auto" takes it where nothing is measured: a few steps are run faster than the loop is compiled."""
    return isinstance(cell, PointwiseCell) and len(xs) >= 16


LARGE_BATCH = 32
"""From here on the steps of a cell that does not add zx and zh project their inputs one by one."""


class Plan(NamedTuple):
    """What is known when the recurrence is compiled."""

    cell: PointwiseCell[Any, Any]
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

    def pointwise(self, params: Any, products: tuple[Array, ...], carry: Any) -> Any:
        zx, zh = (*products, jnp.zeros_like(products[0])) if self.sums else products
        return self.cell.pointwise(params, zx, zh, carry)


def reads_only_the_sum(cell: PointwiseCell[Any, Any], params: Any, z: Any, carry: Any) -> bool:
    """Whether `pointwise` adds zx and zh and reads neither again, as the LSTM does: their sum can stand for both."""
    # By shapes and dtypes alone: how arrays lie on devices does not matter.
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (params, z, z, carry))
    jaxpr = jax.make_jaxpr(cell.pointwise)(*example).jaxpr
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
    plan: Plan, params: Any, carry: Any, fresh: Any, xs: Array, perturbations: Any, valid: Any, borders: Any
) -> tuple[Any, Any]:
    """The carry at the end of the run, and those after every step."""
    return forward(plan, params, carry, fresh, xs, perturbations, valid, borders)[:2]


def forward(
    plan: Plan, params: Any, carry: Any, fresh: Any, xs: Array, perturbations: Any, valid: Any, borders: Any
) -> tuple[Any, Any, tuple[Array, ...]]:
    """The same, and zx and zh of every step, or their sum."""
    cell, params = plan.cell, cast(params, plan.dtypes)

    def block(carry: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        (x, *rest), _ = inputs
        zs = cell.project(params, x) if plan.ahead else x

        def step(carry: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
            z, perturbation, valid, border = inputs
            zx = z if plan.ahead else cell.project(params, z)
            carry = carry if border is None else select(border, fresh, carry)
            zh = cell.recur(params, carry)
            products = (zx + zh,) if plan.sums else (zx, zh)
            new = perturb(plan.pointwise(params, products, carry), perturbation)
            carry = select(valid, new, carry)
            return carry, (carry, products)

        return lax.scan(step, carry, (zs, *rest), reverse=plan.reverse, unroll=plan.unroll)

    inputs = xs, perturbations, valid, borders
    carry, (carries, products) = over_blocks(block, carry, inputs, plan.block, reverse=plan.reverse)
    return carry, carries, products


@partial(recurrence.defjvp, symbolic_zeros=True)
def tangents(plan: Plan, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """The rule in the module's docstring."""
    wide, carry, fresh, xs, _, valid, borders = primals
    cell, params = plan.cell, cast(wide, plan.dtypes)
    final, carries, products = forward(plan, *primals)
    d_wide, d_carry, d_fresh = jax.tree.map(_instantiate, tangents[:3], (wide, carry, fresh))
    d_xs, d_added = map(_unless_zero, tangents[3:5], primals[3:5])

    # The backward pass keeps what is an argument of the checkpoint, and computes all else again. The tangents of the
    # parameters come wide into both loops: transposed, they are the gradients that add up there.
    @partial(jax.checkpoint, prevent_cse=False)
    def block(d_wide: Any, d_fresh: Any, d_carry: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        d_params = cast(d_wide, plan.dtypes)
        (x, d_x, d_added, carries, products, valid, borders), start = inputs
        before = _before(plan, start, carries)
        before = before if borders is None else select(borders, fresh, before)
        if d_x is None:
            _, d_zx = jax.jvp(lambda params: cell.project(params, x), (params,), (d_params,))
        else:
            _, d_zx = jax.jvp(cell.project, (params, x), (d_params, d_x))
        local = jax.vmap(lambda *point: jax.linearize(plan.pointwise, params, *point)[1])(products, before)
        d_zh = cell.multiply(d_params, cell.recurrent_input(before))
        known = (d_zx + d_zh,) if plan.sums else (d_zx, d_zh)

        def step(d_carry: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
            local, known, d_perturbation, before, valid, border = inputs
            d_carry = d_carry if border is None else select(border, d_fresh, d_carry)
            _, d_h = jax.jvp(cell.recurrent_input, (before,), (d_carry,))
            *first, last = known
            d_products = (*first, last + cell.multiply(params, d_h))
            d_new = perturb(local(cast(d_wide, plan.dtypes), d_products, d_carry), d_perturbation)
            d_carry = select(valid, d_new, d_carry)
            return d_carry, d_carry

        steps = local, known, d_added, before, valid, borders
        return lax.scan(step, d_carry, steps, reverse=plan.reverse, unroll=plan.unroll)

    inputs = xs, d_xs, d_added, carries, products, valid, borders
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
