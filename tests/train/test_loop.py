"""The training loop on a small problem with noise: what it does, and that stopping it leaves no trace."""

import gc
import math
import os
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.train import (
    CheckpointError,
    Checkpoints,
    Outcome,
    Plan,
    Progress,
    ProgressBar,
    Rules,
    Stopped,
    TensorBoard,
    bits,
    fit,
    make_optimizer,
    make_steps,
    perplexity,
    start,
)

XS = jnp.asarray(np.random.RandomState(0).standard_normal((40, 3)), jnp.float32)
W = jnp.array([1.0, -2.0, 3.0])
OPTIMIZER = make_optimizer("adam", 0.05, max_norm=1.0)


def loss(params, carry, data, item, key):
    """Least squares with noise from the key; the carry counts the steps."""
    noise = 0.1 * jax.random.normal(key, item.shape)
    value = jnp.square(data[item] @ (params - W) + noise).mean()
    return value, Outcome(carry + 1, value, len(item))


STEPS = make_steps(loss, OPTIMIZER)


def new():
    return start(jnp.zeros(3), OPTIMIZER, jax.random.key(0), jnp.zeros(()), average=True)


def plan(epoch):
    return Plan(8, jnp.asarray(np.random.default_rng(epoch).permutation(40).reshape(8, 5)))


def validate(params):
    return float(jnp.square(params - W).sum())


def run(state=None, epochs=3, **options):
    return fit(STEPS, state or new(), XS, plan, validate, Rules(epochs), **options)


def test_steps_are_those_of_optax():
    """Two epochs, against a loop of optax's own in Python."""
    state, progress = run(epochs=2)
    theirs = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.05))
    params, opt_state = jnp.zeros(3), theirs.init(jnp.zeros(3))
    losses, norms = [], []

    @jax.jit
    def step(params, opt_state, item, key):
        (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(params, 0, XS, item, key)
        updates, opt_state = theirs.update(gradient, opt_state)
        return optax.apply_updates(params, updates), opt_state, value, optax.tree.norm(gradient)

    for epoch in range(2):
        for item in plan(epoch).items:
            key = jax.random.fold_in(jax.random.key(0), 8 * epoch + len(losses))
            params, opt_state, value, norm = step(params, opt_state, item, key)
            losses, norms = [*losses, value], [*norms, norm]
        entry = progress.history[epoch]
        np.testing.assert_allclose(entry["loss"], np.mean(losses), rtol=1e-5)
        np.testing.assert_allclose(entry["norm_before"], np.mean(norms), rtol=1e-5)
        np.testing.assert_allclose(entry["norm_after"], np.minimum(norms, 1).mean(), rtol=1e-5)
        assert entry["clipped_share"] == np.mean(np.array(norms) > 1)
        losses, norms = [], []
    np.testing.assert_allclose(state.params, params, rtol=1e-5)
    assert state.carry == 16
    assert [entry["step"] for entry in progress.history] == [8, 16]


def interrupted(number, at, **options):
    """A run that gets a signal during its call number `at`."""
    calls = []

    def report(*event):
        calls.append(event)
        if len(calls) == at:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped, match=signal.Signals(number).name):
        run(report=report, **options)


@pytest.mark.parametrize(
    ("number", "at"), [(signal.SIGINT, 2), pytest.param(signal.SIGTERM, 7, marks=pytest.mark.slow)]
)
def test_interrupted_run_goes_on_bit_for_bit(number, at, tmp_path):
    """In the middle of an epoch, wherever that is: all arrays and all epochs are those of a run that never stopped."""
    want, history = run()
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    interrupted(number, at, checkpoints=Checkpoints(tmp_path, {"run": 1}))
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    again = Checkpoints(tmp_path, {"run": 1})
    state, data = again.restore(new())
    assert 0 < int(state.step) < 24
    got, progress = run(state, progress=Progress(**data), checkpoints=again)
    chex.assert_trees_all_equal(jax.tree.map(_numbers, got), jax.tree.map(_numbers, want))
    for one, other in zip(progress.history, history.history, strict=True):
        same = {name for name in other if name not in ("seconds", "work_per_second")}
        assert {name: one[name] for name in same} == {name: other[name] for name in same}


def _numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_keeps_the_last_checkpoints_and_the_best(tmp_path):
    saved, best = Checkpoints(tmp_path / "saved", {}, keep=2), Checkpoints(tmp_path / "best", {}, keep=1)
    _, progress = run(epochs=4, checkpoints=saved, best=best)
    assert saved.steps == [24, 32]
    losses = [entry["valid_loss"] for entry in progress.history]
    assert best.steps == [8 * (1 + int(np.argmin(losses)))]
    params, data = best.restore(jnp.zeros(3))
    np.testing.assert_allclose(validate(params), min(losses), rtol=1e-6)
    assert data["epoch"] == 1 + np.argmin(losses)


def test_what_is_not_ours_is_refused_and_never_deleted(tmp_path):
    foreign = Checkpoints(tmp_path, {"cell": "gru"}, keep=1)
    foreign.save(5, new(), {})
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"7 is not a checkpoint of rnnjax.*: it is left as it is"):
        foreign.restore(new())
    (tmp_path / "7").rename(tmp_path / "7-moved")
    ours = Checkpoints(tmp_path, {"cell": "lstm"}, keep=1)
    with pytest.raises(CheckpointError, match="5 is of another run: cell is 'gru' there and 'lstm' here"):
        ours.restore(new())
    ours.save(6, new(), {})
    ours.save(8, new(), {})
    assert ours.steps == [5, 8]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax drops tasks that have failed
def test_damage_is_found_and_left(tmp_path):
    """A changed byte, a half and nothing at all, in the files of the arrays."""
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(1, new(), {})
    contents = {path: path.read_bytes() for path in (tmp_path / "1" / "state").rglob("d/*")}
    for change in (lambda it: it[:-1] + bytes([it[-1] ^ 1]), lambda it: it[: len(it) // 2], lambda it: b""):
        broken = {path: change(content) for path, content in contents.items()}
        for path, content in broken.items():
            path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot be read|damaged"):
            checkpoints.restore(new())
        assert {path: path.read_bytes() for path in contents} == broken
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        Checkpoints(tmp_path / "none", {}).restore(new())
    gc.collect()  # the tasks complain when they are collected: here, and not in another test


def test_digest_finds_what_orbax_reads_without_complaint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(1, jnp.arange(3.0), {})
    monkeypatch.setattr("rnnjax.train.checkpoints.digest", lambda tree: "other")
    with pytest.raises(CheckpointError, match="its arrays are not those that were saved"):
        checkpoints.restore(jnp.zeros(3))


# --- rules ------------------------------------------------------------------------------------------------------------


def after(losses, rules):
    """The state after epochs with these validation losses."""
    state = new()
    for count in range(1, len(losses) + 1):
        state = rules.apply(state, losses[:count])
    return state


@pytest.mark.slow
def test_plateau_divides_after_every_epoch_that_is_not_the_best():
    """The rule of BetterRnnlm, worked out by hand: 3.1 and 3.05 are no better than 3.0, 2.9 is."""
    rules = Rules(9, plateau_factor=0.25)
    scales = [float(after([4.0, 3.0, 3.1, 3.05, 2.9][:count], rules).plateau.scale) for count in range(1, 6)]
    assert scales == [1, 1, 1 / 4, 1 / 16, 1 / 16]


@pytest.mark.slow
def test_averaging_starts_when_the_loss_is_no_better_than_before_the_window():
    """NT-ASGD with a window of 2: 3.5 is worse than the best of all but the last two before it, which is 3.4."""
    rules = Rules(9, average_after=2)
    losses = [4.0, 3.4, 3.3, 3.35, 3.5]
    assert [int(after(losses[:count], rules).average.steps) for count in range(1, 6)] == [0, 0, 0, 0, 1]


@pytest.mark.slow
def test_average_is_the_mean_of_the_parameters():
    state = new()
    state = state._replace(average=state.average._replace(steps=jnp.ones((), jnp.int32)))
    seen = []
    for index in range(5):
        state = STEPS(state, XS, plan(0).items, index, index + 1)
        seen.append(np.asarray(state.params))
    np.testing.assert_allclose(state.best_params, np.mean(seen, 0), rtol=1e-5)
    following, _ = run(epochs=1)
    np.testing.assert_array_equal(following.best_params, following.params)


def test_early_stopping():
    losses = iter([3.0, 2.0, 2.5, 2.1, 1.0])
    _, progress = fit(STEPS, new(), XS, plan, lambda params: next(losses), Rules(9, patience=2))
    assert [entry["valid_loss"] for entry in progress.history] == [3.0, 2.0, 2.5, 2.1]


def test_divergence_ends_a_run(tmp_path):
    losses, best = iter([3.0, float("nan"), 1.0]), Checkpoints(tmp_path, {})
    _, progress = fit(STEPS, new(), XS, plan, lambda params: next(losses), Rules(9), best=best)
    assert progress.diverged_at == 16
    assert progress.epoch == 2
    assert progress.best == 3.0
    assert best.steps == [8]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_a_run_within_its_epoch(bad, tmp_path):
    """At step 29 of 64, the thirteenth of its second epoch: known to the step, though calls are of several steps."""
    calls, validated = [], []

    def bad_at(params, carry, data, item, key):
        value, outcome = loss(params, carry, data, item, key)
        return value, outcome._replace(loss=jnp.where(carry == 28, bad, outcome.loss))

    def plan(epoch):
        return Plan(16, jnp.tile(jnp.arange(5), (16, 1)))

    def observe(params):
        validated.append(validate(params))
        return validated[-1]

    def report(progress, count, metrics):
        calls.append(metrics)

    saved, best = Checkpoints(tmp_path / "saved", {}), Checkpoints(tmp_path / "best", {})
    options = {"checkpoints": saved, "best": best, "report": report, "seconds_a_call": 1e3}  # calls double in length
    state, progress = fit(make_steps(bad_at, OPTIMIZER), new(), XS, plan, observe, Rules(4), **options)
    assert progress.diverged_at == 29
    assert [entry["step"] for entry in calls] == [1, 3, 7, 15, 16, 16, 17, 19, 23, 31, 31]
    assert int(state.step) == 31  # the call in which it was ends, the epoch does not
    assert len(validated) == 1
    assert [math.isnan(entry["valid_loss"]) for entry in progress.history] == [False, True]
    assert best.steps == [16]
    np.testing.assert_allclose(validate(best.restore(jnp.zeros(3))[0]), validated[0], rtol=1e-6)
    state, data = saved.restore(new())
    assert Progress(**data).diverged_at == 29
    _, again = fit(make_steps(bad_at, OPTIMIZER), state, XS, plan, observe, Rules(4), progress=Progress(**data))
    assert len(validated) == 1
    assert len(again.history) == 2


@pytest.mark.slow
def test_event_files_hold_the_metrics(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    with TensorBoard(tmp_path, "token") as board:
        _, progress = run(epochs=2, report=board)
    (path,) = tmp_path.iterdir()
    content, place, found = path.read_bytes(), 0, {}
    while place < len(content):
        size = int.from_bytes(content[place : place + 8], "little")
        event = Event.FromString(content[place + 12 : place + 12 + size])
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
        place += size + 16
    for entry in progress.history:
        for name, value in (("loss", 1), ("perplexity", perplexity), ("bits", bits)):
            want = entry["valid_loss"] if value == 1 else value(entry["valid_loss"])
            np.testing.assert_allclose(found[f"valid/{name}", entry["step"]], want, rtol=1e-6)
    tags = {tag for tag, _ in found}
    assert {"train/loss", "train/norm_before", "train/norm_after", "train/clipped_share"} <= tags
    assert "train/tokens_per_second" in tags


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adm"}, "unknown optimizer 'adm': did you mean 'adam'"),
        ({"name": "sgd", "max_norm": 0.0}, "max_norm must be positive, got 0"),
        ({"name": "sgd", "max_value": -1.0}, "max_value must be positive, got -1"),
        ({"name": "sgd", "max_norm": 1.0, "max_value": 1.0}, "give max_norm or max_value, got 1.0 and 1.0"),
        ({"name": "sgd", "weight_decay": -1.0}, "weight_decay must be at least 0, got -1"),
    ],
)
def test_bad_settings_of_an_optimizer(options, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(learning_rate=0.1, **options)


def test_weight_decay_comes_after_clipping():
    chain = make_optimizer("sgd", 0.1, max_norm=1.0, weight_decay=0.5)
    params, gradient = jnp.array([3.0, 0.0]), jnp.array([30.0, 40.0])
    updates, _ = chain.update(gradient, chain.init(params), params)
    np.testing.assert_allclose(updates, -0.1 * np.array([0.6 + 1.5, 0.8]), rtol=1e-6)


def test_clipping_by_value():
    chain = make_optimizer("sgd", 1.0, max_value=2.0)
    updates, state = chain.update(jnp.array([-3.0, 4.0, 1.0]), chain.init(jnp.zeros(3)))
    np.testing.assert_allclose(updates, [2.0, -2.0, -1.0])
    np.testing.assert_allclose(state[0], [np.sqrt(26), 3.0], rtol=1e-6)


def test_progress_bar_names_the_epoch_that_the_numbers_are_of():
    pytest.importorskip("rich")
    bar = ProgressBar(3)
    metrics = {"loss": 1.0, "work_per_second": 10.0}
    bar(Progress(epoch=1, position=5), 10, metrics)
    assert "epoch 2/3, loss 1" in bar._bars.tasks[0].description
    bar(Progress(epoch=2), 10, metrics | {"valid_loss": 2.0})
    assert "epoch 2/3, validation 2" in bar._bars.tasks[0].description
