"""The neural sequence chunker: two networks that compress a sequence of symbols into what cannot be predicted of it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from rnnjax.cells.base import Cell
from rnnjax.cells.elman import Elman
from rnnjax.checks import check_positive, check_size
from rnnjax.compose.readout import Readout
from rnnjax.initializers import Uniform
from rnnjax.learn import RTRL, Algorithm
from rnnjax.learn.forward import ForwardCarry


class ChunkerParams(NamedTuple):
    """Weights of the two networks."""

    automatiser: Any
    chunker: Any


class ChunkerCarry(NamedTuple):
    """What `Chunker` goes on from."""

    automatiser: Any
    """Its carry under the learning algorithm, as that of the chunker."""
    chunker: Any
    """Before its last input."""
    last: Float[Array, "symbols"]
    """The last symbol that was not predicted: the chunker's last input."""
    h: Float[Array, "hidden_size"]
    """The chunker's hidden state after it."""


class ChunkerStep(NamedTuple):
    """What a step of `Chunker` gives."""

    y: Float[Array, "symbols"]
    """The automatiser's prediction of the next symbol."""
    surprised: Bool[Array, ""]
    """Whether it failed, so that the symbol went to the chunker."""
    gradients: ChunkerParams
    carry: ChunkerCarry


@dataclass(frozen=True)
class Chunker:
    """Two recurrent networks that predict the next symbol, on two time scales:

        a_t, p_t = automatiser(x_t),    target: [x_(t+1), h],    unexpected: max |a_t - x_(t+1)| >= tolerance
        only where x_(t+1) is unexpected: the chunker, which saw the last unexpected symbol u, has x_(t+1) as its
        target, then as its next input, and its hidden state becomes h

    The automatiser tries to predict each next symbol, and in p_t the chunker's hidden state, so that it comes to keep
    what the chunker knows. The chunker sees a sequence without what can be predicted: lags are short for it. Both are
    networks of `hidden_size` logistic units that see each other, with direct connections from inputs to logistic
    outputs; both learn by `algorithm` from 1/2 sum of squared errors, an update a step. Weights without biases:
    (symbols + hidden_size) * (symbols + 2 * hidden_size) of the automatiser, (symbols + hidden_size)^2 of the chunker.

    Source: J. Schmidhuber, "Learning Complex, Extended Sequences Using the Principle of History Compression", Neural
    Computation 4(2), 1992, section 4, with real-time recurrent learning in place of backpropagation over a few steps.
    """

    hidden_size: int = 1
    tolerance: float = 0.25
    bound: float = 0.2
    """Weights are drawn from U[-bound, bound]."""
    algorithm: Algorithm = RTRL()

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_size", check_size("hidden_size", self.hidden_size))
        object.__setattr__(self, "tolerance", check_positive("tolerance", self.tolerance))
        object.__setattr__(self, "bound", check_positive("bound", self.bound))

    def network(self, outputs: int) -> Readout:
        """The cell of a network with so many outputs: the automatiser's if they are more than the symbols."""
        draw = Uniform(self.bound)
        return Readout(Elman(self.hidden_size, "logistic", draw, draw), outputs, draw, direct=True)

    def init(self, key: Array, symbols: int) -> ChunkerParams:
        """Draws the weights of both networks; biases are zero."""
        keys = jax.random.split(key)
        return ChunkerParams(
            self.network(symbols + self.hidden_size).init(keys[0], symbols),
            self.network(symbols).init(keys[1], symbols),
        )

    def start(self, params: ChunkerParams, x: Float[Array, "symbols"]) -> ChunkerCarry:
        """The carry before a sequence that begins with `x`, which nobody could predict."""
        networks = self.network(len(x) + self.hidden_size), self.network(len(x))
        automatiser, chunker = (
            self.algorithm.start(network, own, x[None]) for network, own in zip(networks, params, strict=True)
        )
        return ChunkerCarry(automatiser, chunker, x, _hidden(networks[1], params.chunker, chunker, x))

    def step(
        self, params: ChunkerParams, carry: ChunkerCarry, x: Float[Array, "symbols"], target: Float[Array, "symbols"]
    ) -> ChunkerStep:
        """One step: predicts `target`, the symbol after `x`, and gives the gradients of both networks' losses."""
        upper = self.network(len(x))
        lower = self.network(len(x) + self.hidden_size)
        both = jnp.concatenate([target, carry.h])
        below = self.algorithm(lower, params.automatiser, carry.automatiser, x[None], _squares, targets=both[None])
        z = lower.project(params.automatiser, x)
        y = jax.nn.sigmoid(lower.output(params.automatiser, _own(below.carry), z))[: len(x)]
        surprised = jnp.abs(y - target).max() >= self.tolerance
        above = self.algorithm(upper, params.chunker, carry.chunker, carry.last[None], _squares, targets=target[None])
        of_chunker = jax.tree.map(lambda leaf: jnp.where(surprised, leaf, 0), above.gradients)
        after = carry._replace(chunker=above.carry, last=target, h=_hidden(upper, params.chunker, above.carry, target))
        after = jax.tree.map(lambda new, old: jnp.where(surprised, new, old), after, carry)
        gradients = ChunkerParams(below.gradients, of_chunker)
        return ChunkerStep(y, surprised, gradients, after._replace(automatiser=below.carry))

    def fit(
        self,
        params: ChunkerParams,
        xs: Float[Array, "time symbols"],
        targets: Float[Array, "time symbols"],
        rate: float,
    ) -> tuple[ChunkerParams, Float[Array, "time symbols"]]:
        """One sequence, with an update of both networks a step: the new weights, and each prediction before its own."""

        def step(state: tuple[ChunkerParams, ChunkerCarry], inputs: tuple[Array, Array]) -> tuple[Any, Array]:
            params, carry = state
            y, _, gradients, carry = self.step(params, carry, *inputs)
            slopes = ChunkerParams(*map(_without_biases, gradients))
            return (jax.tree.map(lambda old, slope: old - rate * slope, params, slopes), carry), y

        (params, _), ys = lax.scan(step, (params, self.start(params, xs[0])), (xs, targets))
        return params, ys


def _without_biases(gradients: Any) -> Any:
    """The networks have none: they stay at zero."""
    none = jax.tree.map(jnp.zeros_like, (gradients.b, gradients.cell.b))
    return gradients._replace(b=none[0], cell=gradients.cell._replace(b=none[1]))


def _squares(y: Array, target: Array) -> Array:
    return 0.5 * jnp.square(jax.nn.sigmoid(y) - target).sum(-1)


def _own(carry: Any) -> Any:
    return carry.carry if isinstance(carry, ForwardCarry) else carry


def _hidden(network: Cell[Any, Any], params: Any, carry: Any, x: Array) -> Float[Array, "hidden_size"]:
    """The hidden state after one more input, of which nothing is learned yet."""
    h: Array = network.advance(params, _own(carry), network.project(params, x)).h
    return h
