"""From results to records. A record is one epoch of a network, all seeds at once, or, with "kind" "result", what came
of a network or of a baseline, or, with "kind" "flow", its gradient norms: lists have the value of every seed.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.forecast.config import Config
from benchmarks.results import Record


def make_records(
    config: Config, name: str, history: Sequence[Mapping[str, float]], result: Record | None, environment: Record
) -> Iterator[Record]:
    """One record an epoch, and one of the result if it is there; `name` is that of a network's folder or a baseline."""
    for entry in history:
        yield make_record(config, name, "epoch", entry, environment)
    if result is not None:
        seconds = sum(entry["seconds"] for entry in history)
        yield make_record(config, name, "result", {**result, "seconds": seconds}, environment)


def make_record(config: Config, name: str, kind: str, content: Mapping[str, Any], environment: Record) -> Record:
    """One of a kind."""
    model, head = config.networks.get(name, (name, ""))
    about = {"config": dataclasses.asdict(config), "environment": environment}
    return {"benchmark": "forecast", "name": name, "model": model, "head": head, "kind": kind, **content, **about}


def finite(record: Record, field: str) -> np.ndarray:
    """The values of the seeds that did not diverge."""
    samples = np.array([float(value) for value in record.get(field, [])])
    return samples[np.isfinite(samples)]


def mean(record: Record, field: str) -> float:
    """Over the seeds that did not diverge; NaN if there is none."""
    samples = finite(record, field)
    return float(samples.mean()) if len(samples) else math.nan
