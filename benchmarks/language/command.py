"""The command line of the language benchmark."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
import jax
import numpy as np
from cyclopts import Parameter
from rich.console import Console

from benchmarks import environment
from benchmarks.errors import BenchmarkError, UsageError
from benchmarks.language import compare as comparison
from benchmarks.language.config import Config, recipe
from benchmarks.language.experiment import Trained, load, load_best, make_trainable
from benchmarks.language.figures import draw
from benchmarks.language.records import make_records
from benchmarks.language.report import print_table, write_report
from benchmarks.options import Int, check_least, recipe_of
from benchmarks.results import Results
from benchmarks.run import saved_settings
from benchmarks.training import RunOptions, checked, from_saved, resumable, train_and_record
from rnnjax.models import Sampler, stream
from rnnjax.tasks.text import END_OF_LINE, DataError, Vocabulary
from rnnjax.train import CheckpointError, bits, language, perplexity

command = cyclopts.App()
command.default(comparison.command)


def defaults(config: Config = Config(), options: RunOptions = RunOptions(), **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run, or the recipe of the model."""
    if options.resume is not None:
        return saved_settings(options.resume, Config)
    return {} if "folder" in others else recipe(config)


@command.command
def train(
    *,
    config: Annotated[Config, recipe_of("the model"), Parameter(name="*")] = Config(),
    options: Annotated[RunOptions, Parameter(name="*")] = RunOptions(),
) -> None:
    """Train language models, one a cell, by the recipe of a published model or as the options say.

    Prints a table and writes records.jsonl (one record an epoch), config.json, environment.json, vocabulary.json,
    report.html with its figure (PNG and SVG) and checkpoints to OUT/language/TIME/. Ctrl-C and SIGTERM save before
    they end.

    Parameters
    ----------
    config
        Settings.
    options
        Folders, and what is kept of the run.
    """
    console = Console()
    config.check()
    options.check()
    settings = dataclasses.asdict(config)
    config.use_devices()
    texts = load(config, options.data_dir)
    for cell in config.cell:
        checked(f"--cell {cell}", partial(make_trainable, config, cell, texts))
    here = environment.describe()
    if options.resume is None:
        results = Results.create(options.out, "language", settings, here)
        write_vocabulary(results.folder, texts.vocabulary)
    else:
        results = Results.resume(options.resume, settings)
    console.print(f"Results go to {results.folder}", soft_wrap=True, highlight=False)
    with resumable(results, "language train"):
        train_and_record(
            console,
            config,
            config.cell,
            lambda cell: make_trainable(config, cell, texts),
            lambda cell, history, result: make_records(config, cell, history, result, here),
            results,
            options,
            unit=config.token,
        )
    records = results.read()
    report = write_report(results.folder, records, config, draw(records, config, results.folder))
    print_table(console, records, config)
    console.print(f"Report: {report}", soft_wrap=True, highlight=False)


@command.command
def evaluate(
    folder: Path,
    /,
    *,
    split: Literal["train", "valid", "test"] = "test",
    batch_size: Int | None = None,
    data_dir: Path | None = None,
) -> None:
    """Measure the perplexity of a trained model, at its best epoch.

    Parameters
    ----------
    folder
        Results folder of the training.
    split
        Part of the text.
    batch_size
        Parts that it is read in side by side; by default as in training.
    data_dir
        Folder of the texts, as in training.
    """
    config, vocabulary = open_folder(folder)
    size = config.eval_batch_size if batch_size is None else batch_size
    check_least("--batch-size", size, 1)
    tokens = getattr(load(config, data_dir, vocabulary), split)
    try:
        text = language.batchify(tokens, size)
    except ValueError as error:
        raise UsageError(f"--batch-size: {error}") from None
    for cell in config.cell:
        trained = best_of(config, cell, vocabulary, folder)
        loss = language.evaluator(trained.build, text, config.bptt)(trained.params)
        Console(soft_wrap=True, highlight=False).print(
            f"{cell}, epoch {trained.epoch}, {split}: {loss:.4f} nats a {config.token}, {bits(loss):.4f} bits, "
            f"perplexity {perplexity(loss):.2f}"
        )


@command.command
def sample(
    folder: Path,
    /,
    *,
    prime: str | None = None,
    length: Int = 400,
    count: Int = 1,
    temperature: float = 0.8,
    top_k: Int | None = None,
    top_p: float = 1.0,
    seed: Int = 0,
    cell: str | None = None,
) -> None:
    """Write text with a trained model, as it is drawn.

    Parameters
    ----------
    folder
        Results folder of the training.
    prime
        Text to go on from; by default the beginning of a line, or the first symbol of a text without lines.
    length
        Tokens to write.
    count
        Texts to write; they are drawn together.
    temperature
        Logits are divided by it; 0: always the most probable token.
    top_k
        Draw from so many of the most probable tokens.
    top_p
        Draw from the most probable tokens that make up this probability.
    seed
        Seed of the draws.
    cell
        Which of the trained cells; by default the first.
    """
    config, vocabulary = open_folder(folder)
    for name, value, least in (("length", length, 1), ("count", count, 1), ("seed", seed, 0)):
        check_least(f"--{name}", value, least)
    cell = config.cell[0] if cell is None else cell
    if cell not in config.cell:
        raise UsageError(f"--cell: {cell!r} was not trained there, but {', '.join(config.cell)}")
    try:
        sampler = Sampler(temperature, top_k, top_p)
    except ValueError as error:
        raise UsageError(str(error)) from None
    symbols = beginning(config, vocabulary) if prime is None else split_prime(config, prime)
    if not symbols:
        raise UsageError("--prime: give at least one token")
    try:
        tokens = vocabulary.encode(symbols)
    except DataError as error:
        raise UsageError(f"--prime: {error}") from None
    model = best_of(config, cell, vocabulary, folder).model
    primes = np.repeat(tokens[:, None], count, 1)
    texts = stream(model, jax.random.key(seed), primes, sampler, every=min(length, 16))
    if count == 1:
        write_as_drawn(config, vocabulary, prime or "", texts, length)
        return
    drawn = np.concatenate([next(texts) for _ in range(-(-length // min(length, 16)))])[:length]
    for number, column in enumerate(drawn.T):
        print(f"--- {number + 1}\n{prime or ''}{join(config, vocabulary.decode(column))}")


def write_as_drawn(config: Config, vocabulary: Vocabulary, prime: str, texts: Iterator[Any], length: int) -> None:
    sys.stdout.write(prime)
    written = 0
    while written < length:
        part = np.asarray(next(texts))[: length - written, 0]
        sys.stdout.write(join(config, vocabulary.decode(part)))
        sys.stdout.flush()
        written += len(part)
    sys.stdout.write("\n")


def join(config: Config, symbols: list[str]) -> str:
    """Text of symbols."""
    if config.unit == "characters":
        return "".join(symbols)
    return "".join("\n" if word == END_OF_LINE else f" {word}" for word in symbols)


def beginning(config: Config, vocabulary: Vocabulary) -> list[str]:
    """What a text goes on from when no prime is given: the end of a line, or the first symbol of a text without any."""
    line_end = END_OF_LINE if config.unit == "words" else "\n"
    return [line_end if line_end in vocabulary.symbols else vocabulary.symbols[0]]


def split_prime(config: Config, prime: str) -> list[str]:
    """The symbols of a prime, which has no end of a line."""
    return prime.split() if config.unit == "words" else list(prime)


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary.symbols, ensure_ascii=False), encoding="utf-8")


def best_of(config: Config, cell: str, vocabulary: Vocabulary, folder: Path) -> Trained:
    try:
        return load_best(config, cell, len(vocabulary), folder)
    except CheckpointError as error:
        raise BenchmarkError(str(error)) from None


def open_folder(folder: Path) -> tuple[Config, Vocabulary]:
    """The settings and the vocabulary of a run."""
    try:
        settings = saved_settings(folder, Config)
        symbols = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    except UsageError as error:
        raise UsageError(str(error).removeprefix("--resume: ")) from None
    except (OSError, ValueError):
        raise UsageError(f"{folder} has no readable vocabulary.json") from None
    return from_saved(settings, Config), Vocabulary(tuple(symbols))
