"""A nonlinear recurrence, all steps at once, by Newton's method.

With s_t the carry after step t, flattened, and f_t the step that makes it, a trajectory is the solution of

    r_t(s) = f_t(s_(t-1)) - s_t = 0    for t = 1 ... T

One iteration replaces every step by its tangent at the last guess, which leaves a linear recurrence, solved for all
steps at once by an associative scan:

    d_t = A_t d_(t-1) + r_t,    d_0 = 0,    s_t <- s_t + d_t

With A_t the Jacobian J_t = df_t/ds_(t-1) this is Newton's method (DEER), whose error is squared by every iteration once
it is small. With the diagonal of J_t alone (quasi-DEER) it takes more iterations, each in memory of size T n, not
T n^2, for n numbers in the carry. Either way the first k steps are exact after k iterations, so that T iterations are
always enough; the method pays where a few are.

The derivatives are those of the trajectory itself, whichever way it was found: tangents follow the linear recurrence
d_t = J_t d_(t-1) + b_t, gradients the same in reverse, with the full Jacobians at the solution, all steps at once.

Sources: Y. H. Lim et al., "Parallelizing non-linear sequential models over the sequence length", ICLR 2024
(arXiv:2309.12252); X. Gonzalez et al., "Towards Scalable and Stable Parallelization of Nonlinear RNNs", NeurIPS 2024
(arXiv:2407.19115).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from rnnjax.cells.base import Cell, carry_dtype
from rnnjax.cells.linear import linear_scan
from rnnjax.checks import check_size
from rnnjax.kernels.base import Stretch, all_at_once, select

T = TypeVar("T")

JACOBIANS = ("full", "diagonal")


@dataclass(frozen=True)
class Deer:
    """How Newton's method runs; see the module's docstring for the equations.

    `tolerance`: the largest residual, of every array of the carry over its own largest magnitude, that counts as
    converged. None: 30 times the machine epsilon of the carry, 4e-6 in float32 and 7e-15 in float64; rounding alone
    leaves 2 to 6 times.

    `max_iterations`: how many may be made. With `stop_early` no more are made than it takes for every example of the
    batch to converge; without, always all of them, in a loop that does not wait for the outcome.

    `jacobian`: "full", or "diagonal" (quasi-DEER). Products of full Jacobians at a guess that is far off can outgrow
    every float, as for an LSTM with a forget bias of 6 over 2000 steps, which then falls back after the first
    iteration; the diagonal alone takes some 30 to 100 there.

    `damping`: A_t = (1 - damping) J_t, or that of its diagonal. 0 is Newton's method; 1 takes A_t = 0, the fixed-point
    iteration of all steps at once; between them products of many Jacobians stay smaller in recurrences that are not
    contractive, at the price of linear convergence (scale-ELK of Gonzalez et al.).

    Raises:
        ValueError: a setting out of its range.
    """

    tolerance: float | None = None
    max_iterations: int = 30
    stop_early: bool = True
    jacobian: Literal["full", "diagonal"] = "full"
    damping: float = 0.0

    def __post_init__(self) -> None:
        if self.tolerance is not None and not (_is_number(self.tolerance) and self.tolerance > 0):
            raise ValueError(f"tolerance must be a number above 0, or None, got {self.tolerance!r}")
        object.__setattr__(self, "max_iterations", check_size("max_iterations", self.max_iterations))
        if self.jacobian not in JACOBIANS:
            raise ValueError(f"jacobian must be one of {', '.join(JACOBIANS)}, got {self.jacobian!r}")
        if not (_is_number(self.damping) and 0 <= self.damping <= 1):
            raise ValueError(f"damping must be a number from 0 to 1, got {self.damping!r}")


class Convergence(NamedTuple):
    """What became of Newton's method."""

    iterations: Int[Array, ""]
    """How many were made, for the whole batch."""
    residual: Float[Array, "*batch"]
    """The largest residual after them, relative to the carry; not a number or infinite if it diverged."""
    converged: Bool[Array, "*batch"]
    """Whether that is within the tolerance."""
    fell_back: Bool[Array, ""]
    """Whether the carries come from the scan, because not every example of the batch converged."""


def run(
    cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, fresh: Any, stretch: Stretch
) -> tuple[Any, Array]:
    """See `rnnjax.kernels.base`; with the default settings."""

    def carries(zs: Any, valid: Any, borders: Any) -> Any:
        return solve(cell, params, zs, carry, fresh, valid, borders, Deer())[0]

    return all_at_once(carries, cell, params, xs, noise, stretch)


def solve(
    cell: Cell[Any, Any],
    params: Any,
    zs: Any,
    carry: Any,
    fresh: Any,
    valid: Bool[Array, "time *batch"] | None,
    borders: Bool[Array, "time *batch"] | None,
    settings: Deer,
) -> tuple[Any, Convergence]:
    """The carries after every step, `[time, ...]`, and how Newton's method found them.

    A step that is not `valid` leaves the carry as it is, one that is a border starts from `fresh`; None: all, none.
    Where one example of the batch does not converge, or anything is not finite, the recurrence is run step after step,
    and the report says so. Under `jax.vmap` that is decided for each by itself, but both are computed for all.

    Parameters in half precision are widened first: Newton's method needs a smooth step, and one that rounds the carry
    is none. For the same reason products of matrices are made in full float32 on accelerators.
    """
    params, zs = _widen((params, zs))
    steps = _Steps(params, zs, carry, fresh, valid, borders)
    with jax.default_matmul_precision("float32"):
        carries, report = _solve(cell, lax.stop_gradient(steps), settings)
        return _differentiable(cell, steps, lax.stop_gradient(carries)), report


class _Steps(NamedTuple):
    """What the steps of a recurrence are made from: the carry before the first, and the rest as for `run`."""

    params: Any
    zs: Any
    carry: Any
    fresh: Any
    valid: Any
    borders: Any

    def after(self, cell: Cell[Any, Any], before: Any) -> Any:
        """The carries after every step, from those before them: f_t for all t."""
        return _step(cell, self, before, (self.zs, self.valid, self.borders))

    def before(self, carries: Any) -> Any:
        """The carries before every step, from those after them."""
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), self.carry, carries)


def _step(cell: Cell[Any, Any], steps: _Steps, before: Any, inputs: tuple[Any, Any, Any]) -> Any:
    """One step, or all at once where everything but the parameters and `fresh` has an axis of time in front."""
    z, valid, border = inputs
    begun = before if border is None else select(border, steps.fresh, before)
    after = cell.advance(steps.params, begun, z)
    return after if valid is None else select(valid, after, begun)


# --- the solution -----------------------------------------------------------------------------------------------------


def _solve(cell: Cell[Any, Any], steps: _Steps, settings: Deer) -> tuple[Any, Convergence]:
    """Newton's method, and the scan where that fails. Not differentiable in reverse."""
    shape = _batch_shape(cell, steps.carry)
    layout = _Layout(steps.carry, shape)
    tolerance = settings.tolerance
    if tolerance is None:
        tolerance = 30 * float(jnp.finfo(layout.dtype).eps)

    def converged(residual: Array) -> Array:
        return jnp.isfinite(residual) & (residual <= tolerance)

    def is_on(state: _State) -> Array:
        more = state.iterations < settings.max_iterations
        if not settings.stop_early:
            return more
        return more & ~jnp.all(converged(state.residual)) & jnp.all(jnp.isfinite(state.residual))

    def iterate(state: _State) -> _State:
        slopes = partial(_jacobians, cell, steps, layout, layout.split(state.carries))
        if settings.jacobian == "full":
            change = _solve_recurrence((1 - settings.damping) * slopes(), state.rest)
        else:
            zero = jnp.zeros_like(state.rest[0])
            change = linear_scan((1 - settings.damping) * slopes(diagonal=True), state.rest, zero, zero)
        return state_at(state.iterations + 1, state.carries + change)

    def state_at(iterations: Array, carries: Array) -> _State:
        new = steps.after(cell, steps.before(layout.split(carries)))
        rest = layout.join(new) - carries
        parts = zip(jax.tree.leaves(layout.split(rest)), jax.tree.leaves(new), strict=True)
        residual = jnp.stack([_relative(_peak(part, shape), _peak(like, shape)) for part, like in parts]).max(0)
        return _State(iterations, carries, rest, residual)

    def step_by_step(_: Array) -> Array:
        def body(before: Any, inputs: Any) -> tuple[Any, Any]:
            after = _step(cell, steps, before, inputs)
            return after, after

        return layout.join(lax.scan(body, steps.carry, (steps.zs, steps.valid, steps.borders))[1])

    # What one step makes of the first carry; that itself can be a place where a cell is not smooth (sLSTM's n = 0).
    time = len(jax.tree.leaves(steps.zs)[0])
    still = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (time, *leaf.shape)), steps.carry)
    guess = layout.join(steps.after(cell, still))
    end = lax.while_loop(is_on, iterate, state_at(jnp.zeros((), jnp.int32), guess))
    good = converged(end.residual)
    falls_back = ~jnp.all(good)
    carries = lax.cond(falls_back, step_by_step, lambda found: found, end.carries)
    return layout.split(carries), Convergence(end.iterations, end.residual, good, falls_back)


class _State(NamedTuple):
    """Where Newton's method has got to; `rest` is the residual r_t of every step."""

    iterations: Array
    carries: Float[Array, "time *batch n"]
    rest: Float[Array, "time *batch n"]
    residual: Float[Array, "*batch"]


def _jacobians(
    cell: Cell[Any, Any], steps: _Steps, layout: "_Layout", carries: Any, *, diagonal: bool = False
) -> Float[Array, "time *batch columns"]:
    """J_t of all steps, or its diagonal, column by column; a batch costs no more, since its examples do not mix."""
    before = layout.join(steps.before(carries))
    _, tangent = jax.linearize(lambda before: layout.join(steps.after(cell, layout.split(before))), before)
    size = before.shape[-1]

    def column(unit: Array) -> Array:
        return tangent(jnp.zeros_like(before) + unit)

    units = jnp.eye(size, dtype=before.dtype)
    if not diagonal:
        return jax.vmap(column, out_axes=-1)(units)
    # One column after the other, so that no more than one is kept.
    entries = lax.map(lambda place: column(units[place])[..., place], jnp.arange(size))
    return jnp.moveaxis(entries, 0, -1)


# --- its derivatives --------------------------------------------------------------------------------------------------


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _differentiable(cell: Cell[Any, Any], steps: _Steps, carries: Any) -> Any:
    """`carries`, which solve the recurrence, with the derivatives of that solution, by the implicit function theorem.

    Written with operations that can be differentiated again, and transposed: the reverse mode runs the linear
    recurrence of the tangents from the last step to the first, all steps at once like the forward mode.
    """
    return carries


@_differentiable.defjvp
def _differentiable_jvp(cell: Cell[Any, Any], primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    steps, carries = primals
    carries = _differentiable(cell, steps, carries)
    layout = _Layout(steps.carry, _batch_shape(cell, steps.carry))
    _, direct = jax.jvp(lambda steps: layout.join(steps.after(cell, steps.before(carries))), (steps,), (tangents[0],))
    return carries, layout.split(_solve_recurrence(_jacobians(cell, steps, layout, carries), direct))


def _solve_recurrence(a: Float[Array, "time *batch n n"], b: Float[Array, "time *batch n"]) -> Array:
    """d_t = A_t d_(t-1) + b_t with d_0 = 0, for all t; as the solution of a linear system, so that its derivatives
    are such recurrences too and nothing but A is kept for them.
    """

    def apply(d: Array) -> Array:
        return d - _apply(a, _shift(d))

    def solve(_: Any, b: Array) -> Array:
        return lax.associative_scan(_join, (a, b))[1]

    def solve_transposed(_: Any, g: Array) -> Array:
        """g_t + A_(t+1)^T d_(t+1), from the last step to the first."""
        later = jnp.concatenate([a[1:], jnp.zeros_like(a[:1])])
        return lax.associative_scan(_join, (later.swapaxes(-1, -2), g), reverse=True)[1]

    return lax.custom_linear_solve(apply, b, solve, solve_transposed)


def _join(early: tuple[Array, Array], late: tuple[Array, Array]) -> tuple[Array, Array]:
    """Two stretches of steps as one: d -> A d + b, one after the other."""
    (a, b), (late_a, late_b) = early, late
    return late_a @ a, _apply(late_a, b) + late_b


def _apply(a: Float[Array, "*batch m n"], d: Float[Array, "*batch n"]) -> Float[Array, "*batch m"]:
    return (a @ d[..., None])[..., 0]


def _shift(d: Float[Array, "time *n"]) -> Float[Array, "time *n"]:
    """What came one step before, zero before the first."""
    return jnp.concatenate([jnp.zeros_like(d[:1]), d[:-1]])


# --- carries and their flat form --------------------------------------------------------------------------------------


class _Layout:
    """How the arrays of a carry lie side by side in vectors `[..., *batch, n]`, whatever axes are in front."""

    def __init__(self, carry: Any, batch_shape: tuple[int, ...]) -> None:
        leaves, self.structure = jax.tree.flatten(carry)
        self.like = [(leaf.shape[len(batch_shape) :], leaf.dtype) for leaf in leaves]
        self.ends = [0]
        for shape, _ in self.like:
            self.ends.append(self.ends[-1] + math.prod(shape))
        self.dtype = jnp.result_type(*leaves)

    def join(self, tree: Any) -> Float[Array, "*batch n"]:
        leaves = zip(jax.tree.leaves(tree), self.like, strict=True)
        flat = [leaf.reshape(*leaf.shape[: leaf.ndim - len(shape)], math.prod(shape)) for leaf, (shape, _) in leaves]
        return jnp.concatenate(flat, axis=-1)

    def split(self, flat: Float[Array, "*batch n"]) -> Any:
        parts = zip(self.ends, self.ends[1:], self.like, strict=False)
        leaves = [
            flat[..., start:end].reshape(*flat.shape[:-1], *shape).astype(dtype) for start, end, (shape, dtype) in parts
        ]
        return jax.tree.unflatten(self.structure, leaves)


def _batch_shape(cell: Cell[Any, Any], carry: Any) -> tuple[int, ...]:
    """The leading axes of a carry that are not those of a single example."""
    (one, *_), (leaf, *_) = jax.tree.leaves(jax.eval_shape(cell.initial_carry)), jax.tree.leaves(carry)
    return leaf.shape[: leaf.ndim - one.ndim]


def _widen(tree: T) -> T:
    """The same with floating-point numbers of at least 32 bits."""

    def widen(leaf: Array) -> Array:
        return leaf.astype(carry_dtype(leaf.dtype)) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(widen, tree)


def _peak(leaf: Float[Array, "time *batch n"], batch_shape: tuple[int, ...]) -> Float[Array, "*batch"]:
    """The largest magnitude of every example, over time and all else; a NaN is the largest."""
    return jnp.max(jnp.abs(leaf), axis=(0, *range(1 + len(batch_shape), leaf.ndim)))


def _relative(part: Array, whole: Array) -> Array:
    """Their ratio; of nothing, the part itself."""
    return part / jnp.where(whole == 0, 1, whole)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
