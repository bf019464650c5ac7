"""What is trained: a cell on a task at a lag by an algorithm and an optimiser, for all thresholds and seeds.

All of these runs are one compiled program; a Python loop only goes over tests, so that progress shows and an
interruption is noticed. A run that has succeeded or diverged costs nothing more on a CPU, where runs are mapped.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from benchmarks.devices import SEEDS, over_seeds
from benchmarks.errors import UsageError
from benchmarks.lags.config import Config
from benchmarks.seeds import BATCH, curves_of_end, draw_params, whole_carry
from rnnjax import Readout, flow, unroll
from rnnjax.learn import Algorithm, ClippedBPTT
from rnnjax.tasks import Batch, SequentialMNIST, Task
from rnnjax.train import clipping_norms, make_optimizer

HELD_OUT = 2**31 - 1
"""The step whose batch nothing is trained on."""
BY_ROUNDING = 1e-5
"""Clipping engages where it takes more than this share off the norm."""


class Learner(NamedTuple):
    """One run: what training changes, and what it needs."""

    params: Any
    optimizer: Any
    seed: Int[Array, ""]
    max_norm: Float[Array, ""]
    updates: Int[Array, ""]
    """Updates made."""
    clipped: Int[Array, ""]
    """Updates at which clipping engaged."""
    loss: Float[Array, ""]
    """Of the held-out sequences, at the last test."""
    right: Float[Array, ""]
    """Share of the held-out sequences that were answered right, at the last test."""
    solved: Bool[Array, ""]
    diverged: Bool[Array, ""]
    """Whether the loss or the gradient after the last update was no finite number."""

    @property
    def running(self) -> Any:
        return ~(self.solved | self.diverged)


class ErrorClipped(NamedTuple):
    """Where the error of held-out sequences was clipped on its way back."""

    share: Float[ArrayLike, ""]
    """Of all steps of all sequences."""
    by_lag: Float[ArrayLike, "lags"]
    """Of the sequences, so many steps before their end: those of `Experiment.clipping_lags`."""


class Programs(NamedTuple):
    """Methods of `Experiment`, compiled for all runs."""

    decay_rate: Callable[[tuple[Any, Array]], Array]
    train: Callable[[tuple[Learner, Array]], Learner]
    clipping: Callable[[tuple[Any, Array]], ErrorClipped] | None
    """None if the algorithm does not clip the error."""


class Result(NamedTuple):
    """What became of all runs, the seeds of the first threshold first; numbers are NaN if the experiment failed."""

    decay_rate: Float[ArrayLike, "runs"]
    """Of the gradient norm at initialisation, per step."""
    learner: Learner
    """At the end; without parameters."""
    tests: list[Learner]
    """After each test, likewise."""
    error_clipped: ErrorClipped | None
    """At the end, of every run; None if the algorithm does not clip the error."""
    seconds: float
    """That the training and the tests of all runs took together, without compiling."""


def sample(task: Task, key: Array, batch_size: int) -> Batch:
    """A batch that is drawn where it is used, by all devices that a run has to itself."""
    return lax.with_sharding_constraint(task.sample(key, batch_size), BATCH)


@dataclass(frozen=True)
class Experiment:
    """One cell on one task at one lag by one algorithm and optimiser."""

    config: Config
    cell_name: str
    algorithm_name: str
    task_name: str
    lag: int
    optimizer_name: str
    data_dir: str | None = None
    """Folder of the full set of digits."""

    @property
    def key(self) -> dict[str, Any]:
        """What tells it from the others, as records have it."""
        return {
            "cell": self.cell_name,
            "algorithm": self.algorithm_name,
            "task": self.task_name,
            "lag": self.lag,
            "optimizer": self.optimizer_name,
        }

    @property
    def runs(self) -> int:
        return len(self.config.clip) * self.config.seeds

    @cached_property
    def task(self) -> Task:
        return self.config.make_task(self.task_name, self.lag, data_dir=self.data_dir)

    @cached_property
    def held_out(self) -> Task:
        return self.config.make_task(self.task_name, self.lag, held_out=True, data_dir=self.data_dir)

    @property
    def examples(self) -> int | None:
        """How many the task has to train on; None if it draws new ones."""
        return len(self.task.digits().labels) if isinstance(self.task, SequentialMNIST) else None

    @cached_property
    def algorithm(self) -> Algorithm:
        return self.config.make_algorithm(self.algorithm_name)

    def check(self) -> None:
        """Raises a `UsageError` if the data are not there, or the algorithm does not take the cell."""
        try:
            batch, _ = (
                jax.eval_shape(partial(task.sample, batch_size=1), jax.random.key(0))
                for task in (self.task, self.held_out)
            )
        except (FileNotFoundError, ImportError) as error:
            raise UsageError(f"--tasks {self.task_name}: {error}") from None
        params = jax.eval_shape(lambda: self.model.init(jax.random.key(0), self.task.input_size))
        try:
            jax.eval_shape(lambda params, xs: self.algorithm.start(self.model, params, xs), params, batch.inputs)
        except ValueError as error:
            raise UsageError(f"--algorithms {self.algorithm_name}: {error}") from None

    @cached_property
    def model(self) -> Readout:
        return Readout(self.config.make_cell(self.cell_name, self.task), self.task.output_size)

    # --- of one run ---------------------------------------------------------------------------------------------------

    def decay_rate(self, inputs: tuple[Any, Array]) -> Array:
        """How fast the gradient fades at initialisation: its rate a step, over all lags up to the task's length."""
        params, seed = inputs
        batch = sample(self.task, self.batch_key(seed, HELD_OUT), self.config.batch_size)
        curves = curves_of_end(self.model, self.task, params, batch)
        return flow.decay_rate(jnp.arange(self.lag + 1), whole_carry(curves))

    def train(self, inputs: tuple[Learner, Array]) -> Learner:
        """Updates up to a number of them, and a test, unless the run has ended."""
        learner, end = inputs
        learner = lax.while_loop(lambda learner: learner.running & (learner.updates < end), self.update, learner)
        return lax.cond(learner.running, self.test, lambda learner: learner, learner)

    def update(self, learner: Learner) -> Learner:
        """One update on new sequences; one that is not finite is not made, and ends the run."""
        key = self.batch_key(learner.seed, learner.updates)
        batch = sample(self.task, key, self.config.batch_size)
        given: dict[str, Any] = {name: getattr(batch, name) for name in ("targets", "weights", "lengths")}
        learned = self.algorithm(
            self.model, learner.params, None, batch.inputs, self.task.step_loss, **given, key=jax.random.fold_in(key, 1)
        )
        optimizer = self.optimizer(learner.max_norm)
        changes, state = optimizer.update(learned.gradients, learner.optimizer, learner.params)
        before, after = clipping_norms(state)
        finite = jnp.isfinite(learned.loss) & jnp.isfinite(before)
        made = learner._replace(
            params=optax.apply_updates(learner.params, changes),
            optimizer=state,
            updates=learner.updates + 1,
            clipped=learner.clipped + (after < (1 - BY_ROUNDING) * before),
        )
        ended = learner._replace(diverged=~finite)
        return jax.tree.map(lambda made, ended: jnp.where(finite, made, ended), made, ended)

    def test(self, learner: Learner) -> Learner:
        batch = sample(self.held_out, self.batch_key(learner.seed, HELD_OUT), self.config.test_size)
        outputs = self.outputs(learner.params, batch)
        loss = self.held_out.loss(outputs, batch).mean()
        return learner._replace(
            loss=loss,
            right=self.held_out.correct(outputs, batch).mean(),
            solved=loss < self.config.success * self.held_out.baseline,
            diverged=~jnp.isfinite(loss),
        )

    @property
    def clipping_lags(self) -> list[int]:
        """1, 2, 5, 10, 20, 50, ... up to the length of the task."""
        steps = (factor * 10**power for power in range(len(str(self.lag))) for factor in (1, 2, 5))
        return [lag for lag in steps if lag <= self.task.length]

    def clipping(self, inputs: tuple[Any, Array]) -> ErrorClipped:
        """How often, and how far before the end, the error of the held-out sequences is clipped."""
        params, seed = inputs
        batch = sample(self.held_out, self.batch_key(seed, HELD_OUT), self.config.test_size)
        given: dict[str, Any] = {name: getattr(batch, name) for name in ("targets", "weights", "lengths")}
        assert isinstance(self.algorithm, ClippedBPTT)
        _, found = self.algorithm.clipping(self.model, params, None, batch.inputs, self.task.step_loss, **given)
        # What is clipped at a step is the error that reaches the carry before it.
        steps = batch.lengths - jnp.array(self.clipping_lags)[:, None]
        by_lag = jnp.take_along_axis(found.clipped, steps, 0).mean(1)
        return ErrorClipped(found.clipped.sum() / batch.lengths.sum(), by_lag)

    def outputs(self, params: Any, batch: Batch) -> Array:
        return unroll(self.model, params, batch.inputs, lengths=batch.lengths)[1]

    def optimizer(self, max_norm: ArrayLike) -> optax.GradientTransformation:
        """Flattened: one vector instead of a handful of leaves compiles a third faster."""
        rate: Any = self.config.rate(self.optimizer_name)
        limit: Any = max_norm
        return optax.flatten(make_optimizer(self.optimizer_name, rate, max_norm=limit))

    def batch_key(self, seed: Array, step: ArrayLike) -> Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.config.data_seed), seed), step)

    # --- of all runs --------------------------------------------------------------------------------------------------

    def learner(self) -> Learner:
        """All runs before their first update: the seeds of every threshold have the same weights and data."""
        config, runs = self.config, self.runs
        params = draw_params(self.model, self.task.input_size, "float32", config.seeds)
        params = jax.tree.map(lambda leaf: jnp.tile(leaf, (len(config.clip),) + (1,) * (leaf.ndim - 1)), params)
        return Learner(
            params=params,
            optimizer=jax.vmap(self.optimizer(1.0).init)(params),
            seed=jnp.tile(jnp.arange(config.seeds), len(config.clip)),
            max_norm=jnp.repeat(jnp.array(config.clip), config.seeds),
            updates=jnp.zeros(runs, int),
            clipped=jnp.zeros(runs, int),
            loss=jnp.full(runs, jnp.nan),
            right=jnp.zeros(runs),
            solved=jnp.zeros(runs, bool),
            diverged=jnp.zeros(runs, bool),
        )

    def compile(self) -> Programs:
        """Compiles what all runs do; can be done ahead of its turn, in another thread."""
        learner = jax.eval_shape(self.learner)
        shared = math.gcd(self.config.batch_size, self.config.test_size)
        decay_rate, train, clipping = (
            over_seeds(function, self.runs, shared, SEEDS, self.config.devices)
            for function in (self.decay_rate, self.train, self.clipping)
        )
        clips = isinstance(self.algorithm, ClippedBPTT)
        return Programs(
            decay_rate.lower((learner.params, learner.seed)).compile(),
            train.lower((learner, learner.updates)).compile(),
            clipping.lower((learner.params, learner.seed)).compile() if clips else None,
        )

    def run(self, programs: Programs) -> Iterator[int | Result]:
        """Gives the number of updates that a run has come to after every test, and the result at the end."""
        learner, tests = self.learner(), []
        rate = np.asarray(programs.decay_rate((learner.params, learner.seed)))
        began = time.monotonic()
        for done in (*range(self.config.every, self.config.updates, self.config.every), self.config.updates):
            learner = jax.block_until_ready(programs.train((learner, jnp.full(self.runs, done))))
            tests.append(jax.device_get(learner._replace(params=None, optimizer=None)))
            yield done
            if not tests[-1].running.any():
                break
        seconds = time.monotonic() - began
        clipped = jax.device_get(programs.clipping((learner.params, learner.seed))) if programs.clipping else None
        yield Result(rate, tests[-1], tests, clipped, seconds)

    def failed(self) -> Result:
        """The result of an experiment that could not be done: no numbers, in the shapes of the real ones."""
        unknown, none = np.full(self.runs, np.nan), np.zeros(self.runs, int)
        seeds = np.tile(np.arange(self.config.seeds), len(self.config.clip))
        thresholds = np.repeat(np.array(self.config.clip), self.config.seeds)
        no: Any = none.astype(bool)
        learner = Learner(None, None, seeds, thresholds, none, none, unknown, unknown, no, no)  # type: ignore[arg-type]
        return Result(unknown, learner, [], None, math.nan)
