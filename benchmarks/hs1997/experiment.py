"""Trials of a row: on-line training, sequence after sequence, until the row's criterion says stop.

A call of a compiled program goes on with all trials for some sequences; drawing, the steps of every sequence, updates
and the criterion are inside it. A trial that has stopped stays as it is.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from benchmarks.hs1997.rows import Recent, Row, Strings
from benchmarks.results import digits
from rnnjax import unroll
from rnnjax.learn import WeightGuessing
from rnnjax.learn.forward import ForwardCarry
from rnnjax.models import Chunker, RecurrentCascade
from rnnjax.tasks import Batch, ClassificationTask, LongLag2a
from rnnjax.tasks.two_sequence import TwoSequence

STATUSES = ("running", "solved", "unsolved", "diverged")
RUNNING, SOLVED, UNSOLVED, DIVERGED = range(4)
SET = 256
"""Sequences of a set that a criterion looks at."""
TEST = 2560
"""Sequences of the test after training."""
BLOCK_INPUTS = 2**20
"""Numbers of a block of sequences, at most."""


class Trial(NamedTuple):
    """All that a trial goes on from."""

    key: Array
    params: Any
    data: tuple[Batch, Batch] | None
    """Strings of the Reber grammar, those to train on and others; None where sequences are drawn anew."""
    sequences: Int[Array, ""]
    """Trained on so far."""
    status: Int[Array, ""]
    """A place in `STATUSES`."""
    first_stop: Int[Array, ""]
    """Sequences at which the first part of the criterion was met, ST1 or a mean error of `Recent`; -1 before."""
    wrong: Bool[Array, "recent"]
    """Which of the last sequences were wrong; those before the first count as such."""
    errors: Float[Array, "recent"]
    """Their mean squared errors; infinite before the first, so that no criterion is met before there are enough."""


class Example(NamedTuple):
    """One sequence, with a target for every output."""

    xs: Float[Array, "time inputs"]
    targets: Float[Array, "time outputs"]
    weights: Float[Array, "time"]
    """1 where there is a target, and 0 elsewhere."""
    length: Int[Array, ""]


# --- trials -----------------------------------------------------------------------------------------------------------


def start(row: Row, key: Array) -> Trial:
    """A trial before its first sequence."""
    key_params, key_data, key = jax.random.split(key, 3)
    data = draw_strings(row.task, key_data) if isinstance(row.criterion, Strings) else None
    size = row.criterion.size if isinstance(row.criterion, Recent) else 1
    none = jnp.zeros((), jnp.int32)
    return Trial(
        key=key,
        params=row.network.init(key_params, row.task.input_size),
        data=data,
        sequences=none,
        status=none + RUNNING,
        first_stop=none - 1,
        wrong=jnp.ones(size, bool),
        errors=jnp.full(size, jnp.inf),
    )


def advance(row: Row, cap: int, trial: Trial, until: Int[Array, ""]) -> Trial:
    """Goes on until the trial is over or has seen `until` sequences; at `cap` of them it is given up."""
    block = _grow if isinstance(row.network, RecurrentCascade) else _block

    def goes_on(trial: Trial) -> Bool[Array, ""]:
        return (trial.status == RUNNING) & (trial.sequences < until)

    def body(trial: Trial) -> Trial:
        trial = block(row, trial)
        over = (trial.status == RUNNING) & (trial.sequences >= cap)
        return trial._replace(status=jnp.where(over, UNSOLVED, trial.status))

    return lax.while_loop(goes_on, body, trial)


def block_size(row: Row) -> int:
    """Sequences that are drawn together; a test set is looked at after each block."""
    if not isinstance(row.criterion, Recent):
        return row.criterion.every
    return int(np.clip(BLOCK_INPUTS // (row.task.max_length * row.task.input_size), 1, 100))


def _block(row: Row, trial: Trial) -> Trial:
    key, key_data, key_learn, key_look = jax.random.split(trial.key, 4)
    size = block_size(row)
    sequences = by_sequence(row, draw(row, trial.data, key_data, size))
    each = sequences, jax.random.split(key_learn, size)

    def goes_on(state: tuple[Array, Trial]) -> Bool[Array, ""]:
        return (state[0] < size) & (state[1].status == RUNNING)

    def body(state: tuple[Array, Trial]) -> tuple[Array, Trial]:
        index, trial = state
        return index + 1, _train(row, trial, *jax.tree.map(lambda leaf: leaf[index], each))

    _, trial = lax.while_loop(goes_on, body, (jnp.zeros((), jnp.int32), trial._replace(key=key)))
    return _look(row, trial, key_look)


def _train(row: Row, trial: Trial, sequence: Example, key: Array) -> Trial:
    """One training sequence, and what `Recent` says after it."""
    learn = learn_online if row.online else learn_whole
    there = row.there(trial.sequences)
    present = jax.tree.map(jnp.multiply, trial.params, there)
    updated, ys = learn(row, present, jax.tree.map(jnp.multiply, row.trained, there), sequence, key)
    params = jax.tree.map(lambda old, new, there: jnp.where(there, new, old), trial.params, updated, there)
    off = jnp.abs(ys - sequence.targets) * sequence.weights[:, None]
    right = off.max() < row.tolerance
    if isinstance(row.algorithm, WeightGuessing):
        params = jax.tree.map(partial(jnp.where, right), trial.params, params)
    place = trial.sequences % len(trial.wrong)
    error = jnp.square(off).sum() / (sequence.weights.sum() * off.shape[1])
    trial = trial._replace(
        params=params,
        sequences=trial.sequences + 1,
        wrong=trial.wrong.at[place].set(~right),
        errors=trial.errors.at[place].set(error),
    )
    status = trial.status
    if isinstance(row.criterion, Recent):
        first = trial.errors.mean() < row.criterion.error
        status = jnp.where(first & (trial.wrong.sum() <= row.criterion.wrong), SOLVED, status)
        trial = _first(trial, first)
    return trial._replace(status=jnp.where(is_finite((params, error)), status, DIVERGED))


def _look(row: Row, trial: Trial, key: Array) -> Trial:
    """What a criterion says that looks at sets of sequences; of a trial that is over, nothing."""
    if isinstance(row.criterion, Recent):
        return trial
    if isinstance(row.criterion, Strings):
        first = second = all_right(row, trial)
    else:
        wrong, error = evaluate(row, trial.params, key, SET)
        first = wrong <= row.criterion.wrong
        second = first & (error < row.criterion.error)
    going = trial.status == RUNNING
    trial = _first(trial, going & first)
    return trial._replace(status=jnp.where(going & second, SOLVED, trial.status))


def _first(trial: Trial, met: Bool[Array, ""]) -> Trial:
    """Keeps when the first part of a criterion was met for the first time."""
    return trial._replace(first_stop=jnp.where(met & (trial.first_stop < 0), trial.sequences, trial.first_stop))


def _grow(row: Row, trial: Trial) -> Trial:
    """Recurrent Cascade-Correlation: the outputs, a look, and if that is not enough a unit more."""
    cascade: Any = row.network
    assert trial.data is not None
    batch = trial.data[0]
    given = batch.inputs, values(row, batch), batch.weights > 0
    key, key_grow = jax.random.split(trial.key)
    trial = trial._replace(key=key, params=cascade.fit_outputs(trial.params, *given))
    right = all_right(row, trial)
    full = trial.params.units == cascade.max_units
    stays = right | full
    grown = lax.cond(stays, lambda params: params, lambda params: cascade.grow(key_grow, params, *given), trial.params)
    status = jnp.where(right, SOLVED, jnp.where(full, UNSOLVED, RUNNING))
    return trial._replace(
        params=grown,
        sequences=trial.sequences + SET * cascade.epochs * jnp.where(stays, 1, 2),
        status=jnp.where(is_finite(grown), status, DIVERGED),
    )


# --- learning ---------------------------------------------------------------------------------------------------------


def learn_whole(
    row: Row, params: Any, mask: Any, sequence: Example, key: Array
) -> tuple[Any, Float[Array, "time outputs"]]:
    """An update after the sequence, of weights whose mask is 1: the new parameters, and the outputs before."""
    assert row.algorithm is not None
    network: Any = row.network
    xs, targets, weights, length = sequence
    learned = row.algorithm(
        network, params, None, xs, row.loss, targets=targets, weights=weights, lengths=length, key=key
    )
    updated = descend(row, params, mask, learned.gradients)
    if isinstance(row.task, LongLag2a):
        return updated, row.squash(unroll(network, params, xs, lengths=length)[1])
    y = row.squash(last_output(network, params, learned.carry, xs[length - 1]))
    return updated, jnp.broadcast_to(y, targets.shape)


def learn_online(
    row: Row, params: Any, mask: Any, sequence: Example, key: Array
) -> tuple[Any, Float[Array, "time outputs"]]:
    """An update after every step: the new parameters, and the outputs before each update."""
    step = _chunker_step if isinstance(row.network, Chunker) else _step
    network: Any = row.network
    if isinstance(network, Chunker):
        fresh: Any = network.start(params, sequence.xs[0])
    else:
        assert row.algorithm is not None
        fresh = row.algorithm.start(network, params, sequence.xs)

    def body(state: tuple[Array, Any, Any, Array]) -> tuple[Array, Any, Any, Array]:
        time, params, carry, ys = state
        gradients, carry, y = step(row, params, carry, sequence.xs[time], sequence.targets[time])
        return time + 1, descend(row, params, mask, gradients), carry, ys.at[time].set(y)

    state = jnp.zeros((), jnp.int32), params, fresh, jnp.zeros_like(sequence.targets)
    _, params, _, ys = lax.while_loop(lambda state: state[0] < sequence.length, body, state)
    return params, ys


def _step(row: Row, params: Any, carry: Any, x: Array, target: Array) -> tuple[Any, Any, Array]:
    """Gradients, carry and outputs of one step."""
    network: Any = row.network
    assert row.algorithm is not None
    learned = row.algorithm(network, params, carry, x[None], row.loss, targets=target[None])
    return learned.gradients, learned.carry, row.squash(last_output(network, params, learned.carry, x))


def _chunker_step(row: Row, params: Any, carry: Any, x: Array, target: Array) -> tuple[Any, Any, Array]:
    network: Any = row.network
    step = network.step(params, carry, x, target)
    return step.gradients, step.carry, step.y


def last_output(network: Any, params: Any, carry: Any, x: Array) -> Array:
    """What the network gives, from the carry after its last input `x`."""
    own = carry.carry if isinstance(carry, ForwardCarry) else carry
    y: Array = network.output(params, own, network.project(params, x))
    return y


def descend(row: Row, params: Any, mask: Any, gradients: Any) -> Any:
    return jax.tree.map(lambda old, mask, slope: old - row.rate * mask * slope, params, mask, gradients)


def is_finite(tree: Any) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


# --- sequences --------------------------------------------------------------------------------------------------------


def draw(row: Row, data: Any, key: Array, size: int) -> Batch:
    """Training sequences: fresh ones, or some of the strings."""
    if data is None:
        return row.task.sample(key, size)
    return pick(data[0], jax.random.randint(key, (size,), 0, SET))


def pick(batch: Batch, index: Int[Array, "chosen"]) -> Batch:
    """Some of the sequences."""
    return Batch(batch.inputs[:, index], batch.targets[:, index], batch.weights[:, index], batch.lengths[index])


def by_sequence(row: Row, batch: Batch) -> Example:
    """One after the other."""
    xs, targets, weights = (jnp.moveaxis(leaf, 1, 0) for leaf in (batch.inputs, values(row, batch), batch.weights))
    return Example(xs, targets, jnp.sign(weights), batch.lengths)


def values(row: Row, batch: Batch) -> Float[Array, "time batch outputs"]:
    """A target for every output."""
    if isinstance(row.task, ClassificationTask):
        return jax.nn.one_hot(batch.targets, row.task.output_size)
    return batch.targets


def draw_strings(task: Any, key: Array) -> tuple[Batch, Batch]:
    """Strings of the grammar: a set to train on, in which some come several times, and a set of others."""
    batch = task.sample(key, 8 * SET)
    symbols = jnp.where(batch.inputs.any(-1), batch.inputs.argmax(-1), 7)
    seen = (symbols[:, :, None] == symbols[:, None, :SET]).all(0).any(1)
    others = jnp.argsort(seen, stable=True)[:SET]  # 1 in 3 is another: more than enough
    return pick(batch, jnp.arange(SET)), pick(batch, others)


# --- evaluation -------------------------------------------------------------------------------------------------------


def evaluate(row: Row, params: Any, key: Array, size: int) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """Of fresh sequences: how many are wrong, and the mean absolute error; against targets without noise."""
    network: Any = row.network
    batch = row.task.sample(key, size)
    targets = row.task.clean(batch) if isinstance(row.task, TwoSequence) else values(row, batch)
    ys = row.squash(unroll(network, params, batch.inputs, lengths=batch.lengths)[1])
    off = jnp.abs(ys - targets) * jnp.sign(batch.weights)[..., None]
    wrong = ~(off.max((0, 2)) < row.tolerance)
    return wrong.sum(), off.sum() / (jnp.sign(batch.weights).sum() * off.shape[-1])


def all_right(row: Row, trial: Trial) -> Bool[Array, ""]:
    """Whether the legal successors are the most active outputs, in all strings of both sets."""
    assert trial.data is not None
    network: Any = row.network

    def right(batch: Batch) -> Array:
        is_cascade = isinstance(network, RecurrentCascade)
        ys = network(trial.params, batch.inputs) if is_cascade else unroll(network, trial.params, batch.inputs)[1]
        return row.task.correct(row.squash(ys), batch).all()

    return right(trial.data[0]) & right(trial.data[1])


# --- all trials of a row ----------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """How a trial ended."""

    trial: int
    status: str
    """solved, unsolved (given up at the cap), diverged, or failed: the program, for a reason."""
    sequences: int | None
    """Until success, or seen until the trial was given up or not finite any more."""
    first_stop: int | None
    """Until ST1, or until the mean error alone was small enough, for criteria that have it."""
    wrong: int | None
    """Of 2560 sequences after success, for rows with a published number."""
    seconds: float
    """Since the row began, with all its trials that one device runs."""
    reason: str | None = None
    recent_wrong: int | None = None
    """How many of the last sequences, which `Recent` looks at, a trial that was given up had wrong."""
    recent_error: float | None = None
    """Their mean squared error."""


class Progress(NamedTuple):
    """How far the trials that go on are."""

    sequences: int


CALL_SECONDS = 2.0
"""About how long a call of the compiled program takes: progress shows, and Ctrl-C is noticed."""


def run(row: Row, cap: int, seed: int, trials: Sequence[int]) -> Iterator[Outcome | Progress]:
    """Runs some trials of a row together; what a trial draws depends on its number and the seed alone."""
    began = time.monotonic()
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.array(trials))
    state = jax.jit(jax.vmap(partial(start, row)))(keys)
    program = jax.jit(jax.vmap(partial(advance, row, cap), in_axes=(0, None)))
    test = jax.jit(lambda trial: evaluate(row, trial.params, jax.random.fold_in(trial.key, 1), TEST)[0])
    numbers, over = np.array(trials), np.zeros(len(trials), bool)
    until = chunk = block_size(row)
    while not over.all():
        before = time.monotonic()
        state = jax.block_until_ready(program(state, until))
        for place in np.flatnonzero((np.asarray(state.status) != RUNNING) & ~over):
            trial = take(state, place)
            tests = int(trial.status) == SOLVED and row.published.wrong is not None
            wrong = int(test(trial)) if tests else None
            yield outcome(row, trial, int(numbers[place]), wrong, time.monotonic() - began)
            over[place] = True
        seen = int(state.sequences.max())
        if 2 * over.sum() >= len(over):  # those that are over cost as much as the others
            state, numbers, over = take(state, ~over), numbers[~over], over[~over]
        yield Progress(seen)
        if time.monotonic() - before < CALL_SECONDS / 2:
            chunk *= 2
        until = seen + chunk


def outcome(row: Row, trial: Trial, number: int, wrong: int | None, seconds: float) -> Outcome:
    status, sequences, first_stop = int(trial.status), int(trial.sequences), int(trial.first_stop)
    if isinstance(row.criterion, Recent) and row.criterion.from_start and status == SOLVED:
        sequences -= row.criterion.size
    is_seen = isinstance(row.criterion, Recent) and status == UNSOLVED and sequences >= row.criterion.size
    return Outcome(
        trial=number,
        status=STATUSES[status],
        sequences=sequences,
        first_stop=first_stop if row.first_stop is not None and first_stop >= 0 else None,
        wrong=wrong,
        seconds=round(seconds, 1),
        recent_wrong=int(trial.wrong.sum()) if is_seen else None,
        recent_error=digits(trial.errors.mean()) if is_seen else None,
    )


def take(trials: Any, index: Any) -> Any:
    """Some of the trials, or one."""
    return jax.tree.map(lambda leaf: leaf[index], trials)
