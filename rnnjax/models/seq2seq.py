"""Encoder-decoder models: a sequence, or anything else that an encoder can read, to a sequence."""

from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.checks import check_size
from rnnjax.compose import Bidirectional, Dropout, Stack
from rnnjax.initializers import Uniform
from rnnjax.models.attention import ATTENTIONS, carry_size, flat
from rnnjax.models.cross_entropy import softmax_cross_entropy
from rnnjax.models.decoder import Decoder, Encoded
from rnnjax.models.recurrent import Recurrent

START, END = 0, 1
"""The tokens <sos>, which every target follows and no target holds, and <eos>, its last."""


class Sentences(NamedTuple):
    """A batch of sequences to read."""

    tokens: Int[Array, "time batch"]
    lengths: Int[Array, "batch"]


class Encoder(Protocol):
    """A module that reads a batch of inputs; `key` is for dropout in training."""

    def __call__(self, inputs: Any, key: Array | None = None) -> Encoded: ...


class SequenceEncoder(nnx.Module):
    """A recurrent network that reads tokens:

        x_t = E[token_t],    carry_t, y_t = step(cell, carry_(t-1), x_t)

    The summary is the final carry, all of its arrays side by side; the memory is every y_t. Any cell or composition
    does, in both directions too. What is in the padding does not matter.

    Args:
        cell: the recurrent network.
        vocabulary_size: number of tokens.
        embedding_size: features of a token.
        dtype: that of the parameters.
        rngs: the stream `params` draws the parameters.
    """

    def __init__(
        self,
        cell: Cell[Any, Any],
        vocabulary_size: int,
        embedding_size: int,
        *,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shape = check_size("vocabulary_size", vocabulary_size), check_size("embedding_size", embedding_size)
        self.embedding = nnx.Param(Uniform(0.1)(rngs.params(), shape, dtype))
        self.recurrent = Recurrent(cell, embedding_size, dtype=dtype, rngs=rngs)

    def __call__(self, inputs: Sentences, key: Array | None = None) -> Encoded:
        xs = self.embedding[...][inputs.tokens]
        carry, ys = self.recurrent(xs, lengths=inputs.lengths, deterministic=key is None, rngs=key)
        return self.encoded(carry, ys, inputs.lengths)

    def encoded(self, carry: Any, ys: Float[Array, "time batch outputs"], lengths: Int[Array, "batch"]) -> Encoded:
        """What is made of the final carry and the outputs."""
        return Encoded(flat(self.recurrent.cell, carry), ys, jnp.arange(len(ys))[:, None] < lengths)

    @property
    def summary_size(self) -> int:
        return carry_size(self.recurrent.cell)

    @property
    def memory_size(self) -> int:
        return self.recurrent.cell.output_size


class EncoderDecoder(nnx.Module):
    """An encoder and a decoder: p(tokens | inputs) = product over t of p(token_t | tokens before it, encoder(inputs)).

    A sequence starts after <sos> (token 0) and ends with <eos> (token 1), its last target.

    Args:
        encoder: makes `Encoded` of inputs.
        decoder: writes the tokens.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder):
        self.encoder = encoder
        self.decoder = decoder

    def loss(
        self,
        inputs: Any,
        targets: Int[Array, "time batch"],
        lengths: Int[Array, "batch"],
        key: Array | None = None,
        *,
        teacher_forcing: Float[Array, ""] | float = 1.0,
    ) -> Float[Array, ""]:
        """-ln p(token), the mean over the real tokens of a batch, in nats.

        Args:
            inputs: of the encoder.
            targets: with <eos> at the end of each; what is in the padding does not matter.
            lengths: of the targets.
            key: for training: dropout and scheduled sampling; None: without either.
            teacher_forcing: the probability that the input of a step is the true token, and not one that the model
                draws (`Decoder.mixed`). The number 1, and not an array of it, saves the drawing.
        """
        key_encoder, key_decoder, key_mix = (None,) * 3 if key is None else tuple(jax.random.split(key, 3))
        targets = ended(targets, lengths)
        tokens = shifted(targets)
        position = self.decoder.start(self.encoder(inputs, key_encoder))
        if key_mix is not None and not (isinstance(teacher_forcing, float | int) and teacher_forcing == 1):
            tokens = self.decoder.mixed(position, tokens, teacher_forcing, key_mix)
        _, features = self.decoder(position, tokens, key_decoder)
        weights = (jnp.arange(len(targets))[:, None] < lengths).astype(jnp.float32)
        weights = weights / jnp.maximum(weights.sum(), 1)
        return softmax_cross_entropy(features, self.decoder.w[...], self.decoder.b[...], targets, weights)

    def log_probability(
        self, inputs: Any, targets: Int[Array, "time batch"], lengths: Int[Array, "batch"]
    ) -> Float[Array, "batch"]:
        """ln p(targets | inputs) of each sequence, the end included; without dropout. Arguments as for `loss`."""
        targets = ended(targets, lengths)
        _, features = self.decoder(self.decoder.start(self.encoder(inputs)), shifted(targets))
        return self.decoder.log_probability(features, targets, lengths)

    def attention_weights(self, inputs: Any, targets: Int[Array, "time batch"]) -> Float[Array, "time batch source"]:
        """How much of each part of the input was looked at for every token of the targets.

        Raises:
            ValueError: the decoder has no attention.
        """
        return self.decoder.attention_weights(self.decoder.start(self.encoder(inputs)), shifted(targets))


def ended(targets: Int[Array, "time batch"], lengths: Int[Array, "batch"]) -> Int[Array, "time batch"]:
    """Targets with <eos> for padding, whatever it holds."""
    return jnp.where(jnp.arange(len(targets))[:, None] < lengths, targets, END)


def shifted(targets: Int[Array, "time batch"]) -> Int[Array, "time batch"]:
    """The inputs of the decoder: <sos>, and all targets but the last."""
    return jnp.concatenate([jnp.full_like(targets[:1], START), targets[:-1]])


# --- models of registered cells ---------------------------------------------------------------------------------------


def seq2seq(
    source_size: int,
    target_size: int,
    *,
    cell: str = "gru",
    hidden_size: int = 128,
    embedding_size: int = 64,
    layers: int = 1,
    bidirectional: bool = False,
    attention: str | None = None,
    summary_to: Literal["carry", "steps", "both"] = "carry",
    dropout: float = 0.0,
    dtype: Any = jnp.float32,
    rngs: nnx.Rngs,
) -> EncoderDecoder:
    """An encoder-decoder of a registered cell: the same size, depth and dropout on both sides.

    Args:
        source_size: number of tokens that are read.
        target_size: number of tokens that are written, <sos> and <eos> among them.
        cell: of `rnnjax.CELLS`.
        hidden_size: units of a layer (and, with `bidirectional`, of each direction of the encoder).
        embedding_size: features of a token.
        layers: of the encoder, and of the decoder.
        bidirectional: whether the encoder reads both ways.
        attention: of `ATTENTIONS`, or None.
        summary_to: of `Decoder`.
        dropout: of the inputs of every layer, and in front of the softmax.
        dtype: that of the parameters.
        rngs: the stream `params` draws the parameters.
    """
    encoder = SequenceEncoder(
        stacked(cell, hidden_size, layers, dropout, bidirectional=bidirectional),
        source_size,
        embedding_size,
        dtype=dtype,
        rngs=rngs,
    )
    decoder = Decoder(
        stacked(cell, hidden_size, layers, dropout),
        target_size,
        embedding_size=embedding_size,
        summary_size=encoder.summary_size,
        memory_size=encoder.memory_size,
        attention=None if attention is None else ATTENTIONS[attention](hidden_size),
        summary_to=summary_to,
        dropout=dropout,
        dtype=dtype,
        rngs=rngs,
    )
    return EncoderDecoder(encoder, decoder)


def stacked(cell: str, hidden_size: int, layers: int, dropout: float, *, bidirectional: bool = False) -> Cell[Any, Any]:
    """Layers of a registered cell, with dropout of the inputs of each."""

    def layer() -> Cell[Any, Any]:
        made: Cell[Any, Any] = CELLS[cell](hidden_size)
        made = Bidirectional(made) if bidirectional else made
        return Dropout(made, input_rate=dropout) if dropout else made

    layers = check_size("layers", layers)
    return layer() if layers == 1 else Stack(tuple(layer() for _ in range(layers)))
