"""One cell trained on one data set with one seed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from benchmarks.classify.config import Config
from benchmarks.errors import UsageError
from benchmarks.results import Record
from benchmarks.training import Trainable, checkpoints
from rnnjax.models import Classifier, split
from rnnjax.tasks.labelled import LABELLED, Examples, Labelled
from rnnjax.tasks.text import DataError
from rnnjax.train import example_loss, over_examples, shuffled
from rnnjax.train.checkpoints import digest

EVALUATED_TOGETHER = 256
"""Examples; more of them take more memory and no less time."""


def load(config: Config, data_dir: Path | None) -> Labelled:
    """The data of a run."""
    try:
        data = LABELLED[config.data](data_dir)
    except DataError as error:
        raise UsageError(f"--data {config.data}: {error}") from None
    config.check_inputs(data)
    return data


def seeded(config: Config, run: str) -> Config:
    """The settings of one model: those of a run of its seed alone."""
    return dataclasses.replace(config, seed=config.runs[run][1])


def time_major(inputs: ArrayLike) -> Array:
    """Examples have the batch first."""
    return jnp.swapaxes(jnp.asarray(inputs), 0, 1)


def batch_loss(model: Classifier, batch: Examples, key: Array) -> tuple[Array, int]:
    """The cross-entropy of a batch in training, in nats."""
    logits = model(time_major(batch.inputs), batch.lengths, deterministic=False, rngs=key)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels).mean(), len(batch.labels)


def make_trainable(config: Config, run: str, data: Labelled) -> Trainable:
    """A model, and the data that it is trained on."""
    cell, seed = config.runs[run]
    params, state, build = split(config.make_model(cell, seed, data))
    try:
        plan = shuffled(len(data.train.labels), config.batch_size, seed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    valid, test = (scorer(build, examples) for examples in (data.valid, data.test))
    return Trainable(
        params,
        state,
        example_loss(build, batch_loss),
        jax.tree.map(jnp.asarray, data.train),
        plan,
        lambda params: mean_loss(valid(params), data.valid.labels),
        lambda params: outcome(valid(params), test(params), data),
        identity={"data": digest(data[1:4])},
    )


def scorer(build: Callable[[Any], Classifier], examples: Examples) -> Callable[[Any], np.ndarray]:
    """The logits of all examples, `[examples, classes]`, as a function of the parameters."""

    def logits(params: Any, batch: Examples) -> Array:
        return build(params)(time_major(batch.inputs), batch.lengths, deterministic=True)

    over = over_examples(logits, jax.tree.map(jnp.asarray, examples), min(EVALUATED_TOGETHER, len(examples.labels)))
    return lambda params: np.asarray(over(params))


def mean_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean())


def outcome(valid: np.ndarray, test: np.ndarray, data: Labelled) -> Record:
    """What the record of a trained model says of it, by its logits."""
    named = test.argmax(-1)
    confusion = np.zeros((len(data.classes),) * 2, int)
    np.add.at(confusion, (data.test.labels, named), 1)
    usual = np.bincount(data.train.labels).argmax()
    return {
        "valid_accuracy": float((valid.argmax(-1) == data.valid.labels).mean()),
        "test_loss": mean_loss(test, data.test.labels),
        "correct": int((named == data.test.labels).sum()),
        "examples": len(named),
        "majority": float((data.test.labels == usual).mean()),
        "classes": data.classes,
        "confusion": confusion.tolist(),
    }


def load_best(config: Config, run: str, data: Labelled, folder: Path) -> Classifier:
    """The best model of a run in a results folder."""
    params, _, build = split(config.make_model(*config.runs[run], data))
    params, _ = checkpoints(seeded(config, run), folder / run, "best").restore(params)
    return build(params)
