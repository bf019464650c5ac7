"""Softmax cross-entropy over a large vocabulary, a chunk of tokens at a time."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from rnnjax.checks import check_size

Chunk = tuple[Array, Array, Array]
"""Outputs, targets and weights of some tokens."""
CHUNK_SIZE = 2**21
"""Logits of a chunk, unless the caller says otherwise: 8 MiB in float32."""


def softmax_cross_entropy(
    ys: Float[Array, "*tokens features"],
    w: Float[Array, "features vocabulary"],
    b: Float[Array, "vocabulary"],
    targets: Int[Array, "*tokens"],
    weights: Float[Array, "*tokens"] | None = None,
    *,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """The weighted sum over tokens of -ln softmax(y w + b)[target], in nats and at least float32.

    The logits of all tokens, `[*tokens, vocabulary]`, never exist at once: those of `chunk` tokens do. The gradients
    by `ys`, `w` and `b` are made in the forward pass, from the same logits, and scaled in the backward pass: nothing of
    the logits is kept or computed twice. For reverse mode alone: `jax.grad` and `jax.vjp`, of any order.

    Args:
        ys: outputs of a network.
        w: of the linear map to logits; the embedding, transposed, where the weights are tied.
        b: its bias.
        targets: from 0 to vocabulary - 1; others are not checked.
        weights: how much each token counts; 1 if not given.
        chunk: tokens whose logits exist at once; so many that they fill 8 MiB if not given.
    """
    tokens = math.prod(targets.shape)
    most = max(1, CHUNK_SIZE // w.shape[1]) if chunk is None else check_size("chunk", chunk)
    count = -(-tokens // most)
    size = -(-tokens // count)
    dtype = jnp.promote_types(ys.dtype, jnp.float32)
    weights = jnp.ones(targets.shape, dtype) if weights is None else jnp.asarray(weights, dtype)

    def chunked(array: Array, features: tuple[int, ...]) -> Array:
        flat = array.reshape(tokens, *features)
        padding = [(0, count * size - tokens), *((0, 0) for _ in features)]
        return jnp.pad(flat, padding).reshape(count, size, *features)

    return _summed((chunked(ys, ys.shape[-1:]), chunked(targets, ()), chunked(weights, ())), w, b)


@jax.custom_vjp
def _summed(chunks: Chunk, w: Array, b: Array) -> Array:
    """The loss of chunks, the leaves of which have a leading axis for their number."""

    def body(total: Array, chunk: Chunk) -> tuple[Array, None]:
        return total + chunk[2] @ _losses(chunk, w, b)[0], None

    return lax.scan(body, jnp.zeros((), chunks[2].dtype), chunks)[0]


def _losses(chunk: Chunk, w: Array, b: Array) -> tuple[Array, Array, Array]:
    """Of every token: its loss; exp(logits) over a factor that keeps it from overflowing, and the sum of these."""
    ys, targets, weights = chunk
    logits = jnp.matmul(ys, w, preferred_element_type=weights.dtype) + b
    highest = logits.max(-1, keepdims=True)
    powers = jnp.exp(logits - highest)
    total = powers.sum(-1, keepdims=True)
    losses = jnp.log(total) + highest - jnp.take_along_axis(logits, targets[:, None], 1)
    return losses[:, 0], powers, total


def _forward(chunks: Chunk, w: Array, b: Array) -> tuple[Array, Any]:
    """The loss and, for a cotangent of 1, the gradients: g = weights (softmax - onehot) by the logits."""

    def body(sums: tuple[Array, Array, Array], chunk: Chunk) -> tuple[Any, Any]:
        total, g_w, g_b = sums
        ys, targets, weights = chunk
        losses, powers, normaliser = _losses(chunk, w, b)
        # By comparison, which is fused: one-hot vectors, or a scatter, would be passes over memory of their own.
        is_target = lax.broadcasted_iota(targets.dtype, powers.shape, 1) == targets[:, None]
        g = powers * (weights[:, None] / normaliser) - weights[:, None] * is_target
        low = g.astype(ys.dtype)
        g_w = g_w + jnp.matmul(ys.T, low, preferred_element_type=g_w.dtype)
        return (total + weights @ losses, g_w, g_b + g.sum(0)), (jnp.matmul(low, w.T), losses)

    dtype = chunks[2].dtype
    zeros = jnp.zeros((), dtype), jnp.zeros(w.shape, dtype), jnp.zeros(b.shape, dtype)
    (total, g_w, g_b), (g_ys, losses) = lax.scan(body, zeros, chunks)
    return total, (g_ys, g_w.astype(w.dtype), g_b.astype(b.dtype), losses)


def _backward(gradients: Any, cotangent: Array) -> tuple[Any, ...]:
    g_ys, g_w, g_b, losses = (cotangent.astype(leaf.dtype) * leaf for leaf in gradients)
    return (g_ys, None, losses), g_w, g_b


_summed.defvjp(_forward, _backward)
