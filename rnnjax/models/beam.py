"""Greedy and beam search: the most probable sequence of a decoder, in one compiled loop."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from rnnjax.checks import check_size
from rnnjax.models.seq2seq import END, START, EncoderDecoder


class Written(NamedTuple):
    """What a search found, the best first."""

    tokens: Int[Array, "batch width length"]
    """<eos> at the end of each, and all that comes after it."""
    lengths: Int[Array, "batch width"]
    """Tokens before <eos>."""
    scores: Float[Array, "batch width"]
    """ln p of the tokens, over the length penalty; minus infinity where there are fewer sequences than the width."""


class _Beam(NamedTuple):
    """Where a search stands, of every input and place in its beam."""

    step: Int[Array, ""]
    tokens: Int[Array, "batch width length"]
    log_p: Float[Array, "batch width"]
    ended: Bool[Array, "batch width"]
    lengths: Int[Array, "batch width"]
    """<eos> included."""
    carry: Any


@dataclass(frozen=True)
class BeamSearch:
    """Keeps the `width` best beginnings of a sequence, by

        score = ln p(tokens) / ((5 + tokens) / 6)^penalty

    with <eos> among the tokens. A width of 1 is greedy search. It ends after `length` tokens, or once all that is kept
    has ended with <eos>; a sequence that has not is as good as one that has.

    Source of the penalty: Y. Wu et al., "Google's Neural Machine Translation System", 2016 (arXiv:1609.08144),
    equation 14.

    Args:
        length: tokens of a sequence at most, <eos> included.
        width: sequences that are kept of each input.
        penalty: from 0, none, to 1, which lets a sequence be about as long as it likes.
        never: tokens that are not written, such as <unk>; <sos> is not in any case.
    """

    length: int
    width: int = 1
    penalty: float = 0.0
    never: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_size("length", self.length)
        check_size("width", self.width)
        if not 0 <= self.penalty <= 10:
            raise ValueError(f"penalty must be from 0 to 10, got {self.penalty}")

    def __call__(self, model: EncoderDecoder, inputs: Any) -> Written:
        """The sequences for a batch of inputs; under `jax.jit` with the search static."""
        decoder = model.decoder
        position = decoder.start(model.encoder(inputs))
        batch = len(position.summary)
        wide = jax.tree.map(lambda leaf: jnp.repeat(leaf, self.width, 0), position)
        forbidden = jnp.zeros(decoder.vocabulary_size).at[jnp.array((START, *self.never))].set(-jnp.inf)
        rest = jnp.full(decoder.vocabulary_size, -jnp.inf).at[END].set(0.0)  # of what has ended

        def open_(beam: _Beam) -> Array:
            return (beam.step < self.length) & ~beam.ended.all()

        def step(beam: _Beam) -> _Beam:
            last = beam.tokens[:, :, beam.step - 1]
            last = jnp.where(beam.step == 0, START, last).reshape(-1)
            position, logits = decoder.step(wide._replace(carry=beam.carry), last)
            log_p = jax.nn.log_softmax(logits.astype(jnp.float32)) + forbidden
            log_p = jnp.where(beam.ended[..., None], rest, log_p.reshape(batch, self.width, -1))
            lengths = beam.lengths + ~beam.ended
            total = beam.log_p[..., None] + log_p
            scores = (total / self._penalty(lengths)[..., None]).reshape(batch, -1)
            _, best = lax.top_k(scores, self.width)
            parents, tokens = jnp.divmod(best, log_p.shape[-1])

            def inherit(leaf: Array) -> Array:
                return jax.vmap(lambda of, places: of[places])(leaf, parents)

            ended = inherit(beam.ended)
            carry = jax.tree.map(
                lambda leaf: inherit(leaf.reshape(batch, self.width, *leaf.shape[1:])).reshape(leaf.shape),
                position.carry,
            )
            written = inherit(beam.tokens).at[:, :, beam.step].set(tokens)
            total = jnp.take_along_axis(total.reshape(batch, -1), best, 1)
            return _Beam(beam.step + 1, written, total, ended | (tokens == END), inherit(lengths), carry)

        shape = batch, self.width
        beam = _Beam(
            jnp.zeros((), jnp.int32),
            jnp.full((*shape, self.length), END, jnp.int32),
            # At first there is one sequence, and not `width` times the same.
            jnp.broadcast_to(jnp.where(jnp.arange(self.width) == 0, 0.0, -jnp.inf), shape),
            jnp.zeros(shape, bool),
            jnp.zeros(shape, jnp.int32),
            wide.carry,
        )
        beam = lax.while_loop(open_, step, beam)
        return Written(beam.tokens, beam.lengths - beam.ended, beam.log_p / self._penalty(beam.lengths))

    def _penalty(self, tokens: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
        return ((5 + tokens) / 6) ** self.penalty
