"""The decoder: the recurrent network that writes a sequence, given what an encoder made of its input."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from rnnjax.cells.base import Cell
from rnnjax.checks import check_size
from rnnjax.compose.base import check_rate, draw_mask, drop
from rnnjax.initializers import Glorot, Uniform
from rnnjax.models.attention import Attending, AttendingParams, Attention, Memory, attend, carry_size, flat, remember
from rnnjax.models.recurrent import Recurrent, values_of
from rnnjax.scan import trajectory, unroll

SUMMARY_TO = ("carry", "steps", "both")


class Encoded(NamedTuple):
    """What an encoder made of a batch of inputs."""

    summary: Float[Array, "batch features"]
    """Of the whole."""
    memory: Float[Array, "source batch features"] | None = None
    """Of every part, for attention."""
    mask: Bool[Array, "source batch"] | None = None
    """Where the memory is real; all of it if None."""


class Position(NamedTuple):
    """Where a decoder stands: what it was given, and the carry of its cell."""

    summary: Float[Array, "batch features"]
    memory: Memory | None
    carry: Any


class Decoder(nnx.Module):
    """A network that writes tokens, one after the other, each an input of the next step:

        carry_0 = tanh(summary w_bridge + b_bridge)               for every array of the carry
        x_t     = E[token_(t-1)]
        carry_t, y_t = step(cell, carry_(t-1), x_t)
        p(token_t) = softmax(y_t w + b)

    With attention y_t becomes tanh([y_t, context_t] w_seen): see `Additive` and `Multiplicative` for where the context
    comes from. The summary can also, or only, go to the steps (`summary_to`): x_t is then [E[token_(t-1)], summary],
    and [y_t, summary] goes to the softmax, which makes the decoder a peeky one.

    Sources: K. Cho et al., 2014 (arXiv:1406.1078); attention: see there; tanh([y_t, context_t] w_seen): Luong et al.,
    2015 (arXiv:1508.04025), equation 5; peeky: K. Saito, "Deep Learning from Scratch 2", 2018, chapter 7.

    Args:
        cell: the recurrent network.
        vocabulary_size: number of tokens.
        embedding_size: features of a token.
        summary_size: features of the summary.
        memory_size: features of the memory, for attention.
        attention: None for none.
        summary_to: "carry", "steps" or "both".
        dropout: share of the features in front of the softmax that training drops.
        dtype: that of the parameters.
        rngs: the stream `params` draws the parameters.

    Raises:
        ValueError: a size or rate out of range, a cell without a step, attention without a memory.
    """

    def __init__(
        self,
        cell: Cell[Any, Any],
        vocabulary_size: int,
        *,
        embedding_size: int,
        summary_size: int,
        memory_size: int | None = None,
        attention: Attention[Any] | None = None,
        summary_to: Literal["carry", "steps", "both"] = "carry",
        dropout: float = 0.0,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if summary_to not in SUMMARY_TO:
            raise ValueError(f"summary_to must be one of {', '.join(SUMMARY_TO)}, got {summary_to!r}")
        if not cell.has_step:
            raise ValueError(f"a decoder needs a cell with a step, and {type(cell).__name__} has none")
        if len(cell.feature_shape(1)) > 1:
            raise ValueError(f"a decoder needs a cell over vectors, and {type(cell).__name__} is over space")
        if attention is not None and memory_size is None:
            raise ValueError("attention needs a memory: give memory_size")
        self.vocabulary_size = check_size("vocabulary_size", vocabulary_size)
        self.attention = attention
        self.dropout = check_rate("dropout", dropout)
        self.peeks = summary_to != "carry"
        peeked = summary_size if self.peeks else 0
        seen = memory_size if attention is not None and memory_size is not None else 0
        dense = Glorot()

        def draw(init: Any, *shape: int) -> nnx.Param[Array]:
            return nnx.Param(init(rngs.params(), shape, dtype))

        self.embedding = draw(Uniform(0.1), vocabulary_size, check_size("embedding_size", embedding_size))
        inside = seen if attention is not None and attention.inside else 0
        self.recurrent = Recurrent(cell, embedding_size + peeked + inside, dtype=dtype, rngs=rngs)
        size = carry_size(cell)
        self.w_bridge = nnx.data(None if summary_to == "steps" else draw(dense, summary_size, size))
        self.b_bridge = nnx.data(None if summary_to == "steps" else nnx.Param(jnp.zeros(size, dtype)))
        self.attending = nnx.data(None)
        if attention is not None:
            queries = size if attention.inside else cell.output_size
            weights = attention.init(rngs.params(), queries, seen, dtype)
            self.attending = nnx.data(jax.tree.map(nnx.Param, weights))
        self.w_seen = nnx.data(draw(dense, cell.output_size + seen, cell.output_size) if seen else None)
        self.w = draw(dense, cell.output_size + peeked, vocabulary_size)
        self.b = nnx.Param(jnp.zeros(vocabulary_size, dtype))

    @property
    def cell(self) -> Cell[Any, Any]:
        return self.recurrent.cell

    def start(self, encoded: Encoded) -> Position:
        """Where a batch of sequences begins."""
        batch = len(encoded.summary)
        memory = None
        if self.attention is not None:
            if encoded.memory is None:
                raise ValueError("attention needs a memory, and the encoder gave none")
            memory = remember(self.attention, values_of(self.attending), encoded.memory, encoded.mask)
        carry = self._bridge(encoded.summary, self.recurrent.start((batch,)))
        cell, _ = self.network(memory)
        if isinstance(cell, Attending):
            carry = cell.enter(carry, (batch,), self.b.dtype)
        return Position(encoded.summary, memory, carry)

    def __call__(
        self, position: Position, tokens: Int[Array, "time batch"], key: Array | None = None
    ) -> tuple[Position, Float[Array, "time batch features"]]:
        """The position after some tokens, and the features that make the logits of the one after each.

        Args:
            position: of `start`, or of an earlier call.
            tokens: from 0 to vocabulary_size - 1.
            key: for training with dropout; None: without.
        """
        cell, params = self.network(position.memory)
        own, key = (None, None) if key is None else tuple(jax.random.split(key))
        carry, ys = unroll(
            cell, params, self.inputs(position, tokens), position.carry, key=own, deterministic=key is None
        )
        return position._replace(carry=carry), self.features(position, ys, key)

    def inputs(self, position: Position, tokens: Int[Array, "time batch"]) -> Float[Array, "time batch features"]:
        """What the cell gets of tokens."""
        return self._peek(position, self.embedding[...][tokens])

    def network(self, memory: Memory | None) -> tuple[Cell[Any, Any], Any]:
        """The cell that is unrolled, with the memory where it looks into it, and its parameters."""
        if memory is None or self.attention is None or not self.attention.inside:
            return self.cell, self.recurrent.params
        cell = Attending(self.cell, self.attention, memory.values.shape)
        return cell, AttendingParams(self.recurrent.params, values_of(self.attending), memory)

    def features(
        self, position: Position, ys: Float[Array, "time batch outputs"], key: Array | None = None
    ) -> Float[Array, "time batch features"]:
        """What goes to the softmax, of the outputs of `network`."""
        if self.w_seen is not None:
            if self.attention is not None and not self.attention.inside and position.memory is not None:
                contexts, _ = attend(self.attention, values_of(self.attending), position.memory, ys)
                ys = jnp.concatenate([ys, contexts.astype(ys.dtype)], -1)
            ys = jnp.tanh(ys @ self.w_seen[...])
        if key is not None:
            ys = drop(ys, draw_mask(key, self.dropout, ys.shape[:-1], ys.shape[-1:], False), self.dropout)
        return self._peek(position, ys)

    def _peek(self, position: Position, xs: Array) -> Array:
        """Features with the summary beside them, where it goes to the steps."""
        if not self.peeks:
            return xs
        summaries = jnp.broadcast_to(position.summary, (*xs.shape[:-1], position.summary.shape[-1]))
        return jnp.concatenate([xs, summaries.astype(xs.dtype)], -1)

    def logits(self, features: Float[Array, "*batch features"]) -> Float[Array, "*batch vocabulary"]:
        """Of the next token."""
        return features @ self.w[...] + self.b[...]

    def log_probability(
        self,
        features: Float[Array, "time batch features"],
        targets: Int[Array, "time batch"],
        lengths: Int[Array, "batch"],
    ) -> Float[Array, "batch"]:
        """ln p of each sequence of targets, from the features in front of each token."""
        log_p = jax.nn.log_softmax(self.logits(features))
        real = jnp.arange(len(targets))[:, None] < lengths
        return jnp.where(real, jnp.take_along_axis(log_p, targets[..., None], -1)[..., 0], 0).sum(0)

    def step(
        self, position: Position, tokens: Int[Array, "batch"]
    ) -> tuple[Position, Float[Array, "batch vocabulary"]]:
        """The position after one token, and the logits of the next."""
        position, features = self(position, tokens[None])
        return position, self.logits(features[0])

    def mixed(
        self,
        position: Position,
        tokens: Int[Array, "time batch"],
        teacher_forcing: Float[Array, ""] | float,
        key: Array,
    ) -> Int[Array, "time batch"]:
        """The inputs of scheduled sampling, in the place of the true `tokens`.

        Each but the first is the true one with probability `teacher_forcing`, and else one that the model itself draws
        after the inputs before it, without dropout. No gradient goes through the draws.

        Source: S. Bengio et al., "Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks", 2015
        (arXiv:1506.03099).
        """
        key_draw, key_own = jax.random.split(key)
        own = jax.random.uniform(key_own, tokens.shape) >= teacher_forcing
        own = own.at[0].set(False)
        keys = jax.random.split(key_draw, len(tokens))

        def body(before: tuple[Position, Array], step: tuple[Array, Array, Array]) -> tuple[Any, Array]:
            position, drawn = before
            true, own, key = step
            token = jnp.where(own, drawn, true)
            position, logits = self.step(position, token)
            return (position, jax.random.categorical(key, logits).astype(tokens.dtype)), token

        return lax.scan(body, (lax.stop_gradient(position), tokens[0]), (tokens, own, keys))[1]

    def attention_weights(
        self, position: Position, tokens: Int[Array, "time batch"]
    ) -> Float[Array, "time batch source"]:
        """How much of each part of the memory the decoder looks at when it writes the token after each."""
        if self.attention is None or position.memory is None:
            raise ValueError("the decoder has no attention")
        cell, params = self.network(position.memory)
        _, ys, path = trajectory(cell, params, self.inputs(position, tokens), position.carry)
        queries = flat(self.cell, path.before.cell) if self.attention.inside else ys
        return attend(self.attention, values_of(self.attending), position.memory, queries)[1]

    def _bridge(self, summary: Array, like: Any) -> Any:
        """The carry that a summary makes."""
        w, b = self.w_bridge, self.b_bridge
        if w is None or b is None:
            return like
        leaves, structure = jax.tree.flatten(like)
        ends = np.cumsum([leaf[0].size for leaf in leaves])
        made = jnp.split(jnp.tanh(summary @ w[...] + b[...]), ends[:-1], -1)
        parts = [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(made, leaves, strict=True)]
        return jax.tree.unflatten(structure, parts)
