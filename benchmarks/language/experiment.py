"""One cell trained on one text."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import PartitionSpec

from benchmarks.errors import UsageError
from benchmarks.language.config import Config
from benchmarks.training import BATCH, Trainable, checkpoints
from rnnjax.models import LanguageModel, split
from rnnjax.tasks.text import CORPORA, DataError, Vocabulary, of_file
from rnnjax.train import language
from rnnjax.train.checkpoints import digest


class Texts(NamedTuple):
    """The splits of a corpus as tokens."""

    vocabulary: Vocabulary
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def load(config: Config, data_dir: Path | None, vocabulary: Vocabulary | None = None) -> Texts:
    """The text of a run; the vocabulary is made of its training split, unless it is known."""
    try:
        corpus = CORPORA[config.data](data_dir) if config.data in CORPORA else of_file(Path(config.data))
        splits = [config.units(text) for text in corpus]
        if vocabulary is None:
            vocabulary = Vocabulary.build(splits[0], config.min_count)
        return Texts(vocabulary, *(vocabulary.encode(symbols) for symbols in splits))
    except DataError as error:
        raise UsageError(f"--data {config.data}: {error}") from None


class Trained(NamedTuple):
    """A trained model, at its best epoch."""

    params: Any
    build: Callable[[Any], LanguageModel]
    epoch: int

    @property
    def model(self) -> LanguageModel:
        return self.build(self.params)


def load_best(config: Config, cell: str, vocabulary_size: int, folder: Path) -> Trained:
    """The best model of a results folder."""
    params, _, build = split(config.make_model(cell, vocabulary_size))
    params, data = checkpoints(config, folder / cell, "best").restore(params)
    return Trained(params, build, data["epoch"])


def make_trainable(config: Config, cell: str, texts: Texts) -> Trainable:
    """A cell, and the text that a model of it is trained on."""
    try:
        train, valid, test = (
            language.batchify(text, size)
            for text, size in zip(texts[1:], (config.batch_size, *2 * (config.eval_batch_size,)), strict=True)
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    model = config.make_model(cell, len(texts.vocabulary))
    params, _, build = split(model)
    longest = language.longest(config.bptt) if config.random_bptt else config.bptt
    measure = partial(language.evaluator, build, length=config.bptt)
    return Trainable(
        params,
        model.initial_carry(config.batch_size),
        language.language_loss(
            build, longest, bptt=config.bptt if config.random_bptt else None, restart=config.restart
        ),
        language.padded(train, longest),
        language.random_stretches(train, config.bptt, config.seed)
        if config.random_bptt
        else language.stretches(train, config.bptt),
        measure(valid),
        lambda params: {"test_loss": measure(test)(params)},
        specs=(BATCH, PartitionSpec(None, "batch"), PartitionSpec()),
        identity={"text": digest(texts[1:])},
    )
