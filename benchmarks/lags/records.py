"""From training to records, and from records to what tables and figures show.

A record is one run: one seed of a cell on a task at a lag, with an algorithm, an optimiser and a threshold of clipping.
Everything shown is made from records.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.lags.config import Config
from benchmarks.lags.experiment import Experiment, Learner, Result
from benchmarks.results import Record, digits, pick
from rnnjax import flow

TRAINED = ("solved", "budget", "diverged")
"""The statuses of a run that was trained: to its success, to the last update, to a number that is not finite."""
NOT_RUN = "not run"


def make_records(
    experiment: Experiment, result: Result, environment: Record, status: str | None = None
) -> Iterator[Record]:
    """One record a run; `status` is that of an experiment that failed."""
    config = experiment.config
    half_lives = flow.half_life(jnp.asarray(result.decay_rate))
    learner = result.learner
    for run in range(experiment.runs):
        updates = int(learner.updates[run])
        yield {
            "benchmark": "lags",
            **experiment.key,
            "max_norm": config.clip[run // config.seeds],
            "seed": int(learner.seed[run]),
            "status": _status(learner, run) if status is None else status,
            "updates": updates,
            "loss": digits(learner.loss[run]),
            "right": digits(learner.right[run]),
            "baseline": digits(experiment.held_out.baseline),
            "clipped_share": digits(learner.clipped[run] / max(updates, 1)),
            "error_clipped": _error_clipped(experiment, result, run),
            "half_life": digits(half_lives[run]),
            "examples": experiment.examples,
            "seconds": digits(result.seconds),
            "tests": _tests(result.tests, run),
            "config": dataclasses.asdict(config),
            "environment": environment,
        }


def _status(learner: Learner, run: int) -> str:
    return "solved" if learner.solved[run] else "diverged" if learner.diverged[run] else "budget"


def _error_clipped(experiment: Experiment, result: Result, run: int) -> Record | None:
    """How often the error was clipped on its way back at the last test, and so many steps before the end."""
    if result.error_clipped is None:
        return None
    share, by_lag = (digits(np.asarray(each)[run]) for each in result.error_clipped)
    return {"share": share, "lags": experiment.clipping_lags, "by_lag": by_lag}


def _tests(tests: Sequence[Learner], run: int) -> dict[str, list[Any]]:
    """The tests of a run, up to the one that it ended with."""
    last = next((index for index, test in enumerate(tests) if not test.running[run]), len(tests) - 1)
    mine = tests[: last + 1]
    names = ("updates", "loss", "right", "clipped")
    return {name: digits(np.array([getattr(test, name)[run] for test in mine])) for name in names}


def is_done(records: Sequence[Record], experiment: Experiment) -> bool:
    """Whether all records of an experiment are there; one that failed is tried again."""
    mine = pick(records, **experiment.key)
    return len(mine) == experiment.runs and all(record["status"] in TRAINED for record in mine)


@dataclasses.dataclass(frozen=True)
class Row:
    """What the runs of all seeds came to."""

    runs: int
    solved: int
    diverged: int
    updates: Sequence[int]
    """To success, of the runs that were solved."""
    clipped: float
    """Share of the updates at which clipping engaged, the mean over runs."""
    half_life: float
    """Of the gradient at initialisation, in steps, the median; medians are those of the seeds that have a number."""
    loss: float
    """Of the held-out sequences at the end, over that of the trivial predictor; the median."""
    right: float
    """Share of the held-out sequences that are answered right at the end, the median."""
    failure: str | None
    """Why there are no numbers, if the experiment failed or was not run."""

    @property
    def success(self) -> float:
        return self.solved / self.runs if self.failure is None else math.nan


def make_row(records: Sequence[Record], **wanted: Any) -> Row:
    """The row of the runs with these values."""
    mine = _with(records, wanted)
    if not mine:
        return Row(0, 0, 0, (), math.nan, math.nan, math.nan, math.nan, NOT_RUN)
    statuses = [record["status"] for record in mine]

    def values(name: str) -> np.ndarray:
        """Of the seeds that have a number: one that diverged before its first test has no loss."""
        found = np.array([float(record[name]) for record in mine])
        return found[~np.isnan(found)] if not np.isnan(found).all() else found[:1]

    return Row(
        runs=len(mine),
        solved=statuses.count("solved"),
        diverged=statuses.count("diverged"),
        updates=[record["updates"] for record in mine if record["status"] == "solved"],
        clipped=float(values("clipped_share").mean()),
        half_life=float(np.median(values("half_life"))),
        loss=float(np.median(values("loss")) / values("baseline")[0]),
        right=float(np.median(values("right"))),
        failure=next((status for status in statuses if status not in TRAINED), None),
    )


def _with(records: Sequence[Record], wanted: Record) -> list[Record]:
    return [record for record in records if all(_same(record[name], value) for name, value in wanted.items())]


def _same(recorded: Any, value: Any) -> bool:
    """Whether a field has a value; records hold an infinite one as a string."""
    return float(recorded) == value if isinstance(value, float) else recorded == value


class ErrorClipping(NamedTuple):
    """How often the error was clipped on its way back, at the last test: means over runs."""

    share: float
    """Of all steps."""
    by_lag: dict[int, float]
    """Of the sequences, so many steps before their end."""


def error_clipping(records: Sequence[Record], **wanted: Any) -> ErrorClipping | None:
    """That of the runs with these values; None if their algorithm does not clip the error."""
    mine = _with(records, wanted)
    found = [record["error_clipped"] for record in mine if record.get("error_clipped")]
    if not found:
        return None
    by_lag = np.mean([each["by_lag"] for each in found], axis=0).tolist()
    return ErrorClipping(
        float(np.mean([each["share"] for each in found])), dict(zip(found[0]["lags"], by_lag, strict=True))
    )


def seconds_per_update(records: Sequence[Record], **experiment: Any) -> float:
    """The mean over all runs of an experiment, tests included; NaN if it failed or was not run."""
    mine = pick(records, **experiment)
    updates = sum(record["updates"] for record in mine)
    return float(mine[0]["seconds"]) / updates if updates else math.nan


def longest_lag(records: Sequence[Record], lags: Sequence[int], **wanted: Any) -> int:
    """The longest lag that at least half of the seeds learned; 0 if there is none."""
    return max((lag for lag in lags if make_row(records, lag=lag, **wanted).success >= 0.5), default=0)


def half_life(records: Sequence[Record], lags: Sequence[int], **wanted: Any) -> float:
    """The gradient's half-life at initialisation, at the longest lag that was run; NaN if none was."""
    rows = [make_row(records, lag=lag, **wanted) for lag in sorted(lags)]
    return next((row.half_life for row in reversed(rows) if row.failure is None), math.nan)


class Remembered(NamedTuple):
    """Half-lives of the gradient at initialisation on a task, and the lags learned, one a learner of the settings."""

    half_lives: list[float]
    lags: list[int]
    """The longest that half of the seeds learned; 0: none."""
    known: int
    """Learners that have a half-life."""
    correlation: float
    """Of the ranks of the two, over these; an infinite half-life is the longest."""
    p_value: float
    """How often the correlation would be as strong if the lags were dealt out to them by chance."""

    def __str__(self) -> str:
        if math.isnan(self.correlation):
            return "none: all equal"
        return f"{self.correlation:.2f} (n = {self.known}, p = {self.p_value:.2g})"


def remembered(records: Sequence[Record], config: Config, task: str) -> Remembered:
    """Of the lags that were run with every learner."""
    wanted: dict[str, Any] = {"task": task, **first_arm(config)}
    learners = list(config.learners.values())
    lags = [lag for lag in config.lags if all(make_row(records, lag=lag, **each, **wanted).runs for each in learners)]
    lives = [half_life(records, lags, **each, **wanted) for each in learners]
    learned = [longest_lag(records, lags, **each, **wanted) for each in learners]
    known = [(life, lag) for life, lag in zip(lives, learned, strict=True) if not math.isnan(life)]
    both = zip(*known, strict=True) if known else ((), ())
    return Remembered(lives, learned, len(known), *rank_correlation(*both))


def first_arm(config: Config) -> dict[str, str | float]:
    """The optimiser and the threshold that tables and figures against the lag are of."""
    return {"optimizer": config.optimizers[0], "max_norm": config.clip[0]}


EXACT = 8
"""Permutations of so many values are gone through one by one, those of more are drawn."""
DRAWN = 40_000


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Spearman's, the correlation of the ranks, equal values sharing the mean of theirs, and its p-value.

    The p-value is that of the two-sided permutation test: the share of the permutations of y by which the correlation
    is at least as strong. Both are NaN if all values of one are equal.
    """
    if len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan, math.nan
    ranks = np.stack([np.asarray(jax.scipy.stats.rankdata(np.asarray(each, float)), float) for each in (x, y)])
    first, second = ranks - ranks.mean(1, keepdims=True)
    if len(first) <= EXACT:
        orders = np.array(list(itertools.permutations(range(len(first)))))
    else:
        same = np.arange(len(first))
        drawn = np.random.default_rng(0).permuted(np.tile(same, (DRAWN, 1)), axis=1)
        orders = np.concatenate([same[None], drawn])  # what was found is one of them: no p-value is 0
    strength = np.abs(second[orders] @ first)
    p_value = float((strength >= (1 - 1e-9) * strength[0]).mean())  # the first is the order as it is
    return float(first @ second / np.sqrt((first @ first) * (second @ second))), p_value
