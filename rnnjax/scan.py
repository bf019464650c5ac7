"""A cell over time: `unroll`, by `lax.scan`.

Every forward pass over a cell is made here. `unroll` is what users call; `trajectory` also gives the intermediate
values that the backward passes of `rnnjax.flow` start from.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from rnnjax.cells.base import Cell, output_dtype
from rnnjax.checks import check_carry, check_flags, check_inputs, check_lengths, check_params, check_size
from rnnjax.compose.base import Composite
from rnnjax.kernels import blocked, cudnn, deer, fused, parallel
from rnnjax.kernels.base import (
    Kernel,
    Stretch,
    cast,
    over_blocks,
    own_key,
    perturb,
    select,
    spread_as,
    vary_with,
    widen,
)
from rnnjax.kernels.choice import decide
from rnnjax.registry import Registry

Params = TypeVar("Params", bound=tuple[Any, ...])
Carry = TypeVar("Carry", bound=tuple[Any, ...])


def unroll(
    cell: Cell[Params, Carry],
    params: Params,
    xs: Float[Array, "time *batch features"],
    carry: Carry | None = None,
    *,
    lengths: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "time *batch"] | None = None,
    resets: Bool[ArrayLike, "time *batch"] | None = None,
    reverse: bool = False,
    batch_major: bool = False,
    key: Array | None = None,
    deterministic: bool = False,
    unroll: int = 1,
    remat: int | Literal["sqrt"] | None = None,
    kernel: str = "auto",
    perturbations: Carry | None = None,
) -> tuple[Carry, Float[Array, "time *batch output_size"]]:
    """Runs a cell over a sequence, and equals this loop (with `reverse`, over `t` from the last step to the first):

        for t in range(time):
            carry, ys[t] = cell.step(params, carry, xs[t])

    A stack of cells runs one cell after the other, each over the whole sequence. A batch that is spread over devices,
    by a mesh of automatic or explicit axes or inside `jax.shard_map`, is run where it lies; by kernel "fused" inside
    `jax.shard_map` alone.

    Args:
        cell: the cell, static under jit.
        params: its parameters, from `cell.init`.
        xs: the inputs, time-major, `[time, batch, features]`; `[time, features]` and more batch axes work too.
        carry: the carry before the first step; `cell.start` (zeros, unless it is learned) if None. Cast to the carry's
            declared dtype.
        lengths: the number of real steps of every sequence, 0 to time. Past it the carry stays as it is and outputs are
            zero, whatever the padding holds (NaN included); with `reverse`, the padding comes first and is passed over.
        mask: True for real steps, False for those to pass over, anywhere in the sequence, as `lengths` does at its end;
            with both, a step has to be real by both.
        resets: True where a new sequence begins. The step starts from `cell.start`, and nothing crosses the border
            between it and the step before, with `reverse` neither. A step that `mask` passes over still begins a
            sequence; one past `lengths` does not.
        reverse: run from the last step to the first; outputs stay at the time of their inputs.
        batch_major: inputs, `mask`, `resets` and outputs are `[batch, time, ...]`. Costs one transpose of the inputs
            and one of the outputs, however many cells a stack has.
        key: for training with cells that draw random numbers (dropout): masks are drawn from it, once, before the loop,
            and inside `jax.shard_map` for each device anew (with its check_vma=False, give each device its own key).
        deterministic: run such cells as in evaluation, without random numbers; `key` is then not needed nor used.
        unroll: how many steps one iteration of the compiled loop holds, as in `lax.scan`.
        remat: how many steps at a time the backward pass computes anew from the carry before them, instead of keeping
            what it needs of every step: one more forward pass, for the memory of time / remat carries and of remat
            steps. "sqrt" takes the square root of the time, where the sum is smallest. None keeps all.
        kernel: how the steps are run; the results are the same.
            "scan": one after the other.
            "blocked": the same, with all that does not have to be in the loop done for a block of steps at once, in the
            backward pass above all, for cells with a `pointwise` (`PointwiseCell`: RNN, LSTM, GRU and most others),
            also inside `Zoneout`, and in evaluation inside `RecurrentDropout`.
            "fused": the same cells, all steps in one kernel with the recurrent weights kept on the chip, on TPUs and
            NVIDIA GPUs, for weights that fit there; for larger ones one kernel a step, on NVIDIA GPUs. To spread a
            batch over devices it wants `jax.shard_map`: JAX cannot share out such a kernel by itself, and on GPUs each
            would compute the whole batch.
            "cudnn": by cuDNN, an LSTM in float32 on NVIDIA GPUs, without mask and resets; in reverse mode alone, and
            not under `jax.vmap`.
            "parallel": all at once by an associative scan, for cells whose recurrence is linear (a `ParallelCell`:
            minGRU, minLSTM, LRU).
            "deer": all at once by Newton's method, for any cell; to within rounding where that converges, else step by
            step (`rnnjax.newton.evaluate` has its settings, and says what happened).
            "auto": of "scan", "blocked" and "fused" the one that was measured to be the fastest near this shape, on
            this platform; where nothing was, "blocked" from 16 steps on, and "scan". For linear recurrences "parallel",
            but on the CPU, where it is slower save for the smallest cells, "scan". `rnnjax.explain_kernel` says which,
            and why.
        perturbations: a carry of arrays `[time, batch, ...]` to add to the carry after every step, before its output
            is taken. The gradient by zeros here is dL/dcarry_t for every t, from the backward pass that gives all
            other gradients (`rnnjax.flow.gradient_norms` has a pass of its own, in which nothing underflows). For a
            single cell, not for one made of several over time, and time-major with `batch_major` too.

    Returns:
        The final carry, and the outputs `[time, batch, output_size]`.

    Raises:
        TypeError: `xs`, `lengths`, `mask` or `resets` of the wrong kind (integer inputs want one-hot encoding or an
            embedding first).
        ValueError: parameters of another cell, shapes that do not fit them, an empty sequence, lengths out of range, a
            kernel that does not exist, cannot run this cell, or is not for the platform (when the program is compiled),
            perturbations that do not fit, `remat` that is no number of steps, a random cell with neither `key` nor
            `deterministic`.
    """
    KERNELS[kernel]  # a name that does not exist is an error before all others
    if batch_major:
        xs, mask, resets = time_first(cell, xs, mask, resets)
    xs, carry, valid = prepare(cell, params, xs, carry, lengths, mask)
    fresh, resets = prepare_resets(cell, params, xs, carry, lengths, resets)
    check_perturbations(cell, perturbations, carry, len(xs), kernel)
    time, batch_shape = len(xs), cell.leading_shape(xs)[1:]
    noise = None
    if cell.is_random and not deterministic:
        if key is None:
            raise ValueError("the cell draws random numbers: give key=... to train, or deterministic=True to evaluate")
        params, noise = _perturb(cell, key, params, xs)
    segment = math.isqrt(time - 1) + 1 if remat == "sqrt" else remat
    if segment is not None:
        segment = check_size('remat, if not None or "sqrt",', segment)
    over_time = _OverTime(valid, resets, reverse, unroll, segment, kernel, mask is not None, perturbations)
    carry, ys = over_time(cell, params, xs, jax.tree.map(_Slot, carry, fresh), noise)
    return carry, jnp.moveaxis(ys, 0, len(batch_shape)) if batch_major else ys


class _Slot(NamedTuple):
    """One array of the carry, and what takes its place where a sequence begins."""

    carry: Array
    fresh: Array


def _pick(slots: Any, index: int) -> Any:
    return jax.tree.map(itemgetter(index), slots, is_leaf=lambda node: isinstance(node, _Slot))


@dataclass(frozen=True)
class _OverTime:
    """Runs cells over one and the same stretch of time; see `unroll` for the settings."""

    valid: Bool[Array, "time *batch"] | None
    resets: Bool[Array, "time *batch"] | None
    reverse: bool
    unroll: int
    segment: int | None
    kernel: str
    gaps: bool
    perturbations: Any

    def __call__(
        self, cell: Cell[Any, Any], params: Any, xs: Array, slots: Any, noise: Any, *, reverse: bool = False
    ) -> tuple[Any, Array]:
        """A `rnnjax.compose.base.Run`, whose carry goes in as slots and comes out as it is."""
        if reverse:
            return dataclasses.replace(self, reverse=not self.reverse)(cell, params, xs, slots, noise)
        if isinstance(cell, Composite):
            dtype = output_dtype(params, xs)
            carry, ys = cell.compose(params, xs, slots, noise, self)
            return carry, select(self.valid, ys.astype(dtype), jnp.zeros_like(ys, dtype))
        kernel = KERNELS[self.kernel]
        if self.segment is not None:
            kernel = partial(in_segments, kernel, self.segment)
        return kernel(cell, params, xs, noise, _pick(slots, 0), _pick(slots, 1), self.stretch)

    @property
    def stretch(self) -> Stretch:
        """In reverse, the step before a border is the one that comes after it."""
        borders = self.resets
        if borders is not None and self.reverse:
            borders = jnp.concatenate([borders[1:], jnp.zeros_like(borders[:1])])
        return Stretch(self.valid, borders, self.reverse, self.unroll, self.gaps, self.perturbations)


def choose(
    cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, fresh: Any, stretch: Stretch
) -> tuple[Any, Array]:
    """The kernel "auto": another kernel, by cell, shape and platform."""
    inputs = cell, params, xs, noise, carry, fresh, stretch
    names = decide(*inputs)
    kernels = {name: partial(KERNELS[name], *inputs) for name in names.values()}
    branches = {platform: kernels[name] for platform, name in names.items()}
    default = branches.pop("other")
    if len(kernels) == 1:
        return default()
    # Chosen when the program is compiled: only then is it known what for.
    chosen: tuple[Any, Array] = lax.platform_dependent(**branches, default=default)
    return chosen


def step_by_step(
    cell: Cell[Any, Any], params: Any, xs: Array, noise: Any, carry: Any, fresh: Any, stretch: Stretch
) -> tuple[Any, Array]:
    """The kernel that all others are held against; see `rnnjax.kernels.base`."""
    dtype = output_dtype(params, xs)
    wide, dtypes = widen(params)

    def body(carry: Any, inputs: tuple[Any, ...]) -> tuple[Any, Array]:
        border, *rest = inputs
        carry = carry if border is None else select(border, fresh, carry)
        return masked_step(cell, cast(wide, dtypes), dtype)(carry, *rest)

    # A scan whose one iteration holds the whole sequence is inlined: no loop at all for a single step.
    return lax.scan(
        body,
        carry,
        (stretch.borders, cell.project_with(params, xs, noise), stretch.valid, stretch.perturbations),
        reverse=stretch.reverse,
        unroll=min(stretch.unroll, len(xs)) if len(xs) > 1 else True,
    )


def in_segments(
    kernel: Kernel,
    size: int,
    cell: Cell[Any, Any],
    params: Any,
    xs: Array,
    noise: Any,
    carry: Any,
    fresh: Any,
    stretch: Stretch,
) -> tuple[Any, Array]:
    """A kernel over one segment of the time after the other, each computed anew in the backward pass."""
    wide, dtypes = widen(params)

    @partial(jax.checkpoint, prevent_cse=False)
    def segment(wide: Any, fresh: Any, carry: Any, inputs: Any) -> tuple[Any, Array]:
        (xs, noise, valid, borders, perturbations), _ = inputs
        part = stretch._replace(valid=valid, borders=borders, perturbations=perturbations)
        return kernel(cell, cast(wide, dtypes), xs, noise, carry, fresh, part)

    inputs = xs, noise, stretch.valid, stretch.borders, stretch.perturbations
    return over_blocks(partial(segment, wide, fresh), carry, inputs, size, reverse=stretch.reverse)


KERNELS: Registry[Kernel] = Registry(
    "kernel",
    {
        "auto": choose,
        "scan": step_by_step,
        "blocked": blocked.run,
        "fused": fused.run,
        "cudnn": cudnn.run,
        "parallel": parallel.run,
        "deer": deer.run,
    },
)
"""The names that `unroll` takes; see `rnnjax.kernels.base`."""


class Trajectory(NamedTuple):
    """What a forward pass met on its way, for time steps t = 1 ... T."""

    xs: Float[Array, "time *batch features"]
    """The inputs, zeros for padding."""
    zs: Any
    """The projected inputs."""
    before: Any
    """carry_(t-1), the carry that step t began with."""
    valid: Bool[Array, "time *batch"] | None
    """Whether a step is real, None if all are."""


def trajectory(
    cell: Cell[Params, Carry],
    params: Params,
    xs: Float[Array, "time *batch features"],
    carry: Carry | None = None,
    *,
    lengths: Int[ArrayLike, "*batch"] | None = None,
) -> tuple[Carry, Float[Array, "time *batch output_size"], Trajectory]:
    """`unroll`, and beside the final carry and the outputs the intermediate values of every step."""
    xs, carry, valid = prepare(cell, params, xs, carry, lengths)
    zs = cell.project(params, xs)
    step = masked_step(cell, params, output_dtype(params, xs))

    def body(carry: Carry, inputs: tuple[Any, Any]) -> tuple[Carry, tuple[Carry, Array]]:
        new, y = step(carry, *inputs)
        return new, (carry, y)

    final, (before, ys) = lax.scan(body, carry, (zs, valid))
    return final, ys, Trajectory(xs, zs, before, valid)


def masked_step(cell: Cell[Params, Carry], params: Params, dtype: Any) -> Callable[..., tuple[Carry, Array]]:
    """The step that a scan makes, `(carry, z, valid, perturbation=None) -> (carry, y)`.

    Padding leaves the carry and gives zeros.
    """

    def step(carry: Carry, z: Any, valid: Any, perturbation: Any = None) -> tuple[Carry, Array]:
        new = perturb(cell.advance(params, carry, z), perturbation)
        y = cell.output(params, new, z).astype(dtype)
        return select(valid, new, carry), select(valid, y, jnp.zeros_like(y))

    return step


def _perturb(cell: Cell[Any, Any], key: Array, params: Any, xs: Array) -> tuple[Any, Any]:
    """The parameters and the noise of a run in training.

    Inside `jax.shard_map` all devices have the same parameters, and each has noise of its own: no two parts of a batch
    share their masks.
    """
    shape = cell.leading_shape(xs)
    perturbed, noise = cell.perturb(key, params, shape)
    if jax.typeof(xs).manual_axis_type.varying:
        _, noise = cell.perturb(own_key(key, xs), params, shape)
    return perturbed, spread_as(xs, slice(len(shape)), noise)


# --- the public edge --------------------------------------------------------------------------------------------------


def prepare(
    cell: Cell[Params, Carry],
    params: Params,
    xs: Array,
    carry: Carry | None,
    lengths: ArrayLike | None,
    mask: ArrayLike | None = None,
) -> tuple[Array, Carry, Bool[Array, "time *batch"] | None]:
    """Checks a sequence against the cell; returns the inputs, the carry to start from and the mask of real steps.

    Padding is replaced by zeros, so that nothing in it (NaN) can reach a result or a gradient.
    """
    check_params(cell, params)
    xs = jnp.asarray(xs)
    leading = cell.leading_shape(xs)
    if len(leading) < 1:
        raise ValueError(f"xs must be [time, batch, features] or [time, features], got shape {xs.shape}")
    if xs.shape[0] == 0:
        raise ValueError(f"xs must have at least one time step, got shape {xs.shape}")
    check_inputs(cell, params, xs, "xs")
    batch_shape, dtype = leading[1:], output_dtype(params, xs)
    carry = cell.start(params, batch_shape, dtype) if carry is None else check_carry(cell, carry, batch_shape, dtype)
    valid = real_steps(leading, lengths, mask)
    carry = spread_as(xs, slice(1, len(leading)), vary_with(carry, (params, xs, valid)))
    return select(valid, xs, jnp.zeros_like(xs)), carry, valid


def prepare_resets(
    cell: Cell[Params, Carry],
    params: Params,
    xs: Array,
    carry: Carry,
    lengths: ArrayLike | None,
    resets: ArrayLike | None,
) -> tuple[Carry, Bool[Array, "time *batch"] | None]:
    """The carry that a reset starts from, and the resets within the lengths; of what `prepare` returns."""
    leading, dtype = cell.leading_shape(xs), output_dtype(params, xs)
    resets = check_flags("resets", resets, leading)
    if resets is None:
        return carry, None
    if lengths is not None:
        resets = resets & within(len(xs), lengths, leading[1:])
    fresh = check_carry(cell, cell.start(params, leading[1:], dtype), leading[1:], dtype)
    return spread_as(xs, slice(1, len(leading)), fresh), resets


def check_perturbations(cell: Cell[Any, Any], perturbations: Any, carry: Any, time: int, kernel: str) -> None:
    """They are those of a single cell, and of the carry's shapes with the time in front; the kernel takes them."""
    if perturbations is None:
        return
    if KERNELS[kernel] not in (choose, step_by_step, blocked.run):
        raise ValueError(f'perturbations need the steps one by one: use kernel "scan" or "blocked", not {kernel!r}')
    if isinstance(cell, Composite):
        raise ValueError(f"perturbations are for one cell over time, and {type(cell).__name__} is made of others")
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (perturbations, carry)]
    expected = jax.tree.map(lambda leaf: (time, *leaf.shape), carry)
    if shapes[0] != expected:
        raise ValueError(f"perturbations must have the shapes {expected}, got {shapes[0]}")


def time_first(
    cell: Cell[Any, Any], xs: Array, mask: ArrayLike | None, resets: ArrayLike | None = None
) -> tuple[Array, Array | None, Array | None]:
    """Batch-major inputs and flags, time-major."""
    xs = jnp.asarray(xs)
    shape = cell.leading_shape(xs)
    flags = check_flags("mask", mask, shape), check_flags("resets", resets, shape)
    return jax.tree.map(lambda array: jnp.moveaxis(array, len(shape) - 1, 0), (xs, *flags))


def real_steps(
    shape: tuple[int, ...], lengths: ArrayLike | None, mask: ArrayLike | None
) -> Bool[Array, "time *batch"] | None:
    """Whether a step is real by `lengths` and by `mask`, None if all are; `shape` is that of time and batch."""
    real = check_flags("mask", mask, shape)
    if lengths is None:
        return real
    inside = within(shape[0], lengths, shape[1:])
    return inside if real is None else inside & real


def within(time: int, lengths: ArrayLike, batch_shape: tuple[int, ...]) -> Bool[Array, "time *batch"]:
    """Whether a step comes before the end of its sequence."""
    steps = jnp.arange(time).reshape((-1,) + (1,) * len(batch_shape))
    return steps < jnp.asarray(check_lengths(lengths, time, batch_shape))
