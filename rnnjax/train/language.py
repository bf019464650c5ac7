"""Training and evaluating language models on a long text: truncated backpropagation through time.

The text is cut into as many parallel parts as the batch has sequences, and read from left to right, `bptt` steps at a
time. The carry goes from one stretch to the next; gradients end at its beginning.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int

from rnnjax.checks import check_size
from rnnjax.models.language import LanguageModel
from rnnjax.train.loop import Loss, Outcome, Plan


def batchify(tokens: Int[np.ndarray, "length"], batch_size: int) -> Int[np.ndarray, "time batch"]:
    """A text as `batch_size` parallel parts, time-major; the tail that does not fill them is dropped.

    Raises:
        ValueError: a text of fewer than two tokens a part.
    """
    time = len(tokens) // check_size("batch_size", batch_size)
    if time < 2:
        raise ValueError(
            f"a text of {len(tokens)} tokens is too short for a batch of {batch_size}: that takes {2 * batch_size}"
        )
    parts: np.ndarray = tokens[: time * batch_size].reshape(batch_size, time)
    return parts.T


def stretches(text: Int[np.ndarray, "time batch"], bptt: int) -> Callable[[int], Plan]:
    """The plan of every epoch: stretches of `bptt` steps, one after the other, the last one shorter.

    An item is (start, length).
    """
    starts = np.arange(0, len(text) - 1, check_size("bptt", bptt), dtype=np.int32)
    items = jnp.asarray(starts), jnp.asarray(np.minimum(bptt, len(text) - 1 - starts))
    return lambda epoch: Plan(len(starts), items)


SHORTEST, DEVIATION, CUT = 5, 5, 3


def longest(bptt: int) -> int:
    """The longest stretch of `random_stretches`: 3 standard deviations above `bptt`, where lengths are cut."""
    return bptt + CUT * DEVIATION


def random_stretches(text: Int[np.ndarray, "time batch"], bptt: int, seed: int) -> Callable[[int], Plan]:
    """Stretches of random length, another plan every epoch: N(bptt, 5^2), or in one of twenty N(bptt / 2, 5^2).

    An item is (start, length), with lengths from 5 to `longest(bptt)`.

    Source: S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language Models", 2017
    (arXiv:1708.02182), section 5.
    """
    steps = len(text) - 1
    most = -(-steps // SHORTEST)

    def plan(epoch: int) -> Plan:
        random = np.random.default_rng((seed, epoch))
        means = np.where(random.random(most) < 0.95, bptt, bptt / 2)
        drawn = np.clip(random.normal(means, DEVIATION).astype(np.int32), SHORTEST, longest(bptt))
        starts = np.int32(np.cumsum(drawn) - drawn)
        lengths = np.minimum(drawn, np.maximum(steps - starts, 0)).astype(np.int32)
        return Plan(int((lengths > 0).sum()), (jnp.asarray(starts), jnp.asarray(lengths)))

    return plan


def language_loss(
    build: Callable[[Any], LanguageModel], longest: int, *, bptt: int | None = None, restart: float = 0.0
) -> Loss:
    """The loss of a step, for `make_steps`; data is a text `padded` by `longest`, an item is (start, length).

    Args:
        build: the model from its parameters.
        longest: the longest stretch.
        bptt: of `random_stretches`: an update is scaled by length / bptt, so that all tokens count the same, and the
            learning rate is that of a stretch of `bptt` steps. None: all stretches but the last are of one length.
        restart: the probability that a sequence of the batch begins anew at a stretch, without the carry of the last.
            Else a model begins at the first tokens of the batch's parts alone, and may go astray at others, where
            evaluation and sampling begin.

    Raises:
        ValueError: `restart` is no probability.
    """
    if not 0 <= restart <= 1:
        raise ValueError(f"restart must be from 0 to 1, got {restart}")

    def loss(params: Any, carry: Any, text: Array, item: tuple[Array, Array], key: Array) -> tuple[Array, Outcome]:
        start, length = item
        model = build(params)
        batch = text.shape[1]
        anew = jnp.full(batch, start == 0)
        if restart:
            key, own = jax.random.split(key)
            anew |= jax.random.bernoulli(own, restart, (batch,))
        carry = jax.tree.map(partial(jax.vmap(jnp.where), anew), model.initial_carry(batch), carry)
        tokens, targets = stretch(text, start, longest)
        lengths = jnp.full(batch, length)
        carry, found = model.loss(tokens, targets, carry, lengths=lengths, deterministic=False, rngs=key)
        scale = 1.0 if bptt is None else length / bptt
        return found.cross_entropy + found.penalty, Outcome(carry, found.cross_entropy, length * batch, scale)

    return loss


def padded(text: Int[np.ndarray, "time batch"], length: int) -> Int[Array, "longer batch"]:
    """A text on the device, long enough for a stretch of `length` from anywhere in it."""
    return jnp.pad(jnp.asarray(text), ((0, length), (0, 0)))


def stretch(text: Array, start: Any, length: int) -> tuple[Array, Array]:
    """Of a padded text, the tokens of `length` steps from `start`, and those that come next."""
    part = lax.dynamic_slice_in_dim(text, start, length + 1)
    return part[:-1], part[1:]


def evaluator(
    build: Callable[[Any], LanguageModel], text: Int[np.ndarray, "time batch"], length: int
) -> Callable[[Any], float]:
    """The mean loss of a text in nats a token, as a function of the parameters.

    The carry goes through the whole text, so the result does not depend on `length`, the steps that run at once.
    """
    steps = len(text) - 1
    starts = np.arange(0, steps, length, dtype=np.int32)
    items = jnp.asarray(starts), jnp.asarray(np.minimum(length, steps - starts))

    @jax.jit
    def program(params: Any, text: Array) -> Array:
        model = build(params)

        def body(carry: Any, item: tuple[Array, Array]) -> tuple[Any, Array]:
            start, count = item
            tokens, targets = stretch(text, start, length)
            lengths = jnp.full(text.shape[1], count)
            carry, found = model.loss(tokens, targets, carry, lengths=lengths, deterministic=True)
            return carry, found.cross_entropy

        return lax.scan(body, model.initial_carry(text.shape[1]), items)[1]

    data, weights = padded(text, length), np.asarray(items[1], np.float64)
    return lambda params: float(np.average(np.asarray(program(params, data), np.float64), weights=weights))
