"""The command line of the benchmark of captions."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
import matplotlib.image
import numpy as np
from cyclopts import Parameter

from benchmarks.caption.config import Config, recipe
from benchmarks.errors import UsageError
from benchmarks.options import Int, recipe_of
from benchmarks.results import Record, pick
from benchmarks.run import saved_settings
from benchmarks.training import FlowOptions
from benchmarks.writing import command as writing
from benchmarks.writing.experiment import Data, load
from rnnjax.tasks.pictures import CAPTIONS
from rnnjax.tasks.text import DataError

command = cyclopts.App(help="Captions for pictures by recurrent cells: train, evaluate.")


def defaults(config: Config = Config(), options: FlowOptions = FlowOptions(), **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run, or the recipe of the data."""
    if options.resume is not None:
        return saved_settings(options.resume, Config)
    return {} if "folder" in others else recipe(config)


@command.command
def train(
    *,
    config: Annotated[Config, recipe_of("the picture set"), Parameter(name="*")] = Config(),
    options: Annotated[FlowOptions, Parameter(name="*")] = FlowOptions(),
) -> None:
    """Train models, one a cell, to say what is in a picture.

    Prints a table and writes report.html with test pictures and their captions, records.jsonl (one record an epoch),
    config.json, environment.json, vocabulary.json, figures (PNG and SVG) and checkpoints to OUT/caption/TIME/. Ctrl-C
    and SIGTERM save before they end.

    Parameters
    ----------
    config
        Settings.
    options
        Folders, and what is kept of the run.
    """
    config.check()
    writing.train("caption", config, lambda: read(config, options.data_dir), own, options)


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


def read(config: Config, data_dir: Path | None, known: writing.Known | None = None) -> Data:
    """The data of a run."""
    try:
        return load(config, CAPTIONS[config.data](data_dir), known=known)
    except DataError as error:
        raise UsageError(f"--data {config.data}: {error}") from None


def own(data: Data, records: Sequence[Record]) -> writing.Own:
    """Of the report: test pictures, and what was written of them."""
    pictures = data.corpus.pictures
    if pictures is None:
        return writing.Own()
    galleries = {
        result["cell"]: [each | {"png": png(pictures[each["source"]])} for each in result["samples"]]
        for result in pick(records, kind="result")
    }
    return writing.Own(template=Path("caption/report.html.j2"), content={"galleries": galleries})


def png(picture: np.ndarray) -> str:
    """A picture as text that a web page can show."""
    file = io.BytesIO()
    matplotlib.image.imsave(file, picture, format="png")
    return base64.b64encode(file.getvalue()).decode("ascii")
