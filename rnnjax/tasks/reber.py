"""The embedded Reber grammar: the second symbol of a string comes again as the last but one."""

import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from rnnjax.tasks.base import Batch, ClassificationTask

SYMBOLS = "BTPSXVE"

REBER = (
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
)
"""Reber's grammar: at every node the symbols that may follow, and the nodes that they lead to; 7 is the end."""


def _embedded() -> list[dict[str, int]]:
    """B, then T or P, a string of Reber's grammar, the same T or P again, and E."""
    first, size = 2, len(REBER) + 1
    end = first + 2 * size
    inner = [
        {symbol: start + node for symbol, node in arcs.items()}
        for start in (first, first + size)
        for arcs in (*REBER, {})
    ]
    for again, start in ("T", first), ("P", first + size):
        inner[start - first + len(REBER)] = {again: end}
    return [{"B": 1}, {"T": first, "P": first + size}, *inner, {"E": end + 1}]


ARCS = _embedded()
NODES = len(ARCS) + 1
"""Nodes of the embedded grammar; the last is the end."""

NEXT = np.full((NODES, len(SYMBOLS)), NODES - 1)
LEGAL = np.zeros((NODES, len(SYMBOLS)), bool)
CHOICES = np.zeros((NODES, 2), int)
for _node, _arcs in enumerate(ARCS):
    for _symbol, _target in _arcs.items():
        NEXT[_node, SYMBOLS.index(_symbol)], LEGAL[_node, SYMBOLS.index(_symbol)] = _target, True
    CHOICES[_node] = [SYMBOLS.index(symbol) for symbol in (list(_arcs) * 2)[:2]]  # one that is forced stands twice


def nodes_of(maps: Int[Array, "time *batch nodes"]) -> Int[Array, "time *batch"]:
    """The node after every step, from the first node on; `maps` tells for every node which one follows it."""
    through = lax.associative_scan(lambda first, then: jnp.take_along_axis(then, first, -1), maps)
    return through[..., 0]


def legal_successors(symbols: Int[Array, "time *batch"], continual: bool = False) -> Bool[Array, "time *batch 7"]:
    """The checker: which of B T P S X V E may come after each symbol of strings of the embedded grammar.

    After the end nothing is legal; with `continual` another string follows, which begins with B.

    >>> import jax.numpy as jnp
    >>> legal = legal_successors(jnp.array(["BTPSXVE".index(symbol) for symbol in "BPBTXSEPE"]))
    >>> ["".join(symbol for symbol, yes in zip("BTPSXVE", row) if yes) for row in legal]
    ['TP', 'B', 'TP', 'SX', 'SX', 'E', 'P', 'E', '']
    """
    after = NEXT.copy()
    if continual:
        after[after == NODES - 1] = 0
    return jnp.asarray(LEGAL)[nodes_of(jnp.moveaxis(jnp.asarray(after)[:, symbols], 0, -1))]


class _Reber(ClassificationTask):
    """Symbols B T P S X V E, one-hot; the next one is to be told at every step, by cross-entropy."""

    input_size: ClassVar[int] = 7
    output_size: ClassVar[int] = 7
    continual: ClassVar[bool] = False

    @property
    def baseline(self) -> float:
        """ln 7: all symbols alike."""
        return math.log(7)

    def correct(self, outputs: Float[Array, "time batch outputs"], batch: Batch) -> Bool[Array, "batch"]:
        """The legal next symbols are the most active outputs, at every step."""
        legal = legal_successors(batch.inputs.argmax(-1), self.continual)
        lowest = jnp.where(legal, outputs, jnp.inf).min(-1)
        highest = jnp.where(legal, -jnp.inf, outputs).max(-1)
        return ((lowest > highest) | (batch.weights == 0)).all(0)

    def _strings(self, heads: Bool[Array, "time batch nodes"]) -> Int[Array, "time batch"]:
        """Symbols, from a choice between two for every node and step."""
        chosen = jnp.where(heads, jnp.asarray(CHOICES[:, 0]), jnp.asarray(CHOICES[:, 1]))
        follow = jnp.asarray(NEXT)[jnp.arange(NODES), chosen]
        if self.continual:
            follow = jnp.where(follow == NODES - 1, 0, follow)
        after = nodes_of(follow)
        before = jnp.concatenate([jnp.zeros_like(after[:1]), after[:-1]])
        return jnp.take_along_axis(chosen, before[..., None], -1)[..., 0]


class EmbeddedReber(_Reber):
    """Strings of the embedded Reber grammar, every branch with probability 1/2.

    `length` is that of the longest string: longer ones are left out, and the others keep their shares (of all strings,
    2 in 1000 are longer than 30 symbols, and 1 in 10 million longer than 80). A string of n symbols has n - 1 inputs.
    The loss is the mean over its predictions; right are the sequences at all of whose steps the legal next symbols are
    the most active outputs.

    Source: Hochreiter & Schmidhuber 1997, experiment 1; A. Cleeremans, D. Servan-Schreiber, J. L. McClelland, "Finite
    State Automata and Simple Recurrent Networks", Neural Computation 1(3), 1989.
    """

    min_length: ClassVar[int] = 9

    @property
    def max_length(self) -> int:
        return self.length - 1

    def sample(self, key: Array, batch_size: int) -> Batch:
        first = jax.random.uniform(key, (self.length, batch_size, 1)) < jnp.asarray(_shares(self.length))[:, None]
        symbols = self._strings(first)
        ends = symbols == SYMBOLS.index("E")
        # The second E is that of the string: the first is that of the inner one.
        lengths = (ends.cumsum(0) >= 2).argmax(0)
        real = jnp.arange(self.max_length)[:, None] < lengths
        return Batch(
            inputs=jnp.where(real[..., None], jax.nn.one_hot(symbols[:-1], 7), 0),
            targets=symbols[1:],
            weights=jnp.where(real, 1 / lengths, 0),
            lengths=lengths,
        )


class ContinualEmbeddedReber(_Reber):
    """Strings of the embedded Reber grammar one after the other, without a mark or a reset between them.

    `length` is the number of steps, at each of which the next symbol is to be told.

    Source: F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural
    Computation 12(10), 2000.
    """

    min_length: ClassVar[int] = 1
    continual: ClassVar[bool] = True

    def sample(self, key: Array, batch_size: int) -> Batch:
        symbols = self._strings(jax.random.bernoulli(key, 0.5, (self.length + 1, batch_size, NODES)))
        return Batch(
            inputs=jax.nn.one_hot(symbols[:-1], 7),
            targets=symbols[1:],
            weights=jnp.full((self.length, batch_size), 1 / self.length),
            lengths=jnp.full((batch_size,), self.length),
        )


@functools.lru_cache(maxsize=32)
def _shares(length: int) -> Float[np.ndarray, "time nodes"]:
    """The probability of the first of two choices at every step and node, among strings of at most `length` symbols."""
    ends = np.zeros(NODES)
    ends[-1] = 1  # the probability to end within the steps that are left
    shares = np.zeros((length, NODES))
    for step in reversed(range(length)):
        first, second = (ends[NEXT[np.arange(NODES), CHOICES[:, side]]] for side in (0, 1))
        total = first + second
        shares[step] = np.where(total > 0, first / np.where(total > 0, total, 1), 0)
        ends = total / 2
        ends[-1] = 1
    return shares
