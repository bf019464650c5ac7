"""The settings of the gradient benchmark."""

import inspect
import math
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.errors import UsageError
from benchmarks.options import Int, check_devices, check_known, check_least, check_several
from rnnjax import CELLS, Cell, Stack
from rnnjax.tasks import TASKS, Task

LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Config:
    """Settings of a run; equal settings give equal results on equal machines."""

    cells: tuple[str, ...] = ("rnn", "lstm", "gru")
    """Cells to compare, by their names in rnnjax.CELLS."""
    lags: tuple[Int, ...] = (10, 100, 1000)
    """Time lags in steps: for each, the task is made with this length, and trained anew."""
    task: str = "adding-arjovsky"
    """Task whose loss is measured and trained on, by its name in rnnjax.tasks.TASKS."""
    seeds: Int = 16
    """Number of seeds: each draws its own weights and its own data."""
    steps: Int = 10
    """Training steps before the norms are measured again."""
    hidden_size: Int = 32
    """Hidden units of every cell."""
    layers: Int = 1
    """Cells on top of each other, all of one kind."""
    batch_size: Int = 8
    """Sequences a training step, and a measurement."""
    learning_rate: float = 0.01
    """Learning rate of Adam."""
    max_norm: float = 1.0
    """Global norm that gradients are clipped to in the clipped half of the runs."""
    forget_bias: float = 1.0
    """Initial bias of the forget gate, for cells that have one."""
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """Precision of weights and inputs."""
    data_seed: Int = 0
    """Seed of the data."""
    devices: Int | None = None
    """Devices that seeds, and then batches, are spread over; by default all, of a CPU one a core."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        for name in ("cells", "lags"):
            check_several(f"--{name}", getattr(self, name))
        sizes = ("seeds", "steps", "hidden-size", "layers", "batch-size")
        for name, least in (*((size, 1) for size in sizes), ("data-seed", 0)):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), least)
        check_devices(self.devices)
        if self.data_seed > LARGEST_SEED:
            raise UsageError(f"--data-seed must be at most {LARGEST_SEED}, got {self.data_seed}")
        for name in ("learning-rate", "max-norm"):
            value = getattr(self, name.replace("-", "_"))
            if not (value > 0 and math.isfinite(value)):
                raise UsageError(f"--{name} must be a positive number, got {value}")
        if not math.isfinite(self.forget_bias):
            raise UsageError(f"--forget-bias must be a finite number, got {self.forget_bias}")
        check_known("--task", [self.task], TASKS)
        check_known("--cells", self.cells, CELLS)
        task = TASKS[self.task]
        if min(self.lags) < task.min_length:
            raise UsageError(
                f"--lags: {min(self.lags)} is below the shortest lag of task {self.task}, which is {task.min_length}"
            )

    def make_cell(self, name: str) -> Cell[Any, Any]:
        make = CELLS[name]
        has_forget_bias = "forget_bias" in inspect.signature(make).parameters
        cell = make(self.hidden_size, **({"forget_bias": self.forget_bias} if has_forget_bias else {}))
        return cell if self.layers == 1 else Stack((cell,) * self.layers)

    def make_task(self, lag: int) -> Task:
        return TASKS[self.task](lag)
