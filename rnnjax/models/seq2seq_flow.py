"""How the error of a sequence that is written flows back through the decoder and the encoder."""

from collections.abc import Callable
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
from rnnjax.models.seq2seq import END, EncoderDecoder, SequenceEncoder, shifted
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
    with all that comes after it; a backward direction counts its steps from the end of the sequence. In the decoder the
    layers' carries are coordinates of one state.

    Returns:
        "decoder", "encoder", "encoder backward", with the number of the layer behind where there are several.
    """
    real = jnp.arange(len(targets))[:, None] < lengths
    targets = jnp.where(real, targets, END)
    tokens = shifted(targets)
    decoder = model.decoder

    def loss_of(position: Any, ys: Array) -> Array:
        log_p = jax.nn.log_softmax(decoder.logits(decoder.features(position, ys)))
        return -jnp.where(real, jnp.take_along_axis(log_p, targets[..., None], -1)[..., 0], 0).sum(0)

    position = decoder.start(model.encoder(inputs))
    cell, params = decoder.network(position.memory)
    own = flow.gradient_norms(
        cell, params, decoder.inputs(position, tokens), lambda carry, ys: loss_of(position, ys), position.carry
    )
    found = _named(own.per_example, "decoder")
    if not isinstance(model.encoder, SequenceEncoder):
        return found
    encoder, sentences = model.encoder, inputs

    def rest(carry: Any, ys: Array) -> Array:
        position = decoder.start(encoder.encoded(carry, ys, sentences.lengths))
        cell, params = decoder.network(position.memory)
        return loss_of(position, unroll(cell, params, decoder.inputs(position, tokens), position.carry)[1])

    recurrent = encoder.recurrent
    return found | _through(
        recurrent.cell, recurrent.params, encoder.embedding[...][sentences.tokens], sentences.lengths, rest, "encoder"
    )


def _through(cell: Cell[Any, Any], params: Any, xs: Array, lengths: Array, rest: Rest, name: str) -> dict[str, Norms]:
    """The norms of every cell over time that a network is made of."""
    if isinstance(cell, Composite) and isinstance(cell, Around):  # dropout, of which evaluation has none
        return _through(cell.cell, cell.inner(params), xs, lengths, rest, name)
    if isinstance(cell, Stack):
        found: dict[str, Norms] = {}
        carries: list[Any] = []
        for number, (layer, own) in enumerate(zip(cell.layers, params.layers, strict=True)):

            def after(carry: Any, ys: Array, number: int = number, below: Any = tuple(carries)) -> Array:
                above = []
                for each, its in zip(cell.layers[number + 1 :], params.layers[number + 1 :], strict=True):
                    last, ys = unroll(each, its, ys, lengths=lengths, deterministic=True)
                    above.append(last)
                return rest(StackCarry((*below, carry, *above)), ys)

            found |= _through(layer, own, xs, lengths, after, f"{name} {number + 1}")
            carry, xs = unroll(layer, own, xs, lengths=lengths, deterministic=True)
            carries.append(carry)
        return found
    if isinstance(cell, Bidirectional):
        (ahead, back), (own, other) = cell.cells, params
        forward, ys = unroll(ahead, own, xs, lengths=lengths, deterministic=True)
        backward, more = unroll(back, other, xs, lengths=lengths, reverse=True, deterministic=True)

        def merged(ys: Array, more: Array) -> Array:
            return jnp.concatenate([ys, more], -1) if cell.merge == "concat" else ys + more

        def after_forward(carry: Any, ys: Array) -> Array:
            return rest(BidirectionalCarry(carry, backward), merged(ys, more))

        def after_backward(carry: Any, turned: Array) -> Array:
            return rest(BidirectionalCarry(forward, carry), merged(ys, _turned(turned, lengths)))

        return _through(ahead, own, xs, lengths, after_forward, name) | _through(
            back, other, _turned(xs, lengths), lengths, after_backward, f"{name} backward"
        )
    return _named(flow.gradient_norms(cell, params, xs, rest, lengths=lengths).per_example, name)


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
