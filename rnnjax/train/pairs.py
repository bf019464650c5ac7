"""Training and evaluating encoder-decoder models on pairs: batches of similar length, losses, search.

All pairs are on the device. A source is there once, whatever the number of its targets.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int

from rnnjax.checks import check_size
from rnnjax.models.beam import BeamSearch, Written
from rnnjax.models.seq2seq import EncoderDecoder, Sentences
from rnnjax.train.examples import over_examples
from rnnjax.train.loop import Loss, Outcome, Plan


class Padded(NamedTuple):
    """Sequences of tokens, each filled up to the longest."""

    tokens: Int[Array, "sequences time"]
    lengths: Int[Array, "sequences"]

    @classmethod
    def of(cls, sequences: Sequence[Int[np.ndarray, "length"]]) -> "Padded":
        """Filled up with zeros."""
        lengths = np.array([len(tokens) for tokens in sequences], np.int32)
        padded = np.zeros((len(sequences), max(1, lengths.max(initial=1))), np.int32)
        for row, tokens in zip(padded, sequences, strict=True):
            row[: len(tokens)] = tokens
        return cls(jnp.asarray(padded), jnp.asarray(lengths))


class Pairs(NamedTuple):
    """Sources and targets."""

    sources: Any
    """`Padded`, or other arrays with an entry a source: pictures."""
    which: Int[Array, "pairs"]
    """The source of each target."""
    targets: Padded
    """With <eos> at the end of each."""


class Shape(NamedTuple):
    """The sizes of a batch."""

    source: int
    target: int


def inputs(sources: Any, places: Array, length: int | None = None) -> Any:
    """Some of the sources as inputs of an encoder; sequences time-major, and cut to `length`, if it is given."""
    if isinstance(sources, Padded):
        return Sentences(sources.tokens[places, :length].T, sources.lengths[places])
    return jax.tree.map(lambda leaf: leaf[places], sources)


def shapes(pairs: Pairs, count: int) -> list[Shape]:
    """Sizes for batches of similar length, from short to long.

    Half of all pairs fit the first, half of the others the second, and so on; all fit the last, the `count`-th.
    """
    sizes = lengths(pairs)
    longest = sizes.max(1)
    bounds = [np.quantile(longest, 1 - 0.5**k) for k in range(1, check_size("count", count))] + [longest.max()]
    found = [Shape(*(int(size) for size in sizes[longest <= bound].max(0))) for bound in bounds]
    return list(dict.fromkeys(found))


def lengths(pairs: Pairs) -> Int[np.ndarray, "pairs 2"]:
    """The lengths of source and target; a source that is no sequence has 1."""
    which, targets = np.asarray(pairs.which), np.asarray(pairs.targets.lengths)
    sources = np.asarray(pairs.sources.lengths)[which] if isinstance(pairs.sources, Padded) else np.ones_like(targets)
    return np.stack([sources, targets], 1)


def by_length(
    pairs: Pairs,
    shapes: Sequence[Shape],
    batch_size: int,
    seed: int,
    teacher_forcing: Callable[[int], float] = lambda epoch: 1.0,
) -> Callable[[int], Plan]:
    """The plan of every epoch: batches of pairs of similar length, or of any if there is one shape, in random order.

    An item is the places of a batch's pairs, the number of the smallest shape that holds it, and the probability of
    teacher forcing. What is left over at the end is not learned from in that epoch.

    Raises:
        ValueError: fewer pairs than a batch takes.
    """
    sizes = lengths(pairs)
    steps = len(sizes) // check_size("batch_size", batch_size)
    if steps == 0:
        raise ValueError(f"{len(sizes)} pairs are too few for a batch of {batch_size}")
    most = np.array(shapes)

    def plan(epoch: int) -> Plan:
        random = np.random.default_rng((seed, epoch))
        places = random.permutation(len(sizes))[: steps * batch_size]
        if len(shapes) > 1:
            places = places[np.argsort(sizes[places].max(1), kind="stable")]
        batches = random.permutation(places.reshape(steps, batch_size))
        fits = (sizes[batches].max(1)[:, None] <= most).all(-1)
        forced = np.full(steps, teacher_forcing(epoch), np.float32)
        return Plan(steps, tuple(map(jnp.asarray, (batches.astype(np.int32), fits.argmax(1).astype(np.int32), forced))))

    return plan


def pair_loss(
    build: Callable[[Any], EncoderDecoder], shapes: Sequence[Shape], *, scheduled_sampling: bool = False
) -> Loss:
    """The loss of a step, for `make_steps`; data are `Pairs`, an item is of `by_length`.

    Args:
        build: the model from its parameters.
        shapes: those that the items number.
        scheduled_sampling: whether teacher forcing is as the items say; if not, all inputs are true tokens.
    """

    def loss(params: Any, carry: Any, pairs: Pairs, item: tuple[Array, ...], key: Array) -> tuple[Array, Outcome]:
        places, number, forced = item
        own = pairs.targets.lengths[places]

        def of(shape: Shape, params: Any) -> Array:
            return build(params).loss(
                inputs(pairs.sources, pairs.which[places], shape.source),
                pairs.targets.tokens[places, : shape.target].T,
                own,
                key,
                teacher_forcing=forced if scheduled_sampling else 1.0,
            )

        value = _one_of([partial(of, shape) for shape in shapes], number, params)
        return value, Outcome(carry, value, own.sum())

    return loss


def _one_of(losses: Sequence[Callable[[Any], Array]], number: Array, params: Any) -> Array:
    """`losses[number](params)`, each differentiated by itself.

    `lax.switch` alone would keep room for what the backward passes of all of them need.
    """
    if len(losses) == 1:
        return losses[0](params)

    @jax.custom_vjp
    def chosen(params: Any) -> Array:
        value: Array = lax.switch(number, losses, params)
        return value

    def forward(params: Any) -> tuple[Array, Any]:
        found: tuple[Array, Any] = lax.switch(number, [jax.value_and_grad(loss) for loss in losses], params)
        return found

    def backward(gradient: Any, cotangent: Array) -> tuple[Any]:
        return (jax.tree.map(lambda leaf: cotangent.astype(leaf.dtype) * leaf, gradient),)

    chosen.defvjp(forward, backward)
    return chosen(params)


def evaluator(build: Callable[[Any], EncoderDecoder], pairs: Pairs, batch_size: int) -> Callable[[Any], float]:
    """The mean loss of a token in nats, as a function of the parameters."""
    examples = pairs._replace(sources=None)

    def log_p(given: tuple[Any, Any], batch: Pairs) -> Array:
        params, sources = given
        targets = batch.targets
        return build(params).log_probability(inputs(sources, batch.which), targets.tokens.T, targets.lengths)

    program = over_examples(log_p, examples, batch_size)
    tokens = int(np.asarray(pairs.targets.lengths, np.int64).sum())
    return lambda params: -float(np.asarray(program((params, pairs.sources)), np.float64).sum()) / tokens


def writer(
    build: Callable[[Any], EncoderDecoder], search: BeamSearch, sources: Any, batch_size: int
) -> Callable[[Any], Written]:
    """What a model writes for all sources, as a function of its parameters."""
    count = len(jax.tree.leaves(sources)[0])

    def write(given: tuple[Any, Any], places: Array) -> Written:
        params, sources = given
        return search(build(params), inputs(sources, places))

    program = over_examples(write, jnp.arange(count), batch_size)
    return lambda params: program((params, sources))


def tokens_of(written: Written) -> list[Int[np.ndarray, "length"]]:
    """The best sequence of each input, without <eos>."""
    return [
        row[:length]
        for row, length in zip(np.asarray(written.tokens[:, 0]), np.asarray(written.lengths[:, 0]), strict=True)
    ]
