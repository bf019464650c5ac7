"""The whole loop over time in one kernel, on TPUs and NVIDIA GPUs, with the recurrent weights kept on the chip.

On a GPU, weights that do not fit there are multiplied in one kernel a step, with the cell's arithmetic inside it.

Forward, a step of the kernel is the product with the weights and the cell's `pointwise`, inlined. For the derivative
the carries are the solution of carry_t = f_t(carry_(t-1)) for all t: by the implicit function theorem their tangents
are that of a linear recurrence, with J_t the Jacobian of f_t and b_t what inputs, weights and the first carry
contribute, computed for all steps at once:

    d_t = J_t d_(t-1) + b_t

As a linear system (`lax.custom_linear_solve`) it has a transpose, which is a second kernel. It runs the other way, with
`jax.vjp` of `pointwise` inlined:

    e_t = J_(t+1)^T e_(t+1) + g_t

and JAX transposes b_t into one product for the gradient of each weight matrix. Nothing is derived by hand, so every
`PointwiseCell` has it, and what is such a cell at its core (`Cell.pointwise_core`). The forward mode runs its
recurrence by `lax.scan`; derivatives of derivatives are made of recurrences of these two kinds.
"""

import math
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rnnjax.cells.base import Cell, PointwiseCell, output_dtype
from rnnjax.kernels import pallas_gpu, pallas_tpu
from rnnjax.kernels.apart import Apart, NotApart, Parts, take_apart
from rnnjax.kernels.base import Stretch, core_for, refused, select, vary_with
from rnnjax.kernels.blocked import reads_only_the_sum
from rnnjax.kernels.pallas import Body, Loop, Obstacle, Rest, like, narrow, pad, widen

BACKENDS = (pallas_tpu, pallas_gpu)
interpreted: ModuleType | None = None
"""The backend whose kernels are interpreted wherever the program runs, for tests."""


def run(
    cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, fresh: Any, stretch: Stretch
) -> tuple[Any, Array]:
    """See `rnnjax.kernels.base`."""
    plan = Plan(cell, core_for("fused", cell, noise), stretch.reverse)
    zs = plan.core.project(params, xs)
    steps = Steps(*vary_with((params, zs, carry, fresh), (params, zs, carry)), noise, stretch.valid, stretch.borders)
    try:
        Functions.of(plan, steps)
    except NotApart as error:
        why = f"its gates cannot be kept apart: {error}"
        raise ValueError(f'kernel "fused" cannot run {type(cell).__name__}: {why}') from None
    carries = recurrence(plan, steps)
    ys = cell.output(params, carries, cell.project_with(params, xs, noise)).astype(output_dtype(params, xs))
    final = jax.tree.map(lambda leaf: leaf[0 if stretch.reverse else -1], carries)
    return final, select(stretch.valid, ys, jnp.zeros_like(ys))


class Plan(NamedTuple):
    """What is known when the recurrence is compiled."""

    cell: Cell[Any, Any]
    core: PointwiseCell[Any, Any]
    """What it is with the noise of the run."""
    reverse: bool


class Steps(NamedTuple):
    """What the steps are made from: the carry before the first, and the rest as for `run`."""

    params: Any
    zs: Array
    carry: Any
    fresh: Any
    noise: Any
    valid: Any
    borders: Any

    def begun(self, before: Any) -> Any:
        """The carries that steps begin with, from those before them."""
        return before if self.borders is None else select(self.borders, self.fresh, before)

    def after(self, plan: Plan, before: Any) -> Any:
        """The carries after steps, from those before them: f_t for all t, or for one."""
        begun = self.begun(before)
        zh = plan.core.recur(self.params, begun)
        return select(self.valid, plan.cell.pointwise_with(self.params, self.zs, zh, begun, self.noise), begun)

    def before(self, carries: Any, reverse: bool) -> Any:
        """The carries before every step, from those after them."""
        return jax.tree.map(partial(_shift, reverse), self.carry, carries)


def _shift(reverse: bool, first: Array, after: Array) -> Array:
    """What was one step before in the order of the run."""
    return jnp.concatenate([after[1:], first[None]] if reverse else [first[None], after[:-1]])


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def recurrence(plan: Plan, steps: Steps) -> Any:
    """The carries after every step."""
    return _on_platform(plan, forward, steps)


@recurrence.defjvp
def tangents(plan: Plan, primals: tuple[Steps], tangents: tuple[Steps]) -> tuple[Any, Any]:
    """The rule in the module's docstring."""
    (steps,) = primals
    carries = recurrence(plan, steps)
    before = steps.before(carries, plan.reverse)

    # The backward pass keeps what is an argument of the checkpoint, and computes all else again.
    @partial(jax.checkpoint, prevent_cse=False)
    def after(steps: Steps, before: Any) -> Any:
        return steps.after(plan, before)

    def apply(d: Any) -> Any:
        d_before = jax.tree.map(lambda leaf: _shift(plan.reverse, jnp.zeros_like(leaf[0]), leaf), d)
        return jax.tree.map(jnp.subtract, d, jax.jvp(partial(after, steps), (before,), (d_before,))[1])

    def solve(_: Any, b: Any) -> Any:
        def step(d: Any, inputs: Any) -> tuple[Any, Any]:
            z, noise, valid, borders, before, b = inputs
            one = steps._replace(zs=z, noise=noise, valid=valid, borders=borders)
            d = jax.tree.map(jnp.add, jax.jvp(partial(one.after, plan), (before,), (d,))[1], b)
            return d, d

        start = jax.tree.map(jnp.zeros_like, steps.carry)
        inputs = steps.zs, steps.noise, steps.valid, steps.borders, before, b
        return lax.scan(step, start, inputs, reverse=plan.reverse)[1]

    def solve_transposed(_: Any, g: Any) -> Any:
        return _on_platform(plan, backward, steps, before, g)

    _, b = jax.jvp(lambda steps: after(steps, steps.before(carries, plan.reverse)), (steps,), tangents)
    return carries, lax.custom_linear_solve(apply, b, solve, solve_transposed)


# --- the kernels ------------------------------------------------------------------------------------------------------


def forward(plan: Plan, backend: ModuleType, steps: Steps) -> Any:
    """The carries after every step."""
    functions = Functions.of(plan, steps)

    def body(vectors: list[Parts], fresh: list[Parts], carry: list[Parts], x: list[Parts]) -> tuple[Parts, Rest]:
        (zx, *noise), valid, goes_on = _without_flags(steps, x)
        begun = [_choose(goes_on, *each) for each in zip(carry, fresh, strict=True)] if fresh else carry

        def rest(zh: Parts) -> tuple[list[Parts], list[Parts]]:
            after = functions.after(*functions.given(vectors), zx, zh, *begun, *noise)
            carry = [_choose(valid, *each) for each in zip(after, begun, strict=True)]
            return carry, carry

        return functions.seen(*begun), rest

    inputs = steps.zs, as_numbers(steps.noise)
    return _loop(backend, functions, steps, plan.reverse, body, steps.params.w_h, steps.carry, inputs)


def backward(plan: Plan, backend: ModuleType, steps: Steps, before: Any, g: Any) -> Any:
    """The cotangents e_t of the carries after every step."""
    functions = Functions.of(plan, steps)
    zh = plan.core.recur(steps.params, steps.begun(before))
    products = (steps.zs + zh,) if functions.sums else (steps.zs, zh)
    count = len(products)

    def body(vectors: list[Parts], fresh: list[Parts], e: list[Parts], x: list[Parts]) -> tuple[Parts, Rest]:
        inputs, valid, goes_on = _without_flags(steps, x)
        products, noise = inputs[:count], inputs[count : -2 * len(e)]
        before, g = inputs[-2 * len(e) : -len(e)], inputs[-len(e) :]
        zx, zh = products if count == 2 else (*products, tuple(map(jnp.zeros_like, products[0])))
        begun = [_choose(goes_on, *each) for each in zip(before, fresh, strict=True)] if fresh else before
        e = [_add(*each) for each in zip(e, g, strict=True)]
        e_after = [_choose(valid, each, None) for each in e]
        e_zh, *direct = functions.before(*functions.given(vectors), zx, zh, *begun, *noise, *e_after)

        def rest(e_seen: Parts) -> tuple[list[Parts], list[Parts]]:
            through = functions.unseen(*begun, e_seen)
            e_begun = [_add(*each) for each in zip(direct, through, strict=True)]
            e_before = [_choose(valid, *each) for each in zip(e_begun, e, strict=True)]
            return [_choose(goes_on, each, None) for each in e_before], e

        return e_zh, rest

    start = jax.tree.map(jnp.zeros_like, steps.carry)
    inputs = products, as_numbers(steps.noise), before, g
    return _loop(backend, functions, steps, not plan.reverse, body, steps.params.w_h.T, start, inputs)


def _without_flags(steps: Steps, x: list[Parts]) -> tuple[list[Parts], Array | None, Array | None]:
    """The inputs of a step; whether it is real, and whether it goes on from the step before. None: all do."""
    flags = len(x) - (steps.valid is not None) - (steps.borders is not None)
    rest = iter(x[flags:])
    valid, goes_on = (None if each is None else next(rest)[0] for each in (steps.valid, steps.borders))
    return x[:flags], valid, goes_on


def _choose(flag: Array | None, new: Parts, old: Parts | None) -> Parts:
    """`new` where the flag is set (None: everywhere), `old` (None: zeros) elsewhere."""
    if flag is None:
        return new
    others = old or tuple(map(jnp.zeros_like, new))
    pairs = zip(new, others, strict=True)
    return tuple(jnp.where(jnp.broadcast_to(flag, one.shape) > 0, one, other) for one, other in pairs)


def _add(one: Parts, other: Parts) -> Parts:
    return tuple(map(jnp.add, one, other))


class Functions(NamedTuple):
    """What a cell does in a step, on gates kept apart. These functions take the leaves of pytrees one by one."""

    units: int
    """Of a gate."""
    sums: bool
    """Whether zx + zh stands for both."""
    is_damped: bool
    """Whether half-precision weights may round what they multiply in float32."""
    reads: tuple[bool, ...]
    """Which leaves of the parameters `pointwise_with` reads."""
    after: Apart
    """`pointwise_with`: of parameters, zx, zh, carry and noise."""
    before: Apart
    """Its cotangents of zh and carry: of the same, and the cotangents of the new carry."""
    seen: Apart
    """`recurrent_input`: of the carry."""
    unseen: Apart
    """Its cotangents of the carry: of the carry, and the cotangent of what is seen."""

    @classmethod
    def of(cls, plan: Plan, steps: Steps) -> "Functions":
        """Traces them; raises `NotApart`."""
        rows = steps.carry, jax.eval_shape(as_numbers, steps.noise)
        carry, noise = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, leaf.shape[-1]), leaf.dtype), rows)
        params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), steps.params)
        return _trace(plan.cell, plan.core, params, carry, noise, jax.sharding.get_abstract_mesh())

    @property
    def mixes(self) -> bool:
        """Whether one of them sums over the units of a gate."""
        return any(function.mixes for function in (self.after, self.before, self.seen, self.unseen))

    def given(self, vectors: list[Parts]) -> list[Parts | None]:
        """The leaves of the parameters, from those that are read; None for the others."""
        read = iter(vectors)
        return [next(read) if is_read else None for is_read in self.reads]


def as_numbers(masks: Any) -> Any:
    """As kernels hold them: of the width of flags and of what they choose from."""
    return jax.tree.map(lambda mask: mask.astype(jnp.int32), masks)


@lru_cache(maxsize=256)
def _trace(
    cell: Cell[Any, Any], core: PointwiseCell[Any, Any], params: Any, carry: Any, noise: Any, mesh: Any
) -> Functions:
    """Once for all programs; what is traced inside a mesh refers to it."""

    def pointwise(params: Any, zx: Array, zh: Array, carry: Any, noise: Any) -> Any:
        masks = jax.tree.map(lambda numbers: numbers > 0, noise)
        return cell.pointwise_with(params, zx, zh, carry, masks)

    def after(*point: Any) -> Any:
        return jax.tree.leaves(pointwise(*point))

    def before(params: Any, zx: Array, zh: Array, carry: Any, noise: Any, e: Any) -> Any:
        through = jax.vjp(lambda zh, carry: pointwise(params, zx, zh, carry, noise), zh, carry)[1]
        return jax.tree.leaves(through(e))

    def unseen(carry: Any, e: Array) -> Any:
        return jax.tree.leaves(jax.vjp(core.recurrent_input, carry)[1](e))

    seen = jax.eval_shape(core.recurrent_input, carry)
    z = jax.eval_shape(core.multiply, params, seen)
    units = math.gcd(*(leaf.shape[-1] for leaf in jax.tree.leaves((carry, seen, z))))
    forth = take_apart(after, units, params, z, z, carry, noise)
    back = take_apart(before, units, params, z, z, carry, noise, carry)
    leaves = jax.tree.leaves(params)
    reads = tuple(map(max, forth.reads[: len(leaves)], back.reads[: len(leaves)]))
    sums = reads_only_the_sum(pointwise, params, z, carry, noise)
    inputs = take_apart(core.recurrent_input, units, carry), take_apart(unseen, units, carry, seen)
    return Functions(units, sums, core.is_damped, reads, forth, back, *inputs)


def _loop(
    backend: ModuleType,
    functions: Functions,
    steps: Steps,
    reverse: bool,
    body: Body,
    matrix: Array,
    carry: Any,
    inputs: Any,
) -> Any:
    """What `body` puts out for every step, like the carry; from arrays as the rest of the package has them."""
    units, lanes = functions.units, backend.lanes(functions.units)
    first, structure = jax.tree.flatten(carry)
    time, *batch_shape = inputs_shape = jax.tree.leaves(inputs)[0].shape[:-1]
    batch = math.prod(batch_shape)
    rows = backend.rows(max(1, batch))
    padded = -(-max(1, batch) // rows) * rows

    def over_batch(leaf: Array) -> Array:
        return pad(widen(leaf.reshape(batch, leaf.shape[-1]), 1, units, lanes), 0, padded)

    def over_time(leaf: Array) -> Array:
        return pad(widen(leaf.reshape(time, batch, leaf.shape[-1]), 2, units, lanes), 1, padded)

    def flag(flags: Array) -> Array:
        return pad(flags.reshape(time, batch, 1).astype(jnp.int32), 1, padded)

    if not functions.is_damped or first[0].dtype == jnp.float64:
        matrix = matrix.astype(first[0].dtype)
    read = [leaf for leaf, is_read in zip(jax.tree.leaves(steps.params), functions.reads, strict=True) if is_read]
    starts = [over_batch(leaf) for leaf in first]
    flags = [] if steps.valid is None else [flag(steps.valid)]
    flags += [] if steps.borders is None else [flag(~steps.borders)]
    outputs = backend.scan(
        Loop(
            body,
            functions.mixes,
            matrix=widen(widen(matrix, 0, units, lanes), 1, units, lanes),
            vectors=[widen(leaf[None], 1, units, lanes) for leaf in read],
            rows=[] if steps.borders is None else [over_batch(leaf) for leaf in jax.tree.leaves(steps.fresh)],
            carry=starts,
            xs=[*map(over_time, jax.tree.leaves(inputs)), *flags],
            ys=[like(start, (time, *start.shape)) for start in starts],
            reverse=reverse,
            units=units,
            lanes=lanes,
        ),
        interpret=interpreted is not None,
    )
    ys = (narrow(leaf[:, :batch], units, lanes) for leaf in outputs)
    return jax.tree.unflatten(structure, [leaf.reshape(*inputs_shape, leaf.shape[-1]) for leaf in ys])


# --- platforms --------------------------------------------------------------------------------------------------------


def _on_platform(plan: Plan, kernel: Any, steps: Steps, *others: Any) -> Any:
    """`kernel(plan, backend, steps, *others)` with the backend of the platform that the program is compiled for."""
    if interpreted is not None:
        return kernel(plan, interpreted, steps, *others)

    def attempt(backend: ModuleType, steps: Steps, *others: Any) -> Any:
        try:
            return kernel(plan, backend, steps, *others)
        except Obstacle as why:
            return refuse(f"cannot run {type(plan.cell).__name__} on {backend.NAME}: {why}", steps)

    def refuse(why: str, steps: Steps, *others: Any) -> Any:
        time = len(steps.zs)
        likes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((time, *leaf.shape), leaf.dtype), steps.carry)
        return vary_with(refused(f'kernel "fused" {why}: "auto" finds another', likes), steps)

    branches = {backend.PLATFORM: partial(attempt, backend) for backend in BACKENDS}
    needs = "needs " + " or ".join(backend.NAME for backend in BACKENDS)
    return lax.platform_dependent(steps, *others, **branches, default=partial(refuse, needs))


def obstacle(platform: str, cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any) -> str | None:
    """Why a cell cannot be run on a platform, for `lax.platform_dependent`; None if it can."""
    backend = {backend.PLATFORM: backend for backend in BACKENDS}[platform]
    plan = Plan(cell, cell.pointwise_core(noise), reverse=False)

    def both(params: Any, xs: Array, noise: Any, carry: Any) -> Any:
        steps = Steps(params, plan.core.project(params, xs), carry, carry, noise, None, None)
        carries = forward(plan, backend, steps)
        return backward(plan, backend, steps, carries, carries)

    try:
        jax.eval_shape(both, params, xs, noise, carry)
    except (Obstacle, NotApart) as why:
        return str(why)
    return None
