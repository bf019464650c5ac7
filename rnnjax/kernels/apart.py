"""The functions of a cell on gates kept apart.

`pointwise` is written for gates side by side in one array. Inside a kernel they cannot be: an accelerator works on
tiles (128 lanes of a TPU, powers of two in Triton), and gates of 100 units end anywhere in them. So a function is
traced once, and what it does to `[batch, gates * units]` is done to one array `[rows, lanes]` a gate, each padded to
whole tiles by itself:

    elementwise                        on every part
    split, slice, concatenate, pad     picks and lists parts: no work
    reshape to [batch, gates, units]   no work
    sum over the units                 over the lanes of each part that are not padding

That is all that the arithmetic of gated cells and its derivatives consist of, layer norms included. Lanes of padding
hold anything: who keeps them or multiplies them by a matrix clears them first (`clear`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rnnjax.kernels.base import vary_with

Parts = tuple[Array, ...]
"""An array `[batch, n * units]` as n arrays `[rows, lanes]`."""


class NotApart(Exception):
    """A function does something that is not known for gates kept apart; says what."""


class Value(NamedTuple):
    """What stands for an array of the traced function."""

    shape: tuple[int, ...]
    """Of that array."""
    parts: Parts
    """Each `[rows, lanes]`, with 1 for what is the same for all rows or lanes; one number is one array of no axes."""

    @property
    def is_number(self) -> bool:
        return self.parts[0].ndim == 0


class Apart(NamedTuple):
    """A traced function of pytrees of arrays `[batch, n * units]` and `[n * units]`."""

    units: int
    batch: int
    """The batch that it was traced with, larger than all other sizes, which tells it from them."""
    closed: Any
    """Its jaxpr."""
    structure: Any
    """Of its results."""

    @property
    def reads(self) -> tuple[bool, ...]:
        """Whether each leaf of the arguments is read."""
        jaxpr = self.closed.jaxpr
        read = {id(atom) for equation in jaxpr.eqns for atom in equation.invars} | {id(atom) for atom in jaxpr.outvars}
        return tuple(id(variable) in read for variable in jaxpr.invars)

    @property
    def mixes(self) -> bool:
        """Whether it sums over the units of a gate: then it cannot be evaluated for some of them alone."""

        def summed(equation: Any) -> int:
            (aval,) = (atom.aval for atom in equation.invars)
            return math.prod(aval.shape[axis] for axis in equation.params["axes"])

        return any(
            equation.primitive.name == "reduce_sum" and summed(equation) > 1
            for equation in _equations(self.closed.jaxpr)
        )

    def __call__(self, *leaves: Parts | None) -> Any:
        """The results' parts, from those of all leaves of the arguments; one that is not read may be None."""
        avals = zip(leaves, self.closed.in_avals, strict=True)
        arguments = [None if parts is None else Value(aval.shape, parts) for parts, aval in avals]
        rows, lanes = np.max([part.shape for parts in leaves if parts for part in parts], axis=0)
        results = _run(self, self.closed.jaxpr, self.closed.consts, arguments)

        def full(value: Value) -> Parts:
            parts = value.parts * (value.shape[-1] // self.units) if value.is_number else value.parts
            return tuple(jnp.broadcast_to(part, (rows, lanes)) for part in parts)

        return jax.tree.unflatten(self.structure, map(full, results))

    def size(self, shape: tuple[int, ...]) -> int:
        """Of one example."""
        return math.prod(shape[1:] if shape[:1] == (self.batch,) else shape)

    def is_flat(self, shape: tuple[int, ...]) -> bool:
        """Whether one example has one axis that is not of size one, the last."""
        return self.size(shape) == shape[-1]

    def width(self, value: Value) -> int:
        """What a part stands for of one example: all units of a gate, or one entry."""
        return self.size(value.shape) // len(value.parts)


def take_apart(function: Callable[..., Any], units: int, *arguments: Any) -> Apart:
    """Traces a function; raises `NotApart` if it is none that can be evaluated gate by gate.

    `arguments` are like its own; an axis of size 1 in front of an array is a batch.
    """
    batch = 1 + max(math.prod(leaf.shape) for leaf in jax.tree.leaves(arguments))

    def widen(leaf: Any) -> jax.ShapeDtypeStruct:
        shape = (batch, *leaf.shape[1:]) if len(leaf.shape) == 2 and leaf.shape[0] == 1 else leaf.shape
        return jax.ShapeDtypeStruct(shape, leaf.dtype)

    closed, results = jax.make_jaxpr(function, return_shape=True)(*jax.tree.map(widen, arguments))
    apart = Apart(units, batch, closed, jax.tree.structure(results))

    def example(aval: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
        count, rest = divmod(apart.size(aval.shape), units)
        rows = 2 if aval.shape[:1] == (batch,) else 1
        if rest or len(aval.shape) != rows:
            raise NotApart(f"read an array of shape {aval.shape}, not one number a unit")
        return tuple(jax.ShapeDtypeStruct((rows, units), aval.dtype) for _ in range(count))

    leaves = (example(aval) if is_read else None for aval, is_read in zip(closed.in_avals, apart.reads, strict=True))
    jax.eval_shape(lambda *leaves: apart(*leaves), *leaves)
    return apart


def clear(part: Array, units: int | Array) -> Array:
    """A part with zeros in the lanes of padding: those from `units` on."""
    if isinstance(units, int) and part.shape[-1] <= units:
        return part
    return jnp.where(lax.broadcasted_iota(jnp.int32, part.shape, 1) < units, part, jnp.zeros_like(part))


# --- evaluation -------------------------------------------------------------------------------------------------------


def _run(apart: Apart, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Value | None]) -> list[Value]:
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, (_constant(apart, const) for const in consts), strict=True))
    known.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return _constant(apart, atom.val) if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        values = [read(atom) for atom in equation.invars]
        name, shapes = equation.primitive.name, [atom.aval.shape for atom in equation.outvars]
        inner = _inner(equation)
        results: list[Value] | None
        if inner is not None:
            results = _run(apart, getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values)
        elif name in ELEMENTWISE:
            results = _elementwise(apart, equation.primitive, equation.params, values, shapes[0])
        else:
            results = RULES[name](apart, equation.params, values, shapes) if name in RULES else None
        if results is None:
            given = ", ".join(str(value.shape) for value in values)
            raise NotApart(f"{name} of {given} to {shapes[0]}, where {apart.batch} is the batch".replace("\n", " "))
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _inner(equation: Any) -> Any:
    """The function that an equation calls, None if it calls none."""
    return equation.params.get("jaxpr", equation.params.get("call_jaxpr"))


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All, those of functions that are called included."""
    for equation in jaxpr.eqns:
        inner = _inner(equation)
        yield from [equation] if inner is None else _equations(getattr(inner, "jaxpr", inner))


def _constant(apart: Apart, constant: Any) -> Value:
    """A number, or an array that is the same for all units of a gate: kernels hold no other."""
    array = np.asarray(constant)
    if array.size == 1:
        return Value(array.shape, (jnp.asarray(array.reshape(())),))
    gates = array.reshape(-1, apart.units) if apart.is_flat(array.shape) and array.size % apart.units == 0 else None
    if gates is None or (gates != gates[:, :1]).any():
        raise NotApart(f"a constant of shape {array.shape} that differs between the units of a gate")
    return Value(array.shape, tuple(jnp.full((1, 1), gate[0], array.dtype) for gate in gates))


def _elementwise(
    apart: Apart, primitive: Any, params: Any, values: list[Value], shape: tuple[int, ...]
) -> list[Value] | None:
    axes = {"broadcast_dimensions": tuple(range(len(shape)))}
    if not all(value.is_number or _broadcast(apart, axes, [value], [shape]) for value in values):
        return None
    counts = {len(value.parts) for value in values if not value.is_number}
    if len(counts) > 1:
        return None

    def apply(*parts: Array) -> Array:
        common = jnp.broadcast_shapes(*(part.shape for part in parts))
        wide = [part if part.shape == common else jnp.broadcast_to(part, common) for part in parts]
        wide = vary_with(wide, wide)  # numbers, outside kernels
        result: Array = lax.add(*wide) if primitive.name == "add_any" else primitive.bind(*wide, **params)
        return result

    lists = [value.parts * max(counts, default=1) if value.is_number else value.parts for value in values]
    return [Value(shape, tuple(apply(*parts) for parts in zip(*lists, strict=True)))]


# fmt: off
ELEMENTWISE = frozenset((
    "abs", "add", "add_any", "and", "ceil", "clamp", "convert_element_type", "cos", "div", "eq", "erf", "exp", "exp2",
    "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min",
    "mul", "ne", "neg", "not", "one_minus_square", "or", "pow", "rsqrt", "select_n", "sign", "sin", "sqrt", "square",
    "sub", "tanh", "xor",
))
# fmt: on
"""Primitives that do the same to all entries."""

Rule = Callable[[Apart, Any, list[Value], list[tuple[int, ...]]], list[Value] | None]
"""`(apart, params, values, shapes of the results) -> results`; None: not such a case."""


def _reshape(apart: Apart, params: Any, values: list[Value], shapes: list[tuple[int, ...]]) -> list[Value] | None:
    """The same entries of one example in other axes."""
    (value,), (shape,) = values, shapes
    same = (shape[:1] == (apart.batch,)) == (value.shape[:1] == (apart.batch,)) or value.is_number
    return [Value(shape, value.parts)] if same and apart.size(shape) == apart.size(value.shape) else None


def _broadcast(apart: Apart, params: Any, values: list[Value], shapes: list[tuple[int, ...]]) -> list[Value] | None:
    """A number, to a batch, to new axes of size one, or from one entry a gate to all of its units."""
    (value,), (shape,) = values, shapes
    if value.is_number or apart.size(shape) == apart.size(value.shape):
        return [Value(shape, value.parts)]
    grows = len(shape) - 1 not in params["broadcast_dimensions"] or value.shape[-1] == 1
    counts = apart.size(shape) == len(value.parts) * apart.units and shape[-1] == apart.units
    return [Value(shape, value.parts)] if grows and counts and apart.width(value) == 1 else None


def _cut(apart: Apart, value: Value, start: int, shape: tuple[int, ...]) -> Value | None:
    """Whole gates of the last axis, from `start` on."""
    if value.is_number:
        return Value(shape, value.parts)
    width, end = apart.width(value), start + shape[-1]
    if not apart.is_flat(value.shape) or start % width or end % width:
        return None
    return Value(shape, value.parts[start // width : end // width])


def _slice(apart: Apart, params: Any, values: list[Value], shapes: list[tuple[int, ...]]) -> list[Value] | None:
    (value,), (shape,) = values, shapes
    if params["strides"] is not None or shape[:-1] != value.shape[:-1]:
        return None
    found = _cut(apart, value, params["start_indices"][-1], shape)
    return None if found is None else [found]


def _split(apart: Apart, params: Any, values: list[Value], shapes: list[tuple[int, ...]]) -> list[Value] | None:
    (value,) = values
    starts = np.cumsum([0, *params["sizes"]]).tolist()
    found = [_cut(apart, value, start, shape) for start, shape in zip(starts, shapes, strict=False)]
    cut = [each for each in found if each is not None]
    return cut if params["axis"] == len(value.shape) - 1 and len(cut) == len(shapes) else None


def _gates(apart: Apart, value: Value, size: int) -> Parts | None:
    """The parts of `size` units of a last axis, whole gates; a number is the same in all."""
    count, rest = divmod(size, apart.units)
    if rest or not (value.is_number or len(value.parts) == count):
        return None
    return tuple(value.parts[0].reshape(1, 1) for _ in range(count)) if value.is_number else value.parts


def _concatenate(apart: Apart, params: Any, values: list[Value], shapes: list[tuple[int, ...]]) -> list[Value] | None:
    (shape,) = shapes
    found = [_gates(apart, value, value.shape[-1]) for value in values]
    if params["dimension"] != len(shape) - 1 or not apart.is_flat(shape) or None in found:
        return None
    return [Value(shape, tuple(part for parts in found if parts for part in parts))]


def _pad(apart: Apart, params: Any, values: list[Value], shapes: list[tuple[int, ...]]) -> list[Value] | None:
    (value, filler), (shape,) = values, shapes
    *others, (low, high, between) = params["padding_config"]
    if any(map(any, others)) or between or min(low, high) < 0 or not apart.is_flat(shape):
        return None
    before, kept, after = (_gates(apart, *each) for each in ((filler, low), (value, value.shape[-1]), (filler, high)))
    return None if before is None or kept is None or after is None else [Value(shape, before + kept + after)]


def _sum(apart: Apart, params: Any, values: list[Value], shapes: list[tuple[int, ...]]) -> list[Value] | None:
    """Over the units of each gate."""
    (value,), (shape,) = values, shapes
    size = math.prod(value.shape[axis] for axis in params["axes"])
    if apart.size(shape) * size != apart.size(value.shape):  # over the batch too
        return None
    if size == 1:
        return [Value(shape, value.parts)]
    if value.is_number or len(value.shape) - 1 not in params["axes"] or not size == apart.width(value) == apart.units:
        return None

    def over_lanes(part: Array) -> Array:
        if part.shape[-1] == 1:
            return part * apart.units
        return clear(part, apart.units).sum(-1, keepdims=True)

    return [Value(shape, tuple(over_lanes(part) for part in value.parts))]


RULES: dict[str, Rule] = {
    "reshape": _reshape,
    "squeeze": _reshape,
    "reshard": _reshape,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "split": _split,
    "concatenate": _concatenate,
    "pad": _pad,
    "reduce_sum": _sum,
}
"""What is done with the primitives that are not elementwise."""
