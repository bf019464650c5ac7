"""The settings of the benchmark of truncation."""

from dataclasses import dataclass

from benchmarks.errors import UsageError
from benchmarks.options import Int, check_devices, check_known, check_least, check_several
from rnnjax import CELLS
from rnnjax.tasks import TASKS


@dataclass(frozen=True)
class Config:
    """Settings of a run; equal settings give equal results on equal machines."""

    cells: tuple[str, ...] = ("rnn", "lstm", "gru")
    """Cells, by their names in rnnjax.CELLS."""
    lags: tuple[Int, ...] = (10, 30, 100)
    """Time lags in steps: for each, the task is made with this length."""
    k2: tuple[Int, ...] = (1, 2, 5, 10, 20, 50, 100)
    """How many steps every loss goes back (with k1 = 1); those above the length of the sequences are left out."""
    task: str = "adding-arjovsky"
    """Task whose gradient is measured, by its name in rnnjax.tasks.TASKS."""
    seeds: Int = 8
    """Number of seeds: each draws its own weights and its own batch."""
    hidden_size: Int = 32
    """Hidden units of every cell."""
    batch_size: Int = 16
    """Sequences a gradient."""
    devices: Int | None = None
    """Devices that seeds, and then batches, are spread over; by default all, of a CPU one a core."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        for name in ("cells", "lags", "k2"):
            check_several(f"--{name}", getattr(self, name))
        for name in ("seeds", "hidden-size", "batch-size"):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), 1)
        check_least("--k2", min(self.k2), 1)
        check_devices(self.devices)
        check_known("--task", [self.task], TASKS)
        check_known("--cells", self.cells, CELLS)
        for lag in self.lags:
            try:
                steps = TASKS[self.task](lag).max_length
            except ValueError as error:
                raise UsageError(f"--lags: {error}") from None
            if min(self.k2) > steps:
                raise UsageError(f"--k2: all are above the {steps} steps of {self.task} at lag {lag}")
