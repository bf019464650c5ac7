"""From measurements to records. A record is one seed of a cell at one lag, going back k2 steps."""

import dataclasses
from collections.abc import Iterator, Sequence

from benchmarks.results import Record, digits, pick
from benchmarks.truncation.experiment import Experiment
from rnnjax.learn import Agreement


def make_records(
    experiment: Experiment, agreement: Agreement, environment: Record, status: str = "ok"
) -> Iterator[Record]:
    """One record a seed and a k2; another `status` is that of an experiment that failed."""
    for seed in range(experiment.config.seeds):
        for place, steps in enumerate(experiment.k2):
            yield {
                "benchmark": "truncation",
                **experiment.key,
                "k2": steps,
                "seed": seed,
                "status": status,
                **{name: digits(values[seed, place]) for name, values in agreement._asdict().items()},
                "config": dataclasses.asdict(experiment.config),
                "environment": environment,
            }


def is_done(records: Sequence[Record], experiment: Experiment) -> bool:
    """Whether all records of an experiment are there; one that failed is tried again."""
    return len(pick(records, **experiment.key, status="ok")) == experiment.config.seeds * len(experiment.k2)
