"""How the error of a sequence that is written flows back through the decoder and the encoder."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from rnnjax import flow
from rnnjax.cells.around import Around
from rnnjax.cells.base import Cell
from rnnjax.compose import Bidirectional, BidirectionalCarry, Composite, Stack, StackCarry
from rnnjax.models.attention import AttendingCarry
from rnnjax.models.seq2seq import EncoderDecoder, SequenceEncoder, ended, shifted
from rnnjax.scan import unroll

Norms = Float[Array, "time+1 batch"]
Rest = Callable[[Any, Array], Array]
"""What comes after a network: its final carry and outputs to the loss of each example."""


def gradient_flow(
    model: EncoderDecoder, inputs: Any, targets: Int[Array, "time batch"], lengths: Int[Array, "batch"]
) -> dict[str, Norms]:
    """ln ||dL/dh_t|| at every step of the decoder, and of an encoder that reads a sequence.

    L is -ln p(targets | inputs) of each sequence, without dropout; h is the first array of a cell's carry. At t = 0
    stands the initial carry (`rnnjax.flow.gradient_norms`). In the encoder every layer, and each direction, is measured
    with all that comes after it; a backward direction counts its steps from the end of the sequence. So is the decoder,
    but with additive attention, where its layers' carries are coordinates of one state.

    Returns:
        "decoder", "encoder", "encoder backward", with the number of the layer where there are several.
    """
    targets = ended(targets, lengths)
    tokens = shifted(targets)
    decoder = model.decoder

    def loss_of(position: Any, ys: Array) -> Array:
        return -decoder.log_probability(decoder.features(position, ys), targets, lengths)

    position = decoder.start(model.encoder(inputs))
    cell, params = decoder.network(position.memory)
    found = _through(
        cell,
        params,
        decoder.inputs(position, tokens),
        position.carry,
        lengths,
        lambda carry, ys: loss_of(position, ys),
        "decoder",
    )
    if not isinstance(model.encoder, SequenceEncoder):
        return found
    encoder, sentences = model.encoder, inputs

    def rest(carry: Any, ys: Array) -> Array:
        position = decoder.start(encoder.encoded(carry, ys, sentences.lengths))
        cell, params = decoder.network(position.memory)
        return loss_of(
            position, unroll(cell, params, decoder.inputs(position, tokens), position.carry, deterministic=True)[1]
        )

    recurrent, xs = encoder.recurrent, encoder.embedding[...][sentences.tokens]
    return found | _through(recurrent.cell, recurrent.params, xs, None, sentences.lengths, rest, "encoder")


def _through(
    cell: Cell[Any, Any], params: Any, xs: Array, carry: Any, lengths: Array, rest: Rest, name: str
) -> dict[str, Norms]:
    """The norms of every cell over time that a network is made of."""
    run = partial(unroll, lengths=lengths, deterministic=True)
    if isinstance(cell, Composite) and isinstance(cell, Around):  # dropout, of which evaluation has none
        return _through(cell.cell, cell.inner(params), xs, carry, lengths, rest, name)
    if isinstance(cell, Stack):
        found: dict[str, Norms] = {}
        finals: list[Any] = []
        starts = [None] * len(cell.layers) if carry is None else carry.layers
        for number, (layer, own, begin) in enumerate(zip(cell.layers, params.layers, starts, strict=True)):

            def after(final: Any, ys: Array, number: int = number, below: Any = tuple(finals)) -> Array:
                above = []
                for upper, its, first in list(zip(cell.layers, params.layers, starts, strict=True))[number + 1 :]:
                    last, ys = run(upper, its, ys, first)
                    above.append(last)
                return rest(StackCarry((*below, final, *above)), ys)

            found |= _through(layer, own, xs, begin, lengths, after, f"{name} {number + 1}")
            final, xs = run(layer, own, xs, begin)
            finals.append(final)
        return found
    if isinstance(cell, Bidirectional):
        (ahead, back), (own, other) = cell.cells, params
        forward, ys = run(ahead, own, xs)
        backward, more = run(back, other, xs, reverse=True)

        def merged(ys: Array, more: Array) -> Array:
            return jnp.concatenate([ys, more], -1) if cell.merge == "concat" else ys + more

        def after_forward(final: Any, ys: Array) -> Array:
            return rest(BidirectionalCarry(final, backward), merged(ys, more))

        def after_backward(final: Any, turned: Array) -> Array:
            return rest(BidirectionalCarry(forward, final), merged(ys, _turned(turned, lengths)))

        return _through(ahead, own, xs, None, lengths, after_forward, name) | _through(
            back, other, _turned(xs, lengths), None, lengths, after_backward, f"{name} backward"
        )
    return _named(flow.gradient_norms(cell, params, xs, rest, carry, lengths=lengths).per_example, name)


def _turned(xs: Array, lengths: Array) -> Array:
    """Every sequence from its end to its beginning; the padding stays behind it."""
    steps = jnp.arange(len(xs))[:, None]
    places = jnp.where(steps < lengths, lengths - 1 - steps, steps)
    return jnp.take_along_axis(xs, places[..., None], 0)


def _named(norms: Any, name: str) -> dict[str, Norms]:
    """Those of the first array of every cell's carry."""
    if isinstance(norms, AttendingCarry):
        return _named(norms.cell, name)
    if isinstance(norms, StackCarry):
        return {
            key: value
            for number, layer in enumerate(norms.layers)
            for key, value in _named(layer, f"{name} {number + 1}").items()
        }
    return {name: jax.tree.leaves(norms)[0]}
