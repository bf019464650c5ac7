"""The settings of a run: which rows, and how much of each."""

from dataclasses import dataclass

from benchmarks.errors import UsageError
from benchmarks.hs1997.rows import EXPERIMENTS, ROWS, Effort, Row
from benchmarks.options import Int, check_devices, check_known, check_least, check_several

DEFAULT = {row.experiment for row in ROWS.values() if row.default is not None}
"""Experiments that the default run has rows of."""


@dataclass(frozen=True)
class Config:
    """Settings of a run; equal settings give equal results on equal machines."""

    experiments: tuple[str, ...] = tuple(EXPERIMENTS)
    """Experiments of the paper; one that is named and has no row in the default run is run in full."""
    rows: tuple[str, ...] = ()
    """Rows by their names (an unknown one lists them all), whatever the experiments; by default those of the
    experiments that a default run has."""
    full: bool = False
    """All rows of the experiments, with the trials of the paper and caps above its numbers: days on two cores."""
    trials: Int | None = None
    """Trials of every row, instead of the row's own number."""
    cap: Int | None = None
    """Training sequences after which a trial is given up, instead of the row's own number."""
    seed: Int = 0
    """Seed of all trials."""
    devices: Int | None = None
    """Devices that take rows in turn, and share out the trials of long ones; by default all, of a CPU one a core."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        check_several("--experiments", self.experiments)
        check_known("--experiments", self.experiments, EXPERIMENTS)
        check_known("--rows", self.rows, ROWS)
        if self.rows:
            check_several("--rows", self.rows)
            if self.experiments != Config.experiments:
                raise UsageError("--rows says which rows: leave --experiments out")
        for name in ("trials", "cap"):
            value = getattr(self, name)
            if value is not None:
                check_least(f"--{name}", value, 1)
        check_least("--seed", self.seed, 0)
        check_devices(self.devices)

    @property
    def efforts(self) -> dict[str, Effort]:
        """The rows of the run, with what it does for each."""
        found = {}
        for name, row in ROWS.items():
            wanted = name in self.rows if self.rows else row.experiment in self.experiments
            effort = row.full if self.full or (self._is_named(row) and row.default is None) else row.default
            if wanted and effort is not None:
                found[name] = Effort(self.trials or effort.trials, self.cap or effort.cap)
        return found

    def _is_named(self, row: Row) -> bool:
        """Whether the row, or an experiment that has none in the default run, was asked for by name."""
        by_experiment = self.experiments != Config.experiments and row.experiment not in DEFAULT
        return bool(self.rows) or by_experiment
