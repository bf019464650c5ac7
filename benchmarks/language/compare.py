"""Tokens a second in training, in rnnjax and in PyTorch: the same model, in turn, in one run."""

import collections
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import environment
from benchmarks.devices import cores
from benchmarks.errors import BenchmarkError, HelpNeeded, Interrupted, UsageError
from benchmarks.options import Int, check_least
from benchmarks.results import Record, Results
from rnnjax import Around, Stack
from rnnjax.interop import to_torch
from rnnjax.models import LanguageModel, rnnlm, split
from rnnjax.train import language, make_optimizer, make_steps, start


class Work(NamedTuple):
    """A model with tied weights, and what it is trained with."""

    hidden_size: int
    layers: int
    dropout: float
    vocabulary_size: int = 10_000
    batch_size: int = 20
    bptt: int = 35
    learning_rate: float = 1.0
    max_norm: float = 0.25


WORK = {"rnnlm": Work(100, 1, 0.0), "better-rnnlm": Work(650, 2, 0.5)}
STRETCHES = 8
"""Of the text, which is drawn at random: speed does not depend on it."""
SAMPLE_SECONDS = 1.0
"""About how long a sample takes."""


def defaults(**given: Any) -> dict[str, Any]:
    """Nothing stands for options that were not given but their defaults."""
    return {}


def command(*, compare: Literal["torch"] | None = None, rounds: Int = 5, out: Path = Path("results")) -> None:
    """Language models of recurrent cells: train, evaluate, sample, or time training beside another library.

    With --compare: tokens a second of the same model, batch and length. Embedding, LSTM layers and a linear layer tied
    to the embedding, at the sizes of Rnnlm (whose own two are not tied) and BetterRnnlm and with their dropout,
    clipping and SGD, after both libraries have shown that they find the same loss and gradients. Prints a table and
    writes records.jsonl, config.json and environment.json to OUT/language-torch/TIME/.

    Parameters
    ----------
    compare
        The library.
    rounds
        Samples of each library, taken in turn.
    out
        Folder that the results folder is made in.
    """
    if compare is None:
        raise HelpNeeded
    check_least("--rounds", rounds, 1)
    run(Console(), rounds, out)


def run(console: Console, rounds: int, out: Path) -> None:
    """Times every model in both libraries, after checking that they compute the same."""
    try:
        import torch

        from benchmarks.peers.pytorch_language import Trainer
    except ImportError:
        raise UsageError("--compare torch: PyTorch is not installed; the extra rnnjax[peers] brings it") from None
    here = environment.describe() | {"torch": torch.__version__}
    settings = {name: work._asdict() for name, work in WORK.items()} | {"rounds": rounds}
    results = Results.create(out, "language-torch", settings, here)
    try:
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("", total=rounds * len(WORK))
            for name, work in WORK.items():
                progress.update(bar, description=name)
                record = compare_one(name, work, Trainer, torch.set_num_threads, rounds, lambda: progress.advance(bar))
                results.append([record | {"config": settings, "environment": here}])
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted; the models that were done are in {results.folder}") from None
    print_table(console, results.read())
    console.print(f"Records: {results.folder}", soft_wrap=True, highlight=False)


def compare_one(
    name: str, work: Work, trainer: Any, set_threads: Callable[[int], None], rounds: int, advance: Callable[[], None]
) -> Record:
    """Tokens a second of one model, a sample a round; PyTorch on one thread and on all cores."""
    model = rnnlm(
        work.vocabulary_size,
        hidden_size=work.hidden_size,
        layers=work.layers,
        dropout=work.dropout,
        tied=True,
        rngs=nnx.Rngs(0),
    )
    shape = STRETCHES * work.bptt + 1, work.batch_size
    text = np.random.RandomState(0).randint(0, work.vocabulary_size, shape).astype(np.int32)
    theirs = make_theirs(model, trainer, work, text)
    difference = check_equal(model, theirs, text, work.bptt)
    train = {"rnnjax": make_ours(model, text, work)}
    for threads in sorted({1, cores()}):

        def on(steps: int, threads: int = threads) -> None:
            set_threads(threads)
            theirs.train(steps, work.learning_rate, work.max_norm)

        train[f"torch, threads {threads}"] = on
    steps = {}
    for column, call in train.items():
        call(1)
        steps[column] = max(1, round(SAMPLE_SECONDS / clock(partial(call, 1))))
    rates = collections.defaultdict[str, list[float]](list)
    for _ in range(rounds):
        for column, call in train.items():
            tokens = steps[column] * work.batch_size * work.bptt
            rates[column].append(tokens / clock(partial(call, steps[column])))
        advance()
    medians = {column: statistics.median(values) for column, values in rates.items()}
    return {
        "benchmark": "language-torch",
        "model": name,
        "work": work._asdict(),
        "tokens_per_second": rates,
        "median": {"rnnjax": medians.pop("rnnjax"), "torch": max(medians.values())},
        "difference": difference,
    }


def make_theirs(model: LanguageModel, trainer: Any, work: Work, text: np.ndarray) -> Any:
    """PyTorch's trainer with our weights."""
    w, b = jax.tree.map(np.asarray, model.readout())
    params = jax.tree.map(np.asarray, model.recurrent.params)
    return trainer(plain(model.cell), params, w.T, b, work.dropout, text, work.bptt)


def plain(cell: Any) -> Any:
    """A cell without the dropout around it."""
    if isinstance(cell, Stack):
        return Stack(tuple(plain(layer) for layer in cell.layers))
    return plain(cell.cell) if isinstance(cell, Around) else cell


def make_ours(model: LanguageModel, text: np.ndarray, work: Work) -> Callable[[int], None]:
    params, _, build = split(model)
    optimizer = make_optimizer("sgd", work.learning_rate, max_norm=work.max_norm)
    steps = make_steps(language.language_loss(build, work.bptt), optimizer)
    state = start(params, optimizer, jax.random.key(0), model.initial_carry(work.batch_size))
    data = language.padded(text, work.bptt)
    # One plan of as many steps as any call makes: the stretches again and again.
    starts, lengths = (jnp.tile(part, 1000) for part in language.stretches(text, work.bptt)(0).items)

    def train(count: int) -> None:
        nonlocal state
        state = jax.block_until_ready(steps(state, data, (starts, lengths), 0, count))

    return train


def check_equal(model: LanguageModel, theirs: Any, text: np.ndarray, bptt: int) -> float:
    """How far loss and gradients of both libraries are apart, without dropout; too far is an error."""
    params, _, build = split(model)
    tokens, targets = language.stretch(jnp.asarray(text), 0, bptt)

    @jax.jit
    def ours(params: Any) -> Any:
        def loss(params: Any) -> Any:
            return build(params).loss(tokens, targets, deterministic=True)[1].cross_entropy

        return jax.value_and_grad(loss)(params)

    loss, gradient = ours(params)
    their_loss, their_gradients = theirs.gradients()
    apart = [abs(float(loss) / their_loss - 1)]
    layers = to_torch(plain(model.cell), jax.tree.map(np.asarray, build(gradient).recurrent.params))
    found = {"embedding.weight": gradient["embedding"][...], "linear.bias": gradient["b"][...]}
    # PyTorch's two biases are added, so that each has the gradient of the sum: one is compared.
    found |= {f"lstm.{name}": leaf for name, leaf in layers.items() if not name.startswith("bias_hh")}
    for name, leaf in found.items():
        want = their_gradients[name]
        apart.append(float(np.linalg.norm(leaf - want) / np.linalg.norm(want)))
    if not max(apart) < 1e-3:
        raise BenchmarkError(f"loss and gradients are not those of PyTorch; apart by {max(apart):.2g}")
    return max(apart)


def clock(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def table_rows(records: Sequence[Record]) -> list[tuple[str, str, str, str]]:
    """Model, median tokens a second of PyTorch and of rnnjax, and how many times as many ours are."""
    medians = [(record["model"], record["median"]["torch"], record["median"]["rnnjax"]) for record in records]
    return [(name, f"{torch:,.0f}", f"{rnnjax:,.0f}", f"{rnnjax / torch:.2f}") for name, torch, rnnjax in medians]


def print_table(console: Console, records: Sequence[Record]) -> None:
    table = Table("model", title="Training: median tokens a second")
    for heading in ("PyTorch", "rnnjax", "ratio"):
        table.add_column(heading, justify="right")
    for row in table_rows(records):
        table.add_row(*row)
    console.print(table)
