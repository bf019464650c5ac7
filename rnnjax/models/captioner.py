"""Captions for pictures: encoders of pictures, in front of the same decoder."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, UInt8

from rnnjax.checks import check_size
from rnnjax.compose.base import check_rate, draw_mask, drop
from rnnjax.models.decoder import Decoder, Encoded
from rnnjax.models.seq2seq import EncoderDecoder, stacked


class FeatureEncoder(nnx.Module):
    """A picture that another network has made a vector of: summary = tanh(norm(features) w + b).

    Args:
        feature_size: of the vector.
        size: of the summary.
        dropout: share of the features that training drops.
        dtype: that of the parameters.
        rngs: the stream `params` draws the parameters.
    """

    def __init__(self, feature_size: int, size: int, *, dropout: float = 0.0, dtype: Any = jnp.float32, rngs: nnx.Rngs):
        self.summary_size = check_size("size", size)
        self.dropout = check_rate("dropout", dropout)
        self.norm = nnx.LayerNorm(feature_size, param_dtype=dtype, rngs=rngs)
        self.dense = nnx.Linear(feature_size, size, param_dtype=dtype, rngs=rngs)

    def __call__(self, inputs: Float[Array, "batch features"], key: Array | None = None) -> Encoded:
        xs = self.norm(inputs)
        if key is not None:
            xs = drop(xs, draw_mask(key, self.dropout, xs.shape[:1], xs.shape[1:], False), self.dropout)
        return Encoded(jnp.tanh(self.dense(xs)))


class ThumbnailEncoder(nnx.Module):
    """A small convolutional network, trained with the decoder: pictures of pixels 0 to 255.

    Each layer is a convolution of 3 x 3 with a stride of 2, normalised over its channels, and max(x, 0), until no side
    is longer than 4; then all goes through `FeatureEncoder`.

    Args:
        height, width: of the pictures.
        size: of the summary.
        channels: of the first layer; the others have twice as many as the one before, up to 4 times as many.
        dropout, dtype, rngs: as of `FeatureEncoder`.
    """

    def __init__(
        self,
        height: int,
        width: int,
        size: int,
        *,
        channels: int = 16,
        dropout: float = 0.0,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.summary_size = size
        convolutions, norms, before, own = [], [], 3, check_size("channels", channels)
        while max(height, width) > 4:
            height, width = -(-height // 2), -(-width // 2)
            convolutions.append(nnx.Linear(9 * before, own, param_dtype=dtype, rngs=rngs))
            norms.append(nnx.LayerNorm(own, param_dtype=dtype, rngs=rngs))
            before, own = own, min(2 * own, 4 * channels)
        self.convolutions, self.norms = nnx.List(convolutions), nnx.List(norms)
        self.features = FeatureEncoder(height * width * before, size, dropout=dropout, dtype=dtype, rngs=rngs)

    def __call__(self, inputs: UInt8[Array, "batch height width 3"], key: Array | None = None) -> Encoded:
        xs = inputs.astype(self.features.dense.kernel.dtype) / 127.5 - 1
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            xs = jax.nn.relu(norm(convolution(patches(xs))))
        return self.features(xs.reshape(len(xs), math.prod(xs.shape[1:])), key)


def patches(xs: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns 9*channels"]:
    """The 3 x 3 neighbours of every second pixel, with zeros around: their product with weights is a convolution.

    Inside a loop, as training steps are, a convolution as such takes XLA six times as long on a CPU.
    """
    _, height, width, _ = xs.shape
    padded = jnp.pad(xs, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [padded[:, row : row + height : 2, column : column + width : 2] for row in range(3) for column in range(3)]
    return jnp.concatenate(parts, -1)


def captioner(
    picture_shape: Sequence[int],
    target_size: int,
    *,
    cell: str = "gru",
    hidden_size: int = 256,
    embedding_size: int = 128,
    layers: int = 1,
    summary_to: Literal["carry", "steps", "both"] = "both",
    dropout: float = 0.0,
    dtype: Any = jnp.float32,
    rngs: nnx.Rngs,
) -> EncoderDecoder:
    """An encoder of pictures and a decoder of a registered cell.

    Args:
        picture_shape: (features,), or (height, width, 3) of pictures themselves.
        target_size: number of tokens that are written, <sos> and <eos> among them.
        cell: of `rnnjax.CELLS`.
        hidden_size: units of a layer, and the size of the summary.
        embedding_size: features of a token.
        layers: of the decoder.
        summary_to: where the picture enters, of `Decoder`: the initial carry, every step, or both.
        dropout: of the features of a picture, of the inputs of every layer, and in front of the softmax.
        dtype: that of the parameters.
        rngs: the stream `params` draws the parameters.

    Raises:
        ValueError: another shape than these, and as of `Decoder`.
    """
    settings: dict[str, Any] = {"dropout": dropout, "dtype": dtype, "rngs": rngs}
    encoder: Any
    if len(picture_shape) == 1:
        encoder = FeatureEncoder(picture_shape[0], hidden_size, **settings)
    elif len(picture_shape) == 3 and picture_shape[-1] == 3:
        encoder = ThumbnailEncoder(picture_shape[0], picture_shape[1], hidden_size, **settings)
    else:
        raise ValueError(f"picture_shape must be (features,) or (height, width, 3), got {tuple(picture_shape)}")
    decoder = Decoder(
        stacked(cell, hidden_size, layers, dropout),
        target_size,
        embedding_size=embedding_size,
        summary_size=hidden_size,
        summary_to=summary_to,
        **settings,
    )
    return EncoderDecoder(encoder, decoder)
