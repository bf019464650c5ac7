"""The training loop: steps of many kinds of models, with averaging, plateaus, early stopping, checkpoints and reports.

All that a run is at any moment is in two values: `TrainState`, arrays on the device, and `Progress`, numbers on the
host. A checkpoint holds both, and a run that goes on from one ends with the same bits as one that never stopped.
"""

import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float, Int

from rnnjax.train.checkpoints import Checkpoints
from rnnjax.train.clipping import clipping_norms


class Totals(NamedTuple):
    """Sums over the steps of an epoch so far."""

    steps: Int[Array, ""]
    finite: Int[Array, ""]
    """Steps before the first whose loss is no finite number."""
    loss: Float[Array, ""]
    norm_before: Float[Array, ""]
    """Of the gradients, before clipping."""
    norm_after: Float[Array, ""]
    clipped: Float[Array, ""]
    """Steps at which clipping engaged."""
    work: Int[Array, ""]
    """What was learned from, in the unit of the loss: tokens of text."""


class Average(NamedTuple):
    """The mean of the parameters over steps."""

    steps: Int[Array, ""]
    """One more than the steps that it is over; 0 as long as it follows the parameters."""
    params: Any


class TrainState(NamedTuple):
    """The arrays of a run."""

    params: Any
    opt_state: Any
    carry: Any
    """What flows from one step to the next, such as the carry of a recurrent network; None if nothing does."""
    key: Array
    """Random numbers of step t come from `fold_in(key, t)`."""
    step: Int[Array, ""]
    totals: Totals
    plateau: Any
    """State of `optax.contrib.reduce_on_plateau`; its `scale` multiplies every update."""
    average: Average | None

    @property
    def best_params(self) -> Any:
        """The parameters to evaluate: their average, where there is one."""
        return self.params if self.average is None else self.average.params


class Outcome(NamedTuple):
    """What a loss function returns beside the loss that is differentiated."""

    carry: Any
    loss: Float[Array, ""]
    """The loss to report, without penalties."""
    work: Int[Array, ""] | int
    scale: Float[Array, ""] | float = 1.0
    """Multiplies the update of this step."""


class Loss(Protocol):
    """`(params, carry, data, item, key) -> (loss, Outcome)`: one entry `item` of an epoch's plan, applied to `data`."""

    def __call__(self, params: Any, carry: Any, data: Any, item: Any, key: Array, /) -> tuple[Array, Outcome]: ...


class Plan(NamedTuple):
    """The steps of an epoch."""

    steps: int
    items: Any
    """A pytree of arrays with an entry a step; of the same shapes in every epoch, so there may be more than `steps`."""


Steps = Callable[[TrainState, Any, Any, int, int], TrainState]


def start(
    params: Any, optimizer: optax.GradientTransformation, key: Array, carry: Any = None, *, average: bool = False
) -> TrainState:
    """The state before the first step, in arrays of its own: what it is given is not used up."""
    params, key, carry = jax.tree.map(jnp.copy, (params, key, carry))
    return TrainState(
        params,
        optimizer.init(params),
        carry,
        key,
        jnp.zeros((), jnp.int32),
        _no_totals(),
        optax.contrib.reduce_on_plateau().init(params),
        Average(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params)) if average else None,
    )


def make_steps(loss: Loss, optimizer: optax.GradientTransformation) -> Steps:
    """One compiled program for any number of steps: `(state, data, plan, first, end) -> state`.

    It takes the steps `first` to `end - 1` of an epoch's plan, a pytree with one entry a step; the state that it is
    given is used up. Several steps a call save what a call costs, which small models feel.
    """

    @partial(jax.jit, donate_argnums=0)
    def steps(state: TrainState, data: Any, plan: Any, first: Array, end: Array) -> TrainState:
        def step(index: Array, state: TrainState) -> TrainState:
            item = jax.tree.map(lambda leaf: leaf[index], plan)
            return _step(loss, optimizer, state, data, item)

        return lax.fori_loop(first, end, step, state)

    return steps


def _step(loss: Loss, optimizer: optax.GradientTransformation, state: TrainState, data: Any, item: Any) -> TrainState:
    key = jax.random.fold_in(state.key, state.step)
    gradient, outcome = jax.grad(loss, has_aux=True)(state.params, state.carry, data, item, key)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    updates = optax.tree.scale(state.plateau.scale * outcome.scale, updates)
    params = optax.apply_updates(state.params, updates)
    norms = clipping_norms(opt_state)
    totals = state.totals
    loss_so_far = totals.loss + outcome.loss
    return state._replace(
        params=params,
        opt_state=opt_state,
        carry=outcome.carry,
        step=state.step + 1,
        totals=Totals(
            totals.steps + 1,
            totals.finite + jnp.isfinite(loss_so_far),  # a sum that is no finite number never is one again
            loss_so_far,
            totals.norm_before + _mean(norms.norm_before),
            totals.norm_after + _mean(norms.norm_after),
            totals.clipped + jnp.mean(norms.norm_after < (1 - 1e-5) * norms.norm_before),  # not by rounding
            totals.work + outcome.work,
        ),
        average=state.average and _averaged(state.average, params),
    )


def _mean(norms: Array) -> Array:
    """Of one model the norm itself, of an ensemble the mean over the members that have not diverged."""
    return jnp.mean(norms, where=jnp.isfinite(norms))


def _averaged(average: Average, params: Any) -> Average:
    weight = 1 / jnp.maximum(average.steps, 1)
    return Average(average.steps + (average.steps > 0), optax.incremental_update(params, average.params, weight))


def _no_totals() -> Totals:
    counts = ("steps", "finite", "work")
    return Totals(*(jnp.zeros((), jnp.int32 if name in counts else jnp.float32) for name in Totals._fields))


# --- the loop ---------------------------------------------------------------------------------------------------------


@dataclass
class Progress:
    """Where a run stands."""

    epoch: int = 0
    """Epochs that are finished, or were ended by a loss that is no finite number."""
    position: int = 0
    """Steps of the running epoch that are done."""
    seconds: float = 0.0
    """That the running epoch has trained."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry an epoch: its metrics."""
    diverged_at: int | None = None
    """The step, counted from 1, at which the run diverged: the first whose loss is no finite number, or the last before
    a validation loss that is none."""

    @property
    def losses(self) -> list[float]:
        """The validation losses of all epochs."""
        return [entry["valid_loss"] for entry in self.history]

    @property
    def best(self) -> float:
        """The smallest validation loss so far; infinity if there is none."""
        return min((loss for loss in self.losses if math.isfinite(loss)), default=math.inf)

    @property
    def since_best(self) -> int:
        """Epochs since the best one."""
        return len(self.losses) - 1 - self.losses.index(self.best) if self.best < math.inf else len(self.losses)

    @property
    def diverged(self) -> bool:
        """Whether a loss was no finite number, in training or in validation."""
        return self.diverged_at is not None


@dataclass(frozen=True)
class Rules:
    """What the validation loss after an epoch decides."""

    epochs: int
    """Epochs in all."""
    plateau_factor: float | None = None
    """Multiplies the learning rate after an epoch that has not improved on the best."""
    patience: int | None = None
    """Stop after this many epochs without improvement."""
    average_after: int | None = None
    """Start averaging the parameters when the loss is no better than the best of all but the last so many epochs: the
    trigger of NT-ASGD (S. Merity et al., 2017, arXiv:1708.02182, section 4)."""

    def apply(self, state: TrainState, losses: Sequence[float]) -> TrainState:
        """The state for the next epoch, from the validation losses of all that are finished."""
        if self.plateau_factor is not None:
            plateau = optax.contrib.reduce_on_plateau(self.plateau_factor, patience=1, rtol=0, atol=1e-12)
            state = state._replace(plateau=plateau.update({}, state.plateau, value=losses[-1])[1])
        if self.average_after is not None and state.average is not None:
            before = losses[: -1 - self.average_after]
            if before and losses[-1] > min(before) and int(state.average.steps) == 0:
                state = state._replace(average=state.average._replace(steps=jnp.ones((), jnp.int32)))
        return state

    def done(self, progress: Progress) -> bool:
        """Whether a run has had its epochs, has stopped improving, or has diverged."""
        early = self.patience is not None and progress.since_best >= self.patience
        return progress.epoch >= self.epochs or progress.diverged or (early and bool(progress.losses))


class Stopped(Exception):
    """SIGINT or SIGTERM ended a run, after its state was saved."""


Report = Callable[[Progress, int, dict[str, float]], None]
"""`(progress, steps of the epoch, metrics)`, after every call of the steps; after an epoch with its validation loss."""


def fit(
    steps: Steps,
    state: TrainState,
    data: Any,
    plan: Callable[[int], Plan],
    validate: Callable[[Any], float],
    rules: Rules,
    *,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    best: Checkpoints | None = None,
    evaluated: Callable[[TrainState], Any] = lambda state: state.best_params,
    report: Report = lambda progress, count, metrics: None,
    seconds_a_call: float = 1.0,
    seconds_a_save: float = 600.0,
) -> tuple[TrainState, Progress]:
    """Trains until the rules say that it is enough, or a loss is no finite number.

    Training losses are looked at after every call of `steps`. An epoch that they end has a validation loss of NaN.

    Args:
        steps: from `make_steps`.
        state: from `start`, or from a checkpoint; it is used up.
        data: what all steps draw from, on the device.
        plan: the steps of an epoch: a pure function of its number.
        validate: the validation loss of what `evaluated` gives.
        rules: what the validation loss decides.
        progress: where to go on, from the same checkpoint.
        checkpoints: saves the run after every epoch, every `seconds_a_save`, and when it is stopped.
        best: saves what was evaluated, whenever its validation loss is the best so far.
        evaluated: what of the state is evaluated: by default the parameters, or their average.
        report: is told the metrics.
        seconds_a_save: how often the run is saved within an epoch.
        seconds_a_call: about how long a call of `steps` shall take: a signal is answered after that.

    Raises:
        Stopped: after SIGINT or SIGTERM. A second SIGINT is a KeyboardInterrupt at once.
    """
    progress = progress or Progress()
    with signals() as caught:
        while not rules.done(progress):
            count, items = plan(progress.epoch)
            size, saved = 1, time.monotonic()
            if progress.position == 0:
                state = state._replace(totals=_no_totals())
            while progress.position < count:
                before, began = jax.device_get(state.totals), time.perf_counter()
                end = min(progress.position + size, count)
                state = jax.block_until_ready(steps(state, data, items, progress.position, end))
                took = time.perf_counter() - began
                size = max(1, min(2 * size, int(size * seconds_a_call / took)))
                progress.position, progress.seconds = end, progress.seconds + took
                found = metrics(state, before, took)
                report(progress, count, found)
                if not math.isfinite(found["loss"]):
                    progress.diverged_at = _first_not_finite(state)
                    break
                if checkpoints and (caught or time.monotonic() - saved > seconds_a_save):
                    checkpoints.save(int(state.step), state, dataclasses.asdict(progress))
                    saved = time.monotonic()
                if caught:
                    raise Stopped(signal.Signals(caught[0]).name)
            candidate = evaluated(state)
            loss = math.nan if progress.diverged else validate(candidate)
            is_best = loss < progress.best
            whole = metrics(state, None, progress.seconds)
            entry = {"epoch": progress.epoch + 1, **whole, "valid_loss": loss, "scale": float(state.plateau.scale)}
            if not (progress.diverged or math.isfinite(loss)):
                progress.diverged_at = int(state.step)
            history = [*progress.history, entry]
            progress = Progress(progress.epoch + 1, history=history, diverged_at=progress.diverged_at)
            state = rules.apply(state, progress.losses)
            if best and is_best:
                best.save(int(state.step), candidate, dataclasses.asdict(progress))
            if checkpoints:
                checkpoints.save(int(state.step), state, dataclasses.asdict(progress))
            report(progress, count, entry)
            if caught:
                raise Stopped(signal.Signals(caught[0]).name)
    return state, progress


def _first_not_finite(state: TrainState) -> int:
    """The number of the epoch's first step whose loss is no finite number."""
    totals = jax.device_get(state.totals)
    return int(state.step) - int(totals.steps) + int(totals.finite) + 1


def metrics(state: TrainState, before: Totals | None, seconds: float) -> dict[str, float]:
    """Means over the steps since `before`: loss, gradient norms, share of clipped steps; and work a second."""
    totals = jax.device_get(state.totals)
    done = totals if before is None else jax.tree.map(lambda now, then: now - then, totals, before)
    steps = max(int(done.steps), 1)
    return {
        "step": int(state.step),
        "loss": float(done.loss) / steps,
        "norm_before": float(done.norm_before) / steps,
        "norm_after": float(done.norm_after) / steps,
        "clipped_share": float(done.clipped) / steps,
        "work_per_second": float(done.work) / max(seconds, 1e-9),
        "seconds": seconds,
    }


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM; a second SIGINT interrupts at once. Only the main thread may catch signals."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # another thread than the main one
        before = {}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
