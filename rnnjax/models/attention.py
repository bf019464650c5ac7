"""Attention: a decoder's look at all that an encoder has given, not only at its end.

The memory is prepared once; every query then gets a mean of its values. An attention is a frozen dataclass that holds
settings; its parameters are a NamedTuple, as those of a cell. A new one is one class and one line in `ATTENTIONS`.
"""

import abc
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell
from rnnjax.checks import check_size
from rnnjax.compose.base import CompositeInput, check_step
from rnnjax.initializers import Glorot, Initializer
from rnnjax.registry import Registry

Params = TypeVar("Params")


class Memory(NamedTuple):
    """What is attended to; of the same batch as the queries."""

    values: Float[Array, "batch source features"]
    keys: Float[Array, "batch source size"]
    bias: Float[Array, "batch source"]
    """Added to the scores: 0 where the source is real, and in its padding so low that nothing of it is seen."""


class Attention(abc.ABC, Generic[Params]):
    """The interface: scores of the memory's keys for a query. From them

    weights_j = softmax_j(score_j),    context = sum_j weights_j values_j
    """

    inside: ClassVar[bool]
    """Whether the context is an input of the cell (see `Attending`), or is made of its outputs, of all steps at once.

    The latter is a few large products in place of many small ones, and leaves the recurrence to the fast kernels."""

    @abc.abstractmethod
    def init(self, key: Array, query_size: int, memory_size: int, dtype: Any = jnp.float32) -> Params:
        """Draws the parameters for queries and values of these sizes."""

    @abc.abstractmethod
    def keys(self, params: Params, values: Float[Array, "batch source features"]) -> Float[Array, "batch source size"]:
        """What of the scores does not depend on the query."""

    @abc.abstractmethod
    def scores(
        self, params: Params, keys: Float[Array, "batch source size"], queries: Float[Array, "*time batch query"]
    ) -> Float[Array, "*time batch source"]:
        """How well every key fits every query."""


class AdditiveParams(NamedTuple):
    """Weights of `Additive`."""

    w_query: Float[Array, "query size"]
    w_key: Float[Array, "features size"]
    v: Float[Array, "size"]


@dataclass(frozen=True)
class Additive(Attention[AdditiveParams]):
    """Additive attention, inside the recurrence: the query is the decoder's carry before the step.

        score_j = v . tanh(query w_query + value_j w_key)

    `size` is that of the sum. Parameters: (query + features + 1) * size.

    Source: D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate",
    2014 (arXiv:1409.0473), section A.1.2.
    """

    size: int
    init_weights: Initializer = Glorot()
    inside: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size("size", self.size))

    def init(self, key: Array, query_size: int, memory_size: int, dtype: Any = jnp.float32) -> AdditiveParams:
        key_query, key_key, key_v = jax.random.split(key, 3)
        return AdditiveParams(
            self.init_weights(key_query, (query_size, self.size), dtype),
            self.init_weights(key_key, (memory_size, self.size), dtype),
            self.init_weights(key_v, (self.size, 1), dtype)[:, 0],
        )

    def keys(self, params: AdditiveParams, values: Array) -> Array:
        return values @ params.w_key

    def scores(self, params: AdditiveParams, keys: Array, queries: Array) -> Array:
        return jnp.tanh((queries @ params.w_query)[..., None, :] + keys) @ params.v


class MultiplicativeParams(NamedTuple):
    """Weights of `Multiplicative`."""

    w: Float[Array, "features query"]


@dataclass(frozen=True)
class Multiplicative(Attention[MultiplicativeParams]):
    """Multiplicative ("general") attention, after the recurrence: the query is the output of the step.

        score_j = query . (value_j w) / sqrt(size of the query)

    The context does not go to the next step (there is no input feeding). Without the root, the weights of a large
    network are at one place before it has learned which. Parameters: features * query.

    Sources: M.-T. Luong, H. Pham, C. D. Manning, "Effective Approaches to Attention-based Neural Machine Translation",
    2015 (arXiv:1508.04025), section 3.1; the root: A. Vaswani et al., "Attention Is All You Need", 2017
    (arXiv:1706.03762), section 3.2.1.
    """

    init_weights: Initializer = Glorot()
    inside: ClassVar[bool] = False

    def init(self, key: Array, query_size: int, memory_size: int, dtype: Any = jnp.float32) -> MultiplicativeParams:
        return MultiplicativeParams(self.init_weights(key, (memory_size, query_size), dtype))

    def keys(self, params: MultiplicativeParams, values: Array) -> Array:
        return values @ params.w

    def scores(self, params: MultiplicativeParams, keys: Array, queries: Array) -> Array:
        return jnp.einsum("...bq,bsq->...bs", queries, keys) / math.sqrt(queries.shape[-1])


def remember(
    attention: Attention[Params],
    params: Params,
    values: Float[Array, "source batch features"],
    mask: Bool[Array, "source batch"] | None = None,
) -> Memory:
    """The memory of an encoder's outputs, time-major; `mask` is True where the source is real.

    Padding is replaced by zeros, so that nothing in it (NaN) can reach a result or a gradient.
    """
    values = jnp.moveaxis(values, 0, 1)
    if mask is None:
        bias = jnp.zeros(values.shape[:2], values.dtype)
    else:
        real = jnp.moveaxis(mask, 0, 1)
        values = jnp.where(real[..., None], values, 0)
        bias = jnp.where(real, 0, jnp.finfo(values.dtype).min / 2).astype(values.dtype)
    return Memory(values, attention.keys(params, values), bias)


def attend(
    attention: Attention[Params], params: Params, memory: Memory, queries: Float[Array, "*time batch query"]
) -> tuple[Float[Array, "*time batch features"], Float[Array, "*time batch source"]]:
    """The context of every query, and the weights that it was made with."""
    weights = jax.nn.softmax(attention.scores(params, memory.keys, queries) + memory.bias)
    return jnp.einsum("...bs,bsf->...bf", weights, memory.values), weights


class AttendingParams(NamedTuple):
    """The parameters of `Attending`: what stays the same over all steps, the memory among it."""

    cell: Any
    attention: Any
    memory: Memory


class AttendingCarry(NamedTuple):
    """The carry of the cell, and the context that its last step saw, for the output alone."""

    cell: Any
    context: Float[Array, "batch features"]


@dataclass(frozen=True)
class Attending(Around[AttendingParams, AttendingCarry]):
    """A cell that looks into a memory before every step, as a cell again:

        context_t = attend(memory, carry_(t-1))
        carry_t, y'_t = step(params.cell, carry_(t-1), [x_t, context_t]),    y_t = [y'_t, context_t]

    The query is the whole carry of the cell, its leaves side by side. The memory is among the parameters, and
    `memory_shape`, that of its values, among the settings: a cell for each batch. So `unroll` runs it, and
    `rnnjax.flow` measures it, as every other cell.

    Source: as of `Additive`.
    """

    cell: Cell[Any, Any]
    attention: Attention[Any]
    memory_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.cell)

    @property
    def output_size(self) -> int:
        return self.cell.output_size + self.memory_shape[-1]

    def inner(self, params: AttendingParams) -> Any:
        return params.cell

    def init(self, key: Array, input_size: int, dtype: Any = jnp.float32) -> AttendingParams:
        """With an empty memory, in the place of which the true one goes."""
        key_cell, key_attention = jax.random.split(key)
        features = self.memory_shape[-1]
        params = self.attention.init(key_attention, carry_size(self.cell), features, dtype)
        memory = remember(self.attention, params, jnp.moveaxis(jnp.zeros(self.memory_shape, dtype), 1, 0))
        return AttendingParams(self.cell.init(key_cell, input_size + features, dtype), params, memory)

    def initial_carry(self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> AttendingCarry:
        return self.enter(self.cell.initial_carry(batch_shape, dtype), batch_shape, dtype)

    def start(
        self, params: AttendingParams, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32
    ) -> AttendingCarry:
        return self.enter(self.cell.start(params.cell, batch_shape, dtype), batch_shape, dtype)

    def enter(self, carry: Any, batch_shape: tuple[int, ...], dtype: Any = jnp.float32) -> AttendingCarry:
        """A carry of the cell as one of this."""
        return AttendingCarry(carry, jnp.zeros((*batch_shape, self.memory_shape[-1]), dtype))

    def input_size(self, params: AttendingParams) -> int:
        return self.cell.input_size(params.cell) - self.memory_shape[-1]

    def project_with(self, params: AttendingParams, xs: Array, noise: Any) -> CompositeInput:
        return CompositeInput(xs, noise)

    def advance(self, params: AttendingParams, carry: AttendingCarry, z: CompositeInput) -> AttendingCarry:
        context, _ = attend(self.attention, params.attention, params.memory, flat(self.cell, carry.cell))
        context = context.astype(carry.context.dtype)
        inner = self.cell.project_with(params.cell, jnp.concatenate([z.x, context], -1), z.noise)
        return AttendingCarry(self.cell.advance(params.cell, carry.cell, inner), context)

    def output(self, params: AttendingParams, carry: AttendingCarry, z: CompositeInput) -> Array:
        inner = self.cell.project_with(params.cell, jnp.concatenate([z.x, carry.context], -1), z.noise)
        return jnp.concatenate([self.cell.output(params.cell, carry.cell, inner), carry.context], -1)


def flat(cell: Cell[Any, Any], carry: Any) -> Float[Array, "*batch size"]:
    """The leaves of a cell's carry, side by side; those over space become vectors."""
    leaves = [
        leaf.reshape(*leaf.shape[: leaf.ndim - len(shape)], math.prod(shape))
        for leaf, shape in zip(jax.tree.leaves(carry), carry_shapes(cell), strict=True)
    ]
    return jnp.concatenate(leaves, -1)


def carry_shapes(cell: Cell[Any, Any]) -> list[tuple[int, ...]]:
    """The shapes of the leaves of a cell's carry, without a batch."""
    return [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(cell.initial_carry))]


def carry_size(cell: Cell[Any, Any]) -> int:
    """The size of `flat`: how many numbers a cell keeps from step to step."""
    return sum(map(math.prod, carry_shapes(cell)))


ATTENTIONS: Registry[Any] = Registry(
    "attention", {"additive": Additive, "multiplicative": lambda size: Multiplicative()}
)
"""Functions of the size of the decoder."""
