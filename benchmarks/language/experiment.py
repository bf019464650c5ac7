"""One cell trained on one text."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.errors import UsageError
from benchmarks.language.config import Config
from benchmarks.results import Record
from rnnjax.models import LanguageModel
from rnnjax.tasks.text import CORPORA, DataError, Vocabulary, of_file
from rnnjax.train import Checkpoints, Progress, Report, Rules, fit, language, make_optimizer, make_steps, start
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
    params, build = language.split(config.make_model(cell, vocabulary_size))
    params, data = checkpoints(config, cell, folder, "best", 1).restore(params)
    return Trained(params, build, data["epoch"])


def checkpoints(
    config: Config, cell: str, folder: Path, name: str, keep: int, identity: Mapping[str, str] = MappingProxyType({})
) -> Checkpoints:
    """Those in the folder of this name; they hold what the run is, so that no other one goes on from them."""
    settings = {key: repr(value) for key, value in dataclasses.asdict(config).items()}
    return Checkpoints(folder / cell / name, settings | {"cell": cell} | dict(identity), keep=keep)


class Experiment:
    """A cell, and the text that a model of it is trained on."""

    def __init__(self, config: Config, cell: str, texts: Texts):
        self.config, self.cell = config, cell
        self.digest = digest(texts[1:])
        try:
            self.train_text = language.batchify(texts.train, config.batch_size)
            self.valid_text = language.batchify(texts.valid, config.eval_batch_size)
            self.test_text = language.batchify(texts.test, config.eval_batch_size)
            self.model = config.make_model(cell, len(texts.vocabulary))
        except ValueError as error:
            raise UsageError(str(error)) from None
        self.params, self.build = language.split(self.model)
        if config.random_bptt:
            self.longest = language.longest(config.bptt)
            self.plan = language.random_stretches(self.train_text, config.bptt, config.seed)
        else:
            self.longest = config.bptt
            self.plan = language.stretches(self.train_text, config.bptt)
        self.optimizer = make_optimizer(
            config.optimizer,
            self.learning_rate,
            max_norm=config.max_norm,
            max_value=None if math.isinf(config.max_value) else config.max_value,
            weight_decay=config.weight_decay,
        )

    def learning_rate(self, step: Any) -> Any:
        """That of a step, as the recipe has it; a plateau multiplies it."""
        epoch = step // self.plan(0).steps
        return self.config.learning_rate * self.config.decay ** jnp.maximum(epoch + 1 - self.config.decay_after, 0)

    def train(self, folder: Path, report: Report, keep: int) -> tuple[list[dict[str, float]], Record]:
        """Trains, from the last checkpoint if there is one; the metrics of all epochs, and the result."""
        config = self.config
        saved = checkpoints(config, self.cell, folder, "checkpoints", keep, {"text": self.digest})
        best = checkpoints(config, self.cell, folder, "best", 1)
        carry = self.model.initial_carry(config.batch_size)
        key = jax.random.key(config.seed)
        state = start(self.params, self.optimizer, key, carry, average=config.average_after > 0)
        progress = Progress()
        if saved.steps:
            state, data = saved.restore(state)
            progress = Progress(**data)
        rules = Rules(
            config.epochs,
            plateau_factor=config.plateau if config.plateau < 1 else None,
            patience=config.patience or None,
            average_after=config.average_after or None,
        )
        loss = language.language_loss(self.build, self.longest, equal=not config.random_bptt, restart=config.restart)
        _, progress = fit(
            make_steps(loss, self.optimizer),
            state,
            language.padded(self.train_text, self.longest),
            self.plan,
            language.evaluator(self.build, self.valid_text, config.bptt),
            rules,
            progress=progress,
            checkpoints=saved,
            best=best,
            report=report,
        )
        result = {
            "status": "diverged" if progress.diverged else "ok",
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(self.params)),
            "epoch": None,
            "valid_loss": math.nan,
            "test_loss": math.nan,
        }
        if best.steps:
            params, data = best.restore(self.params)
            test_loss = language.evaluator(self.build, self.test_text, config.bptt)(params)
            result |= {"epoch": data["epoch"], "valid_loss": progress.best, "test_loss": test_loss}
        return progress.history, result
