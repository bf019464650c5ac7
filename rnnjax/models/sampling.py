"""Text out of a language model: greedy, by temperature, from the top k, from the top p; in one compiled loop."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rnnjax.checks import check_size
from rnnjax.models.language import LanguageModel


@dataclass(frozen=True)
class Sampler:
    """What the next token is drawn from, given the logits z:

        p = softmax(z / temperature), of the top_k largest, and of these the fewest whose probabilities sum to top_p

    renormalised. A temperature of 0 is greedy: the largest, and the first of equals. Ties at the k-th place all stay.

    Source of top-p: A. Holtzman et al., "The Curious Case of Neural Text Degeneration", 2019 (arXiv:1904.09751).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be a number of at least 0, got {self.temperature}")
        if self.top_k is not None:
            check_size("top_k", self.top_k)
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")

    def log_probabilities(self, logits: Float[Array, "*batch vocabulary"]) -> Float[Array, "*batch vocabulary"]:
        """Of every token, minus infinity for those that are not drawn."""
        if self.temperature == 0:
            is_best = jnp.arange(logits.shape[-1]) == logits.argmax(-1, keepdims=True)
            return jnp.where(is_best, 0.0, -jnp.inf)
        logits = logits.astype(jnp.float32) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = lax.top_k(logits, self.top_k)[0][..., -1:]
            logits = jnp.where(logits >= least, logits, -jnp.inf)
        if self.top_p < 1:
            order = jnp.argsort(-logits, axis=-1, stable=True)
            sorted_p = jnp.take_along_axis(jax.nn.softmax(logits), order, -1)
            before = jnp.cumsum(sorted_p, -1) - sorted_p  # of all that are more probable
            kept = jnp.put_along_axis(jnp.zeros(logits.shape, bool), order, before < self.top_p, -1, inplace=False)
            logits = jnp.where(kept, logits, -jnp.inf)
        return jax.nn.log_softmax(logits)

    def draw(self, key: Array, logits: Float[Array, "*batch vocabulary"]) -> Int[Array, "*batch"]:
        """A token for each."""
        if self.temperature == 0:
            return logits.argmax(-1)
        return jax.random.categorical(key, self.log_probabilities(logits))


class _Position(NamedTuple):
    """Where a text stands: what `_extend` goes on from."""

    carry: Any
    logits: Float[Array, "batch vocabulary"]
    """Of the next token."""
    step: Int[Array, ""]


def sample(
    model: LanguageModel, key: Array, prime: Int[ArrayLike, "time batch"], length: int, sampler: Sampler = Sampler()
) -> Int[Array, "length batch"]:
    """Texts that go on from `prime`, one a column, `length` tokens each (without those of the prime).

    Args:
        model: runs in evaluation, without dropout.
        key: one for all draws.
        prime: tokens to start from, at least one a text.
        length: tokens to draw.
        sampler: how.

    Raises:
        ValueError: no prime, or a token in it that is not of the vocabulary.
    """
    return next(stream(model, key, prime, sampler, every=length))


def stream(
    model: LanguageModel,
    key: Array,
    prime: Int[ArrayLike, "time batch"],
    sampler: Sampler = Sampler(),
    *,
    every: int = 16,
) -> Iterator[Int[Array, "every batch"]]:
    """`sample` without an end: gives `every` more tokens of each text at a time, the same whatever `every` is."""
    every = check_size("every", every)
    tokens = np.asarray(prime)
    if tokens.ndim != 2 or tokens.size == 0:
        raise ValueError(f"prime must be [time, batch] with at least one token, got shape {tokens.shape}")
    if tokens.min() < 0 or tokens.max() >= model.vocabulary_size:
        raise ValueError(
            f"prime must be tokens from 0 to {model.vocabulary_size - 1}, got {tokens.min()} to {tokens.max()}"
        )
    graph, state = nnx.split(model)
    position = _prime(graph, state, jnp.asarray(tokens))
    while True:
        position, drawn = _extend(graph, sampler, every, state, key, position)
        yield drawn


@partial(jax.jit, static_argnums=0)
def _prime(graph: Any, state: Any, tokens: Array) -> _Position:
    carry, logits = nnx.merge(graph, state)(tokens, deterministic=True)
    return _Position(carry, logits[-1], jnp.zeros((), jnp.int32))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _extend(
    graph: Any, sampler: Sampler, length: int, state: Any, key: Array, position: _Position
) -> tuple[_Position, Array]:
    model = nnx.merge(graph, state)

    def step(position: _Position, _: None) -> tuple[_Position, Array]:
        token = sampler.draw(jax.random.fold_in(key, position.step), position.logits)
        carry, logits = model(token[None], position.carry, deterministic=True)
        return _Position(carry, logits[0], position.step + 1), token

    return lax.scan(step, position, None, length=length)
