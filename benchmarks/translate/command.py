"""The command line of the benchmark of encoder-decoder models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from benchmarks.errors import UsageError
from benchmarks.options import Int, recipe_of
from benchmarks.report import PageTable
from benchmarks.results import Record, pick
from benchmarks.run import saved_settings
from benchmarks.training import FlowOptions
from benchmarks.translate.config import Config, recipe
from benchmarks.translate.figures import attention_maps
from benchmarks.writing import command as writing
from benchmarks.writing.experiment import Data, encode_sources, load
from benchmarks.writing.experiment import write as write_texts
from rnnjax.tasks.pairs import PAIRS
from rnnjax.tasks.text import DataError

command = cyclopts.App(help="Encoder-decoder models of recurrent cells: train, evaluate, write.")


def defaults(config: Config = Config(), options: FlowOptions = FlowOptions(), **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run, or the recipe of the data."""
    if options.resume is not None:
        return saved_settings(options.resume, Config)
    return {} if "folder" in others else recipe(config)


@command.command
def train(
    *,
    config: Annotated[Config, recipe_of("the data set"), Parameter(name="*")] = Config(),
    options: Annotated[FlowOptions, Parameter(name="*")] = FlowOptions(),
) -> None:
    """Train encoder-decoder models, one a cell, on pairs of texts.

    Prints a table and writes report.html, records.jsonl (one record an epoch), config.json, environment.json,
    vocabulary.json, figures (PNG and SVG) and checkpoints to OUT/translate/TIME/. Ctrl-C and SIGTERM save before they
    end.

    Parameters
    ----------
    config
        Settings.
    options
        Folders, and what is kept of the run.
    """
    config.check()
    writing.train(
        "translate",
        config,
        lambda: read(config, options.data_dir),
        lambda data, records: own(config, records),
        options,
    )


@command.command
def evaluate(
    folder: Path,
    /,
    *,
    split: Literal["train", "valid", "test"] = "test",
    width: Int | None = None,
    penalty: float | None = None,
    data_dir: Path | None = None,
) -> None:
    """Measure trained models, at their best epoch.

    Parameters
    ----------
    folder
        Results folder of the training.
    split
        Part of the data.
    width
        Width of beam search; by default as in training.
    penalty
        Its length penalty; by default as in training.
    data_dir
        Folder of the data, as in training.
    """
    config, known = writing.open_folder(folder, Config)
    writing.evaluate(config, read(config, data_dir, known), folder, split, width, penalty)


@command.command
def write(folder: Path, text: str, /, *, data_dir: Path | None = None) -> None:
    """Write what trained models make of a text.

    Parameters
    ----------
    folder
        Results folder of the training.
    text
        What they read: an addition such as 12+30, a date, a word, an English sentence.
    data_dir
        Folder of the data, as in training.
    """
    config, known = writing.open_folder(folder, Config)
    data = read(config, data_dir, known)
    vocabulary, unit = known[0], data.corpus.source_unit
    if vocabulary is None or unit is None:
        raise UsageError(f"{folder} has no vocabulary of sources")
    if not unit.symbols(text):
        raise UsageError("TEXT: give at least one token")
    try:
        sources = encode_sources(vocabulary, unit, [text], config.reverse)
    except DataError as error:
        raise UsageError(f"TEXT: {error}") from None
    for cell in config.cell:
        best = writing.best_of(config, cell, data, folder)
        texts, _ = write_texts(config, data, best.build, best.params, sources)
        print(texts[0] if len(config.cell) == 1 else f"{cell}: {texts[0]}")


def read(config: Config, data_dir: Path | None, known: writing.Known | None = None) -> Data:
    """The data of a run."""
    try:
        return load(config, PAIRS[config.data](data_dir), config.reverse, known)
    except DataError as error:
        raise UsageError(f"--data {config.data}: {error}") from None


def own(config: Config, records: Sequence[Record]) -> writing.Own:
    """Of the report: attention maps, test texts and what was made of them."""
    results = pick(records, kind="result")
    title = f"translate {config.data}"
    drawing = "attention", lambda: attention_maps(records, title), "What was looked at for each token that was written."
    rows: list[tuple[str, ...]] = [("cell", "read", "written", "should be")]
    for result in results:
        rows += [(result["cell"], each["source"], each["written"], each["targets"][0]) for each in result["samples"]]
    return writing.Own(
        [drawing] if any("attention" in result for result in results) else [],
        [PageTable("Test texts", rows, text_columns=(0, 1, 2, 3))],
    )
