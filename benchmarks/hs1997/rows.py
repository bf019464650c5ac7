"""The rows of Tables 1-9 of the paper as data: tasks, networks, settings, and what was published of them.

S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, sections 4 and 5. A row's name
is that of its experiment, method and sizes. What the paper leaves open is our choice, and said in the row's note.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnjax import LSTM1997, Elman, Readout
from rnnjax.cells.base import Cell
from rnnjax.initializers import Uniform, Zeros
from rnnjax.learn import BPTT, RTRL, Algorithm, OneStep, Truncated1997, WeightGuessing
from rnnjax.models import Chunker, RecurrentCascade
from rnnjax.registry import Registry
from rnnjax.tasks import (
    Adding1997,
    EmbeddedReber,
    LongLag2a,
    LongLag2b,
    LongLag2c,
    Multiplication,
    Task,
    TemporalOrder6a,
    TemporalOrder6b,
    TwoSequence3a,
    TwoSequence3b,
    TwoSequence3c,
)
from rnnjax.tasks.two_sequence import TwoSequence


class Published(NamedTuple):
    """What the paper says of a row; None where it says nothing."""

    solved: float | str | None = None
    """Per cent of the trials, or the words of the paper."""
    sequences: float | None = None
    """Until success, of successful trials."""
    spread: tuple[float, float] | None = None
    """The fewest and the most sequences of a trial."""
    first_stop: float | None = None
    """Sequences until the first of two stopping criteria (ST1)."""
    wrong: float | None = None
    """The share that is wrong of 2560 sequences after training."""
    more_than: int | None = None
    """Sequences that were not enough, where nothing was solved."""


class Strings(NamedTuple):
    """All of 256 strings trained on, and of 256 others, are predicted right; looked at every `every` sequences."""

    every: int = 50


class Recent(NamedTuple):
    """At most `wrong` of the last `size` training sequences are wrong, and their mean squared error is below `error`.

    With `from_start` the sequences of a trial are those before these: it *stays* right for so long.
    """

    size: int
    wrong: int = 0
    error: float = math.inf
    from_start: bool = False


class FreshSet(NamedTuple):
    """ST1: at most `wrong` of 256 fresh sequences are wrong. ST2: and their mean absolute error is below `error`."""

    wrong: int
    error: float
    every: int = 250


class Effort(NamedTuple):
    """How much a run does for a row."""

    trials: int
    cap: int
    """Training sequences after which a trial is given up."""


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    experiment: str
    method: str
    task: Task
    network: Cell[Any, Any] | Chunker | RecurrentCascade
    algorithm: Algorithm | None
    """None for networks with a training procedure of their own."""
    rate: float
    criterion: Strings | Recent | FreshSet
    published: Published
    full: Effort
    """In a full run: the trials of the paper, and a cap above its numbers."""
    default: Effort | None = None
    """In the default run, if it is in it."""
    weights: int | None = None
    """As published; None where the paper does not say."""
    tolerance: float = math.inf
    """A training sequence is right if all errors are below."""
    biases: Literal["none", "gates", "hidden", "all"] = "none"
    """Which units have biases."""
    outputs: Literal["logistic", "linear"] = "logistic"
    """The output units; those of a fully recurrent net are logistic, as all its units."""
    online: bool = False
    """An update after every step, instead of one after the sequence."""
    added: int = 0
    """Sequences after which the hidden units are added, beside direct connections that have learned what they can."""
    note: str = ""
    """What the paper leaves open, and we chose."""

    def squash(self, y: Array) -> Array:
        """The outputs, from what the network gives; units of a fully recurrent net are logistic already."""
        if isinstance(self.network, Elman):
            return y[..., : self.task.output_size]
        return jax.nn.sigmoid(y) if self.outputs == "logistic" else y

    def loss(self, y: Array, target: Array) -> Array:
        """1/2 sum of (target - output)^2, of one step."""
        return 0.5 * jnp.square(self.squash(y) - target).sum(-1)

    @property
    def first_stop(self) -> str | None:
        """What the first of two parts of the criterion is called; None if there is but one."""
        if isinstance(self.criterion, FreshSet):
            return "ST1"
        if isinstance(self.criterion, Recent) and math.isfinite(self.criterion.error):
            return f"error < {self.criterion.error:g} after"
        return None

    @property
    def trained(self) -> Any:
        """Like the parameters: 1 for a weight that the network of the paper has, 0 for one that stays zero."""
        shapes = jax.eval_shape(lambda: self.network.init(jax.random.key(0), self.task.input_size))
        ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
        if isinstance(self.network, Chunker):
            for params in ones:
                params.b[...] = params.cell.b[...] = 0
            return ones
        cell, params = (self.network.cell, ones.cell) if isinstance(self.network, Readout) else (self.network, ones)
        params.b[...] = self.biases != "none"
        if isinstance(cell, LSTM1997):
            if self.biases == "gates":
                params.b[cell.blocks : cell.blocks + cell.hidden_size] = 0
            params.w_h[...] = cell.recurrent_init != Zeros()
        if isinstance(self.network, Readout):
            ones.b[...] = self.biases == "all"
        return ones

    def there(self, sequences: Array) -> Any:
        """Like the parameters, one number a leaf: 1 where the weights take part after so many sequences, and else 0."""
        late = jnp.float32(1) if self.added == 0 else (sequences >= self.added).astype(jnp.float32)
        everywhere = jax.tree.map(lambda _: late, self.trained)
        return everywhere._replace(w_x=jnp.float32(1)) if self.added else everywhere

    def seconds(self, effort: Effort) -> float:
        """Roughly how long trials take on one core that are all given up at their cap; an update takes time as well."""
        steps = effort.trials * effort.cap * self.task.max_length
        if isinstance(self.network, RecurrentCascade):  # all strings at once
            return steps * 1e-7
        return steps * (2e-6 + 6e-10 * (self.counted or 0) if self.online else 1.1e-6 + 3e-10 * (self.counted or 0))

    @property
    def counted(self) -> int | None:
        """The number of weights; those of the chunker are its automatiser's, as in the paper. None if it grows."""
        if isinstance(self.network, RecurrentCascade):
            return None
        trained = self.trained.automatiser if isinstance(self.network, Chunker) else self.trained
        return int(sum(leaf.sum() for leaf in jax.tree.leaves(trained)))


# --- networks ---------------------------------------------------------------------------------------------------------


def lstm(
    blocks: int,
    size: int,
    outputs: int,
    bound: float,
    input_gate_bias: float | tuple[float, ...] = 0.0,
    output_gate_bias: float | tuple[float, ...] = 0.0,
) -> Readout:
    """The networks of all experiments but 2a and 2b."""
    draw = Uniform(bound)
    cell = LSTM1997(blocks * size, size, input_gate_bias, output_gate_bias, input_init=draw, recurrent_init=draw)
    return Readout(cell, outputs, draw)


def lstm_2a(symbols: int, g: Literal["symmetric", "logistic"] = "logistic") -> Readout:
    """One cell with an input gate, and inputs to outputs directly: symbols^2 + 3 symbols weights."""
    draw = Uniform(0.2)
    cell = LSTM1997(1, output_gate=False, g=g, h="identity", input_init=draw, recurrent_init=Zeros())
    return Readout(cell, symbols, draw, direct=True)


def self_connected(symbols: int) -> Readout:
    """The competitors of experiment 2: a logistic unit that sees itself, inputs to outputs: (symbols + 1)^2 weights."""
    draw = Uniform(0.2)
    return Readout(Elman(1, "logistic", draw, draw), symbols, draw, direct=True)


def fully_recurrent(hidden: int, outputs: int, bound: float) -> Elman:
    """Logistic units that all see each other; the first of them are the outputs."""
    return Elman(hidden + outputs, "logistic", Uniform(bound), Uniform(bound))


def simple(hidden: int, outputs: int, bound: float) -> Readout:
    """Elman's net: logistic hidden units that see each other, and output units."""
    return Readout(Elman(hidden, "logistic", Uniform(bound), Uniform(bound)), outputs, Uniform(bound))


# --- rows -------------------------------------------------------------------------------------------------------------

RULE = Truncated1997()
PRESENT = "the paper has no such row"
LINEAR = "the linear output is our choice: with a logistic one it is not solved"


def experiment_1() -> Iterator[tuple[str, Row]]:
    """Table 1."""
    row = partial(Row, "1", task=EmbeddedReber(50), criterion=Strings(), online=True)
    full = Effort(30, 200_000)
    for hidden, weights, rate, sequences in (3, 170, 0.05, 173_000), (12, 494, 0.1, 25_000):
        yield (
            f"1-rtrl-{hidden}",
            row(
                f"RTRL, {hidden} hidden",
                network=fully_recurrent(hidden, 7, 0.2),
                algorithm=RTRL(),
                rate=rate,
                published=Published("some fraction", sequences),
                full=full,
                default=Effort(3, 30_000) if hidden == 12 else None,
                weights=weights,
            ),
        )
    yield (
        "1-elman",
        row(
            "Elman, 15 hidden",
            network=simple(15, 7, 0.2),
            algorithm=OneStep(),
            rate=0.1,
            published=Published(0, more_than=200_000),
            full=full,
            default=Effort(10, 20_000),
            weights=435,
            note="the learning rate is our choice",
        ),
    )
    yield (
        "1-cascade",
        row(
            "Recurrent Cascade-Correlation",
            network=RecurrentCascade(7, max_units=12),
            algorithm=None,
            rate=0.01,
            published=Published(50, 182_000),
            full=Effort(30, 1_000_000),
            default=Effort(5, 1_000_000),
            note="Rprop in place of Quickprop, the epochs are our choice; 7-9 units published",
        ),
    )
    for blocks, size, rate, solved, sequences, spread in (
        (4, 1, 0.1, 100, 39_740, None),
        (3, 2, 0.1, 100, 21_730, None),
        (3, 2, 0.2, 97, 14_060, None),
        (4, 1, 0.5, 97, 9_500, None),
        (3, 2, 0.5, 100, 8_440, (3_800, 24_100)),
    ):
        yield (
            f"1-lstm-{blocks}x{size}-{rate}",
            row(
                f"LSTM, {blocks} blocks of {size}",
                network=lstm(blocks, size, 7, 0.2, output_gate_bias=tuple(-1.0 - block for block in range(blocks))),
                algorithm=RULE,
                rate=rate,
                published=Published(solved, sequences, spread),
                full=full,
                default=Effort(10, 50_000) if rate > 0.1 else None,
                weights=264 if blocks == 4 else 276,
                biases="gates",
            ),
        )


def experiment_2a() -> Iterator[tuple[str, Row]]:
    """Table 2, and 2b, which the paper tells of in its text."""
    row = partial(Row, criterion=Recent(10_000, from_start=True), tolerance=0.25)
    full = Effort(18, 5_000_000)
    for p, weights, rate, solved, sequences, default in (
        (4, 36, 1.0, 78, 1_043_000, Effort(5, 1_200_000)),
        (4, 36, 4.0, 56, 892_000, Effort(5, 1_000_000)),
        (4, 36, 10.0, 22, 254_000, Effort(5, 400_000)),
        (10, 144, 1.0, 0, None, None),
        (100, 10404, 1.0, 0, None, None),
    ):
        yield (
            f"2a-rtrl-{p}-{rate:g}",
            row(
                "2a",
                f"RTRL, p = {p}",
                LongLag2a(p),
                self_connected(p + 1),
                RTRL(),
                rate,
                published=Published(solved, sequences, more_than=None if sequences else 5_000_000),
                full=full,
                default=default,
                weights=weights,
                online=True,
            ),
        )
    competitor = partial(row, "2a", task=LongLag2a(100), rate=1.0, full=full)
    yield (
        "2a-bptt-100",
        competitor(
            "BPTT, p = 100",
            network=self_connected(101),
            algorithm=BPTT(),
            published=Published(0, more_than=5_000_000),
            default=Effort(3, 15_000),
            weights=10404,
        ),
    )
    yield (
        "2a-chunker-100",
        competitor(
            "neural sequence chunker, p = 100",
            network=Chunker(),
            algorithm=None,
            published=Published(33, 32_400),
            default=Effort(3, 45_000),
            weights=10506,
            online=True,
        ),
    )
    added = "cell and gate are added after 4,000 sequences (paper: when the error stops to fall)"
    for name, task, online, sequences in ("2a", LongLag2a(100), True, 5_040), ("2b", LongLag2b(100), False, 5_680):
        lstm_row = row(
            name,
            "LSTM, p = 100",
            task,
            lstm_2a(101),
            RULE,
            1.0,
            published=Published(100, sequences),
            full=full,
            default=Effort(3, 20_000),
            weights=10504,
            online=online,
            added=4_000,
            note=added,
        )
        yield f"{name}-lstm-100", lstm_row
        if name == "2a":
            network, method = lstm_2a(101, "symmetric"), "LSTM, p = 100, g in [-2, 2]"
            note = f"g as in the other experiments; {added}"
            yield (
                "2a-lstm-100-symmetric",
                replace(lstm_row, method=method, network=network, default=Effort(3, 60_000), note=note),
            )


def experiment_2c() -> Iterator[tuple[str, Row]]:
    """Table 3."""
    for q, p, weights, sequences in (
        (50, 50, 364, 30_000),
        (100, 100, 664, 31_000),
        (200, 200, 1264, 33_000),
        (500, 500, 3064, 38_000),
        (1000, 1000, 6064, 49_000),
        (1000, 500, 3064, 49_000),
        (1000, 200, 1264, 75_000),
        (1000, 100, 664, 135_000),
        (1000, 50, 364, 203_000),
    ):
        yield (
            f"2c-lstm-{q}-{p}",
            Row(
                "2c",
                f"LSTM, q = {q}, p = {p}",
                LongLag2c(q, p),
                lstm(2, 1, 2, 0.2),
                RULE,
                0.01,
                Recent(10_000, from_start=True),
                Published(None, sequences),
                full=Effort(20, 1_000_000),
                default=Effort(5, 200_000) if q == p == 50 else None,
                weights=weights,
                tolerance=0.2,
            ),
        )


def experiment_3() -> Iterator[tuple[str, Row]]:
    """Tables 4 to 6, and random weight guessing, by which the paper says that 3a is solved sooner."""
    kinds: dict[str, tuple[type[TwoSequence], float, FreshSet]] = {
        "3a": (TwoSequence3a, 1.0, FreshSet(0, 0.01)),
        "3b": (TwoSequence3b, 1.0, FreshSet(5, 0.04)),
        "3c": (TwoSequence3c, 0.1, FreshSet(0, 0.015)),
    }
    defaults = {"3a": Effort(10, 60_000), "3b": Effort(5, 60_000), "3c": None}
    for name, length, informative, first_stop, sequences, wrong in (
        ("3a", 100, 3, 27_380, 39_850, 0.000195),
        ("3a", 100, 1, 58_370, 64_330, 0.000117),
        ("3a", 1000, 3, 446_850, 452_460, 0.000078),
        ("3b", 100, 3, 41_740, 43_250, 0.00828),
        ("3b", 100, 1, 74_950, 78_430, 0.01500),
        ("3b", 1000, 1, 481_060, 485_080, 0.01207),
        ("3c", 100, 3, None, 269_650, 0.00558),
        ("3c", 100, 1, None, 565_640, 0.00441),
    ):
        task, rate, criterion = kinds[name]
        yield (
            f"{name}-lstm-{length}-{informative}",
            Row(
                name,
                f"LSTM, T = {length}, N = {informative}",
                task(length, informative),
                lstm(3, 1, 1, 0.1, (-1.0, -3.0, -5.0), (-2.0, -4.0, -6.0)),
                RULE,
                rate,
                criterion,
                Published(None, sequences, None, first_stop, wrong),
                full=Effort(10, 5_000_000),
                default=defaults[name] if (length, informative) == (100, 3) else None,
                weights=102,
                tolerance=task.tolerance,
                biases="hidden",
            ),
        )
    yield (
        "3a-guessing-100-3",
        Row(
            "3a",
            "random weight guessing, T = 100, N = 3",
            TwoSequence3a(100, 3),
            simple(3, 1, 100.0),
            WeightGuessing(100.0),
            1.0,
            Recent(256, from_start=True),
            Published(),
            full=Effort(10, 1_000_000),
            default=Effort(5, 60_000),
            tolerance=0.2,
            biases="all",
            note="the paper tells of it without numbers; a guess is kept as long as it is right",
        ),
    )


def experiments_4_and_5() -> Iterator[tuple[str, Row]]:
    """Tables 7 and 8."""
    network = lstm(2, 2, 1, 0.1, (-3.0, -6.0))
    row = partial(Row, network=network, algorithm=RULE, tolerance=0.04, biases="all", outputs="linear")
    adding = partial(row, "4", criterion=Recent(2000, error=0.01))
    for length, wrong, sequences, spread, default in (
        (100, 1, 74_000, None, Effort(10, 120_000)),
        (500, 0, 209_000, None, None),
        (1000, 1, 853_000, (370_000, 2_020_000), None),
    ):
        lstm_row = adding(
            f"LSTM, T = {length}, linear output",
            Adding1997(length),
            rate=0.5,
            published=Published(None, sequences, spread, None, wrong / 2560),
            full=Effort(10, 5_000_000),
            default=default,
            weights=93,
            note=LINEAR,
        )
        yield f"4-lstm-{length}", lstm_row
        if default:
            yield f"4-lstm-{length}-logistic", logistic(lstm_row, Effort(3, 100_000))
    for method, algorithm in ("BPTT", BPTT()), ("Elman", OneStep()):
        yield (
            f"4-{method.lower()}-100",
            adding(
                f"{method}, 6 hidden, T = 100, linear output",
                Adding1997(100),
                network=simple(6, 1, 0.1),
                algorithm=algorithm,
                rate=0.03,
                published=Published(),
                full=Effort(10, 1_000_000),
                default=Effort(3, 40_000),
                note=f"{PRESENT}, the rate is our choice; RTRL has the gradient of BPTT, with one update a sequence",
            ),
        )
    for wrong, after, sequences, default in (
        (140, 139, 482_000, Effort(3, 600_000)),
        (13, 14, 1_273_000, None),
    ):
        lstm_row = row(
            "5",
            f"LSTM, fewer than {wrong} of 2000 wrong, linear output",
            Multiplication(100),
            rate=0.1,
            criterion=Recent(2000, wrong - 1),
            published=Published(None, sequences, None, None, after / 2560),
            full=Effort(10, 5_000_000),
            default=default,
            weights=93,
            note=LINEAR,
        )
        yield f"5-lstm-{wrong}", lstm_row
        if default:
            yield f"5-lstm-{wrong}-logistic", logistic(lstm_row)


def logistic(row: Row, default: Effort | None = None) -> Row:
    """The same with the output units of the other experiments."""
    return replace(row, method=row.method.replace("linear", "logistic"), outputs="logistic", default=default, note="")


def experiment_6() -> Iterator[tuple[str, Row]]:
    """Table 9."""
    row = partial(Row, algorithm=RULE, criterion=Recent(2000, error=0.1), tolerance=0.3, biases="all", experiment="6")
    yield (
        "6a-lstm",
        row(
            method="LSTM, 4 classes",
            task=TemporalOrder6a(100),
            network=lstm(2, 2, 4, 0.1, (-2.0, -4.0)),
            rate=0.5,
            published=Published(None, 31_390, None, None, 1 / 2560),
            full=Effort(20, 1_000_000),
            default=Effort(10, 60_000),
            weights=156,
        ),
    )
    yield (
        "6b-lstm",
        row(
            method="LSTM, 8 classes",
            task=TemporalOrder6b(100),
            network=lstm(3, 2, 8, 0.1, (-2.0, -4.0, -6.0)),
            rate=0.1,
            published=Published(None, 571_100, None, None, 2 / 2560),
            full=Effort(10, 5_000_000),
            weights=308,
        ),
    )
    yield (
        "6a-bptt",
        row(
            method="BPTT, 8 hidden, 4 classes",
            task=TemporalOrder6a(100),
            network=simple(8, 4, 0.1),
            algorithm=BPTT(),
            rate=0.5,
            published=Published(),
            full=Effort(20, 1_000_000),
            default=Effort(3, 40_000),
            note=PRESENT,
        ),
    )


ROWS: Registry[Row] = Registry(
    "row",
    dict(
        chain(
            experiment_1(),
            experiment_2a(),
            experiment_2c(),
            experiment_3(),
            experiments_4_and_5(),
            experiment_6(),
        )
    ),
)
EXPERIMENTS: Registry[tuple[str, ...]] = Registry(
    "experiment",
    {
        experiment: tuple(name for name, row in ROWS.items() if row.experiment == experiment)
        for experiment in dict.fromkeys(row.experiment for row in ROWS.values())
    },
)
"""Experiments and the names of their rows."""
