"""What is measured: gradient norms against the lag, at initialisation and after training, for one cell and one lag.

All seeds of a cell and a lag run in one compiled program; a Python loop only goes over chunks of training steps, so
that progress shows and an interruption is noticed.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from benchmarks.devices import SEEDS, over_seeds
from benchmarks.gradients.config import Config
from benchmarks.seeds import BATCHES, curves_of_end, draw_batches, draw_params, whole_carry
from rnnjax import Readout, flow, unroll
from rnnjax.tasks import Batch, Task
from rnnjax.train import clipped_adam, clipping_norms

CURVE_POINTS = 40
"""Lags that a recorded curve keeps, evenly spaced on a log scale."""


class Curves(NamedTuple):
    """Natural logarithms of gradient norms against the lag, averaged over the batch, and what sums them up."""

    components: Any
    """One curve for each component of the carry, `[seeds, points]`, at `Experiment.curve_lags`."""
    decay_rate: Float[ArrayLike, "seeds"]
    """Of the norm of the whole carry, per step, fitted over all lags."""
    log_norm_ratio: Float[ArrayLike, "seeds"]
    """Of the norm of the whole carry, at the largest lag over the end."""


class Learner(NamedTuple):
    """What training changes, and the threshold it clips at."""

    params: Any
    optimizer: Any
    max_norm: Array


class History(NamedTuple):
    """One value a training step."""

    loss: Float[ArrayLike, "seeds steps"]
    norm_before: Float[ArrayLike, "seeds steps"]
    norm_after: Float[ArrayLike, "seeds steps"]


class Programs(NamedTuple):
    """`Experiment.measure` and `Experiment.train`, compiled for all seeds."""

    measure: Callable[[tuple[Any, Batch]], Curves]
    train: Callable[[tuple[Learner, Batch]], tuple[Learner, History]]


class Phase(NamedTuple):
    """One of the three measurements of an experiment: before training, after it with clipping, after it without."""

    name: str
    curves: Curves
    history: History | None


@dataclass(frozen=True)
class Experiment:
    """One cell at one lag, over all seeds."""

    config: Config
    cell_name: str
    lag: int

    @cached_property
    def task(self) -> Task:
        return self.config.make_task(self.lag)

    @cached_property
    def model(self) -> Readout:
        return Readout(self.config.make_cell(self.cell_name), self.task.output_size)

    @cached_property
    def curve_lags(self) -> np.ndarray:
        """The lags of recorded curves, from 0 to the lag of the experiment."""
        return np.unique(np.geomspace(1, self.lag + 1, CURVE_POINTS).round().astype(int)) - 1

    @cached_property
    def chunk(self) -> int:
        """Training steps a call: the largest divisor of all steps up to 10, so that one program serves every call."""
        return max(size for size in range(1, 11) if self.config.steps % size == 0)

    # --- of one seed --------------------------------------------------------------------------------------------------

    def measure(self, inputs: tuple[Any, Batch]) -> Curves:
        """The norms of the gradient of the last step's loss, on the first of some batches."""
        params, batches = inputs
        batch = jax.tree.map(lambda leaf: leaf[0], batches)
        curves = curves_of_end(self.model, self.task, params, batch)
        lags, whole = jnp.arange(self.lag + 1), whole_carry(curves)
        return Curves(
            jax.tree.map(lambda curve: curve[self.curve_lags], curves),
            flow.decay_rate(lags, whole),
            flow.log_norm_ratio(lags, whole),
        )

    def train(self, inputs: tuple[Learner, Batch]) -> tuple[Learner, History]:
        """One training step a batch."""
        learner, batches = inputs
        optimizer = self.optimizer(learner.max_norm)

        def loss(params: Any, batch: Batch) -> Array:
            _, outputs = unroll(self.model, params, batch.inputs, lengths=batch.lengths)
            return self.task.loss(outputs, batch).mean()

        def step(learner: Learner, batch: Batch) -> tuple[Learner, History]:
            value, gradient = jax.value_and_grad(loss)(learner.params, batch)
            updates, state = optimizer.update(gradient, learner.optimizer, learner.params)
            norms = clipping_norms(state)
            learner = learner._replace(params=optax.apply_updates(learner.params, updates), optimizer=state)
            return learner, History(value, norms.norm_before, norms.norm_after)

        return lax.scan(step, learner, batches)

    def optimizer(self, max_norm: Array) -> optax.GradientTransformation:
        """Flattened: one vector instead of a handful of leaves compiles a third faster."""
        return optax.flatten(clipped_adam(self.config.learning_rate, max_norm))

    # --- of all seeds -------------------------------------------------------------------------------------------------

    def params(self) -> Any:
        return draw_params(self.model, self.task.input_size, self.config.dtype, self.config.seeds)

    def learner(self, params: Any, max_norm: float) -> Learner:
        max_norms = jnp.full(self.config.seeds, max_norm)
        return Learner(params, jax.vmap(self.optimizer(max_norms[0]).init)(params), max_norms)

    def batches(self, first_step: int) -> Batch:
        """The data of one call of `train`; what comes after the last training step is for `measure`."""
        config = self.config
        return draw_batches(
            self.task, config.batch_size, config.dtype, self.chunk, config.seeds, config.data_seed, first_step
        )

    def compile(self) -> Programs:
        """Compiles what all seeds run; can be done ahead of its turn, in another thread."""
        params, batches = jax.eval_shape(lambda: (self.params(), self.batches(0)))
        learner = jax.eval_shape(lambda params: self.learner(params, 1.0), params)
        specs = SEEDS, BATCHES
        config = self.config
        measure, train = (
            over_seeds(function, config.seeds, config.batch_size, specs, config.devices)
            for function in (self.measure, self.train)
        )
        return Programs(measure.lower((params, batches)).compile(), train.lower((learner, batches)).compile())

    def run(self, programs: Programs) -> Iterator[int | Phase]:
        """Gives the phases as they are done, and in between the number of training steps just made."""
        params, held_out = self.params(), self.batches(self.config.steps)
        yield Phase("initial", programs.measure((params, held_out)), None)
        for name, max_norm in (("clipped", self.config.max_norm), ("unclipped", math.inf)):
            learner, parts = self.learner(params, max_norm), []
            for first_step in range(0, self.config.steps, self.chunk):
                learner, history = jax.block_until_ready(programs.train((learner, self.batches(first_step))))
                parts.append(history)
                yield self.chunk
            whole = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *parts)
            yield Phase(name, programs.measure((learner.params, held_out)), whole)

    def failed(self) -> Iterator[Phase]:
        """The phases of an experiment that could not be done: no numbers, in the shapes of the real ones."""
        seeds, steps = self.config.seeds, self.config.steps
        unknown = np.full(seeds, np.nan)
        carry = jax.eval_shape(lambda: self.model.cell.initial_carry())
        curves = Curves(jax.tree.map(lambda _: np.full((seeds, len(self.curve_lags)), np.nan), carry), unknown, unknown)
        yield Phase("initial", curves, None)
        for name in ("clipped", "unclipped"):
            yield Phase(name, curves, History(*(np.full((seeds, steps), np.nan) for _ in History._fields)))
