"""What is measured: the gradients of truncated BPTT beside that of full BPTT, at initialisation."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from benchmarks.devices import SEEDS, over_seeds
from benchmarks.seeds import BATCHES, draw_batches, draw_params
from benchmarks.truncation.config import Config
from rnnjax import CELLS, Readout
from rnnjax.learn import Agreement, truncation_bias
from rnnjax.tasks import TASKS, Batch, Task


@dataclass(frozen=True)
class Experiment:
    """One cell on the task at one lag, over all seeds."""

    config: Config
    cell_name: str
    lag: int

    @property
    def key(self) -> dict[str, Any]:
        """What tells it from the others, as records have it."""
        return {"cell": self.cell_name, "lag": self.lag}

    @cached_property
    def task(self) -> Task:
        return TASKS[self.config.task](self.lag)

    @property
    def k2(self) -> list[int]:
        return sorted(steps for steps in self.config.k2 if steps <= self.task.max_length)

    def measure(self) -> Agreement:
        """What each k2 came to, arrays `[seeds, k2]`."""
        config, task = self.config, self.task
        model = Readout(CELLS[self.cell_name](config.hidden_size), task.output_size)

        def bias(inputs: tuple[Any, Batch]) -> Agreement:
            params, batches = inputs
            batch = jax.tree.map(lambda leaf: leaf[0], batches)
            given: dict[str, Any] = {name: getattr(batch, name) for name in ("targets", "weights", "lengths")}
            return truncation_bias(model, params, batch.inputs, task.step_loss, self.k2, **given).agreement

        params = draw_params(model, task.input_size, "float32", config.seeds)
        batches = draw_batches(task, config.batch_size, "float32", 1, config.seeds, 0, 0)
        measure = over_seeds(bias, config.seeds, config.batch_size, (SEEDS, BATCHES), config.devices)
        agreement: Agreement = jax.device_get(measure((params, batches)))
        return agreement

    def failed(self) -> Agreement:
        """The result of an experiment that could not be done: no numbers, in the shape of the real ones."""
        unknown: Any = np.full((self.config.seeds, len(self.k2)), np.nan)
        return Agreement(*[unknown] * len(Agreement._fields))
